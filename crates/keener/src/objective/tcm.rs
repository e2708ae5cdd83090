//! TCM: threshold-consistent margins over the pairs of a batch.

use super::common::within;
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `λ+ · mean(m+ − s over positive pairs with s ≤ m+) + λ− · mean(s − m− over negative pairs with s ≥ m−)`, `s` the cosine.
///
/// A number of the whole batch. Embeddings `[B, d]` with labels. An empty set contributes 0; a pair exactly at its margin is
/// counted. Meant to be added to another objective: `arcface+tcm:weight=1`.
///
/// Reference: Threshold-Consistent Margin Loss for Open-World Deep Metric Learning (arXiv 2307.04047).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcm {
    /// m+, in [−1, 1]. Default 0.9 (the paper).
    pub margin_plus: f64,
    /// m−, in [−1, 1]. Default 0.5 (the paper).
    pub margin_minus: f64,
    /// λ+ ≥ 0. Default 1.
    pub lambda_plus: f64,
    /// λ− ≥ 0. Default 1.
    pub lambda_minus: f64,
}

impl Default for Tcm {
    fn default() -> Self {
        Self { margin_plus: 0.9, margin_minus: 0.5, lambda_plus: 1.0, lambda_minus: 1.0 }
    }
}

impl Configured for Tcm {
    fn check(&self) -> Result<()> {
        within("margin_plus", self.margin_plus, -1.0, 1.0)?;
        within("margin_minus", self.margin_minus, -1.0, 1.0)?;
        within("lambda_plus", self.lambda_plus, 0.0, f64::INFINITY)?;
        within("lambda_minus", self.lambda_minus, 0.0, f64::INFINITY)
    }
}

impl<T: Real> Objective<T> for Tcm {
    fn name(&self) -> &'static str {
        "tcm"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::pairs(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn normalizer(&self, _: &Batch<'_, T>) -> Result<f64> {
        Ok(1.0)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let labels: Arc<[u32]> = batch.labels_for("tcm")?.into();
        let (high, low) = (T::of(self.margin_plus), T::of(self.margin_minus));
        let positives = Set::off_diagonal().same(labels.clone(), labels.clone()).at_most(high);
        let negatives = Set::all().different(labels.clone(), labels).at_least(low);
        // The slope of the identity counts the set.
        let wanted = [
            Statistic::sum_with_moments(Map::Identity, Argument::of(0).scaled(-T::one()).shifted(high), positives),
            Statistic::sum_with_moments(Map::Identity, Argument::of(0).shifted(-low), negatives),
        ];
        let stats = engine.sweep(&wanted)?;
        let total = |v: &[T]| v.iter().map(|x| x.f64()).sum::<f64>();
        let mean = |k: usize| match total(&stats[k].slope) {
            0.0 => (0.0, 0.0),
            count => (total(&stats[k].values) / count, count),
        };
        let ((plus, plus_count), (minus, minus_count)) = (mean(0), mean(1));
        for (name, value) in [
            ("positive_term", plus),
            ("negative_term", minus),
            ("hard_positive_count", plus_count),
            ("hard_negative_count", minus_count),
        ] {
            engine.report(name, vec![T::of(value)]);
        }
        let each = |lambda: f64, count: f64| T::of(if count > 0.0 { lambda / count } else { 0.0 });
        let factors = [each(self.lambda_plus, plus_count), each(self.lambda_minus, minus_count)];
        let value = T::of(self.lambda_plus * plus + self.lambda_minus * minus);
        let rows = batch.rows();
        Ok(Outcome::new(vec![value], move |upstream| {
            let term = |k: usize| Term::new(wanted[k].clone(), stats[k].clone(), vec![upstream[0] * factors[k]; rows]);
            Backward::terms(vec![term(0), term(1)])
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "tcm",
    aliases: &["threshold_consistent_margin"],
    family: Family::Embedding,
    reads: Reads::LabelledEmbeddings,
    summary: "A regulariser that lines up all classes with one threshold: pulls hard positives, pushes hard negatives.",
    formula: "λ+ mean(m+ − s | same class, s ≤ m+) + λ− mean(s − m− | other class, s ≥ m−), s the cosine",
    parameters: &[
        ParameterDoc::main("margin_plus", "m+ in [−1, 1]; 0.9 by default (the paper)", &[0.7, 0.8, 0.9]),
        ParameterDoc::new("margin_minus", "m− in [−1, 1]; 0.5 by default (the paper)"),
        ParameterDoc::new("lambda_plus", "weight of the positive part, ≥ 0; 1 by default"),
        ParameterDoc::new("lambda_minus", "weight of the negative part, ≥ 0; 1 by default"),
    ],
    paper: Paper { title: "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning", id: "2307.04047" },
    when: "One similarity threshold must serve all classes (verification, open-world retrieval); added to a base objective.",
    when_not: "Alone, or in batches with hardly any pairs: its means jump as pairs cross the margins.",
    pytorch: "s = F.normalize(x) @ F.normalize(x).T; same = y[:, None] == y; p = same & ~torch.eye(len(y)).bool() & (s <= {margin_plus}); n = ~same & (s >= {margin_minus}); {lambda_plus} * ({margin_plus} - s[p]).mean().nan_to_num() + {lambda_minus} * (s[n] - {margin_minus}).mean().nan_to_num()",
    build: build_from::<Tcm>,
    defaults: defaults_of::<Tcm>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        check_all("tcm", Reads::LabelledEmbeddings);
        check_all("tcm:margin_plus=0.4,margin_minus=-0.2,lambda_plus=3,lambda_minus=0.5", Reads::LabelledEmbeddings);
    }

    #[test]
    fn joins_another_objective_and_shares_nothing_twice() {
        let sum = super::super::parse("normalized_softmax+tcm:weight=0.5").unwrap();
        let case = Case::random(Reads::ClassHead, 8, 4, 3, 6);
        let total = case.run(sum.f64(), &Options::default());
        let base = case.run::<f64>(&super::super::NormalizedSoftmax::default(), &Options::default());
        let tcm = case.run::<f64>(&Tcm::default(), &Options::default());
        assert!((total.loss - base.loss - 0.5 * tcm.loss).abs() < 1e-12);
        for k in 0..24 {
            let expected = base.gradients.queries[k] + 0.5 * tcm.gradients.queries[k];
            assert!((total.gradients.queries[k] - expected).abs() < 1e-12);
        }
        super::super::testing::check_gradients(sum.f64(), &case, 1e-6);
    }

    #[test]
    fn nothing_to_compare_is_zero() {
        let mut case = Case::random(Reads::LabelledEmbeddings, 1, 4, 3, 6);
        assert_eq!(case.run::<f64>(&Tcm::default(), &Options::default()).loss, 0.0);
        case = Case::random(Reads::LabelledEmbeddings, 5, 1, 3, 6);
        let run = case.run::<f32>(&Tcm::default(), &Options::default());
        assert!(run.loss > 0.0 && run.report.iter().any(|(n, v)| *n == "hard_negative_count" && v[0] == 0.0));
    }
}
