//! The losses of the spherical family: value and slopes from three numbers of a row of scores.

use crate::error::{Error, Result};
use crate::real::{sigmoid, softplus};
use serde::{Deserialize, Serialize};

/// A loss of the spherical family: it reads a row of scores `o` through the target's score, the sum and the sum of squares alone.
///
/// | kind | loss |
/// |---|---|
/// | [`Z`](Self::Z) | `(1/a) softplus(a (b − z))`, `z = (o_c − μ)/(σ + ε)`, σ over all D scores (divided by D) |
/// | [`SquaredError`](Self::SquaredError) | `Σ_k (o_k − [k = c])²` |
/// | [`TaylorSoftmax`](Self::TaylorSoftmax) | `−ln[(1 + o_c + o_c²/2) / Σ_k (1 + o_k + o_k²/2)]` |
/// | [`SphericalSoftmax`](Self::SphericalSoftmax) | `−ln[(o_c² + ε) / Σ_k (o_k² + ε)]` |
///
/// This Z-loss is *not* the penalty on the squared log-partition function that goes by the same name in PaLM.
///
/// References: The Z-loss: a shift and scale invariant classification loss belonging to the Spherical Family (arXiv 1604.08859); An
/// Exploration of Softmax Alternatives Belonging to the Spherical Loss Family (arXiv 1511.05042).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Spherical {
    /// Unchanged by `o → α o + β`, α > 0.
    Z {
        /// Sharpness a > 0: towards ∞ a hinge at b, towards 0 linear in z.
        a: f64,
        /// Location b: the standardised score that is asked for. `|z| ≤ √(D − 1)`, so a larger b presses without end.
        b: f64,
        /// ε ≥ 0, added to σ.
        eps: f64,
    },
    /// Squared error against the one-hot target.
    #[serde(alias = "mse")]
    SquaredError,
    /// Logarithm of the softmax with `1 + o + o²/2` in the place of the exponential.
    TaylorSoftmax,
    /// Logarithm of the softmax with `o² + ε` in the place of the exponential.
    SphericalSoftmax {
        /// ε > 0.
        eps: f64,
    },
}

/// Value of a row and its derivatives with respect to the target's score, the mean and the variance of the row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slopes {
    /// The loss.
    pub value: f64,
    /// ∂/∂o_c
    pub target: f64,
    /// ∂/∂μ
    pub mean: f64,
    /// ∂/∂σ²
    pub variance: f64,
}

/// Value of a row and its derivatives with respect to the target's score, the sum and the sum of squares of the row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SumSlopes {
    /// The loss.
    pub value: f64,
    /// ∂/∂o_c
    pub target: f64,
    /// ∂/∂S₁
    pub sum: f64,
    /// ∂/∂S₂
    pub sum_sq: f64,
}

impl Spherical {
    /// The Z-loss with the reference's ε = 1e-12.
    pub const fn z(a: f64, b: f64) -> Self {
        Self::Z { a, b, eps: 1e-12 }
    }

