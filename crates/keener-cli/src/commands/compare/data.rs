//! The data that a command works on: the embedded digits, or what the arguments name.

use anyhow::Result;
use keener_data::{Dataset, ReadOptions};
use std::path::PathBuf;

/// Where rows and labels come from.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DataArgs {
    /// File or folder with labelled rows (CSV, TSV, NPY, NPZ, IDX; gzip is undone) [default: the embedded digits]
    #[arg(value_name = "DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A second file that holds the labels
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) labels: Option<PathBuf>,
    /// Column that holds the labels, by name or index [default: label, class, target …, else the last]
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub(crate) label_column: Option<String>,
}

impl DataArgs {
    /// Reads the data.
    pub(crate) fn open(&self) -> Result<Dataset> {
        let Some(path) = &self.data else { return Ok(keener_data::digits()) };
        let options = ReadOptions {
            labels: self.labels.clone(),
            label_column: self.label_column.clone(),
            ..ReadOptions::default()
        };
        Ok(keener_data::open(path, &options)?)
    }

    /// The arguments again, for a command line that reproduces a run.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.data.iter().map(|p| p.display().to_string()).collect();
        words.extend(self.labels.iter().flat_map(|p| ["--labels".to_string(), p.display().to_string()]));
        words.extend(self.label_column.iter().flat_map(|c| ["--label-column".to_string(), c.clone()]));
        words
    }
}

/// Joins words so that a POSIX shell reads them back.
pub(crate) fn shell(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    let quote = |w: &String| match !w.is_empty() && w.chars().all(plain) {
        true => w.clone(),
        false => format!("'{}'", w.replace('\'', r"'\''")),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        let words = ["keener".into(), "my file.csv".into(), "cosface:margin=0.2".into(), "it's".into()];
        assert_eq!(shell(&words), r"keener 'my file.csv' cosface:margin=0.2 'it'\''s'");
    }
}
