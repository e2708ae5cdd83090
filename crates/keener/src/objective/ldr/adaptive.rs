//! ALDR-KL: a temperature for every training sample.

use super::super::common::{above, within};
use super::super::registry::Configured;
use super::at::At;
use super::normalization::{Normalization, Normalized};
use super::{count, targets_of};
use crate::engine::{
    Argument, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, RowRule, Scorer, Statistic, Sweep,
};
use crate::error::{Error, Result};
use crate::real::Real;
use crate::state::Update;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How the temperature of a sample is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AldrVariant {
    /// One step of the fixed-point map from the stored temperature, with `p = softmax(a/λ)`.
    OneStep,
    /// The map is iterated from λ0 to its largest fixed point (at most 200 times); reads and writes no state.
    Converged,
    /// As the authors' code: one step with `p = softmax(f/λ)`, without the margin, smoothed as `p + kl_eps`, renormalised.
    Reference,
}

/// Steps of the converged variant at most; what is left then is reported as `lambda_residual`.
const MOST_STEPS: usize = 200;

/// The field of per-sample state that holds the temperatures.
pub const ALDR_FIELD: &str = "aldr_lambda";

/// [`super::LdrKl`] at temperatures λ_i that belong to samples, less a penalty: `loss_i = λ_i ln((1/K) Σ_k exp(a_k/λ_i)) −
/// (α ln K/(2 λ0)) (λ_i − λ0)²`, with λ_i on its way to the maximiser of this over λ ≥ 0.
///
/// The maximiser is a fixed point of `λ ← λ0 − λ0 KL(softmax(a/λ) ‖ uniform)/(α ln K)`, and lies in `[λ0 (1 − 1/α), λ0]`; each visit
/// of a sample makes one step of this map (see [`AldrVariant`]), then takes the loss at the new λ_i, which is constant for the
/// gradient. Reads the id of each sample and its stored temperature ([`ALDR_FIELD`], λ0 at first); reports `lambda_new` and ends with
/// the update. Inputs otherwise as for cross-entropy, with at least two classes; rows without a class are ignored.
///
/// Reference: Label Distributionally Robust Losses for Multi-class Classification (arXiv 2112.14869).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AldrKl {
    /// λ0 > 0. Default 10 (the released script).
    pub lambda0: f64,
    /// α > 1. Default 2 (the reference).
    pub alpha: f64,
    /// c ≥ 0. Default 0.1 (the experiments).
    pub margin: f64,
    /// Default [`Normalization::SoftplusMean`] (the reference's for CIFAR-100; `l1` elsewhere).
    pub normalize: Normalization,
    /// Default [`AldrVariant::OneStep`].
    pub variant: AldrVariant,
    /// Smoothing of the reference variant. Default 1e-5 (the reference).
    pub kl_eps: f64,
    /// Number of training samples, if known: ids must be below it.
    pub num_samples: Option<u32>,
}

impl Default for AldrKl {
    fn default() -> Self {
        Self {
            lambda0: 10.0,
            alpha: 2.0,
            margin: 0.1,
            normalize: Normalization::SoftplusMean,
            variant: AldrVariant::OneStep,
            kl_eps: 1e-5,
            num_samples: None,
        }
    }
}

impl Configured for AldrKl {
    fn check(&self) -> Result<()> {
        above("lambda0", self.lambda0, 0.0)?;
        above("alpha", self.alpha, 1.0)?;
        within("margin", self.margin, 0.0, f64::INFINITY)?;
        within("kl_eps", self.kl_eps, 0.0, f64::INFINITY)
    }
}

impl AldrKl {
    /// Ids and stored temperatures, checked.
    fn stored<T: Real>(&self, batch: &Batch<'_, T>) -> Result<(Vec<u32>, Vec<T>)> {
        let ids = batch.sample_ids_for("aldr_kl")?.to_vec();
        if let Some(most) = self.num_samples
            && let Some(row) = ids.iter().position(|id| *id >= most)
        {
            return Err(Error::parameter(
                format!("sample_ids[{row}]"),
                ids[row],
                format!("below num_samples = {most}"),
            ));
        }
        let stored = batch.sample_state(ALDR_FIELD, &ids, T::of(self.lambda0));
        match stored.iter().position(|l| !(l.is_finite() && *l > T::zero())) {
            None => Ok((ids, stored)),
            Some(row) => Err(Error::parameter(
                format!("the stored temperature of sample {}", ids[row]),
                stored[row],
                "a finite number > 0",
            )),
        }
    }

    /// λ0 − λ0 KL/(α ln K)
    fn mapped<T: Real>(&self, divergence: &[T], log_k: T) -> Vec<T> {
        let (lambda0, slope) = (T::of(self.lambda0), T::of(self.lambda0 / self.alpha) / log_k);
        divergence.iter().map(|kl| lambda0 - slope * *kl).collect()
    }

