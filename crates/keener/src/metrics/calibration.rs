//! Whether probabilities mean what they say: calibration error, reliability diagrams and temperature scaling.

use super::rows;
use crate::real::Real;
use crate::{Error, Result};

pub use super::gaps::{Classwise, Gaps, classwise_ece};

/// Number of bins of a reliability diagram, as in Guo et al. (2017, arXiv 1706.04599).
pub const DEFAULT_BINS: usize = 15;

/// Limits of the temperatures that [`fit_temperature`] returns.
pub const TEMPERATURE_RANGE: (f64, f64) = (1e-3, 1e3);

/// One bar of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBin {
    /// Lower edge of the confidences (exclusive for bins of equal width, the least member for bins of equal mass).
    pub lower: f64,
    /// Upper edge of the confidences (inclusive).
    pub upper: f64,
    /// Mean confidence of the rows in the bin.
    pub confidence: f64,
    /// Share of them that is classified correctly.
    pub accuracy: f64,
    /// How many rows there are.
    pub count: usize,
}

/// Confidence of the predicted class, and whether it is right (1 or 0), for each row.
pub(super) fn outcomes<T: Real>(probabilities: &[T], classes: usize, labels: &[usize]) -> Result<Vec<(f64, f64)>> {
    let n = rows::probabilities(probabilities, classes)?;
    rows::labels("labels", labels, n, classes)?;
    let outcome = |(row, &y): (&[T], &usize)| {
        let predicted = rows::argmax(row);
        (row[predicted].f64(), f64::from(predicted == y))
    };
    Ok(probabilities.chunks_exact(classes).zip(labels).map(outcome).collect())
}

fn bin(lower: f64, upper: f64, members: &[(f64, f64)]) -> ReliabilityBin {
    let n = members.len() as f64;
    let (confidence, accuracy) = members.iter().fold((0.0, 0.0), |(c, a), m| (c + m.0, a + m.1));
    ReliabilityBin { lower, upper, confidence: confidence / n, accuracy: accuracy / n, count: members.len() }
}

pub(super) fn check_bins(bins: usize) -> Result<()> {
    if bins == 0 {
        return Err(Error::parameter("bins", bins, "at least 1"));
    }
    Ok(())
}

/// Reliability diagram of probabilities `[n, classes]` with bins of equal width `(m/bins, (m+1)/bins]`.
///
/// Bins without rows are left out. Guo et al., *On Calibration of Modern Neural Networks* (2017, arXiv 1706.04599).
///
/// # Errors
/// `bins = 0`, empty or ragged input, labels out of range, rows that are not probabilities.
pub fn reliability_bins<T: Real>(
    probabilities: &[T],
    classes: usize,
    labels: &[usize],
    bins: usize,
) -> Result<Vec<ReliabilityBin>> {
    check_bins(bins)?;
    let mut members = vec![Vec::new(); bins];
    for outcome in outcomes(probabilities, classes, labels)? {
        members[place(outcome.0, bins)].push(outcome);
    }
    let edge = |m: usize| m as f64 / bins as f64;
    let filled = members.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    Ok(filled.map(|(m, rows)| bin(edge(m), edge(m + 1), rows)).collect())
}

/// Reliability diagram with bins that hold equally many rows (sizes differ by at most one).
///
/// Rows are sorted by confidence. Rows of equal confidence share their mean correctness, so that the result does not
/// depend on the order of the rows when such a group straddles two bins. With fewer rows than bins each row is a bin.
/// Adaptive binning: Nguyen & O'Connor, *Posterior calibration and exploratory analysis for natural language
/// processing models* (2015, arXiv 1508.05154); Nixon et al., *Measuring Calibration in Deep Learning* (2019,
/// arXiv 1904.01685), here for the predicted class.
///
/// # Errors
/// As [`reliability_bins`].
pub fn equal_mass_bins<T: Real>(
    probabilities: &[T],
    classes: usize,
    labels: &[usize],
    bins: usize,
) -> Result<Vec<ReliabilityBin>> {
    check_bins(bins)?;
    let mut sorted = outcomes(probabilities, classes, labels)?;
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    for group in sorted.chunk_by_mut(|a, b| a.0 == b.0) {
        let shared = group.iter().map(|m| m.1).sum::<f64>() / group.len() as f64;
        group.iter_mut().for_each(|m| m.1 = shared);
    }
    let (n, bins) = (sorted.len(), bins.min(sorted.len()));
    let part = |m: usize| &sorted[m * n / bins..(m + 1) * n / bins];
    Ok((0..bins).map(part).map(|rows| bin(rows[0].0, rows[rows.len() - 1].0, rows)).collect())
}

/// `Σ_m count_m / n · |accuracy_m − confidence_m|` over the bins of a diagram.
pub fn calibration_error(bins: &[ReliabilityBin]) -> f64 {
    let n: usize = bins.iter().map(|b| b.count).sum();
    bins.iter().map(|b| b.count as f64 * (b.accuracy - b.confidence).abs()).sum::<f64>() / n.max(1) as f64
}

