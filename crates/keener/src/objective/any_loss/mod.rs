//! AnyLoss: a metric of the confusion matrix as a loss.

mod counts;
mod soft;
#[cfg(test)]
mod tests;

pub use counts::{ConfusionMetric, MetricValue, SoftCounts};
pub use soft::{ScoreKind, amplified};

use super::common::above;
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{Batch, Coupling, MatrixSpec, Objective, Outcome, Scorer, Sweep};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What becomes of a batch in which a class is missing that the metric needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingClass {
    /// It is an error.
    Error,
    /// Loss 0 and gradient 0, counted as `skipped` in the report; one against the rest: that class is left out of the mean.
    Skip,
    /// Balanced accuracy of the classes that are there.
    Present,
}

/// More than two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiClass {
    /// An error: the paper is about two.
    Refuse,
    /// The mean over classes, each against the rest with a sigmoid of its own. Our extension.
    OneVsRest,
}

/// `loss = 1 − metric(TP, FP, FN, TN)` with soft counts: `A_i = σ(L(p_i − ½))`, `TP = Σ y A`, `FP = Σ (1−y) A`, `FN = Σ y (1−A)`,
/// `TN = Σ (1−y)(1−A)`, `p = σ(z)`.
///
/// Reads logits `z` `[B, 1]`, or scores of two classes `[B, 2]` (then `z = s₁ − s₀`), and the class, 0 or 1, of each row; class 1 is
/// the positive one, usually the rare one. One number a batch: a ratio of sums, so losses of batches do not average to the loss
/// of the data. Use large or stratified batches. Rows without a class do not count. Confident mistakes have vanishing
/// gradients: start from scratch, from a cross-entropy, or with a smaller L.
///
/// A batch without a class that the metric divides by is an error unless `on_missing_class` says otherwise; fbeta of a batch
/// without positives is 0.
///
/// Reference: AnyLoss: Transforming Classification Metrics into Loss Functions (arXiv 2405.14745). Its code multiplies the
/// gradient of gmean by 4 and counts the whole training set in mini-batches; we do neither.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnyLoss {
    /// The metric. Default fbeta (with β = 1: F1).
    pub metric: ConfusionMetric,
    /// β > 0 of fbeta: recall counts β times as much as precision. Default 1.
    pub beta: f64,
    /// L > 0. Default 73 in `f64` (the paper), 33 in `f32`: the largest whole number with `σ(L/2) < 1`.
    pub amplify: Option<f64>,
    /// A class that the metric needs is missing. Default error.
    pub on_missing_class: OnMissingClass,
    /// More than two classes. Default refuse.
    pub multi_class: MultiClass,
    /// What the scores are. Default logits.
    pub input: ScoreKind,
}

impl Default for AnyLoss {
    fn default() -> Self {
        Self {
            metric: ConfusionMetric::Fbeta,
            beta: 1.0,
            amplify: None,
            on_missing_class: OnMissingClass::Error,
            multi_class: MultiClass::Refuse,
            input: ScoreKind::Logits,
        }
    }
}

impl Configured for AnyLoss {
    fn check(&self) -> Result<()> {
        above("beta", self.beta, 0.0)?;
        if let Some(scale) = self.amplify {
            above("amplify", scale, 0.0)?;
        }
        if self.on_missing_class == OnMissingClass::Present && self.metric != ConfusionMetric::BalancedAccuracy {
            let expected = "error or skip: only balanced_accuracy is a mean over the classes that are there";
            return Err(Error::parameter("on_missing_class", "present", expected));
        }
        Ok(())
    }
}

const NAME: &str = "anyloss";

impl AnyLoss {
    fn metric_of(&self, counts: &SoftCounts) -> Result<Option<MetricValue>> {
        match (self.metric.missing(counts), self.on_missing_class) {
            (Some(_), OnMissingClass::Skip) => Ok(None),
            (Some(missing), OnMissingClass::Present) => {
                let other = if missing == 1 { ConfusionMetric::Specificity } else { ConfusionMetric::Recall };
                other.of(counts, self.beta).map(Some)
            }
            _ => self.metric.of(counts, self.beta).map(Some),
        }
    }
}

/// Plans of [`AnyLoss`] and [`ConfusionLoss`] differ in the metric alone.
macro_rules! plan_of_counts {
    () => {
        fn matrices(&self) -> Vec<MatrixSpec> {
            vec![MatrixSpec::main(Scorer::Inner)]
        }

        fn coupling(&self) -> Coupling {
            Coupling::WholeBatch
        }

        fn label_count(&self, columns: usize) -> usize {
            if columns == 1 { 2 } else { columns }
        }

        /// The value is a number of the whole batch.
        fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
            batch.targets_for(Objective::<T>::name(self)).map(|_| 1.0)
        }
    };
}

impl<T: Real> Objective<T> for AnyLoss {
    fn name(&self) -> &'static str {
        NAME
    }

    plan_of_counts!();

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let reading = soft::Reading {
            name: NAME,
            scale: self.amplify.map_or_else(soft::default_scale, T::of),
            kind: self.input,
            one_vs_rest: self.multi_class == MultiClass::OneVsRest,
        };
        soft::evaluate(engine, batch, reading, |counts| self.metric_of(counts))
    }
}

/// A metric of your own: its value and four derivatives from the soft counts.
pub type CustomMetric = dyn Fn(&SoftCounts) -> Result<MetricValue> + Send + Sync;

