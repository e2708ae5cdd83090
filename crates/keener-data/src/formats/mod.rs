//! The formats, one file each, behind one interface.
//!
//! A format is a function `read(&Input, Want, &ReadOptions) -> Result<Table, DataError>`. A new one is a file with
//! such a function, a variant of [`Format`], and a line in each of the three `match`es of this file. Formats that
//! hold arrays build [`RawArray`]s and share their conversions.

pub(crate) mod archive;
mod array;
mod arrow;
mod columnar;
mod contain;
mod delimited;
mod detect;
pub(crate) mod dialect;
#[cfg(test)]
mod fuzz;
mod idx;
pub(crate) mod images;
mod jsonl;
mod kinds;
pub(crate) mod layout;
pub(crate) mod npy;
mod npz;
pub(crate) mod parquet;
pub mod probe;
pub(crate) mod safetensors;
pub(crate) mod select;
mod svmlight;
mod thrift;
mod xc;

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;
use crate::labels::RawLabels;
use crate::options::ReadOptions;
use crate::sparse::Features;

pub(crate) use archive::FEATURE_NAMES;
pub(crate) use array::{RawArray, Values};
pub(crate) use columnar::CLASS_NAMES as CLASS_NAMES_KEY;

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// A zip archive of NumPy arrays, or a sparse matrix of SciPy.
    Npz,
    /// A text table, separated by comma, semicolon or tab; also one label a line.
    Csv,
    /// A text table, separated by tabs.
    Tsv,
    /// The format of MNIST and its relatives.
    Idx,
    /// Columns in row groups, also of lists.
    Parquet,
    /// Record batches, as a file or a stream.
    Arrow,
    /// Named tensors.
    Safetensors,
    /// Sparse rows as text, `label index:value …`.
    Svmlight,
    /// Sparse rows with several labels as text, after a line with three sizes.
    ExtremeClassification,
    /// A JSON object or list a line.
    JsonLines,
    /// A folder with one folder of images a class.
    Images,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 12] = [
        Self::Csv,
        Self::Tsv,
        Self::Npy,
        Self::Npz,
        Self::Parquet,
        Self::Arrow,
        Self::Safetensors,
        Self::Svmlight,
        Self::ExtremeClassification,
        Self::JsonLines,
        Self::Idx,
        Self::Images,
    ];

    /// What it is called, with its usual file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npy => "NumPy array (.npy)",
            Self::Npz => "NumPy archive (.npz)",
            Self::Csv => "text table (.csv, .txt)",
            Self::Tsv => "text table with tabs (.tsv)",
            Self::Idx => "IDX (…-idx3-ubyte)",
            Self::Parquet => "Parquet (.parquet)",
            Self::Arrow => "Arrow IPC (.arrow, .feather)",
            Self::Safetensors => "safetensors (.safetensors)",
            Self::Svmlight => "svmlight text (.svm, .svmlight, .libsvm)",
            Self::ExtremeClassification => "extreme-classification text (a first line `rows features labels`)",
            Self::JsonLines => "JSON lines (.jsonl, .ndjson)",
            Self::Images => "images (a folder of PNG or JPEG for each class)",
        }
    }

    /// The word for it in options and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Idx => "idx",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Safetensors => "safetensors",
            Self::Svmlight => "svmlight",
            Self::ExtremeClassification => "xc",
            Self::JsonLines => "jsonl",
            Self::Images => "images",
        }
    }

    /// The format that a word names (as [`Format::word`], or a usual extension).
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.trim().trim_start_matches('.').to_lowercase();
        Self::ALL.into_iter().find(|format| format.word() == word || format.extensions().contains(&word.as_str()))
    }

    /// The format that a file name means by its extension; a `.gz` at its end is passed over.
    ///
    /// ```
    /// use keener_data::Format;
    /// assert_eq!(Format::of_path("data/x.parquet".as_ref()), Some(Format::Parquet));
    /// assert_eq!(Format::of_path("x.csv.gz".as_ref()), Some(Format::Csv));
    /// assert_eq!(Format::of_path("x.docx".as_ref()), None);
    /// ```
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let (_, extension) = without_gz(&name).rsplit_once('.')?;
        Self::ALL.into_iter().find(|format| format.extensions().contains(&extension))
    }

    /// Usual extensions, in lower case.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Npy => &["npy"],
            Self::Npz => &["npz"],
            Self::Csv => &["csv", "txt", "data", "dat", "labels"],
            Self::Tsv => &["tsv", "tab"],
            Self::Parquet => &["parquet", "pq"],
            Self::Arrow => &["arrow", "feather", "arrows", "ipc"],
            Self::Safetensors => &["safetensors"],
            Self::Svmlight => &["svm", "svmlight", "libsvm"],
            Self::JsonLines => &["jsonl", "ndjson"],
            Self::Idx | Self::ExtremeClassification | Self::Images => &[],
        }
    }

    /// The format of a file, from its first bytes and its name. Compressed bytes must be uncompressed before.
    ///
    /// Signatures decide; the name decides only between texts.
    ///
    /// # Errors
    /// [`DataError::UnknownFormat`], [`DataError::Empty`].
    pub fn detect(file: &str, bytes: &[u8]) -> Result<Self, DataError> {
        detect::detect(file, bytes)
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
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Table {
    /// Features `[rows, dim]`, for [`Want::Labelled`] and [`Want::Features`].
    pub(crate) features: Option<Features>,
    /// One label a row, for [`Want::Labelled`] and [`Want::Labels`].
    pub(crate) labels: Option<RawLabels>,
    /// The classes in their order, if the file lists them: text labels are among them, whole numbers are positions in them.
    pub(crate) class_names: Option<Vec<String>>,
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
    let format = match options.format {
        Some(format) if !bytes.is_empty() => format,
        _ => Format::detect(inner, &bytes)?,
    };
    match format {
        Format::Npy => npy::read(&input, want, options),
        Format::Npz => npz::read(&input, want, options),
        Format::Csv => delimited::read(&input, want, options),
        Format::Tsv => {
            let tabs = ReadOptions { separator: options.separator.or(Some('\t')), ..options.clone() };
            delimited::read(&input, want, &tabs)
        }
        Format::Idx => idx::read(&input, want, options),
        Format::Parquet => parquet::read(&input, want, options),
        Format::Arrow => arrow::read(&input, want, options),
        Format::Safetensors => safetensors::read(&input, want, options),
        Format::Svmlight => svmlight::read(&input, want, options),
        Format::ExtremeClassification => xc::read(&input, want, options),
        Format::JsonLines => jsonl::read(&input, want, options),
        Format::Images => images::read(&input, want, options),
    }
}

/// The bytes without gzip, and the name without `.gz`. Memory grows with what the stream yields, up to the allowance.
pub(crate) fn uncompressed<'a>(file: &'a str, bytes: &'a [u8]) -> Result<(Cow<'a, [u8]>, &'a str), DataError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok((Cow::Borrowed(bytes), file));
    }
    let most = contain::allowance(bytes.len() as u64);
    Ok((Cow::Owned(inflate(file, bytes, most)?), without_gz(file)))
}

