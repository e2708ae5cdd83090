//! The family in training, without attacks.

use crate::digits::{fit, parts, steps, top_k};
use anyhow::Result;
use keener_burn::{HeadConfig, OptimizerConfig, TrainConfig};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Unit {
    pub(super) tau: f64,
    pub(super) seed: u64,
    pub(super) epochs: usize,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("training, τ = {}, seed {}", self.tau, self.seed)
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// On test rows.
    pub(super) error: f64,
}

pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let split = parts(&[0.7, 0.3], unit.seed)?;
    let config = TrainConfig {
        head: HeadConfig::Linear { hidden: Some(64), embedding: None, bias: true },
        objective: format!("comp_sum:tau={}", unit.tau),
        optimizer: OptimizerConfig::Sgd { momentum: 0.9, nesterov: true },
        learning_rate: 0.1,
        weight_decay: 0.0,
        batch_size: 64,
        steps: steps(&split[0], 64, unit.epochs),
        warmup: 0,
        clip_norm: Some(10.0),
        seed: unit.seed,
        ..TrainConfig::default()
    };
    let fitted = fit(config, &split[0], "")?;
    Ok(Measured { error: 1.0 - top_k(&fitted.head, &split[1], 1)? })
}
