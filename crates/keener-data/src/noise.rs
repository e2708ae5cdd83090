//! Wrong labels on purpose, to measure how objectives bear them.
//!
//! The numbers of flipped labels are exact, not expected values, so that runs with different seeds are comparable.

use std::fmt;
use std::str::FromStr;

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::check_labels;
use crate::error::DataError;
use crate::split::by_class;

/// Which labels become wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseKind {
    /// Any label becomes any other, [`uniform`].
    #[default]
    Uniform,
    /// Labels of class c become those of the next class, [`class_dependent`] with its default mapping.
    ClassDependent,
}

impl NoiseKind {
    /// Applies it.
    ///
    /// # Errors
    /// As [`uniform`].
    pub fn apply(self, labels: &[u32], num_classes: usize, rate: f64, seed: u64) -> Result<NoisyLabels, DataError> {
        match self {
            Self::Uniform => uniform(labels, num_classes, rate, seed),
            Self::ClassDependent => class_dependent(labels, num_classes, rate, seed, None),
        }
    }
}

impl fmt::Display for NoiseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uniform => "uniform",
            Self::ClassDependent => "class-dependent",
        })
    }
}

/// A kind of noise and its rate, written `uniform:0.4` or `class-dependent:0.3`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelNoise {
    /// Which labels.
    pub kind: NoiseKind,
    /// The share of wrong labels, in 0..=1.
    pub rate: f64,
}

impl LabelNoise {
    /// Applies it.
    ///
    /// # Errors
    /// As [`uniform`].
    pub fn apply(&self, labels: &[u32], num_classes: usize, seed: u64) -> Result<NoisyLabels, DataError> {
        self.kind.apply(labels, num_classes, self.rate, seed)
    }
}

impl FromStr for LabelNoise {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let wrong = || DataError::Parameter {
            place: "label noise",
            name: "noise".into(),
            value: text.to_string(),
            expected: "uniform:RATE or class-dependent:RATE, the rate in 0..=1".into(),
        };
        let (kind, rate) = text.split_once(':').ok_or_else(wrong)?;
        let kind = match kind.trim() {
            "uniform" => NoiseKind::Uniform,
            "class-dependent" | "class_dependent" => NoiseKind::ClassDependent,
            _ => return Err(wrong()),
        };
        let rate = rate.trim().parse().ok().filter(|r| (0.0..=1.0).contains(r)).ok_or_else(wrong)?;
        Ok(Self { kind, rate })
    }
}

impl TryFrom<String> for LabelNoise {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<LabelNoise> for String {
    fn from(noise: LabelNoise) -> Self {
        format!("{}:{}", noise.kind, noise.rate)
    }
}

/// Labels after noise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoisyLabels {
    /// The labels, flipped ones included, `[rows]`.
    pub labels: Vec<u32>,
    /// The rows whose label differs from the original, sorted.
    pub flipped: Vec<usize>,
}

/// Uniform (symmetric) noise: `round(rate · rows)` labels become one of the *other* classes, each equally likely.
///
/// Rows are drawn without replacement. With this definition, `rate` is the share of wrong labels; where a paper draws
/// the new label from *all* C classes at rate r, its share of wrong labels is `r · (C − 1) / C`.
///
/// # Errors
/// [`DataError::LabelRange`]; [`DataError::Parameter`] for a rate outside 0..=1, or noise with fewer than two classes.
///
/// ```
/// let clean = vec![0; 10];
/// let noisy = keener_data::noise::uniform(&clean, 3, 0.4, 1)?;
/// assert_eq!(noisy.flipped.len(), 4);
/// assert!(noisy.flipped.iter().all(|&row| noisy.labels[row] != 0));
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn uniform(labels: &[u32], num_classes: usize, rate: f64, seed: u64) -> Result<NoisyLabels, DataError> {
    const PLACE: &str = "noise::uniform";
    check(PLACE, labels, num_classes, rate)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noisy = labels.to_vec();
    let mut flipped = draw(&mut rng, labels.len(), rate);
    if !flipped.is_empty() && num_classes < 2 {
        return Err(too_few_classes(PLACE, num_classes));
    }
    flipped.sort_unstable();
    for &row in &flipped {
        // One of the C − 1 others: the classes after the own one, cyclically.
        let step = rng.random_range(1..num_classes as u64);
        noisy[row] = ((u64::from(labels[row]) + step) % num_classes as u64) as u32;
    }
    Ok(NoisyLabels { labels: noisy, flipped })
}

