//! Opening files and directories as data sets.

use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Matrix};
use crate::error::{DataError, list};
use crate::formats::images::{self, Folder};
use crate::formats::{self, Table, Want};
use crate::options::{Part, ReadOptions};
use crate::sparse::Features;

/// Reads labelled rows from a file or a directory.
///
/// The format is found from the bytes and the name ([`crate::Format`]); gzip is undone. Labels come from
/// `options.labels`, else from the file itself, else (IDX) from the file beside it: `…images-idx3…` has its labels in
/// `…labels-idx1…`. A directory is searched for such a pair of the part that `options.part` names.
///
/// # Errors
/// Every variant of [`DataError`] but those of splits: each names the file, the place and what was expected.
///
/// ```no_run
/// let data = keener_data::open("/usr/share/datasets/fashion-mnist", &keener_data::ReadOptions::default())?;
/// assert_eq!((data.rows(), data.dim, data.num_classes()), (60_000, 784, 10));
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Dataset, DataError> {
    read_labelled(path.as_ref(), options)?.into_dataset()
}

/// Reads labelled rows as they are: sparse ones stay sparse.
pub(crate) fn read_labelled(path: &Path, options: &ReadOptions) -> Result<Labelled, DataError> {
    let source = resolve(path, options.part)?;
    let name = formats::stem(match &source {
        Source::File(file) if !path.is_dir() => file,
        _ => path,
    });
    let beside = match &source {
        Source::File(file) => labels_beside(file),
        Source::Images(_) => None,
    };
    let shown = source.shown(path);
    let Some(labels) = options.labels.clone().or(beside) else {
        let table = source.read(path, Want::Labelled, options)?;
        return assemble(name, &shown, &shown, table, options);
    };
    let alone = ReadOptions { label_column: None, drop_labels: false, ..options.clone() };
    let features = source.read(path, Want::Features, &alone)?.features;
    // Selections of feature columns, and the format, speak of the first file.
    let alone = ReadOptions { columns: Vec::new(), leave_out: Vec::new(), format: None, ..options.clone() };
    let read = Source::File(labels.clone()).read(&labels, Want::Labels, &alone)?;
    let table = Table { features, ..read };
    assemble(name, &shown, &labels.display().to_string(), table, options)
}

/// Reads labelled rows from bytes in memory. `name` stands in for the path: its extension helps to find the format.
///
/// # Errors
/// As [`open`]; a second file of labels is refused with [`DataError::Parameter`].
///
/// ```
/// use keener_data::{ReadOptions, open_bytes};
/// let data = open_bytes("pets.csv", b"weight,species\n4.1,cat\n11,dog\n", &ReadOptions::default())?;
/// assert_eq!((data.features, data.class_names), (vec![4.1, 11.0], vec!["cat".into(), "dog".into()]));
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn open_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Dataset, DataError> {
    if let Some(labels) = &options.labels {
        return Err(DataError::Parameter {
            place: "open_bytes",
            name: "labels".into(),
            value: labels.display().to_string(),
            expected: "none: bytes in memory hold their labels themselves".into(),
        });
    }
    let table = formats::read(name, bytes, Want::Labelled, options)?;
    assemble(formats::stem(Path::new(name)), name, name, table, options)?.into_dataset()
}

/// Reads unlabelled rows, for a prediction.
///
/// All columns are features, but for the one that `options.label_column` names (if it is there) or, with
/// `options.drop_labels`, the one with a usual name.
///
/// # Errors
/// As [`open`].
pub fn open_features(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Matrix, DataError> {
    let path = path.as_ref();
    let source = resolve(path, options.part)?;
    let shown = source.shown(path);
    match source.read(path, Want::Features, options)?.features {
        Some(features) => features.into_dense(&shown),
        None => Err(DataError::Empty { place: shown, what: "features".into() }),
    }
}

/// Labelled rows as a file holds them.
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) features: Features,
    pub(crate) labels: Vec<u32>,
    pub(crate) class_names: Vec<String>,
}

