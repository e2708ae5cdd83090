//! Modular addition by a network without bias, trained on all of its pairs at once.

use crate::network::{Join, Network, Shape};
use anyhow::Result;
use keener::metrics::collapse::{nlm_alignment, softmax_collapse};
use keener::transform::{OrthogonalConfig, orthogonalize};
use keener_burn::{Optimizer, OptimizerConfig, Update};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `a + b mod p` over a share of all pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Problem {
    pub(super) p: usize,
    pub(super) share: f64,
    pub(super) hidden: usize,
    pub(super) steps: usize,
    /// Steps between two looks.
    pub(super) every: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// As frameworks compute it in f32: all scores in one log-sum-exp, `p − y` as its slope.
    Softmax,
    /// keener's cross-entropy, which sets the target against the others.
    Exact,
    Orthogonal,
    Decay,
    StableMax,
    StableMaxOrthogonal,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Softmax => "softmax",
            Self::Exact => "softmax, target against others",
            Self::Orthogonal => "softmax, orthogonal gradient",
            Self::Decay => "softmax, weight decay 1",
            Self::StableMax => "StableMax",
            Self::StableMaxOrthogonal => "StableMax, orthogonal gradient",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) problem: Problem,
    pub(super) method: Method,
    pub(super) seed: u64,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        let Problem { p, steps, .. } = self.problem;
        format!("p = {p}, {}, {steps} steps, seed {}", self.method, self.seed)
    }
}

/// What one look sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) step: usize,
    pub(super) loss: f64,
    pub(super) train: f64,
    pub(super) test: f64,
    /// Share of the training rows whose softmax has collapsed in f32.
    pub(super) collapsed: f64,
    /// Cosine of the descent direction and the weights.
    pub(super) alignment: f64,
    pub(super) gradient: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) points: Vec<Point>,
}

impl Measured {
    pub(super) fn last(&self) -> Option<&Point> {
        self.points.last()
    }

    /// The first look at which something was so.
    pub(super) fn first(&self, so: impl Fn(&Point) -> bool) -> Option<usize> {
        self.points.iter().find(|p| so(p)).map(|p| p.step)
    }
}

/// Two looked-up rows a pair, and its sum.
fn pairs(problem: &Problem, seed: u64) -> [(Vec<u32>, Vec<u32>); 2] {
    let p = problem.p;
    let mut all: Vec<(usize, usize)> = (0..p * p).map(|k| (k / p, k % p)).collect();
    all.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let (train, test) = all.split_at((problem.share * all.len() as f64) as usize);
    [train, test].map(|part| {
        let ids = part.iter().flat_map(|(a, b)| [*a as u32, (p + b) as u32]).collect();
        (ids, part.iter().map(|(a, b)| ((a + b) % p) as u32).collect())
    })
}

fn accuracy(scores: &[f32], classes: usize, targets: &[u32]) -> Result<f64> {
    let targets: Vec<usize> = targets.iter().map(|t| *t as usize).collect();
    Ok(keener::metrics::classification::accuracy(&keener::metrics::classification::argmax(scores, classes)?, &targets)?)
}

pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let Unit { problem, method, seed } = *unit;
    let [(ids, targets), (test_ids, test_targets)] = pairs(&problem, seed);
    let shape = Shape {
        table: (2 * problem.p, problem.hidden),
        join: Join::Sum,
        looked_up: 2,
        layers: &[problem.hidden],
        relu_last: true,
        bias: false,
        classes: problem.p,
    };
    let mut network = Network::new(shape, seed);
    let stable = matches!(method, Method::StableMax | Method::StableMaxOrthogonal);
    let orthogonal = matches!(method, Method::Orthogonal | Method::StableMaxOrthogonal);
    let objective = keener::objective::parse(if stable { "stablemax_cross_entropy" } else { "softmax_cross_entropy" })?;
    // The reference's: plain runs have an ε below every gradient; the wrapped optimiser has AdamW's own numbers.
    let rule = match orthogonal {
        true => OptimizerConfig::adamw(),
        false => OptimizerConfig::Adamw { beta_1: 0.9, beta_2: if stable { 0.999 } else { 0.99 }, epsilon: 1e-25 },
    };
    let weight_decay = if method == Method::Decay { 1.0 } else { 0.0 };
    let mut optimizer = Optimizer::default();
    let mut points = Vec::new();
    for step in 0..=problem.steps {
        let (loss, mut gradients) = match method {
            Method::Softmax | Method::Decay => {
                network.loss_of_scores(&ids, |scores, count| framework_softmax(scores, count, &targets))
            }
            _ => network.loss(&objective, &ids, &targets)?,
        };
        if step % problem.every == 0 || step == problem.steps {
            let scores = network.scores(&ids);
            let mut weights = network.clone();
            let weights: Vec<&[f32]> = weights.tensors_mut().into_iter().map(|w| &**w).collect();
            let parts: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
            let gradient = parts.iter().copied().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            points.push(Point {
                step,
                loss,
                train: accuracy(&scores, problem.p, &targets)?,
                test: accuracy(&network.scores(&test_ids), problem.p, &test_targets)?,
                collapsed: softmax_collapse::<f32, f32>(&scores, problem.p)?.fraction,
                alignment: if gradient > 0.0 { nlm_alignment(&weights, &parts)? } else { 0.0 },
                gradient,
            });
        }
        if orthogonal {
            for (weights, gradient) in network.tensors_mut().into_iter().zip(&mut gradients) {
                orthogonalize(weights, gradient, &OrthogonalConfig::default())?;
            }
        }
        let update = Update { rule: &rule, time: step + 1, learning_rate: 0.01, weight_decay };
        network.update(&mut optimizer, &update, &gradients);
    }
    Ok(Measured { points })
}

/// Mean cross-entropy and its slopes, every step in f32 as frameworks take it.
fn framework_softmax(scores: &[f32], count: usize, targets: &[u32]) -> (f64, Vec<f32>) {
    let (mut loss, mut slopes) = (0.0, Vec::with_capacity(scores.len()));
    let share = 1.0 / targets.len() as f32;
    for (row, target) in scores.chunks_exact(count).zip(targets) {
        let top = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
        let log_sum = row.iter().map(|x| (x - top).exp()).sum::<f32>().ln();
        let log_probability = |x: f32| (x - top) - log_sum;
        loss -= f64::from(log_probability(row[*target as usize]) * share);
        let hot = |k: usize| if k == *target as usize { 1.0 } else { 0.0 };
        slopes.extend(row.iter().enumerate().map(|(k, x)| (log_probability(*x).exp() - hot(k)) * share));
    }
    (loss, slopes)
}

/// At a gap of 40 between two scores in f32: loss and gradient on the true class under the softmax as frameworks compute it (all
/// scores in one log-sum-exp), then under StableMax.
pub(super) fn at_a_gap() -> Result<[f64; 4]> {
    use keener::engine::{Batch, Options, View, evaluate};
    let scores = [40.0f32, 0.0];
    let (softmax, slopes) = framework_softmax(&scores, 2, &[0]);
    let objective = keener::objective::parse("stablemax_cross_entropy")?;
    let batch = Batch::scores(View::new(&scores, 1, 2)?).with_targets(vec![0]);
    let run = evaluate(objective.f32(), &batch, &Options::default())?;
    let stable = (f64::from(run.loss), f64::from(run.gradients.scores[0]));
    Ok([softmax, f64::from(slopes[0]), stable.0, stable.1])
}
