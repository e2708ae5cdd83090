//! What can be wrong with a run folder, and what to do about it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Errors of run folders.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {}", path.display(), reason(cause))]
    Io {
        /// What was tried: `read`, `write` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another process works in the folder.
    #[error("{} is in use by another process{}; nothing was written", path.display(), owner(*process))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Its process id, where the folder says so.
        process: Option<u32>,
    },
    /// The folder of a new run holds something.
    #[error("{} exists and is not empty; nothing was written", path.display())]
    Filled {
        /// The folder.
        path: PathBuf,
    },
    /// There is no run to go on with.
    #[error("{} holds no run to go on with: {reason}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The folder holds a run of something else.
    #[error("{} holds a run of {found}, expected one of {expected}", path.display())]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The run was written by another version, whose files or numbers may differ.
    #[error("{} was written by {found}, this is {expected}; nothing was changed", path.display())]
    OtherVersion {
        /// The folder.
        path: PathBuf,
        /// Version and format of the run.
        found: String,
        /// Version and format of this program.
        expected: String,
    },
    /// A line before the last one of a log is not what was written.
    #[error("{}, line {line}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

fn owner(process: Option<u32>) -> String {
    process.map_or(String::new(), |id| format!(" ({id})"))
}

/// What the system says, in words that do not depend on it, where there are such.
pub fn reason(cause: &io::Error) -> String {
    match cause.kind() {
        ErrorKind::StorageFull => "the disk is full".into(),
        ErrorKind::QuotaExceeded => "the quota is used up".into(),
        ErrorKind::FileTooLarge => "the file would be larger than is allowed here".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::NotFound => "there is no such file or folder".into(),
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        ErrorKind::IsADirectory => "it is a folder, expected a file".into(),
        _ => cause.to_string(),
    }
}

impl Error {
    /// An [`Error::Io`].
    pub fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), cause }
    }

    /// What to try next, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        let full = "make room: what was finished is safe, and `--resume` goes on from there";
        match self {
            Self::Io { cause, .. } => match cause.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Some(full),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied | ErrorKind::NotADirectory => {
                    Some("a folder that can be written, by `--out`")
                }
                _ => None,
            },
            Self::InUse { .. } => Some("wait until it has finished, or another `--out`"),
            Self::Filled { .. } => Some("another `--out`, or `--resume` to go on with what is there"),
            Self::NotARun { .. } => Some("the folder of an interrupted run, or the same command without `--resume`"),
            Self::OtherKind { .. } => Some("another `--out`"),
            Self::OtherVersion { .. } => Some("the version that wrote it, or a new run in another `--out`"),
            Self::Damaged { .. } => Some("remove the line: what it held is computed again"),
        }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
