//! Arrays as binary formats hold them, and their way to features and labels.

use crate::dataset::Matrix;
use crate::error::DataError;
use crate::formats::select::Roles;
use crate::formats::{Input, Table, Want};
use crate::labels::{RawLabels, whole};
use crate::options::ReadOptions;

/// An array of any shape, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawArray {
    /// Extent of each axis.
    pub(crate) shape: Vec<usize>,
    /// The elements.
    pub(crate) values: Values,
}

/// Elements, in the narrowest of these types that holds them all exactly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// Bytes and booleans.
    U8(Vec<u8>),
    /// Other whole numbers.
    I64(Vec<i64>),
    /// Half and single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Text.
    Text(Vec<String>),
}

impl RawArray {
    /// Features: the first axis are the rows, the others are flattened.
    ///
    /// # Errors
    /// [`DataError::Shape`] for fewer than two axes or an axis of length 0, [`DataError::Unsupported`] for text,
    /// [`DataError::NonFinite`] (unless those are kept), [`DataError::Empty`].
    pub(crate) fn into_features(self, file: &str, at: &str, keep_non_finite: bool) -> Result<Matrix, DataError> {
        let place = format!("{file}: {at}");
        if self.shape.first() == Some(&0) {
            return Err(DataError::Empty { place, what: "rows".into() });
        }
        if self.shape.len() < 2 || self.shape.contains(&0) {
            return Err(DataError::Shape {
                place,
                what: "the array of features".into(),
                found: format!("shape {:?}", self.shape),
                expected: "[rows, dim], or more axes that are flattened, none of length 0".into(),
            });
        }
        let dim = self.shape[1..].iter().product();
        let values = match self.values {
            Values::U8(values) => values.into_iter().map(f32::from).collect(),
            Values::I64(values) => values.into_iter().map(|value| value as f32).collect(),
            Values::F32(values) => values,
            Values::F64(values) if keep_non_finite => values.into_iter().map(|value| value as f32).collect(),
            Values::F64(values) => narrowed(&values, dim, &place)?,
            Values::Text(_) => {
                return Err(DataError::Unsupported {
                    file: file.into(),
                    at: at.into(),
                    found: "text as features".into(),
                    expected: "numbers".into(),
                });
            }
        };
        Matrix::checked(&place, values, dim, None, keep_non_finite)
    }

    /// Labels: one axis, or a second one of length 1.
    ///
    /// # Errors
    /// [`DataError::Shape`], and [`DataError::LabelValue`] for numbers that are not whole.
    pub(crate) fn into_labels(self, file: &str, at: &str) -> Result<RawLabels, DataError> {
        if self.shape.is_empty() || self.shape[1..].iter().any(|&extent| extent != 1) {
            return Err(DataError::Shape {
                place: format!("{file}: {at}"),
                what: "the array of labels".into(),
                found: format!("shape {:?}", self.shape),
                expected: "[rows] or [rows, 1]".into(),
            });
        }
        let whole_or = |(row, value): (usize, f64)| {
            whole(value).ok_or_else(|| DataError::LabelValue {
                file: file.into(),
                row,
                value: value.to_string(),
                expected: "whole numbers or text (a regression target is not a class)".into(),
            })
        };
        Ok(match self.values {
            Values::U8(values) => RawLabels::Integers(values.into_iter().map(i64::from).collect()),
            Values::I64(values) => RawLabels::Integers(values),
            Values::F32(values) => {
                let values = values.into_iter().map(f64::from).enumerate();
                RawLabels::Integers(values.map(whole_or).collect::<Result<_, _>>()?)
            }
            Values::F64(values) => {
                RawLabels::Integers(values.into_iter().enumerate().map(whole_or).collect::<Result<_, _>>()?)
            }
            Values::Text(values) => RawLabels::Text(values),
        })
    }

    /// The table that a file with this one array is.
    pub(super) fn into_table(self, input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
        let (file, at) = (input.file, "array");
        if options.label_column.is_none() {
            match want {
                Want::Labels => return Ok(Table { labels: Some(self.into_labels(file, at)?), ..Table::default() }),
                Want::Labelled => {
                    return Err(DataError::NoLabels {
                        file: file.into(),
                        expected: "a second file with the labels, or the index of the column that holds them".into(),
                    });
                }
                Want::Features => {}
            }
        }
        let keep = options.keep_non_finite;
        if options.label_column.is_none() && options.columns.is_empty() && options.leave_out.is_empty() {
            return Ok(Table { features: Some(self.into_features(file, at, keep)?.into()), ..Table::default() });
        }
        if self.shape.contains(&0) {
            // The error of an empty array; an extent beside a 0 may be any number.
            return Ok(Table { features: Some(self.into_features(file, at, keep)?.into()), ..Table::default() });
        }
        let (rows, width) = match *self.shape.as_slice() {
            [rows, width] => (rows, width),
            [rows, ref rest @ ..] if !rest.is_empty() && want == Want::Features => (rows, rest.iter().product()),
            _ => {
                return Err(DataError::Shape {
                    place: format!("{file}: {at}"),
                    what: "the array from which columns are chosen".into(),
                    found: format!("shape {:?}", self.shape),
                    expected: "[rows, columns]".into(),
                });
            }
        };
        let roles = Roles::find(file, None, width, want, options)?;
        let features = match want {
            Want::Labels => None,
            _ if roles.all(width) => Some(self.clone()),
            _ => Some(self.columns(rows, width, &roles.features)),
        };
        let labels = match (want, roles.label) {
            (Want::Labelled | Want::Labels, Some(label)) => Some(self.columns(rows, width, &[label])),
            _ => None,
        };
        Ok(Table {
            features: features.map(|array| array.into_features(file, at, keep)).transpose()?.map(Into::into),
            labels: labels.map(|array| array.into_labels(file, at)).transpose()?,
            class_names: None,
        })
    }

