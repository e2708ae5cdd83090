//! The bare products: what an exact method cannot avoid, alone, in the tiles and on the threads of the engine.

use keener::engine::tiling;
use keener::products::{MatRef, gemm};
use keener::real::Real;
use rayon::prelude::*;
use std::ops::Range;
use std::time::Instant;

/// Work of one measurement at most; beyond it fewer rows are multiplied.
const MOST_FLOPS: f64 = 6e10;

/// Products of `left` `[B, d]` and `right` `[N, d]` without anything between them.
pub(super) struct Bare<'a, T> {
    left: &'a [T],
    right: &'a [T],
    depth: usize,
    /// 1 for scores, 3 with both gradients, 4 with scores computed twice.
    products: usize,
    rows: usize,
    panel: usize,
    tile: usize,
    groups: Vec<Group<T>>,
}

/// Columns that one thread works at, with its own results.
struct Group<T> {
    columns: Range<usize>,
    scores: Vec<T>,
    left: Vec<T>,
    right: Vec<T>,
}

impl<'a, T: Real> Bare<'a, T> {
    /// Prepares `products` products, which are 1, 3 or 4, and runs them once.
    pub(super) fn new(left: &'a [T], right: &'a [T], depth: usize, products: usize) -> Self {
        let (rows, cols) = (left.len() / depth.max(1), right.len() / depth.max(1));
        let tiling = tiling(rows, cols);
        let (panel, tile) = (tiling.panel, tiling.tile);
        let gradient = |rows: usize| vec![T::zero(); if products > 1 { rows * depth } else { 0 }];
        let groups = tiling.groups.into_iter().map(|columns| Group {
            scores: vec![T::zero(); panel * tile],
            left: gradient(panel),
            right: gradient(columns.len()),
            columns,
        });
        let mut bare = Self { left, right, depth, products, rows, panel, tile, groups: groups.collect() };
        bare.rows = rows.min(((rows as f64 * MOST_FLOPS / bare.flops()) as usize).max(panel));
        bare.gflops();
        bare
    }

    fn flops(&self) -> f64 {
        2.0 * self.products as f64 * self.rows as f64 * self.right.len() as f64
    }

    /// Runs them; the speed in GFLOP/s.
    pub(super) fn gflops(&mut self) -> f64 {
        let Self { left, right, depth, products, rows, tile, .. } = *self;
        let small = T::of(1e-6);
        let start = Instant::now();
        for from in (0..rows).step_by(self.panel) {
            let height = self.panel.min(rows - from);
            let q = MatRef::new(&left[from * depth..(from + height) * depth], height, depth);
            self.groups.par_iter_mut().with_max_len(1).for_each(|g| {
                for at in g.columns.clone().step_by(tile) {
                    let width = tile.min(g.columns.end - at);
                    let k = MatRef::new(&right[at * depth..(at + width) * depth], width, depth);
                    gemm(T::one(), q, k.t(), T::zero(), &mut g.scores, width);
                    if products == 4 {
                        gemm(T::one(), q, k.t(), T::zero(), &mut g.scores, width);
                    }
                    if products > 1 {
                        let scores = MatRef::new(&g.scores, height, width);
                        gemm(small, scores, k, T::one(), &mut g.left, depth);
                        let first = (at - g.columns.start) * depth;
                        gemm(small, scores.t(), q, T::one(), &mut g.right[first..first + width * depth], depth);
                    }
                }
            });
        }
        self.flops() / start.elapsed().as_secs_f64() / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_products_are_done_and_counted() {
        let (rows, cols, depth) = (300, 700, 3);
        let left: Vec<f64> = (0..rows * depth).map(|i| (i as f64).sin()).collect();
        let right: Vec<f64> = (0..cols * depth).map(|i| (i as f64).cos()).collect();
        let mut bare = Bare::new(&left, &right, depth, 3);
        assert!(bare.gflops() > 0.0);
        assert_eq!(bare.flops(), 2.0 * 3.0 * (rows * cols * depth) as f64);
        assert_eq!(bare.groups.iter().map(|g| g.columns.len()).sum::<usize>(), cols);
        // Two runs of Sᵀ·q, with S = q·kᵀ.
        let last = bare.groups.last().unwrap();
        let k = &right[(cols - 1) * depth..];
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let expected: f64 = left.chunks(depth).map(|q| dot(q, k) * q[0] * 2e-6).sum();
        assert!((last.right[last.right.len() - depth] - expected).abs() < 1e-15);
    }
}
