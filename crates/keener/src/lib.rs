//! Training objectives as short plans over the statistics of a score matrix that is never stored.
//!
//! An objective asks the [`engine`] for statistics of score matrices (log-sum-exps, targets, extrema, counts), and ends with
//! values and the weight of each statistic in the derivative; the engine computes both in tiles, so that batches and class
//! counts are bounded by the embeddings and not by rows × columns. Every [`objective`] is built by name and parameters:
//!
//! ```
//! use keener::engine::{Batch, Options, View, evaluate};
//!
//! # fn main() -> keener::Result<()> {
//! let objective = keener::objective::parse("cosface:scale=16,margin=0.2")?;
//! let embeddings = [0.9, 0.1, -0.3, 1.2_f32]; // [2, 2]
//! let classes = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0_f32]; // [3, 2]
//! let batch = Batch::embeddings(View::new(&embeddings, 2, 2)?)
//!     .with_candidates(View::new(&classes, 3, 2)?)
//!     .with_targets(vec![0, 1]);
//! let result = evaluate(objective.f32(), &batch, &Options::default())?;
//! assert!(result.loss > 0.0);
//! assert_eq!(result.gradients.queries.len(), 4);
//! assert_eq!(result.gradients.candidates.len(), 6);
//! # Ok(())
//! # }
//! ```
//!
//! The core is free of any framework: slices in, values and gradients out, generic over `f32` and `f64`, with the same bits for
//! any number of threads. `docs/architecture.md` shows the way of data through it.

pub mod attack;
pub mod budget;
pub mod conformance;
pub mod engine;
pub mod error;
pub mod estimate;
pub mod matching;
pub(crate) mod memory;
pub mod metrics;
pub mod negatives;
pub mod objective;
pub mod pairs;
pub mod products;
pub mod real;
pub mod segments;
pub mod simd;
pub mod spherical;
pub mod state;
pub mod theory;
pub mod transform;

pub use error::{Error, Result};

/// The blocks of Rust in the guide are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/src/burn.md")]
struct Guide;