/// `1 − metric` for any differentiable metric of the four counts: the generic form of [`AnyLoss`], for two classes.
///
/// ```
/// use keener::engine::{Batch, Options, View, evaluate};
/// use keener::objective::{ConfusionLoss, MetricValue, SoftCounts};
///
/// // The Jaccard index TP/(TP + FP + FN).
/// let jaccard = |c: &SoftCounts| {
///     let d = c.tp + c.fp + c.fn_;
///     Ok(MetricValue { value: c.tp / d, slopes: [(c.fp + c.fn_) / (d * d), -c.tp / (d * d), -c.tp / (d * d), 0.0] })
/// };
/// let loss = ConfusionLoss::new("jaccard", jaccard);
/// let logits = [2.0f32, -1.0, 0.3];
/// let batch = Batch::scores(View::new(&logits, 3, 1)?).with_targets(vec![1, 0, 1]);
/// assert!(evaluate(&loss, &batch, &Options::default())?.loss < 0.1);
/// # Ok::<(), keener::Error>(())
/// ```
#[derive(Clone)]
pub struct ConfusionLoss {
    name: &'static str,
    metric: Arc<CustomMetric>,
    amplify: Option<f64>,
}

impl std::fmt::Debug for ConfusionLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfusionLoss")
            .field("name", &self.name)
            .field("amplify", &self.amplify)
            .finish_non_exhaustive()
    }
}

impl ConfusionLoss {
    /// From a metric and its name.
    pub fn new(
        name: &'static str,
        metric: impl Fn(&SoftCounts) -> Result<MetricValue> + Send + Sync + 'static,
    ) -> Self {
        Self { name, metric: Arc::new(metric), amplify: None }
    }

    /// Sets L.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is finite and positive.
    pub fn with_amplify(mut self, amplify: f64) -> Result<Self> {
        above("amplify", amplify, 0.0)?;
        self.amplify = Some(amplify);
        Ok(self)
    }
}

impl<T: Real> Objective<T> for ConfusionLoss {
    fn name(&self) -> &'static str {
        self.name
    }

    plan_of_counts!();

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let reading = soft::Reading {
            name: self.name,
            scale: self.amplify.map_or_else(soft::default_scale, T::of),
            kind: ScoreKind::Logits,
            one_vs_rest: false,
        };
        soft::evaluate(engine, batch, reading, |counts| (self.metric)(counts).map(Some))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["any_loss", "soft_f1"],
    family: Family::Classification,
    reads: Reads::BinaryHead,
    summary: "One minus a metric of the confusion matrix, made differentiable: train for F1, G-mean or balanced accuracy itself.",
    formula: "loss = 1 − metric(TP, FP, FN, TN),  TP = Σ y A, FP = Σ (1−y) A, FN = Σ y (1−A), TN = Σ (1−y)(1−A),  A = σ(L(σ(z) − ½))",
    parameters: &[
        ParameterDoc::new(
            "metric",
            "accuracy, precision, recall, specificity, fbeta (or f1), gmean or balanced_accuracy; fbeta by default",
        ),
        ParameterDoc::new("beta", "β > 0 of fbeta; 1 by default: F1"),
        ParameterDoc::main(
            "amplify",
            "L > 0: how near soft labels are to 0 and 1; 73 by default in f64 (the paper), 33 in f32",
            &[8.0, 16.0, 33.0, 73.0],
        ),
        ParameterDoc::new(
            "on_missing_class",
            "a batch without a class that the metric needs: error (default), skip, or present (balanced_accuracy of what is there)",
        ),
        ParameterDoc::new(
            "multi_class",
            "more than two classes: refuse (default: the paper is about two) or one_vs_rest, the mean over classes (our extension)",
        ),
        ParameterDoc::new("input", "what the scores are: logits (default) or probabilities"),
    ],
    paper: Paper { title: "AnyLoss: Transforming Classification Metrics into Loss Functions", id: "2405.14745" },
    when: "Two classes, one of them rare, and a report in F1, G-mean or balanced accuracy: it trains for that number, without class \
           weights, resampling or a search for a threshold. Large or stratified batches.",
    when_not: "Balanced or nearly separable data, or a report in accuracy (a tie with cross-entropy at best); small batches, where a \
               ratio of sums is biased; probabilities that must be calibrated; fine-tuning a confident model, whose mistakes \
               have no gradient (smaller amplify, or a cross-entropy first).",
    pytorch: "(lambda A, t: (lambda tp, fp, fn, tn: 1 - {'accuracy': (tp + tn) / len(t), 'precision': tp / (tp + fp), \
              'recall': tp / (tp + fn), 'specificity': tn / (tn + fp), \
              'fbeta': (1 + {beta}**2) * tp / ({beta}**2 * (tp + fn) + tp + fp), \
              'gmean': (tp / (tp + fn) * tn / (tn + fp))**0.5, \
              'balanced_accuracy': (tp / (tp + fn) + tn / (tn + fp)) / 2}['{metric}'])(\
              (t * A).sum(), ((1 - t) * A).sum(), (t * (1 - A)).sum(), ((1 - t) * (1 - A)).sum()))(\
              torch.sigmoid(({amplify} or 33) * (torch.sigmoid((lambda s: s[:, 1] - s[:, 0])(x @ W.T + b)) - 0.5)), y.float())",
    build: build_from::<AnyLoss>,
    defaults: defaults_of::<AnyLoss>,
};
