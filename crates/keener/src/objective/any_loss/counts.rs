//! Soft confusion counts, and metrics of them with their derivatives.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Counts of a confusion matrix whose predictions are shares: `tp + fn = P`, `fp + tn = N`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoftCounts {
    /// `Σ y A`
    pub tp: f64,
    /// `Σ (1 − y) A`
    pub fp: f64,
    /// `Σ y (1 − A)`
    pub fn_: f64,
    /// `Σ (1 − y)(1 − A)`
    pub tn: f64,
    /// Rows of class 1, P.
    pub positives: f64,
    /// Rows of class 0, N.
    pub negatives: f64,
}

/// A metric of the counts with its derivatives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricValue {
    /// The metric, greater being better.
    pub value: f64,
    /// `∂/∂tp`, `∂/∂fp`, `∂/∂fn`, `∂/∂tn`, as if the four were independent.
    pub slopes: [f64; 4],
}

/// Which number of the confusion matrix is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfusionMetric {
    /// `(TP + TN)/n`
    Accuracy,
    /// `TP/(TP + FP)`
    Precision,
    /// `TP/P`
    #[serde(alias = "sensitivity")]
    Recall,
    /// `TN/N`
    Specificity,
    /// `(1 + β²) TP / (β² P + TP + FP)`
    #[serde(alias = "f1")]
    Fbeta,
    /// `√(TP/P · TN/N)`
    #[serde(alias = "g_mean")]
    Gmean,
    /// `(TP/P + TN/N)/2`
    BalancedAccuracy,
}

impl ConfusionMetric {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Accuracy,
        Self::Precision,
        Self::Recall,
        Self::Specificity,
        Self::Fbeta,
        Self::Gmean,
        Self::BalancedAccuracy,
    ];

    /// Its name in specifications.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::Specificity => "specificity",
            Self::Fbeta => "fbeta",
            Self::Gmean => "gmean",
            Self::BalancedAccuracy => "balanced_accuracy",
        }
    }

    /// Which classes must be present, 1 and 0.
    fn needs(self) -> [bool; 2] {
        match self {
            Self::Recall => [true, false],
            Self::Specificity => [false, true],
            Self::Gmean | Self::BalancedAccuracy => [true, true],
            Self::Accuracy | Self::Precision | Self::Fbeta => [false, false],
        }
    }

    /// The class that is missing for this metric, if one is.
    pub(super) fn missing(self, counts: &SoftCounts) -> Option<u32> {
        let [one, zero] = self.needs();
        match () {
            () if one && counts.positives == 0.0 => Some(1),
            () if zero && counts.negatives == 0.0 => Some(0),
            () => None,
        }
    }

    /// The metric of soft counts with its derivatives; `beta` is read by [`ConfusionMetric::Fbeta`] alone.
    ///
    /// Where TP, FP and FN are all 0, precision and fbeta are 0 with derivative 0; where TP or TN is 0, gmean is 0 and its
    /// infinite derivative is given as 0.
    ///
    /// # Errors
    /// [`Error::Undefined`] where the metric divides by the size of a class without rows.
    pub fn of(self, counts: &SoftCounts, beta: f64) -> Result<MetricValue> {
        if let Some(class) = self.missing(counts) {
            return Err(Error::Undefined {
                what: self.name().into(),
                reason: format!("no row is of class {class}; draw stratified batches, or set on_missing_class"),
            });
        }
        let SoftCounts { tp, fp, fn_, tn, positives, negatives } = *counts;
        let n = positives + negatives;
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        Ok(match self {
            Self::Accuracy => {
                let share = ratio(1.0, n);
                MetricValue { value: (tp + tn) * share, slopes: [share, 0.0, 0.0, share] }
            }
            Self::Precision => {
                let s = tp + fp;
                MetricValue { value: ratio(tp, s), slopes: [ratio(fp, s * s), -ratio(tp, s * s), 0.0, 0.0] }
            }
            Self::Recall => MetricValue { value: tp / positives, slopes: [1.0 / positives, 0.0, 0.0, 0.0] },
            Self::Specificity => MetricValue { value: tn / negatives, slopes: [0.0, 0.0, 0.0, 1.0 / negatives] },
            Self::Fbeta => {
                // With P written as tp + fn: the derivative of A is the same, for P does not change with it.
                let b2 = beta * beta;
                let d = b2 * positives + tp + fp;
                let by_tp = ratio((1.0 + b2) * (b2 * fn_ + fp), d * d);
                let by_fp = -ratio((1.0 + b2) * tp, d * d);
                MetricValue { value: ratio((1.0 + b2) * tp, d), slopes: [by_tp, by_fp, b2 * by_fp, 0.0] }
            }
            Self::Gmean => {
                let value = ((tp / positives) * (tn / negatives)).sqrt();
                let slope = |x: f64| if x > 0.0 && value > 0.0 { value / (2.0 * x) } else { 0.0 };
                MetricValue { value, slopes: [slope(tp), 0.0, 0.0, slope(tn)] }
            }
            Self::BalancedAccuracy => MetricValue {
                value: (tp / positives + tn / negatives) / 2.0,
                slopes: [0.5 / positives, 0.0, 0.0, 0.5 / negatives],
            },
        })
    }
}
