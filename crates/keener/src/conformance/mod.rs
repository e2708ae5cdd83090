//! Conformance vectors: named operations with inputs and expected outputs, checked in `f64`.
//!
//! A case is a JSON file with `op`, `case`, `params`, `inputs`, `outputs`, `rtol` and `atol`; arrays are `{"shape", "data"}`,
//! row-major. [`load`] reads files and folders, [`run`] checks one case, [`ops`] lists what there is to check. Every objective
//! of the registry is an operation under its own name and its aliases, with the inputs and outputs that [`objective`]
//! documents; the others stand in [`ops()`] under the names of the papers that define them.

mod case;
pub mod objective;
mod ops;
mod outcome;

#[cfg(test)]
mod tests;

pub use case::{Array, Case, load};
pub use ops::ops;
pub use outcome::{Outcome, Place, Verdict, run};

/// What an operation computes: arrays by name, row-major.
pub type Outputs = std::collections::BTreeMap<String, Vec<f64>>;
