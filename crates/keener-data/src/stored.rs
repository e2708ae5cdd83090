//! Dense rows that stay on disk: the array of a `.npy` or `.safetensors` file, or a scratch file.

use std::fs::File;
use std::io;

use crate::error::DataError;
use crate::formats::Values;
use crate::formats::layout::Layout;
use crate::labels::{RawLabels, whole};
use crate::mapping::Bytes;
use crate::source::RowSource;

/// Rows on disk.
#[derive(Debug)]
pub(crate) struct StoredRows {
    file: String,
    bytes: Bytes,
    layout: Layout,
    rows: usize,
    /// Numbers a row in the file.
    width: usize,
    /// Bytes of a number.
    size: usize,
    /// The columns that are features; none for all.
    columns: Option<Vec<u32>>,
}

/// Bytes of a run of rows that is decoded at a time.
const PIECE: usize = 1 << 18;

impl StoredRows {
    /// The matrix that `layout` describes in a file, which must hold all of it; about `keep` bytes of it may stay in memory.
    ///
    /// # Errors
    /// [`DataError::Size`], [`DataError::Io`]; [`DataError::Unsupported`] for what is no matrix of numbers by rows.
    pub(crate) fn new(name: &str, file: File, layout: Layout, keep: usize) -> Result<Self, DataError> {
        let failed = |source| DataError::Io { file: name.into(), source };
        let available = file.metadata().map_err(failed)?.len();
        let unsupported = |found: String, expected: &str| DataError::Unsupported {
            file: name.into(),
            at: "array".into(),
            found,
            expected: expected.into(),
        };
        let Some((rows, width)) = layout.matrix() else {
            let found = format!("shape {:?} of {:?}", layout.shape, layout.dtype);
            return Err(unsupported(found, "rows of numbers"));
        };
        if layout.column_major && rows > 1 && width > 1 {
            let expected =
                "an array by rows (`numpy.ascontiguousarray`), to read rows of a file larger than the memory";
            return Err(unsupported("an array by columns (Fortran order)".into(), expected));
        }
        let end = layout.bytes().and_then(|bytes| bytes.checked_add(layout.offset));
        let size = layout.dtype.size().unwrap_or(0);
        if size == 0 || rows > u32::MAX as usize || end.is_none_or(|end| end as u64 > available) {
            return Err(layout.size_error(name, "array", available.saturating_sub(layout.offset as u64)));
        }
        Ok(Self { file: name.into(), bytes: Bytes::new(file, keep), layout, rows, width, size, columns: None })
    }

    /// Takes some columns alone as features.
    pub(crate) fn with_columns(mut self, columns: &[usize]) -> Self {
        let all = columns.len() == self.width && columns.iter().enumerate().all(|(at, column)| at == *column);
        self.columns = (!all).then(|| columns.iter().map(|&column| column as u32).collect());
        self
    }

    /// The whole file, where it is mapped.
    pub(crate) fn mapped(&self) -> Option<&[u8]> {
        self.bytes.mapped()
    }

    /// The labels in one column of the file.
    ///
    /// # Errors
    /// [`DataError::LabelValue`] for what is not whole, and what reading raises.
    pub(crate) fn labels(&self, column: usize) -> Result<RawLabels, DataError> {
        let (line, height) = (self.width * self.size, self.height());
        let (mut found, mut buffer) = (Vec::with_capacity(self.rows), Vec::new());
        for first in (0..self.rows).step_by(height) {
            let count = height.min(self.rows - first);
            let mut cells = Vec::with_capacity(count * self.size);
            let read = self.bytes.with(self.start(first), count * line, &mut buffer, |bytes| {
                let cell = column * self.size..(column + 1) * self.size;
                bytes.chunks_exact(line).for_each(|row| cells.extend_from_slice(&row[cell.clone()]));
            });
            read.map_err(|error| self.failed(error))?;
            let piece = Layout { shape: vec![count], offset: 0, column_major: false, ..self.layout.clone() };
            let bad = |(row, value): (usize, f64)| {
                whole(value).ok_or_else(|| DataError::LabelValue {
                    file: self.file.clone(),
                    row: first + row,
                    value: value.to_string(),
                    expected: "whole numbers (a regression target is not a class)".into(),
                })
            };
            match piece.decode(&self.file, "array", &cells)?.values {
                Values::U8(values) => found.extend(values.into_iter().map(i64::from)),
                Values::I64(values) => found.extend(values),
                Values::F32(values) => {
                    for pair in values.into_iter().map(f64::from).enumerate() {
                        found.push(bad(pair)?);
                    }
                }
                Values::F64(values) => {
                    for pair in values.into_iter().enumerate() {
                        found.push(bad(pair)?);
                    }
                }
                Values::Text(_) => {}
            }
        }
        Ok(RawLabels::Integers(found))
    }

    fn failed(&self, source: io::Error) -> DataError {
        DataError::Io { file: self.file.clone(), source }
    }

    /// Rows that are decoded at a time.
    fn height(&self) -> usize {
        (PIECE / (self.width * self.size)).max(1)
    }

