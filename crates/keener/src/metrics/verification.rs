//! Whether embeddings tell pairs of one class from pairs of two: ROC, equal error rate, true accepts at few false ones.
//!
//! Every pair is scored once and none is kept but those of one class: their scores, sorted, are the thresholds at which the
//! ROC curve rises, and each pair of two classes is only counted between them. The figures are therefore exactly those
//! of sorting all pairs.

use super::ladder::Ladder;
use super::pairs::{Pairs, downwards, steps};
use super::panels::{Similarity, mean_row};
use super::ranking::{Curve, Step};
use super::ranks::Grouped;
use super::roc::{self, AtThreshold, RocPoint};
use super::rows;
use crate::real::Real;
use crate::{Error, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Verification of pairs of embeddings.
///
/// A pair is positive where both labels are equal. Within one set each pair of two different rows counts once.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Verification {
    /// How embeddings are compared. Default: cosine.
    pub similarity: Similarity,
    /// False accept rates at which the true accept rate is reported. Default: 1e-2, 1e-3, 1e-4, as face verification has
    /// them (Maze et al., *IARPA Janus Benchmark – C*, ICB 2018).
    pub far: Vec<f64>,
    /// Most pairs; where there are more, a seeded sample of the rows (of the queries, between two sets) is taken.
    /// Default: 2²⁶, all pairs of 11,585 rows.
    pub most_pairs: u64,
    /// Most positive pairs, of which scores and counts are kept (at 12 bytes in `f32`); a sample is taken as above.
    /// Default: 2²³.
    pub most_positives: u64,
    /// Fixes the sample. Default: 0.
    pub seed: u64,
    /// Points of the ROC curve. Default: 400.
    pub points: usize,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            similarity: Similarity::Cosine,
            far: vec![1e-2, 1e-3, 1e-4],
            most_pairs: 1 << 26,
            most_positives: 1 << 23,
            seed: 0,
            points: 400,
        }
    }
}

/// What [`Verification`] reports.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationReport {
    /// Area under the ROC curve, ties counting one half.
    pub auroc: f64,
    /// See [`roc::equal_error_rate`].
    pub equal_error_rate: AtThreshold,
    /// The true accept rate at each of [`Verification::far`]; see [`roc::true_positive_rate_at`].
    pub true_accept_rate: Vec<(f64, AtThreshold)>,
    /// The ROC curve.
    pub curve: Vec<RocPoint>,
    /// Pairs of one class.
    pub positives: u64,
    /// Pairs of two classes.
    pub negatives: u64,
    /// Rows (queries, between two sets) that took part, and of how many.
    pub rows: (usize, usize),
    coarse: Coarse,
}

impl VerificationReport {
    /// AUROC, equal error rate and true accept rates when row i of those that took part counts `drawn[i]` times, for
    /// [`super::bootstrap::Bootstrap::intervals`] over [`VerificationReport::rows`].0 rows.
    ///
    /// Within one set a pair counts `drawn[i] + drawn[j] − 1` times: the first order of `drawn[i] · drawn[j]`, which the figures' spread
    /// depends on (Hájek's projection; Arcones & Giné, *On the bootstrap of U and V statistics*, Annals of Statistics, 1992);
    /// between two sets pairs follow their query (the subset bootstrap of Bolle, Ratha & Pankanti, CVIU 2004). Only counts
    /// between some 60 thresholds are kept for each row, so the change that the draw makes to this coarse curve is added to the exact figure.
    pub fn figures(&self, drawn: &[u32]) -> Vec<f64> {
        let found = self.coarse.figures(&self.coarse.steps(drawn), &self.true_accept_rate);
        let exact = [self.auroc, self.equal_error_rate.value].into_iter();
        let exact = exact.chain(self.true_accept_rate.iter().map(|(_, at)| at.value));
        exact
            .zip(found)
            .zip(&self.coarse.whole)
            .map(|((exact, now), whole)| (exact + now - whole).clamp(0.0, 1.0))
            .collect()
    }
}

/// Counts of each row's pairs between a few thresholds.
#[derive(Debug, Clone, PartialEq)]
struct Coarse {
    thresholds: Vec<f64>,
    /// Negatives and positives of each row above the first threshold, between the first two, … `[rows, thresholds + 1, 2]`.
    counts: Vec<u32>,
    /// Whether each pair is counted at both of its rows.
    twice: bool,
    /// The figures with every row once.
    whole: Vec<f64>,
}

