//! What happens to training at the edge of numerical stability.

use super::super::Outputs;
use super::super::case::Case;
use crate::error::{Error, Result};
use crate::metrics::collapse;
use crate::objective;
use crate::transform::{OrthogonalConfig, orthogonalize};

/// `axis` (−1 or 1 for rows, 0 or −2 for columns); `logits` `[B, C]` → `probs`, `log_probs`.
pub(super) fn stablemax(case: &Case) -> Result<Outputs> {
    let logits = case.matrix("logits")?;
    let (rows, cols) = (logits.rows(), logits.cols());
    let (probs, logs) = match case.number_or("axis", -1.0)? {
        -1.0 | 1.0 => objective::stablemax(logits.data(), cols)?,
        0.0 | -2.0 => {
            let turned = |x: &[f64], rows: usize, cols: usize| -> Vec<f64> {
                (0..cols).flat_map(|c| (0..rows).map(move |r| r * cols + c)).map(|at| x[at]).collect()
            };
            let (probs, logs) = objective::stablemax(&turned(logits.data(), rows, cols), rows)?;
            (turned(&probs, cols, rows), turned(&logs, cols, rows))
        }
        other => return Err(Error::parameter("axis", other, "-1, 1, 0 or -2")),
    };
    Ok(Outputs::from([("probs".into(), probs), ("log_probs".into(), logs)]))
}

/// `eps`; `weight`, `grad` of one shape → `coefficient`, `grad_orth`, `grad_orth_rescaled`.
pub(super) fn orthogonal_gradient(case: &Case) -> Result<Outputs> {
    let (weight, gradient) = (case.input("weight")?, case.input("grad")?);
    if weight.shape != gradient.shape {
        return Err(Error::shape("grad", &gradient.shape, format!("{:?} as weight", weight.shape)));
    }
    let eps = case.number_or("eps", OrthogonalConfig::default().eps)?;
    let (mut plain, mut rescaled) = (gradient.data.clone(), gradient.data.clone());
    let c = orthogonalize(&weight.data, &mut plain, &OrthogonalConfig { rescale: false, eps })?;
    orthogonalize(&weight.data, &mut rescaled, &OrthogonalConfig { rescale: true, eps })?;
    Ok(Outputs::from([
        ("coefficient".into(), vec![c]),
        ("grad_orth".into(), plain),
        ("grad_orth_rescaled".into(), rescaled),
    ]))
}

/// `dtype` (`float32`, `float64`); `logits` `[B, C]` → `collapsed` `[B]`, `fraction`.
pub(super) fn softmax_collapse(case: &Case) -> Result<Outputs> {
    let logits = case.matrix("logits")?;
    let found = match case.text_or("dtype", "float32")? {
        "float32" => collapse::softmax_collapse::<f32, f64>(logits.data(), logits.cols())?,
        "float64" => collapse::softmax_collapse::<f64, f64>(logits.data(), logits.cols())?,
        other => return Err(Error::parameter("dtype", other, "float32 or float64")),
    };
    let collapsed = found.collapsed.iter().map(|c| f64::from(u8::from(*c))).collect();
    Ok(Outputs::from([("collapsed".into(), collapsed), ("fraction".into(), vec![found.fraction])]))
}

/// `weight_k`, `grad_k` for k = 0, 1, … → `cosine`.
pub(super) fn nlm_alignment(case: &Case) -> Result<Outputs> {
    let (mut weights, mut gradients) = (Vec::new(), Vec::new());
    while case.inputs.contains_key(&format!("weight_{}", weights.len())) {
        let k = weights.len();
        weights.push(&case.input(&format!("weight_{k}"))?.data[..]);
        gradients.push(&case.input(&format!("grad_{k}"))?.data[..]);
    }
    if case.inputs.len() != 2 * weights.len() {
        let missing = "a `weight_k` for each `grad_k`, k from 0 without gaps".to_string();
        return Err(Error::MissingInput { objective: case.op.clone(), missing });
    }
    Ok(Outputs::from([("cosine".into(), vec![collapse::nlm_alignment(&weights, &gradients)?])]))
}
