//! Stage 1: cosine heads on synthetic classes, judged by retrieval among classes that were not trained on.

use anyhow::{Context, Result, ensure};
use keener::engine::{Batch, Options, View, evaluate};
use keener::metrics::Measure;
use keener::metrics::retrieval::Retrieval;
use keener_burn::{HeadConfig, Labelled, OptimizerConfig, TrainConfig, Training, embed};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Numbers of a sample.
const DIM: usize = 64;
/// Numbers of a class code.
const CODE: usize = 16;
/// Numbers that say nothing about the class.
const NUISANCE: usize = 8;
/// Width of the embeddings.
const EMBEDDING: usize = 32;
/// How often scale and margin are looked at.
const LOOKS: usize = 8;

/// How the classes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Spread {
    /// 80 classes of 14 samples that can be told apart.
    Moderate,
    /// 120 classes of 20 samples that run into each other.
    Overlapping,
}

impl Spread {
    pub(super) const ALL: [Self; 2] = [Self::Moderate, Self::Overlapping];

    /// Classes, samples of each, and the range of the standard deviations around the class codes.
    fn shape(self) -> (usize, usize, std::ops::Range<f64>) {
        match self {
            Self::Moderate => (80, 14, 0.3..0.6),
            Self::Overlapping => (120, 20, 0.3..1.1),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moderate => "moderate spread",
            Self::Overlapping => "overlapping classes",
        })
    }
}

/// A head.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Head {
    MadaCos { alpha: f64 },
    CosFace { scale: f64, margin: f64 },
}

impl Head {
    pub(super) const ADAPTIVE: [Self; 2] = [Self::MadaCos { alpha: 0.02 }, Self::MadaCos { alpha: 0.5 }];
    pub(super) const FIXED: [Self; 6] = [
        Self::CosFace { scale: 16.0, margin: 0.0 },
        Self::CosFace { scale: 16.0, margin: 0.2 },
        Self::CosFace { scale: 32.0, margin: 0.0 },
        Self::CosFace { scale: 32.0, margin: 0.2 },
        Self::CosFace { scale: 32.0, margin: 0.35 },
        Self::CosFace { scale: 64.0, margin: 0.35 },
    ];

    fn objective(self) -> String {
        match self {
            Self::MadaCos { alpha } => format!("madacos:alpha={alpha}"),
            Self::CosFace { scale, margin } => format!("cosface:scale={scale},margin={margin}"),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MadaCos { alpha } => write!(f, "MadaCos α={alpha}"),
            Self::CosFace { scale, margin } => write!(f, "CosFace s={scale} m={margin}"),
        }
    }
}

/// One training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Unit {
    pub(super) spread: Spread,
    pub(super) head: Head,
    pub(super) steps: usize,
    pub(super) seed: u64,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{}, {}, seed {}", self.head, self.spread, self.seed)
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Recall@1 among unseen classes.
    pub(super) recall_at_1: f64,
    /// MAP@R among unseen classes.
    pub(super) map_at_r: f64,
    /// `(step, scale, margin, largest error of the two probability identities)` of MadaCos over all training rows.
    pub(super) looks: Vec<(usize, f64, f64, f64)>,
}

/// Samples `[n, DIM]` of classes and their labels; `unseen` are further classes of the same kind.
fn samples(spread: Spread, seed: u64) -> [(Vec<f32>, Vec<u32>); 2] {
    let (classes, each, deviations) = spread.shape();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
    let mixing: Vec<f64> = (0..DIM * (CODE + NUISANCE)).map(|_| normal() / 4.0).collect();
    let mut spreads = ChaCha8Rng::seed_from_u64(seed ^ 0x5EED);
    [(); 2].map(|()| {
        let (mut rows, mut labels) = (Vec::with_capacity(classes * each * DIM), Vec::new());
        for class in 0..classes {
            let code: Vec<f64> = (0..CODE).map(|_| normal()).collect();
            let deviation = spreads.random_range(deviations.clone());
            for _ in 0..each {
                let mut latent: Vec<f64> = code.iter().map(|c| c + deviation * normal()).collect();
                latent.extend((0..NUISANCE).map(|_| normal()));
                let mixed = mixing.chunks_exact(CODE + NUISANCE);
                rows.extend(mixed.map(|w| w.iter().zip(&latent).map(|(w, z)| w * z).sum::<f64>().tanh() as f32));
                labels.push(class as u32);
            }
        }
        (rows, labels)
    })
}

