//! Whether scores put positives before negatives: area under the ROC curve and average precision.
//!
//! Everything follows from steps: how many positives and negatives score at or above each distinct score, greatest first.
//! Equal scores are one step, so no figure depends on the order of the rows.

use super::rows;
use crate::real::Real;
use crate::{Error, Result};
use rayon::prelude::*;

/// Positives and negatives at or above one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) threshold: f64,
    pub(super) positives: u64,
    pub(super) negatives: u64,
}

impl Step {
    /// Above every score.
    pub(super) const NONE: Step = Step { threshold: f64::INFINITY, positives: 0, negatives: 0 };
}

/// What a run of steps says as a whole.
#[derive(Clone, Copy)]
pub(super) struct Curve {
    /// All positives and negatives.
    pub(super) totals: Step,
    area: f64,
    precision: f64,
}

impl Curve {
    /// Reads steps, greatest threshold first.
    pub(super) fn of(steps: impl Iterator<Item = Step>) -> Self {
        let (mut area, mut precision, mut before) = (0.0, 0.0, Step::NONE);
        for step in steps {
            let (more, others) = (step.positives - before.positives, step.negatives - before.negatives);
            // Within a group of ties the trapezoid is the half that midranks give.
            area += others as f64 * (step.positives + before.positives) as f64 * 0.5;
            if more > 0 {
                precision += more as f64 * (step.positives as f64 / (step.positives + step.negatives) as f64);
            }
            before = step;
        }
        Self { totals: before, area, precision }
    }

    pub(super) fn auroc(&self) -> f64 {
        self.area / (self.totals.positives as f64 * self.totals.negatives as f64)
    }

    pub(super) fn average_precision(&self) -> f64 {
        self.precision / self.totals.positives as f64
    }

    /// Refuses curves without positives and, where `negatives` asks for them, without negatives.
    pub(super) fn require(&self, what: &str, negatives: bool) -> Result<()> {
        let reason = match (self.totals.positives, self.totals.negatives) {
            (0, _) => "there are no positives",
            (_, 0) if negatives => "there are no negatives",
            _ => return Ok(()),
        };
        Err(Error::Undefined { what: what.to_string(), reason: reason.to_string() })
    }
}

/// Scores sorted downwards with their rows, from which the figures of any draw of the rows follow without sorting again.
#[derive(Debug, Clone)]
pub struct Sorted {
    rows: Vec<(f64, u32, bool)>,
}

impl Sorted {
    /// Sorts scores, one row each.
    ///
    /// # Errors
    /// Empty input, lengths that differ, non-finite scores.
    pub fn new<T: Real>(scores: &[T], positive: &[bool]) -> Result<Self> {
        let n = rows::matrix("scores", scores, 1)?;
        rows::same_length("positive", positive.len(), n)?;
        Ok(Self::of(scores.iter().copied(), |i| positive[i]))
    }

    fn of<T: Real>(scores: impl Iterator<Item = T>, positive: impl Fn(usize) -> bool) -> Self {
        let row = |(i, s): (usize, T)| (s.f64(), i as u32, positive(i));
        let mut rows: Vec<(f64, u32, bool)> = scores.enumerate().map(row).collect();
        // Adding zero makes -0.0 equal to 0.0, as ties want it.
        rows.sort_unstable_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)));
        Self { rows }
    }

    /// Row i counts `drawn[i]` times, or once.
    pub(super) fn steps<'a>(&'a self, drawn: Option<&'a [u32]>) -> impl Iterator<Item = Step> + 'a {
        let mut last = Step::NONE;
        self.rows.chunk_by(|a, b| a.0 == b.0).map(move |group| {
            for (_, row, positive) in group {
                let times = drawn.map_or(1, |drawn| u64::from(drawn[*row as usize]));
                *(if *positive { &mut last.positives } else { &mut last.negatives }) += times;
            }
            last.threshold = group[0].0;
            last
        })
    }

    /// [`auroc`] and [`average_precision`] when row i counts `drawn[i]` times; NaN where they are undefined.
    pub fn figures(&self, drawn: &[u32]) -> [f64; 2] {
        let curve = Curve::of(self.steps(Some(drawn)));
        [curve.auroc(), curve.average_precision()]
    }
}

/// Area under the ROC curve: the probability that a positive scores above a negative, ties counting one half.
///
/// Equal to the Mann–Whitney statistic with midranks. Hanley & McNeil, *The meaning and use of the area under a
/// receiver operating characteristic (ROC) curve* (Radiology, 1982).
///
/// # Errors
/// Empty input, lengths that differ, non-finite scores; undefined without positives or without negatives.
pub fn auroc<T: Real>(scores: &[T], positive: &[bool]) -> Result<f64> {
    let curve = Curve::of(Sorted::new(scores, positive)?.steps(None));
    curve.require("AUROC", true)?;
    Ok(curve.auroc())
}

/// Average precision `Σ_j (R_j − R_{j−1}) P_j` over the distinct thresholds, greatest first, without interpolation: the area
/// under the precision–recall curve in the step form that scikit-learn's `average_precision_score` uses.
///
/// Su, Yuan & Zhu, *A Relationship between the Average Precision and the Area Under the ROC Curve* (ICTIR 2015).
///
/// # Errors
/// Empty input, lengths that differ, non-finite scores; undefined without positives.
pub fn average_precision<T: Real>(scores: &[T], positive: &[bool]) -> Result<f64> {
    let curve = Curve::of(Sorted::new(scores, positive)?.steps(None));
    curve.require("average precision", false)?;
    Ok(curve.average_precision())
}

