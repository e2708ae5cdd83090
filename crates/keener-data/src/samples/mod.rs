//! Labelled rows wherever they are: [`Samples`].

pub(crate) mod disk;
pub(crate) mod open;

use std::sync::{Arc, OnceLock};

use crate::dataset::{Dataset, Fingerprint, Matrix, check_labels, check_matrix, check_names, check_two_classes};
use crate::error::DataError;
use crate::source::{RowSource, for_each_block, gather};
use crate::standardize::{Moments, Standardizer};

/// Labelled rows whose features are in memory, sparse, or on disk; labels and names are in memory.
///
/// ```
/// let samples = keener_data::Samples::from(keener_data::digits());
/// assert_eq!((samples.rows(), samples.dim(), samples.num_classes()), (1797, 64, 10));
/// assert_eq!(samples.fingerprint()?, keener_data::digits().fingerprint());
/// # Ok::<(), keener_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Samples {
    name: String,
    features: Arc<dyn RowSource>,
    labels: Vec<u32>,
    class_names: Vec<String>,
    feature_names: Option<Vec<String>>,
    source: String,
    /// Rows that belong together, where the source says so.
    groups: Option<Vec<u32>>,
    fingerprint: OnceLock<String>,
}

impl Samples {
    /// Labelled rows, checked; `source` says where they come from: a path or a description.
    ///
    /// # Errors
    /// [`DataError::Shape`] when lengths disagree, [`DataError::LabelRange`]. Values of the features are not looked at.
    pub fn new(
        name: impl Into<String>,
        features: Arc<dyn RowSource>,
        labels: Vec<u32>,
        class_names: Vec<String>,
        feature_names: Option<Vec<String>>,
        source: impl Into<String>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        if features.rows() != labels.len() {
            return Err(DataError::Shape {
                place: name,
                what: "labels".into(),
                found: format!("{} entries", labels.len()),
                expected: format!("{}, one for each row", features.rows()),
            });
        }
        check_labels(&name, &labels, class_names.len())?;
        if let Some(names) = &feature_names {
            check_names(&name, names, features.dim())?;
        }
        let source = source.into();
        let fingerprint = OnceLock::new();
        Ok(Self { name, features, labels, class_names, feature_names, source, groups: None, fingerprint })
    }

    /// Checks that there is something to tell apart: rows of at least two classes.
    ///
    /// # Errors
    /// [`DataError::OneClass`]; [`DataError::Empty`] without rows.
    pub fn require_two_classes(&self) -> Result<(), DataError> {
        check_two_classes(&self.source, &self.labels, &self.class_names)
    }

    /// Short name, for tables and messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where the data come from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Features a row.
    pub fn dim(&self) -> usize {
        self.features.dim()
    }

    /// Number of classes, also of those without rows.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// The features.
    pub fn features(&self) -> &Arc<dyn RowSource> {
        &self.features
    }

    /// Class index of each row.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Name of each class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Name of each feature, if the source has names.
    pub fn feature_names(&self) -> Option<&[String]> {
        self.feature_names.as_deref()
    }

    /// With a group for each row: rows of one group are never on both sides of a split.
    ///
    /// # Errors
    /// [`DataError::Shape`] unless there is one group a row.
    pub fn with_groups(mut self, groups: Vec<u32>) -> Result<Self, DataError> {
        if groups.len() != self.rows() {
            return Err(DataError::Shape {
                place: self.name,
                what: "groups".into(),
                found: format!("{} entries", groups.len()),
                expected: format!("{}, one for each row", self.labels.len()),
            });
        }
        self.groups = Some(groups);
        Ok(self)
    }

    /// The group of each row, if rows have groups.
    pub fn groups(&self) -> Option<&[u32]> {
        self.groups.as_deref()
    }

    /// Whether the features are on disk: neither dense nor sparse in memory.
    pub fn is_on_disk(&self) -> bool {
        self.features.dense().is_none() && self.features.sparse().is_none()
    }

