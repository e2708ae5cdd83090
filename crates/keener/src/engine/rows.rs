//! Complete rows of a score matrix, a block at a time, with the bits that a sweep would see.

use super::matrix::Bound;
use super::schedule::Geometry;
use crate::real::Real;
use rayon::prelude::*;

/// Complete rows of a matrix (or difference), a block at a time.
pub(crate) struct CompleteRows<'e, 'a, T> {
    matrices: &'e [Bound<'a, T>],
    matrix: usize,
    minus: Option<usize>,
    next: usize,
    at_once: usize,
    buffer: Vec<T>,
    other: Vec<T>,
}

/// Bytes of complete rows held at a time.
const ROW_BLOCK_BYTES: usize = 8 << 20;

impl<'e, 'a, T: Real> CompleteRows<'e, 'a, T> {
    pub(crate) fn new(matrices: &'e [Bound<'a, T>], matrix: usize, minus: Option<usize>) -> Self {
        let bound = &matrices[matrix];
        let fit = ROW_BLOCK_BYTES / (bound.cols.max(1) * size_of::<T>());
        // Panels of a sweep, cut evenly.
        let panel = Geometry::new(bound.rows, bound.cols).panel;
        let at_once = panel.div_ceil(panel.div_ceil(fit.clamp(1, panel))).max(16.min(panel));
        Self { matrices, matrix, minus, next: 0, at_once, buffer: Vec::new(), other: Vec::new() }
    }

    /// First row, the rows, and their width.
    pub(crate) fn next_block(&mut self) -> Option<(usize, &[T], usize)> {
        let bound = &self.matrices[self.matrix];
        if self.next >= bound.rows {
            return None;
        }
        let panel = Geometry::new(bound.rows, bound.cols).panel;
        let panel_end = ((self.next / panel + 1) * panel).min(bound.rows);
        let mut end = (self.next + self.at_once).min(panel_end);
        if panel_end - end < 16 {
            end = panel_end;
        }
        let rows = self.next..end;
        let size = rows.len() * bound.cols;
        self.buffer.resize(size, T::zero());
        fill_rows(bound, rows.clone(), &mut self.buffer);
        if let Some(minus) = self.minus {
            self.other.resize(size, T::zero());
            fill_rows(&self.matrices[minus], rows.clone(), &mut self.other);
            self.buffer.iter_mut().zip(&self.other).for_each(|(a, b)| *a -= *b);
        }
        self.next = rows.end;
        Some((rows.start, &self.buffer, bound.cols))
    }
}

/// Complete rows, computed in parallel by blocks of rows in the column tiles of a sweep: a threshold found here must
/// equal, to the bit, the score that a later sweep compares with it.
fn fill_rows<T: Real>(bound: &Bound<'_, T>, rows: std::ops::Range<usize>, out: &mut [T]) {
    let cols = bound.cols;
    let tile = Geometry::new(bound.rows, cols).tile;
    // At least 16 rows a block where there are as many: a product of one row may be summed in another order.
    let blocks = (rows.len() / 16).clamp(1, 16);
    let block = rows.len().div_ceil(blocks);
    out.par_chunks_mut((block * cols).max(1)).enumerate().for_each(|(k, out)| {
        let from = rows.start + k * block;
        let part = from..(from + block).min(rows.end);
        let mut buffer = vec![T::zero(); part.len() * tile];
        for start in (0..cols).step_by(tile.max(1)) {
            let columns = start..(start + tile).min(cols);
            bound.fill(part.clone(), columns.clone(), &mut buffer);
            for (row, line) in out.chunks_exact_mut(cols).zip(buffer.chunks_exact(columns.len())) {
                row[columns.clone()].copy_from_slice(line);
            }
        }
    });
}
