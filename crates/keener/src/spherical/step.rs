//! The gradient step: everything that a dense step on `W` would change, in O(d²) a row.

use super::dense::{inverse_transposed, product, product_t, solve};
use super::layer::FactoredOutput;
use super::pass::{Pass, Targets};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::products::MatRef;
use crate::real::Real;
use crate::simd;

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<T> {
    /// Mean or sum of the values, before the update.
    pub loss: f64,
    /// One a row.
    pub values: Vec<f64>,
    /// ∂loss/∂hidden `[m, d]` with the weights before the update: the gradient for the layers below.
    pub grad_hidden: Vec<T>,
    /// Whether the factor U would have become singular at this learning rate, so that the step was made on the whole of W
    /// (O(D d²), still exact).
    pub whole: bool,
    /// Whether the factors were brought back to good condition afterwards (O(D d)).
    pub stabilized: bool,
}

/// A change of U by more than this factor is looked at without waiting for the next check.
const MOST_CHANGE: f64 = 8.0;

impl<T: Real> FactoredOutput<T> {
    /// One step of gradient descent on W: `W ← (1 − ηλ) W − η ∂loss/∂W`, exact to rounding, and the gradient for what feeds the
    /// layer. Nothing is changed where there is an error.
    ///
    /// # Errors
    /// Shapes that do not fit, classes that do not exist, numbers that are not finite; a learning rate that is not positive, that
    /// decays the weights away (`ηλ ≥ 1`), or at which the result is not finite.
    pub fn step(&mut self, hidden: View<'_, T>, targets: &Targets<'_>, learning_rate: f64) -> Result<Step<T>> {
        if !(learning_rate.is_finite() && learning_rate > 0.0) {
            return Err(Error::parameter("learning_rate", learning_rate, "a finite number > 0"));
        }
        let keep = 1.0 - learning_rate * self.config.weight_decay;
        if keep <= 0.0 {
            let expected = format!("less than 1/weight_decay = {}", 1.0 / self.config.weight_decay);
            return Err(Error::parameter("learning_rate", learning_rate, expected));
        }
        let pass = self.pass(hidden, targets)?;
        // A step of η/keep and then the decay: together (1 − ηλ) W − η g.
        let whole = self.update(&pass, learning_rate / keep)?;
        self.decay(keep);
        self.parts.steps += 1;
        let due =
            self.parts.steps.is_multiple_of(self.config.stabilize_every) || self.parts.range[2] > MOST_CHANGE.ln();
        let stabilized = due && self.keep_in_condition();
        let Pass { loss, values, gradient, .. } = pass;
        Ok(Step { loss, values, grad_hidden: gradient.into_iter().map(T::of).collect(), whole, stabilized })
    }

    /// Applies `−eta ∂loss/∂W`; whether it had to be done on the whole of W.
    fn update(&mut self, pass: &Pass, eta: f64) -> Result<bool> {
        let (m, d, count) = (pass.rows, self.dim, self.classes as f64);
        let h = &pass.hidden;
        // diag(2 ∂/∂S₂) H
        let mut bent = h.clone();
        for (row, factor) in bent.chunks_exact_mut(d).zip(&pass.of_squares) {
            simd::scale_in_place(row, *factor);
        }
        let change = eta * simd::dot(h, h).sqrt() * simd::dot(&bent, &bent).sqrt();

        let gram = self.gram_of_gradients(pass, &bent);
        // Q ← Q − (Hᵀ Y + Yᵀ H) with Y = η G − η²/2 M H.
        let mut y = pass.gradient.clone();
        product(-0.5 * eta * eta, &gram, m, MatRef::new(h, m, d), d, 0.0, &mut y);
        simd::add_scaled(&mut y, &pass.gradient, eta);
        let mut half = vec![0.0; d * d];
        product_t(1.0, h, m, d, MatRef::new(&y, m, d), d, 0.0, &mut half);
        let mut squares = self.parts.gram.clone();
        for i in 0..d {
            for j in 0..d {
                squares[i * d + j] -= half[i * d + j] + half[j * d + i];
            }
        }

        let mut u = self.parts.u.clone();
        product_t(-eta, &pass.through_u, m, d, MatRef::new(&bent, m, d), d, 1.0, &mut u);

        // −η Hᵀ applied to a number a row: what every score of the row loses.
        let step_along = |of_row: &dyn Fn(usize) -> f64, into: &mut [f64]| {
            for (i, row) in h.chunks_exact(d).enumerate() {
                simd::add_scaled(into, row, -eta * of_row(i));
            }
        };
        let mut omega = self.parts.omega.clone();
        let common: Vec<f64> = h.chunks_exact(d).map(|row| simd::dot(row, &self.parts.omega)).collect();
        step_along(&|i| pass.of_squares[i] * common[i] + pass.of_sum[i], &mut omega);
        let mut column_sum = self.parts.column_sum.clone();
        if !self.config.loss.is_shift_invariant() {
            let of_row = |i: usize| pass.of_squares[i] * pass.sums[i] + count * pass.of_sum[i] + pass.of_targets[i];
            step_along(&of_row, &mut column_sum);
        }

        let small = [&squares, &u, &omega, &column_sum];
        if small.iter().any(|values| !simd::all_finite(values)) {
            return Err(Error::parameter(
                "learning_rate",
                eta,
                "a smaller one: at this one the weights are not finite",
            ));
        }
        let inverse = self.inverse_after(&u, pass, &bent, eta);
        self.parts.gram = squares;
        self.parts.column_sum = column_sum;
        self.parts.u = u;
        self.parts.omega = omega;
        let whole = inverse.is_none();
        match inverse {
            Some(inverse) => {
                let mut through = vec![0.0; m * d];
                product(1.0, h, d, MatRef::new(&inverse, d, d).t(), d, 0.0, &mut through);
                self.parts.inverse = inverse;
                self.touch(pass, &through, eta);
                self.parts.range[2] += if change < 1.0 { -(-change).ln_1p() } else { f64::INFINITY };
            }
            None => {
                // V U + 1 ωᵀ has no use for the inverse of U.
                self.unfactorize();
                self.touch(pass, h, eta);
            }
        }
        Ok(whole)
    }

