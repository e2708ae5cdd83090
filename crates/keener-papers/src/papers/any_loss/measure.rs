//! Data, the single layer, and its cross-validation.

use super::{Data, Method};
use anyhow::Result;
use keener::engine::{Batch, Options, Sparse, View, evaluate, forward};
use keener::metrics::classification::ConfusionMatrix;
use keener::objective::{SharedObjective, parse};
use keener_data::{Standardizer, split};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

const FOLDS: usize = 5;
const LEARNING_RATE: f64 = 0.1;

/// Five trainings of one method on one data set.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Unit {
    pub(super) data: Data,
    pub(super) method: Method,
    /// L of the approximation.
    pub(super) scale: f64,
    pub(super) seed: u64,
    pub(super) rows: usize,
    pub(super) steps: usize,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{}, {}, L = {}, seed {}", self.data.name(), self.method.name(), self.scale, self.seed)
    }
}

/// Means over the folds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Scores {
    pub(super) accuracy: f64,
    pub(super) f1: f64,
    pub(super) gmean: f64,
    pub(super) balanced_accuracy: f64,
}

struct Table {
    features: Vec<f32>,
    dim: usize,
    labels: Vec<u32>,
}

/// Two clusters a class at corners of a cube in the features that matter, each stretched its own way; the others are noise.
fn clusters(rows: usize, dim: usize, informative: usize, share: f64, flipped: f64, seed: u64) -> Table {
    const CLUSTERS: usize = 2;
    const SEPARATION: f64 = 0.8;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut corners: Vec<usize> = (0..1 << informative).collect();
    corners.shuffle(&mut rng);
    let corner = |cluster: usize, j: usize| if corners[cluster] >> j & 1 == 1 { SEPARATION } else { -SEPARATION };
    let mixing: Vec<f64> = (0..2 * CLUSTERS * informative * informative).map(|_| rng.random_range(-1.0..1.0)).collect();
    let (mut features, mut labels) = (Vec::with_capacity(rows * dim), Vec::with_capacity(rows));
    for row in 0..rows {
        let class = u32::from((row as f64) < share * rows as f64);
        let cluster = class as usize * CLUSTERS + row % CLUSTERS;
        let z: Vec<f64> = (0..informative).map(|_| StandardNormal.sample(&mut rng)).collect();
        for j in 0..informative {
            let at = (cluster * informative + j) * informative;
            let stretched: f64 = z.iter().zip(&mixing[at..at + informative]).map(|(z, m)| z * m).sum();
            features.push((stretched + corner(cluster, j)) as f32);
        }
        for _ in informative..dim {
            let noise: f64 = StandardNormal.sample(&mut rng);
            features.push(noise as f32);
        }
        labels.push(if rng.random_bool(flipped) { rng.random_range(0..2) } else { class });
    }
    Table { features, dim, labels }
}

fn table(unit: &Unit) -> Table {
    let digits = |positive: fn(u32) -> bool| {
        let data = keener_data::digits();
        let labels = data.labels.iter().map(|l| u32::from(positive(*l))).collect();
        Table { features: data.features.clone(), dim: data.dim, labels }
    };
    match unit.data {
        Data::Tenth => clusters(unit.rows, 20, 5, 0.1, 0.05, unit.seed),
        Data::Twentieth => clusters(unit.rows, 10, 4, 0.05, 0.02, unit.seed),
        Data::Eight => digits(|d| d == 8),
        Data::ThreeOrNine => digits(|d| d == 3 || d == 9),
        Data::Odd => digits(|d| d % 2 == 1),
    }
}

fn objective(unit: &Unit) -> Result<SharedObjective> {
    let scale = unit.scale;
    Ok(parse(&match unit.method {
        // Bags of one row: plain cross-entropy.
        Method::CrossEntropy | Method::Threshold => "aggregate:kind=bce".to_string(),
        Method::Weighted => "binary_cross_entropy".to_string(),
        Method::Accuracy => format!("anyloss:metric=accuracy,amplify={scale}"),
        Method::F1 => format!("anyloss:metric=f1,amplify={scale}"),
        Method::Gmean => format!("anyloss:metric=gmean,amplify={scale}"),
        Method::BalancedAccuracy => format!("anyloss:metric=balanced_accuracy,amplify={scale}"),
    })?)
}

