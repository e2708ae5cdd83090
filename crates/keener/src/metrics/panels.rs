//! Scores of query panels against references: what retrieval, verification and the read-outs share.

use super::rows;
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::{Error, Result, simd};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of one panel of scores, as long as it keeps at least [`LEAST_ROWS`] rows.
const PANEL_ELEMENTS: usize = 1 << 22;
const LEAST_ROWS: usize = 16;
const MOST_ROWS: usize = 256;

/// How two embeddings are compared; a greater score is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// `qᵀr / (‖q‖ ‖r‖)`; refuses rows of norm zero.
    #[default]
    Cosine,
    /// `qᵀr`.
    InnerProduct,
    /// `−‖q − r‖²`, from a product of the embeddings centred at the references' mean, in their own precision.
    Euclidean,
}

/// Rows of a panel over `columns` references: a function of the shape only.
pub(super) fn panel_rows(columns: usize) -> usize {
    (PANEL_ELEMENTS / columns.max(1)).clamp(LEAST_ROWS, MOST_ROWS)
}

/// Embeddings made ready for scoring: normalised for cosine, centred for Euclidean.
pub(super) struct Prepared<T> {
    data: Vec<T>,
    pub(super) rows: usize,
    dim: usize,
    squares: Vec<f64>,
}

impl<T: Real> Prepared<T> {
    /// Checks and prepares embeddings `[n, dim]`; `centre` is subtracted for [`Similarity::Euclidean`].
    pub(super) fn new(what: &str, data: &[T], dim: usize, similarity: Similarity, centre: &[f64]) -> Result<Self> {
        Self::ordered(what, data, dim, similarity, centre, None)
    }

    /// The same with row `order[i]` of the data at place `i`.
    pub(super) fn ordered(
        what: &str,
        data: &[T],
        dim: usize,
        similarity: Similarity,
        centre: &[f64],
        order: Option<&[usize]>,
    ) -> Result<Self> {
        let rows = rows::matrix(what, data, dim)?;
        let count = order.map_or(rows, <[usize]>::len);
        let mut ready = Vec::with_capacity(count * dim);
        for place in 0..count {
            let i = order.map_or(place, |order| order[place]);
            let row = &data[i * dim..(i + 1) * dim];
            match similarity {
                Similarity::Cosine => {
                    let length = rows::norm(row);
                    if length == 0.0 {
                        return Err(rows::no_direction(what, i));
                    }
                    ready.extend(row.iter().map(|x| T::of(x.f64() / length)));
                }
                Similarity::InnerProduct => ready.extend_from_slice(row),
                Similarity::Euclidean => ready.extend(row.iter().zip(centre).map(|(x, c)| T::of(x.f64() - c))),
            }
        }
        let squares = match similarity {
            Similarity::Euclidean => {
                ready.chunks_exact(dim).map(|r| r.iter().map(|x| x.f64() * x.f64()).sum()).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self { data: ready, rows: count, dim, squares })
    }
}

/// Mean row of a checked matrix.
pub(super) fn mean_row<T: Real>(data: &[T], dim: usize) -> Vec<f64> {
    let mut mean = vec![0.0; dim];
    for row in data.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x.f64());
    }
    let n = (data.len() / dim) as f64;
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

/// Scores of the queries `rows` against the references `cols`, row-major into `out`.
///
/// # Errors
/// A score that overflows, with its row and column.
pub(super) fn scores<T: Real>(
    queries: &Prepared<T>,
    references: &Prepared<T>,
    similarity: Similarity,
    rows: Range<usize>,
    cols: Range<usize>,
    out: &mut [T],
) -> Result<()> {
    let (dim, width) = (references.dim, cols.len());
    let some = MatRef::new(&queries.data[rows.start * dim..], rows.len(), dim);
    let others = MatRef::new(&references.data[cols.start * dim..], width, dim).t();
    let alpha = if similarity == Similarity::Euclidean { T::of(2.0) } else { T::one() };
    gemm(alpha, some, others, T::zero(), out, width);
    if similarity == Similarity::Cosine {
        return Ok(()); // rows of length one
    }
    for (row, query) in out.chunks_exact_mut(width).zip(rows) {
        if similarity == Similarity::Euclidean {
            let own = queries.squares[query];
            for (score, square) in row.iter_mut().zip(&references.squares[cols.clone()]) {
                // Not `min`, which would turn the NaN of an overflow into 0.
                let negated = score.f64() - square - own;
                *score = T::of(if negated > 0.0 { 0.0 } else { negated });
            }
        }
        if !simd::all_finite(row) {
            let column = row.iter().position(|x| !x.is_finite()).unwrap_or(0);
            return Err(overflow(row[column], query, cols.start + column));
        }
    }
    Ok(())
}

fn overflow<T: Real>(value: T, query: usize, column: usize) -> Error {
    rows::non_finite("the similarity of queries and references", value, query, column)
}

/// `f(query, its scores against all references)` for every query, in order.
///
/// Panels run in parallel, each with one product; memory is a panel a thread.
pub(super) fn sweep<T: Real, R: Send>(
    queries: &Prepared<T>,
    references: &Prepared<T>,
    similarity: Similarity,
    f: impl Fn(usize, &[T]) -> R + Sync,
) -> Result<Vec<R>> {
    let n = references.rows;
    let height = panel_rows(n);
    let panel = |buffer: &mut Vec<T>, p: usize| -> Result<Vec<R>> {
        let (start, end) = (p * height, queries.rows.min((p + 1) * height));
        buffer.resize((end - start) * n, T::zero());
        scores(queries, references, similarity, start..end, 0..n, buffer)?;
        Ok(buffer.chunks_exact(n).zip(start..end).map(|(row, query)| f(query, row)).collect())
    };
    let panels: Vec<Vec<R>> =
        (0..queries.rows.div_ceil(height)).into_par_iter().map_init(Vec::new, panel).collect::<Result<_>>()?;
    Ok(panels.into_iter().flatten().collect())
}

