//! Statistics over slices: every tile of a score matrix is visited once, in an order that does not depend on threads.
//!
//! Rows come in panels, one after the other; the tiles of a panel are shared out to fixed groups of columns, which are
//! the unit of parallel work. Partial results of a row are merged in the order of the groups, partial results of a
//! column in the order of the panels, so the same bits come out for any number of threads.

use super::matrix::Bound;
use super::schedule::Geometry;
use super::set::{Meets, Set};
use super::statistic::{Argument, Axis, Map, PerLine, Reduce, Stat, Statistic};
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

/// Buffers of one worker, as wide as a tile.
pub(crate) struct Scratch<T> {
    pub(crate) keep: Vec<T>,
    pub(crate) masked: Vec<T>,
    pub(crate) difference: Vec<T>,
    pub(crate) expected: Vec<T>,
    column_peak: Vec<T>,
    column_sum: Vec<T>,
    column_weighted: Vec<T>,
    lines: Vec<T>,
}

impl<T: Real> Scratch<T> {
    pub(crate) fn new(tile: usize) -> Self {
        let line = || vec![T::zero(); tile];
        Self {
            keep: line(),
            masked: line(),
            difference: line(),
            expected: line(),
            column_peak: line(),
            column_sum: line(),
            column_weighted: line(),
            lines: Vec::new(),
        }
    }
}

/// Tile buffers and scratch that workers hand on to each other: as many as there are threads at work.
pub(crate) struct Pool<T> {
    tile: usize,
    scratch: Mutex<Vec<Scratch<T>>>,
    buffers: Mutex<Vec<Vec<T>>>,
}

impl<T: Real> Pool<T> {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        Self { tile: geometry.tile, scratch: Mutex::default(), buffers: Mutex::default() }
    }

    fn scratch(&self) -> Scratch<T> {
        lock(&self.scratch).pop().unwrap_or_else(|| Scratch::new(self.tile))
    }

    fn buffer(&self, size: usize) -> Vec<T> {
        let mut buffer = lock(&self.buffers).pop().unwrap_or_default();
        if buffer.len() < size {
            buffer.resize(size, T::zero());
        }
        buffer
    }

    fn give_back(&self, scratch: Scratch<T>, buffers: Vec<Vec<T>>) {
        lock(&self.scratch).push(scratch);
        lock(&self.buffers).extend(buffers.into_iter().filter(|b| !b.is_empty()));
    }
}

fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The tiles of the matrices in use at one place.
pub(crate) struct Tiles<'t, T> {
    /// Index of the matrix and its scores, row-major without gaps.
    pub(crate) scores: &'t [(usize, &'t [T])],
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
}

impl<'t, T: Real> Tiles<'t, T> {
    /// Row `row` (absolute) of matrix `matrix`.
    pub(crate) fn row(&self, matrix: usize, row: usize) -> &'t [T] {
        let width = self.cols.len();
        let start = (row - self.rows.start) * width;
        let tile = self.scores.iter().find(|(m, _)| *m == matrix).map_or(&[][..], |(_, tile)| tile);
        &tile[start..start + width]
    }

    /// The raw entries that `argument` sees in row `row`, with the difference taken into `buffer` if there is one.
    pub(crate) fn seen<'b>(&self, argument: &Argument<T>, row: usize, buffer: &'b mut [T]) -> &'b [T]
    where
        't: 'b,
    {
        let x = self.row(argument.matrix, row);
        match argument.minus {
            None => x,
            Some(minus) => {
                let y = self.row(minus, row);
                let buffer = &mut buffer[..x.len()];
                for ((b, x), y) in buffer.iter_mut().zip(x).zip(y) {
                    *b = *x - *y;
                }
                buffer
            }
        }
    }
}

/// Running state of one statistic.
enum State<T> {
    LogSumExp { peak: Vec<T>, sum: Vec<f64>, expected: Vec<f64> },
    Sum { value: Vec<f64>, slope: Vec<f64>, moment: Vec<f64> },
    Top { k: usize, values: Vec<T>, columns: Vec<u32> },
    Gather { found: Vec<(usize, T)> },
}

