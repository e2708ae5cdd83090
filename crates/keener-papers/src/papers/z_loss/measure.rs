//! Exactness of the factored layer, and next-word prediction under several output layers.

use super::Output;
use crate::network::{Join, Network, Shape};
use anyhow::Result;
use keener::engine::{NONE, View};
use keener::products::{MatRef, gemm};
use keener::spherical::{FactoredConfig, FactoredOutput, Spherical, Targets};
use keener_burn::{Optimizer, OptimizerConfig, Update};
use keener_data::text::{NextWords, synopses};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Next-word prediction from three words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Problem {
    pub(super) vocabulary: usize,
    pub(super) train: usize,
    pub(super) test: usize,
    pub(super) epochs: usize,
}

/// Words before.
const CONTEXT: usize = 3;
const EMBEDDING: usize = 24;
const HIDDEN: usize = 96;
/// Width of what the output layer reads.
const WIDTH: usize = 32;
const BATCH: usize = 128;
const RATE: f64 = 2e-3;
/// Learning rate of the factored layer, which is its own SGD step.
const FACTORED_RATE: f64 = 30.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) problem: Problem,
    pub(super) output: Output,
    pub(super) seed: u64,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{} words, {}, seed {}", self.problem.vocabulary, self.output, self.seed)
    }
}

/// Share of the test words that are not among the first k, for each k of [`super::KS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) error: Vec<f64>,
    pub(super) loss: f64,
}

struct Data {
    train: (Vec<u32>, Vec<u32>),
    test: (Vec<u32>, Vec<u32>),
}

fn data(problem: &Problem, seed: u64) -> Data {
    // Lines, not words, are divided: neighbouring words of a line share their context.
    let mut lines = synopses();
    lines.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let all = NextWords::of(&lines, CONTEXT, problem.vocabulary);
    let train = problem.train.min(all.len().saturating_sub(problem.test));
    let part =
        |from: usize, to: usize| (all.contexts[from * CONTEXT..to * CONTEXT].to_vec(), all.targets[from..to].to_vec());
    Data { train: part(0, train), test: part(all.len() - problem.test.min(all.len()), all.len()) }
}

pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let Unit { problem, output, seed } = unit;
    let Data { train, test } = data(problem, *seed);
    let factored = matches!(output, Output::Factored { .. });
    let shape = Shape {
        table: (problem.vocabulary, EMBEDDING),
        join: Join::Concat,
        looked_up: CONTEXT,
        layers: &[HIDDEN, WIDTH],
        relu_last: false,
        bias: true,
        classes: if factored { 0 } else { problem.vocabulary },
    };
    let mut network = Network::new(shape, *seed);
    let mut layer = match output {
        Output::Factored { a, b } => {
            let config = FactoredConfig { loss: Spherical::z(*a, *b), ..FactoredConfig::default() };
            Some(FactoredOutput::<f32>::seeded(problem.vocabulary, WIDTH + 1, *seed, config)?)
        }
        Output::Dense { .. } => None,
    };
    let objective = match output {
        Output::Dense { objective } => Some(keener::objective::parse(objective)?),
        Output::Factored { .. } => None,
    };
    let (rule, mut optimizer) = (OptimizerConfig::adamw(), Optimizer::default());
    let per_epoch = train.1.len() / BATCH;
    let steps = per_epoch * problem.epochs;
    let mut order: Vec<usize> = (0..train.1.len()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1 << 32));
    let mut recent = 0.0;
    for step in 0..steps {
        if step % per_epoch == 0 {
            order.shuffle(&mut rng);
        }
        let rows = &order[step % per_epoch * BATCH..][..BATCH];
        let ids: Vec<u32> = rows.iter().flat_map(|r| &train.0[r * CONTEXT..(r + 1) * CONTEXT]).copied().collect();
        let targets: Vec<u32> = rows.iter().map(|r| train.1[*r]).collect();
        let left = 1.0 - step as f64 / steps as f64;
        let (loss, gradients) = match (&mut layer, &objective) {
            (Some(layer), _) => {
                let hidden = with_constant(&network.hidden(&ids));
                let hidden = View::new(&hidden, BATCH, WIDTH + 1)?;
                let found = layer.step(hidden, &Targets::Classes(&targets), FACTORED_RATE * left)?;
                let below = found.grad_hidden.chunks_exact(WIDTH + 1).flat_map(|g| &g[..WIDTH]).copied().collect();
                (found.loss, network.below(&ids, below))
            }
            (None, Some(objective)) => network.loss(objective, &ids, &targets)?,
            (None, None) => continue,
        };
        let update = Update { rule: &rule, time: step + 1, learning_rate: RATE * left, weight_decay: 0.0 };
        network.update(&mut optimizer, &update, &gradients);
        recent = if step == 0 { loss } else { 0.99 * recent + 0.01 * loss };
    }
    let ranks = match &layer {
        Some(layer) => {
            let hidden = with_constant(&network.hidden(&test.0));
            layer.ranks(View::new(&hidden, test.1.len(), WIDTH + 1)?, &test.1)?
        }
        None => ranks(&network.scores(&test.0), problem.vocabulary, &test.1),
    };
    let error = |k: &usize| ranks.iter().filter(|r| **r >= *k).count() as f64 / ranks.len() as f64;
    Ok(Measured { error: super::KS.iter().map(error).collect(), loss: recent })
}