/// Rows of a panel and columns of a tile.
const TILE_ROWS: usize = 256;
const TILE_COLUMNS: usize = 512;

/// Queries cut into panels and references into tiles of nearly equal width, by the shape only.
///
/// A score has the same bits whenever its tile is computed; copies of a reference score alike in every tile.
pub(super) struct Tiling {
    height: usize,
    rows: usize,
    columns: usize,
    tiles: usize,
}

impl Tiling {
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        // Few queries are still shared out among threads.
        let height = rows.div_ceil(8).clamp(LEAST_ROWS, TILE_ROWS);
        Self { height, rows, columns, tiles: columns.div_ceil(TILE_COLUMNS).max(1) }
    }

    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(self.height)
    }

    pub(super) fn panel(&self, p: usize) -> Range<usize> {
        p * self.height..self.rows.min((p + 1) * self.height)
    }

    pub(super) fn tiles(&self) -> usize {
        self.tiles
    }

    pub(super) fn tile(&self, t: usize) -> Range<usize> {
        t * self.columns / self.tiles..(t + 1) * self.columns / self.tiles
    }

    pub(super) fn widest(&self) -> usize {
        self.columns.div_ceil(self.tiles)
    }

    /// The tiles that hold any of these columns.
    pub(super) fn holding(&self, columns: &Range<usize>) -> Range<usize> {
        if columns.is_empty() {
            return 0..0;
        }
        // The first tile that ends beyond the column: `(t + 1) · columns / tiles > column` in whole numbers.
        let at = |column: usize| ((column + 1) * self.tiles - 1) / self.columns;
        at(columns.start)..at(columns.end - 1) + 1
    }
}

/// The `k` greatest scores as `(score, index)`, greatest first, the lower index first on ties; `skip` is left out.
///
/// One comparison for most elements: a buffer of up to 2k candidates is cut back to k whenever it is full.
pub(super) fn top_k<T: Real>(scores: &[T], k: usize, skip: Option<usize>, buffer: &mut Vec<(T, usize)>) {
    let nearer =
        |a: &(T, usize), b: &(T, usize)| b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1));
    buffer.clear();
    let mut threshold = T::neg_infinity();
    for (j, &score) in scores.iter().enumerate() {
        // A later element that only equals the k-th comes after it.
        if score > threshold && Some(j) != skip {
            buffer.push((score, j));
            if buffer.len() == 2 * k {
                threshold = buffer.select_nth_unstable_by(k - 1, nearer).1.0;
                buffer.truncate(k);
            }
        }
    }
    buffer.sort_unstable_by(nearer);
    buffer.truncate(k);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_is_the_head_of_a_stable_sort() {
        let scores: Vec<f32> = (0..500u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as f32).collect();
        let mut sorted: Vec<(f32, usize)> = scores.iter().copied().zip(0..).filter(|x| x.1 != 7).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut buffer = Vec::new();
        for k in [1, 2, 3, 17, 100, 499, 600] {
            top_k(&scores, k, Some(7), &mut buffer);
            assert_eq!(buffer, sorted[..k.min(499)], "k = {k}");
        }
    }

    #[test]
    fn copies_of_a_reference_score_alike_wherever_they_stand() {
        // The tie rule needs this of the product: edges of its blocking must not round differently.
        for dim in [1, 3, 16, 33, 130, 1025] {
            for n in [2, 5, 17, 64, 131] {
                for q in [1, 2, 3, 8, 19, 70] {
                    let value = |i: usize| ((i * 7919 % 1013) as f32 / 1013.0 - 0.4).powi(3);
                    let one: Vec<f32> = (0..dim).map(value).collect();
                    let references: Vec<f32> = (0..n).flat_map(|_| one.clone()).collect();
                    let queries: Vec<f32> = (0..q * dim).map(|i| value(i + 31)).collect();
                    for similarity in [Similarity::Cosine, Similarity::InnerProduct, Similarity::Euclidean] {
                        let centre = vec![0.1; dim];
                        let r = Prepared::new("references", &references, dim, similarity, &centre).unwrap();
                        let q = Prepared::new("queries", &queries, dim, similarity, &centre).unwrap();
                        let alike = sweep(&q, &r, similarity, |_, row| row.iter().all(|x| *x == row[0])).unwrap();
                        assert!(alike.iter().all(|x| *x), "{similarity:?} d {dim} n {n} q {}", q.rows);
                    }
                }
            }
        }
    }

    #[test]
    fn similarities_match_their_definitions() {
        let (q, r) = ([3.0f64, 4.0], [1.0f64, 0.0, 0.0, 2.0]);
        let scores = |s: Similarity| {
            let centre = mean_row(&r, 2);
            let refs = Prepared::new("references", &r, 2, s, &centre).unwrap();
            sweep(&Prepared::new("queries", &q, 2, s, &centre).unwrap(), &refs, s, |_, x| x.to_vec()).unwrap().remove(0)
        };
        let close = |a: Vec<f64>, b: [f64; 2]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-12);
        assert!(close(scores(Similarity::Cosine), [0.6, 0.8]));
        assert!(close(scores(Similarity::InnerProduct), [3.0, 8.0]));
        assert!(close(scores(Similarity::Euclidean), [-20.0, -13.0]));
    }
}
