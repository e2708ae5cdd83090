//! One network: trained on the known classes, judged on the others.

use anyhow::{Context, Result, bail};
use keener::engine::View;
use keener::estimate::PrototypeClassifier;
use keener_burn::{HeadConfig, Labelled, OptimizerConfig, RunOptions, SamplerConfig, TrainConfig, Training, embed};
use keener_data::{Dataset, ReadOptions, split};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

/// Where Debian's package `dataset-fashion-mnist` puts its files.
const FASHION: &str = "/usr/share/datasets/fashion-mnist";
/// Classes that are known in training.
const KNOWN: usize = 7;
/// Width of the embeddings.
const EMBEDDING: usize = 60;
/// Rows a batch.
const BATCH: usize = 128;

/// The rows that are trained and tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Source {
    /// The embedded digits, 8 × 8.
    Digits,
    /// Fashion-MNIST: 16,000 training images, all test images.
    FashionMnist,
}

impl Source {
    /// Fashion-MNIST where it is installed.
    pub(super) fn largest() -> Self {
        if Path::new(FASHION).is_dir() { Self::FashionMnist } else { Self::Digits }
    }

    /// Steps of one training, and examples of a new class where they are many.
    pub(super) fn steps(self) -> usize {
        match self {
            Self::Digits => 150,
            Self::FashionMnist => 250,
        }
    }

    pub(super) fn many(self) -> usize {
        match self {
            Self::Digits => 100,
            Self::FashionMnist => 500,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digits => "digits",
            Self::FashionMnist => "Fashion-MNIST",
        })
    }
}

/// What the network is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    Nsl { scale: f64 },
    ProjectedNsl { scale: f64 },
    Softmax,
    Triplet,
    Contrastive,
}

impl Method {
    pub(super) const ALL: [Self; 7] = [
        Self::Nsl { scale: 10.0 },
        Self::ProjectedNsl { scale: 10.0 },
        Self::Nsl { scale: 5.0 },
        Self::Nsl { scale: 3.0 },
        Self::Softmax,
        Self::Triplet,
        Self::Contrastive,
    ];

    fn objective(self) -> String {
        match self {
            Self::Nsl { scale } => format!("normalized_softmax:scale={scale}"),
            Self::ProjectedNsl { scale } => format!("normalized_softmax:scale={scale},constraint=projected"),
            Self::Softmax => "softmax_cross_entropy".into(),
            Self::Triplet => "triplet:margin=0.2,mining=semi_hard".into(),
            Self::Contrastive => "contrastive_pairs:neg_margin=1".into(),
        }
    }

    pub(super) fn is_nsl(self) -> bool {
        matches!(self, Self::Nsl { .. } | Self::ProjectedNsl { .. })
    }

    fn head(self) -> HeadConfig {
        let (hidden, embedding) = (Some(128), Some(EMBEDDING));
        match self {
            Self::Nsl { .. } | Self::ProjectedNsl { .. } => HeadConfig::Cosine { hidden, embedding },
            Self::Softmax => HeadConfig::Linear { hidden, embedding, bias: true },
            Self::Triplet | Self::Contrastive => HeadConfig::Projection { hidden: 128, out: EMBEDDING },
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nsl { scale } => write!(f, "normalised softmax s={scale}"),
            Self::ProjectedNsl { scale } => write!(f, "normalised softmax s={scale}, projected"),
            Self::Softmax => f.write_str("softmax"),
            Self::Triplet => f.write_str("triplet"),
            Self::Contrastive => f.write_str("contrastive"),
        }
    }
}

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Unit {
    pub(super) source: Source,
    pub(super) method: Method,
    pub(super) seed: u64,
}

impl Unit {
    pub(super) fn name(&self) -> String {
        format!("{}, {}, seed {}", self.source, self.method, self.seed)
    }
}

/// Accuracies on test rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Among the new classes alone, each inserted from five examples.
    pub(super) disjoint_few: f64,
    /// The same from many.
    pub(super) disjoint_many: f64,
    /// Among all classes, every class a mean.
    pub(super) joint_means: f64,
    /// Among all classes: learned weights, and means of the new ones. `None` without class weights on the sphere.
    pub(super) joint_weights: Option<f64>,
    /// The same over test rows of known classes alone.
    pub(super) known_of_joint_weights: Option<f64>,
    /// Mean cosine of learned weights and class means.
    pub(super) alignment: Option<f64>,
}

/// Training rows and test rows.
fn rows(source: Source) -> Result<(Dataset, Dataset)> {
    match source {
        Source::Digits => {
            let data = keener_data::digits();
            let parts = split::stratified(&data.labels, &[0.7, 0.3], 11)?;
            let scaled = |part: &[usize]| {
                let mut part = data.select(part);
                part.features.iter_mut().for_each(|x| *x /= 16.0);
                part
            };
            Ok((scaled(&parts[0]), scaled(&parts[1])))
        }
        Source::FashionMnist => {
            let open = |part: keener_data::Part| {
                let options = ReadOptions { part, ..ReadOptions::default() };
                keener_data::open(FASHION, &options).context("Fashion-MNIST of Debian's package dataset-fashion-mnist")
            };
            let (train, test) = (open(keener_data::Part::Train)?, open(keener_data::Part::Test)?);
            Ok((train, test))
        }
    }
}

