//! Text tables: `.csv`, `.tsv`, `.txt`, with or without a header, and files with one label a line.

use csv::{ByteRecord, ReaderBuilder};

use crate::dataset::Matrix;
use crate::error::{DataError, quoted};
use crate::formats::dialect;
use crate::formats::select::Roles;
use crate::formats::{Input, Table, Want};
use crate::labels::RawLabels;
use crate::options::ReadOptions;

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let bytes = input.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input.bytes);
    let input = &Input { file: input.file, bytes };
    let separator = match options.separator {
        None => dialect::separator(bytes),
        Some(separator) => u8::try_from(separator).ok().filter(u8::is_ascii).ok_or_else(|| DataError::Parameter {
            place: "reading a text table",
            name: "separator".into(),
            value: format!("{separator:?}"),
            expected: "an ASCII character".into(),
        })?,
    };
    let header =
        options.header.unwrap_or_else(|| dialect::has_header(bytes, separator, options.label_column.as_deref()));

    let mut reader = ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut columns: Option<Columns> = None;
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    while reader.read_byte_record(&mut record).map_err(|error| malformed(input, &error))? {
        if record.len() == 1 && record[0].trim_ascii().is_empty() {
            continue;
        }
        let columns = match &mut columns {
            Some(columns) => columns,
            None => {
                let names = header.then(|| record.iter().map(|cell| text(cell).trim().to_string()).collect());
                let found = columns.insert(Columns::new(input, record.len(), names, want, options)?);
                if header {
                    continue;
                }
                found
            }
        };
        if record.len() != columns.width {
            let (file, line) = (input.file.into(), line_of(bytes, &record));
            return Err(DataError::Width { file, line, found: record.len(), expected: columns.width });
        }
        for (column, cell) in record.iter().enumerate() {
            if columns.roles.label == Some(column) {
                if want != Want::Features {
                    let label = label(cell).or_else(|| options.keep_non_finite.then(String::new));
                    labels.push(label.ok_or_else(|| columns.bad_cell(input, &record, column, "a label"))?);
                }
            } else if columns.is_feature[column] {
                let value = if options.keep_non_finite { any_number(cell) } else { number(cell) };
                values.push(value.ok_or_else(|| {
                    columns.bad_cell(
                        input,
                        &record,
                        column,
                        "a number (with a decimal point); choose columns, if this is none",
                    )
                })?);
            }
        }
    }
    let empty = || DataError::Empty { place: input.file.into(), what: "rows of data".into() };
    let columns = columns.ok_or_else(empty)?;
    if values.is_empty() && labels.is_empty() {
        return Err(empty());
    }
    Ok(Table {
        features: match want {
            Want::Labels => None,
            _ => {
                let (dim, names) = (columns.roles.features.len(), columns.feature_names());
                Some(Matrix::checked(input.file, values, dim, names, options.keep_non_finite)?.into())
            }
        },
        labels: (want != Want::Features).then_some(RawLabels::Text(labels)),
        class_names: None,
    })
}

/// What the columns are.
struct Columns {
    width: usize,
    names: Option<Vec<String>>,
    roles: Roles,
    is_feature: Vec<bool>,
}

impl Columns {
    fn new(
        input: &Input<'_>,
        width: usize,
        names: Option<Vec<String>>,
        want: Want,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let roles = Roles::find(input.file, names.as_deref(), width, want, options)?;
        let mut is_feature = vec![false; width];
        roles.features.iter().for_each(|&column| is_feature[column] = true);
        Ok(Self { width, names, roles, is_feature })
    }

    fn feature_names(&self) -> Option<Vec<String>> {
        let names = self.names.as_ref()?;
        Some(self.roles.features.iter().map(|&column| names[column].clone()).collect())
    }

    fn bad_cell(&self, input: &Input<'_>, record: &ByteRecord, column: usize, expected: &str) -> DataError {
        let cell = &record[column];
        let name = self.names.as_ref().map(|names| &names[column]);
        DataError::Cell {
            file: input.file.into(),
            line: line_of(input.bytes, record),
            column: name.map_or_else(|| column.to_string(), |name| quoted(name)),
            found: match std::str::from_utf8(cell) {
                Err(_) => format!("bytes that are not UTF-8, {}", quoted(&text(cell))),
                Ok(text) if dialect::is_missing(cell) => format!("the missing value {}", quoted(text)),
                Ok(text) => quoted(text),
            },
            expected: expected.into(),
        }
    }
}

fn number(cell: &[u8]) -> Option<f32> {
    std::str::from_utf8(cell).ok()?.trim().parse().ok().filter(|value: &f32| value.is_finite())
}

/// As [`number`], with NaN for what is missing, and infinities.
fn any_number(cell: &[u8]) -> Option<f32> {
    if dialect::is_missing(cell) { Some(f32::NAN) } else { std::str::from_utf8(cell).ok()?.trim().parse().ok() }
}

fn label(cell: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(cell).ok()?.trim();
    (!dialect::is_missing(cell)).then(|| text.to_string())
}

fn text(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).into_owned()
}

