//! Writing rows and labels to files, in the formats that are read.
//!
//! A file appears whole or not at all: it is written under another name beside its place, and then renamed.

mod columnar;
mod numpy;
mod tensors;
mod text;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use crate::dataset::{Dataset, Matrix, check_labels};
use crate::error::DataError;
use crate::formats::Format;
use crate::sparse::{Csr, Features};

/// The name of the label column in tables.
const LABEL: &str = "label";
/// The name of the one column that holds rows without names.
const FEATURES: &str = "features";

/// Rows to write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowsRef<'a> {
    /// Every value is stored.
    Dense {
        /// Values, row-major `[rows, dim]`.
        values: &'a [f32],
        /// Values a row.
        dim: usize,
        /// Name of each column.
        names: Option<&'a [String]>,
    },
    /// Zeros are left out.
    Sparse(&'a Csr),
}

/// Rows and, if there are some, labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Content<'a> {
    /// The rows.
    pub rows: RowsRef<'a>,
    /// Class index of each row.
    pub labels: Option<&'a [u32]>,
    /// Name of each class.
    pub class_names: &'a [String],
}

impl<'a> From<&'a Dataset> for Content<'a> {
    fn from(data: &'a Dataset) -> Self {
        let rows = RowsRef::Dense { values: &data.features, dim: data.dim, names: data.feature_names.as_deref() };
        Self { rows, labels: Some(&data.labels), class_names: &data.class_names }
    }
}

impl<'a> From<&'a Matrix> for Content<'a> {
    fn from(matrix: &'a Matrix) -> Self {
        let rows = RowsRef::Dense { values: &matrix.values, dim: matrix.dim, names: matrix.names.as_deref() };
        Self { rows, labels: None, class_names: &[] }
    }
}

impl<'a> From<&'a Features> for Content<'a> {
    fn from(features: &'a Features) -> Self {
        match features {
            Features::Dense(matrix) => matrix.into(),
            Features::Sparse(csr) => Self { rows: RowsRef::Sparse(csr), labels: None, class_names: &[] },
        }
    }
}

impl Format {
    /// Whether [`write()`] knows it.
    pub fn is_written(self) -> bool {
        !matches!(self, Self::Idx | Self::ExtremeClassification | Self::Images)
    }
}

/// Writes `content` to `path`, with gzip if the name ends with `.gz`, and returns the files that were made.
///
/// | format | features | labels | class names |
/// |---|---|---|---|
/// | npy | the array, `f32` | a second file `NAME.labels.npy` | as text, unless they are whole numbers; the order is lost |
/// | npz | `X`; sparse rows as `scipy.sparse.save_npz` writes them | `y` | `class_names` |
/// | csv, tsv | columns | column `label` | as text; the order is lost |
/// | parquet, arrow | columns, or one column of lists where they have no names | column `label` | in the schema's metadata |
/// | safetensors | `features` | `labels` | in the header's metadata |
/// | svmlight | indices from 1, zeros left out, `# dim: N` | whole numbers | in a comment |
/// | jsonl | fields, or one list | field `label` | as text; the order is lost |
///
/// Formats without a sparse form get the zeros written out, row by row. Where the order of the classes is lost, reading sorts
/// the names, and classes without rows are gone.
///
/// # Errors
/// [`DataError::Unsupported`] for formats that are only read, class names that a text cannot hold, and a feature called
/// `label`; [`DataError::NonFinite`], [`DataError::Shape`], [`DataError::LabelRange`] for content that breaks its
/// promises; [`DataError::Write`] when the system refuses: then nothing is left behind.
///
/// ```
/// use keener_data::{Content, Format, ReadOptions, digits, open, write};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("digits.parquet");
/// write(&path, Format::Parquet, &Content::from(&digits()))?;
/// assert_eq!(open(&path, &ReadOptions::default())?.fingerprint(), digits().fingerprint());
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn write(path: impl AsRef<Path>, format: Format, content: &Content<'_>) -> Result<Vec<PathBuf>, DataError> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    content.check(&shown, format)?;
    let one = |body: &dyn Fn(&mut Sink<'_>) -> io::Result<()>| {
        to_file(path, body)?;
        Ok(vec![path.to_path_buf()])
    };
    match format {
        Format::Npy => {
            // The labels first: a matrix without them would be found without them.
            let mut files = Vec::new();
            if content.labels.is_some() {
                let labels = labels_path(path);
                to_file(&labels, &|out| numpy::labels(out, content))?;
                files.push(labels);
            }
            to_file(path, &|out| numpy::matrix(out, content))?;
            files.insert(0, path.to_path_buf());
            Ok(files)
        }
        Format::Npz => one(&|out| numpy::archive(out, content)),
        Format::Csv => one(&|out| text::delimited(out, content, b',')),
        Format::Tsv => one(&|out| text::delimited(out, content, b'\t')),
        Format::Svmlight => one(&|out| text::svmlight(out, content)),
        Format::JsonLines => one(&|out| text::json_lines(out, content)),
        Format::Parquet => one(&|out| columnar::parquet(out, content)),
        Format::Arrow => one(&|out| columnar::arrow(out, content)),
        Format::Safetensors => one(&|out| tensors::safetensors(out, content)),
        Format::Idx | Format::ExtremeClassification | Format::Images => Err(refused(&shown, format)),
    }
}

