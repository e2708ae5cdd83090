//! Losses of a classifier that bound what a wrong label can do, each a function of the softmax probabilities.

use super::common::{TargetAndOthers, above, against, softmax_margin, times, to_entries, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

macro_rules! class_head {
    ($name:literal) => {
        fn name(&self) -> &'static str {
            $name
        }

        fn matrices(&self) -> Vec<MatrixSpec> {
            vec![MatrixSpec::main(Scorer::Inner)]
        }

        fn coupling(&self) -> Coupling {
            Coupling::RowByRow
        }

        fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
            Ok(batch.targets_for($name)?.iter().filter(|t| **t != NONE).count() as f64)
        }
    };
}

/// Brier score, `loss_i = Σ_k (p_k − [k = y])²`: the squared error of the probabilities, in `[0, 2]`.
///
/// Inputs as for cross-entropy; rows without a class are ignored.
///
/// Reference: Evaluation of neural architectures trained with square loss vs cross-entropy in classification tasks
/// (arXiv 2006.07322) for its use in training; Brier, Verification of forecasts expressed in terms of probability (1950).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brier {}

impl Configured for Brier {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl<T: Real> Objective<T> for Brier {
    class_head!("brier");

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("brier")?;
        let two = T::of(2.0);
        // (1 − p_y)² + Σ_{k≠y} p_k²: nothing cancels when the target wins.
        let doubled = Statistic::log_sum_exp(Argument::of(0).scaled(two), Set::others(targets.into()));
        let others = Set::others(targets.into());
        let (found, mut more) =
            TargetAndOthers::sweep_with(engine, Argument::of(0), targets, others, vec![doubled.clone()])?;
        let squares = more.remove(0);
        let (mut values, mut by_others, mut by_target, mut by_squares) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in 0..targets.len() {
            let (others, target) = (found.others.1.values[row], found.target_values[row]);
            if targets[row] == NONE || others == T::neg_infinity() {
                [&mut values, &mut by_others, &mut by_target, &mut by_squares]
                    .into_iter()
                    .for_each(|v| v.push(T::zero()));
                continue;
            }
            let (cross_entropy, wrong) = against(others, target);
            let right = (-cross_entropy).exp();
            let rest = (squares.values[row] - two * (cross_entropy + target)).exp();
            values.push(wrong * wrong + rest);
            by_others.push(two * wrong * (wrong * right - rest));
            by_target.push(-two * right * (wrong * wrong + rest));
            by_squares.push(rest);
        }
        Ok(Outcome::new(values, move |upstream| {
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            Backward::terms(vec![
                Term::new(lse, value, times(upstream, &by_others)),
                Term::new(gather, at, to_entries(&times(upstream, &by_target), &found.lists)),
                Term::new(doubled.clone(), squares.clone(), times(upstream, &by_squares)),
            ])
        }))
    }
}

/// Symmetric cross-entropy, `loss_i = α CE_i + β A (1 − p_y)`: cross-entropy plus the reverse one, whose `ln 0` is `−A`.
///
/// Inputs as for cross-entropy; rows without a class are ignored.
///
/// Reference: Symmetric Cross Entropy for Robust Learning with Noisy Labels (arXiv 1908.06112).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SymmetricCrossEntropy {
    /// α ≥ 0. Default 0.1 (the paper's for CIFAR-10).
    pub alpha: f64,
    /// β ≥ 0. Default 1 (the paper's for CIFAR-10).
    pub beta: f64,
    /// A > 0. Default 4 (the paper).
    pub clip: f64,
}

impl Default for SymmetricCrossEntropy {
    fn default() -> Self {
        Self { alpha: 0.1, beta: 1.0, clip: 4.0 }
    }
}

impl Configured for SymmetricCrossEntropy {
    fn check(&self) -> Result<()> {
        within("alpha", self.alpha, 0.0, f64::INFINITY)?;
        within("beta", self.beta, 0.0, f64::INFINITY)?;
        above("clip", self.clip, 0.0)
    }
}

impl<T: Real> Objective<T> for SymmetricCrossEntropy {
    class_head!("sce");

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let (alpha, reverse) = (T::of(self.alpha), T::of(self.beta * self.clip));
        softmax_margin(engine, batch.targets_for("sce")?, |cross_entropy, wrong| {
            let right = (-cross_entropy).exp();
            (alpha * cross_entropy + reverse * wrong, wrong * (alpha + reverse * right))
        })
    }
}

/// Generalised Jensen-Shannon divergence between label and prediction, `loss_i = JS_π(e_y, p)/(−(1 − π) ln(1 − π))`: between
/// cross-entropy (π → 0) and the mean absolute error (π → 1), bounded.
///
/// Inputs as for cross-entropy; rows without a class are ignored.
///
/// Reference: Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels (arXiv 2105.04522).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JensenShannon {
    /// π in (0, 1): the weight of the label. Default 0.5 (the divergence of that name).
    pub pi: f64,
}

