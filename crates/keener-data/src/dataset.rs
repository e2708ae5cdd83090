//! The two containers: labelled rows ([`Dataset`]) and unlabelled rows ([`Matrix`]).

use xxhash_rust::xxh3::Xxh3;

use crate::error::DataError;
use crate::sparse::Csr;

/// Labelled rows: features `[rows, dim]`, one class index a row.
///
/// The fields are public so that a run can take them apart. Whoever edits them calls [`Dataset::validate`] afterwards.
///
/// ```
/// use keener_data::Dataset;
/// let data = Dataset::new("toy", vec![0.0, 1.0, 2.0, 3.0], 2, vec![1, 0], vec!["cat".into(), "dog".into()])?;
/// assert_eq!((data.rows(), data.row(1)), (2, &[2.0, 3.0][..]));
/// # Ok::<(), keener_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Short name, for tables and messages.
    pub name: String,
    /// Features, row-major `[rows, dim]`.
    pub features: Vec<f32>,
    /// Features a row.
    pub dim: usize,
    /// Class index of each row, `[rows]`, each below [`Dataset::num_classes`].
    pub labels: Vec<u32>,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Name of each feature, if the source has names.
    pub feature_names: Option<Vec<String>>,
    /// Where the data come from: a path or a description.
    pub source: String,
}

impl Dataset {
    /// Labelled rows, checked; `source` is `memory` and features have no names until set.
    ///
    /// # Errors
    /// [`DataError::Shape`] when lengths disagree, [`DataError::LabelRange`], [`DataError::NonFinite`].
    pub fn new(
        name: impl Into<String>,
        features: Vec<f32>,
        dim: usize,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        let data = Self { name, features, dim, labels, class_names, feature_names: None, source: "memory".into() };
        data.validate()?;
        Ok(data)
    }

    /// Replaces the feature names.
    ///
    /// # Errors
    /// [`DataError::Shape`] unless there is one name a feature.
    pub fn with_feature_names(mut self, names: Vec<String>) -> Result<Self, DataError> {
        check_names(&self.name, &names, self.dim)?;
        self.feature_names = Some(names);
        Ok(self)
    }

    /// Replaces the source.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Checks every promise that the fields make.
    ///
    /// # Errors
    /// As [`Dataset::new`], for the first row that breaks a promise.
    pub fn validate(&self) -> Result<(), DataError> {
        let rows = check_matrix(&self.name, &self.features, self.dim)?;
        if self.labels.len() != rows {
            return Err(DataError::Shape {
                place: self.name.clone(),
                what: "labels".into(),
                found: format!("{} entries", self.labels.len()),
                expected: format!("{rows}, one for each row"),
            });
        }
        check_labels(&self.name, &self.labels, self.class_names.len())?;
        match &self.feature_names {
            Some(names) => check_names(&self.name, names, self.dim),
            None => Ok(()),
        }
    }

    /// Checks that there is something to tell apart: rows of at least two classes.
    ///
    /// # Errors
    /// [`DataError::OneClass`]; [`DataError::Empty`] without rows.
    pub fn require_two_classes(&self) -> Result<(), DataError> {
        check_two_classes(&self.source, &self.labels, &self.class_names)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Features of row `i`, `[dim]`.
    ///
    /// # Panics
    /// If `i` is not below [`Dataset::rows`], as with a slice.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.features[i * self.dim..(i + 1) * self.dim]
    }

    /// Number of classes, also of those without rows.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// Rows of each class, `[num_classes]`.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.num_classes()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// The given rows in the given order (rows may repeat), with all class names kept.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::rows`], as with a slice.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut features = Vec::with_capacity(indices.len() * self.dim);
        for &i in indices {
            features.extend_from_slice(self.row(i));
        }
        Self {
            name: self.name.clone(),
            features,
            dim: self.dim,
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            class_names: self.class_names.clone(),
            feature_names: self.feature_names.clone(),
            source: self.source.clone(),
        }
    }

    /// The features alone.
    #[must_use]
    pub fn into_matrix(self) -> Matrix {
        Matrix { rows: self.labels.len(), values: self.features, dim: self.dim, names: self.feature_names }
    }

    /// Hash of the content as 16 hexadecimal digits, for reports: equal content, equal digits.
    ///
    /// XXH3 (64 bits) over shape, feature bits, labels and names of classes and features; `name` and `source` do not
    /// count. The value is the same on every machine.
    pub fn fingerprint(&self) -> String {
        let mut hash = Fingerprint::new(self.rows(), self.dim);
        hash.numbers(&self.features);
        hash.labels(&self.labels);
        hash.names(&self.class_names);
        if let Some(names) = &self.feature_names {
            hash.names(names);
        }
        hash.finish()
    }
}

