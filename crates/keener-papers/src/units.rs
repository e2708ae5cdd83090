//! Finished units of work, on disk as they finish.

use anyhow::Result;
use keener_run::{Error, Folder, Identity, Log};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Name of the file in the out folder.
const FILE: &str = "units.jsonl";
/// Name of the file that holds the units of the run before.
const PREVIOUS: &str = "units.previous.jsonl";

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    revision: u32,
    unit: Value,
    result: Value,
    seconds: f64,
}

/// A store of finished units: `units.jsonl` in the out folder, one JSON object a line
/// (`{"revision", "unit", "result", "seconds"}`), on disk as soon as a unit is done.
///
/// A unit is identified by its description (everything that its result depends on) and the reproduction's revision. The
/// folder belongs to the store until it is dropped: see [`Folder`].
#[derive(Debug, Default)]
pub struct Units {
    known: HashMap<(u32, String), Value>,
    stored: Option<(Folder, Log)>,
}

impl Units {
    /// A store that forgets.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A store in `folder` that knows nothing yet; units of an earlier run move to `units.previous.jsonl`.
    ///
    /// # Errors
    /// As [`Units::open`].
    pub fn fresh(folder: &Path) -> Result<Self> {
        Self::open(folder, None, false)
    }

    /// A store in `folder` that knows the units finished there before, if any.
    ///
    /// # Errors
    /// As [`Units::open`].
    pub fn resume(folder: &Path) -> Result<Self> {
        Self::open(folder, None, true)
    }

    /// A store in `folder`, for the reproduction `slug` alone where one is given. With `resume` it knows what was finished
    /// there before; a folder that is missing or empty is begun.
    ///
    /// # Errors
    /// A folder of another reproduction, command or version, or in use by another process; a file that cannot be read or
    /// written; a line before the last that is not a unit.
    pub fn open(folder: &Path, slug: Option<&str>, resume: bool) -> Result<Self> {
        let identity = Identity::new("papers", slug);
        let nothing = !folder.exists() || folder.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        let folder = match resume && !nothing {
            true => Folder::resume(folder, &identity)?,
            false => Folder::take(folder, &identity, &[(FILE, PREVIOUS)])?,
        };
        let (log, lines) = Log::open(&folder.path().join(FILE), |_: &Line| true)?;
        let known = lines.into_iter().map(|line| ((line.revision, line.unit.to_string()), line.result)).collect();
        Ok(Self { known, stored: Some((folder, log)) })
    }

    /// Number of units known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The result of a unit, if it is known under this revision.
    pub fn get(&self, revision: u32, unit: &Value) -> Option<&Value> {
        self.known.get(&(revision, unit.to_string()))
    }

    /// Stores a finished unit; it is on disk when this returns.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn put(&mut self, revision: u32, unit: Value, result: Value, seconds: f64) -> Result<(), Error> {
        let line = Line { revision, unit, result, seconds };
        if let Some((_, log)) = &mut self.stored {
            log.append(&line)?;
        }
        self.known.insert((revision, line.unit.to_string()), line.result);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn what_was_put_is_there_after_resuming_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("new/folder");
        let awkward = json!([0.1 + 0.2, 1e-300, 123456.789e10, -0.0]);
        Units::fresh(folder).unwrap().put(1, json!({"seed": 0, "tau": 0.1}), awkward.clone(), 0.5).unwrap();
        let again = Units::resume(folder).unwrap();
        assert!(Units::resume(folder).is_err(), "one at a time");
        assert_eq!(again.get(1, &json!({"seed": 0, "tau": 0.1})), Some(&awkward));
        assert_eq!(again.get(2, &json!({"seed": 0, "tau": 0.1})), None, "another revision");
        assert_eq!(again.get(1, &json!({"seed": 1, "tau": 0.1})), None, "another unit");
        drop(again);
        assert!(Units::fresh(folder).unwrap().is_empty());
        assert!(folder.join("units.previous.jsonl").exists());
    }

    #[test]
    fn a_line_cut_short_is_dropped_and_the_file_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut units = Units::fresh(folder.path()).unwrap();
        for k in 0..3 {
            units.put(1, json!(k), json!(k * 10), 0.0).unwrap();
        }
        drop(units);
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 7]).unwrap();
        let mut units = Units::resume(folder.path()).unwrap();
        assert_eq!((units.len(), units.get(1, &json!(2))), (2, None));
        units.put(1, json!(2), json!(21), 0.0).unwrap();
        drop(units);
        assert_eq!(Units::resume(folder.path()).unwrap().get(1, &json!(2)), Some(&json!(21)));
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        Units::fresh(folder.path()).unwrap().put(1, json!(0), json!(0), 0.0).unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, format!("{}nonsense\n", fs::read_to_string(&path).unwrap())).unwrap();
        let message = Units::resume(folder.path()).unwrap_err().to_string();
        assert!(message.contains("units.jsonl, line 2"), "{message}");
    }
}
