//! Mining of triplets from complete rows of cosines.

use super::{distance, distance_slope};
use crate::engine::{RowRule, Sweep};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which triplets (anchor, positive, negative) are trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mining {
    /// One a row: its farthest positive and its nearest negative.
    #[default]
    BatchHard,
    /// One a positive pair: the nearest of the negatives that are farther than the positive, but by less than the margin.
    SemiHard,
    /// Every triplet whose negative is not yet farther than its positive by the margin.
    All,
}

/// Mined triplets; entry `k` of each list belongs to triplet `k`. Anchors ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triplets {
    /// Rows of the anchors.
    pub anchors: Vec<u32>,
    /// Rows of the positives, of the anchor's class.
    pub positives: Vec<u32>,
    /// Rows of the negatives, of another class.
    pub negatives: Vec<u32>,
}

impl Triplets {
    /// Number of triplets.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether nothing was mined.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    fn push(&mut self, anchor: usize, positive: u32, negative: u32) {
        self.anchors.push(anchor as u32);
        self.positives.push(positive);
        self.negatives.push(negative);
    }
}

/// Lists triplets from a B × B matrix of cosines of an engine, row by row, by Euclidean distances `√(2 − 2 cos)`. Of equal
/// distances the lowest row wins. [`Mining::All`] lists as many triplets as there are; an objective that only sums over them
/// counts instead ([`crate::objective::Triplet`]).
///
/// # Errors
/// [`Error::Shape`] where there is not one label a row; what the engine raises.
pub fn mine<T: Real>(
    engine: &mut dyn Sweep<T>,
    matrix: usize,
    labels: &[u32],
    mining: Mining,
    margin: T,
) -> Result<Triplets> {
    let (rows, cols) = engine.shape(matrix);
    if labels.len() != rows || rows != cols {
        return Err(Error::shape(
            "labels of the rows to mine",
            &[labels.len()],
            format!("[{rows}] for [{rows}, {cols}]"),
        ));
    }
    let mut found = Triplets::default();
    engine.visit_rows(matrix, &mut |row, cosines| {
        let ranked = Ranked::new(row, cosines, labels);
        match mining {
            Mining::BatchHard => {
                let hardest = ranked.positives.iter().rev().reduce(|a, b| if b.0 == a.0 { b } else { a });
                if let (Some(positive), Some(negative)) = (hardest, ranked.negatives.first()) {
                    found.push(row, positive.1, negative.1);
                }
            }
            Mining::SemiHard => {
                ranked.semi_hard(margin).for_each(|(positive, negative)| found.push(row, positive.1, negative.1));
            }
            Mining::All => {
                for positive in &ranked.positives {
                    for negative in &ranked.negatives[..ranked.active(positive.0, margin)] {
                        found.push(row, positive.1, negative.1);
                    }
                }
            }
        }
    })?;
    Ok(found)
}

/// A distance and the row at it.
type Neighbour<T> = (T, u32);

/// The others of a row, from near to far; among equals the lowest row first.
struct Ranked<T> {
    positives: Vec<Neighbour<T>>,
    negatives: Vec<Neighbour<T>>,
}

impl<T: Real> Ranked<T> {
    fn new(row: usize, cosines: &[T], labels: &[u32]) -> Self {
        let mut ranked = Self { positives: Vec::new(), negatives: Vec::new() };
        for (other, (cosine, label)) in cosines.iter().zip(labels).enumerate() {
            if other != row {
                let into = if *label == labels[row] { &mut ranked.positives } else { &mut ranked.negatives };
                into.push((distance(*cosine), other as u32));
            }
        }
        for list in [&mut ranked.positives, &mut ranked.negatives] {
            list.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        }
        ranked
    }

    /// How many of the nearest negatives form a triplet of positive loss with a positive at distance `positive`.
    fn active(&self, positive: T, margin: T) -> usize {
        self.negatives.partition_point(|n| n.0 < positive + margin)
    }

    /// Positives with the nearest negative beyond them and inside the margin.
    fn semi_hard(&self, margin: T) -> impl Iterator<Item = (Neighbour<T>, Neighbour<T>)> {
        self.positives.iter().filter_map(move |positive| {
            let beyond = self.negatives.partition_point(|n| n.0 <= positive.0);
            let negative = self.negatives.get(beyond).filter(|n| n.0 < positive.0 + margin)?;
            Some((*positive, *negative))
        })
    }
}

/// `Σ (d_ap − d_an + margin)` over the semi-hard triplets of an anchor, and their number.
#[derive(Debug)]
pub(crate) struct SemiHardTriplets<T> {
    pub(crate) labels: Arc<[u32]>,
    pub(crate) margin: T,
}

