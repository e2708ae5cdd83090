//! A metric of the confusion matrix as a loss.

use super::super::case::{Array, Case};
use super::super::{Outputs, objective::perform};
use crate::error::{Error, Result};
use crate::objective;
use serde_json::Value;

/// `amplify`, `beta`, `input`; `probs` or `logits` `[n]`, `targets` `[n]` → `loss`, `grad_input`, `tp`, `fp`, `fn`, `tn`. The metric is
/// the end of the operation's name.
pub(super) fn metric(case: &Case) -> Result<Outputs> {
    let metric = case.op.trim_start_matches("anyloss_").to_string();
    let mut parameters = case.params.clone();
    let input = parameters.get("input").and_then(Value::as_str).unwrap_or("logits").to_string();
    parameters.insert("metric".into(), metric.into());
    let mut scores = case.clone();
    let given = scores
        .inputs
        .remove(input.as_str())
        .ok_or_else(|| Error::MissingInput { objective: case.op.clone(), missing: format!("the input `{input}`") })?;
    scores.inputs.insert("scores".into(), Array { shape: vec![given.data.len(), 1], data: given.data });
    let mut outputs = perform(&scores, "anyloss", parameters)?;
    if let Some(gradient) = outputs.remove("grad_scores") {
        outputs.insert("grad_input".into(), gradient);
    }
    Ok(outputs)
}

/// `amplify`; `probs` `[n]` → `value`, `complement`, `derivative`.
pub(super) fn approximation(case: &Case) -> Result<Outputs> {
    let [value, complement, derivative] = objective::amplified(&case.input("probs")?.data, case.number("amplify")?)?;
    Ok(Outputs::from([("value".into(), value), ("complement".into(), complement), ("derivative".into(), derivative)]))
}
