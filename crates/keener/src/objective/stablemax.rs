//! StableMax: cross-entropy over a softmax whose exponential grows linearly, and the activation by itself.

use super::common::{against, one_column, spread, times, to_entries};
use super::registry::{Configured, Entry, Family, Paper, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::{Real, linear_exp, ln_linear_exp};
use serde::{Deserialize, Serialize};

/// `loss_i = ln Σ_j s(x_ij) − ln s(x_iy)`, `s(x) = 1 + x` for `x ≥ 0` and `1/(1 − x)` below; mean over rows that have a class.
///
/// Since `ln s(x) = sign(x) ln(1 + |x|)`, this is the softmax cross-entropy of scores that were squeezed logarithmically: its
/// gradient decays like `1/|x|` and not like `e^{−|x|}`, so that it never underflows. It is *not* shift invariant, and the size of
/// scores matters; there is no temperature and no maximum to subtract.
///
/// Reads scores `[B, N]` or queries `[B, d]` and class weights `[N, d]` (with a bias `[N]` if there is one), and the class of each
/// row. Rows without a class are ignored: value 0, no gradient, not counted. A single class gives 0. At a score of 0 the slope of
/// `ln s` is 1. Streamed: sums are relative to the row's largest `s`, so that huge scores do not overflow.
///
/// # Errors
/// Beside wrong or missing input, an empty batch, whose mean is undefined.
///
/// Reference: Grokking at the Edge of Numerical Stability (arXiv 2501.04697).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StableMax {}

impl Configured for StableMax {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl<T: Real> Objective<T> for StableMax {
    fn name(&self) -> &'static str {
        "stablemax_cross_entropy"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        let targets = batch.targets_for("stablemax_cross_entropy")?;
        match targets.is_empty() {
            true => {
                Err(Error::Undefined { what: "stablemax_cross_entropy".into(), reason: "the batch is empty".into() })
            }
            false => Ok(targets.iter().filter(|t| **t != NONE).count() as f64),
        }
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("stablemax_cross_entropy")?;
        let lists = one_column(targets);
        let wanted = [
            Statistic::gather(Argument::of(0), lists.clone()),
            Statistic::log_sum_linear(Argument::of(0), Set::others(targets.into())),
        ];
        let stats = engine.sweep(&wanted)?;
        let scores = spread(&stats[0], &lists, T::zero());
        let mut values = Vec::with_capacity(targets.len());
        // Slopes towards the log-sum of the others, and towards the target's score.
        let (mut others, mut target) = (values.clone(), values.clone());
        for ((class, score), sum) in targets.iter().zip(&scores).zip(&stats[1].values) {
            let counted = if *class == NONE { T::zero() } else { T::one() };
            let (loss, missed) = against(*sum, ln_linear_exp(*score));
            values.push(counted * loss);
            others.push(counted * missed);
            target.push(-counted * missed / (T::one() + score.abs()));
        }
        Ok(Outcome::new(values, move |upstream| {
            let [gather, sum] = wanted.clone();
            let target = to_entries(&times(upstream, &target), &lists);
            Backward::terms(vec![
                Term::new(sum, stats[1].clone(), times(upstream, &others)),
                Term::new(gather, stats[0].clone(), target),
            ])
        }))
    }
}

/// Probabilities `s(x_j)/Σ_k s(x_k)` of each row of `[B, N]` logits, and their logarithms.
///
/// Computed relative to the row's largest `s`; rows of huge or tiny logits neither overflow nor vanish.
///
/// # Errors
/// No columns, a ragged slice, logits that are not finite (by row).
pub fn stablemax<T: Real>(logits: &[T], columns: usize) -> Result<(Vec<T>, Vec<T>)> {
    if columns == 0 || !logits.len().is_multiple_of(columns) {
        return Err(Error::shape("logits", &[logits.len()], format!("rows of {columns} columns, at least one")));
    }
    if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
        let (value, row, column) = (logits[at].to_string(), at / columns, at % columns);
        return Err(Error::NonFinite { what: "logits".into(), value, row, column });
    }
    let (mut probabilities, mut logs) = (Vec::with_capacity(logits.len()), Vec::with_capacity(logits.len()));
    for row in logits.chunks_exact(columns) {
        let top = row.iter().fold(T::neg_infinity(), |m, x| m.max(*x));
        let unit = linear_exp(-top);
        let total: f64 = row.iter().map(|x| (linear_exp(*x) * unit).f64()).sum();
        let log_total = T::of(ln_linear_exp(top.f64()) + total.ln());
        probabilities.extend(row.iter().map(|x| T::of((linear_exp(*x) * unit).f64() / total)));
        logs.extend(row.iter().map(|x| ln_linear_exp(*x) - log_total));
    }
    Ok((probabilities, logs))
}

