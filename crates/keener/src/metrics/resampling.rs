//! Whether the difference between two methods is more than chance, when the repeats share data.
//!
//! Repeats over random splits overlap in their training data, so the plain variance of their mean is far too small.
//! Nadeau & Bengio, *Inference for the Generalization Error* (Machine Learning 52, 2003), correct it: with n repeats of
//! sample variance s² the variance of the mean is `s² (1/n + n_test / n_train)`, on n − 1 degrees of freedom.

use super::rows;
use crate::{Error, Result};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean over repeats with its uncertainty.
///
/// The interval and the p-value are `None` where the repeats do not determine them: a single repeat, or no variation.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Mean over the repeats.
    pub mean: f64,
    /// Lower end of the confidence interval.
    pub low: Option<f64>,
    /// Upper end of the confidence interval.
    pub high: Option<f64>,
    /// Two-sided p-value of "the mean is zero"; only for differences.
    pub p_value: Option<f64>,
}

/// The corrected resampled t procedure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CorrectedT {
    /// `n_test / n_train` of each repeat; 0 where the repeats are independent (the ordinary t procedure).
    pub test_to_train: f64,
    /// Coverage of the intervals. Default: 0.95.
    pub confidence: f64,
}

impl CorrectedT {
    /// For repeats that train on `train` and test on `test` samples, at 95 %.
    ///
    /// # Errors
    /// `train = 0`.
    pub fn new(train: usize, test: usize) -> Result<Self> {
        if train == 0 {
            return Err(Error::parameter("train", train, "at least 1 sample"));
        }
        Ok(Self { test_to_train: test as f64 / train as f64, confidence: 0.95 })
    }

    /// Mean of one method's values, one a repeat, with its interval (and no p-value).
    ///
    /// # Errors
    /// No values, non-finite values, `test_to_train` negative, `confidence` outside (0, 1).
    pub fn mean(&self, values: &[f64]) -> Result<Comparison> {
        Ok(Comparison { p_value: None, ..self.analyse(values)? })
    }

    /// Mean of `values − reference`, paired by repeat, with its interval and p-value.
    ///
    /// # Errors
    /// As [`CorrectedT::mean`], and lengths that differ.
    pub fn difference(&self, values: &[f64], reference: &[f64]) -> Result<Comparison> {
        rows::matrix("values", values, 1)?;
        rows::same_length("reference", reference.len(), values.len())?;
        rows::finite("reference", reference, 1)?;
        // Differences of equal pairs of unequal magnitude differ by rounding: that is no variation.
        let largest = values.iter().chain(reference).fold(0.0f64, |m, x| m.max(x.abs()));
        let differences: Vec<f64> = values.iter().zip(reference).map(|(a, b)| a - b).collect();
        self.analyse_at_scale(&differences, largest)
    }

    /// Differences of several methods to one reference, with p-values corrected by [`holm`].
    ///
    /// # Errors
    /// As [`CorrectedT::difference`].
    pub fn differences(&self, methods: &[Vec<f64>], reference: &[f64]) -> Result<Vec<Comparison>> {
        let mut all: Vec<Comparison> =
            methods.iter().map(|values| self.difference(values, reference)).collect::<Result<_>>()?;
        let corrected = holm(&all.iter().map(|c| c.p_value).collect::<Vec<_>>())?;
        all.iter_mut().zip(corrected).for_each(|(c, p)| c.p_value = p);
        Ok(all)
    }

    fn analyse(&self, values: &[f64]) -> Result<Comparison> {
        self.analyse_at_scale(values, values.iter().fold(0.0f64, |m, x| m.max(x.abs())))
    }

    fn analyse_at_scale(&self, values: &[f64], scale: f64) -> Result<Comparison> {
        let n = rows::matrix("values", values, 1)?;
        if !(self.test_to_train.is_finite() && self.test_to_train >= 0.0) {
            return Err(Error::parameter("test_to_train", self.test_to_train, "a finite number ≥ 0"));
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(Error::parameter("confidence", self.confidence, "a number in (0, 1)"));
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let unknown = Comparison { mean, low: None, high: None, p_value: None };
        if n == 1 {
            return Ok(unknown);
        }
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        if variance.sqrt() <= 4.0 * f64::EPSILON * scale {
            return Ok(unknown);
        }
        let error = (variance * (1.0 / n as f64 + self.test_to_train)).sqrt();
        let Ok(student) = StudentsT::new(0.0, 1.0, (n - 1) as f64) else { return Ok(unknown) };
        let half = student.inverse_cdf(0.5 + 0.5 * self.confidence) * error;
        let p_value = (2.0 * student.sf((mean / error).abs())).min(1.0);
        Ok(Comparison { mean, low: Some(mean - half), high: Some(mean + half), p_value: Some(p_value) })
    }
}

/// Holm's step-down correction: with p-values sorted upwards, `max_{i ≤ j} min(1, (m − i + 1) p_(i))` in their places.
///
/// `None` (undefined) stays `None` and does not count. Holm, *A Simple Sequentially Rejective Multiple Test Procedure*
/// (Scandinavian Journal of Statistics, 1979).
///
/// # Errors
/// A p-value outside [0, 1].
pub fn holm(p_values: &[Option<f64>]) -> Result<Vec<Option<f64>>> {
    let mut known: Vec<(usize, f64)> = p_values.iter().enumerate().filter_map(|(i, p)| Some((i, (*p)?))).collect();
    if let Some((i, p)) = known.iter().find(|(_, p)| !(0.0..=1.0).contains(p)) {
        return Err(Error::parameter(format!("p_values[{i}]"), p, "a number in [0, 1]"));
    }
    known.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut corrected = vec![None; p_values.len()];
    let mut least = 0.0f64;
    for (rank, &(place, p)) in known.iter().enumerate() {
        least = least.max((p * (known.len() - rank) as f64).min(1.0));
        corrected[place] = Some(least);
    }
    Ok(corrected)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, uniform};
    use super::*;

