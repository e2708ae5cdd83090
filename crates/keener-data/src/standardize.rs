//! Features to mean 0 and standard deviation 1, with the statistics of the training rows.

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, check_matrix};
use crate::error::DataError;

const PLACE: &str = "standardize";

/// Per-feature centre and scale: `(x − mean) / scale`.
///
/// `scale` is the population standard deviation (divisor n), as in scikit-learn's `StandardScaler`; a constant feature
/// has scale 1 and is only centred. Both are computed in two passes in `f64`. Deserialising checks the contents.
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
        let rows = check_matrix(PLACE, features, dim)?;
        if rows == 0 {
            return Err(DataError::Empty { place: PLACE.into(), what: "rows".into() });
        }
        let mut mean = vec![0.0; dim];
        for row in features.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= rows as f64);
        let mut scale = vec![0.0; dim];
        let mut constant = vec![true; dim];
        for row in features.chunks_exact(dim) {
            for j in 0..dim {
                scale[j] += (f64::from(row[j]) - mean[j]).powi(2);
                constant[j] &= row[j] == features[j];
            }
        }
        for j in 0..dim {
            // Equality decides what is constant: the rounding of the mean may leave a variance of 1e-32.
            scale[j] = if constant[j] { 1.0 } else { (scale[j] / rows as f64).sqrt() };
            if constant[j] {
                mean[j] = f64::from(features[j]);
            }
        }
        Ok(Self { mean, scale })
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
