//! Whether embeddings find others of their class.

use super::panels::{Prepared, Similarity, mean_row, sweep, top_k};
use super::rows;
use crate::real::Real;
use crate::{Error, Result};
use std::collections::HashMap;

/// Retrieval metrics of embeddings with labels.
///
/// Each query ranks the references by similarity; of equally similar references the one with the lower index comes
/// first. Relevant are the references that carry the query's label; R is their number. Queries without any relevant
/// reference are excluded from all means and counted. Labels are any numbers, only equality matters. Work is done in
/// panels of queries against all references; memory is one panel a thread, and only R results a query are sorted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retrieval {
    /// How embeddings are compared. Default: cosine.
    pub similarity: Similarity,
    /// The cut-offs k of recall@k. Default: 1, 2, 4, 8 as in Song et al. (2015, arXiv 1511.06452).
    pub recall_at: Vec<usize>,
}

impl Default for Retrieval {
    fn default() -> Self {
        Self { similarity: Similarity::Cosine, recall_at: vec![1, 2, 4, 8] }
    }
}

/// What [`Retrieval`] reports; means over the queries that have a relevant reference.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RetrievalReport {
    /// `(k, share of queries with a relevant reference among the k nearest)`: recall@k as metric learning uses it, Song
    /// et al., *Deep Metric Learning via Lifted Structured Feature Embedding* (2015, arXiv 1511.06452).
    pub recall_at: Vec<(usize, f64)>,
    /// Share of queries whose nearest reference is relevant.
    pub precision_at_1: f64,
    /// Share of relevant references among the R nearest.
    pub r_precision: f64,
    /// `(1/R) Σ_{i≤R} P(i) [the i-th is relevant]`, P(i) the precision among the i nearest: Musgrave et al., *A Metric
    /// Learning Reality Check* (2020, arXiv 2003.08505), as is R-precision.
    pub map_at_r: f64,
    /// Mean of 1 / rank of the first relevant reference, Voorhees, *The TREC-8 Question Answering Track Report* (1999).
    pub mrr: f64,
    /// Queries that the means are over.
    pub queries: usize,
    /// Queries without a relevant reference.
    pub excluded: usize,
}

/// One query's share in the report.
#[derive(Clone, Copy)]
struct Outcome {
    first: usize,
    r_precision: f64,
    map_at_r: f64,
}

impl Retrieval {
    /// Each row of the embeddings `[n, dim]` queries all the others.
    ///
    /// # Errors
    /// Empty or ragged input, one label a row missing, non-finite values, rows of norm zero under cosine, a cut-off 0;
    /// undefined when no class has two members.
    pub fn leave_one_out<T: Real>(&self, embeddings: &[T], dim: usize, labels: &[usize]) -> Result<RetrievalReport> {
        let n = rows::matrix("embeddings", embeddings, dim)?;
        rows::same_length("labels", labels.len(), n)?;
        let all = Prepared::new("embeddings", embeddings, dim, self.similarity, &mean_row(embeddings, dim))?;
        self.report(&all, labels, &all, labels, true)
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
        let centre = mean_row(references, dim);
        let queries = Prepared::new("queries", queries, dim, self.similarity, &centre)?;
        rows::same_length("query labels", query_labels.len(), queries.rows)?;
        let references = Prepared::new("references", references, dim, self.similarity, &centre)?;
        self.report(&queries, query_labels, &references, reference_labels, false)
    }

