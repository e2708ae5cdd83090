//! Mutual nearest neighbours that pass the ratio test and lie where the attention is.

use super::{Unit, nearest, squared_distance, sweep};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::real::Real;

/// A descriptor of one image and the one of another that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Row of the query image's descriptors.
    pub query: usize,
    /// Row of the positive image's descriptors.
    pub positive: usize,
}

/// Matches of query descriptors `[K, D]` with positive descriptors `[L, D]`, in the order of the positive's rows.
///
/// Rows are brought to length one. Row `j` of the positive matches row `i = argmin_k |q_k − p_j|` of the query if
/// 1. `j` is in turn the nearest positive of `i`;
/// 2. `|q_i − p_j| ≤ ratio · min_{k ≠ i} |q_k − p_j|` (Lowe's test, over the query's rows; with a single query row there is no second
///    best and the test passes; a second best at distance 0 fails it);
/// 3. `j` is among the `⌊L/2⌋` positions of the positive with the largest `attention` `[L]`.
///
/// Ties go to the lowest row. No match at all is an empty list, not an error.
///
/// Source: Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008), ratio 0.9.
///
/// # Errors
/// Empty or ragged descriptors, different widths, an attention that is not one finite number a positive row, non-finite
/// descriptors, a ratio that is not a number > 0.
pub fn mutual_matches<T: Real>(
    query: View<'_, T>,
    positive: View<'_, T>,
    attention: &[T],
    ratio: f64,
) -> Result<Vec<Match>> {
    if query.cols() != positive.cols() {
        let expected = format!("{} numbers a descriptor, as the query", query.cols());
        return Err(Error::shape("positive descriptors", &[positive.rows(), positive.cols()], expected));
    }
    let (query, positive) = (Unit::new("query descriptors", query)?, Unit::new("positive descriptors", positive)?);
    matches(&query, &positive, attention, ratio)
}

/// The `⌊n/2⌋` positions with the largest attention.
fn attended<T: Real>(attention: &[T]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..attention.len()).collect();
    // Stable: of equal attention the lower position comes first.
    order.sort_by(|a, b| attention[*b].partial_cmp(&attention[*a]).unwrap_or(std::cmp::Ordering::Equal));
    let mut chosen = vec![false; attention.len()];
    order[..attention.len() / 2].iter().for_each(|at| chosen[*at] = true);
    chosen
}

/// Two nearest query rows of one positive row.
#[derive(Clone, Copy)]
struct Best<T> {
    first: T,
    at: usize,
    second: T,
    second_at: usize,
}

