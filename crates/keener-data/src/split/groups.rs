//! Parts that no group crosses: patients, speakers, sessions, near-duplicates.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::normalised;
use crate::error::DataError;

/// Disjoint parts that together hold every row, where all rows of a group are in one part, with the class shares of the
/// whole as far as whole groups allow.
///
/// Groups are placed one by one, large ones first (those of about the same size, within a factor of two, in random
/// order), each where the squared relative deviation from the wished counts, summed over its classes and its rows as a
/// whole, grows least: `Σ_c ((n_pc − f_p n_c) / n_c)²`. It is the greedy rule of scikit-learn's `StratifiedGroupKFold`,
/// for parts of any size. Every part gets at least one group. The indices of each part are sorted.
///
/// # Errors
/// [`DataError::Parameter`] for fractions as in [`super::stratified`], fewer groups than parts, or a number of groups
/// that is not that of the labels.
///
/// ```
/// let labels = [0, 1, 0, 1, 0, 1, 0, 1];
/// let patients = [7, 7, 8, 8, 9, 9, 10, 10];
/// let parts = keener_data::split::group_wise(&labels, &patients, &[0.75, 0.25], 1)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (6, 2));
/// assert_eq!(patients[parts[1][0]], patients[parts[1][1]]);
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn group_wise(labels: &[u32], groups: &[u32], fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    const PLACE: &str = "split::group_wise";
    let fractions = &normalised(PLACE, fractions)?;
    let refuse = |name: &str, value: String, expected: String| {
        Err(DataError::Parameter { place: PLACE, name: name.into(), value, expected })
    };
    if groups.len() != labels.len() {
        return refuse("groups", format!("{} entries", groups.len()), format!("{}, one for each row", labels.len()));
    }
    let mut members = BTreeMap::<u32, Vec<usize>>::new();
    for (row, &group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(row);
    }
    let mut members: Vec<Vec<usize>> = members.into_values().collect();
    if members.len() < fractions.len() {
        let expected = format!("at most {}, the number of groups", members.len());
        return refuse("fractions", format!("{} parts", fractions.len()), expected);
    }
    members.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    members.sort_by_key(|rows| std::cmp::Reverse(rows.len().ilog2()));

    // Counts of each class, and of all rows as one more "class", by part.
    let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
    let mut whole = vec![0.0; classes + 1];
    for &label in labels {
        whole[label as usize] += 1.0;
        whole[classes] += 1.0;
    }
    let mut placed = vec![vec![0.0; classes + 1]; fractions.len()];
    let mut parts: Vec<Vec<usize>> = vec![Vec::new(); fractions.len()];
    for (at, rows) in members.iter().enumerate() {
        let mut counts = BTreeMap::<usize, f64>::new();
        for &row in rows {
            *counts.entry(labels[row] as usize).or_default() += 1.0;
        }
        counts.insert(classes, rows.len() as f64);
        let growth = |part: usize| -> f64 {
            let deviation =
                |class: usize, more: f64| ((placed[part][class] + more) / whole[class] - fractions[part]).powi(2);
            counts.iter().map(|(&class, &more)| deviation(class, more) - deviation(class, 0.0)).sum()
        };
        let empty = parts.iter().filter(|part| part.is_empty()).count();
        // The last groups go to the parts that have none yet.
        let open = |part: &usize| members.len() - at > empty || parts[*part].is_empty();
        let best = (0..parts.len()).filter(open).min_by(|&a, &b| growth(a).total_cmp(&growth(b))).unwrap_or(0);
        parts[best].extend_from_slice(rows);
        counts.iter().for_each(|(&class, &more)| placed[best][class] += more);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// Numbers for names: equal names, equal numbers, in the order in which they come.
///
/// ```
/// assert_eq!(keener_data::split::numbered(&["b", "a", "b"]), [0, 1, 0]);
/// ```
pub fn numbered<S: AsRef<str>>(names: &[S]) -> Vec<u32> {
    let mut known = std::collections::HashMap::<&str, u32>::new();
    names
        .iter()
        .map(|name| {
            let next = known.len() as u32;
            *known.entry(name.as_ref()).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_group_is_on_two_sides(
            rows in prop::collection::vec((0_u32..4, 0_u32..30), 1..200), seed: u64, parts in 1_usize..4,
        ) {
            let (labels, groups): (Vec<u32>, Vec<u32>) = rows.into_iter().unzip();
            let fractions = vec![1.0 / parts as f64; parts];
            let distinct = groups.iter().collect::<std::collections::BTreeSet<_>>().len();
            let found = group_wise(&labels, &groups, &fractions, seed);
            prop_assert_eq!(found.is_ok(), distinct >= parts);
            if let Ok(found) = found {
                let mut all = found.concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
                let home = |group: u32| {
                    found.iter().filter(|part| part.iter().any(|&row| groups[row] == group)).count()
                };
                prop_assert!(groups.iter().all(|&group| home(group) == 1));
                prop_assert!(found.iter().all(|part| !part.is_empty() && part.is_sorted()));
                prop_assert_eq!(&found, &group_wise(&labels, &groups, &fractions, seed).unwrap());
            }
        }
    }

    #[test]
    fn shares_of_classes_and_sizes_hold_as_far_as_groups_allow() {
        // 200 groups of 1 to 9 rows, mostly of one class each; class 2 is rare.
        let (mut labels, mut groups) = (Vec::new(), Vec::new());
        for group in 0..200u32 {
            for row in 0..1 + group * 7 % 9 {
                labels.push(if group % 20 == 0 {
                    2
                } else if row == 8 {
                    0
                } else {
                    group % 2
                });
                groups.push(group);
            }
        }
        let fractions = [0.7, 0.1, 0.2];
        for seed in 0..5 {
            let parts = group_wise(&labels, &groups, &fractions, seed).unwrap();
            for (part, fraction) in parts.iter().zip(fractions) {
                let share = part.len() as f64 / labels.len() as f64;
                assert!((share - fraction).abs() < 0.01, "seed {seed}: {share} of all, wished {fraction}");
                for class in 0..3 {
                    let count = |rows: &mut dyn Iterator<Item = usize>| rows.filter(|&r| labels[r] == class).count();
                    let (mine, all) = (count(&mut part.iter().copied()), count(&mut (0..labels.len())));
                    let share = mine as f64 / all as f64;
                    assert!((share - fraction).abs() < 0.08, "seed {seed}, class {class}: {share}, wished {fraction}");
                }
            }
        }
        let draw = |seed| group_wise(&labels, &groups, &fractions, seed).unwrap();
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let message =
            |groups: &[u32], fractions: &[f64]| group_wise(&[0, 1], groups, fractions, 0).unwrap_err().to_string();
        assert!(message(&[0], &[1.0]).contains("1 entries: expected 2"));
        assert!(message(&[5, 5], &[0.5, 0.5]).contains("at most 1, the number of groups"));
        assert!(message(&[0, 1], &[0.5, 0.4]).contains("sum"));
    }
}
