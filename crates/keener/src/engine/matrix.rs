//! A score matrix bound to its tensors: computes any tile of itself, and folds gradient tiles into its inputs.

use super::batch::{Batch, View};
use super::plan::{MatrixSpec, Scorer, Slot};
use crate::error::{Error, Result};
use crate::memory;
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Where scores come from.
#[derive(Clone, Debug)]
pub(crate) enum Source<'a, T> {
    /// They are given.
    Given(View<'a, T>),
    /// Inner products of rows.
    Product(View<'a, T>, View<'a, T>),
    /// Inner products with candidates listed per row.
    Gathered(View<'a, T>, View<'a, T>, &'a [u32]),
}

/// One score matrix `[rows, cols]`, ready to be computed tile by tile.
#[derive(Clone, Debug)]
pub(crate) struct Bound<'a, T> {
    pub(crate) spec: MatrixSpec,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) source: Source<'a, T>,
    /// Inverse norms (cosine) or squared norms (distance) of the left rows.
    row_norms: Arc<[T]>,
    /// The same of the right rows; for gathered candidates of all candidates.
    col_norms: Arc<[T]>,
    bias: Option<&'a [T]>,
}

impl<'a, T: Real> Bound<'a, T> {
    pub(crate) fn new(spec: MatrixSpec, batch: &Batch<'a, T>, objective: &str) -> Result<Self> {
        let missing = |what: &str| Error::MissingInput { objective: objective.into(), missing: what.into() };
        let (source, cols) = match spec.slot {
            Slot::Main | Slot::Second => {
                let (given, queries, names) = if spec.slot == Slot::Main {
                    (batch.given, batch.queries, "queries and candidates, or scores")
                } else {
                    (batch.second_given, batch.second, "a second version of the queries, or second scores")
                };
                match (given, queries, batch.candidates, batch.gathered) {
                    (Some(given), ..) => (Source::Given(given), given.cols),
                    (_, Some(q), Some(c), Some((ids, k))) => (Source::Gathered(q, c, ids), k),
                    (_, Some(q), Some(c), None) => (Source::Product(q, c), c.rows),
                    _ => return Err(missing(names)),
                }
            }
            Slot::Pairs => {
                let queries = batch.queries.ok_or_else(|| missing("embeddings"))?;
                (Source::Product(queries, queries), queries.rows)
            }
        };
        let (left, right) = match &source {
            Source::Given(_) => (None, None),
            Source::Product(q, c) | Source::Gathered(q, c, _) => (Some(*q), Some(*c)),
        };
        let norms = |view: Option<View<'a, T>>| -> Arc<[T]> {
            match (view, spec.scorer) {
                (None, _) | (_, Scorer::Inner) => Arc::from([]),
                (Some(view), Scorer::Cosine | Scorer::CosineOfUnit) => map_rows(view, inverse_norm),
                (Some(view), Scorer::NegativeSquaredDistance) => map_rows(view, |row| simd::dot(row, row)),
            }
        };
        let row_norms = norms(left);
        let col_norms = if spec.slot == Slot::Pairs { row_norms.clone() } else { norms(right) };
        let rows = match &source {
            Source::Given(s) => s.rows,
            Source::Product(q, _) | Source::Gathered(q, ..) => q.rows,
        };
        let bias = if spec.slot == Slot::Pairs || matches!(source, Source::Given(_)) { None } else { batch.bias };
        if bias.is_some() && (spec.scorer != Scorer::Inner || matches!(source, Source::Gathered(..))) {
            return Err(Error::Unsupported {
                what: format!("a bias with {:?} scores in {objective}", spec.scorer),
                hint: "leave the bias out".into(),
            });
        }
        Ok(Self { spec, rows, cols, source, row_norms, col_norms, bias })
    }

    /// The rows `rows` alone, sharing everything about the columns.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let part = |v: &View<'a, T>| View {
            data: &v.data[rows.start * v.cols..rows.end * v.cols],
            rows: rows.len(),
            cols: v.cols,
        };
        let source = match &self.source {
            Source::Given(s) => Source::Given(part(s)),
            Source::Product(q, c) => Source::Product(part(q), *c),
            Source::Gathered(q, c, ids) => {
                Source::Gathered(part(q), *c, &ids[rows.start * self.cols..rows.end * self.cols])
            }
        };
        let row_norms =
            if self.row_norms.is_empty() { self.row_norms.clone() } else { self.row_norms[rows.clone()].into() };
        Self { rows: rows.len(), source, row_norms, col_norms: self.col_norms.clone(), ..*self }
    }

    /// Inner dimension, or 0 where scores are given.
    pub(crate) fn depth(&self) -> usize {
        match &self.source {
            Source::Given(_) => 0,
            Source::Product(q, _) | Source::Gathered(q, ..) => q.cols,
        }
    }

    /// Whether computing a tile is worth avoiding.
    pub(crate) fn is_product(&self) -> bool {
        !matches!(self.source, Source::Given(_))
    }

    /// The scores of rows `r` and columns `c`, row-major without gaps.
    pub(crate) fn fill(&self, r: Range<usize>, c: Range<usize>, out: &mut [T]) {
        let width = c.len();
        let out = &mut out[..r.len() * width];
        match &self.source {
            Source::Given(s) => {
                for (row, line) in r.zip(out.chunks_exact_mut(width)) {
                    line.copy_from_slice(&s.row(row)[c.clone()]);
                }
                return;
            }
            Source::Product(q, k) => {
                let left = MatRef::new(&q.data[r.start * q.cols..r.end * q.cols], r.len(), q.cols);
                let right = MatRef::new(&k.data[c.start * k.cols..c.end * k.cols], width, k.cols);
                gemm(T::one(), left, right.t(), T::zero(), out, width);
            }
            Source::Gathered(q, k, ids) => {
                for (row, line) in r.clone().zip(out.chunks_exact_mut(width)) {
                    let ids = &ids[row * self.cols + c.start..row * self.cols + c.end];
                    for (o, id) in line.iter_mut().zip(ids) {
                        let id = *id as usize;
                        let dot = simd::dot(q.row(row), k.row(id));
                        *o = match self.spec.scorer {
                            Scorer::Inner => dot,
                            Scorer::Cosine | Scorer::CosineOfUnit => dot * self.row_norms[row] * self.col_norms[id],
                            Scorer::NegativeSquaredDistance => dot + dot - self.row_norms[row] - self.col_norms[id],
                        };
                    }
                }
                return;
            }
        }
        for (row, line) in r.zip(out.chunks_exact_mut(width)) {
            match self.spec.scorer {
                Scorer::Inner => {
                    if let Some(bias) = self.bias {
                        simd::shift_columns(line, &bias[c.clone()], T::one(), T::zero());
                    }
                }
                Scorer::Cosine | Scorer::CosineOfUnit => {
                    simd::scale_columns(line, &self.col_norms[c.clone()], self.row_norms[row])
                }
                Scorer::NegativeSquaredDistance => {
                    // −|q − k|² = 2 q·k − |q|² − |k|², and never above 0 where rounding would put it.
                    let two = T::one() + T::one();
                    for (x, norm) in line.iter_mut().zip(&self.col_norms[c.clone()]) {
                        *x = (*x * two - self.row_norms[row] - *norm).min(T::zero());
                    }
                }
            }
        }
    }

    /// The score at one place.
    pub(crate) fn entry(&self, row: usize, col: usize) -> T {
        let (dot, col_norm) = match &self.source {
            Source::Given(s) => return s.row(row)[col],
            Source::Product(q, k) => (simd::dot(q.row(row), k.row(col)), self.col_norms.get(col)),
            Source::Gathered(q, k, ids) => {
                let id = ids[row * self.cols + col] as usize;
                (simd::dot(q.row(row), k.row(id)), self.col_norms.get(id))
            }
        };
        let col_norm = col_norm.copied().unwrap_or_default();
        match self.spec.scorer {
            Scorer::Inner => dot + self.bias.map_or(T::zero(), |b| b[col]),
            Scorer::Cosine | Scorer::CosineOfUnit => dot * self.row_norms[row] * col_norm,
            Scorer::NegativeSquaredDistance => (dot + dot - self.row_norms[row] - col_norm).min(T::zero()),
        }
    }

    /// Turns ∂loss/∂score of part of a row into the factor of the inner product: ∂loss/∂(q·k).
    pub(crate) fn through_scorer(&self, row: usize, c: Range<usize>, h: &mut [T]) {
        match (&self.source, self.spec.scorer) {
            (Source::Product(..), Scorer::Cosine | Scorer::CosineOfUnit) => {
                simd::scale_columns(h, &self.col_norms[c], self.row_norms[row]);
            }
            (Source::Gathered(_, _, ids), Scorer::Cosine | Scorer::CosineOfUnit) => {
                let ids = &ids[row * self.cols + c.start..row * self.cols + c.end];
                for (h, id) in h.iter_mut().zip(ids) {
                    *h *= self.row_norms[row] * self.col_norms[*id as usize];
                }
            }
            (_, Scorer::NegativeSquaredDistance) if self.is_product() => simd::scale_in_place(h, T::one() + T::one()),
            _ => {}
        }
    }

    /// Buffers for the gradients of what this matrix is made of.
    pub(crate) fn buffers(&self, wants: Wants) -> Buffers<T> {
        let zeros = |n: usize, wanted: bool| if wanted { memory::zeros(n) } else { Vec::new() };
        match &self.source {
            Source::Given(s) => Buffers { scores: zeros(s.data.len(), wants.left), fresh: true, ..Buffers::default() },
            Source::Product(q, k) | Source::Gathered(q, k, _) => {
                let distance = self.spec.scorer == Scorer::NegativeSquaredDistance;
                Buffers {
                    left: zeros(q.data.len(), wants.left),
                    right: zeros(k.data.len(), wants.right),
                    row_sums: zeros(q.rows, distance && wants.left),
                    col_sums: zeros(k.rows, (distance && wants.right) || (self.bias.is_some() && wants.bias)),
                    scores: Vec::new(),
                    fresh: true,
                }
            }
        }
    }

    /// Completes accumulated products to gradients: the projection of the cosine, the own term of the distance.
    pub(crate) fn finish(&self, buffers: &mut Buffers<T>) {
        let (q, k) = match &self.source {
            Source::Given(_) => return,
            Source::Product(q, k) | Source::Gathered(q, k, _) => (q, k),
        };
        let complete = |grad: &mut Vec<T>, view: &View<'_, T>, norms: &[T], sums: &[T], candidates: bool| {
            if grad.is_empty() || view.cols == 0 {
                return;
            }
            grad.par_chunks_mut(view.cols).enumerate().with_min_len(64).for_each(|(row, g)| {
                let x = view.row(row);
                match self.spec.scorer {
                    Scorer::Inner => {}
                    // By the unit vector: the 1/|x| in the factor is taken out again, and nothing is projected.
                    Scorer::CosineOfUnit if candidates => {
                        let length = if norms[row] > T::zero() { norms[row].recip() } else { T::zero() };
                        simd::scale_in_place(g, length);
                    }
                    // d(û·v)/dx = (v − (û·v) û)/|x|; the 1/|x| is already in the factor.
                    Scorer::Cosine | Scorer::CosineOfUnit => {
                        let along = simd::dot(g, x) * norms[row] * norms[row];
                        simd::add_scaled(g, x, -along);
                    }
                    Scorer::NegativeSquaredDistance => simd::add_scaled(g, x, -sums[row]),
                }
            });
        };
        complete(&mut buffers.left, q, &self.row_norms, &buffers.row_sums, false);
        complete(&mut buffers.right, k, &self.col_norms, &buffers.col_sums, true);
    }
}

