//! Sets and maps applied to a stretch of a row.

use super::set::{Except, Meets, Set};
use super::statistic::{Map, PerLine};
use crate::real::Real;
use crate::simd;

/// The value that makes `scale · fill = −∞`.
pub(crate) fn vanishing<T: Real>(scale: T) -> T {
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
        Map::Square | Map::Absolute => simd::power_sums(x, keep, scale, shift, map == Map::Square),
        Map::Hinge | Map::Root | Map::Expm1 | Map::Ramp | Map::Positive => {
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
        Map::Absolute => (u.abs(), if u == zero { zero } else { u.signum() }),
        Map::Expm1 => (u.exp_m1(), u.exp()),
        Map::Ramp => (u.max(zero).min(one), if u > zero && u < one { one } else { zero }),
        Map::One => (one, zero),
        Map::Positive => (if u > zero { one } else { zero }, zero),
    }
}

/// Whether a set leaves out at most one entry of each row, whatever the scores.
pub(crate) fn leaves_out_one<T: Real>(set: &Set<T>) -> bool {
    set.relations.is_empty() && !set.upper && !set.depends_on_scores() && !matches!(set.except, Except::Lists(_))
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