/// The line on which a record begins, from 1.
fn line_of(bytes: &[u8], record: &ByteRecord) -> u64 {
    let start = record.position().map_or(0, |position| position.byte() as usize).min(bytes.len());
    // A record's position lies before the blank lines that the reader skips.
    let blank = bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    1 + bytes[..start + blank].iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn malformed(input: &Input<'_>, error: &csv::Error) -> DataError {
    DataError::Malformed {
        file: input.file.into(),
        at: error.position().map_or_else(|| "text table".into(), |position| format!("line {}", position.line())),
        found: error.to_string(),
        expected: "a text table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
        read(&Input { file: "f.csv", bytes: text.as_bytes() }, want, options)
    }

    fn labelled(text: &str) -> (Matrix, Vec<String>) {
        match table(text, Want::Labelled, &ReadOptions::default()).unwrap() {
            Table { features: Some(features), labels: Some(RawLabels::Text(labels)), .. } => {
                (features.into_dense("f.csv").unwrap(), labels)
            }
            other => panic!("{other:?}"),
        }
    }

    fn error(text: &str, want: Want, options: &ReadOptions) -> String {
        table(text, want, options).unwrap_err().to_string()
    }

    #[test]
    fn the_label_column_is_found_by_name_else_last() {
        let (features, labels) = labelled("\u{feff}a,Species,b\r\n1,\"x, or y\",2\r\n3,z,4e-1\r\n");
        assert_eq!((features.rows, features.dim, features.values), (2, 2, vec![1.0, 2.0, 3.0, 0.4]));
        assert_eq!(features.names.unwrap(), ["a", "b"]);
        assert_eq!(labels, ["x, or y", "z"]);
        let (features, labels) = labelled("1;2;0\n3;4;1\n");
        assert_eq!((features.dim, features.names, labels), (2, None, vec!["0".to_string(), "1".into()]));
    }

    #[test]
    fn the_label_column_can_be_given() {
        let options = |column: &str| ReadOptions { label_column: Some(column.into()), ..Default::default() };
        let text = "a,b,label\n1,2,3\n4,5,6\n";
        for (column, expected) in [("a", ["1", "4"]), ("1", ["2", "5"]), ("-1", ["3", "6"])] {
            let labels = table(text, Want::Labels, &options(column)).unwrap().labels.unwrap();
            assert_eq!(labels, RawLabels::Text(expected.map(String::from).to_vec()));
        }
        let message = error(text, Want::Labelled, &options("c"));
        assert!(message.contains("\"c\" found 0 times, expected once among a, b, label"), "{message}");
        assert!(error("a,a\n1,2\n", Want::Labelled, &options("a")).contains("2 times"));
    }

    #[test]
    fn unlabelled_rows_keep_every_column_unless_told() {
        let text = "a,label\n1,2\n";
        let dim = |options: &ReadOptions| table(text, Want::Features, options).unwrap().features.unwrap().dim();
        assert_eq!(dim(&ReadOptions::default()), 2);
        assert_eq!(dim(&ReadOptions { drop_labels: true, ..Default::default() }), 1);
        assert_eq!(dim(&ReadOptions { label_column: Some("label".into()), ..Default::default() }), 1);
        assert_eq!(dim(&ReadOptions { label_column: Some("absent".into()), ..Default::default() }), 2);
    }

    #[test]
    fn bad_cells_are_named_with_line_and_column() {
        let options = ReadOptions::default();
        let cases = [
            ("a,b,label\n1,2,x\n\n\n3,,y\n", "f.csv, line 5, column \"b\": found the missing value \"\""),
            ("a,b,label\n1,2,x\n3,NaN,y\n", "line 3, column \"b\": found the missing value \"NaN\""),
            ("a,b,label\n1,2,x\n3,wide,y\n", "line 3, column \"b\": found \"wide\", expected a number"),
            ("1,2,x\n3,1e99,y\n", "line 2, column 1: found \"1e99\""),
            ("1,2,x\n3,inf,y\n", "line 2, column 1: found \"inf\""),
            ("1,2,x\n3,4,?\n", "line 2, column 2: found the missing value \"?\", expected a label"),
            ("1,2,x\n3,4\n", "line 2: found 2 fields, expected 3"),
            ("a,b,label\n", "no rows of data"),
            ("0\n1\n", "at least two columns"),
            ("1 2 a\n3 4 b\n", "separator named"),
        ];
        for (text, part) in cases {
            let message = error(text, Want::Labelled, &options);
            assert!(message.contains(part), "{message}");
        }
        let bytes = b"a,label\n\xff,x\n";
        let message = read(&Input { file: "f", bytes }, Want::Labelled, &options).unwrap_err().to_string();
        assert!(message.contains("not UTF-8"), "{message}");
        assert!(error("1,2\n", Want::Labelled, &ReadOptions { separator: Some('é'), ..options }).contains("separator"));
    }

    #[test]
    fn columns_can_be_chosen_and_left_out() {
        let text = "id,x1,x2,label,group\na,1,2,c,g\nb,3,,d,h\n";
        let options = ReadOptions { columns: vec!["x*".into()], keep_non_finite: true, ..Default::default() };
        let features = table(text, Want::Labelled, &options).unwrap().features.unwrap().into_dense("f").unwrap();
        assert_eq!(
            (features.names.unwrap(), &features.values[..3]),
            (vec!["x1".into(), "x2".into()], &[1.0, 2.0, 3.0][..])
        );
        assert!(features.values[3].is_nan());
        let options = ReadOptions { leave_out: vec!["id".into(), "x2".into(), "group".into()], ..Default::default() };
        assert_eq!(table(text, Want::Labelled, &options).unwrap().features.unwrap().dim(), 1);
        let group = ReadOptions { label_column: Some("group".into()), ..Default::default() };
        let groups = table(text, Want::Labels, &group).unwrap().labels.unwrap();
        assert_eq!(groups, RawLabels::Text(vec!["g".into(), "h".into()]));
    }

    #[test]
    fn one_label_a_line() {
        let labels = |text: &str| table(text, Want::Labels, &ReadOptions::default()).unwrap().labels.unwrap().len();
        assert_eq!((labels("cat\ndog\n\ncat"), labels("label\n1\n0\n")), (3, 2));
    }
}
