//! From a map of local features to one vector (generalised mean) and to an attention.

use crate::error::{Error, Result};
use crate::real::Real;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Generalised-mean pooling: `y = (mean_n max(x_n, eps)^p)^{1/p}` over the positions `n` of each channel.
///
/// `p = 1` is average pooling; `p → ∞` approaches max pooling. Features below `eps` are held there and get no gradient.
///
/// References: Fine-tuning CNN Image Retrieval with No Human Annotation (arXiv 1711.02512); defaults of the code of
/// Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GemPool {
    /// Exponent, > 0. Default 3.
    pub p: f64,
    /// Smallest feature, > 0. Default 1e-6.
    pub eps: f64,
}

impl Default for GemPool {
    fn default() -> Self {
        Self { p: 3.0, eps: 1e-6 }
    }
}

impl GemPool {
    fn check<T: Real>(&self, features: &[T], positions: usize) -> Result<usize> {
        for (name, value) in [("p", self.p), ("eps", self.eps)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::parameter(name, value, "a finite number > 0"));
            }
        }
        if positions == 0 || features.is_empty() || !features.len().is_multiple_of(positions) {
            let expected = format!("[channels, {positions}] with at least one of each");
            return Err(Error::shape("features", &[features.len()], expected));
        }
        match features.iter().position(|x| !x.is_finite()) {
            None => Ok(features.len() / positions),
            Some(at) => Err(Error::NonFinite {
                what: "features".into(),
                value: features[at].to_string(),
                row: at / positions,
                column: at % positions,
            }),
        }
    }

    /// Pools features `[…, positions]`, the last axis away: one number a channel.
    ///
    /// # Errors
    /// Parameters out of range, a length that is no multiple of `positions`, non-finite features.
    pub fn forward<T: Real>(&self, features: &[T], positions: usize) -> Result<Vec<T>> {
        self.check(features, positions)?;
        Ok(features.par_chunks(positions).map(|channel| T::of(self.pool(channel))).collect())
    }

    /// One channel, with the largest feature taken out so that no power overflows.
    fn pool<T: Real>(&self, channel: &[T]) -> f64 {
        let held = |x: &T| x.f64().max(self.eps);
        let peak = channel.iter().map(held).fold(0.0, f64::max);
        let sum: f64 = channel.iter().map(|x| (held(x) / peak).powf(self.p)).sum();
        peak * (sum / channel.len() as f64).powf(1.0 / self.p)
    }

    /// The gradient by the features, from that by the pooled numbers.
    ///
    /// `∂y/∂x_n = [x_n > eps] (x_n / y)^{p − 1} / positions`.
    ///
    /// # Errors
    /// As [`GemPool::forward`]; an upstream gradient that is not one number a channel.
    pub fn backward<T: Real>(&self, features: &[T], positions: usize, upstream: &[T]) -> Result<Vec<T>> {
        let channels = self.check(features, positions)?;
        if upstream.len() != channels {
            return Err(Error::shape("upstream gradient", &[upstream.len()], format!("[{channels}], one a channel")));
        }
        let mut gradient = vec![T::zero(); features.len()];
        gradient.par_chunks_mut(positions).zip(features.par_chunks(positions)).zip(upstream).for_each(
            |((gradient, channel), upstream)| {
                let y = self.pool(channel);
                let factor = upstream.f64() / positions as f64;
                for (g, x) in gradient.iter_mut().zip(channel) {
                    if x.f64() > self.eps {
                        *g = T::of(factor * (x.f64() / y).powf(self.p - 1.0));
                    }
                }
            },
        );
        Ok(gradient)
    }
}

/// How much each position of a feature map `[channels, positions]` says: the sum of its absolute features over the channels.
///
/// Source: the code of Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008).
///
/// # Errors
/// [`Error::Shape`] for a length that is no multiple of `positions`.
pub fn attention<T: Real>(features: &[T], positions: usize) -> Result<Vec<T>> {
    if positions == 0 || features.is_empty() || !features.len().is_multiple_of(positions) {
        let expected = format!("[channels, {positions}] with at least one of each");
        return Err(Error::shape("features", &[features.len()], expected));
    }
    let mut sums = vec![T::zero(); positions];
    for channel in features.chunks_exact(positions) {
        sums.iter_mut().zip(channel).for_each(|(s, x)| *s += x.abs());
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_finite_differences() {
        let x: Vec<f64> = (0..24).map(|k| (f64::from(k) * 0.91).sin() + 0.4).collect();
        let up = [0.3, -1.2, 2.0];
        for p in [1.0, 2.5, 3.0, 8.0] {
            let pool = GemPool { p, eps: 1e-3 };
            let gradient = pool.backward(&x, 8, &up).unwrap();
            for k in 0..x.len() {
                let at = |h: f64| {
                    let mut moved = x.clone();
                    moved[k] += h;
                    pool.forward(&moved, 8).unwrap().iter().zip(up).map(|(y, u)| y * u).sum::<f64>()
                };
                let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((slope - gradient[k]).abs() < 1e-6, "p {p}, {k}: {slope} {}", gradient[k]);
            }
        }
    }

    #[test]
    fn between_mean_and_max() {
        let x = [1.0f32, 2.0, 3.0, 0.5];
        let pooled = |p| GemPool { p, eps: 1e-6 }.forward(&x, 4).unwrap()[0];
        assert!((pooled(1.0) - 1.625).abs() < 1e-6);
        assert!(pooled(3.0) > 1.625 && pooled(3.0) < 3.0);
        assert!((pooled(400.0) - 3.0).abs() < 0.02);
        // Powers of large features do not overflow.
        assert!((GemPool::default().forward(&[1e30f32, 1e30], 2).unwrap()[0] / 1e30 - 1.0).abs() < 1e-6);
        assert_eq!(attention(&[1.0, -2.0, -3.0, 4.0], 2).unwrap(), [4.0, 6.0]);
    }

    #[test]
    fn bad_input_is_named() {
        let pool = GemPool::default();
        assert!(matches!(GemPool { p: 0.0, ..pool }.forward(&[1.0], 1), Err(Error::Parameter { .. })));
        assert!(matches!(pool.forward(&[1.0, 2.0, 3.0], 2), Err(Error::Shape { .. })));
        assert!(matches!(pool.forward(&[1.0, f64::NAN], 2), Err(Error::NonFinite { .. })));
        assert!(matches!(pool.backward(&[1.0, 2.0], 2, &[1.0, 1.0]), Err(Error::Shape { .. })));
        assert!(matches!(attention(&[1.0, 2.0, 3.0], 2), Err(Error::Shape { .. })));
    }
}
