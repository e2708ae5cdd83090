//! Tables whose columns have kinds (numbers, lists of numbers, text): what they share on the way to features and labels.

use crate::error::{DataError, list, quoted};
use crate::formats::Want;
use crate::formats::dialect::LABEL_NAMES;
use crate::formats::select::Roles;
use crate::labels::{LabelSets, RawLabels, whole};
use crate::options::ReadOptions;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers and booleans.
    Number,
    /// A list of numbers in each row, all of one length.
    Numbers,
    /// Text.
    Text,
    /// What cannot be used, with its name.
    Other(String),
}

/// Finds the roles of columns with kinds; only columns of numbers become features.
///
/// # Errors
/// As [`Roles::find`]; [`DataError::Unsupported`] when a column of another kind would be a feature;
/// [`DataError::NoLabels`] when the last column, which would be the label for want of a better one, is a list.
pub(super) fn roles(
    file: &str,
    names: Option<&[String]>,
    kinds: &[Kind],
    want: Want,
    options: &ReadOptions,
) -> Result<Roles, DataError> {
    let roles = Roles::find(file, names, kinds.len(), want, options)?;
    if let Some(label) = roles.label {
        let usual = names.is_some_and(|names| LABEL_NAMES.iter().any(|usual| names[label].eq_ignore_ascii_case(usual)));
        if kinds[label] == Kind::Numbers && want != Want::Features && options.label_column.is_none() && !usual {
            return Err(DataError::NoLabels {
                file: file.into(),
                expected: "a column called label, class, target …, the name of the one that holds them, or a second file with the labels".into(),
            });
        }
        if let Kind::Other(what) = &kinds[label] {
            return Err(DataError::Unsupported {
                file: file.into(),
                at: format!("column {}", shown(names, label)),
                found: format!("{what} as a label"),
                expected: "text or whole numbers".into(),
            });
        }
    }
    let wrong = |column: usize| matches!(kinds[column], Kind::Text | Kind::Other(_));
    if let Some(&column) = roles.features.iter().find(|&&column| wrong(column)) {
        let usable = (0..kinds.len()).filter(|&column| !wrong(column)).map(|column| shown(names, column));
        return Err(DataError::Unsupported {
            file: file.into(),
            at: format!("column {}", shown(names, column)),
            found: match &kinds[column] {
                Kind::Other(what) => format!("{what} as a feature"),
                _ => "text as a feature".into(),
            },
            expected: format!("numbers or lists of numbers: choose among the columns {}", list(usable)),
        });
    }
    Ok(roles)
}

/// Name of a column in quotes, or its index.
pub(super) fn shown(names: Option<&[String]>, column: usize) -> String {
    names.map_or_else(|| column.to_string(), |names| quoted(&names[column]))
}

/// Names of the features, where list `x` of three numbers has `x_0`, `x_1`, `x_2`; none if there is nothing but one list.
pub(super) fn feature_names(
    names: Option<&[String]>,
    columns: &[usize],
    kinds: &[Kind],
    widths: &[usize],
) -> Option<Vec<String>> {
    let names = names?;
    if let [one] = columns
        && kinds[*one] == Kind::Numbers
    {
        return None;
    }
    let expand = |(&column, &width): (&usize, &usize)| match kinds[column] {
        Kind::Numbers => (0..width).map(|i| format!("{}_{i}", names[column])).collect(),
        _ => vec![names[column].clone()],
    };
    Some(columns.iter().zip(widths).flat_map(expand).collect())
}

/// The error for a missing value.
pub(super) fn missing(file: &str, row: usize, column: String, expected: &str) -> DataError {
    DataError::Value { file: file.into(), row, column, found: "a missing value".into(), expected: expected.into() }
}

/// The error for a list of another length than those before it.
pub(super) fn ragged(file: &str, row: usize, column: String, found: usize, width: usize) -> DataError {
    let (file, found) = (file.into(), format!("a list of {found} numbers"));
    DataError::Value { file, row, column, found, expected: format!("{width}, as in the first row") }
}

/// A column of labels as it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelColumn(Option<RawLabels>);

