//! The ranks of what is relevant to each query, without sorting what is not.
//!
//! References are laid out class by class, so what is relevant to a query is a range of columns. The tiles that hold it
//! come first: the scores of the relevant references, sorted, make a [`Ladder`]. Then every tile is computed in turn and each
//! other score only counted on the ladder, above the floor: the last relevant reference whose rank may still be within
//! the depth that is asked for. As others are counted the floor rises, and soon nearly all scores are passed over 32 at
//! a time. Memory is a tile and the ladders of a panel a thread; no row of scores is ever complete.

use super::ladder::{Ladder, Rung, downwards};
use super::panels::{Prepared, Similarity, Tiling, scores};
use crate::real::Real;
use crate::{Result, simd};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;

/// Embeddings laid out class by class.
pub(super) struct Grouped<T> {
    pub(super) rows: Prepared<T>,
    /// The original row at each place.
    pub(super) order: Vec<usize>,
    /// The label at each place.
    pub(super) labels: Vec<usize>,
    places: HashMap<usize, Range<usize>>,
}

impl<T: Real> Grouped<T> {
    /// Checks and prepares embeddings `[n, dim]` with one label a row (checked before).
    pub(super) fn new(
        what: &str,
        data: &[T],
        dim: usize,
        labels: &[usize],
        similarity: Similarity,
        centre: &[f64],
    ) -> Result<Self> {
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|&i| labels[i]);
        let rows = Prepared::ordered(what, data, dim, similarity, centre, Some(&order))?;
        let labels: Vec<usize> = order.iter().map(|&i| labels[i]).collect();
        let mut places = HashMap::new();
        let mut start = 0;
        for class in labels.chunk_by(|a, b| a == b) {
            places.insert(class[0], start..start + class.len());
            start += class.len();
        }
        Ok(Self { rows, order, labels, places })
    }

    pub(super) fn rows(&self) -> usize {
        self.order.len()
    }

    /// The places of a class, none where it does not occur.
    pub(super) fn of_class(&self, label: usize) -> Range<usize> {
        self.places.get(&label).cloned().unwrap_or(0..0)
    }
}

/// One query: its ladder, and how many others stand before each rung but not before the one above.
#[derive(Default)]
struct Counter<T> {
    relevant: Vec<Rung<T>>,
    ladder: Ladder<T>,
    counts: Vec<u32>,
    /// Rungs that are still counted, and the others before the last of them.
    active: usize,
    before: usize,
    depth: usize,
}

impl<T: Real> Counter<T> {
    fn start(&mut self, depth: usize) {
        self.relevant.sort_unstable_by(downwards);
        self.active = self.relevant.len();
        self.ladder.fill(&self.relevant);
        self.relevant.clear();
        self.counts.clear();
        self.counts.resize(self.active, 0);
        (self.before, self.depth) = (0, depth);
        self.raise();
    }

    /// Drops rungs that are beyond the depth; the first stays.
    fn raise(&mut self) {
        while self.active > 1 && self.active + self.before > self.depth {
            self.active -= 1;
            self.before -= self.counts[self.active] as usize;
        }
    }

    fn floor(&self) -> T {
        self.ladder.scores()[self.active - 1]
    }

    /// Counts scores of irrelevant references; `order` holds their indices. `peaks` is room for block maxima.
    fn count(&mut self, scores: &[T], order: &[usize], peaks: &mut [T]) {
        simd::block_max(peaks, scores);
        let mut floor = self.floor();
        for ((block, indices), peak) in scores.chunks(simd::LANES).zip(order.chunks(simd::LANES)).zip(peaks.iter()) {
            if *peak < floor {
                continue;
            }
            for (score, index) in block.iter().zip(indices) {
                if *score < floor {
                    continue;
                }
                let at = self.ladder.before((*score, *index as u32));
                if at < self.active {
                    self.counts[at] += 1;
                    self.before += 1;
                    self.raise();
                    floor = self.floor();
                }
            }
        }
    }

