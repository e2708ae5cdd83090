//! Whether scores put positives before negatives: ROC curve, its area, and average precision.

use super::rows;
use crate::real::Real;
use crate::{Error, Result};
use rayon::prelude::*;

/// Positives and negatives at or above one threshold.
#[derive(Clone, Copy)]
struct Step {
    threshold: f64,
    positives: u64,
    negatives: u64,
}

/// Cumulative counts at each distinct score, greatest first; the last step holds the totals.
fn steps<T: Real>(scores: impl Iterator<Item = T>, positive: impl Fn(usize) -> bool) -> Vec<Step> {
    let mut sorted: Vec<(f64, bool)> = scores.enumerate().map(|(i, s)| (s.f64(), positive(i))).collect();
    // Adding zero makes -0.0 equal to 0.0, as ties want it.
    sorted.sort_unstable_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)));
    let mut steps: Vec<Step> = Vec::new();
    let (mut positives, mut negatives) = (0, 0);
    for group in sorted.chunk_by(|a, b| a.0 == b.0) {
        let found = group.iter().filter(|(_, p)| *p).count();
        positives += found as u64;
        negatives += (group.len() - found) as u64;
        steps.push(Step { threshold: group[0].0, positives, negatives });
    }
    steps
}

fn checked_steps<T: Real>(scores: &[T], positive: &[bool]) -> Result<Vec<Step>> {
    let n = rows::matrix("scores", scores, 1)?;
    rows::same_length("positive", positive.len(), n)?;
    Ok(steps(scores.iter().copied(), |i| positive[i]))
}

fn require(what: &str, positives: u64, negatives: Option<u64>) -> Result<()> {
    let reason = match (positives, negatives) {
        (0, _) => "there are no positives",
        (_, Some(0)) => "there are no negatives",
        _ => return Ok(()),
    };
    Err(Error::Undefined { what: what.to_string(), reason: reason.to_string() })
}

/// Trapezoidal area; within a group of ties it is the half that midranks give.
fn area(steps: &[Step]) -> f64 {
    let (mut total, mut before) = (0.0, Step { threshold: f64::INFINITY, positives: 0, negatives: 0 });
    for step in steps {
        total += (step.negatives - before.negatives) as f64 * (step.positives + before.positives) as f64 * 0.5;
        before = *step;
    }
    total / (before.positives as f64 * before.negatives as f64)
}

/// Area under the ROC curve: the probability that a positive scores above a negative, ties counting one half.
///
/// Equal to the Mann–Whitney statistic with midranks. Hanley & McNeil, *The meaning and use of the area under a
/// receiver operating characteristic (ROC) curve* (Radiology, 1982).
///
/// # Errors
/// Empty input, lengths that differ, non-finite scores; undefined without positives or without negatives.
pub fn auroc<T: Real>(scores: &[T], positive: &[bool]) -> Result<f64> {
    let steps = checked_steps(scores, positive)?;
    let totals = steps[steps.len() - 1];
    require("AUROC", totals.positives, Some(totals.negatives))?;
    Ok(area(&steps))
}

/// One-versus-rest AUROC of several classes.
#[derive(Debug, Clone, PartialEq)]
pub struct MacroAuroc {
    /// Mean over the classes that have both positives and negatives.
    pub value: f64,
    /// AUROC of each class; `None` where it is undefined.
    pub per_class: Vec<Option<f64>>,
    /// How many classes were left out of the mean.
    pub skipped: usize,
}

/// Mean over classes of the [`auroc`] of column `c` of scores `[n, classes]` with "label = c" as positives.
///
/// Fawcett, *An introduction to ROC analysis* (Pattern Recognition Letters, 2006), unweighted mean. Scores are compared
/// between rows, so they should be probabilities or otherwise comparable.
///
/// # Errors
/// Empty or ragged input, labels out of range, non-finite scores; undefined when every class is skipped.
pub fn macro_auroc<T: Real>(scores: &[T], classes: usize, labels: &[usize]) -> Result<MacroAuroc> {
    let n = rows::matrix("scores", scores, classes)?;
    rows::labels("labels", labels, n, classes)?;
    let mut support = vec![0usize; classes];
    labels.iter().for_each(|&y| support[y] += 1);
    let one = |c: usize| {
        let defined = support[c] > 0 && support[c] < n;
        defined.then(|| area(&steps(scores.iter().skip(c).step_by(classes).copied(), |i| labels[i] == c)))
    };
    let per_class: Vec<Option<f64>> = (0..classes).into_par_iter().map(one).collect();
    let known: Vec<f64> = per_class.iter().flatten().copied().collect();
    if known.is_empty() {
        return Err(Error::Undefined {
            what: "macro AUROC".to_string(),
            reason: "no class has both positives and negatives".to_string(),
        });
    }
    Ok(MacroAuroc { value: known.iter().sum::<f64>() / known.len() as f64, skipped: classes - known.len(), per_class })
}

