//! Bounds, thresholds and planners as functions.

mod cosine_softmax;

pub use cosine_softmax::{scale_for_probability, softmax_floor};
