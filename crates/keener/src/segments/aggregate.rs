//! Losses of predictions for rows whose responses are known as means of bags only.

use super::Bags;
use crate::engine::View;
use crate::error::{Error, Result};
use crate::real::{Real, sigmoid, softplus};
use crate::simd;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The loss of one prediction against one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateKind {
    /// `(ȳ − f)²`: responses are numbers.
    Squared,
    /// `−ȳ ln p − (1 − ȳ) ln(1 − p)`, `p = σ(z)`: responses are shares in `[0, 1]`, predictions are logits.
    #[serde(alias = "binary_cross_entropy")]
    Bce,
}

/// Value, its parts, and the gradient of the predictions.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateLoss<T> {
    /// `(1 − ρ) bag + ρ instance`
    pub loss: f64,
    /// `(1/n) Σ_a k_a ℓ(ȳ_a, f̄_a)`: the mean prediction of each bag against its response.
    pub bag_loss: f64,
    /// `(1/n) Σ_a Σ_{i ∈ a} ℓ(ȳ_a, f_i)`: every prediction against the response of its bag.
    pub instance_loss: f64,
    /// What the second has more than the first, never negative: for the squared loss the variance of predictions within bags.
    pub regularizer: f64,
    /// `[n, N]`, of `loss`.
    pub gradient: Vec<T>,
}

/// The bag-level and the instance-level loss, and `(1 − ρ) bag + ρ instance` with its gradient.
///
/// `predictions` `[n, N]` are values (`Squared`) or logits (`Bce`; the prediction of a bag is then the mean *probability*);
/// `responses` `[M, N]` one a bag. Bags weigh by their size. With several columns, which the paper has not, all is averaged over
/// them. One pass over the rows for the means of the bags, one for the gradient; nothing is held beyond it.
///
/// A bag whose members are all saturated on the wrong side keeps its loss and gradient: what would underflow is computed from
/// logarithms. A response of exactly 0 or 1 drops the term that it multiplies. For bags of one row all three are the same.
///
/// Reference: Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions (arXiv 2401.11081).
///
/// # Errors
/// Shapes that do not fit; for `Bce` responses outside `[0, 1]`; no rows at all.
pub fn aggregate_loss<T: Real>(
    kind: AggregateKind,
    rho: f64,
    predictions: &[T],
    bags: &Bags,
    responses: View<'_, T>,
) -> Result<AggregateLoss<T>> {
    let width = responses.cols();
    if responses.rows() != bags.len() {
        let found = [responses.rows(), width];
        return Err(Error::shape("responses of bags", &found, format!("[{}, N], one row a bag", bags.len())));
    }
    bags.check_values("predictions", predictions.len(), width)?;
    if predictions.is_empty() {
        return Err(Error::Undefined { what: "a mean over bags".into(), reason: "there are no rows".into() });
    }
    if kind == AggregateKind::Bce
        && let Some(at) = responses.data().iter().position(|y| !(*y >= T::zero() && *y <= T::one()))
    {
        let what = format!("response of bag {}", at / width);
        return Err(Error::parameter(what, responses.data()[at], "a share in [0, 1]"));
    }
    let blocks = bags.blocks();
    let mut gradient = crate::memory::zeros(predictions.len());
    let mut parts = Vec::with_capacity(blocks.len());
    let mut rest = &mut gradient[..];
    for block in &blocks {
        let size = (bags.offsets[block.end] - bags.offsets[block.start]) * width;
        let (part, more) = rest.split_at_mut(size);
        parts.push((block.clone(), part));
        rest = more;
    }
    let task = Task {
        kind,
        rho: T::of(rho),
        predictions,
        bags,
        responses,
        width,
        share: T::of(1.0 / predictions.len() as f64),
    };
    let sums: Vec<[f64; 2]> = parts.into_par_iter().map(|(block, gradient)| task.block(block, gradient)).collect();
    let [bag, more] = sums.iter().fold([0.0, 0.0], |t, s| [t[0] + s[0], t[1] + s[1]]);
    let count = predictions.len() as f64;
    let (bag_loss, regularizer) = (bag / count, more / count);
    if let Some((_, place_of)) = &bags.permutation {
        gradient = by_rows(&gradient, place_of, width);
    }
    Ok(AggregateLoss {
        loss: bag_loss + rho * regularizer,
        bag_loss,
        instance_loss: bag_loss + regularizer,
        regularizer,
        gradient,
    })
}