/// Class-dependent (asymmetric) noise: in each class c, `round(rate · rows of c)` labels become `mapping[c]`.
///
/// Default mapping: `c → (c + 1) mod C`. A class mapped to itself keeps its labels.
///
/// # Errors
/// [`DataError::LabelRange`]; [`DataError::Parameter`] for a rate outside 0..=1, a mapping whose length is not
/// `num_classes` or that leaves the classes, or noise by default mapping with fewer than two classes.
pub fn class_dependent(
    labels: &[u32],
    num_classes: usize,
    rate: f64,
    seed: u64,
    mapping: Option<&[u32]>,
) -> Result<NoisyLabels, DataError> {
    const PLACE: &str = "noise::class_dependent";
    check(PLACE, labels, num_classes, rate)?;
    let parameter = |name: String, value: String, expected: String| {
        Err(DataError::Parameter { place: PLACE, name, value, expected })
    };
    let next: Vec<u32>;
    let mapping = match mapping {
        Some(mapping) if mapping.len() != num_classes => {
            let value = format!("{} entries", mapping.len());
            return parameter("mapping".into(), value, format!("{num_classes}, one for each class"));
        }
        Some(mapping) => mapping,
        None if num_classes < 2 && rate > 0.0 && !labels.is_empty() => {
            return Err(too_few_classes(PLACE, num_classes));
        }
        None => {
            next = (1..=num_classes).map(|class| if class == num_classes { 0 } else { class as u32 }).collect();
            &next
        }
    };
    if let Some(class) = mapping.iter().position(|&to| to as usize >= num_classes) {
        let name = format!("mapping[{class}]");
        return parameter(name, mapping[class].to_string(), format!("below {num_classes}, the number of classes"));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noisy = labels.to_vec();
    let mut flipped = Vec::new();
    for (class, members) in by_class(labels) {
        let to = mapping[class as usize];
        let drawn = draw(&mut rng, members.len(), rate);
        if to != class {
            flipped.extend(drawn.into_iter().map(|position| members[position]));
        }
    }
    flipped.sort_unstable();
    for &row in &flipped {
        noisy[row] = mapping[labels[row] as usize];
    }
    Ok(NoisyLabels { labels: noisy, flipped })
}

/// `round(rate · n)` of the numbers below `n`, in random order.
fn draw(rng: &mut ChaCha8Rng, n: usize, rate: f64) -> Vec<usize> {
    index::sample(rng, n, (rate * n as f64).round() as usize).into_vec()
}

fn check(place: &'static str, labels: &[u32], num_classes: usize, rate: f64) -> Result<(), DataError> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(DataError::Parameter {
            place,
            name: "rate".into(),
            value: rate.to_string(),
            expected: "a number in 0..=1".into(),
        });
    }
    check_labels(place, labels, num_classes)
}

