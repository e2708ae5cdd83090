//! Rows wherever they are: in memory, sparse, or on disk.

use std::fmt::Debug;
use std::sync::Arc;

use crate::dataset::Matrix;
use crate::error::DataError;
use crate::sparse::Csr;
use crate::standardize::Standardizer;

/// Rows of features that are read in any order, wherever they are.
///
/// A training reads batches through this trait, so that it does not matter whether rows are in memory, sparse or on disk.
///
/// ```
/// use keener_data::{Csr, RowSource};
/// let csr = Csr::new("toy", 3, vec![0, 1, 2], vec![2, 0], vec![1.0, 2.0])?;
/// let mut batch = [0.0; 6];
/// csr.read_rows(&[1, 0], &mut batch)?;
/// assert_eq!(batch, [2.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
/// # Ok::<(), keener_data::DataError>(())
/// ```
pub trait RowSource: Debug + Send + Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Values a row.
    fn dim(&self) -> usize;

    /// Writes the given rows, in the given order, into `out`, `[rows.len(), dim]`.
    ///
    /// # Errors
    /// Rows on disk that cannot be read. Values are as they are stored: NaN and infinities are found by
    /// [`crate::Samples::prepare`].
    ///
    /// # Panics
    /// If `out` has another length, or an index is not below [`RowSource::rows`], as with a slice.
    fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError>;

    /// All rows, where they are dense and in memory.
    fn dense(&self) -> Option<&[f32]> {
        None
    }

    /// All rows, where they are sparse.
    fn sparse(&self) -> Option<&Csr> {
        None
    }
}

impl RowSource for Matrix {
    fn rows(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError> {
        assert_eq!(out.len(), rows.len() * self.dim, "the buffer holds the rows");
        rows.iter().zip(out.chunks_exact_mut(self.dim)).for_each(|(&row, out)| out.copy_from_slice(self.row(row)));
        Ok(())
    }

    fn dense(&self) -> Option<&[f32]> {
        Some(&self.values)
    }
}

impl RowSource for Csr {
    fn rows(&self) -> usize {
        Csr::rows(self)
    }

    fn dim(&self) -> usize {
        Csr::dim(self)
    }

    fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError> {
        self.copy_rows(rows, out);
        Ok(())
    }

