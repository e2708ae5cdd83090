//! The engine over slices: answers a plan's sweeps, and turns its terms into gradients.

use super::complete;
use super::entries;
use super::executor::Frozen;
use super::gradient::{accumulate, accumulate_sparse, is_sparse, matrices_of};
use super::masks::kept;
use super::matrix::{Bound, Buffers, Source, Wants};
use super::plan::Sweep;
use super::rows::CompleteRows;
use super::schedule::Geometry;
use super::state::empty;
use super::statistic::{Reduce, Stat, Statistic, Term};
use super::sweep::statistics;
use super::tiles::{Store, Tiles, for_each_panel};
use crate::error::{Error, Result};
use crate::memory;
use crate::real::Real;
use rayon::prelude::*;
use std::sync::Arc;

/// Sweeps over slices.
pub(crate) struct Engine<'a, T> {
    pub(crate) objective: &'static str,
    pub(crate) matrices: Vec<Bound<'a, T>>,
    pub(crate) stores: Vec<Option<Store<T>>>,
    pub(crate) report: Frozen<T>,
    pub(crate) replay: Option<Frozen<T>>,
}

impl<'a, T: Real> Engine<'a, T> {
    pub(crate) fn new(objective: &'static str, matrices: Vec<Bound<'a, T>>, keep: bool) -> Self {
        // Given scores are never stored a second time.
        let stores = matrices
            .iter()
            .map(|m| (keep && m.is_product()).then(|| Store { data: memory::zeros(m.rows * m.cols), filled: false }));
        let stores = stores.collect();
        Self { objective, matrices, stores, report: Vec::new(), replay: None }
    }

    fn geometry(&self, matrix: usize) -> Geometry {
        let bound = &self.matrices[matrix];
        match bound.source {
            Source::Gathered(..) => Geometry::single(bound.rows, bound.cols),
            _ => Geometry::new(bound.rows, bound.cols),
        }
    }

    /// Checks a statistic against the matrices.
    fn check(&self, statistic: &Statistic<T>) -> Result<()> {
        statistic.check_shaping(self.objective)?;
        let used = matrices_of(&statistic.argument, &statistic.reduce);
        let first = used.first().and_then(|m| self.matrices.get(*m));
        for index in &used {
            let found = self.matrices.get(*index).map(|m| (m.rows, m.cols));
            if found.is_none() || found != first.map(|m| (m.rows, m.cols)) {
                return Err(Error::Unsupported {
                    what: format!("a statistic of {} over matrices {used:?} of unlike shapes", self.objective),
                    hint: "read one shape at a time".into(),
                });
            }
        }
        Ok(())
    }

    /// Merges sets of matrices that are read together.
    fn clusters(sets: &[Vec<usize>]) -> Vec<(Vec<usize>, Vec<usize>)> {
        let mut clusters: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for (item, set) in sets.iter().enumerate() {
            let (joined, apart): (Vec<_>, Vec<_>) =
                clusters.into_iter().partition(|(matrices, _)| matrices.iter().any(|m| set.contains(m)));
            let mut matrices = set.clone();
            let mut items = vec![item];
            for (m, i) in joined {
                matrices.extend(m);
                items.extend(i);
            }
            matrices.sort_unstable();
            matrices.dedup();
            items.sort_unstable();
            clusters = apart;
            clusters.push((matrices, items));
        }
        clusters
    }

