//! Several objectives under one budget, on the same rows, from the same initial weights: which is best, and is that more
//! than chance?
//!
//! The comparison knows nothing of files and reports. [`run`] takes rows and a [`CompareConfig`], hands every finished
//! [`Line`] to the caller (who may keep them and give them back to resume), and [`board`] ranks what was measured.
//!
//! | step | module |
//! |---|---|
//! | which rows are trained on, validated and tested, in which scenario | `splits` |
//! | what a specification reads, and which of its parameters are tuned | `candidate` |
//! | one training, from rows to a head | `fit` |
//! | from a head to class scores and embeddings, and from these to numbers and pictures | `readout`, `measure`, `details` |
//! | learning rate and parameters on development rows that no repeat ever tests on | `tune` |
//! | all of it on several workers | `run` |
//! | means, intervals, differences, verdicts | `board` |
//! | the winner as code | `code` |

mod board;
mod candidate;
mod code;
mod config;
mod details;
mod error;
mod fit;
mod inserted;
mod measure;
mod readout;
mod run;
mod splits;
#[cfg(test)]
mod tests;
mod thresholds;
mod tune;

pub use burn::tensor::Device;

pub use board::{Board, Row, Verdict, board};
pub use candidate::{Baseline, Candidate, default_objectives, imbalanced_objectives};
pub use code::{burn_code, pytorch_code};
pub use config::{CompareConfig, HeadChoice, Scenario, Task};
pub use details::{ClassDetails, Details, ReliabilityBar, RetrieveDetails};
pub use error::CompareError;
pub use fit::{Fit, Fitted, Rows, fit, head_for};
pub use inserted::Inserted;
pub use measure::{Measures, Metric};
pub use readout::{Readout, class_means, raw_scale, read_out};
pub use run::{Line, Outcome, Unit, run, step_equivalents, steps_for};
pub use splits::{Labelled, Part, Splits};
pub use tune::{Chosen, Rung, Trial, Tuned};

/// The processor, for callers that do not depend on burn themselves.
pub fn cpu() -> Device {
    Device::flex()
}