fn too_few_classes(place: &'static str, num_classes: usize) -> DataError {
    DataError::Parameter {
        place,
        name: "num_classes".into(),
        value: num_classes.to_string(),
        expected: "at least 2, for a label to become wrong".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_flipped_are_exactly_the_changed(
            labels in prop::collection::vec(0_u32..5, 0..300), rate in 0.0_f64..=1.0, seed: u64,
        ) {
            let changed = |noisy: &NoisyLabels| -> Vec<usize> {
                (0..labels.len()).filter(|&row| noisy.labels[row] != labels[row]).collect()
            };
            let noisy = uniform(&labels, 5, rate, seed).unwrap();
            prop_assert_eq!(changed(&noisy), noisy.flipped.clone());
            prop_assert_eq!(noisy.flipped.len(), (rate * labels.len() as f64).round() as usize);
            prop_assert!(noisy.labels.iter().all(|&label| label < 5));
            prop_assert_eq!(&noisy, &uniform(&labels, 5, rate, seed).unwrap());

            let noisy = class_dependent(&labels, 5, rate, seed, None).unwrap();
            prop_assert_eq!(changed(&noisy), noisy.flipped.clone());
            for (class, members) in by_class(&labels) {
                let flipped: Vec<_> = noisy.flipped.iter().filter(|&&row| labels[row] == class).collect();
                prop_assert_eq!(flipped.len(), (rate * members.len() as f64).round() as usize);
                prop_assert!(flipped.iter().all(|&&row| noisy.labels[row] == (class + 1) % 5));
            }
        }
    }

    #[test]
    fn uniform_noise_is_uniform_over_the_others() {
        let noisy = uniform(&vec![2; 40_000], 5, 1.0, 3).unwrap();
        let mut counts = [0_i64; 5];
        noisy.labels.iter().for_each(|&label| counts[label as usize] += 1);
        assert_eq!(counts[2], 0);
        // Each of the four others: 10000 expected, standard deviation 87.
        assert!([0, 1, 3, 4].iter().all(|&class| (counts[class] - 10_000_i64).abs() < 450), "{counts:?}");
    }

    #[test]
    fn a_mapping_may_spare_classes() {
        let labels = [0, 0, 1, 1, 2, 2];
        let noisy = class_dependent(&labels, 3, 1.0, 0, Some(&[0, 2, 1])).unwrap();
        assert_eq!(noisy, NoisyLabels { labels: vec![0, 0, 2, 2, 1, 1], flipped: vec![2, 3, 4, 5] });
    }

    #[test]
    fn noise_is_written_as_it_is_read() {
        for text in ["uniform:0.4", "class-dependent:0.25"] {
            let noise: LabelNoise = text.parse().unwrap();
            assert_eq!(String::from(noise), text);
            assert_eq!(
                noise.apply(&[0, 1, 0, 1, 0, 1, 0, 1], 2, 3).unwrap().flipped.len(),
                (noise.rate * 8.0).round() as usize
            );
        }
        for text in ["uniform", "uniform:1.1", "gaussian:0.1", "uniform:NaN"] {
            assert!(text.parse::<LabelNoise>().unwrap_err().to_string().contains("uniform:RATE"), "{text}");
        }
    }

    #[test]
    fn seeds_matter() {
        let labels = vec![0; 100];
        assert_ne!(uniform(&labels, 10, 0.3, 1).unwrap(), uniform(&labels, 10, 0.3, 2).unwrap());
        let flipped = |seed| class_dependent(&labels, 10, 0.3, seed, None).unwrap().flipped;
        assert_ne!(flipped(1), flipped(2));
    }

    #[test]
    fn bad_arguments_are_refused() {
        for rate in [-0.1, 1.1, f64::NAN] {
            assert!(uniform(&[0], 2, rate, 0).unwrap_err().to_string().contains("rate = "));
        }
        assert!(uniform(&[0, 3], 3, 0.1, 0).unwrap_err().to_string().contains("label 3 at row 1"));
        assert!(uniform(&[0], 1, 1.0, 0).is_err() && class_dependent(&[0], 1, 1.0, 0, None).is_err());
        assert!(uniform(&[0], 1, 0.0, 0).is_ok());
        assert!(class_dependent(&[0], 2, 0.5, 0, Some(&[1])).is_err());
        assert!(class_dependent(&[0], 2, 0.5, 0, Some(&[1, 2])).unwrap_err().to_string().contains("mapping[1] = 2"));
    }
}
