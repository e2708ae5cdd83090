//! Which negatives receive the gradient.

use super::super::Outputs;
use super::super::case::Case;
use crate::error::Result;
use crate::metrics::hardness;

/// `tau`; `scores` `[B, K]`, `targets` `[B]` → `weights` `[B, K]`, and a row `entropy`, `perplexity`, `grad_pos`, `grad_neg_sum`.
pub(super) fn hardness_weights(case: &Case) -> Result<Outputs> {
    let scores = case.matrix("scores")?;
    let targets: Vec<usize> = case.labels("targets")?.into_iter().map(|t| t as usize).collect();
    let found = hardness::hardness_weights(scores.data(), scores.cols(), &targets, case.number("tau")?)?;
    Ok(Outputs::from([
        ("weights".into(), found.weights),
        ("entropy".into(), found.entropy),
        ("perplexity".into(), found.perplexity),
        ("grad_pos".into(), found.grad_pos),
        ("grad_neg_sum".into(), found.grad_neg_sum),
    ]))
}