/// The hash of a data set, taken in piece by piece: shape, numbers, labels, names of classes, names of features.
pub(crate) struct Fingerprint(Xxh3);

impl Fingerprint {
    pub(crate) fn new(rows: usize, dim: usize) -> Self {
        let mut hash = Self(Xxh3::new());
        hash.size(rows);
        hash.size(dim);
        hash
    }

    fn size(&mut self, size: usize) {
        self.0.update(&(size as u64).to_le_bytes());
    }

    fn words<T: Copy>(&mut self, words: &[T], bytes: impl Fn(T) -> [u8; 4]) {
        let mut buffer = [0; 4 * 4096];
        for chunk in words.chunks(4096) {
            buffer.chunks_exact_mut(4).zip(chunk).for_each(|(out, word)| out.copy_from_slice(&bytes(*word)));
            self.0.update(&buffer[..4 * chunk.len()]);
        }
    }

    pub(crate) fn numbers(&mut self, values: &[f32]) {
        self.words(values, f32::to_le_bytes);
    }

    /// Sparse rows: where each begins, columns and values.
    pub(crate) fn sparse(&mut self, csr: &Csr) {
        self.0.update(b"csr");
        csr.indptr().iter().for_each(|&start| self.size(start));
        self.words(csr.indices(), u32::to_le_bytes);
        self.numbers(csr.values());
    }

    pub(crate) fn labels(&mut self, labels: &[u32]) {
        self.words(labels, u32::to_le_bytes);
    }

    pub(crate) fn names(&mut self, names: &[String]) {
        self.size(names.len());
        for name in names {
            self.size(name.len());
            self.0.update(name.as_bytes());
        }
    }

    pub(crate) fn finish(self) -> String {
        format!("{:016x}", self.0.digest())
    }
}

/// Unlabelled rows, the input of a prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Values, row-major `[rows, dim]`.
    pub values: Vec<f32>,
    /// Number of rows.
    pub rows: usize,
    /// Values a row.
    pub dim: usize,
    /// Name of each column, if the source has names.
    pub names: Option<Vec<String>>,
}

impl Matrix {
    /// Rows of `dim` values, checked. `place` names them in messages.
    ///
    /// # Errors
    /// [`DataError::Shape`] when lengths disagree, [`DataError::NonFinite`].
    pub fn new(place: &str, values: Vec<f32>, dim: usize, names: Option<Vec<String>>) -> Result<Self, DataError> {
        let rows = check_matrix(place, &values, dim)?;
        if let Some(names) = &names {
            check_names(place, names, dim)?;
        }
        Ok(Self { values, rows, dim, names })
    }

    /// As [`Matrix::new`], where values that are not finite may be kept.
    pub(crate) fn checked(
        place: &str,
        values: Vec<f32>,
        dim: usize,
        names: Option<Vec<String>>,
        keep_non_finite: bool,
    ) -> Result<Self, DataError> {
        if !keep_non_finite {
            return Self::new(place, values, dim, names);
        }
        let rows = check_shape(place, values.len(), dim)?;
        if let Some(names) = &names {
            check_names(place, names, dim)?;
        }
        Ok(Self { values, rows, dim, names })
    }

    /// Values of row `i`, `[dim]`.
    ///
    /// # Panics
    /// If `i` is not below `rows`, as with a slice.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dim..(i + 1) * self.dim]
    }
}

/// Checks length and finiteness, and returns the number of rows.
pub(crate) fn check_matrix(place: &str, values: &[f32], dim: usize) -> Result<usize, DataError> {
    let rows = check_shape(place, values.len(), dim)?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(DataError::NonFinite {
            place: place.into(),
            row: at / dim,
            column: at % dim,
            value: values[at].to_string(),
        }),
        None => Ok(rows),
    }
}

/// Checks that `len` values make rows of `dim`, and returns their number.
fn check_shape(place: &str, len: usize, dim: usize) -> Result<usize, DataError> {
    if dim == 0 {
        let (what, found) = ("features".into(), "0 columns".into());
        return Err(DataError::Shape { place: place.into(), what, found, expected: "at least one".into() });
    }
    if !len.is_multiple_of(dim) {
        return Err(DataError::Shape {
            place: place.into(),
            what: "features".into(),
            found: format!("{len} values"),
            expected: format!("a multiple of the {dim} columns"),
        });
    }
    Ok(len / dim)
}

