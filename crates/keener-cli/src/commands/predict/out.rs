//! Where results go piece by piece: standard output, or a file that appears when it is whole.

use crate::output::print;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// An open output.
#[derive(Debug)]
pub(crate) struct Output(Option<Part>);

#[derive(Debug)]
struct Part {
    file: BufWriter<File>,
    beside: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Output {
    /// Standard output, or a new file beside `path`.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(name);
        let file = File::create(&beside).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(Some(Part { file: BufWriter::new(file), beside, path: path.to_path_buf(), done: false })))
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub(crate) fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.0 {
            Some(part) => {
                part.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", part.path.display()))
            }
            None => print(text),
        }
    }

    /// Puts the whole file in its place.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub(crate) fn finish(mut self) -> Result<()> {
        let Some(part) = &mut self.0 else { return Ok(()) };
        let finish = |part: &mut Part| {
            part.file.flush()?;
            part.file.get_ref().sync_all()?;
            fs::rename(&part.beside, &part.path)
        };
        finish(part).with_context(|| format!("cannot write {}", part.path.display()))?;
        part.done = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.done {
            // What is left over from an error is of no use, and nothing is to be done when it cannot be removed.
            let _ = fs::remove_file(&self.beside);
        }
    }
}
