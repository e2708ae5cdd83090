//! How a sweep is cut into tiles, and which of the three schedules fits a memory budget.

use super::plan::Coupling;
use serde::Serialize;
use std::ops::Range;

/// How scores are kept between the statistics and the gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// All scores are stored: 3 products, B·N numbers.
    Whole,
    /// A block of rows is finished before the next begins: 3 products, rows·N numbers. For objectives whose rows can be
    /// finished alone.
    Panel,
    /// Nothing is stored, tiles are computed again for the gradients: 4 products, a tile a thread.
    Recompute,
}

impl std::str::FromStr for Schedule {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text {
            "whole" => Ok(Self::Whole),
            "panel" => Ok(Self::Panel),
            "recompute" => Ok(Self::Recompute),
            _ => Err(crate::Error::parameter("schedule", text, "whole, panel or recompute")),
        }
    }
}

/// Fixed cutting of a matrix: panels of rows, tiles of columns, groups of tiles. Depends on the shape alone, never on
/// the number of threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) cols: usize,
    /// Rows of a panel.
    pub(crate) panel: usize,
    /// Columns of a tile.
    pub(crate) tile: usize,
    /// Columns of a group, a multiple of the tile.
    pub(crate) group: usize,
}

/// Rows of a panel: enough for products near their peak (`bench/products`), few enough that a tile stays in cache.
const PANEL_ROWS: usize = 256;
/// Columns of a tile.
const TILE_COLUMNS: usize = 512;
/// Groups of columns: the parallel units of a panel. Each holds a partial gradient of the panel's rows.
const GROUPS: usize = 8;

/// Groups of a matrix too narrow for tiles of full width.
const FEWEST_GROUPS: usize = 4;
/// What the products keep packed, a thread, as measured.
const PACKING_BYTES: usize = 4 << 20;

impl Geometry {
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        // Narrow matrices still give work to several threads, in tiles wide enough for the products.
        let narrowest = cols.div_ceil(FEWEST_GROUPS).next_multiple_of(32).clamp(64, TILE_COLUMNS / 2);
        let tile = cols.div_ceil(GROUPS).next_multiple_of(32).clamp(narrowest, TILE_COLUMNS).min(cols.max(1));
        let tiles = cols.div_ceil(tile).max(1);
        let group = tiles.div_ceil(GROUPS) * tile;
        Self { cols, panel: PANEL_ROWS.min(rows.max(1)), tile, group }
    }

    /// One group of columns, for gathered candidates: their gradients may meet in any row.
    pub(crate) fn single(rows: usize, cols: usize) -> Self {
        let geometry = Self::new(rows, cols);
        Self { group: cols.max(1).next_multiple_of(geometry.tile), ..geometry }
    }

    pub(crate) fn groups(&self) -> usize {
        self.cols.div_ceil(self.group).max(1)
    }

    pub(crate) fn group(&self, index: usize) -> Range<usize> {
        (index * self.group).min(self.cols)..((index + 1) * self.group).min(self.cols)
    }

    pub(crate) fn group_of(&self, column: usize) -> Range<usize> {
        self.group(column / self.group)
    }
}

/// The planner's decision, with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The schedule.
    pub schedule: Schedule,
    /// Rows that are finished together (all of them, except under [`Schedule::Panel`]).
    pub rows_at_once: usize,
    /// Numbers held beyond inputs and gradients, in bytes, at most.
    pub bytes: usize,
    /// Matrix products that forward and backward cost together.
    pub products: usize,
    /// Why.
    pub reason: String,
}

/// What the planner looks at.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows B of the largest score matrix.
    pub rows: usize,
    /// Its columns N.
    pub cols: usize,
    /// Inner dimension d; 0 where scores are given.
    pub depth: usize,
    /// How many matrices of that shape are read together.
    pub matrices: usize,
    /// Bytes of a number.
    pub number: usize,
}

impl Shape {
    /// Bytes of tiles and partial gradients, whatever the schedule, with one tile for each group at work.
    fn working(&self) -> usize {
        let geometry = Geometry::new(self.rows, self.cols);
        let threads = rayon::current_num_threads().min(geometry.groups());
        let tiles = threads * geometry.panel * geometry.tile * self.matrices;
        let partial = geometry.groups() * geometry.panel * self.depth;
        let packing = if self.depth > 0 { threads * PACKING_BYTES } else { 0 };
        (tiles + partial) * self.number + packing + (self.rows + self.cols) * 64
    }

