//! The paper's identities and limits, checked on scores without any training.

use crate::{Facts, Spread};
use anyhow::Result;
use keener::engine::{Batch, Options, View, evaluate};
use keener::metrics::hardness::hardness_weights;
use keener::objective::{Contrastive, HardContrastive, SharedObjective};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

const ROWS: usize = 64;
const COLUMNS: usize = 50;
/// Temperatures of the entropy check.
const TEMPERATURES: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Row values and the gradient of the mean with respect to the scores `[B, K]`; positives in column 0.
fn run(objective: &SharedObjective, scores: &[f64], columns: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let rows = scores.len() / columns;
    let batch = Batch::scores(View::new(scores, rows, columns)?).with_targets(vec![0; rows]);
    let found = evaluate(objective.f64(), &batch, &Options::default())?;
    Ok((found.values, found.gradients.scores))
}

fn contrastive(temperature: f64) -> SharedObjective {
    Arc::new(Contrastive { temperature })
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    // A comparison that NaN wins, so that it cannot pass for a small error.
    values.fold(0.0, |most: f64, x| if x > most || x.is_nan() { x } else { most })
}

/// States the facts `identity.…`.
pub(super) fn check(facts: &mut Facts) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let scores: Vec<f64> = (0..ROWS * COLUMNS).map(|_| random.random_range(-1.0..1.0)).collect();
    let mut state = |name: &str, value: f64| facts.set(format!("identity.{name}"), Spread::once(value));

    let (mut balance, mut weights, mut hard) = (0.0f64, 0.0f64, 0.0f64);
    for tau in TEMPERATURES {
        let (_, gradient) = run(&contrastive(tau), &scores, COLUMNS)?;
        let metric = hardness_weights(&scores, COLUMNS, &[0; ROWS], tau)?;
        for (row, expected) in gradient.chunks_exact(COLUMNS).zip(metric.weights.chunks_exact(COLUMNS)) {
            let pull = -row[0];
            balance = largest([balance, (row[1..].iter().sum::<f64>() / pull - 1.0).abs()].into_iter());
            let shares = row[1..].iter().zip(&expected[1..]).map(|(g, w)| (g / pull - w).abs());
            weights = largest([weights, largest(shares)].into_iter());
        }
        let (plain, _) = run(&contrastive(tau), &scores, COLUMNS)?;
        let all: SharedObjective = Arc::new(HardContrastive { temperature: tau, alpha: 1.0 });
        let (kept, _) = run(&all, &scores, COLUMNS)?;
        hard = largest([hard, largest(plain.iter().zip(&kept).map(|(a, b)| (a - b).abs()))].into_iter());
    }
    state("negative_gradients_over_positive_gradient_minus_1", balance);
    state("gradient_shares_minus_hardness_weights", weights);
    state("hard_loss_with_alpha_1_minus_plain_loss", hard);

    // Entropy of the weights, row by row, from one temperature to the next.
    let entropies = TEMPERATURES.map(|tau| hardness_weights(&scores, COLUMNS, &[0; ROWS], tau).map(|h| h.entropy));
    let entropies = entropies.into_iter().collect::<keener::Result<Vec<_>>>()?;
    let falls = entropies.windows(2).flat_map(|w| w[0].iter().zip(&w[1])).filter(|(a, b)| a >= b).count();
    state("steps_where_the_entropy_does_not_grow", falls as f64);
    let row: Vec<f64> = (0..9).map(|_| random.random_range(-1.0..1.0)).collect();
    for tau in TEMPERATURES {
        let entropy = hardness_weights(&row, 9, &[0], tau)?.entropy[0];
        state(&format!("entropy_of_8_negatives[tau={tau}]"), entropy);
    }

    // τ → 0: a row that has won and one that has lost, negatives a quarter apart.
    let spaced = [0.7, 0.45, 0.2, -0.05, -0.3, 0.0, 0.5, 0.25, -0.25, -0.5];
    let (values, _) = run(&contrastive(0.01), &spaced, 5)?;
    let hinge = [0.0, 0.5];
    state("cold_limit_error[tau=0.01]", largest(values.iter().zip(hinge).map(|(l, h)| (0.01 * l - h).abs())));
    // On any row τL lies between the hinge and τ ln K above it.
    let mut outside = 0.0f64;
    for tau in TEMPERATURES {
        let (values, _) = run(&contrastive(tau), &scores, COLUMNS)?;
        for (l, row) in values.iter().zip(scores.chunks_exact(COLUMNS)) {
            let hardest = row[1..].iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
            let above = tau * l - (hardest - row[0]).max(0.0);
            outside = largest([outside, -above, above - tau * (COLUMNS as f64).ln()].into_iter());
        }
    }
    state("cold_limit_bound_exceeded_by", outside);

    // τ → ∞: τ² times what the expansion leaves tends to half the variance of the row.
    let mean = row.iter().sum::<f64>() / 9.0;
    let half_variance = row.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 18.0;
    for tau in [10.0, 100.0, 1000.0] {
        let (values, _) = run(&contrastive(tau), &row, 9)?;
        let expansion = 9f64.ln() - 8.0 / (9.0 * tau) * row[0] + row[1..].iter().sum::<f64>() / (9.0 * tau);
        state(&format!("hot_expansion_tau_squared_error[tau={tau}]"), tau * tau * (values[0] - expansion));
    }
    state("hot_expansion_half_variance", half_variance);
    Ok(())
}
