//! The rule for the verdict.

use super::bounds::{SEARCHED, TAUS};
use super::in_tau;
use crate::{Check, Decision, Facts};
use anyhow::{Context, Result};

pub(super) const RULE: &str = "Shown if (1) the zero-one excess never exceeds its bound, in descent or in random search (slack at least \
    −1e-9), (2) at both ends of the family (τ = 0 and 2) the test error is larger than anywhere in the middle, (3) the chain \
    adversarial error ≤ margin loss ≤ smooth loss holds on every attacked test row (slack at least −1e-5), and (4) some smooth \
    adversarial training is at least 0.2 more robust than cross-entropy at a clean price of at most 0.03. With reservation unless \
    also (5) the most robust smooth adversarial training is at least as robust as the most robust TRADES.";

pub(super) fn decide(facts: &Facts, settings: &[&str]) -> Result<Decision> {
    let mut slack = f64::INFINITY;
    for tau in TAUS {
        slack = slack.min(facts.mean(&in_tau("least_slack_in_descent", tau))?);
    }
    for tau in SEARCHED {
        slack = slack.min(facts.mean(&in_tau("least_slack_in_search", tau))?);
    }
    let errors = TAUS.map(|tau| facts.mean(&in_tau("test_error", tau)));
    let errors = errors.into_iter().collect::<Result<Vec<f64>>>()?;
    let middle = errors[1..4].iter().copied().fold(0.0, f64::max);
    let mut chain = f64::INFINITY;
    for setting in settings {
        chain = chain.min(facts.get(&format!("chain_slack[{setting}]"))?.low);
    }
    let of = |what: &str, setting: &str| facts.mean(&format!("{what}[{setting}]"));
    let best = |family: &str| -> Result<(&str, f64)> {
        let mut best: Option<(&str, f64)> = None;
        for setting in settings.iter().filter(|s| s.starts_with(family)) {
            let robust = of("robust", setting)?;
            if best.is_none_or(|b| robust > b.1) {
                best = Some((setting, robust));
            }
        }
        best.with_context(|| format!("no setting of {family} was run"))
    };
    let mut gain: Option<(&str, f64, f64)> = None;
    for setting in settings.iter().filter(|s| s.starts_with("ADV-COMP-SUM")) {
        let robust = of("robust", setting)? - of("robust", "CE")?;
        let clean = of("clean", setting)? - of("clean", "CE")?;
        if clean >= -0.03 && gain.is_none_or(|g| robust > g.1) {
            gain = Some((setting, robust, clean));
        }
    }
    let (smooth, trades) = (best("ADV-COMP-SUM")?, best("TRADES")?);
    Ok(Decision::from_checks(vec![
        Check::decisive(
            "the zero-one excess never exceeds its bound",
            slack >= -1e-9,
            format!("least slack {slack:.1e}"),
        ),
        Check::decisive(
            "both ends of the family are worse than the middle",
            errors[0] > middle && errors[4] > middle,
            format!(
                "test errors {:.3}, {:.3}, {:.3}, {:.3}, {:.3} for τ = 0 to 2",
                errors[0], errors[1], errors[2], errors[3], errors[4]
            ),
        ),
        Check::decisive(
            "adversarial error ≤ margin loss ≤ smooth loss on every attacked row",
            chain >= -1e-5,
            format!("least slack {chain:.1e}"),
        ),
        Check::decisive(
            "smooth adversarial training gains 0.2 of robust accuracy for at most 0.03 of clean",
            gain.is_some_and(|g| g.1 >= 0.2),
            match gain {
                Some((setting, robust, clean)) => format!("{setting}: robust {robust:+.3}, clean {clean:+.3}"),
                None => "every setting costs more than 0.03 of clean accuracy".into(),
            },
        ),
        Check::reservation(
            "the most robust smooth adversarial training is at least as robust as the most robust TRADES",
            smooth.1 >= trades.1,
            format!("{}: {:.3}; {}: {:.3}", smooth.0, smooth.1, trades.0, trades.1),
        ),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Spread, Verdict};

    const SETTINGS: [&str; 4] = ["CE", "TRADES β=6", "ADV-COMP-SUM ν=0.3", "ADV-COMP-SUM ν=1"];

    fn ideal() -> Facts {
        let mut facts = Facts::default();
        for (k, tau) in TAUS.into_iter().enumerate() {
            facts.set(in_tau("least_slack_in_descent", tau), Spread::once(1e-3));
            facts.set(in_tau("test_error", tau), Spread::once([0.5, 0.03, 0.03, 0.04, 0.2][k]));
        }
        SEARCHED.iter().for_each(|tau| facts.set(in_tau("least_slack_in_search", *tau), Spread::once(1e-6)));
        for (setting, clean, robust) in
            [(SETTINGS[0], 0.97, 0.2), (SETTINGS[1], 0.96, 0.6), (SETTINGS[2], 0.96, 0.65), (SETTINGS[3], 0.9, 0.5)]
        {
            facts.set(format!("clean[{setting}]"), Spread::once(clean));
            facts.set(format!("robust[{setting}]"), Spread::once(robust));
            facts.set(format!("chain_slack[{setting}]"), Spread::once(0.01));
        }
        facts
    }

    #[test]
    fn each_check_is_reached_alone() {
        assert_eq!(decide(&ideal(), &SETTINGS).unwrap().verdict, Verdict::Shown);
        for (name, value, verdict) in [
            ("least_slack_in_search[τ=1.9]", -1e-3, Verdict::NotShown),
            ("test_error[τ=2]", 0.035, Verdict::NotShown),
            ("chain_slack[CE]", -0.1, Verdict::NotShown),
            ("clean[ADV-COMP-SUM ν=0.3]", 0.9, Verdict::NotShown),
            ("robust[TRADES β=6]", 0.7, Verdict::ShownWithReservation),
        ] {
            let mut facts = ideal();
            assert!(facts.get(name).is_ok(), "{name}");
            facts.set(name, Spread::once(value));
            assert_eq!(decide(&facts, &SETTINGS).unwrap().verdict, verdict, "{name}");
        }
        assert!(decide(&ideal(), &["CE"]).is_err());
    }
}
