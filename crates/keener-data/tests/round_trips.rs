//! What is written comes back: every format, dense and sparse, with and without names, from files on disk.

use std::path::Path;

use keener_data::{
    Content, Csr, DataError, Dataset, Features, Format, ReadOptions, RowsRef, digits, open, open_features, write,
};

fn toy(names: bool) -> Dataset {
    let values = vec![0.5, 0.0, -1.25, 0.0, 3.0e-20, 0.1, 1.0e20, -0.0, 7.0];
    let classes = ["bird, \"small\"", "cat", "dög #2"].map(String::from).to_vec();
    let data = Dataset::new("toy", values, 3, vec![1, 2, 0], classes).unwrap();
    if names { data.with_feature_names(["u", "v w", "x,\"y\""].map(String::from).to_vec()).unwrap() } else { data }
}

fn written() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|format| format.is_written())
}

fn path(folder: &tempfile::TempDir, format: Format) -> std::path::PathBuf {
    folder.path().join(format!("toy.{}", format.word()))
}

/// Reads the data back as a person would: without options.
fn back(path: &Path) -> Dataset {
    open(path, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn labelled_rows_come_back() {
    for names in [false, true] {
        let data = toy(names);
        for format in written() {
            let folder = tempfile::tempdir().unwrap();
            let path = path(&folder, format);
            let files = write(&path, format, &Content::from(&data)).unwrap();
            assert_eq!(files.len(), if format == Format::Npy { 2 } else { 1 });
            assert_eq!(
                files.len(),
                std::fs::read_dir(folder.path()).unwrap().count(),
                "{format:?}: nothing else is left"
            );
            let read = back(&path);
            assert_eq!(read.name, "toy", "{format:?}");
            assert_eq!((read.features.as_slice(), read.dim), (data.features.as_slice(), 3), "{format:?}");
            assert_eq!((&read.labels, &read.class_names), (&data.labels, &data.class_names), "{format:?}");
            let keeps_names = names && !matches!(format, Format::Npy | Format::Svmlight);
            let invented = !names && matches!(format, Format::Csv | Format::Tsv);
            if !invented {
                assert_eq!(read.feature_names, data.feature_names.clone().filter(|_| keeps_names), "{format:?}");
            }
        }
    }
}

#[test]
fn the_order_of_classes_and_those_without_rows_come_back_where_a_format_lists_them() {
    for classes in [["z", "a", "never"], ["9", "3", "5"]] {
        let data =
            Dataset::new("toy", vec![1.0, 2.0, 3.0], 1, vec![1, 0, 1], classes.map(String::from).to_vec()).unwrap();
        for format in [Format::Npz, Format::Parquet, Format::Arrow, Format::Safetensors, Format::Svmlight] {
            let folder = tempfile::tempdir().unwrap();
            write(path(&folder, format), format, &Content::from(&data)).unwrap();
            let read = back(&path(&folder, format));
            assert_eq!((&read.labels, &read.class_names), (&data.labels, &data.class_names), "{format:?}");
        }
    }
}

#[test]
fn a_real_set_comes_back_bit_for_bit_also_compressed() {
    let digits = digits();
    for format in written() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder, format);
        write(&path, format, &Content::from(&digits)).unwrap();
        let read = back(&path);
        assert_eq!((&read.features, &read.labels), (&digits.features, &digits.labels), "{format:?}");
        assert_eq!(read.class_names, digits.class_names, "{format:?}");
        if format != Format::Npy {
            let gz = folder.path().join(format!("toy.{}.gz", format.word()));
            write(&gz, format, &Content::from(&digits)).unwrap();
            assert_eq!(std::fs::read(&gz).unwrap()[..2], [0x1f, 0x8b]);
            assert_eq!(back(&gz).fingerprint(), read.fingerprint(), "{format:?}");
        }
    }
}

#[test]
fn sparse_rows_come_back() {
    let csr = Csr::new("toy", 4, vec![0, 2, 2, 3], vec![0, 2, 1], vec![1.5, -2.0, 3.0]).unwrap();
    let classes = ["a".to_string(), "b".into()];
    let content = Content { rows: RowsRef::Sparse(&csr), labels: Some(&[0, 1, 0]), class_names: &classes };
    let dense = csr.to_dense("toy").unwrap();
    for format in written() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder, format);
        write(&path, format, &content).unwrap();
        let read = back(&path);
        assert_eq!((read.features.as_slice(), read.dim), (dense.values.as_slice(), 4), "{format:?}");
        assert_eq!((read.labels, read.class_names), (vec![0, 1, 0], classes.to_vec()), "{format:?}");
    }
}

#[test]
fn unlabelled_rows_come_back() {
    let matrix = toy(false).into_matrix();
    let features = Features::from(matrix.clone());
    for format in written() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder, format);
        assert_eq!(write(&path, format, &Content::from(&features)).unwrap().len(), 1);
        assert_eq!(open_features(&path, &ReadOptions::default()).unwrap().values, matrix.values, "{format:?}");
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_a_file_exists() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    let refused = |format: Format, data: &Dataset| {
        let error = write(&file, format, &Content::from(data)).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        error.to_string()
    };
    let data = toy(true);
    for format in [Format::Idx, Format::Images, Format::ExtremeClassification] {
        assert!(refused(format, &data).contains("expected one of csv, tsv, npy"));
    }
    let mut clash = data.clone();
    clash.feature_names = Some(["u", "Label", "w"].map(String::from).to_vec());
    assert!(refused(Format::Parquet, &clash).contains("a feature called"));
    let mut missing = data.clone();
    missing.class_names[1] = "N/A".into();
    assert!(refused(Format::Csv, &missing).contains("\"N/A\""));
    let mut broken = data.clone();
    broken.features[4] = f32::NAN;
    assert!(refused(Format::Npy, &broken).contains("row 1, column 1: found NaN"));
    broken = data.clone();
    broken.labels[0] = 9;
    assert!(refused(Format::Npz, &broken).contains("label 9 at row 0"));
    assert!(refused(Format::Arrow, &data.select(&[])).contains("no rows to write"));
    let nowhere = folder.path().join("absent/x.csv");
    let error = write(&nowhere, Format::Csv, &Content::from(&data)).unwrap_err();
    assert!(matches!(&error, DataError::Write { .. }) && error.to_string().contains("absent/x.csv"), "{error}");
}

#[cfg(unix)]
#[test]
fn files_are_as_readable_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one.csv"), folder.path().join("other.csv"));
    write(&one, Format::Csv, &Content::from(&toy(false))).unwrap();
    std::fs::write(&other, "").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&one), mode(&other));
}
