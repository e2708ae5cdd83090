//! Stage 2: the local triplet on tuples of hard negatives, trained end to end on images beside stage 1 alone.

use anyhow::{Context, Result};
use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use keener::matching::LocalTriplet;
use keener::metrics::Measure;
use keener::metrics::retrieval::Retrieval;
use keener::negatives::HardTuples;
use keener_burn::{ConvEncoder, ConvEncoderConfig, Inputs, ObjectiveLoss, Supervision, matching::local_triplet};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Side of an image.
const SIDE: usize = 8;
/// Classes that are trained on; the others are retrieved among.
const KNOWN: usize = 6;
/// Width of the embeddings.
const EMBEDDING: usize = 32;
/// Tuples a step, and images a tuple: anchor, positive and six negatives, as published.
const TUPLES: usize = 8;
const IMAGES: usize = 8;

/// How the second half of the training goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Second {
    /// As the first: MadaCos on random images, as many a step.
    Coarse,
    /// MadaCos on the images of hard tuples, without the local term.
    HardTuples,
    /// The same with the local triplet.
    Fine,
    /// The local triplet on tuples of random negatives.
    FineRandom,
}

impl Second {
    pub(super) const ALL: [Self; 4] = [Self::Coarse, Self::HardTuples, Self::FineRandom, Self::Fine];
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coarse => "stage 1 continued",
            Self::HardTuples => "hard tuples, no local term",
            Self::FineRandom => "local triplet, random tuples",
            Self::Fine => "local triplet, hard tuples",
        })
    }
}

/// One training in two halves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Unit {
    pub(super) second: Second,
    pub(super) steps: [usize; 2],
    pub(super) seed: u64,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{}, seed {}", self.second, self.seed)
    }
}

/// Retrieval among unseen classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// MAP@R after the first half.
    pub(super) before: f64,
    /// MAP@R at the end.
    pub(super) after: f64,
    /// Recall@1 at the end.
    pub(super) recall_at_1: f64,
    /// Mean of the weighted local term over the second half.
    pub(super) local: f64,
}

#[derive(Module, Debug)]
struct Net {
    encoder: ConvEncoder,
    classes: Param<Tensor<2>>,
}

/// Images of some classes, with labels counted from 0.
struct Images {
    pixels: Vec<f32>,
    labels: Vec<u32>,
}

impl Images {
    fn tensor(&self, rows: &[usize], device: &Device) -> Tensor<4> {
        let size = SIDE * SIDE;
        let values: Vec<f32> = rows.iter().flat_map(|r| &self.pixels[r * size..(r + 1) * size]).copied().collect();
        Tensor::from_data(TensorData::new(values, [rows.len(), 1, SIDE, SIDE]), device)
    }

    fn labels(&self, rows: &[usize]) -> Vec<u32> {
        rows.iter().map(|r| self.labels[*r]).collect()
    }
}

/// The digits, split by class.
fn images(seed: u64) -> [Images; 2] {
    let digits = keener_data::digits();
    let mut order: Vec<u32> = (0..digits.num_classes() as u32).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    [&order[..KNOWN], &order[KNOWN..]].map(|classes| {
        let mut part = Images { pixels: Vec::new(), labels: Vec::new() };
        for row in 0..digits.rows() {
            if let Some(label) = classes.iter().position(|c| *c == digits.labels[row]) {
                part.pixels.extend(digits.row(row).iter().map(|x| x / 16.0));
                part.labels.push(label as u32);
            }
        }
        part
    })
}

/// Embeddings of all images.
fn embeddings(net: &Net, images: &Images) -> Result<Vec<f32>> {
    let net = net.clone().valid();
    let device = keener_burn::compare::cpu();
    let mut found = Vec::new();
    for rows in (0..images.labels.len()).collect::<Vec<_>>().chunks(256) {
        let embedded = net.encoder.embed(images.tensor(rows, &device))?;
        found.extend(embedded.into_data().try_into_vec::<f32>().ok().context("embeddings are not f32")?);
    }
    Ok(found)
}

/// The class that the head predicts for every image.
fn predictions(net: &Net, images: &Images) -> Result<Vec<u32>> {
    use keener::engine::View;
    use keener::estimate::PrototypeClassifier;
    let weights = net.classes.val().inner().into_data().try_into_vec::<f32>().ok().context("weights are not f32")?;
    let found = embeddings(net, images)?;
    let head = PrototypeClassifier::from_weights(View::new(&weights, KNOWN, EMBEDDING)?, 1.0)?;
    let found = head.predict(View::new(&found, images.labels.len(), EMBEDDING)?)?;
    Ok(found.into_iter().map(|c| c as u32).collect())
}

