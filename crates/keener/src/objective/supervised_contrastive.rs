//! Supervised contrastive learning (SupCon).

use super::common::above;
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{Argument, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep};
use crate::error::Result;
use crate::pairs::companions;
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `loss_i = ln Σ_{k≠i} exp(s_ik/τ) − mean_{p∈P(i)} s_ip/τ` with cosines `s` and the other rows `P(i)` of the class of row `i`;
/// mean over the rows that have positives.
///
/// Reads embeddings `[B, d]` and the class of each row. A row without another of its class has value 0, no gradient as an
/// anchor, and is not counted; it still is a negative of the others. Without any positive pair the loss is 0. Without negatives
/// the positives are still pushed to equal similarity.
///
/// Errors: missing labels.
///
/// Reference: Supervised Contrastive Learning (arXiv 2004.11362), the form with the mean outside the logarithm.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedContrastive {
    /// τ > 0. Default 0.1 (the paper's, and pytorch-metric-learning's).
    pub temperature: f64,
}

impl Default for SupervisedContrastive {
    fn default() -> Self {
        Self { temperature: 0.1 }
    }
}

impl Configured for SupervisedContrastive {
    fn check(&self) -> Result<()> {
        above("temperature", self.temperature, 0.0)
    }
}

const NAME: &str = "supervised_contrastive";

impl<T: Real> Objective<T> for SupervisedContrastive {
    fn name(&self) -> &'static str {
        NAME
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::pairs(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(companions(batch.labels_for(NAME)?).iter().filter(|c| **c > 0).count() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let labels: Arc<[u32]> = batch.labels_for(NAME)?.into();
        let argument = Argument::of(0).scaled(T::of(1.0 / self.temperature));
        let others = Statistic::log_sum_exp(argument.clone(), Set::off_diagonal());
        let positives =
            Statistic::sum(Map::Identity, argument, Set::off_diagonal().same(labels.clone(), labels.clone()));
        let stats = engine.sweep(&[others.clone(), positives.clone()])?;
        let (mut values, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
        for (row, count) in companions(&labels).into_iter().enumerate() {
            let share = if count > 0 { T::of(count as f64).recip() } else { T::zero() };
            let counted = if count > 0 { T::one() } else { T::zero() };
            values.push(if count > 0 { stats[0].values[row] - share * stats[1].values[row] } else { T::zero() });
            up.push(counted);
            down.push(-share);
        }
        Ok(Outcome::row_wise(values, vec![(others, stats[0].clone(), up), (positives, stats[1].clone(), down)]))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["supcon", "sup_con"],
    family: Family::Embedding,
    reads: Reads::LabelledEmbeddings,
    summary: "Pulls all rows of a class together against everything else in the batch, by cosine and temperature.",
    formula: "loss_i = ln Σ_{k≠i} exp(s_ik/τ) − mean_{p∈P(i)} s_ip/τ",
    parameters: &[ParameterDoc::main(
        "temperature",
        "τ > 0; 0.1 by default (the paper's). Lower values look at the hardest pairs only",
        &[0.05, 0.07, 0.1, 0.2, 0.5],
    )],
    paper: Paper { title: "Supervised Contrastive Learning", id: "2004.11362" },
    when: "Labelled embeddings with several rows of each class in a batch, before a linear probe, nearest neighbours or \
           retrieval; batches of some hundreds of rows or more, where every pair gives a signal. The first to try among \
           objectives over pairs: one parameter and no mining.",
    when_not: "Most classes have a single row in the batch (no positives: use a class head or two views), batches are tiny, \
               or calibrated class probabilities are wanted. Positives compete with each other for the softmax, so classes \
               with very many rows keep a loss above zero (about ln of their size).",
    pytorch: "(lambda s, p: (s.masked_fill(torch.eye(len(y), dtype=torch.bool), -torch.inf).logsumexp(1) \
              - (s * p).sum(1) / p.sum(1).clamp(min=1))[p.any(1)].mean())(\
              F.normalize(x) @ F.normalize(x).T / {temperature}, \
              (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool))",
    build: build_from::<SupervisedContrastive>,
    defaults: defaults_of::<SupervisedContrastive>,
};

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::check_all;
    use super::*;
    use crate::pairs::testing::{check_invariances, check_missing_labels, check_silent, rows, run};

    #[test]
    fn gradients_and_schedules() {
        check_all("supervised_contrastive", Reads::LabelledEmbeddings);
        check_all("supcon:temperature=0.7", Reads::LabelledEmbeddings);
    }

    #[test]
    fn lengths_and_order_do_not_matter() {
        check_invariances("supcon", &rows(7, 3), 3, &[0, 0, 1, 1, 2, 0, 3]);
    }

    #[test]
    fn by_hand() {
        // Rows 0 and 1 are twins, row 2 is at right angles: ln(e^{1/τ} + 1) − 1/τ for both anchors.
        let found = run("supcon:temperature=0.5", &[1.0, 0.0, 2.0, 0.0, 0.0, 3.0], 2, &[4, 4, 9]).unwrap();
        let expected = (-2.0f64).exp().ln_1p();
        assert!((found.values[0] - expected).abs() < 1e-15 && (found.values[1] - expected).abs() < 1e-15);
        assert_eq!((found.values[2], found.normalizer), (0.0, 2.0));
    }

    #[test]
    fn rows_without_positives_and_classes_without_negatives() {
        check_silent("supcon", &rows(4, 3), 3, &[0, 1, 2, 3]);
        check_silent("supcon", &[1.0, 2.0], 2, &[0]);
        // One class of identical rows: ln 3 each, and nowhere to go.
        let found = run("supcon", &[1.0, 0.5].repeat(4), 2, &[1; 4]).unwrap();
        assert!((found.loss - 3f64.ln()).abs() < 1e-12);
        assert!(found.gradients.queries.iter().all(|g| g.abs() < 1e-12));
    }

    #[test]
    fn bad_input_is_named() {
        check_missing_labels("supcon");
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message("supcon:temperature=0"), "temperature = 0: expected a finite number > 0");
        assert!(message("supcon:tau=1").contains("takes temperature"));
    }
}
