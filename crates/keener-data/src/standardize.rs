//! Features to mean 0 and standard deviation 1, with the statistics of the training rows.

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, check_matrix};
use crate::error::DataError;
use crate::source::{BLOCK, RowSource, for_each_block};
use crate::sparse::Csr;

const PLACE: &str = "standardize";

/// Per-feature centre and scale: `(x − mean) / scale`.
///
/// `scale` is the population standard deviation (divisor n), as in scikit-learn's `StandardScaler`; a constant feature
/// has scale 1 and is only centred. Sparse rows are divided by the scale and not centred, so that zeros stay zeros
/// (`StandardScaler(with_mean=False)`): the mean is then stored as 0.
///
/// Both statistics come from one pass over the rows in `f64`: mean and squared deviations of blocks of 2²⁰ values, merged
/// in their order (Chan, Golub & LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*,
/// 1979), so that rows in memory and rows on disk give the same bits. Deserialising checks the contents.
///
/// ```
/// use keener_data::Standardizer;
/// let mut features = vec![1.0, 5.0, 3.0, 5.0];
/// let standardizer = Standardizer::fit(&features, 2)?;
/// standardizer.apply(&mut features, 2)?;
/// assert_eq!(features, [-1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), keener_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Standardizer {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

/// What is stored, before it is checked.
#[derive(Deserialize)]
struct Fields {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl TryFrom<Fields> for Standardizer {
    type Error = DataError;

    fn try_from(fields: Fields) -> Result<Self, DataError> {
        let Fields { mean, scale } = fields;
        if mean.len() != scale.len() || mean.is_empty() {
            return Err(shape("scale", format!("{} entries", scale.len()), format!("{}, as mean has", mean.len())));
        }
        let valid = |i: usize| mean[i].is_finite() && scale[i].is_finite() && scale[i] > 0.0;
        match (0..mean.len()).find(|&i| !valid(i)) {
            Some(i) => Err(DataError::Parameter {
                place: PLACE,
                name: format!("mean[{i}], scale[{i}]"),
                value: format!("{}, {}", mean[i], scale[i]),
                expected: "finite numbers, the scale positive".into(),
            }),
            None => Ok(Self { mean, scale }),
        }
    }
}

impl Standardizer {
    /// Statistics of `features`, row-major `[rows, dim]`.
    ///
    /// # Errors
    /// [`DataError::Shape`], [`DataError::NonFinite`], [`DataError::Empty`] without rows.
    pub fn fit(features: &[f32], dim: usize) -> Result<Self, DataError> {
        check_matrix(PLACE, features, dim)?;
        let mut moments = Moments::new(dim);
        moments.push(features);
        moments.finish()
    }

    /// Statistics of some rows of a source, centred unless the source is sparse.
    ///
    /// # Errors
    /// As [`Standardizer::fit`], and what reading raises.
    pub fn fit_rows(source: &dyn RowSource, rows: &[usize]) -> Result<Self, DataError> {
        if source.sparse().is_some() {
            return Self::fit_scale(source, rows);
        }
        let mut moments = Moments::new(source.dim());
        for_each_block(source, &mut rows.iter().copied(), |first, values| {
            check_matrix(PLACE, values, source.dim()).map_err(|error| in_source(error, rows, first))?;
            moments.push(values);
            Ok::<_, DataError>(())
        })?;
        moments.finish()
    }

