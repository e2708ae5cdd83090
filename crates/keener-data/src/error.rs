//! The one error type of this crate: which file, where in it, what was found and what was expected.

use std::io;

/// Errors raised while reading, checking, splitting or transforming data.
///
/// `file` is the path as the caller wrote it (or the name given to in-memory bytes). Rows and columns count from 0,
/// lines of text files from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{file}: cannot be read, expected a readable file or directory: {source}")]
    Io {
        /// The path.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written; nothing of it is left.
    #[error("{file}: cannot be written, expected a folder with room where files may be made: {source}")]
    Write {
        /// The path.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// No reader knows these bytes.
    #[error("{file}: unknown format: the bytes look like {looks_like}; expected one of {known}")]
    UnknownFormat {
        /// The path.
        file: String,
        /// What the first bytes suggest.
        looks_like: String,
        /// The formats that can be read.
        known: String,
    },
    /// The file breaks the rules of its format.
    #[error("{file}: {at}: found {found}, expected {expected}")]
    Malformed {
        /// The path.
        file: String,
        /// The part of the file.
        at: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The file is valid, but holds something that is not read.
    #[error("{file}: {at}: {found} cannot be used, expected {expected}")]
    Unsupported {
        /// The path.
        file: String,
        /// The part of the file.
        at: String,
        /// What is there.
        found: String,
        /// What can be read.
        expected: String,
    },
    /// The shape in a header does not agree with the number of bytes that follow it.
    #[error("{file}: {at}: the header declares {declared}, expected as many bytes after it, found {available}")]
    Size {
        /// The path.
        file: String,
        /// The part of the file.
        at: String,
        /// The declared shape and its size in bytes.
        declared: String,
        /// The bytes that are there.
        available: u64,
    },
    /// A cell of a text table cannot be used.
    #[error("{file}, line {line}, column {column}: found {found}, expected {expected}")]
    Cell {
        /// The path.
        file: String,
        /// Line, from 1.
        line: u64,
        /// Name of the column in quotes, or its index.
        column: String,
        /// The cell.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A line of a text table has too few or too many fields.
    #[error("{file}, line {line}: found {found} fields, expected {expected} as in the first line")]
    Width {
        /// The path.
        file: String,
        /// Line, from 1.
        line: u64,
        /// Its number of fields.
        found: usize,
        /// The number of fields of the first line.
        expected: usize,
    },
    /// There is nothing in it.
    #[error("{place}: found no {what}, expected at least one")]
    Empty {
        /// File or data set.
        place: String,
        /// What is missing.
        what: String,
    },
    /// A shape that does not fit.
    #[error("{place}: {what} has {found}, expected {expected}")]
    Shape {
        /// File or data set.
        place: String,
        /// The array in question.
        what: String,
        /// Its shape or length.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// A feature that is NaN, infinite or outside the range of `f32`.
    #[error("{place}, row {row}, column {column}: found {value}, expected a finite number within the range of f32")]
    NonFinite {
        /// File or data set.
        place: String,
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value, printed.
        value: String,
    },
    /// A column of a sparse row that is outside the matrix, or not beyond the column before it.
    #[error("{place}, row {row}: found column {column}, expected one in {least}..{dim}")]
    Column {
        /// File or data set.
        place: String,
        /// Row, from 0.
        row: usize,
        /// The column.
        column: u32,
        /// The least column that may follow.
        least: u64,
        /// The number of columns.
        dim: usize,
    },
    /// More memory than is granted.
    #[error("{place}: {what} need {bytes} bytes, expected {expected}")]
    TooLarge {
        /// File or data set.
        place: String,
        /// What would need it.
        what: String,
        /// How much.
        bytes: u64,
        /// What would do.
        expected: String,
    },
    /// A class index outside `0..classes`.
    #[error("{place}: label {label} at row {row}: there are {classes} classes")]
    LabelRange {
        /// Data set or function.
        place: String,
        /// The label.
        label: u32,
        /// Its row.
        row: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A label that names no class.
    #[error("{file}: label {value} at row {row}: expected {expected}")]
    LabelValue {
        /// The path.
        file: String,
        /// Row, from 0.
        row: usize,
        /// The label, printed.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// Rows with several labels, or none.
    #[error(
        "{file}: row {row} has {found} labels, expected one label in every row: objectives of a class head read one; \
         multi-label rows are described and converted only"
    )]
    MultiLabel {
        /// The path.
        file: String,
        /// The first such row, from 0.
        row: usize,
        /// Its number of labels.
        found: usize,
    },
    /// Nothing to tell apart.
    #[error("{file}: found the class {class:?} in all {rows} rows, expected at least two classes")]
    OneClass {
        /// The path.
        file: String,
        /// The number of rows.
        rows: usize,
        /// The class.
        class: String,
    },
    /// A value in a row that cannot be used.
    #[error("{file}, row {row}, column {column}: found {found}, expected {expected}")]
    Value {
        /// The path.
        file: String,
        /// Row, from 0.
        row: usize,
        /// Name of the column in quotes, or its index.
        column: String,
        /// The value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// There are no labels to learn from.
    #[error("{file}: found no labels, expected {expected}")]
    NoLabels {
        /// The path.
        file: String,
        /// How labels can be given.
        expected: String,
    },
    /// The label column that was asked for is not there, or more than once.
    #[error("{file}: label column {wanted:?} found {times} times, expected once among {columns}")]
    LabelColumn {
        /// The path.
        file: String,
        /// Name or index that was asked for.
        wanted: String,
        /// How many columns match.
        times: usize,
        /// The columns that exist.
        columns: String,
    },
    /// No column is meant by a selection.
    #[error("{file}: found no column {wanted:?}, expected a name, a name with *, an index or a range among {columns}")]
    NoSuchColumn {
        /// The path.
        file: String,
        /// The selection.
        wanted: String,
        /// The columns that exist.
        columns: String,
    },
    /// An archive in which no array, or more than one, can be meant.
    #[error(
        "{file}: {matching} arrays could be the {what}, expected one; the arrays are {arrays}; name the one to use"
    )]
    Arrays {
        /// The path.
        file: String,
        /// `features` or `labels`.
        what: &'static str,
        /// How many match.
        matching: usize,
        /// The arrays that exist.
        arrays: String,
    },
    /// An array asked for by name does not exist.
    #[error("{file}: found no array {wanted:?} for the {what}, expected one of {arrays}")]
    NoSuchArray {
        /// The path.
        file: String,
        /// `features` or `labels`.
        what: &'static str,
        /// The name that was asked for.
        wanted: String,
        /// The arrays that exist.
        arrays: String,
    },
    /// Features and labels differ in their number of rows.
    #[error("{features} has {rows} rows of features, expected one label for each; {labels} has {found}")]
    RowsDiffer {
        /// Where the features come from.
        features: String,
        /// Rows of features.
        rows: usize,
        /// Where the labels come from.
        labels: String,
        /// Number of labels.
        found: usize,
    },
    /// An argument outside its range.
    #[error("{place}: {name} = {value}: expected {expected}")]
    Parameter {
        /// The function.
        place: &'static str,
        /// The argument.
        name: String,
        /// Its value, printed.
        value: String,
        /// The range that is allowed.
        expected: String,
    },
}

/// Prints names for a message, at most 24 of them.
pub(crate) fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const SHOWN: usize = 24;
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_string()).collect();
    if names.is_empty() {
        return "(none)".into();
    }
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    names[..names.len().min(SHOWN)].join(", ") + &more
}

/// Shortens a cell for a message and puts it in quotes.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() > SHOWN {
        format!("{:?}…", text.chars().take(SHOWN).collect::<String>())
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_file_place_and_expectation() {
        let error = DataError::Cell {
            file: "a.csv".into(),
            line: 7,
            column: "\"width\"".into(),
            found: "\"wide\"".into(),
            expected: "a number".into(),
        };
        assert_eq!(error.to_string(), "a.csv, line 7, column \"width\": found \"wide\", expected a number");
    }

    #[test]
    fn long_lists_and_cells_are_shortened() {
        assert_eq!(list(["a", "b"]), "a, b");
        assert!(list((0..30).map(|i| i.to_string())).ends_with("23 and 6 more"));
        assert_eq!(quoted(&"é".repeat(50)).chars().count(), 43);
    }
}
