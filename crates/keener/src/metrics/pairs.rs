//! All pairs of embeddings, streamed: the scores of pairs of one class, and counts of the others between them.

use super::ladder::Ladder;
use super::panels::{Similarity, Tiling, scores};
use super::ranking::Step;
use super::ranks::Grouped;
use crate::Result;
use crate::real::Real;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Steps from sorted positive scores and the counts of negatives: `counts[2g + 1]` equal the score g, `counts[2g]` lie between
/// it and the one before. Where negatives lie between two positives the curve has a step of its own, at the lower one.
pub(super) fn steps<'a, T: Real>(positives: &'a [T], counts: &'a [AtomicU32]) -> impl Iterator<Item = Step> + 'a {
    let mut place = 0;
    let mut last = Step::NONE;
    let ties = positives.chunk_by(|a, b| a == b).map(Some).chain([None]);
    ties.flat_map(move |group| {
        let before = u64::from(counts[2 * place].load(Relaxed));
        last.negatives += before;
        last.threshold = group.map_or(f64::NEG_INFINITY, |group| group[0].f64());
        let first = (before > 0).then_some(last);
        let second = group.map(|group| {
            place += group.len();
            last.positives += group.len() as u64;
            last.negatives += u64::from(counts[2 * place - 1].load(Relaxed));
            last
        });
        first.into_iter().chain(second)
    })
}

/// Negatives of one panel on their way to the counts.
struct Gathered<'a, T> {
    scores: Vec<T>,
    sorted: &'a [T],
    counts: &'a [AtomicU32],
}

/// Scores that are sorted together.
const GATHERED: usize = 1 << 20;

impl<T: Real> Gathered<'_, T> {
    fn add(&mut self, scores: &[T]) {
        self.scores.extend_from_slice(scores);
        if self.scores.len() >= GATHERED {
            self.count();
        }
    }

    /// Counts what is gathered: integers, so that the order of panels does not matter.
    fn count(&mut self) {
        self.scores.sort_unstable_by(downwards);
        let mut place = 0;
        for same in self.scores.chunk_by(|a, b| a == b) {
            while place < self.sorted.len() && self.sorted[place] >= same[0] {
                place += 1;
            }
            let level = place > 0 && self.sorted[place - 1] == same[0];
            self.counts[if level { 2 * place - 1 } else { 2 * place }].fetch_add(same.len() as u32, Relaxed);
        }
        self.scores.clear();
    }
}

pub(super) fn downwards<T: Real>(a: &T, b: &T) -> std::cmp::Ordering {
    b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal)
}

/// The pairs of two sets, or within one.
pub(super) struct Pairs<'a, T> {
    pub(super) queries: &'a Grouped<T>,
    pub(super) references: &'a Grouped<T>,
    pub(super) itself: bool,
    pub(super) similarity: Similarity,
}

