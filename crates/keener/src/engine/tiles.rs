//! Tiles in fixed order: panels of rows one after the other, groups of columns in parallel, the same for any number of threads.

use super::matrix::Bound;
use super::schedule::Geometry;
use super::statistic::Argument;
use crate::real::Real;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

/// Buffers of one worker, as wide as a tile.
pub(crate) struct Scratch<T> {
    pub(crate) keep: Vec<T>,
    pub(crate) masked: Vec<T>,
    pub(crate) difference: Vec<T>,
    pub(crate) expected: Vec<T>,
    pub(crate) column_peak: Vec<T>,
    pub(crate) column_sum: Vec<T>,
    pub(crate) column_weighted: Vec<T>,
    pub(crate) lines: Vec<T>,
    /// Derivatives of a shaped term before they go through its shaping, one line a matrix.
    pub(crate) shaped: Vec<T>,
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
            shaped: Vec::new(),
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

/// The content of a mutex, whatever happened to its last holder.
pub(crate) fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
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

    /// The entries that `argument` sees in row `row` before scale and shift, in `buffer` where they are not the scores themselves.
    pub(crate) fn seen<'b>(&self, argument: &Argument<T>, row: usize, buffer: &'b mut [T]) -> &'b [T]
    where
        't: 'b,
    {
        if argument.shaping.is_none() {
            return self.raw(argument, row, buffer);
        }
        let width = self.cols.len();
        match argument.minus {
            None => buffer[..width].copy_from_slice(self.row(argument.matrix, row)),
            Some(_) => drop(self.raw(argument, row, buffer)),
        }
        argument.shaping.apply(row, &mut buffer[..width]);
        &buffer[..width]
    }

    /// The same before shaping.
    pub(crate) fn raw<'b>(&self, argument: &Argument<T>, row: usize, buffer: &'b mut [T]) -> &'b [T]
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
