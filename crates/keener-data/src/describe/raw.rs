//! A file read without a demand: whatever can be a number, and labels as they are.

use std::path::Path;
use std::sync::Arc;

use super::table::read_table;
use super::{LabelProfile, Places, TextColumn};
use crate::error::DataError;
use crate::formats::{self, Format, Want};
use crate::labels::RawLabels;
use crate::open::{Source, labels_beside, load, resolve};
use crate::options::ReadOptions;
use crate::samples::open::as_source;
use crate::source::RowSource;

/// Rows and labels as a file holds them.
pub(super) struct Raw {
    pub(super) file: String,
    pub(super) format: String,
    pub(super) features: Arc<dyn RowSource>,
    pub(super) names: Option<Vec<String>>,
    /// Columns of `features` that are text and hold NaN there, with what they are.
    pub(super) text: Vec<usize>,
    pub(super) text_columns: Vec<TextColumn>,
    pub(super) text_cells: Places,
    /// A hash of the texts of each row.
    pub(super) text_hashes: Vec<u64>,
    pub(super) labels: Option<Labels>,
}

/// Labels and where they come from.
pub(super) struct Labels {
    source: String,
    /// Class of each row; one more than there are classes where a label is missing.
    classes: Vec<u32>,
    names: Vec<String>,
    missing: usize,
    problem: Option<String>,
}

impl Labels {
    pub(super) fn new(file: &str, source: String, raw: RawLabels, listed: Option<Vec<String>>) -> Self {
        let absent: Vec<bool> = match &raw {
            RawLabels::Text(texts) => texts.iter().map(|text| text.trim().is_empty()).collect(),
            RawLabels::Integers(_) | RawLabels::Sets(_) => Vec::new(),
        };
        let present = match raw {
            RawLabels::Text(texts) => {
                RawLabels::Text(texts.into_iter().filter(|text| !text.trim().is_empty()).collect())
            }
            other => other,
        };
        let missing = absent.iter().filter(|absent| **absent).count();
        match present.into_classes(file, None, listed) {
            Ok((classes, names)) if missing > 0 => {
                let (mut classes, none) = (classes.into_iter(), names.len() as u32);
                let of = |absent: &bool| if *absent { none } else { classes.next().unwrap_or(none) };
                Self { source, classes: absent.iter().map(of).collect(), names, missing, problem: None }
            }
            Ok((classes, names)) => Self { source, classes, names, missing, problem: None },
            Err(error) => {
                Self { source, classes: Vec::new(), names: Vec::new(), missing, problem: Some(error.to_string()) }
            }
        }
    }
}

impl Raw {
    /// The hash of the texts of a row, where there are some.
    pub(super) fn text_of(&self, row: usize) -> Option<u64> {
        self.text_hashes.get(row).copied()
    }

    /// The class of a row, where it has one.
    pub(super) fn class_of(&self, row: usize) -> Option<u32> {
        self.labels.as_ref()?.classes.get(row).copied()
    }

    /// Which columns are text; empty where none is.
    pub(super) fn is_text(&self) -> Vec<bool> {
        let mut text = vec![false; if self.text.is_empty() { 0 } else { self.features.dim() }];
        self.text.iter().for_each(|&column| text[column] = true);
        text
    }

    pub(super) fn label_profile(&self) -> Option<LabelProfile> {
        let labels = self.labels.as_ref()?;
        let mut counts = vec![0; labels.names.len() + 1];
        labels.classes.iter().for_each(|&class| counts[class as usize] += 1);
        Some(LabelProfile {
            source: labels.source.clone(),
            classes: labels.names.iter().cloned().zip(counts).collect(),
            missing: labels.missing,
            problem: labels.problem.clone(),
        })
    }
}

