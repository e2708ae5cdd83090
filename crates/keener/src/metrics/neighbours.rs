//! What a classifier without training reads from embeddings: nearest neighbours and nearest class means.

use super::panels::{Prepared, Similarity, mean_row, sweep, top_k};
use super::rows;
use crate::real::Real;
use crate::{Error, Result};

/// How much each neighbour's vote counts.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Vote {
    /// All the same.
    Majority,
    /// `exp(similarity / temperature)`.
    Softmax {
        /// Smaller trusts the nearest more.
        temperature: f64,
    },
}

/// k-nearest-neighbour read-out.
///
/// Weighted votes as in Wu et al., *Unsupervised Feature Learning via Non-Parametric Instance Discrimination* (2018,
/// arXiv 1805.01978); majority votes as in Cover & Hart, *Nearest neighbor pattern classification* (1967). Of equally
/// similar references the one with the lower index is nearer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Neighbours {
    /// How many neighbours vote. Default: 200 (arXiv 1805.01978).
    pub k: usize,
    /// How much their votes count. Default: softmax at temperature 0.07 (arXiv 1805.01978).
    pub vote: Vote,
    /// How embeddings are compared. Default: cosine.
    pub similarity: Similarity,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { k: 200, vote: Vote::Softmax { temperature: 0.07 }, similarity: Similarity::Cosine }
    }
}

impl Neighbours {
    /// Class probabilities `[q, classes]` of queries `[q, dim]`: each class's share of the votes of the k nearest of the
    /// references `[n, dim]`.
    ///
    /// # Errors
    /// `k` outside `1..=n`, a temperature that is not positive, empty or ragged input, labels out of range, non-finite
    /// values, rows of norm zero under cosine.
    pub fn probabilities<T: Real>(
        &self,
        references: &[T],
        labels: &[usize],
        classes: usize,
        queries: &[T],
        dim: usize,
    ) -> Result<Vec<f64>> {
        let n = rows::matrix("references", references, dim)?;
        rows::labels("labels", labels, n, classes)?;
        if self.k == 0 || self.k > n {
            return Err(Error::parameter("k", self.k, format!("1 to {n}, the number of references")));
        }
        if let Vote::Softmax { temperature } = self.vote {
            rows::positive("temperature", temperature)?;
        }
        let centre = mean_row(references, dim);
        let queries = Prepared::new("queries", queries, dim, self.similarity, &centre)?;
        let references = Prepared::new("references", references, dim, self.similarity, &centre)?;
        let votes = sweep(&queries, &references, self.similarity, |_, scores| {
            let mut nearest = Vec::with_capacity(2 * self.k);
            top_k(scores, self.k, None, &mut nearest);
            let best = nearest[0].0.f64();
            let mut row = vec![0.0; classes];
            for (score, j) in nearest {
                row[labels[j]] += match self.vote {
                    Vote::Majority => 1.0,
                    Vote::Softmax { temperature } => ((score.f64() - best) / temperature).exp(),
                };
            }
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= total);
            row
        })?;
        Ok(votes.concat())
    }
}

/// Nearest-class-mean read-out: class means of normalised embeddings, compared by cosine.
///
/// Mensink et al., *Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost* (TPAMI 2013);
/// with normalised embeddings as in Rebuffi et al., *iCaRL* (2016, arXiv 1611.07725).
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMeans {
    means: Vec<f64>,
    classes: usize,
    dim: usize,
}

impl ClassMeans {
    /// Means of embeddings `[n, dim]` with labels in `0..classes`.
    ///
    /// # Errors
    /// Empty or ragged input, labels out of range, non-finite values, rows of norm zero; undefined when a class has no
    /// member or its members cancel out.
    pub fn fit<T: Real>(embeddings: &[T], dim: usize, labels: &[usize], classes: usize) -> Result<Self> {
        let mut sums = ClassSums::new(dim, classes);
        sums.add(embeddings, labels)?;
        sums.means()
    }

