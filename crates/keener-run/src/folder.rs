//! Folders that say what they are and belong to one process at a time.

use crate::error::{Error, Result};
use crate::file::{beside, is_part, replace, synchronise_folder};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Raised whenever files of earlier runs are no longer read as they were meant.
pub const FORMAT: u32 = 1;
/// The file that makes a folder a run.
pub const MANIFEST: &str = "run.json";
/// The file that is locked while a process works in the folder. A lock ends with its process, however that ends.
const LOCK: &str = "run.lock";

/// What kind of run a folder holds, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    kind: &'static str,
    name: Option<String>,
}

impl Identity {
    /// A kind, such as the command, and the name of what it runs, where one folder must not serve two of them.
    pub fn new(kind: &'static str, name: Option<&str>) -> Self {
        Self { kind, name: name.map(str::to_string) }
    }

    fn words(&self) -> String {
        words(self.kind, self.name.as_deref())
    }
}

fn words(kind: &str, name: Option<&str>) -> String {
    name.map_or(format!("`{kind}`"), |name| format!("`{kind} {name}`"))
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout of the folder.
    pub format: u32,
    /// The version that wrote it.
    pub version: String,
    /// What kind of run.
    pub kind: String,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Manifest {
    /// What the folder says of itself; none where it is no run.
    ///
    /// # Errors
    /// A manifest that cannot be read; [`Error::OtherVersion`].
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Versions {
            format: Option<u32>,
            version: Option<String>,
        }
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            read => read.map_err(|e| Error::io("read", &path, e))?,
        };
        let broken = |reason: String| Error::NotARun { path: folder.to_path_buf(), reason };
        // The version first: another one may have written what this one does not know.
        let told = |version: &str, format: Option<u32>| {
            let format = format.map_or("another".to_string(), |format| format!("format {format}"));
            format!("keener {version} ({format})")
        };
        let found: Versions = serde_json::from_slice(&text).map_err(|e| broken(format!("{MANIFEST}: {e}")))?;
        let version = found.version.unwrap_or_else(|| "of another version".into());
        if found.format != Some(FORMAT) || version != env!("CARGO_PKG_VERSION") {
            let expected = told(env!("CARGO_PKG_VERSION"), Some(FORMAT));
            return Err(Error::OtherVersion {
                path: folder.to_path_buf(),
                found: told(&version, found.format),
                expected,
            });
        }
        serde_json::from_slice(&text).map(Some).map_err(|e| broken(format!("{MANIFEST}: {e}")))
    }

    fn check(&self, folder: &Path, identity: &Identity) -> Result<()> {
        let same_name = identity.name.is_none() || identity.name == self.name;
        if self.kind == identity.kind && same_name {
            return Ok(());
        }
        let (found, expected) = (words(&self.kind, self.name.as_deref()), identity.words());
        Err(Error::OtherKind { path: folder.to_path_buf(), found, expected })
    }
}

/// A run folder that this process owns until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Option<File>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The process id is there only while it means something; the lock ends with the file.
        let _ = self.lock.take().map(|lock| lock.set_len(0));
    }
}