    /// The largest fixed point of every row: from λ0 the map falls towards it.
    fn converge<T: Real>(
        &self,
        engine: &mut dyn Sweep<T>,
        f: &Normalized<T>,
        targets: &[u32],
        log_k: T,
    ) -> Result<Vec<T>> {
        let mut lambda = vec![T::of(self.lambda0); targets.len()];
        let mut open = vec![true; targets.len()];
        let mut residual = vec![T::zero(); targets.len()];
        let small = T::epsilon() * T::of(4.0);
        for _ in 0..MOST_STEPS {
            let at = At::sweep(engine, f, targets, lambda.clone(), T::of(self.margin), true)?;
            let next = self.mapped(&at.divergence(log_k), log_k);
            for row in 0..lambda.len() {
                if open[row] {
                    // Rows end each on its own, so that the others of a batch do not matter.
                    residual[row] = (lambda[row] - next[row]).max(T::zero());
                    open[row] = residual[row] > small * lambda[row];
                    lambda[row] = next[row].min(lambda[row]);
                }
            }
            if !open.contains(&true) {
                break;
            }
        }
        engine.report("lambda_residual", residual);
        Ok(lambda)
    }
}

impl<T: Real> Objective<T> for AldrKl {
    fn name(&self) -> &'static str {
        "aldr_kl"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(count(batch.targets_for("aldr_kl")?))
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = targets_of("aldr_kl", engine, batch)?;
        let stored = match self.variant {
            AldrVariant::Converged => None,
            _ => Some(self.stored(batch)?),
        };
        let f = Normalized::sweep(engine, self.normalize, targets)?;
        let log_k = T::of((engine.shape(0).1 as f64).ln());
        let margin = T::of(self.margin);
        let lambda = match (self.variant, &stored) {
            (AldrVariant::Reference, Some((_, previous))) => {
                let rule = Smoothed {
                    normalize: self.normalize,
                    inverse: previous.iter().map(|l| l.recip()).collect(),
                    epsilon: T::of(self.kl_eps),
                };
                let divergence = engine.sweep(&[Statistic::rule(Argument::of(0), Arc::new(rule))])?.remove(0);
                self.mapped(&divergence.values, log_k)
            }
            (AldrVariant::OneStep, Some((_, previous))) => {
                let at = At::sweep(engine, &f, targets, previous.clone(), margin, true)?;
                self.mapped(&at.divergence(log_k), log_k)
            }
            _ => self.converge(engine, &f, targets, log_k)?,
        };
        let lambda = engine.freeze("lambda_new", lambda);
        let divides = f.divides();
        let mut outcome = At::sweep(engine, &f, targets, lambda.clone(), margin, divides)?.outcome(f);
        // The penalty belongs to the value; λ is constant for the gradient, and so is the penalty.
        let (lambda0, half) = (T::of(self.lambda0), T::of(self.alpha / (2.0 * self.lambda0)) * log_k);
        for ((value, lambda), target) in outcome.values.iter_mut().zip(&lambda).zip(targets) {
            if *target != NONE {
                *value -= half * (*lambda - lambda0) * (*lambda - lambda0);
            }
        }
        Ok(match stored {
            Some((ids, _)) => outcome.with_updates(vec![Update { field: ALDR_FIELD, ids, values: lambda }]),
            None => outcome,
        })
    }
}

/// `KL(p ‖ uniform)` of `p = softmax(f/λ)` smoothed: `(p + ε)/(1 + K ε)`. A rule, because the smoothing is a function of each
/// probability. No gradient: the temperature is constant.
#[derive(Debug)]
struct Smoothed<T> {
    normalize: Normalization,
    inverse: Vec<T>,
    epsilon: T,
}

impl<T: Real> RowRule<T> for Smoothed<T> {
    fn value(&self, row: usize, scores: &[T]) -> (T, T) {
        let z: Vec<T> = self.normalize.apply(scores).iter().map(|f| *f * self.inverse[row]).collect();
        let peak = z.iter().fold(T::neg_infinity(), |m, z| m.max(*z));
        let e: Vec<T> = z.iter().map(|z| (*z - peak).exp()).collect();
        let sum: T = e.iter().copied().sum();
        let k = T::of(e.len() as f64);
        let smoothed = e.iter().map(|e| (*e / sum + self.epsilon) / (T::one() + k * self.epsilon));
        let divergence = smoothed.filter(|p| *p > T::zero()).map(|p| p * (k * p).ln()).sum::<T>();
        (divergence.max(T::zero()), T::zero())
    }

    fn derivative(&self, _: usize, _: &[T], _: T, _: &mut [T]) {}
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{check_all, numbers};
    use super::*;
    use crate::engine::{Evaluation, Options, View, evaluate};
    use crate::objective::{LdrKl, Reads, parse};
    use crate::state::SampleStore;
    use rand::SeedableRng;