    /// Scales of some rows of a source, not centred.
    ///
    /// # Errors
    /// As [`Standardizer::fit_rows`].
    pub fn fit_scale(source: &dyn RowSource, rows: &[usize]) -> Result<Self, DataError> {
        let Some(csr) = source.sparse() else {
            let mut moments = Moments::new(source.dim());
            for_each_block(source, &mut rows.iter().copied(), |_, values| {
                moments.push(values);
                Ok::<_, DataError>(())
            })?;
            let scale = moments.finish()?.scale;
            return Ok(Self { mean: vec![0.0; scale.len()], scale });
        };
        let n = rows.len() as f64;
        if rows.is_empty() {
            return Err(DataError::Empty { place: PLACE.into(), what: "rows".into() });
        }
        let entries = || rows.iter().flat_map(|&row| std::iter::zip(csr.row(row).0, csr.row(row).1));
        let (mut mean, mut stored) = (vec![0.0; csr.dim()], vec![0_usize; csr.dim()]);
        for (&column, &value) in entries() {
            mean[column as usize] += f64::from(value);
            stored[column as usize] += 1;
        }
        mean.iter_mut().for_each(|sum| *sum /= n);
        let mut scale: Vec<f64> =
            mean.iter().zip(&stored).map(|(mean, stored)| (rows.len() - stored) as f64 * mean * mean).collect();
        let mut least = vec![(f32::INFINITY, f32::NEG_INFINITY); csr.dim()];
        for (&column, &value) in entries() {
            let column = column as usize;
            scale[column] += (f64::from(value) - mean[column]).powi(2);
            least[column] = (least[column].0.min(value), least[column].1.max(value));
        }
        for column in 0..csr.dim() {
            let (low, high) = least[column];
            let constant = stored[column] == 0 || (stored[column] == rows.len() && low == high);
            let deviation = (scale[column] / n).sqrt();
            // Stored zeros throughout are a constant as well.
            scale[column] = if constant || deviation == 0.0 { 1.0 } else { deviation };
        }
        Ok(Self { mean: vec![0.0; csr.dim()], scale })
    }

    /// Statistics of a data set's features.
    ///
    /// # Errors
    /// As [`Standardizer::fit`].
    pub fn fit_dataset(data: &Dataset) -> Result<Self, DataError> {
        Self::fit(&data.features, data.dim)
    }

    /// Standardises `features`, row-major `[rows, dim]`, in place.
    ///
    /// # Errors
    /// [`DataError::Shape`] if `dim` is not that of the fit, [`DataError::NonFinite`] for input or output that is not
    /// finite; nothing has been written then.
    pub fn apply(&self, features: &mut [f32], dim: usize) -> Result<(), DataError> {
        if dim != self.dim() {
            let expected = format!("{}, as the rows that the statistics come from", self.dim());
            return Err(shape("features", format!("{dim} columns"), expected));
        }
        check_matrix(PLACE, features, dim)?;
        let standard = |j: usize, x: f32| ((f64::from(x) - self.mean[j]) / self.scale[j]) as f32;
        for (row, values) in features.chunks_exact(dim).enumerate() {
            if let Some(column) = (0..dim).find(|&j| !standard(j, values[j]).is_finite()) {
                let value = format!("{} (standardised beyond f32)", values[column]);
                return Err(DataError::NonFinite { place: PLACE.into(), row, column, value });
            }
        }
        for row in features.chunks_exact_mut(dim) {
            row.iter_mut().enumerate().for_each(|(j, x)| *x = standard(j, *x));
        }
        Ok(())
    }

    /// Standardises a data set's features in place.
    ///
    /// # Errors
    /// As [`Standardizer::apply`].
    pub fn apply_dataset(&self, data: &mut Dataset) -> Result<(), DataError> {
        self.apply(&mut data.features, data.dim)
    }

    /// Divides sparse rows by the scales, in place.
    ///
    /// # Errors
    /// As [`Standardizer::apply`]; [`DataError::Parameter`] when the rows would have to be centred, which fills their zeros.
    pub fn apply_sparse(&self, rows: &mut Csr) -> Result<(), DataError> {
        if rows.dim() != self.dim() {
            let expected = format!("{}, as the rows that the statistics come from", self.dim());
            return Err(shape("features", format!("{} columns", rows.dim()), expected));
        }
        if self.is_centred() {
            return Err(DataError::Parameter {
                place: PLACE,
                name: "mean".into(),
                value: "not 0".into(),
                expected: "0 throughout, for rows that stay sparse".into(),
            });
        }
        let standard = |column: u32, value: f32| (f64::from(value) / self.scale[column as usize]) as f32;
        for row in 0..rows.rows() {
            let (columns, values) = rows.row(row);
            if let Some(at) = (0..values.len()).find(|&at| !standard(columns[at], values[at]).is_finite()) {
                let value = format!("{} (standardised beyond f32)", values[at]);
                let column = columns[at] as usize;
                return Err(DataError::NonFinite { place: PLACE.into(), row, column, value });
            }
        }
        let columns = rows.indices().to_vec();
        rows.values_mut().iter_mut().zip(columns).for_each(|(value, column)| *value = standard(column, *value));
        Ok(())
    }

    /// Whether rows are centred: false for statistics of sparse rows.
    pub fn is_centred(&self) -> bool {
        self.mean.iter().any(|mean| *mean != 0.0)
    }

