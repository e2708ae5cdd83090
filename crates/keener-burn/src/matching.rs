//! Pooling and matching of local descriptors as differentiable operations: values and gradients of [`keener::matching`].

use crate::attach::{self, Numbers, Operand, Operands, PullBack};
use crate::error::{Error, Result};
use burn::tensor::{Tensor, TensorData};
use keener::matching::{GemPool, LocalTriplet};
use std::sync::Arc;

fn need_flex<const D: usize>(x: &Tensor<D>, what: &str) -> Result<()> {
    if attach::is_flex(&x.device().without_autodiff()) || !x.is_tracked() {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("{what} with gradients on {:?}", x.device()),
        hint: "move the features to Flex, or detach them".into(),
    })
}

/// Generalised-mean pooling of local features `[B, C, N]` to `[B, C]`; see [`GemPool`].
///
/// # Errors
/// Parameters out of range, non-finite features, features with gradients on a device other than Flex.
pub fn gem_pool(features: Tensor<3>, pool: GemPool) -> Result<Tensor<2>> {
    let [batch, channels, positions] = features.dims();
    need_flex(&features, "generalised-mean pooling")?;
    let rows = features.reshape([batch * channels, positions]);
    let numbers = Numbers::of(&rows, "features")?;
    let device = rows.device().without_autodiff();
    let pooled = pool.forward(numbers.as_slice(), positions)?;
    let value = Tensor::from_data(TensorData::new(pooled, [batch * channels]), &device);
    let numbers = Arc::new(numbers);
    let pull: PullBack = Arc::new(move |upstream, wanted| {
        let mut out: Operands = Default::default();
        if wanted[0] {
            let device = upstream.device();
            // Everything was checked on the way forward; a failure here could only be reported as NaN.
            let gradient = attach::read(upstream, "the upstream gradient")
                .ok()
                .and_then(|up| pool.backward(numbers.as_slice(), positions, &up).ok())
                .unwrap_or_else(|| vec![f32::NAN; batch * channels * positions]);
            let shape = [batch * channels, positions];
            out[0] = Some(Operand::Matrix(Tensor::from_data(TensorData::new(gradient, shape), &device)));
        }
        out
    });
    let mut inputs: Operands = Default::default();
    inputs[0] = Some(Operand::Matrix(rows));
    Ok(attach::attach(inputs, value, pull).reshape([batch, channels]))
}

/// Local triplet loss `[1]`, summed over tuples, of raw descriptors `[tuples · images, K, D]` and the attention `[tuples, K]` of each
/// tuple's positive; see [`LocalTriplet`].
///
/// # Errors
/// What [`LocalTriplet::evaluate_tuples`] refuses.
pub fn local_triplet(
    descriptors: Tensor<3>,
    tuples: usize,
    attention: Tensor<2>,
    loss: LocalTriplet,
) -> Result<Tensor<1>> {
    let [images, count, dim] = descriptors.dims();
    if tuples == 0 || !images.is_multiple_of(tuples) {
        let expected = format!("a multiple of {tuples} tuples, [tuples · images, K, D]");
        return Err(keener::Error::shape("descriptors", &[images, count, dim], expected).into());
    }
    let rows = descriptors.reshape([images * count, dim]);
    let device = rows.device().without_autodiff();
    let (numbers, weights) = (Numbers::of(&rows, "descriptors")?, Numbers::of(&attention, "attention")?);
    let shape = [tuples, images / tuples, count, dim];
    let (value, gradient) = loss.evaluate_tuples(numbers.as_slice(), shape, weights.as_slice())?;
    let value = Tensor::from_data(TensorData::new(vec![value], [1]), &device);
    let gradient = Tensor::<2>::from_data(TensorData::new(gradient, [images * count, dim]), &device);
    let (mut inputs, mut gradients): (Operands, Operands) = Default::default();
    inputs[0] = Some(Operand::Matrix(rows));
    gradients[0] = Some(Operand::Matrix(gradient));
    Ok(attach::reattach(inputs, value, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn wave(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|k| (k as f32 * 0.731 + seed).sin()).collect()
    }

    fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
        t.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn pooling_agrees_with_composed_operations() {
        let device = Device::flex().autodiff();
        let run = |composed: bool| {
            let x = Tensor::<3>::from_data(TensorData::new(wave(2 * 3 * 5, 0.2), [2, 3, 5]), &device).require_grad();
            let pooled = match composed {
                true => x.clone().clamp_min(1e-6).powf_scalar(3.0).mean_dim(2).powf_scalar(1.0 / 3.0).squeeze_dim(2),
                false => gem_pool(x.clone(), GemPool::default()).unwrap(),
            };
            let weights = Tensor::<2>::from_data(TensorData::new(wave(6, 1.0), [2, 3]), &device);
            let gradients = (pooled.clone() * weights).sum().backward();
            (values(pooled.inner()), values(x.grad(&gradients).unwrap()))
        };
        let (ours, theirs) = (run(false), run(true));
        for (a, b) in ours.0.iter().chain(&ours.1).zip(theirs.0.iter().chain(&theirs.1)) {
            assert!((a - b).abs() < 2e-6, "{a} {b}");
        }
    }

    #[test]
    fn triplets_hand_on_the_core_s_gradient() {
        let device = Device::flex().autodiff();
        let (tuples, images, count, dim) = (2, 4, 6, 5);
        let mut all = wave(tuples * images * count * dim, 0.0);
        // The positive of each tuple resembles its anchor.
        let each = count * dim;
        for t in 0..tuples {
            let start = t * images * each;
            for k in 0..each {
                all[start + each + k] = all[start + k] + 0.05 * (k as f32).cos();
            }
        }
        let attention: Vec<f32> = wave(tuples * count, 3.0).iter().map(|a| a.abs()).collect();
        let loss = LocalTriplet { margin: 1.0, ..LocalTriplet::default() };
        let (value, gradient) = loss.evaluate_tuples(&all, [tuples, images, count, dim], &attention).unwrap();
        assert!(value > 0.0);
        let x = Tensor::<3>::from_data(TensorData::new(all, [tuples * images, count, dim]), &device).require_grad();
        let a = Tensor::<2>::from_data(TensorData::new(attention, [tuples, count]), &device);
        let found = local_triplet(x.clone(), tuples, a.clone(), loss).unwrap();
        assert_eq!(found.clone().into_scalar::<f32>(), value);
        let found = values(x.grad(&(found * 2.0).backward()).unwrap());
        assert!(found.iter().zip(&gradient).all(|(a, b)| (a - 2.0 * b).abs() < 1e-6));
        assert!(local_triplet(x, 3, a, loss).unwrap_err().to_string().contains("multiple of 3 tuples"));
    }
}
