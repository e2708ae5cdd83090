//! Softmax cross-entropy: label smoothing, class weights, ignored rows, soft targets.

use super::common::{TargetAndOthers, against, times, to_entries, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Sparse, Statistic,
    Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `loss_i = w_y [ −(1 − ε) ln p_y ] − (ε / N) Σ_j w_j ln p_j`, `p = softmax(scores_i)`; the mean divides by `Σ_i w_{y_i}`, as
/// PyTorch does.
///
/// Reads scores `[B, N]` or queries `[B, d]` and class weights `[N, d]` (with a bias `[N]` if there is one), and the class of
/// each row. Rows without a class are ignored: value 0, no gradient, not counted. With soft targets (rows of weights)
/// `loss_i = −Σ_j t_ij ln p_ij`, mean over rows. A single class gives 0.
///
/// Reference: Rethinking the Inception Architecture for Computer Vision (arXiv 1512.00567) for the smoothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftmaxCrossEntropy {
    /// ε in `[0, 1)`. Default 0 (PyTorch).
    pub label_smoothing: f64,
}

impl Default for SoftmaxCrossEntropy {
    fn default() -> Self {
        Self { label_smoothing: 0.0 }
    }
}

impl Configured for SoftmaxCrossEntropy {
    fn check(&self) -> Result<()> {
        within("label_smoothing", self.label_smoothing, 0.0, 1.0 - f64::EPSILON)
    }
}

impl<T: Real> Objective<T> for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        if batch.positives.is_some() {
            return Ok(batch.rows() as f64);
        }
        let weight = |class: u32| batch.class_weights.map_or(1.0, |w| w[class as usize].f64());
        let targets = batch.targets_for("softmax_cross_entropy")?;
        Ok(targets.iter().filter(|t| **t != NONE).map(|t| weight(*t)).sum())
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        if batch.positives.is_some() {
            return self.soft(engine, batch);
        }
        let targets = batch.targets_for("softmax_cross_entropy")?;
        let others = Set::others(targets.into());
        let argument = Argument::of(0);
        let found = TargetAndOthers::sweep(engine, argument.clone(), targets, others.clone())?;
        let n = T::of(engine.shape(0).1 as f64);
        let smoothing = T::of(self.label_smoothing);
        let weight_of = |t: u32| match (t, batch.class_weights) {
            (NONE, _) => T::zero(),
            (t, Some(w)) => w[t as usize],
            (_, None) => T::one(),
        };
        let weights: Vec<T> = targets.iter().map(|t| weight_of(*t)).collect();
        let counted: Vec<T> = targets.iter().map(|t| if *t == NONE { T::zero() } else { T::one() }).collect();
        let pairs = found.others.1.values.iter().zip(&found.target_values);
        let (loss, p_others): (Vec<T>, Vec<T>) = pairs.map(|(o, t)| against(*o, *t)).unzip();
        if smoothing == T::zero() {
            let values = times(&loss, &weights);
            let slope = times(&p_others, &weights);
            return Ok(Outcome::new(values, move |upstream| {
                let others = times(upstream, &slope);
                let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
                let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
                Backward::terms(vec![Term::new(lse, value, others), Term::new(gather, at, target)])
            }));
        }
        // The smoothed part needs Σ_j w_j (lse − s_j): lse of everything, and a weighted sum of scores.
        let class_weights: Vec<T> = match batch.class_weights {
            Some(w) => w.to_vec(),
            None => vec![T::one(); engine.shape(0).1],
        };
        let total: T = class_weights.iter().copied().sum();
        let uniform = batch.class_weights.is_none();
        let sum = if uniform {
            Statistic::sum(Map::Identity, argument.clone(), Set::all())
        } else {
            let everything: Vec<u32> = (0..class_weights.len() as u32).collect();
            let rows = targets.iter().map(|_| everything.iter().copied());
            Statistic::gather(argument.clone(), Arc::new(Sparse::from_rows(rows)))
        };
        let all = Statistic::log_sum_exp(argument, Set::all());
        let stats = engine.sweep(&[sum.clone(), all.clone()])?;
        let columns = class_weights.len();
        let summed = |row: usize| match uniform {
            true => stats[0].values[row],
            false => times(&stats[0].values[row * columns..(row + 1) * columns], &class_weights).into_iter().sum(),
        };
        let share = smoothing / n;
        let values = (0..loss.len())
            .map(|i| {
                let spread = total * stats[1].values[i] - summed(i);
                (T::one() - smoothing) * weights[i] * loss[i] + counted[i] * share * spread
            })
            .collect();
        Ok(Outcome::new(values, move |upstream| {
            let hard: Vec<T> =
                (0..upstream.len()).map(|i| upstream[i] * (T::one() - smoothing) * weights[i] * p_others[i]).collect();
            let target = to_entries(&hard, &found.lists).into_iter().map(|x| -x).collect();
            let soft: Vec<T> = (0..upstream.len()).map(|i| upstream[i] * counted[i] * share).collect();
            let down = match uniform {
                true => soft.iter().map(|s| -*s).collect(),
                false => soft.iter().flat_map(|s| class_weights.iter().map(move |w| -*s * *w)).collect(),
            };
            let up = soft.iter().map(|s| *s * total).collect();
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            Backward::terms(vec![
                Term::new(lse, value, hard),
                Term::new(gather, at, target),
                Term::new(all.clone(), stats[1].clone(), up),
                Term::new(sum.clone(), stats[0].clone(), down),
            ])
        }))
    }
}