impl Folder {
    /// Makes the folder of a new run with its first files. It appears complete or not at all; only in a folder that was
    /// there already, and empty, a kill may leave files before the manifest is there, and such a folder still counts as
    /// empty.
    ///
    /// # Errors
    /// [`Error::Filled`], [`Error::InUse`], and whatever the system says; nothing is left behind then.
    pub fn create(path: &Path, identity: &Identity, files: &[(&str, &str)]) -> Result<Self> {
        let write = |e: io::Error| Error::io("write", path, e);
        match fs::read_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let mut parent = path.parent().map(Path::to_path_buf).unwrap_or_default();
                if parent.as_os_str().is_empty() {
                    parent = ".".into();
                }
                fs::create_dir_all(&parent).map_err(|e| Error::io("make", &parent, e))?;
                let part = beside(path);
                let fill = || -> Result<()> {
                    fs::create_dir(&part).map_err(write)?;
                    begin(&part, identity, files)?;
                    match fs::rename(&part, path) {
                        Err(_) if path.exists() => Err(Error::Filled { path: path.to_path_buf() }),
                        renamed => renamed.map_err(write),
                    }
                };
                fill().inspect_err(|_| drop(fs::remove_dir_all(&part)))?;
                synchronise_folder(path);
                Self::lock(path)
            }
            Err(e) if e.kind() == ErrorKind::NotADirectory && path.exists() => {
                Err(Error::Filled { path: path.to_path_buf() })
            }
            Err(e) => Err(Error::io("make", path, e)),
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(|e| Error::io("read", path, e))?.file_name();
                    let ours = name == LOCK || is_part(&name) || files.iter().any(|(file, _)| name == *file);
                    if !ours || path.join(MANIFEST).exists() {
                        // Whoever works there is the better reason.
                        drop(path.join(LOCK).exists().then(|| Self::lock(path)).transpose()?);
                        return Err(Error::Filled { path: path.to_path_buf() });
                    }
                }
                let folder = Self::lock(path)?;
                folder.sweep();
                begin(path, identity, files)?;
                Ok(folder)
            }
        }
    }

    /// Opens the folder of a run again; what a killed process left unfinished is removed.
    ///
    /// # Errors
    /// [`Error::NotARun`], [`Error::OtherVersion`], [`Error::OtherKind`], [`Error::InUse`], and whatever the system says.
    pub fn resume(path: &Path, identity: &Identity) -> Result<Self> {
        let not_a_run = |reason: &str| Error::NotARun { path: path.to_path_buf(), reason: reason.into() };
        if !path.is_dir() {
            return Err(not_a_run(if path.exists() { "it is no folder" } else { "there is no such folder" }));
        }
        let Some(manifest) = Manifest::read(path)? else {
            let empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            let none = format!("there is no {MANIFEST}");
            return Err(not_a_run(if empty { "it is empty" } else { &none }));
        };
        manifest.check(path, identity)?;
        let folder = Self::lock(path)?;
        folder.sweep();
        Ok(folder)
    }

    /// Opens a folder for a run that may replace what an earlier one left there: makes it, or takes it over, with the files
    /// named in `aside` moved to their second names. A folder that holds a run of something else is refused.
    ///
    /// # Errors
    /// As [`Folder::resume`].
    pub fn take(path: &Path, identity: &Identity, aside: &[(&str, &str)]) -> Result<Self> {
        if !path.exists() {
            return Self::create(path, identity, &[]);
        }
        match Manifest::read(path) {
            Ok(Some(manifest)) => manifest.check(path, identity)?,
            // What another version left is replaced.
            Ok(None) | Err(Error::OtherVersion { .. }) => {}
            Err(other) => return Err(other),
        }
        let folder = Self::lock(path)?;
        folder.sweep();
        // Before the manifest: what another version left must not be taken for our own.
        for (old, new) in aside {
            let old = path.join(old);
            match fs::rename(&old, path.join(new)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("move", &old, e)),
                _ => {}
            }
        }
        begin(path, identity, &[])?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the run, whole or not at all.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        replace(&path, text.as_bytes()).map_err(|e| Error::io("write", &path, e))
    }

    fn lock(path: &Path) -> Result<Self> {
        let file = path.join(LOCK);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
        let mut lock = opened.map_err(|e| Error::io("write", &file, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::InUse { path: path.to_path_buf(), process });
            }
            // A file system without locks; there the user has to see to it.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {
                return Ok(Self { path: path.to_path_buf(), lock: None });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &file, e)),
        }
        // For the message of the process that is refused; without it, too, the lock holds.
        let id = format!("{}\n", std::process::id());
        let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(id.as_bytes()));
        Ok(Self { path: path.to_path_buf(), lock: Some(lock) })
    }

    /// Removes what a killed process was writing.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if is_part(&entry.file_name()) {
                // What stays is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// First files, the manifest last.