impl LabelColumn {
    /// Number of labels so far.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, RawLabels::len)
    }

    /// Appends a number, which must be whole.
    pub(super) fn number(&mut self, file: &str, value: f64) -> Result<(), DataError> {
        let row = self.len();
        let integer = whole(value).ok_or_else(|| DataError::LabelValue {
            file: file.into(),
            row,
            value: value.to_string(),
            expected: "whole numbers or text (a regression target is not a class)".into(),
        })?;
        self.integer(integer);
        Ok(())
    }

    /// Appends a whole number.
    pub(super) fn integer(&mut self, value: i64) {
        match self.0.get_or_insert(RawLabels::Integers(Vec::new())) {
            RawLabels::Integers(values) => values.push(value),
            RawLabels::Text(texts) => texts.push(value.to_string()),
            RawLabels::Sets(sets) => sets.push([value]),
        }
    }

    /// Appends text. Numbers before it become text as well.
    pub(super) fn text(&mut self, text: &str) {
        match self.0.take() {
            Some(RawLabels::Text(mut texts)) => {
                texts.push(text.to_string());
                self.0 = Some(RawLabels::Text(texts));
            }
            before => {
                let mut texts: Vec<String> = match before {
                    Some(RawLabels::Integers(values)) => values.iter().map(i64::to_string).collect(),
                    Some(RawLabels::Sets(sets)) => {
                        (0..sets.rows()).map(|row| list(sets.row(row).iter().map(i64::to_string))).collect()
                    }
                    _ => Vec::new(),
                };
                texts.push(text.to_string());
                self.0 = Some(RawLabels::Text(texts));
            }
        }
    }

    /// Appends several labels of one row. Single numbers before it become sets; text before it is an error of the file.
    pub(super) fn set(&mut self, file: &str, labels: &[f64]) -> Result<(), DataError> {
        let row = self.len();
        let wrong = |value: String, expected: &str| DataError::LabelValue {
            file: file.into(),
            row,
            value,
            expected: expected.into(),
        };
        let whole = |&label: &f64| whole(label).ok_or_else(|| wrong(label.to_string(), "whole numbers"));
        let ids = labels.iter().map(whole).collect::<Result<Vec<i64>, _>>()?;
        let mut sets = match self.0.take() {
            None => LabelSets::default(),
            Some(RawLabels::Sets(sets)) => sets,
            Some(RawLabels::Integers(values)) => {
                let mut sets = LabelSets::default();
                values.into_iter().for_each(|value| sets.push([value]));
                sets
            }
            Some(RawLabels::Text(_)) => return Err(wrong(format!("a list of {}", ids.len()), "text as before")),
        };
        sets.push(ids);
        self.0 = Some(RawLabels::Sets(sets));
        Ok(())
    }

    /// The labels.
    pub(super) fn finish(self) -> RawLabels {
        self.0.unwrap_or(RawLabels::Integers(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_become_features() {
        let names = ["id", "x", "v", "label"].map(String::from);
        let kinds = [Kind::Text, Kind::Number, Kind::Numbers, Kind::Text];
        let find = |options: &ReadOptions| roles("f", Some(&names), &kinds, Want::Labelled, options);
        let error = find(&ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("column \"id\": text as a feature") && error.contains("\"x\", \"v\""), "{error}");
        let found = find(&ReadOptions { leave_out: vec!["id".into()], ..Default::default() }).unwrap();
        assert_eq!((found.features.as_slice(), found.label), (&[1, 2][..], Some(3)));
        let expanded = feature_names(Some(&names), &found.features, &kinds, &[1, 2]).unwrap();
        assert_eq!(expanded, ["x", "v_0", "v_1"]);
        assert_eq!(feature_names(Some(&names), &[2], &kinds, &[2]), None);
        let last = roles("f", Some(&names[..3]), &kinds[..3], Want::Labelled, &ReadOptions::default());
        assert!(last.unwrap_err().to_string().contains("no labels"));
    }

    #[test]
    fn labels_change_kind_without_loss() {
        let mut labels = LabelColumn::default();
        labels.number("f", 3.0).unwrap();
        labels.text("x");
        labels.integer(4);
        assert_eq!(labels.clone().finish(), RawLabels::Text(vec!["3".into(), "x".into(), "4".into()]));
        assert!(labels.number("f", 0.5).is_err() && labels.set("f", &[1.0]).is_err());
        let mut labels = LabelColumn::default();
        labels.integer(1);
        labels.set("f", &[2.0, 3.0]).unwrap();
        assert!(labels.set("f", &[0.5]).is_err());
    }
}