    fn sparse(&self) -> Option<&Csr> {
        Some(self)
    }
}

/// Values of a block that is read at a time: 4 MiB of `f32`.
pub(crate) const BLOCK: usize = 1 << 20;

/// Calls `f` with consecutive blocks of the given rows: the place of the block's first row among them, and its values.
///
/// # Errors
/// What reading raises, and what `f` raises.
pub fn for_each_block<E: From<DataError>>(
    source: &dyn RowSource,
    rows: &mut dyn Iterator<Item = usize>,
    mut f: impl FnMut(usize, &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    let dim = source.dim();
    let height = (BLOCK / dim.max(1)).max(1);
    let (mut first, mut indices, mut buffer) = (0, Vec::with_capacity(height), Vec::new());
    loop {
        indices.clear();
        indices.extend((&mut *rows).take(height));
        if indices.is_empty() {
            return Ok(());
        }
        buffer.resize(indices.len() * dim, 0.0);
        source.read_rows(&indices, &mut buffer)?;
        f(first, &buffer)?;
        first += indices.len();
    }
}

/// The given rows, standardised: copied where the source is in memory, read when they are needed where it is on disk.
///
/// Sparse rows stay sparse under a standardiser that does not centre ([`Standardizer::is_centred`]).
///
/// # Errors
/// Features that cannot be standardised.
pub fn gather(
    source: &Arc<dyn RowSource>,
    rows: &[usize],
    standardizer: Option<&Standardizer>,
) -> Result<Arc<dyn RowSource>, DataError> {
    if let Some(csr) = source.sparse()
        && standardizer.is_none_or(|s| !s.is_centred())
    {
        let mut part = csr.select(rows);
        if let Some(standardizer) = standardizer {
            standardizer.apply_sparse(&mut part)?;
        }
        return Ok(Arc::new(part));
    }
    if source.dense().is_some() {
        let dim = source.dim();
        let mut values = vec![0.0; rows.len() * dim];
        source.read_rows(rows, &mut values)?;
        if let Some(standardizer) = standardizer {
            standardizer.apply(&mut values, dim)?;
        }
        return Ok(Arc::new(Matrix { rows: rows.len(), values, dim, names: None }));
    }
    // Row numbers in half the memory: a part of a hundred million rows is a vector of its own.
    let rows = rows.iter().map(|&row| row as u32).collect();
    Ok(Arc::new(View { source: Arc::clone(source), rows, standardizer: standardizer.cloned() }))
}

/// Some rows of a source that stays where it is.
#[derive(Debug)]
struct View {
    source: Arc<dyn RowSource>,
    rows: Vec<u32>,
    standardizer: Option<Standardizer>,
}

impl RowSource for View {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn dim(&self) -> usize {
        self.source.dim()
    }

    fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError> {
        let there: Vec<usize> = rows.iter().map(|&row| self.rows[row] as usize).collect();
        self.source.read_rows(&there, out)?;
        let Some(standardizer) = &self.standardizer else { return Ok(()) };
        standardizer.apply(out, self.dim()).map_err(|error| match error {
            // The row of the source, not that of the batch.
            DataError::NonFinite { place, row, column, value } => {
                DataError::NonFinite { place, row: there[row], column, value }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Matrix {
        Matrix::new("m", (0..12).map(|v| (v % 5) as f32).collect(), 3, None).unwrap()
    }

    #[test]
    fn dense_sparse_and_views_give_the_same_rows() {
        let dense: Arc<dyn RowSource> = Arc::new(matrix());
        let sparse: Arc<dyn RowSource> = Arc::new(Csr::from_dense("m", &matrix()).unwrap());
        let centred = Standardizer::fit(&matrix().values, 3).unwrap();
        let scaled = Standardizer::fit_scale(&*sparse, &[0, 1, 2, 3]).unwrap();
        for standardizer in [None, Some(&centred), Some(&scaled)] {
            let rows = [3, 0, 2];
            let read = |source: &Arc<dyn RowSource>| {
                let part = gather(source, &rows, standardizer).unwrap();
                let mut out = vec![0.0; 6];
                part.read_rows(&[2, 1], &mut out).unwrap();
                (out, part.sparse().is_some())
            };
            let view: Arc<dyn RowSource> =
                Arc::new(View { source: Arc::clone(&dense), rows: vec![0, 1, 2, 3], standardizer: None });
            let (from_dense, _) = read(&dense);
            assert_eq!(read(&view), (from_dense.clone(), false));
            assert_eq!(read(&sparse), (from_dense, standardizer.is_none_or(|s| !s.is_centred())));
        }
    }

    #[test]
    fn blocks_come_in_order_and_hold_every_row() {
        let wide = Matrix::new("w", (0..5 * BLOCK / 2).map(|v| v as f32).collect(), BLOCK / 2, None).unwrap();
        let mut seen = Vec::new();
        for_each_block::<DataError>(&wide, &mut (0..5).rev(), |first, values| {
            seen.push((first, values.len() / wide.dim, values[0]));
            Ok(())
        })
        .unwrap();
        let start = |row: usize| (row * wide.dim) as f32;
        assert_eq!(seen, [(0, 2, start(4)), (2, 2, start(2)), (4, 1, start(0))]);
    }

    #[test]
    fn a_view_names_the_row_of_its_source() {
        let tiny = Standardizer::fit(&[0.0, 1e-30], 1).unwrap();
        let big: Arc<dyn RowSource> = Arc::new(Matrix::new("m", vec![0.0, 0.0, 1e30], 1, None).unwrap());
        let view = View { source: big, rows: vec![2, 0], standardizer: Some(tiny) };
        assert!(view.read_rows(&[1, 0], &mut [0.0; 2]).unwrap_err().to_string().contains("row 2, column 0"));
    }
}
