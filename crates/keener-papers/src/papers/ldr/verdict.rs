//! The rule for the verdict.

use super::{ALDR_1, ALDR_10, CROSS_ENTROPY, LDR_1, LDR_10, Loss, NOISES, Noise, fact};
use crate::{Check, Decision, Facts};
use anyhow::Result;

pub(super) const RULE: &str = "Shown if, over the seeds, (1) LDR and ALDR at temperature 10 are on average at least 0.02 better than \
    cross-entropy in top-1 under each noise, (2) neither is more than 0.01 worse on clean labels, and (3) the limits of the loss \
    and the properties of the temperatures (fixed point, bounds, monotone fall, lower for confident samples) hold. With \
    reservation unless also (4) ALDR at 10 is within 0.015 of the best loss in every setting and (5) adapting the temperature \
    gains at least 0.005 somewhere under noise.";

pub(super) fn decide(facts: &Facts, losses: &[Loss]) -> Result<Decision> {
    let top1 = |loss, noise| facts.mean(&fact("top1", loss, noise));
    let noisy = [Noise::Uniform, Noise::ClassDependent];
    let mut gains = Vec::new();
    for noise in noisy {
        for loss in [LDR_10, ALDR_10] {
            gains.push((loss.name, noise.name(), top1(loss, noise)? - top1(CROSS_ENTROPY, noise)?));
        }
    }
    let listed = |all: &[(&str, &str, f64)]| {
        all.iter().map(|(loss, noise, gain)| format!("{loss}, {noise}: {gain:+.3}")).collect::<Vec<_>>().join("; ")
    };
    let mut clean = Vec::new();
    for loss in [LDR_10, ALDR_10] {
        clean.push((loss.name, "clean", top1(loss, Noise::Clean)? - top1(CROSS_ENTROPY, Noise::Clean)?));
    }
    let mut behind = Vec::new();
    for noise in NOISES {
        let mut best = (ALDR_10.name, f64::NEG_INFINITY);
        for loss in losses {
            let found = top1(*loss, noise)?;
            if found > best.1 {
                best = (loss.name, found);
            }
        }
        behind.push((best.0, noise.name(), top1(ALDR_10, noise)? - best.1));
    }
    let mut adaptive = Vec::new();
    for noise in noisy {
        for (adapted, plain) in [(ALDR_10, LDR_10), (ALDR_1, LDR_1)] {
            adaptive.push((adapted.name, noise.name(), top1(adapted, noise)? - top1(plain, noise)?));
        }
    }
    Ok(Decision::from_checks(vec![
        Check::decisive(
            "LDR and ALDR at 10 beat cross-entropy by 0.02 under each noise",
            gains.iter().all(|g| g.2 >= 0.02),
            listed(&gains),
        ),
        Check::decisive(
            "neither costs more than 0.01 on clean labels",
            clean.iter().all(|g| g.2 >= -0.01),
            listed(&clean),
        ),
        identities(facts)?,
        Check::reservation(
            "ALDR at 10 is within 0.015 of the best loss in every setting",
            behind.iter().all(|b| b.2 >= -0.015),
            format!("against the best: {}", listed(&behind)),
        ),
        Check::reservation(
            "adapting the temperature gains 0.005 somewhere under noise",
            adaptive.iter().any(|a| a.2 >= 0.005),
            listed(&adaptive),
        ),
    ]))
}

fn identities(facts: &Facts) -> Result<Check> {
    let mut failed = Vec::new();
    for (name, most) in [
        ("lambda_1_minus_cross_entropy", 1e-12),
        ("small_lambda_minus_svm", 1e-5),
        ("large_lambda_minus_mean", 1e-6),
        ("steps_where_a_temperature_rises", 0.0),
        ("temperatures_outside_their_bounds", 0.0),
        ("fixed_point_residual", 1e-9),
        ("converged_minus_iterated", 1e-8),
    ] {
        let value = facts.mean(&format!("identity.{name}"))?;
        if value.is_nan() || value > most {
            failed.push(format!("{name} = {value:.1e} > {most:.0e}"));
        }
    }
    let sure = facts.mean("identity.temperature_of_unsure_minus_sure")?;
    if sure.is_nan() || sure <= 0.0 {
        failed.push(format!("confident samples are {:.3} warmer", -sure));
    }
    let measured = if failed.is_empty() { "all eight".to_string() } else { failed.join("; ") };
    Ok(Check::decisive("limits of the loss and properties of the temperatures hold", failed.is_empty(), measured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Spread, Verdict};

    const LOSSES: [Loss; 5] = [CROSS_ENTROPY, LDR_1, LDR_10, ALDR_1, ALDR_10];

    fn ideal() -> Facts {
        let mut facts = Facts::default();
        for noise in NOISES {
            for loss in LOSSES {
                let gain = if loss == CROSS_ENTROPY || noise == Noise::Clean { 0.0 } else { 0.05 };
                let adaptive = if loss == ALDR_10 { 0.01 } else { 0.0 };
                facts.set(fact("top1", loss, noise), Spread::once(0.9 + gain + adaptive));
            }
        }
        super::super::identities::check(&mut facts).unwrap();
        facts
    }

    #[test]
    fn each_check_is_reached_alone() {
        let with = |name: &str, value: f64| {
            let mut facts = ideal();
            assert!(facts.get(name).is_ok(), "{name}");
            facts.set(name, Spread::once(value));
            decide(&facts, &LOSSES).unwrap()
        };
        assert_eq!(decide(&ideal(), &LOSSES).unwrap().verdict, Verdict::Shown);
        let top1 = |loss, noise| fact("top1", loss, noise);
        for (name, value, verdict) in [
            (top1(LDR_10, Noise::Uniform), 0.91, Verdict::NotShown),
            (top1(LDR_10, Noise::Clean), 0.88, Verdict::NotShown),
            ("identity.fixed_point_residual".into(), f64::NAN, Verdict::NotShown),
            ("identity.temperature_of_unsure_minus_sure".into(), -0.1, Verdict::NotShown),
            (top1(LDR_1, Noise::ClassDependent), 0.99, Verdict::ShownWithReservation),
        ] {
            assert_eq!(with(&name, value).verdict, verdict, "{name}");
        }
        assert!(decide(&Facts::default(), &LOSSES).is_err());
    }
}