/// Expected calibration error over bins of equal width: [`calibration_error`] of [`reliability_bins`].
///
/// Naeini et al., *Obtaining well calibrated probabilities using Bayesian binning* (AAAI 2015), in the form of
/// Guo et al. (2017, arXiv 1706.04599); 15 bins ([`DEFAULT_BINS`]) there.
///
/// # Errors
/// As [`reliability_bins`].
pub fn ece<T: Real>(probabilities: &[T], classes: usize, labels: &[usize], bins: usize) -> Result<f64> {
    Ok(calibration_error(&reliability_bins(probabilities, classes, labels, bins)?))
}

/// Calibration error over bins of equal mass: [`calibration_error`] of [`equal_mass_bins`].
///
/// # Errors
/// As [`reliability_bins`].
pub fn adaptive_ece<T: Real>(probabilities: &[T], classes: usize, labels: &[usize], bins: usize) -> Result<f64> {
    Ok(calibration_error(&equal_mass_bins(probabilities, classes, labels, bins)?))
}

/// The bin `(m/bins, (m+1)/bins]` of a probability.
pub(super) fn place(probability: f64, bins: usize) -> usize {
    // A float that is negative or above the last bin saturates and is clamped.
    ((probability * bins as f64).ceil() as usize).clamp(1, bins) - 1
}

/// The outcome of temperature scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TemperatureFit {
    /// Divide the logits by this.
    pub temperature: f64,
    /// Mean negative log-likelihood at temperature 1, in nats.
    pub nll_before: f64,
    /// Mean negative log-likelihood at the fitted temperature.
    pub nll_after: f64,
    /// The likelihood still improves beyond [`TEMPERATURE_RANGE`] (everything right, or no better than chance).
    pub at_limit: bool,
}

impl TemperatureFit {
    /// The temperature to use and the likelihood it gives: the fitted one, or 1 where the rows do not determine it (all of
    /// them right, say: dividing by ever smaller temperatures would make the first mistake infinitely costly).
    pub fn applied(&self) -> (f64, f64) {
        if self.at_limit { (1.0, self.nll_before) } else { (self.temperature, self.nll_after) }
    }
}

/// The temperature T that minimises the mean negative log-likelihood of `logits / T` (`[n, classes]`).
///
/// With β = 1/T the objective is convex and its slope `mean_i (E_p[z_i] − z_i,y_i)` is monotone; its root is found by
/// Newton steps in log β, with bisection whenever a step leaves the bracket or converges slowly. Where the slope keeps
/// its sign over the whole of [`TEMPERATURE_RANGE`] the limit is returned; where the logits of every row are constant T
/// does not matter and is 1. Guo et al., *On Calibration of Modern Neural Networks* (2017, arXiv 1706.04599).
///
/// # Errors
/// Empty or ragged input, labels out of range, non-finite logits.
pub fn fit_temperature<T: Real>(logits: &[T], classes: usize, labels: &[usize]) -> Result<TemperatureFit> {
    let n = rows::matrix("logits", logits, classes)?;
    rows::labels("labels", labels, n, classes)?;
    // Mean NLL, its slope and its curvature in β. Deviations from the label's logit keep the slope exact when won.
    let at = |x: f64| {
        let beta = x.exp();
        let [nll, slope, curvature] = rows::sum(n, |i| {
            let row = &logits[i * classes..(i + 1) * classes];
            let target = row[labels[i]].f64();
            let max = row[rows::argmax(row)].f64();
            let (mut z, mut first, mut second) = (0.0, 0.0, 0.0);
            for s in row {
                let (weight, deviation) = (((s.f64() - max) * beta).exp(), s.f64() - target);
                z += weight;
                first += weight * deviation;
                second += weight * deviation * deviation;
            }
            let mean = first / z;
            [z.ln() + (max - target) * beta, mean, (second / z - mean * mean).max(0.0)]
        });
        (nll / n as f64, slope / n as f64, curvature / n as f64)
    };
    let (nll_before, slope_one, _) = at(0.0);
    let fit = |temperature, nll_after, at_limit| TemperatureFit { temperature, nll_before, nll_after, at_limit };
    let (mut low, mut high) = (-TEMPERATURE_RANGE.1.ln(), -TEMPERATURE_RANGE.0.ln());
    let ((nll_low, slope_low, _), (nll_high, slope_high, _)) = (at(low), at(high));
    if slope_low == 0.0 && slope_one == 0.0 && slope_high == 0.0 {
        return Ok(fit(1.0, nll_before, false));
    }
    if slope_low >= 0.0 {
        return Ok(fit(TEMPERATURE_RANGE.1, nll_low, true));
    }
    if slope_high <= 0.0 {
        return Ok(fit(TEMPERATURE_RANGE.0, nll_high, true));
    }
    let (mut x, mut last_step) = (0.0f64, f64::INFINITY);
    for _ in 0..200 {
        let (_, slope, curvature) = at(x);
        if slope == 0.0 {
            break;
        }
        if slope < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x - slope / (x.exp() * curvature);
        let good = newton > low && newton < high && (newton - x).abs() < 0.5 * last_step;
        let next = if good { newton } else { 0.5 * (low + high) };
        last_step = (next - x).abs();
        x = next;
        if last_step < 1e-13 {
            break;
        }
    }
    Ok(fit((-x).exp(), at(x).0, false))
}

