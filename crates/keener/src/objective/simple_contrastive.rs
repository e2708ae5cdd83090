//! Contrastive losses without hardness: linear in the scores, over all negatives or the hardest share.

use super::common::{one_column, spread, times, to_entries, within};
use super::contrastive::hard_negatives;
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = −s_it + λ Σ_{j ≠ t} s_ij`: every negative counts the same. Exists to show what the hardness of
/// [`super::Contrastive`] is worth.
///
/// Reference: Understanding the Behaviour of Contrastive Loss (arXiv 2012.09740).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimpleContrastive {
    /// λ ≥ 0, best near 1/(number of negatives). Default 0.01 (ours; the paper does not say).
    pub lambda: f64,
}

impl Default for SimpleContrastive {
    fn default() -> Self {
        Self { lambda: 0.01 }
    }
}

impl Configured for SimpleContrastive {
    fn check(&self) -> Result<()> {
        within("lambda", self.lambda, 0.0, f64::INFINITY)
    }
}

/// `loss_i = −s_it + λ Σ s_ij` over the hardest `alpha` share of the negatives, chosen as in [`super::HardContrastive`].
///
/// Reference: Understanding the Behaviour of Contrastive Loss (arXiv 2012.09740).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HardSimpleContrastive {
    /// λ ≥ 0, best near 1/(number kept). Default 0.1 (ours; the paper does not say).
    pub lambda: f64,
    /// Share of the negatives that is kept, in (0, 1]. Default 0.0819 (the paper).
    pub alpha: f64,
}

impl Default for HardSimpleContrastive {
    fn default() -> Self {
        Self { lambda: 0.1, alpha: 0.0819 }
    }
}

impl Configured for HardSimpleContrastive {
    fn check(&self) -> Result<()> {
        within("lambda", self.lambda, 0.0, f64::INFINITY)?;
        match self.alpha > 0.0 && self.alpha <= 1.0 {
            true => Ok(()),
            false => Err(Error::parameter("alpha", self.alpha, "a share in (0, 1]")),
        }
    }
}

fn linear<T: Real>(engine: &mut dyn Sweep<T>, lambda: f64, targets: &[u32], set: Set<T>) -> Result<Outcome<T>> {
    let lists = one_column(targets);
    let lambda = T::of(lambda);
    let wanted = [
        Statistic::gather(Argument::of(0), lists.clone()),
        Statistic::sum(Map::Identity, Argument::of(0).scaled(lambda), set),
    ];
    let stats = engine.sweep(&wanted)?;
    let positive = spread(&stats[0], &lists, T::zero());
    let values = positive.iter().zip(&stats[1].values).map(|(p, n)| *n - *p).collect();
    Ok(Outcome::new(values, move |upstream| {
        let down = to_entries(&times(upstream, &vec![-T::one(); upstream.len()]), &lists);
        Backward::terms(vec![
            Term::new(wanted[1].clone(), stats[1].clone(), upstream.to_vec()),
            Term::new(wanted[0].clone(), stats[0].clone(), down),
        ])
    }))
}

impl<T: Real> Objective<T> for SimpleContrastive {
    fn name(&self) -> &'static str {
        "simple_contrastive"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_or_diagonal();
        linear(engine, self.lambda, &targets, Set::others(targets.as_ref().into()))
    }
}

impl<T: Real> Objective<T> for HardSimpleContrastive {
    fn name(&self) -> &'static str {
        "hard_simple_contrastive"
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
        linear(engine, self.lambda, &targets, set)
    }
}

pub(crate) const PLAIN: Entry = Entry {
    name: "simple_contrastive",
    aliases: &["simple_contrastive_loss"],
    family: Family::Embedding,
    reads: Reads::PairedViews,
    summary: "The contrastive loss without hardness: all negatives are pushed alike.",
    formula: "loss_i = −s_it + λ Σ_{j≠t} s_ij",
    parameters: &[ParameterDoc::main(
        "lambda",
        "λ ≥ 0, best near 1/negatives; 0.01 by default (ours)",
        &[0.003, 0.01, 0.03],
    )],
    paper: Paper { title: "Understanding the Behaviour of Contrastive Loss", id: "2012.09740" },
    when: "As a baseline: what does the softmax's attention to hard negatives buy?",
    when_not: "For an embedding that must be good: it is far less uniform.",
    pytorch: "s = F.normalize(q) @ F.normalize(c).T; p = s.diagonal(); ({lambda} * (s.sum(1) - p) - p).mean()",
    build: build_from::<SimpleContrastive>,
    defaults: defaults_of::<SimpleContrastive>,
};

pub(crate) const HARD: Entry = Entry {
    name: "hard_simple_contrastive",
    aliases: &["hard_simple_contrastive_loss"],
    family: Family::Embedding,
    reads: Reads::PairedViews,
    summary: "Linear in the scores of the hardest share of the negatives: explicit selection instead of a temperature.",
    formula: "loss_i = −s_it + λ Σ_{j: s_ij ≥ q_i} s_ij, q_i the upper alpha-quantile of row i",
    parameters: &[
        ParameterDoc::new("lambda", "λ ≥ 0, best near 1/kept; 0.1 by default (ours)"),
        ParameterDoc::main(
            "alpha",
            "share of negatives kept, in (0, 1]; 0.0819 by default (the paper)",
            &[0.05, 0.1, 0.25],
        ),
    ],
    paper: Paper { title: "Understanding the Behaviour of Contrastive Loss", id: "2012.09740" },
    when: "Large banks of negatives and no wish to tune a temperature.",
    when_not: "Small batches: when the kept negatives are more similar than the positive, embeddings collapse.",
    pytorch: "s = F.normalize(q) @ F.normalize(c).T; n = s.masked_fill(torch.eye(len(q)).bool(), -torch.inf); k = n >= n.topk(math.ceil({alpha} * (len(c) - 1))).values[:, -1:]; ({lambda} * (s * k).sum(1) - s.diagonal()).mean()",
    build: build_from::<HardSimpleContrastive>,
    defaults: defaults_of::<HardSimpleContrastive>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients_holding, check_sizes};
    use super::*;

    #[test]
    fn gradients_and_schedules() {
        check_all("simple_contrastive:lambda=0.3", Reads::PairedViews);
        check_all("simple_contrastive:lambda=0", Reads::PairedViews);
        let hard = HardSimpleContrastive { lambda: 0.3, alpha: 0.4 };
        check_gradients_holding(&hard, &Case::random(Reads::PairedViews, 9, 2, 4, 1), 2e-6, |frozen| {
            frozen.iter_mut().for_each(|(_, v)| v.iter_mut().for_each(|t| *t -= 1e-4));
        });
        check_sizes("hard_simple_contrastive:lambda=0.3,alpha=0.4", Reads::PairedViews);
    }
}