impl SoftmaxCrossEntropy {
    /// Soft targets: `Σ_j w_j ((1 − ε) t_ij + ε/N) (lse_i − s_ij)`.
    fn soft<T: Real>(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let columns = engine.shape(0).1;
        let given = Arc::new(batch.positives.as_deref().cloned().unwrap_or_default());
        let keep = T::of(1.0 - self.label_smoothing);
        let share = T::of(self.label_smoothing / columns.max(1) as f64);
        let target = |k: usize| keep * batch.target_weights.as_ref().map_or(T::one(), |w| w[k]);
        let (lists, coefficients, spread) = match batch.class_weights {
            // Smoothing reaches every column, each with its own weight: all of them are listed.
            Some(weights) if share > T::zero() => {
                let all = Sparse::from_rows((0..given.rows()).map(|_| 0..columns as u32));
                let mut coefficients: Vec<T> = all.columns.iter().map(|c| share * weights[*c as usize]).collect();
                for row in 0..given.rows() {
                    for k in given.range(row) {
                        let column = given.columns[k] as usize;
                        coefficients[row * columns + column] += target(k) * weights[column];
                    }
                }
                (Arc::new(all), coefficients, T::zero())
            }
            weights => {
                let weight = |column: u32| weights.map_or(T::one(), |w| w[column as usize]);
                let coefficients = given.columns.iter().enumerate().map(|(k, c)| target(k) * weight(*c)).collect();
                (given, coefficients, share)
            }
        };
        let mut wanted = vec![
            Statistic::gather(Argument::of(0), lists.clone()),
            Statistic::log_sum_exp(Argument::of(0), Set::all()),
        ];
        if spread > T::zero() {
            wanted.push(Statistic::sum(Map::Identity, Argument::of(0), Set::all()));
        }
        let stats = engine.sweep(&wanted)?;
        let n = T::of(columns as f64);
        let values = (0..lists.rows())
            .map(|row| {
                let lse = stats[1].values[row];
                let listed: T = lists.range(row).map(|k| coefficients[k] * (lse - stats[0].values[k])).sum();
                listed + stats.get(2).map_or(T::zero(), |sum| spread * (n * lse - sum.values[row]))
            })
            .collect();
        Ok(Outcome::new(values, move |upstream| {
            let mass = |row: usize| coefficients[lists.range(row)].iter().copied().sum::<T>() + spread * n;
            let up = upstream.iter().enumerate().map(|(row, u)| *u * mass(row)).collect();
            let down = (0..lists.rows())
                .flat_map(|row| lists.range(row).map(move |k| (row, k)))
                .map(|(row, k)| -upstream[row] * coefficients[k])
                .collect();
            let mut terms = vec![
                Term::new(wanted[0].clone(), stats[0].clone(), down),
                Term::new(wanted[1].clone(), stats[1].clone(), up),
            ];
            if let Some(sum) = stats.get(2) {
                terms.push(Term::new(wanted[2].clone(), sum.clone(), upstream.iter().map(|u| -spread * *u).collect()));
            }
            Backward::terms(terms)
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "softmax_cross_entropy",
    aliases: &["ce", "cross_entropy", "softmax_ce"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Softmax cross-entropy, with label smoothing, class weights, ignored rows and soft targets.",
    formula: "loss_i = ln Σ_j exp(s_ij) − s_iy   (smoothed: (1 − ε) of it + ε · mean over classes)",
    parameters: &[ParameterDoc::main("label_smoothing", "ε in [0, 1); 0 by default (PyTorch)", &[0.0, 0.05, 0.1, 0.2])],
    paper: Paper {
        title: "Rethinking the Inception Architecture for Computer Vision (label smoothing)",
        id: "1512.00567",
    },
    when: "The default for classification with clean labels and calibrated probabilities in mind; the baseline to beat.",
    when_not: "Many wrong labels (try a bounded loss), unseen classes at test time (try a margin or contrastive objective).",
    pytorch: "F.cross_entropy(x @ W.T + b, y, label_smoothing={label_smoothing})",
    build: build_from::<SoftmaxCrossEntropy>,
    defaults: defaults_of::<SoftmaxCrossEntropy>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients};
    use super::*;
    use crate::engine::{Options, View, evaluate};

    #[test]
    fn gradients_and_schedules() {
        check_all("ce", Reads::ClassHead);
        check_all("ce:label_smoothing=0.1", Reads::ClassHead);
    }

    #[test]
    fn bias_and_ignored_rows() {
        let mut case = Case::random(Reads::ClassHead, 6, 4, 3, 9);
        case.bias = Some(vec![0.3, -0.2, 0.1, 0.5]);
        case.targets.as_mut().unwrap()[2] = NONE;
        check_gradients(&SoftmaxCrossEntropy { label_smoothing: 0.2 }, &case, 1e-6);
        let run = case.run::<f64>(&SoftmaxCrossEntropy::default(), &Options::default());
        assert_eq!((run.values[2], run.normalizer), (0.0, 5.0));
        assert!(run.gradients.queries[6..9].iter().all(|g| *g == 0.0));
    }

    #[test]
    fn extreme_scores_and_ties() {
        let scores = [1e4f32, -1e4, 0.0, 5.0, 5.0, 5.0];
        let batch = Batch::scores(View::new(&scores, 2, 3).unwrap()).with_targets(vec![1, 0]);
        let run = evaluate(&SoftmaxCrossEntropy::default(), &batch, &Options::default()).unwrap();
        assert_eq!(run.values[0], 2e4);
        assert!((run.values[1] - 3f32.ln()).abs() < 1e-6);
        assert!((run.gradients.scores[3] + 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn adding_a_constant_to_a_row_changes_nothing() {
        let scores: Vec<f64> = (0..12).map(|k| f64::from(k).sin() * 3.0).collect();
        let moved: Vec<f64> = scores.iter().enumerate().map(|(k, s)| s + [7.0, -100.0, 3.5][k / 4]).collect();
        let run = |s: &[f64]| {
            let batch = Batch::scores(View::new(s, 3, 4).unwrap()).with_targets(vec![1, 0, 3]);
            evaluate(&SoftmaxCrossEntropy { label_smoothing: 0.1 }, &batch, &Options::default()).unwrap()
        };
        let (a, b) = (run(&scores), run(&moved));
        assert!((a.loss - b.loss).abs() < 1e-12);
        assert!(a.gradients.scores.iter().zip(&b.gradients.scores).all(|(x, y)| (x - y).abs() < 1e-13));
    }

    #[test]
    fn bad_input_is_named() {
        let scores = [0.0, 1.0, f64::NAN, 2.0];
        let view = View::new(&scores, 2, 2).unwrap();
        let run = |b: &Batch<'_, f64>| {
            evaluate(&SoftmaxCrossEntropy::default(), b, &Options::default()).unwrap_err().to_string()
        };
        assert!(run(&Batch::scores(view).with_targets(vec![0, 1])).contains("row 1, column 0"));
        let good = [0.0, 1.0, 1.5, 2.0];
        let view = View::new(&good, 2, 2).unwrap();
        assert_eq!(run(&Batch::scores(view).with_targets(vec![0, 12])), "label 12 at row 1: there are 2 classes");
        assert!(run(&Batch::scores(view)).contains("targets"));
        assert!(run(&Batch::scores(view).with_targets(vec![0])).contains("shape [1]"));
    }
}
