//! The rule for the verdict, over facts by name.

use super::{SOFTMAX, SPHERICAL, TAYLOR, Z};
use crate::{Check, Decision, Facts};
use anyhow::Result;

/// The rule in words; [`decide`] says the same in code.
pub(super) const RULE: &str = "Not shown unless all of these hold: (1) factored steps equal dense ones to 1e-9 of the weights in f64; (2) \
the factored step with the most classes takes at most three times as long as with the fewest (a hundredfold and more apart); (3) a dense \
softmax step takes at least 40 times as long as a factored one at the most classes at which both are timed; (4) the Z-loss (a = 1, b = 8) \
errs less than the Taylor and the spherical softmax at every k; (5) its error at k = 100 and 200 is within one point of the softmax's. \
Reservations: (6) its error at k = 100 or 200 is not below the softmax's, as the paper has it; (7) the factored layer, trained by SGD, is \
not within two points of the dense Z-loss at k = 100.";

/// Applies the rule.
pub(super) fn decide(facts: &Facts) -> Result<Decision> {
    let error = |k: usize, output: &str| facts.mean(&format!("error_at_{k}[{output}]"));
    let percent = |x: f64| format!("{:.2} %", 100.0 * x);
    let exact = facts.get("exactness.weights")?.high;
    let (flat, ratio) =
        (facts.mean("time_most_over_least_classes")?, facts.mean("softmax_over_factored_at_most_classes")?);
    let mut beats = true;
    for k in super::KS {
        let z = error(k, Z)?;
        beats &= z < error(k, TAYLOR)? && z < error(k, SPHERICAL)?;
    }
    let gaps = [error(100, Z)? - error(100, SOFTMAX)?, error(200, Z)? - error(200, SOFTMAX)?];
    let listed = format!("{} at 100, {} at 200", percent(gaps[0]), percent(gaps[1]));
    let factored = error(100, &format!("{Z} factored"))?;
    Ok(Decision::from_checks(vec![
        Check::decisive("factored steps are those of dense gradient descent", exact <= 1e-9, format!("{exact:.1e}")),
        Check::decisive(
            "the step time hardly depends on the number of classes",
            flat <= 3.0,
            format!("{flat:.2} times"),
        ),
        Check::decisive("it is at least 40 times faster than the softmax", ratio >= 40.0, format!("{ratio:.0} times")),
        Check::decisive(
            "the Z-loss ranks better than the other spherical losses at every k",
            beats,
            format!(
                "at 10: {} against {} and {}",
                percent(error(10, Z)?),
                percent(error(10, TAYLOR)?),
                percent(error(10, SPHERICAL)?)
            ),
        ),
        Check::decisive(
            "for the first 100 and 200 it is on par with the softmax",
            gaps.iter().all(|g| *g <= 0.01),
            format!("error less that of the softmax: {listed}"),
        ),
        Check::reservation("there it is better than the softmax", gaps.iter().all(|g| *g < 0.0), listed),
        Check::reservation(
            "the factored layer keeps up with Adam on the dense one",
            factored - error(100, Z)? <= 0.02,
            format!("{} against {} at 100", percent(factored), percent(error(100, Z)?)),
        ),
    ]))
}
