//! Text tables cell by cell: what is a number, what is missing, what is text.

use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};
use xxhash_rust::xxh3::xxh3_64;

use super::raw::{Labels, Raw};
use super::{EXAMPLES, Places, TEXT, TextColumn};
use crate::dataset::Matrix;
use crate::error::DataError;
use crate::formats::select::Roles;
use crate::formats::{Format, Want, dialect};
use crate::labels::RawLabels;
use crate::options::ReadOptions;

/// What was seen in a column.
#[derive(Clone, Default)]
struct Seen {
    numbers: usize,
    texts: usize,
    example: String,
    first: Vec<usize>,
}

/// Reads a text table of which every cell may be anything.
pub(super) fn read_table(
    file: &str,
    bytes: &[u8],
    format: Format,
    want: Want,
    options: &ReadOptions,
) -> Result<Raw, DataError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let tab = (format == Format::Tsv).then_some(b'\t');
    let given = options.separator.and_then(|separator| u8::try_from(separator).ok());
    let separator = given.or(tab).unwrap_or_else(|| dialect::separator(bytes));
    let header =
        options.header.unwrap_or_else(|| dialect::has_header(bytes, separator, options.label_column.as_deref()));
    let mut reader = ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let broken = |error: csv::Error| DataError::Malformed {
        file: file.into(),
        at: "text table".into(),
        found: error.to_string(),
        expected: "lines of fields".into(),
    };
    let mut names: Option<Vec<String>> = None;
    let mut roles: Option<Roles> = None;
    let mut width = 0;
    let (mut values, mut labels, mut rows) = (Vec::new(), Vec::new(), 0_usize);
    let (mut seen, mut hashes): (Vec<Seen>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut texts = Vec::new();
    while reader.read_byte_record(&mut record).map_err(broken)? {
        if record.len() == 1 && record[0].trim_ascii().is_empty() {
            continue;
        }
        if roles.is_none() {
            width = record.len();
            if header {
                names = Some(record.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_string()).collect());
            }
            let find = |want, options: &ReadOptions| Roles::find(file, names.as_deref(), width, want, options);
            // One column of numbers alone has no labels.
            let found = match find(want, options) {
                Err(DataError::NoLabels { .. }) => find(Want::Features, options)?,
                other => other?,
            };
            seen = vec![Seen::default(); found.features.len()];
            roles = Some(found);
            if header {
                continue;
            }
        }
        let Some(roles) = &roles else { continue };
        if record.len() != width {
            let line = record.position().map_or(0, csv::Position::line);
            return Err(DataError::Width { file: file.into(), line, found: record.len(), expected: width });
        }
        texts.clear();
        for (at, &column) in roles.features.iter().enumerate() {
            let cell = record[column].trim_ascii();
            let seen = &mut seen[at];
            let number = std::str::from_utf8(cell).ok().and_then(|text| text.parse::<f32>().ok());
            let missing = dialect::is_missing(cell);
            values.push(number.unwrap_or(if missing { f32::NAN } else { TEXT }));
            if number.is_some() {
                seen.numbers += 1;
            } else if !missing {
                if seen.texts == 0 {
                    seen.example = String::from_utf8_lossy(cell).chars().take(40).collect();
                }
                seen.texts += 1;
                if seen.first.len() < EXAMPLES {
                    seen.first.push(rows);
                }
                texts.extend_from_slice(&(column as u64).to_le_bytes());
                texts.extend_from_slice(cell);
            }
        }
        hashes.push(if texts.is_empty() { 0 } else { xxh3_64(&texts) });
        if let Some(label) = roles.label.filter(|_| want == Want::Labelled) {
            let cell = &record[label];
            let text =
                if dialect::is_missing(cell) { String::new() } else { String::from_utf8_lossy(cell).trim().into() };
            labels.push(text);
        }
        rows += 1;
    }
    let Some(roles) = roles.filter(|_| rows > 0) else {
        return Err(DataError::Empty { place: file.into(), what: "rows of data".into() });
    };
    let name = |column: usize| names.as_ref().map_or_else(|| column.to_string(), |names| names[column].clone());
    let (mut text, mut text_columns, mut text_cells) = (Vec::new(), Vec::new(), Places::default());
    for (at, seen) in seen.into_iter().enumerate().filter(|(_, seen)| seen.texts > 0) {
        let name = name(roles.features[at]);
        if seen.texts > seen.numbers {
            text.push(at);
            text_columns.push(TextColumn { name, cells: seen.texts, example: seen.example });
        } else {
            text_cells.count += seen.texts;
            // A row with two of them counts twice: columns of numbers rarely have any.
            text_cells.rows += seen.texts;
            text_cells.first.extend(seen.first.into_iter().map(|row| (row, name.clone())));
        }
    }
    text_cells.first.sort_unstable();
    text_cells.first.truncate(EXAMPLES);
    let dim = roles.features.len();
    let feature_names = names.as_ref().map(|names| roles.features.iter().map(|&c| names[c].clone()).collect());
    let label = roles.label.filter(|_| want == Want::Labelled).map(|column| {
        let usual = names
            .as_ref()
            .is_some_and(|names| dialect::LABEL_NAMES.iter().any(|n| names[column].eq_ignore_ascii_case(n)));
        let why = match &options.label_column {
            Some(_) => "as asked",
            None if usual => "its name is a usual one for labels",
            None => "the last column, as none has a usual name for labels",
        };
        Labels::new(file, format!("column `{}` ({why})", name(column)), RawLabels::Text(labels), None)
    });
    Ok(Raw {
        file: file.into(),
        format: format.word().into(),
        features: Arc::new(Matrix { rows, values, dim, names: None }),
        names: feature_names,
        text,
        text_columns,
        text_cells,
        text_hashes: hashes,
        labels: label,
    })
}
