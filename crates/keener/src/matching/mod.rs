//! Local descriptors: which of one image belong to which of another, losses over such matches, and their pooling.
//!
//! An image is `K` descriptors of `D` numbers. Distances are computed in blocks, never is there a `K × K` matrix per pair of
//! images beyond one block of rows; which descriptors match is not differentiated, what the matches cost is.

mod local_triplet;
mod mutual;
mod pooling;

pub use local_triplet::{LocalTriplet, LocalTripletValue};
pub use mutual::{Match, mutual_matches};
pub use pooling::{GemPool, attention};

use crate::engine::View;
use crate::error::{Error, Result};
use crate::products::{MatRef, gemm};
use crate::real::Real;

/// Rows of a block of products.
const BLOCK: usize = 64;

/// Rows brought to length one, with the lengths that they had; a zero row stays zero.
#[derive(Clone, Debug)]
struct Unit<T> {
    rows: Vec<T>,
    norms: Vec<T>,
    dim: usize,
}

impl<T: Real> Unit<T> {
    fn new(what: &str, data: View<'_, T>) -> Result<Self> {
        let dim = data.cols();
        if dim == 0 || data.rows() == 0 {
            return Err(Error::shape(what, &[data.rows(), dim], "at least one descriptor of at least one number"));
        }
        if let Some(at) = data.data().iter().position(|x| !x.is_finite()) {
            let value = data.data()[at].to_string();
            return Err(Error::NonFinite { what: what.into(), value, row: at / dim, column: at % dim });
        }
        let mut rows = data.data().to_vec();
        let norms = rows.chunks_exact_mut(dim).map(normalise).collect();
        Ok(Self { rows, norms, dim })
    }

    fn len(&self) -> usize {
        self.norms.len()
    }

    fn row(&self, i: usize) -> &[T] {
        &self.rows[i * self.dim..(i + 1) * self.dim]
    }

    /// Squared length of a row after normalisation: 1, or 0 for a zero row.
    fn square(&self, i: usize) -> T {
        if self.norms[i] > T::zero() { T::one() } else { T::zero() }
    }

    /// Adds the gradient of a unit row, brought back through the normalisation, to that of the raw row.
    fn pull_back(&self, i: usize, unit_gradient: &[T], into: &mut [T]) {
        let norm = self.norms[i];
        if norm == T::zero() {
            return;
        }
        let u = self.row(i);
        let radial: T = u.iter().zip(unit_gradient).map(|(u, g)| *u * *g).sum();
        for ((into, g), u) in into.iter_mut().zip(unit_gradient).zip(u) {
            *into += (*g - radial * *u) / norm;
        }
    }
}

/// Brings a row to length one without overflow on the way, and returns its length.
fn normalise<T: Real>(row: &mut [T]) -> T {
    let peak = row.iter().fold(T::zero(), |m, x| m.max(x.abs()));
    if peak == T::zero() {
        return peak;
    }
    let scaled: T = row.iter().map(|x| (*x / peak) * (*x / peak)).sum::<T>().sqrt();
    row.iter_mut().for_each(|x| *x = *x / peak / scaled);
    peak * scaled
}

/// `|a − b|²`, from the differences, so that near rows keep their digits.
fn squared_distance<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| (*a - *b) * (*a - *b)).sum()
}

/// Calls `visit(row, squared distances to every row of `to`)` for the listed rows of `from`, in their order.
fn sweep<T: Real>(from: &Unit<T>, rows: &[usize], to: &Unit<T>, mut visit: impl FnMut(usize, &[T])) {
    let (dim, columns) = (from.dim, to.len());
    let squares: Vec<T> = (0..columns).map(|j| to.square(j)).collect();
    let mut block = vec![T::zero(); BLOCK.min(rows.len().max(1)) * columns];
    let mut gathered = Vec::with_capacity(BLOCK.min(rows.len()) * dim);
    for chunk in rows.chunks(BLOCK) {
        gathered.clear();
        chunk.iter().for_each(|i| gathered.extend_from_slice(from.row(*i)));
        let (a, b) = (MatRef::new(&gathered, chunk.len(), dim), MatRef::new(&to.rows, columns, dim).t());
        gemm(T::of(-2.0), a, b, T::zero(), &mut block, columns);
        for (at, i) in chunk.iter().enumerate() {
            let line = &mut block[at * columns..(at + 1) * columns];
            let own = from.square(*i);
            line.iter_mut().zip(&squares).for_each(|(d, s)| *d = (*d + own + *s).max(T::zero()));
            visit(*i, line);
        }
    }
}

/// Position of the least value, the lowest one on ties.
fn nearest<T: Real>(distances: &[T]) -> usize {
    let mut best = 0;
    for (k, d) in distances.iter().enumerate().skip(1) {
        if *d < distances[best] {
            best = k;
        }
    }
    best
}
