//! A small convolutional encoder: a map of local features, pooled to one embedding.

use crate::error::Result;
use crate::head::Dense;
use crate::matching::gem_pool;
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use keener::matching::GemPool;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Sizes of a [`ConvEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvEncoderConfig {
    /// Channels of the images (default 1).
    pub channels: usize,
    /// Output channels and stride of each 3 × 3 convolution, padded to keep the size; ReLU after each (default 16 and 32 at
    /// stride 1, then 32 at stride 2).
    pub layers: Vec<(usize, usize)>,
    /// Width of the embedding (default 32).
    pub embedding: usize,
    /// How the map is pooled.
    pub pool: GemPool,
}

impl burn::config::Config for ConvEncoderConfig {}

impl Default for ConvEncoderConfig {
    fn default() -> Self {
        Self { channels: 1, layers: vec![(16, 1), (32, 1), (32, 2)], embedding: 32, pool: GemPool::default() }
    }
}

impl ConvEncoderConfig {
    /// Fresh weights, uniform in `±√(6/fan_in)` for the convolutions (He et al., Delving Deep into Rectifiers, 1502.01852) and
    /// as [`crate::HeadConfig::init`] for the last layer: equal seeds give equal weights.
    ///
    /// # Errors
    /// A size or a stride of zero, no layer at all.
    pub fn init(&self, seed: u64, device: &Device) -> Result<ConvEncoder> {
        let sizes = [("channels", self.channels), ("layers", self.layers.len()), ("embedding", self.embedding)];
        let of_layers = self.layers.iter().flat_map(|(c, s)| [("channels of a layer", *c), ("stride of a layer", *s)]);
        for (name, size) in sizes.into_iter().chain(of_layers) {
            if size == 0 {
                return Err(keener::Error::parameter(name, size, "at least 1").into());
            }
        }
        let mut inputs = self.channels;
        let mut layers = Vec::new();
        for (k, (channels, stride)) in self.layers.iter().enumerate() {
            let bound = (6.0 / (9 * inputs) as f32).sqrt();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream((1 << 20) + k as u64);
            let weights: Vec<f32> = (0..channels * inputs * 9).map(|_| rng.random_range(-bound..bound)).collect();
            let weights = Tensor::from_data(TensorData::new(weights, [*channels, inputs, 3, 3]), device);
            let bias = Tensor::from_data(TensorData::new(vec![0.0f32; *channels], [*channels]), device);
            layers.push(Conv { weights: Param::from_tensor(weights), bias: Param::from_tensor(bias), stride: *stride });
            inputs = *channels;
        }
        let project = Dense::init(inputs, self.embedding, true, seed, 1, device);
        Ok(ConvEncoder { layers, project, config: self.clone() })
    }
}

/// A 3 × 3 convolution, padded by one.
#[derive(Module, Debug)]
pub struct Conv {
    weights: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    stride: usize,
}

/// Convolutions with ReLU, generalised-mean pooling, and a layer to the embedding. Made by [`ConvEncoderConfig::init`].
#[derive(Module, Debug)]
pub struct ConvEncoder {
    layers: Vec<Conv>,
    project: Dense,
    #[module(skip)]
    config: ConvEncoderConfig,
}

impl ConvEncoder {
    /// The sizes.
    pub fn config(&self) -> &ConvEncoderConfig {
        &self.config
    }

    /// The map of local features `[B, C, N]` of images `[B, channels, height, width]`, `N` positions row by row; ≥ 0.
    pub fn local_features(&self, images: Tensor<4>) -> Tensor<3> {
        let map = self.layers.iter().fold(images, |x, layer| {
            let options = ConvOptions::new([layer.stride; 2], [1, 1], [1, 1], 1);
            relu(conv2d(x, layer.weights.val(), Some(layer.bias.val()), options))
        });
        let [batch, channels, height, width] = map.dims();
        map.reshape([batch, channels, height * width])
    }

    /// The embedding `[B, e]` of a map of local features, not yet normalised.
    ///
    /// # Errors
    /// As [`gem_pool`].
    pub fn embed_map(&self, map: Tensor<3>) -> Result<Tensor<2>> {
        Ok(self.project.forward(gem_pool(map, self.config.pool)?.into(), false))
    }

    /// The embedding `[B, e]` of images.
    ///
    /// # Errors
    /// As [`gem_pool`].
    pub fn embed(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.embed_map(self.local_features(images))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_seeds_and_gradients() {
        let device = Device::flex().autodiff();
        let config = ConvEncoderConfig { embedding: 5, ..Default::default() };
        let image: Vec<f32> = (0..2 * 64).map(|k| (k as f32 * 0.37).sin().abs()).collect();
        let images = Tensor::<4>::from_data(TensorData::new(image, [2, 1, 8, 8]), &device);
        let encoder = config.init(3, &device).unwrap();
        let map = encoder.local_features(images.clone());
        assert_eq!(map.dims(), [2, 32, 16]);
        let embedding = encoder.embed_map(map).unwrap();
        assert_eq!(embedding.dims(), [2, 5]);
        let gradients = embedding.clone().powi_scalar(2).sum().backward();
        let first = encoder.layers[0].weights.val().grad(&gradients).unwrap();
        assert!(first.abs().sum().into_scalar::<f32>() > 0.0);
        let again = config.init(3, &device).unwrap().embed(images).unwrap();
        assert_eq!(embedding.inner().into_data(), again.inner().into_data());
        assert!(ConvEncoderConfig { layers: vec![(4, 0)], ..Default::default() }.init(0, &device).is_err());
    }
}
