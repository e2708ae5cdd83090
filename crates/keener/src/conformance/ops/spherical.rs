//! The spherical family from its three statistics, and its output layer.

use super::super::Outputs;
use super::super::case::{Case, unsigned};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::spherical::{FactoredConfig, FactoredOutput, Reduction, Spherical, Targets};

/// `kind` (`z`, `mse`, `taylor_softmax`, `spherical_softmax`), `a`, `b`, `eps`.
fn loss(case: &Case) -> Result<Spherical> {
    let found = match case.text_or("kind", "z")? {
        "z" => Spherical::Z {
            a: case.number_or("a", 1.0)?,
            b: case.number_or("b", 0.0)?,
            eps: case.number_or("eps", 1e-12)?,
        },
        "mse" => Spherical::SquaredError,
        "taylor_softmax" => Spherical::TaylorSoftmax,
        "spherical_softmax" => Spherical::SphericalSoftmax { eps: case.number_or("eps", 1e-3)? },
        other => {
            return Err(Error::Unsupported {
                what: format!("the loss `{other}` by its sum and sum of squares"),
                hint: "spherical losses are z, mse, taylor_softmax and spherical_softmax".into(),
            });
        }
    };
    found.check()?;
    Ok(found)
}

fn count(name: &str, value: f64) -> Result<usize> {
    match value.fract() == 0.0 && (0.0..1e9).contains(&value) {
        true => Ok(value as usize),
        false => Err(Error::parameter(name, value, "a whole number ≥ 0")),
    }
}

/// A loss with `num_classes`; `target_score`, `sum`, `sum_sq` `[B]` → `per_sample` and its derivatives.
pub(super) fn spherical_from_stats(case: &Case) -> Result<Outputs> {
    let loss = loss(case)?;
    let classes = count("num_classes", case.number("num_classes")?)?;
    Spherical::check_classes(classes)?;
    let [target, sum, sum_sq] = [case.input("target_score")?, case.input("sum")?, case.input("sum_sq")?];
    for (name, array) in [("sum", sum), ("sum_sq", sum_sq)] {
        if array.shape != target.shape {
            return Err(Error::shape(name, &array.shape, format!("{:?} as target_score", target.shape)));
        }
    }
    let rows = (0..target.data.len()).map(|i| loss.of_sums(target.data[i], sum.data[i], sum_sq.data[i], classes));
    let mut outputs = Outputs::new();
    for row in rows {
        for (name, value) in [
            ("per_sample", row.value),
            ("grad_target_score", row.target),
            ("grad_sum", row.sum),
            ("grad_sum_sq", row.sum_sq),
        ] {
            outputs.entry(name.into()).or_default().push(value);
        }
    }
    Ok(outputs)
}

/// A loss with `lr`, `reduction`, `weight_decay`, `stabilize_period`; `weights` `[D, d]`, `hidden` `[steps, m, d]`, `targets`
/// `[steps, m]` → `losses`, `grad_hidden`, and `weights_after`, `gram_after`, `column_sum_after`.
pub(super) fn factored_train(case: &Case) -> Result<Outputs> {
    let reduction = match case.text_or("reduction", "mean")? {
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        other => return Err(Error::parameter("reduction", other, "mean or sum")),
    };
    if !matches!(case.text_or("optimizer", "sgd")?, "sgd") {
        return Err(Error::Unsupported {
            what: format!("the factored layer under {}", case.text_or("optimizer", "sgd")?),
            hint: "its exact step is plain SGD (with weight decay); momentum and Adam do not factor".into(),
        });
    }
    let config = FactoredConfig {
        loss: loss(case)?,
        reduction,
        weight_decay: case.number_or("weight_decay", 0.0)?,
        stabilize_every: count("stabilize_period", case.number_or("stabilize_period", 10.0)?)? as u64,
    };
    let mut layer = FactoredOutput::<f64>::new(case.matrix("weights")?, config)?;
    let hidden = case.input("hidden")?;
    let targets = case.input("targets")?;
    let [steps, m, d] = hidden.shape[..] else {
        return Err(Error::shape("hidden", &hidden.shape, "[steps, m, d]"));
    };
    if targets.shape != [steps, m] {
        return Err(Error::shape("targets", &targets.shape, format!("[{steps}, {m}] as hidden")));
    }
    let (targets, rate) = (unsigned("targets", targets)?, case.number("lr")?);
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for (hidden, targets) in hidden.data.chunks_exact((m * d).max(1)).zip(targets.chunks_exact(m.max(1))) {
        let step = layer.step(View::new(hidden, m, d)?, &Targets::Classes(targets), rate)?;
        losses.push(step.loss);
        gradients.extend(step.grad_hidden);
    }
    Ok(Outputs::from([
        ("losses".into(), losses),
        ("grad_hidden".into(), gradients),
        ("weights_after".into(), layer.to_dense()),
        ("gram_after".into(), layer.gram()),
        ("column_sum_after".into(), layer.column_sum()),
    ]))
}
