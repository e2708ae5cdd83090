//! What is trained on: labelled rows, and batches of them as tensors.

use crate::error::Result;
use burn::tensor::{Device, Int, Tensor, TensorData};
use keener_data::{Csr, DataError, RowSource, for_each_block};

/// Labelled rows: features `[n, dim]` and a class below `classes` for each.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    features: Features<'a>,
    pub(crate) labels: &'a [u32],
    pub(crate) classes: usize,
    identity: Option<u64>,
    pub(crate) bags: Option<BagsOf<'a>>,
}

/// Bags of rows and their responses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BagsOf<'a> {
    pub(crate) of_rows: &'a [u32],
    pub(crate) responses: &'a [f32],
    pub(crate) columns: usize,
}

#[derive(Clone, Copy, Debug)]
enum Features<'a> {
    Dense { values: &'a [f32], dim: usize },
    Source(&'a dyn RowSource),
}

impl<'a> Labelled<'a> {
    /// Rows in memory, row-major; shapes, labels and values are checked.
    ///
    /// # Errors
    /// Shapes that do not fit, no rows at all, labels outside the classes, features that are not finite.
    pub fn new(features: &'a [f32], dim: usize, labels: &'a [u32], classes: usize) -> Result<Self> {
        if dim == 0 || labels.is_empty() || features.len() != labels.len() * dim {
            let expected = format!("{} rows of {dim} features, at least one of each", labels.len());
            return Err(keener::Error::shape("features", &[features.len()], expected).into());
        }
        let data =
            Self { features: Features::Dense { values: features, dim }, labels, classes, identity: None, bags: None };
        data.check_labels()?;
        if let Some(at) = features.iter().position(|f| !f.is_finite()) {
            let (value, row, column) = (features[at].to_string(), at / dim, at % dim);
            return Err(keener::Error::NonFinite { what: "features".into(), value, row, column }.into());
        }
        Ok(data)
    }

    /// Rows wherever they are. Dense rows in memory are checked as by [`Labelled::new`]; the values of others are not
    /// looked at ([`keener_data::Samples::prepare`] has seen them).
    ///
    /// # Errors
    /// As [`Labelled::new`].
    pub fn from_source(source: &'a dyn RowSource, labels: &'a [u32], classes: usize) -> Result<Self> {
        if let Some(values) = source.dense() {
            return Self::new(values, source.dim(), labels, classes);
        }
        if source.dim() == 0 || labels.is_empty() || source.rows() != labels.len() {
            let expected = format!("{} rows of features, at least one of each", labels.len());
            return Err(keener::Error::shape("features", &[source.rows(), source.dim()], expected).into());
        }
        let data = Self { features: Features::Source(source), labels, classes, identity: None, bags: None };
        data.check_labels()?;
        Ok(data)
    }

    /// Gives the rows a number by which a checkpoint knows them again, instead of a pass over all values at the first
    /// checkpoint: equal rows and labels must have equal numbers, others should not.
    #[must_use]
    pub fn identified(mut self, identity: u64) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Adds the bag of each row, `0..M`, and the response of each bag `[M, classes]`: objectives over bags then read these
    /// and not the classes.
    ///
    /// # Errors
    /// Bags without rows or without a response, shapes that do not fit, responses that are not finite.
    pub fn with_bags(mut self, of_rows: &'a [u32], responses: &'a [f32]) -> Result<Self> {
        let (rows, columns) = (self.rows(), self.classes);
        if of_rows.len() != rows {
            return Err(keener::Error::shape("bags", &[of_rows.len()], format!("[{rows}], one a row")).into());
        }
        if columns == 0 || !responses.len().is_multiple_of(columns) {
            let expected = format!("[M, {columns}], a number a bag and column");
            return Err(keener::Error::shape("responses of bags", &[responses.len()], expected).into());
        }
        keener::segments::Bags::new(of_rows, responses.len() / columns)?;
        if let Some(at) = responses.iter().position(|y| !y.is_finite()) {
            let (value, row, column) = (responses[at].to_string(), at / columns, at % columns);
            return Err(keener::Error::NonFinite { what: "responses of bags".into(), value, row, column }.into());
        }
        self.bags = Some(BagsOf { of_rows, responses, columns });
        Ok(self)
    }

    /// Rows in memory without classes of their own: the bag of each, and the response of each bag `[M, columns]`.
    ///
    /// # Errors
    /// As [`Labelled::new`] and [`Labelled::with_bags`].
    pub fn bags(
        features: &'a [f32],
        dim: usize,
        of_rows: &'a [u32],
        responses: &'a [f32],
        columns: usize,
    ) -> Result<Self> {
        // Shapes and values are checked as those of labelled rows.
        let rows = Self::new(features, dim, of_rows, u32::MAX as usize)?;
        Self { labels: &[], classes: columns, ..rows }.with_bags(of_rows, responses)
    }

    fn rows(&self) -> usize {
        match self.features {
            Features::Dense { values, dim } => values.len() / dim.max(1),
            Features::Source(source) => source.rows(),
        }
    }

    fn check_labels(&self) -> Result<()> {
        let (labels, classes) = (self.labels, self.classes);
        match labels.iter().position(|l| *l as usize >= classes) {
            Some(row) => Err(keener::Error::Label { label: i64::from(labels[row]), row, classes }.into()),
            None => Ok(()),
        }
    }

    /// Features a row.
    pub fn dim(&self) -> usize {
        match self.features {
            Features::Dense { dim, .. } => dim,
            Features::Source(source) => source.dim(),
        }
    }

    /// A batch; sparse rows without the columns that are zero in all of them, where the reader allows it (`compact`).
    pub(crate) fn batch(&self, rows: &[u32], compact: bool, device: &Device) -> Result<Input> {
        let Features::Dense { values, dim } = self.features else {
            let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
            return self.source_batch(&rows, compact, device);
        };
        let mut batch = Vec::with_capacity(rows.len() * dim);
        for row in rows {
            let start = *row as usize * dim;
            batch.extend_from_slice(&values[start..start + dim]);
        }
        Ok(Tensor::from_data(TensorData::new(batch, [rows.len(), dim]), device).into())
    }

    fn source_batch(&self, rows: &[usize], compact: bool, device: &Device) -> Result<Input> {
        match self.features {
            Features::Source(source) => Input::read(source, rows, compact, device),
            Features::Dense { values, dim } => {
                let batch: Vec<f32> =
                    rows.iter().flat_map(|row| &values[row * dim..(row + 1) * dim]).copied().collect();
                Ok(Tensor::from_data(TensorData::new(batch, [rows.len(), dim]), device).into())
            }
        }
    }

    /// FNV-1a over shape, labels and features: tells whether a checkpoint belongs to these data.
    pub(crate) fn fingerprint(&self) -> Result<u64> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        let mut hash = Fnv::default();
        hash.words([self.dim() as u32, self.classes as u32]);
        hash.words(self.labels.iter().copied());
        if let Some(bags) = &self.bags {
            hash.words(bags.of_rows.iter().copied());
            hash.words(bags.responses.iter().map(|y| y.to_bits()));
        }
        match self.features {
            Features::Dense { values, .. } => hash.words(values.iter().map(|v| v.to_bits())),
            Features::Source(source) => match source.sparse() {
                Some(csr) => {
                    hash.words(csr.indptr().iter().map(|start| *start as u32));
                    hash.words(csr.indices().iter().copied());
                    hash.words(csr.values().iter().map(|v| v.to_bits()));
                }
                None => for_each_block(source, &mut (0..source.rows()), |_, values| {
                    hash.words(values.iter().map(|v| v.to_bits()));
                    Ok::<_, DataError>(())
                })?,
            },
        }
        Ok(hash.0)
    }
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn words(&mut self, words: impl IntoIterator<Item = u32>) {
        self.0 = words.into_iter().fold(self.0, |h, word| (h ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3));
    }
}

