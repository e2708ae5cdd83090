//! The spherical family: losses that read a row of scores through the target's score, the sum and the sum of squares alone, and
//! an output layer that makes exact gradient steps on them without ever computing the scores.
//!
//! [`Spherical`] is the family; [`FactoredOutput`] is the layer, whose step costs O(d²) a row whatever the number of classes.
//! Over scores that exist, the same losses are the objectives `z_loss`, `taylor_softmax` and `spherical_softmax`.
//!
//! References: Efficient Exact Gradient Update for training Deep Networks with Very Large Sparse Targets (arXiv 1412.7091); The
//! Z-loss: a shift and scale invariant classification loss belonging to the Spherical Family (arXiv 1604.08859).

mod dense;
mod layer;
mod loss;
mod pass;
mod predict;
mod stabilize;
mod step;

#[cfg(test)]
mod tests;

pub use layer::{FactoredConfig, FactoredOutput, Parts, Reduction};
pub use loss::{Slopes, Spherical, SumSlopes};
pub use pass::{Evaluated, Targets};
pub use predict::TopK;
pub use step::Step;
