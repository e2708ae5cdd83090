//! One training: from labelled rows to a head.

use super::candidate::{Baseline, Candidate};
use super::config::{CompareConfig, HeadChoice};
use super::error::CompareError;
use super::splits::Labelled;
use crate::{ClassWeights, Error, Head, HeadConfig, TrainConfig, Training};
use burn::tensor::Device;
use keener_data::{RowSource, Samples, Standardizer};
use std::sync::Arc;
use std::time::Instant;

/// Points of a learning curve.
const CURVE: usize = 50;

/// Some rows with their labels, ready to compute with.
#[derive(Clone, Debug)]
pub struct Rows {
    /// `[n, dim]`
    pub features: Arc<dyn RowSource>,
    /// `[n]`
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
}

impl Rows {
    /// Gathers rows and standardises them.
    ///
    /// # Errors
    /// Features that cannot be standardised.
    pub fn gather(data: &Samples, part: &Labelled, standardizer: &Standardizer) -> Result<Self, CompareError> {
        let features = data.gather(&part.rows, Some(standardizer))?;
        Ok(Self { features, labels: part.labels.clone(), classes: part.classes })
    }

    /// Statistics of the features of some rows: those that are trained on, so that nothing is learned from others.
    ///
    /// # Errors
    /// No rows, or features that are not finite.
    pub fn standardizer(data: &Samples, part: &Labelled) -> Result<Standardizer, CompareError> {
        Ok(data.prepare(&part.rows)?)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Labels as the metrics read them.
    pub fn indices(&self) -> Vec<usize> {
        self.labels.iter().map(|l| *l as usize).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// What one training is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The objective with all tuned parameters.
    pub spec: String,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// The budget.
    pub steps: usize,
    /// Of weights and batches.
    pub seed: u64,
}

/// What one training gave.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The trained head.
    pub head: Head,
    /// `(step, mean loss of the steps since the point before)`.
    pub curve: Vec<(usize, f64)>,
    /// Wall time of the training alone.
    pub seconds: f64,
}

/// The head of a candidate: one trunk for all but `linear`.
pub fn head_for(candidate: &Candidate, config: &CompareConfig) -> HeadConfig {
    let (hidden, embedding) = (Some(config.hidden), Some(config.embedding));
    match (config.head, candidate.classes, candidate.cosine) {
        (HeadChoice::Linear, ..) => HeadConfig::linear(),
        (_, false, _) => HeadConfig::Projection { hidden: config.hidden, out: config.embedding },
        (HeadChoice::Cosine, true, _) | (_, true, true) => HeadConfig::Cosine { hidden, embedding },
        (_, true, false) => HeadConfig::Linear { hidden, embedding, bias: true },
    }
}

/// The configuration of one training, as `keener train` would read it.
pub(crate) fn train_config(candidate: &Candidate, config: &CompareConfig, fit: &Fit) -> TrainConfig {
    TrainConfig {
        head: head_for(candidate, config),
        objective: fit.spec.clone(),
        learning_rate: fit.learning_rate,
        weight_decay: config.weight_decay,
        batch_size: config.batch,
        steps: fit.steps,
        warmup: fit.steps / 20,
        seed: fit.seed,
        class_weights: match candidate.baseline {
            Baseline::ClassWeights => ClassWeights::Balanced,
            _ => ClassWeights::None,
        },
        ..TrainConfig::default()
    }
}

/// Trains one head.
///
/// # Errors
/// What the training raises, [`Error::Diverged`] among it.
pub fn fit(candidate: &Candidate, config: &CompareConfig, rows: &Rows, fit: &Fit) -> Result<Fitted, Error> {
    let data = crate::Labelled::from_source(&*rows.features, &rows.labels, rows.classes)?;
    let started = Instant::now();
    let mut training = Training::new(train_config(candidate, config, fit), data, &Device::flex())?;
    for _ in 0..fit.steps {
        training.step()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let width = fit.steps.div_ceil(CURVE).max(1);
    let point = |some: &[crate::StepRecord]| {
        let mean = some.iter().map(|r| f64::from(r.loss)).sum::<f64>() / some.len() as f64;
        (some.last().map_or(0, |r| r.step + 1), mean)
    };
    let curve = training.records().chunks(width).map(point).collect();
    Ok(Fitted { head: training.head().clone(), curve, seconds })
}
