//! The numbers of a leader board.

use super::config::{Scenario, Task};
use super::fit::Rows;
use super::inserted::Inserted;
use super::thresholds::moved;
use crate::Error;
use keener::metrics::Measure;
use keener::metrics::calibration::{DEFAULT_BINS, ece, fit_temperature};
use keener::metrics::classification::{ConfusionMatrix, accuracy, argmax, brier, nll_from_logits, softmax};
use keener::metrics::ranking::macro_auroc;
use keener::metrics::retrieval::Retrieval;
use serde::{Deserialize, Serialize};

/// A number of a leader board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of rows whose class is found.
    Accuracy,
    /// Mean F1 over classes.
    MacroF1,
    /// Mean one-against-rest area under the ROC curve.
    Auroc,
    /// Negative log-likelihood, raw.
    Nll,
    /// Expected calibration error, raw.
    Ece,
    /// Brier score, raw.
    Brier,
    /// Negative log-likelihood after temperature scaling.
    NllScaled,
    /// Expected calibration error after temperature scaling.
    EceScaled,
    /// Brier score after temperature scaling.
    BrierScaled,
    /// Mean average precision at R.
    MapAtR,
    /// Share of queries whose nearest neighbour is of their class.
    RecallAt1,
    /// Share of queries with one of their class among the ten nearest.
    RecallAt10,
    /// Accuracy among unseen classes alone, each inserted as the mean of a few examples.
    NewClasses,
    /// Accuracy among trained and inserted classes together, each the mean of its examples.
    AllClasses,
    /// Mean recall over classes.
    BalancedAccuracy,
    /// Geometric mean of the recalls of the classes.
    GMean,
    /// F1 of class 1, where there are two classes.
    F1,
}

impl Metric {
    /// The metrics of a scenario; the first decides.
    pub fn of(scenario: Scenario) -> &'static [Self] {
        match scenario.task() {
            Task::Classify if scenario == Scenario::Imbalanced => &[
                Self::MacroF1,
                Self::BalancedAccuracy,
                Self::GMean,
                Self::F1,
                Self::Accuracy,
                Self::Auroc,
                Self::NllScaled,
                Self::EceScaled,
                Self::BrierScaled,
                Self::Nll,
                Self::Ece,
                Self::Brier,
            ],
            Task::Classify => &[
                Self::Accuracy,
                Self::MacroF1,
                Self::Auroc,
                Self::NllScaled,
                Self::EceScaled,
                Self::BrierScaled,
                Self::Nll,
                Self::Ece,
                Self::Brier,
            ],
            Task::Retrieve => &[Self::MapAtR, Self::RecallAt1, Self::RecallAt10, Self::NewClasses, Self::AllClasses],
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro-F1",
            Self::Auroc => "AUROC",
            Self::Nll => "NLL raw",
            Self::Ece => "ECE raw",
            Self::Brier => "Brier raw",
            Self::NllScaled => "NLL",
            Self::EceScaled => "ECE",
            Self::BrierScaled => "Brier",
            Self::MapAtR => "MAP@R",
            Self::RecallAt1 => "recall@1",
            Self::RecallAt10 => "recall@10",
            Self::NewClasses => "new classes",
            Self::AllClasses => "all classes",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::GMean => "G-mean",
            Self::F1 => "F1",
        }
    }

    /// The largest value that it can have.
    pub fn greatest(self) -> f64 {
        match self {
            Self::Nll | Self::NllScaled => f64::INFINITY,
            Self::Brier | Self::BrierScaled => 2.0,
            _ => 1.0,
        }
    }
}

/// What was measured on the test rows of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum Measures {
    /// Naming classes.
    Classify {
        /// Share of rows whose class is found.
        accuracy: f64,
        /// Mean F1 over classes.
        macro_f1: f64,
        /// Mean recall over classes.
        #[serde(default)]
        balanced_accuracy: f64,
        /// Geometric mean of the recalls.
        #[serde(default)]
        g_mean: f64,
        /// F1 of class 1 of two.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        f1: Option<f64>,
        /// Mean one-against-rest area under the ROC curve.
        auroc: f64,
        /// Raw, in nats.
        nll: f64,
        /// Raw, 15 bins.
        ece: f64,
        /// Raw.
        brier: f64,
        /// Fitted on validation rows.
        temperature: f64,
        /// After division of the logits by the temperature.
        nll_scaled: f64,
        /// After division of the logits by the temperature.
        ece_scaled: f64,
        /// After division of the logits by the temperature.
        brier_scaled: f64,
    },
    /// Finding rows of the same class.
    Retrieve {
        /// Mean average precision at R.
        map_at_r: f64,
        /// At 1.
        recall_at_1: f64,
        /// At 10.
        recall_at_10: f64,
        /// Accuracy where unseen classes are inserted without training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inserted: Option<Inserted>,
    },
}

