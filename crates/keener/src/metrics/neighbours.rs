//! What a classifier without training reads from embeddings: its nearest neighbours. Nearest class means are
//! [`crate::estimate::PrototypeClassifier`].

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

#[cfg(test)]
mod tests {
    use super::super::testing::{close, clusters, labels};
    use super::*;

    /// Expected: scikit-learn's `KNeighborsClassifier(7)`, uniform with Euclidean distance and with weights
    /// `exp(cosine / 0.07)`, on the same numbers.
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
    }
}