    /// `V[t] ← V[t] − η ∂/∂o_t · row` for every target, added up where it comes more than once.
    fn touch(&mut self, pass: &Pass, rows: &[f64], eta: f64) {
        let d = self.dim;
        for (i, row) in rows.chunks_exact(d).enumerate() {
            for entry in pass.offsets[i]..pass.offsets[i + 1] {
                let (class, factor) = (pass.classes[entry] as usize, eta * pass.of_target[entry]);
                for (v, x) in self.parts.v[class * d..(class + 1) * d].iter_mut().zip(row) {
                    *v = T::of(v.f64() - factor * x);
                }
            }
        }
    }

    /// Inner products of the rows' score gradients `2 ∂/∂S₂ o + ∂/∂S₁ 1 + Σ ∂/∂o_t e_t`, `[m, m]`, without the scores.
    fn gram_of_gradients(&self, pass: &Pass, bent: &[f64]) -> Vec<f64> {
        let (m, d, count) = (pass.rows, self.dim, self.classes as f64);
        let mut gram = vec![0.0; m * m];
        product(1.0, bent, d, MatRef::new(&pass.gradient, m, d).t(), m, 0.0, &mut gram);
        product(1.0, &pass.rest, d, MatRef::new(bent, m, d).t(), m, 1.0, &mut gram);
        for (i, row) in gram.chunks_exact_mut(m.max(1)).enumerate() {
            let (s, a) = (pass.of_sum[i], pass.of_targets[i]);
            for (j, x) in row.iter_mut().enumerate() {
                *x += s * (count * pass.of_sum[j] + pass.of_targets[j]) + a * pass.of_sum[j];
            }
        }
        // Targets that two rows share.
        let mut entries: Vec<(u32, usize, f64)> = Vec::with_capacity(pass.classes.len());
        for i in 0..m {
            let range = pass.offsets[i]..pass.offsets[i + 1];
            entries.extend(range.map(|entry| (pass.classes[entry], i, pass.of_target[entry])));
        }
        entries.sort_by_key(|(class, row, _)| (*class, *row));
        for group in entries.chunk_by(|a, b| a.0 == b.0) {
            for (_, i, a) in group {
                for (_, j, b) in group {
                    gram[i * m + j] += a * b;
                }
            }
        }
        gram
    }

    /// `U⁻ᵀ` after the step; `None` where the new U is singular.
    fn inverse_after(&self, u: &[f64], pass: &Pass, bent: &[f64], eta: f64) -> Option<Vec<f64>> {
        let (m, d) = (pass.rows, self.dim);
        if m >= d {
            return inverse_transposed(u, d);
        }
        // Woodbury: P ← P + η (P Bᵀ)(I − η H Bᵀ)⁻¹ H, solved from the right by its transpose.
        let mut pivot = vec![0.0; m * m];
        product(-eta, bent, d, MatRef::new(&pass.hidden, m, d).t(), m, 0.0, &mut pivot);
        (0..m).for_each(|k| pivot[k * m + k] += 1.0);
        let mut right = vec![0.0; m * d];
        product(1.0, bent, d, MatRef::new(&self.parts.inverse, d, d).t(), d, 0.0, &mut right);
        let right = solve(&pivot, m, &right, d)?;
        let mut inverse = self.parts.inverse.clone();
        product_t(eta, &right, m, d, MatRef::new(&pass.hidden, m, d), d, 1.0, &mut inverse);
        simd::all_finite(&inverse).then_some(inverse)
    }

    /// Multiplies W by `keep`.
    fn decay(&mut self, keep: f64) {
        if keep == 1.0 {
            return;
        }
        let parts = &mut self.parts;
        for values in [&mut parts.u, &mut parts.omega, &mut parts.column_sum, &mut parts.offset] {
            simd::scale_in_place(values, keep);
        }
        simd::scale_in_place(&mut parts.inverse, 1.0 / keep);
        simd::scale_in_place(&mut parts.gram, keep * keep);
        parts.range[2] -= keep.ln();
    }
}
