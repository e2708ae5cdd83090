//! What is trained on features: class heads and projections, as burn modules.

use crate::data::Input;
use crate::error::{Error, Result};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Which head, with its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// Class weights `[N, d]` and a bias `[N]`; scores are `x·w + b`. With `hidden`, a layer with ReLU before it.
    Linear {
        /// Width of a hidden layer; none by default.
        #[serde(default)]
        hidden: Option<usize>,
        /// Width of a layer without ReLU after the hidden one, as in a projection; none by default.
        #[serde(default)]
        embedding: Option<usize>,
        /// Whether scores have a bias (default true).
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Class weights `[N, d]`; scores are cosines. With `hidden`, a layer with ReLU before it.
    Cosine {
        /// Width of a hidden layer; none by default.
        #[serde(default)]
        hidden: Option<usize>,
        /// Width of a layer without ReLU after the hidden one, as in a projection; none by default.
        #[serde(default)]
        embedding: Option<usize>,
    },
    /// `d → hidden (ReLU) → out`, of length 1 at use: embeddings without classes.
    Projection {
        /// Width of the hidden layer (default 128).
        #[serde(default = "projection_hidden")]
        hidden: usize,
        /// Width of the embeddings (default 64).
        #[serde(default = "projection_out")]
        out: usize,
    },
}

fn yes() -> bool {
    true
}

fn projection_hidden() -> usize {
    128
}

fn projection_out() -> usize {
    64
}

impl burn::config::Config for HeadConfig {}

impl Default for HeadConfig {
    fn default() -> Self {
        Self::linear()
    }
}

impl HeadConfig {
    /// A linear classifier with a bias.
    pub fn linear() -> Self {
        Self::Linear { hidden: None, embedding: None, bias: true }
    }

    /// A cosine classifier.
    pub fn cosine() -> Self {
        Self::Cosine { hidden: None, embedding: None }
    }

    /// A projection with its default sizes.
    pub fn projection() -> Self {
        Self::Projection { hidden: projection_hidden(), out: projection_out() }
    }

    /// Makes the head for features of width `dim` and `classes` classes, with the learned scalars `parameters` of an
    /// objective. Weights and biases are uniform in `±1/√fan_in` (Kaiming-uniform with slope √5, as PyTorch's
    /// `nn.Linear`), each from its own stream of ChaCha8 with the given seed: equal seeds give equal weights, whatever
    /// else the head holds.
    ///
    /// # Errors
    /// A size of zero.
    pub fn init(&self, dim: usize, classes: usize, parameters: &[f32], seed: u64, device: &Device) -> Result<Head> {
        let (hidden, out) = match self {
            Self::Linear { hidden, .. } | Self::Cosine { hidden, .. } => (*hidden, classes),
            Self::Projection { hidden, out } => (Some(*hidden), *out),
        };
        let embedding = self.embedding();
        let (some_hidden, some_embedding) = (hidden.unwrap_or(1), embedding.unwrap_or(1));
        let sizes =
            [("features", dim), ("hidden", some_hidden), ("embedding", some_embedding), ("classes or out", out)];
        for (name, size) in sizes {
            if size == 0 {
                return Err(keener::Error::parameter(name, size, "at least 1").into());
            }
        }
        let mut layers = Vec::new();
        let mut width = dim;
        if let Some(hidden) = hidden {
            layers.push(Dense::init(dim, hidden, true, seed, 0, device));
            width = hidden;
        }
        if let Some(embedding) = embedding {
            layers.push(Dense::init(width, embedding, true, seed, 1, device));
            width = embedding;
        }
        let classes = match self {
            Self::Linear { bias, .. } => Some(Dense::init(width, out, *bias, seed, 2, device)),
            Self::Cosine { .. } => Some(Dense::init(width, out, false, seed, 2, device)),
            Self::Projection { .. } => {
                layers.push(Dense::init(width, out, true, seed, 1, device));
                None
            }
        };
        let learned = (!parameters.is_empty()).then(|| vector(parameters.to_vec(), device));
        Ok(Head { layers, classes, parameters: learned, config: self.clone() })
    }
}

