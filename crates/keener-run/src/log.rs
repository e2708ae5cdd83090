//! Logs that a kill shortens by one line at most.

use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A file of JSON lines that is only ever appended to. A line counts once its end is there: what an interrupt cut off is
/// dropped when the file is opened again.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines.
    length: u64,
}

impl Log {
    /// Opens the file, or begins it, and reads its lines as long as `keep` holds; it goes on from there, so that the first
    /// line that `keep` refuses is dropped with all that follow.
    ///
    /// # Errors
    /// A file that cannot be read or written; [`Error::Damaged`] for a whole line that is no `T`.
    pub fn open<T: DeserializeOwned>(path: &Path, keep: impl Fn(&T) -> bool) -> Result<(Self, Vec<T>)> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = opened.map_err(|e| Error::io("open", path, e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
        let (mut length, mut lines) = (0, Vec::new());
        for (k, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            if !line.ends_with(b"\n") {
                break;
            }
            let read = serde_json::from_slice(line).map_err(|e| e.to_string());
            let read: T = read.map_err(|reason| Error::Damaged { path: path.to_path_buf(), line: k + 1, reason })?;
            if !keep(&read) {
                break;
            }
            length += line.len() as u64;
            lines.push(read);
        }
        if length < bytes.len() as u64 {
            file.set_len(length).map_err(|e| Error::io("write", path, e))?;
        }
        Ok((Self { file, path: path.to_path_buf(), length }, lines))
    }

    /// Appends a line; it is on disk when this returns. A line that could not be written whole is taken back.
    ///
    /// # Errors
    /// Whatever the system says; a value that JSON does not hold.
    pub fn append(&mut self, value: &impl Serialize) -> Result<()> {
        let failed = |cause: std::io::Error| Error::io("write", &self.path, cause);
        let line = serde_json::to_string(value).map_err(|e| failed(e.into()))? + "\n";
        // One write without a buffer of our own: a kill cuts at most this line.
        if let Err(error) = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()) {
            // Should this fail as well, the line has no end, and is dropped when the file is opened again.
            let _ = self.file.set_len(self.length);
            return Err(failed(error));
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn all(path: &Path) -> Vec<(u32, f64)> {
        Log::open(path, |_| true).unwrap().1
    }

    #[test]
    fn whatever_a_kill_leaves_of_the_last_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let lines = [(0, 0.1 + 0.2), (1, 1e-300), (2, -0.0)];
        let (mut log, known) = Log::open(&path, |_: &(u32, f64)| true).unwrap();
        assert!(known.is_empty());
        lines.iter().for_each(|line| log.append(line).unwrap());
        let bytes = fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(all(&path), lines[..whole], "cut at {cut}");
            let (mut log, _) = Log::open(&path, |_: &(u32, f64)| true).unwrap();
            lines[whole..].iter().for_each(|line| log.append(line).unwrap());
            assert!(fs::read(&path).unwrap() == bytes, "cut at {cut}");
        }
        // A file system that grew the file before it wrote it.
        fs::write(&path, [&bytes[..], &[0; 20]].concat()).unwrap();
        assert_eq!(all(&path), lines);
    }

    #[test]
    fn lines_that_are_not_kept_go_with_all_that_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let (mut log, _) = Log::open(&path, |_: &u32| true).unwrap();
        [10, 20, 30, 20].iter().for_each(|step| log.append(step).unwrap());
        let (mut log, kept) = Log::open(&path, |step: &u32| *step <= 25).unwrap();
        assert_eq!(kept, [10, 20]);
        log.append(&25).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "10\n20\n25\n");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "1\nnonsense\n3\n").unwrap();
        let error = Log::open(&path, |_: &u32| true).unwrap_err();
        assert!(matches!(&error, Error::Damaged { line: 2, .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\nnonsense\n3\n", "nothing is lost");
    }
}
