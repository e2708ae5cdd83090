//! Models with a closed form or a solver instead of a training loop.

mod aggregate_ridge;
mod prototypes;

pub use aggregate_ridge::{AggregateRidge, AggregateRidgeFit};
pub use prototypes::{ClassSums, PrototypeClassifier, project_unit_norm};
