//! Calibration errors for any draw of the rows, and the error of every class.

use super::calibration::{check_bins, equal_mass_bins, outcomes, place};
use super::rows;
use crate::Result;
use crate::real::Real;

/// What the calibration error of the predicted class over fixed bins is made of, row by row, so that it can be computed
/// again for other draws of the rows.
///
/// With g = correct − confidence and bins B, the error is `Σ_B |Σ_{i∈B} g_i| / n`: [`super::calibration::calibration_error`] with the division by the
/// bin's count cancelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaps {
    bins: usize,
    /// Bin and gap of each row.
    members: Vec<(u32, f64)>,
}

impl Gaps {
    /// Of the predicted class, over bins of equal width: [`super::calibration::ece`].
    ///
    /// # Errors
    /// As [`super::calibration::reliability_bins`].
    pub fn confidence<T: Real>(probabilities: &[T], classes: usize, labels: &[usize], bins: usize) -> Result<Self> {
        check_bins(bins)?;
        let members = outcomes(probabilities, classes, labels)?.into_iter();
        Ok(Self { bins, members: members.map(|(p, hit)| (place(p, bins) as u32, hit - p)).collect() })
    }

    /// Of the predicted class, over bins of equal mass, which keep their edges when rows are drawn again: [`super::calibration::adaptive_ece`],
    /// except that rows of equal confidence are never shared between two bins.
    ///
    /// # Errors
    /// As [`super::calibration::reliability_bins`].
    pub fn adaptive<T: Real>(probabilities: &[T], classes: usize, labels: &[usize], bins: usize) -> Result<Self> {
        let edges: Vec<f64> =
            equal_mass_bins(probabilities, classes, labels, bins)?.iter().skip(1).map(|b| b.lower).collect();
        let members = outcomes(probabilities, classes, labels)?.into_iter();
        let place = |p: f64| edges.partition_point(|edge| *edge <= p) as u32;
        Ok(Self { bins: edges.len() + 1, members: members.map(|(p, hit)| (place(p), hit - p)).collect() })
    }

    /// The error when row i counts `drawn[i]` times, or every row once.
    pub fn error(&self, drawn: Option<&[u32]>) -> f64 {
        let (mut sums, mut n) = (vec![0.0; self.bins], 0.0);
        for (i, (bin, gap)) in self.members.iter().enumerate() {
            let times = drawn.map_or(1.0, |drawn| f64::from(drawn[i]));
            n += times;
            sums[*bin as usize] += times * gap;
        }
        sums.iter().map(|s| s.abs()).sum::<f64>() / n
    }
}

/// Checked probabilities and labels from which [`classwise_ece`] follows for any draw of the rows.
#[derive(Debug, Clone, Copy)]
pub struct Classwise<'a, T> {
    probabilities: &'a [T],
    classes: usize,
    labels: &'a [usize],
    bins: usize,
}

impl<'a, T: Real> Classwise<'a, T> {
    /// Probabilities `[n, classes]`.
    ///
    /// # Errors
    /// As [`super::calibration::reliability_bins`].
    pub fn new(probabilities: &'a [T], classes: usize, labels: &'a [usize], bins: usize) -> Result<Self> {
        check_bins(bins)?;
        let n = rows::probabilities(probabilities, classes)?;
        rows::labels("labels", labels, n, classes)?;
        Ok(Self { probabilities, classes, labels, bins })
    }

    /// The error when row i counts `drawn[i]` times, or every row once.
    pub fn error(&self, drawn: Option<&[u32]>) -> f64 {
        let (mut sums, mut n) = (vec![0.0; self.bins * self.classes], 0.0);
        for (i, (row, label)) in self.probabilities.chunks_exact(self.classes).zip(self.labels).enumerate() {
            let times = drawn.map_or(1.0, |drawn| f64::from(drawn[i]));
            if times == 0.0 {
                continue;
            }
            n += times;
            for (class, p) in row.iter().enumerate() {
                let gap = f64::from(class == *label) - p.f64();
                sums[class * self.bins + place(p.f64(), self.bins)] += times * gap;
            }
        }
        sums.iter().map(|s| s.abs()).sum::<f64>() / (n * self.classes as f64)
    }
}

/// Classwise expected calibration error: `mean_c Σ_m count_cm / n · |frequency_cm − mean probability_cm|` over bins of equal
/// width `(m/bins, (m+1)/bins]` of the probability of class c, whether or not it is the predicted one.
///
/// Kull et al., *Beyond temperature scaling* (2019, arXiv 1910.12656); the static calibration error of Nixon et al. (2019,
/// arXiv 1904.01685).
///
/// # Errors
/// As [`super::calibration::reliability_bins`].
pub fn classwise_ece<T: Real>(probabilities: &[T], classes: usize, labels: &[usize], bins: usize) -> Result<f64> {
    Ok(Classwise::new(probabilities, classes, labels, bins)?.error(None))
}

#[cfg(test)]
mod tests {
    use super::super::calibration::{adaptive_ece, ece};
    use super::super::classification::softmax;
    use super::super::testing::{close, logits};
    use super::*;

    #[test]
    fn gaps_sum_to_the_errors_and_follow_the_draws() {
        let (z, y) = logits();
        let p = softmax(&z, 5).unwrap();
        let confidence = Gaps::confidence(&p, 5, &y, 15).unwrap();
        let adaptive = Gaps::adaptive(&p, 5, &y, 15).unwrap();
        let every = Classwise::new(&p, 5, &y, 15).unwrap();
        // Sum over classes of |members − summed probability| in each bin, by the definition.
        let mut classwise = 0.0;
        for c in 0..5 {
            for m in 0..15 {
                let (low, high) = (f64::from(m) / 15.0, f64::from(m + 1) / 15.0);
                let inside = (0..200).filter(|i| p[i * 5 + c] > low && p[i * 5 + c] <= high);
                classwise += inside.map(|i| f64::from(y[i] == c) - p[i * 5 + c]).sum::<f64>().abs() / (200.0 * 5.0);
            }
        }
        let expected = [ece(&p, 5, &y, 15).unwrap(), adaptive_ece(&p, 5, &y, 15).unwrap(), classwise];
        close(&[confidence.error(None), adaptive.error(None), every.error(None)], &expected, 1e-13);
        // Rows drawn twice or not at all are rows that stand there twice or not at all.
        let drawn: Vec<u32> = (0..200).map(|i| i % 3).collect();
        let rows: Vec<usize> = (0..200).flat_map(|i| vec![i; drawn[i] as usize]).collect();
        let (p2, y2): (Vec<f64>, Vec<usize>) =
            (rows.iter().flat_map(|i| p[i * 5..i * 5 + 5].to_vec()).collect(), rows.iter().map(|i| y[*i]).collect());
        let again = [confidence.error(Some(&drawn)), every.error(Some(&drawn))];
        close(&again, &[ece(&p2, 5, &y2, 15).unwrap(), classwise_ece(&p2, 5, &y2, 15).unwrap()], 1e-13);
    }
}
