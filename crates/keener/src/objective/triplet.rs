//! The triplet margin loss with mined triplets.

use super::common::above;
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Outcome, RowRule, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::Result;
pub use crate::pairs::Mining;
use crate::pairs::{ActiveTriplets, SemiHardTriplets, companions, distance, distance_slope};
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `loss_apn = max(0, d_ap − d_an + m)` with Euclidean distances of the normalised rows, `d = √(2 − 2 cos)`; mean over mined
/// triplets (anchor, positive of its class, negative of another).
///
/// * `batch_hard`: the farthest positive and the nearest negative of each row; mean over rows that have both (zero terms
///   count). Values are one a row.
/// * `semi_hard`: for each positive pair the nearest negative with `d_ap < d_an < d_ap + m`; mean over the triplets found.
/// * `all`: every triplet of positive loss, mean over those. Triplets are counted by sorting each row, never listed.
///
/// Reads embeddings `[B, d]` and the class of each row. Of equal distances the lowest row is taken. Twin rows are at distance 0,
/// where the derivative of the distance is 0. Without any triplet the loss is 0, and so is the gradient.
///
/// Errors: missing labels.
///
/// Reference: FaceNet (arXiv 1503.03832) for semi-hard, In Defense of the Triplet Loss (arXiv 1703.07737) for batch-hard mining.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Triplet {
    /// m > 0, of distances in `[0, 2]`. Default 0.2 (FaceNet's).
    pub margin: f64,
    /// Default `batch_hard`.
    pub mining: Mining,
}

impl Default for Triplet {
    fn default() -> Self {
        Self { margin: 0.2, mining: Mining::BatchHard }
    }
}

impl Configured for Triplet {
    fn check(&self) -> Result<()> {
        above("margin", self.margin, 0.0)
    }
}

const NAME: &str = "triplet";

impl<T: Real> Objective<T> for Triplet {
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
        let labels = batch.labels_for(NAME)?;
        Ok(match self.mining {
            Mining::BatchHard => companions(labels).iter().filter(|c| **c > 0 && **c + 1 < labels.len()).count() as f64,
            // How many triplets there are depends on distances; the value is the mean.
            Mining::SemiHard | Mining::All => 1.0,
        })
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let labels: Arc<[u32]> = batch.labels_for(NAME)?.into();
        let margin = T::of(self.margin);
        match self.mining {
            Mining::BatchHard => batch_hard(engine, labels, margin),
            Mining::SemiHard => over_rows(engine, Arc::new(SemiHardTriplets { labels, margin })),
            Mining::All => over_rows(engine, Arc::new(ActiveTriplets { labels, margin })),
        }
    }
}

fn batch_hard<T: Real>(engine: &mut dyn Sweep<T>, labels: Arc<[u32]>, margin: T) -> Result<Outcome<T>> {
    // The farthest positive has the largest −s.
    let farthest =
        Statistic::max(Argument::of(0).scaled(-T::one()), Set::off_diagonal().same(labels.clone(), labels.clone()));
    let nearest = Statistic::max(Argument::of(0), Set::all().different(labels.clone(), labels.clone()));
    let stats = engine.sweep(&[farthest.clone(), nearest.clone()])?;
    let (mut values, mut far, mut near) = (Vec::new(), Vec::new(), Vec::new());
    for (turned, cosine) in stats[0].values.iter().zip(&stats[1].values) {
        let both = turned.is_finite() && cosine.is_finite();
        let (positive, negative) = (distance(-*turned), distance(*cosine));
        let loss = positive - negative + margin;
        let active = both && loss > T::zero();
        values.push(if active { loss } else { T::zero() });
        // With respect to −s_ap and to s_an.
        far.push(if active { -distance_slope(positive) } else { T::zero() });
        near.push(if active { -distance_slope(negative) } else { T::zero() });
    }
    Ok(Outcome::row_wise(values, vec![(farthest, stats[0].clone(), far), (nearest, stats[1].clone(), near)]))
}