impl<T: Real> State<T> {
    fn new(reduce: &Reduce<T>, lines: usize) -> Self {
        match reduce {
            Reduce::LogSumExp { expect } => Self::LogSumExp {
                peak: vec![T::neg_infinity(); lines],
                sum: vec![0.0; lines],
                expected: vec![0.0; if expect.is_some() { lines } else { 0 }],
            },
            Reduce::Sum { moments, .. } => {
                let extra = if *moments { lines } else { 0 };
                Self::Sum { value: vec![0.0; lines], slope: vec![0.0; extra], moment: vec![0.0; extra] }
            }
            Reduce::TopK(k) => {
                Self::Top { k: *k, values: vec![T::neg_infinity(); lines * k], columns: vec![u32::MAX; lines * k] }
            }
            Reduce::Gather(_) | Reduce::KthLargest(_) | Reduce::Rule(_) => Self::Gather { found: Vec::new() },
        }
    }

    /// Folds the state of a later group of columns into this one.
    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (
                Self::LogSumExp { peak, sum, expected },
                Self::LogSumExp { peak: peak2, sum: sum2, expected: expected2 },
            ) => {
                for line in 0..peak.len() {
                    let top = peak[line].max(peak2[line]);
                    if top == T::neg_infinity() {
                        continue;
                    }
                    let (a, b) = ((peak[line] - top).f64().exp(), (peak2[line] - top).f64().exp());
                    sum[line] = sum[line] * a + sum2[line] * b;
                    if !expected.is_empty() {
                        expected[line] = expected[line] * a + expected2[line] * b;
                    }
                    peak[line] = top;
                }
            }
            (Self::Sum { value, slope, moment }, Self::Sum { value: v2, slope: s2, moment: m2 }) => {
                for (to, from) in [(value, v2), (slope, s2), (moment, m2)] {
                    to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
                }
            }
            (Self::Top { k, values, columns }, Self::Top { values: v2, columns: c2, .. }) => {
                for (line, (v2, c2)) in v2.chunks_exact(*k).zip(c2.chunks_exact(*k)).enumerate() {
                    let range = line * *k..(line + 1) * *k;
                    for (value, column) in v2.iter().zip(c2) {
                        insert(&mut values[range.clone()], &mut columns[range.clone()], *value, *column);
                    }
                }
            }
            (Self::Gather { found }, Self::Gather { found: more }) => found.extend_from_slice(more),
            _ => {}
        }
    }

    fn store(self, into: &mut Stat<T>, first_line: usize, shift: &PerLine<T>) {
        match self {
            Self::LogSumExp { peak, sum, expected } => {
                for (line, (peak, sum)) in peak.iter().zip(&sum).enumerate() {
                    let at = first_line + line;
                    into.values[at] =
                        if *sum > 0.0 { T::of(peak.f64() + sum.ln() + shift.at(at).f64()) } else { T::neg_infinity() };
                    if !expected.is_empty() && *sum > 0.0 {
                        into.expectation[at] = T::of(expected[line] / sum);
                    }
                }
            }
            Self::Sum { value, slope, moment } => {
                for (line, v) in value.iter().enumerate() {
                    into.values[first_line + line] = T::of(*v);
                }
                for (line, (s, m)) in slope.iter().zip(&moment).enumerate() {
                    into.slope[first_line + line] = T::of(*s);
                    into.moment[first_line + line] = T::of(*m);
                }
            }
            Self::Top { k, values, columns } => {
                into.values[first_line * k..first_line * k + values.len()].copy_from_slice(&values);
                into.columns[first_line * k..first_line * k + columns.len()].copy_from_slice(&columns);
            }
            Self::Gather { found } => {
                for (at, value) in found {
                    into.values[at] = value;
                }
            }
        }
    }
}

/// Keeps a descending list; of equal values the one that came first (the lower column) stays ahead.
fn insert<T: Real>(values: &mut [T], columns: &mut [u32], value: T, column: u32) {
    let k = values.len();
    if k == 0 || column == u32::MAX || (columns[k - 1] != u32::MAX && value <= values[k - 1]) {
        return;
    }
    let mut at = k - 1;
    while at > 0 && (columns[at - 1] == u32::MAX || values[at - 1] < value) {
        values[at] = values[at - 1];
        columns[at] = columns[at - 1];
        at -= 1;
    }
    values[at] = value;
    columns[at] = column;
}

