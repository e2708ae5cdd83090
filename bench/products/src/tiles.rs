//! The engine's tile products, timed as the engine runs them: one query panel stays, the candidate
//! tiles pass by.

use std::time::Instant;

use crate::library::{Library, Scalar, View};

/// The three products of a tile with queries `Q[r,d]`, candidates `C[c,d]`, scores or their
/// gradient `G[r,c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `S = Q·Cᵀ`.
    Scores,
    /// `dQ += G·C`.
    GradQueries,
    /// `dC += Gᵀ·Q`.
    GradCandidates,
}

impl Kind {
    /// All three.
    pub const ALL: [Kind; 3] = [Kind::Scores, Kind::GradQueries, Kind::GradCandidates];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Scores => "S=QCt",
            Kind::GradQueries => "dQ+=GC",
            Kind::GradCandidates => "dC+=GtQ",
        }
    }
}

/// A tile: `rows` queries × `cols` candidates of dimension `dim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Queries.
    pub rows: usize,
    /// Candidates.
    pub cols: usize,
    /// Dimension of the embeddings.
    pub dim: usize,
}

impl Tile {
    /// Floating-point operations of one product of the tile.
    pub fn flops(self) -> f64 {
        2.0 * self.rows as f64 * self.cols as f64 * self.dim as f64
    }
}

/// The buffers of one thread: a query panel, `count` candidate tiles, one score tile.
pub struct Bench<T> {
    tile: Tile,
    count: usize,
    queries: Vec<T>,
    candidates: Vec<T>,
    scores: Vec<T>,
    grad_queries: Vec<T>,
    grad_candidates: Vec<T>,
}

impl<T: Scalar> Bench<T> {
    /// Buffers with enough candidate tiles for about `flops` operations a sweep (1 to 16 tiles).
    pub fn new(tile: Tile, flops: f64) -> Self {
        let count = ((flops / tile.flops()).ceil() as usize).clamp(1, 16);
        Bench {
            tile,
            count,
            queries: noise(tile.rows * tile.dim, 1),
            candidates: noise(count * tile.cols * tile.dim, 2),
            scores: noise(tile.rows * tile.cols, 3),
            grad_queries: noise(tile.rows * tile.dim, 4),
            grad_candidates: noise(count * tile.cols * tile.dim, 5),
        }
    }

    /// Operations of one sweep.
    pub fn flops(&self) -> f64 {
        self.tile.flops() * self.count as f64
    }

    /// One product for each candidate tile, single-threaded.
    pub fn sweep(&mut self, library: Library, kind: Kind) {
        let Tile { rows, cols, dim } = self.tile;
        let queries = View::new(&self.queries, rows, dim);
        for index in 0..self.count {
            let range = index * cols * dim..(index + 1) * cols * dim;
            let candidates = View::new(&self.candidates[range.clone()], cols, dim);
            match kind {
                Kind::Scores => T::product(library, queries, candidates.transposed(), &mut self.scores, false, 1),
                Kind::GradQueries => T::product(
                    library,
                    View::new(&self.scores, rows, cols),
                    candidates,
                    &mut self.grad_queries,
                    true,
                    1,
                ),
                Kind::GradCandidates => T::product(
                    library,
                    View::new(&self.scores, rows, cols).transposed(),
                    queries,
                    &mut self.grad_candidates[range],
                    true,
                    1,
                ),
            }
        }
    }
}

/// Fastest and median GFLOP/s of each candidate, in the order of `libraries`; the samples of the
/// candidates are interleaved so that a disturbance hits all alike.
pub fn measure<T: Scalar>(
    tile: Tile,
    kind: Kind,
    libraries: &[Library],
    threads: usize,
    repeats: usize,
) -> Vec<(f64, f64)> {
    let mut benches: Vec<Bench<T>> = (0..threads).map(|_| Bench::new(tile, 3e7)).collect();
    let flops: f64 = benches.iter().map(Bench::flops).sum();
    let mut seconds = vec![Vec::with_capacity(repeats); libraries.len()];
    for round in 0..=repeats {
        for (library, seconds) in libraries.iter().zip(&mut seconds) {
            let start = Instant::now();
            match benches.as_mut_slice() {
                [one] => one.sweep(*library, kind),
                [one, two] => {
                    rayon::join(|| one.sweep(*library, kind), || two.sweep(*library, kind));
                }
                _ => unreachable!("one or two threads"),
            }
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    seconds.iter_mut().map(|s| summary(s, flops)).collect()
}

/// Fastest and median rate of the given times, in GFLOP/s.
pub fn summary(seconds: &mut [f64], flops: f64) -> (f64, f64) {
    seconds.sort_by(f64::total_cmp);
    let rate = |s: f64| flops / s / 1e9;
    (rate(seconds[0]), rate(seconds[seconds.len() / 2]))
}

/// Deterministic values in [−0.05, 0.05): small enough that repeated `+=` stays finite.
pub fn noise<T: Scalar>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            T::from_f64(((state >> 40) as f64 / (1u64 << 24) as f64 - 0.5) * 0.1)
        })
        .collect()
}
