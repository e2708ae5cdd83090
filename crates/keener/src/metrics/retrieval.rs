//! Whether embeddings find others of their class.

use super::measure::Measure;
use super::panels::{Similarity, mean_row};
use super::ranks::{Grouped, ranks};
use super::rows;
use crate::real::Real;
use crate::{Error, Result};

/// Retrieval metrics of embeddings with labels.
///
/// Each query ranks the references by similarity; of equally similar references the one with the lower index comes
/// first. Relevant are the references that carry the query's label; R is their number. Queries without any relevant
/// reference are excluded from all means and counted. Labels are any numbers, only equality matters. Scores are computed
/// tile by tile and never stored: irrelevant references are counted, not sorted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retrieval {
    /// How embeddings are compared. Default: cosine.
    pub similarity: Similarity,
    /// What is reported. Default: recall@1, 2, 4, 8 as in Song et al. (2015, arXiv 1511.06452), R-precision, MAP@R and MRR.
    /// [`Measure::Map`] and [`Measure::Ndcg`] look at whole rankings and take about twice as long.
    pub measures: Vec<Measure>,
}

impl Default for Retrieval {
    fn default() -> Self {
        let mut measures: Vec<Measure> = [1, 2, 4, 8].map(Measure::RecallAt).to_vec();
        measures.extend([Measure::RPrecision, Measure::MapAtR, Measure::Mrr]);
        Self { similarity: Similarity::Cosine, measures }
    }
}

/// What [`Retrieval`] reports.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RetrievalReport {
    /// What was asked for.
    pub measures: Vec<Measure>,
    /// The mean of each measure over the queries that have a relevant reference.
    pub means: Vec<f64>,
    /// The measures of each of these queries `[queries.len(), measures.len()]`, for intervals.
    #[serde(skip)]
    pub values: Vec<f64>,
    /// These queries, upwards.
    #[serde(skip)]
    pub queries: Vec<usize>,
    /// Queries without a relevant reference.
    pub excluded: usize,
}

impl RetrievalReport {
    /// The mean of one measure, if it was asked for.
    pub fn mean(&self, measure: Measure) -> Option<f64> {
        self.measures.iter().position(|m| *m == measure).map(|k| self.means[k])
    }
}

impl Retrieval {
    /// These measures by cosine.
    pub fn of(measures: impl Into<Vec<Measure>>) -> Self {
        Self { similarity: Similarity::Cosine, measures: measures.into() }
    }

    /// Each row of the embeddings `[n, dim]` queries all the others.
    ///
    /// # Errors
    /// Empty or ragged input, one label a row missing, non-finite values, rows of norm zero under cosine, a cut-off 0;
    /// undefined when no class has two members.
    pub fn leave_one_out<T: Real>(&self, embeddings: &[T], dim: usize, labels: &[usize]) -> Result<RetrievalReport> {
        let n = rows::matrix("embeddings", embeddings, dim)?;
        rows::same_length("labels", labels.len(), n)?;
        let all = Grouped::new("embeddings", embeddings, dim, labels, self.similarity, &self.centre(embeddings, dim))?;
        self.report(&all, &all, true)
    }

    /// Each row of the queries `[q, dim]` is compared with every row of the references `[n, dim]`.
    ///
    /// # Errors
    /// As [`Retrieval::leave_one_out`]; undefined when no query's label occurs among the references.
    pub fn against<T: Real>(
        &self,
        queries: &[T],
        query_labels: &[usize],
        references: &[T],
        reference_labels: &[usize],
        dim: usize,
    ) -> Result<RetrievalReport> {
        let n = rows::matrix("references", references, dim)?;
        rows::same_length("reference labels", reference_labels.len(), n)?;
        let q = rows::matrix("queries", queries, dim)?;
        rows::same_length("query labels", query_labels.len(), q)?;
        let centre = self.centre(references, dim);
        let queries = Grouped::new("queries", queries, dim, query_labels, self.similarity, &centre)?;
        let references = Grouped::new("references", references, dim, reference_labels, self.similarity, &centre)?;
        self.report(&queries, &references, false)
    }

