//! How a head is trained: every choice of a run, readable from a file.

use crate::error::Result;
use crate::head::HeadConfig;
use crate::optimizer::OptimizerConfig;
use crate::sampler::SamplerConfig;
use serde::{Deserialize, Serialize};

/// How the second version of the queries is made for objectives that read one: projected gradient ascent of the softmax
/// cross-entropy on the features (Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks,
/// 1706.06083), within `±epsilon` of each feature. One step from the features themselves is FGSM (Goodfellow et al.,
/// Explaining and Harnessing Adversarial Examples, 1412.6572).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttackConfig {
    /// Largest change of a feature (default 0.1).
    pub epsilon: f64,
    /// Steps (default 3); with more than one the start is random within the box.
    pub steps: usize,
    /// Length of a step as a part of epsilon (default 0.5; one step takes all of epsilon).
    pub step_size: f64,
}

impl Default for AttackConfig {
    fn default() -> Self {
        Self { epsilon: 0.1, steps: 3, step_size: 0.5 }
    }
}

/// A training run. Budgets are steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What is trained.
    pub head: HeadConfig,
    /// What it is trained on, as [`keener::objective::parse`] reads it.
    pub objective: String,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// Peak learning rate (default 1e-3, that of Adam in PyTorch).
    pub learning_rate: f64,
    /// Weight decay (default 0.01, that of AdamW in PyTorch). Learned scalars of the objective are not decayed.
    pub weight_decay: f64,
    /// Rows a batch (default 128).
    pub batch_size: usize,
    /// The budget (default 1000).
    pub steps: usize,
    /// Steps of linear warm-up before the cosine decay to zero (default 50).
    pub warmup: usize,
    /// Of weights, batches and attacks.
    pub seed: u64,
    /// How batches are drawn; by default as the objective needs.
    pub sampler: Option<SamplerConfig>,
    /// For objectives that read a second version of the queries.
    pub attack: AttackConfig,
}

impl burn::config::Config for TrainConfig {}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            head: HeadConfig::default(),
            objective: "softmax_cross_entropy".into(),
            optimizer: OptimizerConfig::default(),
            learning_rate: 1e-3,
            weight_decay: 0.01,
            batch_size: 128,
            steps: 1000,
            warmup: 50,
            seed: 0,
            sampler: None,
            attack: AttackConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// A parameter out of range, by name.
    pub fn check(&self) -> Result<()> {
        let positive = [("learning_rate", self.learning_rate), ("attack.step_size", self.attack.step_size)];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(keener::Error::parameter(name, value, "a finite number > 0").into());
            }
        }
        for (name, value) in [("weight_decay", self.weight_decay), ("attack.epsilon", self.attack.epsilon)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(keener::Error::parameter(name, value, "a finite number ≥ 0").into());
            }
        }
        let sizes = [("batch_size", self.batch_size), ("steps", self.steps), ("attack.steps", self.attack.steps)];
        for (name, value) in sizes {
            if value == 0 {
                return Err(keener::Error::parameter(name, value, "at least 1").into());
            }
        }
        if let Some(SamplerConfig::ClassesPerBatch { classes, per_class }) = self.sampler
            && (classes == 0 || per_class == 0)
        {
            let found = format!("{classes} × {per_class}");
            return Err(keener::Error::parameter("sampler", found, "at least 1 class and 1 row a class").into());
        }
        self.optimizer.check()?;
        Ok(())
    }

    /// Learning rate of step `step` (from 0): linear to the peak over the warm-up, then half a cosine to zero.
    pub fn learning_rate_at(&self, step: usize) -> f64 {
        let warmup = self.warmup.min(self.steps);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let part = (step - warmup) as f64 / (self.steps - warmup).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_rises_then_falls_to_zero() {
        let config = TrainConfig { learning_rate: 2.0, steps: 110, warmup: 10, ..TrainConfig::default() };
        assert!((config.learning_rate_at(0) - 0.2).abs() < 1e-12);
        assert_eq!(config.learning_rate_at(9), 2.0);
        assert_eq!(config.learning_rate_at(10), 2.0);
        assert!((config.learning_rate_at(60) - 1.0).abs() < 1e-12);
        assert!(config.learning_rate_at(109) < 1e-3 && config.learning_rate_at(500) < 1e-12);
    }

    #[test]
    fn bad_numbers_are_named_and_unknown_fields_refused() {
        let message = |c: TrainConfig| c.check().unwrap_err().to_string();
        assert!(message(TrainConfig { learning_rate: f64::NAN, ..Default::default() }).contains("learning_rate"));
        assert!(message(TrainConfig { steps: 0, ..Default::default() }).contains("steps = 0"));
        assert!(serde_json::from_str::<TrainConfig>(r#"{"stepps": 3}"#).is_err());
        let partial: TrainConfig = serde_json::from_str(r#"{"steps": 3, "optimizer": {"kind": "sgd"}}"#).unwrap();
        assert_eq!((partial.steps, partial.optimizer), (3, OptimizerConfig::sgd()));
    }
}