impl Labelled {
    fn into_dataset(self) -> Result<Dataset, DataError> {
        let features = self.features.into_dense(&self.source)?;
        let data = Dataset::new(self.name, features.values, features.dim, self.labels, self.class_names)?;
        let data = data.with_source(self.source);
        match features.names {
            Some(names) => data.with_feature_names(names),
            None => Ok(data),
        }
    }
}

fn assemble(
    name: String,
    file: &str,
    labels_file: &str,
    table: Table,
    options: &ReadOptions,
) -> Result<Labelled, DataError> {
    let Table { features, labels, class_names } = table;
    let empty = |what: &str| DataError::Empty { place: file.into(), what: what.into() };
    let features = features.ok_or_else(|| empty("features"))?;
    let labels = labels.ok_or_else(|| empty("labels"))?;
    if features.rows() != labels.len() {
        return Err(DataError::RowsDiffer {
            features: file.into(),
            rows: features.rows(),
            labels: labels_file.into(),
            found: labels.len(),
        });
    }
    let (labels, class_names) = labels.into_classes(labels_file, options.class_names.as_deref(), class_names)?;
    Ok(Labelled { name, source: file.into(), features, labels, class_names })
}

pub(crate) fn load(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|source| DataError::Io { file: path.display().to_string(), source })
}

/// What is behind a path.
pub(crate) enum Source {
    /// A file; for a directory in the manner of MNIST, its file of images.
    File(PathBuf),
    /// A folder of images.
    Images(Folder),
}

impl Source {
    /// Reads what is wanted; `path` is where the source was found.
    pub(crate) fn read(self, path: &Path, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
        match self {
            Self::File(file) => formats::read(&file.display().to_string(), &load(&file)?, want, options),
            Self::Images(folder) => folder.read(&path.display().to_string(), want, options),
        }
    }

    /// How messages call it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Images(_) => path.display().to_string(),
        }
    }
}