    /// Bytes of `rows` stored rows of scores.
    fn stored(&self, rows: usize) -> usize {
        rows.saturating_mul(self.cols).saturating_mul(self.matrices).saturating_mul(self.number)
    }
}

/// What a schedule that is asked for costs.
pub fn price(shape: Shape, schedule: Schedule) -> Choice {
    let rows_at_once = if schedule == Schedule::Panel { shape.rows.min(PANEL_ROWS) } else { shape.rows };
    let stored = if schedule == Schedule::Recompute { 0 } else { shape.stored(rows_at_once) };
    let products = match (shape.depth, schedule) {
        (0, _) => 0,
        (_, Schedule::Recompute) => 4,
        _ => 3,
    };
    Choice { schedule, rows_at_once, bytes: shape.working() + stored, products, reason: "asked for".into() }
}

/// How a matrix of scores is cut, for measurements that want the engine's tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows of a panel.
    pub panel: usize,
    /// Columns of a tile.
    pub tile: usize,
    /// Columns of each group, the unit of parallel work.
    pub groups: Vec<Range<usize>>,
}

/// How a matrix of `[rows, cols]` scores is cut.
pub fn tiling(rows: usize, cols: usize) -> Tiling {
    let geometry = Geometry::new(rows, cols);
    let groups = (0..geometry.groups()).map(|k| geometry.group(k)).collect();
    Tiling { panel: geometry.panel, tile: geometry.tile, groups }
}

/// Chooses a schedule for a memory budget in bytes.
pub fn choose(shape: Shape, coupling: Coupling, budget: usize) -> Choice {
    let working = shape.working();
    let left = budget.saturating_sub(working);
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    let whole = shape.stored(shape.rows);
    if coupling == Coupling::RowByRow && shape.depth > 0 && shape.rows > PANEL_ROWS {
        let rows = PANEL_ROWS;
        if shape.stored(rows) <= left {
            return Choice {
                schedule: Schedule::Panel,
                rows_at_once: rows,
                bytes: working + shape.stored(rows),
                products: 3,
                reason: format!(
                    "rows can be finished alone: {rows} at a time hold {} of scores instead of {}",
                    mib(shape.stored(rows)),
                    mib(whole)
                ),
            };
        }
    }
    if whole <= left {
        return Choice {
            schedule: Schedule::Whole,
            rows_at_once: shape.rows,
            bytes: working + whole,
            products: 3,
            reason: format!("all scores ({}) fit the budget of {}", mib(whole), mib(budget)),
        };
    }
    if coupling == Coupling::RowByRow && shape.depth > 0 {
        let rows = (left / shape.stored(1).max(1)).min(shape.rows);
        if rows >= 32 {
            let rows = rows / 32 * 32;
            return Choice {
                schedule: Schedule::Panel,
                rows_at_once: rows,
                bytes: working + shape.stored(rows),
                products: 3,
                reason: format!(
                    "{rows} rows of scores ({}) are what the budget of {} holds",
                    mib(shape.stored(rows)),
                    mib(budget)
                ),
            };
        }
    }
    Choice {
        schedule: Schedule::Recompute,
        rows_at_once: shape.rows,
        bytes: working,
        products: if shape.depth > 0 { 4 } else { 0 },
        reason: format!(
            "the scores ({}) do not fit the budget of {}: tiles are computed twice",
            mib(whole),
            mib(budget)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_covers_every_column_once() {
        for cols in [1, 2, 63, 64, 65, 500, 512, 513, 1000, 4096, 65_537] {
            let g = Geometry::new(300, cols);
            let covered: usize = (0..g.groups()).map(|k| g.group(k).len()).sum();
            assert_eq!(covered, cols);
            assert!(g.group.is_multiple_of(g.tile));
            for column in [0, cols / 2, cols - 1] {
                assert!(g.group_of(column).contains(&column));
            }
        }
    }

    #[test]
    fn budget_decides() {
        let shape = Shape { rows: 8192, cols: 262_144, depth: 256, matrices: 1, number: 4 };
        assert_eq!(choose(shape, Coupling::RowByRow, 512 << 20).schedule, Schedule::Panel);
        assert_eq!(choose(shape, Coupling::WholeBatch, 512 << 20).schedule, Schedule::Recompute);
        assert_eq!(choose(shape, Coupling::WholeBatch, 16 << 30).schedule, Schedule::Whole);
        assert_eq!(choose(shape, Coupling::RowByRow, 16 << 20).schedule, Schedule::Recompute);
        for budget in [64 << 20, 512 << 20] {
            assert!(choose(shape, Coupling::RowByRow, budget).bytes <= budget);
        }
    }
}
