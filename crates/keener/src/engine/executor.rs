//! Runs plans over slices: value, gradients, and the choice between the three schedules.

use super::batch::Batch;
use super::complete;
use super::gradient::{accumulate, accumulate_sparse, is_sparse, matrices_of};
use super::matrix::{Bound, Buffers, Source, Wants};
use super::plan::{Coupling, Objective, Outcome, Slot, Sweep};
use super::schedule::{Choice, Geometry, Schedule, Shape, choose};
use super::statistic::{Reduce, Stat, Statistic, Term};
use super::sweep::{Store, empty, for_each_panel, kept, statistics};
use crate::error::{Error, Result};
use crate::memory;
use crate::real::Real;
use rayon::prelude::*;
use std::sync::Arc;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A schedule to insist on; otherwise the planner chooses.
    pub schedule: Option<Schedule>,
    /// Budget in bytes for what is held beyond inputs and gradients. Default 512 MiB.
    pub memory: usize,
    /// Refuse NaN and infinities in the inputs (default). Switch off only where the caller has checked.
    pub check_finite: bool,
    /// Which gradients to compute (default all that apply).
    pub candidates: bool,
    /// See [`Options::candidates`].
    pub queries: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedule: None, memory: 512 << 20, check_finite: true, candidates: true, queries: true }
    }
}

/// Gradients of a loss; empty where they do not apply or were not wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients<T> {
    /// `[B, d]`
    pub queries: Vec<T>,
    /// `[N, d]`
    pub candidates: Vec<T>,
    /// `[N]`
    pub bias: Vec<T>,
    /// `[B, d]`, of the second version of the queries.
    pub second: Vec<T>,
    /// `[B, N]`, where scores were given.
    pub scores: Vec<T>,
    /// `[B, N]`, where second scores were given.
    pub second_scores: Vec<T>,
    /// One a learned parameter.
    pub parameters: Vec<T>,
}

/// Named quantities that a plan computed and declared frozen, for replay.
pub type Frozen<T> = Vec<(&'static str, Vec<T>)>;

/// Value, gradients and what there is to know about them.
#[derive(Clone, Debug)]
pub struct Evaluation<T> {
    /// `Σ values / normalizer`
    pub loss: T,
    /// One a row, or a single one.
    pub values: Vec<T>,
    /// See [`Objective::normalizer`].
    pub normalizer: f64,
    /// Of the loss.
    pub gradients: Gradients<T>,
    /// Frozen and reported quantities by name (scale, margin, thresholds …).
    pub report: Frozen<T>,
    /// The schedule that ran.
    pub choice: Choice,
}

/// Sweeps over slices.
pub(crate) struct Engine<'a, T> {
    objective: &'static str,
    matrices: Vec<Bound<'a, T>>,
    stores: Vec<Option<Store<T>>>,
    report: Frozen<T>,
    replay: Option<Frozen<T>>,
}

