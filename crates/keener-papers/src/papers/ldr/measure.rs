//! One loss under one noise: the learning rate chosen on noisy validation rows, the test rows clean.

use super::{Loss, Noise};
use crate::digits::{fit, parts, steps, top_k};
use anyhow::Result;
use keener::objective::ALDR_FIELD;
use keener_burn::{HeadConfig, OptimizerConfig, ScheduleConfig, TrainConfig};
use keener_data::noise;
use serde::{Deserialize, Serialize};

/// Everything that a measurement depends on.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Unit {
    pub(super) loss: Loss,
    pub(super) noise: Noise,
    pub(super) seed: u64,
    pub(super) epochs: usize,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{}, {}, seed {}", self.loss.name, self.noise.name(), self.seed)
    }
}

/// What was found on clean test rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) top1: f64,
    pub(super) top3: f64,
    pub(super) learning_rate: f64,
    /// Of the temperatures at the end, 0 where the loss keeps none.
    pub(super) least_temperature: f64,
    pub(super) mean_temperature: f64,
}

/// Learning rates to choose from.
const RATES: [f64; 2] = [0.3, 0.03];

pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let mut split = parts(&[0.56, 0.14, 0.3], unit.seed)?;
    let classes = split[0].num_classes();
    for part in split[..2].iter_mut() {
        part.labels = match unit.noise {
            Noise::Clean => continue,
            // A uniform class with probability 0.6 is a wrong one with 0.6 (C − 1)/C.
            Noise::Uniform => {
                noise::uniform(&part.labels, classes, 0.6 * (classes - 1) as f64 / classes as f64, unit.seed)?.labels
            }
            Noise::ClassDependent => noise::class_dependent(&part.labels, classes, 0.3, unit.seed, None)?.labels,
        };
    }
    let [train, validation, test] = &split[..] else { anyhow::bail!("three parts were asked for") };
    let mut best: Option<(f64, Measured)> = None;
    for learning_rate in RATES {
        let config = TrainConfig {
            head: HeadConfig::Linear { hidden: Some(64), embedding: None, bias: true },
            objective: unit.loss.spec.into(),
            optimizer: OptimizerConfig::sgd(),
            learning_rate,
            weight_decay: 5e-3,
            batch_size: 64,
            steps: steps(train, 64, unit.epochs),
            warmup: 0,
            schedule: ScheduleConfig::Step { at: vec![0.5, 0.75], factor: 0.1 },
            seed: unit.seed,
            ..TrainConfig::default()
        };
        let fitted = fit(config, train, ALDR_FIELD)?;
        let validated = top_k(&fitted.head, validation, 1)?;
        if best.as_ref().is_none_or(|(score, _)| validated > *score) {
            let count = fitted.state.len().max(1) as f64;
            let least = fitted.state.iter().copied().reduce(f64::min).unwrap_or(0.0);
            let measured = Measured {
                top1: top_k(&fitted.head, test, 1)?,
                top3: top_k(&fitted.head, test, 3)?,
                learning_rate,
                least_temperature: least,
                mean_temperature: fitted.state.iter().sum::<f64>() / count,
            };
            best = Some((validated, measured));
        }
    }
    best.map(|(_, measured)| measured).ok_or_else(|| anyhow::anyhow!("there is no learning rate to choose"))
}
