//! NT-Xent: SimCLR's normalised temperature-scaled cross-entropy, and its form for labels.

use super::common::{TargetAndOthers, above, against, times, to_entries};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::pairs::companions;
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Which pairs meet which negatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NtXentVariant {
    /// Exactly two rows of each label, the two views of a sample: `loss_i = ln Σ_{k≠i} exp(s_ik/τ) − s_ip/τ`, mean over rows.
    #[default]
    SimClr,
    /// Any labels: each ordered positive pair against the negatives of its anchor, `ln(1 + Σ_{n: y_n≠y_i} exp(s_in/τ) / exp(s_ip/τ))`,
    /// mean over positive pairs. Other positives stay out of the denominator, unlike in supervised contrastive learning.
    Pml,
}

/// `loss_ip = ln(exp(s_ip/τ) + Σ_{n: y_n≠y_i} exp(s_in/τ)) − s_ip/τ` with cosines `s`, mean over the pairs `(i, p)` of equal
/// label; see [`NtXentVariant`] for which labels are allowed.
///
/// Reads embeddings `[B, d]` and labels; for the simclr variant `B = 2 · samples`, both views of a sample carrying its label.
/// Values are one a row: the sum over its pairs. Without positives or without negatives the loss is 0, and so is the gradient.
///
/// Errors: missing labels; under simclr a label that does not occur exactly twice.
///
/// Reference: A Simple Framework for Contrastive Learning of Visual Representations (arXiv 2002.05709).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NtXent {
    /// τ > 0. Default 0.5 (the SimCLR paper's for long training; pytorch-metric-learning takes 0.07).
    pub temperature: f64,
    /// Default `simclr`.
    pub variant: NtXentVariant,
}

impl Default for NtXent {
    fn default() -> Self {
        Self { temperature: 0.5, variant: NtXentVariant::SimClr }
    }
}

impl Configured for NtXent {
    fn check(&self) -> Result<()> {
        above("temperature", self.temperature, 0.0)
    }
}

const NAME: &str = "nt_xent";

impl<T: Real> Objective<T> for NtXent {
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
        Ok(companions(batch.labels_for(NAME)?).iter().sum::<usize>() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let labels: Arc<[u32]> = batch.labels_for(NAME)?.into();
        let argument = Argument::of(0).scaled(T::of(1.0 / self.temperature));
        match self.variant {
            NtXentVariant::SimClr => two_views(engine, argument, &labels),
            NtXentVariant::Pml => every_pair(engine, argument, &labels),
        }
    }
}

/// The other row of each row's label.
fn partners(labels: &[u32]) -> Result<Vec<u32>> {
    let mut rows: HashMap<u32, Vec<u32>> = HashMap::new();
    for (row, label) in labels.iter().enumerate() {
        rows.entry(*label).or_default().push(row as u32);
    }
    let partner = |(row, label): (usize, &u32)| match rows[label].as_slice() {
        [first, second] => Ok(if *first == row as u32 { *second } else { *first }),
        found => Err(Error::Undefined {
            what: format!("the partner of row {row} in {NAME}"),
            reason: format!(
                "label {label} occurs {} times, the simclr variant takes exactly two rows of each; variant=pml takes any labels",
                found.len()
            ),
        }),
    };
    labels.iter().enumerate().map(partner).collect()
}

fn two_views<T: Real>(engine: &mut dyn Sweep<T>, argument: Argument<T>, labels: &Arc<[u32]>) -> Result<Outcome<T>> {
    let negatives = Set::all().different(labels.clone(), labels.clone());
    let found = TargetAndOthers::sweep(engine, argument, &partners(labels)?, negatives)?;
    let pairs = found.others.1.values.iter().zip(&found.target_values);
    let (values, slope): (Vec<T>, Vec<T>) = pairs.map(|(others, target)| against(*others, *target)).unzip();
    Ok(Outcome::new(values, move |upstream| {
        let others = times(upstream, &slope);
        let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
        let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
        Backward::terms(vec![Term::new(lse, value, others), Term::new(gather, at, target)])
    }))
}