/// An empty result of the right size.
pub(crate) fn empty<T: Real>(statistic: &Statistic<T>, rows: usize, cols: usize) -> Stat<T> {
    let lines = if statistic.axis == Axis::Rows { rows } else { cols };
    let zeros = |n: usize| vec![T::zero(); n];
    match &statistic.reduce {
        Reduce::LogSumExp { expect } => Stat {
            values: vec![T::neg_infinity(); lines],
            expectation: zeros(if expect.is_some() { lines } else { 0 }),
            ..Stat::default()
        },
        Reduce::Sum { moments, .. } => {
            let extra = if *moments { lines } else { 0 };
            Stat { values: zeros(lines), slope: zeros(extra), moment: zeros(extra), ..Stat::default() }
        }
        Reduce::TopK(k) => {
            Stat { values: vec![T::neg_infinity(); lines * k], columns: vec![u32::MAX; lines * k], ..Stat::default() }
        }
        Reduce::KthLargest(_) => Stat { values: vec![T::neg_infinity(); lines], ..Stat::default() },
        Reduce::Gather(at) => Stat { values: zeros(at.len()), ..Stat::default() },
        Reduce::Rule(_) => Stat { values: zeros(lines), slope: zeros(lines), ..Stat::default() },
    }
}

/// One tile in the hands of a worker: scores of each matrix in use, to be read and, by gradients, to be overwritten.
pub(crate) struct Work<'w, 't, T> {
    pub(crate) group: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
    pub(crate) scratch: &'w mut Scratch<T>,
    pub(crate) tiles: &'w mut [(usize, &'t mut [T])],
}

/// Scores kept from one sweep to the next (schedule *whole*), laid out tile after tile.
pub(crate) struct Store<T> {
    pub(crate) data: Vec<T>,
    /// Whether the scores are there.
    pub(crate) filled: bool,
}

