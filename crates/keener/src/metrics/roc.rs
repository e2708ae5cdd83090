//! The receiver operating characteristic: curve, equal error rate, and true positives at a rate of false ones.
//!
//! A pair or row is accepted where its score is at least the threshold. In verification the true positive rate is called
//! true accept rate (TAR) and the false positive rate false accept rate (FAR).

use super::ranking::{Curve, Sorted, Step};
use crate::real::Real;
use crate::{Error, Result};

/// A point of a ROC curve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RocPoint {
    /// Share of the negatives that score at or above the threshold.
    pub false_positive_rate: f64,
    /// Share of the positives that score at or above the threshold.
    pub true_positive_rate: f64,
    /// The threshold; `+inf` at the origin.
    pub threshold: f64,
}

/// A figure with the threshold that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AtThreshold {
    /// The figure.
    pub value: f64,
    /// Scores at least this great are accepted.
    pub threshold: f64,
}

impl RocPoint {
    fn of(step: &Step, totals: &Step) -> Self {
        Self {
            false_positive_rate: step.negatives as f64 / totals.negatives as f64,
            true_positive_rate: step.positives as f64 / totals.positives as f64,
            threshold: step.threshold,
        }
    }
}

fn steps<T: Real>(what: &str, scores: &[T], positive: &[bool]) -> Result<(Vec<Step>, Step)> {
    let steps: Vec<Step> = Sorted::new(scores, positive)?.steps(None).collect();
    let curve = Curve::of(steps.iter().copied());
    curve.require(what, true)?;
    Ok((steps, curve.totals))
}

/// The ROC curve from (0, 0) to (1, 1) with at most `max_points` points.
///
/// Points inside a straight stretch are dropped first, which changes nothing. If more remain, those are kept that first
/// pass equal steps of `false_positive_rate + true_positive_rate`. Fawcett, *An introduction to ROC analysis* (2006).
///
/// # Errors
/// Empty input, lengths that differ, non-finite scores; undefined without positives or without negatives; `max_points < 2`.
pub fn roc_curve<T: Real>(scores: &[T], positive: &[bool], max_points: usize) -> Result<Vec<RocPoint>> {
    check_points(max_points)?;
    let (steps, totals) = steps("ROC curve", scores, positive)?;
    let mut corners: Vec<Step> = vec![Step::NONE];
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
    if corners.len() <= max_points {
        return Ok(corners.iter().map(|step| RocPoint::of(step, &totals)).collect());
    }
    Ok(thinned(corners.into_iter().skip(1), &totals, max_points))
}

pub(super) fn check_points(max_points: usize) -> Result<()> {
    if max_points < 2 {
        return Err(Error::parameter("max_points", max_points, "at least 2"));
    }
    Ok(())
}

/// The origin, the steps that first pass equal steps of the sum of both rates, and the end.
pub(super) fn thinned(steps: impl Iterator<Item = Step>, totals: &Step, max_points: usize) -> Vec<RocPoint> {
    let mut kept = vec![RocPoint::of(&Step::NONE, totals)];
    let mut reached = 0;
    let mut last = kept[0];
    for step in steps {
        let p = RocPoint::of(&step, totals);
        last = p;
        let section = ((p.false_positive_rate + p.true_positive_rate) * 0.5 * (max_points - 1) as f64) as usize;
        if section > reached && kept.len() < max_points - 1 && section < max_points - 1 {
            reached = section;
            kept.push(p);
        }
    }
    kept.push(last);
    kept
}

/// The rate at which as many positives are refused as negatives accepted, on straight lines between the points of the ROC
/// curve, with the first threshold at which no more are refused than accepted.
///
/// # Errors
/// As [`roc_curve`].
pub fn equal_error_rate<T: Real>(scores: &[T], positive: &[bool]) -> Result<AtThreshold> {
    let (steps, totals) = steps("equal error rate", scores, positive)?;
    Ok(equal_error(steps.into_iter(), &totals))
}

