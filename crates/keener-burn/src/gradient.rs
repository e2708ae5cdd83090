//! Transformations of gradients between backward pass and optimiser, and what gradients say about training.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use keener::transform::OrthogonalConfig;
use serde::{Deserialize, Serialize};

/// What becomes of the gradient of each tensor before the optimiser sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientTransform {
    /// Nothing.
    #[default]
    Plain,
    /// Its part along the tensor is removed, and the rest brought back to its length (Prieto et al., Grokking at the Edge of Numerical
    /// Stability, 2501.04697); see [`keener::transform::orthogonalize`]. The learned scalars of an objective are left alone.
    Orthogonal,
}

/// Removes from every gradient of a burn module the part along its parameter; put it before any burn optimiser:
/// `let gradients = orthogonal_gradients(&model, gradients, &config); model = optimizer.step(rate, model, gradients);`
///
/// As [`keener::transform::orthogonalize`], with tensor operations on the device where the tensors are. Gradients that are parallel
/// to their parameter become 0; parameters of one element and those without a gradient are left alone.
///
/// ```
/// use burn::module::Param;
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Tensor};
/// use keener_burn::orthogonal_gradients;
///
/// let w = Param::from_tensor(Tensor::<1>::from_floats([3.0, 4.0], &Device::flex().autodiff()));
/// let loss = (w.val() * Tensor::<1>::from_floats([1.0, 0.0], &Device::flex().autodiff())).sum();
/// let gradients = GradientsParams::from_grads(loss.backward(), &w);
/// let gradients = orthogonal_gradients(&w, gradients, &Default::default());
/// let g: Vec<f32> = gradients.get::<1>(w.id).unwrap().into_data().try_into_vec().unwrap();
/// assert!((3.0 * g[0] + 4.0 * g[1]).abs() < 1e-6 && (g[0].hypot(g[1]) - 1.0).abs() < 1e-6);
/// ```
pub fn orthogonal_gradients<M: Module>(
    module: &M,
    gradients: GradientsParams,
    config: &OrthogonalConfig,
) -> GradientsParams {
    let mut visitor = Visitor { gradients, config: *config };
    module.visit(&mut visitor);
    visitor.gradients
}

struct Visitor {
    gradients: GradientsParams,
    config: OrthogonalConfig,
}

/// What is left of a parallel gradient by rounding, as part of it.
const ROUNDING: f32 = 1e-6;

impl ModuleVisitor for Visitor {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weight = param.val().inner();
        if weight.dims().iter().product::<usize>() < 2 {
            return;
        }
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let eps = self.config.eps as f32;
        let n = weight.dims().iter().product::<usize>();
        let (w, g) = (weight.reshape([1, n]), gradient.clone().reshape([1, n]));
        let inner = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum_dim(1);
        let along = inner(&w, &g) / (inner(&w, &w) + eps);
        let rest = g.clone() - w * along;
        let (before, left) = (inner(&g, &g).sqrt(), inner(&rest, &rest).sqrt());
        let parallel = left.clone().lower_equal(before.clone() * ROUNDING);
        let factor = match self.config.rescale {
            true => before / (left + eps),
            false => left.ones_like(),
        };
        let rest = rest * factor.mask_fill(parallel, 0.0);
        self.gradients.register(param.id, rest.reshape(gradient.dims()));
    }
}

/// What training looks like from inside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Share of the batch's rows whose softmax has collapsed in f32, so that loss and gradient on the predicted class are exactly 0;
    /// none where the head has no class scores. See [`keener::metrics::collapse::softmax_collapse`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapsed: Option<f64>,
    /// Cosine of the descent direction and the weights: near 1, training only scales the weights up. None where the gradient is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<f64>,
    /// Length of the gradient.
    pub gradient: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadConfig;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn every_tensor_is_projected_as_the_core_does_it() {
        let device = Device::flex().autodiff();
        let head = HeadConfig::Linear { hidden: Some(6), embedding: None, bias: true }.init(5, 4, &[], 2, &device);
        let head = head.unwrap();
        let x: Vec<f32> = (0..35).map(|k| (k as f32 * 0.7).sin()).collect();
        let x = Tensor::<2>::from_data(TensorData::new(x, [7, 5]), &device);
        let loss = || head.scores(x.clone()).unwrap().powi_scalar(2).sum();
        let raw = GradientsParams::from_grads(loss().backward(), &head);
        for rescale in [true, false] {
            let config = OrthogonalConfig { rescale, ..Default::default() };
            let gradients = GradientsParams::from_grads(loss().backward(), &head);
            let found = orthogonal_gradients(&head, gradients, &config);
            let weights = &head.classes.as_ref().unwrap().weights;
            let values = |t: Tensor<2>| t.into_data().try_into_vec::<f32>().unwrap();
            let mut expected = values(raw.get::<2>(weights.id).unwrap());
            keener::transform::orthogonalize(&values(weights.val().inner()), &mut expected, &config).unwrap();
            let found = values(found.get::<2>(weights.id).unwrap());
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs())));
        }
    }
}