/// Calls `work` for every tile, panel after panel, groups of columns in parallel, and `after` when a panel is complete.
/// Tiles come from `stores` where there is one (and are computed into it on first use), else are computed on the spot.
pub(crate) fn for_each_panel<T: Real, S: Send, P: Send>(
    matrices: &[(usize, &Bound<'_, T>)],
    stores: &mut [Option<&mut Store<T>>],
    geometry: &Geometry,
    group_states: &mut [S],
    work: impl Fn(&mut S, Work<'_, '_, T>, &mut Option<P>) + Sync,
    mut after: impl FnMut(Range<usize>, Vec<Option<P>>),
) {
    let Some((_, first)) = matrices.first() else { return };
    let (rows, cols) = (first.rows, first.cols);
    let pool = Pool::new(geometry);
    let filled: Vec<bool> = stores.iter().map(|s| s.as_ref().is_some_and(|s| s.filled)).collect();
    let mut start = 0;
    while start < rows {
        let panel = start..(start + geometry.panel).min(rows);
        // The stored panel of each matrix, split by groups.
        let mut parts: Vec<Vec<Option<&mut [T]>>> = (0..geometry.groups()).map(|_| Vec::new()).collect();
        for store in stores.iter_mut() {
            match store {
                None => parts.iter_mut().for_each(|p| p.push(None)),
                Some(store) => {
                    let mut rest = &mut store.data[panel.start * cols..panel.end * cols];
                    for (group, part) in parts.iter_mut().enumerate() {
                        let (head, tail) = rest.split_at_mut(panel.len() * geometry.group(group).len());
                        part.push(Some(head));
                        rest = tail;
                    }
                }
            }
        }
        let results: Vec<Option<P>> = group_states
            .par_iter_mut()
            .zip(parts)
            .enumerate()
            .with_max_len(1)
            .map(|(group, (state, mut part))| {
                let mut scratch = pool.scratch();
                let mut buffers: Vec<Vec<T>> = part
                    .iter()
                    .map(|p| if p.is_none() { pool.buffer(panel.len() * geometry.tile) } else { Vec::new() })
                    .collect();
                let mut result = None;
                let columns = geometry.group(group);
                let mut from = columns.start;
                while from < columns.end {
                    let to = (from + geometry.tile).min(columns.end);
                    let size = panel.len() * (to - from);
                    let offset = panel.len() * (from - columns.start);
                    let mut tiles = Vec::with_capacity(matrices.len());
                    let sources = part.iter_mut().zip(buffers.iter_mut()).zip(&filled);
                    for ((index, matrix), ((stored, buffer), filled)) in matrices.iter().zip(sources) {
                        let tile: &mut [T] = match stored {
                            Some(data) => &mut data[offset..offset + size],
                            None => &mut buffer[..size],
                        };
                        if !filled {
                            matrix.fill(panel.clone(), from..to, tile);
                        }
                        tiles.push((*index, tile));
                    }
                    let (rows, cols) = (panel.clone(), from..to);
                    work(state, Work { group, rows, cols, scratch: &mut scratch, tiles: &mut tiles }, &mut result);
                    from = to;
                }
                pool.give_back(scratch, buffers);
                result
            })
            .collect();
        after(panel.clone(), results);
        start = panel.end;
    }
    for store in stores.iter_mut().flatten() {
        store.filled = true;
    }
}

/// Computes statistics that share a shape in one sweep.
pub(crate) fn statistics<T: Real>(
    matrices: &[(usize, &Bound<'_, T>)],
    stores: &mut [Option<&mut Store<T>>],
    geometry: &Geometry,
    wanted: &[&Statistic<T>],
) -> Vec<Stat<T>> {
    let Some((_, first)) = matrices.first() else { return Vec::new() };
    let (rows, cols) = (first.rows, first.cols);
    let mut results: Vec<Stat<T>> = wanted.iter().map(|s| empty(s, rows, cols)).collect();
    let mut columns: Vec<Vec<Option<State<T>>>> = (0..geometry.groups())
        .map(|g| {
            let width = geometry.group(g).len();
            wanted.iter().map(|s| (s.axis == Axis::Columns).then(|| State::new(&s.reduce, width))).collect()
        })
        .collect();
    for_each_panel(
        matrices,
        stores,
        geometry,
        &mut columns,
        |columns, work, states: &mut Option<Vec<Option<State<T>>>>| {
            let scores: Vec<(usize, &[T])> = work.tiles.iter().map(|(index, tile)| (*index, &**tile)).collect();
            let tiles = &Tiles { scores: &scores, rows: work.rows, cols: work.cols };
            let scratch = work.scratch;
            let states = states.get_or_insert_with(|| {
                let row_state =
                    |s: &&Statistic<T>| (s.axis == Axis::Rows).then(|| State::new(&s.reduce, tiles.rows.len()));
                wanted.iter().map(row_state).collect()
            });
            for (k, statistic) in wanted.iter().enumerate() {
                if let Some(state) = &mut states[k] {
                    for row in tiles.rows.clone() {
                        row_step(statistic, state, row, tiles, scratch);
                    }
                }
                if let Some(state) = &mut columns[k] {
                    let group_start = geometry.group_of(tiles.cols.start).start;
                    column_step(statistic, state, tiles, tiles.cols.start - group_start, scratch);
                }
            }
        },
        |panel, parts| {
            let mut parts = parts.into_iter().flatten();
            let Some(mut merged) = parts.next() else { return };
            for part in parts {
                for (into, from) in merged.iter_mut().zip(&part) {
                    if let (Some(into), Some(from)) = (into, from) {
                        into.merge(from);
                    }
                }
            }
            for ((state, result), statistic) in merged.into_iter().zip(&mut results).zip(wanted) {
                if let Some(state) = state {
                    state.store(result, panel.start, &statistic.argument.shift);
                }
            }
        },
    );
    for (group, states) in columns.into_iter().enumerate() {
        for ((state, result), statistic) in states.into_iter().zip(&mut results).zip(wanted) {
            if let Some(state) = state {
                state.store(result, geometry.group(group).start, &statistic.argument.shift);
            }
        }
    }
    results
}

/// The value that makes `scale · fill = −∞`.
fn vanishing<T: Real>(scale: T) -> T {
    if scale < T::zero() { T::infinity() } else { T::neg_infinity() }
}

/// The entries of `x` that belong to the set, others replaced so that they vanish from a log-sum-exp or a maximum.
/// `None` if nothing belongs.
pub(crate) fn visible<'b, T: Real>(
    set: &Set<T>,
    row: usize,
    start: usize,
    x: &'b [T],
    scale: T,
    keep: &mut [T],
    masked: &'b mut [T],
) -> Option<&'b [T]> {
    match set.meet(row, start, x, false, keep) {
        Meets::Whole => Some(x),
        Meets::Nothing => None,
        Meets::AllBut(k) => {
            let masked = &mut masked[..x.len()];
            masked.copy_from_slice(x);
            masked[k] = vanishing(scale);
            Some(masked)
        }
        Meets::Some => {
            let masked = &mut masked[..x.len()];
            simd::select(masked, x, keep, vanishing(scale));
            Some(masked)
        }
    }
}

/// Fills `keep` with ones and zeros, or says that everything (`Some(true)`) or nothing (`Some(false)`) belongs.
pub(crate) fn kept<T: Real>(set: &Set<T>, row: usize, start: usize, x: &[T], keep: &mut [T]) -> Option<bool> {
    match set.meet(row, start, x, false, keep) {
        Meets::Whole => Some(true),
        Meets::Nothing => Some(false),
        Meets::AllBut(k) => {
            keep[..x.len()].fill(T::one());
            keep[k] = T::zero();
            None
        }
        Meets::Some => None,
    }
}

fn row_step<T: Real>(
    statistic: &Statistic<T>,
    state: &mut State<T>,
    row: usize,
    tiles: &Tiles<'_, T>,
    s: &mut Scratch<T>,
) {
    let line = row - tiles.rows.start;
    let start = tiles.cols.start;
    let argument = &statistic.argument;
    let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
    let x = tiles.seen(argument, row, &mut s.difference);
    match (state, &statistic.reduce) {
        (State::LogSumExp { peak, sum, expected }, Reduce::LogSumExp { expect }) => {
            let Some(x) = visible(&statistic.set, row, start, x, scale, &mut s.keep, &mut s.masked) else { return };
            let top = simd::max_scaled(x, scale);
            if top == T::neg_infinity() {
                return;
            }
            if top > peak[line] {
                let shrink = (peak[line] - top).f64().exp();
                sum[line] *= shrink;
                if let Some(e) = expected.get_mut(line) {
                    *e *= shrink;
                }
                peak[line] = top;
            }
            match expect {
                None => sum[line] += simd::sum_exp(x, scale, -peak[line]).f64(),
                Some(expect) => {
                    let (a, b) = (expect.scale.at(row), expect.shift.at(row));
                    let g = tiles.seen(expect, row, &mut s.expected);
                    let (e, weighted) = simd::sum_exp_weighted(x, g, scale, -peak[line]);
                    sum[line] += e.f64();
                    expected[line] += a.f64() * weighted.f64() + b.f64() * e.f64();
                }
            }
        }
        (State::Sum { value, slope, moment }, Reduce::Sum { map, .. }) => {
            let keep: &[T] = match kept(&statistic.set, row, start, x, &mut s.keep) {
                Some(false) => return,
                Some(true) => &[],
                None => &s.keep[..x.len()],
            };
            let (v, d, m) = map_sums(*map, x, keep, scale, shift);
            value[line] += v.f64();
            if let Some(at) = slope.get_mut(line) {
                *at += d.f64();
                moment[line] += m.f64();
            }
        }
        (State::Top { k, values, columns }, _) => {
            let Some(x) = visible(&statistic.set, row, start, x, scale, &mut s.keep, &mut s.masked) else { return };
            let range = line * *k..(line + 1) * *k;
            let (values, columns) = (&mut values[range.clone()], &mut columns[range]);
            let full = columns.last().is_some_and(|c| *c != u32::MAX);
            if full && simd::max_scaled(x, scale) + shift <= values[*k - 1] {
                return;
            }
            for (at, s) in x.iter().enumerate() {
                let u = scale * *s + shift;
                if u != T::neg_infinity() {
                    insert(values, columns, u, (start + at) as u32);
                }
            }
        }
        (State::Gather { found }, Reduce::Gather(lists)) => {
            let range = lists.range(row);
            let inside = super::set::within(lists.row(row), start, tiles.cols.end);
            if let Some(first) = inside.first() {
                let offset = range.start + lists.row(row).partition_point(|c| c < first);
                for (k, column) in inside.iter().enumerate() {
                    found.push((offset + k, scale * x[*column as usize - start] + shift));
                }
            }
        }
        _ => {}
    }
}

/// `(Σ φ, Σ φ', Σ φ' s)` over the kept entries.
pub(crate) fn map_sums<T: Real>(map: Map, x: &[T], keep: &[T], scale: T, shift: T) -> (T, T, T) {
    let count = || if keep.is_empty() { T::of(x.len() as f64) } else { simd::sum(keep) };
    match map {
        Map::Softplus => simd::softplus_sums(x, keep, scale, shift),
        Map::One => (count(), T::zero(), T::zero()),
        Map::Identity => {
            let total = if keep.is_empty() { simd::sum(x) } else { simd::dot(x, keep) };
            let n = count();
            (scale * total + shift * n, n, total)
        }
        Map::Square | Map::Hinge | Map::Root | Map::Positive => {
            let (mut value, mut slope, mut moment) = (T::zero(), T::zero(), T::zero());
            for (k, s) in x.iter().enumerate() {
                if keep.is_empty() || keep[k] != T::zero() {
                    let (v, d) = map_entry(map, scale * *s + shift);
                    value += v;
                    slope += d;
                    moment += d * *s;
                }
            }
            (value, slope, moment)
        }
    }
}

/// `(φ(u), φ'(u))`.
pub(crate) fn map_entry<T: Real>(map: Map, u: T) -> (T, T) {
    let (zero, one) = (T::zero(), T::one());
    match map {
        Map::Identity => (u, one),
        Map::Square => (u * u, u + u),
        Map::Softplus => (crate::real::softplus(u), crate::real::sigmoid(u)),
        Map::Hinge => (u.max(zero), if u > zero { one } else { zero }),
        Map::Root if u > zero => (u.sqrt(), (u.sqrt() + u.sqrt()).recip()),
        Map::Root => (zero, zero),
        Map::One => (one, zero),
        Map::Positive => (if u > zero { one } else { zero }, zero),
    }
}

/// Adds a tile to column states; `offset` is the tile's first column within the group.
fn column_step<T: Real>(
    statistic: &Statistic<T>,
    state: &mut State<T>,
    tiles: &Tiles<'_, T>,
    offset: usize,
    s: &mut Scratch<T>,
) {
    let width = tiles.cols.len();
    let argument = &statistic.argument;
    match (state, &statistic.reduce) {
        (State::LogSumExp { peak, sum, expected }, Reduce::LogSumExp { expect }) => {
            // The rows as they are where at most one entry is left out of each; else masked and scaled rows of the tile,
            // once. Then maxima, then sums.
            let mut lines = std::mem::take(&mut s.lines);
            let plain = uniform(&argument.scale) && argument.minus.is_none() && leaves_out_one(&statistic.set);
            let scale = if plain { argument.scale.at(0) } else { T::one() };
            if !plain {
                lines.resize(tiles.rows.len() * width, T::zero());
                for (row, line) in tiles.rows.clone().zip(lines.chunks_exact_mut(width)) {
                    let x = tiles.seen(argument, row, &mut s.difference);
                    let all = kept_for_columns(&statistic.set, row, tiles.cols.start, x, &mut s.keep);
                    for (k, (u, x)) in line.iter_mut().zip(x).enumerate() {
                        let inside = all.unwrap_or(s.keep[k] != T::zero());
                        *u = if inside { argument.scale.at(tiles.cols.start + k) * *x } else { T::neg_infinity() };
                    }
                }
            }
            let masked = std::cell::RefCell::new(&mut s.masked);
            let with_row = |row: usize, f: &mut dyn FnMut(&[T])| {
                if !plain {
                    return f(&lines[(row - tiles.rows.start) * width..(row - tiles.rows.start + 1) * width]);
                }
                let x = tiles.row(argument.matrix, row);
                match statistic.set.meet(row, tiles.cols.start, x, true, &mut []) {
                    Meets::AllBut(k) => {
                        let mut masked = masked.borrow_mut();
                        masked[..width].copy_from_slice(x);
                        masked[k] = vanishing(scale);
                        f(&masked[..width]);
                    }
                    _ => f(x),
                }
            };
            let top = &mut s.column_peak[..width];
            let peak = &mut peak[offset..offset + width];
            top.copy_from_slice(peak);
            for row in tiles.rows.clone() {
                with_row(row, &mut |x| simd::column_max(top, x, scale));
            }
            for (k, (old, new)) in peak.iter_mut().zip(top.iter()).enumerate() {
                if *new > *old {
                    let shrink = (*old - *new).f64().exp();
                    sum[offset + k] *= shrink;
                    if let Some(e) = expected.get_mut(offset + k) {
                        *e *= shrink;
                    }
                    *old = *new;
                }
            }
            let (total, weighted) = (&mut s.column_sum[..width], &mut s.column_weighted[..width]);
            total.fill(T::zero());
            weighted.fill(T::zero());
            for row in tiles.rows.clone() {
                match expect {
                    None => with_row(row, &mut |x| simd::column_sum_exp(total, x, peak, scale)),
                    Some(expect) => {
                        let g = tiles.seen(expect, row, &mut s.expected);
                        with_row(row, &mut |x| simd::column_sum_exp_weighted(total, weighted, x, g, peak, scale));
                    }
                }
            }
            for k in 0..width {
                sum[offset + k] += total[k].f64();
                if let (Some(e), Some(expect)) = (expected.get_mut(offset + k), expect) {
                    let column = tiles.cols.start + k;
                    *e += expect.scale.at(column).f64() * weighted[k].f64()
                        + expect.shift.at(column).f64() * total[k].f64();
                }
            }
            s.lines = lines;
        }
        (State::Sum { value, slope, moment }, Reduce::Sum { map, .. }) => {
            for row in tiles.rows.clone() {
                let x = tiles.seen(argument, row, &mut s.difference);
                let all = kept_for_columns(&statistic.set, row, tiles.cols.start, x, &mut s.keep);
                if all == Some(false) {
                    continue;
                }
                for (k, x) in x.iter().enumerate() {
                    if all.is_none() && s.keep[k] == T::zero() {
                        continue;
                    }
                    let column = tiles.cols.start + k;
                    let (v, d) = map_entry(*map, argument.scale.at(column) * *x + argument.shift.at(column));
                    value[offset + k] += v.f64();
                    if let Some(at) = slope.get_mut(offset + k) {
                        *at += d.f64();
                        moment[offset + k] += (d * *x).f64();
                    }
                }
            }
        }
        _ => {}
    }
}

/// Whether a set leaves out at most one entry of each row, whatever the scores.
pub(crate) fn leaves_out_one<T: Real>(set: &Set<T>) -> bool {
    set.relations.is_empty()
        && !set.upper
        && !set.depends_on_scores()
        && !matches!(set.except, super::set::Except::Lists(_))
}

/// Whether one number serves every line.
pub(crate) fn uniform<T>(numbers: &PerLine<T>) -> bool {
    matches!(numbers, PerLine::All(_))
}

/// As [`kept`], with bounds looked up by column.
pub(crate) fn kept_for_columns<T: Real>(
    set: &Set<T>,
    row: usize,
    start: usize,
    x: &[T],
    keep: &mut [T],
) -> Option<bool> {
    match set.meet(row, start, x, true, keep) {
        Meets::Whole => Some(true),
        Meets::Nothing => Some(false),
        Meets::AllBut(k) => {
            keep[..x.len()].fill(T::one());
            keep[k] = T::zero();
            None
        }
        Meets::Some => None,
    }
}
