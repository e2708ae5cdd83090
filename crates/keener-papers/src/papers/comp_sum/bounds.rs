//! The bounds, where everything is known: free scores for points of known label distribution.

use anyhow::Result;
use keener::engine::{Batch, Options, View, forward};
use keener::objective::CompSum;
use keener::theory::comp_sum::{bound, conditional_risk, optimal_conditional_risk};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Members of the family that are trained.
pub(super) const TAUS: [f64; 5] = [0.0, 0.5, 1.0, 1.5, 2.0];
/// Members whose bound is put to random tests.
pub(super) const SEARCHED: [f64; 9] = [0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 2.5, 3.0, 4.0];

const POINTS: usize = 20;
const CLASSES: usize = 4;
/// Step of the gradient descent, and the largest entry that a row's gradient may have.
const STEP: f64 = 0.2;
const LARGEST: f64 = 1.0;
/// Shown on the way.
const SHOWN: [usize; 4] = [0, 20, 200, 2000];

/// Gradient descent on the expected loss.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct DescentUnit {
    pub(super) tau: f64,
    pub(super) iterations: usize,
}

impl DescentUnit {
    pub(super) fn name(&self) -> String {
        format!("bounds, τ = {}, {} steps", self.tau, self.iterations)
    }
}

/// Where the descent is after some steps: means over the points.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) step: usize,
    /// Zero-one excess.
    pub(super) error: f64,
    /// Surrogate excess over the least conditional risk.
    pub(super) surrogate: f64,
    /// The exact bound on the former from the latter.
    pub(super) bound: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Descent {
    pub(super) tau: f64,
    pub(super) points: Vec<Point>,
    /// Bound minus zero-one excess, the least over all steps.
    pub(super) least_slack: f64,
}

/// A distribution over `n` classes, Dirichlet with all parameters `alpha` (Gamma draws by Marsaglia and Tsang).
fn dirichlet(rng: &mut ChaCha8Rng, alpha: f64, n: usize) -> Result<Vec<f64>> {
    let gamma = rand_distr::Gamma::new(alpha, 1.0)?;
    let draws: Vec<f64> = (0..n).map(|_| rng.sample(gamma).max(1e-300)).collect();
    let sum: f64 = draws.iter().sum();
    Ok(draws.iter().map(|d| d / sum).collect())
}

/// `max q − q(decided)`, the class of the highest score decided for.
fn error(q: &[f64], scores: &[f64]) -> f64 {
    let best = (0..q.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)));
    q.iter().copied().fold(0.0, f64::max) - best.map_or(0.0, |k| q[k])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(super) fn descend(unit: &DescentUnit) -> Result<Descent> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut q = Vec::with_capacity(POINTS * CLASSES);
    for _ in 0..POINTS {
        q.extend(dirichlet(&mut rng, 0.7, CLASSES)?);
    }
    let mut scores: Vec<f64> = (0..POINTS * CLASSES).map(|_| rng.sample(rand_distr::StandardNormal)).collect();
    let least = optimal_conditional_risk(unit.tau, View::new(&q, POINTS, CLASSES)?)?;
    // One row a point and label; the label's probability is the weight of its row.
    let targets: Vec<u32> = (0..POINTS).flat_map(|_| 0..CLASSES as u32).collect();
    let loss = CompSum { tau: unit.tau };
    let (mut points, mut least_slack) = (Vec::new(), f64::INFINITY);
    for step in 0..=unit.iterations {
        let risk = conditional_risk(unit.tau, View::new(&q, POINTS, CLASSES)?, View::new(&scores, POINTS, CLASSES)?)?;
        let surrogate = (mean(&risk) - mean(&least)).max(0.0);
        let errors: Vec<f64> = q.chunks(CLASSES).zip(scores.chunks(CLASSES)).map(|(q, s)| error(q, s)).collect();
        let bounded = bound(unit.tau, CLASSES, &[surrogate])?[0].exact;
        least_slack = least_slack.min(bounded - mean(&errors));
        if SHOWN.contains(&step) || step == unit.iterations {
            points.push(Point { step, error: mean(&errors), surrogate, bound: bounded });
        }
        let repeated: Vec<f64> =
            scores.chunks(CLASSES).flat_map(|s| s.iter().copied().cycle().take(CLASSES * CLASSES)).collect();
        let rows = POINTS * CLASSES;
        let batch = Batch::scores(View::new(&repeated, rows, CLASSES)?).with_targets(targets.as_slice());
        let gradient = forward(&loss, &batch, &Options::default())?.backward(&q)?.scores;
        for (s, g) in scores.chunks_mut(CLASSES).zip(gradient.chunks(CLASSES * CLASSES)) {
            let total: Vec<f64> = (0..CLASSES).map(|k| g.iter().skip(k).step_by(CLASSES).sum()).collect();
            let peak = total.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let factor = if peak > LARGEST { LARGEST / peak } else { 1.0 };
            s.iter_mut().zip(&total).for_each(|(s, g)| *s -= STEP * factor * g);
        }
    }
    Ok(Descent { tau: unit.tau, points, least_slack })
}

/// Random pairs of label distribution and scores.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SearchUnit {
    pub(super) tau: f64,
    pub(super) pairs: usize,
}

impl SearchUnit {
    pub(super) fn name(&self) -> String {
        format!("random search, τ = {}, {} pairs for each of 2, 3 and 5 classes", self.tau, self.pairs)
    }
}

/// The least of bound minus zero-one excess over random pairs, scores near ties among them.
pub(super) fn search(unit: &SearchUnit) -> Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut least = f64::INFINITY;
    for n in [2, 3, 5] {
        for _ in 0..unit.pairs {
            let alpha = rng.random_range(0.2..2.0);
            let q = dirichlet(&mut rng, alpha, n)?;
            let spread = 10f64.powf(rng.random_range(-2.0..0.7));
            // Around the optimum of cross-entropy, where a decision is most easily wrong at a small excess.
            let scores: Vec<f64> = q
                .iter()
                .map(|q| q.ln().max(-20.0) + spread * rng.sample::<f64, _>(rand_distr::StandardNormal))
                .collect();
            let (q_row, s_row) = (View::new(&q, 1, n)?, View::new(&scores, 1, n)?);
            let risk = conditional_risk(unit.tau, q_row, s_row)?[0];
            let excess = (risk - optimal_conditional_risk(unit.tau, q_row)?[0]).max(0.0);
            least = least.min(bound(unit.tau, n, &[excess])?[0].exact - error(&q, &scores));
        }
    }
    Ok(least)
}
