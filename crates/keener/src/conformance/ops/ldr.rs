//! LDR-KL with its weights, and ALDR-KL with stored temperatures.

use super::super::case::{Array, Case};
use super::super::{Outputs, objective};
use crate::error::{Error, Result};
use crate::objective::{ALDR_FIELD, Normalization};
use crate::state::{SampleStore, Update};

/// The objective's parameters; `scores`, `targets` → `loss`, `per_sample`, `weights` `[B, K]`, `grad_scores`.
pub(super) fn ldr_kl_loss(case: &Case) -> Result<Outputs> {
    let mut outputs = objective::perform(case, "ldr_kl", case.params.clone())?;
    // Over scores that are normalised already, the gradient of a row is its weights minus the one of the target.
    let (scores, targets) = (case.matrix("scores")?, case.labels("targets")?);
    let normalize = match case.params.get("normalize") {
        None => Normalization::SoftplusMean,
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|e| Error::Specification { spec: case.op.clone(), reason: e.to_string() })?,
    };
    let mut plain = case.clone();
    let data = (0..scores.rows()).flat_map(|row| normalize.apply(scores.row(row))).collect();
    plain.inputs.insert("scores".into(), Array { shape: vec![scores.rows(), scores.cols()], data });
    plain.params.insert("normalize".into(), "none".into());
    plain.params.insert("reduction".into(), "sum".into());
    let found = objective::perform(&plain, "ldr_kl", plain.params.clone())?;
    let mut weights = found.get("grad_scores").cloned().unwrap_or_default();
    for (row, target) in targets.iter().enumerate() {
        weights[row * scores.cols() + *target as usize] += 1.0;
    }
    outputs.insert("weights".into(), weights);
    Ok(outputs)
}

/// The objective's parameters; `scores`, `targets`, `lambda_prev` `[B]` (not for the converged variant) → `loss`, `per_sample`,
/// `lambda_new`, `grad_scores`.
pub(super) fn aldr_kl_loss(case: &Case) -> Result<Outputs> {
    let rows = case.matrix("scores")?.rows();
    let ids: Vec<u32> = (0..rows as u32).collect();
    let mut store = SampleStore::new();
    let mut rest = case.clone();
    if let Some(previous) = rest.inputs.remove("lambda_prev") {
        store.apply(&[Update { field: ALDR_FIELD, ids: ids.clone(), values: previous.data }])?;
        if let Some(row) = ids.iter().position(|id| !store.contains(ALDR_FIELD, *id)) {
            return Err(Error::MissingInput {
                objective: case.op.clone(),
                missing: format!("lambda_prev of row {row}"),
            });
        }
    }
    objective::perform_with_samples(&rest, "aldr_kl", rest.params.clone(), Some((&ids, &store)))
}
