//! Triplets of matched local descriptors: the positive's match near, the nearest descriptor of every negative image far.

use super::mutual::{Match, matches};
use super::{Unit, nearest, squared_distance, sweep};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::real::Real;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Local triplet loss over a tuple of images: an anchor, a positive and one or more negatives.
///
/// With the matches `(q_i, p_j)` of [`super::mutual_matches`] and `n` the descriptor of a negative image nearest to `q_i`,
/// all of length one: `loss = weight · Σ_matches Σ_negatives max(0, |q − p|² − |q − n|² + margin)`. A sum, not a mean; which
/// descriptors meet is constant for the gradient. A tuple without matches has loss 0.
///
/// Reference: Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008).
/// Its released code ignores the configured weight and multiplies by 1; `weight` here is the stated one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalTriplet {
    /// How much nearer the positive must be, in squared distance, ≥ 0. Default 0.1 (the paper).
    pub margin: f64,
    /// Multiplies the sum, ≥ 0. Default 0.05 (the paper's configuration).
    pub weight: f64,
    /// Largest ratio of nearest to second nearest distance, > 0. Default 0.9 (the reference code).
    pub ratio: f64,
}

impl Default for LocalTriplet {
    fn default() -> Self {
        Self { margin: 0.1, weight: 0.05, ratio: 0.9 }
    }
}

/// What a tuple costs.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalTripletValue<T> {
    /// The loss.
    pub loss: T,
    /// Its gradient by the raw descriptors `[images, K, D]`.
    pub gradient: Vec<T>,
    /// The matches of anchor and positive.
    pub matches: Vec<Match>,
    /// Number of terms above zero.
    pub active: usize,
}

