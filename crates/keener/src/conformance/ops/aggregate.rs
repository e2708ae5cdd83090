//! Responses that are known as means of bags.

use super::super::case::Case;
use super::super::{Outputs, objective::perform};
use crate::conformance::Array;
use crate::engine::View;
use crate::error::Result;
use crate::estimate::AggregateRidge;
use crate::segments::{Bags, private_release};
use crate::theory::aggregate::{Privacy, Setting, instance_bag_size};

fn scalar(name: &str, value: f64) -> (String, Vec<f64>) {
    (name.into(), vec![value])
}

fn bags(case: &Case, count: usize) -> Result<Bags> {
    Bags::new(&case.labels("bag")?, count)
}

/// `rho`, `kind`; `predictions` or `logits` `[n]`, `bag` `[n]`, `bag_response` `[m]` → `loss`, `bag_loss`, `instance_loss`, `regularizer`,
/// `grad_input` `[n]`.
pub(super) fn loss(case: &Case) -> Result<Outputs> {
    let mut scores = case.clone();
    let column = |array: Array| Array { shape: vec![array.data.len(), 1], data: array.data };
    for name in ["predictions", "logits"] {
        if let Some(given) = scores.inputs.remove(name) {
            scores.inputs.insert("scores".into(), column(given));
        }
    }
    if let Some(responses) = scores.inputs.remove("bag_response") {
        scores.inputs.insert("bag_responses".into(), column(responses));
    }
    let mut outputs = perform(&scores, "aggregate", case.params.clone())?;
    if let Some(gradient) = outputs.remove("grad_scores") {
        outputs.insert("grad_input".into(), gradient);
    }
    Ok(outputs)
}

/// `rho`, `lambda`; `x` `[n, d]`, `bag` `[n]`, `bag_response` `[m]` → `theta` `[d]`, `objective`.
pub(super) fn ridge_fit(case: &Case) -> Result<Outputs> {
    let responses = &case.input("bag_response")?.data;
    let ridge = AggregateRidge { rho: case.number("rho")?, lambda: case.number("lambda")?, minimum_norm: false };
    let x: View<'_, f64> = case.matrix("x")?;
    let fit = ridge.fit(x, &bags(case, responses.len())?, responses)?;
    Ok(Outputs::from([("theta".into(), fit.theta), scalar("objective", fit.objective)]))
}

/// `psi`, `bag_size`, `rho`, `lambda`, `signal_norm`, `noise_std` → `t`, `alpha`, `bias2`, `variance`, `risk`.
pub(super) fn asymptotic_risk(case: &Case) -> Result<Outputs> {
    let setting = Setting {
        psi: case.number("psi")?,
        bag_size: case.number("bag_size")?,
        rho: case.number("rho")?,
        lambda: case.number("lambda")?,
        signal_norm: case.number("signal_norm")?,
        noise_std: case.number("noise_std")?,
    };
    let risk = setting.risk()?;
    Ok(Outputs::from([
        scalar("t", risk.t),
        scalar("alpha", risk.alpha),
        scalar("bias2", risk.bias2),
        scalar("variance", risk.variance),
        scalar("risk", risk.risk),
    ]))
}

/// `psi`, `signal_norm`, `noise_std`, `clip`, `epsilon` → `k_continuous`, `k_integer`, `risk_at_integer`,
/// `laplace_scale_at_integer`.
pub(super) fn private_bag_size(case: &Case) -> Result<Outputs> {
    let privacy = Privacy { clip: case.number("clip")?, epsilon: case.number("epsilon")? };
    let (psi, r, sigma) = (case.number("psi")?, case.number("signal_norm")?, case.number("noise_std")?);
    let found = instance_bag_size(psi, r, sigma, &privacy)?;
    Ok(Outputs::from([
        scalar("k_continuous", found.continuous),
        scalar("k_integer", found.integer),
        scalar("risk_at_integer", found.risk),
        scalar("laplace_scale_at_integer", found.laplace_scale),
    ]))
}

/// `clip`, `epsilon`; `y` `[n]`, `bag` `[n]`, `uniform` `[m]` → `bag_mean_clipped`, `laplace_scale`, `noise`, `released`.
pub(super) fn private_responses(case: &Case) -> Result<Outputs> {
    let (y, uniform) = (&case.input("y")?.data, &case.input("uniform")?.data);
    let bags = bags(case, uniform.len())?;
    let found = private_release(y, &bags, uniform, case.number("clip")?, case.number("epsilon")?)?;
    Ok(Outputs::from([
        ("bag_mean_clipped".into(), found.means),
        ("laplace_scale".into(), found.scales),
        ("noise".into(), found.noise),
        ("released".into(), found.released),
    ]))
}
