//! How a head is trained: every choice of a run, readable from a file.

use crate::error::Result;
use crate::gradient::GradientTransform;
use crate::head::HeadConfig;
use crate::optimizer::OptimizerConfig;
use crate::plan::names_of;
use crate::sampler::SamplerConfig;
use keener::attack::{Goal, Norm, Pgd, PgdConfig};
use keener::objective::find;
use serde::{Deserialize, Serialize};

/// How the second version of the queries is made for objectives that read one: projected gradient ascent on the features (Madry et
/// al., Towards Deep Learning Models Resistant to Adversarial Attacks, 1706.06083), as [`keener::attack::Pgd`]. One step of the
/// cross-entropy from the features themselves is FGSM (Goodfellow et al., Explaining and Harnessing Adversarial Examples,
/// 1412.6572).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttackConfig {
    /// Radius of the ball around each row (default 0.1).
    pub epsilon: f64,
    /// Steps (default 3); with more than one, or a goal that measures a move, the start is random within the ball.
    pub steps: usize,
    /// Length of a step as a part of epsilon (default 0.5; a single step takes all of epsilon).
    pub step_size: f64,
    /// How a change is measured (default `linf`: each feature apart).
    pub norm: Norm,
    /// What is to rise; by default what the objective is meant for: the divergence for `trades`, the shift of the margins for
    /// `smooth_adv_comp_sum`, the cross-entropy otherwise.
    pub goal: Option<Goal>,
    /// Least value of a feature, if there is one.
    pub clip_min: Option<f64>,
    /// Greatest value of a feature, if there is one.
    pub clip_max: Option<f64>,
}

impl Default for AttackConfig {
    fn default() -> Self {
        let (norm, goal) = (Norm::Linf, None);
        Self { epsilon: 0.1, steps: 3, step_size: 0.5, norm, goal, clip_min: None, clip_max: None }
    }
}

impl AttackConfig {
    /// The attack for an objective.
    ///
    /// # Errors
    /// A number out of range.
    pub fn pgd(&self, objective: &str) -> Result<Pgd> {
        let named = |name: &str| names_of(objective).any(|n| find(n).is_ok_and(|e| e.name == name));
        let fitting = if named("trades") {
            Goal::Kl
        } else if named("smooth_adv_comp_sum") {
            Goal::MarginShift
        } else {
            Goal::CrossEntropy
        };
        let goal = self.goal.unwrap_or(fitting);
        let part = if self.steps == 1 { 1.0 } else { self.step_size };
        // Without a ball there is nowhere to go; any step will do.
        let step = if self.epsilon == 0.0 { part } else { part * self.epsilon };
        let config = PgdConfig {
            norm: self.norm,
            epsilon: self.epsilon,
            step,
            steps: self.steps,
            restarts: 1,
            random_start: self.steps > 1 || goal.needs_a_start(),
            goal,
            clip_min: self.clip_min,
            clip_max: self.clip_max,
        };
        Ok(config.check()?)
    }
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// Half a cosine to zero at the end of the budget (Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    /// 1608.03983).
    #[default]
    Cosine,
    /// As it is.
    Constant,
    /// Multiplied by `factor` at each of the given parts of the budget.
    Step {
        /// Parts of the budget in (0, 1), such as 0.5 and 0.75.
        at: Vec<f64>,
        /// What it is multiplied by (default 0.1).
        #[serde(default = "tenth")]
        factor: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

/// Weights of classes, for objectives that take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All the same.
    #[default]
    None,
    /// `n / (C n_c)`: classes weigh the same however many rows they have.
    Balanced,
}

/// A training run. Budgets are steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What is trained.
    pub head: HeadConfig,
    /// What it is trained on, as [`keener::objective::parse`] reads it.
    pub objective: String,
    /// What becomes of gradients before the update rule (default: nothing).
    pub gradient: GradientTransform,
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
    /// How the learning rate goes on after the warm-up (default cosine).
    pub schedule: ScheduleConfig,
    /// Gradients whose length over all parameters exceeds this are shortened to it; not by default.
    pub clip_norm: Option<f64>,
    /// Of weights, batches and attacks.
    pub seed: u64,
    /// How batches are drawn; by default as the objective needs.
    pub sampler: Option<SamplerConfig>,
    /// Weights of classes by their rows (default none).
    pub class_weights: ClassWeights,
    /// For objectives that read a second version of the queries.
    pub attack: AttackConfig,
}

