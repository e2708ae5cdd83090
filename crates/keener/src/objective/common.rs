//! What several objectives share: small pieces of host steps.

use crate::engine::{Argument, Backward, NONE, Outcome, Set, Sparse, Stat, Statistic, Sweep, Term};
use crate::error::{Error, Result};
use crate::real::{Real, sigmoid, softplus};
use std::sync::Arc;

/// The loss of a target logit against the log-sum-exp of all others, `ln(e^others + e^target) − target`, and the
/// probability of the others. No difference of large numbers is taken, so neither cancels when the target wins.
pub(crate) fn against<T: Real>(others: T, target: T) -> (T, T) {
    if others == T::neg_infinity() {
        return (T::zero(), T::zero());
    }
    (softplus(others - target), sigmoid(others - target))
}

/// `ln(e^a + e^b)`.
pub(crate) fn log_add_exp<T: Real>(a: T, b: T) -> T {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == T::neg_infinity() { high } else { high + (low - high).exp().ln_1p() }
}

/// One column a row, as the list that a gather takes.
pub(crate) fn one_column(targets: &[u32]) -> Arc<Sparse> {
    Arc::new(Sparse::one_per_row(targets.iter().map(|t| (*t != NONE).then_some(*t))))
}

/// A gathered statistic of one entry a row, spread to rows; rows without an entry get `absent`.
pub(crate) fn spread<T: Real>(stat: &Stat<T>, lists: &Sparse, absent: T) -> Vec<T> {
    (0..lists.rows()).map(|row| lists.range(row).next().map_or(absent, |k| stat.values[k])).collect()
}

/// Row numbers to entries of a gather, the opposite of [`spread`].
pub(crate) fn to_entries<T: Real>(rows: &[T], lists: &Sparse) -> Vec<T> {
    (0..lists.rows()).flat_map(|row| lists.range(row).map(move |_| rows[row])).collect()
}

/// The target's score and the log-sum-exp of all other scores, both seen through `argument`.
pub(crate) struct TargetAndOthers<T> {
    pub(crate) lists: Arc<Sparse>,
    pub(crate) target: (Statistic<T>, Arc<Stat<T>>),
    pub(crate) others: (Statistic<T>, Arc<Stat<T>>),
    /// Target values by row (0 where a row has none).
    pub(crate) target_values: Vec<T>,
    /// Expectations under the softmax of the others, where they were asked for.
    pub(crate) expectation: Vec<T>,
}

impl<T: Real> TargetAndOthers<T> {
    /// Sweeps once for both.
    pub(crate) fn sweep(
        engine: &mut dyn Sweep<T>,
        argument: Argument<T>,
        targets: &[u32],
        others: Set<T>,
    ) -> Result<Self> {
        Ok(Self::sweep_with(engine, argument, targets, others, Vec::new())?.0)
    }

    /// Sweeps once for both and for the statistics `more`.
    pub(crate) fn sweep_with(
        engine: &mut dyn Sweep<T>,
        argument: Argument<T>,
        targets: &[u32],
        others: Set<T>,
        more: Vec<Statistic<T>>,
    ) -> Result<(Self, Vec<Arc<Stat<T>>>)> {
        let lists = one_column(targets);
        let (target, others) =
            (Statistic::gather(argument.clone(), lists.clone()), Statistic::log_sum_exp(argument, others));
        let mut wanted = vec![target.clone(), others.clone()];
        wanted.extend(more);
        let mut stats = engine.sweep(&wanted)?;
        let more = stats.split_off(2);
        let target_values = spread(&stats[0], &lists, T::zero());
        let found = Self {
            lists,
            target: (target, stats[0].clone()),
            others: (others, stats[1].clone()),
            target_values,
            expectation: Vec::new(),
        };
        Ok((found, more))
    }
}

/// Row values `φ` that depend on the cross-entropy alone: `map` takes the cross-entropy `ln(1 + e^x)` and `1 − p_y = σ(x)` to `φ` and
/// `dφ/dx`, with `x` the log-sum-exp of the others minus the target. Rows without a class, or without others, are 0.
pub(crate) fn softmax_margin<T: Real>(
    engine: &mut dyn Sweep<T>,
    targets: &[u32],
    map: impl Fn(T, T) -> (T, T),
) -> Result<Outcome<T>> {
    let found = TargetAndOthers::sweep(engine, Argument::of(0), targets, Set::others(targets.into()))?;
    let rows = found.others.1.values.iter().zip(&found.target_values).zip(targets);
    let one = |((others, target), class): ((&T, &T), &u32)| {
        if *class == NONE || *others == T::neg_infinity() {
            return (T::zero(), T::zero());
        }
        let (cross_entropy, wrong) = against(*others, *target);
        map(cross_entropy, wrong)
    };
    let (values, slope): (Vec<T>, Vec<T>) = rows.map(one).unzip();
    Ok(Outcome::new(values, move |upstream| {
        let others = times(upstream, &slope);
        let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
        let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
        Backward::terms(vec![Term::new(lse, value, others), Term::new(gather, at, target)])
    }))
}

/// Checks that a parameter is a finite number above a bound.
pub(crate) fn above(name: &str, value: f64, bound: f64) -> Result<()> {
    if value.is_finite() && value > bound {
        return Ok(());
    }
    Err(Error::parameter(name, value, format!("a finite number > {bound}")))
}

/// Checks that a parameter is a finite number in a closed range.
pub(crate) fn within(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value.is_finite() && value >= low && value <= high {
        return Ok(());
    }
    let expected =
        if high.is_finite() { format!("a number in [{low}, {high}]") } else { format!("a finite number ≥ {low}") };
    Err(Error::parameter(name, value, expected))
}

/// Product of two slices, entry by entry.
pub(crate) fn times<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_won_target_keeps_its_tiny_loss() {
        let (loss, p) = against(-40.0f64, 0.0);
        assert!((loss - (-40.0f64).exp()).abs() < 1e-30 && (p - loss).abs() < 1e-30);
        let (loss, p) = against(1e4f32, -1e4);
        assert_eq!((loss, p), (2e4, 1.0));
        assert_eq!(against(f64::NEG_INFINITY, 3.0), (0.0, 0.0));
        assert_eq!(log_add_exp(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
    }
}