/// Trains a head and looks at it.
pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let [(features, labels), (unseen, unseen_labels)] = samples(unit.spread, unit.seed);
    let classes = unit.spread.shape().0;
    let config = TrainConfig {
        head: HeadConfig::Cosine { hidden: Some(128), embedding: Some(EMBEDDING) },
        objective: unit.head.objective(),
        optimizer: OptimizerConfig::adamw(),
        learning_rate: 2e-3,
        weight_decay: 0.0,
        steps: unit.steps,
        warmup: 0,
        seed: unit.seed,
        ..TrainConfig::default()
    };
    let data = Labelled::new(&features, DIM, &labels, classes)?;
    let mut training = Training::new(config, data, &keener_burn::compare::cpu())?;
    let mut looks = Vec::new();
    let every = (unit.steps / LOOKS).max(1);
    while training.steps_done() < unit.steps {
        training.step()?;
        let done = training.steps_done();
        if let Head::MadaCos { alpha } = unit.head
            && (done == 1 || done.is_multiple_of(every))
        {
            let (scale, margin, error) = look(&training, &features, &labels, alpha)?;
            looks.push((done, scale, margin, error));
        }
    }
    let embeddings = embed(training.head(), &unseen)?;
    let labels: Vec<usize> = unseen_labels.iter().map(|l| *l as usize).collect();
    let wanted = Retrieval::of([Measure::RecallAt(1), Measure::MapAtR]);
    let report = wanted.leave_one_out(&embeddings, EMBEDDING, &labels)?;
    Ok(Measured { recall_at_1: report.means[0], map_at_r: report.means[1], looks })
}

/// Scale and margin over all training rows in f64, and how far the two probabilities of the median sample are from what
/// they must be (0 where the margin or the scale is clamped: nothing is promised then).
fn look(training: &Training<'_>, features: &[f32], labels: &[u32], alpha: f64) -> Result<(f64, f64, f64)> {
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let embeddings = wide(&embed(training.head(), features)?);
    let named = training.head().named_parameters()?;
    let (.., weights) = named.iter().find(|(name, ..)| name == "classes.weight").context("no class weights")?;
    let weights = wide(weights);
    let classes = weights.len() / EMBEDDING;
    let objective = keener::objective::parse(&format!("madacos:alpha={alpha}"))?;
    let batch = Batch::embeddings(View::new(&embeddings, labels.len(), EMBEDDING)?)
        .with_candidates(View::new(&weights, classes, EMBEDDING)?)
        .with_targets(labels.to_vec());
    let found = evaluate(objective.f64(), &batch, &Options::default())?;
    let reported = |name: &str| {
        let value = found.report.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.first().copied());
        value.with_context(|| format!("MadaCos does not report its {name}"))
    };
    let (scale, margin, median, log_b) =
        (reported("scale")?, reported("margin")?, reported("median")?, reported("log_b")?);
    ensure!(scale.is_finite() && margin.is_finite(), "scale {scale} and margin {margin} must be finite");
    let probability = |cosine: f64| 1.0 / (1.0 + (log_b - scale * cosine).exp());
    let mut error: f64 = 0.0;
    if margin > 0.0 {
        error = (probability(median - margin) - alpha).abs();
        if scale > 32.0 {
            error = error.max((probability(1.0 - margin) - 9_999_999.0 / 1e7).abs());
        }
    }
    Ok((scale, margin, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_repeat_and_unseen_classes_are_others() {
        let [seen, unseen] = samples(Spread::Moderate, 3);
        assert_eq!((seen.0.len(), seen.1.len()), (80 * 14 * DIM, 80 * 14));
        assert_eq!(samples(Spread::Moderate, 3)[0], seen);
        assert_ne!(seen.0, unseen.0);
        assert_ne!(samples(Spread::Moderate, 4)[0].0, seen.0);
    }

    #[test]
    fn the_identities_hold_while_training() {
        let unit = Unit { spread: Spread::Moderate, head: Head::ADAPTIVE[0], steps: 60, seed: 1 };
        let found = measure(&unit).unwrap();
        assert!(found.looks.len() >= LOOKS);
        assert!(found.looks.iter().any(|(_, _, margin, _)| *margin > 0.0), "{:?}", found.looks);
        assert!(found.looks.iter().all(|(.., error)| *error < 1e-9), "{:?}", found.looks);
    }
}
