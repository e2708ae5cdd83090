//! Simulations and fits, a unit each.

use super::{CLIP, REAL_RHOS, RHOS};
use anyhow::Result;
use burn::tensor::Device;
use keener::engine::View;
use keener::estimate::AggregateRidge;
use keener::metrics::classification::{accuracy, argmax};
use keener::segments::{Bags, private_release};
use keener_burn::{HeadConfig, Labelled, TrainConfig, Training, scores};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;

/// One simulated data set of a setting.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Simulated {
    pub(super) dim: usize,
    pub(super) sigma: f64,
    pub(super) k: usize,
    pub(super) seed: u64,
}

impl Simulated {
    pub(super) fn name(&self) -> String {
        format!("simulation, σ = {}, k = {}, seed {}", self.sigma, self.k, self.seed)
    }
}

/// Rows, their responses, and the coefficients behind them, ‖θ₀‖ = 1.
struct Linear {
    x: Vec<f64>,
    y: Vec<f64>,
    theta: Vec<f64>,
}

fn linear(dim: usize, rows: usize, sigma: f64, rng: &mut ChaCha8Rng) -> Linear {
    let mut normal = |n: usize| -> Vec<f64> { (0..n).map(|_| StandardNormal.sample(rng)).collect() };
    let direction = normal(dim);
    let length = direction.iter().map(|t| t * t).sum::<f64>().sqrt();
    let theta: Vec<f64> = direction.iter().map(|t| t / length).collect();
    let x = normal(rows * dim);
    let noise = normal(rows);
    let y = x.chunks_exact(dim).zip(noise).map(|(x, e)| dot(x, &theta) + sigma * e).collect();
    Linear { x, y, theta }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Bags of `k` rows in the order of the rows, the last one larger.
fn bags_of(rows: usize, k: usize) -> Result<Bags> {
    let count = (rows / k).max(1);
    Ok(Bags::from_offsets((0..=count).map(|a| if a == count { rows } else { a * k }).collect())?)
}

fn risk(fit: &[f64], theta: &[f64]) -> f64 {
    fit.iter().zip(theta).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The risk at each interpolation of [`RHOS`].
pub(super) fn simulate(unit: &Simulated) -> Result<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(unit.seed);
    let rows = 10 * unit.dim;
    let data = linear(unit.dim, rows, unit.sigma, &mut rng);
    let bags = bags_of(rows, unit.k)?;
    let responses = bags.means(&data.y, 1)?;
    let x = View::new(&data.x, rows, unit.dim)?;
    let fit = |rho: f64| -> Result<f64> {
        let ridge = AggregateRidge { rho, lambda: 0.0, minimum_norm: false };
        Ok(risk(&ridge.fit(x, &bags, &responses)?.theta, &data.theta))
    };
    RHOS.into_iter().map(fit).collect()
}

/// One private release of a simulated data set.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Private {
    pub(super) dim: usize,
    pub(super) epsilon: f64,
    pub(super) k: usize,
    pub(super) seed: u64,
}

impl Private {
    pub(super) fn name(&self) -> String {
        format!("private release, ε = {}, k = {}, seed {}", self.epsilon, self.k, self.seed)
    }
}

/// The risk of the instance-level fit on what was released.
pub(super) fn private(unit: &Private) -> Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(unit.seed);
    let rows = 10 * unit.dim;
    let data = linear(unit.dim, rows, 0.5, &mut rng);
    let bags = bags_of(rows, unit.k)?;
    // The open interval: the noise of its ends is infinite.
    let uniform: Vec<f64> = (0..bags.len()).map(|_| rng.random_range(1e-12..1.0 - 1e-12) - 0.5).collect();
    let release = private_release(&data.y, &bags, &uniform, CLIP, unit.epsilon)?;
    let ridge = AggregateRidge { rho: 1.0, lambda: 0.0, minimum_norm: false };
    let fit = ridge.fit(View::new(&data.x, rows, unit.dim)?, &bags, &release.released)?;
    Ok(risk(&fit.theta, &data.theta))
}

/// One split of the digits.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Real {
    pub(super) k: usize,
    pub(super) seed: u64,
}

impl Real {
    pub(super) fn name(&self) -> String {
        format!("digits in bags of {}, split {}", self.k, self.seed)
    }
}

