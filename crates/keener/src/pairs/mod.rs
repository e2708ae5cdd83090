//! Pairs and triplets of a batch: distances between rows, who belongs together, and mining over complete rows.
//!
//! Nothing here holds B × B numbers: objectives describe their pairs by sets of the engine, and miners see one row of
//! cosines at a time.

mod mining;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use mining::{ActiveTriplets, SemiHardTriplets};
pub use mining::{Mining, Triplets, mine};

use crate::real::Real;
use std::collections::HashMap;

/// Up to this `2 − 2 cos` two unit rows are the same row: the rest is the rounding of the cosine.
pub(crate) fn coincident<T: Real>() -> T {
    T::of(32.0) * T::epsilon()
}

/// Euclidean distance of two unit rows from their cosine, `√(2 − 2 s)`; exactly 0 for rows that differ by rounding alone.
pub(crate) fn distance<T: Real>(cosine: T) -> T {
    let squared = T::of(2.0) - T::of(2.0) * cosine;
    if squared > coincident() { squared.sqrt() } else { T::zero() }
}

/// `∂distance/∂cosine = −1/distance`, and 0 at distance 0.
pub(crate) fn distance_slope<T: Real>(distance: T) -> T {
    if distance > T::zero() { -distance.recip() } else { T::zero() }
}

/// The nearest number above `x`, to make a bound strict.
pub(crate) fn just_above<T: Real>(x: T) -> T {
    match x {
        x if !x.is_finite() => x,
        // −0 and +0 are neighbours in the order of keys.
        x if x == T::zero() => T::from_ordered_key(T::zero().ordered_key() + 1),
        x => T::from_ordered_key(x.ordered_key() + 1),
    }
}

/// The nearest number below `x`.
pub(crate) fn just_below<T: Real>(x: T) -> T {
    -just_above(-x)
}

/// How many other rows share the label of each row.
pub(crate) fn companions(labels: &[u32]) -> Vec<usize> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    labels.iter().for_each(|l| *counts.entry(*l).or_default() += 1);
    labels.iter().map(|l| counts[l] - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_numbers() {
        assert_eq!((just_above(1.0f64), just_below(1.0f64)), (1.0f64.next_up(), 1.0f64.next_down()));
        assert_eq!((just_above(0.0f32), just_below(0.0f32)), (0.0f32.next_up(), 0.0f32.next_down()));
        assert_eq!((just_above(-0.0f64), just_below(-2.5f64)), (0.0f64.next_up(), (-2.5f64).next_down()));
        assert_eq!((just_above(f64::INFINITY), just_below(f64::NEG_INFINITY)), (f64::INFINITY, f64::NEG_INFINITY));
    }

    #[test]
    fn distances_of_equal_rows_are_zero() {
        assert_eq!(distance(1.0f64.next_down().next_down()), 0.0);
        assert_eq!(distance_slope(distance(1.0f64)), 0.0);
        assert_eq!((distance(-1.0f32), distance(0.5f64)), (2.0, 1.0));
        assert_eq!(companions(&[3, 1, 3, 3]), [2, 0, 2, 2]);
    }
}
