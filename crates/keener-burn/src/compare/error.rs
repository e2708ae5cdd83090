//! What can be wrong with a comparison.

use super::config::Scenario;

/// Errors of a comparison, raised before anything is trained, but for [`CompareError::Burn`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// What the layers below raise: unknown objectives, parameters out of range, shapes.
    #[error(transparent)]
    Burn(#[from] crate::Error),
    /// Splits and noise.
    #[error(transparent)]
    Data(#[from] keener_data::DataError),
    /// The objective reads something that this comparison does not have.
    #[error("`{objective}` does not apply here: it reads {reads}; {reason}")]
    NotApplicable {
        /// The specification as given.
        objective: String,
        /// What it reads, in words.
        reads: String,
        /// What is missing and what to do.
        reason: String,
    },
    /// A class has too few rows for a scenario.
    #[error("scenario `{scenario}`: class `{class}` has {rows} rows, expected at least {needed}; {hint}")]
    TooFewRows {
        /// The scenario.
        scenario: Scenario,
        /// Name of the class.
        class: String,
        /// Its rows.
        rows: usize,
        /// The least that works.
        needed: usize,
        /// What to do.
        hint: String,
    },
    /// Too few classes for a scenario.
    #[error("scenario `{scenario}`: the data have {classes} classes, expected at least {needed}")]
    TooFewClasses {
        /// The scenario.
        scenario: Scenario,
        /// Classes with rows.
        classes: usize,
        /// The least that works.
        needed: usize,
    },
    /// A setting outside its range.
    #[error("{name} = {value}: expected {expected}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value, printed.
        value: String,
        /// The range that is allowed.
        expected: String,
    },
    /// It was asked to stop. What was finished has been kept.
    #[error("stopped: {finished} of {total} trainings are finished")]
    Stopped {
        /// Trainings that are finished, tuning of an objective counted as one.
        finished: usize,
        /// All of them.
        total: usize,
    },
    /// The caller could not keep a result.
    #[error(transparent)]
    Keep(#[from] keener_run::Error),
    /// A worker could not be started.
    #[error("a worker could not be started: {0}")]
    Worker(String),
}

impl From<keener::Error> for CompareError {
    fn from(error: keener::Error) -> Self {
        Self::Burn(error.into())
    }
}
