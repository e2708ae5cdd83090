//! Whole products `S = Q·Cᵀ` on two threads: handed to the library at once, and cut into tiles.

use std::time::Instant;

use crate::library::{Library, Scalar, View, set_blas_threads};
use crate::tiles::{noise, summary};

/// `rows` × `dim` queries against `cols` candidates; at most `chunk` candidates per product.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Queries.
    pub rows: usize,
    /// Dimension.
    pub dim: usize,
    /// Candidates.
    pub cols: usize,
    /// Candidates whose scores are held at a time.
    pub chunk: usize,
}

/// The shapes of the comparison; `torch_products.py` has the same list.
pub const SHAPES: [Shape; 6] = [
    Shape { rows: 1024, dim: 512, cols: 1000, chunk: 1000 },
    Shape { rows: 256, dim: 128, cols: 65536, chunk: 65536 },
    Shape { rows: 512, dim: 256, cols: 16384, chunk: 16384 },
    Shape { rows: 4096, dim: 256, cols: 4096, chunk: 4096 },
    Shape { rows: 2048, dim: 128, cols: 2048, chunk: 2048 },
    Shape { rows: 8192, dim: 256, cols: 262_144, chunk: 4096 },
];

/// Fastest and median GFLOP/s of each candidate with the library's own two threads.
pub fn measure(shape: Shape, libraries: &[Library], repeats: usize) -> Vec<(f64, f64)> {
    let queries: Vec<f32> = noise(shape.rows * shape.dim, 1);
    let candidates: Vec<f32> = noise(shape.cols * shape.dim, 2);
    let mut scores = vec![0f32; shape.rows * shape.chunk];
    let flops = 2.0 * (shape.rows * shape.dim) as f64 * shape.cols as f64;
    let (first, repeats) = rounds(flops, repeats);
    set_blas_threads(2);
    let mut seconds = vec![Vec::with_capacity(repeats); libraries.len()];
    for round in first..=repeats {
        for (library, seconds) in libraries.iter().zip(&mut seconds) {
            let start = Instant::now();
            for chunk in candidates.chunks(shape.chunk * shape.dim) {
                let cols = chunk.len() / shape.dim;
                f32::product(
                    *library,
                    View::new(&queries, shape.rows, shape.dim),
                    View::new(chunk, cols, shape.dim).transposed(),
                    &mut scores,
                    false,
                    2,
                );
            }
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    set_blas_threads(1);
    seconds.iter_mut().map(|s| summary(s, flops)).collect()
}

/// The same products cut into `tile_rows` × `tile_cols` tiles, one task per panel of rows, each
/// tile written to a buffer of its task as in the streaming engine.
pub fn measure_tiled(
    shape: Shape,
    tile_rows: usize,
    tile_cols: usize,
    libraries: &[Library],
    repeats: usize,
) -> Vec<(f64, f64)> {
    use rayon::prelude::*;
    let queries: Vec<f32> = noise(shape.rows * shape.dim, 1);
    let candidates: Vec<f32> = noise(shape.cols * shape.dim, 2);
    let flops = 2.0 * (shape.rows * shape.dim) as f64 * shape.cols as f64;
    let (first, repeats) = rounds(flops, repeats);
    let mut seconds = vec![Vec::with_capacity(repeats); libraries.len()];
    for round in first..=repeats {
        for (library, seconds) in libraries.iter().zip(&mut seconds) {
            let start = Instant::now();
            queries.par_chunks(tile_rows * shape.dim).for_each_init(
                || vec![0f32; tile_rows * tile_cols],
                |scores, panel| {
                    let rows = panel.len() / shape.dim;
                    for tile in candidates.chunks(tile_cols * shape.dim) {
                        f32::product(
                            *library,
                            View::new(panel, rows, shape.dim),
                            View::new(tile, tile.len() / shape.dim, shape.dim).transposed(),
                            scores,
                            false,
                            1,
                        );
                    }
                },
            );
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    seconds.iter_mut().map(|s| summary(s, flops)).collect()
}

/// First round (0 is a warm-up) and last; large products are repeated less and warm themselves up.
fn rounds(flops: f64, repeats: usize) -> (usize, usize) {
    if flops > 1e11 { (1, repeats.min(2)) } else { (0, repeats) }
}
