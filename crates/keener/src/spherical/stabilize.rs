//! Keeping the factors in good condition: many multiplicative steps make U nearly singular.

use super::dense::{identity, inverse_transposed, left_singular, product};
use super::layer::{FactoredOutput, TASK_ROWS};
use crate::products::MatRef;
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;

/// Singular values of U that are left alone (the reference's).
const LEAST: f64 = 0.5;
const MOST: f64 = 2.0;

impl<T: Real> FactoredOutput<T> {
    /// Brings singular values of U outside `[0.5, 2]` to 1, moving the difference into V, and recomputes the inverse of U. W, and
    /// what goes with it, does not change. O(d³), and O(D d) for each such value; where they are more than a third of all, V takes
    /// over the whole of W and U becomes the identity, O(D d²). Returns whether V was touched.
    ///
    /// [`FactoredOutput::step`] does this by itself.
    pub fn stabilize(&mut self) -> bool {
        let d = self.dim;
        let Some((vectors, values)) = left_singular(&self.parts.u, d) else {
            self.unfactorize();
            return true;
        };
        let outside: Vec<usize> = (0..d).filter(|k| !(LEAST..=MOST).contains(&values[*k])).collect();
        if 3 * outside.len() > d {
            self.unfactorize();
            return true;
        }
        for k in &outside {
            let (vector, alpha) = (&vectors[*k], (1.0 - values[*k]) / values[*k]);
            let mut along = vec![0.0; d];
            for (x, row) in vector.iter().zip(self.parts.u.chunks_exact(d)) {
                simd::add_scaled(&mut along, row, *x);
            }
            for (x, row) in vector.iter().zip(self.parts.u.chunks_exact_mut(d)) {
                simd::add_scaled(row, &along, alpha * x);
            }
        }
        if !outside.is_empty() {
            // V ← V (I + Σ β u uᵀ), β = σ − 1.
            let mut turn = identity(d);
            for k in &outside {
                for (i, x) in vectors[*k].iter().enumerate() {
                    simd::add_scaled(&mut turn[i * d..(i + 1) * d], &vectors[*k], (values[*k] - 1.0) * x);
                }
            }
            self.multiply_v(&turn, &vec![0.0; d]);
        }
        match inverse_transposed(&self.parts.u, d) {
            Some(inverse) => self.parts.inverse = inverse,
            None => {
                self.unfactorize();
                return true;
            }
        }
        let inside = |k: &usize| (LEAST..=MOST).contains(&values[*k]);
        let kept = (0..d).filter(inside).map(|k| values[k]).chain((!outside.is_empty()).then_some(1.0));
        let (least, most) = kept.fold((f64::INFINITY, 0.0f64), |(l, m), v| (l.min(v), m.max(v)));
        self.parts.range = [least, most, 0.0];
        !outside.is_empty()
    }

    /// Looks at the singular values of U if, by how far it can have moved, some may be out of range, and recomputes its inverse.
    pub(super) fn keep_in_condition(&mut self) -> bool {
        let [least, most, change] = self.parts.range;
        if least * (-change).exp() < LEAST || most * change.exp() > MOST {
            return self.stabilize();
        }
        if let Some(inverse) = inverse_transposed(&self.parts.u, self.dim) {
            self.parts.inverse = inverse;
        }
        false
    }

    /// `V ← V U + 1 ωᵀ`, U = 1, ω = 0: the same W without factors. O(D d²).
    pub fn unfactorize(&mut self) {
        let d = self.dim;
        let u = std::mem::replace(&mut self.parts.u, identity(d));
        let omega = std::mem::replace(&mut self.parts.omega, vec![0.0; d]);
        self.multiply_v(&u, &omega);
        self.parts.inverse = identity(d);
        self.parts.range = [1.0, 1.0, 0.0];
    }

    /// `V ← V A + 1 bᵀ`
    fn multiply_v(&mut self, a: &[f64], b: &[f64]) {
        let d = self.dim;
        let right = MatRef::new(a, d, d);
        self.parts.v.par_chunks_mut(TASK_ROWS * d).for_each(|rows| {
            let left: Vec<f64> = rows.iter().map(|x| x.f64()).collect();
            let mut out = vec![0.0; rows.len()];
            product(1.0, &left, d, right, d, 0.0, &mut out);
            for (row, out) in rows.chunks_exact_mut(d).zip(out.chunks_exact(d)) {
                row.iter_mut().zip(out).zip(b).for_each(|((x, y), b)| *x = T::of(y + b));
            }
        });
    }
}
