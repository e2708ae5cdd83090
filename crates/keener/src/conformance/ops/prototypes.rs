//! Normalised softmax with its logits, and classes that are added without training.

use super::super::case::{Case, matrix};
use super::super::{Outputs, objective};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::estimate::{PrototypeClassifier, project_unit_norm};
use crate::theory::{scale_for_probability, softmax_floor};

/// The objective's parameters; `embeddings` `[B, d]`, `weights` `[C, d]`, `targets` → its outputs, `logits` `[B, C]`, and
/// `grad_unit_weights`: the gradient by the weights of length one, as they are.
pub(super) fn normalized_softmax(case: &Case) -> Result<Outputs> {
    let mut outputs = objective::perform(case, "normalized_softmax", case.params.clone())?;
    if case.outputs.contains_key("logits") {
        let model = PrototypeClassifier::from_weights(case.matrix("weights")?, case.number("scale")?)?;
        outputs.insert("logits".into(), model.logits(case.matrix("embeddings")?)?);
    }
    if case.outputs.contains_key("grad_unit_weights") {
        let mut given = case.params.clone();
        given.insert("constraint".into(), "projected".into());
        let projected = objective::perform(case, "normalized_softmax", given)?;
        outputs.extend(projected.get("grad_weights").map(|g| ("grad_unit_weights".to_string(), g.clone())));
    }
    Ok(outputs)
}

/// `eps`; `weights` `[C, d]` → `weights` after the projection.
pub(super) fn unit_norm_constraint(case: &Case) -> Result<Outputs> {
    let given = case.matrix("weights")?;
    let mut weights = given.data().to_vec();
    project_unit_norm(&mut weights, given.cols(), case.number("eps")?)?;
    Ok(Outputs::from([("weights".into(), weights)]))
}

/// `scale`; unit `weights` `[C, d]` (`C` may be 0), `new_class_embeddings` `[n, d]`, `queries` `[q, d]` → `weights` `[C + 1, d]`,
/// `prototype`, `query_logits`, `query_probabilities`, `query_prediction`.
pub(super) fn add_class(case: &Case) -> Result<Outputs> {
    let scale = case.number("scale")?;
    let weights = matrix("weights", case.input("weights")?)?;
    let mut model = match weights.rows() {
        0 => PrototypeClassifier::empty(weights.cols(), scale)?,
        _ => PrototypeClassifier::from_weights(weights, scale)?,
    };
    let class = model.add_class(case.matrix("new_class_embeddings")?)?;
    let queries: View<'_, f64> = case.matrix("queries")?;
    let logits = model.logits(queries)?;
    let softmax = |row: &[f64]| {
        let peak = row.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
        let shifted: Vec<f64> = row.iter().map(|x| (x - peak).exp()).collect();
        let sum: f64 = shifted.iter().sum();
        shifted.into_iter().map(move |x| x / sum).collect::<Vec<f64>>()
    };
    let dim = model.dim();
    Ok(Outputs::from([
        ("weights".into(), model.weights().to_vec()),
        ("prototype".into(), model.weights()[class * dim..(class + 1) * dim].to_vec()),
        ("query_probabilities".into(), logits.chunks_exact(model.classes()).flat_map(softmax).collect()),
        ("query_logits".into(), logits),
        ("query_prediction".into(), model.predict(queries)?.into_iter().map(|c| c as f64).collect()),
    ]))
}

/// `scale`, `num_classes` → `loss_floor`, `scale_for_probability_0_99`.
pub(super) fn loss_floor(case: &Case) -> Result<Outputs> {
    let given = case.number("num_classes")?;
    if !(given.fract() == 0.0 && (0.0..9e15).contains(&given)) {
        return Err(Error::parameter("num_classes", given, "a whole number ≥ 2"));
    }
    let classes = given as usize;
    Ok(Outputs::from([
        ("loss_floor".into(), vec![softmax_floor(case.number("scale")?, classes)?]),
        ("scale_for_probability_0_99".into(), vec![scale_for_probability(0.99, classes)?]),
    ]))
}
