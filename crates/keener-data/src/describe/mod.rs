//! What is in a file, also in an imperfect one: shapes, classes, missing values, duplicates, leakage.

mod raw;
mod table;

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::DataError;
use crate::options::ReadOptions;
use crate::source::for_each_block;
use raw::Raw;

/// Stands for a cell of text among numbers: a NaN of its own.
const TEXT: f32 = f32::from_bits(0x7fc0_7e47);

/// Examples of a place that are kept.
const EXAMPLES: usize = 5;

/// What [`describe`] found in a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The path.
    pub file: String,
    /// The format, as [`crate::Format::word`] says it.
    pub format: String,
    /// Rows.
    pub rows: usize,
    /// Features a row, columns of text left out.
    pub features: usize,
    /// `dense`, `sparse` or `on disk`.
    pub storage: &'static str,
    /// Share of the values that are not zero.
    pub density: f64,
    /// Bytes that the features take in memory as they are stored there.
    pub bytes: u64,
    /// Each feature.
    pub columns: Vec<ColumnProfile>,
    /// Columns that hold text, with how many different ones among the first rows, and an example.
    pub text_columns: Vec<TextColumn>,
    /// Values that are missing or NaN.
    pub missing: Places,
    /// Infinite values.
    pub infinite: Places,
    /// Cells of text in columns of numbers.
    pub text_cells: Places,
    /// Features with one value throughout.
    pub constant: Vec<String>,
    /// Rows equal to an earlier row in all features.
    pub duplicates: Duplicates,
    /// The labels, if there are some.
    pub labels: Option<LabelProfile>,
    /// Rows that are in two parts.
    pub leakage: Vec<Leak>,
}

/// A feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnProfile {
    /// Its name or index.
    pub name: String,
    /// Least finite value.
    pub min: f32,
    /// Greatest finite value.
    pub max: f32,
    /// Mean of the finite values.
    pub mean: f64,
    /// Population standard deviation of the finite values.
    pub deviation: f64,
    /// Values that are missing or NaN.
    pub missing: usize,
    /// Whether all finite values are whole.
    pub whole: bool,
}

/// A column of text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextColumn {
    /// Its name or index.
    pub name: String,
    /// Cells that are neither missing nor numbers.
    pub cells: usize,
    /// The first of them.
    pub example: String,
}

/// Values of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Places {
    /// How many.
    pub count: usize,
    /// In how many rows.
    pub rows: usize,
    /// The first of them: row and column.
    pub first: Vec<(usize, String)>,
}

/// Rows that are there more than once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Duplicates {
    /// Rows that repeat an earlier one.
    pub rows: usize,
    /// Those among them whose label is another.
    pub other_label: usize,
    /// The first of them: row and the earlier row.
    pub first: Vec<(usize, usize)>,
}

/// The labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelProfile {
    /// Where they come from, and why.
    pub source: String,
    /// Name and rows of each class.
    pub classes: Vec<(String, usize)>,
    /// Rows without a label.
    pub missing: usize,
    /// Why they are no classes, if they are none.
    pub problem: Option<String>,
}

/// Rows of one part that are also in another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    /// The part.
    pub part: String,
    /// The other part.
    pub other: String,
    /// Rows of `part` whose features are those of a row of `other`.
    pub rows: usize,
    /// Rows of `part`.
    pub of: usize,
}

/// Looks at every value of a file. Values that training would refuse are counted, with their places.
///
/// Duplicates are found by a 64-bit hash of the features of a row (two different rows of 10⁶ agree with probability 3·10⁻⁸).
/// `others` are files whose rows are held against those of the file; `parts` are named parts of its own rows: rows that
/// are in two of them are leakage. Files that are large for `memory` stay on disk, as by [`crate::open_samples`].
///
/// # Errors
/// Files that cannot be read at all: see [`crate::open`].
///
/// ```
/// use keener_data::{ReadOptions, describe::describe};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("pets.csv");
/// std::fs::write(&path, "weight,age,species\n4,2,cat\n,3,cat\n4,2,dog\n").unwrap();
/// let found = describe(&path, &ReadOptions::default(), &[], &[], usize::MAX)?;
/// assert_eq!((found.missing.count, found.missing.first[0].clone()), (1, (1, "weight".into())));
/// assert_eq!((found.duplicates.rows, found.duplicates.other_label), (1, 1));
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub fn describe(
    path: &Path,
    options: &ReadOptions,
    parts: &[(String, Vec<usize>)],
    others: &[(String, std::path::PathBuf)],
    memory: usize,
) -> Result<Profile, DataError> {
    let raw = raw::read(path, options, memory)?;
    let mut profile = Profiler::new(&raw).profile(&raw)?;
    if !parts.is_empty() || !others.is_empty() {
        let mine = hashes(&raw)?;
        let part = |rows: &Vec<usize>| rows.iter().filter_map(|&row| mine.get(row).copied()).collect::<Vec<u64>>();
        let mut sides: Vec<(String, Vec<u64>)> = parts.iter().map(|(name, rows)| (name.clone(), part(rows))).collect();
        if !others.is_empty() {
            sides.push((profile.file.clone(), mine.clone()));
        }
        for (name, file) in others {
            sides.push((name.clone(), hashes(&raw::read(file, options, memory)?)?));
        }
        profile.leakage = leaks(&sides);
    }
    Ok(profile)
}

