//! Parts of a data set: stratified, by whole classes, by whole groups, as a column says, or a few rows a class; and the
//! file that keeps them ([`Split`]).
//!
//! All draws come from ChaCha8 seeded with the given number, so a seed fixes the parts.

mod groups;
mod table;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::dataset::check_labels;
use crate::error::DataError;

pub use groups::{group_wise, numbered};
pub use table::{Method, Split, TEST, TRAIN, VALIDATION};

/// How far the sum of fractions may be from 1.
const SUM_TOLERANCE: f64 = 1e-6;

/// Disjoint parts that together hold every row, each with the class shares of the whole.
///
/// A class of n rows gives part p about `n · fractions[p]` rows, less than one more or less; what rounding takes from a
/// part in one class it gives back in the next, so that the parts as wholes keep their sizes. A class with at least as
/// many rows as there are parts is in every part (for that, a small share is rounded up to one row). The indices of
/// each part are sorted.
///
/// # Errors
/// [`DataError::Parameter`] unless all fractions are positive and sum to 1.
///
/// ```
/// let labels = [0, 0, 0, 0, 1, 1, 1, 1];
/// let parts = keener_data::split::stratified(&labels, &[0.75, 0.25], 7)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (6, 2));
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn stratified(labels: &[u32], fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    let fractions = &normalised("split::stratified", fractions)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = vec![Vec::new(); fractions.len()];
    let mut owed = vec![0.0; fractions.len()];
    for (_, mut members) in by_class(labels) {
        members.shuffle(&mut rng);
        let mut rest = members.as_slice();
        for (part, count) in parts.iter_mut().zip(shares(members.len(), fractions, &mut owed)) {
            let (taken, left) = rest.split_at(count);
            part.extend_from_slice(taken);
            rest = left;
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// Disjoint parts that together hold every row, where no class is in two parts: for tests on unseen classes.
///
/// The fractions speak of the number of classes that occur in `labels`; every part gets at least one. The indices of
/// each part are sorted.
///
/// # Errors
/// [`DataError::LabelRange`]; [`DataError::Parameter`] for fractions as in [`stratified`], or more parts than classes.
pub fn class_disjoint(
    labels: &[u32],
    num_classes: usize,
    fractions: &[f64],
    seed: u64,
) -> Result<Vec<Vec<usize>>, DataError> {
    const PLACE: &str = "split::class_disjoint";
    let fractions = &normalised(PLACE, fractions)?;
    check_labels(PLACE, labels, num_classes)?;
    let mut classes = by_class(labels);
    if classes.len() < fractions.len() {
        return Err(DataError::Parameter {
            place: PLACE,
            name: "fractions".into(),
            value: format!("{} parts", fractions.len()),
            expected: format!("at most {}, the number of classes that occur", classes.len()),
        });
    }
    classes.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let counts = shares(classes.len(), fractions, &mut vec![0.0; fractions.len()]);
    let mut classes = classes.into_iter();
    Ok(counts
        .into_iter()
        .map(|count| {
            let mut part: Vec<usize> = classes.by_ref().take(count).flat_map(|(_, members)| members).collect();
            part.sort_unstable();
            part
        })
        .collect())
}

/// At most `k` of the given rows for each class, drawn without replacement; the indices are sorted.
///
/// A class with fewer than `k` rows keeps them all.
///
/// # Errors
/// [`DataError::Parameter`] for `k = 0` or an index outside `labels`.
pub fn few_per_class(labels: &[u32], indices: &[usize], k: usize, seed: u64) -> Result<Vec<usize>, DataError> {
    let parameter = |name: &str, value: usize, expected: String| DataError::Parameter {
        place: "split::few_per_class",
        name: name.into(),
        value: value.to_string(),
        expected,
    };
    if k == 0 {
        return Err(parameter("k", k, "at least 1".into()));
    }
    if let Some(at) = indices.iter().position(|&index| index >= labels.len()) {
        return Err(parameter(&format!("indices[{at}]"), indices[at], format!("below {}, the rows", labels.len())));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let chosen: Vec<u32> = indices.iter().map(|&index| labels[index]).collect();
    let mut few = Vec::new();
    for (_, mut members) in by_class(&chosen) {
        let (drawn, _) = members.partial_shuffle(&mut rng, k);
        few.extend(drawn.iter().map(|&position| indices[position]));
    }
    few.sort_unstable();
    Ok(few)
}

/// The rows of each class that occurs, both in ascending order.
pub(crate) fn by_class(labels: &[u32]) -> Vec<(u32, Vec<usize>)> {
    let mut classes = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for (row, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(row);
    }
    classes.into_iter().collect()
}

/// Whole shares of `n` near `n · fractions`, by largest remainders; `owed` carries the rounding to the next call.
fn shares(n: usize, fractions: &[f64], owed: &mut [f64]) -> Vec<usize> {
    let ideal: Vec<f64> = fractions.iter().map(|fraction| fraction * n as f64).collect();
    let mut counts: Vec<usize> = ideal.iter().map(|share| share.floor() as usize).collect();
    let remainder = |part: usize| ideal[part] - ideal[part].floor();
    let missing = n.saturating_sub(counts.iter().sum());
    // A share that is whole already is not rounded up, whatever it is owed.
    let key = |part: usize| (remainder(part) > 1e-9, remainder(part) + owed[part]);
    let mut order: Vec<usize> = (0..fractions.len()).collect();
    order.sort_by(|&a, &b| key(b).0.cmp(&key(a).0).then(key(b).1.total_cmp(&key(a).1)));
    order.iter().take(missing).for_each(|&part| counts[part] += 1);
    while n >= fractions.len()
        && let Some(none) = counts.iter().position(|&count| count == 0)
    {
        let most = (1..counts.len()).fold(0, |most, part| if counts[part] > counts[most] { part } else { most });
        counts[most] -= 1;
        counts[none] += 1;
    }
    for part in 0..fractions.len() {
        owed[part] += ideal[part] - counts[part] as f64;
    }
    counts
}

/// The fractions, scaled to sum to 1 as exactly as `f64` can.
fn normalised(place: &'static str, fractions: &[f64]) -> Result<Vec<f64>, DataError> {
    let error = |name: String, value: String, expected: &str| {
        Err(DataError::Parameter { place, name, value, expected: expected.into() })
    };
    if let Some(part) = fractions.iter().position(|fraction| !(*fraction > 0.0 && fraction.is_finite())) {
        return error(format!("fractions[{part}]"), fractions[part].to_string(), "a positive number");
    }
    let sum: f64 = fractions.iter().sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return error("the sum of fractions".into(), sum.to_string(), "1");
    }
    Ok(fractions.iter().map(|fraction| fraction / sum).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn case() -> impl Strategy<Value = (Vec<u32>, Vec<f64>, u64)> {
        let fractions = prop::collection::vec(0.05_f64..1.0, 1..5).prop_map(|raw| {
            let sum: f64 = raw.iter().sum();
            raw.iter().map(|fraction| fraction / sum).collect()
        });
        (prop::collection::vec(0_u32..6, 0..200), fractions, any::<u64>())
    }

    fn assert_partition(parts: &[Vec<usize>], rows: usize) {
        let mut all: Vec<usize> = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..rows).collect::<Vec<_>>());
        assert!(parts.iter().all(|part| part.is_sorted()));
    }

    fn counts(labels: &[u32], part: &[usize]) -> [usize; 6] {
        let mut counts = [0; 6];
        part.iter().for_each(|&row| counts[labels[row] as usize] += 1);
        counts
    }

    proptest! {
        #[test]
        fn stratified_parts_keep_class_shares((labels, fractions, seed) in case()) {
            let parts = stratified(&labels, &fractions, seed).unwrap();
            assert_partition(&parts, labels.len());
            prop_assert_eq!(&parts, &stratified(&labels, &fractions, seed).unwrap());
            let whole = counts(&labels, &(0..labels.len()).collect::<Vec<_>>());
            for class in 0..6 {
                let ideal = |part: usize| fractions[part] * whole[class] as f64;
                let roomy = (0..parts.len()).all(|part| ideal(part) >= 1.0);
                for part in 0..parts.len() {
                    let count = counts(&labels, &parts[part])[class];
                    prop_assert!(whole[class] < parts.len() || count > 0);
                    prop_assert!(!roomy || (count as f64 - ideal(part)).abs() < 1.0 + 1e-9);
                }
            }
        }

        #[test]
        fn class_disjoint_parts_share_no_class((labels, fractions, seed) in case()) {
            let present = by_class(&labels).len();
            let result = class_disjoint(&labels, 6, &fractions, seed);
            prop_assert_eq!(result.is_ok(), present >= fractions.len());
            if let Ok(parts) = result {
                assert_partition(&parts, labels.len());
                for class in 0..6 {
                    let homes = parts.iter().filter(|part| counts(&labels, part)[class] > 0).count();
                    prop_assert!(homes <= 1);
                }
                prop_assert!(parts.iter().all(|part| !part.is_empty()));
            }
        }

        #[test]
        fn few_takes_k_of_each_class((labels, _, seed) in case(), k in 1_usize..20) {
            let even: Vec<usize> = (0..labels.len()).step_by(2).collect();
            let few = few_per_class(&labels, &even, k, seed).unwrap();
            prop_assert!(few.is_sorted_by(|a, b| a < b) && few.iter().all(|row| row % 2 == 0));
            for (taken, there) in counts(&labels, &few).iter().zip(counts(&labels, &even)) {
                prop_assert_eq!(*taken, k.min(there));
            }
        }
    }

    #[test]
    fn rounding_evens_out_over_classes() {
        // 100 classes of 5 rows in halves: each class is odd, the parts as wholes stay equal.
        let labels: Vec<u32> = (0..500).map(|row| row / 5).collect();
        let parts = stratified(&labels, &[0.5, 0.5], 1).unwrap();
        assert_eq!((parts[0].len(), parts[1].len()), (250, 250));
    }

    #[test]
    fn seeds_matter() {
        let labels: Vec<u32> = (0..100).map(|row| row % 10).collect();
        let all: Vec<usize> = (0..100).collect();
        assert_ne!(stratified(&labels, &[0.5, 0.5], 1).unwrap(), stratified(&labels, &[0.5, 0.5], 2).unwrap());
        assert_ne!(
            class_disjoint(&labels, 10, &[0.5, 0.5], 1).unwrap(),
            class_disjoint(&labels, 10, &[0.5, 0.5], 2).unwrap()
        );
        assert_ne!(few_per_class(&labels, &all, 3, 1).unwrap(), few_per_class(&labels, &all, 3, 2).unwrap());
    }

    #[test]
    fn bad_arguments_are_refused() {
        for fractions in [&[0.5, 0.4][..], &[1.5, -0.5], &[], &[f64::NAN], &[1.0, 0.0]] {
            assert!(stratified(&[0, 1], fractions, 0).is_err());
            assert!(class_disjoint(&[0, 1], 2, fractions, 0).is_err());
        }
        assert!(matches!(class_disjoint(&[0, 2], 2, &[1.0], 0), Err(DataError::LabelRange { row: 1, .. })));
        assert!(few_per_class(&[0], &[0], 0, 0).is_err());
        assert!(few_per_class(&[0], &[1], 1, 0).unwrap_err().to_string().contains("indices[0] = 1"));
    }
}
