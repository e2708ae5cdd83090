//! Seconds that one training step of an output layer takes: dense with the softmax, and factored with the Z-loss.

use anyhow::Result;
use keener::engine::{Batch, Options, View, evaluate};
use keener::spherical::{FactoredConfig, FactoredOutput, Targets};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Zipf};
use std::time::Instant;

/// Sizes of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Number of classes D.
    pub classes: usize,
    /// Width d of what the layer reads.
    pub dim: usize,
    /// Rows of a batch m.
    pub batch: usize,
}

/// A stream of batches: normal activations, classes drawn by Zipf's law with exponent 1 and numbered at random, so that frequent
/// classes lie anywhere.
pub struct Stream {
    layer: Layer,
    rng: ChaCha8Rng,
    law: Zipf<f64>,
}

impl Stream {
    /// From a seed.
    ///
    /// # Errors
    /// No classes.
    pub fn new(layer: Layer, seed: u64) -> Result<Self> {
        Ok(Self { layer, rng: ChaCha8Rng::seed_from_u64(seed), law: Zipf::new(layer.classes as f64, 1.0)? })
    }

    /// Activations `[m, d]` and a class for each row.
    pub fn next_batch(&mut self) -> (Vec<f32>, Vec<u32>) {
        let Layer { classes, dim, batch } = self.layer;
        let hidden = (0..batch * dim).map(|_| StandardNormal.sample(&mut self.rng)).collect();
        // A fixed scattering of ranks over the classes: multiplication by an odd number below a power of two, walked until it fits.
        let size = classes.next_power_of_two() as u64;
        let mut class = || {
            let mut at = self.law.sample(&mut self.rng) as u64 - 1;
            loop {
                at = at.wrapping_mul(0x9E37_79B1) & (size - 1);
                if (at as usize) < classes {
                    return at as u32;
                }
            }
        };
        let targets = (0..batch).map(|_| class()).collect();
        (hidden, targets)
    }
}

/// Seconds of each step (forward, backward, update) of a factored layer under the Z-loss, stabilisation and all.
///
/// # Errors
/// Sizes that make no layer.
pub fn factored(layer: Layer, warm_up: usize, repeat: usize, seed: u64) -> Result<Vec<f64>> {
    let mut stream = Stream::new(layer, seed)?;
    let mut output = FactoredOutput::<f32>::seeded(layer.classes, layer.dim, seed, FactoredConfig::default())?;
    let mut seconds = Vec::with_capacity(repeat);
    for step in 0..warm_up + repeat {
        let (hidden, targets) = stream.next_batch();
        let start = Instant::now();
        let hidden = View::new(&hidden, layer.batch, layer.dim)?;
        std::hint::black_box(output.step(hidden, &Targets::Classes(&targets), 1.0)?);
        if step >= warm_up {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}

/// Seconds of each step (forward, backward, update of the weights) of a dense layer under an objective.
///
/// # Errors
/// An unknown objective.
pub fn dense(objective: &str, layer: Layer, warm_up: usize, repeat: usize, seed: u64) -> Result<Vec<f64>> {
    let objective = keener::objective::parse(objective)?;
    let mut stream = Stream::new(layer, seed)?;
    let bound = 1.0 / (layer.dim as f32).sqrt();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights: Vec<f32> = (0..layer.classes * layer.dim).map(|_| rng.random_range(-bound..bound)).collect();
    let mut seconds = Vec::with_capacity(repeat);
    for step in 0..warm_up + repeat {
        let (hidden, targets) = stream.next_batch();
        let start = Instant::now();
        let batch = Batch::embeddings(View::new(&hidden, layer.batch, layer.dim)?)
            .with_candidates(View::new(&weights, layer.classes, layer.dim)?)
            .with_targets(targets);
        let run = evaluate(objective.f32(), &batch, &Options::default())?;
        descend(&mut weights, &run.gradients.candidates);
        if step >= warm_up {
            seconds.push(start.elapsed().as_secs_f64());
        }
        std::hint::black_box(run.loss);
    }
    Ok(seconds)
}

fn descend(weights: &mut [f32], gradient: &[f32]) {
    use rayon::prelude::*;
    const BLOCK: usize = 1 << 16;
    weights
        .par_chunks_mut(BLOCK)
        .zip(gradient.par_chunks(BLOCK))
        .for_each(|(w, g)| keener::simd::add_scaled(w, g, -1.0));
}

/// The median; NaN of nothing.
pub fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => 0.5 * (sorted[middle - 1] + sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_and_stays_within_the_classes() {
        let layer = Layer { classes: 1000, dim: 3, batch: 500 };
        let mut stream = Stream::new(layer, 1).unwrap();
        let first = stream.next_batch();
        assert_eq!(first, Stream::new(layer, 1).unwrap().next_batch());
        assert_ne!(first, stream.next_batch());
        assert!(first.1.iter().all(|c| *c < 1000));
        let mut distinct = first.1.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 100 && distinct.len() < 400, "{} of a Zipf law", distinct.len());
        assert_eq!(factored(layer, 1, 3, 0).unwrap().len(), 3);
        assert_eq!(dense("softmax_cross_entropy", layer, 1, 2, 0).unwrap().len(), 2);
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0])), (2.0, 1.5));
    }
}
