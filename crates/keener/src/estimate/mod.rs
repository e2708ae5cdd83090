//! Models with a closed form or a solver instead of a training loop.

mod prototypes;

pub use prototypes::{PrototypeClassifier, project_unit_norm};