    /// The given columns of the array as a matrix `[rows, width]`.
    fn columns(&self, rows: usize, width: usize, columns: &[usize]) -> Self {
        fn take<T: Clone>(values: &[T], width: usize, columns: &[usize]) -> Vec<T> {
            let rows = values.chunks_exact(width.max(1));
            rows.flat_map(|row| columns.iter().map(|&column| row[column].clone())).collect()
        }
        macro_rules! take {
            ($($kind:ident),*) => {
                match &self.values {
                    $(Values::$kind(values) => Values::$kind(take(values, width, columns)),)*
                }
            };
        }
        Self { shape: vec![rows, columns.len()], values: take!(U8, I64, F32, F64, Text) }
    }
}

/// `f64` to `f32`, where finite numbers must stay finite.
fn narrowed(values: &[f64], dim: usize, place: &str) -> Result<Vec<f32>, DataError> {
    let out: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    match out.iter().position(|value| !value.is_finite()) {
        Some(i) => Err(DataError::NonFinite {
            place: place.into(),
            row: i / dim,
            column: i % dim,
            value: values[i].to_string(),
        }),
        None => Ok(out),
    }
}

/// Column-major to row-major.
pub(super) fn row_major<T: Clone>(values: Vec<T>, shape: &[usize]) -> Vec<T> {
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |step, &extent| {
            let stride = *step;
            *step *= extent;
            Some(stride)
        })
        .collect();
    let mut out = Vec::with_capacity(values.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..values.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        out.push(values[at].clone());
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_major_is_turned() {
        // The 2×3 matrix 0 1 2 / 3 4 5, and a 2×2×2 cube numbered in row-major order.
        assert_eq!(row_major(vec![0, 3, 1, 4, 2, 5], &[2, 3]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(row_major(vec![0, 4, 2, 6, 1, 5, 3, 7], &[2, 2, 2]), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn axes_after_the_first_are_flattened() {
        let array = RawArray { shape: vec![2, 2, 1], values: Values::I64(vec![1, 2, 3, 4]) };
        let matrix = array.into_features("f", "array", false).unwrap();
        assert_eq!((matrix.rows, matrix.dim, matrix.values), (2, 2, vec![1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        for shape in [vec![], vec![4], vec![4, 0], vec![0, 4]] {
            let array = RawArray { values: Values::F32(vec![0.0; shape.iter().product()]), shape };
            assert!(array.into_features("f", "array", false).is_err());
        }
        let wide = RawArray { shape: vec![1, 2], values: Values::F64(vec![0.0, 1e39]) };
        let error = wide.into_features("f", "array 'X'", false).unwrap_err().to_string();
        assert!(error.starts_with("f: array 'X', row 0, column 1: found 1000"), "{error}");
    }

    #[test]
    fn labels_may_be_stored_as_floats_or_in_a_column() {
        let floats = RawArray { shape: vec![2, 1], values: Values::F32(vec![1.0, 0.0]) };
        assert_eq!(floats.into_labels("f", "array").unwrap(), RawLabels::Integers(vec![1, 0]));
        let half = RawArray { shape: vec![1], values: Values::F64(vec![0.5]) };
        assert!(half.into_labels("f", "array").is_err());
    }

    #[test]
    fn columns_are_chosen_by_index() {
        let array = RawArray { shape: vec![2, 3], values: Values::U8(vec![1, 2, 9, 3, 4, 8]) };
        let table = |label: Option<&str>, columns: &[&str], want| {
            let columns = columns.iter().map(|column| column.to_string()).collect();
            let options = ReadOptions { label_column: label.map(String::from), columns, ..Default::default() };
            array.clone().into_table(&Input { file: "f", bytes: &[] }, want, &options)
        };
        let both = table(Some("-1"), &[], Want::Labelled).unwrap();
        assert_eq!(both.labels, Some(RawLabels::Integers(vec![9, 8])));
        assert_eq!(both.features.unwrap().into_dense("f").unwrap().values, [1.0, 2.0, 3.0, 4.0]);
        let some = table(None, &["1.."], Want::Features).unwrap().features.unwrap();
        assert_eq!(some.into_dense("f").unwrap().values, [2.0, 9.0, 4.0, 8.0]);
        let hollow = RawArray { shape: vec![0, usize::MAX], values: Values::U8(vec![]) };
        let options = ReadOptions { label_column: Some("0".into()), ..Default::default() };
        let error = hollow.into_table(&Input { file: "f", bytes: &[] }, Want::Labels, &options).unwrap_err();
        assert!(error.to_string().contains("no rows"), "{error}");
        for wrong in ["3", "-4", "x"] {
            assert!(table(Some(wrong), &[], Want::Labelled).is_err(), "{wrong}");
        }
    }
}