/// Average precision `Σ_j (R_j − R_{j−1}) P_j` over the distinct thresholds, greatest first, without interpolation.
///
/// Su, Yuan & Zhu, *A Relationship between the Average Precision and the Area Under the ROC Curve* (ICTIR 2015); the
/// step form that scikit-learn's `average_precision_score` uses.
///
/// # Errors
/// Empty input, lengths that differ, non-finite scores; undefined without positives.
pub fn average_precision<T: Real>(scores: &[T], positive: &[bool]) -> Result<f64> {
    let steps = checked_steps(scores, positive)?;
    let total = steps[steps.len() - 1].positives;
    require("average precision", total, None)?;
    let (mut sum, mut before) = (0.0, 0);
    for step in &steps {
        let precision = step.positives as f64 / (step.positives + step.negatives) as f64;
        sum += (step.positives - before) as f64 * precision;
        before = step.positives;
    }
    Ok(sum / total as f64)
}

/// A point of a ROC curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    /// Share of the negatives that score at or above the threshold.
    pub false_positive_rate: f64,
    /// Share of the positives that score at or above the threshold.
    pub true_positive_rate: f64,
    /// The threshold; `+inf` at the origin.
    pub threshold: f64,
}

/// The ROC curve from (0, 0) to (1, 1) with at most `max_points` points.
///
/// Points inside a straight stretch are dropped first, which changes nothing. If more remain, those are kept that first
/// pass equal steps of `false_positive_rate + true_positive_rate`. Fawcett, *An introduction to ROC analysis* (2006).
///
/// # Errors
/// As [`auroc`], and `max_points < 2`.
pub fn roc_curve<T: Real>(scores: &[T], positive: &[bool], max_points: usize) -> Result<Vec<RocPoint>> {
    if max_points < 2 {
        return Err(Error::parameter("max_points", max_points, "at least 2"));
    }
    let steps = checked_steps(scores, positive)?;
    let totals = steps[steps.len() - 1];
    require("ROC curve", totals.positives, Some(totals.negatives))?;
    let mut corners: Vec<Step> = vec![Step { threshold: f64::INFINITY, positives: 0, negatives: 0 }];
    for step in steps {
        if let [.., a, b] = corners[..] {
            let rise = u128::from(b.positives - a.positives) * u128::from(step.negatives - b.negatives);
            let run = u128::from(step.positives - b.positives) * u128::from(b.negatives - a.negatives);
            if rise == run {
                corners.pop();
            }
        }
        corners.push(step);
    }
    let point = |s: &Step| RocPoint {
        false_positive_rate: s.negatives as f64 / totals.negatives as f64,
        true_positive_rate: s.positives as f64 / totals.positives as f64,
        threshold: s.threshold,
    };
    let points: Vec<RocPoint> = corners.iter().map(point).collect();
    if points.len() <= max_points {
        return Ok(points);
    }
    let last = points.len() - 1;
    let mut kept = vec![points[0]];
    let mut reached = 0;
    for p in &points[1..last] {
        let section = ((p.false_positive_rate + p.true_positive_rate) * 0.5 * (max_points - 1) as f64) as usize;
        if section > reached && kept.len() < max_points - 1 {
            reached = section;
            kept.push(*p);
        }
    }
    kept.push(points[last]);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::super::classification::softmax;
    use super::super::testing::{close, logits, uniform};
    use super::*;

    /// 300 scores on 20 levels, positive with a probability that grows with the score.
    fn case() -> (Vec<f64>, Vec<bool>) {
        let scores: Vec<f64> = uniform(3, 300).iter().map(|u| (20.0 * u).floor() / 20.0).collect();
        let positive = uniform(4, 300).iter().zip(&scores).map(|(u, s)| *u < 0.25 + 0.4 * s).collect();
        (scores, positive)
    }

    /// Expected: scikit-learn's `roc_auc_score` (binary, and per class one-versus-rest), `average_precision_score` and
    /// `roc_curve` on the same numbers.
    #[test]
    fn agrees_with_scikit_learn() {
        let (s, y) = case();
        close(
            &[auroc(&s, &y).unwrap(), average_precision(&s, &y).unwrap()],
            &[0.6358618233618234, 0.6188086956513053],
            1e-13,
        );
        let curve = roc_curve(&s, &y, 1000).unwrap();
        assert_eq!(curve.len(), 21);
        close(
            &[curve[2].false_positive_rate, curve[2].true_positive_rate, curve[2].threshold],
            &[0.05128205, 0.15277778, 0.9],
            1e-7,
        );

        let (z, labels) = logits();
        let several = macro_auroc(&softmax(&z, 5).unwrap(), 5, &labels).unwrap();
        close(&[several.value], &[0.8398804671754581], 1e-13);
        let each: Vec<f64> = several.per_class.iter().flatten().copied().collect();
        close(&each, &[0.8289528577388401, 0.8361237950279046, 0.8559027777777778, 0.83854243815731], 1e-13);
        assert_eq!((several.skipped, several.per_class[4]), (1, None));
    }

    #[test]
    fn area_is_the_share_of_ordered_pairs() {
        let (s, y) = case();
        let (mut won, mut pairs) = (0.0, 0.0);
        for i in (0..s.len()).filter(|&i| y[i]) {
            for j in (0..s.len()).filter(|&j| !y[j]) {
                won += f64::from(s[i] > s[j]) + 0.5 * f64::from(s[i] == s[j]);
                pairs += 1.0;
            }
        }
        close(&[auroc(&s, &y).unwrap()], &[won / pairs], 1e-14);
        let turned: Vec<f64> = s.iter().map(|s| -s).collect();
        close(&[auroc(&turned, &y).unwrap()], &[1.0 - won / pairs], 1e-14);
        let curve = roc_curve(&s, &y, 1000).unwrap();
        let trapezoids = curve.windows(2).map(|w| {
            (w[1].false_positive_rate - w[0].false_positive_rate) * (w[1].true_positive_rate + w[0].true_positive_rate)
                / 2.0
        });
        close(&[trapezoids.sum()], &[won / pairs], 1e-14);
    }

    #[test]
    fn small_cases_by_hand() {
        assert_eq!(auroc(&[0.0f32, -0.0, 0.0], &[true, false, true]).unwrap(), 0.5);
        assert_eq!(auroc(&[1.0f32, 0.0], &[true, false]).unwrap(), 1.0);
        // Thresholds 3, 2 (a tie), 1: precision 1, 2/3, 3/4; recall 1/3, 2/3, 1.
        let ap = average_precision(&[3.0f64, 2.0, 2.0, 1.0], &[true, true, false, true]).unwrap();
        close(&[ap], &[(1.0 + 2.0 / 3.0 + 0.75) / 3.0], 1e-15);
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_its_order() {
        let s = uniform(21, 5000);
        let y: Vec<bool> = uniform(22, 5000).iter().zip(&s).map(|(u, s)| u < s).collect();
        for limit in [2, 3, 10, 100] {
            let curve = roc_curve(&s, &y, limit).unwrap();
            assert!(curve.len() <= limit && curve.len() * 2 > limit, "{} of {limit}", curve.len());
            assert_eq!((curve[0].false_positive_rate, curve[0].true_positive_rate), (0.0, 0.0));
            assert_eq!(curve.last().map(|p| (p.false_positive_rate, p.true_positive_rate)), Some((1.0, 1.0)));
            assert!(curve.windows(2).all(|w| w[0].threshold > w[1].threshold));
        }
    }

    #[test]
    fn undefined_and_bad_input() {
        assert!(matches!(auroc(&[1.0f32, 0.0], &[true, true]), Err(Error::Undefined { .. })));
        assert!(matches!(average_precision(&[1.0f32], &[false]), Err(Error::Undefined { .. })));
        assert_eq!(average_precision(&[1.0f32], &[true]), Ok(1.0));
        assert!(matches!(macro_auroc(&[1.0f32, 0.0], 2, &[1]), Err(Error::Undefined { .. })));
        assert!(matches!(auroc(&[1.0f32], &[true, true]), Err(Error::Shape { .. })));
        assert!(matches!(auroc(&[f64::NAN, 0.0], &[true, false]), Err(Error::NonFinite { .. })));
        assert!(matches!(roc_curve(&[1.0f32, 0.0], &[true, false], 1), Err(Error::Parameter { .. })));
    }
}
