//! The bridge to burn: one differentiable operation with a pull-back closure, and the numbers of a tensor as a slice.
//!
//! The only file that touches burn's lower layer (`burn::backend`), which is why burn is pinned to one version.

use crate::error::{Error, Result};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchDevice, DispatchKindConversion, DispatchTensor, Flex, backend_extension,
};
use burn::tensor::{DType, Device, Int, Tensor};
use std::sync::Arc;

/// Number of inputs of the operation. Unused places cost next to nothing.
pub(crate) const INPUTS: usize = 7;

/// An input of the operation, or the gradient of one.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

impl Operand {
    pub(crate) fn is_tracked(&self) -> bool {
        match self {
            Self::Vector(t) => t.is_tracked(),
            Self::Matrix(t) => t.is_tracked(),
        }
    }

    /// Without its autodiff association.
    pub(crate) fn inner(self) -> Self {
        match self {
            Self::Vector(t) => Self::Vector(t.inner()),
            Self::Matrix(t) => Self::Matrix(t.inner()),
        }
    }

    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Vector(t) => t.device(),
            Self::Matrix(t) => t.device(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Vector(t) => t.dtype(),
            Self::Matrix(t) => t.dtype(),
        }
    }

    fn into_dispatch(self) -> DispatchTensor {
        match self {
            Self::Vector(t) => t.into_dispatch(),
            Self::Matrix(t) => t.into_dispatch(),
        }
    }

    /// Entry by entry product, summed to `[1]`.
    fn dot(self, other: Self) -> Option<Tensor<1>> {
        match (self, other) {
            (Self::Vector(a), Self::Vector(b)) => Some((a * b).sum()),
            (Self::Matrix(a), Self::Matrix(b)) => Some((a * b).sum()),
            _ => None,
        }
    }
}

/// What each place of the operation holds.
pub(crate) type Operands = [Option<Operand>; INPUTS];

/// From the gradient of the output (and which inputs want theirs) to the gradients of the inputs.
pub(crate) type PullBack = Arc<dyn Fn(Tensor<1>, [bool; INPUTS]) -> Operands + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Pull(PullBack);

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pull")
    }
}

#[backend_extension(Flex, Autodiff)]
pub(crate) trait Attach: Backend {
    fn attach(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        e: FloatTensor<Self>,
        f: FloatTensor<Self>,
        g: FloatTensor<Self>,
        value: FloatTensor<Self>,
        pull: Pull,
    ) -> FloatTensor<Self> {
        let _ = (a, b, c, d, e, f, g, pull);
        value
    }
}

impl Attach for Flex {}

#[derive(Debug)]
struct Node;

