//! Adversarial training on the digits: the smooth comp-sum loss beside cross-entropy, PGD training and TRADES.

use crate::digits::{fit, parts, steps};
use anyhow::Result;
use burn::tensor::Device;
use keener::attack::{Goal, PgdConfig};
use keener::engine::{Batch, Options, View, evaluate};
use keener::objective::{MarginCompSum, SmoothAdvCompSum};
use keener::theory::comp_sum::phi;
use keener_burn::{AttackConfig, HeadConfig, OptimizerConfig, TrainConfig, attack_head, scores};
use serde::{Deserialize, Serialize};

/// Largest change of a pixel, of a range of 1.
pub(super) const EPSILON: f64 = 0.15;
const TRAINING_STEPS: usize = 7;
const TEST_STEPS: usize = 40;

/// What is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) spec: &'static str,
}

pub(super) fn settings(full: bool) -> Vec<Setting> {
    let all = [
        ("CE", "softmax_cross_entropy", true),
        ("PGD training", "adversarial_cross_entropy", true),
        ("TRADES β=1", "trades:beta=1", true),
        ("ADV-COMP-SUM ν=0.3", "smooth_adv_comp_sum:nu=0.3", true),
        ("ADV-COMP-SUM ν=1", "smooth_adv_comp_sum:nu=1", true),
        ("TRADES β=6", "trades:beta=6", true),
        ("ADV-COMP-SUM ν=0.1", "smooth_adv_comp_sum:nu=0.1", true),
        ("ADV-COMP-SUM ν=0.5", "smooth_adv_comp_sum:nu=0.5", false),
        ("ADV-COMP-SUM ν=2", "smooth_adv_comp_sum:nu=2", false),
        ("ADV-COMP-SUM τ=1 ν=0.3", "smooth_adv_comp_sum:tau=1,nu=0.3", false),
        ("ADV-COMP-SUM τ=1 ν=1", "smooth_adv_comp_sum:tau=1,nu=1", false),
        ("ADV-COMP-SUM ρ=0.3 ν=0.3", "smooth_adv_comp_sum:rho=0.3,nu=0.3", false),
        ("ADV-COMP-SUM ρ=0.3 ν=3", "smooth_adv_comp_sum:rho=0.3,nu=3", false),
    ];
    all.into_iter().filter(|s| full || s.2).map(|(name, spec, _)| Setting { name, spec }).collect()
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Unit {
    pub(super) setting: Setting,
    pub(super) seed: u64,
    pub(super) epochs: usize,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{}, seed {}", self.setting.name, self.seed)
    }
}

/// On test rows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) clean: f64,
    /// Under the worst of two attacks of 40 steps, on the cross-entropy and on the margin.
    pub(super) robust: f64,
    /// The least slack of `adversarial error ≤ margin loss/Φ_τ(1)` and `margin loss ≤ smooth loss` (ν = √(n−1)/ρ) over rows and
    /// attacks; not below 0 if the chain of bounds holds.
    pub(super) chain_slack: f64,
}

pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let split = parts(&[0.7, 0.3], unit.seed)?;
    let (train, test) = (&split[0], &split[1]);
    let attack = AttackConfig {
        epsilon: EPSILON,
        steps: TRAINING_STEPS,
        step_size: 0.25,
        clip_min: Some(0.0),
        clip_max: Some(1.0),
        ..AttackConfig::default()
    };
    let config = TrainConfig {
        head: HeadConfig::Linear { hidden: Some(128), embedding: None, bias: true },
        objective: unit.setting.spec.into(),
        optimizer: OptimizerConfig::Sgd { momentum: 0.9, nesterov: true },
        learning_rate: 0.1,
        weight_decay: 5e-4,
        batch_size: 64,
        steps: steps(train, 64, unit.epochs),
        warmup: 0,
        clip_norm: Some(10.0),
        attack,
        seed: unit.seed,
        ..TrainConfig::default()
    };
    let head = fit(config, train, "")?.head;
    let n = test.num_classes();
    let wrong = |scores: &[f32]| -> Vec<bool> {
        let rows = scores.chunks_exact(n).zip(&test.labels);
        // A tie counts as wrong.
        rows.map(|(s, y)| (0..n).any(|k| k != *y as usize && s[k] >= s[*y as usize])).collect()
    };
    let clean_scores = scores(&head, &test.features)?;
    let mut failed = wrong(&clean_scores);
    let clean = 1.0 - share(&failed);
    let mut chain_slack = f64::INFINITY;
    for goal in [Goal::CrossEntropy, Goal::Margin] {
        let config = PgdConfig {
            epsilon: EPSILON,
            step: EPSILON / 4.0,
            steps: TEST_STEPS,
            goal,
            clip_min: Some(0.0),
            clip_max: Some(1.0),
            ..PgdConfig::default()
        };
        let found = attack_head(&config.check()?, &head, &test.features, &test.labels, unit.seed, &Device::flex())?;
        let errs = wrong(&found.scores);
        chain_slack = chain_slack.min(chain(&clean_scores, &found.scores, &test.labels, n, &errs)?);
        failed.iter_mut().zip(errs).for_each(|(f, e)| *f |= e);
    }
    Ok(Measured { clean, robust: 1.0 - share(&failed), chain_slack })
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|b| **b).count() as f64 / of.len().max(1) as f64
}

/// The least slack of the chain of bounds over the rows, in parts of what bounds.
fn chain(clean: &[f32], attacked: &[f32], labels: &[u32], n: usize, errs: &[bool]) -> Result<f64> {
    let wide = |s: &[f32]| s.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (clean, attacked) = (wide(clean), wide(attacked));
    let (clean, attacked) = (View::new(&clean, labels.len(), n)?, View::new(&attacked, labels.len(), n)?);
    let (tau, rho) = (0.4, 1.0);
    let nu = ((n - 1) as f64).sqrt() / rho;
    let one = Batch::scores(attacked).with_targets(labels);
    let two = Batch::scores(clean).with_second_scores(attacked).with_targets(labels);
    let margin = evaluate(&MarginCompSum { tau, rho }, &one, &Options::default())?.values;
    let smooth = evaluate(&SmoothAdvCompSum { tau, rho, nu }, &two, &Options::default())?.values;
    let least = (0..labels.len()).map(|row| {
        let error = if errs[row] { 1.0 } else { 0.0 };
        // Scores were f32: leave their rounding out.
        let first = margin[row] / phi(tau, 1.0) - error;
        let second = (smooth[row] - margin[row]) / smooth[row].max(1.0);
        first.min(second)
    });
    Ok(least.fold(f64::INFINITY, f64::min))
}
