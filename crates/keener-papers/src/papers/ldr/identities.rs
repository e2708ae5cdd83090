//! What must hold exactly: limits of the loss, and the fixed point of the temperatures.

use crate::{Facts, Spread};
use anyhow::Result;
use keener::engine::{Batch, Options, View, evaluate};
use keener::objective::{ALDR_FIELD, AldrKl, AldrVariant, LdrKl, Normalization, SoftmaxCrossEntropy};
use keener::state::SampleStore;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 200;
const CLASSES: usize = 7;

/// States every identity as a fact `identity.…`.
pub(super) fn check(facts: &mut Facts) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let scores: Vec<f64> = (0..ROWS * CLASSES).map(|_| rng.random_range(-5.0..5.0)).collect();
    let targets: Vec<u32> = (0..ROWS).map(|_| rng.random_range(0..CLASSES as u32)).collect();
    let batch = || -> keener::Result<Batch<'_, f64>> {
        Ok(Batch::scores(View::new(&scores, ROWS, CLASSES)?).with_targets(targets.as_slice()))
    };
    let fixed = |lambda: f64, margin: f64| -> keener::Result<Vec<f64>> {
        let loss = LdrKl { lambda, margin, normalize: Normalization::None };
        Ok(evaluate(&loss, &batch()?, &Options::default())?.values)
    };
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let mut state = |name: &str, value: f64| facts.set(format!("identity.{name}"), Spread::once(value));

    let log_k = (CLASSES as f64).ln();
    let entropy = evaluate(&SoftmaxCrossEntropy::default(), &batch()?, &Options::default())?.values;
    let shifted: Vec<f64> = entropy.iter().map(|l| l - log_k).collect();
    state("lambda_1_minus_cross_entropy", apart(&fixed(1.0, 0.0)?, &shifted));
    state("small_lambda_minus_svm", apart(&fixed(1e-7, 0.5)?, &fixed(0.0, 0.5)?));
    state("large_lambda_minus_mean", apart(&fixed(1e9, 0.5)?, &fixed(f64::INFINITY, 0.5)?));

    // The temperatures: one step after another from λ0, against the fixed point.
    let adaptive = AldrKl { lambda0: 1.5, normalize: Normalization::None, ..AldrKl::default() };
    let ids: Vec<u32> = (0..ROWS as u32).collect();
    let mut store = SampleStore::new();
    let (mut rises, mut outside, mut residual) = (0.0, 0.0, 0.0);
    let mut before = vec![adaptive.lambda0; ROWS];
    for _ in 0..400 {
        let found = evaluate(&adaptive, &batch()?.with_samples(ids.as_slice(), &store), &Options::default())?;
        store.apply(&found.updates)?;
        let now = store.read(ALDR_FIELD, &ids, adaptive.lambda0);
        let least = adaptive.lambda0 * (1.0 - 1.0 / adaptive.alpha);
        rises += now.iter().zip(&before).filter(|(n, b)| **n > **b + 1e-12).count() as f64;
        outside += now.iter().filter(|l| **l < least - 1e-12 || **l > adaptive.lambda0).count() as f64;
        residual = apart(&now, &before);
        before = now;
    }
    state("steps_where_a_temperature_rises", rises);
    state("temperatures_outside_their_bounds", outside);
    state("fixed_point_residual", residual);
    let converged = AldrKl { variant: AldrVariant::Converged, ..adaptive.clone() };
    let found = evaluate(&converged, &batch()?, &Options::default())?;
    let lambda =
        found.report.iter().find(|(name, _)| *name == "lambda_new").map(|(_, v)| v.clone()).unwrap_or_default();
    state("converged_minus_iterated", apart(&lambda, &before));
    // Confidence is 1 − the cross-entropy's rank: the surer half must have lower temperatures.
    let mut order: Vec<usize> = (0..ROWS).collect();
    let margin = |row: usize| {
        let mut s = scores[row * CLASSES..(row + 1) * CLASSES].to_vec();
        s.sort_by(f64::total_cmp);
        s[CLASSES - 1] - s[CLASSES - 2]
    };
    order.sort_by(|a, b| margin(*a).total_cmp(&margin(*b)));
    let mean = |rows: &[usize]| rows.iter().map(|r| lambda[*r]).sum::<f64>() / rows.len() as f64;
    state("temperature_of_unsure_minus_sure", mean(&order[..ROWS / 2]) - mean(&order[ROWS / 2..]));
    Ok(())
}
