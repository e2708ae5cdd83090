//! `.npz`: a zip archive of NumPy arrays, of which two are chosen by name.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::error::{DataError, list};
use crate::formats::{Input, RawArray, Table, Want, npy};
use crate::options::{Part, ReadOptions};

/// Names under which features are usually stored, in lower case; the second and third list belong to a part.
const FEATURES: [&str; 6] = ["x", "features", "data", "embeddings", "images", "arr_0"];
const FEATURES_TRAIN: [&str; 7] =
    ["x_train", "train_x", "features_train", "train_features", "train_images", "train_data", "train_embeddings"];
const FEATURES_TEST: [&str; 7] =
    ["x_test", "test_x", "features_test", "test_features", "test_images", "test_data", "test_embeddings"];
/// Names under which labels are usually stored.
const LABELS: [&str; 7] = ["y", "labels", "label", "target", "targets", "class", "arr_1"];
const LABELS_TRAIN: [&str; 5] = ["y_train", "train_y", "labels_train", "train_labels", "train_targets"];
const LABELS_TEST: [&str; 5] = ["y_test", "test_y", "labels_test", "test_labels", "test_targets"];

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let mut archive =
        ZipArchive::new(Cursor::new(input.bytes)).map_err(|error| broken(input.file, "directory", error))?;
    let names: Vec<String> = arrays(&archive);
    let mut features = None;
    if want != Want::Labels {
        let usual: &[&[&str]] = match options.part {
            Part::Train => &[&FEATURES, &FEATURES_TRAIN],
            Part::Test => &[&FEATURES_TEST],
        };
        let alone = want == Want::Features;
        let name = choose(input.file, "features", &names, options.features_array.as_deref(), usual, alone)?;
        features = Some(
            load(input, &mut archive, name)?.into_features(input.file, &place(name), options.keep_non_finite)?.into(),
        );
    }
    let mut labels = None;
    if want != Want::Features {
        let usual: &[&[&str]] = match options.part {
            Part::Train => &[&LABELS, &LABELS_TRAIN],
            Part::Test => &[&LABELS_TEST],
        };
        let alone = want == Want::Labels;
        let name = choose(input.file, "labels", &names, options.labels_array.as_deref(), usual, alone)?;
        labels = Some(load(input, &mut archive, name)?.into_labels(input.file, &place(name))?);
    }
    Ok(Table { features, labels })
}

/// Whether a zip archive holds at least one array.
pub(super) fn holds_arrays(bytes: &[u8]) -> bool {
    ZipArchive::new(Cursor::new(bytes)).is_ok_and(|archive| !arrays(&archive).is_empty())
}

/// Names of the arrays, sorted.
fn arrays(archive: &Archive<'_>) -> Vec<String> {
    let mut names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_string())).collect();
    names.sort();
    names
}

fn place(name: &str) -> String {
    format!("array '{name}'")
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

/// Unpacks one array. Memory grows with what the stream yields; a member longer than it declares is an error.
fn load(input: &Input<'_>, archive: &mut Archive<'_>, name: &str) -> Result<RawArray, DataError> {
    let at = place(name);
    let mut member = archive.by_name(&format!("{name}.npy")).map_err(|error| broken(input.file, &at, error))?;
    let declared = member.size();
    let mut bytes = Vec::new();
    member
        .by_ref()
        .take(declared.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| broken(input.file, &at, ZipError::Io(error)))?;
    if bytes.len() as u64 != declared {
        return Err(DataError::Size {
            file: input.file.into(),
            at,
            declared: format!("{declared} bytes"),
            available: bytes.len() as u64,
        });
    }
    npy::parse(input.file, &at, &bytes)
}

fn broken(file: &str, at: &str, error: ZipError) -> DataError {
    match error {
        ZipError::UnsupportedArchive(what) => DataError::Unsupported {
            file: file.into(),
            at: at.into(),
            found: what.into(),
            expected: "a member that is stored or deflated, without encryption".into(),
        },
        error => DataError::Malformed {
            file: file.into(),
            at: format!("zip {at}"),
            found: error.to_string(),
            expected: "a complete archive as written by numpy.savez".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(names: &'a [String], options: &ReadOptions) -> Result<&'a str, DataError> {
        let usual: &[&[&str]] =
            if options.part == Part::Test { &[&FEATURES_TEST] } else { &[&FEATURES, &FEATURES_TRAIN] };
        choose("f.npz", "features", names, options.features_array.as_deref(), usual, false)
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