/// Which gradients are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) left: bool,
    pub(crate) right: bool,
    pub(crate) bias: bool,
}

/// Accumulated gradients of one matrix; empty where not wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers<T> {
    /// `[rows, d]`
    pub(crate) left: Vec<T>,
    /// `[cols, d]`
    pub(crate) right: Vec<T>,
    /// Sums of ∂loss/∂(q·k) over each row.
    pub(crate) row_sums: Vec<T>,
    /// The same over each column (twice the bias gradient for distances, the bias gradient otherwise).
    pub(crate) col_sums: Vec<T>,
    /// `[rows, cols]` where scores are given.
    pub(crate) scores: Vec<T>,
    /// Nothing has been added yet: the first products may overwrite.
    pub(crate) fresh: bool,
}

fn map_rows<T: Real>(view: View<'_, T>, f: impl Fn(&[T]) -> T + Sync) -> Arc<[T]> {
    (0..view.rows).into_par_iter().with_min_len(256).map(|row| f(view.row(row))).collect::<Vec<_>>().into()
}

/// `1/|x|`, without overflow on the way; 0 for the zero vector, whose direction is undefined: its scores are 0 and its
/// gradient is 0.
pub(crate) fn inverse_norm<T: Real>(x: &[T]) -> T {
    let squared = simd::dot(x, x);
    if squared.is_normal() && squared > T::min_positive_value() / T::epsilon() {
        return squared.sqrt().recip();
    }
    let peak = x.iter().fold(T::zero(), |a, b| a.max(b.abs()));
    if peak == T::zero() {
        return T::zero();
    }
    let squared = x.iter().map(|v| (*v / peak) * (*v / peak)).sum::<T>();
    squared.sqrt().recip() / peak
}
