//! Running a case and judging what comes out.

use super::Outputs;
use super::case::Case;
use super::ops;
use crate::error::{Error, Result};
use std::fmt;

/// How a case ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Everything is within tolerance.
    Pass,
    /// Something is not.
    Miss,
    /// This build has no such operation.
    UnknownOp {
        /// The nearest operations that it has.
        nearest: Vec<String>,
    },
    /// The operation could not be carried out, or lacks an output that the case expects.
    Failed(Error),
}

/// One number of one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Name of the output.
    pub output: String,
    /// One index an axis; empty for a scalar.
    pub index: Vec<usize>,
    /// What came out.
    pub found: f64,
    /// What the case says.
    pub expected: f64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.output)?;
        if !self.index.is_empty() {
            write!(f, "{:?}", self.index)?;
        }
        write!(f, " is {:e}, expected {:e}", self.found, self.expected)
    }
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// Largest `|found − expected|`.
    pub worst_error: f64,
    /// Largest `|found − expected| / (atol + rtol |expected|)`; up to 1 passes.
    pub worst_in_tolerances: f64,
    /// Where the latter is; nowhere if everything is exact or nothing was compared.
    pub place: Option<Place>,
}

impl Outcome {
    /// Whether the case passes.
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Pass
    }

    fn without_comparison(verdict: Verdict) -> Self {
        Self { verdict, worst_error: f64::NAN, worst_in_tolerances: f64::NAN, place: None }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Pass => write!(f, "pass, worst error {:.2e}", self.worst_error),
            Verdict::Miss => {
                write!(f, "miss by {:.3e} tolerances", self.worst_in_tolerances)?;
                self.place.as_ref().map_or(Ok(()), |place| write!(f, ": {place}"))
            }
            Verdict::UnknownOp { nearest } if nearest.is_empty() => write!(f, "unknown operation"),
            Verdict::UnknownOp { nearest } => {
                let names: Vec<String> = nearest.iter().map(|n| format!("`{n}`")).collect();
                write!(f, "unknown operation; did you mean {}?", names.join(" or "))
            }
            Verdict::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Carries out the operation of a case in `f64` and compares every expected output.
pub fn run(case: &Case) -> Outcome {
    if let Err(error) = case.check() {
        return Outcome::without_comparison(Verdict::Failed(error));
    }
    let Some(result) = ops::perform(case) else {
        return Outcome::without_comparison(Verdict::UnknownOp { nearest: ops::nearest(&case.op) });
    };
    result
        .and_then(|found| compare(case, &found))
        .unwrap_or_else(|error| Outcome::without_comparison(Verdict::Failed(error)))
}

fn compare(case: &Case, found: &Outputs) -> Result<Outcome> {
    let mut outcome = Outcome { verdict: Verdict::Pass, worst_error: 0.0, worst_in_tolerances: 0.0, place: None };
    for (name, expected) in &case.outputs {
        let found = found.get(name).ok_or_else(|| Error::Unsupported {
            what: format!("output `{name}` of {}", case.op),
            hint: format!("it gives {}", found.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        })?;
        if found.len() != expected.data.len() {
            return Err(Error::shape(format!("output `{name}`"), &[found.len()], format!("{:?}", expected.shape)));
        }
        for (at, (x, y)) in found.iter().zip(&expected.data).enumerate() {
            // NaN anywhere, or one infinity only, is infinitely wrong.
            let error = if x == y { 0.0 } else { Some((x - y).abs()).filter(|e| !e.is_nan()).unwrap_or(f64::INFINITY) };
            let tolerance = case.atol + case.rtol * y.abs();
            let relative = match error {
                0.0 => 0.0,
                f64::INFINITY => f64::INFINITY,
                error => error / tolerance,
            };
            outcome.worst_error = outcome.worst_error.max(error);
            if relative > outcome.worst_in_tolerances {
                outcome.worst_in_tolerances = relative;
                let index = expected.index(at);
                outcome.place = Some(Place { output: name.clone(), index, found: *x, expected: *y });
            }
        }
    }
    if outcome.worst_in_tolerances > 1.0 {
        outcome.verdict = Verdict::Miss;
    }
    Ok(outcome)
}
