//! MadaCos over cosines and over raw embeddings.

use super::super::case::Case;
use super::super::{Outputs, objective};
use crate::error::Result;

/// The objective's parameters; `cosines` `[B, C]`, `targets` `[B]` → `loss`, `scale`, `margin`, `median`, `log_b`, `logits` `[B, C]`,
/// `grad_cosines`.
pub(super) fn madacos(case: &Case) -> Result<Outputs> {
    let mut outputs = objective::perform(case, "madacos", case.params.clone())?;
    let (cosines, targets) = (case.matrix("cosines")?, case.labels("targets")?);
    let reported = |name: &str| outputs.get(name).and_then(|v| v.first()).copied().unwrap_or(f64::NAN);
    let (scale, margin) = (reported("scale"), reported("margin"));
    let logit = |(at, c): (usize, &f64)| {
        let (row, column) = (at / cosines.cols(), at % cosines.cols());
        scale * if column == targets[row] as usize { c - margin } else { *c }
    };
    let logits = cosines.data().iter().enumerate().map(logit).collect();
    outputs.insert("logits".into(), logits);
    Ok(outputs)
}

/// The same from `embeddings` `[B, d]` and class `weights` `[C, d]`, without logits.
pub(super) fn madacos_head(case: &Case) -> Result<Outputs> {
    objective::perform(case, "madacos", case.params.clone())
}