impl Coarse {
    fn steps(&self, drawn: &[u32]) -> Vec<Step> {
        let width = 2 * (self.thresholds.len() + 1);
        let mut sums = vec![0i64; width];
        for (row, times) in self.counts.chunks_exact(width).zip(drawn) {
            // With every pair at both of its rows, Σ (times_i − 1/2) over both is times_i + times_j − 1.
            let weight = if self.twice { 2 * i64::from(*times) - 1 } else { i64::from(*times) };
            sums.iter_mut().zip(row).for_each(|(s, count)| *s += weight * i64::from(*count));
        }
        let mut last = Step::NONE;
        let lowest = f64::NEG_INFINITY;
        let step = |(pair, threshold): (&[i64], f64)| {
            let [negatives, positives] = [pair[0], pair[1]].map(|s| (if self.twice { s / 2 } else { s }).max(0) as u64);
            last = Step { threshold, negatives: last.negatives + negatives, positives: last.positives + positives };
            last
        };
        sums.chunks_exact(2).zip(self.thresholds.iter().copied().chain([lowest])).map(step).collect()
    }

    fn figures(&self, steps: &[Step], rates: &[(f64, AtThreshold)]) -> Vec<f64> {
        let curve = Curve::of(steps.iter().copied());
        let all = || steps.iter().copied();
        let mut found = vec![curve.auroc(), roc::equal_error(all(), &curve.totals).value];
        found.extend(rates.iter().map(|(rate, _)| roc::interpolated_at(all(), &curve.totals, *rate)));
        found
    }
}

impl Verification {
    /// All pairs of two different rows of the embeddings `[n, dim]`.
    ///
    /// # Errors
    /// Empty or ragged input, one label a row missing, non-finite values, rows of norm zero under cosine, a rate outside
    /// [0, 1], fewer than two points; undefined without positive or without negative pairs.
    pub fn within<T: Real>(&self, embeddings: &[T], dim: usize, labels: &[usize]) -> Result<VerificationReport> {
        self.check()?;
        let n = rows::matrix("embeddings", embeddings, dim)?;
        rows::same_length("labels", labels.len(), n)?;
        let pairs = |n: usize| n as u64 * (n as u64 - 1) / 2;
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        let positives: u64 = sorted.chunk_by(|a, b| a == b).map(|class| pairs(class.len())).sum();
        let share = self.share(pairs(n), positives).sqrt();
        let sample = self.sample(n, share);
        let labels: Vec<usize> = sample.iter().map(|i| labels[*i]).collect();
        let chosen: Vec<T> = sample.iter().flat_map(|i| &embeddings[i * dim..(i + 1) * dim]).copied().collect();
        let all = Grouped::new("embeddings", &chosen, dim, &labels, self.similarity, &self.centre(&chosen, dim))?;
        drop(chosen);
        self.report(&all, &all, true, n)
    }

    /// All pairs of a row of the queries `[q, dim]` and a row of the references `[n, dim]`.
    ///
    /// # Errors
    /// As [`Verification::within`].
    pub fn between<T: Real>(
        &self,
        queries: &[T],
        query_labels: &[usize],
        references: &[T],
        reference_labels: &[usize],
        dim: usize,
    ) -> Result<VerificationReport> {
        self.check()?;
        let n = rows::matrix("references", references, dim)?;
        rows::same_length("reference labels", reference_labels.len(), n)?;
        let q = rows::matrix("queries", queries, dim)?;
        rows::same_length("query labels", query_labels.len(), q)?;
        let centre = self.centre(references, dim);
        let references = Grouped::new("references", references, dim, reference_labels, self.similarity, &centre)?;
        let positives: u64 = query_labels.iter().map(|y| references.of_class(*y).len() as u64).sum();
        let sample = self.sample(q, self.share(q as u64 * n as u64, positives));
        let labels: Vec<usize> = sample.iter().map(|i| query_labels[*i]).collect();
        let chosen: Vec<T> = sample.iter().flat_map(|i| &queries[i * dim..(i + 1) * dim]).copied().collect();
        let chosen = Grouped::new("queries", &chosen, dim, &labels, self.similarity, &centre)?;
        self.report(&chosen, &references, false, q)
    }

    fn check(&self) -> Result<()> {
        self.far.iter().try_for_each(|rate| roc::check_rate(*rate))?;
        roc::check_points(self.points)
    }

    fn centre<T: Real>(&self, references: &[T], dim: usize) -> Vec<f64> {
        if self.similarity == Similarity::Euclidean { mean_row(references, dim) } else { Vec::new() }
    }

    /// The share of the pairs that the limits allow.
    fn share(&self, pairs: u64, positives: u64) -> f64 {
        let part = |most: u64, all: u64| if all > most { most as f64 / all as f64 } else { 1.0 };
        part(self.most_pairs, pairs).min(part(self.most_positives, positives))
    }