/// Test error of a linear fit of the digit's value, standardised, at each interpolation of [`REAL_RHOS`]: 400 training rows.
pub(super) fn digits(unit: &Real) -> Result<Vec<f64>> {
    const TRAINED: usize = 400;
    const LAMBDA: f64 = 0.01;
    let data = keener_data::digits();
    let mut order: Vec<usize> = (0..data.labels.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(unit.seed));
    let (train, test) = order.split_at(TRAINED);
    let value = |row: &usize| f64::from(data.labels[*row]);
    let mean = train.iter().map(value).sum::<f64>() / TRAINED as f64;
    let spread = (train.iter().map(|r| (value(r) - mean).powi(2)).sum::<f64>() / TRAINED as f64).sqrt();
    let target = |row: &usize| (value(row) - mean) / spread;
    let (mut centre, mut scale) = (vec![0.0; data.dim], vec![0.0; data.dim]);
    for j in 0..data.dim {
        let column = || train.iter().map(|r| f64::from(data.row(*r)[j]));
        centre[j] = column().sum::<f64>() / TRAINED as f64;
        let variance = column().map(|v| (v - centre[j]).powi(2)).sum::<f64>() / TRAINED as f64;
        scale[j] = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
    }
    let rows = |part: &[usize]| -> Vec<f64> {
        let row = |r: &usize| {
            data.row(*r).iter().enumerate().map(|(j, v)| (f64::from(*v) - centre[j]) * scale[j]).collect::<Vec<_>>()
        };
        part.iter().flat_map(row).collect()
    };
    let (x, other) = (rows(train), rows(test));
    let bags = bags_of(TRAINED, unit.k)?;
    let y: Vec<f64> = train.iter().map(target).collect();
    let responses = bags.means(&y, 1)?;
    let fit = |rho: f64| -> Result<f64> {
        let ridge = AggregateRidge { rho, lambda: LAMBDA, minimum_norm: false };
        let theta = ridge.fit(View::new(&x, TRAINED, data.dim)?, &bags, &responses)?.theta;
        let errors = other.chunks_exact(data.dim).zip(test).map(|(x, r)| (dot(x, &theta) - target(r)).powi(2));
        Ok(errors.sum::<f64>() / test.len() as f64)
    };
    REAL_RHOS.into_iter().map(fit).collect()
}

/// One training of a network on shares of classes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Network {
    pub(super) rho: f64,
    pub(super) seed: u64,
    pub(super) steps: usize,
}

impl Network {
    pub(super) fn name(&self) -> String {
        format!("network, ρ = {}, seed {}", self.rho, self.seed)
    }
}

/// Test accuracy on single digits of a network with one hidden layer, trained on the shares of classes in bags of eight.
pub(super) fn network(unit: &Network) -> Result<f64> {
    const SIZE: usize = 8;
    let data = keener_data::digits();
    let mut order: Vec<usize> = (0..data.labels.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(unit.seed));
    let (train, test) = order.split_at(1200);
    let gather = |part: &[usize]| part.iter().flat_map(|r| data.row(*r)).copied().collect::<Vec<f32>>();
    let (features, other) = (gather(train), gather(test));
    let classes = data.num_classes();
    let of_rows: Vec<u32> = (0..train.len()).map(|r| (r / SIZE) as u32).collect();
    let mut shares = vec![0.0f32; train.len() / SIZE * classes];
    for (bag, row) in of_rows.iter().zip(train) {
        shares[*bag as usize * classes + data.labels[*row] as usize] += 1.0 / SIZE as f32;
    }
    let config = TrainConfig {
        objective: format!("aggregate:kind=bce,rho={}", unit.rho),
        head: HeadConfig::Linear { hidden: Some(64), embedding: None, bias: true },
        learning_rate: 0.01,
        batch_size: 128,
        steps: unit.steps,
        seed: unit.seed,
        ..TrainConfig::default()
    };
    let bags = Labelled::bags(&features, data.dim, &of_rows, &shares, classes)?;
    let mut training = Training::new(config, bags, &Device::flex())?;
    for _ in 0..unit.steps {
        training.step()?;
    }
    let labels: Vec<usize> = test.iter().map(|r| data.labels[*r] as usize).collect();
    Ok(accuracy(&argmax(&scores(training.head(), &other)?, classes)?, &labels)?)
}