/// A figure of each class against the rest, and its mean.
#[derive(Debug, Clone, PartialEq)]
pub struct OneVersusRest {
    /// Mean over the classes where it is defined.
    pub value: f64,
    /// The figure of each class; `None` where it is undefined.
    pub per_class: Vec<Option<f64>>,
    /// How many classes were left out of the mean.
    pub skipped: usize,
}

fn one_versus_rest<T: Real>(
    what: &str,
    scores: &[T],
    classes: usize,
    labels: &[usize],
    figure: impl Fn(&Curve) -> f64 + Sync,
) -> Result<OneVersusRest> {
    let sorted = columns(scores, classes, labels)?;
    let figure = |column: &Option<Sorted>| column.as_ref().map(|column| figure(&Curve::of(column.steps(None))));
    let per_class: Vec<Option<f64>> = sorted.par_iter().map(figure).collect();
    let known: Vec<f64> = per_class.iter().flatten().copied().collect();
    if known.is_empty() {
        return Err(Error::Undefined {
            what: what.to_string(),
            reason: "no class has both positives and negatives".to_string(),
        });
    }
    Ok(OneVersusRest {
        value: known.iter().sum::<f64>() / known.len() as f64,
        skipped: classes - known.len(),
        per_class,
    })
}

/// Column `c` of scores `[n, classes]` sorted, with "label = c" as positives; `None` for classes without positives or
/// without negatives. Sixteen bytes a score.
///
/// # Errors
/// Empty or ragged input, labels out of range, non-finite scores.
pub fn columns<T: Real>(scores: &[T], classes: usize, labels: &[usize]) -> Result<Vec<Option<Sorted>>> {
    let n = rows::matrix("scores", scores, classes)?;
    rows::labels("labels", labels, n, classes)?;
    let mut support = vec![0usize; classes];
    labels.iter().for_each(|&y| support[y] += 1);
    let one = |c: usize| {
        let defined = support[c] > 0 && support[c] < n;
        defined.then(|| Sorted::of(scores.iter().skip(c).step_by(classes).copied(), |i| labels[i] == c))
    };
    Ok((0..classes).into_par_iter().map(one).collect())
}

/// Mean over classes of the [`auroc`] of column `c` of scores `[n, classes]` with "label = c" as positives.
///
/// Fawcett, *An introduction to ROC analysis* (Pattern Recognition Letters, 2006), unweighted mean. Scores are compared
/// between rows, so they should be probabilities or otherwise comparable.
///
/// # Errors
/// Empty or ragged input, labels out of range, non-finite scores; undefined when every class is skipped.
pub fn macro_auroc<T: Real>(scores: &[T], classes: usize, labels: &[usize]) -> Result<OneVersusRest> {
    one_versus_rest("macro AUROC", scores, classes, labels, Curve::auroc)
}

/// Mean over classes of the [`average_precision`] of column `c` of scores `[n, classes]` with "label = c" as positives,
/// over the classes that have both positives and negatives.
///
/// # Errors
/// As [`macro_auroc`].
pub fn macro_average_precision<T: Real>(scores: &[T], classes: usize, labels: &[usize]) -> Result<OneVersusRest> {
    one_versus_rest("macro average precision", scores, classes, labels, Curve::average_precision)
}

#[cfg(test)]
mod tests {
    use super::super::classification::softmax;
    use super::super::testing::{close, levels as case, logits};
    use super::*;

    /// Expected: scikit-learn's `roc_auc_score` (binary, and per class one-versus-rest), `average_precision_score` on
    /// the same numbers.
    #[test]
    fn agrees_with_scikit_learn() {
        let (s, y) = case();
        close(
            &[auroc(&s, &y).unwrap(), average_precision(&s, &y).unwrap()],
            &[0.6358618233618234, 0.6188086956513053],
            1e-13,
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
    fn rows_drawn_twice_count_twice() {
        let (s, y) = case();
        let drawn: Vec<u32> = (0..300).map(|i| i % 3).collect();
        let rows: Vec<usize> = (0..300).flat_map(|i| vec![i; drawn[i] as usize]).collect();
        let (s2, y2): (Vec<f64>, Vec<bool>) = rows.iter().map(|i| (s[*i], y[*i])).unzip();
        let found = Sorted::new(&s, &y).unwrap().figures(&drawn);
        close(&found, &[auroc(&s2, &y2).unwrap(), average_precision(&s2, &y2).unwrap()], 1e-14);
        assert!(Sorted::new(&s, &y).unwrap().figures(&[0; 300]).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn undefined_and_bad_input() {
        assert!(matches!(auroc(&[1.0f32, 0.0], &[true, true]), Err(Error::Undefined { .. })));
        assert!(matches!(average_precision(&[1.0f32], &[false]), Err(Error::Undefined { .. })));
        assert_eq!(average_precision(&[1.0f32], &[true]), Ok(1.0));
        assert!(matches!(macro_auroc(&[1.0f32, 0.0], 2, &[1]), Err(Error::Undefined { .. })));
        assert!(matches!(auroc(&[1.0f32], &[true, true]), Err(Error::Shape { .. })));
        assert!(matches!(auroc(&[f64::NAN, 0.0], &[true, false]), Err(Error::NonFinite { .. })));
    }
}
