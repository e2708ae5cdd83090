//! Training objectives as short plans over the statistics of a score matrix that is never stored.

pub mod engine;
pub mod error;
pub mod objective;
pub(crate) mod memory;
pub mod metrics;
pub mod products;
pub mod real;
pub mod simd;

pub use error::{Error, Result};