    /// Number of features.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Mean of each feature, `[dim]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Divisor of each feature, `[dim]`, positive.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }
}

/// The row of the source where an error names a row of a block that begins at `first` of `rows`.
pub(crate) fn in_source(error: DataError, rows: &[usize], first: usize) -> DataError {
    match error {
        DataError::NonFinite { place, row, column, value } => {
            DataError::NonFinite { place, row: rows[first + row], column, value }
        }
        other => other,
    }
}

/// Means and squared deviations of rows that come one block after the other.
#[derive(Debug)]
pub(crate) struct Moments {
    dim: usize,
    rows: usize,
    mean: Vec<f64>,
    /// Sum of the squared deviations from the mean.
    squares: Vec<f64>,
    first: Vec<f32>,
    constant: Vec<bool>,
    /// Rows that wait until the block is full.
    waiting: Vec<f32>,
}

impl Moments {
    pub(crate) fn new(dim: usize) -> Self {
        let (mean, squares) = (vec![0.0; dim], vec![0.0; dim]);
        Self { dim, rows: 0, mean, squares, first: Vec::new(), constant: vec![true; dim], waiting: Vec::new() }
    }

    /// Values of a block: the same whatever pieces the rows arrive in.
    fn block(&self) -> usize {
        (BLOCK / self.dim).max(1) * self.dim
    }

