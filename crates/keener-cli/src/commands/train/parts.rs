//! Which rows are trained on, which validate, which are tested.

use super::bags;
use super::run_folder::{ReadoutRecord, RunConfig};
use crate::error::Failure;
use anyhow::Result;
use keener_burn::Head;
use keener_burn::compare::Rows;
use keener_data::split::{self, Split, TEST, TRAIN, VALIDATION};
use keener_data::{Samples, Standardizer};
use serde::Serialize;

/// The rows of a training.
pub(super) struct Parts {
    pub(super) train: Rows,
    pub(super) validation: Rows,
    pub(super) test: Option<Rows>,
    /// Statistics of the training rows.
    pub(super) standardizer: Option<Standardizer>,
    /// Bags of the training rows and their responses.
    pub(super) bags: Option<(Vec<u32>, Vec<f32>)>,
}

/// The rows of each part, by number.
pub(super) struct PartRows {
    pub(super) train: Vec<usize>,
    pub(super) validation: Vec<usize>,
    pub(super) test: Option<Vec<usize>>,
    bags: Option<bags::Chosen>,
}

/// Draws the parts, or takes them from a split. Where a split has no part `validation`, a share of its part `train` is
/// drawn; groups and bags stay whole.
///
/// # Errors
/// Classes without rows to train on, parts without rows.
pub(super) fn rows(data: &Samples, config: &RunConfig, split: Option<&Split>) -> Result<PartRows> {
    let all: Vec<usize> = (0..data.rows()).collect();
    let bags = bags::choose(config, data)?;
    let groups = match &bags {
        Some(bags::Chosen::Given(bags)) => Some(bags.of_rows.as_slice()),
        _ => data.groups(),
    };
    let halves = |rows: &[usize]| halves(data, groups, config, rows);
    let (train, validation, test) = match split {
        None => {
            let (train, validation) = halves(&all)?;
            (train, validation, None)
        }
        Some(split) => {
            if split.rows() > data.rows() {
                split.check(data.rows(), "")?;
            }
            let part = |name: &str| split.part(name).filter(|rows| !rows.is_empty()).map(<[usize]>::to_vec);
            let Some(train) = part(TRAIN) else {
                let names: Vec<&str> = split.parts().iter().map(|(name, _)| name.as_str()).collect();
                let message = format!("the split has no rows in a part `{TRAIN}`; its parts are {}", names.join(", "));
                return Err(Failure::wrong(message).hint("parts called train, validation and test").into());
            };
            let (train, validation) = match part(VALIDATION) {
                Some(validation) => (train, validation),
                None => halves(&train)?,
            };
            (train, validation, part(TEST))
        }
    };
    let mut counts = vec![0; data.num_classes()];
    train.iter().for_each(|&row| counts[data.labels()[row] as usize] += 1);
    if let Some(class) = counts.iter().position(|count| *count == 0) {
        let message = format!("class `{}` has no rows to train on", data.class_names()[class]);
        return Err(Failure::wrong(message).hint("leave such classes out, or another split").into());
    }
    Ok(PartRows { train, validation, test, bags })
}

/// The parts as they are trained on.
///
/// # Errors
/// As [`rows`], and features that cannot be standardised.
pub(super) fn draw(data: &Samples, config: &RunConfig, split: Option<&Split>) -> Result<Parts> {
    let PartRows { train: trained, validation, test, bags } = rows(data, config, split)?;
    let standardizer = config.standardize.then(|| data.prepare(&trained)).transpose()?;
    let rows = |part: &[usize]| -> Result<Rows> {
        let features = data.gather(part, standardizer.as_ref())?;
        let labels = part.iter().map(|row| data.labels()[*row]).collect();
        Ok(Rows { features, labels, classes: data.num_classes() })
    };
    let validation = capped(validation, data.num_classes());
    let mut train = rows(&trained)?;
    if let Some(noise) = &config.label_noise {
        train.labels = noise.apply(&train.labels, train.classes, config.train.seed)?.labels;
    }
    let bags = bags.map(|chosen| bags::of_training(config, &chosen, data, &trained, &train.labels)).transpose()?;
    Ok(Parts {
        bags,
        train,
        validation: rows(&validation)?,
        test: test.map(|test| rows(&test)).transpose()?,
        standardizer,
    })
}

/// Some rows divided into those to train on and those that validate.
fn halves(
    data: &Samples,
    groups: Option<&[u32]>,
    config: &RunConfig,
    rows: &[usize],
) -> Result<(Vec<usize>, Vec<usize>)> {
    let fractions = [1.0 - config.validation, config.validation];
    let labels: Vec<u32> = rows.iter().map(|&row| data.labels()[row]).collect();
    let parts = match groups {
        Some(groups) => {
            let groups: Vec<u32> = rows.iter().map(|&row| groups[row]).collect();
            split::group_wise(&labels, &groups, &fractions, config.train.seed)?
        }
        None => {
            let mut counts = vec![0; data.num_classes()];
            labels.iter().for_each(|&label| counts[label as usize] += 1);
            if let Some(class) = counts.iter().position(|count| *count < 2) {
                let (name, rows) = (&data.class_names()[class], counts[class]);
                let message =
                    format!("class `{name}` has {rows} rows, expected at least 2: one to train on and one to validate");
                return Err(Failure::wrong(message).hint("leave such classes out").into());
            }
            split::stratified(&labels, &fractions, config.train.seed)?
        }
    };
    let half = |part: &[usize]| part.iter().map(|&place| rows[place]).collect();
    Ok((half(&parts[0]), half(&parts[1])))
}

/// As many of the rows, evenly spread, as have their logits and probabilities in an eighth of the memory budget.
fn capped(rows: Vec<usize>, classes: usize) -> Vec<usize> {
    let most = (keener::budget::total() / 8 / (classes * 4 * size_of::<f64>())).max(1);
    if rows.len() <= most {
        return rows;
    }
    let step = rows.len().div_ceil(most);
    let (all, some) = (rows.len(), rows.len().div_ceil(step));
    crate::output::note(&format!("{some} of {all} validation rows are looked at, to keep within the memory budget"));
    rows.into_iter().step_by(step).collect()
}

/// What test rows say.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Tested {
    pub(super) accuracy: f64,
    pub(super) nll: f64,
    pub(super) rows: usize,
}

/// Accuracy and likelihood of test rows, block by block.
///
/// # Errors
/// Rows that cannot be read.
pub(super) fn tested(record: &ReadoutRecord, head: &Head, test: &Rows) -> Result<Tested> {
    use keener::metrics::classification::{accuracy, argmax, nll_from_logits};
    const ROWS: usize = 1 << 13;
    let (labels, mut right, mut nll) = (test.indices(), 0.0, 0.0);
    for first in (0..test.len()).step_by(ROWS) {
        let block = first..(first + ROWS).min(test.len());
        let (labels, count) = (&labels[block.clone()], block.len() as f64);
        let logits = record.logits_of(head, &*test.features, block)?;
        right += count * accuracy(&argmax(&logits, test.classes)?, labels)?;
        nll += count * nll_from_logits(&logits, test.classes, labels)?;
    }
    let rows = test.len();
    Ok(Tested { accuracy: right / rows as f64, nll: nll / rows as f64, rows })
}
