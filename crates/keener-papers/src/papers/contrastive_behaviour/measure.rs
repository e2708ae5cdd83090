//! One loss, one seed: train free embeddings, then measure them.

use super::held::HeldPositive;
use super::{ALPHA, Loss};
use crate::adam::Adam;
use anyhow::Result;
use keener::engine::{Batch, Options, View, evaluate};
use keener::metrics::embedding::{UniformityConfig, tolerance, uniformity};
use keener::metrics::hardness::hardness_weights;
use keener::objective::{SharedObjective, parse};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// The data and the training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Problem {
    pub(super) samples: usize,
    pub(super) dimension: usize,
    pub(super) classes: usize,
    /// Standard deviation of each coordinate around the class centre, before normalisation.
    pub(super) noise: f64,
    /// The score of every positive.
    pub(super) positive: f64,
    pub(super) steps: usize,
    /// Learning rate of Adam.
    pub(super) rate: f64,
}

impl Default for Problem {
    fn default() -> Self {
        Self { samples: 300, dimension: 16, classes: 10, noise: 0.2, positive: 0.9, steps: 300, rate: 0.01 }
    }
}

/// What is trained and measured; `loss: None` measures the start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Unit {
    pub(super) loss: Option<Loss>,
    pub(super) seed: u64,
    pub(super) problem: Problem,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        match self.loss {
            Some(loss) => format!("{loss}, {} steps, seed {}", self.problem.steps, self.seed),
            None => format!("untrained, seed {}", self.seed),
        }
    }
}

/// What is measured of trained embeddings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// −U with t = 2.
    pub(super) minus_uniformity: f64,
    /// Mean cosine of pairs of one class.
    pub(super) tolerance: f64,
    /// Perplexity of the hardness weights, mean over rows: how many negatives share the gradient.
    pub(super) effective_negatives: f64,
    /// Probability of all negatives together, mean over rows: how much of the gradient is left. 1 without a softmax.
    pub(super) negative_probability: f64,
}

/// Unit vectors around unit class centres, and the class of each.
fn start(problem: &Problem, seed: u64) -> (Vec<f64>, Vec<usize>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = |scale: f64| -> Vec<f64> {
        (0..problem.dimension).map(|_| scale * Distribution::<f64>::sample(&StandardNormal, &mut random)).collect()
    };
    let unit = |mut x: Vec<f64>| {
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x /= norm);
        x
    };
    let centres: Vec<Vec<f64>> = (0..problem.classes).map(|_| unit(normal(1.0))).collect();
    let labels: Vec<usize> = (0..problem.samples).map(|i| i % problem.classes).collect();
    let around = |c: &usize| unit(normal(problem.noise).iter().zip(&centres[*c]).map(|(n, c)| n + c).collect());
    (labels.iter().flat_map(around).collect(), labels)
}

/// How many of `negatives` hard selection keeps, ties aside.
fn kept(negatives: usize) -> usize {
    ((ALPHA * negatives as f64).ceil() as usize).clamp(negatives.min(1), negatives)
}

fn objective(loss: Loss, negatives: usize) -> Result<SharedObjective> {
    // λ makes all kept negatives together weigh as much as the positive.
    let spec = match loss {
        Loss::Contrastive { tau } => format!("contrastive:temperature={tau}"),
        Loss::HardContrastive { tau } => format!("hard_contrastive:temperature={tau},alpha={ALPHA}"),
        Loss::Simple => format!("simple_contrastive:lambda={}", 1.0 / negatives as f64),
        Loss::HardSimple => format!("hard_simple_contrastive:lambda={},alpha={ALPHA}", 1.0 / kept(negatives) as f64),
    };
    Ok(parse(&spec)?)
}

/// Trains and measures.
pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let Problem { samples, dimension, positive, steps, rate, .. } = unit.problem;
    let (mut x, labels) = start(&unit.problem, unit.seed);
    if let Some(loss) = unit.loss {
        let held = HeldPositive { inner: objective(loss, samples - 1)?, positive };
        let mut adam = Adam::new(x.len(), rate);
        // The loss times τ: otherwise its gradient is of order 1/τ.
        let scale = loss.tau().unwrap_or(1.0);
        for _ in 0..steps {
            let batch = Batch::embeddings(View::new(&x, samples, dimension)?);
            let gradient = evaluate::<f64>(&held, &batch, &Options::default())?.gradients.queries;
            adam.step(&mut x, gradient.iter().map(|g| g * scale));
        }
    }
    let (effective_negatives, negative_probability) = match unit.loss {
        None => ((samples - 1) as f64, 1.0),
        Some(loss) => hardness(&scores(&x, dimension, positive), samples, loss)?,
    };
    Ok(Measured {
        minus_uniformity: -uniformity(&x, dimension, &UniformityConfig::default())?.value,
        tolerance: tolerance(&x, dimension, &labels)?.same_class_mean,
        effective_negatives,
        negative_probability,
    })
}