    /// The normalised class means `[classes, dim]`.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// Logits `[q, classes]` of queries `[q, dim]`: cosine with each class mean times `scale`.
    ///
    /// # Errors
    /// `scale` that is not positive, empty or ragged queries, non-finite values, rows of norm zero.
    pub fn logits<T: Real>(&self, queries: &[T], scale: f64) -> Result<Vec<f64>> {
        rows::positive("scale", scale)?;
        let means: Vec<T> = self.means.iter().map(|&m| T::of(m)).collect();
        let means = Prepared::new("class means", &means, self.dim, Similarity::Cosine, &[])?;
        let queries = Prepared::new("queries", queries, self.dim, Similarity::Cosine, &[])?;
        let logits = sweep(&queries, &means, Similarity::Cosine, |_, cosines| {
            cosines.iter().map(|c| c.f64() * scale).collect::<Vec<f64>>()
        })?;
        debug_assert!(logits.iter().all(|row| row.len() == self.classes));
        Ok(logits.concat())
    }
}

/// Sums of normalised embeddings by class, on the way to [`ClassMeans`], for embeddings that come block by block.
///
/// ```
/// use keener::metrics::neighbours::{ClassMeans, ClassSums};
/// let mut sums = ClassSums::new(2, 2);
/// sums.add(&[3.0f32, 0.0], &[0])?;
/// sums.add(&[0.0f32, 1.0, 1.0, 1.0], &[1, 1])?;
/// assert_eq!(sums.means()?, ClassMeans::fit(&[3.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], 2, &[0, 1, 1], 2)?);
/// # Ok::<(), keener::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClassSums {
    sums: Vec<f64>,
    members: Vec<usize>,
    dim: usize,
}

impl ClassSums {
    /// No embeddings of width `dim` yet, of `classes` classes.
    pub fn new(dim: usize, classes: usize) -> Self {
        Self { sums: vec![0.0; classes * dim], members: vec![0; classes], dim }
    }

    /// Adds embeddings `[n, dim]`.
    ///
    /// # Errors
    /// As [`ClassMeans::fit`]; nothing is added then.
    pub fn add<T: Real>(&mut self, embeddings: &[T], labels: &[usize]) -> Result<()> {
        let dim = self.dim;
        let n = rows::matrix("embeddings", embeddings, dim)?;
        rows::labels("labels", labels, n, self.members.len())?;
        let (unit, _) = rows::normalised("embeddings", embeddings, dim)?;
        for (row, &y) in unit.chunks_exact(dim).zip(labels) {
            self.sums[y * dim..(y + 1) * dim].iter_mut().zip(row).for_each(|(s, u)| *s += u);
            self.members[y] += 1;
        }
        Ok(())
    }

    /// The means.
    ///
    /// # Errors
    /// Undefined when a class has no member or its members cancel out.
    pub fn means(self) -> Result<ClassMeans> {
        let Self { mut sums, members, dim } = self;
        for (class, row) in sums.chunks_exact_mut(dim).enumerate() {
            let length = rows::norm(row);
            let reason = match members[class] {
                0 => "it has no members",
                // Unit vectors whose sum is rounding noise have no mean direction.
                m if length <= m as f64 * 1e-14 => "its members cancel out",
                _ => {
                    row.iter_mut().for_each(|s| *s /= length);
                    continue;
                }
            };
            return Err(Error::Undefined { what: format!("mean of class {class}"), reason: reason.to_string() });
        }
        Ok(ClassMeans { means: sums, classes: members.len(), dim })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, clusters, labels};
    use super::*;

