//! The vocabulary of plans: which scores, through which map, over which set, reduced how.

use super::complete::RowRule;
use super::set::Set;
use super::shaping::Shaping;
use crate::error::{Error, Result};
use crate::real::Real;
use std::sync::Arc;

/// One number for all lines, or one for each (a *line* is a row, or a column where the statistic runs down columns).
#[derive(Clone, Debug, PartialEq)]
pub enum PerLine<T> {
    /// The same for every line.
    All(T),
    /// One a line.
    Each(Arc<[T]>),
}

impl<T: Copy> PerLine<T> {
    /// The number of line `line`.
    #[inline]
    pub fn at(&self, line: usize) -> T {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values[line],
        }
    }
}

impl<T> From<T> for PerLine<T> {
    fn from(value: T) -> Self {
        Self::All(value)
    }
}

impl<T> From<Vec<T>> for PerLine<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Each(values.into())
    }
}

/// What a statistic sees of each entry: `u = scale · g(s) + shift`, where `s` is an entry of one score matrix or the
/// difference of two, and `g` its shaping (`g(s) = s` unless said otherwise). Scale and shift are constants for differentiation.
#[derive(Clone, Debug)]
pub struct Argument<T> {
    /// Index of the score matrix among those of the plan.
    pub matrix: usize,
    /// A second matrix of the same shape to subtract.
    pub minus: Option<usize>,
    /// The function g. Log-sum-exps and sums of rows alone may have one.
    pub shaping: Shaping<T>,
    /// Inverse temperature, sign, …
    pub scale: PerLine<T>,
    /// Offset; does not change which entries belong to the set.
    pub shift: PerLine<T>,
}

impl<T: num_traits::Float> Argument<T> {
    /// The scores of matrix `matrix` as they are.
    pub fn of(matrix: usize) -> Self {
        Self {
            matrix,
            minus: None,
            shaping: Shaping::None,
            scale: PerLine::All(T::one()),
            shift: PerLine::All(T::zero()),
        }
    }

    /// The entrywise difference `S[matrix] − S[minus]`.
    pub fn difference(matrix: usize, minus: usize) -> Self {
        Self { minus: Some(minus), ..Self::of(matrix) }
    }

    /// Sees `g(s)` instead of `s`.
    pub fn shaped(mut self, shaping: Shaping<T>) -> Self {
        self.shaping = shaping;
        self
    }

    /// Multiplies by `scale`.
    pub fn scaled(mut self, scale: impl Into<PerLine<T>>) -> Self {
        self.scale = scale.into();
        self
    }

    /// Adds `shift` after scaling.
    pub fn shifted(mut self, shift: impl Into<PerLine<T>>) -> Self {
        self.shift = shift.into();
        self
    }
}

/// Along rows or down columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// One result a row.
    Rows,
    /// One result a column.
    Columns,
}

/// A function applied entry by entry before summing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// `φ(u) = u`
    Identity,
    /// `φ(u) = u²`
    Square,
    /// `φ(u) = ln(1 + e^u)`, with slope σ(u).
    Softplus,
    /// `φ(u) = max(u, 0)`, with slope `[u > 0]`.
    Hinge,
    /// `φ(u) = √max(u, 0)`, with slope 0 where `u ≤ 0`: a distance from its square.
    Root,
    /// `φ(u) = |u|`, with slope `sign(u)`, 0 at 0.
    Absolute,
    /// `φ(u) = e^u − 1`: a sum of exponentials near one, without cancellation.
    Expm1,
    /// `φ(u) = min(max(u, 0), 1)`, with slope 1 strictly between.
    Ramp,
    /// `φ(u) = 1`: counts the set (slope 0).
    One,
    /// `φ(u) = [u > 0]` (slope 0): counts what is above zero.
    Positive,
}

