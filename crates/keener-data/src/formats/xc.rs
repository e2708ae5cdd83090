//! The sparse text of the extreme-classification repository: a first line `rows features labels`, then a row a line,
//! `label,label index:value index:value …`. Indices and labels count from 0; a row may have no label and then begins
//! with a blank (or with its first index).

use crate::error::DataError;
use crate::formats::select::choose_columns;
use crate::formats::svmlight::{Rows, bad, is_blank, lines};
use crate::formats::{Input, Table, Want};
use crate::labels::{LabelSets, RawLabels};
use crate::options::ReadOptions;

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let file = input.file;
    let mut lines = lines(input.bytes);
    let first = lines.next().map(|(_, line)| line).unwrap_or_default();
    let [count, dim, classes] =
        header(first).ok_or_else(|| bad(file, 1, first, "three whole numbers: rows, features, labels"))?;
    let (mut rows, mut sets) = (Rows::default(), LabelSets::default());
    let mut ids: Vec<i64> = Vec::new();
    for (line, text) in lines {
        if text.is_empty() && rows.count() as u64 == count {
            continue;
        }
        if rows.count() as u64 == count {
            return Err(bad(file, line, text, &format!("nothing after the {count} rows that the first line declares")));
        }
        let end = text.iter().position(|&byte| is_blank(byte)).unwrap_or(text.len());
        // A token with a colon is a feature: the row has no label.
        let end = if text[..end].contains(&b':') { 0 } else { end };
        ids.clear();
        for label in text[..end].split(|&byte| byte == b',').filter(|label| !label.is_empty()) {
            let id = whole(label).filter(|&id| id < classes);
            let id = id.ok_or_else(|| bad(file, line, label, &format!("a label in 0..{classes}, as declared")))?;
            ids.push(id as i64);
        }
        sets.push(ids.iter().copied());
        let tokens = text[end..].split(|&byte| is_blank(byte)).filter(|token| !token.is_empty());
        rows.push(file, line, tokens, options.keep_non_finite)?;
    }
    if (rows.count() as u64) < count {
        return Err(DataError::Malformed {
            file: file.into(),
            at: "end of the file".into(),
            found: format!("{} rows", rows.count()),
            expected: format!("{count}, as the first line declares"),
        });
    }
    if rows.count() == 0 {
        return Err(DataError::Empty { place: file.into(), what: "rows of data".into() });
    }
    let dim = usize::try_from(dim).unwrap_or(usize::MAX);
    let features = match want {
        Want::Labels => None,
        _ => Some(choose_columns(file, rows.finish(file, 0, Some(dim), options)?.into(), options)?),
    };
    Ok(Table { features, labels: (want != Want::Features).then_some(RawLabels::Sets(sets)), class_names: None })
}

/// Whether the text begins like this: a header, and a row with an index and a value.
pub(super) fn looks_like_it(text: &[u8]) -> bool {
    let mut lines = lines(text).map(|(_, line)| line);
    lines.next().and_then(header).is_some()
        && lines.next().is_some_and(|row| {
            let end = row.iter().position(|&byte| is_blank(byte)).unwrap_or(row.len());
            let ids = |text: &[u8]| text.iter().all(|&byte| byte.is_ascii_digit() || byte == b',');
            let pair = |text: &[u8]| {
                text.first().is_some_and(u8::is_ascii_digit) && text.contains(&b':') && !text.starts_with(b":")
            };
            let mut tokens = row[end..].split(|&byte| is_blank(byte)).filter(|token| !token.is_empty());
            pair(&row[..end]) || (ids(&row[..end]) && tokens.next().is_none_or(pair))
        })
}

/// Three whole numbers between blanks.
fn header(line: &[u8]) -> Option<[u64; 3]> {
    let mut numbers = line.split(|&byte| is_blank(byte)).filter(|token| !token.is_empty()).map(whole);
    let header = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(header)
}

fn whole(text: &[u8]) -> Option<u64> {
    text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "3 5 4\n0,3 0:1 4:0.5\n 2:1.5\n1 3:2\n";

    fn table(text: &str) -> Result<Table, DataError> {
        read(&Input { file: "train.txt", bytes: text.as_bytes() }, Want::Labelled, &ReadOptions::default())
    }

    #[test]
    fn rows_and_sets_of_labels() {
        assert!(looks_like_it(FILE.as_bytes()) && !looks_like_it(b"1 2 3\n4 5 6\n") && !looks_like_it(b"1 1:2\n"));
        let table = table(FILE).unwrap();
        let features = table.features.unwrap();
        assert_eq!((features.rows(), features.dim()), (3, 5));
        assert_eq!(features.into_dense("f").unwrap().row(1), [0.0, 0.0, 1.5, 0.0, 0.0]);
        let Some(RawLabels::Sets(sets)) = &table.labels else { panic!("{:?}", table.labels) };
        assert_eq!((sets.row(0), sets.row(1), sets.row(2)), (&[0, 3][..], &[][..], &[1][..]));
        let error = table.labels.unwrap().into_classes("train.txt", None, None).unwrap_err().to_string();
        assert!(error.contains("row 0 has 2 labels") && error.contains("multi-label"), "{error}");
    }

    #[test]
    fn the_header_is_held_to() {
        for (text, part) in [
            ("3 5\n", "line 1: found \"3 5\", expected three whole numbers"),
            ("2 5 4\n0 1:1\n", "found 1 rows, expected 2, as the first line declares"),
            ("18446744073709551615 5 4\n0 1:1\n", "found 1 rows"),
            ("1 5 4\n0 1:1\n1 1:1\n", "line 3"),
            ("1 5 4\n4 1:1\n", "a label in 0..4"),
            ("1 5 4\n-1 1:1\n", "a label in 0..4"),
            ("1 5 4\n1 5:1\n", "found column 5, expected one in 0..5"),
            ("1 5 4\n1 x:1\n", "line 2: found \"x:1\""),
            ("0 5 4\n", "no rows"),
            ("1 99999999999 4\n1 1:1\n", "columns"),
        ] {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
