//! Files that hold several arrays by name, of which two are chosen: features and labels.

use crate::error::{DataError, list};
use crate::formats::select::choose_columns;
use crate::formats::{RawArray, Table, Values, Want};
use crate::options::{Part, ReadOptions};

/// Names under which features are usually stored, in lower case; the second and third list belong to a part.
const FEATURES: [&str; 7] = ["x", "features", "data", "embeddings", "embedding", "images", "arr_0"];
const FEATURES_TRAIN: [&str; 7] =
    ["x_train", "train_x", "features_train", "train_features", "train_images", "train_data", "train_embeddings"];
const FEATURES_TEST: [&str; 7] =
    ["x_test", "test_x", "features_test", "test_features", "test_images", "test_data", "test_embeddings"];
/// Names under which labels are usually stored.
const LABELS: [&str; 7] = ["y", "labels", "label", "target", "targets", "class", "arr_1"];
const LABELS_TRAIN: [&str; 5] = ["y_train", "train_y", "labels_train", "train_labels", "train_targets"];
const LABELS_TEST: [&str; 5] = ["y_test", "test_y", "labels_test", "test_labels", "test_targets"];

/// The name under which a list of class names is written and read.
pub(crate) const CLASS_NAMES: &str = "class_names";
/// The name under which a list of feature names is written and read.
pub(crate) const FEATURE_NAMES: &str = "feature_names";

/// How messages call an array.
pub(super) fn place(name: &str) -> String {
    format!("array '{name}'")
}

/// The array that holds the features, among `names`.
pub(super) fn choose_features<'a>(
    file: &str,
    names: &'a [String],
    want: Want,
    options: &ReadOptions,
) -> Result<&'a str, DataError> {
    let usual: &[&[&str]] = match options.part {
        Part::Train => &[&FEATURES, &FEATURES_TRAIN],
        Part::Test => &[&FEATURES_TEST],
    };
    choose(file, "features", names, options.features_array.as_deref(), usual, want == Want::Features)
}

/// The array that holds the labels, among `names`.
pub(super) fn choose_labels<'a>(
    file: &str,
    names: &'a [String],
    want: Want,
    options: &ReadOptions,
) -> Result<&'a str, DataError> {
    let usual: &[&[&str]] = match options.part {
        Part::Train => &[&LABELS, &LABELS_TRAIN],
        Part::Test => &[&LABELS_TEST],
    };
    choose(file, "labels", names, options.labels_array.as_deref(), usual, want == Want::Labels)
}

/// The table in an archive with the arrays `names`, each of which `load` reads. Lists of names come from the arrays
/// `class_names` and `feature_names`, if they are there and fit.
pub(super) fn read(
    file: &str,
    names: &[String],
    want: Want,
    options: &ReadOptions,
    mut load: impl FnMut(&str) -> Result<RawArray, DataError>,
) -> Result<Table, DataError> {
    let mut table = Table::default();
    let mut texts = |name: &str| -> Result<Option<Vec<String>>, DataError> {
        if !names.iter().any(|known| known == name) {
            return Ok(None);
        }
        let array = load(name)?;
        let flat = array.shape.len() == 1;
        Ok(match array.values {
            Values::Text(texts) if flat => Some(texts),
            _ => None,
        })
    };
    let feature_names = if want == Want::Labels { None } else { texts(FEATURE_NAMES)? };
    let class_names = if want == Want::Features { None } else { texts(CLASS_NAMES)? };
    if want != Want::Labels {
        let name = choose_features(file, names, want, options)?;
        let mut matrix = load(name)?.into_features(file, &place(name), options.keep_non_finite)?;
        matrix.names = feature_names.filter(|names| names.len() == matrix.dim);
        table.features = Some(choose_columns(file, matrix.into(), options)?);
    }
    if want != Want::Features {
        let name = choose_labels(file, names, want, options)?;
        table.labels = Some(load(name)?.into_labels(file, &place(name))?);
        table.class_names = class_names;
    }
    Ok(table)
}

/// The array asked for, else the only one with a usual name, else the only one if one is all that is needed.
fn choose<'a>(
    file: &str,
    what: &'static str,
    names: &'a [String],
    wanted: Option<&str>,
    usual: &[&[&str]],
    alone: bool,
) -> Result<&'a str, DataError> {
    if let Some(wanted) = wanted {
        return match names.iter().find(|name| *name == wanted) {
            Some(name) => Ok(name),
            None => Err(DataError::NoSuchArray { file: file.into(), what, wanted: wanted.into(), arrays: list(names) }),
        };
    }
    let known = |name: &&String| usual.iter().any(|usual| usual.contains(&name.to_lowercase().as_str()));
    let matching: Vec<&String> = names.iter().filter(known).collect();
    match (matching.as_slice(), names) {
        ([name], _) => Ok(name),
        ([], [name]) if alone => Ok(name),
        _ => Err(DataError::Arrays { file: file.into(), what, matching: matching.len(), arrays: list(names) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(names: &'a [String], options: &ReadOptions) -> Result<&'a str, DataError> {
        choose_features("f.npz", names, Want::Labelled, options)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn usual_names_are_known_in_any_case_and_part() {
        let both = names(&["X_train", "X_test", "Y_train", "Y_test"]);
        assert_eq!(chosen(&both, &ReadOptions::default()).unwrap(), "X_train");
        assert_eq!(chosen(&both, &ReadOptions { part: Part::Test, ..Default::default() }).unwrap(), "X_test");
        assert_eq!(chosen(&names(&["data", "target", "target_names"]), &ReadOptions::default()).unwrap(), "data");
    }

    #[test]
    fn ambiguity_lists_the_arrays() {
        for (arrays, count) in [(["X", "embeddings", "y"], "2 arrays"), (["a", "b", "c"], "0 arrays")] {
            let arrays = names(&arrays);
            let message = chosen(&arrays, &ReadOptions::default()).unwrap_err().to_string();
            assert!(message.contains(count) && message.contains(&arrays.join(", ")), "{message}");
        }
        let options = ReadOptions { features_array: Some("b".into()), ..Default::default() };
        assert_eq!(chosen(&names(&["a", "b"]), &options).unwrap(), "b");
        assert!(chosen(&names(&["a"]), &options).unwrap_err().to_string().contains("no array \"b\""));
    }
}