impl<T: Real> RowRule<T> for SemiHardTriplets<T> {
    fn value(&self, row: usize, cosines: &[T]) -> (T, T) {
        let ranked = Ranked::new(row, cosines, &self.labels);
        let sum = |(value, count), ((p, _), (n, _)): (Neighbour<T>, Neighbour<T>)| {
            (value + (p - n + self.margin), count + T::one())
        };
        ranked.semi_hard(self.margin).fold((T::zero(), T::zero()), sum)
    }

    fn derivative(&self, row: usize, cosines: &[T], weight: T, into: &mut [T]) {
        let ranked = Ranked::new(row, cosines, &self.labels);
        for (positive, negative) in ranked.semi_hard(self.margin) {
            into[positive.1 as usize] += weight * distance_slope(positive.0);
            into[negative.1 as usize] -= weight * distance_slope(negative.0);
        }
    }
}

/// `Σ (d_ap − d_an + margin)` over all triplets of an anchor where that is positive, and their number: by sorting, so that
/// a row costs `B ln B` and not (positives × negatives).
#[derive(Debug)]
pub(crate) struct ActiveTriplets<T> {
    pub(crate) labels: Arc<[u32]>,
    pub(crate) margin: T,
}

impl<T: Real> RowRule<T> for ActiveTriplets<T> {
    fn value(&self, row: usize, cosines: &[T]) -> (T, T) {
        let ranked = Ranked::new(row, cosines, &self.labels);
        let (mut value, mut count, mut near, mut nearer) = (0.0, 0, 0, 0.0);
        // Positives ascend, so the active negatives of each are those of the one before and some more.
        for (positive, _) in &ranked.positives {
            let active = ranked.active(*positive, self.margin);
            nearer += ranked.negatives[near..active].iter().map(|n| n.0.f64()).sum::<f64>();
            near = active;
            value += active as f64 * (*positive + self.margin).f64() - nearer;
            count += active;
        }
        (T::of(value), T::of(count as f64))
    }

    fn derivative(&self, row: usize, cosines: &[T], weight: T, into: &mut [T]) {
        let ranked = Ranked::new(row, cosines, &self.labels);
        let mut near = 0;
        for (passed, (positive, at)) in ranked.positives.iter().enumerate() {
            let active = ranked.active(*positive, self.margin);
            into[*at as usize] += weight * T::of(active as f64) * distance_slope(*positive);
            // A negative that becomes active here is active for all farther positives as well.
            let pairs = weight * T::of((ranked.positives.len() - passed) as f64);
            for (negative, at) in &ranked.negatives[near..active] {
                into[*at as usize] -= pairs * distance_slope(*negative);
            }
            near = active;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Batch, Coupling, MatrixSpec, Objective, Options, Outcome, Scorer, View, forward};
    use std::sync::Mutex;

    /// Runs the miner inside a host step.
    #[derive(Debug)]
    struct Mined(Mining, f64, Mutex<Triplets>);

    impl Objective<f64> for Mined {
        fn name(&self) -> &'static str {
            "mined"
        }
        fn matrices(&self) -> Vec<MatrixSpec> {
            vec![MatrixSpec::pairs(Scorer::Cosine)]
        }
        fn coupling(&self) -> Coupling {
            Coupling::WholeBatch
        }
        fn evaluate(&self, engine: &mut dyn Sweep<f64>, batch: &Batch<'_, f64>) -> Result<Outcome<f64>> {
            *self.2.lock().unwrap() = mine(engine, 0, batch.labels_for("mined")?, self.0, self.1)?;
            Ok(Outcome::row_wise(vec![0.0; batch.rows()], Vec::new()))
        }
    }

    fn mined(mining: Mining, margin: f64, points: &[[f64; 2]], labels: &[u32]) -> Vec<(u32, u32, u32)> {
        let flat: Vec<f64> = points.iter().flatten().copied().collect();
        let batch = Batch::embeddings(View::new(&flat, points.len(), 2).unwrap()).with_targets(labels.to_vec());
        let objective = Mined(mining, margin, Mutex::default());
        forward(&objective, &batch, &Options::default()).unwrap();
        let Triplets { anchors, positives, negatives } = objective.2.into_inner().unwrap();
        anchors.into_iter().zip(positives).zip(negatives).map(|((a, p), n)| (a, p, n)).collect()
    }

    /// Points on the unit circle; chords grow with the angle.
    fn circle(degrees: &[f64]) -> Vec<[f64; 2]> {
        degrees.iter().map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect()
    }

