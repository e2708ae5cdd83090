//! The data that a command works on: the embedded digits, or what the arguments name.

use crate::config_file::Key;
use crate::error::Failure;
use crate::paths;
use anyhow::Result;
use keener_data::split::{self, Split, TEST, TRAIN, VALIDATION};
use keener_data::{ReadOptions, Samples};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where rows and labels come from.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(crate) struct DataArgs {
    /// File or folder with labelled rows, in any format of `keener data list` [default: the embedded digits]
    #[arg(value_name = "DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A second file that holds the labels
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Column that holds the labels, by name or index [default: label, class, target …, else the last]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label_column: Option<String>,
    /// Columns that are features: names, `x*`, indices, `0..64` [default: all but the label]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Columns that are no features, written like `--columns`
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub(crate) leave_out: Vec<String>,
    /// Column that says which rows belong together: a group is never on both sides of a split
    #[arg(long, value_name = "COLUMN")]
    pub(crate) group_column: Option<String>,
}

/// Which rows are trained on, where that is not drawn.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(crate) struct PartArgs {
    /// File with the parts `train`, `validation` and `test`, as `keener data split` writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["split_column", "validation_data", "test_data"])]
    pub(crate) split: Option<PathBuf>,
    /// Column that names the part of each row
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["validation_data", "test_data"])]
    pub(crate) split_column: Option<String>,
    /// File whose rows validate, like DATA
    #[arg(long, value_name = "FILE")]
    pub(crate) validation_data: Option<PathBuf>,
    /// File whose rows are tested at the end, like DATA
    #[arg(long, value_name = "FILE")]
    pub(crate) test_data: Option<PathBuf>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) leave_out: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group_column: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) split: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) split_column: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) validation_data: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "paths::optional")]
    pub(crate) test_data: Option<PathBuf>,
    /// Hash of the content; once it is there, other data are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
}

/// The keys of `[data]` that every command has.
pub(crate) const KEYS: [Key; 7] = [
    Key::optional(
        "data.path",
        "file or folder; relative paths count from this file; left out: the embedded digits",
        "\"data.csv\"",
    ),
    Key::optional("data.labels", "a second file that holds the labels", "\"labels.npy\""),
    Key::optional("data.label_column", "column that holds the labels, by name or index", "\"species\""),
    Key::optional("data.columns", "columns that are features", "[\"x*\", \"0..64\"]"),
    Key::optional("data.leave_out", "columns that are no features", "[\"id\"]"),
    Key::optional("data.group_column", "column that says which rows belong together", "\"patient\""),
    Key::optional(
        "data.fingerprint",
        "hash of the content; where it stands here, other data are refused",
        "\"0123456789abcdef\"",
    ),
];

/// The keys of `[data]` that say which rows are trained on.
pub(crate) const PART_KEYS: [Key; 4] = [
    Key::optional("data.split", "file with the parts train, validation and test", "\"split.csv\""),
    Key::optional("data.split_column", "column that names the part of each row", "\"part\""),
    Key::optional("data.validation_data", "file whose rows validate", "\"validation.csv\""),
    Key::optional("data.test_data", "file whose rows are tested at the end", "\"test.csv\""),
];

impl DataRecord {
    fn with_paths(&self, change: impl Fn(&Path) -> PathBuf) -> Self {
        let changed = |path: &Option<PathBuf>| path.as_deref().map(&change);
        Self {
            path: changed(&self.path),
            labels: changed(&self.labels),
            split: changed(&self.split),
            validation_data: changed(&self.validation_data),
            test_data: changed(&self.test_data),
            ..self.clone()
        }
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
        let DataRecord { path, labels, label_column, columns, leave_out, group_column, .. } = record.clone();
        Self { data: path, labels, label_column, columns, leave_out, group_column }
    }
}

impl DataRecord {
    /// How the file is read.
    pub(crate) fn options(&self) -> ReadOptions {
        let mut leave_out = self.leave_out.clone();
        leave_out.extend(self.group_column.iter().chain(&self.split_column).cloned());
        ReadOptions {
            labels: self.labels.clone(),
            label_column: self.label_column.clone(),
            columns: self.columns.clone(),
            leave_out,
            ..ReadOptions::default()
        }
    }

