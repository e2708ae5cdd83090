//! The reproductions, one file or folder a paper.

mod contrastive_behaviour;

use crate::Reproduction;

/// All of them, by number.
pub(crate) const REPRODUCTIONS: &[Reproduction] = &[
    contrastive_behaviour::REPRODUCTION, // 12
];
