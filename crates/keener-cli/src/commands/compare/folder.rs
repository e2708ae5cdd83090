//! The output folder: never overwritten, complete enough to resume from.

use crate::error::Failure;
use anyhow::{Context, Result};
use keener_burn::compare::{CompareConfig, Line};
use keener_data::Samples;
use keener_run::{Error, Identity, Log};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    pub(crate) fn new(data: &Samples, config: &CompareConfig) -> Result<Self> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            data: data.name().into(),
            rows: data.rows(),
            features: data.dim(),
            classes: data.num_classes(),
            fingerprint: data.fingerprint()?,
            config: config.clone(),
        })
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
    run: keener_run::Folder,
    units: Mutex<Log>,
}

const PLAN: &str = "plan.json";
const UNITS: &str = "units.jsonl";

fn identity() -> Identity {
    Identity::new("compare", None)
}

/// `runs/<what>-1`, `-2` …: the first that does not exist.
pub(crate) fn fresh(what: &str) -> PathBuf {
    let clean: String = what.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    (1..).map(|n| PathBuf::from(format!("runs/{clean}-{n}"))).find(|p| !p.exists()).unwrap_or_default()
}

/// The comparison that a folder holds and this process now owns.
#[derive(Debug)]
pub(crate) struct Interrupted {
    run: keener_run::Folder,
    pub(crate) plan: Plan,
}

impl Interrupted {
    /// Opens the folder of a comparison.
    ///
    /// # Errors
    /// A folder that holds no comparison of this version, or that another process works in.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let run = keener_run::Folder::resume(path, &identity())?;
        let file = path.join(PLAN);
        let text = fs::read_to_string(&file).map_err(|e| Error::io("read", &file, e))?;
        let plan = serde_json::from_str(&text)
            .map_err(|e| Failure::wrong(format!("{} is no plan of a comparison: {e}", file.display())))?;
        Ok(Self { run, plan })
    }
}

impl Folder {
    /// Makes the folder, with `files` beside the plan, or goes on in it; gives what was finished there.
    ///
    /// # Errors
    /// A folder that holds something when beginning; one that holds another comparison when going on.
    pub(crate) fn open(
        path: &Path,
        plan: &Plan,
        interrupted: Option<Interrupted>,
        files: &[(&str, &str)],
    ) -> Result<(Self, Vec<Line>)> {
        let run = match interrupted {
            Some(old) => {
                let differences = plan.differences(&old.plan)?;
                if !differences.is_empty() {
                    let message = format!("{} holds another comparison: {}", path.display(), differences.join("; "));
                    return Err(Failure::wrong(message).hint("the same settings, or another `--out`").into());
                }
                old.run
            }
            None => {
                let text = serde_json::to_string_pretty(plan)? + "\n";
                keener_run::Folder::create(path, &identity(), &[&[(PLAN, text.as_str())], files].concat())?
            }
        };
        let (units, done) = Log::open(&path.join(UNITS), |_: &Line| true)?;
        Ok((Self { run, units: Mutex::new(units) }, done))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.run.path()
    }

    /// Appends a finished piece.
    pub(crate) fn keep(&self, line: &Line) -> Result<(), Error> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner).append(line)
    }

    /// Writes a file whole.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        self.run.write(name, text).with_context(|| "the comparison is finished, but not written")
    }
}