/// [`equal_error_rate`] when row i counts `drawn[i]` times; NaN where it is undefined.
pub fn drawn_equal_error_rate(scores: &Sorted, drawn: &[u32]) -> f64 {
    let totals = Curve::of(scores.steps(Some(drawn))).totals;
    equal_error(scores.steps(Some(drawn)), &totals).value
}

pub(super) fn equal_error(steps: impl Iterator<Item = Step>, totals: &Step) -> AtThreshold {
    // Accepted negatives less refused positives: −1 at the origin, 1 at the end, growing.
    let excess = |p: &RocPoint| p.false_positive_rate - (1.0 - p.true_positive_rate);
    let mut before = RocPoint::of(&Step::NONE, totals);
    for step in steps {
        let p = RocPoint::of(&step, totals);
        if excess(&p) >= 0.0 {
            let share = -excess(&before) / (excess(&p) - excess(&before));
            let rise = p.false_positive_rate - before.false_positive_rate;
            return AtThreshold { value: before.false_positive_rate + share * rise, threshold: p.threshold };
        }
        before = p;
    }
    AtThreshold { value: f64::NAN, threshold: f64::NAN }
}

/// The greatest true positive rate at a false positive rate of at most `rate`, without interpolation, with the greatest
/// threshold that reaches it; 0 at `+inf` where a negative scores above all positives and `rate` does not admit it.
///
/// # Errors
/// As [`roc_curve`]; `rate` outside [0, 1].
pub fn true_positive_rate_at<T: Real>(scores: &[T], positive: &[bool], rate: f64) -> Result<AtThreshold> {
    check_rate(rate)?;
    let (steps, totals) = steps("true positive rate", scores, positive)?;
    Ok(true_positives_at(steps.into_iter(), &totals, rate))
}

/// [`true_positive_rate_at`] when row i counts `drawn[i]` times; NaN where it is undefined.
pub fn drawn_true_positive_rate_at(scores: &Sorted, drawn: &[u32], rate: f64) -> f64 {
    let totals = Curve::of(scores.steps(Some(drawn))).totals;
    match (totals.positives, totals.negatives) {
        (0, _) | (_, 0) => f64::NAN,
        _ => true_positives_at(scores.steps(Some(drawn)), &totals, rate).value,
    }
}

pub(super) fn check_rate(rate: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(Error::parameter("false accept rate", rate, "a number in [0, 1]"));
    }
    Ok(())
}

pub(super) fn true_positives_at(steps: impl Iterator<Item = Step>, totals: &Step, rate: f64) -> AtThreshold {
    let mut best = Step::NONE;
    for step in steps {
        if step.negatives as f64 / totals.negatives as f64 > rate {
            break;
        }
        if step.positives > best.positives {
            best = step;
        }
    }
    let point = RocPoint::of(&best, totals);
    AtThreshold { value: point.true_positive_rate, threshold: point.threshold }
}

/// The true positive rate at a false positive rate, on straight lines between the steps.
pub(super) fn interpolated_at(steps: impl Iterator<Item = Step>, totals: &Step, rate: f64) -> f64 {
    let mut before = RocPoint::of(&Step::NONE, totals);
    for step in steps {
        let p = RocPoint::of(&step, totals);
        if p.false_positive_rate > rate {
            let share = (rate - before.false_positive_rate) / (p.false_positive_rate - before.false_positive_rate);
            return before.true_positive_rate + share * (p.true_positive_rate - before.true_positive_rate);
        }
        before = p;
    }
    before.true_positive_rate
}

#[cfg(test)]
mod tests {
    use super::super::ranking::auroc;
    use super::super::testing::{close, levels, uniform};
    use super::*;

