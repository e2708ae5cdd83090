//! Files written by NumPy itself (`fixtures/make.py`), read through the public functions.

use std::path::PathBuf;

use keener_data::{Matrix, Part, ReadOptions, open, open_features};

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name].iter().collect()
}

fn features(name: &str) -> Matrix {
    open_features(path(name), &ReadOptions::default()).unwrap()
}

/// The matrix that `make.py` calls `x`, `[4, 3]`.
fn x() -> Vec<f32> {
    (0..12).map(|i| i as f32 / 4.0 - 1.0).collect()
}

fn labels(name: &str) -> ReadOptions {
    ReadOptions { labels: Some(path(name)), ..Default::default() }
}

#[test]
fn number_types_byte_orders_and_axis_orders() {
    for name in
        ["c_f64.npy", "fortran_f32.npy", "f16.npy", "version_2.npy", "stored.npz", "positional.npz", "deflated.npz"]
    {
        let matrix = features(name);
        assert_eq!((matrix.rows, matrix.dim), (4, 3), "{name}");
        assert_eq!(matrix.values, x(), "{name}");
    }
    assert_eq!(features("big_endian_i32.npy").values, x().iter().map(|v| v * 4.0).collect::<Vec<_>>());
    let positive: Vec<f32> = x().iter().map(|&v| f32::from(u8::from(v > 0.0))).collect();
    assert_eq!(features("bool.npy").values, positive);
    let cube = features("cube_u8.npy");
    assert_eq!((cube.rows, cube.dim, cube.values), (4, 6, (0_u8..24).map(f32::from).collect()));
}

#[test]
fn labels_in_a_second_file() {
    for (name, labels_of, names) in [
        ("labels_i64.npy", [1, 0, 1, 0], ["1", "3"]),
        ("labels_column_f64.npy", [1, 0, 1, 0], ["1", "3"]),
        ("stored.npz", [1, 0, 1, 0], ["1", "3"]),
        ("labels_text.npy", [1, 0, 1, 0], ["cat", "dög"]),
        ("labels_bytes.npy", [1, 0, 1, 0], ["cat", "dog"]),
    ] {
        let data = open(path("c_f64.npy"), &labels(name)).unwrap();
        assert_eq!(
            (data.labels.as_slice(), data.class_names.as_slice()),
            (&labels_of[..], &names.map(String::from)[..])
        );
        assert_eq!((data.features.as_slice(), data.name.as_str()), (x().as_slice(), "c_f64"));
    }
}

#[test]
fn labels_in_the_same_file() {
    let column = ReadOptions { label_column: Some("-1".into()), ..Default::default() };
    let expected = open(path("c_f64.npy"), &labels("labels_i64.npy")).unwrap().fingerprint();
    assert_eq!(open(path("with_labels.npy"), &column).unwrap().fingerprint(), expected);
    for name in ["stored.npz", "positional.npz", "deflated.npz"] {
        assert_eq!(open(path(name), &ReadOptions::default()).unwrap().fingerprint(), expected, "{name}");
    }
    let test = ReadOptions { part: Part::Test, ..Default::default() };
    assert_eq!(open(path("deflated.npz"), &test).unwrap().features, x()[..6]);
    let named = ReadOptions { features_array: Some("embeddings".into()), ..Default::default() };
    assert_eq!(open(path("ambiguous.npz"), &named).unwrap().fingerprint(), expected);
}

#[test]
fn errors_say_what_to_do() {
    let message = |name: &str, options: &ReadOptions| open(path(name), options).unwrap_err().to_string();
    let default = ReadOptions::default();
    for (name, part) in [
        ("ambiguous.npz", "2 arrays could be the features, expected one; the arrays are embeddings, features, labels"),
        ("c_f64.npy", "expected a second file with the labels"),
        ("objects.npz", "array 'y': an array of Python objects"),
    ] {
        let message = message(name, &default);
        assert!(message.contains(part) && message.contains(name), "{message}");
    }
    assert!(message("c_f64.npy", &labels("objects.npy")).contains("pickle"));
    assert!(message("c_f64.npy", &labels("cube_u8.npy")).contains("shape [4, 3, 2], expected [rows]"));
    assert!(message("scalar.npy", &labels("labels_i64.npy")).contains("shape []"));
}