impl<B: Backend> Backward<B, INPUTS> for Node
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = Pull;

    fn backward(self, ops: Ops<Pull, INPUTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = Tensor::<1>::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (node, gradient) in ops.parents.into_iter().zip((ops.state.0)(upstream, wanted)) {
            let (Some(node), Some(gradient)) = (node, gradient) else { continue };
            let primitive = match gradient {
                Operand::Vector(t) => t.try_into_primitive::<B>(),
                Operand::Matrix(t) => t.try_into_primitive::<B>(),
            };
            // The pull-back computes on the backend that the operation was recorded for.
            if let Ok(primitive) = primitive {
                grads.register::<B>(node.id, primitive);
            }
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> Attach for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn attach(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        e: FloatTensor<Self>,
        f: FloatTensor<Self>,
        g: FloatTensor<Self>,
        value: FloatTensor<Self>,
        pull: Pull,
    ) -> FloatTensor<Self> {
        let nodes = [a.node(), b.node(), c.node(), d.node(), e.node(), f.node(), g.node()];
        match Backward::<B, INPUTS>::prepare::<C>(Node, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(pull, value.into_primitive()),
            OpsKind::UnTracked(prepared) => prepared.finish(value.into_primitive()),
        }
    }
}

/// Whether tensors of this device are slices in this process's memory.
pub(crate) fn is_flex(device: &Device) -> bool {
    matches!(device.as_dispatch().clone().inner(), DispatchDevice::Flex(_))
}

/// The differentiable operation: `value` (computed outside any graph) becomes a function of `inputs` whose derivative is
/// `pull`. For devices where [`is_flex`] holds; others take [`reattach`].
pub(crate) fn attach(inputs: Operands, value: Tensor<1>, pull: PullBack) -> Tensor<1> {
    let place = |input: Option<Operand>| match input {
        Some(input) => input.into_dispatch(),
        None => value.clone().into_dispatch(),
    };
    let [a, b, c, d, e, f, g] = inputs.map(place);
    let attached = <Dispatch as Attach>::attach(a, b, c, d, e, f, g, value.clone().into_dispatch(), Pull(pull));
    Tensor::from_dispatch(attached)
}

/// The same for one reduced value whose gradients are known, from public operations alone: works on every device, at the
/// price of one product of the size of each input, forward and backward.
pub(crate) fn reattach(inputs: Operands, value: Tensor<1>, gradients: Operands) -> Tensor<1> {
    let products = inputs.into_iter().zip(gradients).filter_map(|(input, gradient)| {
        let input = input.filter(Operand::is_tracked)?;
        input.dot(gradient?)
    });
    match products.reduce(|a, b| a + b) {
        None => value,
        Some(sum) => sum.clone() - sum.detach() + value,
    }
}

/// The numbers of a tensor in this process's memory.
pub(crate) enum Numbers {
    /// Where they are: nothing was copied.
    Shared(FlexTensor),
    Copied(Vec<f32>),
}

impl Numbers {
    /// Reads a tensor of `f32`: on Flex without a copy where its rows lie one after the other.
    pub(crate) fn of<const D: usize>(tensor: &Tensor<D>, what: &str) -> Result<Self> {
        if tensor.dtype() != DType::F32 {
            return Err(Error::DType { what: what.into(), found: format!("{:?}", tensor.dtype()), expected: "F32" });
        }
        let inner = tensor.clone().inner();
        if is_flex(&inner.device())
            && let Ok(flex) = inner.clone().try_into_primitive::<Flex>()
        {
            let flex = if flex.as_slice::<f32>().is_some() { flex } else { flex.to_contiguous() };
            if flex.as_slice::<f32>().is_some() {
                return Ok(Self::Shared(flex));
            }
        }
        read(inner, what).map(Self::Copied)
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        match self {
            Self::Shared(flex) => flex.as_slice::<f32>().unwrap_or(&[]),
            Self::Copied(values) => values,
        }
    }
}

/// Copies a tensor to the host (moves it, where it is unshared).
pub(crate) fn read<const D: usize>(tensor: Tensor<D>, what: &str) -> Result<Vec<f32>> {
    let unreadable = |reason: String| Error::Unsupported { what: format!("reading {what}"), hint: reason };
    let data = tensor.inner().try_into_data().map_err(|e| unreadable(format!("{e:?}")))?;
    data.try_into_vec::<f32>().map_err(|e| unreadable(format!("{e:?}")))
}

/// Integers of any width, signed.
pub(crate) fn read_integers(tensor: Tensor<1, Int>, what: &str) -> Result<Vec<i64>> {
    let unreadable = |reason: String| Error::Unsupported { what: format!("reading {what}"), hint: reason };
    let data = tensor.inner().try_into_data().map_err(|e| unreadable(format!("{e:?}")))?;
    Ok(data.iter::<i64>().collect())
}

/// Refuses tensors on different devices, or with different ways of recording gradients, before burn panics on them.
pub(crate) fn check_devices(named: &[(&str, &Option<Operand>)]) -> Result<Device> {
    let mut devices = named.iter().filter_map(|(what, operand)| Some((what, operand.as_ref()?.device())));
    let Some((_, first)) = devices.next() else {
        return Err(
            keener::Error::MissingInput { objective: "every objective".into(), missing: "a tensor".into() }.into()
        );
    };
    let mut recording = first.gradient_checkpointing_strategy();
    for (what, device) in devices {
        let strategy = device.gradient_checkpointing_strategy();
        let mixed = matches!((strategy, recording), (Some(a), Some(b)) if a != b);
        if mixed || device.clone().without_autodiff() != first.clone().without_autodiff() {
            let (found, expected) = (format!("{device:?}"), format!("{first:?}"));
            return Err(Error::Device { what: what.to_string(), found, expected });
        }
        recording = recording.or(strategy);
    }
    Ok(first.without_autodiff())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn devices() -> [Device; 2] {
        [Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()]
    }

    fn values(t: Tensor<2>) -> Vec<f32> {
        t.into_data().try_into_vec().unwrap()
    }

    /// y_i = Σ_j x_ij w_j as an attached operation, against the composed one.
    fn weighted(x: Tensor<2>, w: Tensor<1>) -> Tensor<1> {
        let (xi, wi) = (x.clone().inner(), w.clone().inner());
        let value = (xi.clone() * wi.clone().unsqueeze()).sum_dim(1).flatten::<1>(0, 1);
        let pull: PullBack = Arc::new(move |up, wanted| {
            let column = up.reshape([-1, 1]);
            let mut out: Operands = Default::default();
            out[0] = wanted[0].then(|| Operand::Matrix(column.clone().matmul(wi.clone().unsqueeze())));
            out[3] = wanted[3].then(|| Operand::Vector((xi.clone() * column.clone()).sum_dim(0).flatten(0, 1)));
            out
        });
        let mut inputs: Operands = Default::default();
        inputs[0] = Some(Operand::Matrix(x));
        inputs[3] = Some(Operand::Vector(w));
        attach(inputs, value, pull)
    }

    #[test]
    fn gradients_reach_memory_bound_parents_under_both_checkpointing_strategies() {
        for device in devices() {
            let run = |attached: bool| {
                let x = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]], &device).require_grad();
                let w = Tensor::<1>::from_floats([0.2, -0.4, 0.9], &device).require_grad();
                let (a, b) = (x.clone().tanh() * 2.0, w.clone().exp());
                let rows = match attached {
                    true => weighted(a, b),
                    false => (a * b.unsqueeze()).sum_dim(1).flatten(0, 1),
                };
                let loss = (rows * Tensor::from_floats([1.5, -0.25], &device)).sum();
                let grads = loss.backward();
                let gx = values(x.grad(&grads).unwrap());
                (loss.into_scalar::<f32>(), gx, w.grad(&grads).unwrap().into_data().try_into_vec::<f32>().unwrap())
            };
            let (attached, composed) = (run(true), run(false));
            assert!((attached.0 - composed.0).abs() < 1e-6);
            for (a, b) in attached.1.iter().chain(&attached.2).zip(composed.1.iter().chain(&composed.2)) {
                assert!((a - b).abs() < 1e-6, "{attached:?} {composed:?}");
            }
        }
    }

    #[test]
    fn untracked_inputs_ask_for_nothing_and_plain_devices_pass_the_value_through() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device);
        let w = Tensor::<1>::from_floats([3.0, 4.0], &device).require_grad();
        let grads = weighted(x.clone(), w.clone()).sum().backward();
        assert!(x.grad(&grads).is_none());
        assert_eq!(w.grad(&grads).unwrap().into_data().try_into_vec::<f32>().unwrap(), [1.0, 2.0]);
        let plain = weighted(x.inner(), w.inner());
        assert!(!plain.is_autodiff());
        assert_eq!(plain.into_scalar::<f32>(), 11.0);
    }

    #[test]
    fn reattached_values_have_the_same_gradients_scaled_from_above() {
        for device in devices() {
            let x = Tensor::<2>::from_floats([[1.0, -2.0], [0.5, 3.0]], &device).require_grad();
            let g = Tensor::<2>::from_floats([[0.1, 0.2], [-0.3, 0.4]], &device.clone().without_autodiff());
            let value = Tensor::<1>::from_floats([7.5], &device.clone().without_autodiff());
            let mut inputs: Operands = Default::default();
            let mut gradients: Operands = Default::default();
            inputs[0] = Some(Operand::Matrix(x.clone().exp().log()));
            gradients[0] = Some(Operand::Matrix(g));
            let loss = reattach(inputs, value, gradients) * 3.0;
            assert_eq!(loss.clone().into_scalar::<f32>(), 22.5);
            let found = values(x.grad(&loss.backward()).unwrap());
            for (found, expected) in found.iter().zip([0.3f32, 0.6, -0.9, 1.2]) {
                assert!((found - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn contiguous_views_are_not_copied_and_strided_ones_are_read_right() {
        let device = Device::flex();
        let data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let x = Tensor::<2>::from_data(TensorData::new(data, [4, 3]), &device);
        let whole = Numbers::of(&x, "x").unwrap();
        let part = Numbers::of(&x.clone().slice(1..3), "x").unwrap();
        assert_eq!(part.as_slice(), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(part.as_slice().as_ptr(), &raw const whole.as_slice()[3]);
        let turned = Numbers::of(&x.transpose(), "x").unwrap();
        assert_eq!(turned.as_slice()[..5], [0.0, 3.0, 6.0, 9.0, 1.0]);
        let double = Tensor::<2>::ones([1, 1], (&device, DType::F64));
        assert!(matches!(Numbers::of(&double, "x"), Err(Error::DType { .. })));
    }

    #[test]
    fn mixed_recording_is_an_error() {
        let [plain, balanced] = devices();
        let tensor = |device: &Device| Some(Operand::Vector(Tensor::ones([2], device).require_grad()));
        let (a, b) = (tensor(&plain), tensor(&balanced));
        assert!(matches!(check_devices(&[("queries", &a), ("candidates", &b)]), Err(Error::Device { .. })));
        let constant = Some(Operand::Vector(Tensor::ones([2], &Device::flex())));
        assert!(check_devices(&[("queries", &constant), ("candidates", &b)]).is_ok());
        assert!(check_devices(&[("queries", &None)]).is_err());
    }
}