fn begin(folder: &Path, identity: &Identity, files: &[(&str, &str)]) -> Result<()> {
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        kind: identity.kind.into(),
        name: identity.name.clone(),
    };
    let path = folder.join(MANIFEST);
    let text = serde_json::to_string(&manifest).map_err(|e| Error::io("write", &path, e.into()))? + "\n";
    for (name, text) in files.iter().chain([&(MANIFEST, text.as_str())]) {
        let path = folder.join(name);
        replace(&path, text.as_bytes()).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_belongs_to_one_process_and_is_never_overwritten() {
        let base = tempfile::tempdir().unwrap();
        let (path, one) = (base.path().join("deep/run"), Identity::new("train", None));
        let folder = Folder::create(&path, &one, &[("config.toml", "a = 1")]).unwrap();
        assert_eq!(names(&path), ["config.toml", "run.json", "run.lock"]);
        // A lock is the open file's: a second opening in the same process is refused like one of another process.
        for second in [Folder::create(&path, &one, &[]), Folder::resume(&path, &one), Folder::take(&path, &one, &[])] {
            let id = std::process::id();
            assert!(matches!(second, Err(Error::InUse { process: Some(p), .. }) if p == id), "{second:?}");
        }
        drop(folder);
        assert!(matches!(Folder::create(&path, &one, &[]), Err(Error::Filled { .. })));
        fs::write(path.join("model.12-0.part"), "half").unwrap();
        let folder = Folder::resume(&path, &one).unwrap();
        assert!(!path.join("model.12-0.part").exists());
        folder.write("model", "whole").unwrap();
        assert_eq!(fs::read_to_string(path.join("config.toml")).unwrap(), "a = 1");
        assert_eq!(names(base.path()), ["deep"], "nothing beside it");
    }

    #[test]
    fn other_folders_are_refused_and_left_as_they_are() {
        let base = tempfile::tempdir().unwrap();
        let (path, train) = (base.path().join("run"), Identity::new("train", None));
        let reason = |e: Error| e.to_string();
        assert!(reason(Folder::resume(&path, &train).unwrap_err()).contains("no such folder"));
        fs::create_dir(&path).unwrap();
        assert!(reason(Folder::resume(&path, &train).unwrap_err()).contains("it is empty"));
        fs::write(path.join("letter.txt"), "dear").unwrap();
        assert!(reason(Folder::resume(&path, &train).unwrap_err()).contains("there is no run.json"));
        assert!(matches!(Folder::create(&path, &train, &[]), Err(Error::Filled { .. })));
        assert_eq!(names(&path), ["letter.txt"], "no lock either");
        assert!(reason(Folder::resume(&path.join("letter.txt"), &train).unwrap_err()).contains("no folder"));
        assert!(matches!(Folder::create(&path.join("letter.txt"), &train, &[]), Err(Error::Filled { .. })));
        assert!(matches!(Folder::create(&path.join("letter.txt/run"), &train, &[]), Err(Error::Io { .. })));

        let paper = |name: &str| Identity::new("papers", Some(name));
        drop(Folder::take(&path, &paper("z-loss"), &[("letter.txt", "old.txt")]).unwrap());
        assert_eq!(names(&path), ["old.txt", "run.json", "run.lock"]);
        for (identity, words) in [(paper("cfcd"), "`papers cfcd`"), (train.clone(), "`train`")] {
            let error = Folder::resume(&path, &identity).unwrap_err();
            assert!(reason(error).ends_with(&format!("holds a run of `papers z-loss`, expected one of {words}")));
        }
        assert!(Folder::resume(&path, &Identity::new("papers", None)).is_ok());

        for manifest in [
            r#"{"format":1,"version":"9.9.9","kind":"papers","name":"z-loss"}"#,
            r#"{"format":2,"version":"0.1.0","kinds":["something","new"]}"#,
            "{}",
        ] {
            fs::write(path.join(MANIFEST), manifest).unwrap();
            let error = Folder::resume(&path, &paper("z-loss")).unwrap_err();
            assert!(matches!(error, Error::OtherVersion { .. }), "{error}");
            assert_eq!(fs::read_to_string(path.join(MANIFEST)).unwrap(), manifest);
        }
        fs::write(path.join(MANIFEST), "not JSON").unwrap();
        assert!(matches!(Folder::resume(&path, &paper("z-loss")), Err(Error::NotARun { .. })));
    }

    #[test]
    fn an_empty_folder_is_taken_even_where_a_kill_came_before_the_manifest() {
        let base = tempfile::tempdir().unwrap();
        let identity = Identity::new("train", None);
        fs::write(base.path().join("config.toml"), "half").unwrap();
        fs::write(base.path().join("config.toml.7-1.part"), "").unwrap();
        drop(Folder::create(base.path(), &identity, &[("config.toml", "whole")]).unwrap());
        assert_eq!(fs::read_to_string(base.path().join("config.toml")).unwrap(), "whole");
        assert!(Folder::resume(base.path(), &identity).is_ok());
    }
}
