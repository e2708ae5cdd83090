//! Running states of statistics, and their fixed order of merging.

use super::statistic::{Axis, PerLine, Reduce, Stat, Statistic};
use crate::real::{Real, linear_exp, ln_linear_exp};

/// Running state of one statistic.
pub(crate) enum State<T> {
    LogSumExp {
        peak: Vec<T>,
        sum: Vec<f64>,
        expected: Vec<f64>,
    },
    /// `peak` is the largest `u`, `sum` relative to its `s`.
    LogSumLinear {
        peak: Vec<T>,
        sum: Vec<f64>,
    },
    /// `square` is the sum of squared distances from the mean.
    Moments {
        count: Vec<f64>,
        mean: Vec<f64>,
        square: Vec<f64>,
    },
    Sum {
        value: Vec<f64>,
        slope: Vec<f64>,
        moment: Vec<f64>,
    },
    Top {
        k: usize,
        values: Vec<T>,
        columns: Vec<u32>,
    },
    Gather {
        found: Vec<(usize, T)>,
    },
}

impl<T: Real> State<T> {
    pub(crate) fn new(reduce: &Reduce<T>, lines: usize) -> Self {
        match reduce {
            Reduce::LogSumExp { expect } => Self::LogSumExp {
                peak: vec![T::neg_infinity(); lines],
                sum: vec![0.0; lines],
                expected: vec![0.0; if expect.is_some() { lines } else { 0 }],
            },
            Reduce::LogSumLinear => Self::LogSumLinear { peak: vec![T::neg_infinity(); lines], sum: vec![0.0; lines] },
            Reduce::Moments => {
                Self::Moments { count: vec![0.0; lines], mean: vec![0.0; lines], square: vec![0.0; lines] }
            }
            Reduce::Sum { moments, .. } => {
                let extra = if *moments { lines } else { 0 };
                Self::Sum { value: vec![0.0; lines], slope: vec![0.0; extra], moment: vec![0.0; extra] }
            }
            Reduce::TopK(k) => {
                Self::Top { k: *k, values: vec![T::neg_infinity(); lines * k], columns: vec![u32::MAX; lines * k] }
            }
            Reduce::Gather(_) | Reduce::KthLargest(_) | Reduce::Entries | Reduce::Rule(_) => {
                Self::Gather { found: Vec::new() }
            }
        }
    }

    /// Folds the state of a later group of columns into this one.
    pub(crate) fn merge(&mut self, other: &Self) {
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
            (Self::LogSumLinear { peak, sum }, Self::LogSumLinear { peak: peak2, sum: sum2 }) => {
                for line in 0..peak.len() {
                    add_linear(&mut peak[line], &mut sum[line], peak2[line], sum2[line]);
                }
            }
            (Self::Moments { count, mean, square }, Self::Moments { count: count2, mean: mean2, square: square2 }) => {
                for line in 0..count.len() {
                    let into = (&mut count[line], &mut mean[line], &mut square[line]);
                    add_moments(into, (count2[line], mean2[line], square2[line]));
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

    pub(crate) fn store(self, into: &mut Stat<T>, first_line: usize, shift: &PerLine<T>) {
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
            Self::LogSumLinear { peak, sum } => {
                for (line, (peak, sum)) in peak.iter().zip(&sum).enumerate() {
                    let value = if *sum > 0.0 { ln_linear_exp(peak.f64()) + sum.ln() } else { f64::NEG_INFINITY };
                    into.values[first_line + line] = T::of(value);
                }
            }
            Self::Moments { count, mean, square } => {
                for (line, (count, mean)) in count.iter().zip(&mean).enumerate() {
                    let at = first_line + line;
                    into.values[at] = T::of(*mean);
                    into.expectation[at] = T::of(square[line] / count.max(1.0));
                    into.slope[at] = T::of(*count);
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

/// Adds `more · s(top)` to `sum · s(peak)`, relative to the larger of the two.
pub(crate) fn add_linear<T: Real>(peak: &mut T, sum: &mut f64, top: T, more: f64) {
    if top == T::neg_infinity() {
        return;
    }
    if top > *peak {
        *sum *= linear_exp(peak.f64()) * linear_exp(-top.f64());
        *peak = top;
        *sum += more;
    } else {
        *sum += more * (linear_exp(top.f64()) * linear_exp(-peak.f64()));
    }
}

/// Merges count, mean and sum of squared distances of two sets.
pub(crate) fn add_moments(into: (&mut f64, &mut f64, &mut f64), (n, m, s): (f64, f64, f64)) {
    let (count, mean, square) = into;
    if n == 0.0 {
        return;
    }
    let total = *count + n;
    let delta = m - *mean;
    *square += s + delta * delta * (*count * n / total);
    *mean += delta * (n / total);
    *count = total;
}

/// Keeps a descending list; of equal values the one that came first (the lower column) stays ahead.
pub(crate) fn insert<T: Real>(values: &mut [T], columns: &mut [u32], value: T, column: u32) {
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
        Reduce::LogSumLinear => Stat { values: vec![T::neg_infinity(); lines], ..Stat::default() },
        Reduce::Moments => {
            Stat { values: zeros(lines), expectation: zeros(lines), slope: zeros(lines), ..Stat::default() }
        }
        Reduce::Sum { moments, .. } => {
            let extra = if *moments { lines } else { 0 };
            Stat { values: zeros(lines), slope: zeros(extra), moment: zeros(extra), ..Stat::default() }
        }
        Reduce::TopK(k) => {
            Stat { values: vec![T::neg_infinity(); lines * k], columns: vec![u32::MAX; lines * k], ..Stat::default() }
        }
        Reduce::KthLargest(_) => Stat { values: vec![T::neg_infinity(); lines], ..Stat::default() },
        Reduce::Gather(at) => Stat { values: zeros(at.len()), ..Stat::default() },
        Reduce::Entries => Stat { values: zeros(rows * cols), ..Stat::default() },
        Reduce::Rule(_) => Stat { values: zeros(lines), slope: zeros(lines), ..Stat::default() },
    }
}