/// Cosines `[B, B]` with the positive's score on the diagonal.
fn scores(x: &[f64], dimension: usize, positive: f64) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = x
        .chunks_exact(dimension)
        .map(|r| {
            let norm = r.iter().map(|x| x * x).sum::<f64>().sqrt();
            r.iter().map(|x| x / norm).collect()
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let row = |(i, a): (usize, &Vec<f64>)| -> Vec<f64> {
        rows.iter().enumerate().map(|(j, b)| if i == j { positive } else { dot(a, b) }).collect()
    };
    rows.iter().enumerate().flat_map(row).collect()
}

/// Masks all but the hardest share of each row's negatives.
fn mask(scores: &mut [f64], samples: usize) {
    let m = kept(samples - 1);
    for (i, row) in scores.chunks_exact_mut(samples).enumerate() {
        let mut sorted: Vec<f64> = row.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let threshold = sorted[m - 1];
        row.iter_mut()
            .enumerate()
            .filter(|(j, s)| *j != i && **s < threshold)
            .for_each(|(_, s)| *s = f64::NEG_INFINITY);
    }
}

/// Effective number of negatives and probability of the negatives, means over rows.
fn hardness(scores: &[f64], samples: usize, loss: Loss) -> Result<(f64, f64)> {
    let mut scores = scores.to_vec();
    if loss.is_hard() {
        mask(&mut scores, samples);
    }
    let Some(tau) = loss.tau() else {
        let m = if loss.is_hard() { kept(samples - 1) } else { samples - 1 };
        return Ok((m as f64, 1.0));
    };
    let targets: Vec<usize> = (0..samples).collect();
    let found = hardness_weights(&scores, samples, &targets, tau)?;
    let mean = |x: &[f64]| x.iter().sum::<f64>() / samples as f64;
    Ok((mean(&found.perplexity), tau * mean(&found.grad_neg_sum)))
}

/// The unit of the hardness over τ of one seed's untrained embeddings.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Curve {
    pub(super) curve_of_seed: u64,
    pub(super) problem: Problem,
}

/// Effective numbers of negatives at one temperature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CurvePoint {
    pub(super) tau: f64,
    pub(super) plain: f64,
    pub(super) hard: f64,
}

/// From τ = 0.02 to 5 in 17 equal factors.
pub(super) fn curve(unit: &Curve) -> Result<Vec<CurvePoint>> {
    let Problem { samples, dimension, positive, .. } = unit.problem;
    let scores = scores(&start(&unit.problem, unit.curve_of_seed).0, dimension, positive);
    let at = |k: i32| {
        let tau = 0.02 * 250f64.powf(f64::from(k) / 15.0);
        let plain = hardness(&scores, samples, Loss::Contrastive { tau })?.0;
        Ok(CurvePoint { tau, plain, hard: hardness(&scores, samples, Loss::HardContrastive { tau })?.0 })
    };
    (0..16).map(at).collect()
}

/// Point by point over the seeds.
pub(super) fn mean_curve(curves: &[Vec<CurvePoint>]) -> Vec<CurvePoint> {
    let count = curves.len().max(1) as f64;
    let points = curves.first().map_or(0, Vec::len);
    let mean = |k: usize, of: fn(&CurvePoint) -> f64| curves.iter().map(|c| of(&c[k])).sum::<f64>() / count;
    (0..points)
        .map(|k| CurvePoint { tau: curves[0][k].tau, plain: mean(k, |p| p.plain), hard: mean(k, |p| p.hard) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_of_unit_length_and_clustered() {
        let problem = Problem::default();
        let (x, labels) = start(&problem, 3);
        for row in x.chunks_exact(16) {
            assert!((row.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!((0..10).map(|c| labels.iter().filter(|l| **l == c).count()).collect::<Vec<_>>(), [30; 10]);
        // A unit centre and noise of squared length 16 · 0.04 leave a cosine of about 1 / 1.64.
        let found = tolerance(&x, 16, &labels).unwrap().same_class_mean;
        assert!((found - 1.0 / 1.64).abs() < 0.04, "{found}");
        assert_ne!(x, start(&problem, 4).0);
    }

    #[test]
    fn hard_selection_masks_all_but_its_share() {
        let samples = 300;
        let mut s = scores(&start(&Problem::default(), 0).0, 16, 0.9);
        mask(&mut s, samples);
        for (i, row) in s.chunks_exact(samples).enumerate() {
            assert_eq!(row.iter().filter(|s| s.is_finite()).count(), 25, "24 of 299 and the positive");
            assert_eq!(row[i], 0.9);
        }
    }

    #[test]
    fn a_higher_temperature_shares_the_gradient_among_more() {
        let curve = curve(&Curve { curve_of_seed: 0, problem: Problem::default() }).unwrap();
        assert!(curve.windows(2).all(|w| w[0].plain < w[1].plain && w[0].hard < w[1].hard));
        assert!((curve[0].tau, curve[15].tau) == (0.02, 5.0), "{} {}", curve[0].tau, curve[15].tau);
        assert!(curve[0].plain < 5.0 && curve[15].plain > 290.0 && curve[15].hard < 24.0 + 1e-9);
    }
}
