//! How often the predicted class is right, and how probable the true class was.

use super::rows;
use crate::real::Real;
use crate::{Error, Result};

/// The class with the greatest score of each row `[n, classes]`; the lowest index on ties.
///
/// # Errors
/// Empty or ragged `scores`, non-finite values.
pub fn argmax<T: Real>(scores: &[T], classes: usize) -> Result<Vec<usize>> {
    rows::matrix("scores", scores, classes)?;
    Ok(scores.chunks_exact(classes).map(rows::argmax).collect())
}

/// Share of rows whose predicted class is the label.
///
/// # Errors
/// Empty input, lengths that differ.
pub fn accuracy(predicted: &[usize], labels: &[usize]) -> Result<f64> {
    let n = rows::count("labels", labels.len(), 1)?;
    rows::same_length("predictions", predicted.len(), n)?;
    Ok(predicted.iter().zip(labels).filter(|(p, y)| p == y).count() as f64 / n as f64)
}

/// Share of rows `[n, classes]` whose label is among the `k` greatest scores.
///
/// Of equal scores the lower class index comes first, so that `k = 1` agrees with [`argmax`]; `k ≥ classes` gives 1.
/// As in Russakovsky et al., *ImageNet Large Scale Visual Recognition Challenge* (2015, arXiv 1409.0575), where k = 5.
///
/// # Errors
/// `k = 0`, empty or ragged input, labels out of range, non-finite scores.
pub fn top_k_accuracy<T: Real>(scores: &[T], classes: usize, labels: &[usize], k: usize) -> Result<f64> {
    let n = rows::matrix("scores", scores, classes)?;
    rows::labels("labels", labels, n, classes)?;
    if k == 0 {
        return Err(Error::parameter("k", k, "at least 1"));
    }
    Ok(label_ranks(scores, classes, labels)?.iter().filter(|rank| **rank <= k).count() as f64 / n as f64)
}

/// The rank, from 1, of each row's label among the scores `[n, classes]`; of equal scores the lower class index comes first.
///
/// # Errors
/// Empty or ragged input, labels out of range, non-finite scores.
pub fn label_ranks<T: Real>(scores: &[T], classes: usize, labels: &[usize]) -> Result<Vec<usize>> {
    let n = rows::matrix("scores", scores, classes)?;
    rows::labels("labels", labels, n, classes)?;
    let rank = |(row, &y): (&[T], &usize)| {
        1 + row.iter().enumerate().filter(|&(c, &s)| s > row[y] || (s == row[y] && c < y)).count()
    };
    Ok(scores.chunks_exact(classes).zip(labels).map(rank).collect())
}

/// Rows, predictions and hits of each class, and the averages over classes that follow from them.
///
/// Definitions as in Sokolova & Lapalme, *A systematic analysis of performance measures for classification tasks*
/// (Information Processing & Management, 2009).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    support: Vec<u64>,
    predictions: Vec<u64>,
    hits: Vec<u64>,
}

impl ClassCounts {
    /// Counts predictions against labels; row i counts `drawn[i]` times where that is given, else once.
    ///
    /// # Errors
    /// Empty input, lengths that differ, a label or prediction outside `0..classes`.
    pub fn new(predicted: &[usize], labels: &[usize], classes: usize, drawn: Option<&[u32]>) -> Result<Self> {
        let n = rows::count("labels", labels.len(), 1)?;
        rows::labels("labels", labels, n, classes)?;
        rows::labels("predictions", predicted, n, classes)?;
        if let Some(drawn) = drawn {
            rows::same_length("drawn", drawn.len(), n)?;
        }
        let mut counts = Self { support: vec![0; classes], predictions: vec![0; classes], hits: vec![0; classes] };
        for (i, (&p, &y)) in predicted.iter().zip(labels).enumerate() {
            let times = drawn.map_or(1, |drawn| u64::from(drawn[i]));
            counts.support[y] += times;
            counts.predictions[p] += times;
            counts.hits[y] += if p == y { times } else { 0 };
        }
        Ok(counts)
    }

    fn each(&self, f: impl Fn(usize) -> Option<f64>) -> Vec<Option<f64>> {
        (0..self.support.len()).map(f).collect()
    }

    /// Share of each class's rows that were found; `None` for a class without rows.
    pub fn recall(&self) -> Vec<Option<f64>> {
        self.each(|c| ratio(self.hits[c], self.support[c]))
    }