impl Default for JensenShannon {
    fn default() -> Self {
        Self { pi: 0.5 }
    }
}

impl Configured for JensenShannon {
    fn check(&self) -> Result<()> {
        match self.pi > 0.0 && self.pi < 1.0 {
            true => Ok(()),
            false => Err(crate::Error::parameter("pi", self.pi, "a number in (0, 1)")),
        }
    }
}

impl<T: Real> Objective<T> for JensenShannon {
    class_head!("jensen_shannon");

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let rest = T::of(1.0 - self.pi);
        let scale = T::of(-1.0 / ((1.0 - self.pi) * (1.0 - self.pi).ln()));
        softmax_margin(engine, batch.targets_for("jensen_shannon")?, |cross_entropy, wrong| {
            // Only the target's share of the mixture m = π e_y + (1 − π) p is not (1 − π) p_k: with x = (1 − π)(1 − p_y),
            // JS = −(1 − x) ln(1 − x) − (1 − π) [p_y CE + (1 − p_y) ln(1 − π)].
            let right = (-cross_entropy).exp();
            let x = rest * wrong;
            let of_mixture = (-x).ln_1p();
            let value = -(T::one() - x) * of_mixture - rest * (right * cross_entropy + wrong * rest.ln());
            let slope = rest * (of_mixture + cross_entropy - rest.ln());
            (scale * value, scale * slope * wrong * right)
        })
    }
}

/// Normalised cross-entropy, `loss_i = CE_y / Σ_k CE_k` with `CE_k = −ln p_k`: in (0, 1), robust to noise, slow to fit; usually added
/// to an active one (`normalized_cross_entropy+comp_sum:tau=2,weight=4` is NCE + RCE).
///
/// Inputs as for cross-entropy; rows without a class are ignored.
///
/// Reference: Normalized Loss Functions for Deep Learning with Noisy Labels (arXiv 2006.13554).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizedCrossEntropy {}

impl Configured for NormalizedCrossEntropy {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl<T: Real> Objective<T> for NormalizedCrossEntropy {
    class_head!("normalized_cross_entropy");

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("normalized_cross_entropy")?;
        let k = T::of(engine.shape(0).1 as f64);
        let others = Set::others(targets.into());
        let sum = Statistic::sum(Map::Identity, Argument::of(0), others.clone());
        let (found, mut more) =
            TargetAndOthers::sweep_with(engine, Argument::of(0), targets, others, vec![sum.clone()])?;
        let scores = more.remove(0);
        let (mut values, mut by_others, mut by_target, mut by_sum) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in 0..targets.len() {
            let (others, target) = (found.others.1.values[row], found.target_values[row]);
            if targets[row] == NONE || others == T::neg_infinity() {
                [&mut values, &mut by_others, &mut by_target, &mut by_sum].into_iter().for_each(|v| v.push(T::zero()));
                continue;
            }
            let (cross_entropy, wrong) = against(others, target);
            let right = (-cross_entropy).exp();
            let lse = cross_entropy + target;
            let total = cross_entropy + (k - T::one()) * lse - scores.values[row];
            let value = cross_entropy / total;
            values.push(value);
            by_others.push((wrong - value * k * wrong) / total);
            by_target.push((-wrong - value * (k * right - T::one())) / total);
            by_sum.push(value / total);
        }
        Ok(Outcome::new(values, move |upstream| {
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            Backward::terms(vec![
                Term::new(lse, value, times(upstream, &by_others)),
                Term::new(gather, at, to_entries(&times(upstream, &by_target), &found.lists)),
                Term::new(sum.clone(), scores.clone(), times(upstream, &by_sum)),
            ])
        }))
    }
}

