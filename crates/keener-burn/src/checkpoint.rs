//! A run on disk: weights, optimiser state, state by sample, step and records in one file. Batches and attacks are functions of seed and
//! step, so nothing else is needed to go on bit for bit.

use crate::config::TrainConfig;
use crate::data::Labelled;
use crate::error::{Error, Result};
use crate::file::{self, HeadShape, Named};
use crate::loss::ObjectiveLoss;
use crate::train::{StepRecord, Training};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Prefix of per-sample state.
const SAMPLES: &str = "samples.";

const CHECKPOINT: &str = "keener_checkpoint";

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    config: TrainConfig,
    head: HeadShape,
    /// In hexadecimal: JSON numbers lose bits of it.
    data: String,
    steps: usize,
}

impl<'a> Training<'a> {
    /// Writes the run as safetensors, atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_checkpoint(&self, path: &Path) -> Result<()> {
        let header = Header {
            config: self.config.clone(),
            head: HeadShape::of(&self.head),
            data: format!("{:016x}", self.data_fingerprint()?),
            steps: self.steps_done(),
        };
        let mut named: Named = Vec::new();
        for (name, shape, values) in self.head.named_parameters()? {
            named.push((format!("head.{name}"), shape, values));
        }
        for (prefix, states) in [("first.", &self.optimizer.first), ("second.", &self.optimizer.second)] {
            named.extend(
                states.iter().map(|(name, values)| (format!("{prefix}{name}"), vec![values.len()], values.clone())),
            );
        }
        for field in self.samples.fields() {
            // NaN marks samples that were never written; a stored value never is.
            let values: Vec<f32> = self.samples.field(field).iter().map(|v| v.unwrap_or(f32::NAN)).collect();
            named.push((format!("{SAMPLES}{field}"), vec![values.len()], values));
        }
        let losses: Vec<f32> = self.records.iter().map(|r| r.loss).collect();
        named.push(("losses".into(), vec![losses.len()], losses));
        file::write(path, CHECKPOINT, &header, &named)
    }

    fn data_fingerprint(&self) -> Result<u64> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(*known);
        }
        let found = self.data.fingerprint()?;
        Ok(*self.fingerprint.get_or_init(|| found))
    }

    /// Goes on where [`Training::save_checkpoint`] left off, with the configuration of the checkpoint.
    ///
    /// # Errors
    /// [`Error::Format`] for other files and for other data than those of the run.
    pub fn resume(path: &Path, data: Labelled<'a>, device: &Device) -> Result<Self> {
        let (header, mut named) = file::read::<Header>(path, CHECKPOINT)?;
        let fingerprint = data.fingerprint()?;
        if header.data != format!("{fingerprint:016x}") {
            return Err(Error::format(path, "the run was started on other features or labels"));
        }
        header.config.check()?;
        let device = device.clone().autodiff();
        let head = header.head.build("head.", &mut named, path, &device)?;
        let losses = named.remove("losses").unwrap_or_default();
        if losses.len() != header.steps {
            let reason = format!("{} losses of {} steps", losses.len(), header.steps);
            return Err(Error::format(path, reason));
        }
        let loss = ObjectiveLoss::parse(&header.config.objective)?;
        let mut training = Self::with_head(header.config, data, head, loss, device)?;
        let lengths: BTreeMap<String, usize> =
            training.head.named_parameters()?.into_iter().map(|(name, _, values)| (name, values.len())).collect();
        for (name, values) in named {
            if let Some(field) = name.strip_prefix(SAMPLES) {
                let values = values.into_iter().map(|v| Some(v).filter(|v| !v.is_nan())).collect();
                training.samples.set_field(field, values);
                continue;
            }
            let states = &mut training.optimizer;
            let (of, states) = match (name.strip_prefix("first."), name.strip_prefix("second.")) {
                (Some(of), _) => (of, &mut states.first),
                (_, Some(of)) => (of, &mut states.second),
                _ => return Err(Error::format(path, format!("unexpected tensor `{name}`"))),
            };
            if lengths.get(of) != Some(&values.len()) {
                return Err(Error::format(path, format!("`{name}` does not fit the head")));
            }
            states.insert(of.to_string(), values);
        }
        let record = |(step, loss): (usize, f32)| StepRecord {
            step,
            loss,
            learning_rate: training.config.learning_rate_at(step),
        };
        training.records = losses.into_iter().enumerate().map(record).collect();
        Ok(training)
    }
}
