//! How a text table is written: its separator, and whether its first line holds names.

use csv::{ByteRecord, ReaderBuilder};

/// Names under which a label column is usually found, in order of preference.
pub(crate) const LABEL_NAMES: [&str; 6] = ["label", "labels", "class", "target", "species", "y"];

/// Separators in order of preference.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// Lines that are looked at.
const SAMPLE: usize = 50;

/// Whether text of unknown kind is a table: lines of one width with at least one number, and more than one line or field.
pub(crate) fn looks_like_a_table(bytes: &[u8]) -> bool {
    let records = sample(bytes, separator(bytes));
    let width = records.first().map_or(0, ByteRecord::len);
    width * records.len() > 1
        && records.iter().all(|record| record.len() == width)
        && records.iter().flatten().any(is_number)
}

/// The separator with which the first lines have one width; among several, the one that yields the most numbers.
pub(crate) fn separator(bytes: &[u8]) -> u8 {
    let score = |separator: u8| {
        let records = sample(bytes, separator);
        let width = records.first().map_or(0, ByteRecord::len);
        let split = records.iter().filter(|record| record.len() > 1).count();
        let even = width > 1 && records.iter().all(|record| record.len() == width);
        let numbers = records.iter().flatten().filter(|cell| is_number(cell)).count();
        (even, split, numbers, width)
    };
    let mut best = (SEPARATORS[0], score(SEPARATORS[0]));
    for separator in &SEPARATORS[1..] {
        let candidate = score(*separator);
        if candidate > best.1 {
            best = (*separator, candidate);
        }
    }
    best.0
}

/// Whether the first line holds names.
///
/// It does if it holds the name of a label column, or words above at least half of the columns of numbers, or (with
/// four columns or more) the numbers 0, 1, 2 … that unnamed columns of data frames get.
pub(crate) fn has_header(bytes: &[u8], separator: u8, label_column: Option<&str>) -> bool {
    let records = sample(bytes, separator);
    let Some((first, body)) = records.split_first() else {
        return false;
    };
    let word = |cell: &[u8]| !is_number(cell) && !is_missing(cell);
    if body.is_empty() {
        return first.iter().all(word);
    }
    let names_the_labels = |(column, cell): (usize, &[u8])| {
        let text = String::from_utf8_lossy(cell);
        let known = LABEL_NAMES.iter().any(|name| text.trim().eq_ignore_ascii_case(name))
            || label_column.is_some_and(|wanted| text.trim() == wanted);
        // A class may itself be called `y`; a name does not come back below itself.
        known && word(cell) && body.iter().all(|record| record.get(column) != Some(cell))
    };
    if first.iter().enumerate().any(names_the_labels) {
        return true;
    }
    let (mut numeric, mut words) = (0, 0);
    for (column, name) in first.iter().enumerate() {
        let mut cells = body.iter().filter_map(|record| record.get(column)).filter(|cell| !is_missing(cell)).peekable();
        if cells.peek().is_some() && cells.all(is_number) {
            numeric += 1;
            words += usize::from(word(name));
        }
    }
    let counted = first.len() >= 4 && first.iter().enumerate().all(|(i, cell)| cell == i.to_string().as_bytes());
    counted || (words > 0 && 2 * words >= numeric)
}

/// Whether a cell is one of the usual spellings of a missing value.
pub(crate) fn is_missing(cell: &[u8]) -> bool {
    let cell = cell.trim_ascii();
    cell.is_empty()
        || ["?", "na", "n/a", "nan", "-nan", "null", "none"].iter().any(|m| cell.eq_ignore_ascii_case(m.as_bytes()))
}

/// Whether a cell is a finite number.
pub(crate) fn is_number(cell: &[u8]) -> bool {
    std::str::from_utf8(cell).is_ok_and(|text| text.trim().parse::<f64>().is_ok_and(f64::is_finite))
}

fn sample(bytes: &[u8], separator: u8) -> Vec<ByteRecord> {
    let mut reader = ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(bytes);
    let blank = |record: &ByteRecord| record.len() == 1 && record[0].trim_ascii().is_empty();
    reader.byte_records().map_while(Result::ok).filter(|record| !blank(record)).take(SAMPLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_found() {
        assert_eq!(separator(b"a,b\n1,2\n"), b',');
        assert_eq!(separator(b"a;b\n1,5;2\n"), b';');
        assert_eq!(separator(b"a\tb c\n1\t2\n"), b'\t');
        assert_eq!(separator(b"1,\"x;y\"\n2,\"z;w\"\n"), b',');
        assert_eq!(separator(b"cat\ndog\n"), b',');
    }

    #[test]
    fn headers_are_told_from_data() {
        let cases: [(&[u8], bool); 14] = [
            (b"a,b,c\n1,2,x\n", true),
            (b"1,2,x\n3,4,y\n", false),
            (b"1,2\n3,4\n", false),
            (b"f1,f2,species\nred,blue,setosa\n", true),
            (b"0,1,2,3,label\n5,6,7,8,cat\n", true),
            (b"0,1,2,3\n5,6,7,8\n", true),
            (b"0,1,2\n5,6,7\n", false),
            (b"150,4,setosa,versicolor,virginica\n5.1,3.5,1.4,0.2,0\n", true),
            (b"1.0,oops,3,0\n1,2,3,1\n", false),
            (b",a,label\n0,1.5,x\n", true),
            (b"NaN,2\n1,2\n", false),
            (b"label\n1\n0\n", true),
            (b"y\nn\ny\n", false),
            (b"cat\ndog\ncat\n", false),
        ];
        for (text, header) in cases {
            assert_eq!(has_header(text, b',', None), header, "{}", String::from_utf8_lossy(text));
        }
        assert!(has_header(b"quality\nlow\nhigh\n", b',', Some("quality")));
    }

    #[test]
    fn prose_is_no_table() {
        assert!(looks_like_a_table(b"1,2\n3,4\n") && looks_like_a_table(b"0\n1\n"));
        assert!(!looks_like_a_table(b"Dear reader,\nthis is a letter.\n"));
        assert!(!looks_like_a_table(b"a,b\n1,2,3\n"));
        assert!(!looks_like_a_table(b"42"));
    }
}