    /// Expected: scikit-learn's `roc_curve` on the same numbers.
    #[test]
    fn agrees_with_scikit_learn() {
        let (s, y) = levels();
        let curve = roc_curve(&s, &y, 1000).unwrap();
        assert_eq!(curve.len(), 21);
        close(
            &[curve[2].false_positive_rate, curve[2].true_positive_rate, curve[2].threshold],
            &[0.05128205, 0.15277778, 0.9],
            1e-7,
        );
        let trapezoids = curve.windows(2).map(|w| {
            (w[1].false_positive_rate - w[0].false_positive_rate) * (w[1].true_positive_rate + w[0].true_positive_rate)
                / 2.0
        });
        close(&[trapezoids.sum()], &[auroc(&s, &y).unwrap()], 1e-14);
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

    /// Positives 4, 2, 2, 1 and negatives 3, 2, 0: (FPR, TPR) = (0, 1/4), (1/3, 1/4), (2/3, 3/4), (2/3, 1), (1, 1).
    #[test]
    fn error_rates_by_hand() {
        let s = [4.0f64, 3.0, 2.0, 2.0, 2.0, 1.0, 0.0];
        let y = [true, false, true, true, false, true, false];
        let at = |rate| true_positive_rate_at(&s, &y, rate).unwrap();
        let found = [at(0.0), at(0.5), at(2.0 / 3.0), at(1.0)].map(|p| (p.value, p.threshold));
        assert_eq!(found, [(0.25, 4.0), (0.25, 4.0), (1.0, 1.0), (1.0, 1.0)]);
        // Between (1/3, 1/4) and (2/3, 3/4): 1/3 + t/3 = 3/4 − t/2 at t = 1/2.
        let eer = equal_error_rate(&s, &y).unwrap();
        close(&[eer.value, eer.threshold], &[0.5, 2.0], 1e-15);
        let perfect = equal_error_rate(&[2.0f32, 1.0], &[true, false]).unwrap();
        assert_eq!((perfect.value, perfect.threshold), (0.0, 2.0));
        let wrong = equal_error_rate(&[1.0f32, 2.0], &[true, false]).unwrap();
        assert_eq!(wrong.value, 1.0);
        assert_eq!(true_positive_rate_at(&[1.0f32, 2.0], &[true, false], 0.5).unwrap().threshold, f64::INFINITY);
    }

    #[test]
    fn rows_drawn_twice_count_twice() {
        let (s, y) = levels();
        let drawn: Vec<u32> = (0..300).map(|i| i % 3).collect();
        let rows: Vec<usize> = (0..300).flat_map(|i| vec![i; drawn[i] as usize]).collect();
        let (s2, y2): (Vec<f64>, Vec<bool>) = rows.iter().map(|i| (s[*i], y[*i])).unzip();
        let sorted = Sorted::new(&s, &y).unwrap();
        let found = [drawn_equal_error_rate(&sorted, &drawn), drawn_true_positive_rate_at(&sorted, &drawn, 0.2)];
        let expected = [equal_error_rate(&s2, &y2).unwrap(), true_positive_rate_at(&s2, &y2, 0.2).unwrap()];
        close(&found, &expected.map(|at| at.value), 1e-14);
        let none = vec![0; 300];
        assert!(drawn_equal_error_rate(&sorted, &none).is_nan());
        assert!(drawn_true_positive_rate_at(&sorted, &none, 0.2).is_nan());
    }

    #[test]
    fn undefined_and_bad_input() {
        assert!(matches!(roc_curve(&[1.0f32, 0.0], &[true, false], 1), Err(Error::Parameter { .. })));
        assert!(matches!(equal_error_rate(&[1.0f32, 0.0], &[true, true]), Err(Error::Undefined { .. })));
        assert!(matches!(true_positive_rate_at(&[1.0f32, 0.0], &[true, false], 1.5), Err(Error::Parameter { .. })));
        assert!(matches!(true_positive_rate_at(&[f32::NAN, 0.0], &[true, false], 0.5), Err(Error::NonFinite { .. })));
    }
}