    fn centre<T: Real>(&self, references: &[T], dim: usize) -> Vec<f64> {
        if self.similarity == Similarity::Euclidean { mean_row(references, dim) } else { Vec::new() }
    }

    fn report<T: Real>(&self, queries: &Grouped<T>, references: &Grouped<T>, itself: bool) -> Result<RetrievalReport> {
        self.measures.iter().try_for_each(Measure::check)?;
        let depth = |r: usize| self.measures.iter().map(|m| m.depth(r)).max().unwrap_or(1);
        let found = ranks(queries, references, itself, self.similarity, depth, |_, r, ranks| {
            self.measures.iter().map(|m| m.of_ranks(ranks, r)).collect::<Box<[f64]>>()
        })?;
        if found.is_empty() {
            return Err(Error::Undefined {
                what: "retrieval".to_string(),
                reason: "no query has a reference of its class".to_string(),
            });
        }
        let n = found.len() as f64;
        let mean = |k: usize| found.iter().map(|(_, values)| values[k]).sum::<f64>() / n;
        Ok(RetrievalReport {
            means: (0..self.measures.len()).map(mean).collect(),
            measures: self.measures.clone(),
            excluded: queries.rows() - found.len(),
            queries: found.iter().map(|(query, _)| *query).collect(),
            values: found.iter().flat_map(|(_, values)| values.iter().copied()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, clusters, labels, uniform};
    use super::*;

    fn with(similarity: Similarity) -> Retrieval {
        Retrieval { similarity, ..Retrieval::default() }
    }

    /// 150 rows in 8 classes, two rows being alone in theirs; 40 queries, 5 of them of a class that is not there.
    fn case() -> (Vec<f64>, Vec<usize>, Vec<f64>, Vec<usize>) {
        let (mut y, yq) = (labels(6, 150, 8), labels(8, 40, 9));
        let (x, q) = (clusters(5, &y), clusters(7, &yq));
        (y[7], y[9]) = (50, 51);
        (x, y, q, yq)
    }

    /// Expected: `AccuracyCalculator` of pytorch-metric-learning 2.9 with `CustomKNN` over its cosine, squared Euclidean
    /// and dot-product distances on the same numbers: precision at 1, R-precision, MAP@R, mean reciprocal rank.
    #[test]
    fn agrees_with_pytorch_metric_learning() {
        let (x, y, q, yq) = case();
        let loo = [
            [0.3783783783783784, 0.25976938902635494, 0.11541852153774533, 0.5435495376586914],
            [0.38513513513513514, 0.2528683592925079, 0.11102925576271386, 0.5552393794059753],
            [0.3783783783783784, 0.2562472357363998, 0.11609745814311846, 0.5427451729774475],
        ];
        let against = [
            [0.22857142857142856, 0.2755678156430036, 0.11629790209563338, 0.4942176938056946],
            [0.3142857142857143, 0.2653483275287786, 0.11378128306336968, 0.5241609811782837],
            [0.2857142857142857, 0.2715510638067029, 0.11203315603935163, 0.480028361082077],
        ];
        let similarities = [Similarity::Cosine, Similarity::Euclidean, Similarity::InnerProduct];
        for (k, similarity) in similarities.into_iter().enumerate() {
            let agrees = |r: &RetrievalReport, expected: &[f64; 4]| {
                let mean = |measure| r.mean(measure).unwrap();
                let three = [Measure::RecallAt(1), Measure::RPrecision, Measure::MapAtR].map(mean);
                close(&three, &expected[..3], 1e-12);
                // There, reciprocal ranks are averaged in single precision.
                close(&[mean(Measure::Mrr)], &expected[3..], 1e-7);
            };
            let a = with(similarity).leave_one_out(&x, 6, &y).unwrap();
            agrees(&a, &loo[k]);
            assert_eq!((a.queries.len(), a.excluded), (148, 2));
            let b = with(similarity).against(&q, &yq, &x, &y, 6).unwrap();
            agrees(&b, &against[k]);
            assert_eq!((b.queries.len(), b.excluded), (35, 5));
        }
    }

    /// Every measure, with cut-offs that reach beyond the last reference.
    fn every_measure() -> Vec<Measure> {
        let cut_offs = [1, 2, 10, 100, 5000].into_iter();
        let mut all: Vec<Measure> = cut_offs
            .flat_map(|k| [Measure::RecallAt(k), Measure::FoundAt(k), Measure::PrecisionAt(k), Measure::NdcgAt(k)])
            .collect();
        all.extend([Measure::RPrecision, Measure::MapAtR, Measure::Mrr, Measure::Map, Measure::Ndcg]);
        all
    }

    /// Means by a full stable sort of every query's references, from the list of hits.
    fn brute(x: &[f32], y: &[usize], dim: usize, measures: &[Measure]) -> (Vec<f64>, usize) {
        let n = y.len();
        let (mut sums, mut queries) = (vec![0.0; measures.len()], 0);
        for i in 0..n {
            let distance = |j: usize| -> f64 {
                (0..dim).map(|k| (f64::from(x[i * dim + k]) - f64::from(x[j * dim + k])).powi(2)).sum()
            };
            let mut order: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            let hits: Vec<f64> = order.iter().map(|&j| f64::from(y[j] == y[i])).collect();
            let r = hits.iter().sum::<f64>();
            if r == 0.0 {
                continue;
            }
            queries += 1;
            let first = hits.iter().position(|h| *h > 0.0).unwrap() + 1;
            let mut before = vec![0.0];
            hits.iter().for_each(|hit| before.push(before[before.len() - 1] + hit));
            let found = |k: usize| before[k.min(n - 1)];
            let average = |k: usize| (1..=k.min(n - 1)).map(|m| hits[m - 1] * found(m) / m as f64).sum::<f64>() / r;
            let gains =
                |of: &dyn Fn(usize) -> f64, k: usize| (0..k).map(|m| of(m) / (m as f64 + 2.0).log2()).sum::<f64>();
            let ndcg = |k: usize| {
                gains(&|m| hits.get(m).copied().unwrap_or(0.0), k) / gains(&|m| f64::from((m as f64) < r), k)
            };
            for (sum, measure) in sums.iter_mut().zip(measures) {
                *sum += match *measure {
                    Measure::RecallAt(k) => f64::from(first <= k),
                    Measure::FoundAt(k) => found(k) / r,
                    Measure::PrecisionAt(k) => found(k) / k as f64,
                    Measure::NdcgAt(k) => ndcg(k),
                    Measure::RPrecision => found(r as usize) / r,
                    Measure::MapAtR => average(r as usize),
                    Measure::Mrr => 1.0 / first as f64,
                    Measure::Map => average(n - 1),
                    Measure::Ndcg => ndcg(n - 1),
                };
            }
        }
        (sums.iter().map(|s| s / f64::from(queries)).collect(), n - queries as usize)
    }

    /// Rows on a coarse grid, so that ties abound and products are exact; several panels and tiles.
    #[test]
    fn agrees_with_a_full_sort_with_many_ties() {
        let x: Vec<f32> = uniform(31, 600 * 3).iter().map(|u| (4.0 * u).floor() as f32).collect();
        // Centring must stay exact as well: mirror the grid around its middle.
        let x: Vec<f32> = x.iter().copied().chain(x.iter().map(|v| 3.0 - v)).collect();
        for classes in [2, 300] {
            let y = labels(32, 1200, classes);
            let settings = Retrieval { similarity: Similarity::Euclidean, measures: every_measure() };
            let found = settings.leave_one_out(&x, 3, &y).unwrap();
            let (expected, excluded) = brute(&x, &y, 3, &settings.measures);
            close(&found.means, &expected, 1e-12);
            assert_eq!((found.excluded, found.queries.len()), (excluded, 1200 - excluded));
            assert_eq!(found.mean(Measure::RecallAt(5000)), Some(1.0));
            // What is asked for together does not change what is found.
            for (measure, mean) in settings.measures.iter().zip(&found.means) {
                let alone = Retrieval { measures: vec![*measure], ..settings.clone() };
                assert_eq!(alone.leave_one_out(&x, 3, &y).unwrap().means, [*mean], "{measure}");
            }
        }
    }

    #[test]
    fn of_equal_references_the_lower_index_comes_first() {
        // All references equal: the ranking is their order.
        let value = |labels: [usize; 3], measure| {
            let settings = Retrieval::of([measure]);
            settings.against(&[1.0f32, 1.0], &[1], &[2.0, 2.0, 2.0, 2.0, 2.0, 2.0], &labels, 2).unwrap().means[0]
        };
        let rank = |labels| (1.0 / value(labels, Measure::Mrr)).round();
        assert_eq!([rank([1, 0, 0]), rank([0, 1, 0]), rank([0, 0, 1])], [1.0, 2.0, 3.0]);
        assert_eq!(value([0, 1, 1], Measure::MapAtR), 0.25);
        assert_eq!(value([0, 1, 1], Measure::RPrecision), 0.5);
        assert_eq!(value([1, 1, 0], Measure::MapAtR), 1.0);
    }

    /// Copies of one row under two labels, in different tiles and at their edges: ranks follow the indices alone.
    #[test]
    fn copies_tie_across_tiles() {
        for dim in [1, 7, 128] {
            for n in [513, 1100] {
                let row: Vec<f32> = uniform(33, dim).iter().map(|u| *u as f32 - 0.3).collect();
                let copies: Vec<f32> = (0..n).flat_map(|_| row.clone()).collect();
                let queries: Vec<f32> = uniform(34, 20 * dim).iter().map(|u| *u as f32 - 0.4).collect();
                for similarity in [Similarity::Cosine, Similarity::InnerProduct, Similarity::Euclidean] {
                    let settings = Retrieval { similarity, measures: vec![Measure::Mrr, Measure::PrecisionAt(200)] };
                    // The last row and every third are relevant, others lie in between.
                    let y: Vec<usize> = (0..n).map(|j| usize::from(j + 1 == n || j % 3 == 2)).collect();
                    let found = settings.against(&queries, &[1; 20], &copies, &y, dim).unwrap();
                    close(&found.means, &[1.0 / 3.0, 66.0 / 200.0], 1e-15);
                }
            }
        }
    }

    #[test]
    fn threads_do_not_matter() {
        let y = labels(41, 900, 20);
        let x: Vec<f32> = clusters(42, &y).iter().map(|v| *v as f32).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Retrieval::of(every_measure()).leave_one_out(&x, 6, &y).unwrap())
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn undefined_and_bad_input() {
        let r = Retrieval::default();
        assert!(matches!(r.leave_one_out(&[1.0f32, 0.0, 0.0, 1.0], 2, &[0, 1]), Err(Error::Undefined { .. })));
        assert!(matches!(r.leave_one_out(&[1.0f32, 0.0, 0.0, 0.0], 2, &[0, 0]), Err(Error::Undefined { .. })));
        assert!(matches!(r.leave_one_out(&[1.0f32, 0.0, 0.0, 1.0], 2, &[0]), Err(Error::Shape { .. })));
        assert!(matches!(r.leave_one_out(&[1.0f32, f32::NAN], 1, &[0, 0]), Err(Error::NonFinite { row: 1, .. })));
        assert!(matches!(r.against(&[1.0f32, 2.0, 3.0], &[0], &[1.0, 2.0], &[0], 2), Err(Error::Shape { .. })));
        let zero = Retrieval::of([Measure::PrecisionAt(0)]);
        assert!(matches!(zero.leave_one_out(&[1.0f32, 2.0], 1, &[0, 0]), Err(Error::Parameter { .. })));
        let overflow = with(Similarity::InnerProduct).leave_one_out(&[1e30f32, 2e30], 1, &[0, 0]);
        assert!(matches!(overflow, Err(Error::NonFinite { .. })));
        let overflow = with(Similarity::Euclidean).leave_one_out(&[1e30f32, 1e30, -1e30], 1, &[0, 0, 1]);
        assert!(matches!(overflow, Err(Error::NonFinite { .. })));
    }
}