impl Measures {
    /// The value of a metric, where the task has it.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        Some(match (self, metric) {
            (Self::Classify { accuracy, .. }, Metric::Accuracy) => *accuracy,
            (Self::Classify { balanced_accuracy, .. }, Metric::BalancedAccuracy) => *balanced_accuracy,
            (Self::Classify { g_mean, .. }, Metric::GMean) => *g_mean,
            (Self::Classify { f1: Some(f1), .. }, Metric::F1) => *f1,
            (Self::Classify { macro_f1, .. }, Metric::MacroF1) => *macro_f1,
            (Self::Classify { auroc, .. }, Metric::Auroc) => *auroc,
            (Self::Classify { nll, .. }, Metric::Nll) => *nll,
            (Self::Classify { ece, .. }, Metric::Ece) => *ece,
            (Self::Classify { brier, .. }, Metric::Brier) => *brier,
            (Self::Classify { nll_scaled, .. }, Metric::NllScaled) => *nll_scaled,
            (Self::Classify { ece_scaled, .. }, Metric::EceScaled) => *ece_scaled,
            (Self::Classify { brier_scaled, .. }, Metric::BrierScaled) => *brier_scaled,
            (Self::Retrieve { map_at_r, .. }, Metric::MapAtR) => *map_at_r,
            (Self::Retrieve { recall_at_1, .. }, Metric::RecallAt1) => *recall_at_1,
            (Self::Retrieve { recall_at_10, .. }, Metric::RecallAt10) => *recall_at_10,
            (Self::Retrieve { inserted, .. }, Metric::NewClasses) => inserted.as_ref()?.disjoint,
            (Self::Retrieve { inserted, .. }, Metric::AllClasses) => inserted.as_ref()?.joint,
            _ => return None,
        })
    }
}

/// The temperature that fits validation logits, or 1 where they do not determine it.
pub(crate) fn temperature(logits: &[f64], rows: &Rows) -> Result<f64, Error> {
    Ok(fit_temperature(logits, rows.classes, &rows.indices())?.applied().0)
}

/// Logits divided by a temperature.
pub(crate) fn cooled(logits: &[f64], temperature: f64) -> Vec<f64> {
    logits.iter().map(|z| z / temperature).collect()
}

/// Numbers of class scores. Where `offsets` of the classes are given, they decide which class wins; probabilities are without.
pub(crate) fn classify(
    logits: &[f64],
    rows: &Rows,
    temperature: f64,
    offsets: Option<&[f64]>,
) -> Result<Measures, Error> {
    let (classes, labels) = (rows.classes, rows.indices());
    let predicted = match offsets {
        Some(offsets) => argmax(&moved(logits, offsets), classes)?,
        None => argmax(logits, classes)?,
    };
    let confusion = ConfusionMatrix::new(&predicted, &labels, classes)?;
    let scaled = cooled(logits, temperature);
    let (raw, after) = (softmax(logits, classes)?, softmax(&scaled, classes)?);
    Ok(Measures::Classify {
        accuracy: accuracy(&predicted, &labels)?,
        macro_f1: confusion.macro_f1(),
        balanced_accuracy: confusion.balanced_accuracy(),
        g_mean: confusion.geometric_mean(),
        f1: if classes == 2 { confusion.f1()[1] } else { None },
        auroc: macro_auroc(&after, classes, &labels)?.value,
        nll: nll_from_logits(logits, classes, &labels)?,
        ece: ece(&raw, classes, &labels, DEFAULT_BINS)?,
        brier: brier(&raw, classes, &labels)?,
        temperature,
        nll_scaled: nll_from_logits(&scaled, classes, &labels)?,
        ece_scaled: ece(&after, classes, &labels, DEFAULT_BINS)?,
        brier_scaled: brier(&after, classes, &labels)?,
    })
}

/// Numbers of embeddings, each row a query among the others.
pub(crate) fn retrieve(
    embeddings: &[f32],
    dim: usize,
    rows: &Rows,
    inserted: Option<Inserted>,
) -> Result<Measures, Error> {
    let retrieval = Retrieval::of([Measure::MapAtR, Measure::RecallAt(1), Measure::RecallAt(10)]);
    let found = retrieval.leave_one_out(embeddings, dim, &rows.indices())?;
    let [map_at_r, recall_at_1, recall_at_10] = [found.means[0], found.means[1], found.means[2]];
    Ok(Measures::Retrieve { map_at_r, recall_at_1, recall_at_10, inserted })
}