    /// Whether a common offset of all scores changes nothing.
    pub fn is_shift_invariant(&self) -> bool {
        matches!(self, Self::Z { .. })
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that is out of range.
    pub fn check(&self) -> Result<()> {
        let finite = |name: &str, value: f64| match value.is_finite() {
            true => Ok(()),
            false => Err(Error::parameter(name, value, "a finite number")),
        };
        match *self {
            Self::Z { a, b, eps } => {
                finite("b", b)?;
                if !(a.is_finite() && a > 0.0) {
                    return Err(Error::parameter("a", a, "a finite number > 0"));
                }
                if !(eps.is_finite() && eps >= 0.0) {
                    return Err(Error::parameter("eps", eps, "a finite number ≥ 0"));
                }
                Ok(())
            }
            Self::SphericalSoftmax { eps } if !(eps.is_finite() && eps > 0.0) => {
                Err(Error::parameter("eps", eps, "a finite number > 0"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses fewer than two classes, of which nothing can be standardised or compared.
    pub(crate) fn check_classes(classes: usize) -> Result<()> {
        match classes {
            0 | 1 => Err(Error::parameter("number of classes", classes, "at least 2: one score has no spread")),
            _ => Ok(()),
        }
    }

    /// From target score, mean and variance of a row of `classes` scores.
    ///
    /// A row without spread has z = 0 and, by definition, no gradient.
    pub fn of_moments(&self, target: f64, mean: f64, variance: f64, classes: usize) -> Slopes {
        let count = classes as f64;
        let squares = count * (variance + mean * mean);
        match *self {
            Self::Z { a, b, eps } => {
                let std = variance.max(0.0).sqrt();
                if std == 0.0 {
                    return Slopes { value: softplus(a * b) / a, ..Slopes::default() };
                }
                let spread = std + eps;
                let z = (target - mean) / spread;
                let p = sigmoid(a * (b - z));
                Slopes {
                    value: softplus(a * (b - z)) / a,
                    target: -p / spread,
                    mean: p / spread,
                    variance: p * z / (2.0 * std * spread),
                }
            }
            Self::SquaredError => {
                Slopes { value: squares - 2.0 * target + 1.0, target: -2.0, mean: 2.0 * count * mean, variance: count }
            }
            Self::TaylorSoftmax => {
                let one = 1.0 + target + 0.5 * target * target;
                let all = count + count * mean + 0.5 * squares;
                Slopes {
                    value: all.ln() - one.ln(),
                    target: -(1.0 + target) / one,
                    mean: count * (1.0 + mean) / all,
                    variance: 0.5 * count / all,
                }
            }
            Self::SphericalSoftmax { eps } => {
                let (one, all) = (target * target + eps, squares + count * eps);
                Slopes {
                    value: all.ln() - one.ln(),
                    target: -2.0 * target / one,
                    mean: 2.0 * count * mean / all,
                    variance: count / all,
                }
            }
        }
    }

    /// From target score, sum and sum of squares of a row of `classes` scores. The variance `S₂/D − (S₁/D)²` cancels where the
    /// mean is far from zero; it is taken as 0 where rounding makes it negative.
    pub fn of_sums(&self, target: f64, sum: f64, sum_sq: f64, classes: usize) -> SumSlopes {
        let count = classes as f64;
        let mean = sum / count;
        let variance = (sum_sq / count - mean * mean).max(0.0);
        let slopes = self.of_moments(target, mean, variance, classes);
        SumSlopes {
            value: slopes.value,
            target: slopes.target,
            sum: (slopes.mean - 2.0 * mean * slopes.variance) / count,
            sum_sq: slopes.variance / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Spherical; 4] = [
        Spherical::Z { a: 1.5, b: 2.0, eps: 0.01 },
        Spherical::SquaredError,
        Spherical::TaylorSoftmax,
        Spherical::SphericalSoftmax { eps: 0.1 },
    ];

    #[test]
    fn slopes_are_those_of_finite_differences_and_values_follow_the_definition() {
        let o: [f64; 5] = [0.3, -1.2, 0.8, 2.0, -0.4];
        let (sum, squares) = (o.iter().sum::<f64>(), o.iter().map(|x| x * x).sum::<f64>());
        for kind in KINDS {
            let at = |x: [f64; 3]| kind.of_sums(x[0], x[1], x[2], 5);
            let here = at([o[2], sum, squares]);
            for (k, slope) in [here.target, here.sum, here.sum_sq].into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut x = [o[2], sum, squares];
                    x[k] += by;
                    at(x).value
                };
                let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((slope - numeric).abs() < 1e-7 * (1.0 + numeric.abs()), "{kind:?} {k}: {slope} {numeric}");
            }
            let over = |f: &dyn Fn(f64) -> f64| -(f(o[2]) / o.iter().map(|x| f(*x)).sum::<f64>()).ln();
            let expected = match kind {
                Spherical::Z { a, b, eps } => {
                    let mean = sum / 5.0;
                    let std = (o.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5.0).sqrt();
                    (1.0 + (a * (b - (o[2] - mean) / (std + eps))).exp()).ln() / a
                }
                Spherical::SquaredError => {
                    o.iter().enumerate().map(|(k, x)| (x - f64::from(u8::from(k == 2))).powi(2)).sum()
                }
                Spherical::TaylorSoftmax => over(&|x| 1.0 + x + x * x / 2.0),
                Spherical::SphericalSoftmax { eps } => over(&|x| x * x + eps),
            };
            assert!((here.value - expected).abs() < 1e-12, "{kind:?}");
        }
    }

    #[test]
    fn limits_of_the_sharpness_and_a_row_without_spread() {
        let at = |a, b| Spherical::Z { a, b, eps: 0.0 }.of_moments(1.0, 0.0, 4.0, 9); // z = 1/2
        assert!((at(1e8, 2.0).value - 1.5).abs() < 1e-7, "a hinge");
        assert!(at(1e8, 0.0).value < 1e-8);
        assert!((at(1e-6, 2.0).value - (2f64.ln() / 1e-6 + 0.75)).abs() < 1e-5, "linear");
        let flat = Spherical::z(2.0, 1.5).of_moments(3.0, 3.0, 0.0, 4);
        assert_eq!((flat.target, flat.mean, flat.variance), (0.0, 0.0, 0.0));
        assert!((flat.value - (1.0 + 3f64.exp()).ln() / 2.0).abs() < 1e-15);
        // Rounding may leave a negative variance behind.
        assert_eq!(Spherical::z(1.0, 1.0).of_sums(2.0, 20.0, 39.999_999_999, 10).target, 0.0);
    }

    #[test]
    fn parameters_are_checked_by_name() {
        let message = |s: Spherical| s.check().unwrap_err().to_string();
        assert!(message(Spherical::z(0.0, 1.0)).starts_with("a = 0"));
        assert!(message(Spherical::z(1.0, f64::NAN)).starts_with("b = NaN"));
        assert!(message(Spherical::Z { a: 1.0, b: 0.0, eps: -1.0 }).starts_with("eps = -1"));
        assert!(message(Spherical::SphericalSoftmax { eps: 0.0 }).starts_with("eps = 0"));
        assert!(KINDS.iter().all(|k| k.check().is_ok()) && Spherical::check_classes(1).is_err());
        let read: Spherical = serde_json::from_str(r#"{"kind":"z","a":1,"b":2,"eps":0}"#).unwrap();
        assert_eq!(read, Spherical::Z { a: 1.0, b: 2.0, eps: 0.0 });
    }
}
