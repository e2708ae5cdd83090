//! Embeddings and scores of rows, block by block.

use crate::attach::read;
use crate::data::Input;
use crate::error::Result;
use crate::head::Head;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use keener_data::RowSource;

/// Rows computed at a time, at most.
const ROWS: usize = 1024;

/// Values of a block: fewer rows are computed at a time where they are wide.
const VALUES: usize = 1 << 22;

fn by_blocks(
    head: &Head,
    dim: usize,
    rows: &mut dyn Iterator<Item = usize>,
    mut input: impl FnMut(&[usize], &Device) -> Result<Input>,
    f: impl Fn(&Head, Input) -> Result<Tensor<2>>,
) -> Result<Vec<f32>> {
    if dim != head.dim() || dim == 0 {
        return Err(keener::Error::shape("features", &[dim], format!("rows of {} features", head.dim())).into());
    }
    let devices: Vec<Device> = head.devices();
    let device = devices.first().cloned().unwrap_or_else(Device::flex).without_autodiff();
    let head = head.clone().valid();
    let height = (VALUES / dim).clamp(1, ROWS);
    let (mut found, mut block) = (Vec::new(), Vec::with_capacity(height));
    loop {
        block.clear();
        block.extend((&mut *rows).take(height));
        if block.is_empty() {
            return Ok(found);
        }
        found.extend(read(f(&head, input(&block, &device)?)?, "the result")?);
    }
}

fn of_slice(head: &Head, features: &[f32], f: impl Fn(&Head, Input) -> Result<Tensor<2>>) -> Result<Vec<f32>> {
    let dim = head.dim();
    if dim == 0 || !features.len().is_multiple_of(dim) {
        return Err(keener::Error::shape("features", &[features.len()], format!("rows of {dim} features")).into());
    }
    let input = |rows: &[usize], device: &Device| {
        let block = features[rows[0] * dim..(rows[0] + rows.len()) * dim].to_vec();
        Ok(Tensor::from_data(burn::tensor::TensorData::new(block, [rows.len(), dim]), device).into())
    };
    by_blocks(head, dim, &mut (0..features.len() / dim), input, f)
}

fn of_source(
    head: &Head,
    source: &dyn RowSource,
    rows: &mut dyn Iterator<Item = usize>,
    compact: bool,
    f: impl Fn(&Head, Input) -> Result<Tensor<2>>,
) -> Result<Vec<f32>> {
    let input = |rows: &[usize], device: &Device| Input::read(source, rows, compact, device);
    by_blocks(head, source.dim(), rows, input, f)
}

/// Embeddings `[n, e]` of features `[n, d]`, row-major: see [`Head::embed`].
///
/// # Errors
/// Features that are not rows of the head's width.
pub fn embed(head: &Head, features: &[f32]) -> Result<Vec<f32>> {
    of_slice(head, features, |head, x| Ok(head.embed_input(x)))
}

/// Scores `[n, N]` of features `[n, d]`, row-major: see [`Head::scores`].
///
/// # Errors
/// As [`embed`], and for heads without classes.
pub fn scores(head: &Head, features: &[f32]) -> Result<Vec<f32>> {
    of_slice(head, features, |head, x| head.score_input(x))
}

/// Embeddings of some rows of a source, read block by block; sparse rows are not filled up where the head has a first
/// layer.
///
/// # Errors
/// As [`embed`], and what reading raises.
pub fn embed_rows(head: &Head, source: &dyn RowSource, rows: impl IntoIterator<Item = usize>) -> Result<Vec<f32>> {
    of_source(head, source, &mut rows.into_iter(), head.has_layers(), |head, x| Ok(head.embed_input(x)))
}

/// Scores of some rows of a source: see [`embed_rows`].
///
/// # Errors
/// As [`scores`], and what reading raises.
pub fn score_rows(head: &Head, source: &dyn RowSource, rows: impl IntoIterator<Item = usize>) -> Result<Vec<f32>> {
    of_source(head, source, &mut rows.into_iter(), head.reads_columns(), |head, x| head.score_input(x))
}
