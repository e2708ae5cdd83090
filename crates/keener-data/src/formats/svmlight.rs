//! svmlight, also called libsvm: a row a line, `label index:value index:value … # comment`.
//!
//! Several labels are separated by commas; a line may begin with an index (no label). `qid:3` names the group of a row: it is
//! no feature, and is read as a label column called `qid` on request. Lines that are empty or hold a comment alone are passed
//! over. Whether the first feature is called 0 or 1 is not written down: 0, if an index 0 occurs, else 1 (as in
//! scikit-learn), unless the options say. The comments `# dim: N` and `# class_names: [...]` before the first row are
//! kept to, so that a file that keener wrote comes back whole.

use crate::error::{DataError, quoted};
use crate::formats::select::choose_columns;
use crate::formats::{Input, Table, Want};
use crate::labels::{LabelSets, RawLabels, whole};
use crate::options::ReadOptions;
use crate::sparse::Csr;

/// The name under which groups are read as labels.
const QID: &str = "qid";

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let base = match options.index_base {
        None | Some(0 | 1) => options.index_base,
        Some(other) => {
            return Err(DataError::Parameter {
                place: "reading svmlight text",
                name: "index_base".into(),
                value: other.to_string(),
                expected: "0 or 1".into(),
            });
        }
    };
    let groups = want == Want::Labels && options.label_column.as_deref() == Some(QID);
    let mut rows = Rows::default();
    let mut labels = Labels::default();
    let mut qids = Vec::new();
    let (mut dim, mut class_names) = (options.dim, None);
    for (line, text) in lines(input.bytes) {
        let (text, comment) = split_comment(text);
        if rows.count() == 0
            && let Some(comment) = comment
        {
            dim = dim.or(directive(comment, "dim").and_then(|text| text.parse().ok()));
            class_names = class_names.or(directive(comment, "class_names").and_then(|t| serde_json::from_str(t).ok()));
        }
        let mut tokens = text.split(|&byte| is_blank(byte)).filter(|token| !token.is_empty()).peekable();
        let Some(&first) = tokens.peek() else { continue };
        let label = if first.contains(&b':') { &b""[..] } else { tokens.next().unwrap_or_default() };
        labels.push(input.file, line, label)?;
        if let Some(qid) = tokens.peek().and_then(|token| token.strip_prefix(b"qid:")) {
            qids.push(number(qid).and_then(whole).ok_or_else(|| bad(input.file, line, qid, "a whole number as qid"))?);
            tokens.next();
        } else if groups {
            return Err(bad(input.file, line, first, "a qid in every row"));
        }
        rows.push(input.file, line, tokens, options.keep_non_finite)?;
    }
    if rows.count() == 0 {
        return Err(DataError::Empty { place: input.file.into(), what: "rows of data".into() });
    }
    let labels = match want {
        Want::Features => None,
        _ if groups => Some(RawLabels::Integers(qids)),
        _ => Some(labels.finish(input.file, class_names.is_some())?),
    };
    let features = match want {
        Want::Labels => None,
        _ => {
            let base = base.unwrap_or(u8::from(!rows.zero));
            Some(choose_columns(input.file, rows.finish(input.file, base, dim, options)?.into(), options)?)
        }
    };
    Ok(Table { features, labels, class_names: class_names.filter(|_| want != Want::Features && !groups) })
}

/// Whether the first row of the text is written like this.
pub(super) fn looks_like_it(text: &[u8]) -> bool {
    let pair = |token: &[u8]| {
        let mut parts = token.splitn(2, |&byte| byte == b':');
        let index = parts.next().unwrap_or_default();
        let whole = index == b"qid" || (!index.is_empty() && index.iter().all(u8::is_ascii_digit));
        whole && parts.next().is_some_and(|value| number(value).is_some())
    };
    lines(text).map(|(_, line)| split_comment(line).0).find(|line| !line.iter().copied().all(is_blank)).is_some_and(
        |line| {
            let mut tokens = line.split(|&byte| is_blank(byte)).filter(|token| !token.is_empty());
            let first = tokens.next().unwrap_or_default();
            let labels = || first.split(|&byte| byte == b',').all(|label| number(label).is_some());
            match tokens.next() {
                None => pair(first),
                // The sample may end within a later token.
                Some(second) => (pair(first) || labels()) && pair(second),
            }
        },
    )
}

/// Numbered lines without their ends.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    (1..).zip(text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn split_comment(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|&byte| byte == b'#') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