/// Rows of each side that are also in another.
fn leaks(sides: &[(String, Vec<u64>)]) -> Vec<Leak> {
    let sets: Vec<std::collections::HashSet<u64>> =
        sides.iter().map(|(_, hashes)| hashes.iter().copied().collect()).collect();
    let mut found = Vec::new();
    for later in 1..sides.len() {
        for earlier in 0..later {
            let (part, hashes) = &sides[later];
            let rows = hashes.iter().filter(|hash| sets[earlier].contains(hash)).count();
            if rows > 0 {
                found.push(Leak { part: part.clone(), other: sides[earlier].0.clone(), rows, of: hashes.len() });
            }
        }
    }
    found
}

/// The hash of a row: equal numbers, equal hash, whatever the sign of zero and the bits of a NaN.
fn hash_row(row: &[f32], text: Option<u64>, buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    for &value in row {
        let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
        buffer.extend(value.to_le_bytes());
    }
    buffer.extend(text.unwrap_or(0).to_le_bytes());
    xxh3_64(buffer)
}

/// The hash of a sparse row, stored zeros left out.
fn hash_entries(columns: &[u32], values: &[f32], buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    for (&column, &value) in columns.iter().zip(values).filter(|(_, value)| **value != 0.0) {
        let value = if value.is_nan() { f32::NAN } else { value };
        buffer.extend(column.to_le_bytes());
        buffer.extend(value.to_le_bytes());
    }
    xxh3_64(buffer)
}

fn hashes(raw: &Raw) -> Result<Vec<u64>, DataError> {
    let mut found = Vec::with_capacity(raw.features.rows());
    let mut buffer = Vec::new();
    if let Some(csr) = raw.features.sparse() {
        for row in 0..csr.rows() {
            let (columns, values) = csr.row(row);
            found.push(hash_entries(columns, values, &mut buffer));
        }
        return Ok(found);
    }
    let dim = raw.features.dim();
    for_each_block(&*raw.features, &mut (0..raw.features.rows()), |_, values| {
        for row in values.chunks_exact(dim) {
            found.push(hash_row(row, raw.text_of(found.len()), &mut buffer));
        }
        Ok::<_, DataError>(())
    })?;
    Ok(found)
}

/// Running statistics of a column.
#[derive(Debug, Clone, Copy)]
struct Stat {
    finite: usize,
    missing: usize,
    infinite: usize,
    min: f32,
    max: f32,
    /// The first finite value, from which the sums count.
    origin: f64,
    sum: f64,
    squares: f64,
    whole: bool,
}

impl Stat {
    const EMPTY: Self = Self {
        finite: 0,
        missing: 0,
        infinite: 0,
        min: f32::INFINITY,
        max: f32::NEG_INFINITY,
        origin: 0.0,
        sum: 0.0,
        squares: 0.0,
        whole: true,
    };

    fn push(&mut self, value: f32) {
        if self.finite == 0 {
            self.origin = f64::from(value);
        }
        let from = f64::from(value) - self.origin;
        self.finite += 1;
        self.sum += from;
        self.squares += from * from;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.whole &= value.fract() == 0.0;
    }

    /// Adds zeros that are not stored.
    fn zeros(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.push(0.0);
        let from = -self.origin;
        self.finite += count - 1;
        self.sum += from * (count - 1) as f64;
        self.squares += from * from * (count - 1) as f64;
    }

    fn profile(self, name: String) -> ColumnProfile {
        let n = self.finite.max(1) as f64;
        let mean = self.sum / n;
        let (min, max) = if self.finite == 0 { (f32::NAN, f32::NAN) } else { (self.min, self.max) };
        let deviation = if min == max { 0.0 } else { (self.squares / n - mean * mean).max(0.0).sqrt() };
        let (missing, whole) = (self.missing, self.whole && self.finite > 0);
        ColumnProfile { name, min, max, mean: self.origin + mean, deviation, missing, whole }
    }
}

struct Profiler {
    stats: Vec<Stat>,
    names: Vec<String>,
    nonzero: usize,
    missing: Places,
    infinite: Places,
    seen: HashMap<u64, u32>,
    duplicates: Duplicates,
}

