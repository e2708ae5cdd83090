//! The contrastive loss over all pairs of a batch.

use super::common::{above, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Scorer, Set, Stat, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::pairs::{coincident, just_above, just_below};
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Mean of `max(0, d_ij − m₊)` over pairs of one class, plus mean of `max(0, m₋ − d_ij)` over pairs of two classes, with
/// Euclidean distances of the normalised rows, `d = √(2 − 2 cos)`. Each mean is over its terms that are not zero.
///
/// Reads embeddings `[B, d]` and the class of each row. Twin rows are at distance 0, where the derivative of the distance is 0:
/// twins of one class are done, twins of two classes count with `m₋` and cannot be told apart by a gradient. A mean over nothing
/// is 0.
///
/// Errors: missing labels.
///
/// Reference: Dimensionality Reduction by Learning an Invariant Mapping (CVPR 2006), with distances to the first power and the
/// mean over non-zero terms as in pytorch-metric-learning.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastivePairs {
    /// m₊ in `[0, 2]`: positives nearer than this are left alone. Default 0 (pytorch-metric-learning).
    pub pos_margin: f64,
    /// m₋ in `(0, 2]`: negatives farther than this are left alone. Default 1 (pytorch-metric-learning).
    pub neg_margin: f64,
}

impl Default for ContrastivePairs {
    fn default() -> Self {
        Self { pos_margin: 0.0, neg_margin: 1.0 }
    }
}

impl Configured for ContrastivePairs {
    fn check(&self) -> Result<()> {
        within("pos_margin", self.pos_margin, 0.0, 2.0)?;
        above("neg_margin", self.neg_margin, 0.0)?;
        if self.neg_margin > 2.0 {
            return Err(Error::parameter(
                "neg_margin",
                self.neg_margin,
                "at most 2, the largest distance of unit rows",
            ));
        }
        Ok(())
    }
}

const NAME: &str = "contrastive_pairs";

/// The cosine at a distance.
fn cosine_at<T: Real>(distance: f64) -> T {
    T::of(1.0 - distance * distance / 2.0)
}

fn total<T: Real>(stat: &Stat<T>) -> f64 {
    stat.values.iter().map(|v| v.f64()).sum()
}