/// From the order by bags to that of the rows.
fn by_rows<T: Real>(by_bags: &[T], place_of: &[u32], width: usize) -> Vec<T> {
    let mut found = crate::memory::zeros(by_bags.len());
    found.par_chunks_mut(width).zip(place_of).with_min_len(4096).for_each(|(to, place)| {
        to.copy_from_slice(&by_bags[*place as usize * width..(*place as usize + 1) * width]);
    });
    found
}

struct Task<'t, T> {
    kind: AggregateKind,
    rho: T,
    predictions: &'t [T],
    bags: &'t Bags,
    responses: View<'t, T>,
    width: usize,
    /// 1/(n N)
    share: T,
}

impl<T: Real> Task<'_, T> {
    /// Sums of bag-level losses and of what instance-level ones have more; writes the gradient in the order by bags.
    fn block(&self, block: Range<usize>, gradient: &mut [T]) -> [f64; 2] {
        let first = self.bags.offsets[block.start];
        let (from, to) = (first * self.width, self.bags.offsets[block.end] * self.width);
        let gathered: Vec<T>;
        let f = match &self.bags.permutation {
            None => &self.predictions[from..to],
            Some((row_at, _)) => {
                let rows = &row_at[first..self.bags.offsets[block.end]];
                let row = |r: &u32| &self.predictions[*r as usize * self.width..(*r as usize + 1) * self.width];
                gathered = rows.iter().flat_map(row).copied().collect();
                &gathered
            }
        };
        match self.kind {
            AggregateKind::Squared => self.squared(block, first, f, gradient),
            AggregateKind::Bce => self.cross_entropy(block, first, f, gradient),
        }
    }

    /// Places of the numbers of a bag within its block.
    fn inside(&self, bag: usize, first: usize) -> Range<usize> {
        (self.bags.offsets[bag] - first) * self.width..(self.bags.offsets[bag + 1] - first) * self.width
    }

    fn squared(&self, block: Range<usize>, first: usize, f: &[T], gradient: &mut [T]) -> [f64; 2] {
        let (mut bag_sum, mut within) = (0.0, 0.0);
        let two = T::of(2.0) * self.share;
        for bag in block {
            let place = self.inside(bag, first);
            let (f, g, size) = (&f[place.clone()], &mut gradient[place], self.bags.size(bag) as f64);
            for (col, y) in self.responses.row(bag).iter().enumerate() {
                let mean = f.iter().skip(col).step_by(self.width).map(|f| f.f64()).sum::<f64>() / size;
                let error = mean - y.f64();
                bag_sum += size * error * error;
                // dL/df = (2/n) [ f̄ − ȳ + ρ (f − f̄) ]
                let (error, mean) = (T::of(error), T::of(mean));
                for (f, g) in f.iter().zip(g.iter_mut()).skip(col).step_by(self.width) {
                    let apart = *f - mean;
                    within += (apart * apart).f64();
                    *g = two * (error + self.rho * apart);
                }
            }
        }
        [bag_sum, within]
    }

    fn cross_entropy(&self, block: Range<usize>, first: usize, z: &[T], gradient: &mut [T]) -> [f64; 2] {
        let (mut bag_sum, mut instance) = (0.0, 0.0);
        let (mut p, mut q, mut soft) = (vec![T::zero(); z.len()], vec![T::zero(); z.len()], vec![T::zero(); z.len()]);
        simd::logistic(&mut p, &mut q, &mut soft, z);
        // Below this a mean of probabilities may have lost members to underflow.
        let tiny = (T::min_positive_value() / T::epsilon()).f64();
        let keep = T::one() - self.rho;
        for bag in block {
            let place = self.inside(bag, first);
            let size = self.bags.size(bag) as f64;
            for (col, y) in self.responses.row(bag).iter().enumerate() {
                let at = || place.clone().skip(col).step_by(self.width);
                let (mut p_sum, mut q_sum) = (0.0, 0.0);
                for k in at() {
                    p_sum += p[k].f64();
                    q_sum += q[k].f64();
                    instance += (soft[k] - *y * z[k]).f64();
                }
                let (p_mean, q_mean, y64) = (p_sum / size, q_sum / size, y.f64());
                if p_mean < tiny || q_mean < tiny {
                    let logits: Vec<f64> = at().map(|k| z[k].f64()).collect();
                    let (value, slopes) = saturated(&logits, y64);
                    bag_sum += size * value;
                    for (k, slope) in at().zip(slopes) {
                        gradient[k] = self.share * (keep * T::of(slope) + self.rho * (p[k] - *y));
                    }
                    continue;
                }
                let (mut value, mut slope) = (0.0, 0.0);
                if y64 > 0.0 {
                    value -= y64 * p_mean.ln();
                    slope -= y64 / p_mean;
                }
                if y64 < 1.0 {
                    value -= (1.0 - y64) * q_mean.ln();
                    slope += (1.0 - y64) / q_mean;
                }
                bag_sum += size * value;
                let slope = keep * T::of(slope);
                for k in at() {
                    gradient[k] = self.share * (slope * p[k] * q[k] + self.rho * (p[k] - *y));
                }
            }
        }
        // Convexity: the difference is ≥ 0 but for rounding.
        [bag_sum, (instance - bag_sum).max(0.0)]
    }
}

