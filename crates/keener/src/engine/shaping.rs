//! Functions of single scores, differentiated with the rest.

use super::statistic::PerLine;
use crate::real::Real;
use crate::simd;

/// A function of each score before scale and shift, differentiated with the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shaping<T> {
    /// `g(s) = s`
    #[default]
    None,
    /// `g(s) = e^{−anchor} ln(1 + e^s)`, with slope `e^{−anchor} σ(s)`. The anchor (a constant, at least the largest score of its
    /// row, or 0) keeps rows whose scores are all far below zero from vanishing.
    Softplus {
        /// One a row.
        anchor: PerLine<T>,
    },
}

impl<T: Real> Shaping<T> {
    /// Whether scores are seen as they are.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// `(g(s), g'(s))` in row `row`.
    pub fn at(&self, row: usize, s: T) -> (T, T) {
        match self {
            Self::None => (s, T::one()),
            Self::Softplus { anchor } => anchored_softplus(s, anchor.at(row)),
        }
    }

    /// Replaces each score of a stretch of row `row` by `g(s)`.
    pub(crate) fn apply(&self, row: usize, x: &mut [T]) {
        match self {
            Self::None => {}
            Self::Softplus { anchor } if anchor.at(row) == T::zero() => simd::softplus_in_place(x),
            Self::Softplus { .. } => x.iter_mut().for_each(|s| *s = self.at(row, *s).0),
        }
    }

    /// `into_j += h_j · g'(x_j)`, `x` the scores as they are.
    pub(crate) fn pull_back(&self, row: usize, x: &[T], h: &[T], into: &mut [T]) {
        match self {
            Self::None => simd::add_scaled(into, h, T::one()),
            Self::Softplus { anchor } if anchor.at(row) == T::zero() => simd::add_times_sigmoid(into, h, x),
            Self::Softplus { .. } => {
                for ((into, h), s) in into.iter_mut().zip(h).zip(x) {
                    *into += *h * self.at(row, *s).1;
                }
            }
        }
    }
}

/// Below this, `ln(1 + e^s)` and `σ(s)` are `e^s` in double precision.
pub const SOFTPLUS_IS_EXP: f64 = -37.0;

fn anchored_softplus<T: Real>(s: T, anchor: T) -> (T, T) {
    if s < T::of(SOFTPLUS_IS_EXP) {
        let e = (s - anchor).exp();
        return (e, e);
    }
    let factor = (-anchor).exp();
    (crate::real::softplus(s) * factor, crate::real::sigmoid(s) * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Argument, Set, Statistic};

    #[test]
    fn shaped_scores_far_below_zero_do_not_vanish() {
        let shaping = Shaping::Softplus { anchor: PerLine::All(-900.0f64) };
        let (value, slope) = shaping.at(0, -901.0);
        assert!((value - (-1.0f64).exp()).abs() < 1e-15 && (slope - value).abs() < 1e-15);
        // Above the limit both forms agree.
        let near = Shaping::Softplus { anchor: PerLine::All(-30.0f64) };
        let (a, b) = (near.at(0, SOFTPLUS_IS_EXP - 1e-9).0, near.at(0, SOFTPLUS_IS_EXP + 1e-9).0);
        assert!((a / b - 1.0).abs() < 1e-8);
        let refused = Statistic::max(Argument::of(0).shaped(shaping), Set::all()).check_shaping("x");
        assert!(matches!(refused, Err(crate::Error::Unsupported { .. })));
    }
}