    fn sample(&self, n: usize, share: f64) -> Vec<usize> {
        let take = ((n as f64 * share) as usize).clamp(1, n);
        if take == n {
            return (0..n).collect();
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut chosen = rand::seq::index::sample(&mut random, n, take).into_vec();
        chosen.sort_unstable();
        chosen
    }

    fn report<T: Real>(
        &self,
        queries: &Grouped<T>,
        references: &Grouped<T>,
        itself: bool,
        of: usize,
    ) -> Result<VerificationReport> {
        let pairs = Pairs { queries, references, itself, similarity: self.similarity };
        let mut sorted = pairs.positives()?;
        sorted.par_sort_unstable_by(downwards);
        let negatives = pairs.count() - sorted.len() as u64;
        for (count, what) in [(sorted.len() as u64, "positive"), (negatives, "negative")] {
            if count == 0 {
                let reason = format!("there are no {what} pairs");
                return Err(Error::Undefined { what: "verification".to_string(), reason });
            }
        }
        let between = pairs.between(&sorted)?;
        let steps = || steps(&sorted, &between);
        let curve = Curve::of(steps());
        let totals = curve.totals;
        let at = |rate: &f64| (*rate, roc::true_positives_at(steps(), &totals, *rate));
        let rates: Vec<(f64, AtThreshold)> = self.far.iter().map(at).collect();
        let thresholds = self.thresholds(steps(), &totals);
        let few = Ladder::of_scores(thresholds.iter().map(|t| T::of(*t)).collect());
        let mut coarse = Coarse { thresholds, counts: pairs.by_row(&few)?, twice: itself, whole: Vec::new() };
        coarse.whole = coarse.figures(&coarse.steps(&vec![1; queries.rows()]), &rates);
        Ok(VerificationReport {
            auroc: curve.auroc(),
            equal_error_rate: roc::equal_error(steps(), &totals),
            true_accept_rate: rates,
            curve: roc::thinned(steps(), &totals, self.points),
            positives: totals.positives,
            negatives: totals.negatives,
            rows: (queries.rows(), of),
            coarse,
        })
    }

    /// Thresholds, downwards, at which a coarse curve passes rates that matter: those asked for and their neighbours, and a
    /// grid over both axes.
    fn thresholds(&self, steps: impl Iterator<Item = Step>, totals: &Step) -> Vec<f64> {
        let around = |rate: &f64| [0.25, 0.5, 0.75, 1.0, 1.4, 2.0].map(|f| f * rate);
        let grid = |n: u32| (1..n).map(move |i| f64::from(i) / f64::from(n));
        let mut false_rates: Vec<f64> = self.far.iter().flat_map(around).chain(grid(20)).collect();
        let mut true_rates: Vec<f64> = grid(20).collect();
        [&mut false_rates, &mut true_rates].into_iter().for_each(|rates| rates.sort_by(f64::total_cmp));
        let (mut false_next, mut true_next) = (0, 0);
        let mut chosen: Vec<f64> = Vec::new();
        for step in steps.filter(|step| step.threshold.is_finite()) {
            let false_rate = step.negatives as f64 / totals.negatives as f64;
            let true_rate = step.positives as f64 / totals.positives as f64;
            let passed = false_rates[false_next..].partition_point(|r| *r <= false_rate)
                + true_rates[true_next..].partition_point(|r| *r <= true_rate);
            if passed > 0 && chosen.last() != Some(&step.threshold) {
                chosen.push(step.threshold);
            }
            false_next += false_rates[false_next..].partition_point(|r| *r <= false_rate);
            true_next += true_rates[true_next..].partition_point(|r| *r <= true_rate);
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::super::ranking::auroc;
    use super::super::testing::{close, clusters, labels, uniform};
    use super::*;

    /// All pairs with their labels, by inner products in f64.
    fn all_pairs(x: &[f32], y: &[usize], r: Option<(&[f32], &[usize])>, dim: usize) -> (Vec<f64>, Vec<bool>) {
        let (other, z) = r.unwrap_or((x, y));
        let product = |i: usize, j: usize| -> f64 {
            (0..dim).map(|k| f64::from(x[i * dim + k]) * f64::from(other[j * dim + k])).sum()
        };
        let partners = |i: usize| if r.is_some() { 0..z.len() } else { i + 1..z.len() };
        let pairs = (0..y.len()).flat_map(|i| partners(i).map(move |j| (i, j)));
        pairs.map(|(i, j)| (product(i, j), y[i] == z[j])).unzip()
    }

    fn whole(similarity: Similarity) -> Verification {
        Verification { similarity, far: vec![0.3, 0.01, 0.0], ..Verification::default() }
    }

    fn agrees(found: &VerificationReport, s: &[f64], y: &[bool]) {
        let eer = roc::equal_error_rate(s, y).unwrap();
        close(&[found.auroc, found.equal_error_rate.value], &[auroc(s, y).unwrap(), eer.value], 1e-12);
        for (rate, at) in &found.true_accept_rate {
            let expected = roc::true_positive_rate_at(s, y, *rate).unwrap();
            assert_eq!((at.value, at.threshold), (expected.value, expected.threshold), "at {rate}");
        }
        assert_eq!(found.positives, y.iter().filter(|p| **p).count() as u64);
        assert_eq!(found.positives + found.negatives, s.len() as u64);
        let drawn = vec![1; found.rows.0];
        close(&found.figures(&drawn)[..2], &[found.auroc, found.equal_error_rate.value], 1e-12);
        assert_eq!(found.curve.last().map(|p| (p.false_positive_rate, p.true_positive_rate)), Some((1.0, 1.0)));
    }

    /// Whole numbers, so that products are exact and tie; more rows than a panel and a tile have.
    #[test]
    fn agrees_with_all_pairs_sorted() {
        let grid =
            |seed, n: usize| uniform(seed, n * 3).iter().map(|u| (9.0 * u).floor() as f32 - 4.0).collect::<Vec<_>>();
        for classes in [2, 40] {
            let (x, y) = (grid(51, 700), labels(52, 700, classes));
            let (s, same) = all_pairs(&x, &y, None, 3);
            agrees(&whole(Similarity::InnerProduct).within(&x, 3, &y).unwrap(), &s, &same);
            let (q, z) = (grid(53, 60), labels(54, 60, classes + 1));
            let (s, same) = all_pairs(&q, &z, Some((&x, &y)), 3);
            agrees(&whole(Similarity::InnerProduct).between(&q, &z, &x, &y, 3).unwrap(), &s, &same);
        }
    }

    /// Leaving a row out is a draw whose first order is exact.
    #[test]
    fn draws_follow_their_rows() {
        let y = labels(55, 300, 4);
        let x: Vec<f32> = clusters(56, &y).iter().map(|v| *v as f32).collect();
        let settings = Verification { far: vec![0.1], ..Verification::default() };
        let all = settings.within(&x, 6, &y).unwrap();
        for left_out in [0, 17, 299] {
            let drawn: Vec<u32> = (0..300).map(|i| u32::from(i != left_out)).collect();
            let kept = |i: &usize| *i != left_out;
            let rows: Vec<f32> = (0..300).filter(kept).flat_map(|i| x[i * 6..i * 6 + 6].to_vec()).collect();
            let some: Vec<usize> = (0..300).filter(kept).map(|i| y[i]).collect();
            let without = settings.within(&rows, 6, &some).unwrap();
            let expected = [without.auroc, without.equal_error_rate.value, without.true_accept_rate[0].1.value];
            let (found, change) = (all.figures(&drawn), (all.auroc - without.auroc).abs());
            close(&found[..1], &expected[..1], 0.05 * change + 1e-6);
            close(&found[1..], &expected[1..], 5e-3);
        }
    }

    #[test]
    fn limits_take_a_seeded_sample_and_threads_do_not_matter() {
        let y = labels(57, 900, 3);
        let x: Vec<f32> = clusters(58, &y).iter().map(|v| *v as f32).collect();
        let run = |threads, settings: &Verification| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| settings.within(&x, 6, &y).unwrap())
        };
        assert!(run(1, &Verification::default()) == run(3, &Verification::default()));
        let limited = Verification { most_pairs: 20_000, ..Verification::default() };
        let found = run(2, &limited);
        assert!(found.rows.1 == 900 && (190..=200).contains(&found.rows.0), "{:?}", found.rows);
        assert!(found.positives + found.negatives <= 20_000);
        assert!(found == run(1, &limited) && found != run(1, &Verification { seed: 1, ..limited.clone() }));
        let positives = Verification { most_positives: 1000, ..Verification::default() };
        assert!(run(1, &positives).positives < 1200);
    }

    #[test]
    fn undefined_and_bad_input() {
        let settings = Verification::default();
        assert!(matches!(settings.within(&[1.0f32, 2.0], 1, &[0, 0]), Err(Error::Undefined { .. })));
        assert!(matches!(settings.within(&[1.0f32, 2.0], 1, &[0, 1]), Err(Error::Undefined { .. })));
        assert!(matches!(settings.within(&[1.0f32], 1, &[0]), Err(Error::Undefined { .. })));
        assert!(matches!(settings.within(&[1.0f32, 2.0], 1, &[0]), Err(Error::Shape { .. })));
        let rate = Verification { far: vec![2.0], ..Verification::default() };
        assert!(matches!(rate.within(&[1.0f32, 2.0], 1, &[0, 1]), Err(Error::Parameter { .. })));
    }
}