fn retrieval(net: &Net, images: &Images) -> Result<(f64, f64)> {
    let labels: Vec<usize> = images.labels.iter().map(|l| *l as usize).collect();
    let wanted = Retrieval::of([Measure::MapAtR, Measure::RecallAt(1)]);
    let report = wanted.leave_one_out(&embeddings(net, images)?, EMBEDDING, &labels)?;
    Ok((report.means[0], report.means[1]))
}

/// Trains both halves.
pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let device = keener_burn::compare::cpu().autodiff();
    let [train, unseen] = images(unit.seed);
    let encoder = ConvEncoderConfig { embedding: EMBEDDING, ..Default::default() }.init(unit.seed, &device)?;
    let mut rng = ChaCha8Rng::seed_from_u64(unit.seed);
    rng.set_stream(1);
    let bound = 1.0 / (EMBEDDING as f32).sqrt();
    let weights: Vec<f32> = (0..KNOWN * EMBEDDING).map(|_| rng.random_range(-bound..bound)).collect();
    let classes = Tensor::from_data(TensorData::new(weights, [KNOWN, EMBEDDING]), &device);
    let mut net = Net { encoder, classes: Param::from_tensor(classes) };
    let mut optimizer = AdamWConfig::new().with_weight_decay(1e-4).init();
    let head = ObjectiveLoss::parse("madacos")?;
    let all: Vec<usize> = (0..train.labels.len()).collect();
    let mut step = |net: Net, rows: &[usize], tuples: Option<LocalTriplet>, rate: f64| -> Result<(Net, f64)> {
        let map = net.encoder.local_features(train.tensor(rows, &device));
        let inputs = Inputs::embeddings(net.encoder.embed_map(map.clone())?).with_candidates(net.classes.val());
        let labels = train.labels(rows);
        let mut loss = head.reduced(&inputs, &Supervision::classes(labels.as_slice()))?.loss;
        let mut local = 0.0;
        if let Some(triplet) = tuples {
            let [_, channels, positions] = map.dims();
            // Attention of the positives: the sum of absolute features over the channels.
            let sums = map.clone().inner().abs().sum_dim(1).reshape([TUPLES, IMAGES, positions]);
            let attention = sums.slice([0..TUPLES, 1..2]).reshape([TUPLES, positions]);
            let descriptors = map.swap_dims(1, 2).reshape([rows.len(), positions, channels]);
            let term = local_triplet(descriptors, TUPLES, attention, triplet)? / TUPLES as f32;
            local = f64::from(term.clone().inner().into_scalar::<f32>());
            loss = loss + term;
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        Ok((optimizer.step(rate, net, gradients), local))
    };

    for _ in 0..unit.steps[0] {
        let rows: Vec<usize> = all.choose_multiple(&mut rng, TUPLES * IMAGES).copied().collect();
        (net, _) = step(net, &rows, None, 2e-3)?;
    }
    let (before, _) = retrieval(&net, &unseen)?;
    let sampler = match unit.second {
        Second::Coarse => None,
        Second::FineRandom => Some(HardTuples::new(&train.labels, None, IMAGES - 2)?),
        Second::Fine | Second::HardTuples => {
            Some(HardTuples::new(&train.labels, Some(&predictions(&net, &train)?), IMAGES - 2)?)
        }
    };
    let tuples = sampler.map(|s| s.draw(unit.steps[1] * TUPLES, unit.seed, 0));
    let mut local = 0.0;
    for k in 0..unit.steps[1] {
        let rows: Vec<usize> = match &tuples {
            None => all.choose_multiple(&mut rng, TUPLES * IMAGES).copied().collect(),
            Some(tuples) => {
                tuples[k * TUPLES..(k + 1) * TUPLES].iter().flat_map(keener::negatives::Tuple::items).collect()
            }
        };
        let triplet = matches!(unit.second, Second::Fine | Second::FineRandom).then(LocalTriplet::default);
        let term;
        (net, term) = step(net, &rows, triplet, 1e-3)?;
        local += term / unit.steps[1] as f64;
    }
    let (after, recall_at_1) = retrieval(&net, &unseen)?;
    Ok(Measured { before, after, recall_at_1, local })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stages_train_and_repeat() {
        let unit = Unit { second: Second::Fine, steps: [6, 3], seed: 0 };
        let found = measure(&unit).unwrap();
        assert!(found.local > 0.0 && found.before > 0.25 && found.after <= 1.0, "{found:?}");
        assert_eq!(found, measure(&unit).unwrap());
        let coarse = measure(&Unit { second: Second::Coarse, ..unit }).unwrap();
        assert_eq!((coarse.local, coarse.before), (0.0, found.before));
    }
}