impl<'a, T: Real> Engine<'a, T> {
    fn new(objective: &'static str, matrices: Vec<Bound<'a, T>>, keep: bool) -> Self {
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
        let mut rows = CompleteRows::new(self, statistic.argument.matrix, statistic.argument.minus);
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
    fn gradients(&mut self, terms: &[Term<T>], wants: &[Wants]) -> Result<Vec<Buffers<T>>> {
        let mut buffers: Vec<Buffers<T>> = self.matrices.iter().zip(wants).map(|(m, w)| m.buffers(*w)).collect();
        self.accumulate(terms, &mut buffers)?;
        for (matrix, buffers) in self.matrices.iter().zip(&mut buffers) {
            matrix.finish(buffers);
        }
        Ok(buffers)
    }

    fn accumulate(&mut self, terms: &[Term<T>], buffers: &mut [Buffers<T>]) -> Result<()> {
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
        let apart = |term: &&Term<T>| matches!(term.statistic.reduce, Reduce::KthLargest(_) | Reduce::Rule(_));
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

/// Complete rows of a matrix (or difference), a block at a time.
struct CompleteRows<'e, 'a, T> {
    engine: &'e Engine<'a, T>,
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
    fn new(engine: &'e Engine<'a, T>, matrix: usize, minus: Option<usize>) -> Self {
        let bound = &engine.matrices[matrix];
        let fit = ROW_BLOCK_BYTES / (bound.cols.max(1) * size_of::<T>());
        // Panels of a sweep, cut evenly.
        let panel = Geometry::new(bound.rows, bound.cols).panel;
        let at_once = panel.div_ceil(panel.div_ceil(fit.clamp(1, panel))).max(16.min(panel));
        Self { engine, matrix, minus, next: 0, at_once, buffer: Vec::new(), other: Vec::new() }
    }

    /// First row, the rows, and their width.
    fn next_block(&mut self) -> Option<(usize, &[T], usize)> {
        let bound = &self.engine.matrices[self.matrix];
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
            fill_rows(&self.engine.matrices[minus], rows.clone(), &mut self.other);
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
        let mut rows = CompleteRows::new(self, matrix, None);
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
                let tiles = super::sweep::Tiles { scores: &scores, rows: work.rows.clone(), cols: work.cols.clone() };
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

/// Everything that is settled before the first sweep.
struct Prepared<'a, T> {
    matrices: Vec<Bound<'a, T>>,
    wants: Vec<Wants>,
    normalizer: f64,
    choice: Choice,
}

fn prepare<'a, T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'a, T>,
    options: &Options,
) -> Result<Prepared<'a, T>> {
    batch.check(options.check_finite)?;
    let specs = objective.matrices();
    let expected = objective.parameters().len();
    if !batch.parameters.is_empty() && batch.parameters.len() != expected {
        return Err(Error::shape(
            "parameters",
            &[batch.parameters.len()],
            format!("[{expected}] for {}", objective.name()),
        ));
    }
    let matrices = specs.iter().map(|s| Bound::new(*s, batch, objective.name())).collect::<Result<Vec<_>>>()?;
    let wants = specs
        .iter()
        .map(|spec| match spec.slot {
            Slot::Pairs => Wants { left: options.queries, right: options.queries, bias: false },
            Slot::Main | Slot::Second => {
                Wants { left: options.queries, right: options.candidates, bias: options.candidates }
            }
        })
        .collect();
    let choice = plan(objective, &matrices, options);
    Ok(Prepared { normalizer: objective.normalizer(batch)?, matrices, wants, choice })
}

fn plan<T: Real>(objective: &dyn Objective<T>, matrices: &[Bound<'_, T>], options: &Options) -> Choice {
    let largest = matrices.iter().max_by_key(|m| m.rows * m.cols);
    let (rows, cols) = largest.map_or((0, 0), |m| (m.rows, m.cols));
    let products = matrices.iter().filter(|m| m.is_product() && (m.rows, m.cols) == (rows, cols)).count();
    let shape = Shape {
        rows,
        cols,
        depth: if products > 0 { largest.map_or(0, |m| m.depth()) } else { 0 },
        matrices: products,
        number: size_of::<T>(),
    };
    let panel_fits = matrices.iter().all(|m| m.spec.slot != Slot::Pairs);
    let coupling = if panel_fits { objective.coupling() } else { Coupling::WholeBatch };
    let mut choice = choose(shape, coupling, options.memory);
    if let Some(schedule) = options.schedule {
        let possible = schedule != Schedule::Panel || coupling == Coupling::RowByRow;
        if possible && choice.schedule != schedule {
            choice.rows_at_once = if schedule == Schedule::Panel { rows.min(256) } else { rows };
            choice.products = if schedule == Schedule::Recompute { 4 } else { 3 };
            choice.schedule = schedule;
            choice.reason = "asked for".into();
        }
    }
    choice
}

/// The schedule that [`evaluate`] would take, with its reasons.
///
/// # Errors
/// As [`evaluate`], for missing or wrong input.
pub fn explain<T: Real>(objective: &dyn Objective<T>, batch: &Batch<'_, T>, options: &Options) -> Result<Choice> {
    Ok(prepare(objective, batch, options)?.choice)
}

/// Gives each matrix's gradients to the inputs it was made of.
fn distribute<T: Real>(matrices: &[Bound<'_, T>], buffers: Vec<Buffers<T>>) -> Gradients<T> {
    fn add<T: Real>(into: &mut Vec<T>, from: Vec<T>) {
        if into.is_empty() {
            *into = from;
        } else {
            into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
    }
    let mut g = Gradients::default();
    for (matrix, buffers) in matrices.iter().zip(buffers) {
        match matrix.spec.slot {
            Slot::Main => {
                add(&mut g.queries, buffers.left);
                add(&mut g.candidates, buffers.right);
                add(&mut g.scores, buffers.scores);
                if matrix.spec.scorer == super::plan::Scorer::Inner {
                    add(&mut g.bias, buffers.col_sums);
                }
            }
            Slot::Second => {
                add(&mut g.second, buffers.left);
                add(&mut g.candidates, buffers.right);
                add(&mut g.second_scores, buffers.scores);
                if matrix.spec.scorer == super::plan::Scorer::Inner {
                    add(&mut g.bias, buffers.col_sums);
                }
            }
            Slot::Pairs => {
                add(&mut g.queries, buffers.left);
                add(&mut g.queries, buffers.right);
            }
        }
    }
    g
}

/// The forward half: values, and what the backward half needs.
pub struct Forward<'a, T: Real> {
    engine: Engine<'a, T>,
    wants: Vec<Wants>,
    outcome: Outcome<T>,
    normalizer: f64,
    choice: Choice,
}

/// Computes statistics and values; gradients follow with [`Forward::backward`], for any weight of each value.
///
/// # Errors
/// Wrong or missing input, before anything is computed.
pub fn forward<'a, T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'a, T>,
    options: &Options,
) -> Result<Forward<'a, T>> {
    forward_replaying(objective, batch, options, None)
}

pub(crate) fn forward_replaying<'a, T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'a, T>,
    options: &Options,
    replay: Option<Frozen<T>>,
) -> Result<Forward<'a, T>> {
    // A panel cannot be split in two passes: its scores are gone when the next one comes.
    let schedule = match options.schedule {
        Some(Schedule::Panel) => None,
        other => other,
    };
    let mut prepared = prepare(objective, batch, &Options { schedule, ..options.clone() })?;
    if prepared.choice.schedule == Schedule::Panel {
        let bytes: usize =
            prepared.matrices.iter().filter(|m| m.is_product()).map(|m| m.rows * m.cols * size_of::<T>()).sum();
        let whole = bytes + prepared.choice.bytes <= options.memory;
        prepared.choice.schedule = if whole { Schedule::Whole } else { Schedule::Recompute };
        prepared.choice.products = if whole { 3 } else { 4 };
        prepared.choice.reason = "forward and backward are separate".into();
    }
    let keep = prepared.choice.schedule == Schedule::Whole;
    let mut engine = Engine::new(objective.name(), prepared.matrices, keep);
    engine.replay = replay;
    let outcome = objective.evaluate(&mut engine, batch)?;
    let Prepared { wants, normalizer, choice, .. } = Prepared { matrices: Vec::new(), ..prepared };
    Ok(Forward { engine, wants, outcome, normalizer, choice })
}

