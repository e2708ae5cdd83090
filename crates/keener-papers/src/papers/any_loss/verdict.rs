//! The rule for the verdict, over facts by name.

use super::{Data, Measure, Method, fact};
use crate::{Check, Decision, Facts};
use anyhow::Result;

/// The rule in words; [`decide`] says the same in code.
pub(super) const RULE: &str = "Means over seeds of means over five folds. Not shown unless all of these hold: (1) on both sets of \
clusters, aiming at F1 gives an F1 at least 0.1 above that of cross-entropy; (2) on the three sets of which at most a tenth \
is of the rare class, aiming at balanced accuracy gives a balanced accuracy at least 0.02 above, and (3) aiming at G-mean a \
G-mean at least 0.02 above. Reservations: \
(4) on some imbalanced set of digits aiming at F1 does not raise F1; (5) where a fifth is of the rare class, balanced \
accuracy or G-mean gain less than 0.02; (6) on the balanced set, aiming at accuracy loses more than 0.01 of it; (7) class weights or a moved threshold are better by more than 0.01 in the metric that is aimed at, in the mean over \
the imbalanced sets.";

/// Applies the rule.
pub(super) fn decide(facts: &Facts) -> Result<Decision> {
    let value = |measure, data, method| facts.mean(&fact(measure, data, method));
    let gain = |measure: Measure, data: Data| -> Result<f64> {
        Ok(value(measure, data, measure.aim())? - value(measure, data, Method::CrossEntropy)?)
    };
    let gains = |measure: Measure, sets: &[Data]| sets.iter().map(|d| gain(measure, *d)).collect::<Result<Vec<f64>>>();
    let rare: Vec<Data> = Data::ALL.into_iter().filter(|d| d.imbalanced()).collect();
    let (clusters, digits) = ([Data::Tenth, Data::Twentieth], [Data::Eight, Data::ThreeOrNine]);
    let listed = |values: &[f64]| values.iter().map(|g| format!("{g:+.3}")).collect::<Vec<_>>().join(", ");
    let all = |values: &[f64], least: f64| values.iter().all(|g| *g >= least);

    let on_clusters = gains(Measure::F1, &clusters)?;
    let tenth = [Data::Tenth, Data::Twentieth, Data::Eight];
    let balanced = gains(Measure::BalancedAccuracy, &tenth)?;
    let geometric = gains(Measure::Gmean, &tenth)?;
    let mild = [gain(Measure::BalancedAccuracy, Data::ThreeOrNine)?, gain(Measure::Gmean, Data::ThreeOrNine)?];
    let on_digits = gains(Measure::F1, &digits)?;
    let even = gain(Measure::Accuracy, Data::Odd)?;
    // What the usual remedies have over the loss that aims at the metric, in the mean over the imbalanced sets.
    let mut ahead = Vec::new();
    for measure in [Measure::F1, Measure::Gmean, Measure::BalancedAccuracy] {
        for remedy in [Method::Weighted, Method::Threshold] {
            let mut sum = 0.0;
            for data in &rare {
                sum += value(measure, *data, remedy)? - value(measure, *data, measure.aim())?;
            }
            ahead.push((measure, remedy, sum / rare.len() as f64));
        }
    }
    let worst = ahead.iter().map(|a| a.2).fold(f64::NEG_INFINITY, f64::max);

    Ok(Decision::from_checks(vec![
        Check::decisive("aiming at F1 raises F1 on hard imbalanced data", all(&on_clusters, 0.1), listed(&on_clusters)),
        Check::decisive(
            "aiming at balanced accuracy raises it where at most a tenth is of the rare class",
            all(&balanced, 0.02),
            listed(&balanced),
        ),
        Check::decisive(
            "aiming at G-mean raises it where at most a tenth is of the rare class",
            all(&geometric, 0.02),
            listed(&geometric),
        ),
        Check::reservation(
            "aiming at F1 raises F1 on digits too",
            on_digits.iter().all(|g| *g > 0.0),
            listed(&on_digits),
        ),
        Check::reservation(
            "with a fifth of the rows in the rare class it still helps",
            all(&mild, 0.02),
            listed(&mild),
        ),
        Check::reservation("on balanced data nothing is lost", even >= -0.01, format!("{even:+.3} accuracy")),
        Check::reservation(
            "class weights and thresholds are no better than the metric itself",
            worst <= 0.01,
            ahead.iter().map(|(m, r, a)| format!("{} {}: {a:+.3}", r.name(), m.name())).collect::<Vec<_>>().join("; "),
        ),
    ]))
}