    /// Share of each class's predictions that were right; `None` for a class that was never predicted.
    pub fn precision(&self) -> Vec<Option<f64>> {
        self.each(|c| ratio(self.hits[c], self.predictions[c]))
    }

    /// `2 TP / (2 TP + FP + FN)` of each class; `None` for a class that is neither a label nor a prediction.
    pub fn f1(&self) -> Vec<Option<f64>> {
        self.each(|c| ratio(2 * self.hits[c], self.support[c] + self.predictions[c]))
    }

    /// Share of the rows whose class was found.
    pub fn accuracy(&self) -> f64 {
        self.hits.iter().sum::<u64>() as f64 / self.support.iter().sum::<u64>() as f64
    }

    /// Mean recall over the classes that occur among the labels.
    ///
    /// Brodersen et al., *The balanced accuracy and its posterior distribution* (ICPR 2010), for any number of classes.
    pub fn balanced_accuracy(&self) -> f64 {
        mean(&self.recall())
    }

    /// Geometric mean of the recalls of the classes that occur among the labels: 0 as soon as one class is never found.
    ///
    /// Kubat and Matwin, *Addressing the Curse of Imbalanced Training Sets* (ICML 1997), for any number of classes.
    pub fn geometric_mean(&self) -> f64 {
        let known: Vec<f64> = self.recall().into_iter().flatten().collect();
        match known.contains(&0.0) {
            true => 0.0,
            false => (known.iter().map(|r| r.ln()).sum::<f64>() / known.len() as f64).exp(),
        }
    }

    /// Mean F1 over the classes that occur among labels or predictions.
    pub fn macro_f1(&self) -> f64 {
        mean(&self.f1())
    }

    /// F1 of the pooled counts; with one label and one prediction a row it equals the accuracy.
    pub fn micro_f1(&self) -> f64 {
        let pooled = self.support.iter().chain(&self.predictions).sum::<u64>();
        2.0 * self.hits.iter().sum::<u64>() as f64 / pooled as f64
    }
}

/// Counts of (label, prediction) pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
    by_class: ClassCounts,
}