/// The text after `name:` in a comment.
fn directive<'a>(comment: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(comment).ok()?.trim().strip_prefix(name)?.strip_prefix(':').map(str::trim)
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The error for a token that is not what it should be.
pub(super) fn bad(file: &str, line: u64, token: &[u8], expected: &str) -> DataError {
    DataError::Malformed {
        file: file.into(),
        at: format!("line {line}"),
        found: quoted(&String::from_utf8_lossy(token)),
        expected: expected.into(),
    }
}

/// Sparse rows as they are read; the base of the indices is taken off at the end.
pub(super) struct Rows {
    indptr: Vec<usize>,
    indices: Vec<usize>,
    values: Vec<f32>,
    /// Whether an index 0 occurred.
    zero: bool,
}

impl Default for Rows {
    fn default() -> Self {
        Self { indptr: vec![0], indices: Vec::new(), values: Vec::new(), zero: false }
    }
}

impl Rows {
    pub(super) fn count(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Appends a row of `index:value` tokens.
    pub(super) fn push<'a>(
        &mut self,
        file: &str,
        line: u64,
        tokens: impl Iterator<Item = &'a [u8]>,
        keep_non_finite: bool,
    ) -> Result<(), DataError> {
        for token in tokens {
            let pair = || {
                let at = token.iter().position(|&byte| byte == b':')?;
                let index: u32 = std::str::from_utf8(&token[..at]).ok()?.parse().ok()?;
                let value: f32 = std::str::from_utf8(&token[at + 1..]).ok()?.parse().ok()?;
                (keep_non_finite || value.is_finite()).then_some((index as usize, value))
            };
            let (index, value) = pair().ok_or_else(|| {
                bad(file, line, token, "index:value with an index below 2^32 and a finite value within f32")
            })?;
            self.zero |= index == 0;
            self.indices.push(index);
            self.values.push(value);
        }
        self.indptr.push(self.values.len());
        Ok(())
    }

    /// The rows with `base` taken off the indices, and `dim` columns or as many as occur.
    pub(super) fn finish(
        mut self,
        file: &str,
        base: u8,
        dim: Option<usize>,
        options: &ReadOptions,
    ) -> Result<Csr, DataError> {
        let base = usize::from(base);
        if base == 1 && self.zero {
            let row = self
                .indptr
                .partition_point(|&start| start <= self.indices.iter().position(|&index| index == 0).unwrap_or(0))
                - 1;
            let (file, column, expected) = (file.into(), "0".into(), "indices from 1, as index_base says".into());
            return Err(DataError::Value { file, row, column, found: "index 0".into(), expected });
        }
        self.indices.iter_mut().for_each(|index| *index -= base);
        let dim = dim.unwrap_or_else(|| self.indices.iter().max().map_or(0, |last| last + 1));
        if dim == 0 {
            return Err(DataError::Empty {
                place: file.into(),
                what: "features (a number of them can be given)".into(),
            });
        }
        Csr::from_unsorted(file, dim, self.indptr, self.indices, self.values, options.keep_non_finite)
    }
}

/// Labels as they are read: one number or word a row, or several numbers.
#[derive(Default)]
struct Labels {
    texts: Vec<String>,
    /// The first line with another number of labels than one.
    several: bool,
}

impl Labels {
    fn push(&mut self, file: &str, line: u64, token: &[u8]) -> Result<(), DataError> {
        let text = std::str::from_utf8(token).map_err(|_| bad(file, line, token, "labels in UTF-8"))?;
        self.several |= text.is_empty() || text.contains(',');
        self.texts.push(text.to_string());
        Ok(())
    }