/// Trains and judges one network.
pub(super) fn measure(unit: &Unit) -> Result<Measured> {
    let (train, test) = rows(unit.source)?;
    let mut rng = ChaCha8Rng::seed_from_u64(unit.seed);
    let mut order: Vec<u32> = (0..train.num_classes() as u32).collect();
    order.shuffle(&mut rng);
    let known = |label: u32| order[..KNOWN].iter().position(|c| *c == label);
    let novel = |label: u32| order[KNOWN..].iter().position(|c| *c == label);

    let mut rows: Vec<usize> = (0..train.rows()).filter(|r| known(train.labels[*r]).is_some()).collect();
    rows.shuffle(&mut rng);
    rows.truncate(16_000);
    let (features, labels) = gather(&train, &rows, known)?;
    let data = Labelled::new(&features, train.dim, &labels, KNOWN)?;
    let sampler = match unit.method {
        Method::Triplet | Method::Contrastive => {
            Some(SamplerConfig::ClassesPerBatch { classes: KNOWN, per_class: BATCH / KNOWN })
        }
        _ => None,
    };
    let config = TrainConfig {
        head: unit.method.head(),
        objective: unit.method.objective(),
        optimizer: OptimizerConfig::adamw(),
        weight_decay: 0.0,
        batch_size: BATCH,
        steps: unit.source.steps(),
        warmup: 0,
        seed: unit.seed,
        sampler,
        ..TrainConfig::default()
    };
    let mut training = Training::new(config, data, &keener_burn::compare::cpu())?;
    training.run(&RunOptions::default(), &mut |_| Ok(ControlFlow::Continue(())))?;

    // The rest of the training rows of new classes, in the order of the seed: the examples to insert from.
    let mut examples: Vec<usize> = (0..train.rows()).filter(|r| novel(train.labels[*r]).is_some()).collect();
    examples.shuffle(&mut rng);
    let width = EMBEDDING;
    let embedded = |set: &Dataset, rows: &[usize]| -> Result<Vec<f32>> {
        let (features, _) = gather(set, rows, |_| Some(0))?;
        Ok(embed(training.head(), &features)?)
    };
    let of_class = |k: usize, count: usize| -> Result<Vec<f32>> {
        let mine = examples.iter().copied().filter(|r| novel(train.labels[*r]) == Some(k));
        let mine: Vec<usize> = mine.take(count).collect();
        if mine.is_empty() {
            bail!("new class {k} has no examples");
        }
        embedded(&train, &mine)
    };
    let insert = |model: &mut PrototypeClassifier, count: usize| -> Result<()> {
        for k in 0..order.len() - KNOWN {
            let e = of_class(k, count)?;
            model.add_class(View::new(&e, e.len() / width, width)?)?;
        }
        Ok(())
    };

    let scale = match unit.method {
        Method::Nsl { scale } | Method::ProjectedNsl { scale } => scale,
        _ => 10.0,
    };
    let test_new: Vec<usize> = (0..test.rows()).filter(|r| novel(test.labels[*r]).is_some()).collect();
    let new_embeddings = embedded(&test, &test_new)?;
    let new_labels: Vec<usize> = test_new.iter().filter_map(|r| novel(test.labels[*r])).collect();
    let disjoint = |count: usize| -> Result<f64> {
        let mut model = PrototypeClassifier::empty(width, scale)?;
        insert(&mut model, count)?;
        accuracy(&model, &new_embeddings, width, &new_labels)
    };
    let all: Vec<usize> = (0..test.rows()).collect();
    let all_embeddings = embedded(&test, &all)?;
    let place = |label: u32| known(label).or_else(|| novel(label).map(|k| KNOWN + k)).unwrap_or(usize::MAX);
    let all_labels: Vec<usize> = test.labels.iter().map(|l| place(*l)).collect();
    let own = embed(training.head(), &features)?;
    let mut means =
        PrototypeClassifier::from_class_means(View::new(&own, labels.len(), width)?, &labels, KNOWN, scale)?;
    let known_means = means.clone();
    insert(&mut means, unit.source.many())?;
    let mut measured = Measured {
        disjoint_few: disjoint(5)?,
        disjoint_many: disjoint(unit.source.many())?,
        joint_means: accuracy(&means, &all_embeddings, width, &all_labels)?,
        joint_weights: None,
        known_of_joint_weights: None,
        alignment: None,
    };
    if unit.method.is_nsl() {
        let named = training.head().named_parameters()?;
        let (.., weights) = named.iter().find(|(name, ..)| name == "classes.weight").context("no class weights")?;
        let mut model = PrototypeClassifier::from_weights(View::new(weights, KNOWN, width)?, scale)?;
        measured.alignment = Some(model.alignment(&known_means)?);
        insert(&mut model, unit.source.many())?;
        measured.joint_weights = Some(accuracy(&model, &all_embeddings, width, &all_labels)?);
        let of_known: Vec<usize> = (0..test.rows()).filter(|r| all_labels[*r] < KNOWN).collect();
        let e = embedded(&test, &of_known)?;
        let y: Vec<usize> = of_known.iter().map(|r| all_labels[*r]).collect();
        measured.known_of_joint_weights = Some(accuracy(&model, &e, width, &y)?);
    }
    Ok(measured)
}

/// Features of some rows, with labels renamed.
fn gather(data: &Dataset, rows: &[usize], label: impl Fn(u32) -> Option<usize>) -> Result<(Vec<f32>, Vec<u32>)> {
    let mut features = Vec::with_capacity(rows.len() * data.dim);
    rows.iter().for_each(|r| features.extend_from_slice(data.row(*r)));
    let labels = rows.iter().map(|r| label(data.labels[*r]).map(|c| c as u32).context("a row of another class"));
    Ok((features, labels.collect::<Result<_>>()?))
}

fn accuracy(model: &PrototypeClassifier, embeddings: &[f32], width: usize, labels: &[usize]) -> Result<f64> {
    let found = model.predict(View::new(embeddings, labels.len(), width)?)?;
    let right = found.iter().zip(labels).filter(|(f, y)| f == y).count();
    Ok(right as f64 / labels.len().max(1) as f64)
}
