//! How far a figure would move had other rows been drawn: percentile bootstrap intervals.
//!
//! A resample draws as many rows as there are, with replacement; a figure's interval runs between quantiles of its
//! values over the resamples (linear between order statistics), moved by their bias: the difference of their mean from the figure
//! itself. Efron, *Bootstrap Methods: Another Look at the Jackknife* (Annals of Statistics, 1979); Efron & Tibshirani, *An
//! Introduction to the Bootstrap* (1993), chapters 10 and 13. Rows that are drawn twice make figures such as calibration errors and
//! mutual information larger in every resample; without the move their intervals would lie beside the figure. The model is
//! taken as it is: intervals say nothing about training again.

use super::rows;
use crate::{Error, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Settings of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// How often rows are drawn again. Default: 1000 (Efron & Tibshirani, 1993, for 95 % intervals).
    pub resamples: usize,
    /// Coverage. Default: 0.95.
    pub confidence: f64,
    /// Fixes the draws; resample r draws the same rows for every figure. Default: 0.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 0 }
    }
}

/// Ends of an interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples that it rests on.
    pub resamples: usize,
}

impl Interval {
    /// The part of it where a figure can lie: moved ends may reach beyond.
    pub fn clamp(self, least: f64, greatest: f64) -> Self {
        Self { low: self.low.clamp(least, greatest), high: self.high.clamp(least, greatest), ..self }
    }
}

impl Bootstrap {
    /// Checks the settings.
    ///
    /// # Errors
    /// `confidence` outside (0, 1).
    pub fn check(&self) -> Result<()> {
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(Error::parameter("confidence", self.confidence, "a number in (0, 1)"));
        }
        Ok(())
    }

    /// Intervals of the figures `values`, which `figures` computes again from how often each of the `rows` was drawn.
    ///
    /// A figure that is not finite is undefined in that resample and does not count; where it is undefined in half of the
    /// resamples or more, or there are fewer than two, there is no interval. Resamples run in parallel and are seeded one by one.
    ///
    /// # Errors
    /// As [`Bootstrap::check`]; no rows.
    pub fn intervals(
        &self,
        rows: usize,
        values: &[f64],
        figures: impl Fn(&[u32]) -> Vec<f64> + Sync,
    ) -> Result<Vec<Option<Interval>>> {
        self.check()?;
        rows::count("rows", rows, 1)?;
        let resample = |drawn: &mut Vec<u32>, r: usize| {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(r as u64);
            drawn.clear();
            drawn.resize(rows, 0);
            (0..rows).for_each(|_| drawn[random.random_range(0..rows)] += 1);
            figures(drawn)
        };
        let found: Vec<Vec<f64>> = (0..self.resamples).into_par_iter().map_init(Vec::new, resample).collect();
        let column = |k: usize| found.iter().map(move |figures| figures[k]);
        Ok(values.iter().enumerate().map(|(k, value)| self.interval(*value, column(k))).collect())
    }

    /// Intervals of the means of the columns of `values` `[n, columns]`.
    ///
    /// # Errors
    /// As [`Bootstrap::intervals`]; ragged or non-finite values.
    pub fn means(&self, values: &[f64], columns: usize) -> Result<Vec<Option<Interval>>> {
        let n = rows::matrix("values", values, columns)?;
        let means = weighted_means(values, columns, &vec![1; n]);
        self.intervals(n, &means, |drawn| weighted_means(values, columns, drawn))
    }

    fn interval(&self, value: f64, resampled: impl Iterator<Item = f64>) -> Option<Interval> {
        let mut known: Vec<f64> = resampled.filter(|v| v.is_finite()).collect();
        if known.len() < 2 || 2 * known.len() <= self.resamples || !value.is_finite() {
            return None;
        }
        let bias = known.iter().sum::<f64>() / known.len() as f64 - value;
        known.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| {
            let place = q * (known.len() - 1) as f64;
            let (below, above) = (known[place.floor() as usize], known[place.ceil() as usize]);
            if below == above { below } else { below + (place - place.floor()) * (above - below) }
        };
        let tail = 0.5 * (1.0 - self.confidence);
        let (low, high) = (quantile(tail) - bias, quantile(1.0 - tail) - bias);
        Some(Interval { low: low.min(value), high: high.max(value), resamples: known.len() })
    }
}

