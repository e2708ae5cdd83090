//! The output folder: never overwritten, complete enough to resume from.

use crate::error::Failure;
use anyhow::{Context, Result};
use keener_burn::compare::{CompareConfig, Line};
use keener_data::Dataset;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What a run is: two runs that agree in all of this measure the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Version of the command.
    pub(crate) version: String,
    /// Name of the data.
    pub(crate) data: String,
    /// Rows.
    pub(crate) rows: usize,
    /// Features.
    pub(crate) features: usize,
    /// Classes.
    pub(crate) classes: usize,
    /// Hash of the content.
    pub(crate) fingerprint: String,
    /// Every setting.
    pub(crate) config: CompareConfig,
}

impl Plan {
    pub(crate) fn new(data: &Dataset, config: &CompareConfig) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            data: data.name.clone(),
            rows: data.rows(),
            features: data.dim,
            classes: data.num_classes(),
            fingerprint: data.fingerprint(),
            config: config.clone(),
        }
    }

    /// Settings in which two plans differ, in words.
    fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let (mine, theirs) = (serde_json::to_value(self)?, serde_json::to_value(other)?);
        let mut found = Vec::new();
        let mut compare = |name: &str, a: &serde_json::Value, b: &serde_json::Value| {
            if a != b {
                found.push(format!("{name} is {a} now and was {b}"));
            }
        };
        for (name, value) in mine.as_object().into_iter().flatten() {
            match value.as_object() {
                Some(inner) => inner.iter().for_each(|(key, v)| compare(key, v, &theirs[name][key])),
                None => compare(name, value, &theirs[name]),
            }
        }
        Ok(found)
    }
}

/// An open output folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    units: Mutex<File>,
}

const PLAN: &str = "plan.json";
const UNITS: &str = "units.jsonl";

/// `runs/<what>-1`, `-2` …: the first that does not exist.
pub(crate) fn fresh(what: &str) -> PathBuf {
    let clean: String = what.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    (1..).map(|n| PathBuf::from(format!("runs/{clean}-{n}"))).find(|p| !p.exists()).unwrap_or_default()
}

/// Refuses a folder that holds something.
pub(crate) fn refuse_filled(path: &Path, hint: &str) -> Result<()> {
    let filled = path.is_file() || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    match filled {
        true => Err(Failure::wrong(format!("{} exists and is not empty; nothing was written", path.display()))
            .hint(hint)
            .into()),
        false => Ok(()),
    }
}

impl Folder {
    /// Makes the folder, or opens it again; gives what was finished there.
    ///
    /// # Errors
    /// A folder that holds something when not resuming; one that holds another comparison when resuming.
    pub(crate) fn open(path: PathBuf, plan: &Plan, resume: bool) -> Result<(Self, Vec<Line>)> {
        if !resume {
            refuse_filled(&path, "another `--out`, or `--resume` to go on with what is there")?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let plan_file = path.join(PLAN);
        if resume && plan_file.exists() {
            let text =
                fs::read_to_string(&plan_file).with_context(|| format!("cannot read {}", plan_file.display()))?;
            let old: Plan = serde_json::from_str(&text)
                .map_err(|e| Failure::wrong(format!("{} is no plan of a comparison: {e}", plan_file.display())))?;
            let differences = plan.differences(&old)?;
            if !differences.is_empty() {
                let message = format!("{} holds another comparison: {}", path.display(), differences.join("; "));
                return Err(Failure::wrong(message).hint("the same settings, or another `--out`").into());
            }
        } else if resume && fs::read_dir(&path)?.next().is_some() {
            let message = format!("{} holds no comparison to resume: there is no {PLAN}", path.display());
            return Err(Failure::wrong(message).hint("another `--out`").into());
        } else {
            fs::write(&plan_file, serde_json::to_string_pretty(plan)? + "\n")?;
        }
        let units = path.join(UNITS);
        let done = if units.exists() { read_lines(&units)? } else { Vec::new() };
        let file = OpenOptions::new().create(true).append(true).open(&units)?;
        Ok((Self { path, units: Mutex::new(file) }, done))
    }

    /// Appends a finished piece.
    pub(crate) fn keep(&self, line: &Line) -> Result<(), String> {
        let text = serde_json::to_string(line).map_err(|e| e.to_string())? + "\n";
        let mut file = self.units.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(|e| format!("{UNITS}: {e}"))
    }

    /// Writes a file whole.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Finished pieces; a last line that an interrupt cut off is dropped from the file.
fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    if whole < text.len() {
        fs::write(path, &text[..whole])?;
    }
    let read = |(k, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|e| Failure::wrong(format!("{}, line {}: {e}", path.display(), k + 1)).into())
    };
    text[..whole].lines().enumerate().map(read).collect()
}
