//! Training on responses that are known by bag: which bags, and what is known of them.

use super::run_folder::RunConfig;
use crate::error::Failure;
use crate::paths;
use anyhow::Result;
use keener::objective::Reads;
use keener_burn::reads_of;
use keener_data::Samples;
use keener_data::bags::Bags;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The section `[bags]` of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BagRecord {
    /// Random bags of so many training rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<usize>,
    /// A file with the bag of each row.
    #[serde(skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) file: Option<PathBuf>,
    /// A table with the response of each bag; left out: shares of the labels.
    #[serde(skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) responses: Option<PathBuf>,
}

impl BagRecord {
    /// With its paths changed.
    pub(crate) fn with_paths(&self, change: impl Fn(&Path) -> PathBuf) -> Self {
        let changed = |path: &Option<PathBuf>| path.as_deref().map(&change);
        Self { size: self.size, file: changed(&self.file), responses: changed(&self.responses) }
    }
}

/// The bags of a run.
pub(super) enum Chosen {
    /// Bags that were given, of all rows.
    Given(Bags),
    /// Random bags of this size, of the training rows.
    Random(usize),
}

/// Reads the bags that a configuration asks for.
///
/// # Errors
/// Objectives that read no bags, files that cannot be read, one id too many or too few, responses of random bags.
pub(super) fn choose(config: &RunConfig, data: &Samples) -> Result<Option<Chosen>> {
    let Some(record) = &config.bags else { return Ok(None) };
    let objective = &config.train.objective;
    if !reads_of(objective)?.contains(&Reads::Bags) {
        let message = format!("`{objective}` reads the class of each row and no bags");
        return Err(Failure::wrong(message).hint("`--objective aggregate:kind=bce`, or no bags").into());
    }
    match (record.size, &record.file) {
        (Some(_), Some(_)) => Err(Failure::wrong("bags from a file have their sizes").hint("one of the two").into()),
        (Some(_), None) if record.responses.is_some() => {
            Err(Failure::wrong("random bags have no names by which a file of responses could speak of them")
                .hint("a file with the bag of each row")
                .into())
        }
        (Some(size), None) => Ok(Some(Chosen::Random(size))),
        (None, Some(file)) => {
            let bags = Bags::read(file)?;
            match bags.of_rows.len() == data.rows() {
                true => Ok(Some(Chosen::Given(bags))),
                false => Err(Failure::wrong(format!(
                    "{} has {} bag ids, expected {}: one a row of the data",
                    file.display(),
                    bags.of_rows.len(),
                    data.rows()
                ))
                .into()),
            }
        }
        (None, None) => Err(Failure::wrong("there are no bags").hint("`--bag-size 8`, or `--bags FILE`").into()),
    }
}

/// The bags of the training rows, and their responses `[M, classes]`.
///
/// # Errors
/// Responses that are missing, twice or no numbers; a size of 0.
pub(super) fn of_training(
    config: &RunConfig,
    chosen: &Chosen,
    data: &Samples,
    rows: &[usize],
    labels: &[u32],
) -> Result<(Vec<u32>, Vec<f32>)> {
    let bags = match chosen {
        Chosen::Random(size) => Bags::random(rows.len(), *size, config.train.seed)?,
        Chosen::Given(bags) => bags.select(rows),
    };
    let responses = match config.bags.as_ref().and_then(|record| record.responses.as_ref()) {
        Some(file) => bags.read_responses(file, data.class_names())?,
        None => bags.shares(labels, data.num_classes()),
    };
    Ok((bags.of_rows, responses))
}
