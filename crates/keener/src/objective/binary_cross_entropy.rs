//! Binary cross-entropy over all columns: multi-label classification, or one class against the rest.

use super::common::{one_column, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Sparse, Statistic,
    Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::{Real, sigmoid, softplus};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `loss_i = (1/N) Σ_j [ w_j y'_ij softplus(−s_ij) + (1 − y'_ij) softplus(s_ij) ]`, `y' = (1 − ε) y + ε/2`; mean over rows.
///
/// Reads scores `[B, N]` or queries `[B, d]` and class weights `[N, d]` (with a bias `[N]` if there is one), and the
/// positive columns of each row (y = 1, or the weights of soft targets). The batch's class weights are `w`, which
/// multiplies the positive part as PyTorch's `pos_weight` does. A row without positives pushes every score down.
///
/// Where classes are given instead of positives, each row's class is its one positive, and rows without a class are
/// ignored: value 0, no gradient, not counted.
///
/// Scores are streamed, except with smoothing *and* class weights together, where all `B · N` of them are held.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BinaryCrossEntropy {
    /// ε in `[0, 1)`. Default 0 (PyTorch).
    pub label_smoothing: f64,
}

impl Default for BinaryCrossEntropy {
    fn default() -> Self {
        Self { label_smoothing: 0.0 }
    }
}

impl Configured for BinaryCrossEntropy {
    fn check(&self) -> Result<()> {
        within("label_smoothing", self.label_smoothing, 0.0, 1.0 - f64::EPSILON)
    }
}

/// `[ a softplus(−s) + b softplus(s), its slope ]`.
fn both_ways<T: Real>(score: T, a: T, b: T) -> (T, T) {
    (a * softplus(-score) + b * softplus(score), b * sigmoid(score) - a * sigmoid(-score))
}

/// Entries named one by one, with the weights of their two softplus terms.
struct Listed<T> {
    lists: Arc<Sparse>,
    down: Vec<T>,
    up: Vec<T>,
}

impl BinaryCrossEntropy {
    /// The entries that are looked at one by one: the positives, or everything where a column's weight matters to its
    /// negatives too.
    fn listed<T: Real>(&self, batch: &Batch<'_, T>, positives: &Arc<Sparse>, columns: usize) -> Listed<T> {
        let half = T::of(self.label_smoothing / 2.0);
        let smooth = |y: T| y * T::of(1.0 - self.label_smoothing) + half;
        let y = |k: usize| smooth(batch.target_weights.as_ref().map_or(T::one(), |w| w[k]));
        let weight = |column: u32| batch.class_weights.map_or(T::one(), |w| w[column as usize]);
        if batch.class_weights.is_none() || self.label_smoothing == 0.0 {
            let down = positives.columns.iter().enumerate().map(|(k, c)| weight(*c) * y(k)).collect();
            let up = (0..positives.len()).map(|k| T::one() - y(k)).collect();
            return Listed { lists: positives.clone(), down, up };
        }
        let all = Sparse::from_rows((0..positives.rows()).map(|_| 0..columns as u32));
        let mut down: Vec<T> = all.columns.iter().map(|c| weight(*c) * half).collect();
        let mut up = vec![T::one() - half; all.len()];
        for row in 0..positives.rows() {
            for k in positives.range(row) {
                let column = positives.columns[k];
                let at = row * columns + column as usize;
                (down[at], up[at]) = (weight(column) * y(k), T::one() - y(k));
            }
        }
        Listed { lists: Arc::new(all), down, up }
    }
}

fn missing() -> Error {
    Error::MissingInput {
        objective: "binary_cross_entropy".into(),
        missing: "the positive columns of each row, or the class of each row (targets)".into(),
    }
}

