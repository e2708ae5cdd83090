//! The run folder: what it takes to train again, to go on, and to predict.

use super::bags::BagRecord;
use crate::commands::compare::data::DataRecord;
use crate::error::Failure;
use anyhow::Result;
use keener::engine::View;
use keener::estimate::PrototypeClassifier;
use keener_burn::compare::Rows;
use keener_burn::{Head, TrainConfig};
use keener_data::noise::LabelNoise;
use keener_data::{RowSource, Standardizer};
use keener_run::{Identity, Manifest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs;
use std::ops::Range;
use std::path::Path;

pub(crate) const CONFIG: &str = "config.toml";
pub(crate) const METRICS: &str = "metrics.jsonl";
pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";
pub(crate) const READOUT: &str = "readout.json";
pub(crate) const REPORT: &str = "report.html";

/// `config.toml`: with the same data it gives the same model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunConfig {
    pub(crate) version: String,
    /// Share of the rows that validate.
    pub(crate) validation: f64,
    /// Whether features are standardised.
    pub(crate) standardize: bool,
    /// Wrong labels put into the training rows; validation rows keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label_noise: Option<LabelNoise>,
    /// Steps between two validations.
    pub(crate) validate_every: usize,
    /// Where the rows came from.
    pub(crate) data: DataRecord,
    /// Responses that are known by bag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bags: Option<BagRecord>,
    pub(crate) train: TrainConfig,
}

/// `readout.json`: from features to classes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReadoutRecord {
    pub(crate) dim: usize,
    pub(crate) class_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) standardizer: Option<Standardizer>,
    /// Multiplies cosines.
    pub(crate) scale: f64,
    /// Divides logits before the softmax; fitted on validation rows.
    pub(crate) temperature: f64,
    /// Width of the embeddings.
    pub(crate) embedding: usize,
    /// One direction a class in the space of the embeddings, where no class weights are trained (means of the training
    /// rows), or where classes were added afterwards; its scale is the one above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prototypes: Option<PrototypeClassifier>,
}

impl ReadoutRecord {
    /// Logits `[n, classes]` of standardised rows.
    pub(crate) fn logits(&self, head: &Head, rows: &Rows) -> Result<Vec<f64>> {
        self.logits_of(head, &*rows.features, 0..rows.len())
    }

    /// Logits of some standardised rows of a source.
    pub(crate) fn logits_of(&self, head: &Head, source: &dyn RowSource, rows: Range<usize>) -> Result<Vec<f64>> {
        let Some(prototypes) = &self.prototypes else {
            let cosine = matches!(head.config(), keener_burn::HeadConfig::Cosine { .. });
            let factor = if cosine { self.scale } else { 1.0 } / self.temperature;
            let scores = keener_burn::score_rows(head, source, rows)?;
            return Ok(scores.into_iter().map(|s| f64::from(s) * factor).collect());
        };
        let count = rows.len();
        let embeddings = keener_burn::embed_rows(head, source, rows)?;
        let logits = prototypes.logits(View::new(&embeddings, count, self.embedding)?)?;
        Ok(logits.into_iter().map(|z| z / self.temperature).collect())
    }
}

/// Reads a file of a run.
pub(crate) fn read_text(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound if folder.is_dir() => unfinished(folder, name).into(),
        std::io::ErrorKind::NotFound => Failure::file(folder, &e).hint("a folder that `keener train` wrote").into(),
        std::io::ErrorKind::NotADirectory => {
            Failure::wrong(format!("{} is a file, expected a folder that `keener train` wrote", folder.display()))
                .into()
        }
        _ => Failure::file(&path, &e).into(),
    })
}

/// A folder that is no finished training, with the nearest thing to do.
fn unfinished(folder: &Path, name: &str) -> Failure {
    let failure =
        Failure::wrong(format!("{} is no finished run of `keener train`: there is no {name}", folder.display()));
    let shown = crate::paths::shell(&[folder]);
    if folder.join(CHECKPOINT).is_file() {
        return failure.hint(format!("`keener train --resume --out {shown}` finishes it"));
    }
    if folder.join("plan.json").is_file() {
        return failure.hint("`keener train` with the winner of this comparison: a comparison keeps no models");
    }
    let mut runs: Vec<String> = [Path::new("."), Path::new("runs")]
        .into_iter()
        .filter_map(|place| fs::read_dir(place).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.join(READOUT).is_file())
        .map(|path| format!("`{}`", path.strip_prefix(".").unwrap_or(&path).display()))
        .collect();
    runs.sort();
    runs.truncate(3);
    match runs.is_empty() {
        true => failure.hint("`keener train data.csv --objective softmax_cross_entropy` makes one"),
        false => failure.hint(runs.join(" or ")),
    }
}

/// Reads a JSON file of a run.
pub(crate) fn read_json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let text = read_text(folder, name)?;
    serde_json::from_str(&text).map_err(|e| Failure::wrong(format!("{}: {e}", folder.join(name).display())).into())
}

/// What makes a folder a run of this command.
pub(crate) fn identity() -> Identity {
    Identity::new("train", None)
}

/// Refuses a run that another version wrote.
pub(crate) fn check_version(folder: &Path) -> Result<()> {
    Manifest::read(folder)?;
    Ok(())
}
