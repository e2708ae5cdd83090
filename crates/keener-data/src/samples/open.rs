//! Opening files as [`Samples`]: dense in memory, sparse, or on disk.

use std::path::Path;
use std::sync::Arc;

use super::{Samples, disk};
use crate::error::DataError;
use crate::formats::{self, Want};
use crate::labels::RawLabels;
use crate::open::{Source, labels_beside, read_labelled, resolve};
use crate::options::ReadOptions;
use crate::source::RowSource;
use crate::sparse::Features;

/// Reads labelled rows: see [`crate::open`] for formats and labels. Sparse rows stay sparse.
///
/// `memory` is what the process is to keep within, in bytes (`usize::MAX` for all there is). Features of `.npy`,
/// `.safetensors` and Parquet files that would take more than a quarter of it stay on disk: arrays are mapped, at most an
/// eighth of `memory` of them resident; Parquet is read once, row group by row group, into a nameless scratch file of plain
/// numbers (in the folder that `TMPDIR` names, else beside the data). A file that is mapped must not be changed while it is
/// in use: one that becomes shorter ends the process.
///
/// # Errors
/// As [`crate::open`]; [`DataError::TooLarge`] for files of other formats that are more than half of `memory`.
pub fn open_samples(path: impl AsRef<Path>, options: &ReadOptions, memory: usize) -> Result<Samples, DataError> {
    let path = path.as_ref();
    if let Source::File(file) = resolve(path, options.part)? {
        let second = options.labels.clone().or_else(|| labels_beside(&file));
        let alone = ReadOptions { label_column: None, drop_labels: false, ..options.clone() };
        let (want, mine) = match &second {
            Some(_) => (Want::Features, &alone),
            None => (Want::Labelled, options),
        };
        if let Some(found) = disk::open(&file, want, mine, memory)? {
            let shown = file.display().to_string();
            let labels = match second {
                Some(labels) => read_labels(&labels, options)?,
                None => (found.labels, found.class_names),
            };
            let raw = labels.0.ok_or_else(|| DataError::Empty { place: shown.clone(), what: "labels".into() })?;
            let (labels, classes) = raw.into_classes(&shown, options.class_names.as_deref(), labels.1)?;
            let name = formats::stem(if path.is_dir() { path } else { &file });
            return Samples::new(name, found.features, labels, classes, found.names, shown);
        }
    }
    let found = read_labelled(path, options)?;
    let (features, names) = as_source(found.features);
    Samples::new(found.name, features, found.labels, found.class_names, names, found.source)
}

fn read_labels(path: &Path, options: &ReadOptions) -> Result<(Option<RawLabels>, Option<Vec<String>>), DataError> {
    let alone = ReadOptions { columns: Vec::new(), leave_out: Vec::new(), format: None, ..options.clone() };
    let table = Source::File(path.to_path_buf()).read(path, Want::Labels, &alone)?;
    Ok((table.labels, table.class_names))
}

/// Rows for a prediction.
#[derive(Debug, Clone)]
pub struct UnlabelledRows {
    /// The rows.
    pub features: Arc<dyn RowSource>,
    /// Name of each feature, if the source has names.
    pub names: Option<Vec<String>>,
}

/// Reads rows for a prediction: see [`crate::open_features`]. Sparse rows stay sparse, and large ones on disk as by
/// [`open_samples`].
///
/// # Errors
/// As [`open_samples`].
pub fn open_rows(path: impl AsRef<Path>, options: &ReadOptions, memory: usize) -> Result<UnlabelledRows, DataError> {
    let path = path.as_ref();
    let source = resolve(path, options.part)?;
    if let Source::File(file) = &source
        && let Some(found) = disk::open(file, Want::Features, options, memory)?
    {
        return Ok(UnlabelledRows { features: found.features, names: found.names });
    }
    let shown = source.shown(path);
    let table = source.read(path, Want::Features, options)?;
    let features = table.features.ok_or_else(|| DataError::Empty { place: shown, what: "features".into() })?;
    let (features, names) = as_source(features);
    Ok(UnlabelledRows { features, names })
}

/// The cells of one column of a table, as text: groups, or names of parts.
///
/// # Errors
/// As [`crate::open`]; [`DataError::LabelColumn`] when there is no such column.
pub fn read_column(path: impl AsRef<Path>, options: &ReadOptions, column: &str) -> Result<Vec<String>, DataError> {
    let path = path.as_ref();
    let source = resolve(path, options.part)?;
    let alone = ReadOptions {
        label_column: Some(column.into()),
        labels: None,
        columns: Vec::new(),
        leave_out: Vec::new(),
        // A cell that is empty is a part or a group without a name.
        keep_non_finite: true,
        ..options.clone()
    };
    let shown = source.shown(path);
    let labels = source.read(path, Want::Labels, &alone)?.labels;
    match labels.ok_or_else(|| DataError::Empty { place: shown.clone(), what: format!("column {column:?}") })? {
        RawLabels::Text(texts) => Ok(texts),
        RawLabels::Integers(values) => Ok(values.iter().map(ToString::to_string).collect()),
        RawLabels::Sets(_) => Err(DataError::Unsupported {
            file: shown,
            at: format!("column {column:?}"),
            found: "lists".into(),
            expected: "one value a row".into(),
        }),
    }
}

pub(crate) fn as_source(features: Features) -> (Arc<dyn RowSource>, Option<Vec<String>>) {
    let names = features.names().map(<[String]>::to_vec);
    let features: Arc<dyn RowSource> = match features {
        Features::Dense(matrix) => Arc::new(matrix),
        Features::Sparse(csr) => Arc::new(csr),
    };
    (features, names)
}
