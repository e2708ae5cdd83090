//! The one error type of the core: what is wrong, where, and what was expected.

/// Errors raised by the core, always before anything has been written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes that must agree do not.
    #[error("{what} has shape {found:?}, expected {expected}")]
    Shape {
        /// The array in question.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// What would have been right.
        expected: String,
    },
    /// A class index outside `0..classes`.
    #[error("label {label} at row {row}: there are {classes} classes")]
    Label {
        /// The offending class index.
        label: i64,
        /// The row it was found in.
        row: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// A value that is NaN or infinite where only finite numbers make sense.
    #[error("{what} holds {value} at row {row}, column {column}: expected finite numbers")]
    NonFinite {
        /// The array in question.
        what: String,
        /// The value, printed.
        value: String,
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        column: usize,
    },
    /// A parameter outside its range.
    #[error("{name} = {value}: expected {expected}")]
    Parameter {
        /// Name of the parameter.
        name: String,
        /// The value, printed.
        value: String,
        /// The range that is allowed.
        expected: String,
    },
    /// The objective reads something that was not given.
    #[error("{objective} needs {missing}")]
    MissingInput {
        /// Name of the objective.
        objective: String,
        /// What is missing, in words.
        missing: String,
    },
    /// No objective or operation of that name.
    #[error("no {kind} is called `{name}`{}", suggestion(.nearest))]
    Unknown {
        /// `objective`, `operation`, …
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The nearest existing names.
        nearest: Vec<String>,
    },
    /// The objective has no parameter of that name.
    #[error("`{objective}` has no parameter `{name}`{}; it takes {}", suggestion(.nearest), takes(.known))]
    UnknownParameter {
        /// Name of the objective.
        objective: &'static str,
        /// The parameter that was asked for.
        name: String,
        /// The nearest of its parameters.
        nearest: Vec<String>,
        /// All of its parameters.
        known: Vec<&'static str>,
    },
    /// The specification of an objective cannot be read.
    #[error("cannot read `{spec}`: {reason}")]
    Specification {
        /// The text as given.
        spec: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// The work does not fit the memory budget under any schedule.
    #[error("{what} needs {needed} bytes, the budget is {budget}: {hint}")]
    Memory {
        /// What was to be done.
        what: String,
        /// Bytes that the leanest schedule needs.
        needed: usize,
        /// The budget in bytes.
        budget: usize,
        /// What to try next.
        hint: String,
    },
    /// The data do not determine the quantity (no positives at all, a single class, …).
    #[error("{what} is undefined: {reason}")]
    Undefined {
        /// The quantity.
        what: String,
        /// Why the data do not determine it.
        reason: String,
    },
    /// The combination is meaningful but this path does not support it.
    #[error("{what} is not supported: {hint}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What to do instead.
        hint: String,
    },
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => {
            format!(" (did you mean {}?)", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or "))
        }
    }
}

fn takes(known: &[&str]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

/// Shorthand for results of the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A shape error.
    pub fn shape(what: impl Into<String>, found: &[usize], expected: impl Into<String>) -> Self {
        Self::Shape { what: what.into(), found: found.to_vec(), expected: expected.into() }
    }

    /// A parameter error.
    pub fn parameter(name: impl Into<String>, value: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Parameter { name: name.into(), value: value.to_string(), expected: expected.into() }
    }
}
