//! From labels as files hold them (numbers or text) to class indices with names.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{DataError, list, quoted};

/// Labels as a file holds them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawLabels {
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Text; text that spells whole numbers throughout is read as numbers.
    Text(Vec<String>),
    /// Any number of labels a row.
    Sets(LabelSets),
}

/// Several labels (or none) a row: row `i` has `ids[indptr[i]..indptr[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelSets {
    /// Where each row begins in `ids`, `[rows + 1]`.
    pub(crate) indptr: Vec<usize>,
    /// The labels of all rows.
    pub(crate) ids: Vec<i64>,
}

impl Default for LabelSets {
    fn default() -> Self {
        Self { indptr: vec![0], ids: Vec::new() }
    }
}

impl LabelSets {
    /// Appends a row.
    pub(crate) fn push(&mut self, labels: impl IntoIterator<Item = i64>) {
        self.ids.extend(labels);
        self.indptr.push(self.ids.len());
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Labels of row `i`.
    pub(crate) fn row(&self, i: usize) -> &[i64] {
        &self.ids[self.indptr[i]..self.indptr[i + 1]]
    }
}

impl RawLabels {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Sets(sets) => sets.rows(),
        }
    }

    /// Class index of each label, and the class names.
    ///
    /// `given` are the classes that the caller wants, `listed` those that the file lists. With neither, the classes are the
    /// values that occur, sorted: numbers by value, text by its bytes. Otherwise their order is the order of the classes,
    /// and a label outside them is an error. With `listed`, whole numbers are positions in that list.
    ///
    /// # Errors
    /// [`DataError::LabelValue`]: a number that is not whole (a regression target?), or an unknown class;
    /// [`DataError::MultiLabel`] for rows with another number of labels than one.
    pub(crate) fn into_classes(
        self,
        file: &str,
        given: Option<&[String]>,
        listed: Option<Vec<String>>,
    ) -> Result<(Vec<u32>, Vec<String>), DataError> {
        let single = match self {
            Self::Sets(sets) => {
                if let Some(row) = (0..sets.rows()).find(|&row| sets.row(row).len() != 1) {
                    return Err(DataError::MultiLabel { file: file.into(), row, found: sets.row(row).len() });
                }
                Self::Integers(sets.ids)
            }
            single => single,
        };
        match (single, listed) {
            (Self::Integers(values), Some(listed)) => {
                let index = |(row, &value): (usize, &i64)| match usize::try_from(value) {
                    Ok(at) if at < listed.len() => Ok(at as u32),
                    _ => Err(DataError::LabelValue {
                        file: file.into(),
                        row,
                        value: value.to_string(),
                        expected: format!("a position in the file's list of {} classes", listed.len()),
                    }),
                };
                let labels = values.iter().enumerate().map(index).collect::<Result<Vec<u32>, _>>()?;
                match given {
                    None => Ok((labels, listed)),
                    Some(given) => {
                        let texts = labels.iter().map(|&label| listed[label as usize].clone()).collect();
                        Self::Text(texts).into_classes(file, Some(given), None)
                    }
                }
            }
            (Self::Integers(values), None) => integer_classes(&values, file, given),
            (Self::Text(texts), listed) => {
                let names = given.or(listed.as_deref());
                match whole_numbers(&texts, file)? {
                    Some(values) => integer_classes(&values, file, names),
                    None => text_classes(&texts, file, names),
                }
            }
            // Made single above.
            (Self::Sets(sets), _) => integer_classes(&sets.ids, file, given),
        }
    }
}

/// The whole number that `value` is, if it is one that `f64` holds exactly.
pub(crate) fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

/// The numbers that the texts spell; `None` if at least one is not a number at all.
fn whole_numbers(texts: &[String], file: &str) -> Result<Option<Vec<i64>>, DataError> {
    let mut values = Vec::with_capacity(texts.len());
    let mut broken = None;
    for (row, text) in texts.iter().enumerate() {
        let text = text.trim();
        match text.parse::<i64>().ok().or_else(|| text.parse().ok().and_then(whole)) {
            Some(value) => values.push(value),
            None if text.parse::<f64>().is_ok_and(f64::is_finite) => broken = broken.or(Some(row)),
            None => return Ok(None),
        }
    }
    match broken {
        None => Ok(Some(values)),
        Some(row) => Err(DataError::LabelValue {
            file: file.into(),
            row,
            value: quoted(&texts[row]),
            expected: "whole numbers or text (a regression target is not a class)".into(),
        }),
    }
}

fn integer_classes(
    values: &[i64],
    file: &str,
    class_names: Option<&[String]>,
) -> Result<(Vec<u32>, Vec<String>), DataError> {
    let distinct: BTreeSet<i64> = values.iter().copied().collect();
    let (index, names): (BTreeMap<i64, u32>, Vec<String>) = match class_names {
        None => ((0..).zip(&distinct).map(|(c, &v)| (v, c)).collect(), distinct.iter().map(i64::to_string).collect()),
        Some(names) => (
            (0..)
                .zip(names)
                .filter_map(|(c, name)| {
                    let name = name.trim();
                    let value = name.parse::<i64>().ok().or_else(|| name.parse().ok().and_then(whole))?;
                    Some((value, c))
                })
                .collect(),
            names.to_vec(),
        ),
    };
    let labels = look_up(values, &index, file, &names)?;
    Ok((labels, names))
}