impl HeadConfig {
    /// Width of the layer between the hidden one and the class weights.
    fn embedding(&self) -> Option<usize> {
        match self {
            Self::Linear { embedding, .. } | Self::Cosine { embedding, .. } => *embedding,
            Self::Projection { .. } => None,
        }
    }
}

/// A layer `x wᵀ + b`.
#[derive(Module, Debug)]
pub struct Dense {
    /// `[out, in]`
    pub weights: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Dense {
    pub(crate) fn init(inputs: usize, outputs: usize, bias: bool, seed: u64, stream: u64, device: &Device) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let uniform = |stream: u64, count: usize| -> Vec<f32> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            (0..count).map(|_| rng.random_range(-bound..bound)).collect()
        };
        let weights = matrix(uniform(2 * stream, inputs * outputs), [outputs, inputs], device);
        let bias = bias.then(|| vector(uniform(2 * stream + 1, outputs), device));
        Self { weights, bias }
    }

    pub(crate) fn forward(&self, input: Input, constant: bool) -> Tensor<2> {
        let (mut weights, mut bias) = (self.weights.val(), self.bias.as_ref().map(Param::val));
        if constant {
            weights = weights.inner();
            bias = bias.map(Tensor::inner);
        }
        let weights = input.weights(weights);
        let y = input.x.matmul(weights.transpose());
        match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        }
    }
}

fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

fn vector(values: Vec<f32>, device: &Device) -> Param<Tensor<1>> {
    let length = values.len();
    Param::from_tensor(Tensor::from_data(TensorData::new(values, [length]), device))
}

/// A head: hidden layers, class weights where there are classes, and the learned scalars of the objective. Made by
/// [`HeadConfig::init`].
#[derive(Module, Debug)]
pub struct Head {
    pub(crate) layers: Vec<Dense>,
    pub(crate) classes: Option<Dense>,
    pub(crate) parameters: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: HeadConfig,
}

impl Head {
    /// Which head it is.
    pub fn config(&self) -> &HeadConfig {
        &self.config
    }

    /// The class weights `[N, d]`, the candidates of a class head.
    pub fn class_weights(&self) -> Option<Tensor<2>> {
        self.classes.as_ref().map(|c| c.weights.val())
    }

    /// The bias of each class `[N]`.
    pub fn class_bias(&self) -> Option<Tensor<1>> {
        self.classes.as_ref()?.bias.as_ref().map(Param::val)
    }

    /// Values of the objective's learned scalars `[P]`.
    pub fn learned(&self) -> Option<Tensor<1>> {
        self.parameters.as_ref().map(Param::val)
    }

    /// Width of the features it reads.
    pub fn dim(&self) -> usize {
        let first = self.layers.first().or(self.classes.as_ref());
        first.map_or(0, |d| d.weights.dims()[1])
    }

    /// Number of classes, or 0.
    pub fn num_classes(&self) -> usize {
        self.classes.as_ref().map_or(0, |c| c.weights.dims()[0])
    }

    /// What meets the class weights, or the embeddings of a projection, not yet normalised: `[B, d] → [B, e]`.
    pub fn hidden(&self, x: Tensor<2>) -> Tensor<2> {
        self.through_layers(x.into(), false)
    }

    /// Whether anything stands before the class weights.
    pub(crate) fn has_layers(&self) -> bool {
        !self.layers.is_empty()
    }

    /// Whether the features meet weights in an inner product first, which a part of the columns is enough for: cosines
    /// need the lengths of whole rows.
    pub(crate) fn reads_columns(&self) -> bool {
        self.has_layers() || matches!(self.config, HeadConfig::Linear { .. })
    }

    /// The same with all weights constant: gradients reach the input alone.
    pub(crate) fn through_layers(&self, mut input: Input, constant: bool) -> Tensor<2> {
        let ends_in_relu = self.classes.is_some() && self.config.embedding().is_none();
        let count = self.layers.len();
        for (k, layer) in self.layers.iter().enumerate() {
            let mut x = layer.forward(input, constant);
            if k + 1 < count || ends_in_relu {
                x = burn::tensor::activation::relu(x);
            }
            input = x.into();
        }
        input.x
    }

