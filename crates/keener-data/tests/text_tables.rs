//! The embedded data set once more, this time through the reader of text tables.

use keener_data::{ReadOptions, digits, open, open_features};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits.csv.gz");

#[test]
fn a_compressed_table_without_header() {
    let (read, embedded) = (open(FILE, &ReadOptions::default()).unwrap(), digits());
    assert_eq!((read.name.as_str(), read.rows(), read.dim), ("digits", 1797, 64));
    assert_eq!((&read.labels, &read.class_names), (&embedded.labels, &embedded.class_names));
    assert!(read.features.iter().zip(&embedded.features).all(|(read, embedded)| *read == embedded * 16.0));
    assert_eq!(read.feature_names, None);
}

#[test]
fn unlabelled_rows_with_the_label_column_dropped_by_index() {
    let options = ReadOptions { label_column: Some("-1".into()), ..Default::default() };
    assert_eq!(open_features(FILE, &options).unwrap().dim, 64);
    assert_eq!(open_features(FILE, &ReadOptions::default()).unwrap().dim, 65);
}