    /// Ranks from 1, upwards, of the active rungs.
    fn ranks(&self, ranks: &mut Vec<usize>) {
        ranks.clear();
        let mut others = 0;
        for (i, count) in self.counts[..self.active].iter().enumerate() {
            others += *count as usize;
            ranks.push(i + 1 + others);
        }
    }
}

/// Buffers of one worker.
struct Work<T> {
    counters: Vec<Counter<T>>,
    tile: Vec<T>,
    peaks: Vec<T>,
    ranks: Vec<usize>,
}

/// `f(query, R, ranks)` for each query that has relevant references, R of them, in the order of the queries.
///
/// `ranks` holds the ranks, from 1 and upwards, of the relevant references among all references (less the query itself
/// where `itself` says that queries and references are the same rows), those up to `depth(R)` and at least the first. Of
/// equally similar references the one with the lower index comes first.
pub(super) fn ranks<T: Real, R: Send>(
    queries: &Grouped<T>,
    references: &Grouped<T>,
    itself: bool,
    similarity: Similarity,
    depth: impl Fn(usize) -> usize + Sync,
    f: impl Fn(usize, usize, &[usize]) -> R + Sync,
) -> Result<Vec<(usize, R)>> {
    let tiling = Tiling::new(queries.rows(), references.rows());
    let panel = |work: &mut Work<T>, p: usize| -> Result<Vec<(usize, R)>> {
        let rows = tiling.panel(p);
        let classes: Vec<Range<usize>> = rows.clone().map(|q| references.of_class(queries.labels[q])).collect();
        work.counters.resize_with(rows.len().max(work.counters.len()), Counter::default);
        let (counters, tile) = (&mut work.counters[..rows.len()], &mut work.tile);
        let mut needed = vec![false; tiling.tiles()];
        classes.iter().for_each(|class| needed[tiling.holding(class)].fill(true));
        for t in (0..tiling.tiles()).filter(|t| needed[*t]) {
            let cols = tiling.tile(t);
            tile.resize(rows.len() * cols.len(), T::zero());
            scores(&queries.rows, &references.rows, similarity, rows.clone(), cols.clone(), tile)?;
            for (i, row) in tile.chunks_exact(cols.len()).enumerate() {
                let own = itself.then_some(rows.start + i);
                let some = classes[i].start.max(cols.start)..classes[i].end.min(cols.end);
                let relevant = some.filter(|j| Some(*j) != own);
                counters[i].relevant.extend(relevant.map(|j| (row[j - cols.start], references.order[j] as u32)));
            }
        }
        counters.iter_mut().for_each(|counter| counter.start(depth(counter.relevant.len())));
        for t in 0..tiling.tiles() {
            let cols = tiling.tile(t);
            tile.resize(rows.len() * cols.len(), T::zero());
            scores(&queries.rows, &references.rows, similarity, rows.clone(), cols.clone(), tile)?;
            for ((row, class), counter) in tile.chunks_exact(cols.len()).zip(&classes).zip(counters.iter_mut()) {
                if counter.active == 0 {
                    continue;
                }
                let (left, right) = (class.start.clamp(cols.start, cols.end), class.end.clamp(cols.start, cols.end));
                for part in [cols.start..left, right..cols.end] {
                    let some = &row[part.start - cols.start..part.end - cols.start];
                    counter.count(some, &references.order[part], &mut work.peaks);
                }
            }
        }
        let mut found = Vec::with_capacity(rows.len());
        for (counter, query) in counters.iter().zip(rows).filter(|(counter, _)| counter.active > 0) {
            counter.ranks(&mut work.ranks);
            let query = queries.order[query];
            found.push((query, f(query, counter.counts.len(), &work.ranks)));
        }
        Ok(found)
    };
    let work = || Work {
        counters: Vec::new(),
        tile: Vec::new(),
        peaks: vec![T::zero(); tiling.widest().div_ceil(simd::LANES)],
        ranks: Vec::new(),
    };
    let panels: Vec<Vec<(usize, R)>> =
        (0..tiling.panels()).into_par_iter().with_max_len(1).map_init(work, panel).collect::<Result<_>>()?;
    let mut all: Vec<(usize, R)> = panels.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(query, _)| *query);
    Ok(all)
}
