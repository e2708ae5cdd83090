//! The formats, one file each, behind one interface.
//!
//! A format is a function `read(&Input, Want, &ReadOptions) -> Result<Table, DataError>`. A new one is a file with
//! such a function, a variant of [`Format`], and a line in each of the three `match`es of this file. Formats that
//! hold arrays build [`RawArray`]s and share their conversions.

mod array;
mod delimited;
mod dialect;
#[cfg(test)]
mod fuzz;
mod idx;
mod npy;
mod npz;
mod select;

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::{DataError, list};
use crate::labels::RawLabels;
use crate::options::ReadOptions;
use crate::sparse::Features;

pub(crate) use array::{RawArray, Values};

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// A zip archive of NumPy arrays.
    Npz,
    /// A text table, separated by comma, semicolon or tab; also one label a line.
    Csv,
    /// The format of MNIST and its relatives.
    Idx,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Npy, Self::Npz, Self::Csv, Self::Idx];

    /// What it is called, with its usual file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npy => "NumPy array (.npy)",
            Self::Npz => "NumPy archive (.npz)",
            Self::Csv => "text table (.csv, .tsv, .txt)",
            Self::Idx => "IDX (…-idx3-ubyte)",
        }
    }

    /// The format of a file, from its first bytes and its name. Compressed bytes must be uncompressed before.
    ///
    /// Signatures decide; the name decides only whether text is a table.
    ///
    /// # Errors
    /// [`DataError::UnknownFormat`], [`DataError::Empty`].
    pub fn detect(file: &str, bytes: &[u8]) -> Result<Self, DataError> {
        if bytes.is_empty() {
            return Err(DataError::Empty { place: file.into(), what: "bytes".into() });
        }
        let name = file.rsplit(['/', '\\']).next().unwrap_or(file).to_lowercase();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        if bytes.starts_with(npy::MAGIC) {
            return Ok(Self::Npy);
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            if extension == Some("npz") || npz::holds_arrays(bytes) {
                return Ok(Self::Npz);
            }
        } else if idx::has_magic(bytes) {
            return Ok(Self::Idx);
        } else if is_text(bytes) {
            let named = matches!(extension, Some("csv" | "tsv" | "tab" | "txt" | "data" | "dat" | "labels"));
            let claimed = matches!(extension, Some("npy" | "npz")) || name.ends_with("-ubyte");
            if named || (!claimed && foreign(bytes).is_none() && dialect::looks_like_a_table(bytes)) {
                return Ok(Self::Csv);
            }
        }
        Err(DataError::UnknownFormat {
            file: file.into(),
            looks_like: foreign(bytes).map_or_else(|| describe(bytes), String::from),
            known: list(Self::ALL.map(Self::name)) + ", each also compressed with gzip (.gz)",
        })
    }
}

/// What the caller needs from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Features and labels.
    Labelled,
    /// Features alone; a label column is kept as a feature unless the options name it.
    Features,
    /// Labels alone.
    Labels,
}

/// What a format hands over: the parts that were wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// Features `[rows, dim]`, for [`Want::Labelled`] and [`Want::Features`].
    pub(crate) features: Option<Features>,
    /// One label a row, for [`Want::Labelled`] and [`Want::Labels`].
    pub(crate) labels: Option<RawLabels>,
}

/// Bytes with the name they go by in messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// Path or other name.
    pub(crate) file: &'a str,
    /// The whole content, uncompressed.
    pub(crate) bytes: &'a [u8],
}

/// Detects the format and reads what is wanted; gzip is undone first.
pub(crate) fn read(file: &str, bytes: &[u8], want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let (bytes, inner) = uncompressed(file, bytes)?;
    let input = Input { file, bytes: &bytes };
    match Format::detect(inner, &bytes)? {
        Format::Npy => npy::read(&input, want, options),
        Format::Npz => npz::read(&input, want, options),
        Format::Csv => delimited::read(&input, want, options),
        Format::Idx => idx::read(&input, want, options),
    }
}

/// The bytes without gzip, and the name without `.gz`. Memory grows with what the stream yields, not with a header.
fn uncompressed<'a>(file: &'a str, bytes: &'a [u8]) -> Result<(Cow<'a, [u8]>, &'a str), DataError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok((Cow::Borrowed(bytes), file));
    }
    let mut out = Vec::new();
    match MultiGzDecoder::new(bytes).read_to_end(&mut out) {
        Ok(_) => Ok((Cow::Owned(out), without_gz(file))),
        Err(error) => Err(DataError::Malformed {
            file: file.into(),
            at: format!("gzip stream, after {} uncompressed bytes", out.len()),
            found: error.to_string(),
            expected: "a complete gzip file".into(),
        }),
    }
}

/// `name` without a `.gz` at its end.
pub(crate) fn without_gz(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".GZ")).unwrap_or(name)
}

/// A short name for the data in a file: its base name without the extensions of the formats.
pub(crate) fn stem(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let name = without_gz(&name);
    let known = [".csv", ".tsv", ".txt", ".npy", ".npz", ".data", ".dat", "-ubyte"];
    known.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_string()
}