/// How the entries of a line are reduced to a number (or to a few).
#[derive(Clone, Debug)]
pub enum Reduce<T> {
    /// `ln Σ exp(u)`; −∞ over the empty set. With `expect`, also the mean of that argument under the softmax of `u`
    /// (0 over the empty set): the derivative with respect to a temperature is such a mean.
    LogSumExp {
        /// The argument whose expectation is wanted.
        expect: Option<Argument<T>>,
    },
    /// `ln Σ s(u)` with [`s`](crate::real::linear_exp) in the place of the exponential; −∞ over the empty set. Not shift invariant.
    /// Never overflows: sums are relative to the largest `s`. Rows only.
    LogSumLinear,
    /// The mean of `u` in `values`, its population variance in `expectation`, the number of entries in `slope`; all 0 over the
    /// empty set. Tiles are centred about their own mean and merged (Chan, Golub & LeVeque, 1979), so that a far mean costs no
    /// digits, and equal entries have variance 0 exactly. Rows only.
    Moments,
    /// `Σ φ(u)`, and with `moments` also `Σ φ'(u)` and `Σ φ'(u) s`.
    Sum {
        /// The function φ.
        map: Map,
        /// Whether the slopes are wanted too.
        moments: bool,
    },
    /// The `k` largest `u` with their columns, in descending order, ties by lower column; rows with fewer entries are
    /// filled with −∞ and column `u32::MAX`. Rows only.
    TopK(usize),
    /// The `k`-th largest `u` of each row (1-based; −∞ where the set has fewer entries or `k` is 0). Rows only, no
    /// gradient: a threshold.
    KthLargest(Arc<[u32]>),
    /// The entries at listed columns, in the order of the list. Rows only; the set is not consulted.
    Gather(Arc<Sparse>),
    /// Every entry, row-major: `B · N` numbers, for host steps that look at all of them over few columns. Rows only; the set is
    /// not consulted.
    Entries,
    /// What a rule makes of the complete row, with its tally in `slope`. Rows only; the set is not consulted.
    Rule(Arc<dyn RowRule<T>>),
}

/// One thing to compute in a sweep.
#[derive(Clone, Debug)]
pub struct Statistic<T> {
    /// Along rows or columns.
    pub axis: Axis,
    /// What is seen of each entry.
    pub argument: Argument<T>,
    /// Which entries count.
    pub set: Set<T>,
    /// The reduction.
    pub reduce: Reduce<T>,
}

impl<T: num_traits::Float> Statistic<T> {
    fn rows(argument: Argument<T>, set: Set<T>, reduce: Reduce<T>) -> Self {
        Self { axis: Axis::Rows, argument, set, reduce }
    }

    /// Row-wise log-sum-exp.
    pub fn log_sum_exp(argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::LogSumExp { expect: None })
    }

    /// Row-wise log-sum-exp, with the expectation of `expect` under its softmax.
    pub fn log_sum_exp_expecting(argument: Argument<T>, set: Set<T>, expect: Argument<T>) -> Self {
        Self::rows(argument, set, Reduce::LogSumExp { expect: Some(expect) })
    }

    /// Row-wise `ln Σ s(u)`.
    pub fn log_sum_linear(argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::LogSumLinear)
    }

    /// Row-wise mean and variance.
    pub fn moments(argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::Moments)
    }

    /// Row-wise `Σ φ(u)`.
    pub fn sum(map: Map, argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::Sum { map, moments: false })
    }

    /// Row-wise `Σ φ(u)` with `Σ φ'(u)` and `Σ φ'(u) s`.
    pub fn sum_with_moments(map: Map, argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::Sum { map, moments: true })
    }

    /// Number of entries of the set in each row.
    pub fn count(matrix: usize, set: Set<T>) -> Self {
        Self::sum(Map::One, Argument::of(matrix), set)
    }

    /// The largest `u` of each row, with its column.
    pub fn max(argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::TopK(1))
    }

    /// The `k` largest `u` of each row, with their columns.
    pub fn top_k(k: usize, argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::TopK(k))
    }

    /// The `k_i`-th largest `u` of each row.
    pub fn kth_largest(k: Vec<u32>, argument: Argument<T>, set: Set<T>) -> Self {
        Self::rows(argument, set, Reduce::KthLargest(k.into()))
    }

    /// The entries at listed columns of each row.
    pub fn gather(argument: Argument<T>, at: Arc<Sparse>) -> Self {
        Self::rows(argument, Set::all(), Reduce::Gather(at))
    }

    /// Every entry, row by row.
    pub fn entries(argument: Argument<T>) -> Self {
        Self::rows(argument, Set::all(), Reduce::Entries)
    }

    /// What `rule` makes of each complete row.
    pub fn rule(argument: Argument<T>, rule: Arc<dyn RowRule<T>>) -> Self {
        Self::rows(argument, Set::all(), Reduce::Rule(rule))
    }

    /// The same, down columns.
    pub fn down_columns(mut self) -> Self {
        self.axis = Axis::Columns;
        self
    }
}

