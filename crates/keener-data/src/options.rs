//! How to read: the options shared by all formats.

use std::path::PathBuf;

use crate::formats::Format;

/// Which part of a file that holds a training and a test part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// `x_train`, `train-images…`: the default.
    #[default]
    Train,
    /// `x_test`, `t10k-images…`.
    Test,
}

/// How images become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// Width and height to which every image is resized. Default: as they are, and all of one size.
    pub size: Option<(u32, u32)>,
    /// One channel (luminance) instead of three.
    pub gray: bool,
}

/// How to read a file. The default reads what needs no explanation.
///
/// ```
/// let options = keener_data::ReadOptions { label_column: Some("species".into()), ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// The format. Default: found from the bytes and the name.
    pub format: Option<Format>,
    /// A second file that holds the labels, in any format that holds one label a row (text: one a line).
    pub labels: Option<PathBuf>,
    /// The column that holds the labels, by name or index (from 0; negative from the end), in tables and 2-d
    /// arrays. Default in tables: the column called `label`, `labels`, `class`, `target`, `y` or `species`, else
    /// the last. It speaks of the file that holds the labels. [`crate::open_features`] drops this column if it is there.
    pub label_column: Option<String>,
    /// In [`crate::open_features`]: drop the label column if one of the usual names is there.
    pub drop_labels: bool,
    /// The columns that are features: names, names with `*`, indices, ranges of indices (`0..64`, the end left out).
    /// Default (empty): all but the label.
    pub columns: Vec<String>,
    /// Columns that are no features, written like `columns`. Default: none.
    pub leave_out: Vec<String>,
    /// The array of an archive that holds the features. Default: the one with a usual name (`X`, `features`, `x_train` …).
    pub features_array: Option<String>,
    /// The array of an archive that holds the labels. Default: the one with a usual name (`y`, `labels`, `y_train` …).
    pub labels_array: Option<String>,
    /// The part to read, where there are two.
    pub part: Part,
    /// The classes in their order, for instance those of the training data. Default: the classes that the file lists,
    /// else those that occur, sorted.
    pub class_names: Option<Vec<String>>,
    /// Whether the first line of a text table holds names. Default: found out.
    pub header: Option<bool>,
    /// What separates the fields of a text table (an ASCII character). Default: comma, semicolon or tab, found out.
    pub separator: Option<char>,
    /// The index of the first feature in svmlight files, 0 or 1. Default: 0 if an index 0 occurs, else 1.
    pub index_base: Option<u8>,
    /// Number of features in svmlight files, which do not say. Default: the largest that occurs.
    pub dim: Option<usize>,
    /// How images become rows.
    pub image: ImageOptions,
    /// Keep values that are missing, NaN or infinite (missing ones as NaN) instead of refusing them, to describe the data.
    pub keep_non_finite: bool,
}
