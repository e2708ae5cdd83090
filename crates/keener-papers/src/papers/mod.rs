//! The reproductions, one file or folder a paper.

mod aggregate;
mod any_loss;
mod cfcd;
mod comp_sum;
mod contrastive_behaviour;
mod grokking_stablemax;
mod hyperspherical;
mod ldr;
mod z_loss;

use crate::Reproduction;

/// All of them, by number.
pub(crate) const REPRODUCTIONS: &[Reproduction] = &[
    cfcd::REPRODUCTION,                  // 1
    z_loss::REPRODUCTION,                // 2
    hyperspherical::REPRODUCTION,        // 3
    comp_sum::REPRODUCTION,              // 6
    contrastive_behaviour::REPRODUCTION, // 12
    ldr::REPRODUCTION,                   // 15
    aggregate::REPRODUCTION,             // 17
    any_loss::REPRODUCTION,              // 18
    grokking_stablemax::REPRODUCTION,    // 21
];