    fn kth_largest(&mut self, statistic: &Statistic<T>, ks: &[u32]) -> Stat<T> {
        let bound = &self.matrices[statistic.argument.matrix];
        let mut result = empty(statistic, bound.rows, bound.cols);
        let (scale, shift) = (&statistic.argument.scale, &statistic.argument.shift);
        let mut rows = CompleteRows::new(&self.matrices, statistic.argument.matrix, statistic.argument.minus);
        while let Some((first, block, cols)) = rows.next_block() {
            let found: Vec<T> = block
                .par_chunks(cols.max(1))
                .enumerate()
                .map(|(k, x)| {
                    let row = first + k;
                    let mut keep = vec![T::zero(); x.len()];
                    let all = kept(&statistic.set, row, 0, x, &mut keep);
                    let inside = |c: &usize| all.unwrap_or(keep[*c] != T::zero());
                    let mut u: Vec<T> =
                        (0..x.len()).filter(inside).map(|c| scale.at(row) * x[c] + shift.at(row)).collect();
                    let k = ks[row] as usize;
                    if k == 0 || k > u.len() {
                        return T::neg_infinity();
                    }
                    let order = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal);
                    *u.select_nth_unstable_by(k - 1, order).1
                })
                .collect();
            result.values[first..first + found.len()].copy_from_slice(&found);
        }
        result
    }

    /// Completed gradients of every matrix. Stored scores are used up.
    pub(crate) fn gradients(&mut self, terms: &[Term<T>], wants: &[Wants]) -> Result<Vec<Buffers<T>>> {
        let mut buffers: Vec<Buffers<T>> = self.matrices.iter().zip(wants).map(|(m, w)| m.buffers(*w)).collect();
        self.accumulate(terms, &mut buffers)?;
        for (matrix, buffers) in self.matrices.iter().zip(&mut buffers) {
            matrix.finish(buffers);
        }
        Ok(buffers)
    }

    pub(crate) fn accumulate(&mut self, terms: &[Term<T>], buffers: &mut [Buffers<T>]) -> Result<()> {
        for term in terms {
            self.check(&term.statistic)?;
        }
        for term in terms {
            if let Reduce::Rule(rule) = &term.statistic.reduce {
                complete::accumulate(&self.matrices, term, rule.as_ref(), buffers);
                for index in matrices_of(&term.statistic.argument, &term.statistic.reduce) {
                    buffers[index].fresh = false;
                }
            }
        }
        for term in terms.iter().filter(|t| matches!(t.statistic.reduce, Reduce::Entries)) {
            entries::accumulate(&self.matrices, term, buffers);
        }
        let apart = |term: &&Term<T>| {
            matches!(term.statistic.reduce, Reduce::KthLargest(_) | Reduce::Entries | Reduce::Rule(_))
        };
        let terms: Vec<&Term<T>> = terms.iter().filter(|t| !apart(t)).collect();
        let sets: Vec<Vec<usize>> =
            terms.iter().map(|t| matrices_of(&t.statistic.argument, &t.statistic.reduce)).collect();
        for (matrices, items) in Self::clusters(&sets) {
            let mine: Vec<&Term<T>> = items.iter().map(|i| terms[*i]).collect();
            if mine.iter().all(|t| is_sparse(t)) {
                accumulate_sparse(&self.matrices, &mine, buffers);
                continue;
            }
            let geometry = self.geometry(matrices[0]);
            let bound: Vec<(usize, &Bound<'_, T>)> = matrices.iter().map(|m| (*m, &self.matrices[*m])).collect();
            let mut stores: Vec<Option<&mut Store<T>>> = Vec::new();
            for (index, store) in self.stores.iter_mut().enumerate() {
                if matrices.contains(&index) {
                    stores.push(store.as_mut());
                }
            }
            accumulate(&bound, &mut stores, &geometry, &mine, buffers);
            // What was stored has been overwritten.
            for store in stores.into_iter().flatten() {
                store.filled = false;
            }
        }
        Ok(())
    }
}