    fn case(seed: u64, base: f64) -> Vec<f64> {
        uniform(seed, 10).iter().map(|u| base + 0.05 * u).collect()
    }

    fn figures(c: &Comparison) -> [f64; 4] {
        [c.mean, c.low.unwrap_or(f64::NAN), c.high.unwrap_or(f64::NAN), c.p_value.unwrap_or(f64::NAN)]
    }

    /// Expected: the formula in numpy with `scipy.stats.t`; without correction also `scipy.stats.ttest_rel`.
    #[test]
    fn agrees_with_scipy() {
        let (a, b, c) = (case(9, 0.8), case(10, 0.79), case(12, 0.7));
        let split = CorrectedT::new(900, 100).unwrap();
        let expected = [0.007890369892120375, -0.025473728350339977, 0.041254468134580724, 0.605624494337637];
        close(&figures(&split.difference(&a, &b).unwrap()), &expected, 1e-9);
        let plain = CorrectedT { test_to_train: 0.0, ..split };
        let expected = [0.007890369892120375, -0.01507237735755031, 0.03085311714179106, 0.45691831434909247];
        close(&figures(&plain.difference(&a, &b).unwrap()), &expected, 1e-9);
        let far = split.difference(&c, &b).unwrap();
        close(&[far.p_value.unwrap() * 1e5], &[1.1827899434182675], 1e-8);
        let mean = split.mean(&a).unwrap();
        close(&figures(&mean)[..3], &[0.821463632285595, 0.8038235096236301, 0.83910375494756], 1e-9);
        assert_eq!(mean.p_value, None);
        // Two comparisons: the smaller p doubled, the larger as it is.
        let both = split.differences(&[a, c], &b).unwrap();
        close(
            &[both[0].p_value.unwrap(), both[1].p_value.unwrap() * 1e5],
            &[0.605624494337637, 2.365579886836535],
            1e-8,
        );
    }

    #[test]
    fn holm_by_hand() {
        let corrected = holm(&[Some(0.04), None, Some(0.01), Some(0.03), Some(0.9)]).unwrap();
        // Sorted 0.01·4, 0.03·3, max(0.04·2, 0.09), 0.9.
        let expected = [Some(0.09), None, Some(0.04), Some(0.09), Some(0.9)];
        for (a, b) in corrected.iter().zip(expected) {
            assert!((a.unwrap_or(-1.0) - b.unwrap_or(-1.0)).abs() < 1e-15, "{corrected:?}");
        }
        assert_eq!(holm(&[]).unwrap(), []);
        assert!(matches!(holm(&[Some(1.5)]), Err(Error::Parameter { .. })));
    }

    #[test]
    fn what_cannot_be_known_is_none() {
        let t = CorrectedT::new(9, 1).unwrap();
        let none = |c: Comparison| c.low.is_none() && c.high.is_none() && c.p_value.is_none();
        assert!(none(t.difference(&[0.5], &[0.25]).unwrap()));
        assert!(none(t.mean(&[0.1, 0.1, 0.1]).unwrap()));
        // The differences are 0.1 but for rounding.
        let constant = t.difference(&[0.3, 0.9, 0.7], &[0.2, 0.8, 0.6]).unwrap();
        assert!(none(constant) && (constant.mean - 0.1).abs() < 1e-15);
        // Real variation around zero.
        let even = t.difference(&[0.1, -0.1], &[0.0, 0.0]).unwrap();
        close(&[even.p_value.unwrap(), even.low.unwrap() + even.high.unwrap()], &[1.0, 0.0], 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        let t = CorrectedT::new(9, 1).unwrap();
        assert!(CorrectedT::new(0, 1).is_err());
        assert!(matches!(t.mean(&[]), Err(Error::Shape { .. })));
        assert!(matches!(t.mean(&[f64::NAN]), Err(Error::NonFinite { .. })));
        assert!(matches!(t.difference(&[1.0, 2.0], &[1.0]), Err(Error::Shape { .. })));
        assert!(matches!(CorrectedT { confidence: 1.0, ..t }.mean(&[1.0, 2.0]), Err(Error::Parameter { .. })));
        assert!(matches!(CorrectedT { test_to_train: -1.0, ..t }.mean(&[1.0, 2.0]), Err(Error::Parameter { .. })));
    }
}