impl<T: Real> Objective<T> for ContrastivePairs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::pairs(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    /// The value is a sum of two means over what distances decide.
    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        batch.labels_for(NAME).map(|_| 1.0)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let labels: Arc<[u32]> = batch.labels_for(NAME)?.into();
        let two = T::of(2.0);
        let distance = Argument::of(0).scaled(-two).shifted(two);
        // Cosines below this belong to rows that are apart.
        let apart = T::one() - coincident::<T>() / two;
        // Positives beyond their margin: d > m₊ is s < 1 − m₊²/2. Negatives inside theirs: s > 1 − m₋²/2.
        let beyond = apart.min(just_below(cosine_at(self.pos_margin)));
        let positives = Set::off_diagonal().same(labels.clone(), labels.clone()).at_most(beyond);
        let negatives =
            Set::all().different(labels.clone(), labels).at_least(just_above(cosine_at::<T>(self.neg_margin)));
        let pull = Statistic::sum(Map::Root, distance.clone(), positives.clone());
        let push = Statistic::sum(Map::Root, distance, negatives.clone().at_most(apart));
        let wanted = [pull.clone(), Statistic::count(0, positives), push.clone(), Statistic::count(0, negatives)];
        let stats = engine.sweep(&wanted)?;
        let [pulled, pull_count, pushed, push_count] = [0, 1, 2, 3].map(|k| total(&stats[k]));
        let share = |count: f64| if count > 0.0 { count.recip() } else { 0.0 };
        let (pull_share, push_share) = (share(pull_count), share(push_count));
        let value =
            (pulled - self.pos_margin * pull_count) * pull_share + (self.neg_margin * push_count - pushed) * push_share;
        engine.report("positive pairs beyond the margin", vec![T::of(pull_count)]);
        engine.report("negative pairs inside the margin", vec![T::of(push_count)]);
        Ok(Outcome::new(vec![T::of(value)], move |upstream| {
            let term = |statistic: &Statistic<T>, stat: &Arc<Stat<T>>, share: f64| {
                Term::new(statistic.clone(), stat.clone(), vec![upstream[0] * T::of(share); stat.values.len()])
            };
            Backward::terms(vec![term(&pull, &stats[0], pull_share), term(&push, &stats[2], -push_share)])
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["pair_contrastive", "siamese"],
    family: Family::Embedding,
    reads: Reads::LabelledEmbeddings,
    summary: "Pulls pairs of one class together and pushes other pairs apart up to a margin.",
    formula: "mean⁺ max(0, d_ij − m₊) + mean⁻ max(0, m₋ − d_ij), d = √(2 − 2 cos), means over non-zero terms",
    parameters: &[
        ParameterDoc::new(
            "pos_margin",
            "m₊ in [0, 2]: nearer positives are left alone; 0 by default (pytorch-metric-learning)",
        ),
        ParameterDoc::main(
            "neg_margin",
            "m₋ in (0, 2]: farther negatives are left alone; 1 by default (pytorch-metric-learning)",
            &[0.5, 0.75, 1.0, 1.25, 1.414],
        ),
    ],
    paper: Paper { title: "Dimensionality Reduction by Learning an Invariant Mapping", id: "CVPR 2006" },
    when: "Verification with a fixed threshold on the distance: margins are absolute, so same and different pairs end up on known \
           sides. Few classes, small batches, a plain baseline for pairs.",
    when_not: "Classes of very different spread: one absolute margin cannot fit all (triplet compares relatively). With a small \
               pos_margin every class is squeezed to a point, which hurts transfer to unseen classes.",
    pytorch: "(lambda d, p, n: sum(t[t > 0].mean() if (t > 0).any() else t.sum() * 0 \
              for t in (F.relu(d[p] - {pos_margin}), F.relu({neg_margin} - d[n]))))(\
              torch.cdist(F.normalize(x), F.normalize(x)), \
              (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool), y[:, None] != y)",
    build: build_from::<ContrastivePairs>,
    defaults: defaults_of::<ContrastivePairs>,
};

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::check_all;
    use super::*;
    use crate::pairs::testing::{check_invariances, check_missing_labels, check_silent, rows, run};

    #[test]
    fn gradients_and_schedules() {
        check_all("contrastive_pairs", Reads::LabelledEmbeddings);
        check_all("contrastive_pairs:pos_margin=0.3,neg_margin=1.4", Reads::LabelledEmbeddings);
    }

    #[test]
    fn lengths_and_order_do_not_matter() {
        check_invariances("contrastive_pairs:neg_margin=1.5", &rows(7, 3), 3, &[0, 0, 1, 1, 2, 0, 3]);
    }

    #[test]
    fn by_hand() {
        // Right angles are at distance √2, opposite rows at 2.
        let x = [1.0, 0.0, 0.0, 2.0, -3.0, 0.0];
        let found = run("contrastive_pairs:pos_margin=0.5,neg_margin=2", &x, 2, &[0, 0, 1]).unwrap();
        // Rows 0 and 2 are exactly at the margin: not a term.
        let expected = (2f64.sqrt() - 0.5) + (2.0 - 2f64.sqrt());
        assert!((found.loss - expected).abs() < 1e-14, "{}", found.loss);
        let counts: Vec<f64> = found.report.iter().map(|(_, v)| v[0]).collect();
        assert_eq!(counts, [2.0, 2.0]);
    }

    #[test]
    fn twins_of_one_class_are_done_and_of_two_classes_count() {
        let x = [0.3, 0.7, 0.6, 1.4];
        check_silent("contrastive_pairs", &x, 2, &[1, 1]);
        let found = run("contrastive_pairs", &x, 2, &[1, 2]).unwrap();
        assert_eq!(found.loss, 1.0);
        assert!(found.gradients.queries.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn one_kind_of_pair_alone() {
        let x = rows(4, 3);
        let found = run("contrastive_pairs", &x, 3, &[2; 4]).unwrap();
        assert!(found.loss > 0.0 && found.report[1].1 == [0.0]);
        check_silent("contrastive_pairs:neg_margin=0.01", &x, 3, &[0, 1, 2, 3]);
        check_silent("contrastive_pairs", &[1.0, 2.0], 2, &[0]);
    }

    #[test]
    fn bad_input_is_named() {
        check_missing_labels("contrastive_pairs");
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message("contrastive_pairs:pos_margin=-0.1"), "pos_margin = -0.1: expected a number in [0, 2]");
        assert!(message("contrastive_pairs:neg_margin=0").contains("neg_margin = 0"));
        assert!(message("contrastive_pairs:neg_margin=3").contains("at most 2"));
        assert!(message("contrastive_pairs:margin=1").contains("takes pos_margin, neg_margin"));
    }
}
