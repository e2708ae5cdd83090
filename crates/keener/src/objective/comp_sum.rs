//! Comp-sum losses: one family from the sum-exponential loss over cross-entropy to the mean absolute error.

use super::common::{softmax_margin, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Sweep};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = ((1 + u)^{1−τ} − 1)/(1 − τ)` with `1 + u = 1/p_y`, computed as `expm1((1 − τ) L)/(1 − τ)` of the cross-entropy `L`.
///
/// `τ = 0` is the sum-exponential loss, 1 cross-entropy, between 1 and 2 the generalised cross-entropy with `q = τ − 1`, 2 the mean
/// absolute error `1 − p_y`. Inputs as for cross-entropy; rows without a class are ignored. For `τ < 1` a badly wrong row has a
/// truly huge loss (∞ beyond the range of numbers).
///
/// References: Cross-Entropy Loss Functions: Theoretical Analysis and Applications (arXiv 2304.07288); Generalized Cross Entropy
/// Loss for Training Deep Neural Networks with Noisy Labels (arXiv 1805.07836).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompSum {
    /// τ ≥ 0. Default 1.7: the generalised cross-entropy with q = 0.7 (arXiv 1805.07836).
    pub tau: f64,
}

impl Default for CompSum {
    fn default() -> Self {
        Self { tau: 1.7 }
    }
}

impl Configured for CompSum {
    fn check(&self) -> Result<()> {
        within("tau", self.tau, 0.0, f64::INFINITY)
    }
}

impl CompSum {
    /// The loss of a cross-entropy, and its derivative.
    pub(crate) fn apply<T: Real>(&self, cross_entropy: T) -> (T, T) {
        let power = T::of(1.0 - self.tau);
        if power == T::zero() {
            return (cross_entropy, T::one());
        }
        let scaled = power * cross_entropy;
        (scaled.exp_m1() / power, scaled.exp())
    }
}

impl<T: Real> Objective<T> for CompSum {
    fn name(&self) -> &'static str {
        "comp_sum"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(batch.targets_for("comp_sum")?.iter().filter(|t| **t != NONE).count() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        softmax_margin(engine, batch.targets_for("comp_sum")?, |cross_entropy, wrong| {
            let (loss, slope) = self.apply(cross_entropy);
            (loss, slope * wrong)
        })
    }
}

/// Generalised cross-entropy, `loss_i = (1 − p_y^q)/q`: [`CompSum`] at `τ = 1 + q`, in the parameter that its users know.
///
/// Reference: Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels (arXiv 1805.07836).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gce {
    /// q in `[0, 1]`: 0 is cross-entropy, 1 the mean absolute error. Default 0.7 (the paper).
    pub q: f64,
}

impl Default for Gce {
    fn default() -> Self {
        Self { q: 0.7 }
    }
}

impl Configured for Gce {
    fn check(&self) -> Result<()> {
        within("q", self.q, 0.0, 1.0)
    }
}

impl<T: Real> Objective<T> for Gce {
    fn name(&self) -> &'static str {
        "gce"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        CompSum { tau: 1.0 + self.q }.normalizer(batch)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        CompSum { tau: 1.0 + self.q }.evaluate(engine, batch)
    }
}

pub(crate) const GCE: Entry = Entry {
    name: "gce",
    aliases: &["generalized_cross_entropy"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Generalised cross-entropy: between cross-entropy (q = 0) and mean absolute error (q = 1).",
    formula: "loss_i = (1 − p_y^q)/q",
    parameters: &[ParameterDoc::main("q", "in [0, 1]; 0.7 by default (the paper)", &[0.3, 0.5, 0.7, 0.9])],
    paper: Paper {
        title: "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
        id: "1805.07836",
    },
    when: "Noisy labels: a wrong label pulls with bounded force.",
    when_not: "Clean labels: hard samples learn slowly, and near q = 1 training stalls.",
    pytorch: "p = F.softmax(x @ W.T + b, 1)[torch.arange(len(y)), y]; ((1 - p ** {q}) / {q}).mean()",
    build: build_from::<Gce>,
    defaults: defaults_of::<Gce>,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "comp_sum",
    aliases: &["comp_sum_loss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "One family from sum-exponential (τ = 0) over cross-entropy (1) and GCE (1 to 2) to mean absolute error (2).",
    formula: "loss_i = (p_y^(τ−1) − 1)/(1 − τ), −ln p_y at τ = 1",
    parameters: &[ParameterDoc::main(
        "tau",
        "τ ≥ 0; 1.7 by default (generalised cross-entropy with q = 0.7)",
        &[1.0, 1.3, 1.5, 1.7],
    )],
    paper: Paper { title: "Cross-Entropy Loss Functions: Theoretical Analysis and Applications", id: "2304.07288" },
    when: "Noisy labels: between 1 and 2 a wrong label pulls with bounded force; τ sets how much.",
    when_not: "Clean labels and many classes: above 1 hard samples learn slowly, and at 2 training stalls.",
    pytorch: "L = F.cross_entropy(x @ W.T + b, y, reduction='none'); (L if {tau} == 1 else torch.expm1((1 - {tau}) * L) / (1 - {tau})).mean()",
    build: build_from::<CompSum>,
    defaults: defaults_of::<CompSum>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        for tau in ["0", "0.5", "1", "1.7", "2"] {
            check_all(&format!("comp_sum:tau={tau}"), Reads::ClassHead);
        }
        check_all("gce", Reads::ClassHead);
    }

    #[test]
    fn its_ends_are_the_losses_they_are_named_after() {
        let case = Case::random(Reads::ClassHead, 6, 4, 3, 2);
        let run = |tau| case.run::<f64>(&CompSum { tau }, &Options::default()).values;
        let plain = case.run::<f64>(&super::super::SoftmaxCrossEntropy::default(), &Options::default()).values;
        for i in 0..6 {
            assert!((run(1.0)[i] - plain[i]).abs() < 1e-14);
            assert!((run(1.0 + 1e-9)[i] - plain[i]).abs() < 1e-8);
            assert!((run(2.0)[i] - (1.0 - (-plain[i]).exp())).abs() < 1e-14);
            let gce = case.run::<f64>(&Gce { q: 0.7 }, &Options::default()).values[i];
            assert!((gce - (1.0 - (-0.7 * plain[i]).exp()) / 0.7).abs() < 1e-14);
            assert!((run(0.0)[i] - (plain[i].exp() - 1.0)).abs() < 1e-12 * plain[i].exp());
        }
    }
}