/// Checks that there are rows of at least two classes.
pub(crate) fn check_two_classes(file: &str, labels: &[u32], class_names: &[String]) -> Result<(), DataError> {
    let Some(&first) = labels.first() else {
        return Err(DataError::Empty { place: file.into(), what: "rows of data".into() });
    };
    if labels.iter().any(|&label| label != first) {
        return Ok(());
    }
    let class = class_names.get(first as usize).cloned().unwrap_or_default();
    Err(DataError::OneClass { file: file.into(), rows: labels.len(), class })
}

/// Checks that every label is below `num_classes`.
pub(crate) fn check_labels(place: &str, labels: &[u32], num_classes: usize) -> Result<(), DataError> {
    match labels.iter().position(|&label| label as usize >= num_classes) {
        Some(row) => Err(DataError::LabelRange { place: place.into(), label: labels[row], row, classes: num_classes }),
        None => Ok(()),
    }
}

pub(crate) fn check_names(place: &str, names: &[String], dim: usize) -> Result<(), DataError> {
    if names.len() == dim {
        return Ok(());
    }
    Err(DataError::Shape {
        place: place.into(),
        what: "the list of feature names".into(),
        found: format!("{} names", names.len()),
        expected: format!("{dim}, one for each column"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy() -> Dataset {
        let names = vec!["a".to_string(), "b".into(), "never".into()];
        Dataset::new("toy", vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2, vec![1, 0, 1], names).unwrap()
    }

    #[test]
    fn shape_rows_and_counts() {
        let data = toy();
        assert_eq!((data.rows(), data.dim, data.num_classes()), (3, 2, 3));
        assert_eq!(data.row(2), [4.0, 5.0]);
        assert_eq!(data.class_counts(), [1, 2, 0]);
    }

    #[test]
    fn selection_keeps_order_repeats_and_classes() {
        let part = toy().select(&[2, 0, 2]);
        assert_eq!(part.features, [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
        assert_eq!(part.labels, [1, 1, 1]);
        assert_eq!(part.num_classes(), 3);
        assert_eq!(toy().select(&[]).rows(), 0);
    }

    #[test]
    fn one_class_is_nothing_to_tell_apart() {
        toy().require_two_classes().unwrap();
        let error = toy().select(&[0, 2]).with_source("a.csv").require_two_classes().unwrap_err().to_string();
        assert_eq!(error, "a.csv: found the class \"b\" in all 2 rows, expected at least two classes");
        assert!(toy().select(&[]).require_two_classes().is_err());
    }

    #[test]
    fn bad_input_is_refused_with_its_place() {
        let classes = || vec!["a".to_string(), "b".into()];
        let error = |features: Vec<f32>, dim, labels: Vec<u32>| {
            Dataset::new("toy", features, dim, labels, classes()).unwrap_err().to_string()
        };
        assert_eq!(error(vec![0.0; 4], 2, vec![0, 2]), "toy: label 2 at row 1: there are 2 classes");
        assert!(error(vec![0.0; 5], 2, vec![0, 1]).contains("5 values"));
        assert!(error(vec![0.0; 4], 2, vec![0]).contains("1 entries, expected 2"));
        assert!(error(vec![], 0, vec![]).contains("0 columns"));
        assert!(error(vec![0.0, 0.0, 0.0, f32::NAN], 2, vec![0, 1]).contains("row 1, column 1: found NaN"));
        assert!(toy().with_feature_names(vec!["only one".into()]).is_err());
        assert!(Matrix::new("m", vec![1.0, f32::INFINITY], 1, None).is_err());
    }

    #[test]
    fn fingerprint_follows_content_only() {
        let data = toy();
        let print = data.fingerprint();
        assert_eq!(print.len(), 16);
        let mut renamed = data.clone().with_source("elsewhere");
        renamed.name = "other".into();
        assert_eq!(renamed.fingerprint(), print);
        let mut changed = data.clone();
        changed.features[5] = f32::from_bits(changed.features[5].to_bits() + 1);
        let mut relabelled = data.clone();
        relabelled.labels[0] = 2;
        let mut reclassed = data.clone();
        reclassed.class_names = vec!["ab".into(), "".into(), "never".into()];
        let reshaped =
            Dataset::new("toy", data.features.clone(), 1, [1, 0, 1, 1, 0, 1].into(), data.class_names.clone()).unwrap();
        for other in [changed, relabelled, reclassed, reshaped, data.select(&[1, 0, 2])] {
            assert_ne!(other.fingerprint(), print);
        }
    }

    #[test]
    fn the_matrix_keeps_rows_and_names() {
        let matrix = toy().with_feature_names(vec!["x".into(), "y".into()]).unwrap().into_matrix();
        assert_eq!((matrix.rows, matrix.row(1)), (3, &[2.0, 3.0][..]));
        assert_eq!(matrix.names.unwrap(), ["x", "y"]);
    }
}
