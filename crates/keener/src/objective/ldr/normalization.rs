//! Scores divided by a mean over their row, with the way back through the divisor.

use super::super::common::{one_column, spread, times, to_entries};
use crate::engine::{
    Argument, Map, NONE, PerLine, SOFTPLUS_IS_EXP, Set, Shaping, Sparse, Stat, Statistic, Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How scores `s` of a row become `f`, over its K columns; the gradient flows through the divisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// `f = s`
    None,
    /// `f_k = softplus(s_k) / mean_j softplus(s_j)`: non-negative with a fixed sum, as the theory of noise tolerance wants. (Also
    /// `softplus_l1`, which is the same number.)
    #[serde(alias = "softplus_l1")]
    SoftplusMean,
    /// `f_k = s_k / mean_j |s_j|`; the divisor is at least 1e-12, and constant where that floor is reached.
    L1,
}

/// The floor of the divisor of [`Normalization::L1`].
const FLOOR: f64 = 1e-12;

impl Normalization {
    /// The normalised scores of one row.
    pub fn apply<T: Real>(self, scores: &[T]) -> Vec<T> {
        let k = T::of(scores.len().max(1) as f64);
        match self {
            Self::None => scores.to_vec(),
            Self::L1 => {
                let mean = (scores.iter().map(|s| s.abs()).sum::<T>() / k).max(T::of(FLOOR));
                scores.iter().map(|s| *s / mean).collect()
            }
            Self::SoftplusMean => {
                let peak = scores.iter().fold(T::neg_infinity(), |m, s| m.max(*s));
                let anchor = if peak < T::of(LOW) { peak } else { T::zero() };
                let shaping = Shaping::Softplus { anchor: PerLine::All(anchor) };
                let soft: Vec<T> = scores.iter().map(|s| shaping.at(0, *s).0).collect();
                let mean = soft.iter().copied().sum::<T>() / k;
                soft.iter().map(|s| *s / mean).collect()
            }
        }
    }
}

/// Rows whose largest score lies below this are anchored at it, so that their softplus does not vanish.
const LOW: f64 = -20.0;

/// The normalised scores of a batch, never stored: what an argument needs to see them, those of the targets, and the
/// statistics that carry the way back.
pub(super) struct Normalized<T> {
    shaping: Shaping<T>,
    /// 1 over the divisor, a row.
    pub(super) inverse: Vec<T>,
    /// `f_y`; 0 for rows without a class.
    pub(super) target: Vec<T>,
    /// `∂f_y/∂s_y` at constant divisor.
    target_slope: Vec<T>,
    lists: Arc<Sparse>,
    gather: (Statistic<T>, Arc<Stat<T>>),
    /// The divisor times K, and which rows differentiate it.
    total: Option<(Statistic<T>, Arc<Stat<T>>, Vec<T>)>,
    columns: T,
}

