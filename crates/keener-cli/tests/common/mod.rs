//! What the tests of runs share.

#![allow(dead_code, reason = "every test file takes what it needs")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The command, run in `folder`.
pub(crate) fn keener(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keener"));
    command.current_dir(folder);
    command
}

/// What it says when it refuses.
pub(crate) fn error_of(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    said
}

/// Three clouds, with labels or without.
pub(crate) fn pets(labels: bool) -> String {
    let mut text = String::from(if labels { "a,b,species\n" } else { "a,b\n" });
    for i in 0..90 {
        let class = i % 3;
        let (x, y) = (class as f64 + 0.03 * (i % 7) as f64, (class as f64 - 1.0).abs() + 0.02 * (i % 11) as f64);
        let label = if labels { [",cat", ",dog", ",owl"][class] } else { "" };
        text += &format!("{x},{y}{label}\n");
    }
    text
}

/// Whole lines of a file; none where there is none.
pub(crate) fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// Results without what differs from run to run.
pub(crate) fn timeless(path: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                ["seconds", "peak_memory_bytes", "threads"].iter().for_each(|key| drop(map.remove(*key)));
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    strip(&mut value);
    value
}
