//! Rows that are mostly zeros ([`Csr`]), and rows of either kind ([`Features`]).

use crate::dataset::{Matrix, check_names};
use crate::error::DataError;

/// A sparse matrix `[rows, dim]`, compressed by rows.
///
/// Row `i` has the values `values[indptr[i]..indptr[i + 1]]` in the columns `indices[…]` of the same range; all other
/// entries are zero. Within a row the columns increase strictly. A stored value may be zero.
///
/// ```
/// use keener_data::Csr;
/// let csr = Csr::new("toy", 4, vec![0, 2, 2, 3], vec![0, 3, 1], vec![1.0, 2.0, 3.0])?;
/// assert_eq!((csr.rows(), csr.dim(), csr.nnz()), (3, 4, 3));
/// assert_eq!(csr.row(0), (&[0, 3][..], &[1.0, 2.0][..]));
/// assert_eq!(csr.to_dense("toy")?.row(2), [0.0, 3.0, 0.0, 0.0]);
/// # Ok::<(), keener_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    dim: usize,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
    names: Option<Vec<String>>,
}

impl Csr {
    /// A matrix of `indptr.len() - 1` rows, checked. `place` names it in messages.
    ///
    /// # Errors
    /// [`DataError::Shape`] when `indptr` does not rise from 0 to the number of values, when there are not as many indices as
    /// values, or no columns; [`DataError::Column`] for a column outside `0..dim` or out of order; [`DataError::NonFinite`].
    pub fn new(
        place: &str,
        dim: usize,
        indptr: Vec<usize>,
        indices: Vec<u32>,
        values: Vec<f32>,
    ) -> Result<Self, DataError> {
        let csr = Self { dim, indptr, indices, values, names: None };
        csr.validate(place)?;
        Ok(csr)
    }

    fn validate(&self, place: &str) -> Result<(), DataError> {
        self.check_shape(place)?;
        self.check_rows(place, false)
    }

    /// Checks lengths and the row pointer.
    fn check_shape(&self, place: &str) -> Result<(), DataError> {
        let shape = |what: &str, found: String, expected: String| {
            Err(DataError::Shape { place: place.into(), what: what.into(), found, expected })
        };
        if self.dim == 0 || self.dim > MAX_DIM {
            return shape("features", format!("{} columns", self.dim), format!("1 to {MAX_DIM}"));
        }
        if self.indices.len() != self.values.len() {
            let expected = format!("{}, one for each value", self.values.len());
            return shape("sparse rows", format!("{} column indices", self.indices.len()), expected);
        }
        let rising = self.indptr.is_sorted() && self.indptr.first() == Some(&0);
        if !rising || self.indptr.last() != Some(&self.values.len()) {
            let expected = format!("to rise from 0 to {}, the number of values", self.values.len());
            return shape("the row pointer", format!("{} entries", self.indptr.len()), expected);
        }
        Ok(())
    }

    /// Checks columns and values, once lengths are right.
    fn check_rows(&self, place: &str, keep_non_finite: bool) -> Result<(), DataError> {
        for row in 0..self.rows() {
            let (indices, values) = self.row(row);
            let mut least = 0;
            for (&column, value) in indices.iter().zip(values) {
                if column as usize >= self.dim || u64::from(column) < least {
                    return Err(DataError::Column { place: place.into(), row, column, least, dim: self.dim });
                }
                least = u64::from(column) + 1;
                if !value.is_finite() && !keep_non_finite {
                    let (place, value) = (place.into(), value.to_string());
                    return Err(DataError::NonFinite { place, row, column: column as usize, value });
                }
            }
        }
        Ok(())
    }

    /// As [`Csr::new`] for columns in any order within a row, where values that are not finite may be kept.
    ///
    /// # Errors
    /// As [`Csr::new`]; a column that occurs twice in a row is one of them.
    pub(crate) fn from_unsorted(
        place: &str,
        dim: usize,
        indptr: Vec<usize>,
        indices: Vec<usize>,
        values: Vec<f32>,
        keep_non_finite: bool,
    ) -> Result<Self, DataError> {
        let narrow = |column: usize| u32::try_from(column).unwrap_or(u32::MAX);
        let indices = indices.into_iter().map(narrow).collect();
        let mut csr = Self { dim, indptr, indices, values, names: None };
        csr.check_shape(place)?;
        let mut entries: Vec<(u32, f32)> = Vec::new();
        for row in 0..csr.rows() {
            let range = csr.indptr[row]..csr.indptr[row + 1];
            if csr.indices[range.clone()].is_sorted() {
                continue;
            }
            entries.clear();
            entries.extend(csr.indices[range.clone()].iter().copied().zip(csr.values[range.clone()].iter().copied()));
            entries.sort_by_key(|&(column, _)| column);
            for (at, &(column, value)) in range.zip(&entries) {
                (csr.indices[at], csr.values[at]) = (column, value);
            }
        }
        csr.check_rows(place, keep_non_finite)?;
        Ok(csr)
    }

