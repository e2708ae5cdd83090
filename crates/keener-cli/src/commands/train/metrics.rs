//! `metrics.jsonl`, record by record, and a line for who watches.

use super::run_folder::METRICS;
use anyhow::Result;
use keener_burn::{Diagnosis, Training};
use keener_run::Log;
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Steps done.
    pub(crate) step: usize,
    /// Mean of the steps since the record before.
    pub(crate) loss: f64,
    pub(crate) learning_rate: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<Validation>,
    /// Whether training has stalled, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) diagnosis: Option<Diagnosis>,
}

/// What validation rows say.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Validation {
    pub(crate) accuracy: f64,
    pub(crate) nll: f64,
    pub(crate) temperature: f64,
}

/// The open file with all its records.
pub(crate) struct Metrics {
    log: Log,
    records: Vec<Record>,
    quiet: bool,
}

impl Metrics {
    /// Opens the file; records after step `done`, which the checkpoint does not know, are dropped.
    ///
    /// # Errors
    /// A file that cannot be written, or holds something else.
    pub(crate) fn open(folder: &Path, done: usize, quiet: bool) -> Result<Self> {
        let (log, records) = Log::open(&folder.join(METRICS), |record: &Record| record.step <= done)?;
        Ok(Self { log, records, quiet })
    }

    /// `(step, validation)`, also of what an earlier process did.
    pub(crate) fn validations(&self) -> Vec<(f64, Validation)> {
        self.records.iter().filter_map(|r| Some((r.step as f64, r.validation?))).collect()
    }

    /// Writes the mean loss of the last `window` steps; it is on disk when this returns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn write(
        &mut self,
        training: &Training<'_>,
        window: usize,
        validation: Validation,
        diagnosis: Option<Diagnosis>,
    ) -> Result<()> {
        let records = training.records();
        let last = &records[records.len().saturating_sub(window)..];
        let loss = last.iter().map(|r| f64::from(r.loss)).sum::<f64>() / last.len().max(1) as f64;
        let learning_rate = last.last().map_or(0.0, |r| r.learning_rate);
        let record = Record { step: records.len(), loss, learning_rate, validation: Some(validation), diagnosis };
        self.log.append(&record)?;
        self.records.push(record);
        if !self.quiet {
            let (step, steps) = (records.len(), training.config().steps);
            let mut text =
                format!("step {step}/{steps}  loss {loss:.4}  validation accuracy {:.3}", validation.accuracy);
            if let Some(found) = diagnosis {
                let percent =
                    found.collapsed.map_or(String::new(), |c| format!("  softmax collapsed {:.1} %", 100.0 * c));
                let cosine = found.alignment.map_or(String::new(), |c| format!("  alignment with weights {c:.2}"));
                text += &format!("{percent}{cosine}  gradient {:.1e}", found.gradient);
            }
            let mut stderr = std::io::stderr();
            let line = match stderr.is_terminal() {
                true if step < steps => format!("\r\x1b[2K{text}"),
                true => format!("\r\x1b[2K{text}\n"),
                false => text + "\n",
            };
            // Nothing is to be done about a closed standard error.
            let _ = stderr.write_all(line.as_bytes());
        }
        Ok(())
    }
}
