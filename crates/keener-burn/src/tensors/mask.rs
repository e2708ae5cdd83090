//! Sets as masks of one tile, and as a question about one entry.

use super::matrix::{column, indices};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use keener::engine::{Axis, Excluded, PerLine, Set};
use std::ops::Range;

/// A number for each line of a tile: along `Rows` as `[r, 1]`, down `Columns` as `[1, c]`.
#[expect(clippy::large_enum_variant, reason = "a handful live at a time, on the stack")]
pub(super) enum Lines {
    All(f32),
    Each(Tensor<2>),
}

impl Lines {
    pub(super) fn of(values: &PerLine<f32>, axis: Axis, r: &Range<usize>, c: &Range<usize>, device: &Device) -> Self {
        match (values, axis) {
            (PerLine::All(value), _) => Self::All(*value),
            (PerLine::Each(values), Axis::Rows) => Self::Each(column(values[r.clone()].to_vec(), device)),
            (PerLine::Each(values), Axis::Columns) => {
                Self::Each(column(values[c.clone()].to_vec(), device).transpose())
            }
        }
    }

    pub(super) fn times(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::All(1.0) => x,
            Self::All(value) => x * *value,
            Self::Each(values) => x * values.clone(),
        }
    }

    pub(super) fn plus(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::All(0.0) => x,
            Self::All(value) => x + *value,
            Self::Each(values) => x + values.clone(),
        }
    }
}

/// True where an entry of the tile belongs; `None` where all do. `x` are the raw scores of the tile.
pub(super) fn mask(
    set: &Set<f32>,
    axis: Axis,
    r: &Range<usize>,
    c: &Range<usize>,
    x: &Tensor<2>,
) -> Option<Tensor<2, Bool>> {
    let device = x.device();
    let conditions = set.conditions();
    let mut found: Option<Tensor<2, Bool>> = None;
    let mut require = |mask: Tensor<2, Bool>| {
        found = Some(match found.take() {
            None => mask,
            Some(other) => other.bool_and(mask),
        });
    };
    let (height, width) = (r.len(), c.len());
    let tall = |values: &[u32]| -> Tensor<2, Int> { indices(values, &device).reshape([values.len(), 1]) };
    let wide = |values: &[u32]| -> Tensor<2, Int> { indices(values, &device).reshape([1, values.len()]) };
    let whole = |t: Tensor<2, Int>| t.expand([height, width]);
    let numbers = |range: &Range<usize>| (range.start as u32..range.end as u32).collect::<Vec<u32>>();
    for (rows, columns, same) in conditions.relations {
        let (a, b) = (whole(tall(&rows[r.clone()])), whole(wide(&columns[c.clone()])));
        require(if same { a.equal(b) } else { a.not_equal(b) });
    }
    if conditions.upper {
        require(whole(wide(&numbers(c))).greater(whole(tall(&numbers(r)))));
    }
    match conditions.excluded {
        Excluded::Nothing => {}
        Excluded::Diagonal => require(whole(tall(&numbers(r))).not_equal(whole(wide(&numbers(c))))),
        Excluded::One(columns) => require(whole(tall(&columns[r.clone()])).not_equal(whole(wide(&numbers(c))))),
        Excluded::Lists(lists) => {
            let mut keep = vec![true; height * width];
            for (line, row) in r.clone().enumerate() {
                for column in lists.row(row).iter().map(|c| *c as usize).filter(|column| c.contains(column)) {
                    keep[line * width + column - c.start] = false;
                }
            }
            require(Tensor::from_data(TensorData::new(keep, [height, width]), &device));
        }
    }
    for (bound, low) in [(conditions.at_least, true), (conditions.at_most, false)] {
        let Some(bound) = bound else { continue };
        let bound = match Lines::of(bound, axis, r, c, &device) {
            Lines::All(value) => Tensor::<2>::full([height, width], value, &device),
            Lines::Each(values) => values.expand([height, width]),
        };
        require(if low { x.clone().greater_equal(bound) } else { x.clone().lower_equal(bound) });
    }
    found
}

/// Entries that do not belong, replaced.
pub(super) fn masked(u: Tensor<2>, mask: &Option<Tensor<2, Bool>>, fill: f32) -> Tensor<2> {
    match mask {
        None => u,
        Some(mask) => u.mask_fill(mask.clone().bool_not(), fill),
    }
}

/// Whether the entry at `(row, col)` with score `s` belongs, bounds taken by row.
pub(super) fn belongs(set: &Set<f32>, row: usize, col: usize, s: f32) -> bool {
    let conditions = set.conditions();
    let related = conditions.relations.iter().all(|(rows, columns, same)| (rows[row] == columns[col]) == *same);
    let excluded = match conditions.excluded {
        Excluded::Nothing => false,
        Excluded::Diagonal => row == col,
        Excluded::One(columns) => columns[row] as usize == col,
        Excluded::Lists(lists) => lists.row(row).binary_search(&(col as u32)).is_ok(),
    };
    let high_enough = conditions.at_least.is_none_or(|b| s >= b.at(row));
    let low_enough = conditions.at_most.is_none_or(|b| s <= b.at(row));
    related && !excluded && (!conditions.upper || col > row) && high_enough && low_enough
}