impl Profiler {
    fn new(raw: &Raw) -> Self {
        let dim = raw.features.dim();
        let names = (0..dim).map(|column| raw.names.as_ref().map_or_else(|| column.to_string(), |n| n[column].clone()));
        Self {
            stats: vec![Stat::EMPTY; dim],
            names: names.collect(),
            nonzero: 0,
            missing: Places::default(),
            infinite: Places::default(),
            seen: HashMap::new(),
            duplicates: Duplicates::default(),
        }
    }

    /// Takes in the values of a row that are stored.
    fn row(&mut self, row: usize, values: impl Iterator<Item = (usize, f32)>, text: &[bool]) {
        let (missing, infinite) = (self.missing.count, self.infinite.count);
        for (column, value) in values {
            self.nonzero += usize::from(value != 0.0);
            if value.is_finite() {
                self.stats[column].push(value);
                continue;
            }
            if text.get(column) == Some(&true) || value.to_bits() == TEXT.to_bits() {
                continue;
            }
            let places = if value.is_nan() { &mut self.missing } else { &mut self.infinite };
            self.stats[column].missing += usize::from(value.is_nan());
            self.stats[column].infinite += usize::from(value.is_infinite());
            places.count += 1;
            if places.first.len() < EXAMPLES {
                places.first.push((row, self.names[column].clone()));
            }
        }
        self.missing.rows += usize::from(self.missing.count > missing);
        self.infinite.rows += usize::from(self.infinite.count > infinite);
    }

    fn hash(&mut self, row: usize, hash: u64, raw: &Raw) {
        let first = *self.seen.entry(hash).or_insert(row as u32) as usize;
        if first == row {
            return;
        }
        self.duplicates.rows += 1;
        self.duplicates.other_label += usize::from(raw.class_of(row) != raw.class_of(first));
        if self.duplicates.first.len() < EXAMPLES {
            self.duplicates.first.push((row, first));
        }
    }

