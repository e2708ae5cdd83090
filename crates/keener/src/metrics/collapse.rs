//! Has training stalled for numerical reasons?
//!
//! Without regularisation a network that fits its training rows keeps scaling its logits up, which changes no prediction
//! (naive loss minimisation), until the softmax loses its smaller terms (softmax collapse).
//!
//! Reference: Grokking at the Edge of Numerical Stability (arXiv 2501.04697).

use super::rows;
use crate::real::Real;
use crate::simd;
use crate::{Error, Result};

/// Which rows have collapsed, and what share of them.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxCollapse {
    /// By row.
    pub collapsed: Vec<bool>,
    /// Share of the rows.
    pub fraction: f64,
}

/// Rows of `[n, columns]` logits whose softmax has collapsed in the precision `P`: after the maximum is subtracted, the sum of the
/// exponentials is exactly 1, so that the loss of the predicted class and its gradient are exactly 0.
///
/// Everything is computed in `P`, sums in 32 lanes that are then added up. With one competitor a gap of about 16.6 collapses
/// `f32` and 36.7 `f64`. Of networks trained with StableMax the raw logits are huge and always collapsed: measure it for softmax
/// training.
///
/// # Errors
/// Empty or ragged logits, numbers that are not finite (also after rounding to `P`), by row.
pub fn softmax_collapse<P: Real, T: Real>(logits: &[T], columns: usize) -> Result<SoftmaxCollapse> {
    let n = rows::count("logits", logits.len(), columns)?;
    let mut collapsed = Vec::with_capacity(n);
    let mut row = vec![P::zero(); columns];
    for (i, given) in logits.chunks_exact(columns).enumerate() {
        for (k, (to, from)) in row.iter_mut().zip(given).enumerate() {
            *to = P::of(from.f64());
            if !to.is_finite() {
                return Err(rows::non_finite("logits", *from, i, k));
            }
        }
        let top = simd::max_scaled(&row, P::one());
        row.iter_mut().for_each(|x| *x = (*x - top).exp());
        collapsed.push(simd::sum(&row) == P::one());
    }
    let fraction = collapsed.iter().filter(|c| **c).count() as f64 / n as f64;
    Ok(SoftmaxCollapse { collapsed, fraction })
}

/// Cosine between the descent direction `−gradient` and the weights, all tensors taken together: near 1, training only scales the
/// weights up.
///
/// # Errors
/// Tensors of unlike number or length, no numbers at all, numbers that are not finite; undefined where all weights or all
/// gradients are 0.
pub fn nlm_alignment<T: Real>(weights: &[&[T]], gradients: &[&[T]]) -> Result<f64> {
    if weights.len() != gradients.len() {
        return Err(Error::shape("gradients", &[gradients.len()], format!("{} tensors as of weights", weights.len())));
    }
    let (mut along, mut w2, mut g2) = (0.0, 0.0, 0.0);
    for (k, (weight, gradient)) in weights.iter().zip(gradients).enumerate() {
        if weight.len() != gradient.len() {
            let expected = format!("[{}] as its weight", weight.len());
            return Err(Error::shape(format!("gradient {k}"), &[gradient.len()], expected));
        }
        for (at, (w, g)) in weight.iter().zip(*gradient).enumerate() {
            let (w64, g64) = (w.f64(), g.f64());
            if !(w64.is_finite() && g64.is_finite()) {
                let (what, value) = if w64.is_finite() { ("gradient", *g) } else { ("weight", *w) };
                return Err(rows::non_finite(&format!("{what} {k}"), value, 0, at));
            }
            along -= w64 * g64;
            w2 += w64 * w64;
            g2 += g64 * g64;
        }
    }
    match w2 > 0.0 && g2 > 0.0 {
        true => Ok(along / (w2.sqrt() * g2.sqrt())),
        false => Err(Error::Undefined {
            what: "the alignment of gradient and weights".into(),
            reason: format!("all {} are zero", if w2 > 0.0 { "gradients" } else { "weights" }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_that_collapses_depends_on_the_precision() {
        let row = |gap: f64| [gap, 0.0];
        for (gap, single, double) in
            [(16.0, false, false), (17.0, true, false), (36.0, true, false), (37.0, true, true)]
        {
            assert_eq!(softmax_collapse::<f32, f64>(&row(gap), 2).unwrap().collapsed, [single], "{gap}");
            assert_eq!(softmax_collapse::<f64, f64>(&row(gap), 2).unwrap().collapsed, [double], "{gap}");
        }
        let both = softmax_collapse::<f32, f32>(&[1000.0, 0.0, 3.0, 3.0, 2.0, 1.0, 0.0, 50.0], 2).unwrap();
        assert_eq!((both.collapsed, both.fraction), (vec![true, false, false, true], 0.5));
        // Many small terms still count together.
        let mut wide = vec![0.0f32; 1001];
        wide[0] = 17.0;
        assert_eq!(softmax_collapse::<f32, f32>(&wide, 1001).unwrap().fraction, 0.0);
    }

    #[test]
    fn alignment_sees_directions_alone() {
        let (w, g) = ([1.0, -2.0, 0.5], [-3.0, 6.0, -1.5]);
        assert!((nlm_alignment(&[&w], &[&g]).unwrap() - 1.0).abs() < 1e-15);
        assert!((nlm_alignment(&[&w[..1], &w[1..]], &[&g[..1], &g[1..]]).unwrap() - 1.0).abs() < 1e-15);
        assert_eq!(nlm_alignment(&[&[1.0f32, 0.0]], &[&[0.0, 5.0]]).unwrap(), 0.0);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |e: Error| e.to_string();
        assert!(message(softmax_collapse::<f32, f64>(&[1.0, 1e300], 2).unwrap_err()).contains("row 0, column 1"));
        assert!(softmax_collapse::<f32, f64>(&[], 2).is_err() && softmax_collapse::<f32, f64>(&[1.0], 2).is_err());
        assert!(message(nlm_alignment(&[&[1.0]], &[&[1.0, 2.0]]).unwrap_err()).contains("gradient 0"));
        assert!(message(nlm_alignment(&[&[1.0]], &[&[0.0]]).unwrap_err()).contains("all gradients are zero"));
        assert!(nlm_alignment::<f64>(&[], &[]).is_err() && nlm_alignment(&[&[f64::NAN]], &[&[1.0]]).is_err());
    }
}