impl<T: Real> Pairs<'_, T> {
    pub(super) fn count(&self) -> u64 {
        let (q, n) = (self.queries.rows() as u64, self.references.rows() as u64);
        if self.itself { n * (n - 1) / 2 } else { q * n }
    }

    /// Partners of one query, each pair once: all references, or the later ones.
    fn partners(&self, query: usize) -> Range<usize> {
        if self.itself { query + 1..self.references.rows() } else { 0..self.references.rows() }
    }

    /// Partners of its class.
    fn same(&self, query: usize) -> Range<usize> {
        let (class, all) = (self.references.of_class(self.queries.labels[query]), self.partners(query));
        class.start.max(all.start)..class.end.max(all.start)
    }

    /// Calls `visit(state, query, columns, scores)` for the tiles of each panel that `wanted` says, then `end(state)`; panels in
    /// parallel.
    fn visit<S: Send>(
        &self,
        states: Vec<S>,
        wanted: impl Fn(Range<usize>) -> Range<usize> + Sync,
        visit: impl Fn(&mut S, usize, Range<usize>, &[T]) + Sync,
        end: impl Fn(S) + Sync,
    ) -> Result<()> {
        let tiling = self.tiling();
        states.into_par_iter().enumerate().with_max_len(1).try_for_each_init(Vec::new, |tile, (p, mut state)| {
            let rows = tiling.panel(p);
            for t in tiling.holding(&wanted(rows.clone())) {
                let cols = tiling.tile(t);
                tile.resize(rows.len() * cols.len(), T::zero());
                scores(&self.queries.rows, &self.references.rows, self.similarity, rows.clone(), cols.clone(), tile)?;
                for (row, query) in tile.chunks_exact(cols.len()).zip(rows.clone()) {
                    visit(&mut state, query, cols.clone(), row);
                }
            }
            end(state);
            Ok(())
        })
    }

    fn tiling(&self) -> Tiling {
        Tiling::new(self.queries.rows(), self.references.rows())
    }

    /// Scores of all positive pairs.
    pub(super) fn positives(&self) -> Result<Vec<T>> {
        let tiling = self.tiling();
        let of_panel = |p: usize| tiling.panel(p).map(|query| self.same(query).len()).sum::<usize>();
        let counts: Vec<usize> = (0..tiling.panels()).map(of_panel).collect();
        let mut all = vec![T::zero(); counts.iter().sum()];
        let mut rest = &mut all[..];
        let mut states = Vec::new();
        for count in counts {
            let (part, others) = rest.split_at_mut(count);
            states.push((0, part));
            rest = others;
        }
        // Classes stand in order, so a panel's partners of the same class are one range, give or take other classes.
        let wanted = |rows: Range<usize>| {
            let ranges: Vec<Range<usize>> = rows.map(|query| self.same(query)).filter(|r| !r.is_empty()).collect();
            let start = ranges.iter().map(|r| r.start).min().unwrap_or(0);
            start..ranges.iter().map(|r| r.end).max().unwrap_or(0).max(start)
        };
        self.visit(
            states,
            wanted,
            |(filled, part): &mut (usize, &mut [T]), query, cols, row| {
                let same = self.same(query);
                let some = same.start.clamp(cols.start, cols.end)..same.end.clamp(cols.start, cols.end);
                part[*filled..*filled + some.len()]
                    .copy_from_slice(&row[some.start - cols.start..some.end - cols.start]);
                *filled += some.len();
            },
            |_| (),
        )?;
        Ok(all)
    }

    /// Negatives between and at the sorted positive scores, as [`steps`] reads them.
    ///
    /// Each worker gathers negatives, sorts them and walks both sorted lists, which touches memory in its order.
    pub(super) fn between(&self, sorted: &[T]) -> Result<Vec<AtomicU32>> {
        let counts: Vec<AtomicU32> = (0..2 * sorted.len() + 1).map(|_| AtomicU32::new(0)).collect();
        let wanted = |rows: Range<usize>| self.partners(rows.start);
        let states: Vec<Gathered<'_, T>> =
            (0..self.tiling().panels()).map(|_| Gathered { scores: Vec::new(), sorted, counts: &counts }).collect();
        self.visit(
            states,
            wanted,
            |gathered, query, cols, row| {
                let (same, all) = (self.same(query), self.partners(query));
                let left = all.start.max(cols.start)..same.start.min(cols.end);
                let right = same.end.max(cols.start)..all.end.min(cols.end);
                for part in [left, right].into_iter().filter(|part| part.start < part.end) {
                    gathered.add(&row[part.start - cols.start..part.end - cols.start]);
                }
            },
            |mut gathered| gathered.count(),
        )?;
        Ok(counts)
    }

    /// Negatives and positives of each query, in its original order, between the rungs; within one set at both rows of a pair.
    pub(super) fn by_row(&self, ladder: &Ladder<T>) -> Result<Vec<u32>> {
        let width = 2 * (ladder.scores().len() + 1);
        let n = self.references.rows();
        let mut grouped = vec![0u32; self.queries.rows() * width];
        let states: Vec<&mut [u32]> = grouped.chunks_mut(self.tiling().panel(0).len() * width).collect();
        let start = self.tiling().panel(0).len();
        self.visit(
            states,
            |_| 0..n,
            |counts: &mut &mut [u32], query, cols, row| {
                let class = self.references.of_class(self.queries.labels[query]);
                let own = &mut counts[query % start * width..][..width];
                for (j, score) in cols.zip(row) {
                    if self.itself && j == query {
                        continue;
                    }
                    // A score at a threshold belongs above it.
                    let place = ladder.before((*score, 0));
                    own[2 * place + usize::from(class.contains(&j))] += 1;
                }
            },
            |_| (),
        )?;
        let mut counts = vec![0; grouped.len()];
        for (row, original) in grouped.chunks_exact(width).zip(&self.queries.order) {
            counts[original * width..(original + 1) * width].copy_from_slice(row);
        }
        Ok(counts)
    }
}