/// Finds what is behind a path: a file, the IDX file of images in a directory, or a folder of images.
pub(crate) fn resolve(path: &Path, part: Part) -> Result<Source, DataError> {
    let failed = |source| DataError::Io { file: path.display().to_string(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(Source::File(path.to_path_buf()));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let words: &[&str] = match part {
        Part::Train => &["train"],
        Part::Test => &["t10k", "test"],
    };
    let of_images = |name: &&String| {
        let lower = name.to_lowercase();
        (lower.contains("images-idx") || lower.contains("images.idx")) && words.iter().any(|word| lower.contains(word))
    };
    let mut found: Vec<&String> = names.iter().filter(of_images).collect();
    // The same file with and without gzip counts once.
    found.dedup_by(|later, earlier| formats::without_gz(later) == formats::without_gz(earlier));
    if let [name] = found.as_slice() {
        return Ok(Source::File(path.join(name)));
    }
    match images::find(path, part)? {
        Some(folder) => Ok(Source::Images(folder)),
        None => Err(DataError::Malformed {
            file: path.display().to_string(),
            at: "directory".into(),
            found: format!("{} files of images among {}", found.len(), list(&names)),
            expected: format!(
                "one {}-images-idx3-ubyte[.gz] with its labels, one folder of PNG or JPEG images for each class, or the \
                 path of a file",
                words[0]
            ),
        }),
    }
}

/// The file of labels that belongs to a file of features, if it exists: `x.labels.npy` beside `x.npy`, and in IDX the
/// labels beside the images.
pub(crate) fn labels_beside(features: &Path) -> Option<PathBuf> {
    let name = features.file_name()?.to_str()?;
    if let Some(stem) = name.strip_suffix(".npy") {
        return Some(features.with_file_name(format!("{stem}.labels.npy"))).filter(|path| path.is_file());
    }
    let at = name.find("images")?;
    let (before, after) = (&name[..at], formats::without_gz(&name[at + "images".len()..]));
    let digit =
        after.find("idx").map(|at| at + 3).filter(|&at| after[at..].starts_with(|c: char| c.is_ascii_digit()))?;
    let plain = format!("{before}labels{}1{}", &after[..digit], &after[digit + 1..]);
    [plain.clone(), plain + ".gz"].iter().map(|name| features.with_file_name(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    /// A directory as MNIST comes: the training images without gzip, the rest with it.
    fn quartet() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", &idx(&[3, 1, 2], &[0, 255, 255, 0, 51, 51]));
        write("train-labels-idx1-ubyte.gz", &gz(&idx(&[3], &[7, 2, 7])));
        write("t10k-images-idx3-ubyte.gz", &gz(&idx(&[1, 1, 2], &[255, 255])));
        write("t10k-labels-idx1-ubyte.gz", &gz(&idx(&[1], &[7])));
        dir
    }

    #[test]
    fn a_directory_gives_its_train_or_test_pair() {
        let dir = quartet();
        let train = open(dir.path(), &ReadOptions::default()).unwrap();
        assert_eq!((train.rows(), train.dim), (3, 2));
        assert_eq!(train.features, [0.0, 1.0, 1.0, 0.0, 0.2, 0.2]);
        assert_eq!((train.labels, &train.class_names), (vec![1, 0, 1], &vec!["2".to_string(), "7".into()]));
        assert!(train.source.ends_with("train-images-idx3-ubyte"));
        let options = ReadOptions { part: Part::Test, class_names: Some(train.class_names), ..Default::default() };
        let test = open(dir.path(), &options).unwrap();
        assert_eq!((test.rows(), test.labels, test.class_names.len()), (1, vec![1], 2));
        assert_eq!(open_features(dir.path(), &options).unwrap().values, [1.0, 1.0]);
    }

    #[test]
    fn labels_are_found_beside_images_or_given() {
        let dir = quartet();
        let images = dir.path().join("train-images-idx3-ubyte");
        assert_eq!(open(&images, &ReadOptions::default()).unwrap().class_names, ["2", "7"]);
        let labels = dir.path().join("mine.txt");
        fs::write(&labels, "cat\ndog\ncat\n").unwrap();
        let options = ReadOptions { labels: Some(labels.clone()), ..Default::default() };
        let data = open(&images, &options).unwrap();
        assert_eq!((data.name.as_str(), data.labels), ("train-images-idx3", vec![0, 1, 0]));
        fs::write(&labels, "cat\ndog\n").unwrap();
        let message = open(&images, &options).unwrap_err().to_string();
        assert!(message.contains("3 rows") && message.contains("has 2") && message.contains("mine.txt"), "{message}");
        fs::remove_file(dir.path().join("train-labels-idx1-ubyte.gz")).unwrap();
        assert!(open(&images, &ReadOptions::default()).unwrap_err().to_string().contains("no labels"));
    }

    #[test]
    fn other_directories_and_missing_files_say_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.csv"), "1,2\n").unwrap();
        let message = open(dir.path(), &ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("0 files of images among a.csv"), "{message}");
        let message = open(dir.path().join("b.csv"), &ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("b.csv") && message.contains("cannot be read"), "{message}");
    }

    #[test]
    fn bytes_in_memory_have_no_second_file() {
        let options = ReadOptions { labels: Some("labels.txt".into()), ..Default::default() };
        assert!(open_bytes("a.csv", b"1,2\n3,4\n", &options).unwrap_err().to_string().contains("in memory"));
    }

    #[test]
    #[ignore = "needs the Debian package dataset-fashion-mnist"]
    fn fashion_mnist_as_debian_installs_it() {
        let dir = "/usr/share/datasets/fashion-mnist";
        let train = open(dir, &ReadOptions::default()).unwrap();
        assert_eq!((train.name.as_str(), train.rows(), train.dim), ("fashion-mnist", 60_000, 784));
        assert_eq!(train.class_counts(), [6000; 10]);
        assert_eq!(train.labels[..4], [9, 0, 0, 3]);
        let test = open(dir, &ReadOptions { part: Part::Test, ..Default::default() }).unwrap();
        assert_eq!(test.class_counts(), [1000; 10]);
        assert!(test.features.iter().all(|value| (0.0..=1.0).contains(value)) && test.features.contains(&1.0));
    }
}