    fn report<T: Real>(
        &self,
        queries: &Prepared<T>,
        query_labels: &[usize],
        references: &Prepared<T>,
        reference_labels: &[usize],
        leave_one_out: bool,
    ) -> Result<RetrievalReport> {
        if self.recall_at.contains(&0) {
            return Err(Error::parameter("recall_at", 0, "cut-offs of at least 1"));
        }
        let mut members: HashMap<usize, usize> = HashMap::new();
        reference_labels.iter().for_each(|&y| *members.entry(y).or_default() += 1);
        let outcomes = sweep(queries, references, self.similarity, |query, scores| {
            let own = leave_one_out.then_some(query);
            let relevant = |j: usize| reference_labels[j] == query_labels[query] && Some(j) != own;
            let r = members.get(&query_labels[query]).copied().unwrap_or(0) - usize::from(leave_one_out);
            if r == 0 {
                return None;
            }
            Some(outcome(scores, own, relevant, r))
        })?;
        let known: Vec<Outcome> = outcomes.iter().flatten().copied().collect();
        if known.is_empty() {
            return Err(Error::Undefined {
                what: "retrieval".to_string(),
                reason: "no query has a reference of its class".to_string(),
            });
        }
        let mean = |f: &dyn Fn(&Outcome) -> f64| known.iter().map(f).sum::<f64>() / known.len() as f64;
        let recall = |k: usize| mean(&|o| f64::from(o.first <= k));
        Ok(RetrievalReport {
            recall_at: self.recall_at.iter().map(|&k| (k, recall(k))).collect(),
            precision_at_1: recall(1),
            r_precision: mean(&|o| o.r_precision),
            map_at_r: mean(&|o| o.map_at_r),
            mrr: mean(&|o| 1.0 / o.first as f64),
            queries: known.len(),
            excluded: outcomes.len() - known.len(),
        })
    }
}

/// Rank of the first relevant reference, and the two means over the R nearest.
fn outcome<T: Real>(scores: &[T], own: Option<usize>, relevant: impl Fn(usize) -> bool, r: usize) -> Outcome {
    let mut nearest = Vec::with_capacity(2 * r);
    top_k(scores, r, own, &mut nearest);
    let (mut found, mut sum, mut first) = (0, 0.0, None);
    for (i, &(_, j)) in nearest.iter().enumerate() {
        if relevant(j) {
            found += 1;
            sum += found as f64 / (i + 1) as f64;
            first.get_or_insert(i + 1);
        }
    }
    let first = first.unwrap_or_else(|| rank_of_first(scores, own, relevant));
    Outcome { first, r_precision: f64::from(found) / r as f64, map_at_r: sum / r as f64 }
}

