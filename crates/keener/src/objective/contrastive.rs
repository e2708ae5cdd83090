//! The contrastive loss over given or inner-product scores, plain and with hard negatives chosen by quantile.

use super::common::{TargetAndOthers, above, against, times, to_entries};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = −ln [ e^{s_it/τ} / Σ_j e^{s_ij/τ} ]` over scores as they are (inner products, or given).
///
/// Scores `[B, N]` and the column of each row's positive (the diagonal if none is given). Without negatives the loss is 0.
///
/// Reference: Understanding the Behaviour of Contrastive Loss (arXiv 2012.09740).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contrastive {
    /// τ > 0, divides the scores. Default 0.2, inside the paper's sweep of 0.07 to 1.
    pub temperature: f64,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { temperature: 0.2 }
    }
}

impl Configured for Contrastive {
    fn check(&self) -> Result<()> {
        above("temperature", self.temperature, 0.0)
    }
}

/// The contrastive loss over the positive and the hardest `alpha` share of each row's negatives.
///
/// With `m = clamp(⌈alpha · negatives⌉, 1, negatives)` the threshold is the m-th largest negative of the row; everything at or
/// above it is kept, ties included. The threshold is a constant for the gradient.
///
/// Reference: Understanding the Behaviour of Contrastive Loss (arXiv 2012.09740); the rule for the quantile is ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HardContrastive {
    /// τ > 0, divides the scores. Default 0.2.
    pub temperature: f64,
    /// Share of the negatives that is kept, in (0, 1]. Default 0.0819 (the paper's 4,095 nearest of 50,000).
    pub alpha: f64,
}

impl Default for HardContrastive {
    fn default() -> Self {
        Self { temperature: 0.2, alpha: 0.0819 }
    }
}

impl Configured for HardContrastive {
    fn check(&self) -> Result<()> {
        above("temperature", self.temperature, 0.0)?;
        match self.alpha > 0.0 && self.alpha <= 1.0 {
            true => Ok(()),
            false => Err(Error::parameter("alpha", self.alpha, "a share in (0, 1]")),
        }
    }
}

/// The softmax of the target against a set.
fn contrast<T: Real>(engine: &mut dyn Sweep<T>, temperature: f64, targets: &[u32], set: Set<T>) -> Result<Outcome<T>> {
    let argument = Argument::of(0).scaled(T::of(1.0 / temperature));
    let found = TargetAndOthers::sweep(engine, argument, targets, set)?;
    let pairs = found.others.1.values.iter().zip(&found.target_values).zip(targets);
    let one = |((o, t), target): ((&T, &T), &u32)| match *target {
        NONE => (T::zero(), T::zero()),
        _ => against(*o, *t),
    };
    let (values, p): (Vec<T>, Vec<T>) = pairs.map(one).unzip();
    Ok(Outcome::new(values, move |upstream| {
        let others = times(upstream, &p);
        let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
        let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
        Backward::terms(vec![Term::new(lse, value, others), Term::new(gather, at, target)])
    }))
}

/// The hardest `alpha` share of each row's negatives, ties at the threshold included; the threshold is frozen.
pub(crate) fn hard_negatives<T: Real>(engine: &mut dyn Sweep<T>, alpha: f64, targets: &[u32]) -> Result<Set<T>> {
    let columns = engine.shape(0).1;
    let count = |target: &u32| {
        let negatives = columns - usize::from(*target != NONE);
        ((alpha * negatives as f64).ceil() as usize).clamp(usize::from(negatives > 0), negatives) as u32
    };
    let negatives = Set::others(targets.into());
    let kth = Statistic::kth_largest(targets.iter().map(count).collect(), Argument::of(0), negatives.clone());
    let threshold = engine.sweep(&[kth])?[0].values.clone();
    Ok(negatives.at_least(engine.freeze("threshold", threshold)))
}

impl<T: Real> Objective<T> for Contrastive {
    fn name(&self) -> &'static str {
        "contrastive"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_or_diagonal();
        contrast(engine, self.temperature, &targets, Set::others(targets.as_ref().into()))
    }
}

impl<T: Real> Objective<T> for HardContrastive {
    fn name(&self) -> &'static str {
        "hard_contrastive"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_or_diagonal();
        let set = hard_negatives(engine, self.alpha, &targets)?;
        contrast(engine, self.temperature, &targets, set)
    }
}

pub(crate) const PLAIN: Entry = Entry {
    name: "contrastive",
    aliases: &["contrastive_loss"],
    family: Family::Embedding,
    reads: Reads::PairedViews,
    summary: "InfoNCE over scores as they are; the temperature decides how much the hardest negatives count.",
    formula: "loss_i = ln Σ_j exp(s_ij/τ) − s_it/τ",
    parameters: &[ParameterDoc::main("temperature", "τ > 0; 0.2 by default", &[0.07, 0.2, 0.5, 1.0])],
    paper: Paper { title: "Understanding the Behaviour of Contrastive Loss", id: "2012.09740" },
    when: "Scores come from elsewhere (a bank, an index), or the temperature itself is what you study.",
    when_not: "Raw embeddings of free length: use info_nce, which normalises.",
    pytorch: "F.cross_entropy(q @ c.T / {temperature}, torch.arange(len(q)))",
    build: build_from::<Contrastive>,
    defaults: defaults_of::<Contrastive>,
};

pub(crate) const HARD: Entry = Entry {
    name: "hard_contrastive",
    aliases: &["hard_contrastive_loss"],
    family: Family::Embedding,
    reads: Reads::PairedViews,
    summary: "The contrastive loss over the hardest share of the negatives only: nearly insensitive to temperature.",
    formula: "loss_i = −ln [exp(s_it/τ) / (exp(s_it/τ) + Σ_{j: s_ij ≥ q_i} exp(s_ij/τ))], q_i the upper alpha-quantile of row i",
    parameters: &[
        ParameterDoc::new("temperature", "τ > 0; 0.2 by default"),
        ParameterDoc::main(
            "alpha",
            "share of negatives kept, in (0, 1]; 0.0819 by default (the paper)",
            &[0.05, 0.1, 0.25, 0.5],
        ),
    ],
    paper: Paper { title: "Understanding the Behaviour of Contrastive Loss", id: "2012.09740" },
    when: "Large banks of negatives, most of them easy; a temperature that you would rather not tune.",
    when_not: "Small batches or a share below that of the own class: what is kept are then false negatives, and embeddings collapse.",
    pytorch: "s = q @ c.T; n = s.masked_fill(torch.eye(len(q)).bool(), -torch.inf); k = n >= n.topk(math.ceil({alpha} * (len(c) - 1))).values[:, -1:]; F.cross_entropy(torch.where(k | torch.eye(len(q)).bool(), s, -torch.inf) / {temperature}, torch.arange(len(q)))",
    build: build_from::<HardContrastive>,
    defaults: defaults_of::<HardContrastive>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients_holding, check_sizes};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        check_all("contrastive:temperature=0.7", Reads::PairedViews);
        let hard = HardContrastive { alpha: 0.4, temperature: 0.7 };
        for seed in [1, 2] {
            // The threshold is itself a score: hold it a little lower, so that the sample on it stays inside.
            check_gradients_holding(&hard, &Case::random(Reads::PairedViews, 9, 2, 4, seed), 2e-6, |frozen| {
                frozen.iter_mut().for_each(|(_, v)| v.iter_mut().for_each(|t| *t -= 1e-4));
            });
        }
        check_sizes("hard_contrastive:alpha=0.4,temperature=0.7", Reads::PairedViews);
    }

    #[test]
    fn keeping_everything_is_the_plain_loss() {
        let case = Case::random(Reads::PairedViews, 11, 2, 4, 5);
        let all = case.run::<f64>(&HardContrastive { temperature: 0.3, alpha: 1.0 }, &Options::default());
        let plain = case.run::<f64>(&Contrastive { temperature: 0.3 }, &Options::default());
        assert!((all.loss - plain.loss).abs() < 1e-13);
        let some = case.run::<f64>(&HardContrastive { temperature: 0.3, alpha: 0.2 }, &Options::default());
        assert!(some.values.iter().zip(&plain.values).all(|(a, b)| a < b));
    }
}
