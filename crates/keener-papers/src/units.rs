//! Finished units of work, on disk as they finish.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the out folder.
const FILE: &str = "units.jsonl";

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    revision: u32,
    unit: Value,
    result: Value,
    seconds: f64,
}

/// A store of finished units: `units.jsonl` in the out folder, one JSON object a line
/// (`{"revision", "unit", "result", "seconds"}`), written in one piece as soon as a unit is done.
///
/// A unit is identified by its description (everything that its result depends on) and the reproduction's revision.
#[derive(Debug, Default)]
pub struct Units {
    known: HashMap<(u32, String), Value>,
    file: Option<(File, PathBuf)>,
}

impl Units {
    /// A store that forgets.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A store in `folder` that knows nothing yet; units of an earlier run move to `units.previous.jsonl`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be written.
    pub fn fresh(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if path.exists() {
            let aside = folder.join("units.previous.jsonl");
            fs::rename(&path, &aside)
                .with_context(|| format!("cannot move {} to {}", path.display(), aside.display()))?;
        }
        Self::open(folder, path)
    }

    /// A store in `folder` that knows the units finished there before, if any. A last line that an interrupt cut short is
    /// removed.
    ///
    /// # Errors
    /// Where the folder or the file cannot be read or written; a line before the last that is not a unit.
    pub fn resume(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut store = Self::open(folder, path)?;
        for (k, line) in bytes[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let Ok(line) = serde_json::from_slice::<Line>(line) else {
                let path = folder.join(FILE);
                bail!(
                    "{}, line {}: not a finished unit; remove the line, or run without --resume",
                    path.display(),
                    k + 1
                );
            };
            store.known.insert((line.revision, line.unit.to_string()), line.result);
        }
        if let Some((file, path)) = store.file.as_ref().filter(|_| whole < bytes.len()) {
            file.set_len(whole as u64).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(store)
    }

    fn open(folder: &Path, path: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { known: HashMap::new(), file: Some((file, path)) })
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
    pub fn put(&mut self, revision: u32, unit: Value, result: Value, seconds: f64) -> Result<()> {
        let line = Line { revision, unit, result, seconds };
        if let Some((file, path)) = &mut self.file {
            let text = serde_json::to_string(&line)? + "\n";
            // One write, no buffer of our own: an interrupt cuts at most the last line.
            file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.known.insert((revision, line.unit.to_string()), line.result);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_put_is_there_after_resuming_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("new/folder");
        let awkward = json!([0.1 + 0.2, 1e-300, 123456.789e10, -0.0]);
        Units::fresh(folder).unwrap().put(1, json!({"seed": 0, "tau": 0.1}), awkward.clone(), 0.5).unwrap();
        let again = Units::resume(folder).unwrap();
        assert_eq!(again.get(1, &json!({"seed": 0, "tau": 0.1})), Some(&awkward));
        assert_eq!(again.get(2, &json!({"seed": 0, "tau": 0.1})), None, "another revision");
        assert_eq!(again.get(1, &json!({"seed": 1, "tau": 0.1})), None, "another unit");
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
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 7]).unwrap();
        let mut units = Units::resume(folder.path()).unwrap();
        assert_eq!((units.len(), units.get(1, &json!(2))), (2, None));
        units.put(1, json!(2), json!(21), 0.0).unwrap();
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