    /// Expected: scikit-learn's `KNeighborsClassifier(7)`, uniform with Euclidean distance and with weights
    /// `exp(cosine / 0.07)`, and a PyTorch transcription of the class means, on the same numbers.
    #[test]
    fn agrees_with_references() {
        let (y, yq) = (labels(6, 150, 8), labels(8, 40, 9));
        let (x, q) = (clusters(5, &y), clusters(7, &yq));
        let squares = |p: &[f64]| p.iter().map(|p| p * p).sum::<f64>();
        let majority = Neighbours { k: 7, vote: Vote::Majority, similarity: Similarity::Euclidean };
        let p = majority.probabilities(&x, &y, 8, &q, 6).unwrap();
        close(&p[..8], &[0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 3.0].map(|v| v / 7.0), 1e-14);
        close(&[squares(&p)], &[13.714285714285714], 1e-12);
        let p = Neighbours { k: 7, ..Neighbours::default() }.probabilities(&x, &y, 8, &q, 6).unwrap();
        let first =
            [0.0, 0.13640214802849773, 0.0, 0.29093070909578544, 0.0, 0.2678946054911029, 0.0, 0.3047725373846139];
        close(&p[..8], &first, 1e-12);
        close(&[squares(&p)], &[17.540207049123016], 1e-12);
        let logits = ClassMeans::fit(&x, 6, &y, 8).unwrap().logits(&q, 10.0).unwrap();
        close(&logits[..3], &[-6.349813031092224, 6.564479153791855, -8.467921800228089], 1e-12);
        close(&[squares(&logits)], &[10391.555560846504], 1e-12);
    }

    #[test]
    fn one_neighbour_takes_the_lower_index_of_equals() {
        let one = Neighbours { k: 1, vote: Vote::Majority, similarity: Similarity::Cosine };
        let p = one.probabilities(&[1.0f32, 0.0, 2.0, 0.0, 0.0, 1.0], &[2, 0, 1], 3, &[3.0, 0.1], 2).unwrap();
        assert_eq!(p, [0.0, 0.0, 1.0]);
    }

    #[test]
    fn far_and_sharp_votes_stay_finite() {
        let sharp = Neighbours { k: 2, vote: Vote::Softmax { temperature: 1e-3 }, similarity: Similarity::Euclidean };
        let p = sharp.probabilities(&[1e4f64, 0.0, -1e4, 0.0], &[0, 1], 2, &[1.0, 5e6], 2).unwrap();
        close(&p, &[1.0, 0.0], 1e-12);
    }

    #[test]
    fn undefined_and_bad_input() {
        let k = |k| Neighbours { k, ..Neighbours::default() }.probabilities(&[1.0f32, 2.0], &[0, 1], 2, &[1.0], 1);
        assert!(k(2).is_ok());
        assert!(matches!(k(0), Err(Error::Parameter { .. })));
        assert!(matches!(k(3), Err(Error::Parameter { .. })));
        let cold = Neighbours { k: 1, vote: Vote::Softmax { temperature: 0.0 }, ..Neighbours::default() };
        assert!(matches!(cold.probabilities(&[1.0f32], &[0], 1, &[1.0], 1), Err(Error::Parameter { .. })));
        assert!(matches!(ClassMeans::fit(&[1.0f32, 2.0], 1, &[0, 0], 2), Err(Error::Undefined { .. })));
        assert!(matches!(ClassMeans::fit(&[1.0f32, -2.0], 1, &[0, 0], 1), Err(Error::Undefined { .. })));
        assert!(matches!(ClassMeans::fit(&[1.0f32, -2.0], 1, &[0, 1], 1), Err(Error::Label { .. })));
        let means = ClassMeans::fit(&[1.0f32, 0.0, 0.0, 2.0], 2, &[0, 1], 2).unwrap();
        assert_eq!(means.means(), [1.0, 0.0, 0.0, 1.0]);
        assert!(matches!(means.logits(&[1.0f32], 1.0), Err(Error::Shape { .. })));
        assert!(matches!(means.logits(&[1.0f32, 1.0], 0.0), Err(Error::Parameter { .. })));
    }
}
