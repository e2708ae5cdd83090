//! Whether classes come out as clusters: agreement of two partitions, corrected for chance where it should be.

use super::rows;
use crate::{Error, Result};

pub use super::kmeans::{Clusters, KMeans};

/// Agreement of two partitions of the same rows.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Normalised mutual information `I(U, V) / ((H(U) + H(V)) / 2)`; 1 where both partitions have one part only.
    ///
    /// Strehl & Ghosh, *Cluster Ensembles* (JMLR, 2002), with the arithmetic mean, as scikit-learn's default.
    pub nmi: f64,
    /// Adjusted mutual information `(I − E[I]) / ((H(U) + H(V)) / 2 − E[I])`, `E[I]` over random partitions with parts of the same
    /// sizes. Vinh, Epps & Bailey, *Information Theoretic Measures for Clusterings Comparison* (JMLR, 2010).
    pub ami: f64,
    /// Adjusted Rand index: of the pairs of rows, corrected for chance. Hubert & Arabie, *Comparing partitions* (1985).
    pub ari: f64,
}

/// How often each pair of parts meets, as a sparse table.
#[derive(Debug, Clone)]
pub struct Contingency {
    /// `(part of the first, part of the second)` of each row.
    rows: Vec<(u32, u32)>,
    firsts: usize,
    seconds: usize,
}

impl Contingency {
    /// Two partitions, one part of each a row; parts are any numbers below 2³².
    ///
    /// # Errors
    /// Empty input, lengths that differ.
    pub fn new(first: &[usize], second: &[usize]) -> Result<Self> {
        let n = rows::count("first", first.len(), 1)?;
        rows::same_length("second", second.len(), n)?;
        let (first, firsts) = dense(first);
        let (second, seconds) = dense(second);
        Ok(Self { rows: first.into_iter().zip(second).collect(), firsts, seconds })
    }

    /// Steps of [`Contingency::agreement`], about; most of them for the expected mutual information.
    pub fn work(&self) -> usize {
        self.rows.len() + self.firsts * self.seconds + self.rows.len() * self.firsts.min(self.seconds)
    }

    /// The agreement when row i counts `drawn[i]` times, or once.
    ///
    /// # Errors
    /// `drawn` of another length or without any row.
    pub fn agreement(&self, drawn: Option<&[u32]>) -> Result<Agreement> {
        if let Some(drawn) = drawn {
            rows::same_length("drawn", drawn.len(), self.rows.len())?;
        }
        let (mut a, mut b) = (vec![0u64; self.firsts], vec![0u64; self.seconds]);
        let mut cells = vec![0u64; self.firsts * self.seconds];
        for (i, (first, second)) in self.rows.iter().enumerate() {
            let times = drawn.map_or(1, |drawn| u64::from(drawn[i]));
            a[*first as usize] += times;
            b[*second as usize] += times;
            cells[*first as usize * self.seconds + *second as usize] += times;
        }
        let n: u64 = a.iter().sum();
        if n == 0 {
            return Err(Error::Undefined { what: "agreement".to_string(), reason: "no row was drawn".to_string() });
        }
        let (entropy_a, entropy_b) = (entropy(&a, n), entropy(&b, n));
        let information = information(&cells, &a, &b, n);
        let mean = 0.5 * (entropy_a + entropy_b);
        let expected = expected_information(&a, &b, n);
        let used = |parts: &[u64]| parts.iter().filter(|p| **p > 0).count();
        // One part, or as many as rows, in both: the partitions are the same.
        let same = (used(&a) == 1 && used(&b) == 1) || (used(&a) as u64 == n && used(&b) as u64 == n);
        Ok(Agreement {
            nmi: if same {
                1.0
            } else if mean > 0.0 {
                (information / mean).clamp(0.0, 1.0)
            } else {
                0.0
            },
            ami: if same { 1.0 } else { adjusted(information, expected, mean) },
            ari: rand_index(&cells, &a, &b, n),
        })
    }
}

/// Parts renumbered from 0 in the order of their numbers.
fn dense(parts: &[usize]) -> (Vec<u32>, usize) {
    let mut distinct = parts.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    (parts.iter().map(|p| distinct.partition_point(|d| d < p) as u32).collect(), distinct.len())
}

fn entropy(parts: &[u64], n: u64) -> f64 {
    let share = |p: &u64| *p as f64 / n as f64;
    -parts.iter().filter(|p| **p > 0).map(|p| share(p) * share(p).ln()).sum::<f64>()
}

/// `Σ_ij n_ij/n · ln(n · n_ij / (a_i b_j))`.
fn information(cells: &[u64], a: &[u64], b: &[u64], n: u64) -> f64 {
    let total = n as f64;
    let mut sum = 0.0;
    for (row, a) in cells.chunks_exact(b.len()).zip(a) {
        for (cell, b) in row.iter().zip(b).filter(|(cell, _)| **cell > 0) {
            sum += *cell as f64 / total * ((*cell as f64 / *a as f64) * (total / *b as f64)).ln();
        }
    }
    sum.max(0.0)
}

fn adjusted(information: f64, expected: f64, mean: f64) -> f64 {
    let room = mean - expected;
    // As scikit-learn does, a vanishing denominator keeps its sign.
    let room = if room < 0.0 { room.min(-f64::EPSILON) } else { room.max(f64::EPSILON) };
    (information - expected) / room
}