/// Means of columns when row i counts `drawn[i]` times.
pub(super) fn weighted_means(values: &[f64], columns: usize, drawn: &[u32]) -> Vec<f64> {
    let (mut sums, mut total) = (vec![0.0; columns], 0.0);
    for (row, times) in values.chunks_exact(columns).zip(drawn).filter(|(_, times)| **times > 0) {
        let times = f64::from(*times);
        total += times;
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += times * v);
    }
    sums.iter_mut().for_each(|s| *s /= total);
    sums
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, labels, uniform};
    use super::*;

    /// For a mean the bootstrap's spread is known: the standard error, √(Σ (x − mean)² / n²).
    #[test]
    fn a_mean_has_the_interval_of_its_standard_error() {
        let x = uniform(81, 400);
        let mean = x.iter().sum::<f64>() / 400.0;
        let error = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt() / 400.0;
        let settings = Bootstrap { resamples: 4000, ..Bootstrap::default() };
        let found = settings.means(&x, 1).unwrap()[0].unwrap();
        close(&[(found.low - mean) / error, (found.high - mean) / error], &[-1.96, 1.96], 0.08);
        let wide = Bootstrap { confidence: 0.99, ..settings }.means(&x, 1).unwrap()[0].unwrap();
        assert!(wide.low < found.low && wide.high > found.high);
    }

    #[test]
    fn draws_are_seeded_one_by_one_and_shared_by_the_figures() {
        let x: Vec<f64> = uniform(82, 50).iter().flat_map(|v| [*v, -2.0 * v]).collect();
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Bootstrap { seed, ..Bootstrap::default() }.means(&x, 2).unwrap())
        };
        let (one, three) = (run(1, 0), run(3, 0));
        assert_eq!(one, three);
        assert_ne!(one, run(1, 1));
        let (a, b) = (one[0].unwrap(), one[1].unwrap());
        close(&[b.low, b.high], &[-2.0 * a.high, -2.0 * a.low], 1e-12);
    }

    /// The plug-in entropy of many classes loses about (classes − 1) / 2n in each resample; the interval stays around the figure.
    #[test]
    fn biased_figures_lie_within_their_intervals() {
        let y = labels(83, 300, 60);
        let entropy = |drawn: &[u32]| {
            let mut counts = [0.0; 60];
            y.iter().zip(drawn).for_each(|(y, times)| counts[*y] += f64::from(*times));
            -counts.iter().filter(|c| **c > 0.0).map(|c| c / 300.0 * (c / 300.0f64).ln()).sum::<f64>()
        };
        let value = entropy(&[1; 300]);
        let settings = Bootstrap::default();
        let found = settings.intervals(300, &[value], |drawn| vec![entropy(drawn)]).unwrap()[0].unwrap();
        assert!(found.low < value - 0.01 && value + 0.01 < found.high && found.high - found.low < 0.15, "{found:?}");
    }

    #[test]
    fn draws_are_as_many_as_rows_and_undefined_figures_are_passed_over() {
        let settings = Bootstrap { resamples: 100, ..Bootstrap::default() };
        let found = settings.intervals(7, &[7.0, 1.0, 1.0], |drawn| {
            let total = drawn.iter().sum::<u32>();
            let first = f64::from(drawn[0]);
            vec![f64::from(total), f64::NAN, if drawn[0] == 0 { f64::NAN } else { 1.0 / first }]
        });
        let found = found.unwrap();
        assert_eq!(found[0], Some(Interval { low: 7.0, high: 7.0, resamples: 100 }));
        assert_eq!(found[1], None);
        assert!(found[2].is_some_and(|i| i.resamples < 100));
        assert_eq!(Bootstrap { resamples: 0, ..settings }.means(&[1.0], 1).unwrap(), [None]);
        assert!(matches!(Bootstrap { confidence: 1.0, ..settings }.means(&[1.0], 1), Err(Error::Parameter { .. })));
        assert!(matches!(settings.means(&[], 1), Err(Error::Shape { .. })));
    }
}