/// A feature of one at the end: the bias of a layer that has none.
fn with_constant(hidden: &[f32]) -> Vec<f32> {
    hidden.chunks_exact(WIDTH).flat_map(|row| row.iter().copied().chain([1.0])).collect()
}

fn ranks(scores: &[f32], classes: usize, targets: &[u32]) -> Vec<usize> {
    let rank = |(row, target): (&[f32], &u32)| {
        let (at, own) = (*target as usize, row[*target as usize]);
        row.iter().enumerate().filter(|(k, s)| **s > own || (**s == own && *k < at)).count()
    };
    scores.chunks_exact(classes).zip(targets).map(rank).collect()
}

/// A run of the factored layer beside gradient descent on dense weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Exactness {
    pub(super) loss: Spherical,
    pub(super) steps: usize,
}

/// The largest difference of weights, relative to the largest weight, and of losses, relative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Deviation {
    pub(super) weights: f64,
    pub(super) losses: f64,
}

pub(super) fn exactness(unit: &Exactness) -> Result<Deviation> {
    let (classes, d, m, rate) = (800, 24, 16, if unit.loss.is_shift_invariant() { 2.0 } else { 2e-3 });
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut w: Vec<f64> = (0..classes * d).map(|_| rng.random_range(-0.3..0.3)).collect();
    let config = FactoredConfig { loss: unit.loss, stabilize_every: 10, ..FactoredConfig::default() };
    let mut layer = FactoredOutput::new(View::new(&w, classes, d)?, config)?;
    let mut worst = Deviation { weights: 0.0, losses: 0.0 };
    for _ in 0..unit.steps {
        let h: Vec<f64> = (0..m * d).map(|_| rng.random_range(-1.0..1.0)).collect();
        let targets: Vec<u32> =
            (0..m).map(|k| if k == 5 { NONE } else { rng.random_range(0..classes as u32) }).collect();
        let step = layer.step(View::new(&h, m, d)?, &Targets::Classes(&targets), rate)?;
        let mut scores = vec![0.0; m * classes];
        gemm(1.0, MatRef::new(&h, m, d), MatRef::new(&w, classes, d).t(), 0.0, &mut scores, classes);
        let (mut loss, share) = (0.0, 1.0 / (m - 1) as f64);
        for (o, target) in scores.chunks_exact_mut(classes).zip(&targets) {
            if *target == NONE {
                o.fill(0.0);
                continue;
            }
            let at = *target as usize;
            let (mean, own) = (o.iter().sum::<f64>() / classes as f64, o[at]);
            let variance = o.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / classes as f64;
            let s = unit.loss.of_moments(own, mean, variance, classes);
            loss += share * s.value;
            let (constant, slope) = (s.mean / classes as f64, 2.0 * s.variance / classes as f64);
            o.iter_mut().for_each(|x| *x = share * (constant + slope * (*x - mean)));
            o[at] += share * s.target;
        }
        gemm(-rate, MatRef::new(&scores, m, classes).t(), MatRef::new(&h, m, d), 1.0, &mut w, d);
        worst.losses = worst.losses.max((step.loss - loss).abs() / loss.abs().max(1e-300));
    }
    let largest = w.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    worst.weights = layer.to_dense().iter().zip(&w).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
    Ok(worst)
}