    /// Reads the rows, and which of them are in which part, where that is said: by a file, a column, or files of their own.
    /// Large files stay on disk, as the memory budget asks.
    ///
    /// # Errors
    /// Files that cannot be read, and parts that do not fit them.
    pub(crate) fn open(&self) -> Result<(Samples, Option<Split>)> {
        let Some(path) = &self.path else {
            let digits = Samples::from(keener_data::digits());
            let split = self.split.as_deref().map(Split::read).transpose()?;
            return Ok((digits, split));
        };
        let memory = keener::budget::total();
        let options = self.options();
        let groups = |path: &Path| -> Result<Vec<String>> {
            Ok(self
                .group_column
                .as_ref()
                .map_or(Ok(Vec::new()), |name| keener_data::read_column(path, &options, name))?)
        };
        let mut samples = keener_data::open_samples(path, &options, memory)?;
        samples.require_two_classes()?;
        let mut all_groups = groups(path)?;
        let mut split = match (&self.split, &self.split_column) {
            (Some(file), _) => Some(Split::read(file)?),
            (None, Some(name)) => Some(Split::by_names(&keener_data::read_column(path, &options, name)?)?),
            (None, None) => None,
        };
        let more = [(VALIDATION, &self.validation_data), (TEST, &self.test_data)];
        let more: Vec<(&str, &PathBuf)> =
            more.into_iter().filter_map(|(part, file)| Some((part, file.as_ref()?))).collect();
        if !more.is_empty() {
            let classes =
                ReadOptions { class_names: Some(samples.class_names().to_vec()), labels: None, ..options.clone() };
            let mut parts = vec![(TRAIN.to_string(), (0..samples.rows()).collect::<Vec<usize>>())];
            let (mut rows, mut others) = (samples.rows(), Vec::new());
            for (part, file) in more {
                let other = keener_data::open_samples(file, &classes, memory)?;
                parts.push((part.to_string(), (rows..rows + other.rows()).collect()));
                rows += other.rows();
                all_groups.extend(groups(file)?);
                others.push(other);
            }
            samples = samples.followed_by(&others)?;
            split = Some(Split::new(rows, parts)?);
        }
        if self.group_column.is_some() {
            samples = samples.with_groups(split::numbered(&all_groups))?;
        }
        Ok((samples, split))
    }
}

impl PartArgs {
    /// What was given over what a file says.
    pub(crate) fn over(&self, record: &mut DataRecord) {
        if *self != Self::default() {
            let Self { split, split_column, validation_data, test_data } = self.clone();
            *record =
                DataRecord { split, split_column, validation_data, test_data, fingerprint: None, ..record.clone() };
        }
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
            let given = [
                (self.labels.is_some(), "--labels"),
                (self.label_column.is_some(), "--label-column"),
                (!self.columns.is_empty(), "--columns"),
                (!self.leave_out.is_empty(), "--leave-out"),
            ];
            let option = given.iter().find(|(given, _)| *given).map_or("--group-column", |(_, name)| name);
            return Err(Failure::wrong(format!(
                "`{option}` needs a file of rows: the embedded digits have their labels"
            ))
            .hint("the file before it, as in `keener train data.csv --label-column species --objective focal`")
            .into());
        }
        let list = |given: &[String], there: Vec<String>| if given.is_empty() { there } else { given.to_vec() };
        Ok(DataRecord {
            path,
            labels: self.labels.clone().or(base.labels),
            label_column: self.label_column.clone().or(base.label_column),
            columns: list(&self.columns, base.columns),
            leave_out: list(&self.leave_out, base.leave_out),
            group_column: self.group_column.clone().or(base.group_column),
            fingerprint: None,
            ..base
        })
    }

    /// The arguments again, for a command line that reproduces a run.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.data.iter().map(OsString::from).collect();
        words.extend(self.labels.iter().flat_map(|path| ["--labels".into(), path.into()]));
        words.extend(self.label_column.iter().flat_map(|column| ["--label-column".into(), column.into()]));
        let lists = [("--columns", &self.columns), ("--leave-out", &self.leave_out)];
        for (option, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            words.extend([option.into(), names.join(",").into()]);
        }
        words.extend(self.group_column.iter().flat_map(|column| ["--group-column".into(), column.into()]));
        words
    }
}