    /// Embeddings `[B, e]`: of length 1 for a projection, what meets the class weights otherwise.
    pub fn embed(&self, x: Tensor<2>) -> Tensor<2> {
        self.embed_input(x.into())
    }

    pub(crate) fn embed_input(&self, input: Input) -> Tensor<2> {
        let x = self.through_layers(input, false);
        match self.config {
            HeadConfig::Projection { .. } => normalized(x),
            _ => x,
        }
    }

    /// Scores of each class `[B, N]`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a projection, which has no classes.
    pub fn scores(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        self.score_input(x.into())
    }

    pub(crate) fn score_input(&self, input: Input) -> Result<Tensor<2>> {
        self.scores_with(input, false)
    }

    /// The same with all weights constant: gradients reach the input alone.
    pub(crate) fn constant_scores(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        self.scores_with(x.into(), true)
    }

    fn scores_with(&self, input: Input, constant: bool) -> Result<Tensor<2>> {
        let (Some(classes), false) = (&self.classes, matches!(self.config, HeadConfig::Projection { .. })) else {
            return Err(Error::Unsupported {
                what: "class scores of a projection".into(),
                hint: "use its embeddings, or a linear or cosine head".into(),
            });
        };
        let input = if self.has_layers() { self.through_layers(input, constant).into() } else { input };
        let weights = || if constant { classes.weights.val().inner() } else { classes.weights.val() };
        Ok(match self.config {
            HeadConfig::Cosine { .. } => normalized(input.x).matmul(normalized(weights()).transpose()),
            _ => classes.forward(input, constant),
        })
    }

    /// Every parameter with its name, shape and values replaced by `f`, in a fixed order. `f` is handed the values that
    /// were there, without a copy where nobody else holds them.
    pub(crate) fn replace(&mut self, mut f: impl FnMut(&str, &[usize], Vec<f32>) -> Result<Vec<f32>>) -> Result<()> {
        for (k, layer) in self.layers.iter_mut().enumerate() {
            layer.replace(&format!("layers.{k}"), &mut f)?;
        }
        if let Some(classes) = &mut self.classes {
            classes.replace("classes", &mut f)?;
        }
        if let Some(parameters) = &mut self.parameters {
            replace(parameters, "objective.parameters", &mut f)?;
        }
        Ok(())
    }

    /// Gradients of every parameter, in the same order; `None` where none arrived.
    pub(crate) fn gradients(&self, gradients: &mut Gradients) -> Result<Vec<Option<Vec<f32>>>> {
        fn one<const D: usize>(parameter: &Param<Tensor<D>>, from: &mut Gradients) -> Result<Option<Vec<f32>>> {
            let gradient = parameter.val().grad_remove(from);
            gradient.map(|g| crate::attach::read(g, "a gradient")).transpose()
        }
        let mut found = Vec::new();
        for dense in self.layers.iter().chain(&self.classes) {
            found.push(one(&dense.weights, gradients)?);
            if let Some(bias) = &dense.bias {
                found.push(one(bias, gradients)?);
            }
        }
        if let Some(parameters) = &self.parameters {
            found.push(one(parameters, gradients)?);
        }
        Ok(found)
    }

    /// Names, shapes and values of every parameter, in a fixed order.
    pub fn named_parameters(&self) -> Result<Vec<(String, Vec<usize>, Vec<f32>)>> {
        let mut found = Vec::new();
        self.clone().replace(|name, shape, values| {
            found.push((name.to_string(), shape.to_vec(), values.clone()));
            Ok(values)
        })?;
        Ok(found)
    }
}

impl Dense {
    fn replace(&mut self, name: &str, f: &mut impl FnMut(&str, &[usize], Vec<f32>) -> Result<Vec<f32>>) -> Result<()> {
        replace(&mut self.weights, &format!("{name}.weight"), f)?;
        match &mut self.bias {
            Some(bias) => replace(bias, &format!("{name}.bias"), f),
            None => Ok(()),
        }
    }
}