/// Rows as a tensor: all columns, or those alone in which some row is not zero.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// `[B, d]`, or `[B, k]` with `columns`.
    pub(crate) x: Tensor<2>,
    /// Which of the `d` columns the `k` of `x` are.
    pub(crate) columns: Option<Tensor<1, Int>>,
}

impl From<Tensor<2>> for Input {
    fn from(x: Tensor<2>) -> Self {
        Self { x, columns: None }
    }
}

impl Input {
    /// Reads rows of a source.
    ///
    /// A product of sparse rows with weights needs the columns alone that occur: `x W = x_k W_k`. So a sparse batch is
    /// filled up over these, and the weights are gathered there.
    pub(crate) fn read(source: &dyn RowSource, rows: &[usize], compact: bool, device: &Device) -> Result<Self> {
        if let Some(csr) = source.sparse().filter(|_| compact)
            && let Some((columns, values)) = compacted(csr, rows)
        {
            let (width, height) = (columns.len(), rows.len());
            let x = Tensor::from_data(TensorData::new(values, [height, width]), device);
            let columns = Tensor::from_data(TensorData::new(columns, [width]), device);
            return Ok(Self { x, columns: Some(columns) });
        }
        let dim = source.dim();
        let mut values = vec![0.0; rows.len() * dim];
        source.read_rows(rows, &mut values)?;
        Ok(Tensor::from_data(TensorData::new(values, [rows.len(), dim]), device).into())
    }

