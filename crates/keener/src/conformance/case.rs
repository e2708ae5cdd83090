//! A case, and reading cases from disk.

use crate::engine::View;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A row-major array of numbers; an empty shape is a scalar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The numbers; infinities are written as `"inf"` and `"-inf"`.
    pub data: Vec<f64>,
}

/// An array as JSON has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    shape: Vec<usize>,
    data: Vec<Value>,
}

impl TryFrom<Written> for Array {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let number = |(at, value): (usize, &Value)| match value {
            Value::Number(number) => number.as_f64().ok_or_else(|| format!("data[{at}] is {number}: too large")),
            Value::String(text) if text == "inf" => Ok(f64::INFINITY),
            Value::String(text) if text == "-inf" => Ok(f64::NEG_INFINITY),
            other => Err(format!("data[{at}] is {other}: expected a number, \"inf\" or \"-inf\"")),
        };
        let data = written.data.iter().enumerate().map(number).collect::<Result<Vec<f64>, String>>()?;
        let array = Self { shape: written.shape, data };
        array.check().map(|()| array)
    }
}

impl From<Array> for Written {
    fn from(array: Array) -> Self {
        let value = |x: f64| match x {
            f64::INFINITY => "inf".into(),
            f64::NEG_INFINITY => "-inf".into(),
            x => Value::from(x),
        };
        Self { shape: array.shape, data: array.data.into_iter().map(value).collect() }
    }
}

impl Array {
    /// A scalar.
    pub fn scalar(value: f64) -> Self {
        Self { shape: Vec::new(), data: vec![value] }
    }

    fn check(&self) -> Result<(), String> {
        let expected = self.shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
        match expected == Some(self.data.len()) {
            true => Ok(()),
            false => Err(format!("{} numbers do not fill the shape {:?}", self.data.len(), self.shape)),
        }
    }

    /// Position `flat` as one index an axis.
    pub(super) fn index(&self, flat: usize) -> Vec<usize> {
        let mut rest = flat;
        let mut index: Vec<usize> = self
            .shape
            .iter()
            .rev()
            .map(|axis| {
                let at = rest % axis.max(&1);
                rest /= axis.max(&1);
                at
            })
            .collect();
        index.reverse();
        index
    }
}

/// One conformance case.
///
/// A value `x` passes if `|x − expected| ≤ atol + rtol |expected|`. Further keys of the file (`paper`, `provenance`) are
/// for people and ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The operation.
    pub op: String,
    /// What is special about this case.
    pub case: String,
    /// Parameters of the operation; what is absent takes its default.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Arrays by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, Array>,
    /// What must come out, by name.
    pub outputs: BTreeMap<String, Array>,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
}

impl Case {
    /// Checks what types alone do not: sizes, tolerances, and that something is expected.
    ///
    /// # Errors
    /// [`Error::Specification`] naming the operation and what is wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(Error::Specification { spec: format!("{} {}", self.op, self.case), reason });
        for (name, array) in self.inputs.iter().chain(&self.outputs) {
            if let Err(reason) = array.check() {
                return wrong(format!("{name}: {reason}"));
            }
        }
        for (name, tolerance) in [("rtol", self.rtol), ("atol", self.atol)] {
            if !(tolerance.is_finite() && tolerance >= 0.0) {
                return wrong(format!("{name} = {tolerance}: expected a finite number ≥ 0"));
            }
        }
        match self.outputs.is_empty() {
            true => wrong("there are no outputs to compare with".into()),
            false => Ok(()),
        }
    }

    fn missing(&self, missing: String) -> Error {
        Error::MissingInput { objective: self.op.clone(), missing }
    }

    /// The input `name`.
    pub(super) fn input(&self, name: &str) -> Result<&Array> {
        self.inputs.get(name).ok_or_else(|| self.missing(format!("the input `{name}`")))
    }

    /// The input `name` as a matrix.
    pub(super) fn matrix(&self, name: &str) -> Result<View<'_, f64>> {
        matrix(name, self.input(name)?)
    }

    /// The input `name` as class indices.
    pub(super) fn labels(&self, name: &str) -> Result<Vec<u32>> {
        unsigned(name, self.input(name)?)
    }

    /// The number `name` among the parameters.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        let value = self.params.get(name).ok_or_else(|| self.missing(format!("the parameter `{name}`")))?;
        value.as_f64().ok_or_else(|| Error::parameter(name, value, "a number"))
    }

    /// The number `name` among the parameters, or `default`.
    pub(super) fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        if self.params.contains_key(name) { self.number(name) } else { Ok(default) }
    }

    /// The text `name` among the parameters, or `default`.
    pub(super) fn text_or<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.params.get(name) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(Error::parameter(name, other, "a text")),
        }
    }

    /// The parameters with some of them under other names.
    pub(super) fn renamed(&self, names: &[(&str, &str)]) -> Map<String, Value> {
        let name =
            |old: &String| names.iter().find(|(from, _)| from == old).map_or(old.clone(), |(_, to)| (*to).into());
        self.params.iter().map(|(old, value)| (name(old), value.clone())).collect()
    }
}

/// Two axes, or an error that names the array.
pub(super) fn matrix<'a>(name: &str, array: &'a Array) -> Result<View<'a, f64>> {
    match array.shape[..] {
        [rows, cols] => View::new(&array.data, rows, cols),
        _ => Err(Error::shape(format!("input `{name}`"), &array.shape, "two axes")),
    }
}

/// Whole numbers.
pub(super) fn integers(name: &str, array: &Array) -> Result<Vec<i64>> {
    let whole = |(at, x): (usize, &f64)| match x.fract() == 0.0 && x.abs() < 9e15 {
        true => Ok(*x as i64),
        false => Err(Error::parameter(format!("{name}[{at}]"), x, "a whole number")),
    };
    array.data.iter().enumerate().map(whole).collect()
}

/// Whole numbers that name a class or an identity.
pub(super) fn unsigned(name: &str, array: &Array) -> Result<Vec<u32>> {
    let fits = |(at, x): (usize, i64)| {
        u32::try_from(x).map_err(|_| Error::parameter(format!("{name}[{at}]"), x, "a whole number from 0 to 2^32 − 1"))
    };
    integers(name, array)?.into_iter().enumerate().map(fits).collect()
}

/// Reads every case at `paths`: files as named, folders with all `*.json` below them, in the order of their names.
///
/// # Errors
/// [`Error::Specification`] naming the path that cannot be read, is not a case, or holds none.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<(PathBuf, Case)>> {
    let mut cases = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let before = cases.len();
        visit(path, &mut cases)?;
        if cases.len() == before {
            return Err(unreadable(path, "there is no .json file in it"));
        }
    }
    Ok(cases)
}

fn unreadable(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Specification { spec: path.display().to_string(), reason: reason.to_string() }
}

fn visit(path: &Path, cases: &mut Vec<(PathBuf, Case)>) -> Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut inside: Vec<PathBuf> = entries.map_err(|e| unreadable(path, e))?.iter().map(|e| e.path()).collect();
        inside.retain(|p| p.is_dir() || p.extension().is_some_and(|e| e == "json"));
        inside.sort();
        return inside.iter().try_for_each(|p| visit(p, cases));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
    let case: Case =
        serde_json::from_str(&text).map_err(|e| unreadable(path, format!("not a conformance case: {e}")))?;
    case.check().map_err(|e| unreadable(path, e))?;
    cases.push((path.to_path_buf(), case));
    Ok(())
}