fn refused(file: &str, format: Format) -> DataError {
    let written = Format::ALL.into_iter().filter(|format| format.is_written()).map(Format::word);
    DataError::Unsupported {
        file: file.into(),
        at: "format".into(),
        found: format!("writing {}", format.name()),
        expected: format!("one of {}", crate::error::list(written)),
    }
}

/// `x.labels.npy` beside `x.npy`.
fn labels_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".npy").unwrap_or(&name);
    path.with_file_name(format!("{stem}.labels.npy"))
}

/// Where the bytes of a file go.
type Sink<'a> = dyn Write + Send + 'a;

/// Writes a file whole or not at all.
fn to_file(path: &Path, body: &dyn Fn(&mut Sink<'_>) -> io::Result<()>) -> Result<(), DataError> {
    let failed = |source: io::Error| DataError::Write { file: path.display().to_string(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".keener-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file, less what the umask takes away; the default is for the owner alone.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file: NamedTempFile = builder.tempfile_in(folder).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, file.as_file());
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        let mut gz = GzEncoder::new(&mut out, Compression::default());
        body(&mut gz).map_err(failed)?;
        gz.finish().map_err(failed)?;
    } else {
        body(&mut out).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Labels as they are written.
enum Labels<'a> {
    /// The numbers that the class names are.
    Numbers(Vec<i64>),
    /// Class names.
    Names(Vec<&'a str>),
}

impl<'a> Content<'a> {
    fn rows(&self) -> usize {
        match self.rows {
            RowsRef::Dense { values, dim, .. } => values.len() / dim.max(1),
            RowsRef::Sparse(csr) => csr.rows(),
        }
    }

    fn dim(&self) -> usize {
        match self.rows {
            RowsRef::Dense { dim, .. } => dim,
            RowsRef::Sparse(csr) => csr.dim(),
        }
    }

    fn names(&self) -> Option<&'a [String]> {
        match self.rows {
            RowsRef::Dense { names, .. } => names,
            RowsRef::Sparse(csr) => csr.names(),
        }
    }

    /// The rows of a range, densely.
    fn dense(&self, range: Range<usize>, buffer: &mut Vec<f32>) {
        let dim = self.dim();
        match self.rows {
            RowsRef::Dense { values, .. } => {
                buffer.clear();
                buffer.extend_from_slice(&values[range.start * dim..range.end * dim]);
            }
            RowsRef::Sparse(csr) => {
                buffer.resize(range.len() * dim, 0.0);
                csr.copy_rows(&range.collect::<Vec<_>>(), buffer);
            }
        }
    }

    /// Calls `row` with every row, densely.
    fn each_row(&self, mut row: impl FnMut(usize, &[f32]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = Vec::new();
        for i in 0..self.rows() {
            self.dense(i..i + 1, &mut buffer);
            row(i, &buffer)?;
        }
        Ok(())
    }

    /// The numbers that all class names spell, in their usual spelling.
    fn class_numbers(&self) -> Option<Vec<i64>> {
        let number = |name: &String| name.parse::<i64>().ok().filter(|number| number.to_string() == *name);
        self.class_names.iter().map(number).collect()
    }

    /// Whether reading the labels alone gives the same classes in the same order: numbers that rise, all of which occur.
    fn numbers_say_all(&self) -> bool {
        let rising = self.class_numbers().is_some_and(|numbers| numbers.is_sorted_by(|a, b| a < b));
        let mut seen = vec![false; self.class_names.len()];
        self.labels.unwrap_or_default().iter().for_each(|&label| seen[label as usize] = true);
        rising && seen.into_iter().all(|seen| seen)
    }

    /// Labels as numbers, if the class names are numbers, else as names.
    fn spelled(&self) -> Option<Labels<'a>> {
        let labels = self.labels?;
        Some(match self.class_numbers() {
            Some(numbers) => Labels::Numbers(labels.iter().map(|&label| numbers[label as usize]).collect()),
            None => Labels::Names(labels.iter().map(|&label| self.class_names[label as usize].as_str()).collect()),
        })
    }

    /// Labels as numbers in any case, and the list of classes in which they are positions, where one is needed.
    fn numbered(&self) -> Option<(Vec<i64>, Option<&'a [String]>)> {
        match self.spelled()? {
            Labels::Numbers(numbers) if self.numbers_say_all() => Some((numbers, None)),
            _ => Some((self.labels?.iter().map(|&label| i64::from(label)).collect(), Some(self.class_names))),
        }
    }

    fn check(&self, file: &str, format: Format) -> Result<(), DataError> {
        if !format.is_written() {
            return Err(refused(file, format));
        }
        let rows = self.rows();
        if let RowsRef::Dense { values, dim, names } = self.rows {
            crate::dataset::check_matrix(file, values, dim)?;
            if let Some(names) = names {
                crate::dataset::check_names(file, names, dim)?;
            }
        } else if let RowsRef::Sparse(csr) = self.rows
            && let Some(at) = csr.values().iter().position(|value| !value.is_finite())
        {
            let (row, column) = (csr.indptr().partition_point(|&start| start <= at) - 1, csr.indices()[at] as usize);
            return Err(DataError::NonFinite { place: file.into(), row, column, value: csr.values()[at].to_string() });
        }
        if rows == 0 {
            return Err(DataError::Empty { place: file.into(), what: "rows to write".into() });
        }
        let Some(labels) = self.labels else { return Ok(()) };
        if labels.len() != rows {
            return Err(DataError::Shape {
                place: file.into(),
                what: "labels".into(),
                found: format!("{} entries", labels.len()),
                expected: format!("{rows}, one for each row"),
            });
        }
        check_labels(file, labels, self.class_names.len())?;
        let unsupported = |at: &str, found: String, expected: &str| {
            Err(DataError::Unsupported { file: file.into(), at: at.into(), found, expected: expected.into() })
        };
        let columns = matches!(format, Format::Csv | Format::Tsv | Format::JsonLines | Format::Parquet | Format::Arrow);
        if columns && self.names().is_some_and(|names| names.iter().any(|name| name.eq_ignore_ascii_case(LABEL))) {
            return unsupported("columns", format!("a feature called {LABEL:?} beside labels"), "another name for it");
        }
        let text = matches!(format, Format::Csv | Format::Tsv);
        let lost = |name: &&String| {
            crate::formats::reads_as_missing(name) || name.trim() != name.as_str() || name.contains(['\0', '\r'])
        };
        if text && let Some(name) = self.class_names.iter().find(lost) {
            let expected = "names that text tables give back (Parquet, npz or safetensors hold any)";
            return unsupported("labels", format!("the class name {name:?}"), expected);
        }
        if format == Format::Npy && self.class_names.iter().any(|name| name.ends_with('\0')) {
            return unsupported("labels", "a class name that ends with NUL".into(), "another name");
        }
        Ok(())
    }
}