fn replace<const D: usize>(
    parameter: &mut Param<Tensor<D>>,
    name: &str,
    f: &mut impl FnMut(&str, &[usize], Vec<f32>) -> Result<Vec<f32>>,
) -> Result<()> {
    let (device, shape) = (parameter.val().device(), parameter.dims());
    let id: ParamId = parameter.id;
    // Nothing else may hold the tensor while it is read, or it is copied.
    let placeholder = Param::initialized(id, Tensor::<D>::zeros([0; D], &device));
    let values = crate::attach::read(std::mem::replace(parameter, placeholder).into_value(), name)?;
    let values = f(name, &shape, values)?;
    let tensor = Tensor::<D>::from_data(TensorData::new(values, shape), &device);
    *parameter = Param::initialized(id, if device.is_autodiff() { tensor.require_grad() } else { tensor });
    Ok(())
}

/// Rows divided by their length; the zero vector stays zero.
pub(crate) fn normalized(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-12);
    x / length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_weights_whatever_else_the_head_holds() {
        let device = Device::flex().autodiff();
        let named = |config: HeadConfig, parameters: &[f32], seed| {
            config.init(5, 3, parameters, seed, &device).unwrap().named_parameters().unwrap()
        };
        let linear = named(HeadConfig::linear(), &[], 7);
        assert_eq!(linear[0].1, [3, 5]);
        assert_eq!(linear[0], named(HeadConfig::linear(), &[1.0, 2.0], 7)[0]);
        assert_eq!(linear[0], named(HeadConfig::cosine(), &[], 7)[0]);
        assert_ne!(linear[0], named(HeadConfig::linear(), &[], 8)[0]);
        assert!(linear[0].2.iter().all(|w| w.abs() <= 1.0 / 5f32.sqrt()));
        let projection = named(HeadConfig::projection(), &[0.5], 7);
        let names: Vec<&str> = projection.iter().map(|p| p.0.as_str()).collect();
        assert_eq!(
            names,
            ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "objective.parameters"]
        );
    }

    #[test]
    fn forms_of_scores_and_embeddings() {
        let device = Device::flex();
        let x = Tensor::<2>::from_floats([[1.0, 2.0, -0.5], [0.0, 0.0, 0.0]], &device);
        let rows = |t: Tensor<2>| t.into_data().try_into_vec::<f32>().unwrap();
        let cosine = HeadConfig::cosine().init(3, 4, &[], 1, &device).unwrap();
        let scores = rows(cosine.scores(x.clone()).unwrap());
        assert!(scores[..4].iter().all(|s| s.abs() <= 1.0 + 1e-6) && scores[4..] == [0.0; 4]);
        let weights = rows(cosine.class_weights().unwrap());
        let dot = weights[0] + 2.0 * weights[1] - 0.5 * weights[2];
        let norms = (5.25f32 * weights[..3].iter().map(|w| w * w).sum::<f32>()).sqrt();
        assert!((scores[0] - dot / norms).abs() < 1e-6);
        let projection = HeadConfig::Projection { hidden: 6, out: 2 }.init(3, 4, &[], 1, &device).unwrap();
        let e = rows(projection.embed(x.clone()));
        assert!((e[0].hypot(e[1]) - 1.0).abs() < 1e-6);
        assert!(matches!(projection.scores(x), Err(Error::Unsupported { .. })));
        assert!(HeadConfig::cosine().init(3, 0, &[], 1, &device).is_err());
    }

    #[test]
    fn configurations_read_what_they_wrote_and_refuse_unknown_fields() {
        let config: HeadConfig = serde_json::from_str(r#"{"kind":"projection","out":16}"#).unwrap();
        assert_eq!(config, HeadConfig::Projection { hidden: 128, out: 16 });
        assert_eq!(serde_json::from_str::<HeadConfig>(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        assert!(serde_json::from_str::<HeadConfig>(r#"{"kind":"linear","width":3}"#).is_err());
    }
}