impl<T: Real> Sweep<T> for Engine<'_, T> {
    fn shape(&self, matrix: usize) -> (usize, usize) {
        self.matrices.get(matrix).map_or((0, 0), |m| (m.rows, m.cols))
    }

    fn sweep(&mut self, wanted: &[Statistic<T>]) -> Result<Vec<Arc<Stat<T>>>> {
        for statistic in wanted {
            self.check(statistic)?;
        }
        let mut results: Vec<Option<Stat<T>>> = vec![None; wanted.len()];
        for (k, statistic) in wanted.iter().enumerate() {
            if let Reduce::KthLargest(ks) = &statistic.reduce {
                results[k] = Some(self.kth_largest(statistic, &ks.clone()));
            }
            if let Reduce::Entries = &statistic.reduce {
                results[k] = Some(entries::values(&self.matrices, statistic));
            }
            if let Reduce::Rule(rule) = &statistic.reduce {
                results[k] = Some(complete::values(&self.matrices, statistic, rule.as_ref()));
            }
        }
        let open: Vec<usize> = (0..wanted.len()).filter(|k| results[*k].is_none()).collect();
        let sets: Vec<Vec<usize>> =
            open.iter().map(|k| matrices_of(&wanted[*k].argument, &wanted[*k].reduce)).collect();
        for (matrices, items) in Self::clusters(&sets) {
            let items: Vec<usize> = items.iter().map(|i| open[*i]).collect();
            let bound: Vec<(usize, &Bound<'_, T>)> = matrices.iter().map(|m| (*m, &self.matrices[*m])).collect();
            let entries = |k: &usize| match &wanted[*k].reduce {
                Reduce::Gather(at) => Some(at.len()),
                _ => None,
            };
            let total: Option<usize> = items.iter().map(entries).sum();
            if let Some(total) = total
                && total * 4 <= (bound[0].1.rows * bound[0].1.cols).max(1024)
            {
                // A few entries: not worth a sweep.
                for k in items {
                    results[k] = Some(gather(&self.matrices, &wanted[k]));
                }
                continue;
            }
            let geometry = match bound[0].1.source {
                Source::Gathered(..) => Geometry::single(bound[0].1.rows, bound[0].1.cols),
                _ => Geometry::new(bound[0].1.rows, bound[0].1.cols),
            };
            let mut stores: Vec<Option<&mut Store<T>>> = Vec::new();
            for (index, store) in self.stores.iter_mut().enumerate() {
                if matrices.contains(&index) {
                    stores.push(store.as_mut());
                }
            }
            let mine: Vec<&Statistic<T>> = items.iter().map(|k| &wanted[*k]).collect();
            for (k, stat) in items.iter().zip(statistics(&bound, &mut stores, &geometry, &mine)) {
                results[*k] = Some(stat);
            }
        }
        Ok(results.into_iter().map(|r| Arc::new(r.unwrap_or_default())).collect())
    }

    fn order_statistics(
        &mut self,
        over: &Statistic<T>,
        ranks: &mut dyn FnMut(usize) -> Vec<usize>,
    ) -> Result<(usize, Vec<T>)> {
        self.check(over)?;
        // Selection by radix: each pass fixes the next 16 bits of the ordered key of every wanted rank.
        const BITS: u32 = 16;
        let count = |prefixes: &[(u64, u32)]| self.histograms(over, prefixes, BITS);
        let first = count(&[(0, 0)]);
        let total: usize = first[0].iter().sum::<u64>() as usize;
        let ranks = ranks(total);
        if let Some(rank) = ranks.iter().find(|r| **r >= total) {
            return Err(Error::Undefined {
                what: format!("order statistic {rank} in {}", self.objective),
                reason: format!("the set has {total} entries"),
            });
        }
        let mut open: Vec<(u64, u64)> = ranks.iter().map(|r| (0, *r as u64)).collect();
        let mut fixed = 0;
        while fixed < T::KEY_BITS {
            let mut prefixes: Vec<(u64, u32)> = open.iter().map(|(prefix, _)| (*prefix, fixed)).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            let histograms = if fixed == 0 { first.clone() } else { count(&prefixes) };
            for (prefix, rank) in &mut open {
                let which = prefixes.iter().position(|(p, _)| p == prefix).unwrap_or(0);
                let mut bin = 0;
                while *rank >= histograms[which][bin] {
                    *rank -= histograms[which][bin];
                    bin += 1;
                }
                *prefix = (*prefix << BITS) | bin as u64;
            }
            fixed += BITS;
        }
        let argument = &over.argument;
        let (scale, shift) = (argument.scale.at(0), argument.shift.at(0));
        Ok((total, open.iter().map(|(key, _)| scale * T::from_ordered_key(*key) + shift).collect()))
    }

    fn visit_rows(&mut self, matrix: usize, visit: &mut dyn FnMut(usize, &[T])) -> Result<()> {
        let mut rows = CompleteRows::new(&self.matrices, matrix, None);
        while let Some((first, block, cols)) = rows.next_block() {
            for (k, row) in block.chunks_exact(cols.max(1)).enumerate() {
                visit(first + k, row);
            }
        }
        Ok(())
    }

    fn freeze(&mut self, name: &'static str, value: Vec<T>) -> Vec<T> {
        let recorded = self.replay.as_ref().and_then(|r| r.iter().find(|(n, _)| *n == name));
        let value = recorded.map_or(value, |(_, v)| v.clone());
        self.report.push((name, value.clone()));
        value
    }

    fn report(&mut self, name: &'static str, value: Vec<T>) {
        self.report.push((name, value));
    }
}

