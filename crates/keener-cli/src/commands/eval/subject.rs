//! What is evaluated, from what is there: a run, a file of embeddings, a file of scores.

use super::scores::{Kind, Scores};
use crate::commands::train::run_folder::{MODEL, READOUT, ReadoutRecord, check_version, read_json};
use crate::commands::train::validation_rows;
use crate::error::Failure;
use anyhow::Result;
use keener_burn::Head;
use keener_data::{Dataset, ReadOptions};
use std::path::{Path, PathBuf};

/// What the columns of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum As {
    /// Probabilities where there are as many columns as classes and rows sum to one; scores where one column meets two classes;
    /// else embeddings
    Auto,
    /// Coordinates
    Embeddings,
    /// Class scores before the softmax; one column: the log-odds of the second class
    Logits,
    /// Class probabilities; one column: of the second class
    Probabilities,
    /// One column of which only the order is known
    Scores,
}

/// Embeddings as they were read.
pub(crate) struct Points {
    pub(crate) values: Vec<f32>,
    pub(crate) dim: usize,
    pub(crate) gallery: Option<(Vec<f32>, Vec<usize>)>,
}

/// What there is to judge.
pub(crate) struct Subject {
    pub(crate) source: String,
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) labels: Vec<usize>,
    pub(crate) class_names: Vec<String>,
    pub(crate) points: Option<Points>,
    pub(crate) scores: Option<Scores>,
    /// What is missing for other groups.
    pub(crate) missing: Vec<(&'static str, String)>,
}

/// Where a subject comes from.
pub(crate) struct Source<'a> {
    pub(crate) subject: &'a Path,
    pub(crate) data: Option<&'a Path>,
    pub(crate) labels: Option<PathBuf>,
    pub(crate) label_column: Option<String>,
    pub(crate) gallery: Option<&'a Path>,
    pub(crate) gallery_labels: Option<PathBuf>,
    pub(crate) kind: As,
}

const NO_SCORES: &str = "needs class scores: a run, or a file of logits or probabilities with `--as`";
const NO_POINTS: &str = "needs embeddings: a run, or a file of embeddings with `--as embeddings`";

fn indices(data: &Dataset) -> Vec<usize> {
    data.labels.iter().map(|l| *l as usize).collect()
}

