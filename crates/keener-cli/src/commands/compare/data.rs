//! The data that a command works on: the embedded digits, or what the arguments name.

use crate::error::Failure;
use crate::paths;
use anyhow::Result;
use keener_data::{ReadOptions, Samples};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where rows and labels come from.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(crate) struct DataArgs {
    /// File or folder with labelled rows (CSV, TSV, NPY, NPZ, IDX; gzip is undone) [default: the embedded digits]
    #[arg(value_name = "DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A second file that holds the labels
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Column that holds the labels, by name or index [default: label, class, target …, else the last]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label_column: Option<String>,
}

/// The section `[data]` of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataRecord {
    /// Path; none for the embedded digits.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) labels: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label_column: Option<String>,
    /// Hash of the content; once it is there, other data are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
}

impl DataRecord {
    fn with_paths(&self, change: impl Fn(&Path) -> PathBuf) -> Self {
        Self { path: self.path.as_deref().map(&change), labels: self.labels.as_deref().map(&change), ..self.clone() }
    }

    /// Of a file in `folder`: its relative paths as they are from here.
    pub(crate) fn found_from(&self, folder: &Path) -> Self {
        self.with_paths(|path| paths::found_from(folder, path))
    }

    /// For a file in `folder`: relative paths as they are from there.
    pub(crate) fn seen_from(&self, folder: &Path) -> Self {
        self.with_paths(|path| paths::seen_from(folder, path))
    }

    /// Refuses other data than those recorded.
    ///
    /// # Errors
    /// When the content differs.
    pub(crate) fn check(&self, data: &Samples) -> Result<()> {
        match (&self.fingerprint, data.fingerprint()?) {
            (Some(then), now) if *then != now => {
                let message = format!("{} holds other data than then: content {now}, expected {then}", data.source());
                Err(Failure::wrong(message)
                    .hint("the file as it was; or leave `fingerprint` out of the configuration to take the new one")
                    .into())
            }
            _ => Ok(()),
        }
    }
}

impl From<&DataRecord> for DataArgs {
    fn from(record: &DataRecord) -> Self {
        let DataRecord { path, labels, label_column, .. } = record.clone();
        Self { data: path, labels, label_column }
    }
}

impl DataArgs {
    /// Whether something was given.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// What was given over what a file says; a path of its own begins anew.
    ///
    /// # Errors
    /// Labels of nothing.
    pub(crate) fn over(&self, record: &DataRecord) -> Result<DataRecord> {
        let base = if self.data.is_some() { DataRecord::default() } else { record.clone() };
        let path = self.data.clone().or(base.path);
        if path.is_none() {
            let option = if self.labels.is_some() { "--labels" } else { "--label-column" };
            return Err(Failure::wrong(format!(
                "`{option}` needs a file of rows: the embedded digits have their labels"
            ))
            .hint("the file before it, as in `keener train data.csv --label-column species --objective focal`")
            .into());
        }
        let (labels, label_column) =
            (self.labels.clone().or(base.labels), self.label_column.clone().or(base.label_column));
        Ok(DataRecord { path, labels, label_column, fingerprint: None })
    }

    /// Reads the data.
    pub(crate) fn open(&self) -> Result<Samples> {
        let Some(path) = &self.data else { return Ok(keener_data::digits().into()) };
        let options = ReadOptions {
            labels: self.labels.clone(),
            label_column: self.label_column.clone(),
            ..ReadOptions::default()
        };
        let samples = keener_data::open_samples(path, &options, usize::MAX)?;
        samples.require_two_classes()?;
        Ok(samples)
    }

    /// The arguments again, for a command line that reproduces a run.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.data.iter().map(OsString::from).collect();
        words.extend(self.labels.iter().flat_map(|path| ["--labels".into(), path.into()]));
        words.extend(self.label_column.iter().flat_map(|column| ["--label-column".into(), column.into()]));
        words
    }
}
