//! Sets of entries of a score matrix, described and never stored.

use super::statistic::{PerLine, Sparse};
use crate::real::Real;
use crate::simd;
use std::sync::Arc;

/// Marks a row without an excluded column.
pub const NONE: u32 = u32::MAX;

/// Relation between the class of the row and that of the column.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) rows: Arc<[u32]>,
    pub(crate) columns: Arc<[u32]>,
    pub(crate) same: bool,
}

/// Columns left out of each row.
#[derive(Clone, Debug)]
pub(crate) enum Except {
    Nothing,
    /// The entry `(i, i)`.
    Diagonal,
    /// One column a row; [`NONE`] for none.
    One(Arc<[u32]>),
    /// Lists of columns.
    Lists(Arc<Sparse>),
}

/// The entries that a statistic runs over: the intersection of the conditions given.
#[derive(Clone, Debug)]
pub struct Set<T> {
    pub(crate) relations: Vec<Relation>,
    pub(crate) except: Except,
    pub(crate) upper: bool,
    pub(crate) at_least: Option<PerLine<T>>,
    pub(crate) at_most: Option<PerLine<T>>,
}

impl<T> Set<T> {
    /// Every entry.
    pub fn all() -> Self {
        Self { relations: Vec::new(), except: Except::Nothing, upper: false, at_least: None, at_most: None }
    }

    /// All but column `columns[i]` of row `i` ([`NONE`]: nothing left out).
    pub fn others(columns: Arc<[u32]>) -> Self {
        Self { except: Except::One(columns), ..Self::all() }
    }

    /// All but the listed columns of each row.
    pub fn outside(lists: Arc<Sparse>) -> Self {
        Self { except: Except::Lists(lists), ..Self::all() }
    }

    /// All but the diagonal.
    pub fn off_diagonal() -> Self {
        Self { except: Except::Diagonal, ..Self::all() }
    }

    /// Above the diagonal: each unordered pair once.
    pub fn pairs() -> Self {
        Self { upper: true, ..Self::all() }
    }

    /// Keeps the entries whose column has the class of their row.
    pub fn same(mut self, rows: Arc<[u32]>, columns: Arc<[u32]>) -> Self {
        self.relations.push(Relation { rows, columns, same: true });
        self
    }

    /// Keeps the entries whose column has another class than their row.
    pub fn different(mut self, rows: Arc<[u32]>, columns: Arc<[u32]>) -> Self {
        self.relations.push(Relation { rows, columns, same: false });
        self
    }

    /// Keeps scores `s ≥ bound` (of the raw score or difference, before scale and shift).
    pub fn at_least(mut self, bound: impl Into<PerLine<T>>) -> Self {
        self.at_least = Some(bound.into());
        self
    }

    /// Keeps scores `s ≤ bound`.
    pub fn at_most(mut self, bound: impl Into<PerLine<T>>) -> Self {
        self.at_most = Some(bound.into());
        self
    }

    /// Whether membership depends on the scores.
    pub fn depends_on_scores(&self) -> bool {
        self.at_least.is_some() || self.at_most.is_some()
    }
}

/// Columns that a set leaves out of each row.
#[derive(Clone, Copy, Debug)]
pub enum Excluded<'s> {
    /// None.
    Nothing,
    /// The entry `(i, i)`.
    Diagonal,
    /// One column a row; [`NONE`] for none.
    One(&'s [u32]),
    /// Lists of columns.
    Lists(&'s Sparse),
}

/// What a set asks of its entries, for executors that make masks of it: all conditions hold at once.
#[derive(Clone, Debug)]
pub struct Conditions<'s, T> {
    /// Class of each row, class of each column, and whether they must be the same (or must differ).
    pub relations: Vec<(&'s [u32], &'s [u32], bool)>,
    /// Columns left out.
    pub excluded: Excluded<'s>,
    /// Columns above the row's number alone.
    pub upper: bool,
    /// Scores at least this, by line.
    pub at_least: Option<&'s PerLine<T>>,
    /// Scores at most this, by line.
    pub at_most: Option<&'s PerLine<T>>,
}

impl<T> Set<T> {
    /// The conditions, spelled out.
    pub fn conditions(&self) -> Conditions<'_, T> {
        Conditions {
            relations: self.relations.iter().map(|r| (&*r.rows, &*r.columns, r.same)).collect(),
            excluded: match &self.except {
                Except::Nothing => Excluded::Nothing,
                Except::Diagonal => Excluded::Diagonal,
                Except::One(columns) => Excluded::One(columns),
                Except::Lists(lists) => Excluded::Lists(lists),
            },
            upper: self.upper,
            at_least: self.at_least.as_ref(),
            at_most: self.at_most.as_ref(),
        }
    }
}

/// How a set meets a stretch of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meets {
    /// Every entry belongs.
    Whole,
    /// All but this position.
    AllBut(usize),
    /// See the keep buffer.
    Some,
    /// None belongs.
    Nothing,
}

