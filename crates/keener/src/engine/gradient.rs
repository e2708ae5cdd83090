//! From coefficients to gradients: each tile of scores becomes a tile of ∂loss/∂score, and is folded into the inputs'
//! gradients by matrix products while it is still in cache.

use super::masks::{kept, kept_for_columns, leaves_out_one, map_entry, uniform, visible};
use super::matrix::{Bound, Buffers, Source};
use super::schedule::Geometry;
use super::set::Meets;
use super::statistic::{Argument, Axis, Map, Reduce, Term};
use super::tiles::{Scratch, Store, Tiles, for_each_panel, lock};
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;
use std::sync::Mutex;

/// Whether a term touches only listed entries.
pub(crate) fn is_sparse<T>(term: &Term<T>) -> bool {
    matches!(term.statistic.reduce, Reduce::Gather(_) | Reduce::TopK(_) | Reduce::KthLargest(_))
}

/// The matrices that a term reads.
pub(crate) fn matrices_of<T>(argument: &Argument<T>, reduce: &Reduce<T>) -> Vec<usize> {
    let mut found = vec![argument.matrix];
    found.extend(argument.minus);
    if let Reduce::LogSumExp { expect: Some(expect) } = reduce {
        found.push(expect.matrix);
        found.extend(expect.minus);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// `(row, column, ∂loss/∂u · scale)` of every listed entry of a sparse term.
fn entries<T: Real>(term: &Term<T>, rows: usize) -> Vec<(usize, usize, T)> {
    let scale = &term.statistic.argument.scale;
    let mut found = Vec::new();
    match &term.statistic.reduce {
        Reduce::Gather(lists) => {
            for row in 0..rows {
                for (k, column) in lists.range(row).zip(lists.row(row)) {
                    found.push((row, *column as usize, term.weight[k] * scale.at(row)));
                }
            }
        }
        Reduce::TopK(k) => {
            for (at, (column, weight)) in term.stat.columns.iter().zip(&term.weight).enumerate() {
                if *column != u32::MAX {
                    found.push((at / k, *column as usize, *weight * scale.at(at / k)));
                }
            }
        }
        _ => {}
    }
    found.retain(|(_, _, weight)| *weight != T::zero());
    found
}

/// Adds sparse terms entry by entry: no product, no sweep.
pub(crate) fn accumulate_sparse<T: Real>(matrices: &[Bound<'_, T>], terms: &[&Term<T>], buffers: &mut [Buffers<T>]) {
    for term in terms {
        for index in matrices_of(&term.statistic.argument, &term.statistic.reduce) {
            buffers[index].fresh = false;
        }
        let argument = &term.statistic.argument;
        let signed = [(Some(argument.matrix), T::one()), (argument.minus, -T::one())];
        for (index, sign) in signed.into_iter().filter_map(|(m, sign)| Some((m?, sign))) {
            let (matrix, into) = (&matrices[index], &mut buffers[index]);
            for (row, col, weight) in entries(term, matrix.rows) {
                let mut h = [sign * weight];
                matrix.through_scorer(row, col..col + 1, &mut h);
                let h = h[0];
                let (q, k, right_row) = match &matrix.source {
                    Source::Given(scores) => {
                        if !into.scores.is_empty() {
                            into.scores[row * scores.cols + col] += h;
                        }
                        continue;
                    }
                    Source::Product(q, k) => (q, k, col),
                    Source::Gathered(q, k, ids) => (q, k, ids[row * matrix.cols + col] as usize),
                };
                let d = q.cols;
                if !into.left.is_empty() {
                    simd::add_scaled(&mut into.left[row * d..(row + 1) * d], k.row(right_row), h);
                }
                if !into.right.is_empty() {
                    simd::add_scaled(&mut into.right[right_row * d..(right_row + 1) * d], q.row(row), h);
                }
                if let Some(sum) = into.row_sums.get_mut(row) {
                    *sum += h;
                }
                if let Some(sum) = into.col_sums.get_mut(right_row) {
                    *sum += h;
                }
            }
        }
    }
}

/// The mutable parts of the buffers that one group of columns owns.
struct Owned<'b, T> {
    right: Vec<&'b mut [T]>,
    col_sums: Vec<&'b mut [T]>,
}

/// What a group hands back for a panel: for each matrix a partial left gradient, row sums, or rows of given scores.
#[derive(Default)]
struct Partial<T> {
    left: Vec<Vec<T>>,
    row_sums: Vec<Vec<T>>,
    scores: Vec<Vec<T>>,
}

/// Adds the terms over one shape of matrix. Stored scores are overwritten.
pub(crate) fn accumulate<T: Real>(
    matrices: &[(usize, &Bound<'_, T>)],
    stores: &mut [Option<&mut Store<T>>],
    geometry: &Geometry,
    terms: &[&Term<T>],
    buffers: &mut [Buffers<T>],
) {
    let Some((_, first)) = matrices.first() else { return };
    let cols = first.cols;
    // Take the buffers apart: columns belong to groups, rows to the panels.
    let fresh: Vec<bool> = matrices.iter().map(|(index, _)| buffers[*index].fresh).collect();
    let mut own: Vec<Buffers<T>> = matrices.iter().map(|(index, _)| std::mem::take(&mut buffers[*index])).collect();
    let mut lefts = Vec::new();
    let mut owned: Vec<Owned<'_, T>> =
        (0..geometry.groups()).map(|_| Owned { right: Vec::new(), col_sums: Vec::new() }).collect();
    for ((_, matrix), own) in matrices.iter().zip(own.iter_mut()) {
        let gathered = matches!(matrix.source, Source::Gathered(..));
        let d = matrix.depth();
        split(&mut own.right, d, cols, gathered, geometry, &mut owned, |o| &mut o.right);
        split(&mut own.col_sums, 1, cols, gathered, geometry, &mut owned, |o| &mut o.col_sums);
        lefts.push((&mut own.left, &mut own.row_sums, &mut own.scores));
    }
    let wants: Vec<(bool, bool, bool)> =
        lefts.iter().map(|(l, r, s)| (!l.is_empty(), !r.is_empty(), !s.is_empty())).collect();
    let sparse: Vec<Vec<Vec<(usize, usize, T)>>> = terms
        .iter()
        .map(|term| {
            let mut rows = vec![Vec::new(); first.rows];
            for (row, col, weight) in entries(term, first.rows) {
                rows[row].push((row, col, weight));
            }
            if is_sparse(term) { rows } else { Vec::new() }
        })
        .collect();
    // Partial results of groups, handed on from panel to panel.
    let spare: Mutex<Vec<Partial<T>>> = Mutex::default();
    for_each_panel(
        matrices,
        stores,
        geometry,
        &mut owned,
        |owned, work, partial: &mut Option<Partial<T>>| {
            let (rows, columns) = (work.rows.clone(), work.cols.clone());
            let (height, width) = (rows.len(), columns.len());
            let first_tile = partial.is_none();
            let partial = partial.get_or_insert_with(|| {
                let mut partial = lock(&spare).pop().unwrap_or_default();
                partial.left.resize_with(matrices.len(), Vec::new);
                partial.row_sums.resize_with(matrices.len(), Vec::new);
                partial.scores.resize_with(matrices.len(), Vec::new);
                for (k, (_, matrix)) in matrices.iter().enumerate() {
                    partial.left[k].resize(if wants[k].0 { height * matrix.depth() } else { 0 }, T::zero());
                    if matches!(matrix.source, Source::Gathered(..)) {
                        partial.left[k].fill(T::zero());
                    }
                    partial.row_sums[k].clear();
                    partial.row_sums[k].resize(if wants[k].1 { height } else { 0 }, T::zero());
                    partial.scores[k].clear();
                }
                partial
            });
            // Scores to derivatives, row by row, in place.
            let mut derivative = vec![T::zero(); width * matrices.len()];
            for row in rows.clone() {
                {
                    let scores: Vec<(usize, &[T])> = work.tiles.iter().map(|(m, t)| (*m, &**t)).collect();
                    let tiles = Tiles { scores: &scores, rows: rows.clone(), cols: columns.clone() };
                    let mut h = Lines { width, data: &mut derivative, matrices };
                    row_derivative(terms, &sparse, &tiles, row, work.scratch, &mut h);
                }
                for (k, (_, tile)) in work.tiles.iter_mut().enumerate() {
                    let h = &mut derivative[k * width..(k + 1) * width];
                    matrices[k].1.through_scorer(row, columns.clone(), h);
                    let at = (row - rows.start) * width;
                    tile[at..at + width].copy_from_slice(h);
                }
            }
            // Derivatives to gradients.
            for (k, (_, tile)) in work.tiles.iter().enumerate() {
                let matrix = matrices[k].1;
                let h = &tile[..height * width];
                if wants[k].1 {
                    for (sum, line) in partial.row_sums[k].iter_mut().zip(h.chunks_exact(width)) {
                        *sum += simd::sum(line);
                    }
                }
                let group_start = geometry.group(work.group).start;
                match &matrix.source {
                    Source::Given(_) => {
                        if wants[k].2 {
                            // Tiles of a group one after the other; put in place when the panel is complete.
                            partial.scores[k].extend_from_slice(h);
                        }
                    }
                    Source::Product(q, c) => {
                        let d = q.cols;
                        let h_view = MatRef::new(h, height, width);
                        if wants[k].0 {
                            let right = MatRef::new(&c.data[columns.start * d..columns.end * d], width, d);
                            // The first tile overwrites what an earlier panel left.
                            let add = if first_tile { T::zero() } else { T::one() };
                            gemm(T::one(), h_view, right, add, &mut partial.left[k], d);
                        }
                        let at = columns.start - group_start;
                        if !owned.right[k].is_empty() {
                            let left = MatRef::new(&q.data[rows.start * d..rows.end * d], height, d);
                            let into = &mut owned.right[k][at * d..(at + width) * d];
                            let add = if fresh[k] && rows.start == 0 { T::zero() } else { T::one() };
                            gemm(T::one(), h_view.t(), left, add, into, d);
                        }
                        if !owned.col_sums[k].is_empty() {
                            for line in h.chunks_exact(width) {
                                simd::add_scaled(&mut owned.col_sums[k][at..at + width], line, T::one());
                            }
                        }
                    }
                    Source::Gathered(q, c, ids) => {
                        let d = q.cols;
                        for (line, row) in h.chunks_exact(width).zip(rows.clone()) {
                            let ids = &ids[row * matrix.cols + columns.start..row * matrix.cols + columns.end];
                            for (h, id) in line.iter().zip(ids) {
                                let id = *id as usize;
                                if wants[k].0 {
                                    let at = (row - rows.start) * d;
                                    simd::add_scaled(&mut partial.left[k][at..at + d], c.row(id), *h);
                                }
                                if !owned.right[k].is_empty() {
                                    simd::add_scaled(&mut owned.right[k][id * d..(id + 1) * d], q.row(row), *h);
                                }
                                if !owned.col_sums[k].is_empty() {
                                    owned.col_sums[k][id] += *h;
                                }
                            }
                        }
                    }
                }
            }
        },
        |panel, parts| {
            for (group, part) in parts.into_iter().enumerate() {
                let Some(part) = part else { continue };
                for (k, (left, row_sums, scores)) in lefts.iter_mut().enumerate() {
                    let d = matrices[k].1.depth();
                    if !left.is_empty() {
                        let into = &mut left[panel.start * d..panel.end * d];
                        into.par_chunks_mut(1 << 14).zip(part.left[k].par_chunks(1 << 14)).for_each(|(into, from)| {
                            simd::add_scaled(into, from, T::one());
                        });
                    }
                    if !row_sums.is_empty() {
                        simd::add_scaled(&mut row_sums[panel.clone()], &part.row_sums[k], T::one());
                    }
                    if !scores.is_empty() {
                        let columns = geometry.group(group);
                        let mut rest = &part.scores[k][..];
                        let mut from = columns.start;
                        while from < columns.end {
                            let to = (from + geometry.tile).min(columns.end);
                            let (tile, more) = rest.split_at(panel.len() * (to - from));
                            for (row, line) in panel.clone().zip(tile.chunks_exact(to - from)) {
                                simd::add_scaled(&mut scores[row * cols + from..row * cols + to], line, T::one());
                            }
                            rest = more;
                            from = to;
                        }
                    }
                }
                lock(&spare).push(part);
            }
        },
    );
    drop(owned);
    drop(lefts);
    for ((index, _), own) in matrices.iter().zip(own) {
        buffers[*index] = Buffers { fresh: false, ..own };
    }
}

/// Hands each group its columns of `data` (everything to the only group of gathered candidates).
fn split<'b, T: Real>(
    data: &'b mut [T],
    depth: usize,
    cols: usize,
    gathered: bool,
    geometry: &Geometry,
    owned: &mut [Owned<'b, T>],
    field: impl for<'o> Fn(&'o mut Owned<'b, T>) -> &'o mut Vec<&'b mut [T]>,
) {
    let mut rest = data;
    let count = owned.len();
    for (group, owner) in owned.iter_mut().enumerate() {
        let size = match (rest.is_empty(), gathered) {
            (true, _) => 0,
            (_, true) if group + 1 == count => rest.len(),
            (_, true) => 0,
            _ => geometry.group(group).len() * depth * usize::from(cols > 0),
        };
        let (head, tail) = rest.split_at_mut(size);
        field(owner).push(head);
        rest = tail;
    }
}

/// Rows of ∂loss/∂score, one a matrix.
struct Lines<'l, 'm, T> {
    width: usize,
    data: &'l mut [T],
    matrices: &'l [(usize, &'m Bound<'m, T>)],
}

impl<T: Real> Lines<'_, '_, T> {
    fn of(&mut self, matrix: usize) -> &mut [T] {
        let k = self.matrices.iter().position(|(m, _)| *m == matrix).unwrap_or(0);
        &mut self.data[k * self.width..(k + 1) * self.width]
    }
}

fn row_derivative<T: Real>(
    terms: &[&Term<T>],
    sparse: &[Vec<Vec<(usize, usize, T)>>],
    tiles: &Tiles<'_, T>,
    row: usize,
    s: &mut Scratch<T>,
    h: &mut Lines<'_, '_, T>,
) {
    // A lone softmax writes its line; everything else adds to zeros.
    let mut untouched = h.matrices.len() == 1;
    if !untouched {
        h.data.fill(T::zero());
    }
    let start = tiles.cols.start;
    for (term, listed) in terms.iter().zip(sparse) {
        let statistic = &term.statistic;
        let argument = &statistic.argument;
        if !argument.shaping.is_none() {
            if untouched {
                h.data.fill(T::zero());
                untouched = false;
            }
            shaped_derivative(term, tiles, row, s, h);
            continue;
        }
        // The derivative with respect to `u · scale`, for both matrices of a difference.
        let mut parts: [Option<(usize, T)>; 2] = [Some((argument.matrix, T::one())), None];
        if let Some(minus) = argument.minus {
            parts[1] = Some((minus, -T::one()));
        }
        if let Some(rows) = listed.get(row) {
            if untouched {
                h.data.fill(T::zero());
                untouched = false;
            }
            for (_, col, weight) in rows.iter().filter(|(_, col, _)| tiles.cols.contains(col)) {
                for (matrix, sign) in parts.iter().flatten() {
                    h.of(*matrix)[col - start] += *sign * *weight;
                }
            }
            continue;
        }
        if !listed.is_empty() || is_sparse(term) {
            continue;
        }
        let x = tiles.seen(argument, row, &mut s.difference);
        match (&statistic.reduce, statistic.axis) {
            (Reduce::LogSumExp { expect }, Axis::Rows) => {
                let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
                let lse = term.stat.values[row];
                let weight = term.weight[row];
                let through = if term.expectation_weight.is_empty() { T::zero() } else { term.expectation_weight[row] };
                if lse == T::neg_infinity() || (weight == T::zero() && through == T::zero()) {
                    continue;
                }
                let masked = visible(&statistic.set, row, start, x, scale, &mut s.keep, &mut s.masked);
                let Some(x) = masked else { continue };
                let offset = shift - lse;
                match expect {
                    Some(expect) if through != T::zero() => {
                        let (a, b) = (expect.scale.at(row), expect.shift.at(row));
                        let g = tiles.seen(expect, row, &mut s.expected);
                        if untouched {
                            h.data.fill(T::zero());
                            untouched = false;
                        }
                        // p_j [w + e (a g_j + b − E)] through the exponent …
                        let constant = weight + through * (b - term.stat.expectation[row]);
                        for (matrix, sign) in parts.iter().flatten() {
                            let (w, e) = (*sign * scale * constant, *sign * scale * through * a);
                            simd::exp_add_weighted(h.of(*matrix), x, g, scale, offset, w, e);
                        }
                        // … and p_j e a through what is expected.
                        simd::exp_add(h.of(expect.matrix), x, scale, offset, through * a);
                        if let Some(minus) = expect.minus {
                            simd::exp_add(h.of(minus), x, scale, offset, -through * a);
                        }
                    }
                    _ => {
                        for (matrix, sign) in parts.iter().flatten() {
                            let w = *sign * scale * weight;
                            if untouched {
                                simd::exp_assign(h.of(*matrix), x, scale, offset, w);
                                untouched = false;
                            } else {
                                simd::exp_add(h.of(*matrix), x, scale, offset, w);
                            }
                        }
                    }
                }
                continue;
            }
            _ if untouched => {
                h.data.fill(T::zero());
                untouched = false;
            }
            _ => {}
        }
        match (&statistic.reduce, statistic.axis) {
            (Reduce::LogSumExp { expect }, Axis::Columns) => {
                column_softmax(
                    term,
                    expect.as_ref(),
                    &parts,
                    tiles,
                    row,
                    x,
                    &mut s.keep,
                    &mut s.masked,
                    &mut s.expected,
                    h,
                );
            }
            (Reduce::LogSumLinear, Axis::Rows) => {
                let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
                let (value, weight) = (term.stat.values[row], term.weight[row] * scale);
                if value == T::neg_infinity() || weight == T::zero() {
                    continue;
                }
                let Some(x) = visible(&statistic.set, row, start, x, scale, &mut s.keep, &mut s.masked) else {
                    continue;
                };
                for (matrix, sign) in parts.iter().flatten() {
                    simd::linear_exp_slope_add(h.of(*matrix), x, scale, shift, *sign * weight * (-value).exp());
                }
            }
            (Reduce::Moments, Axis::Rows) => {
                let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
                let (weight, spread) =
                    (term.weight[row], term.expectation_weight.get(row).copied().unwrap_or_default());
                if (weight == T::zero() && spread == T::zero())
                    || scale == T::zero()
                    || term.stat.slope[row] == T::zero()
                {
                    continue;
                }
                let keep: &[T] = match kept(&statistic.set, row, start, x, &mut s.keep) {
                    Some(false) => continue,
                    Some(true) => &[],
                    None => &s.keep[..x.len()],
                };
                let share = scale / term.stat.slope[row];
                let centre = (term.stat.values[row] - shift) / scale;
                for (matrix, sign) in parts.iter().flatten() {
                    let slope = *sign * share * scale * (spread + spread);
                    simd::centred_add(h.of(*matrix), x, keep, centre, slope, *sign * share * weight);
                }
            }
            (Reduce::Sum { map, .. }, Axis::Rows) => {
                let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
                let weight = term.weight[row] * scale;
                if weight == T::zero() || matches!(map, Map::One | Map::Positive) {
                    continue;
                }
                let keep: &[T] = match kept(&statistic.set, row, start, x, &mut s.keep) {
                    Some(false) => continue,
                    Some(true) => &[],
                    None => &s.keep[..x.len()],
                };
                for (matrix, sign) in parts.iter().flatten() {
                    let (h, w) = (h.of(*matrix), *sign * weight);
                    match map {
                        Map::Softplus => simd::sigmoid_add(h, x, keep, scale, shift, w),
                        Map::Square => simd::affine_add(h, x, keep, scale, shift, w + w),
                        _ => {
                            for (k, (h, x)) in h.iter_mut().zip(x).enumerate() {
                                if keep.is_empty() || keep[k] != T::zero() {
                                    *h += w * map_entry(*map, scale * *x + shift).1;
                                }
                            }
                        }
                    }
                }
            }
            (Reduce::Sum { map, .. }, Axis::Columns) => {
                let all = kept_for_columns(&statistic.set, row, start, x, &mut s.keep);
                for (k, x) in x.iter().enumerate() {
                    if all.unwrap_or(s.keep[k] != T::zero()) {
                        let col = start + k;
                        let scale = argument.scale.at(col);
                        let slope = map_entry(*map, scale * *x + argument.shift.at(col)).1;
                        for (matrix, sign) in parts.iter().flatten() {
                            h.of(*matrix)[k] += *sign * term.weight[col] * scale * slope;
                        }
                    }
                }
            }
            _ => {}
        }
    }
    if untouched {
        h.data.fill(T::zero());
    }
}

/// The part of a shaped term: its derivative with respect to what it sees, then through the shaping.
fn shaped_derivative<T: Real>(
    term: &Term<T>,
    tiles: &Tiles<'_, T>,
    row: usize,
    s: &mut Scratch<T>,
    h: &mut Lines<'_, '_, T>,
) {
    let argument = &term.statistic.argument;
    let width = tiles.cols.len();
    let mut before = std::mem::take(&mut s.shaped);
    before.clear();
    before.resize(width, T::zero());
    seen_derivative(term, tiles, row, s, &mut before);
    let signed = [(Some(argument.matrix), T::one()), (argument.minus, -T::one())];
    for (matrix, sign) in signed.into_iter().filter_map(|(m, sign)| Some((m?, sign))) {
        if sign < T::zero() {
            simd::scale_in_place(&mut before, sign);
        }
        let x = tiles.raw(argument, row, &mut s.difference);
        argument.shaping.pull_back(row, x, &before, h.of(matrix));
    }
    s.shaped = before;
}

/// Adds the derivative of a row-wise log-sum-exp or sum with respect to what its argument sees in row `row`.
fn seen_derivative<T: Real>(term: &Term<T>, tiles: &Tiles<'_, T>, row: usize, s: &mut Scratch<T>, out: &mut [T]) {
    let (statistic, start) = (&term.statistic, tiles.cols.start);
    let argument = &statistic.argument;
    let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
    let x = tiles.seen(argument, row, &mut s.difference);
    match &statistic.reduce {
        Reduce::LogSumExp { expect } => {
            let (lse, weight) = (term.stat.values[row], term.weight[row]);
            let through = if term.expectation_weight.is_empty() { T::zero() } else { term.expectation_weight[row] };
            if lse == T::neg_infinity() || (weight == T::zero() && through == T::zero()) {
                return;
            }
            let seen = x;
            let visible = visible(&statistic.set, row, start, x, scale, &mut s.keep, &mut s.masked);
            let Some(x) = visible else { return };
            match expect {
                // Both see the same, so that one factor serves the exponent and what is expected.
                Some(expect) if through != T::zero() => {
                    let (a, b) = (expect.scale.at(row), expect.shift.at(row));
                    let constant = scale * (weight + through * (b - term.stat.expectation[row])) + through * a;
                    simd::exp_add_weighted(out, x, seen, scale, shift - lse, constant, scale * through * a);
                }
                _ => simd::exp_add(out, x, scale, shift - lse, scale * weight),
            }
        }
        Reduce::Sum { map, .. } => {
            let weight = term.weight[row] * scale;
            let all = kept(&statistic.set, row, start, x, &mut s.keep);
            if weight == T::zero() || all == Some(false) {
                return;
            }
            for (k, (out, x)) in out.iter_mut().zip(x).enumerate() {
                if all.is_some() || s.keep[k] != T::zero() {
                    *out += weight * map_entry(*map, scale * *x + shift).1;
                }
            }
        }
        _ => {}
    }
}

/// The part of a column-wise log-sum-exp in one row.
fn column_softmax<T: Real>(
    term: &Term<T>,
    expect: Option<&Argument<T>>,
    parts: &[Option<(usize, T)>; 2],
    tiles: &Tiles<'_, T>,
    row: usize,
    x: &[T],
    keep: &mut [T],
    masked: &mut [T],
    expected: &mut [T],
    h: &mut Lines<'_, '_, T>,
) {
    let argument = &term.statistic.argument;
    let columns = tiles.cols.clone();
    let uniform = uniform(&argument.scale) && uniform(&argument.shift) && argument.minus.is_none();
    if uniform
        && leaves_out_one(&term.statistic.set)
        && term.expectation_weight.is_empty()
        && argument.shift.at(0) == T::zero()
    {
        let scale = argument.scale.at(0);
        let out = match term.statistic.set.meet(row, columns.start, x, true, keep) {
            Meets::AllBut(k) => Some(k),
            _ => None,
        };
        let weight = &mut masked[..columns.len()];
        weight.copy_from_slice(&term.weight[columns.clone()]);
        simd::scale_in_place(weight, scale);
        let h = h.of(argument.matrix);
        let before = out.map(|k| h[k]);
        simd::column_exp_add(h, x, &term.stat.values[columns], weight, scale);
        if let (Some(k), Some(before)) = (out, before) {
            h[k] = before;
        }
        return;
    }
    let all = kept_for_columns(&term.statistic.set, row, columns.start, x, keep);
    let g: &[T] = match expect {
        Some(expect) if !term.expectation_weight.is_empty() => tiles.seen(expect, row, expected),
        _ => &[],
    };
    for (k, x) in x.iter().enumerate() {
        let col = columns.start + k;
        let lse = term.stat.values[col];
        if lse == T::neg_infinity() || !all.unwrap_or(keep[k] != T::zero()) {
            continue;
        }
        let scale = argument.scale.at(col);
        let p = (scale * *x + argument.shift.at(col) - lse).vexp::<false>();
        let mut through = term.weight[col];
        if let (Some(expect), Some(g)) = (expect, g.get(k)) {
            let e = term.expectation_weight[col];
            let (a, b) = (expect.scale.at(col), expect.shift.at(col));
            through += e * (a * *g + b - term.stat.expectation[col]);
            h.of(expect.matrix)[k] += p * e * a;
            if let Some(minus) = expect.minus {
                h.of(minus)[k] -= p * e * a;
            }
        }
        for (matrix, sign) in parts.iter().flatten() {
            h.of(*matrix)[k] += *sign * scale * p * through;
        }
    }
}
