//! The theory of the comp-sum losses, and the attack on a linear model.

use super::super::Outputs;
use super::super::case::Case;
use crate::attack::{LinearModel, PgdConfig};
use crate::error::{Error, Result};
use crate::theory::comp_sum;

fn classes(case: &Case) -> Result<usize> {
    match case.number("num_classes")? {
        n if n >= 0.0 && n.fract() == 0.0 => Ok(n as usize),
        n => Err(Error::parameter("num_classes", n, "a whole number")),
    }
}

/// `tau`, `num_classes`; `beta` → `t`.
pub(super) fn h_transform(case: &Case) -> Result<Outputs> {
    let t = comp_sum::transform(case.number("tau")?, classes(case)?, &case.input("beta")?.data)?;
    Ok(Outputs::from([("t".into(), t)]))
}

/// `tau`, `num_classes`; `surrogate_gap` → `exact`, `simple`.
pub(super) fn h_bound(case: &Case) -> Result<Outputs> {
    let found = comp_sum::bound(case.number("tau")?, classes(case)?, &case.input("surrogate_gap")?.data)?;
    Ok(Outputs::from([
        ("exact".into(), found.iter().map(|b| b.exact).collect()),
        ("simple".into(), found.iter().map(|b| b.simple).collect()),
    ]))
}

/// `tau`; `probs` `[m, n]` → `optimal_risk` `[m]`.
pub(super) fn conditional_risk(case: &Case) -> Result<Outputs> {
    let risk = comp_sum::optimal_conditional_risk(case.number("tau")?, case.matrix("probs")?)?;
    Ok(Outputs::from([("optimal_risk".into(), risk)]))
}

/// `num_classes`, `score_bound`; `best_sum_exp_risk` `[1]`, `tau` → `gap_bound`.
pub(super) fn gap_upper_bound(case: &Case) -> Result<Outputs> {
    let risk = case.input("best_sum_exp_risk")?;
    let [risk] = risk.data[..] else {
        return Err(Error::shape("best_sum_exp_risk", &risk.shape, "[1]"));
    };
    let (bound, tau) = (case.number("score_bound")?, &case.input("tau")?.data);
    Ok(Outputs::from([("gap_bound".into(), comp_sum::gap_upper_bound(classes(case)?, bound, risk, tau)?)]))
}

/// The parameters of [`PgdConfig`], `objective` for its goal; `x` `[B, d]`, `targets`, `weight` `[n, d]`, `bias`, `start_delta` → `x_adv`,
/// `scores_adv`.
pub(super) fn pgd_linear(case: &Case) -> Result<Outputs> {
    let mut parameters = case.renamed(&[("objective", "goal")]);
    // Counts may be written as 10.0.
    if let Some(steps) = parameters.get("steps").and_then(serde_json::Value::as_f64) {
        parameters.insert("steps".into(), (steps as u64).into());
    }
    let config: PgdConfig = serde_json::from_value(parameters.into())
        .map_err(|e| Error::Specification { spec: case.op.clone(), reason: e.to_string() })?;
    let (x, targets, delta) = (case.matrix("x")?, case.labels("targets")?, case.matrix("start_delta")?);
    let mut model = LinearModel::new(case.matrix("weight")?, &case.input("bias")?.data, x.rows())?;
    let found = config.check()?.from(&mut model, x.data(), &targets, delta.data().to_vec())?;
    Ok(Outputs::from([("x_adv".into(), found.x), ("scores_adv".into(), found.scores)]))
}
