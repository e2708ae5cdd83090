//! Transformations of gradients between backward pass and optimiser, one tensor at a time.

use crate::error::{Error, Result};
use crate::real::Real;
use crate::simd;
use serde::{Deserialize, Serialize};

/// How [`orthogonalize`] projects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrthogonalConfig {
    /// Whether the projection is brought back to the length of the gradient. Default true (the reference code; the paper's formula
    /// is the projection alone).
    pub rescale: bool,
    /// Added to `⟨w, w⟩` and to the projection's length. Default 1e-30 (the reference code).
    pub eps: f64,
}

impl Default for OrthogonalConfig {
    fn default() -> Self {
        Self { rescale: true, eps: 1e-30 }
    }
}

impl OrthogonalConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn check(&self) -> Result<()> {
        match self.eps.is_finite() && self.eps >= 0.0 {
            true => Ok(()),
            false => Err(Error::parameter("eps", self.eps, "a finite number ≥ 0")),
        }
    }
}

/// Removes from the gradient of one tensor the part along the tensor: `g ← g − c w`, `c = ⟨w, g⟩ / (⟨w, w⟩ + ε)`, and with
/// `rescale` brings it back to its length: `g ← g ‖g_before‖ / (‖g‖ + ε)`. Returns c.
///
/// Taken before the optimiser, it keeps a network from lowering its loss by growing alone. Sums are in `f64`. A gradient that is
/// parallel to its weight, to rounding (what is left is at most 1e-6 of it in `f32`, 1e-13 in `f64`), becomes 0: scaling up what
/// rounding left would be noise. `w = 0` leaves the gradient as it is. Tensors of one element, which have no direction but their
/// own, are left alone (c = 0).
///
/// # Errors
/// Unlike lengths, numbers that are not finite.
///
/// Reference: Grokking at the Edge of Numerical Stability (arXiv 2501.04697), there ⊥Grad.
pub fn orthogonalize<T: Real>(weight: &[T], gradient: &mut [T], config: &OrthogonalConfig) -> Result<f64> {
    config.check()?;
    if weight.len() != gradient.len() {
        return Err(Error::shape("gradient", &[gradient.len()], format!("[{}] as its weight", weight.len())));
    }
    for (what, numbers) in [("weight", weight), ("gradient", &*gradient)] {
        if !simd::all_finite(numbers)
            && let Some(column) = numbers.iter().position(|x| !x.is_finite())
        {
            return Err(Error::NonFinite { what: what.into(), value: numbers[column].to_string(), row: 0, column });
        }
    }
    if weight.len() < 2 {
        return Ok(0.0);
    }
    let c = inner(weight, gradient) / (inner(weight, weight) + config.eps);
    let before = inner(gradient, gradient).sqrt();
    let left = in_lanes(gradient, weight, |g, w| (g - c * w) * (g - c * w)).sqrt();
    let rounding = if size_of::<T>() == 4 { 1e-6 } else { 1e-13 };
    if left <= rounding * before {
        gradient.fill(T::zero());
        return Ok(c);
    }
    let factor = if config.rescale { before / (left + config.eps) } else { 1.0 };
    for (g, w) in gradient.iter_mut().zip(weight) {
        *g = T::of(factor * (g.f64() - c * w.f64()));
    }
    Ok(c)
}

fn inner<T: Real>(a: &[T], b: &[T]) -> f64 {
    in_lanes(a, b, |a, b| a * b)
}

/// `Σ f(a_k, b_k)` in `f64`, in eight sums that the compiler may keep side by side.
fn in_lanes<T: Real>(a: &[T], b: &[T], f: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f(a.f64(), b.f64());
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: OrthogonalConfig = OrthogonalConfig { rescale: false, eps: 1e-30 };

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|k| ((k * k + seed * k + 3) as f64 * 0.71).sin()).collect()
    }

    #[test]
    fn what_is_left_is_orthogonal_and_as_long() {
        let (w, g) = (numbers(3000, 1), numbers(3000, 2));
        let mut projected = g.clone();
        let c = orthogonalize(&w, &mut projected, &PLAIN).unwrap();
        assert!(inner(&w, &projected).abs() < 1e-12 * inner(&w, &w).sqrt() * inner(&g, &g).sqrt());
        assert!(projected.iter().zip(&g).zip(&w).all(|((p, g), w)| (p + c * w - g).abs() < 1e-15));
        // Once is as good as twice.
        let mut again = projected.clone();
        assert!(orthogonalize(&w, &mut again, &PLAIN).unwrap().abs() < 1e-13);
        let mut rescaled = g.clone();
        orthogonalize(&w, &mut rescaled, &OrthogonalConfig::default()).unwrap();
        assert!((inner(&rescaled, &rescaled).sqrt() / inner(&g, &g).sqrt() - 1.0).abs() < 1e-14);
        let single = |v: &[f64]| v.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let mut g32 = single(&g);
        orthogonalize(&single(&w), &mut g32, &OrthogonalConfig::default()).unwrap();
        assert!(g32.iter().zip(&rescaled).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
    }

    #[test]
    fn degenerate_tensors() {
        let config = OrthogonalConfig::default();
        let w = [0.3f32, -0.7, 1.1];
        let mut parallel = w.map(|x| -3.0 * x);
        assert!((orthogonalize(&w, &mut parallel, &config).unwrap() + 3.0).abs() < 1e-6);
        assert_eq!(parallel, [0.0; 3]);
        let mut g = [0.5, 2.0];
        assert_eq!(orthogonalize(&[0.0, 0.0], &mut g, &config).unwrap(), 0.0);
        assert_eq!(g, [0.5, 2.0]);
        let mut zero = [0.0, 0.0];
        orthogonalize(&[1.0, 2.0], &mut zero, &config).unwrap();
        assert_eq!(zero, [0.0, 0.0]);
        let mut one = [5.0];
        orthogonalize(&[2.0], &mut one, &config).unwrap();
        assert_eq!(one, [5.0]);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |w: &[f64], g: &[f64]| {
            orthogonalize(w, &mut g.to_vec(), &OrthogonalConfig::default()).unwrap_err().to_string()
        };
        assert!(message(&[1.0, 2.0], &[1.0]).contains("as its weight"));
        assert!(message(&[1.0, f64::NAN], &[1.0, 2.0]).starts_with("weight holds NaN"));
        assert!(message(&[1.0, 2.0], &[f64::INFINITY, 2.0]).starts_with("gradient holds inf"));
        assert!(OrthogonalConfig { eps: -1.0, ..config() }.check().is_err());
        fn config() -> OrthogonalConfig {
            OrthogonalConfig::default()
        }
    }
}