impl<T: Real> Forward<'_, T> {
    /// One a row, or a single one.
    pub fn values(&self) -> &[T] {
        &self.outcome.values
    }

    /// See [`Objective::normalizer`].
    pub fn normalizer(&self) -> f64 {
        self.normalizer
    }

    /// `Σ values / normalizer`
    pub fn loss(&self) -> T {
        mean(&self.outcome.values, self.normalizer)
    }

    /// Frozen and reported quantities by name.
    pub fn report(&self) -> &Frozen<T> {
        &self.engine.report
    }

    /// The schedule that ran.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Gradients of `Σ_i weights_i · values_i`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one weight a value.
    pub fn backward(&mut self, weights: &[T]) -> Result<Gradients<T>> {
        if weights.len() != self.outcome.values.len() {
            let expected = format!("[{}], one a value", self.outcome.values.len());
            return Err(Error::shape("weights", &[weights.len()], expected));
        }
        let backward = (self.outcome.backward)(weights);
        let buffers = self.engine.gradients(&backward.terms, &self.wants)?;
        let mut gradients = distribute(&self.engine.matrices, buffers);
        gradients.parameters = backward.parameters;
        Ok(gradients)
    }
}

fn mean<T: Real>(values: &[T], normalizer: f64) -> T {
    if normalizer == 0.0 {
        return T::zero();
    }
    T::of(values.iter().map(|v| v.f64()).sum::<f64>() / normalizer)
}

/// Value and gradients of the loss `Σ values / normalizer`.
///
/// # Errors
/// Wrong or missing input, before anything is computed.
pub fn evaluate<T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'_, T>,
    options: &Options,
) -> Result<Evaluation<T>> {
    let prepared = prepare(objective, batch, options)?;
    if prepared.choice.schedule == Schedule::Panel {
        return evaluate_by_panels(objective, batch, prepared);
    }
    let keep = prepared.choice.schedule == Schedule::Whole;
    let mut engine = Engine::new(objective.name(), prepared.matrices, keep);
    let outcome = objective.evaluate(&mut engine, batch)?;
    let weight = if prepared.normalizer == 0.0 { 0.0 } else { 1.0 / prepared.normalizer };
    let backward = (outcome.backward)(&vec![T::of(weight); outcome.values.len()]);
    let buffers = engine.gradients(&backward.terms, &prepared.wants)?;
    let mut gradients = distribute(&engine.matrices, buffers);
    gradients.parameters = backward.parameters;
    Ok(Evaluation {
        loss: mean(&outcome.values, prepared.normalizer),
        values: outcome.values,
        normalizer: prepared.normalizer,
        gradients,
        report: engine.report,
        choice: prepared.choice,
    })
}

