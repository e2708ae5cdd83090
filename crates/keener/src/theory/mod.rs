//! Bounds, risks, thresholds and planners as functions.

pub mod aggregate;
pub mod comp_sum;
mod cosine_softmax;
mod root;

pub use cosine_softmax::{scale_for_probability, softmax_floor};
