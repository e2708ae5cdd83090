//! Objectives, one a file, and the registry that lists them all.
//!
//! The command line, configuration files and other languages build objectives through [`parse`] from a name and
//! parameters: `focal:gamma=2`, `arcface+tcm:weight=0.5`.

pub(crate) mod common;
mod registry;
mod sum;

#[cfg(test)]
pub(crate) mod testing;

mod contrastive;
mod info_nce;
mod madacos;
mod margin_softmax;
mod siglip;
mod softmax_cross_entropy;
mod symmetric_info_nce;
mod tcm;
mod trades;
mod unpg;

pub use contrastive::{Contrastive, HardContrastive};
pub use info_nce::InfoNce;
pub use madacos::{LogBMethod, MadaCos};
pub use margin_softmax::{ArcFace, CosFace, NormalizedSoftmax};
pub use registry::{
    Configured, Entry, Family, Objectives, Paper, ParameterDoc, Reads, SharedObjective, build, find, parse, registry,
};
pub use siglip::SigLip;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub use sum::Sum;
pub use symmetric_info_nce::SymmetricInfoNce;
pub use tcm::Tcm;
pub use trades::Trades;
pub use unpg::{MarginHead, Unpg, WhiskerFilter, pair_similarities, whisker_filter};