pub(crate) const BRIER: Entry = Entry {
    name: "brier",
    aliases: &["squared_error", "mse"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Squared error of the probabilities.",
    formula: "loss_i = Σ_k (p_k − [k = y])²",
    parameters: &[],
    paper: Paper {
        title: "Evaluation of neural architectures trained with square loss vs cross-entropy in classification tasks",
        id: "2006.07322",
    },
    when: "Calibrated probabilities, or mild label noise: a proper score whose slope is bounded.",
    when_not: "Many classes: far from the label its slope vanishes and training starts slowly.",
    pytorch: "p = F.softmax(x @ W.T + b, 1); ((p - F.one_hot(y, p.shape[1])) ** 2).sum(1).mean()",
    build: build_from::<Brier>,
    defaults: defaults_of::<Brier>,
};

pub(crate) const SCE: Entry = Entry {
    name: "sce",
    aliases: &["symmetric_cross_entropy_loss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Symmetric cross-entropy: cross-entropy plus its reverse, which bounds wrong labels.",
    formula: "loss_i = α CE_i + β A (1 − p_y)",
    parameters: &[
        ParameterDoc::main("alpha", "α ≥ 0; 0.1 by default (the paper's for CIFAR-10)", &[0.1, 1.0, 6.0]),
        ParameterDoc::new("beta", "β ≥ 0; 1 by default (the paper's for CIFAR-10)"),
        ParameterDoc::new("clip", "A > 0, minus the logarithm of 0; 4 by default (the paper)"),
    ],
    paper: Paper { title: "Symmetric Cross Entropy for Robust Learning with Noisy Labels", id: "1908.06112" },
    when: "Noisy labels, where cross-entropy alone overfits them and its reverse alone learns too slowly.",
    when_not: "Clean labels: it only rescales cross-entropy.",
    pytorch: "s = x @ W.T + b; p = F.softmax(s, 1).gather(1, y[:, None])[:, 0]; ({alpha} * F.cross_entropy(s, y, reduction='none') + {beta} * {clip} * (1 - p)).mean()",
    build: build_from::<SymmetricCrossEntropy>,
    defaults: defaults_of::<SymmetricCrossEntropy>,
};

pub(crate) const JS: Entry = Entry {
    name: "jensen_shannon",
    aliases: &["js"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Jensen-Shannon divergence between label and prediction: bounded, between cross-entropy and mean absolute error.",
    formula: "loss_i = JS_π(e_y, p)/(−(1 − π) ln(1 − π))",
    parameters: &[ParameterDoc::main(
        "pi",
        "π in (0, 1); 0.5 by default (the plain divergence)",
        &[0.1, 0.3, 0.5, 0.9],
    )],
    paper: Paper {
        title: "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels",
        id: "2105.04522",
    },
    when: "Noisy labels; π sets how far towards the mean absolute error.",
    when_not: "Clean labels and many classes: hard samples learn slowly.",
    pytorch: "p = F.softmax(x @ W.T + b, 1).gather(1, y[:, None])[:, 0]; r = 1 - {pi}; v = r * (1 - p); (-(1 - v) * torch.log1p(-v) + r * (p * p.log() - (1 - p) * math.log(r))).mean() / (-r * math.log(r))",
    build: build_from::<JensenShannon>,
    defaults: defaults_of::<JensenShannon>,
};

pub(crate) const NCE: Entry = Entry {
    name: "normalized_cross_entropy",
    aliases: &["nce_loss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Cross-entropy of the label over the sum of those of all classes: symmetric in the label.",
    formula: "loss_i = ln p_y / Σ_k ln p_k",
    parameters: &[],
    paper: Paper { title: "Normalized Loss Functions for Deep Learning with Noisy Labels", id: "2006.13554" },
    when: "Noisy labels, added to an active loss: normalized_cross_entropy+comp_sum:tau=2,weight=4.",
    when_not: "Alone: it fits too slowly.",
    pytorch: "lp = F.log_softmax(x @ W.T + b, 1); (lp.gather(1, y[:, None])[:, 0] / lp.sum(1)).mean()",
    build: build_from::<NormalizedCrossEntropy>,
    defaults: defaults_of::<NormalizedCrossEntropy>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        for spec in ["brier", "sce", "sce:alpha=2,beta=0.3", "jensen_shannon", "js:pi=0.9", "normalized_cross_entropy"]
        {
            check_all(spec, Reads::ClassHead);
        }
    }

    #[test]
    fn values_follow_from_the_probabilities() {
        let case = Case::random(Reads::ClassHead, 5, 4, 3, 8);
        let (d, w) = (case.d, case.candidates.clone().unwrap());
        let run = |loss: &dyn Objective<f64>| case.run::<f64>(loss, &Options::default()).values;
        let (brier, js, nce) =
            (run(&Brier {}), run(&JensenShannon { pi: 0.3 }), run(&NormalizedCrossEntropy::default()));
        for row in 0..5 {
            let q = &case.queries[row * d..(row + 1) * d];
            let e: Vec<f64> = w.chunks(d).map(|w| w.iter().zip(q).map(|(a, b)| a * b).sum::<f64>().exp()).collect();
            let p: Vec<f64> = e.iter().map(|x| x / e.iter().sum::<f64>()).collect();
            let y = case.targets.as_ref().unwrap()[row] as usize;
            let hot = |k: usize| if k == y { 1.0 } else { 0.0 };
            assert!((brier[row] - (0..4).map(|k| (p[k] - hot(k)).powi(2)).sum::<f64>()).abs() < 1e-14);
            let entropy = |p: &dyn Fn(usize) -> f64| -(0..4).map(|k| p(k) * p(k).ln()).sum::<f64>();
            let divergence = entropy(&|k| 0.3 * hot(k) + 0.7 * p[k]) - 0.7 * entropy(&|k| p[k]);
            assert!((js[row] + divergence / (0.7 * 0.7f64.ln())).abs() < 1e-13);
            assert!((nce[row] - p[y].ln() / p.iter().map(|p| p.ln()).sum::<f64>()).abs() < 1e-14);
        }
        assert!(JensenShannon { pi: 1.0 }.check().is_err());
    }
}
