//! Objectives, one a file, and the registry that lists them all.
//!
//! The command line, configuration files and other languages build objectives through [`parse`] from a name and
//! parameters: `focal:gamma=2`, `arcface+tcm:weight=0.5`.

pub(crate) mod common;
mod registry;
mod sum;

#[cfg(test)]
pub(crate) mod testing;

mod adversarial_comp_sum;
mod adversarial_cross_entropy;
mod aggregate;
mod any_loss;
mod binary_cross_entropy;
mod comp_sum;
mod contrastive;
mod contrastive_pairs;
mod focal;
mod info_nce;
mod ldr;
mod madacos;
mod margin_softmax;
mod multi_similarity;
mod multiclass_hinge;
mod noise_robust;
mod nt_xent;
mod proxy_anchor;
mod siglip;
mod simple_contrastive;
mod softmax_cross_entropy;
mod spherical;
mod stablemax;
mod supervised_contrastive;
mod symmetric_info_nce;
mod tcm;
mod trades;
mod triplet;
mod unpg;

pub use adversarial_comp_sum::{MarginCompSum, SmoothAdvCompSum};
pub use adversarial_cross_entropy::AdversarialCrossEntropy;
pub use aggregate::Aggregate;
pub use any_loss::{
    AnyLoss, ConfusionLoss, ConfusionMetric, CustomMetric, MetricValue, MultiClass, OnMissingClass, ScoreKind,
    SoftCounts, amplified,
};
pub use binary_cross_entropy::BinaryCrossEntropy;
pub use comp_sum::{CompSum, Gce};
pub use contrastive::{Contrastive, HardContrastive};
pub use contrastive_pairs::ContrastivePairs;
pub use focal::Focal;
pub use info_nce::InfoNce;
pub use ldr::{ALDR_FIELD, AldrKl, AldrVariant, LdrKl, Normalization};
pub use madacos::{LogBMethod, MadaCos};
pub use margin_softmax::{ArcFace, Constraint, CosFace, NormalizedSoftmax};
pub use multi_similarity::MultiSimilarity;
pub use multiclass_hinge::{CrammerSinger, WestonWatkins};
pub use noise_robust::{Brier, JensenShannon, NormalizedCrossEntropy, SymmetricCrossEntropy};
pub use nt_xent::{NtXent, NtXentVariant};
pub use proxy_anchor::ProxyAnchor;
pub use registry::{
    Configured, Entry, Family, Objectives, Paper, ParameterDoc, Reads, SharedObjective, build, find, nearest, parse,
    registry,
};
pub use siglip::SigLip;
pub use simple_contrastive::{HardSimpleContrastive, SimpleContrastive};
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub use spherical::{SphericalSoftmax, TaylorSoftmax, ZLoss};
pub use stablemax::{StableMax, stablemax};
pub use sum::Sum;
pub use supervised_contrastive::SupervisedContrastive;
pub use symmetric_info_nce::SymmetricInfoNce;
pub use tcm::Tcm;
pub use trades::Trades;
pub use triplet::{Mining, Triplet};
pub use unpg::{MarginHead, Unpg, WhiskerFilter, pair_similarities, whisker_filter};