/// What a gzip stream yields, up to `most` bytes.
fn inflate(file: &str, bytes: &[u8], most: u64) -> Result<Vec<u8>, DataError> {
    let mut out = Vec::new();
    match MultiGzDecoder::new(bytes).take(most.saturating_add(1)).read_to_end(&mut out) {
        Ok(length) if length as u64 <= most => Ok(out),
        Ok(_) => Err(contain::too_large(file, "gzip stream", most.saturating_add(1), bytes.len() as u64, most)),
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

/// Whether text tables take `text` for a missing value.
pub(crate) fn reads_as_missing(text: &str) -> bool {
    dialect::is_missing(text.as_bytes())
}

/// A short name for the data in a file: its base name without the extensions of the formats.
pub(crate) fn stem(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let name = without_gz(&name);
    if let Some(name) = name.strip_suffix("-ubyte") {
        return name.to_string();
    }
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() && Format::of_path(Path::new(name)).is_some() => stem.to_string(),
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_gzip_stream_that_becomes_too_much_is_cut() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, &[b'0'; 10_000]).unwrap();
        let bytes = gz.finish().unwrap();
        assert_eq!(inflate("a.csv.gz", &bytes, 10_000).unwrap().len(), 10_000);
        let error = inflate("a.csv.gz", &bytes, 9_999).unwrap_err().to_string();
        assert!(error.contains("gzip stream") && error.contains("expected at most"), "{error}");
    }

    #[test]
    fn words_and_extensions_name_formats() {
        for format in Format::ALL {
            assert_eq!(Format::from_word(format.word()), Some(format));
        }
        assert_eq!(Format::from_word(".Feather"), Some(Format::Arrow));
        assert_eq!(Format::from_word("xlsx"), None);
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
