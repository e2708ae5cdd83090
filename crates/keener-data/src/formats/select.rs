//! Which columns of a table are features, and which one is the label.

use crate::dataset::Matrix;
use crate::error::{DataError, list};
use crate::formats::Want;
use crate::formats::dialect::LABEL_NAMES;
use crate::options::ReadOptions;
use crate::sparse::Features;

/// What the columns of a table are to the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Columns that are features, in the order of the file; empty for [`Want::Labels`].
    pub(crate) features: Vec<usize>,
    /// The column of labels; for [`Want::Features`] one that is left out.
    pub(crate) label: Option<usize>,
}

impl Roles {
    /// Finds the roles of `width` columns.
    ///
    /// The label is `options.label_column`, else the column with a usual name, else the last (for [`Want::Features`]: none,
    /// or with `drop_labels` the one with a usual name). Features are `options.columns` (all, if empty) without the label
    /// and without `options.leave_out`.
    ///
    /// # Errors
    /// [`DataError::LabelColumn`], [`DataError::NoSuchColumn`], [`DataError::NoLabels`] for labelled rows of one column,
    /// [`DataError::Empty`] when no feature is left.
    pub(crate) fn find(
        file: &str,
        names: Option<&[String]>,
        width: usize,
        want: Want,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        if width == 0 {
            return Err(DataError::Empty { place: file.into(), what: "columns".into() });
        }
        let wanted = options.label_column.as_deref();
        let label = match want {
            Want::Features => match wanted {
                // Unlabelled rows need not have the column.
                Some(name) => find(file, width, names, name).ok(),
                None if options.drop_labels => usual(names),
                None => None,
            },
            Want::Labels if width == 1 => Some(0),
            Want::Labelled if width == 1 => {
                return Err(DataError::NoLabels {
                    file: file.into(),
                    expected: "at least two columns (in text between them comma, semicolon or tab, or the separator named in the options), or a second file with the labels".into(),
                });
            }
            _ => Some(match wanted {
                Some(name) => find(file, width, names, name)?,
                None => usual(names).unwrap_or(width - 1),
            }),
        };
        if want == Want::Labels {
            return Ok(Self { features: Vec::new(), label });
        }
        let mut chosen = vec![options.columns.is_empty(); width];
        for pattern in &options.columns {
            let matching = matching(file, width, names, pattern)?;
            matching.into_iter().for_each(|column| chosen[column] = true);
        }
        for pattern in &options.leave_out {
            match matching(file, width, names, pattern) {
                Ok(matching) => matching.into_iter().for_each(|column| chosen[column] = false),
                // As with the label: rows for a prediction need not have what is left out.
                Err(_) if want == Want::Features => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(label) = label {
            chosen[label] = false;
        }
        let features: Vec<usize> = (0..width).filter(|&column| chosen[column]).collect();
        if features.is_empty() {
            let what = if label.is_some() { "columns of features besides the labels" } else { "columns of features" };
            return Err(DataError::Empty { place: file.into(), what: what.into() });
        }
        Ok(Self { features, label })
    }

    /// Whether every column is a feature.
    pub(crate) fn all(&self, width: usize) -> bool {
        self.features.len() == width
    }
}

/// The columns of `features` that the options choose, for formats whose labels are no column.
///
/// # Errors
/// As [`Roles::find`]; [`DataError::TooLarge`] for more than 2^24 columns.
pub(crate) fn choose_columns(file: &str, features: Features, options: &ReadOptions) -> Result<Features, DataError> {
    const MOST: usize = 1 << 24;
    if options.columns.is_empty() && options.leave_out.is_empty() {
        return Ok(features);
    }
    let width = features.dim();
    if width > MOST {
        return Err(DataError::TooLarge {
            place: file.into(),
            what: format!("a choice among {width} columns"),
            bytes: width as u64,
            expected: format!("at most {MOST} columns"),
        });
    }
    let alone = ReadOptions { label_column: None, drop_labels: false, ..options.clone() };
    let roles = Roles::find(file, features.names(), width, Want::Features, &alone)?;
    if roles.all(width) {
        return Ok(features);
    }
    Ok(match features {
        Features::Sparse(csr) => csr.select_columns(&roles.features).into(),
        Features::Dense(matrix) => {
            let rows = matrix.values.chunks_exact(width.max(1));
            let values = rows.flat_map(|row| roles.features.iter().map(|&column| row[column])).collect();
            let names =
                matrix.names.as_ref().map(|names| roles.features.iter().map(|&column| names[column].clone()).collect());
            Features::Dense(Matrix { values, rows: matrix.rows, dim: roles.features.len(), names })
        }
    })
}

/// The column with a usual name, the most preferred first.
fn usual(names: Option<&[String]>) -> Option<usize> {
    let names = names?;
    LABEL_NAMES.iter().find_map(|label| names.iter().position(|name| name.eq_ignore_ascii_case(label)))
}

/// The column called `wanted`, else the column with that index.
fn find(file: &str, width: usize, names: Option<&[String]>, wanted: &str) -> Result<usize, DataError> {
    let names = names.unwrap_or_default();
    let matching: Vec<usize> = (0..names.len()).filter(|&i| names[i] == wanted).collect();
    match matching.as_slice() {
        [column] => return Ok(*column),
        [] => {
            if let Some(column) = column_index(wanted, width) {
                return Ok(column);
            }
        }
        _ => {}
    }
    Err(DataError::LabelColumn {
        file: file.into(),
        wanted: wanted.into(),
        times: matching.len(),
        columns: existing(width, names),
    })
}

/// The columns that a pattern means: a name, a name with `*`, an index, or a range of indices `first..end`.
fn matching(file: &str, width: usize, names: Option<&[String]>, pattern: &str) -> Result<Vec<usize>, DataError> {
    let names = names.unwrap_or_default();
    let pattern = pattern.trim();
    let by = |hit: &dyn Fn(&str) -> bool| (0..names.len()).filter(|&i| hit(&names[i])).collect::<Vec<_>>();
    let mut columns = by(&|name| name == pattern);
    if columns.is_empty() && pattern.contains('*') {
        columns = if pattern == "*" { (0..width).collect() } else { by(&|name| glob(pattern, name)) };
    }
    if columns.is_empty() {
        columns = match pattern.split_once("..") {
            Some((first, end)) => match (edge(first, width, 0), edge(end, width, width)) {
                (Some(first), Some(end)) => (first..end).collect(),
                _ => Vec::new(),
            },
            None => column_index(pattern, width).into_iter().collect(),
        };
    }
    if columns.is_empty() {
        return Err(DataError::NoSuchColumn {
            file: file.into(),
            wanted: pattern.into(),
            columns: existing(width, names),
        });
    }
    Ok(columns)
}

/// The column that an index names: from 0, or negative from the end.
pub(in crate::formats) fn column_index(text: &str, width: usize) -> Option<usize> {
    let index: i64 = text.trim().parse().ok()?;
    let index = if index < 0 { index.checked_add(i64::try_from(width).ok()?)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < width)
}

/// One edge of a range; `width` itself is allowed, nothing stands for `default`.
fn edge(text: &str, width: usize, default: usize) -> Option<usize> {
    match text.trim() {
        "" => Some(default),
        text if text.parse() == Ok(width) => Some(width),
        text => column_index(text, width),
    }
}

/// Whether `name` is `pattern` with something (or nothing) for each `*`.
fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn existing(width: usize, names: &[String]) -> String {
    if names.is_empty() {
        format!("the indices 0 to {}, or -1 for the last (there are no names)", width.saturating_sub(1))
    } else {
        list(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["x1", "x2", "id", "label", "y_old"].map(String::from).to_vec()
    }

    fn roles(want: Want, options: &ReadOptions) -> Result<Roles, DataError> {
        Roles::find("f", Some(&names()), 5, want, options)
    }

    fn options(columns: &[&str], leave_out: &[&str]) -> ReadOptions {
        let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        ReadOptions { columns: owned(columns), leave_out: owned(leave_out), ..Default::default() }
    }

    #[test]
    fn patterns_choose_columns() {
        for (columns, leave_out, expected) in [
            (&[][..], &[][..], &[0, 1, 2, 4][..]),
            (&["x*"], &[], &[0, 1]),
            (&["id", "x1"], &[], &[0, 2]),
            (&["0..3"], &["id"], &[0, 1]),
            (&["-2.."], &[], &[4]),
            (&["..5"], &["x*"], &[2, 4]),
            (&["*"], &["0"], &[1, 2, 4]),
            (&["*_*"], &[], &[4]),
        ] {
            let found = roles(Want::Labelled, &options(columns, leave_out)).unwrap();
            assert_eq!((found.features.as_slice(), found.label), (expected, Some(3)), "{columns:?} {leave_out:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let message = |columns: &[&str]| roles(Want::Labelled, &options(columns, &[])).unwrap_err().to_string();
        for wrong in ["z*", "7", "3..9", "a..b", "4..2"] {
            let message = message(&[wrong]);
            assert!(message.contains(wrong) && message.contains("x1, x2, id, label, y_old"), "{message}");
        }
        assert!(message(&["label"]).contains("no columns of features besides the labels"));
        let absent = options(&[], &["group"]);
        assert!(roles(Want::Labelled, &absent).is_err());
        assert_eq!(roles(Want::Features, &absent).unwrap().features.len(), 5);
    }

    #[test]
    fn stars_match_anything() {
        assert!(glob("a*c*e", "abcde") && glob("*", "") && glob("a*", "a") && glob("*b", "aab"));
        assert!(!glob("a*a", "a") && !glob("ab*ba", "aba") && !glob("x*", "ax") && !glob("a*b*c", "acb"));
    }
}