    /// Weights `[out, d]` of the columns that are there, `[out, k]`.
    pub(crate) fn weights(&self, weights: Tensor<2>) -> Tensor<2> {
        match &self.columns {
            Some(columns) => weights.select(1, columns.clone()),
            None => weights,
        }
    }
}

/// The columns in which some of the rows have a value, and the rows filled up over these; nothing where they would be
/// more than half of all columns.
fn compacted(csr: &Csr, rows: &[usize]) -> Option<(Vec<i32>, Vec<f32>)> {
    let mut columns: Vec<u32> = rows.iter().flat_map(|&row| csr.row(row).0).copied().collect();
    columns.sort_unstable();
    columns.dedup();
    // Burn's tensors count columns in 32 bits with a sign.
    if 2 * columns.len() >= csr.dim() || columns.last().is_some_and(|last| *last > i32::MAX as u32) {
        return None;
    }
    if columns.is_empty() {
        // Rows of zeros alone: one column stands for all.
        columns.push(0);
    }
    let width = columns.len();
    let mut values = vec![0.0; rows.len() * width];
    for (&row, out) in rows.iter().zip(values.chunks_exact_mut(width)) {
        let (indices, stored) = csr.row(row);
        let mut at = 0;
        for (&column, &value) in indices.iter().zip(stored) {
            at += columns[at..].partition_point(|c| *c < column);
            out[at] = value;
        }
    }
    Some((columns.into_iter().map(|c| c as i32).collect(), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_batches_hold_the_columns_that_occur() {
        let csr = Csr::new("c", 9, vec![0, 2, 3, 3, 5], vec![1, 7, 7, 0, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let device = Device::flex();
        let numbers = |t: Tensor<2>| t.into_data().try_into_vec::<f32>().unwrap();
        let input = Input::read(&csr, &[1, 0, 2], true, &device).unwrap();
        assert_eq!(input.x.dims(), [3, 2]);
        assert_eq!(numbers(input.x.clone()), [0.0, 3.0, 1.0, 2.0, 0.0, 0.0]);
        let weights = Tensor::<2>::from_data(TensorData::new((0..18).map(|w| w as f32).collect(), [2, 9]), &device);
        let compact = numbers(input.x.clone().matmul(input.weights(weights.clone()).transpose()));
        let full = Input::read(&csr, &[1, 0, 2], false, &device).unwrap();
        assert_eq!(full.x.dims(), [3, 9]);
        assert_eq!(numbers(full.x.clone().matmul(full.weights(weights).transpose())), compact);
        assert_eq!(Input::read(&csr, &[2], true, &device).unwrap().x.dims(), [1, 1]);
        assert!(compacted(&csr, &[0, 3]).is_some() && compacted(&csr.select(&[0, 3, 0]), &[0, 1]).is_some());
        let narrow = Csr::new("n", 2, vec![0, 1], vec![1], vec![1.0]).unwrap();
        assert!(compacted(&narrow, &[0]).is_none());
    }
}