impl LocalTriplet {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Parameter`] for what is out of range.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("margin", self.margin), ("weight", self.weight)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::parameter(name, value, "a finite number ≥ 0"));
            }
        }
        match self.ratio.is_finite() && self.ratio > 0.0 {
            true => Ok(()),
            false => Err(Error::parameter("ratio", self.ratio, "a finite number > 0")),
        }
    }

    /// Loss and gradient of one tuple: raw descriptors `[images, K, D]` (image 0 the anchor, 1 the positive, the others
    /// negatives) and the positive's attention `[K]`.
    ///
    /// # Errors
    /// Fewer than three images, lengths that do not fill the shape, an attention that is not one finite number a descriptor,
    /// non-finite descriptors, parameters out of range.
    pub fn evaluate<T: Real>(
        &self,
        descriptors: &[T],
        [images, count, dim]: [usize; 3],
        attention: &[T],
    ) -> Result<LocalTripletValue<T>> {
        self.check()?;
        let shape = [images, count, dim];
        let size = images.checked_mul(count).and_then(|n| n.checked_mul(dim));
        if images < 3 || size != Some(descriptors.len()) || size == Some(0) {
            let expected = format!(
                "an anchor, a positive and at least one negative, {} numbers in all (there are {})",
                size.map_or("too many".into(), |n| n.to_string()),
                descriptors.len()
            );
            return Err(Error::shape("descriptors of a tuple", &shape, expected));
        }
        let each = count * dim;
        let image = |i: usize| {
            let what = ["anchor descriptors", "positive descriptors"].get(i).copied().unwrap_or("negative descriptors");
            Unit::new(what, View::new(&descriptors[i * each..(i + 1) * each], count, dim)?)
        };
        let units = (0..images).map(image).collect::<Result<Vec<_>>>()?;
        let found = matches(&units[0], &units[1], attention, self.ratio)?;
        let rows: Vec<usize> = found.iter().map(|m| m.query).collect();
        let (mut loss, mut active) = (T::zero(), 0);
        let mut unit_gradient = vec![T::zero(); descriptors.len()];
        let weight = T::of(self.weight);
        let two = T::of(2.0) * weight;
        for negative in 2..images {
            let mut at = vec![0; rows.len()];
            let mut next = 0;
            sweep(&units[0], &rows, &units[negative], |_, distances| {
                at[next] = nearest(distances);
                next += 1;
            });
            for (pair, n) in found.iter().zip(at) {
                let (q, p, far) = (units[0].row(pair.query), units[1].row(pair.positive), units[negative].row(n));
                let term = squared_distance(q, p) - squared_distance(q, far) + T::of(self.margin);
                if term <= T::zero() {
                    continue;
                }
                loss += weight * term;
                active += 1;
                let starts = [pair.query * dim, each + pair.positive * dim, negative * each + n * dim];
                for k in 0..dim {
                    unit_gradient[starts[0] + k] += two * (far[k] - p[k]);
                    unit_gradient[starts[1] + k] += two * (p[k] - q[k]);
                    unit_gradient[starts[2] + k] += two * (q[k] - far[k]);
                }
            }
        }
        let mut gradient = vec![T::zero(); descriptors.len()];
        for (row, (into, from)) in gradient.chunks_exact_mut(dim).zip(unit_gradient.chunks_exact(dim)).enumerate() {
            units[row / count].pull_back(row % count, from, into);
        }
        Ok(LocalTripletValue { loss, gradient, matches: found, active })
    }

    /// The sum over tuples `[tuples, images, K, D]` with the positives' attention `[tuples, K]`, tuples in parallel; the
    /// gradient is `[tuples, images, K, D]`. The same bits for any number of threads.
    ///
    /// # Errors
    /// As [`LocalTriplet::evaluate`].
    pub fn evaluate_tuples<T: Real>(
        &self,
        descriptors: &[T],
        [tuples, images, count, dim]: [usize; 4],
        attention: &[T],
    ) -> Result<(T, Vec<T>)> {
        let each = images.checked_mul(count).and_then(|n| n.checked_mul(dim));
        let fits = each.and_then(|n| n.checked_mul(tuples)) == Some(descriptors.len());
        if tuples == 0 || !fits || each == Some(0) {
            let expected = format!("at least one tuple, {} numbers in all", descriptors.len());
            return Err(Error::shape("descriptors of tuples", &[tuples, images, count, dim], expected));
        }
        if attention.len() != tuples * count {
            return Err(Error::shape("attention", &[attention.len()], format!("[{tuples}, {count}]")));
        }
        let each = images * count * dim;
        let values: Vec<LocalTripletValue<T>> = descriptors
            .par_chunks(each)
            .zip(attention.par_chunks(count))
            .map(|(d, a)| self.evaluate(d, [images, count, dim], a))
            .collect::<Result<_>>()?;
        let loss = values.iter().map(|v| v.loss).sum();
        Ok((loss, values.into_iter().flat_map(|v| v.gradient).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptors whose positive is a slight turn of the anchor, with negatives elsewhere.
    fn tuple(images: usize, count: usize, dim: usize) -> (Vec<f64>, Vec<f64>) {
        let wave = |k: usize, s: f64| (k as f64 * 1.618 + s).sin() * (1.0 + 0.3 * (k as f64).cos());
        let each = count * dim;
        let mut all: Vec<f64> = (0..each).map(|k| wave(k, 0.0)).collect();
        all.extend((0..each).map(|k| wave(k, 0.0) + 0.15 * wave(k, 9.0)));
        (2..images).for_each(|i| all.extend((0..each).map(|k| wave(k * 3 + i, 2.0 * i as f64))));
        (all, (0..count).map(|k| wave(k, 5.0).abs()).collect())
    }

    #[test]
    fn gradients_are_finite_differences() {
        let loss = LocalTriplet { margin: 1.5, weight: 0.7, ratio: 0.9 };
        let shape = [4, 10, 6];
        let (descriptors, attention) = tuple(4, 10, 6);
        let value = loss.evaluate(&descriptors, shape, &attention).unwrap();
        assert!(value.matches.len() >= 3 && value.active >= 3, "{value:?}");
        let h = 1e-6;
        for k in 0..descriptors.len() {
            let at = |x: f64| {
                let mut moved = descriptors.clone();
                moved[k] += x;
                loss.evaluate(&moved, shape, &attention).unwrap().loss
            };
            let slope = (at(h) - at(-h)) / (2.0 * h);
            assert!((slope - value.gradient[k]).abs() < 1e-7, "{k}: {slope} {}", value.gradient[k]);
        }
    }

    #[test]
    fn lengths_do_not_matter_and_tuples_add_up() {
        let loss = LocalTriplet::default();
        let (a, wa) = tuple(5, 8, 4);
        let (b, wb) = (a.iter().map(|x| 7.0 * x).collect::<Vec<f64>>(), wa.clone());
        let (one, two) = (loss.evaluate(&a, [5, 8, 4], &wa).unwrap(), loss.evaluate(&b, [5, 8, 4], &wb).unwrap());
        assert!((one.loss - two.loss).abs() < 1e-12);
        assert!(one.gradient.iter().zip(&two.gradient).all(|(a, b)| (a - 7.0 * b).abs() < 1e-12));
        let (sum, gradient) = loss.evaluate_tuples(&[a, b].concat(), [2, 5, 8, 4], &[wa, wb].concat()).unwrap();
        assert_eq!(sum, one.loss + two.loss);
        assert_eq!(gradient, [one.gradient, two.gradient].concat());
    }

    #[test]
    fn nothing_matched_costs_nothing() {
        let value = LocalTriplet::default().evaluate(&[1.0f32; 3 * 2 * 2], [3, 2, 2], &[1.0, 0.0]).unwrap();
        assert_eq!((value.loss, value.matches.len(), value.active), (0.0, 0, 0));
        assert!(value.gradient.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn bad_input_is_named() {
        let loss = LocalTriplet::default();
        let shape = |d: &[f64], s: [usize; 3]| loss.evaluate(d, s, &[1.0]).unwrap_err().to_string();
        assert!(shape(&[1.0; 4], [2, 1, 2]).contains("at least one negative"));
        assert!(shape(&[1.0; 5], [3, 1, 2]).contains("6 numbers in all (there are 5)"));
        assert!(shape(&[1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0], [3, 1, 2]).contains("negative descriptors"));
        let wrong = LocalTriplet { margin: -1.0, ..loss };
        assert!(matches!(wrong.evaluate(&[1.0; 6], [3, 1, 2], &[1.0]), Err(Error::Parameter { .. })));
        assert!(loss.evaluate_tuples(&[1.0; 6], [1, 3, 1, 2], &[1.0, 2.0]).unwrap_err().to_string().contains("[1, 1]"));
    }
}