fn every_pair<T: Real>(engine: &mut dyn Sweep<T>, argument: Argument<T>, labels: &Arc<[u32]>) -> Result<Outcome<T>> {
    let positives = Set::off_diagonal().same(labels.clone(), labels.clone());
    let negatives = Set::all().different(labels.clone(), labels.clone());
    if labels.iter().all(|l| *l == labels[0]) {
        return Ok(Outcome::row_wise(vec![T::zero(); labels.len()], Vec::new()));
    }
    let rest = Statistic::log_sum_exp(argument.clone(), negatives);
    let rest_stat = engine.sweep(std::slice::from_ref(&rest))?.remove(0);
    // softplus(rest_i − s_ip/τ): the shift is itself a statistic, so its weight is the sum of the slopes.
    let turned = Argument::of(0).scaled(-argument.scale.at(0)).shifted(rest_stat.values.clone());
    let sum = Statistic::sum_with_moments(Map::Softplus, turned, positives);
    let sum_stat = engine.sweep(std::slice::from_ref(&sum))?.remove(0);
    let (values, slope) = (sum_stat.values.clone(), sum_stat.slope.clone());
    let one = vec![T::one(); values.len()];
    Ok(Outcome::row_wise(values, vec![(sum, sum_stat, one), (rest, rest_stat, slope)]))
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["ntxent", "simclr"],
    family: Family::Embedding,
    reads: Reads::LabelledEmbeddings,
    summary: "SimCLR's contrastive loss: tell the partner view from every other row of the batch.",
    formula: "loss_ip = ln(exp(s_ip/τ) + Σ_{n: y_n≠y_i} exp(s_in/τ)) − s_ip/τ, mean over pairs of equal label",
    parameters: &[
        ParameterDoc::main(
            "temperature",
            "τ > 0; 0.5 by default (SimCLR's for long training; pytorch-metric-learning: 0.07)",
            &[0.05, 0.1, 0.2, 0.5, 1.0],
        ),
        ParameterDoc::new(
            "variant",
            "simclr (default): exactly two rows of each label, the views of a sample; pml: any labels, each positive pair alone \
             against the negatives (pytorch-metric-learning's)",
        ),
    ],
    paper: Paper { title: "A Simple Framework for Contrastive Learning of Visual Representations", id: "2002.05709" },
    when: "simclr: self-supervised training from two augmented views of each sample, in large batches. pml: class labels where \
           each positive pair shall be won by itself, so that the loss can reach zero however many rows a class has.",
    when_not: "Small batches (few negatives teach little), or samples that are often of one class unknown to you: they push each \
               other away as false negatives. With labels and many rows of a class, supervised_contrastive is the usual choice; \
               for queries and documents, symmetric_info_nce.",
    pytorch: "(lambda s, p: F.softplus(s.masked_fill(y[:, None] == y, -torch.inf).logsumexp(1)[p.nonzero()[:, 0]] - s[p]).mean())(\
              F.normalize(x) @ F.normalize(x).T / {temperature}, \
              (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool))  # variant {variant}",
    build: build_from::<NtXent>,
    defaults: defaults_of::<NtXent>,
};

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{Case, check_all, check_gradients, check_schedules};
    use super::*;
    use crate::pairs::testing::{check_invariances, check_missing_labels, check_silent, rows, run};

    #[test]
    fn gradients_and_schedules() {
        check_all("nt_xent:variant=pml", Reads::LabelledEmbeddings);
        check_all("nt_xent:variant=pml,temperature=0.1", Reads::LabelledEmbeddings);
        for spec in ["nt_xent", "nt_xent:temperature=0.07"] {
            let objective = parse(spec).unwrap();
            for (rows, d) in [(2, 3), (8, 4), (300, 8)] {
                let mut case = Case::random(Reads::LabelledEmbeddings, rows, 5, d, 11);
                case.targets = Some((0..rows as u32).map(|row| row % (rows as u32 / 2)).collect());
                if rows < 10 {
                    check_gradients(objective.f64(), &case, 2e-6);
                }
                check_schedules(&objective, &case, 2e-4);
            }
        }
    }

    #[test]
    fn the_variants_agree_on_two_views() {
        let (x, labels) = (rows(8, 3), [3, 1, 0, 2, 0, 1, 2, 3]);
        let (a, b) = (run("nt_xent", &x, 3, &labels).unwrap(), run("nt_xent:variant=pml", &x, 3, &labels).unwrap());
        assert!(a.loss > 0.1 && (a.loss - b.loss).abs() < 1e-14);
        assert!(a.gradients.queries.iter().zip(&b.gradients.queries).all(|(a, b)| (a - b).abs() < 1e-14));
    }

    #[test]
    fn lengths_and_order_do_not_matter() {
        check_invariances("nt_xent", &rows(6, 3), 3, &[0, 1, 2, 0, 1, 2]);
        check_invariances("nt_xent:variant=pml", &rows(7, 3), 3, &[0, 0, 1, 1, 2, 0, 3]);
    }

    #[test]
    fn a_won_pair_keeps_its_tiny_loss() {
        let x = [1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0];
        for spec in ["nt_xent:temperature=0.02", "nt_xent:variant=pml,temperature=0.02"] {
            let found = run(spec, &x, 2, &[0, 0, 1, 1]).unwrap();
            let expected = 2.0 * (-100.0f64).exp();
            assert!((found.loss / expected - 1.0).abs() < 1e-9, "{spec}: {}", found.loss);
        }
    }

    #[test]
    fn nothing_to_pull_or_nothing_to_push() {
        check_silent("nt_xent", &rows(2, 3), 3, &[5, 5]);
        check_silent("nt_xent:variant=pml", &rows(4, 3), 3, &[0, 1, 2, 3]);
        check_silent("nt_xent:variant=pml", &rows(4, 3), 3, &[2, 2, 2, 2]);
    }

    #[test]
    fn bad_input_is_named() {
        check_missing_labels("nt_xent");
        check_missing_labels("nt_xent:variant=pml");
        let found = run("nt_xent", &rows(5, 2), 2, &[0, 0, 7, 7, 7]).map(|_| ()).unwrap_err().to_string();
        assert!(found.contains("row 2") && found.contains("label 7 occurs 3 times"), "{found}");
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("nt_xent:temperature=-1").contains("temperature = -1"));
        assert!(message("nt_xent:variant=moco").contains("`simclr` or `pml`"), "{}", message("nt_xent:variant=moco"));
    }
}