pub(crate) const ENTRY: Entry = Entry {
    name: "stablemax_cross_entropy",
    aliases: &["stablemax_ce", "stable_max"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Cross-entropy of a softmax that grows linearly: its gradient never underflows, however large the scores.",
    formula: "loss_i = ln Σ_j s(x_ij) − ln s(x_iy),   s(x) = 1 + x for x ≥ 0, 1/(1 − x) below",
    parameters: &[],
    paper: Paper { title: "Grokking at the Edge of Numerical Stability", id: "2501.04697" },
    when: "Training far beyond the point where the training rows are fitted, without weight decay, in low precision: where \
           `train --diagnose` shows the softmax collapsing and the loss stands still at exactly zero.",
    when_not: "Ordinary training with regularisation or early stopping, where cross-entropy is faster and its probabilities are \
               better calibrated; scores whose common offset means nothing (it is not shift invariant).",
    pytorch: "(lambda s: F.cross_entropy(s.sign() * s.abs().log1p(), y))(x @ W.T + b)",
    build: build_from::<StableMax>,
    defaults: defaults_of::<StableMax>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients};
    use super::*;
    use crate::engine::{Evaluation, Options, View, evaluate};

    fn run<T: Real>(scores: &[T], columns: usize, targets: Vec<u32>) -> Evaluation<T> {
        let batch = Batch::scores(View::new(scores, targets.len(), columns).unwrap()).with_targets(targets);
        evaluate(&StableMax {}, &batch, &Options::default()).unwrap()
    }

    #[test]
    fn gradients_and_schedules() {
        check_all("stablemax_cross_entropy", Reads::ClassHead);
        let mut case = Case::random(Reads::ClassHead, 6, 4, 3, 12);
        case.bias = Some(vec![3.0, -20.0, 0.1, 50.0]);
        case.targets.as_mut().unwrap()[2] = NONE;
        check_gradients(&StableMax {}, &case, 1e-6);
    }

    #[test]
    fn it_is_the_cross_entropy_of_squeezed_scores() {
        let scores: Vec<f64> = (0..15).map(|k| 30.0 * f64::from(k).sin().powi(3)).collect();
        let squeezed: Vec<f64> = scores.iter().map(|x| x.signum() * x.abs().ln_1p()).collect();
        let targets = vec![0, NONE, 4];
        let found = run(&scores, 5, targets.clone());
        let batch = Batch::scores(View::new(&squeezed, 3, 5).unwrap()).with_targets(targets);
        let other = evaluate(&super::super::SoftmaxCrossEntropy::default(), &batch, &Options::default()).unwrap();
        assert!(found.values.iter().zip(&other.values).all(|(a, b)| (a - b).abs() < 1e-14));
        assert_eq!(found.values[1], 0.0);
        for ((x, mine), theirs) in scores.iter().zip(&found.gradients.scores).zip(&other.gradients.scores) {
            assert!((mine - theirs / (1.0 + x.abs())).abs() < 1e-15);
        }
        let (probabilities, logs) = stablemax(&scores, 5).unwrap();
        let softmax = crate::metrics::classification::softmax(&squeezed, 5).unwrap();
        assert!(probabilities.iter().zip(&softmax).all(|(a, b)| (a - b).abs() < 1e-15));
        assert!(probabilities.iter().zip(&logs).all(|(p, l)| (p.ln() - l).abs() < 1e-13));
        assert!((logs[0] + found.values[0]).abs() < 1e-14);
    }

    /// What the paper is about: a gap at which the softmax has nothing left to say.
    #[test]
    fn a_won_row_keeps_its_gradient_where_the_softmax_has_lost_it() {
        let scores = [40.0f32, 0.0];
        let mine = run(&scores, 2, vec![0]);
        assert!((mine.loss - (1.0f32 / 41.0).ln_1p()).abs() < 1e-7, "{}", mine.loss);
        assert!((mine.gradients.scores[0] + 1.0 / (42.0 * 41.0)).abs() < 1e-9);
        assert!((mine.gradients.scores[1] - 1.0 / 42.0).abs() < 1e-8);
    }

    #[test]
    fn extreme_scores_neither_overflow_nor_vanish() {
        let huge = run(&[1e300, 1e300, -1e300, 0.0], 4, vec![1]);
        assert!((huge.loss - 2f64.ln()).abs() < 1e-12 && huge.gradients.scores.iter().all(|g| g.is_finite()));
        let low = run(&[-1e300, -1e300], 2, vec![0]);
        assert!((low.loss - 2f64.ln()).abs() < 1e-12);
        let lost = run(&[-1e4, 1e4], 2, vec![0]);
        assert!((lost.loss - 2.0 * 1e4f64.ln_1p()).abs() < 1e-6);
        let single = run(&[1e37f32, 3e38, -3e38], 3, vec![0]);
        assert!((single.loss - (3e38f64 / 1e37).ln_1p() as f32).abs() < 1e-3, "{}", single.loss);
        let (p, _) = stablemax(&[1e308, 1e308, 0.0], 3).unwrap();
        assert_eq!(p[..2], [0.5, 0.5]);
        // A slope of one at zero, from both sides; a single class has nothing to lose.
        assert_eq!(run(&[0.0, -0.0], 2, vec![0]).gradients.scores, [-0.5, 0.5]);
        assert_eq!(run(&[2.5], 1, vec![0]).loss, 0.0);
    }

    #[test]
    fn bad_input_is_named() {
        let fails =
            |batch: &Batch<'_, f64>| evaluate(&StableMax {}, batch, &Options::default()).unwrap_err().to_string();
        let scores = [0.0, 1.0, f64::NAN, 2.0];
        let batch = Batch::scores(View::new(&scores, 2, 2).unwrap()).with_targets(vec![0, 1]);
        assert!(fails(&batch).contains("row 1"), "{}", fails(&batch));
        let batch = Batch::scores(View::new(&scores[..2], 1, 2).unwrap());
        assert!(fails(&batch.clone().with_targets(vec![2])).contains("there are 2 classes"));
        assert!(fails(&batch.with_targets(vec![0, 1])).contains("targets"));
        let empty = Batch::scores(View::new(&scores[..0], 0, 2).unwrap()).with_targets(vec![]);
        assert!(fails(&empty).contains("empty"));
        assert!(stablemax(&scores, 2).unwrap_err().to_string().contains("row 1, column 0"));
        assert!(stablemax(&scores[..3], 2).is_err() && stablemax::<f64>(&[], 0).is_err());
    }
}