/// Reads a file.
pub(super) fn read(path: &Path, options: &ReadOptions, memory: usize) -> Result<Raw, DataError> {
    let options = &ReadOptions { keep_non_finite: true, ..options.clone() };
    let source = resolve(path, options.part)?;
    let file = source.shown(path);
    let beside = match &source {
        Source::File(found) => options.labels.clone().or_else(|| labels_beside(found)),
        Source::Images(_) => options.labels.clone(),
    };
    let plain = |features, names, format: String, labels| Raw {
        file: file.clone(),
        format,
        features,
        names,
        text: Vec::new(),
        text_columns: Vec::new(),
        text_cells: Places::default(),
        text_hashes: Vec::new(),
        labels,
    };
    let second = |labels: &Path| -> Result<Labels, DataError> {
        let alone = ReadOptions { columns: Vec::new(), leave_out: Vec::new(), format: None, ..options.clone() };
        let table = Source::File(labels.to_path_buf()).read(labels, Want::Labels, &alone)?;
        let shown = labels.display().to_string();
        let raw = table.labels.ok_or_else(|| DataError::Empty { place: shown.clone(), what: "labels".into() })?;
        let why = if options.labels.is_some() { "as asked" } else { "the file beside it" };
        Ok(Labels::new(&shown, format!("{shown} ({why})"), raw, table.class_names))
    };
    let alone = ReadOptions { label_column: None, drop_labels: false, ..options.clone() };
    if let Source::File(found) = &source {
        let (want, mine) = if beside.is_some() { (Want::Features, &alone) } else { (Want::Labelled, options) };
        if let Some(on_disk) = crate::samples::disk::open(found, want, mine, memory)? {
            let format = Format::of_path(found).map_or("array", Format::word).to_string();
            let labels = match (&beside, on_disk.labels) {
                (Some(labels), _) => Some(second(labels)?),
                (None, Some(raw)) => Some(Labels::new(&file, of_file(options), raw, on_disk.class_names)),
                (None, None) => None,
            };
            return Ok(plain(on_disk.features, on_disk.names, format, labels));
        }
        let bytes = load(found)?;
        let (bytes, inner) = formats::uncompressed(&file, &bytes)?;
        let format = match options.format {
            Some(format) => format,
            None => Format::detect(inner, &bytes)?,
        };
        if matches!(format, Format::Csv | Format::Tsv) {
            let want = if beside.is_some() { Want::Features } else { Want::Labelled };
            let mut raw = read_table(&file, &bytes, format, want, if beside.is_some() { &alone } else { options })?;
            if let Some(labels) = &beside {
                raw.labels = Some(second(labels)?);
            }
            return Ok(raw);
        }
        let word = format.word().to_string();
        if let Some(labels) = &beside {
            let table = formats::read(&file, &bytes, Want::Features, &alone)?;
            let features =
                table.features.ok_or_else(|| DataError::Empty { place: file.clone(), what: "features".into() })?;
            let (features, names) = as_source(features);
            return Ok(plain(features, names, word, Some(second(labels)?)));
        }
        return match formats::read(&file, &bytes, Want::Labelled, options) {
            Ok(table) => {
                let features =
                    table.features.ok_or_else(|| DataError::Empty { place: file.clone(), what: "features".into() })?;
                let (features, names) = as_source(features);
                let labels = table.labels.map(|raw| Labels::new(&file, of_file(options), raw, table.class_names));
                Ok(plain(features, names, word, labels))
            }
            // Rows alone are data as well.
            Err(DataError::NoLabels { .. } | DataError::Arrays { what: "labels", .. }) => {
                let table = formats::read(&file, &bytes, Want::Features, &alone)?;
                let features =
                    table.features.ok_or_else(|| DataError::Empty { place: file.clone(), what: "features".into() })?;
                let (features, names) = as_source(features);
                Ok(plain(features, names, word, None))
            }
            Err(error) => Err(error),
        };
    }
    let table = source.read(path, Want::Labelled, options)?;
    let features = table.features.ok_or_else(|| DataError::Empty { place: file.clone(), what: "features".into() })?;
    let (features, names) = as_source(features);
    let labels = table.labels.map(|raw| Labels::new(&file, "the folders' names".into(), raw, table.class_names));
    Ok(plain(features, names, Format::Images.word().into(), labels))
}

fn of_file(options: &ReadOptions) -> String {
    match (&options.label_column, &options.labels_array) {
        (Some(column), _) => format!("column `{column}` (as asked)"),
        (None, Some(array)) => format!("array `{array}` (as asked)"),
        (None, None) => "the file itself (by a usual name, else the last column)".into(),
    }
}