    #[test]
    fn gradients_and_schedules() {
        for normalize in ["none", "softplus_l1", "l1"] {
            let spec = format!("aldr_kl:variant=converged,lambda0=2,normalize={normalize}");
            check_all(&spec, Reads::ClassHead);
        }
        check_all("aldr_kl:lambda0=0.7", Reads::ClassHead);
        check_all("aldr_kl:variant=reference,normalize=l1", Reads::ClassHead);
    }

    fn run(loss: &AldrKl, scores: &[f64], targets: &[u32], store: &SampleStore<f64>) -> Evaluation<f64> {
        let rows = targets.len();
        let batch = Batch::scores(View::new(scores, rows, scores.len() / rows).unwrap())
            .with_targets(targets)
            .with_samples((0..rows as u32).collect::<Vec<_>>(), store);
        evaluate(loss, &batch, &Options::default()).unwrap()
    }

    #[test]
    fn one_step_after_another_falls_to_the_fixed_point_within_its_bounds() {
        let scores: Vec<f64> =
            numbers(&mut rand_chacha::ChaCha8Rng::seed_from_u64(3), 8 * 5).iter().map(|s| 6.0 * s).collect();
        let targets = [0, 1, 2, 3, 4, 0, 1, 2];
        let step = AldrKl { lambda0: 1.5, normalize: Normalization::None, ..AldrKl::default() };
        let mut store = SampleStore::new();
        let mut before = vec![1.5; 8];
        let mut last = before.clone();
        for _ in 0..300 {
            let found = run(&step, &scores, &targets, &store);
            last = found.updates[0].values.clone();
            assert!(last.iter().zip(&before).all(|(a, b)| *a <= *b + 1e-15), "the map falls from λ0");
            assert!(last.iter().all(|l| (0.75..=1.5).contains(l)), "λ0 (1 − 1/α) ≤ λ ≤ λ0");
            store.apply(&found.updates).unwrap();
            before = last.clone();
        }
        let converged = AldrKl { variant: AldrVariant::Converged, ..step.clone() };
        let found = run(&converged, &scores, &targets, &SampleStore::new());
        let lambda = &found.report.iter().find(|(name, _)| *name == "lambda_new").unwrap().1;
        assert!(found.updates.is_empty());
        assert!(last.iter().zip(lambda).all(|(a, b)| (a - b).abs() < 1e-10), "{last:?} {lambda:?}");
        // The fixed point is a maximum of the penalised loss: no λ on a grid is better.
        for row in 0..8 {
            let penalised = |l: f64| {
                let fixed = LdrKl { lambda: l, margin: step.margin, normalize: Normalization::None };
                let scores = &scores[row * 5..row * 5 + 5];
                let batch = Batch::scores(View::new(scores, 1, 5).unwrap()).with_targets(vec![targets[row]]);
                let value = evaluate(&fixed, &batch, &Options::default()).unwrap().loss;
                value - step.alpha * 5f64.ln() / (2.0 * step.lambda0) * (l - step.lambda0).powi(2)
            };
            let best = penalised(lambda[row]);
            assert!((found.values[row] - best).abs() < 1e-12);
            assert!((1..=40).all(|k| penalised(0.05 * f64::from(k)) <= best + 1e-12), "row {row}");
        }
    }

    #[test]
    fn confident_samples_get_lower_temperatures() {
        let scores = [8.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.2];
        let loss = AldrKl { lambda0: 1.0, normalize: Normalization::None, ..AldrKl::default() };
        for variant in [AldrVariant::OneStep, AldrVariant::Reference] {
            let found = run(&AldrKl { variant, ..loss.clone() }, &scores, &[0, 0], &SampleStore::new());
            assert!(found.updates[0].values[0] < found.updates[0].values[1] - 0.2, "{variant:?}");
        }
    }

    #[test]
    fn missing_ids_and_bad_state_are_named() {
        let loss = parse("aldr_kl:num_samples=5").unwrap();
        let scores = [0.1f64, 0.2];
        let batch = || Batch::scores(View::new(&scores, 1, 2).unwrap()).with_targets(vec![0]);
        let fails = |batch: &Batch<'_, f64>| evaluate(loss.f64(), batch, &Options::default()).unwrap_err().to_string();
        assert!(fails(&batch()).contains("id of each sample"));
        let mut store = SampleStore::new();
        assert!(fails(&batch().with_samples(vec![5], &store)).contains("below num_samples = 5"));
        store.apply(&[Update { field: ALDR_FIELD, ids: vec![3], values: vec![-1.0] }]).unwrap();
        assert!(fails(&batch().with_samples(vec![3], &store)).contains("temperature of sample 3"));
        for spec in ["aldr:alpha=1", "aldr:lambda0=0", "aldr:margin=-1", "aldr:variant=twice"] {
            assert!(parse(spec).is_err(), "{spec}");
        }
    }
}