    /// The labels; `listed`: the file lists its classes, and numbers are positions in that list.
    fn finish(self, file: &str, listed: bool) -> Result<RawLabels, DataError> {
        if !self.several {
            let numbers = || self.texts.iter().map(|text| number(text.as_bytes()).and_then(whole)).collect();
            let numbers: Option<Vec<i64>> = if listed { numbers() } else { None };
            return Ok(numbers.map_or(RawLabels::Text(self.texts), RawLabels::Integers));
        }
        if self.texts.iter().all(String::is_empty) {
            return Err(DataError::NoLabels {
                file: file.into(),
                expected: "one before the first index of a line".into(),
            });
        }
        let mut sets = LabelSets::default();
        for (row, text) in self.texts.iter().enumerate() {
            let ids: Option<Vec<i64>> =
                text.split(',').filter(|id| !id.is_empty()).map(|id| number(id.as_bytes()).and_then(whole)).collect();
            sets.push(ids.ok_or_else(|| DataError::LabelValue {
                file: file.into(),
                row,
                value: quoted(text),
                expected: "whole numbers between commas, where a row may have several labels".into(),
            })?);
        }
        Ok(RawLabels::Sets(sets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::Features;

    fn table(text: &str, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
        read(&Input { file: "f.svm", bytes: text.as_bytes() }, want, options)
    }

    fn csr(text: &str, options: &ReadOptions) -> Csr {
        match table(text, Want::Features, options).unwrap().features.unwrap() {
            Features::Sparse(csr) => csr,
            Features::Dense(_) => panic!("dense"),
        }
    }

    const PLAIN: &str = "# a comment\n+1 1:0.5 3:2 # another\n\n-1\t2:1e-1\r\n1.0 qid:4 1:7\n";

    #[test]
    fn labels_comments_and_query_ids() {
        let read = table(PLAIN, Want::Labelled, &ReadOptions::default()).unwrap();
        let (labels, names) = read.labels.unwrap().into_classes("f", None, None).unwrap();
        assert_eq!((labels, names), (vec![1, 0, 1], vec!["-1".into(), "1".into()]));
        let csr = csr(PLAIN, &ReadOptions::default());
        assert_eq!((csr.rows(), csr.dim()), (3, 3));
        assert_eq!((csr.row(0), csr.row(2)), ((&[0, 2][..], &[0.5, 2.0][..]), (&[0][..], &[7.0][..])));
        let groups = ReadOptions { label_column: Some("qid".into()), ..Default::default() };
        let text = "1 qid:4 1:7\n0 qid:5 1:7\n";
        assert_eq!(table(text, Want::Labels, &groups).unwrap().labels, Some(RawLabels::Integers(vec![4, 5])));
        assert!(table(PLAIN, Want::Labels, &groups).unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn the_base_is_found_or_given() {
        let base = |index_base, text| csr(text, &ReadOptions { index_base, ..Default::default() }).dim();
        assert_eq!((base(None, "1 1:1 4:1\n"), base(None, "1 0:1 4:1\n"), base(Some(0), "1 1:1 4:1\n")), (4, 5, 5));
        let one = ReadOptions { index_base: Some(1), ..Default::default() };
        let error = table("1 1:1\n1 0:1\n", Want::Features, &one).unwrap_err().to_string();
        assert_eq!(error, "f.svm, row 1, column 0: found index 0, expected indices from 1, as index_base says");
        assert!(table("1 1:1\n", Want::Features, &ReadOptions { index_base: Some(2), ..one }).is_err());
        let wide = ReadOptions { dim: Some(9), ..Default::default() };
        assert_eq!(csr("1 1:1\n", &wide).dim(), 9);
        assert!(table("1 10:1\n", Want::Features, &wide).unwrap_err().to_string().contains("found column 9"));
    }

    #[test]
    fn several_labels_are_kept_as_sets() {
        let labels = table("1,3 1:1\n 2:1\n3 1:1\n", Want::Labels, &ReadOptions::default()).unwrap().labels.unwrap();
        let RawLabels::Sets(sets) = labels else { panic!("{labels:?}") };
        assert_eq!((sets.row(0), sets.row(1), sets.row(2)), (&[1, 3][..], &[][..], &[3][..]));
        assert!(table("1:1\n", Want::Labels, &ReadOptions::default()).unwrap_err().to_string().contains("no labels"));
        assert!(table("a,b 1:1\n", Want::Labels, &ReadOptions::default()).unwrap_err().to_string().contains("\"a,b\""));
    }

    #[test]
    fn bad_tokens_are_named_with_their_line() {
        for (text, part) in [
            ("1 1:1\n1 2:x\n", "line 2: found \"2:x\""),
            ("1 1:nan\n", "\"1:nan\""),
            ("1 -1:1\n", "\"-1:1\""),
            ("1 4294967296:1\n", "below 2^32"),
            ("1 1:1 1:2\n", "row 0: found column 0, expected one in 1..1"),
            ("1 qid:x 1:1\n", "whole number as qid"),
            ("# nothing\n\n", "no rows of data"),
            ("1\n2\n", "no features"),
        ] {
            let error = table(text, Want::Features, &ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(csr("1 3:3 1:1\n", &ReadOptions::default()).row(0), (&[0, 2][..], &[1.0, 3.0][..]));
    }

    #[test]
    fn the_text_is_recognised() {
        for text in ["1 1:2\n", "# c\n\n-1.5 qid:3 4:1", "1,2 7:0.5 8:1\n", "3:1 4:1\n", "7:1\n"] {
            assert!(looks_like_it(text.as_bytes()), "{text}");
        }
        for text in ["1,2\n", "a b\n", "12:30 rain\n", "1 2 3\n", "key: value\n", ""] {
            assert!(!looks_like_it(text.as_bytes()), "{text}");
        }
    }
}
