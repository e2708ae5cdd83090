//! Opening files as [`Samples`]: dense in memory, sparse, or on disk.

use std::path::Path;
use std::sync::Arc;

use super::Samples;
use crate::error::DataError;
use crate::formats::Want;
use crate::open::{read_labelled, resolve};
use crate::options::ReadOptions;
use crate::source::RowSource;
use crate::sparse::Features;

/// Reads labelled rows: see [`crate::open`] for formats and labels. Sparse rows stay sparse.
///
/// # Errors
/// As [`crate::open`].
pub fn open_samples(path: impl AsRef<Path>, options: &ReadOptions, _memory: usize) -> Result<Samples, DataError> {
    let found = read_labelled(path.as_ref(), options)?;
    let (features, names) = as_source(found.features);
    Samples::new(found.name, features, found.labels, found.class_names, names, found.source)
}

/// Rows for a prediction.
#[derive(Debug, Clone)]
pub struct UnlabelledRows {
    /// The rows.
    pub features: Arc<dyn RowSource>,
    /// Name of each feature, if the source has names.
    pub names: Option<Vec<String>>,
}

/// Reads rows for a prediction: see [`crate::open_features`]. Sparse rows stay sparse.
///
/// # Errors
/// As [`crate::open`].
pub fn open_rows(path: impl AsRef<Path>, options: &ReadOptions, _memory: usize) -> Result<UnlabelledRows, DataError> {
    let path = path.as_ref();
    let source = resolve(path, options.part)?;
    let shown = source.shown(path);
    let table = source.read(path, Want::Features, options)?;
    let features = table.features.ok_or_else(|| DataError::Empty { place: shown, what: "features".into() })?;
    let (features, names) = as_source(features);
    Ok(UnlabelledRows { features, names })
}

fn as_source(features: Features) -> (Arc<dyn RowSource>, Option<Vec<String>>) {
    let names = features.names().map(<[String]>::to_vec);
    let features: Arc<dyn RowSource> = match features {
        Features::Dense(matrix) => Arc::new(matrix),
        Features::Sparse(csr) => Arc::new(csr),
    };
    (features, names)
}