fn text_classes(
    texts: &[String],
    file: &str,
    class_names: Option<&[String]>,
) -> Result<(Vec<u32>, Vec<String>), DataError> {
    let names: Vec<String> = match class_names {
        Some(names) => names.to_vec(),
        None => texts.iter().map(|text| text.trim()).collect::<BTreeSet<_>>().into_iter().map(String::from).collect(),
    };
    let index: BTreeMap<&str, u32> = names.iter().map(|name| name.trim()).zip(0..).collect();
    let texts: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
    let labels = look_up(&texts, &index, file, &names)?;
    Ok((labels, names))
}

fn look_up<V: Ord + std::fmt::Display>(
    values: &[V],
    index: &BTreeMap<V, u32>,
    file: &str,
    names: &[String],
) -> Result<Vec<u32>, DataError> {
    let class = |(row, value): (usize, &V)| match index.get(value) {
        Some(&class) => Ok(class),
        None => Err(DataError::LabelValue {
            file: file.into(),
            row,
            value: quoted(&value.to_string()),
            expected: format!("one of the classes {}", list(names)),
        }),
    };
    values.iter().enumerate().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(values: &[&str]) -> RawLabels {
        RawLabels::Text(values.iter().map(|value| value.to_string()).collect())
    }

    #[test]
    fn numbers_are_sorted_by_value_and_keep_their_print() {
        let (labels, names) = RawLabels::Integers(vec![10, -1, 9, 10]).into_classes("f", None, None).unwrap();
        assert_eq!((labels, names), (vec![2, 0, 1, 2], vec!["-1".into(), "9".into(), "10".into()]));
        let (labels, names) = text(&["10", " 9", "9.0"]).into_classes("f", None, None).unwrap();
        assert_eq!((labels, names), (vec![1, 0, 0], vec!["9".into(), "10".into()]));
    }

    #[test]
    fn text_is_sorted_and_may_hold_numbers_among_words() {
        let (labels, names) = text(&["virginica", "setosa", "7"]).into_classes("f", None, None).unwrap();
        assert_eq!((labels, names), (vec![2, 1, 0], vec!["7".into(), "setosa".into(), "virginica".into()]));
    }

    #[test]
    fn given_classes_fix_the_order_and_the_set() {
        let classes = ["b".to_string(), "a".into()];
        assert_eq!(text(&["a", "b"]).into_classes("f", Some(&classes), None).unwrap().0, [1, 0]);
        let error = text(&["a", "c"]).into_classes("f", Some(&classes), None).unwrap_err().to_string();
        assert_eq!(error, "f: label \"c\" at row 1: expected one of the classes b, a");
        let digits = ["2".to_string(), "1".into(), "0".into()];
        assert_eq!(RawLabels::Integers(vec![1, 2]).into_classes("f", Some(&digits), None).unwrap().0, [1, 0]);
        assert!(RawLabels::Integers(vec![3]).into_classes("f", Some(&digits), None).is_err());
    }

    #[test]
    fn a_regression_target_is_refused() {
        let error = text(&["1", "2.5"]).into_classes("f", None, None).unwrap_err().to_string();
        assert!(error.contains("\"2.5\" at row 1") && error.contains("regression"), "{error}");
    }

    #[test]
    fn only_exact_whole_numbers_count() {
        assert_eq!(whole(-3.0), Some(-3));
        for value in [0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(whole(value), None);
        }
    }

    #[test]
    fn classes_that_the_file_lists_give_names_to_positions() {
        let listed = || Some(vec!["dog".to_string(), "cat".into(), "never".into()]);
        let (labels, names) = RawLabels::Integers(vec![1, 0]).into_classes("f", None, listed()).unwrap();
        assert_eq!((labels, names.len()), (vec![1, 0], 3));
        let given = ["cat".to_string(), "dog".into()];
        assert_eq!(RawLabels::Integers(vec![1, 0]).into_classes("f", Some(&given), listed()).unwrap().0, [0, 1]);
        assert_eq!(text(&["cat", "dog"]).into_classes("f", None, listed()).unwrap().0, [1, 0]);
        let error = RawLabels::Integers(vec![1, 3]).into_classes("f", None, listed()).unwrap_err().to_string();
        assert_eq!(error, "f: label 3 at row 1: expected a position in the file's list of 3 classes");
    }

    #[test]
    fn rows_with_several_labels_are_no_classes() {
        let mut sets = LabelSets::default();
        sets.push([7]);
        sets.push([5]);
        assert_eq!(RawLabels::Sets(sets.clone()).into_classes("f", None, None).unwrap().0, [1, 0]);
        sets.push([5, 7]);
        let error = RawLabels::Sets(sets).into_classes("f", None, None).unwrap_err().to_string();
        assert!(error.contains("row 2 has 2 labels"), "{error}");
    }
}