    /// The given columns, in their order; they increase strictly.
    pub(crate) fn select_columns(&self, columns: &[usize]) -> Self {
        let mut indptr = Vec::with_capacity(self.indptr.len());
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        indptr.push(0);
        for row in 0..self.rows() {
            let (stored, row) = self.row(row);
            for (&column, &value) in stored.iter().zip(row) {
                if let Ok(at) = columns.binary_search(&(column as usize)) {
                    indices.push(at as u32);
                    values.push(value);
                }
            }
            indptr.push(values.len());
        }
        let names = self.names.as_ref().map(|names| columns.iter().map(|&column| names[column].clone()).collect());
        Self { dim: columns.len(), indptr, indices, values, names }
    }

    /// The entries of a dense matrix that are not zero.
    ///
    /// # Errors
    /// [`DataError::Shape`] for more columns than an index holds.
    pub fn from_dense(place: &str, matrix: &Matrix) -> Result<Self, DataError> {
        let mut csr = Self { dim: matrix.dim, indptr: vec![0], indices: vec![], values: vec![], names: None };
        for row in matrix.values.chunks_exact(matrix.dim.max(1)) {
            for (column, &value) in (0..).zip(row) {
                if value != 0.0 {
                    csr.indices.push(column);
                    csr.values.push(value);
                }
            }
            csr.indptr.push(csr.values.len());
        }
        csr.names.clone_from(&matrix.names);
        csr.validate(place)?;
        Ok(csr)
    }

    /// Replaces the column names.
    ///
    /// # Errors
    /// [`DataError::Shape`] unless there is one name a column.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Self, DataError> {
        check_names("sparse rows", &names, self.dim)?;
        self.names = Some(names);
        Ok(self)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Columns, with those that are zero throughout.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of stored values.
    pub fn nnz(&self) -> usize {
        self.values.len()
    }

    /// Where each row begins in [`Csr::indices`] and [`Csr::values`], `[rows + 1]`.
    pub fn indptr(&self) -> &[usize] {
        &self.indptr
    }

    /// Column of each stored value, `[nnz]`.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Stored values, `[nnz]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Stored values for a change in place (a scaling); columns stay. Whoever edits them keeps them finite.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Name of each column, if the source has names.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Columns and values of row `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Csr::rows`], as with a slice.
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.indptr[i]..self.indptr[i + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// The given rows in the given order (rows may repeat).
    ///
    /// # Panics
    /// If an index is not below [`Csr::rows`], as with a slice.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let nnz = rows.iter().map(|&row| self.row(row).0.len()).sum();
        let mut indptr = Vec::with_capacity(rows.len() + 1);
        let (mut indices, mut values) = (Vec::with_capacity(nnz), Vec::with_capacity(nnz));
        indptr.push(0);
        for &row in rows {
            let (columns, stored) = self.row(row);
            indices.extend_from_slice(columns);
            values.extend_from_slice(stored);
            indptr.push(values.len());
        }
        Self { dim: self.dim, indptr, indices, values, names: self.names.clone() }
    }

    /// Writes the given rows densely into `out`, `[rows.len(), dim]`.
    ///
    /// # Panics
    /// If `out` has another length, or an index is not below [`Csr::rows`].
    pub fn copy_rows(&self, rows: &[usize], out: &mut [f32]) {
        assert_eq!(out.len(), rows.len() * self.dim, "the buffer holds the rows");
        out.fill(0.0);
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(self.dim)) {
            let (columns, values) = self.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                out[column as usize] = value;
            }
        }
    }

    /// All entries, zeros included.
    ///
    /// # Errors
    /// [`DataError::TooLarge`] when the memory for `rows · dim` values is not granted.
    pub fn to_dense(&self, place: &str) -> Result<Matrix, DataError> {
        let too_large = || DataError::TooLarge {
            place: place.into(),
            what: format!("{} sparse rows of {} columns made dense", self.rows(), self.dim),
            bytes: (self.rows() as u64).saturating_mul(self.dim as u64).saturating_mul(4),
            expected: "data that fit as they are, or a head that reads sparse rows".into(),
        };
        let size = self.rows().checked_mul(self.dim).filter(|&size| size <= MAX_DENSE).ok_or_else(too_large)?;
        let mut values = Vec::new();
        values.try_reserve_exact(size).map_err(|_| too_large())?;
        values.resize(size, 0.0);
        let all: Vec<usize> = (0..self.rows()).collect();
        self.copy_rows(&all, &mut values);
        Ok(Matrix { values, rows: self.rows(), dim: self.dim, names: self.names.clone() })
    }
}

/// As many columns as a `u32` index can name, with one to spare.
const MAX_DIM: usize = u32::MAX as usize;