impl<T: Real> Normalized<T> {
    pub(super) fn sweep(engine: &mut dyn Sweep<T>, kind: Normalization, targets: &[u32]) -> Result<Self> {
        let lists = one_column(targets);
        let columns = T::of(engine.shape(0).1 as f64);
        let gather = Statistic::gather(Argument::of(0), lists.clone());
        let mut shaping = Shaping::None;
        let total = match kind {
            Normalization::None => None,
            Normalization::L1 => Some(Statistic::sum(Map::Absolute, Argument::of(0), Set::all())),
            Normalization::SoftplusMean => {
                shaping = Shaping::Softplus { anchor: PerLine::All(T::zero()) };
                Some(Statistic::sum(Map::Softplus, Argument::of(0), Set::all()))
            }
        };
        let wanted: Vec<Statistic<T>> = std::iter::once(gather.clone()).chain(total.clone()).collect();
        let mut stats = engine.sweep(&wanted)?;
        let at = stats.remove(0);
        let mut total = total.zip(stats.pop());
        // Rows far below zero: once more, anchored at their largest score.
        let limit = columns * T::of(LOW.exp());
        let low = |sum: &T| *sum < limit;
        if let (Normalization::SoftplusMean, Some((_, sums))) = (kind, &total)
            && sums.values.iter().any(low)
        {
            let top = engine.sweep(&[Statistic::max(Argument::of(0), Set::all())])?.remove(0);
            let anchor = |(sum, top): (&T, &T)| if low(sum) && *top < T::of(LOW) { *top } else { T::zero() };
            let anchors: Vec<T> = sums.values.iter().zip(&top.values).map(anchor).collect();
            shaping = Shaping::Softplus { anchor: anchors.into() };
            let shaped = Statistic::sum(Map::Identity, Argument::of(0).shaped(shaping.clone()), Set::all());
            let again = engine.sweep(std::slice::from_ref(&shaped))?.remove(0);
            total = Some((shaped, again));
        }
        let floor = T::of(if kind == Normalization::L1 { FLOOR } else { 0.0 });
        let (inverse, total) = match total {
            None => (vec![T::one(); targets.len()], None),
            Some((statistic, stat)) => {
                let inverse = stat.values.iter().map(|sum| (*sum / columns).max(floor).recip()).collect();
                let above = |sum: &T| if *sum / columns > floor { T::one() } else { T::zero() };
                let moves = stat.values.iter().map(above).collect();
                (inverse, Some((statistic, stat, moves)))
            }
        };
        let raw = spread(&at, &lists, T::zero());
        let seen = |(row, s): (usize, &T)| {
            let (value, slope) = shaping.at(row, *s);
            let present = if targets[row] == NONE { T::zero() } else { inverse[row] };
            (value * present, slope * present)
        };
        let (target, target_slope) = raw.iter().enumerate().map(seen).unzip();
        Ok(Self { shaping, inverse, target, target_slope, lists, gather: (gather, at), total, columns })
    }

    /// What sees `f · factor`, one factor a row.
    pub(super) fn argument(&self, factor: &[T]) -> Argument<T> {
        Argument::of(0).shaped(self.shaping.clone()).scaled(times(&self.inverse, factor))
    }

    /// `(f, ∂f/∂s)` of a score of row `row`, the divisor held.
    pub(super) fn seen(&self, row: usize, s: T) -> (T, T) {
        let (value, slope) = self.shaping.at(row, s);
        (value * self.inverse[row], slope * self.inverse[row])
    }

    /// Whether the divisor takes part in the derivative.
    pub(super) fn divides(&self) -> bool {
        self.total.is_some()
    }

    /// The parts of `f_y` and of the divisor in the derivative: `pull_i` is −∂loss_i/∂f_y, `mass_i` is `Σ_k ∂loss_i/∂f_k · f_k`.
    pub(super) fn terms(&self, pull: &[T], mass: &[T]) -> Vec<Term<T>> {
        let pull: Vec<T> = times(pull, &self.target_slope).into_iter().map(|x| -x).collect();
        let mut terms = vec![Term::new(self.gather.0.clone(), self.gather.1.clone(), to_entries(&pull, &self.lists))];
        if let Some((statistic, stat, moves)) = &self.total {
            let weight =
                mass.iter().zip(&self.inverse).zip(moves).map(|((m, i), moves)| -*moves * *m * *i / self.columns);
            terms.push(Term::new(statistic.clone(), stat.clone(), weight.collect()));
        }
        terms
    }
}

// An anchored row lies in the range in which the softplus is not yet an exponential, or beyond.
const _: () = assert!(LOW > SOFTPLUS_IS_EXP);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_far_below_zero_keep_their_shape() {
        // Far below zero the softplus is an exponential: the normalised scores are K times the softmax.
        let f = Normalization::SoftplusMean.apply(&[-901.0f64, -900.0, -902.0]);
        let z = 1.0 + (-1.0f64).exp() + (-2.0f64).exp();
        for (f, e) in f.iter().zip([(-1.0f64).exp(), 1.0, (-2.0f64).exp()]) {
            assert!((f - 3.0 * e / z).abs() < 1e-14);
        }
        let plain = Normalization::SoftplusMean.apply(&[0.5f64, -1.0, 2.0]);
        assert!((plain.iter().sum::<f64>() - 3.0).abs() < 1e-14 && plain.iter().all(|f| *f > 0.0));
        assert_eq!(Normalization::L1.apply(&[0.0f64, 0.0]), [0.0, 0.0]);
        assert_eq!(Normalization::L1.apply(&[1.0f64, -3.0]), [0.5, -1.5]);
    }
}
