//! AdamW and SGD over named slices: the state is plain numbers, so that a run can be resumed bit for bit.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which update rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam with decoupled weight decay (Loshchilov & Hutter, Decoupled Weight Decay Regularization, 1711.05101);
    /// defaults of PyTorch: `beta_1 = 0.9`, `beta_2 = 0.999`, `epsilon = 1e-8`.
    Adamw {
        /// Decay of the mean gradient.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the mean squared gradient.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the mean squared gradient.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// Stochastic gradient descent with momentum (default 0.9) and weight decay added to the gradient, as PyTorch's.
    Sgd {
        /// Momentum.
        #[serde(default = "momentum")]
        momentum: f64,
        /// Nesterov's look-ahead (default false): the step follows `g + momentum · m` instead of `m`.
        #[serde(default)]
        nesterov: bool,
    },
}

fn beta_1() -> f64 {
    0.9
}

fn beta_2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

fn momentum() -> f64 {
    0.9
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::adamw()
    }
}

impl OptimizerConfig {
    /// AdamW with its defaults.
    pub fn adamw() -> Self {
        Self::Adamw { beta_1: beta_1(), beta_2: beta_2(), epsilon: epsilon() }
    }

    /// SGD with momentum 0.9.
    pub fn sgd() -> Self {
        Self::Sgd { momentum: momentum(), nesterov: false }
    }

    pub(crate) fn check(&self) -> keener::Result<()> {
        let (factors, epsilon) = match self {
            Self::Adamw { beta_1, beta_2, epsilon } => (vec![("beta_1", *beta_1), ("beta_2", *beta_2)], *epsilon),
            Self::Sgd { momentum, .. } => (vec![("momentum", *momentum)], 1.0),
        };
        for (name, value) in factors {
            if !(0.0..1.0).contains(&value) {
                return Err(keener::Error::parameter(name, value, "a number in [0, 1)"));
            }
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(keener::Error::parameter("epsilon", epsilon, "a finite number > 0"));
        }
        Ok(())
    }
}

/// An optimiser over named slices, with the moments of every parameter; for loops that hold plain numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Optimizer {
    pub(crate) first: BTreeMap<String, Vec<f32>>,
    pub(crate) second: BTreeMap<String, Vec<f32>>,
}

/// One update of one parameter.
#[derive(Clone, Copy, Debug)]
pub struct Update<'u> {
    /// The rule.
    pub rule: &'u OptimizerConfig,
    /// 1 for the first step.
    pub time: usize,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Weight decay, as the rule has it.
    pub weight_decay: f64,
}

fn state<'s>(states: &'s mut BTreeMap<String, Vec<f32>>, name: &str, length: usize) -> &'s mut [f32] {
    if !states.contains_key(name) {
        states.insert(name.to_string(), vec![0.0; length]);
    }
    states.get_mut(name).map(|v| &mut v[..]).unwrap_or_default()
}

impl Optimizer {
    /// Updates the weights called `name` by their gradient, which is as long.
    pub fn step(&mut self, update: &Update<'_>, name: &str, weights: &mut [f32], gradient: &[f32]) {
        let n = weights.len();
        let rate = update.learning_rate;
        match *update.rule {
            OptimizerConfig::Adamw { beta_1, beta_2, epsilon } => {
                let time = update.time.min(i32::MAX as usize) as i32;
                let (correct_1, correct_2) = (1.0 - beta_1.powi(time), 1.0 - beta_2.powi(time));
                let keep = (1.0 - rate * update.weight_decay) as f32;
                let (b1, b2) = (beta_1 as f32, beta_2 as f32);
                let (a1, a2) = ((1.0 - beta_1) as f32, (1.0 - beta_2) as f32);
                let factor = (rate / correct_1) as f32;
                let (root, epsilon) = ((1.0 / correct_2.sqrt()) as f32, epsilon as f32);
                let first = state(&mut self.first, name, n);
                let second = state(&mut self.second, name, n);
                for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = b1 * *m + a1 * g;
                    *v = b2 * *v + a2 * g * g;
                    *w = keep * *w - factor * *m / (v.sqrt() * root + epsilon);
                }
            }
            OptimizerConfig::Sgd { momentum, nesterov } => {
                let (momentum, decay, rate) = (momentum as f32, update.weight_decay as f32, rate as f32);
                let first = state(&mut self.first, name, n);
                for ((w, g), m) in weights.iter_mut().zip(gradient).zip(first) {
                    let g = g + decay * *w;
                    *m = momentum * *m + g;
                    *w -= rate * if nesterov { g + momentum * *m } else { *m };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig};
    use burn::tensor::{Device, Tensor};

    /// Against burn's own optimisers on a quadratic, step after step.
    fn compare(rule: OptimizerConfig, mut reference: ModuleOptimizer) {
        let device = Device::flex().autodiff();
        let start = [0.5f32, -1.0, 2.0, 0.0];
        let mut mine = start.to_vec();
        let mut theirs = Param::from_tensor(Tensor::<1>::from_floats(start, &device));
        let mut optimizer = Optimizer::default();
        for time in 1..=25 {
            let gradient: Vec<f32> = mine.iter().enumerate().map(|(k, w)| (k as f32 + 1.0) * w - 0.3).collect();
            let update = Update { rule: &rule, time, learning_rate: 0.05, weight_decay: 0.01 };
            optimizer.step(&update, "w", &mut mine, &gradient);
            let factors = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device);
            let w = theirs.val();
            let loss = (w.clone().powi_scalar(2) * factors * 0.5 - w * 0.3).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &theirs);
            theirs = reference.step(0.05, theirs, gradients);
            let expected = theirs.val().into_data().try_into_vec::<f32>().unwrap();
            for (a, b) in mine.iter().zip(&expected) {
                assert!((a - b).abs() < 2e-5, "{rule:?} at {time}: {mine:?} {expected:?}");
            }
        }
    }

    #[test]
    fn updates_are_those_of_burn() {
        let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init();
        compare(OptimizerConfig::adamw(), adamw);
        let sgd = SgdConfig::new()
            .with_weight_decay(Some(WeightDecayConfig::new(0.01)))
            .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
            .init();
        compare(OptimizerConfig::sgd(), sgd);
        let nesterov = SgdConfig::new()
            .with_weight_decay(Some(WeightDecayConfig::new(0.01)))
            .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0).with_nesterov(true)))
            .init();
        compare(OptimizerConfig::Sgd { momentum: 0.9, nesterov: true }, nesterov);
        assert!(OptimizerConfig::Sgd { momentum: 1.0, nesterov: false }.check().is_err());
    }
}
