//! Cross-entropy of the attacked version alone.

use super::common::softmax_margin;
use super::registry::{Configured, Entry, Family, Paper, Reads, build_from, defaults_of};
use crate::engine::{Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Slot, Sweep};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = CE(s'_i, y_i)`, `s'` the scores of the attacked version: adversarial training.
///
/// Reads two versions as [`super::Trades`] does; the clean one takes no part. Rows without a class are ignored.
///
/// Reference: Towards Deep Learning Models Resistant to Adversarial Attacks (arXiv 1706.06083).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarialCrossEntropy {}

impl Configured for AdversarialCrossEntropy {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl<T: Real> Objective<T> for AdversarialCrossEntropy {
    fn name(&self) -> &'static str {
        "adversarial_cross_entropy"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec { slot: Slot::Second, scorer: Scorer::Inner }]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(batch.targets_for("adversarial_cross_entropy")?.iter().filter(|t| **t != NONE).count() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        softmax_margin(engine, batch.targets_for("adversarial_cross_entropy")?, |cross_entropy, wrong| {
            (cross_entropy, wrong)
        })
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "adversarial_cross_entropy",
    aliases: &["pgd_training"],
    family: Family::Robustness,
    reads: Reads::TwoScores,
    summary: "Adversarial training: cross-entropy of the attacked version.",
    formula: "loss_i = CE(s'_i, y)",
    parameters: &[],
    paper: Paper { title: "Towards Deep Learning Models Resistant to Adversarial Attacks", id: "1706.06083" },
    when: "Robust accuracy against small worst-case perturbations comes first; the simplest method, and hard to beat.",
    when_not: "Clean accuracy matters more: trades and smooth_adv_comp_sum set the price by a parameter.",
    pytorch: "F.cross_entropy(s_adv, y)",
    build: build_from::<AdversarialCrossEntropy>,
    defaults: defaults_of::<AdversarialCrossEntropy>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_sizes};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn it_is_cross_entropy_of_the_second_version() {
        check_sizes("adversarial_cross_entropy", Reads::TwoScores);
        let case = Case::random(Reads::TwoScores, 6, 4, 3, 2);
        let plain = Case { queries: case.second.clone().unwrap(), second: None, ..case.clone() };
        let found = case.run::<f64>(&AdversarialCrossEntropy {}, &Options::default());
        let expected = plain.run::<f64>(&super::super::SoftmaxCrossEntropy::default(), &Options::default());
        assert_eq!((found.loss, &found.gradients.second), (expected.loss, &expected.gradients.queries));
        assert_eq!(found.gradients.candidates, expected.gradients.candidates);
        assert!(found.gradients.queries.is_empty());
    }
}