impl<T: Real> Statistic<T> {
    /// Whether its shaping is one that executors can differentiate: row-wise log-sum-exps and sums, the expectation of the same
    /// shaped scores.
    ///
    /// # Errors
    /// [`Error::Unsupported`] otherwise.
    pub fn check_shaping(&self, objective: &str) -> Result<()> {
        let shaping = &self.argument.shaping;
        let fits = match &self.reduce {
            Reduce::LogSumExp { expect: Some(e) } if !shaping.is_none() => {
                e.shaping == *shaping && (e.matrix, e.minus) == (self.argument.matrix, self.argument.minus)
            }
            Reduce::LogSumExp { expect } => expect.as_ref().is_none_or(|e| e.shaping.is_none()),
            Reduce::Sum { .. } => true,
            _ => shaping.is_none(),
        };
        if fits && (shaping.is_none() || self.axis == Axis::Rows) {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: format!("shaped scores in this statistic of {objective}"),
            hint: "log-sum-exps and sums of rows take them".into(),
        })
    }
}

/// Column lists of rows, compressed (CSR without values): row `i` owns `columns[offsets[i]..offsets[i + 1]]`, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sparse {
    /// Length rows + 1.
    pub offsets: Vec<usize>,
    /// The column of each entry.
    pub columns: Vec<u32>,
}

impl Sparse {
    /// From a list of columns a row; sorts each row and removes repeats.
    pub fn from_rows<I: IntoIterator<Item = u32>>(rows: impl IntoIterator<Item = I>) -> Self {
        let mut sparse = Self { offsets: vec![0], columns: Vec::new() };
        for row in rows {
            let start = sparse.columns.len();
            sparse.columns.extend(row);
            sparse.columns[start..].sort_unstable();
            let mut kept = start;
            for k in start..sparse.columns.len() {
                if kept == start || sparse.columns[k] != sparse.columns[kept - 1] {
                    sparse.columns[kept] = sparse.columns[k];
                    kept += 1;
                }
            }
            sparse.columns.truncate(kept);
            sparse.offsets.push(kept);
        }
        sparse
    }

    /// One column a row; `None` leaves the row empty.
    pub fn one_per_row(columns: impl IntoIterator<Item = Option<u32>>) -> Self {
        Self::from_rows(columns)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Positions of the entries of row `row`.
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row]..self.offsets[row + 1]
    }

    /// Columns of row `row`.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.columns[self.range(row)]
    }

    /// The rows `rows` alone.
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        let (start, end) = (self.offsets[rows.start], self.offsets[rows.end]);
        Self {
            offsets: self.offsets[rows.start..=rows.end].iter().map(|o| o - start).collect(),
            columns: self.columns[start..end].to_vec(),
        }
    }
}

/// The result of a statistic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stat<T> {
    /// One a line; `k` a row for top-k (row-major); one an entry for gather and for all entries.
    pub values: Vec<T>,
    /// Expectation under the softmax, one a line, if asked for; the variance of moments.
    pub expectation: Vec<T>,
    /// `Σ φ'(u)`, one a line, if asked for; the tally of a rule; the entries of moments.
    pub slope: Vec<T>,
    /// `Σ φ'(u) s`, one a line, if asked for.
    pub moment: Vec<T>,
    /// Columns of the top-k entries.
    pub columns: Vec<u32>,
}

/// A statistic's part in the derivative: the weight of each of its values.
#[derive(Clone, Debug)]
pub struct Term<T> {
    /// The statistic, as it was asked for.
    pub statistic: Statistic<T>,
    /// Its result (the gradient of a log-sum-exp needs its value).
    pub stat: Arc<Stat<T>>,
    /// ∂loss/∂value, one a value.
    pub weight: Vec<T>,
    /// ∂loss/∂expectation, one a line; empty if it takes no part.
    pub expectation_weight: Vec<T>,
}

impl<T> Term<T> {
    /// The derivative through the values alone.
    pub fn new(statistic: Statistic<T>, stat: Arc<Stat<T>>, weight: Vec<T>) -> Self {
        Self { statistic, stat, weight, expectation_weight: Vec::new() }
    }
}