/// The mean over all triplets that a rule finds in the rows.
fn over_rows<T: Real>(engine: &mut dyn Sweep<T>, rule: Arc<dyn RowRule<T>>) -> Result<Outcome<T>> {
    let statistic = Statistic::rule(Argument::of(0), rule);
    let stat = engine.sweep(std::slice::from_ref(&statistic))?.remove(0);
    let total = |values: &[T]| values.iter().map(|v| v.f64()).sum::<f64>();
    let count = total(&stat.slope);
    engine.report("triplets", vec![T::of(count)]);
    let share = if count > 0.0 { count.recip() } else { 0.0 };
    let value = T::of(total(&stat.values) * share);
    Ok(Outcome::new(vec![value], move |upstream| {
        let weight = vec![upstream[0] * T::of(share); stat.values.len()];
        Backward::terms(vec![Term::new(statistic.clone(), stat.clone(), weight)])
    }))
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["triplet_margin"],
    family: Family::Embedding,
    reads: Reads::LabelledEmbeddings,
    summary: "Keeps negatives farther than positives by a margin, on mined triplets of a batch.",
    formula: "loss_apn = max(0, d_ap − d_an + m), d = √(2 − 2 cos), mean over the mined triplets",
    parameters: &[
        ParameterDoc::main(
            "margin",
            "m > 0, of distances in [0, 2]; 0.2 by default (FaceNet's)",
            &[0.05, 0.1, 0.2, 0.3, 0.5],
        ),
        ParameterDoc::new(
            "mining",
            "batch_hard (default): farthest positive and nearest negative of each row; semi_hard: nearest negative beyond each \
             positive, inside the margin; all: every triplet of positive loss",
        ),
    ],
    paper: Paper { title: "In Defense of the Triplet Loss for Person Re-Identification", id: "1703.07737" },
    when: "Retrieval or verification with many classes and few rows of each (faces, products, re-identification), batches of \
           P classes × K rows. batch_hard for clean labels and a warmed-up encoder, semi_hard to start from scratch or under \
           some label noise, all for small batches.",
    when_not: "Wrong labels: batch_hard trains on exactly those. An untrained encoder can fall into one point (loss stays at the \
               margin): begin with semi_hard, a smaller learning rate or a softmax objective. It forgets pairs beyond the \
               margin; multi_similarity and supervised_contrastive use more of a batch.",
    pytorch: "(lambda d, p, n: {'batch_hard': lambda: F.relu(d.masked_fill(~p, -1).amax(1) - d.masked_fill(~n, 9).amin(1) \
              + {margin})[p.any(1) & n.any(1)].mean(), \
              'semi_hard': lambda: (lambda v, ok: v[ok].mean())(*(lambda w: ((d + {margin} - w).where(p, 0 * d), p & (w < d + {margin})))\
              (d[:, None, :].masked_fill(~(n[:, None, :] & (d[:, None, :] > d[:, :, None])), 9).amin(2))), \
              'all': lambda: (lambda t: t[t > 0].mean())((d[:, :, None] - d[:, None, :] + {margin})[p[:, :, None] & n[:, None, :]])\
              }['{mining}']())(torch.cdist(F.normalize(x), F.normalize(x)), \
              (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool), y[:, None] != y)",
    build: build_from::<Triplet>,
    defaults: defaults_of::<Triplet>,
};

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::check_all;
    use super::*;
    use crate::pairs::testing::{check_invariances, check_missing_labels, check_silent, rows, run};

    const SPECS: [&str; 3] =
        ["triplet:margin=0.4", "triplet:mining=semi_hard,margin=0.6", "triplet:mining=all,margin=0.3"];

    #[test]
    fn gradients_and_schedules() {
        for spec in SPECS {
            check_all(spec, Reads::LabelledEmbeddings);
        }
    }

    #[test]
    fn lengths_and_order_do_not_matter() {
        for spec in SPECS {
            check_invariances(spec, &rows(9, 3), 3, &[0, 0, 1, 1, 2, 0, 3, 2, 1]);
        }
    }

    /// Points on the unit circle, whose chords are `2 sin(angle / 2)`.
    fn circle(degrees: &[f64]) -> Vec<f64> {
        degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect()
    }

    fn chord(degrees: f64) -> f64 {
        2.0 * (degrees.to_radians() / 2.0).sin()
    }

    #[test]
    fn by_hand() {
        let (x, labels) = (circle(&[0.0, 20.0, 30.0, 100.0]), [0, 0, 1, 2]);
        let found = run("triplet:margin=0.2", &x, 2, &labels).unwrap();
        let expected = [chord(20.0) - chord(30.0) + 0.2, chord(20.0) - chord(10.0) + 0.2, 0.0, 0.0];
        assert!(found.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{:?}", found.values);
        assert_eq!(found.normalizer, 2.0);
        // From row 1 the negative at 10° is nearer than the positive: not semi-hard.
        let found = run("triplet:margin=0.2,mining=semi_hard", &x, 2, &labels).unwrap();
        assert!((found.loss - expected[0]).abs() < 1e-14);
        let found = run("triplet:margin=0.2,mining=all", &x, 2, &labels).unwrap();
        assert!((found.loss - (expected[0] + expected[1]) / 2.0).abs() < 1e-14);
        assert_eq!(found.report, [("triplets", vec![2.0])]);
    }

    #[test]
    fn more_columns_than_a_block_agree_with_listing() {
        let (n, d) = (400, 6);
        let x = rows(n, d);
        let labels: Vec<u32> = (0..n as u32).map(|k| k % 37).collect();
        let unit: Vec<f64> =
            x.chunks(d).flat_map(|r| r.iter().map(|v| v / r.iter().map(|v| v * v).sum::<f64>().sqrt())).collect();
        let far = |a: usize, b: usize| (0..d).map(|k| (unit[a * d + k] - unit[b * d + k]).powi(2)).sum::<f64>().sqrt();
        let (mut sum, mut count) = (0.0, 0.0);
        for a in 0..n {
            for p in (0..n).filter(|p| *p != a && labels[*p] == labels[a]) {
                for q in (0..n).filter(|q| labels[*q] != labels[a]) {
                    let loss = far(a, p) - far(a, q) + 0.25;
                    if loss > 0.0 {
                        sum += loss;
                        count += 1.0;
                    }
                }
            }
        }
        let found = run("triplet:mining=all,margin=0.25", &x, d, &labels).unwrap();
        assert_eq!(found.report[0].1, [count]);
        assert!((found.loss - sum / count).abs() < 1e-12);
    }

    #[test]
    fn twins_have_no_direction() {
        // All rows alike: every distance is 0, every triplet is at the margin, and nothing can be derived.
        for mining in ["batch_hard", "all"] {
            let found = run(&format!("triplet:mining={mining}"), &[0.3, -0.7].repeat(4), 2, &[0, 0, 1, 1]).unwrap();
            assert_eq!(found.loss, 0.2);
            assert!(found.gradients.queries.iter().all(|g| *g == 0.0));
        }
        check_silent("triplet:mining=semi_hard", &[0.3, -0.7].repeat(4), 2, &[0, 0, 1, 1]);
    }

    #[test]
    fn without_triplets() {
        for spec in SPECS {
            check_silent(spec, &rows(4, 3), 3, &[0, 1, 2, 3]);
            check_silent(spec, &rows(4, 3), 3, &[6, 6, 6, 6]);
            check_silent(spec, &circle(&[0.0, 5.0, 90.0, 95.0]), 2, &[0, 0, 1, 1]);
        }
    }

    #[test]
    fn bad_input_is_named() {
        for spec in SPECS {
            check_missing_labels(spec);
        }
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message("triplet:margin=0"), "margin = 0: expected a finite number > 0");
        assert!(
            message("triplet:mining=hardest").contains("`batch_hard`, `semi_hard`"),
            "{}",
            message("triplet:mining=hardest")
        );
    }
}