/// Stratified folds, features standardised by the training rows of each.
pub(super) fn cross_validate(unit: &Unit) -> Result<Scores> {
    let data = table(unit);
    let folds = split::stratified(&data.labels, &[1.0 / FOLDS as f64; FOLDS], unit.seed)?;
    let objective = objective(unit)?;
    let mut mean = Scores::default();
    for held_out in 0..FOLDS {
        let train: Vec<usize> =
            folds.iter().enumerate().filter(|(k, _)| *k != held_out).flat_map(|(_, f)| f.clone()).collect();
        let test = &folds[held_out];
        let gather = |rows: &[usize]| {
            rows.iter().flat_map(|r| &data.features[r * data.dim..(r + 1) * data.dim]).copied().collect()
        };
        let labels = |rows: &[usize]| rows.iter().map(|r| data.labels[*r]).collect::<Vec<u32>>();
        let (mut x, mut other): (Vec<f32>, Vec<f32>) = (gather(&train), gather(test));
        let standardizer = Standardizer::fit(&x, data.dim)?;
        standardizer.apply(&mut x, data.dim)?;
        standardizer.apply(&mut other, data.dim)?;
        let (y, truth) = (labels(&train), labels(test));
        let layer = descend(unit, &objective, &x, data.dim, &y)?;
        let threshold = match unit.method {
            Method::Threshold => best_threshold(&layer.logits(&x, data.dim), &y)?,
            _ => 0.0,
        };
        let found = scores(&layer.logits(&other, data.dim), threshold, &truth)?;
        let share = 1.0 / FOLDS as f64;
        mean.accuracy += share * found.accuracy;
        mean.f1 += share * found.f1;
        mean.gmean += share * found.gmean;
        mean.balanced_accuracy += share * found.balanced_accuracy;
    }
    Ok(mean)
}

struct Layer {
    weights: Vec<f64>,
    bias: f64,
}

impl Layer {
    fn logits(&self, x: &[f32], dim: usize) -> Vec<f64> {
        let logit = |x: &[f32]| x.iter().zip(&self.weights).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + self.bias;
        x.chunks_exact(dim).map(logit).collect()
    }
}

/// Full-batch gradient descent from zero.
fn descend(unit: &Unit, objective: &SharedObjective, x: &[f32], dim: usize, y: &[u32]) -> Result<Layer> {
    let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let mut layer = Layer { weights: vec![0.0; dim], bias: 0.0 };
    let options = Options { queries: false, check_finite: false, ..Options::default() };
    let positives = Sparse::from_rows(y.iter().map(|y| (*y == 1).then_some(0)));
    let ones = y.iter().filter(|y| **y == 1).count() as f64;
    // Classes weigh the same, all rows together as one.
    let weights = [0.5 / (y.len() as f64 - ones), 0.5 / ones];
    let by_row: Vec<f64> = y.iter().map(|y| weights[*y as usize]).collect();
    for _ in 0..unit.steps {
        let bias = [layer.bias];
        let batch = Batch::embeddings(View::new(&x, y.len(), dim)?)
            .with_candidates(View::new(&layer.weights, 1, dim)?)
            .with_bias(&bias);
        let gradients = if unit.method == Method::Weighted {
            let batch = batch.with_positives(std::borrow::Cow::Borrowed(&positives));
            forward(objective.f64(), &batch, &options)?.backward(&by_row)?
        } else {
            evaluate(objective.f64(), &batch.with_targets(y), &options)?.gradients
        };
        layer.weights.iter_mut().zip(&gradients.candidates).for_each(|(w, g)| *w -= LEARNING_RATE * g);
        layer.bias -= LEARNING_RATE * gradients.bias[0];
    }
    Ok(layer)
}

/// The threshold of best F1 on some rows.
fn best_threshold(logits: &[f64], y: &[u32]) -> Result<f64> {
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let positives = y.iter().filter(|y| **y == 1).count() as f64;
    let (mut hits, mut best) = (0.0, (f64::NEG_INFINITY, 0.0));
    for (taken, pair) in order.windows(2).enumerate() {
        hits += f64::from(y[pair[0]]);
        let f1 = 2.0 * hits / (positives + taken as f64 + 1.0);
        if f1 > best.0 {
            best = (f1, (logits[pair[0]] + logits[pair[1]]) / 2.0);
        }
    }
    Ok(best.1)
}

/// Numbers of the confusion matrix; a logit at the threshold is class 0.
fn scores(logits: &[f64], threshold: f64, labels: &[u32]) -> Result<Scores> {
    let predicted: Vec<usize> = logits.iter().map(|z| usize::from(*z > threshold)).collect();
    let labels: Vec<usize> = labels.iter().map(|l| *l as usize).collect();
    let confusion = ConfusionMatrix::new(&predicted, &labels, 2)?;
    Ok(Scores {
        accuracy: confusion.micro_f1(),
        f1: confusion.f1()[1].unwrap_or(0.0),
        gmean: confusion.geometric_mean(),
        balanced_accuracy: confusion.balanced_accuracy(),
    })
}