impl<T: Real> Set<T> {
    /// Which of the scores `x` at row `row`, columns `start..start + x.len()` belong. `line` carries the bounds (the row, or for
    /// statistics of columns a per-column bound is looked up by column). Fills `keep` only for [`Meets::Some`].
    pub(crate) fn meet(&self, row: usize, start: usize, x: &[T], by_column: bool, keep: &mut [T]) -> Meets {
        let width = x.len();
        let end = start + width;
        let bounded = self.depends_on_scores();
        if self.upper && row + 1 >= end {
            return Meets::Nothing;
        }
        let cut = self.upper && row + 1 > start;
        if self.relations.is_empty() && !bounded && !cut {
            return match &self.except {
                Except::Nothing => Meets::Whole,
                Except::Diagonal => position(row, start, end),
                Except::One(columns) => position(columns[row] as usize, start, end),
                Except::Lists(lists) => {
                    let inside = within(lists.row(row), start, end);
                    if inside.is_empty() {
                        return Meets::Whole;
                    }
                    keep[..width].fill(T::one());
                    for &column in inside {
                        keep[column as usize - start] = T::zero();
                    }
                    Meets::Some
                }
            };
        }
        let keep = &mut keep[..width];
        match self.relations.as_slice() {
            [] => keep.fill(T::one()),
            [first, rest @ ..] => {
                simd::keep_class(keep, &first.columns[start..end], first.rows[row], first.same);
                for relation in rest {
                    let class = relation.rows[row];
                    for (k, &c) in keep.iter_mut().zip(&relation.columns[start..end]) {
                        if (c == class) != relation.same {
                            *k = T::zero();
                        }
                    }
                }
            }
        }
        if cut {
            keep[..row + 1 - start].fill(T::zero());
        }
        match &self.except {
            Except::Nothing => {}
            Except::Diagonal => drop_at(keep, row, start, end),
            Except::One(columns) => drop_at(keep, columns[row] as usize, start, end),
            Except::Lists(lists) => {
                for &column in within(lists.row(row), start, end) {
                    keep[column as usize - start] = T::zero();
                }
            }
        }
        if bounded {
            let low = self.at_least.as_ref();
            let high = self.at_most.as_ref();
            if by_column {
                for (k, (keep, &s)) in keep.iter_mut().zip(x).enumerate() {
                    let inside = low.is_none_or(|b| s >= b.at(start + k)) && high.is_none_or(|b| s <= b.at(start + k));
                    if !inside {
                        *keep = T::zero();
                    }
                }
            } else {
                let low = low.map_or(T::neg_infinity(), |b| b.at(row));
                let high = high.map_or(T::infinity(), |b| b.at(row));
                simd::keep_range(keep, x, low, high);
            }
        }
        Meets::Some
    }
}

fn position(column: usize, start: usize, end: usize) -> Meets {
    if (start..end).contains(&column) { Meets::AllBut(column - start) } else { Meets::Whole }
}

fn drop_at<T: Real>(keep: &mut [T], column: usize, start: usize, end: usize) {
    if (start..end).contains(&column) {
        keep[column - start] = T::zero();
    }
}

pub(crate) fn within(columns: &[u32], start: usize, end: usize) -> &[u32] {
    let from = columns.partition_point(|&c| (c as usize) < start);
    let to = columns.partition_point(|&c| (c as usize) < end);
    &columns[from..to]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(set: &Set<f64>, row: usize, scores: &[f64], tile: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut keep = vec![0.0; tile];
        for start in (0..scores.len()).step_by(tile) {
            let x = &scores[start..(start + tile).min(scores.len())];
            match set.meet(row, start, x, false, &mut keep) {
                Meets::Whole => found.extend(start..start + x.len()),
                Meets::AllBut(k) => found.extend((start..start + x.len()).filter(|c| *c != start + k)),
                Meets::Some => found.extend((0..x.len()).filter(|k| keep[*k] != 0.0).map(|k| start + k)),
                Meets::Nothing => {}
            }
        }
        found
    }

    #[test]
    fn conditions_intersect_whatever_the_tiling() {
        let scores = [0.5, -1.0, 2.0, 0.1, 0.9, 3.0, -0.2];
        let classes: Arc<[u32]> = vec![0, 1, 0, 1, 0, 1, 0].into();
        for tile in [1, 2, 3, 7] {
            assert_eq!(members(&Set::all(), 2, &scores, tile), [0, 1, 2, 3, 4, 5, 6]);
            assert_eq!(members(&Set::off_diagonal(), 2, &scores, tile), [0, 1, 3, 4, 5, 6]);
            assert_eq!(members(&Set::pairs(), 3, &scores, tile), [4, 5, 6]);
            assert_eq!(members(&Set::others(vec![NONE, NONE, 5].into()), 2, &scores, tile), [0, 1, 2, 3, 4, 6]);
            assert_eq!(members(&Set::others(vec![NONE, NONE, 5].into()), 1, &scores, tile).len(), 7);
            let same = Set::off_diagonal().same(classes.clone(), classes.clone());
            assert_eq!(members(&same, 2, &scores, tile), [0, 4, 6]);
            let hard = Set::pairs().different(classes.clone(), classes.clone()).at_least(0.0).at_most(0.5);
            assert_eq!(members(&hard, 0, &scores, tile), [3]);
            let lists = Sparse::from_rows([vec![], vec![6, 0, 3, 3]]);
            assert_eq!(members(&Set::outside(lists.into()), 1, &scores, tile), [1, 2, 4, 5]);
        }
    }
}
