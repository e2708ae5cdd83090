//! Local descriptors: matched triplets and generalised-mean pooling.

use super::super::Outputs;
use super::super::case::{Array, Case};
use crate::error::{Error, Result};
use crate::matching::{GemPool, LocalTriplet};

/// Three axes, or an error that names the array.
fn three_axes(name: &str, array: &Array) -> Result<[usize; 3]> {
    array.shape[..].try_into().map_err(|_| Error::shape(format!("input `{name}`"), &array.shape, "three axes"))
}

/// `margin`, `weight`, `ratio`; raw `descriptors` `[T, K, D]`, `attention` `[K]` of image 1 → `loss`, `grad_descriptors`, and the
/// matches as `query_index` and `positive_index`.
pub(super) fn local_triplet(case: &Case) -> Result<Outputs> {
    let loss =
        LocalTriplet { margin: case.number("margin")?, weight: case.number("weight")?, ratio: case.number("ratio")? };
    let descriptors = case.input("descriptors")?;
    let shape = three_axes("descriptors", descriptors)?;
    let value = loss.evaluate(&descriptors.data, shape, &case.input("attention")?.data)?;
    Ok(Outputs::from([
        ("loss".into(), vec![value.loss]),
        ("grad_descriptors".into(), value.gradient),
        ("query_index".into(), value.matches.iter().map(|m| m.query as f64).collect()),
        ("positive_index".into(), value.matches.iter().map(|m| m.positive as f64).collect()),
    ]))
}

/// `p`, `eps`; `x` `[B, C, N]`, `grad_output` `[B, C]` → `y` `[B, C]`, `grad_x`.
pub(super) fn gem_pool(case: &Case) -> Result<Outputs> {
    let pool = GemPool { p: case.number("p")?, eps: case.number("eps")? };
    let x = case.input("x")?;
    let [.., positions] = three_axes("x", x)?;
    Ok(Outputs::from([
        ("y".into(), pool.forward(&x.data, positions)?),
        ("grad_x".into(), pool.backward(&x.data, positions, &case.input("grad_output")?.data)?),
    ]))
}
