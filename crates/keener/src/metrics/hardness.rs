//! Which negatives receive the gradient of a contrastive objective.

use super::rows;
use crate::real::Real;
use crate::{Error, Result};

/// Hardness weights of a batch of scores and what follows from them.
#[derive(Debug, Clone, PartialEq)]
pub struct HardnessWeights {
    /// `[B, K]`: softmax over the negatives of each row; 0 at the positive and at masked negatives.
    pub weights: Vec<f64>,
    /// Entropy of each row's weights, in nats.
    pub entropy: Vec<f64>,
    /// `e^entropy`: the effective number of negatives that receive gradient.
    pub perplexity: Vec<f64>,
    /// Gradient of each row's loss with respect to its positive score, `−(1/τ) Σ_neg P`.
    pub grad_pos: Vec<f64>,
    /// Sum of the gradients with respect to its negative scores, `(1/τ) Σ_neg P`.
    pub grad_neg_sum: Vec<f64>,
}

/// Weights `e^{s_ij/τ} / Σ_{k≠i} e^{s_ik/τ}` that the contrastive loss at temperature τ puts on each negative.
///
/// Scores `[B, K]`; `targets[i]` is the column of row i's positive, all other columns are negatives. `-inf` masks a
/// negative out. P is the softmax of the whole row at τ. All from differences to the row's greatest negative, so that
/// large scores are safe. Wang & Liu, *Understanding the Behaviour of Contrastive Loss* (2020, arXiv 2012.09740).
///
/// # Errors
/// τ that is not positive, empty or ragged scores, fewer than two columns, targets out of range, NaN or `+inf`, an
/// infinite positive score; undefined for a row whose negatives are all masked.
pub fn hardness_weights<T: Real>(scores: &[T], columns: usize, targets: &[usize], tau: f64) -> Result<HardnessWeights> {
    rows::positive("tau", tau)?;
    let b = rows::count("scores", scores.len(), columns)?;
    if columns < 2 {
        return Err(Error::shape("scores", &[b, columns], "[B, K] with K ≥ 2"));
    }
    rows::labels("targets", targets, b, columns)?;
    let mut out = HardnessWeights {
        weights: vec![0.0; scores.len()],
        entropy: Vec::with_capacity(b),
        perplexity: Vec::with_capacity(b),
        grad_pos: Vec::with_capacity(b),
        grad_neg_sum: Vec::with_capacity(b),
    };
    for (i, ((row, weights), &target)) in
        scores.chunks_exact(columns).zip(out.weights.chunks_exact_mut(columns)).zip(targets).enumerate()
    {
        let masked = |k: usize| k != target && row[k] == T::neg_infinity();
        if let Some(k) = (0..columns).find(|&k| !row[k].is_finite() && !masked(k)) {
            return Err(rows::non_finite("scores", row[k], i, k));
        }
        let negatives = || (0..columns).filter(|&k| k != target && !masked(k));
        let nearer = |best: Option<usize>, k| Some(best.filter(|&b| row[b] >= row[k]).unwrap_or(k));
        let Some(hardest) = negatives().fold(None, nearer) else {
            let reason = "all of its negatives are masked".to_string();
            return Err(Error::Undefined { what: format!("hardness weights of row {i}"), reason });
        };
        let max = row[hardest].f64();
        let gap = |k: usize| (max - row[k].f64()) / tau;
        let mut others = 0.0;
        for k in negatives() {
            weights[k] = (-gap(k)).exp();
            others += if k == hardest { 0.0 } else { weights[k] };
        }
        let log_z = f64::ln_1p(others);
        weights.iter_mut().for_each(|w| *w /= 1.0 + others);
        // H = log Z + Σ w (max − s)/τ: a sum of terms ≥ 0, without cancellation however sharp the weights are.
        let spread: f64 = negatives().filter(|&k| weights[k] > 0.0).map(|k| weights[k] * gap(k)).sum();
        let entropy = log_z + spread;
        let lead = (row[target].f64() - max) / tau - log_z;
        let pull = 1.0 / (1.0 + lead.exp()) / tau;
        out.entropy.push(entropy);
        out.perplexity.push(entropy.exp());
        out.grad_pos.push(-pull);
        out.grad_neg_sum.push(pull);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, differences, uniform};
    use super::*;

    #[test]
    fn gradients_are_those_of_the_contrastive_loss() {
        let (s, targets, tau) = (uniform(61, 20), [3, 0, 2, 4], 0.3);
        let loss = |s: &[f64]| {
            let scaled: Vec<f64> = s.iter().map(|s| s / tau).collect();
            scaled.chunks_exact(5).zip(targets).map(|(row, t)| rows::log_sum_exp(row) - row[t]).sum()
        };
        let (h, gradient) = (hardness_weights(&s, 5, &targets, tau).unwrap(), differences(&s, loss));
        for i in 0..4 {
            let row = &gradient[i * 5..i * 5 + 5];
            close(&[h.grad_pos[i]], &[row[targets[i]]], 1e-8);
            close(&[h.grad_neg_sum[i]], &[row.iter().sum::<f64>() - row[targets[i]]], 1e-8);
            let ratio = |k: usize| if k == targets[i] { 0.0 } else { (row[k] / row[targets[i]]).abs() };
            close(&h.weights[i * 5..i * 5 + 5], &[ratio(0), ratio(1), ratio(2), ratio(3), ratio(4)], 1e-7);
        }
    }

    #[test]
    fn entropy_grows_with_the_temperature() {
        let s = uniform(62, 9);
        let at = |tau| hardness_weights(&s, 9, &[0], tau).unwrap().entropy[0];
        let entropies = [0.01, 0.05, 0.1, 0.5, 2.0, 1e3].map(at);
        assert!(entropies.windows(2).all(|w| w[0] < w[1]), "{entropies:?}");
        close(&[entropies[5]], &[8f64.ln()], 1e-6);
    }

    #[test]
    fn masked_and_single_negatives() {
        let h = hardness_weights(&[0.5f64, f64::NEG_INFINITY, 0.1, 0.2], 4, &[0], 0.1).unwrap();
        let without = hardness_weights(&[0.5f64, 0.1, 0.2], 3, &[0], 0.1).unwrap();
        assert_eq!(h.weights[1], 0.0);
        assert_eq!((h.weights[2], h.entropy, h.grad_pos), (without.weights[1], without.entropy, without.grad_pos));
        let one = hardness_weights(&[1e5f32, -1e5, -1e5, 1e5], 2, &[0, 0], 0.07).unwrap();
        assert_eq!(one.weights, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!((one.entropy[0], one.perplexity[1]), (0.0, 1.0));
        assert_eq!((one.grad_pos[0], one.grad_pos[1]), (-0.0, -1.0 / 0.07));
    }

    #[test]
    fn bad_input_is_refused() {
        let infinite = f64::NEG_INFINITY;
        assert!(matches!(hardness_weights(&[1.0f64, infinite], 2, &[0], 1.0), Err(Error::Undefined { .. })));
        assert!(matches!(hardness_weights(&[infinite, 1.0], 2, &[0], 1.0), Err(Error::NonFinite { column: 0, .. })));
        assert!(matches!(hardness_weights(&[0.0, f64::NAN], 2, &[0], 1.0), Err(Error::NonFinite { column: 1, .. })));
        assert!(matches!(hardness_weights(&[0.0f64], 1, &[0], 1.0), Err(Error::Shape { .. })));
        assert!(matches!(hardness_weights(&[0.0f64, 1.0], 2, &[2], 1.0), Err(Error::Label { .. })));
        assert!(matches!(hardness_weights(&[0.0f64, 1.0], 2, &[1], -1.0), Err(Error::Parameter { .. })));
    }
}
