//! The LDR-KL loss at given temperatures, with what its gradient and the temperatures' own update need.

use super::super::common::{against, times};
use super::normalization::Normalized;
use crate::engine::{Backward, Map, NONE, Outcome, Set, Stat, Statistic, Sweep, Term};
use crate::error::Result;
use crate::real::Real;
use std::sync::Arc;

/// The loss of every row at temperatures `lambda`, finite and above 0.
pub(super) struct At<T> {
    lambda: Vec<T>,
    others: (Statistic<T>, Arc<Stat<T>>),
    pub(super) loss: Vec<T>,
    /// `Σ_{k≠y} p_k`
    p_others: Vec<T>,
    /// `Σ_k ∂loss/∂f_k · f_k = Σ_{k≠y} p_k (f_k − f_y)`, where it was asked for.
    mass: Vec<T>,
    margin: T,
}

/// Below this part of λ the logarithm of the mean has lost digits. Where that is so for most rows (λ is far above the margins), it is
/// computed once more from `Σ (e^u − 1)`; a few rows whose loss happens to be near 0 keep an absolute error of some ulp of λ.
const NEAR_ONE: f64 = 0.01;

impl<T: Real> At<T> {
    /// With `expect`, also what the divisor's derivative and the divergence need.
    pub(super) fn sweep(
        engine: &mut dyn Sweep<T>,
        f: &Normalized<T>,
        targets: &[u32],
        lambda: Vec<T>,
        margin: T,
        expect: bool,
    ) -> Result<Self> {
        let columns = engine.shape(0).1;
        let log_k = T::of((columns as f64).ln());
        let inverse: Vec<T> = lambda.iter().map(|l| l.recip()).collect();
        let seen = f.argument(&inverse);
        let set = Set::others(targets.into());
        let others = match expect {
            true => Statistic::log_sum_exp_expecting(seen, set, f.argument(&vec![T::one(); targets.len()])),
            false => Statistic::log_sum_exp(seen, set),
        };
        let stat = engine.sweep(std::slice::from_ref(&others))?.remove(0);
        let mut part = Vec::with_capacity(targets.len());
        let mut p_others = Vec::with_capacity(targets.len());
        for row in 0..targets.len() {
            let counted = targets[row] != NONE;
            let (sum, p) = against(stat.values[row] + margin * inverse[row], f.target[row] * inverse[row]);
            part.push(if counted { sum - log_k } else { T::zero() });
            p_others.push(if counted { p } else { T::zero() });
        }
        let near = |row: usize| targets[row] != NONE && part[row].abs() < T::of(NEAR_ONE);
        if 2 * (0..targets.len()).filter(|row| near(*row)).count() > targets.len() {
            let shift: Vec<T> = (0..targets.len()).map(|row| (margin - f.target[row]) * inverse[row]).collect();
            let argument = f.argument(&inverse).shifted(shift);
            let excess = Statistic::sum(Map::Expm1, argument, Set::others(targets.into()));
            let excess = engine.sweep(&[excess])?.remove(0);
            for row in (0..targets.len()).filter(|row| near(*row)).collect::<Vec<_>>() {
                part[row] = (excess.values[row] / T::of(columns as f64)).ln_1p();
            }
        }
        let mass = match expect {
            true => (0..targets.len()).map(|k| p_others[k] * (stat.expectation[k] - f.target[k])).collect(),
            false => vec![T::zero(); targets.len()],
        };
        let loss = times(&lambda, &part);
        Ok(Self { lambda, others: (others, stat), loss, p_others, mass, margin })
    }

    /// `KL(p ‖ uniform) = (E_p[a] − loss)/λ` of every row, in `[0, ln K]`.
    pub(super) fn divergence(&self, log_k: T) -> Vec<T> {
        let one = |row: usize| {
            let mean = self.mass[row] + self.margin * self.p_others[row];
            ((mean - self.loss[row]) / self.lambda[row]).max(T::zero()).min(log_k)
        };
        (0..self.lambda.len()).map(one).collect()
    }

    /// The loss with its gradient, λ held.
    pub(super) fn outcome(self, f: Normalized<T>) -> Outcome<T> {
        let values = self.loss.clone();
        let slope = times(&self.lambda, &self.p_others);
        Outcome::new(values, move |upstream| {
            let mut terms = f.terms(&times(upstream, &self.p_others), &times(upstream, &self.mass));
            let (statistic, stat) = self.others.clone();
            terms.push(Term::new(statistic, stat, times(upstream, &slope)));
            Backward::terms(terms)
        })
    }
}
