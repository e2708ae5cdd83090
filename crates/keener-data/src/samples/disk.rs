//! Features that stay on disk: arrays of `.npy` and `.safetensors` files mapped into memory, Parquet by way of a scratch file.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::DataError;
use crate::formats::layout::{Dtype, Layout};
use crate::formats::select::Roles;
use crate::formats::{Format, Input, Want, npy, parquet, safetensors};
use crate::labels::RawLabels;
use crate::options::ReadOptions;
use crate::source::RowSource;
use crate::stored::StoredRows;

/// What a file gives without its features being read.
pub(crate) struct OnDisk {
    pub(crate) features: Arc<dyn RowSource>,
    pub(crate) names: Option<Vec<String>>,
    pub(crate) labels: Option<RawLabels>,
    pub(crate) class_names: Option<Vec<String>>,
}

/// Opens a file whose features are more than a quarter of `memory` (file, values, and a copy of the rows that are trained
/// on are in memory at once otherwise); nothing for smaller ones and for formats that are read as a whole.
///
/// # Errors
/// As the format's reader; [`DataError::TooLarge`] for a file of another format that is more than half of `memory`.
pub(crate) fn open(path: &Path, want: Want, options: &ReadOptions, memory: usize) -> Result<Option<OnDisk>, DataError> {
    if memory == usize::MAX {
        return Ok(None);
    }
    let name = path.display().to_string();
    let failed = |source| DataError::Io { file: name.clone(), source };
    let mut file = File::open(path).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(npy::HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    let share = (memory / 4) as u64;
    let keep = memory / 8;
    let format = options.format.or_else(|| match head {
        _ if head.starts_with(npy::MAGIC) => Some(Format::Npy),
        _ if head.starts_with(parquet::MAGIC) => Some(Format::Parquet),
        _ => Format::of_path(path),
    });
    match format {
        Some(Format::Npy) => {
            let layout = npy::layout(&name, "array", &head, total)?;
            if !is_large(&layout, total, share) {
                return Ok(None);
            }
            if want == Want::Labelled && options.label_column.is_none() {
                return Err(DataError::NoLabels {
                    file: name,
                    expected: "a second file with the labels, or the index of the column that holds them".into(),
                });
            }
            let width = layout.matrix().map_or(0, |(_, width)| width);
            let rows = StoredRows::new(&name, file, layout, keep)?;
            let roles = Roles::find(&name, None, width, want, options)?;
            let label = roles.label.filter(|_| want == Want::Labelled);
            let labels = label.map(|column| rows.labels(column)).transpose()?;
            let features = Arc::new(rows.with_columns(&roles.features));
            Ok(Some(OnDisk { features, names: None, labels, class_names: None }))
        }
        Some(Format::Safetensors) if head.len() >= 8 => {
            let length = head.first_chunk().map_or(0, |first| safetensors::head_len(*first)).min(total);
            let rest = length.saturating_sub(head.len() as u64);
            Read::by_ref(&mut file).take(rest).read_to_end(&mut head).map_err(failed)?;
            let header = safetensors::header(&name, &head, total)?;
            let (_, layout) = header.features(&name, want, options)?;
            if !is_large(layout, total, share) {
                return Ok(None);
            }
            let width = layout.matrix().map_or(0, |(_, width)| width);
            let rows = StoredRows::new(&name, file, layout.clone(), keep)?;
            let listed = header.list(crate::formats::FEATURE_NAMES).filter(|names| names.len() == width);
            let plain = ReadOptions { label_column: None, drop_labels: false, ..options.clone() };
            let roles = Roles::find(&name, listed.as_deref(), width, Want::Features, &plain)?;
            let names = listed.map(|names| roles.features.iter().map(|&column| names[column].clone()).collect());
            let (mut labels, mut class_names) = (None, None);
            if want == Want::Labelled {
                let bytes = rows.mapped().ok_or_else(|| DataError::Unsupported {
                    file: name.clone(),
                    at: "labels".into(),
                    found: "a file that the system does not map (is the address space limited?)".into(),
                    expected: "the labels in a second file".into(),
                })?;
                let table = safetensors::read(&Input { file: &name, bytes }, Want::Labels, options)?;
                (labels, class_names) = (table.labels, table.class_names);
            }
            Ok(Some(OnDisk { features: Arc::new(rows.with_columns(&roles.features)), names, labels, class_names }))
        }
        Some(Format::Parquet) => {
            let values = parquet::values(&name, &file, total)?;
            if total.max(values.saturating_mul(4)) <= share {
                return Ok(None);
            }
            from_parquet(path, &name, file, want, options, keep).map(Some)
        }
        _ if total > (memory / 2) as u64 => Err(DataError::TooLarge {
            place: name,
            what: "the rows of this file, which is read as a whole,".into(),
            bytes: total,
            expected: format!(
                "at most half of the memory budget ({} bytes), or the rows as .npy, .safetensors or .parquet, which stay on disk",
                memory / 2
            ),
        }),
        _ => Ok(None),
    }
}

fn is_large(layout: &Layout, total: u64, share: u64) -> bool {
    let values = layout.shape.iter().fold(4_u64, |size, &extent| size.saturating_mul(extent as u64));
    total.max(values) > share
}

/// Reads a Parquet file batch by batch into a scratch file of plain numbers.
///
/// The scratch file has no name and is gone when the rows are. It is made in the folder that `TMPDIR` names, else beside
/// the data, else where the system keeps such files: `/tmp` is often memory.
fn from_parquet(
    path: &Path,
    name: &str,
    file: File,
    want: Want,
    options: &ReadOptions,
    keep: usize,
) -> Result<OnDisk, DataError> {
    let unwritten = |source| DataError::Write { file: format!("{name}: its scratch file"), source };
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = match std::env::var_os("TMPDIR") {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile_in(beside).or_else(|_| tempfile::tempfile()),
    };
    let mut out = BufWriter::with_capacity(1 << 20, scratch.map_err(unwritten)?);
    let (mut rows, mut width, mut labels) = (0_usize, 0_usize, Labels::default());
    let found = parquet::stream(name, file, want, options, |batch| {
        let (more, dim) = batch.take();
        rows += more.features.len().checked_div(dim).unwrap_or(0);
        width = width.max(dim);
        for value in &more.features {
            out.write_all(&value.to_le_bytes()).map_err(unwritten)?;
        }
        more.labels.map_or(Ok(()), |more| labels.add(name, more))
    })?;
    let file = out.into_inner().map_err(|error| unwritten(error.into_error()))?;
    let (names, class_names) = (found.feature_names(), found.class_names.clone());
    if rows == 0 {
        return Err(DataError::Empty { place: name.into(), what: "rows of data".into() });
    }
    let layout =
        Layout { dtype: Dtype::F32, big_endian: false, column_major: false, shape: vec![rows, width], offset: 0 };
    let features = Arc::new(StoredRows::new(name, file, layout, keep)?);
    let labels = (want == Want::Labelled).then(|| labels.finish());
    Ok(OnDisk { features, names, labels, class_names })
}

/// Labels of one batch after the other.
#[derive(Default)]
struct Labels(Option<RawLabels>);

impl Labels {
    fn add(&mut self, file: &str, more: RawLabels) -> Result<(), DataError> {
        match (&mut self.0, more) {
            (_, more) if more.len() == 0 => {}
            (none @ None, more) => *none = Some(more),
            (Some(RawLabels::Integers(all)), RawLabels::Integers(more)) => all.extend(more),
            (Some(RawLabels::Text(all)), RawLabels::Text(more)) => all.extend(more),
            (Some(RawLabels::Sets(all)), RawLabels::Sets(more)) => {
                (0..more.rows()).for_each(|row| all.push(more.row(row).iter().copied()));
            }
            _ => {
                return Err(DataError::Unsupported {
                    file: file.into(),
                    at: "labels".into(),
                    found: "a column that changes its type".into(),
                    expected: "one type of labels".into(),
                });
            }
        }
        Ok(())
    }

    fn finish(self) -> RawLabels {
        self.0.unwrap_or(RawLabels::Integers(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Content, Format, ReadOptions, digits, open_rows, open_samples, write};

    /// Everything that a training reads is the same from memory and from disk.
    #[test]
    fn files_on_disk_are_the_files_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let digits = digits();
        let named = crate::Dataset { feature_names: None, ..digits.clone() };
        let training: Vec<usize> = (0..digits.rows()).filter(|row| row % 4 != 1).collect();
        for (file, format) in [
            ("d.npy", Format::Npy),
            ("d.safetensors", Format::Safetensors),
            ("d.parquet", Format::Parquet),
            ("l.parquet", Format::Parquet),
        ] {
            let path = folder.path().join(file);
            let data = if file.starts_with('l') { &named } else { &digits };
            write(&path, format, &Content::from(data)).unwrap();
            let options = ReadOptions::default();
            let near = open_samples(&path, &options, usize::MAX).unwrap();
            let far = open_samples(&path, &options, 100_000).unwrap();
            assert!(far.is_on_disk() && !near.is_on_disk(), "{file}");
            assert_eq!(far.prepare(&training).unwrap(), near.prepare(&training).unwrap(), "{file}");
            assert_eq!(far.fingerprint().unwrap(), near.fingerprint().unwrap(), "{file}");
            assert_eq!((far.labels(), far.class_names()), (near.labels(), near.class_names()));
            assert_eq!((far.name(), far.feature_names()), (near.name(), near.feature_names()));
            let mut batch = vec![0.0; 3 * 64];
            far.features().read_rows(&[1796, 0, 7], &mut batch).unwrap();
            assert_eq!(batch, [digits.row(1796), digits.row(0), digits.row(7)].concat());
            let some = ReadOptions { columns: vec!["3..5".into()], ..Default::default() };
            if format != Format::Parquet {
                let rows = open_rows(&path, &some, 100_000).unwrap();
                let mut row = [0.0; 2];
                rows.features.read_rows(&[5], &mut row).unwrap();
                assert_eq!(row, digits.row(5)[3..5]);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5, "scratch files have no name");
    }

    #[test]
    fn what_cannot_stay_on_disk_says_what_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.csv");
        write(&path, Format::Csv, &Content::from(&digits())).unwrap();
        let error = open_samples(&path, &ReadOptions::default(), 1000).unwrap_err().to_string();
        assert!(error.contains("read as a whole") && error.contains(".parquet"), "{error}");
        let path = folder.path().join("x.npy");
        write(&path, Format::Npy, &Content::from(&digits().into_matrix())).unwrap();
        let error = open_samples(&path, &ReadOptions::default(), 1000).unwrap_err().to_string();
        assert!(error.contains("second file with the labels"), "{error}");
        let column = ReadOptions { label_column: Some("0".into()), ..Default::default() };
        let data = open_samples(&path, &column, 1000).unwrap();
        assert_eq!((data.dim(), data.num_classes()), (63, 1), "the first pixel is always off");
    }
}