/// The bag-level cross-entropy of one bag and its slopes from logarithms of probabilities.
fn saturated(z: &[f64], y: f64) -> (f64, Vec<f64>) {
    let log_mean = |sign: f64| {
        let logs: Vec<f64> = z.iter().map(|z| -softplus(-sign * z)).collect();
        let peak = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|l| (l - peak).exp()).sum();
        let mean = peak + (sum / z.len() as f64).ln();
        (logs, mean)
    };
    let ((log_p, p_mean), (log_q, q_mean)) = (log_mean(1.0), log_mean(-1.0));
    let mut value = 0.0;
    let mut slopes = vec![0.0; z.len()];
    if y > 0.0 {
        value -= y * p_mean;
        // p (1 − p) / p̄ from the logarithm of p / p̄.
        slopes.iter_mut().zip(z).zip(&log_p).for_each(|((s, z), l)| *s -= y * (l - p_mean).exp() * sigmoid(-z));
    }
    if y < 1.0 {
        value -= (1.0 - y) * q_mean;
        slopes.iter_mut().zip(z).zip(&log_q).for_each(|((s, z), l)| *s += (1.0 - y) * (l - q_mean).exp() * sigmoid(*z));
    }
    (value, slopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::numbers;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn run(kind: AggregateKind, rho: f64, f: &[f64], bags: &Bags, y: &[f64]) -> AggregateLoss<f64> {
        let width = f.len() / bags.rows();
        aggregate_loss(kind, rho, f, bags, View::new(y, bags.len(), width).unwrap()).unwrap()
    }

    const KINDS: [AggregateKind; 2] = [AggregateKind::Squared, AggregateKind::Bce];

    #[test]
    fn the_regularizer_is_half_the_mean_square_of_differences() {
        let f = [3.0, -1.0, 0.5, 2.0, 2.0];
        let bags = Bags::new(&[0, 1, 0, 1, 0], 2).unwrap();
        let found = run(AggregateKind::Squared, 0.3, &f, &bags, &[0.4, -0.2]);
        let mut pairs = 0.0;
        for a in 0..2 {
            let rows: Vec<f64> = bags.rows_of(a).map(|r| f[r]).collect();
            let all: f64 = rows.iter().flat_map(|x| rows.iter().map(move |y| (x - y).powi(2))).sum();
            pairs += all / (2.0 * rows.len() as f64);
        }
        assert!((found.regularizer - pairs / 5.0).abs() < 1e-14);
        let direct: f64 = (0..2)
            .flat_map(|a| bags.rows_of(a).map(move |r| (a, r)))
            .map(|(a, r)| (f[r] - [0.4, -0.2][a]).powi(2))
            .sum();
        assert!((found.instance_loss - direct / 5.0).abs() < 1e-14);
    }

    #[test]
    fn bags_of_one_row_make_all_three_the_same_and_rho_does_not_matter() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (f, y) = (numbers(&mut rng, 9), [0.0, 1.0, 0.3, 0.9, 0.5, 1.0, 0.0, 0.2, 0.7]);
        for kind in KINDS {
            let (a, b) = (run(kind, 0.0, &f, &Bags::singletons(9), &y), run(kind, 0.8, &f, &Bags::singletons(9), &y));
            assert!(a.regularizer.abs() < 1e-15 && (a.loss - b.loss).abs() < 1e-15);
            assert!(a.gradient.iter().zip(&b.gradient).all(|(x, y)| (x - y).abs() < 1e-15));
        }
    }

    #[test]
    fn order_of_rows_and_width_do_not_matter() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let rows = 10_000;
        let f = numbers(&mut rng, rows);
        let ids: Vec<u32> = (0..rows as u32).map(|r| (r * 7919) % 1500).collect();
        let y: Vec<f64> = (0..1500).map(|a| f64::from(a % 7) / 6.0).collect();
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by_key(|r| ids[*r]);
        let sorted_f: Vec<f64> = order.iter().map(|r| f[*r]).collect();
        let sorted_ids: Vec<u32> = order.iter().map(|r| ids[*r]).collect();
        for kind in KINDS {
            let one = run(kind, 0.4, &f, &Bags::new(&ids, 1500).unwrap(), &y);
            let two = run(kind, 0.4, &sorted_f, &Bags::new(&sorted_ids, 1500).unwrap(), &y);
            assert_eq!((one.loss, one.regularizer), (two.loss, two.regularizer));
            assert!(order.iter().enumerate().all(|(k, r)| one.gradient[*r] == two.gradient[k]));
            // The same predictions twice, side by side.
            let double = |v: &[f64]| v.iter().flat_map(|x| [*x, *x]).collect::<Vec<f64>>();
            let wide = run(kind, 0.4, &double(&f), &Bags::new(&ids, 1500).unwrap(), &double(&y));
            assert!((wide.loss - one.loss).abs() < 1e-14);
            assert!((0..rows).all(|r| (2.0 * wide.gradient[2 * r + 1] - one.gradient[r]).abs() < 1e-18));
        }
    }

    #[test]
    fn saturated_bags_keep_value_and_gradient() {
        for z in [40.0, 800.0, 1e5] {
            let bags = Bags::from_offsets(vec![0, 3]).unwrap();
            let logits = [-z, -z - 1.0, -z - 2.0];
            let found = run(AggregateKind::Bce, 0.0, &logits, &bags, &[1.0]);
            // ln p = z for such logits, and the weights within the bag are a softmax of them.
            let weights = [1.0, (-1f64).exp(), (-2f64).exp()];
            let total: f64 = weights.iter().sum();
            let expected = z - (total / 3.0).ln();
            assert!((found.bag_loss - expected).abs() < 1e-9 * expected, "{z}: {} {expected}", found.bag_loss);
            for (g, w) in found.gradient.iter().zip(weights) {
                assert!((g + w / total).abs() < 1e-11, "{z}: {g} {}", w / total);
            }
            let single: Vec<f32> = logits.iter().map(|z| *z as f32).collect();
            let in_f32 = aggregate_loss(AggregateKind::Bce, 0.0, &single, &bags, View::new(&[1.0f32], 1, 1).unwrap());
            assert!((in_f32.unwrap().loss / found.loss - 1.0).abs() < 1e-6);
        }
        let none = run(AggregateKind::Bce, 0.5, &[-900.0, -1000.0], &Bags::from_offsets(vec![0, 2]).unwrap(), &[0.0]);
        assert_eq!((none.loss, none.gradient), (0.0, vec![0.0, 0.0]));
    }

    #[test]
    fn bad_input_is_named() {
        let bags = Bags::from_offsets(vec![0, 2]).unwrap();
        let message = |y: &[f64], f: &[f64]| {
            aggregate_loss(AggregateKind::Bce, 0.0, f, &bags, View::new(y, y.len(), 1).unwrap())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(message(&[1.5], &[0.0, 0.0]), "response of bag 0 = 1.5: expected a share in [0, 1]");
        assert!(message(&[f64::NAN], &[0.0, 0.0]).contains("share"));
        assert!(message(&[1.0, 0.0], &[0.0, 0.0]).contains("one row a bag"));
        assert!(message(&[1.0], &[0.0; 3]).contains("predictions has shape [3]"));
        let none = Bags::singletons(0);
        let empty: &[f64] = &[];
        assert!(aggregate_loss(AggregateKind::Bce, 0.0, empty, &none, View::new(empty, 0, 1).unwrap()).is_err());
    }
}