    /// Rows of each class, `[num_classes]`.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.num_classes()];
        self.labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// Hash of the content, as [`Dataset::fingerprint`]: the same for dense rows in memory and on disk. Sparse rows hash
    /// their stored entries, so that dense and sparse forms of one content differ.
    ///
    /// # Errors
    /// Rows on disk that cannot be read, or are not finite.
    pub fn fingerprint(&self) -> Result<String, DataError> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known.clone());
        }
        self.pass(None).map(|(print, _)| print)
    }

    /// What a training needs to know, in one pass over the features: statistics of the rows `training` (sparse rows are
    /// not centred), while the fingerprint is computed and every value is checked.
    ///
    /// # Errors
    /// [`DataError::NonFinite`], no rows to train on, rows on disk that cannot be read.
    pub fn prepare(&self, training: &[usize]) -> Result<Standardizer, DataError> {
        if !self.is_on_disk() || self.fingerprint.get().is_some() {
            return Standardizer::fit_rows(&*self.features, training);
        }
        match self.pass(Some(training))? {
            (_, Some(moments)) => moments.finish(),
            (_, None) => Standardizer::fit_rows(&*self.features, training),
        }
    }

    fn pass(&self, training: Option<&[usize]>) -> Result<(String, Option<Moments>), DataError> {
        let (rows, dim) = (self.rows(), self.dim());
        let mut hash = Fingerprint::new(rows, dim);
        let mut moments = training.map(|_| Moments::new(dim));
        let mut chosen = vec![false; if training.is_some() { rows } else { 0 }];
        training.into_iter().flatten().for_each(|&row| chosen[row] = true);
        match (self.features.sparse(), self.features.dense()) {
            (Some(csr), _) => hash.sparse(csr),
            (_, Some(values)) => hash.numbers(values),
            _ => for_each_block(&*self.features, &mut (0..rows), |first, values| {
                check_matrix(&self.source, values, dim).map_err(|error| match error {
                    DataError::NonFinite { place, row, column, value } => {
                        DataError::NonFinite { place, row: first + row, column, value }
                    }
                    other => other,
                })?;
                hash.numbers(values);
                if let Some(moments) = &mut moments {
                    let mine = values.chunks_exact(dim).zip(&chosen[first..]);
                    mine.filter(|(_, chosen)| **chosen).for_each(|(row, _)| moments.push(row));
                }
                Ok::<_, DataError>(())
            })?,
        }
        hash.labels(&self.labels);
        hash.names(&self.class_names);
        if let Some(names) = &self.feature_names {
            hash.names(names);
        }
        let print = hash.finish();
        // Another thread may have been faster: it has the same digits.
        let _ = self.fingerprint.set(print.clone());
        Ok((print, moments))
    }

    /// The given rows, standardised: see [`gather`].
    ///
    /// # Errors
    /// As [`gather`].
    pub fn gather(&self, rows: &[usize], standardizer: Option<&Standardizer>) -> Result<Arc<dyn RowSource>, DataError> {
        gather(&self.features, rows, standardizer)
    }

    /// The rows of `others` after one's own: parts that come as separate files.
    ///
    /// # Errors
    /// [`DataError::Shape`] for another number of features; [`DataError::Parameter`] for other classes.
    pub fn followed_by(self, others: &[Self]) -> Result<Self, DataError> {
        let Some(first) = others.first() else { return Ok(self) };
        for other in others {
            if other.dim() != self.dim() {
                return Err(DataError::Shape {
                    place: other.source.clone(),
                    what: "features".into(),
                    found: format!("{} columns", other.dim()),
                    expected: format!("{}, as in {}", self.dim(), self.source),
                });
            }
            if other.class_names != self.class_names {
                return Err(DataError::Parameter {
                    place: "joining files",
                    name: "classes".into(),
                    value: format!("{} in {}", other.num_classes(), other.source),
                    expected: format!("the {} of {}", self.num_classes(), self.source),
                });
            }
        }
        let all: Vec<&Self> = std::iter::once(&self).chain(others).collect();
        let labels = all.iter().flat_map(|samples| samples.labels.iter().copied()).collect();
        let sources: Vec<&str> = all.iter().map(|samples| samples.source.as_str()).collect();
        let parts: Vec<Arc<dyn RowSource>> = all.iter().map(|samples| Arc::clone(&samples.features)).collect();
        let features: Arc<dyn RowSource> = match parts.iter().map(|part| part.dense()).collect::<Option<Vec<_>>>() {
            Some(values) => {
                let (dim, values) = (first.dim(), values.concat());
                Arc::new(Matrix { rows: values.len() / dim, values, dim, names: None })
            }
            None => Arc::new(Joined::new(parts)),
        };
        let (names, source) = (self.feature_names.clone(), sources.join(" + "));
        Self::new(self.name.clone(), features, labels, self.class_names.clone(), names, source)
    }
}

impl From<Dataset> for Samples {
    /// The rows stay in memory.
    fn from(data: Dataset) -> Self {
        let Dataset { name, features, dim, labels, class_names, feature_names, source } = data;
        let features = Arc::new(Matrix { rows: labels.len(), values: features, dim, names: None });
        let fingerprint = OnceLock::new();
        Self { name, features, labels, class_names, feature_names, source, groups: None, fingerprint }
    }
}

