//! What a softmax over scaled cosines can reach at best.

use crate::error::{Error, Result};

fn check_classes(classes: usize) -> Result<f64> {
    match classes {
        0 | 1 => Err(Error::parameter("num_classes", classes, "a whole number ≥ 2")),
        n => Ok(n as f64),
    }
}

/// The smallest cross-entropy of a softmax over `scale · cos` with `classes` classes: `ln(1 + (C − 1) exp(−s C/(C − 1)))`.
///
/// Reached where class directions form a regular simplex (`d ≥ C − 1`) and every embedding lies on its own. A training loss
/// near this floor cannot fall further at this scale.
///
/// Derived; used with Hyperspherical embedding for novel class classification (arXiv 2102.03243).
///
/// # Errors
/// A scale that is not a finite number > 0, fewer than two classes.
pub fn softmax_floor(scale: f64, classes: usize) -> Result<f64> {
    let c = check_classes(classes)?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::parameter("scale", scale, "a finite number > 0"));
    }
    // ln(1 + e^u) with u = ln(C − 1) − s C/(C − 1), without overflow for many classes.
    let u = (c - 1.0).ln() - scale * c / (c - 1.0);
    Ok(u.max(0.0) + (-u.abs()).exp().ln_1p())
}

/// The scale at which the target's probability can reach `probability` with `classes` classes on a regular simplex:
/// `(C − 1)/C · ln((C − 1) P/(1 − P))`.
///
/// # Errors
/// A probability outside `(1/C, 1)`, fewer than two classes.
pub fn scale_for_probability(probability: f64, classes: usize) -> Result<f64> {
    let c = check_classes(classes)?;
    if !(probability > 1.0 / c && probability < 1.0) {
        return Err(Error::parameter("probability", probability, format!("between 1/{classes} and 1")));
    }
    Ok((c - 1.0) / c * ((c - 1.0) * probability / (1.0 - probability)).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Batch, Options, View, evaluate};

    #[test]
    fn the_scale_reaches_its_probability() {
        for (p, classes) in [(0.99, 2), (0.5, 10), (0.999, 1000)] {
            let scale = scale_for_probability(p, classes).unwrap();
            assert!(((-softmax_floor(scale, classes).unwrap()).exp() - p).abs() < 1e-12);
        }
    }

    #[test]
    fn a_simplex_attains_the_floor() {
        // Three directions in the plane, each with its own embedding.
        let corners: Vec<f64> = (0..3)
            .flat_map(|k| {
                let a = f64::from(k) * std::f64::consts::TAU / 3.0;
                [a.cos(), a.sin()]
            })
            .collect();
        let view = View::new(&corners, 3, 2).unwrap();
        let batch = Batch::embeddings(view).with_candidates(view).with_targets(vec![0, 1, 2]);
        let objective = crate::objective::parse("normalized_softmax:scale=4").unwrap();
        let loss = evaluate(objective.f64(), &batch, &Options::default()).unwrap().loss;
        assert!((loss - softmax_floor(4.0, 3).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn out_of_range_is_refused() {
        assert!(softmax_floor(0.0, 3).is_err() && softmax_floor(1.0, 1).is_err());
        assert!(scale_for_probability(0.1, 10).is_err() && scale_for_probability(1.0, 10).is_err());
    }
}
