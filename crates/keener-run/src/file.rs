//! Files that are there whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Puts `bytes` at `path`: a reader, and a process that comes after a kill, see the old file or the new one, never half of
/// one. What goes wrong leaves the old file as it was.
///
/// Links are followed, permissions of an old file are kept. What is no file (a terminal, a pipe, `/dev/null`) is written
/// to directly.
///
/// # Errors
/// Whatever the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// As [`replace`], for content that is written piece by piece.
///
/// # Errors
/// Whatever the system or `fill` says.
pub fn replace_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
        let mut file = OpenOptions::new().write(true).open(path)?;
        return fill(&mut file).and_then(|()| file.flush());
    }
    let part = beside(path);
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create_new(&part)?);
        fill(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        if let Some(old) = &old {
            fs::set_permissions(&part, old.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&part)))?;
    synchronise_folder(path);
    Ok(())
}

/// A name beside `path` that nobody else takes: `NAME.PID-K.part`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_else(|| OsStr::new("file")).to_os_string();
    name.push(format!(".{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// Whether a name is one of those that [`beside`] gives.
pub(crate) fn is_part(name: &OsStr) -> bool {
    let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".part")) else { return false };
    let Some((process, count)) = stem.rsplit_once('.').and_then(|(_, tail)| tail.split_once('-')) else { return false };
    [process, count].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Makes a renaming last, where the system can; elsewhere it is as good as the system makes it.
pub(crate) fn synchronise_folder(path: &Path) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        drop(File::open(parent).and_then(|folder| folder.sync_all()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        let error = replace_with(&path, |file| {
            file.write_all(&[0; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("no/such/folder"), b"new").is_err());
        assert!(replace(folder.path(), b"new").is_err(), "a folder is not replaced by a file");
    }

    #[test]
    fn only_our_own_names_are_parts() {
        let name = beside(Path::new("some/model.safetensors"));
        assert!(is_part(name.file_name().unwrap()), "{}", name.display());
        for other in ["movie.part", "x.12.part", "x.1-b.part", ".part", "x.-.part", "1-2.part"] {
            assert!(!is_part(OsStr::new(other)), "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_devices_and_permissions_stay_what_they_are() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, b"old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        replace(Path::new("/dev/null"), b"new").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let full = replace(Path::new("/dev/full"), b"new");
        assert!(cfg!(not(target_os = "linux")) || full.unwrap_err().kind() == io::ErrorKind::StorageFull);
    }
}
