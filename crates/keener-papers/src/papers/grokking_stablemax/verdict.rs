//! The rule for the verdict, over facts by name.

use crate::{Check, Decision, Facts};
use anyhow::Result;

/// The rule in words; [`decide`] says the same in code.
pub(super) const RULE: &str = "Not shown unless all of these hold: (1) with the orthogonal gradient every seed reaches at least 90 % \
test accuracy within the short budget, (2) while plain softmax training fits its training rows and stays at or below 10 % on every \
seed; (3) after the long budget plain softmax training has at least half of its training rows collapsed and stays at or below 10 %; \
(4) at a gap of 40 in f32 the softmax's loss and gradient on the true class are exactly 0 and StableMax's are of the order of 1/gap \
and 1/gap²; (5) over the second half of the long budget the StableMax loss still falls. Reservation: (6) StableMax by itself does not \
reach 90 % test accuracy within the long budget.";

/// Applies the rule.
pub(super) fn decide(facts: &Facts) -> Result<Decision> {
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let cured = facts.get("best_test_accuracy[orthogonal]")?;
    let (plain, fitted) = (facts.get("best_test_accuracy[softmax]")?, facts.get("train_accuracy[softmax]")?);
    let (collapsed, long) = (facts.get("long.collapsed[softmax]")?, facts.get("long.best_test_accuracy[softmax]")?);
    let gap = |name: &str| facts.mean(&format!("gap_40.{name}"));
    let (loss, gradient) = (gap("stablemax_loss")?, gap("stablemax_gradient")?);
    let (half, end) = (facts.mean("long.loss_at_half[stable_max]")?, facts.mean("long.loss[stable_max]")?);
    let alone = facts.get("long.best_test_accuracy[stable_max]")?;
    let of_order = |x: f64, unit: f64| x > 0.3 * unit && x < 3.0 * unit;
    Ok(Decision::from_checks(vec![
        Check::decisive(
            "the orthogonal gradient generalises within the short budget, every seed",
            cured.low >= 0.9,
            format!("{} to {}", percent(cured.low), percent(cured.high)),
        ),
        Check::decisive(
            "plain softmax training fits and does not generalise within it",
            plain.high <= 0.1 && fitted.low >= 0.999,
            format!("test at most {}, train at least {}", percent(plain.high), percent(fitted.low)),
        ),
        Check::decisive(
            "in the long run its softmax collapses and it still does not generalise",
            collapsed.low >= 0.5 && long.high <= 0.1,
            format!("{} collapsed, test at most {}", percent(collapsed.low), percent(long.high)),
        ),
        Check::decisive(
            "at a gap of 40 the softmax is silent and StableMax is not",
            gap("softmax_loss")? == 0.0
                && gap("softmax_gradient")? == 0.0
                && of_order(loss, 1.0 / 40.0)
                && of_order(-gradient, 1.0 / 1600.0),
            format!("softmax 0 and 0; StableMax {loss:.2e} and {gradient:.2e}"),
        ),
        Check::decisive(
            "StableMax goes on learning",
            end < 0.8 * half,
            format!("loss {half:.1e} at half of the long budget, {end:.1e} at its end"),
        ),
        Check::reservation(
            "StableMax generalises by itself within the long budget",
            alone.low >= 0.9,
            format!("test at most {}", percent(alone.high)),
        ),
    ]))
}