/// Sources one after the other.
#[derive(Debug)]
struct Joined {
    parts: Vec<Arc<dyn RowSource>>,
    /// Where each part begins, and the end.
    starts: Vec<usize>,
}

impl Joined {
    fn new(parts: Vec<Arc<dyn RowSource>>) -> Self {
        let mut starts = vec![0];
        parts.iter().for_each(|part| starts.push(starts[starts.len() - 1] + part.rows()));
        Self { parts, starts }
    }
}

impl RowSource for Joined {
    fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn dim(&self) -> usize {
        self.parts.first().map_or(0, |part| part.dim())
    }

    fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError> {
        let dim = self.dim();
        assert_eq!(out.len(), rows.len() * dim, "the buffer holds the rows");
        let home = |row: usize| self.starts.partition_point(|start| *start <= row) - 1;
        let mut at = 0;
        // Runs of rows of one part are read together.
        for run in rows.chunk_by(|&a, &b| home(a) == home(b)) {
            let part = home(run[0]);
            let there: Vec<usize> = run.iter().map(|row| row - self.starts[part]).collect();
            self.parts[part].read_rows(&there, &mut out[at * dim..(at + run.len()) * dim])?;
            at += run.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Csr;

    /// Rows of a matrix that pretend to be elsewhere.
    #[derive(Debug)]
    struct Elsewhere(Matrix);

    impl RowSource for Elsewhere {
        fn rows(&self) -> usize {
            self.0.rows
        }

        fn dim(&self) -> usize {
            self.0.dim
        }

        fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError> {
            self.0.read_rows(rows, out)
        }
    }

    fn samples(features: Arc<dyn RowSource>) -> Samples {
        let digits = crate::digits();
        Samples::new("digits", features, digits.labels, digits.class_names, digits.feature_names, "here").unwrap()
    }

    #[test]
    fn one_pass_over_rows_elsewhere_gives_what_memory_gives() {
        let digits = crate::digits();
        let training: Vec<usize> = (0..1797).filter(|row| row % 3 != 0).collect();
        let near = Samples::from(digits.clone());
        let far = samples(Arc::new(Elsewhere(digits.clone().into_matrix())));
        assert!(far.is_on_disk() && !near.is_on_disk());
        assert_eq!(far.prepare(&training).unwrap(), near.prepare(&training).unwrap());
        assert_eq!(far.fingerprint().unwrap(), digits.fingerprint());
        assert_eq!(near.fingerprint().unwrap(), digits.fingerprint());
        let mut broken = digits.into_matrix();
        broken.values[64 * 5 + 7] = f32::NAN;
        let error = samples(Arc::new(Elsewhere(broken))).prepare(&training).unwrap_err().to_string();
        assert!(error.contains("here, row 5, column 7: found NaN"), "{error}");
    }

    #[test]
    fn sparse_rows_have_a_fingerprint_of_their_own() {
        let matrix = crate::digits().into_matrix();
        let csr = Csr::from_dense("d", &matrix).unwrap();
        let mut other = csr.clone();
        other.values_mut()[0] += 1.0;
        let prints: Vec<String> =
            [csr.clone(), csr, other].into_iter().map(|c| samples(Arc::new(c)).fingerprint().unwrap()).collect();
        assert!(prints[0] == prints[1] && prints[0] != prints[2]);
    }

    #[test]
    fn files_one_after_the_other() {
        let digits = crate::digits();
        let (one, two) = (digits.select(&[0, 1, 2]), digits.select(&[3, 4]));
        let near = Samples::from(one.clone()).followed_by(&[two.clone().into()]).unwrap();
        assert_eq!(near.fingerprint().unwrap(), digits.select(&[0, 1, 2, 3, 4]).fingerprint());
        let far = |data: &Dataset| {
            let features = Arc::new(Elsewhere(data.clone().into_matrix()));
            let (labels, names) = (data.labels.clone(), data.class_names.clone());
            Samples::new("d", features, labels, names, data.feature_names.clone(), "d").unwrap()
        };
        let far = far(&one).followed_by(&[far(&two)]).unwrap();
        assert_eq!(far.fingerprint().unwrap(), near.fingerprint().unwrap());
        let mut batch = vec![0.0; 3 * 64];
        far.features().read_rows(&[4, 0, 3], &mut batch).unwrap();
        assert_eq!(batch, [digits.row(4), digits.row(0), digits.row(3)].concat());
        let narrow = Dataset::new("n", vec![1.0], 1, vec![0], digits.class_names.clone()).unwrap();
        assert!(near.followed_by(&[narrow.into()]).unwrap_err().to_string().contains("1 columns, expected 64"));
    }
}