/// The mean of the mutual information over all pairs of partitions with these sizes: cell (i, j) is hypergeometric.
///
/// Each term follows from the one before by a ratio of whole numbers, from logarithms of factorials at the first one.
fn expected_information(a: &[u64], b: &[u64], n: u64) -> f64 {
    let total = n as f64;
    let mut log_factorial = vec![0.0; n as usize + 1];
    for k in 1..=n as usize {
        log_factorial[k] = log_factorial[k - 1] + (k as f64).ln();
    }
    let logs: Vec<f64> = (0..=n).map(|k| (k as f64).ln()).collect();
    let f = |k: u64| log_factorial[k as usize];
    let mut sum = 0.0;
    // Equal sizes give equal terms.
    let (a, b) = (counted(a), counted(b));
    for &(x, times_x) in &a {
        for &(y, times_y) in &b {
            let (first, last) = ((x + y).saturating_sub(n).max(1), x.min(y));
            if first > last {
                continue;
            }
            let log = f(x) + f(y) + f(n - x) + f(n - y)
                - (f(n) + f(first) + f(x - first) + f(y - first) + f(n + first - x - y));
            let mut probability = log.exp();
            let offset = logs[n as usize] - logs[x as usize] - logs[y as usize];
            let mut part = 0.0;
            for k in first..=last {
                part += k as f64 / total * (offset + logs[k as usize]) * probability;
                let ratio = (x - k) as f64 * (y - k) as f64 / ((k + 1) as f64 * (n + k + 1 - x - y) as f64);
                probability *= ratio;
            }
            sum += (times_x * times_y) as f64 * part;
        }
    }
    sum
}

/// Distinct sizes above 0 with how often they occur.
fn counted(sizes: &[u64]) -> Vec<(u64, u64)> {
    let mut sorted: Vec<u64> = sizes.iter().copied().filter(|s| *s > 0).collect();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect()
}

fn rand_index(cells: &[u64], a: &[u64], b: &[u64], n: u64) -> f64 {
    let pairs = |k: &u64| *k as f64 * (*k as f64 - 1.0) / 2.0;
    let sum = |parts: &[u64]| parts.iter().filter(|p| **p > 0).map(pairs).sum::<f64>();
    let (both, first, second, all) = (sum(cells), sum(a), sum(b), pairs(&n));
    let expected = if all > 0.0 { first * second / all } else { 0.0 };
    let room = 0.5 * (first + second) - expected;
    // No room: both partitions join all rows or separate all.
    if room == 0.0 { 1.0 } else { (both - expected) / room }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, labels};
    use super::*;

    fn of(a: &[usize], b: &[usize]) -> Agreement {
        Contingency::new(a, b).unwrap().agreement(None).unwrap()
    }

    fn figures(a: Agreement) -> [f64; 3] {
        [a.nmi, a.ami, a.ari]
    }

    /// Two parts of two in both, crossed but for nothing: I = 0, and of the six pairs none agrees.
    #[test]
    fn small_cases_by_hand() {
        let crossed = of(&[0, 0, 1, 1], &[0, 1, 0, 1]);
        // E[I]: cell ~ hypergeometric(4, 2, 2): P(0, 1, 2) = 1/6, 2/3, 1/6; ln 2 where all cells are 0 or 2.
        let expected = 2f64.ln() / 3.0;
        close(&figures(crossed), &[0.0, -expected / (2f64.ln() - expected), -0.5], 1e-14);
        assert_eq!(figures(of(&[0, 0, 1, 1], &[5, 5, 3, 3])), [1.0; 3]);
        assert_eq!(figures(of(&[0, 0, 0], &[1, 1, 1])), [1.0; 3]);
        assert_eq!(figures(of(&[0, 1, 2], &[2, 1, 0])), [1.0; 3]);
        assert_eq!(of(&[0, 0, 0], &[0, 1, 2]).nmi, 0.0);
    }

    #[test]
    fn chance_is_zero_and_names_do_not_matter() {
        let (a, b) = (labels(65, 5000, 12), labels(66, 5000, 9));
        let found = of(&a, &b);
        assert!(found.ami.abs() < 2e-3 && found.ari.abs() < 2e-3 && found.nmi > 0.002, "{found:?}");
        let renamed: Vec<usize> = a.iter().map(|x| (x * 7 + 3) % 13 + 100).collect();
        close(&figures(of(&renamed, &b)), &figures(found), 1e-13);
        close(&figures(of(&b, &a)), &figures(found), 1e-13);
    }

    #[test]
    fn rows_drawn_twice_count_twice() {
        let (a, b) = (labels(67, 90, 4), labels(67, 90, 6));
        let drawn: Vec<u32> = (0..90).map(|i| i % 3).collect();
        let rows: Vec<usize> = (0..90).flat_map(|i| vec![i; drawn[i] as usize]).collect();
        let pick = |x: &[usize]| rows.iter().map(|i| x[*i]).collect::<Vec<_>>();
        let table = Contingency::new(&a, &b).unwrap();
        close(&figures(table.agreement(Some(&drawn)).unwrap()), &figures(of(&pick(&a), &pick(&b))), 1e-13);
        assert!(matches!(table.agreement(Some(&[0; 90])), Err(Error::Undefined { .. })));
        assert!(matches!(table.agreement(Some(&[1; 9])), Err(Error::Shape { .. })));
        assert!(matches!(Contingency::new(&[], &[]), Err(Error::Shape { .. })));
        assert!(matches!(Contingency::new(&[1], &[1, 2]), Err(Error::Shape { .. })));
    }
}
