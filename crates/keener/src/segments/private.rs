//! Means of bags released under label differential privacy: clip, average, add Laplace noise.

use super::Bags;
use crate::error::{Error, Result};

/// Means of bags with the noise that was added to them.
#[derive(Clone, Debug, PartialEq)]
pub struct PrivateRelease {
    /// Means of the clipped responses `[M]`. Not private: for tests and for whoever holds the responses anyway.
    pub means: Vec<f64>,
    /// Scale of the noise of each bag, `2C / (k_a ε)`.
    pub scales: Vec<f64>,
    /// The noise.
    pub noise: Vec<f64>,
    /// What may be given away: means plus noise.
    pub released: Vec<f64>,
}

fn positive(name: &str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(Error::parameter(name, value, "a finite number > 0")),
    }
}

/// Scale of the Laplace noise of each bag: one changed response moves the mean of a bag of k by at most `2C/k`, so noise of scale
/// `2C / (k ε)` makes its release ε-differentially private in the responses. Bags are disjoint, so all of them together are,
/// and so is whatever is trained on them.
///
/// # Errors
/// [`Error::Parameter`] unless clip and ε are finite and positive.
pub fn laplace_scales(bags: &Bags, clip: f64, epsilon: f64) -> Result<Vec<f64>> {
    positive("clip", clip)?;
    positive("epsilon", epsilon)?;
    Ok((0..bags.len()).map(|bag| 2.0 * clip / (bags.size(bag) as f64 * epsilon)).collect())
}

/// Means by bag of responses clipped to `[−clip, clip]`.
///
/// # Errors
/// Responses that are not one finite number a row; a clip that is not positive.
pub fn clipped_means(responses: &[f64], bags: &Bags, clip: f64) -> Result<Vec<f64>> {
    positive("clip", clip)?;
    if let Some(row) = responses.iter().position(|y| !y.is_finite()) {
        let value = responses[row].to_string();
        return Err(Error::NonFinite { what: "responses".into(), value, row, column: 0 });
    }
    let clipped: Vec<f64> = responses.iter().map(|y| y.clamp(-clip, clip)).collect();
    bags.means(&clipped, 1)
}

/// Laplace noise from a uniform number in the open interval `(−½, ½)` by the inverse of the distribution function,
/// `−scale · sign(u) · ln(1 − 2|u|)`.
///
/// # Errors
/// [`Error::Parameter`] for `u` outside the interval, its ends included: they would give infinite noise.
pub fn laplace_from_uniform(u: f64, scale: f64) -> Result<f64> {
    if !(u > -0.5 && u < 0.5) {
        return Err(Error::parameter("uniform", u, "a number in the open interval (−1/2, 1/2)"));
    }
    Ok(-scale * u.signum() * (-2.0 * u.abs()).ln_1p())
}

/// Clips, averages and adds noise made from `uniform`, one number in `(−½, ½)` a bag.
///
/// This is the mathematics, for tests and simulations. It is *not* a safe source of noise: floating-point numbers made in this
/// way leave traces of the mean in their low-order bits (Mironov, On Significance of the Least Significant Bits for
/// Differential Privacy, CCS 2012). Release real responses through `keener_data::private`,
/// whose noise lies on a grid.
///
/// # Errors
/// Parameters and numbers out of range, and shapes that do not fit.
pub fn private_release(
    responses: &[f64],
    bags: &Bags,
    uniform: &[f64],
    clip: f64,
    epsilon: f64,
) -> Result<PrivateRelease> {
    if uniform.len() != bags.len() {
        return Err(Error::shape("uniform", &[uniform.len()], format!("[{}], one a bag", bags.len())));
    }
    let scales = laplace_scales(bags, clip, epsilon)?;
    let means = clipped_means(responses, bags, clip)?;
    let noise = uniform.iter().zip(&scales).map(|(u, s)| laplace_from_uniform(*u, *s)).collect::<Result<Vec<f64>>>()?;
    let released = means.iter().zip(&noise).map(|(m, z)| m + z).collect();
    Ok(PrivateRelease { means, scales, noise, released })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_distribution_of_laplace() {
        let count = 100_001;
        let at = |k: usize| (k as f64 + 0.5) / count as f64 - 0.5;
        let noise: Vec<f64> = (0..count).map(|k| laplace_from_uniform(at(k), 3.0).unwrap()).collect();
        let mean = noise.iter().sum::<f64>() / count as f64;
        let square = noise.iter().map(|z| z * z).sum::<f64>() / count as f64;
        assert!(mean.abs() < 1e-9 && (square / 18.0 - 1.0).abs() < 1e-3, "{mean} {square}");
        assert!(noise.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn bad_input_is_named() {
        let bags = Bags::singletons(2);
        let message =
            |y: &[f64], u: &[f64], clip, epsilon| private_release(y, &bags, u, clip, epsilon).unwrap_err().to_string();
        assert!(message(&[0.0; 2], &[0.5, 0.0], 1.0, 1.0).contains("uniform = 0.5"));
        assert!(message(&[0.0; 2], &[0.0; 2], 0.0, 1.0).contains("clip = 0"));
        assert!(message(&[0.0; 2], &[0.0; 2], 1.0, -1.0).contains("epsilon = -1"));
        assert!(message(&[0.0, f64::NAN], &[0.0; 2], 1.0, 1.0).contains("responses holds NaN at row 1"));
        assert!(message(&[0.0; 3], &[0.0; 2], 1.0, 1.0).contains("shape [3]"));
        assert!(message(&[0.0; 2], &[0.0], 1.0, 1.0).contains("one a bag"));
    }
}
