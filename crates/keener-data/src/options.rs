//! How to read: the options shared by all formats.

use std::path::PathBuf;

/// Which part of a file that holds a training and a test part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// `x_train`, `train-images…`: the default.
    #[default]
    Train,
    /// `x_test`, `t10k-images…`.
    Test,
}

/// How to read a file. The default reads what needs no explanation.
///
/// ```
/// let options = keener_data::ReadOptions { label_column: Some("species".into()), ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// A second file that holds the labels: `.npy`, `.npz`, IDX, or text with one label a line.
    pub labels: Option<PathBuf>,
    /// The column that holds the labels, by name or index (from 0; negative from the end), in text tables and 2-d
    /// arrays. Default in text tables: the column called `label`, `labels`, `class`, `target`, `y` or `species`, else
    /// the last. It speaks of the file that holds the labels. [`crate::open_features`] drops this column if it is there.
    pub label_column: Option<String>,
    /// In [`crate::open_features`]: drop the label column if one of the usual names is there.
    pub drop_labels: bool,
    /// The array of an archive that holds the features. Default: the one with a usual name (`X`, `features`, `x_train` …).
    pub features_array: Option<String>,
    /// The array of an archive that holds the labels. Default: the one with a usual name (`y`, `labels`, `y_train` …).
    pub labels_array: Option<String>,
    /// The part to read, where there are two.
    pub part: Part,
    /// The classes in their order, for instance those of the training data. Default: the classes that occur, sorted.
    pub class_names: Option<Vec<String>>,
    /// Whether the first line of a text table holds names. Default: found out.
    pub header: Option<bool>,
    /// What separates the fields of a text table (an ASCII character). Default: comma, semicolon or tab, found out.
    pub separator: Option<char>,
}
