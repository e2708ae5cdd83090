//! Paths where only text can stand: configuration files, command lines to copy. A path that is no Unicode keeps its bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Announces a path whose bytes are percent-encoded, as `percent-encoded:caf%E9.csv`.
const ENCODED: &str = "percent-encoded:";

#[cfg(unix)]
fn bytes(path: &OsStr) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path)
}

#[cfg(not(unix))]
fn bytes(path: &OsStr) -> &[u8] {
    path.as_encoded_bytes()
}

#[cfg(unix)]
fn from_bytes(bytes: Vec<u8>) -> Result<OsString, String> {
    Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

#[cfg(not(unix))]
fn from_bytes(bytes: Vec<u8>) -> Result<OsString, String> {
    String::from_utf8(bytes).map(OsString::from).map_err(|e| format!("no path of this system: {e}"))
}

/// A path as text: itself, or `percent-encoded:` with every byte that is no plain ASCII as `%XX`.
pub(crate) fn to_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.starts_with(ENCODED) => text.to_string(),
        _ => {
            let encode = |byte: &u8| match byte {
                b'%' | 0..=b' ' | 0x7f.. => format!("%{byte:02X}"),
                plain => char::from(*plain).to_string(),
            };
            ENCODED.to_string() + &bytes(path.as_os_str()).iter().map(encode).collect::<String>()
        }
    }
}

/// The path that a text names.
///
/// # Errors
/// `%` without two hexadecimal digits.
pub(crate) fn from_text(text: &str) -> Result<PathBuf, String> {
    let Some(encoded) = text.strip_prefix(ENCODED) else { return Ok(text.into()) };
    let mut found = Vec::new();
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (*first, digits.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                found.push(byte);
                rest = &tail[2..];
            }
            (b'%', None) => return Err(format!("{text}: expected two hexadecimal digits after every %")),
            (plain, _) => {
                found.push(plain);
                rest = tail;
            }
        }
    }
    from_bytes(found).map(PathBuf::from)
}

/// For serde: `#[serde(with = "crate::paths::optional")]`.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(to_text).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| from_text(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// `path` as seen from `folder`, so that both can be moved together; absolute paths stay as they are.
pub(crate) fn seen_from(folder: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.to_path_buf();
    }
    let (Some(folder), Some(path_there)) = (real(folder), real(path)) else { return path.to_path_buf() };
    let (from, to): (Vec<_>, Vec<_>) = (folder.components().collect(), path_there.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(to[shared..].iter().copied()).collect()
}

/// The path that a file in `folder` means by `path`.
pub(crate) fn found_from(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(path);
    // `one/../data.csv` is `data.csv`, unless `one` is a link to somewhere else.
    let mut plain = PathBuf::new();
    for part in joined.components() {
        match (part, plain.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(plain.pop()),
            (part, _) => plain.push(part),
        }
    }
    match (real(&plain), real(&joined)) {
        (Some(a), Some(b)) if a != b => joined,
        _ => plain,
    }
}

/// The absolute path without links in its folders; the last parts need not exist.
fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    // The name itself may be a link: it is the link that the user means.
    let (folder, name) = (path.parent()?, path.file_name());
    let mut rest: Vec<&OsStr> = name.into_iter().collect();
    let mut at = if name.is_some() { folder } else { &path };
    loop {
        if let Ok(mut found) = at.canonicalize() {
            found.extend(rest.iter().rev());
            return Some(found);
        }
        rest.push(at.file_name()?);
        at = at.parent()?;
    }
}

/// Joins words so that a POSIX shell reads them back.
pub(crate) fn shell<W: AsRef<OsStr>>(words: &[W]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    let quote = |word: &OsStr| match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_string(),
        Some(text) => format!("'{}'", text.replace('\'', r"'\''")),
        None => {
            let escape = |byte: &u8| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                other => format!("\\x{other:02x}"),
            };
            format!("$'{}'", bytes(word).iter().map(escape).collect::<String>())
        }
    };
    words.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        let words = ["keener", "my file.csv", "cosface:margin=0.2", "it's"];
        assert_eq!(shell(&words), r"keener 'my file.csv' cosface:margin=0.2 'it'\''s'");
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_unicode_keep_their_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let odd = Path::new(OsStr::from_bytes(b"caf\xe9 100%.csv"));
        assert_eq!(to_text(odd), "percent-encoded:caf%E9%20100%25.csv");
        assert_eq!(shell(&[odd]), r"$'caf\xe9 100%.csv'");
        let tricky = Path::new("percent-encoded:x");
        for path in [odd, tricky, Path::new("plain/ü %41.csv")] {
            assert_eq!(from_text(&to_text(path)).unwrap(), path);
        }
        assert!(from_text("percent-encoded:%4").unwrap_err().contains("two hexadecimal digits"));
    }

    #[test]
    fn relative_paths_are_seen_from_the_folder_of_the_file_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("runs/one")).unwrap();
        let run = folder.path().join("runs/one");
        assert_eq!(found_from(&run, Path::new("../../data.csv")), folder.path().join("data.csv"));
        assert_eq!(found_from(Path::new("."), Path::new("data.csv")), Path::new("data.csv"));
        assert_eq!(found_from(&run, Path::new("/else/data.csv")), Path::new("/else/data.csv"));
        assert_eq!(seen_from(&run, Path::new("/else/data.csv")), Path::new("/else/data.csv"));
        // Relative to where this runs; neither the folder nor the file needs to be there.
        assert_eq!(seen_from(Path::new("runs/new"), Path::new("data/x.csv")), Path::new("../../data/x.csv"));
        assert_eq!(seen_from(Path::new("."), Path::new("x.csv")), Path::new("x.csv"));
        assert_eq!(found_from(Path::new("runs/new"), Path::new("../../data/x.csv")), Path::new("data/x.csv"));
    }
}
