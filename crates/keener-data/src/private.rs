//! Means of bags released under label differential privacy, with noise that is safe in floating point.
//!
//! Laplace noise from a formula over floating-point numbers leaves traces of the secret in its low-order bits (Mironov, On
//! Significance of the Least Significant Bits for Differential Privacy, CCS 2012). Here the mean is rounded to a grid of a power
//! of two far below the noise, and the noise is a whole number of grid steps, the difference of two geometric numbers: what
//! is released lies on the grid whatever the secret was. The rounding is paid for in the scale.

use crate::bags::Bags;
use crate::error::DataError;
use rand::CryptoRng;
use rand_distr::{Distribution, Geometric};

/// Steps of the grid in one scale of the noise, at least.
const STEPS: f64 = (1u64 << 40) as f64;

/// Means of bags with noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// What may be given away, one a bag.
    pub means: Vec<f64>,
    /// Scale of the noise of each bag.
    pub scales: Vec<f64>,
}

/// Clips `values` to `[−clip, clip]`, averages them by bag, and adds discrete Laplace noise: one changed value moves the mean of a
/// bag of k by at most `2·clip/k`, and the release is `epsilon`-differentially private in the values. Bags are disjoint, so
/// all of them together are as private, and so is whatever is made of them. Every release of the same values spends
/// `epsilon` again.
///
/// `random` must be cryptographic and its seed secret: `rand::rng()`, not a seeded generator, outside of tests.
///
/// # Errors
/// Values that are not one finite number a row; clip or epsilon that are not finite and positive; bags so large that the grid
/// would need more than 53 bits.
pub fn release<R: CryptoRng>(
    values: &[f64],
    bags: &Bags,
    clip: f64,
    epsilon: f64,
    random: &mut R,
) -> Result<Release, DataError> {
    let wrong = |name: &str, value: String, expected: &str| DataError::Parameter {
        place: "private::release",
        name: name.into(),
        value,
        expected: expected.into(),
    };
    for (name, value) in [("clip", clip), ("epsilon", epsilon)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(wrong(name, value.to_string(), "a finite number > 0"));
        }
    }
    if values.len() != bags.of_rows.len() {
        return Err(wrong("values", values.len().to_string(), &format!("{}, one a row", bags.of_rows.len())));
    }
    if let Some(row) = values.iter().position(|v| !v.is_finite()) {
        return Err(wrong(&format!("value of row {row}"), values[row].to_string(), "a finite number"));
    }
    let (mut sums, mut sizes) = (vec![0.0; bags.len()], vec![0.0; bags.len()]);
    for (bag, value) in bags.of_rows.iter().zip(values) {
        sums[*bag as usize] += value.clamp(-clip, clip);
        sizes[*bag as usize] += 1.0;
    }
    let mut found = Release { means: Vec::with_capacity(bags.len()), scales: Vec::with_capacity(bags.len()) };
    for (sum, size) in sums.iter().zip(&sizes) {
        // The smallest power of two that is no less.
        let grid = (2.0 * clip / (size * epsilon) / STEPS).log2().ceil().exp2();
        // Rounding moves neighbours apart by one step at most.
        let scale = (2.0 * clip / size + grid) / epsilon;
        if clip / grid > (1u64 << 52) as f64 {
            return Err(wrong("epsilon", epsilon.to_string(), "less: the grid of the noise needs more than 53 bits"));
        }
        let geometric = Geometric::new(-(-grid / scale).exp_m1());
        let geometric = geometric.map_err(|e| wrong("epsilon", epsilon.to_string(), &e.to_string()))?;
        let mut draw = || geometric.sample(random) as i64;
        let steps = (sum / size / grid).round() as i64 + (draw() - draw());
        found.means.push(steps as f64 * grid);
        found.scales.push(scale);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn noise_is_laplace_and_lies_on_a_grid() {
        let rows = 40_000;
        let bags = Bags::named(&(0..rows).map(|row| (row / 2).to_string()).collect::<Vec<_>>());
        // Ones of which the larger is clipped: every mean is 0.75.
        let values: Vec<f64> = (0..rows).map(|row| if row % 2 == 0 { 0.5 } else { 7.0 }).collect();
        let found = release(&values, &bags, 1.0, 0.5, &mut ChaCha20Rng::seed_from_u64(3)).unwrap();
        let scale = found.scales[0];
        assert!((scale - 2.0).abs() < 1e-9, "{scale}");
        let noise: Vec<f64> = found.means.iter().map(|m| m - 0.75).collect();
        let n = noise.len() as f64;
        let mean = noise.iter().sum::<f64>() / n;
        let distance = noise.iter().map(|z| z.abs()).sum::<f64>() / n;
        let square = noise.iter().map(|z| z * z).sum::<f64>() / n;
        // Of Laplace noise: 0, the scale, and twice its square; errors of a few standard deviations of n means.
        assert!(mean.abs() < 0.08 && (distance / scale - 1.0).abs() < 0.03, "{mean} {distance}");
        assert!((square / (2.0 * scale * scale) - 1.0).abs() < 0.07, "{square}");
        // The scale is a little above 2, for the rounding; the grid divides 2 into its steps.
        let grid = 2.0 / STEPS;
        assert!(found.means.iter().all(|m| (m / grid).fract() == 0.0));
    }

    #[test]
    fn larger_bags_need_less_noise_and_bad_input_is_named() {
        let bags = Bags::named(&["a", "b", "b", "b", "b"]);
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let found = release(&[0.0; 5], &bags, 3.0, 1.0, &mut random).unwrap();
        assert!((found.scales[0] / found.scales[1] - 4.0).abs() < 1e-9);
        let mut message =
            |values: &[f64], clip, epsilon| release(values, &bags, clip, epsilon, &mut random).unwrap_err().to_string();
        assert!(message(&[0.0; 5], 0.0, 1.0).contains("clip = 0"));
        assert!(message(&[0.0; 5], 1.0, f64::NAN).contains("epsilon = NaN"));
        assert!(message(&[0.0; 4], 1.0, 1.0).contains("5, one a row"));
        assert!(message(&[0.0, 0.0, f64::INFINITY, 0.0, 0.0], 1.0, 1.0).contains("row 2"));
        assert!(message(&[0.0; 5], 1.0, 1e9).contains("53 bits"));
    }
}