#[cfg(test)]
mod tests {
    use super::super::classification::{nll_from_logits, softmax};
    use super::super::testing::{close, logits};
    use super::*;

    /// Expected: the loop over half-open bins of Guo et al. in PyTorch, the same over equal slices of the sorted
    /// confidences in numpy, and `scipy.optimize.minimize_scalar` over log T on PyTorch's cross-entropy.
    #[test]
    fn agrees_with_references() {
        let (z, y) = logits();
        let p = softmax(&z, 5).unwrap();
        let found = [ece(&p, 5, &y, 15).unwrap(), ece(&p, 5, &y, 10).unwrap(), adaptive_ece(&p, 5, &y, 15).unwrap()];
        close(&found, &[0.11427750577777354, 0.07941802616557607, 0.10116556461682837], 1e-12);
        let fit = fit_temperature(&z, 5, &y).unwrap();
        close(
            &[fit.temperature, fit.nll_after, fit.nll_before],
            &[1.3690032507, 1.1115161622989367, 1.14615765442025],
            1e-7,
        );
        assert!(!fit.at_limit);
    }

    #[test]
    fn bins_by_hand() {
        // Confidences 0.6 (right), 0.8 (wrong), 0.8 (right), 1 (right).
        let p = [0.6f64, 0.4, 0.8, 0.2, 0.2, 0.8, 0.0, 1.0];
        let y = [0, 1, 1, 1];
        let bins = reliability_bins(&p, 2, &y, 5).unwrap();
        let shape: Vec<(f64, f64, usize)> = bins.iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(shape, [(0.4, 0.6, 1), (0.6, 0.8, 2), (0.8, 1.0, 1)]);
        close(&[calibration_error(&bins)], &[(0.4 + 2.0 * 0.3 + 0.0) / 4.0], 1e-15);
        // Two bins of two: (0.6, 0.8) and (0.8, 1), the tied pair sharing one half.
        let mass = equal_mass_bins(&p, 2, &y, 2).unwrap();
        close(
            &mass.iter().flat_map(|b| [b.confidence, b.accuracy]).collect::<Vec<_>>(),
            &[0.7, 0.75, 0.9, 0.75],
            1e-15,
        );
        let swapped = [0.6f64, 0.4, 0.2, 0.8, 0.8, 0.2, 0.0, 1.0];
        assert_eq!(equal_mass_bins(&swapped, 2, &y, 2).unwrap(), mass);
        assert_eq!(equal_mass_bins(&p, 2, &y, 99).unwrap().len(), 4);
    }

    #[test]
    fn temperature_undoes_a_scale() {
        let (z, y) = logits();
        let best = fit_temperature(&z, 5, &y).unwrap();
        for factor in [0.02, 0.5, 7.0, 300.0] {
            let scaled: Vec<f64> = z.iter().map(|z| z * factor).collect();
            let fit = fit_temperature(&scaled, 5, &y).unwrap();
            close(&[fit.temperature / factor, fit.nll_after], &[best.temperature, best.nll_after], 1e-9);
            let around = |t: f64| nll_from_logits(&scaled.iter().map(|z| z / t).collect::<Vec<_>>(), 5, &y).unwrap();
            assert!(fit.nll_after <= around(fit.temperature * 1.01) && fit.nll_after <= around(fit.temperature * 0.99));
        }
    }

    #[test]
    fn monotone_cases_end_at_the_limits() {
        let right = fit_temperature(&[2.0f64, 0.0, 0.0, 3.0], 2, &[0, 1]).unwrap();
        assert_eq!((right.temperature, right.at_limit), (1e-3, true));
        assert_eq!(right.applied(), (1.0, right.nll_before));
        let wrong = fit_temperature(&[2.0f64, 0.0, 0.0, 3.0], 2, &[1, 0]).unwrap();
        assert_eq!((wrong.temperature, wrong.at_limit), (1e3, true));
        let flat = fit_temperature(&[2.0f32, 2.0, -1.0, -1.0], 2, &[1, 0]).unwrap();
        assert_eq!((flat.temperature, flat.at_limit), (1.0, false));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(ece(&[0.5f64, 0.5], 2, &[0], 0), Err(Error::Parameter { .. })));
        assert!(matches!(ece(&[0.5f64, 0.5], 2, &[2], 5), Err(Error::Label { .. })));
        assert!(matches!(ece(&[5.0f64, 0.5], 2, &[1], 5), Err(Error::Parameter { .. })));
        assert!(matches!(fit_temperature(&[f32::INFINITY, 0.0], 2, &[0]), Err(Error::NonFinite { .. })));
        assert!(matches!(fit_temperature::<f32>(&[], 2, &[]), Err(Error::Shape { .. })));
    }
}