    /// Where row `row` begins.
    fn start(&self, row: usize) -> u64 {
        self.layout.offset as u64 + row as u64 * (self.width * self.size) as u64
    }

    /// Decodes neighbouring rows from row `first` on.
    fn run(&self, first: usize, out: &mut [f32], buffer: &mut Vec<u8>, whole: &mut Vec<f32>) -> Result<(), DataError> {
        let (dim, height) = (self.dim(), self.height());
        for (k, out) in out.chunks_mut(height * dim).enumerate() {
            let count = out.len() / dim;
            let length = count * self.width * self.size;
            let read = self.bytes.with(self.start(first + k * height), length, buffer, |bytes| match &self.columns {
                None => self.layout.to_f32(bytes, out),
                Some(columns) => {
                    whole.resize(count * self.width, 0.0);
                    self.layout.to_f32(bytes, whole);
                    for (row, out) in whole.chunks_exact(self.width).zip(out.chunks_exact_mut(dim)) {
                        columns.iter().zip(out).for_each(|(&column, out)| *out = row[column as usize]);
                    }
                }
            });
            read.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }
}

impl RowSource for StoredRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.columns.as_ref().map_or(self.width, Vec::len)
    }

    fn read_rows(&self, rows: &[usize], out: &mut [f32]) -> Result<(), DataError> {
        let dim = self.dim();
        assert_eq!(out.len(), rows.len() * dim, "the buffer holds the rows");
        let (mut buffer, mut whole, mut at) = (Vec::new(), Vec::new(), 0);
        // Neighbouring rows are read at one go.
        for run in rows.chunk_by(|&a, &b| b == a + 1) {
            assert!(run[run.len() - 1] < self.rows, "row {} of {}", run[run.len() - 1], self.rows);
            self.run(run[0], &mut out[at * dim..(at + run.len()) * dim], &mut buffer, &mut whole)?;
            at += run.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::formats::layout::Dtype;

    fn layout(dtype: Dtype, offset: usize, shape: [usize; 2]) -> Layout {
        Layout { dtype, big_endian: false, column_major: false, shape: shape.to_vec(), offset }
    }

    fn stored(head: usize, data: &[u8], layout: Layout) -> Result<StoredRows, DataError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0xee; head]).unwrap();
        file.write_all(data).unwrap();
        StoredRows::new("f", file, layout, 1 << 20)
    }

    #[test]
    fn rows_come_in_any_order_with_chosen_columns() {
        let data: Vec<u8> = (0..400_000u32).flat_map(|v| (v as f32).to_le_bytes()).collect();
        let rows = stored(16, &data, layout(Dtype::F32, 16, [100_000, 4])).unwrap();
        let order: Vec<usize> = [99_999, 0, 1, 2, 2, 7].into();
        let mut out = vec![0.0; 6 * 4];
        rows.read_rows(&order, &mut out).unwrap();
        let expected: Vec<f32> = order.iter().flat_map(|r| (0..4).map(move |c| (4 * r + c) as f32)).collect();
        assert_eq!(out, expected);
        let rows = rows.with_columns(&[3, 1]);
        let mut out = vec![0.0; 4];
        rows.read_rows(&[5, 99_999], &mut out).unwrap();
        assert_eq!(out, [23.0, 21.0, 399_999.0, 399_997.0]);
        let mut all = vec![0.0; 200_000];
        rows.read_rows(&(0..100_000).collect::<Vec<_>>(), &mut all).unwrap();
        assert!(all.chunks_exact(2).enumerate().all(|(r, row)| row == [(4 * r + 3) as f32, (4 * r + 1) as f32]));
        assert_eq!(rows.labels(0).unwrap(), RawLabels::Integers((0..100_000).map(|r| 4 * r).collect()));
    }

    #[test]
    fn labels_are_whole_in_any_type() {
        let halves = stored(0, &[0, 0, 0, 0, 0, 0, 0, 0x3f], layout(Dtype::F32, 0, [2, 1])).unwrap();
        let error = halves.labels(0).unwrap_err().to_string();
        assert!(error.contains("label 0.5 at row 1"), "{error}");
        let big = i64::MAX.to_le_bytes();
        let exact = stored(0, &big, layout(Dtype::I64, 0, [1, 1])).unwrap();
        assert_eq!(exact.labels(0).unwrap(), RawLabels::Integers(vec![i64::MAX]));
    }

    #[test]
    fn files_that_end_early_are_refused() {
        for (offset, shape) in [(0, [3, 1]), (1, [2, 1]), (usize::MAX, [1, 1]), (0, [usize::MAX / 2, 9]), (0, [1, 0])] {
            let error = stored(0, &[0; 8], layout(Dtype::F32, offset, shape)).unwrap_err().to_string();
            assert!(error.contains("f: array"), "{error}");
        }
        let turned = Layout { column_major: true, ..layout(Dtype::U8, 0, [2, 4]) };
        assert!(stored(0, &[0; 8], turned).unwrap_err().to_string().contains("ascontiguousarray"));
    }
}