impl Source<'_> {
    /// Reads it.
    ///
    /// # Errors
    /// Files that cannot be read or do not belong together.
    pub(crate) fn open(&self) -> Result<Subject> {
        if self.subject.is_dir() && self.subject.join(READOUT).is_file() {
            return self.run();
        }
        if let Some(data) = self.data {
            let message =
                format!("{} is no run, so that {} is one file too many", self.subject.display(), data.display());
            return Err(Failure::wrong(message)
                .hint("`--labels FILE` for labels, `--gallery FILE` for another set to search")
                .hint("a folder that `keener train` wrote and finished, to judge a model on other rows")
                .into());
        }
        self.file()
    }

    fn options(&self, class_names: Option<Vec<String>>) -> ReadOptions {
        ReadOptions {
            labels: self.labels.clone(),
            label_column: self.label_column.clone(),
            class_names,
            ..ReadOptions::default()
        }
    }

    fn run(&self) -> Result<Subject> {
        let run = self.subject;
        if self.gallery.is_some() || !matches!(self.kind, As::Auto) {
            return Err(Failure::wrong("`--gallery` and `--as` are for files, not for a run")
                .hint("`keener predict RUN FILE --embed --out FILE.csv` writes embeddings to a file")
                .into());
        }
        check_version(run)?;
        let record: ReadoutRecord = read_json(run, READOUT)?;
        let head = Head::load(&run.join(MODEL), &keener_burn::compare::cpu())?;
        let (data, rows, what) = match self.data {
            Some(path) => {
                let options = self.options(Some(record.class_names.clone()));
                let data = keener_data::open_samples(path, &options, usize::MAX)?;
                let rows = (0..data.rows()).collect();
                (data, rows, "rows of another file")
            }
            None => {
                let (data, rows) = validation_rows(run)?;
                (data, rows, "the validation rows of the run")
            }
        };
        if data.dim() != record.dim {
            let message = format!(
                "{} has {} features a row, expected {} as in the data that {} was trained on",
                data.source(),
                data.dim(),
                record.dim,
                run.display()
            );
            return Err(Failure::wrong(message).hint("`--label-column COLUMN`, if one of them is a label").into());
        }
        let features = data.gather(&rows, record.standardizer.as_ref())?;
        let labels: Vec<usize> = rows.iter().map(|row| data.labels()[*row] as usize).collect();
        let classes = record.class_names.len();
        let logits = record.logits_of(&head, &*features, 0..labels.len())?;
        let values = keener_burn::embed_rows(&head, &*features, 0..labels.len())?;
        let dim = values.len() / labels.len().max(1);
        Ok(Subject {
            source: run.display().to_string(),
            facts: facts(labels.len(), &record.class_names, &[("data", format!("{what}: {}", data.source()))]),
            scores: Some(Scores { values: logits, columns: classes, labels: labels.clone(), kind: Kind::Logits }),
            points: Some(Points { values, dim, gallery: None }),
            labels,
            class_names: record.class_names,
            missing: Vec::new(),
        })
    }

    fn file(&self) -> Result<Subject> {
        let mut data = keener_data::open(self.subject, &self.options(None))?;
        let kind = match self.kind {
            As::Auto if self.gallery.is_some() => As::Embeddings,
            As::Auto if data.dim == data.num_classes() && sums_to_one(&data) => As::Probabilities,
            As::Auto if data.dim == 1 && data.num_classes() == 2 => As::Scores,
            As::Auto => As::Embeddings,
            kind => kind,
        };
        let source = self.subject.display().to_string();
        if kind != As::Embeddings {
            if self.gallery.is_some() {
                return Err(Failure::wrong("`--gallery` compares embeddings, and these are scores")
                    .hint("`--as embeddings`")
                    .into());
            }
            let scores = scores(&data, kind)?;
            let what = match scores.kind {
                Kind::Logits => "logits",
                Kind::Probabilities => "probabilities",
                Kind::Decision => "scores of the second class",
            };
            let no_points = |name| (name, NO_POINTS.to_string());
            return Ok(Subject {
                source,
                facts: facts(data.rows(), &data.class_names, &[("columns", what.to_string())]),
                labels: indices(&data),
                class_names: scores_names(&data, &scores),
                points: None,
                scores: Some(scores),
                missing: ["retrieval", "verification", "clustering", "spread"].map(no_points).to_vec(),
            });
        }
        let mut more = vec![("columns", format!("embeddings of width {}", data.dim))];
        let mut labels = indices(&data);
        let gallery = match self.gallery {
            None => None,
            Some(path) => {
                let options = ReadOptions { labels: self.gallery_labels.clone(), ..self.options(None) };
                let gallery = keener_data::open(path, &options)?;
                if gallery.dim != data.dim {
                    let (a, b) = (path.display(), self.subject.display());
                    let message = format!("{a} has {} columns, expected {} as {b} has", gallery.dim, data.dim);
                    return Err(Failure::wrong(message).into());
                }
                more.push(("gallery", format!("{} rows of {}", gallery.rows(), path.display())));
                Some(joined(&mut data, &mut labels, gallery))
            }
        };
        Ok(Subject {
            source,
            facts: facts(labels.len(), &data.class_names, &more),
            labels,
            points: Some(Points { values: std::mem::take(&mut data.features), dim: data.dim, gallery }),
            class_names: data.class_names,
            scores: None,
            missing: vec![("classification", NO_SCORES.to_string())],
        })
    }
}

fn facts(rows: usize, classes: &[String], more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut facts = vec![("rows", rows.to_string()), ("classes", classes.len().to_string())];
    facts.extend_from_slice(more);
    facts
}

