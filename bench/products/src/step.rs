//! What a tile costs altogether: the four products of the recomputing schedule, which forms the
//! scores twice and each gradient once, from the measured rates of the single products.

use std::collections::BTreeMap;

use crate::library::Library;
use crate::tiles::{Kind, Tile};

/// Measured f32 rates by library, threads and tile.
#[derive(Default)]
pub struct Steps {
    rates: BTreeMap<(usize, usize, [usize; 3]), [f64; 3]>,
}

impl Steps {
    /// Records the fastest rate of `kind` (in GFLOP/s) for the library at `index` of the run.
    pub fn record(&mut self, index: usize, threads: usize, tile: Tile, kind: Kind, rate: f64) {
        let slot = match kind {
            Kind::Scores => 0,
            Kind::GradQueries => 1,
            Kind::GradCandidates => 2,
        };
        let key = (index, threads, [tile.dim, tile.rows, tile.cols]);
        self.rates.entry(key).or_insert([f64::NAN; 3])[slot] = rate;
    }

    /// Prints `4 / (2/S + 1/dQ + 1/dC)` in GFLOP/s: a row for each dimension and `r`, a column for
    /// each `c`.
    pub fn print(&self, libraries: &[Library]) {
        for (index, library) in libraries.iter().enumerate() {
            for threads in [1, 2] {
                let of_run = || {
                    self.rates
                        .iter()
                        .filter(move |((i, t, _), _)| (*i, *t) == (index, threads))
                        .map(|((_, _, [d, r, c]), [s, q, g])| ((*d, *r), *c, 4.0 / (2.0 / s + 1.0 / q + 1.0 / g)))
                };
                let mut cols: Vec<usize> = of_run().map(|(_, c, _)| c).collect();
                cols.sort_unstable();
                cols.dedup();
                println!("\nfour products of a tile: {}, {threads} thread(s)", library.name());
                print!("{:<14}", "");
                cols.iter().for_each(|c| print!("{:>8}", format!("c={c}")));
                let mut row = None;
                for (name, _, rate) in of_run() {
                    if row != Some(name) {
                        print!("\n{:<14}", format!("d={} r={}", name.0, name.1));
                        row = Some(name);
                    }
                    print!("{rate:>8.0}");
                }
                println!();
            }
        }
    }
}