    /// Takes in whole rows.
    pub(crate) fn push(&mut self, mut values: &[f32]) {
        let block = self.block();
        while !values.is_empty() {
            if self.waiting.is_empty() && values.len() >= block {
                let (now, rest) = values.split_at(block);
                self.merge(now);
                values = rest;
                continue;
            }
            let (now, rest) = values.split_at(values.len().min(block - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            values = rest;
            if self.waiting.len() == block {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.merge(&waiting);
        waiting.clear();
        self.waiting = waiting;
    }

    fn merge(&mut self, block: &[f32]) {
        let dim = self.dim;
        let rows = block.len() / dim;
        if self.first.is_empty() {
            self.first = block[..dim].to_vec();
        }
        let mut mean = vec![0.0; dim];
        for row in block.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= rows as f64);
        let mut squares = vec![0.0; dim];
        for row in block.chunks_exact(dim) {
            for j in 0..dim {
                squares[j] += (f64::from(row[j]) - mean[j]).powi(2);
                self.constant[j] &= row[j] == self.first[j];
            }
        }
        let (before, more) = (self.rows as f64, rows as f64);
        let all = before + more;
        for j in 0..dim {
            let delta = mean[j] - self.mean[j];
            self.squares[j] += squares[j] + delta * delta * (before * more / all);
            // The first block is taken as it is.
            self.mean[j] = if self.rows == 0 { mean[j] } else { self.mean[j] + delta * (more / all) };
        }
        self.rows += rows;
    }

    pub(crate) fn finish(mut self) -> Result<Standardizer, DataError> {
        if !self.waiting.is_empty() {
            self.flush();
        }
        if self.rows == 0 {
            return Err(DataError::Empty { place: PLACE.into(), what: "rows".into() });
        }
        let (mut mean, mut scale) = (self.mean, self.squares);
        for j in 0..self.dim {
            // Equality decides what is constant: the rounding of the mean may leave a variance of 1e-32.
            scale[j] = if self.constant[j] { 1.0 } else { (scale[j] / self.rows as f64).sqrt() };
            if self.constant[j] {
                mean[j] = f64::from(self.first[j]);
            }
        }
        Ok(Standardizer { mean, scale })
    }
}

fn shape(what: &str, found: String, expected: String) -> DataError {
    DataError::Shape { place: PLACE.into(), what: what.into(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_features_get_mean_0_and_deviation_1() {
        let mut data = crate::digits();
        let standardizer = Standardizer::fit_dataset(&data).unwrap();
        standardizer.apply_dataset(&mut data).unwrap();
        let mut constant = 0;
        for j in 0..data.dim {
            let column: Vec<f64> = (0..data.rows()).map(|i| f64::from(data.row(i)[j])).collect();
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64;
            assert!(mean.abs() < 1e-6);
            if variance == 0.0 { constant += 1 } else { assert!((variance - 1.0).abs() < 1e-5) }
        }
        // Three pixels of the corner columns are never on.
        assert_eq!(constant, 3);
    }

    #[test]
    fn a_large_offset_costs_no_precision() {
        let features: Vec<f32> = (0..1000).map(|i| 1e6 + (i % 2) as f32).collect();
        let standardizer = Standardizer::fit(&features, 1).unwrap();
        assert!((standardizer.mean()[0] - 1_000_000.5).abs() < 1e-9 && (standardizer.scale()[0] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn constant_columns_are_only_centred() {
        let standardizer = Standardizer::fit(&[0.1; 7], 1).unwrap();
        assert_eq!(standardizer.scale(), [1.0]);
        let mut features = vec![0.1, 2.1];
        standardizer.apply(&mut features, 1).unwrap();
        assert!(features[0] == 0.0 && (features[1] - 2.0).abs() < 1e-6);
    }

    #[test]
    fn blocks_and_pieces_give_the_same_statistics() {
        // More than two blocks, with an offset that grows: merging must not lose digits.
        let dim = 1 << 10;
        let rows = 2 * BLOCK / dim + 77;
        let value = |i: usize, j: usize| (i as f32) * 3.0 + ((i * 7919 + j * 104_729) % 1009) as f32 / 16.0;
        let features: Vec<f32> = (0..rows * dim).map(|k| value(k / dim, k % dim)).collect();
        let whole = Standardizer::fit(&features, dim).unwrap();
        let mut pieces = Moments::new(dim);
        features.chunks(13 * dim).for_each(|piece| pieces.push(piece));
        assert_eq!(pieces.finish().unwrap(), whole);
        for j in [0, dim - 1] {
            let column = || (0..rows).map(|i| f64::from(value(i, j)));
            let mean = column().sum::<f64>() / rows as f64;
            let scale = (column().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64).sqrt();
            assert!((whole.mean()[j] / mean - 1.0).abs() < 1e-14 && (whole.scale()[j] / scale - 1.0).abs() < 1e-13);
        }
    }

    #[test]
    fn sparse_rows_are_scaled_as_dense_ones_and_not_centred() {
        let features = vec![0.0, 2.0, 5.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 2.0, -3.0, 0.0];
        let matrix = crate::Matrix::new("m", features.clone(), 4, None).unwrap();
        let mut csr = Csr::from_dense("m", &matrix).unwrap();
        let scaled = Standardizer::fit_rows(&csr, &[0, 1, 2]).unwrap();
        assert!(!scaled.is_centred());
        let dense = Standardizer::fit(&features, 4).unwrap();
        assert!(scaled.scale().iter().zip(dense.scale()).all(|(a, b)| (a - b).abs() < 1e-12), "{scaled:?} {dense:?}");
        assert_eq!(scaled.scale()[1], 1.0, "2 in every row is a constant");
        assert!(dense.apply_sparse(&mut csr).unwrap_err().to_string().contains("stay sparse"));
        scaled.apply_sparse(&mut csr).unwrap();
        let mut filled = features;
        scaled.apply(&mut filled, 4).unwrap();
        assert_eq!(csr.to_dense("m").unwrap().values, filled);
    }

    #[test]
    fn serde_round_trips_and_checks() {
        let standardizer = Standardizer::fit(&[1.0, 2.0, 4.0, 8.0], 2).unwrap();
        let text = serde_json::to_string(&standardizer).unwrap();
        assert_eq!(serde_json::from_str::<Standardizer>(&text).unwrap(), standardizer);
        for bad in [r#"{"mean":[0],"scale":[0]}"#, r#"{"mean":[0,1],"scale":[1]}"#, r#"{"mean":[],"scale":[]}"#] {
            assert!(serde_json::from_str::<Standardizer>(bad).is_err());
        }
    }

    #[test]
    fn errors_leave_the_features_alone() {
        let standardizer = Standardizer::fit(&[0.0, 0.0, 0.0, 1e-30], 2).unwrap();
        assert!(standardizer.apply(&mut [0.0; 3], 3).unwrap_err().to_string().contains("3 columns, expected 2"));
        let mut features = [1.0, 0.0, 1.0, 1e30];
        assert!(standardizer.apply(&mut features, 2).unwrap_err().to_string().contains("row 1, column 1"));
        assert_eq!(features, [1.0, 0.0, 1.0, 1e30]);
        assert!(Standardizer::fit(&[], 2).is_err() && Standardizer::fit(&[f32::NAN], 1).is_err());
    }
}
