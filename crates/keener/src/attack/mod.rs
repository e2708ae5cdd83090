//! Attacks: the input moved within a ball so that a goal over the scores rises.
//!
//! [`Pgd`] knows nothing of models: it asks an [`Attacked`] for scores and for gradients of the input, and gets the slopes of its goal
//! from the objectives of the registry.

mod goal;
mod pgd;

pub use goal::Goal;
pub use pgd::{Found, Norm, Pgd, PgdConfig};

use crate::engine::View;
use crate::error::{Error, Result};
use crate::products::{MatRef, gemm};
use crate::real::Real;

/// A model under attack, and the rows it is attacked at.
pub trait Attacked<T> {
    /// `(rows, features, classes)`
    fn shape(&self) -> (usize, usize, usize);

    /// Scores `[B, n]` at inputs `x` `[B, d]`.
    ///
    /// # Errors
    /// What the model raises.
    fn scores(&mut self, x: &[T]) -> Result<Vec<T>>;

    /// The gradient `[B, d]` of a function of the scores with respect to the input at `x`; `slope` takes the scores at `x` to the
    /// function's derivative with respect to them.
    ///
    /// # Errors
    /// What the model or `slope` raises.
    fn gradient(&mut self, x: &[T], slope: &mut dyn FnMut(&[T]) -> Result<Vec<T>>) -> Result<Vec<T>>;
}

/// The linear model `x Wᵀ + b`, with weights `[n, d]` and bias `[n]`.
#[derive(Clone, Copy, Debug)]
pub struct LinearModel<'a, T> {
    weights: View<'a, T>,
    bias: &'a [T],
    rows: usize,
}

impl<'a, T: Real> LinearModel<'a, T> {
    /// For attacks on `rows` rows; an empty bias is none.
    ///
    /// # Errors
    /// [`Error::Shape`] for a bias of another length than there are classes.
    pub fn new(weights: View<'a, T>, bias: &'a [T], rows: usize) -> Result<Self> {
        if !bias.is_empty() && bias.len() != weights.rows() {
            return Err(Error::shape("bias", &[bias.len()], format!("[{}]", weights.rows())));
        }
        Ok(Self { weights, bias, rows })
    }
}

impl<T: Real> Attacked<T> for LinearModel<'_, T> {
    fn shape(&self) -> (usize, usize, usize) {
        (self.rows, self.weights.cols(), self.weights.rows())
    }

    fn scores(&mut self, x: &[T]) -> Result<Vec<T>> {
        let (rows, d, n) = self.shape();
        let mut scores = vec![T::zero(); rows * n];
        let weights = MatRef::new(self.weights.data(), n, d);
        gemm(T::one(), MatRef::new(x, rows, d), weights.t(), T::zero(), &mut scores, n);
        if !self.bias.is_empty() {
            for line in scores.chunks_exact_mut(n) {
                line.iter_mut().zip(self.bias).for_each(|(s, b)| *s += *b);
            }
        }
        Ok(scores)
    }

    fn gradient(&mut self, x: &[T], slope: &mut dyn FnMut(&[T]) -> Result<Vec<T>>) -> Result<Vec<T>> {
        let (rows, d, n) = self.shape();
        let slope = slope(&self.scores(x)?)?;
        let mut gradient = vec![T::zero(); rows * d];
        let weights = MatRef::new(self.weights.data(), n, d);
        gemm(T::one(), MatRef::new(&slope, rows, n), weights, T::zero(), &mut gradient, d);
        Ok(gradient)
    }
}