pub(super) fn matches<T: Real>(query: &Unit<T>, positive: &Unit<T>, attention: &[T], ratio: f64) -> Result<Vec<Match>> {
    if attention.len() != positive.len() {
        let expected = format!("[{}], one number a descriptor of the positive", positive.len());
        return Err(Error::shape("attention", &[attention.len()], expected));
    }
    if let Some(row) = attention.iter().position(|a| !a.is_finite()) {
        let value = attention[row].to_string();
        return Err(Error::NonFinite { what: "attention".into(), value, row, column: 0 });
    }
    if !(ratio.is_finite() && ratio > 0.0) {
        return Err(Error::parameter("ratio", ratio, "a finite number > 0"));
    }
    let none = Best { first: T::infinity(), at: 0, second: T::infinity(), second_at: 0 };
    let mut of_positive = vec![none; positive.len()];
    let mut of_query = vec![0; query.len()];
    let rows: Vec<usize> = (0..query.len()).collect();
    sweep(query, &rows, positive, |i, distances| {
        of_query[i] = nearest(distances);
        for (best, d) in of_positive.iter_mut().zip(distances) {
            if *d < best.first {
                *best = Best { first: *d, at: i, second: best.first, second_at: best.at };
            } else if *d < best.second {
                (best.second, best.second_at) = (*d, i);
            }
        }
    });
    let passes = |j: usize, best: &Best<T>| {
        if query.len() == 1 {
            return true;
        }
        // From the differences: products lose the digits of near rows, and the test divides by them.
        let distance = |i: usize| squared_distance(query.row(i), positive.row(j)).f64().sqrt();
        let second = distance(best.second_at);
        second > 0.0 && distance(best.at) / second <= ratio
    };
    let chosen = attended(attention);
    let kept =
        of_positive.iter().enumerate().filter(|(j, best)| chosen[*j] && of_query[best.at] == *j && passes(*j, best));
    Ok(kept.map(|(positive, best)| Match { query: best.at, positive }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn angles(degrees: &[f64]) -> Vec<f64> {
        degrees.iter().flat_map(|a| [3.0 * a.to_radians().cos(), 3.0 * a.to_radians().sin()]).collect()
    }

    fn found(q: &[f64], p: &[f64], attention: &[f64], ratio: f64) -> Vec<(usize, usize)> {
        let (q, p) = (angles(q), angles(p));
        let view = |v| View::new(v, <[f64]>::len(v) / 2, 2).unwrap();
        let matches = mutual_matches(view(&q), view(&p), attention, ratio).unwrap();
        matches.into_iter().map(|m| (m.query, m.positive)).collect()
    }

    #[test]
    fn matches_are_mutual_distinct_and_attended() {
        let high = [2.0, 2.0, 0.0, 0.0];
        assert_eq!(found(&[0.0, 90.0, 180.0], &[91.0, 2.0, 170.0, 260.0], &high, 0.9), [(1, 0), (0, 1)]);
        // Attention elsewhere: the third positive alone.
        assert_eq!(found(&[0.0, 90.0, 180.0], &[91.0, 2.0, 170.0, 260.0], &[0.0, 0.0, 1.0, 1.0], 0.9), [(2, 2)]);
        // Positive 1 is nearest to query 0, but query 0 is nearer to positive 0.
        assert_eq!(found(&[0.0, 90.0], &[1.0, 5.0, 200.0, 210.0], &high, 0.9), [(0, 0)]);
        // Between two queries: the ratio decides.
        assert_eq!(found(&[0.0, 20.0], &[9.0, 100.0], &[1.0, 0.0], 0.7), []);
        assert_eq!(found(&[0.0, 20.0], &[9.0, 100.0], &[1.0, 0.0], 0.9), [(0, 0)]);
    }

    #[test]
    fn single_rows_and_equal_seconds() {
        // One positive: half of it is none.
        assert_eq!(found(&[0.0], &[0.0], &[1.0], 0.9), []);
        assert_eq!(found(&[0.0], &[0.0, 90.0], &[1.0, 0.0], 0.9), [(0, 0)]);
        // Both queries lie on the positive: 0/0 is no match.
        assert_eq!(found(&[0.0, 0.0], &[0.0, 90.0], &[1.0, 0.0], 0.9), []);
    }

    #[test]
    fn blocks_do_not_change_what_is_found() {
        let wave = |n: usize, seed: f64| (0..n * 5).map(|k| (k as f64 * 0.7391 + seed).sin()).collect::<Vec<f64>>();
        let (q, p) = (wave(150, 0.0), wave(140, 0.05));
        let attention: Vec<f64> = (0..140).map(|k| (k as f64 * 1.3).cos()).collect();
        let (q, p) = (View::new(&q, 150, 5).unwrap(), View::new(&p, 140, 5).unwrap());
        let fast = mutual_matches(q, p, &attention, 0.9).unwrap();
        let (uq, up) = (Unit::new("q", q).unwrap(), Unit::new("p", p).unwrap());
        let chosen = attended(&attention);
        let mut slow = Vec::new();
        for j in 0..140 {
            let to: Vec<f64> = (0..150).map(|i| squared_distance(uq.row(i), up.row(j)).sqrt()).collect();
            let i = nearest(&to);
            let back: Vec<f64> = (0..140).map(|l| squared_distance(uq.row(i), up.row(l))).collect();
            let second = (0..150).filter(|k| *k != i).map(|k| to[k]).fold(f64::INFINITY, f64::min);
            if chosen[j] && nearest(&back) == j && to[i] / second <= 0.9 {
                slow.push(Match { query: i, positive: j });
            }
        }
        assert!(slow.len() > 5);
        assert_eq!(fast, slow);
    }

    #[test]
    fn bad_input_is_named() {
        let (two, three) = ([1.0, 0.0], [1.0, 0.0, 0.0]);
        let (q, p) = (View::new(&two, 1, 2).unwrap(), View::new(&three, 1, 3).unwrap());
        assert!(mutual_matches(q, p, &[1.0], 0.9).unwrap_err().to_string().contains("2 numbers a descriptor"));
        assert!(mutual_matches(q, q, &[1.0, 2.0], 0.9).unwrap_err().to_string().contains("attention"));
        assert!(matches!(mutual_matches(q, q, &[1.0], 0.0), Err(Error::Parameter { .. })));
        assert!(matches!(mutual_matches(q, q, &[f64::NAN], 0.9), Err(Error::NonFinite { .. })));
        let nan = [f64::NAN, 0.0];
        assert!(matches!(mutual_matches(View::new(&nan, 1, 2).unwrap(), q, &[1.0], 0.9), Err(Error::NonFinite { .. })));
    }
}