/// Whether the first bytes are text: valid UTF-8 without control characters.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(4096)];
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character cut by the end of the sample is no fault; neither is Latin-1 in a cell, reported with its line.
        Err(error) => error.error_len().is_none() || error.valid_up_to() > 0,
    };
    valid && !head.iter().any(|&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
}

/// Names contents that are recognised but not read.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 16] = [
        (b"PAR1", "Parquet"),
        (b"ARROW1", "an Arrow file"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"PK", "a zip archive without .npy members"),
        (b"\x28\xb5\x2f\xfd", "zstd compression"),
        (b"BZh", "bzip2 compression"),
        (b"\xfd7zXZ", "xz compression"),
        (b"SQLite format 3", "an SQLite database"),
        (b"MATLAB 5.0", "a MATLAB file"),
        (b"%PDF", "a PDF document"),
        (b"\xff\xfe", "UTF-16 text (save it as UTF-8)"),
        (b"\xfe\xff", "UTF-16 text (save it as UTF-8)"),
        (b"version https://git-lfs", "a Git LFS pointer (fetch the file itself)"),
        (b"@relation", "ARFF"),
    ];
    if let Some((_, name)) = SIGNATURES.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    if bytes.len() > 2 && bytes[0] == 0x80 && (2..=5).contains(&bytes[1]) {
        return Some("a Python pickle, which is never read because it can run code (save with numpy.savez)");
    }
    if !is_text(bytes) {
        return None;
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let first = head.lines().find(|line| !line.trim().is_empty())?.trim_start().to_string();
    if first.starts_with(['{', '[']) {
        return Some("JSON");
    }
    if first.starts_with('<') {
        return Some("HTML or XML");
    }
    let mut words = first.split_whitespace();
    let pair =
        |word: &str| word.split_once(':').is_some_and(|(i, v)| i.parse::<u64>().is_ok() && v.parse::<f64>().is_ok());
    if words.next().is_some_and(|word| word.parse::<f64>().is_ok()) && words.next().is_some_and(pair) {
        return Some("svmlight text");
    }
    None
}

fn describe(bytes: &[u8]) -> String {
    if is_text(bytes) {
        let head: String = String::from_utf8_lossy(&bytes[..bytes.len().min(32)]).into_owned();
        return format!("text, beginning with {head:?}");
    }
    let head: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("binary data, beginning with {}", head.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(name: &str, bytes: &[u8]) -> Option<Format> {
        Format::detect(name, bytes).ok()
    }

    #[test]
    fn signatures_win_over_names() {
        assert_eq!(detect("a.csv", b"\x93NUMPY\x01\x00"), Some(Format::Npy));
        assert_eq!(detect("whatever", &[0, 0, 8, 1, 0, 0, 0, 1, 5]), Some(Format::Idx));
        assert_eq!(detect("dir.npy/a.csv", b"1,2\n3,4\n"), Some(Format::Csv));
        assert_eq!(detect("table", b"a;b\n1;2\n"), Some(Format::Csv));
        assert_eq!(detect("labels.txt", b"cat\ndog\n"), Some(Format::Csv));
    }

    #[test]
    fn unknown_bytes_are_named() {
        let message = |name: &str, bytes: &[u8]| Format::detect(name, bytes).unwrap_err().to_string();
        assert!(message("a.parquet", b"PAR1\x15\x04").contains("look like Parquet"));
        assert!(message("a.json", b"[{\"x\": 1}]").contains("JSON"));
        assert!(message("a.svm", b"1 1:0.5 2:3\n").contains("svmlight"));
        assert!(message("a.pkl", b"\x80\x04\x95rest").contains("pickle"));
        assert!(message("a.bin", &[1, 2, 3, 0xff]).contains("01 02 03 ff"));
        assert!(message("a.npy", b"1,2\n3,4\n").contains("text, beginning with"));
        assert!(message("a.csv", b"a,b\n\x00\x01").contains("binary"));
        let empty = message("a.csv", b"");
        assert!(empty.contains("a.csv") && empty.contains("no bytes"), "{empty}");
        for format in Format::ALL {
            assert!(message("a.bin", &[1, 2, 3]).contains(format.name()));
        }
    }

    #[test]
    fn a_cut_gzip_stream_is_an_error() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, b"a,label\n1,0\n2,1\n").unwrap();
        let bytes = gz.finish().unwrap();
        assert!(read("a.csv.gz", &bytes, Want::Labelled, &ReadOptions::default()).is_ok());
        let error = read("a.csv.gz", &bytes[..bytes.len() - 9], Want::Labelled, &ReadOptions::default());
        assert!(error.unwrap_err().to_string().contains("gzip stream"));
    }

    #[test]
    fn stems_drop_known_extensions() {
        for (path, stem_of) in
            [("/a/iris.csv.gz", "iris"), ("x.npy", "x"), ("t10k-images-idx3-ubyte.gz", "t10k-images-idx3")]
        {
            assert_eq!(stem(Path::new(path)), stem_of);
        }
    }
}