impl<T: Real> Objective<T> for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary_cross_entropy"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        match (&batch.positives, &batch.targets) {
            (Some(_), _) => Ok(batch.rows() as f64),
            (None, Some(targets)) => Ok(targets.iter().filter(|t| **t != NONE).count() as f64),
            (None, None) => Err(missing()),
        }
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let (rows, columns) = engine.shape(0);
        let share = T::one() / T::of(columns.max(1) as f64);
        let (positives, counted): (Arc<Sparse>, Vec<T>) = match (&batch.positives, &batch.targets) {
            (Some(positives), _) => (Arc::new(positives.as_ref().clone()), vec![share; rows]),
            (None, Some(targets)) => {
                let counted = targets.iter().map(|t| if *t == NONE { T::zero() } else { share }).collect();
                (one_column(targets), counted)
            }
            (None, None) => return Err(missing()),
        };
        let Listed { lists, down, up } = self.listed(batch, &positives, columns);
        let mut wanted = vec![Statistic::gather(Argument::of(0), lists.clone())];
        if lists.len() < rows * columns {
            // What is not listed is plainly negative: softplus(s) − (ε/2) s.
            let negatives = Set::outside(lists.clone());
            wanted.push(Statistic::sum(Map::Softplus, Argument::of(0), negatives.clone()));
            if self.label_smoothing > 0.0 {
                wanted.push(Statistic::sum(Map::Identity, Argument::of(0), negatives));
            }
        }
        let stats = engine.sweep(&wanted)?;
        let factors = [T::one(), T::of(-self.label_smoothing / 2.0)];
        let scores = &stats[0].values;
        let (parts, slopes): (Vec<T>, Vec<T>) = (0..lists.len()).map(|k| both_ways(scores[k], down[k], up[k])).unzip();
        let values = (0..rows)
            .map(|row| {
                let listed: T = parts[lists.range(row)].iter().copied().sum();
                let streamed: T = stats[1..].iter().zip(factors).map(|(s, f)| f * s.values[row]).sum();
                counted[row] * (listed + streamed)
            })
            .collect();
        Ok(Outcome::new(values, move |upstream| {
            let by_row: Vec<T> = upstream.iter().zip(&counted).map(|(u, c)| *u * *c).collect();
            let listed = (0..lists.rows())
                .flat_map(|row| lists.range(row).map(move |k| (row, k)))
                .map(|(row, k)| by_row[row] * slopes[k])
                .collect();
            let mut terms = vec![Term::new(wanted[0].clone(), stats[0].clone(), listed)];
            for ((statistic, stat), factor) in wanted[1..].iter().zip(&stats[1..]).zip(factors) {
                let weight = by_row.iter().map(|w| factor * *w).collect();
                terms.push(Term::new(statistic.clone(), stat.clone(), weight));
            }
            Backward::terms(terms)
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "binary_cross_entropy",
    aliases: &["bce", "bce_with_logits", "multi_label"],
    family: Family::Classification,
    reads: Reads::MultiLabel,
    summary: "Binary cross-entropy of every class by itself: multi-label targets, or one class against the rest.",
    formula: "loss_i = (1/N) Σ_j [ w_j y_ij softplus(−s_ij) + (1 − y_ij) softplus(s_ij) ]   (smoothed: y ← (1 − ε) y + ε/2)",
    parameters: &[ParameterDoc::main(
        "label_smoothing",
        "ε in [0, 1): targets move by ε/2 from 0 and 1; 0 by default (PyTorch)",
        &[0.0, 0.02, 0.05, 0.1],
    )],
    paper: Paper {
        title: "The Regression Analysis of Binary Sequences (logistic regression)",
        id: "JRSS B 20(2), 1958",
    },
    when: "Rows with any number of classes, also none: tags, attributes, detection; one threshold per class at test time.",
    when_not: "Exactly one class a row (softmax cross-entropy learns faster); very many classes with few positives each, \
               where the negatives drown them (weight the positives, or train contrastively).",
    pytorch: "F.binary_cross_entropy_with_logits(x @ W.T + b, (1 - {label_smoothing}) * Y + {label_smoothing} / 2)",
    build: build_from::<BinaryCrossEntropy>,
    defaults: defaults_of::<BinaryCrossEntropy>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients};
    use super::*;
    use crate::engine::{Evaluation, Options, View, evaluate};
    use std::borrow::Cow;

    fn run(smoothing: f64, batch: &Batch<'_, f64>) -> Evaluation<f64> {
        evaluate(&BinaryCrossEntropy { label_smoothing: smoothing }, batch, &Options::default()).unwrap()
    }

    fn scores() -> Vec<f64> {
        (0..12).map(|k| 4.0 * f64::from(k).sin()).collect()
    }

    #[test]
    fn gradients_and_schedules() {
        check_all("bce", Reads::MultiLabel);
        check_all("bce:label_smoothing=0.2", Reads::MultiLabel);
        // One class against the rest.
        check_all("bce", Reads::ClassHead);
        let mut case = Case::random(Reads::MultiLabel, 6, 4, 3, 11);
        case.bias = Some(vec![0.3, -0.2, 0.1, 0.5]);
        check_gradients(&BinaryCrossEntropy { label_smoothing: 0.3 }, &case, 1e-6);
    }

    /// Values of PyTorch's `binary_cross_entropy_with_logits(…, pos_weight=w)` are a sum of two weighted log-sigmoids;
    /// streamed, listed and hand-summed forms must agree entry by entry.
    #[test]
    fn weights_smoothing_and_soft_targets_follow_the_definition() {
        let (s, w) = (scores(), [0.5, 2.0, 1.0, 3.0]);
        let dense = [0.0, 1.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.6, 1.0];
        let lists = Sparse::from_rows(dense.chunks(4).map(|y| (0..4u32).filter(|c| y[*c as usize] > 0.0)));
        let kept: Vec<f64> = dense.iter().copied().filter(|y| *y > 0.0).collect();
        for (smoothing, weighted) in [(0.0, false), (0.0, true), (0.3, false), (0.3, true)] {
            let mut batch = Batch::scores(View::new(&s, 3, 4).unwrap()).with_soft_targets(lists.clone(), kept.clone());
            if weighted {
                batch = batch.with_class_weights(&w);
            }
            let found = run(smoothing, &batch);
            let mut total = 0.0;
            for k in 0..12 {
                let y = dense[k] * (1.0 - smoothing) + smoothing / 2.0;
                let a = y * if weighted { w[k % 4] } else { 1.0 };
                let p = 1.0 / (1.0 + (-s[k]).exp());
                total -= (a * p.ln() + (1.0 - y) * (1.0 - p).ln()) / 12.0;
                let slope = ((1.0 - y) * p - a * (1.0 - p)) / 12.0;
                assert!((found.gradients.scores[k] - slope).abs() < 1e-15, "{smoothing} {weighted} {k}");
            }
            assert!((found.loss - total).abs() < 1e-14, "{smoothing} {weighted}");
        }
    }

    #[test]
    fn flipping_every_sign_and_every_target_changes_nothing() {
        let s = scores();
        let flipped: Vec<f64> = s.iter().map(|s| -s).collect();
        let some = Sparse::from_rows([vec![0u32, 2], vec![], vec![1, 2, 3]]);
        let others = Sparse::from_rows([vec![1u32, 3], vec![0, 1, 2, 3], vec![0]]);
        for smoothing in [0.0, 0.1] {
            let a = run(smoothing, &Batch::scores(View::new(&s, 3, 4).unwrap()).with_positives(Cow::Borrowed(&some)));
            let b = run(
                smoothing,
                &Batch::scores(View::new(&flipped, 3, 4).unwrap()).with_positives(Cow::Borrowed(&others)),
            );
            assert!((a.loss - b.loss).abs() < 1e-14);
            assert!(a.gradients.scores.iter().zip(&b.gradients.scores).all(|(x, y)| (x + y).abs() < 1e-15));
        }
    }

    #[test]
    fn classes_are_one_against_the_rest_and_missing_ones_are_ignored() {
        let s = scores();
        let view = View::new(&s, 3, 4).unwrap();
        let by_class = run(0.1, &Batch::scores(view).with_targets(vec![2, NONE, 0]));
        let lists = Sparse::from_rows([vec![2u32], vec![], vec![0]]);
        let listed = run(0.1, &Batch::scores(view).with_positives(Cow::Owned(lists)));
        assert_eq!((by_class.normalizer, by_class.values[1]), (2.0, 0.0));
        assert_eq!([by_class.values[0], by_class.values[2]], [listed.values[0], listed.values[2]]);
        assert!(by_class.gradients.scores[4..8].iter().all(|g| *g == 0.0));
    }

    #[test]
    fn extreme_scores_keep_their_digits() {
        let s = [1e4, -1e4, 40.0, -40.0];
        let of = |positives: Vec<u32>| {
            let batch = Batch::scores(View::new(&s, 1, 4).unwrap());
            run(0.0, &batch.with_positives(Cow::Owned(Sparse::from_rows([positives]))))
        };
        let found = of(vec![0, 2]);
        let tail = (-40f64).exp();
        assert!((found.loss / (2.0 * tail / 4.0) - 1.0).abs() < 1e-12, "{}", found.loss);
        let lost = of(vec![1]);
        assert_eq!(lost.loss, (2e4 + 40.0) / 4.0);
        assert_eq!(lost.gradients.scores[..2], [0.25, -0.25]);
    }

    #[test]
    fn bad_input_is_named() {
        let s = scores();
        let batch = Batch::scores(View::new(&s, 3, 4).unwrap());
        let message = |b: &Batch<'_, f64>| {
            evaluate(&BinaryCrossEntropy::default(), b, &Options::default()).unwrap_err().to_string()
        };
        assert!(message(&batch).contains("positive columns"));
        let wide = Sparse::from_rows([vec![1u32], vec![0], vec![4]]);
        assert_eq!(
            message(&batch.clone().with_positives(Cow::Borrowed(&wide))),
            "label 4 at row 2: there are 4 classes"
        );
        let message = crate::objective::parse("bce:label_smoothing=1").map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("label_smoothing = 1"), "{message}");
    }
}