/// Values that [`Csr::to_dense`] makes at most: 16 GiB.
const MAX_DENSE: usize = 1 << 32;

/// Rows as a format hands them over: dense or sparse.
#[derive(Debug, Clone, PartialEq)]
pub enum Features {
    /// Every value is stored.
    Dense(Matrix),
    /// Zeros are left out.
    Sparse(Csr),
}

impl Features {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Dense(matrix) => matrix.rows,
            Self::Sparse(csr) => csr.rows(),
        }
    }

    /// Values a row.
    pub fn dim(&self) -> usize {
        match self {
            Self::Dense(matrix) => matrix.dim,
            Self::Sparse(csr) => csr.dim(),
        }
    }

    /// Name of each column, if the source has names.
    pub fn names(&self) -> Option<&[String]> {
        match self {
            Self::Dense(matrix) => matrix.names.as_deref(),
            Self::Sparse(csr) => csr.names(),
        }
    }

    /// Dense rows; sparse ones are filled up.
    ///
    /// # Errors
    /// As [`Csr::to_dense`].
    pub fn into_dense(self, place: &str) -> Result<Matrix, DataError> {
        match self {
            Self::Dense(matrix) => Ok(matrix),
            Self::Sparse(csr) => csr.to_dense(place),
        }
    }

    /// Writes the given rows densely into `out`, `[rows.len(), dim]`.
    ///
    /// # Panics
    /// If `out` has another length, or an index is not below [`Features::rows`].
    pub fn copy_rows(&self, rows: &[usize], out: &mut [f32]) {
        match self {
            Self::Sparse(csr) => csr.copy_rows(rows, out),
            Self::Dense(matrix) => {
                assert_eq!(out.len(), rows.len() * matrix.dim, "the buffer holds the rows");
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut(matrix.dim)) {
                    out.copy_from_slice(matrix.row(row));
                }
            }
        }
    }
}

impl From<Matrix> for Features {
    fn from(matrix: Matrix) -> Self {
        Self::Dense(matrix)
    }
}

impl From<Csr> for Features {
    fn from(csr: Csr) -> Self {
        Self::Sparse(csr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy() -> Csr {
        Csr::new("toy", 3, vec![0, 2, 2, 3], vec![0, 2, 1], vec![1.0, -2.0, 3.0]).unwrap()
    }

    #[test]
    fn dense_and_back() {
        let dense = toy().to_dense("toy").unwrap();
        assert_eq!(dense.values, [1.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0]);
        assert_eq!(Csr::from_dense("toy", &dense).unwrap(), toy());
    }

    #[test]
    fn chosen_rows_agree_in_both_kinds() {
        let rows = [2, 0, 2, 1];
        let (mut sparse, mut dense, mut selected) = (vec![9.0; 12], vec![9.0; 12], vec![9.0; 12]);
        Features::from(toy()).copy_rows(&rows, &mut sparse);
        Features::from(toy().to_dense("toy").unwrap()).copy_rows(&rows, &mut dense);
        toy().select(&rows).copy_rows(&[0, 1, 2, 3], &mut selected);
        assert_eq!(sparse, dense);
        assert_eq!(sparse, selected);
        assert_eq!(toy().select(&[]).rows(), 0);
    }

    #[test]
    fn broken_rows_are_refused_with_their_place() {
        let error = |dim, indptr: &[usize], indices: &[u32], values: &[f32]| {
            Csr::new("toy", dim, indptr.into(), indices.into(), values.into()).unwrap_err().to_string()
        };
        assert!(error(0, &[0], &[], &[]).contains("0 columns"));
        assert!(error(2, &[], &[], &[]).contains("row pointer has 0 entries"));
        assert!(error(2, &[0, 2, 1], &[0], &[1.0]).contains("rise from 0 to 1"));
        assert!(error(2, &[0, 1], &[0, 1], &[1.0, 1.0]).contains("rise from 0 to 2"));
        assert!(error(2, &[0, 1], &[0, 1], &[1.0]).contains("2 column indices"));
        assert_eq!(error(2, &[0, 0, 1], &[2], &[1.0]), "toy, row 1: found column 2, expected one in 0..2");
        assert_eq!(error(9, &[0, 2], &[4, 4], &[1.0, 1.0]), "toy, row 0: found column 4, expected one in 5..9");
        assert!(error(9, &[0, 2], &[4, 3], &[1.0, 1.0]).contains("in 5..9"));
        assert!(error(9, &[0, 1], &[4], &[f32::NAN]).contains("row 0, column 4: found NaN"));
        assert!(toy().with_names(vec!["a".into()]).is_err());
    }

    #[test]
    fn what_no_machine_holds_is_an_error() {
        let wide = Csr::new("wide", 4_000_000_000, vec![0; 5_000], vec![], vec![]).unwrap();
        assert!(wide.to_dense("wide").unwrap_err().to_string().contains("made dense"));
    }
}
