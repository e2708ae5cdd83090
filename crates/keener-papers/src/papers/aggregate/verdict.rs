//! The rule for the verdict, over facts by name.

use super::{
    NETWORK_RHOS, PRIVATE_SIZES, REAL_RHOS, REAL_SIZES, RHOS, SETTINGS, network_fact, private_fact, real_fact,
    risk_fact,
};
use crate::{Check, Decision, Facts};
use anyhow::Result;

/// The rule in words; [`decide`] says the same in code.
pub(super) const RULE: &str = "Means over simulations. Not shown unless all of these hold: (1) of the 20 simulated risks half lie \
within 6 % of the asymptotic risk and all within 35 %; (2) in every setting the best simulated ρ between the ends has a lower mean \
risk than both ends, by more than two standard errors of the paired difference wherever the asymptotic gain is above 10 %; (3) bag-level beats \
instance-level at σ = 1, k = 2, and loses at σ = 2, k = 5; (4) on the digits an interpolation has a lower test error than both \
ends for every bag size from 4 on; (5) for every ε the size of least measured risk is within a factor of two of the formula's \
(cut to the sizes that were tried). Reservation: (6) a network trained on shares of classes does not do best at an ρ between \
the ends.";

/// Applies the rule.
pub(super) fn decide(facts: &Facts, epsilons: &[f64]) -> Result<Decision> {
    let mut deviations = Vec::new();
    for (sigma, k) in SETTINGS {
        for rho in RHOS {
            let name = risk_fact(sigma, k, rho);
            deviations.push((facts.mean(&name)? / facts.mean(&format!("theory.{name}"))? - 1.0).abs());
        }
    }
    deviations.sort_by(f64::total_cmp);
    let (median, most) = (deviations[deviations.len() / 2], deviations[deviations.len() - 1]);

    let (mut clear, mut slight) = (f64::INFINITY, f64::INFINITY);
    for (sigma, k) in SETTINGS {
        for (end, rho) in [("bag", 0.0), ("instance", 1.0)] {
            let errors = facts.mean(&format!("gain_over_{end}_in_errors[sigma={sigma},k={k}]"))?;
            let theory = |rho: f64| facts.mean(&format!("theory.{}", risk_fact(sigma, k, rho)));
            let between = RHOS[1..RHOS.len() - 1].iter().map(|rho| theory(*rho)).collect::<Result<Vec<f64>>>()?;
            let best = between.into_iter().fold(f64::INFINITY, f64::min);
            let least = if best < 0.9 * theory(rho)? { &mut clear } else { &mut slight };
            *least = least.min(errors);
        }
    }

    let risk = |sigma, k, rho| facts.mean(&risk_fact(sigma, k, rho));
    let (near, far) = ((risk(1.0, 2, 0.0)?, risk(1.0, 2, 1.0)?), (risk(2.0, 5, 0.0)?, risk(2.0, 5, 1.0)?));

    let mut on_digits = Vec::new();
    for k in REAL_SIZES.into_iter().filter(|k| *k >= 4) {
        let all = REAL_RHOS.iter().map(|rho| facts.mean(&real_fact(k, *rho))).collect::<Result<Vec<f64>>>()?;
        let between = all[1..all.len() - 1].iter().copied().fold(f64::INFINITY, f64::min);
        on_digits.push((k, between, all[0].min(all[all.len() - 1])));
    }

    let mut sizes = Vec::new();
    for epsilon in epsilons {
        let measured =
            PRIVATE_SIZES.iter().map(|k| facts.mean(&private_fact(*epsilon, *k))).collect::<Result<Vec<f64>>>()?;
        let at = (0..measured.len()).min_by(|a, b| measured[*a].total_cmp(&measured[*b])).unwrap_or(0);
        let largest = PRIVATE_SIZES[PRIVATE_SIZES.len() - 1] as f64;
        let formula = facts.mean(&format!("theory.best_size[epsilon={epsilon}]"))?.clamp(1.0, largest);
        sizes.push((*epsilon, PRIVATE_SIZES[at] as f64, formula));
    }

    let network = NETWORK_RHOS.iter().map(|rho| facts.mean(&network_fact(*rho))).collect::<Result<Vec<f64>>>()?;
    let ends = network[0].max(network[network.len() - 1]);
    let inner = network[1..network.len() - 1].iter().copied().fold(f64::NEG_INFINITY, f64::max);

    Ok(Decision::from_checks(vec![
        Check::decisive(
            "simulated risks follow the asymptotics",
            median <= 0.06 && most <= 0.35,
            format!("relative deviation: median {:.1} %, at most {:.1} %", 100.0 * median, 100.0 * most),
        ),
        Check::decisive(
            "an interpolation beats both ends in every simulated setting",
            clear > 2.0 && slight > 0.0,
            format!(
                "the least gain is {clear:.1} standard errors where it should be above 10 %, {slight:.1} where it should be less"
            ),
        ),
        Check::decisive(
            "bag-level wins with small bags and little noise, instance-level with large bags and much",
            near.0 < near.1 && far.0 > far.1,
            format!("{:.3} against {:.3}, and {:.3} against {:.3}", near.0, near.1, far.0, far.1),
        ),
        Check::decisive(
            "an interpolation has the lowest test error on the digits",
            on_digits.iter().all(|(_, between, end)| between < end),
            on_digits.iter().map(|(k, b, e)| format!("k = {k}: {b:.3} against {e:.3}")).collect::<Vec<_>>().join("; "),
        ),
        Check::decisive(
            "the best size of a private bag is where the formula puts it",
            sizes.iter().all(|(_, found, formula)| found / formula <= 2.0 && formula / found <= 2.0),
            sizes.iter().map(|(e, f, w)| format!("ε = {e}: {f}, formula {w:.1}")).collect::<Vec<_>>().join("; "),
        ),
        Check::reservation(
            "a network does best at an interpolation",
            inner > ends,
            format!("accuracy {inner:.3} between, {ends:.3} at the better end"),
        ),
    ]))
}
