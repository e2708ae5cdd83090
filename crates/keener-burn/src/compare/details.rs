//! What pictures are drawn from: kept for the first repeat of every objective, small enough for a line of JSON.

use super::fit::Rows;
use super::measure::cooled;
use crate::Error;
use keener::metrics::calibration::{DEFAULT_BINS, ReliabilityBin, reliability_bins};
use keener::metrics::classification::{ConfusionMatrix, argmax, softmax};
use keener::metrics::projection::principal_plane;
use keener::metrics::roc::roc_curve;
use serde::{Deserialize, Serialize};

/// Points of a map.
const MAPPED: usize = 600;
/// Points of a ROC curve.
const ROC: usize = 80;
/// Similarities of each kind in a histogram.
const PAIRS: usize = 1500;

/// One bar of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBar {
    /// Lower edge.
    pub low: f64,
    /// Upper edge.
    pub high: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share that is right.
    pub accuracy: f64,
    /// Rows.
    pub count: usize,
}

/// Pictures of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassDetails {
    /// Reliability of raw probabilities.
    pub raw: Vec<ReliabilityBar>,
    /// Reliability after temperature scaling.
    pub scaled: Vec<ReliabilityBar>,
    /// `(false positive rate, true positive rate)`: every row's every class, pooled.
    pub roc: Vec<(f64, f64)>,
    /// Counts `[classes][classes]`: row = label, column = prediction.
    pub confusion: Vec<Vec<u64>>,
}

/// Pictures of retrieval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrieveDetails {
    /// Cosines of pairs of one class.
    pub positive: Vec<f64>,
    /// Cosines of pairs of two classes.
    pub negative: Vec<f64>,
}

/// What pictures are drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Embeddings of test rows on their principal plane.
    pub map: Vec<(f64, f64)>,
    /// The class of each point in the data set.
    pub map_labels: Vec<u32>,
    /// Share of the variance along both directions.
    pub explained: (f64, f64),
    /// For tasks with class scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassDetails>,
    /// For retrieval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<RetrieveDetails>,
}

/// Four digits are more than a picture shows.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

fn bars(bins: &[ReliabilityBin]) -> Vec<ReliabilityBar> {
    let bar = |b: &ReliabilityBin| ReliabilityBar {
        low: b.lower,
        high: b.upper,
        confidence: rounded(b.confidence),
        accuracy: rounded(b.accuracy),
        count: b.count,
    };
    bins.iter().map(bar).collect()
}

/// From class scores.
pub(crate) fn of_scores(logits: &[f64], rows: &Rows, temperature: f64) -> Result<ClassDetails, Error> {
    let (classes, labels) = (rows.classes, rows.indices());
    let (raw, scaled) = (softmax(logits, classes)?, softmax(&cooled(logits, temperature), classes)?);
    let positive: Vec<bool> = labels.iter().flat_map(|y| (0..classes).map(move |k| k == *y)).collect();
    let roc = roc_curve(&scaled, &positive, ROC)?;
    let confusion = ConfusionMatrix::new(&argmax(logits, classes)?, &labels, classes)?;
    Ok(ClassDetails {
        raw: bars(&reliability_bins(&raw, classes, &labels, DEFAULT_BINS)?),
        scaled: bars(&reliability_bins(&scaled, classes, &labels, DEFAULT_BINS)?),
        roc: roc.iter().map(|p| (rounded(p.false_positive_rate), rounded(p.true_positive_rate))).collect(),
        confusion: confusion.counts().chunks(classes).map(<[u64]>::to_vec).collect(),
    })
}

/// Cosines of pairs, evenly spread over all pairs.
pub(crate) fn of_pairs(embeddings: &[f32], dim: usize, labels: &[u32]) -> RetrieveDetails {
    let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt().max(1e-12);
    let rows: Vec<&[f32]> = embeddings.chunks_exact(dim).collect();
    let mut found = [Vec::new(), Vec::new()];
    // Offsets between rows in a fixed order: every row meets others at many distances.
    for offset in 1..rows.len() {
        for i in (offset % 7..rows.len() - offset).step_by(7) {
            let (a, b) = (rows[i], rows[i + offset]);
            let kind = usize::from(labels[i] != labels[i + offset]);
            if found[kind].len() < PAIRS {
                let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                found[kind].push(rounded(dot / (norm(a) * norm(b))));
            }
        }
        if found.iter().all(|f| f.len() >= PAIRS) {
            break;
        }
    }
    let [positive, negative] = found;
    RetrieveDetails { positive, negative }
}

/// The map of embeddings brought to length one; `labels` are those of the data set.
pub(crate) fn map(embeddings: &[f32], dim: usize, labels: &[u32]) -> Result<Details, Error> {
    let step = labels.len().div_ceil(MAPPED).max(1);
    let mut some = Vec::new();
    for row in embeddings.chunks_exact(dim).step_by(step) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        some.extend(row.iter().map(|x| x / norm));
    }
    let plane = principal_plane(&some, dim)?;
    Ok(Details {
        map: plane.coordinates.iter().map(|[x, y]| (rounded(*x), rounded(*y))).collect(),
        map_labels: labels.iter().step_by(step).copied().collect(),
        explained: (rounded(plane.explained[0]), rounded(plane.explained[1])),
        classes: None,
        pairs: None,
    })
}
