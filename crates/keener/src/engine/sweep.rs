//! Statistics over slices: every tile of a score matrix is visited once, in an order that does not depend on threads.
//!
//! Rows come in panels, one after the other; the tiles of a panel are shared out to fixed groups of columns, which are
//! the unit of parallel work. Partial results of a row are merged in the order of the groups, partial results of a
//! column in the order of the panels, so the same bits come out for any number of threads.

use super::masks::{kept, kept_for_columns, leaves_out_one, map_entry, map_sums, uniform, vanishing, visible};
use super::matrix::Bound;
use super::schedule::Geometry;
use super::set::{Meets, within};
use super::state::{State, add_linear, add_moments, empty, insert};
use super::statistic::{Axis, Reduce, Stat, Statistic};
use super::tiles::{Scratch, Store, Tiles, for_each_panel};
use crate::real::{Real, linear_exp};
use crate::simd;

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
            let seen = x;
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
                    // Shaped scores are those that are seen already.
                    let g = match argument.shaping.is_none() {
                        true => tiles.seen(expect, row, &mut s.expected),
                        false => seen,
                    };
                    let (e, weighted) = simd::sum_exp_weighted(x, g, scale, -peak[line]);
                    sum[line] += e.f64();
                    expected[line] += a.f64() * weighted.f64() + b.f64() * e.f64();
                }
            }
        }
        (State::LogSumLinear { peak, sum }, Reduce::LogSumLinear) => {
            let Some(x) = visible(&statistic.set, row, start, x, scale, &mut s.keep, &mut s.masked) else { return };
            let top = simd::max_scaled(x, scale) + shift;
            if top != T::neg_infinity() {
                let part = simd::sum_linear_exp(x, scale, shift, linear_exp(-top));
                add_linear(&mut peak[line], &mut sum[line], top, part.f64());
            }
        }
        (State::Moments { count, mean, square }, Reduce::Moments) => {
            let keep: &[T] = match kept(&statistic.set, row, start, x, &mut s.keep) {
                Some(false) => return,
                Some(true) => &[],
                None => &s.keep[..x.len()],
            };
            let n = if keep.is_empty() { x.len() as f64 } else { simd::sum(keep).f64() };
            let first = keep.iter().position(|k| *k != T::zero()).unwrap_or(0);
            if n == 0.0 {
                return;
            }
            // About the first entry to find the mean, about the mean to find the spread.
            let centre = T::of(x[first].f64() + simd::centred_sums(x, keep, x[first]).0.f64() / n);
            let (rest, squares) = simd::centred_sums(x, keep, centre);
            let (a, rest) = (scale.f64(), rest.f64());
            let part =
                (n, a * (centre.f64() + rest / n) + shift.f64(), a * a * (squares.f64() - rest * rest / n).max(0.0));
            add_moments((&mut count[line], &mut mean[line], &mut square[line]), part);
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
            let inside = within(lists.row(row), start, tiles.cols.end);
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