impl ConfusionMatrix {
    /// Counts predictions against labels.
    ///
    /// # Errors
    /// Empty input, lengths that differ, a label or prediction outside `0..classes`.
    pub fn new(predicted: &[usize], labels: &[usize], classes: usize) -> Result<Self> {
        let by_class = ClassCounts::new(predicted, labels, classes, None)?;
        let mut counts = vec![0; classes * classes];
        for (&p, &y) in predicted.iter().zip(labels) {
            counts[y * classes + p] += 1;
        }
        Ok(Self { classes, counts, by_class })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts `[classes, classes]`, row-major: row = label, column = prediction.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Rows, predictions and hits of each class.
    pub fn by_class(&self) -> &ClassCounts {
        &self.by_class
    }

    /// As [`ClassCounts::recall`].
    pub fn recall(&self) -> Vec<Option<f64>> {
        self.by_class.recall()
    }

    /// As [`ClassCounts::precision`].
    pub fn precision(&self) -> Vec<Option<f64>> {
        self.by_class.precision()
    }

    /// As [`ClassCounts::f1`].
    pub fn f1(&self) -> Vec<Option<f64>> {
        self.by_class.f1()
    }

    /// As [`ClassCounts::balanced_accuracy`].
    pub fn balanced_accuracy(&self) -> f64 {
        self.by_class.balanced_accuracy()
    }

    /// As [`ClassCounts::geometric_mean`].
    pub fn geometric_mean(&self) -> f64 {
        self.by_class.geometric_mean()
    }

    /// As [`ClassCounts::macro_f1`].
    pub fn macro_f1(&self) -> f64 {
        self.by_class.macro_f1()
    }

    /// As [`ClassCounts::micro_f1`].
    pub fn micro_f1(&self) -> f64 {
        self.by_class.micro_f1()
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    known.iter().sum::<f64>() / known.len() as f64
}

/// Mean negative log-likelihood `mean_i (log Σ_k e^{z_ik} − z_i,y_i)` of logits `[n, classes]`, in nats.
///
/// # Errors
/// Empty or ragged input, labels out of range, non-finite logits.
pub fn nll_from_logits<T: Real>(logits: &[T], classes: usize, labels: &[usize]) -> Result<f64> {
    Ok(mean_of(&nll_rows(logits, classes, labels)?))
}

/// The negative log-likelihood of each row, as [`nll_from_logits`] averages it.
///
/// # Errors
/// As [`nll_from_logits`].
pub fn nll_rows<T: Real>(logits: &[T], classes: usize, labels: &[usize]) -> Result<Vec<f64>> {
    let n = rows::matrix("logits", logits, classes)?;
    rows::labels("labels", labels, n, classes)?;
    let row = |(row, &y): (&[T], &usize)| rows::log_sum_exp(row) - row[y].f64();
    Ok(logits.chunks_exact(classes).zip(labels).map(row).collect())
}

/// Mean negative log-likelihood `mean_i (−log p_i,y_i)` of log-probabilities `[n, classes]`, in nats.
///
/// `-inf` (probability zero) is allowed; at a label it makes the result `+inf`.
///
/// # Errors
/// Empty or ragged input, labels out of range, NaN, or a value above 0.01 (then they are not log-probabilities).
pub fn nll_from_log_probabilities<T: Real>(log_probabilities: &[T], classes: usize, labels: &[usize]) -> Result<f64> {
    let n = rows::count("log-probabilities", log_probabilities.len(), classes)?;
    if let Some(at) = log_probabilities.iter().position(|x| x.is_nan() || *x == T::infinity()) {
        return Err(rows::non_finite("log-probabilities", log_probabilities[at], at / classes, at % classes));
    }
    if let Some(at) = log_probabilities.iter().position(|x| x.f64() > 0.01) {
        let name = format!("log-probability at row {}", at / classes);
        return Err(Error::parameter(name, log_probabilities[at], "at most 0 (use `nll_from_logits` for logits)"));
    }
    rows::labels("labels", labels, n, classes)?;
    let [total] = rows::sum(n, |i| [-log_probabilities[i * classes + labels[i]].f64()]);
    Ok(total / n as f64)
}

/// Brier score `mean_i Σ_k (p_ik − [k = y_i])²` of probabilities `[n, classes]`: 0 is perfect, 2 the worst.
///
/// Brier, *Verification of forecasts expressed in terms of probability* (Monthly Weather Review, 1950): the original
/// sum over all classes, twice the two-class form that looks at one class only.
///
/// # Errors
/// Empty or ragged input, labels out of range, rows that are not probabilities.
pub fn brier<T: Real>(probabilities: &[T], classes: usize, labels: &[usize]) -> Result<f64> {
    Ok(mean_of(&brier_rows(probabilities, classes, labels)?))
}

/// The Brier score of each row, as [`brier`] averages it.
///
/// # Errors
/// As [`brier`].
pub fn brier_rows<T: Real>(probabilities: &[T], classes: usize, labels: &[usize]) -> Result<Vec<f64>> {
    let n = rows::probabilities(probabilities, classes)?;
    rows::labels("labels", labels, n, classes)?;
    let row = |(row, &y): (&[T], &usize)| -> f64 {
        row.iter().enumerate().map(|(k, p)| (p.f64() - f64::from(k == y)).powi(2)).sum()
    };
    Ok(probabilities.chunks_exact(classes).zip(labels).map(row).collect())
}

fn mean_of(values: &[f64]) -> f64 {
    let [total] = rows::sum(values.len(), |i| [values[i]]);
    total / values.len() as f64
}

/// Softmax of each row of logits `[n, classes]`.
///
/// # Errors
/// Empty or ragged input, non-finite logits.
pub fn softmax<T: Real>(logits: &[T], classes: usize) -> Result<Vec<f64>> {
    rows::matrix("logits", logits, classes)?;
    let mut out = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(classes) {
        let max = row[rows::argmax(row)].f64();
        let start = out.len();
        out.extend(row.iter().map(|z| (z.f64() - max).exp()));
        let total: f64 = out[start..].iter().sum();
        out[start..].iter_mut().for_each(|p| *p /= total);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, logits};
    use super::*;

    /// Expected: scikit-learn 1.x (`accuracy_score`, `balanced_accuracy_score`, `f1_score`, `log_loss`,
    /// `top_k_accuracy_score`) and numpy for the Brier sum, on the same numbers.
    #[test]
    fn agrees_with_scikit_learn() {
        let (z, y) = logits();
        let predicted = argmax(&z, 5).unwrap();
        let confusion = ConfusionMatrix::new(&predicted, &y, 5).unwrap();
        let p = softmax(&z, 5).unwrap();
        let log_p: Vec<f64> = p.iter().map(|p| p.ln()).collect();
        let found = [
            accuracy(&predicted, &y).unwrap(),
            confusion.balanced_accuracy(),
            confusion.macro_f1(),
            confusion.micro_f1(),
            nll_from_logits(&z, 5, &y).unwrap(),
            nll_from_log_probabilities(&log_p, 5, &y).unwrap(),
            brier(&p, 5, &y).unwrap(),
            top_k_accuracy(&z, 5, &y, 2).unwrap(),
        ];
        let expected = [
            0.565,
            0.564703221989219,
            0.48341503267973857,
            0.565,
            1.1461576544202539,
            1.1461576544202539,
            0.5883390047663493,
            0.745,
        ];
        close(&found, &expected, 1e-13);
        assert_eq!(top_k_accuracy(&z, 5, &y, 1).unwrap(), found[0]);
        assert_eq!(top_k_accuracy(&z, 5, &y, 5).unwrap(), 1.0);
    }

    #[test]
    fn small_confusion_matrix_by_hand() {
        let m = ConfusionMatrix::new(&[0, 1, 1, 2, 0], &[0, 0, 1, 1, 0], 4).unwrap();
        assert_eq!(m.counts(), [2, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(m.recall(), [Some(2.0 / 3.0), Some(0.5), None, None]);
        assert_eq!(m.precision(), [Some(1.0), Some(0.5), Some(0.0), None]);
        assert_eq!(m.f1(), [Some(0.8), Some(0.5), Some(0.0), None]);
        close(&[m.balanced_accuracy(), m.macro_f1(), m.micro_f1()], &[7.0 / 12.0, 1.3 / 3.0, 0.6], 1e-15);
        assert_eq!(m.by_class().accuracy(), 0.6);
        // The third row twice, the last not at all.
        let drawn = ClassCounts::new(&[0, 1, 1, 2, 0], &[0, 0, 1, 1, 0], 4, Some(&[1, 1, 2, 1, 0])).unwrap();
        assert_eq!(drawn.recall(), [Some(0.5), Some(2.0 / 3.0), None, None]);
    }

    #[test]
    fn ties_go_to_the_lower_class() {
        let scores = [1.0f32, 2.0, 2.0, 0.0, 0.0, 0.0];
        assert_eq!(argmax(&scores, 3).unwrap(), [1, 0]);
        let at = |k| top_k_accuracy(&scores, 3, &[2, 1], k).unwrap();
        assert_eq!([at(1), at(2), at(3)], [0.0, 1.0, 1.0]);
    }

    #[test]
    fn extremes_stay_finite_and_zero_probability_is_infinite() {
        assert_eq!(nll_from_logits(&[1e4f32, 0.0, -1e4, 0.0], 2, &[1, 1]).unwrap(), 5e3);
        assert_eq!(nll_from_log_probabilities(&[0.0, f64::NEG_INFINITY], 2, &[0]).unwrap(), 0.0);
        assert_eq!(nll_from_log_probabilities(&[0.0, f64::NEG_INFINITY], 2, &[1]).unwrap(), f64::INFINITY);
        assert_eq!(brier(&[0.0f64, 1.0], 2, &[0]).unwrap(), 2.0);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(argmax::<f32>(&[], 3), Err(Error::Shape { .. })));
        assert!(matches!(accuracy(&[1], &[1, 2]), Err(Error::Shape { .. })));
        assert!(matches!(nll_from_logits(&[0.0, f64::NAN], 2, &[0]), Err(Error::NonFinite { column: 1, .. })));
        assert!(matches!(nll_from_logits(&[0.0f64, 1.0], 2, &[2]), Err(Error::Label { label: 2, row: 0, classes: 2 })));
        assert!(matches!(nll_from_log_probabilities(&[1.5f64, -2.0], 2, &[1]), Err(Error::Parameter { .. })));
        assert!(matches!(brier(&[3.0f64, -2.0], 2, &[1]), Err(Error::Parameter { .. })));
        assert!(matches!(top_k_accuracy(&[0.0f64, 1.0], 2, &[1], 0), Err(Error::Parameter { .. })));
        assert!(matches!(ConfusionMatrix::new(&[5], &[1], 2), Err(Error::Label { label: 5, .. })));
    }
}