    #[test]
    fn every_kind_of_mining() {
        let points = circle(&[0.0, 20.0, 40.0, 30.0, 100.0]);
        let labels = [0, 0, 0, 1, 1];
        // Nearest other class of anchors 0, 1, 2 is row 3; of rows 3 and 4 it is 2 (row 1 as near to 3, but later only).
        let hard = mined(Mining::BatchHard, 0.2, &points, &labels);
        assert_eq!(&hard[..3], [(0, 2, 3), (1, 0, 3), (2, 0, 3)]);
        assert_eq!((hard[3].0, hard[3].1, hard[4]), (3, 4, (4, 3, 2)));
        // Chord 2 sin(θ/2): from row 0, 30° is beyond 20° by 0.17, and not beyond 40°.
        let semi = mined(Mining::SemiHard, 0.2, &points, &labels);
        assert!(semi.contains(&(0, 1, 3)) && !semi.iter().any(|t| (t.0, t.1) == (0, 2)));
        assert!(!mined(Mining::SemiHard, 0.1, &points, &labels).contains(&(0, 1, 3)));
        let all = mined(Mining::All, 0.2, &points, &labels);
        assert!(all.contains(&(0, 1, 3)) && all.contains(&(0, 2, 3)) && !all.contains(&(0, 1, 4)));
        assert!(semi.iter().all(|t| all.contains(t)));
    }

    #[test]
    fn ties_go_to_the_lowest_row_and_twins_are_at_distance_zero() {
        let points = [[2.0, 0.0], [0.0, 1.0], [0.0, -3.0], [-1.0, 0.0], [-5.0, 0.0], [4.0, 0.0]];
        assert_eq!(mined(Mining::BatchHard, 0.2, &points, &[0, 0, 0, 1, 1, 2])[0], (0, 1, 5));
        // Rows 3 and 4 point the same way: both at distance 2 from row 0, and no farther than each other.
        assert_eq!(mined(Mining::SemiHard, 1.0, &points, &[0, 0, 0, 1, 1, 2])[0], (0, 1, 3));
        let twins = [[0.3, 0.1], [0.6, 0.2], [0.9, 0.3]];
        assert_eq!(mined(Mining::SemiHard, 0.5, &twins, &[0, 0, 1]), []);
        assert_eq!(mined(Mining::All, 0.5, &twins, &[0, 0, 1]), [(0, 1, 2), (1, 0, 2)]);
    }

    #[test]
    fn rules_sum_over_what_the_miner_lists() {
        let points = circle(&[0.0, 25.0, 44.0, 31.0, 100.0, 61.0, 200.0, 77.0]);
        let labels = [0u32, 0, 1, 1, 2, 2, 2, 0];
        let far = |a: u32, b: u32| {
            let (a, b) = (points[a as usize], points[b as usize]);
            (a[0] - b[0]).hypot(a[1] - b[1])
        };
        for (mining, margin) in [(Mining::SemiHard, 0.4), (Mining::All, 0.4), (Mining::All, 0.05)] {
            let (labels, listed) = (Arc::<[u32]>::from(labels), mined(mining, margin, &points, &labels));
            let rule: Box<dyn RowRule<f64>> = match mining {
                Mining::All => Box::new(ActiveTriplets { labels, margin }),
                _ => Box::new(SemiHardTriplets { labels, margin }),
            };
            for (row, point) in points.iter().enumerate() {
                let cosines: Vec<f64> = points.iter().map(|p| p[0] * point[0] + p[1] * point[1]).collect();
                let (value, count) = rule.value(row, &cosines);
                let of_row = listed.iter().filter(|t| t.0 as usize == row);
                let expected: f64 = of_row.clone().map(|(a, p, n)| far(*a, *p) - far(*a, *n) + margin).sum();
                assert_eq!(count as usize, of_row.count(), "{mining:?}, row {row}");
                assert!((value - expected).abs() < 1e-12, "{mining:?}, row {row}: {value}, expected {expected}");
            }
        }
    }

    #[test]
    fn one_label_a_row() {
        let points = [1.0, 0.0, 0.0, 1.0];
        #[derive(Debug)]
        struct Short;
        impl Objective<f64> for Short {
            fn name(&self) -> &'static str {
                "short"
            }
            fn matrices(&self) -> Vec<MatrixSpec> {
                vec![MatrixSpec::pairs(Scorer::Cosine)]
            }
            fn coupling(&self) -> Coupling {
                Coupling::WholeBatch
            }
            fn evaluate(&self, engine: &mut dyn Sweep<f64>, _: &Batch<'_, f64>) -> Result<Outcome<f64>> {
                mine(engine, 0, &[1], Mining::All, 0.1)?;
                Ok(Outcome::row_wise(Vec::new(), Vec::new()))
            }
        }
        let batch = Batch::embeddings(View::new(&points, 2, 2).unwrap());
        let error = forward(&Short, &batch, &Options::default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("shape [1], expected [2]"), "{error}");
    }
}
