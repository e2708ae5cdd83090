//! The contrastive losses over given scores.

use super::super::case::Case;
use super::super::{Outputs, objective};
use crate::error::{Error, Result};

/// `tau`; `scores` `[B, K]`, `targets` `[B]` → `loss`, `row_loss`, `grad_scores`.
pub(super) fn contrastive_loss(case: &Case) -> Result<Outputs> {
    objective::perform(case, "contrastive", case.renamed(&[("tau", "temperature")]))
}

/// As [`contrastive_loss`], with `alpha`; also `threshold` `[B]` and the negatives `kept` `[B, K]` (0 or 1, 0 at the positive).
pub(super) fn hard_contrastive_loss(case: &Case) -> Result<Outputs> {
    with_kept(case, objective::perform(case, "hard_contrastive", case.renamed(&[("tau", "temperature")]))?)
}

/// `lambda`, `alpha`; otherwise as [`hard_contrastive_loss`].
pub(super) fn hard_simple_contrastive_loss(case: &Case) -> Result<Outputs> {
    with_kept(case, objective::perform(case, "hard_simple_contrastive", case.params.clone())?)
}

/// Adds the negatives at or above the reported threshold.
fn with_kept(case: &Case, mut outputs: Outputs) -> Result<Outputs> {
    let (scores, targets) = (case.matrix("scores")?, case.labels("targets")?);
    let threshold = outputs.get("threshold").ok_or_else(|| Error::Unsupported {
        what: format!("the threshold of {}", case.op),
        hint: "the objective does not report it".into(),
    })?;
    let kept = (0..scores.rows()).flat_map(|row| {
        let (target, least) = (targets[row] as usize, threshold[row]);
        scores.row(row).iter().enumerate().map(move |(k, s)| f64::from(k != target && *s >= least))
    });
    let kept = kept.collect();
    outputs.insert("kept".into(), kept);
    Ok(outputs)
}