/// The gallery with its labels in the numbering of the queries' classes, which grows by those that only the gallery has.
fn joined(data: &mut Dataset, labels: &mut [usize], gallery: Dataset) -> (Vec<f32>, Vec<usize>) {
    let mut numbers: std::collections::HashMap<String, usize> = data.class_names.iter().cloned().zip(0..).collect();
    let map: Vec<usize> = gallery
        .class_names
        .iter()
        .map(|name| {
            let next = numbers.len();
            *numbers.entry(name.clone()).or_insert_with(|| {
                data.class_names.push(name.clone());
                next
            })
        })
        .collect();
    debug_assert!(labels.iter().all(|l| *l < data.class_names.len()));
    let others = gallery.labels.iter().map(|l| map[*l as usize]).collect();
    (gallery.features, others)
}

fn sums_to_one(data: &Dataset) -> bool {
    data.features
        .chunks_exact(data.dim.max(1))
        .all(|row| row.iter().all(|p| (0.0..=1.0).contains(p)) && (row.iter().sum::<f32>() - 1.0).abs() < 1e-3)
}

/// Scores of the classes, with labels that name columns.
fn scores(data: &Dataset, kind: As) -> Result<Scores> {
    let wrong = |message: String| Err(Failure::wrong(format!("{}: {message}", data.source)).into());
    let values: Vec<f64> = data.features.iter().map(|v| f64::from(*v)).collect();
    if data.dim == 1 {
        if data.num_classes() != 2 {
            return wrong(format!("one column of scores for {} classes, expected 2 classes", data.num_classes()));
        }
        let labels = indices(data);
        let pair = |kind, pair: &dyn Fn(f64) -> [f64; 2]| Scores {
            values: values.iter().flat_map(|v| pair(*v)).collect(),
            columns: 2,
            labels: labels.clone(),
            kind,
        };
        return Ok(match kind {
            As::Logits => pair(Kind::Logits, &|v| [0.0, v]),
            As::Probabilities => pair(Kind::Probabilities, &|v| [1.0 - v, v]),
            _ => Scores { values, columns: 1, labels, kind: Kind::Decision },
        });
    }
    if kind == As::Scores {
        return wrong(format!("`--as scores` is for one column, here are {}", data.dim));
    }
    let Some(labels) = columns_of(data) else {
        return wrong(format!(
            "{} columns of scores for {} classes ({}, …): expected labels that are column numbers or column names, or as many columns as classes",
            data.dim,
            data.num_classes(),
            data.class_names.first().map_or("", String::as_str)
        ));
    };
    let kind = if kind == As::Probabilities { Kind::Probabilities } else { Kind::Logits };
    Ok(Scores { values, columns: data.dim, labels, kind })
}

/// The column of each row's class: by the columns' names, else by number, else in the order of the classes.
fn columns_of(data: &Dataset) -> Option<Vec<usize>> {
    let by = |place: &dyn Fn(&String) -> Option<usize>| -> Option<Vec<usize>> {
        let places: Option<Vec<usize>> = data.class_names.iter().map(place).collect();
        places.map(|places| data.labels.iter().map(|l| places[*l as usize]).collect())
    };
    let named = data.feature_names.as_ref().and_then(|names| by(&|class| names.iter().position(|name| name == class)));
    let numbered = || by(&|class| class.parse().ok().filter(|column| *column < data.dim));
    let ordered = || (data.num_classes() == data.dim).then(|| indices(data));
    named.or_else(numbered).or_else(ordered)
}

/// Names of the columns.
fn scores_names(data: &Dataset, scores: &Scores) -> Vec<String> {
    if scores.columns == data.num_classes() && data.dim == 1 {
        return data.class_names.clone();
    }
    match &data.feature_names {
        Some(names) if data.class_names.iter().all(|class| names.contains(class)) => names.clone(),
        _ if scores.columns == data.num_classes() => data.class_names.clone(),
        _ => (0..scores.columns).map(|c| c.to_string()).collect(),
    }
}
