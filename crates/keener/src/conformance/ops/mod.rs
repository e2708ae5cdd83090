//! The operations that cases can name.

mod aggregate;
mod any_loss;
mod clip;
mod comp_sum;
mod contrastive;
mod embedding;
mod hardness;
mod ldr;
mod madacos;
mod matching;
mod numerics;
mod prototypes;
mod spherical;
mod unpg;

use super::case::Case;
use super::{Outputs, objective};
use crate::error::Result;
use crate::objective::{find, registry};

/// An operation beyond the objectives.
type Operation = fn(&Case) -> Result<Outputs>;

const SPECIAL: &[(&str, Operation)] = &[
    ("add_class", prototypes::add_class),
    ("aldr_kl_loss", ldr::aldr_kl_loss),
    ("aggregate_asymptotic_risk", aggregate::asymptotic_risk),
    ("aggregate_loss", aggregate::loss),
    ("aggregate_ridge_fit", aggregate::ridge_fit),
    ("anyloss_accuracy", any_loss::metric),
    ("anyloss_approx", any_loss::approximation),
    ("anyloss_balanced_accuracy", any_loss::metric),
    ("anyloss_fbeta", any_loss::metric),
    ("anyloss_gmean", any_loss::metric),
    ("anyloss_precision", any_loss::metric),
    ("anyloss_recall", any_loss::metric),
    ("anyloss_specificity", any_loss::metric),
    ("clip_loss", clip::clip_loss),
    ("comp_sum_conditional_risk", comp_sum::conditional_risk),
    ("comp_sum_gap_upper_bound", comp_sum::gap_upper_bound),
    ("comp_sum_h_bound", comp_sum::h_bound),
    ("comp_sum_h_transform", comp_sum::h_transform),
    ("contrastive_loss", contrastive::contrastive_loss),
    ("gem_pool", matching::gem_pool),
    ("factored_train", spherical::factored_train),
    ("dp_bag_responses", aggregate::private_responses),
    ("dp_instance_bag_size", aggregate::private_bag_size),
    ("hard_contrastive_loss", contrastive::hard_contrastive_loss),
    ("hard_simple_contrastive_loss", contrastive::hard_simple_contrastive_loss),
    ("hardness_weights", hardness::hardness_weights),
    ("local_triplet", matching::local_triplet),
    ("loss_floor", prototypes::loss_floor),
    ("ldr_kl_loss", ldr::ldr_kl_loss),
    ("madacos", madacos::madacos),
    ("madacos_head", madacos::madacos_head),
    ("normalized_softmax", prototypes::normalized_softmax),
    ("nlm_alignment", numerics::nlm_alignment),
    ("orthogonal_gradient", numerics::orthogonal_gradient),
    ("pair_similarities", unpg::pair_similarities),
    ("softmax_collapse", numerics::softmax_collapse),
    ("spherical_from_stats", spherical::spherical_from_stats),
    ("stablemax", numerics::stablemax),
    ("pgd_linear", comp_sum::pgd_linear),
    ("tcm_loss", |case| objective::perform(case, "tcm", case.params.clone())),
    ("tolerance", embedding::tolerance),
    ("trades_loss", |case| objective::perform(case, "trades", case.params.clone())),
    ("uniformity", embedding::uniformity),
    ("unit_norm_constraint", prototypes::unit_norm_constraint),
    ("unpg_loss", |case| objective::perform(case, "unpg", case.params.clone())),
    ("whisker_filter", unpg::whisker_filter),
];

/// Names of every operation, ascending: the objectives and those that papers define beyond them.
pub fn ops() -> Vec<&'static str> {
    let mut names: Vec<&str> = registry().iter().map(|e| e.name).chain(SPECIAL.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Carries out the operation of a case; `None` if there is no such operation.
pub(super) fn perform(case: &Case) -> Option<Result<Outputs>> {
    match SPECIAL.iter().find(|(name, _)| *name == case.op) {
        Some((_, operation)) => Some(operation(case)),
        None => find(&case.op).ok().map(|entry| objective::perform(case, entry.name, case.params.clone())),
    }
}

/// The operations nearest to a name.
pub(super) fn nearest(name: &str) -> Vec<String> {
    crate::objective::nearest(name, ops().into_iter())
}
