//! The error type of this crate: what is wrong, where, and what was expected.

use std::path::{Path, PathBuf};

/// Errors of this crate, raised before the first tensor operation that could panic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes, labels, parameters and missing inputs, as the core states them.
    #[error(transparent)]
    Core(#[from] keener::Error),
    /// Rows that cannot be read.
    #[error(transparent)]
    Data(#[from] keener_data::DataError),
    /// Two tensors live on different devices, or record gradients in different ways.
    #[error("{what} is on {found}, expected {expected} like the other tensors")]
    Device {
        /// The tensor in question.
        what: String,
        /// Where it is.
        found: String,
        /// Where the others are.
        expected: String,
    },
    /// A tensor holds another number type than the one that is computed in.
    #[error("{what} holds {found}, expected {expected}: cast it first")]
    DType {
        /// The tensor in question.
        what: String,
        /// Its number type.
        found: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// A combination that this device or this path does not offer.
    #[error("{what} is not supported: {hint}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The training diverged.
    #[error("the loss is {loss} at step {step}: lower the learning rate (now {learning_rate}) or check the features")]
    Diverged {
        /// The step.
        step: usize,
        /// The loss there.
        loss: f32,
        /// The learning rate there.
        learning_rate: f64,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), reason: reason.into() }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
