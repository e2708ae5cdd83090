//! Training objectives as short plans over the statistics of a score matrix that is never stored.

pub mod conformance;
pub mod engine;
pub mod error;
pub(crate) mod memory;
pub mod metrics;
pub mod objective;
pub mod pairs;
pub mod products;
pub mod real;
pub mod simd;

pub use error::{Error, Result};