impl burn::config::Config for TrainConfig {}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            head: HeadConfig::default(),
            objective: "softmax_cross_entropy".into(),
            gradient: GradientTransform::default(),
            optimizer: OptimizerConfig::default(),
            learning_rate: 1e-3,
            weight_decay: 0.01,
            batch_size: 128,
            steps: 1000,
            warmup: 50,
            schedule: ScheduleConfig::default(),
            clip_norm: None,
            seed: 0,
            sampler: None,
            class_weights: ClassWeights::None,
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
        if let Some(most) = self.clip_norm
            && !(most.is_finite() && most > 0.0)
        {
            return Err(keener::Error::parameter("clip_norm", most, "a finite number > 0").into());
        }
        if let ScheduleConfig::Step { at, factor } = &self.schedule {
            let parts = at.iter().map(|part| ("schedule.at", *part, *part < 1.0));
            for (name, value, below) in parts.chain([("schedule.factor", *factor, factor.is_finite())]) {
                if !(value > 0.0 && below) {
                    return Err(keener::Error::parameter(name, value, "a part of the budget, or a factor > 0").into());
                }
            }
        }
        self.attack.pgd(&self.objective)?;
        self.optimizer.check()?;
        Ok(())
    }

    /// Learning rate of step `step` (from 0): linear to the peak over the warm-up, then as the schedule says.
    pub fn learning_rate_at(&self, step: usize) -> f64 {
        let warmup = self.warmup.min(self.steps);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        match &self.schedule {
            ScheduleConfig::Cosine => {
                let part = (step - warmup) as f64 / (self.steps - warmup).max(1) as f64;
                self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos())
            }
            ScheduleConfig::Constant => self.learning_rate,
            ScheduleConfig::Step { at, factor } => {
                let passed = at.iter().filter(|part| step as f64 >= **part * self.steps as f64).count();
                self.learning_rate * factor.powi(passed as i32)
            }
        }
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
        let constant = TrainConfig { schedule: ScheduleConfig::Constant, ..config.clone() };
        assert_eq!(constant.learning_rate_at(109), 2.0);
        let step = ScheduleConfig::Step { at: vec![0.5, 0.75], factor: 0.1 };
        let step = TrainConfig { schedule: step, warmup: 0, steps: 100, ..config };
        let rates = [0, 49, 50, 74, 75, 99].map(|s| step.learning_rate_at(s));
        let expected = [2.0, 2.0, 0.2, 0.2, 0.02, 0.02];
        assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
    }

    #[test]
    fn an_attack_follows_its_objective_unless_told_otherwise() {
        let attack = AttackConfig { epsilon: 0.2, step_size: 0.25, ..AttackConfig::default() };
        let goal = |attack: AttackConfig, objective: &str| *attack.pgd(objective).unwrap().config();
        assert_eq!(goal(attack, "trades:beta=1").goal, Goal::Kl);
        assert_eq!(goal(attack, "adv_comp_sum").goal, Goal::MarginShift);
        assert_eq!(goal(attack, "adversarial_cross_entropy").goal, Goal::CrossEntropy);
        assert_eq!(goal(AttackConfig { goal: Some(Goal::Margin), ..attack }, "trades").goal, Goal::Margin);
        assert!((goal(attack, "trades").step - 0.05).abs() < 1e-15);
        // One step takes all of the ball, from the row itself where the goal has a slope there.
        let one = goal(AttackConfig { steps: 1, ..attack }, "adversarial_cross_entropy");
        assert!(!one.random_start && one.step == 0.2);
        assert!(goal(AttackConfig { steps: 1, ..attack }, "trades").random_start);
    }

    #[test]
    fn bad_numbers_are_named_and_unknown_fields_refused() {
        let message = |c: TrainConfig| c.check().unwrap_err().to_string();
        assert!(message(TrainConfig { learning_rate: f64::NAN, ..Default::default() }).contains("learning_rate"));
        assert!(message(TrainConfig { clip_norm: Some(0.0), ..Default::default() }).contains("clip_norm"));
        let schedule = ScheduleConfig::Step { at: vec![1.5], factor: 0.1 };
        assert!(message(TrainConfig { schedule, ..Default::default() }).contains("schedule.at = 1.5"));
        assert!(message(TrainConfig { steps: 0, ..Default::default() }).contains("steps = 0"));
        assert!(serde_json::from_str::<TrainConfig>(r#"{"stepps": 3}"#).is_err());
        let partial: TrainConfig = serde_json::from_str(r#"{"steps": 3, "optimizer": {"kind": "sgd"}}"#).unwrap();
        assert_eq!((partial.steps, partial.optimizer), (3, OptimizerConfig::sgd()));
    }
}