    fn profile(mut self, raw: &Raw) -> Result<Profile, DataError> {
        let (rows, dim) = (raw.features.rows(), raw.features.dim());
        let mut buffer = Vec::new();
        self.seen.reserve(rows.min(1 << 24));
        if let Some(csr) = raw.features.sparse() {
            for row in 0..rows {
                let (columns, values) = csr.row(row);
                self.row(row, columns.iter().map(|c| *c as usize).zip(values.iter().copied()), &[]);
                self.hash(row, hash_entries(columns, values, &mut buffer), raw);
            }
            for stat in &mut self.stats {
                stat.zeros(rows - stat.finite - stat.missing - stat.infinite);
            }
        } else {
            let text = raw.is_text();
            for_each_block(&*raw.features, &mut (0..rows), |first, values| {
                for (at, values) in values.chunks_exact(dim).enumerate() {
                    let row = first + at;
                    self.row(row, values.iter().copied().enumerate(), &text);
                    self.hash(row, hash_row(values, raw.text_of(row), &mut buffer), raw);
                }
                Ok::<_, DataError>(())
            })?;
        }
        let text = raw.is_text();
        let kept = |column: &usize| text.get(*column) != Some(&true);
        let columns: Vec<ColumnProfile> =
            (0..dim).filter(kept).map(|column| self.stats[column].profile(self.names[column].clone())).collect();
        let constant = columns.iter().filter(|c| c.missing == 0 && c.min == c.max).map(|c| c.name.clone()).collect();
        let (storage, bytes) = match (raw.features.sparse(), raw.features.dense()) {
            (Some(csr), _) => ("sparse", 8 * (csr.nnz() as u64 + rows as u64)),
            (_, Some(_)) => ("dense", 4 * rows as u64 * columns.len() as u64),
            _ => ("on disk", 4 * rows as u64 * dim as u64),
        };
        Ok(Profile {
            file: raw.file.clone(),
            format: raw.format.clone(),
            rows,
            features: columns.len(),
            storage,
            density: self.nonzero as f64 / (rows.max(1) as f64 * dim.max(1) as f64),
            bytes,
            columns,
            text_columns: raw.text_columns.clone(),
            missing: self.missing,
            infinite: self.infinite,
            text_cells: raw.text_cells.clone(),
            constant,
            duplicates: self.duplicates,
            labels: raw.label_profile(),
            leakage: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Csr, Format, write};

    fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn plain(path: &Path) -> Profile {
        describe(path, &ReadOptions::default(), &[], &[], usize::MAX).unwrap()
    }

    #[test]
    fn an_imperfect_table_is_counted_and_not_refused() {
        let (_folder, path) = file(
            "t.csv",
            "id,a,b,kind,note\n1,2.5,7,x,hello\n2,NA,7,y,hi\n3,inf,7,x,hello\n4,2.5,7,,yes\n5,oops,7,y,no\n6,1,7,x,a\n",
        );
        let options = ReadOptions { label_column: Some("kind".into()), ..Default::default() };
        let found = describe(&path, &options, &[], &[], usize::MAX).unwrap();
        assert_eq!((found.rows, found.features, found.format.as_str()), (6, 3, "csv"));
        assert_eq!((found.missing.count, found.missing.rows), (1, 1));
        assert_eq!(found.missing.first, [(1, "a".to_string())]);
        assert_eq!(found.infinite.first, [(2, "a".to_string())]);
        assert_eq!(found.text_cells.first, [(4, "a".to_string())]);
        assert_eq!(found.constant, ["b"]);
        assert_eq!((found.text_columns[0].name.as_str(), found.text_columns[0].example.as_str()), ("note", "hello"));
        let labels = found.labels.unwrap();
        assert_eq!(labels.classes, [("x".to_string(), 3), ("y".into(), 2)]);
        assert_eq!((labels.missing, labels.problem), (1, None));
        assert!(labels.source.contains("kind") && labels.source.contains("asked"), "{}", labels.source);
        let a = &found.columns[1];
        assert_eq!((a.min, a.max, a.mean), (1.0, 2.5, 2.0));
    }

    #[test]
    fn duplicates_and_leaks_are_found() {
        let (folder, path) = file("t.csv", "a,b,label\n1,2,x\n3,4,y\n1.0,2,x\n3,4,x\n-0,1,y\n0,1,y\n");
        let found = plain(&path);
        assert_eq!((found.duplicates.rows, found.duplicates.other_label), (3, 1));
        assert_eq!(found.duplicates.first, [(2, 0), (3, 1), (5, 4)]);
        let parts = [("train".to_string(), vec![0, 1, 4]), ("test".into(), vec![2, 3, 5]), ("more".into(), vec![])];
        let found = describe(&path, &ReadOptions::default(), &parts, &[], usize::MAX).unwrap();
        let leak = Leak { part: "test".into(), other: "train".into(), rows: 3, of: 3 };
        assert_eq!(found.leakage, [leak]);
        let other = folder.path().join("o.csv");
        std::fs::write(&other, "a,b,label\n9,9,x\n3,4,y\n").unwrap();
        let others = [("test".to_string(), other)];
        let found = describe(&path, &ReadOptions::default(), &[], &others, usize::MAX).unwrap();
        assert_eq!((found.leakage[0].rows, found.leakage[0].of), (1, 2));
    }

    #[test]
    fn targets_that_are_no_classes_are_told() {
        let (_folder, path) = file("t.csv", "a,y\n1,0.5\n2,0.75\n");
        let labels = plain(&path).labels.unwrap();
        assert!(labels.problem.as_ref().unwrap().contains("regression"), "{labels:?}");
        let (_folder, path) = file("t.txt", "a\n1\n2\n");
        assert!(plain(&path).labels.is_none());
    }

    #[test]
    fn formats_and_storages_agree() {
        let digits = crate::digits();
        let folder = tempfile::tempdir().unwrap();
        let csr = Csr::from_dense("d", &digits.clone().into_matrix()).unwrap();
        let sparse = Content { rows: crate::RowsRef::Sparse(&csr), ..Content::from(&digits) };
        let filled = Content::from(&digits);
        let mut all = Vec::new();
        for (name, format, memory) in [
            ("d.csv", Format::Csv, usize::MAX),
            ("d.npz", Format::Npz, usize::MAX),
            ("d.parquet", Format::Parquet, usize::MAX),
            ("d.npy", Format::Npy, 100_000),
            ("d.svm", Format::Svmlight, usize::MAX),
        ] {
            let path = folder.path().join(name);
            write(&path, format, if name == "d.svm" { &sparse } else { &filled }).unwrap();
            let found = describe(&path, &ReadOptions::default(), &[], &[], memory).unwrap();
            let storage = match name {
                "d.svm" => "sparse",
                "d.npy" => "on disk",
                _ => "dense",
            };
            assert_eq!(found.storage, storage);
            assert_eq!((found.rows, found.features, found.constant.len()), (1797, 64, 3), "{name}");
            assert_eq!(found.labels.as_ref().unwrap().classes.len(), 10);
            all.push((found.duplicates.rows, found.columns[20].mean, found.columns[20].deviation, found.density));
        }
        assert!(all.windows(2).all(|w| w[0].0 == w[1].0 && w[0].3 == w[1].3), "{all:?}");
        assert!(all.windows(2).all(|w| (w[0].1 - w[1].1).abs() < 1e-9 && (w[0].2 - w[1].2).abs() < 1e-9), "{all:?}");
    }
}
