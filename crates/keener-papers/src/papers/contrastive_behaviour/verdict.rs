//! The rule for the verdict, over facts by name.

use super::{HARD_TAUS, Loss, PLAIN_TAUS};
use crate::{Check, Decision, Facts, Spread};
use anyhow::Result;

/// The rule in words; [`decide`] says the same in code.
pub(super) const RULE: &str = "Means over seeds. Not shown unless all of these hold: (1) with the plain loss −uniformity \
falls from each τ to the next from 0.2 on, and (2) tolerance rises; (3) the simple loss's −uniformity lies below that of \
every plain τ ≤ 1 by at least three times the range of those; (4) over τ = 0.1, 0.5, 1 hard selection's tolerance ranges \
over less than half of what the plain loss's does; (5) the identities hold to rounding. Reservations: (6) the order of (1) \
and (2) breaks below τ = 0.2; (7) hard selection's −uniformity ranges over no less than the plain loss's; (8) the hard \
simple loss is not nearer to the best plain −uniformity than to the simple loss.";

/// Name of the fact that a measurement of a loss is kept under.
pub(super) fn fact(what: &str, loss: Loss) -> String {
    format!("{what}[{loss}]")
}

struct Reader<'f>(&'f Facts);

impl Reader<'_> {
    fn plain(&self, what: &str, taus: &[f64]) -> Result<Vec<f64>> {
        taus.iter().map(|tau| self.0.mean(&fact(what, Loss::Contrastive { tau: *tau }))).collect()
    }

    fn hard(&self, what: &str) -> Result<Vec<f64>> {
        HARD_TAUS.iter().map(|tau| self.0.mean(&fact(what, Loss::HardContrastive { tau: *tau }))).collect()
    }

    fn identity(&self, name: &str) -> Result<f64> {
        self.0.mean(&format!("identity.{name}"))
    }
}

fn range(values: &[f64]) -> f64 {
    let spread = Spread::of(values.iter().copied());
    spread.high - spread.low
}

fn listed(values: &[f64]) -> String {
    values.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ")
}

fn falls(values: &[f64]) -> bool {
    values.windows(2).all(|w| w[0] > w[1])
}

fn rises(values: &[f64]) -> bool {
    values.windows(2).all(|w| w[0] < w[1])
}

/// Applies the rule.
pub(super) fn decide(facts: &Facts) -> Result<Decision> {
    let read = Reader(facts);
    let warm: Vec<f64> = PLAIN_TAUS.into_iter().filter(|t| *t >= 0.2).collect();
    let cold: Vec<f64> = PLAIN_TAUS.into_iter().filter(|t| *t <= 0.2).collect();
    let usual: Vec<f64> = PLAIN_TAUS.into_iter().filter(|t| *t <= 1.0).collect();
    let (u, t) = ("minus_uniformity", "tolerance");

    let (warm_u, warm_t) = (read.plain(u, &warm)?, read.plain(t, &warm)?);
    let usual_u = read.plain(u, &usual)?;
    let usual_spread = Spread::of(usual_u.iter().copied());
    let simple = facts.mean(&fact(u, Loss::Simple))?;
    let hard_simple = facts.mean(&fact(u, Loss::HardSimple))?;
    let gap = usual_spread.low - simple;
    let (plain_t, hard_t) = (range(&read.plain(t, &HARD_TAUS)?), range(&read.hard(t)?));
    let (plain_u, hard_u) = (range(&read.plain(u, &HARD_TAUS)?), range(&read.hard(u)?));
    let (cold_u, cold_t) = (read.plain(u, &cold)?, read.plain(t, &cold)?);

    Ok(Decision::from_checks(vec![
        Check::decisive("−uniformity falls with τ from 0.2 on", falls(&warm_u), listed(&warm_u)),
        Check::decisive("tolerance rises with τ from 0.2 on", rises(&warm_t), listed(&warm_t)),
        Check::decisive(
            "the simple loss is far less uniform than every τ ≤ 1",
            gap >= 3.0 * range(&usual_u) && gap > 0.0,
            format!("{gap:.4} below the least of them, which range over {:.4}", range(&usual_u)),
        ),
        Check::decisive(
            "hard selection at least halves what τ does to tolerance",
            hard_t < 0.5 * plain_t,
            format!("range over τ: {hard_t:.4} against {plain_t:.4}"),
        ),
        identities(&read)?,
        Check::reservation(
            "the order in τ holds below 0.2 too",
            falls(&cold_u) && rises(&cold_t),
            format!("−uniformity {}; tolerance {}", listed(&cold_u), listed(&cold_t)),
        ),
        Check::reservation(
            "hard selection reduces what τ does to uniformity",
            hard_u < plain_u,
            format!("range over τ: {hard_u:.4} against {plain_u:.4}"),
        ),
        Check::reservation(
            "hard selection rescues the simple loss",
            hard_simple - simple > usual_spread.high - hard_simple,
            format!("hard simple {hard_simple:.4}, simple {simple:.4}, best plain {:.4}", usual_spread.high),
        ),
    ]))
}