fn evaluate_by_panels<T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'_, T>,
    prepared: Prepared<'_, T>,
) -> Result<Evaluation<T>> {
    let Prepared { matrices, wants, normalizer, choice } = prepared;
    let rows = batch.rows();
    let weight = T::of(if normalizer == 0.0 { 0.0 } else { 1.0 / normalizer });
    let mut buffers: Vec<Buffers<T>> = matrices.iter().zip(&wants).map(|(m, w)| m.buffers(*w)).collect();
    let mut values = Vec::with_capacity(rows);
    let mut parameters: Vec<T> = Vec::new();
    let mut report: Frozen<T> = Vec::new();
    // The stored panel is allocated once and handed on.
    let mut spare: Vec<Option<Store<T>>> = matrices.iter().map(|_| None).collect();
    let mut start = 0;
    while start < rows {
        let range = start..(start + choice.rows_at_once).min(rows);
        let part = batch.slice(range.clone());
        let bound: Vec<Bound<'_, T>> = matrices.iter().map(|m| m.slice(range.clone())).collect();
        let mut engine = Engine::new(objective.name(), bound, false);
        for (k, matrix) in engine.matrices.iter().enumerate().filter(|(_, m)| m.is_product()) {
            let size = matrix.rows * matrix.cols;
            let mut store = spare[k].take().unwrap_or_else(|| Store { data: memory::zeros(size), filled: false });
            store.data.resize(size, T::zero());
            store.filled = false;
            engine.stores[k] = Some(store);
        }
        let outcome = objective.evaluate(&mut engine, &part)?;
        let backward = (outcome.backward)(&vec![weight; outcome.values.len()]);
        // Columns accumulate over panels; rows belong to this one.
        let mut mine: Vec<Buffers<T>> = Vec::with_capacity(matrices.len());
        for ((matrix, bound), whole) in matrices.iter().zip(&engine.matrices).zip(&mut buffers) {
            let d = matrix.depth();
            let rows_of = |v: &Vec<T>, n: usize| vec![T::zero(); if v.is_empty() { 0 } else { bound.rows * n }];
            mine.push(Buffers {
                left: rows_of(&whole.left, d),
                row_sums: rows_of(&whole.row_sums, 1),
                scores: rows_of(&whole.scores, matrix.cols),
                right: std::mem::take(&mut whole.right),
                col_sums: std::mem::take(&mut whole.col_sums),
                fresh: whole.fresh,
            });
        }
        engine.accumulate(&backward.terms, &mut mine)?;
        for (((matrix, mine), whole), (stored, spare)) in
            matrices.iter().zip(mine).zip(&mut buffers).zip(engine.stores.into_iter().zip(&mut spare))
        {
            let put = |into: &mut Vec<T>, from: &[T], n: usize| {
                if !into.is_empty() {
                    into[range.start * n..range.end * n].copy_from_slice(from);
                }
            };
            put(&mut whole.left, &mine.left, matrix.depth());
            put(&mut whole.row_sums, &mine.row_sums, 1);
            put(&mut whole.scores, &mine.scores, matrix.cols);
            whole.right = mine.right;
            whole.col_sums = mine.col_sums;
            whole.fresh = mine.fresh;
            *spare = stored;
        }
        values.extend(outcome.values);
        if parameters.is_empty() {
            parameters = backward.parameters;
        } else {
            parameters.iter_mut().zip(backward.parameters).for_each(|(a, b)| *a += b);
        }
        for (name, mut value) in engine.report {
            match report.iter_mut().find(|(n, _)| *n == name) {
                Some((_, all)) => all.append(&mut value),
                None => report.push((name, value)),
            }
        }
        start = range.end;
    }
    for (matrix, buffers) in matrices.iter().zip(&mut buffers) {
        matrix.finish(buffers);
    }
    let mut gradients = distribute(&matrices, buffers);
    gradients.parameters = parameters;
    Ok(Evaluation { loss: mean(&values, normalizer), values, normalizer, gradients, report, choice })
}