impl<T: Real> Engine<'_, T> {
    /// Counts, for each prefix of `bits_fixed` leading key bits, the next `bits` bits of all entries of the set.
    fn histograms(&self, over: &Statistic<T>, prefixes: &[(u64, u32)], bits: u32) -> Vec<Vec<u64>> {
        let matrices: Vec<(usize, &Bound<'_, T>)> =
            matrices_of(&over.argument, &over.reduce).into_iter().map(|m| (m, &self.matrices[m])).collect();
        let geometry = self.geometry(over.argument.matrix);
        let bins = 1usize << bits;
        let mut groups: Vec<Vec<Vec<u32>>> = vec![Vec::new(); geometry.groups()];
        let mut totals = vec![vec![0u64; bins]; prefixes.len()];
        let mut none: Vec<Option<&mut Store<T>>> = matrices.iter().map(|_| None).collect();
        for_each_panel(
            &matrices,
            &mut none,
            &geometry,
            &mut groups,
            |counts, work, _: &mut Option<()>| {
                if counts.is_empty() {
                    *counts = vec![vec![0; bins]; prefixes.len()];
                }
                let scores: Vec<(usize, &[T])> = work.tiles.iter().map(|(m, t)| (*m, &**t)).collect();
                let tiles = Tiles { scores: &scores, rows: work.rows.clone(), cols: work.cols.clone() };
                for row in work.rows {
                    let x = tiles.seen(&over.argument, row, &mut work.scratch.difference);
                    let all = kept(&over.set, row, work.cols.start, x, &mut work.scratch.keep);
                    if all == Some(false) {
                        continue;
                    }
                    for (k, s) in x.iter().enumerate() {
                        if !all.unwrap_or(work.scratch.keep[k] != T::zero()) {
                            continue;
                        }
                        let key = s.ordered_key();
                        for (counts, (prefix, fixed)) in counts.iter_mut().zip(prefixes) {
                            let below = T::KEY_BITS - fixed;
                            if *fixed == 0 || key >> below == *prefix {
                                counts[(key >> (below - bits)) as usize & (bins - 1)] += 1;
                            }
                        }
                    }
                }
            },
            |_, _| {},
        );
        for counts in groups.iter().filter(|c| !c.is_empty()) {
            for (total, counts) in totals.iter_mut().zip(counts) {
                total.iter_mut().zip(counts).for_each(|(a, b)| *a += u64::from(*b));
            }
        }
        totals
    }
}

/// Listed entries, one inner product each.
fn gather<T: Real>(matrices: &[Bound<'_, T>], statistic: &Statistic<T>) -> Stat<T> {
    let argument = &statistic.argument;
    let mut values = Vec::new();
    if let Reduce::Gather(lists) = &statistic.reduce {
        for row in 0..lists.rows() {
            for column in lists.row(row) {
                let col = *column as usize;
                let mut s = matrices[argument.matrix].entry(row, col);
                if let Some(minus) = argument.minus {
                    s -= matrices[minus].entry(row, col);
                }
                values.push(argument.scale.at(row) * s + argument.shift.at(row));
            }
        }
    }
    Stat { values, ..Stat::default() }
}