fn identities(read: &Reader<'_>) -> Result<Check> {
    let half = read.identity("hot_expansion_half_variance")?;
    let mut failed = Vec::new();
    for (name, most) in [
        ("negative_gradients_over_positive_gradient_minus_1", 1e-12),
        ("gradient_shares_minus_hardness_weights", 1e-12),
        ("hard_loss_with_alpha_1_minus_plain_loss", 1e-12),
        ("steps_where_the_entropy_does_not_grow", 0.0),
        ("cold_limit_error[tau=0.01]", 1e-10),
        ("cold_limit_bound_exceeded_by", 1e-13),
    ] {
        let value = read.identity(name)?;
        if value.is_nan() || value > most {
            failed.push(format!("{name} = {value:.1e} > {most:.0e}"));
        }
    }
    for tau in ["10", "100", "1000"] {
        let error = read.identity(&format!("hot_expansion_tau_squared_error[tau={tau}]"))?;
        // The next term is of order 1/τ; at 1000 the loss itself has ten digits left in the difference.
        let off = (error / half - 1.0).abs();
        if off.is_nan() || off > 0.05 {
            failed.push(format!("the expansion at τ = {tau} is off by {off:.3}"));
        }
    }
    let measured = if failed.is_empty() { "all nine".to_string() } else { failed.join("; ") };
    Ok(Check::decisive("the identities and limits of the loss hold", failed.is_empty(), measured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    /// Facts as the paper would have them.
    fn ideal() -> Facts {
        let mut facts = Facts::default();
        let mut both = |loss, u, t| {
            facts.set(fact("minus_uniformity", loss), Spread::once(u));
            facts.set(fact("tolerance", loss), Spread::once(t));
        };
        for (k, tau) in PLAIN_TAUS.into_iter().enumerate() {
            both(Loss::Contrastive { tau }, 3.6 - 0.01 * k as f64, 0.1 + 0.05 * k as f64);
        }
        for tau in HARD_TAUS {
            both(Loss::HardContrastive { tau }, 3.58 - 0.001 * tau, 0.11 + 0.001 * tau);
        }
        both(Loss::Simple, 3.1, 0.6);
        both(Loss::HardSimple, 3.58, 0.11);
        super::super::identities::check(&mut facts).unwrap();
        facts
    }

    fn with(name: &str, value: f64) -> Decision {
        let mut facts = ideal();
        assert!(facts.get(name).is_ok(), "{name}");
        facts.set(name, Spread::once(value));
        decide(&facts).unwrap()
    }

    fn failing(decision: &Decision) -> Vec<&str> {
        decision.checks.iter().filter(|c| !c.holds).map(|c| c.statement.as_str()).collect()
    }

    #[test]
    fn ideal_facts_show_the_claim() {
        let decision = decide(&ideal()).unwrap();
        assert_eq!((decision.verdict, failing(&decision)), (Verdict::Shown, vec![]));
        assert_eq!(decision.checks.len(), 8);
    }

    #[test]
    fn each_reservation_is_reached_alone() {
        for (name, value, statement) in [
            ("minus_uniformity[contrastive τ=0.05]", 3.585, "the order in τ holds below 0.2 too"),
            ("tolerance[contrastive τ=0.1]", 0.22, "the order in τ holds below 0.2 too"),
            ("minus_uniformity[hard_contrastive τ=1]", 3.50, "hard selection reduces what τ does to uniformity"),
            ("minus_uniformity[hard_simple]", 3.2, "hard selection rescues the simple loss"),
        ] {
            let decision = with(name, value);
            assert_eq!(
                (decision.verdict, failing(&decision)),
                (Verdict::ShownWithReservation, vec![statement]),
                "{name}"
            );
        }
    }

    #[test]
    fn each_decisive_failure_is_reached_alone() {
        for (name, value, statement) in [
            ("minus_uniformity[contrastive τ=5]", 3.57, "−uniformity falls with τ from 0.2 on"),
            ("tolerance[contrastive τ=5]", 0.2, "tolerance rises with τ from 0.2 on"),
            ("minus_uniformity[simple]", 3.5, "the simple loss is far less uniform than every τ ≤ 1"),
            ("tolerance[hard_contrastive τ=0.1]", 0.3, "hard selection at least halves what τ does to tolerance"),
            ("identity.steps_where_the_entropy_does_not_grow", 1.0, "the identities and limits of the loss hold"),
            ("identity.cold_limit_error[tau=0.01]", f64::NAN, "the identities and limits of the loss hold"),
            ("identity.hot_expansion_tau_squared_error[tau=100]", 0.9, "the identities and limits of the loss hold"),
        ] {
            let decision = with(name, value);
            assert_eq!((decision.verdict, failing(&decision)), (Verdict::NotShown, vec![statement]), "{name}");
        }
    }

    #[test]
    fn a_missing_fact_is_named() {
        assert!(decide(&Facts::default()).unwrap_err().to_string().contains("minus_uniformity[contrastive τ=0.2]"));
    }
}
