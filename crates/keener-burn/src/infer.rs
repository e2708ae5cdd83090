//! Embeddings and scores of features in memory, batch by batch.

use crate::attach::read;
use crate::error::Result;
use crate::head::Head;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

/// Rows computed at a time.
const ROWS: usize = 1024;

fn by_batches(head: &Head, features: &[f32], f: impl Fn(&Head, Tensor<2>) -> Result<Tensor<2>>) -> Result<Vec<f32>> {
    let dim = head.dim();
    if dim == 0 || !features.len().is_multiple_of(dim) {
        return Err(keener::Error::shape("features", &[features.len()], format!("rows of {dim} features")).into());
    }
    let devices: Vec<Device> = head.devices();
    let device = devices.first().cloned().unwrap_or_else(Device::flex).without_autodiff();
    let head = head.clone().valid();
    let mut found = Vec::new();
    for block in features.chunks(ROWS * dim) {
        let x = Tensor::<2>::from_data(TensorData::new(block.to_vec(), [block.len() / dim, dim]), &device);
        found.extend(read(f(&head, x)?, "the result")?);
    }
    Ok(found)
}

/// Embeddings `[n, e]` of features `[n, d]`, row-major: see [`Head::embed`].
///
/// # Errors
/// Features that are not rows of the head's width.
pub fn embed(head: &Head, features: &[f32]) -> Result<Vec<f32>> {
    by_batches(head, features, |head, x| Ok(head.embed(x)))
}

/// Scores `[n, N]` of features `[n, d]`, row-major: see [`Head::scores`].
///
/// # Errors
/// As [`embed`], and for heads without classes.
pub fn scores(head: &Head, features: &[f32]) -> Result<Vec<f32>> {
    by_batches(head, features, |head, x| head.scores(x))
}