/// Rank of the best relevant reference by counting what comes before it.
fn rank_of_first<T: Real>(scores: &[T], own: Option<usize>, relevant: impl Fn(usize) -> bool) -> usize {
    let mut best: Option<(T, usize)> = None;
    for (j, &s) in scores.iter().enumerate() {
        if best.is_none_or(|(b, _)| s > b) && relevant(j) {
            best = Some((s, j));
        }
    }
    let Some((s, at)) = best else { return usize::MAX };
    1 + scores.iter().enumerate().filter(|&(j, &x)| Some(j) != own && (x > s || (x == s && j < at))).count()
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
                close(&[r.precision_at_1, r.r_precision, r.map_at_r], &expected[..3], 1e-12);
                // There, reciprocal ranks are averaged in single precision.
                close(&[r.mrr], &expected[3..], 1e-7);
            };
            let a = with(similarity).leave_one_out(&x, 6, &y).unwrap();
            agrees(&a, &loo[k]);
            assert_eq!((a.queries, a.excluded), (148, 2));
            let b = with(similarity).against(&q, &yq, &x, &y, 6).unwrap();
            agrees(&b, &against[k]);
            assert_eq!((b.queries, b.excluded), (35, 5));
        }
    }

    /// Full stable sort of every query's references.
    fn brute(x: &[f32], y: &[usize], dim: usize, ks: &[usize]) -> RetrievalReport {
        let n = y.len();
        let (mut recall, mut sums, mut queries) = (vec![0.0; ks.len()], [0.0; 4], 0);
        for i in 0..n {
            let distance = |j: usize| -> f64 {
                (0..dim).map(|k| (f64::from(x[i * dim + k]) - f64::from(x[j * dim + k])).powi(2)).sum()
            };
            let mut order: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            let hits: Vec<bool> = order.iter().map(|&j| y[j] == y[i]).collect();
            let r = hits.iter().filter(|h| **h).count();
            if r == 0 {
                continue;
            }
            queries += 1;
            let first = hits.iter().position(|h| *h).unwrap();
            ks.iter().zip(&mut recall).for_each(|(&k, s)| *s += f64::from(first < k));
            let precision = |m: usize| hits[..m].iter().filter(|h| **h).count() as f64 / m as f64;
            sums[0] += f64::from(first == 0);
            sums[1] += precision(r);
            sums[2] += (1..=r).filter(|&m| hits[m - 1]).map(precision).sum::<f64>() / r as f64;
            sums[3] += 1.0 / (first + 1) as f64;
        }
        let m = queries as f64;
        RetrievalReport {
            recall_at: ks.iter().zip(recall).map(|(&k, s)| (k, s / m)).collect(),
            precision_at_1: sums[0] / m,
            r_precision: sums[1] / m,
            map_at_r: sums[2] / m,
            mrr: sums[3] / m,
            queries,
            excluded: n - queries,
        }
    }

    /// Rows on a coarse grid, so that ties abound and products are exact; more rows than a panel holds.
    #[test]
    fn agrees_with_a_full_sort_with_many_ties() {
        let x: Vec<f32> = uniform(31, 600 * 3).iter().map(|u| (4.0 * u).floor() as f32).collect();
        // Centring must stay exact as well: mirror the grid around its middle.
        let x: Vec<f32> = x.iter().copied().chain(x.iter().map(|v| 3.0 - v)).collect();
        let y = labels(32, 1200, 300);
        let settings = Retrieval { similarity: Similarity::Euclidean, recall_at: vec![1, 2, 10, 100, 5000] };
        let (found, expected) = (settings.leave_one_out(&x, 3, &y).unwrap(), brute(&x, &y, 3, &settings.recall_at));
        let figures = |r: &RetrievalReport| {
            let mut all = vec![r.precision_at_1, r.r_precision, r.map_at_r, r.mrr, r.queries as f64, r.excluded as f64];
            all.extend(r.recall_at.iter().map(|x| x.1));
            all
        };
        close(&figures(&found), &figures(&expected), 1e-12);
        assert_eq!(found.recall_at[4], (5000, 1.0));
    }

    #[test]
    fn of_equal_references_the_lower_index_comes_first() {
        // All references equal: the ranking is their order.
        let report = |labels: [usize; 3]| {
            with(Similarity::Cosine).against(&[1.0f32, 1.0], &[1], &[2.0, 2.0, 2.0, 2.0, 2.0, 2.0], &labels, 2).unwrap()
        };
        let rank = |labels| (1.0 / report(labels).mrr).round();
        assert_eq!([rank([1, 0, 0]), rank([0, 1, 0]), rank([0, 0, 1])], [1.0, 2.0, 3.0]);
        assert_eq!(report([0, 1, 1]).map_at_r, 0.25);
        assert_eq!(report([0, 1, 1]).r_precision, 0.5);
        assert_eq!(report([1, 1, 0]).map_at_r, 1.0);
    }

    #[test]
    fn threads_do_not_matter() {
        let y = labels(41, 900, 20);
        let x: Vec<f32> = clusters(42, &y).iter().map(|v| *v as f32).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| with(Similarity::Cosine).leave_one_out(&x, 6, &y).unwrap())
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
        let zero = Retrieval { recall_at: vec![0], ..r.clone() };
        assert!(matches!(zero.leave_one_out(&[1.0f32, 2.0], 1, &[0, 0]), Err(Error::Parameter { .. })));
        let overflow = with(Similarity::InnerProduct).leave_one_out(&[1e30f32, 2e30], 1, &[0, 0]);
        assert!(matches!(overflow, Err(Error::NonFinite { .. })));
        let overflow = with(Similarity::Euclidean).leave_one_out(&[1e30f32, 1e30, -1e30], 1, &[0, 0, 1]);
        assert!(matches!(overflow, Err(Error::NonFinite { .. })));
    }
}
