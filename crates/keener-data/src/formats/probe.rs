//! What must hold for any bytes whatsoever: an answer or an error, and an answer that holds together.

use crate::formats::{Format, Want, read, thrift as guard};
use crate::options::ReadOptions;
use crate::sparse::Features;

/// Ways of [`read_one_way`].
const WAYS: usize = 12;

/// Reads `bytes` in every way, as [`read_one_way`]; returns how many of the readings succeeded.
///
/// # Panics
/// As [`read_one_way`].
pub fn read_every_way(name: &str, format: Option<Format>, bytes: &[u8]) -> usize {
    (0..WAYS).filter(|&way| read_one_way(name, format, bytes, way)).count()
}

/// Reads `bytes` (as `format`, or as what they look like) with the options and the wish that `way` stands for, and checks
/// what comes out; returns whether something came out.
///
/// # Panics
/// If a reader panics, or hands over rows or labels that break a promise.
pub fn read_one_way(name: &str, format: Option<Format>, bytes: &[u8], way: usize) -> bool {
    let plain = ReadOptions { format, ..Default::default() };
    let options = match way / 3 % 4 {
        0 => plain,
        1 => ReadOptions { label_column: Some("0".into()), ..plain },
        2 => {
            let (header, separator) = (Some(false), Some(';'));
            ReadOptions { header, separator, columns: vec!["0..2".into()], ..plain }
        }
        _ => ReadOptions { keep_non_finite: true, dim: Some(70_000), ..plain },
    };
    let want = [Want::Labelled, Want::Features, Want::Labels][way % 3];
    let Ok(table) = read(name, bytes, want, &options) else { return false };
    assert_eq!(table.features.is_some(), want != Want::Labels);
    assert_eq!(table.labels.is_some(), want != Want::Features);
    let kept = options.keep_non_finite;
    match &table.features {
        None => {}
        Some(Features::Sparse(csr)) => {
            assert!(csr.rows() > 0 && csr.dim() > 0);
            assert!(kept || csr.values().iter().all(|value| value.is_finite()));
            for row in 0..csr.rows() {
                let (columns, _) = csr.row(row);
                assert!(columns.is_sorted_by(|a, b| a < b));
                assert!(columns.iter().all(|&column| (column as usize) < csr.dim()));
            }
        }
        Some(Features::Dense(matrix)) => {
            assert!(matrix.rows > 0 && matrix.dim > 0);
            assert_eq!(matrix.values.len(), matrix.rows * matrix.dim);
            assert!(kept || matrix.values.iter().all(|value| value.is_finite()));
            assert!(matrix.names.as_ref().is_none_or(|names| names.len() == matrix.dim));
        }
    }
    if let (Some(features), Some(labels)) = (&table.features, &table.labels) {
        // Archives hold both apart; that their lengths agree is checked where a data set is made of them.
        assert!(labels.len() == features.rows() || is_archive(name, &options, bytes));
    }
    if let Some(labels) = table.labels {
        let rows = labels.len();
        if let Ok((labels, names)) = labels.into_classes(name, None, table.class_names) {
            assert_eq!(labels.len(), rows);
            assert!(labels.iter().all(|&label| (label as usize) < names.len()));
        }
    }
    true
}

/// Walks over bytes as over a footer and a page header of Parquet.
pub fn thrift(bytes: &[u8]) {
    let _ = guard::check_footer(bytes);
    if let Some(page) = guard::page(bytes) {
        assert!(page.header <= bytes.len());
    }
}

/// Whether the bytes are an archive of arrays, which may differ in length.
fn is_archive(name: &str, options: &ReadOptions, bytes: &[u8]) -> bool {
    let format = options.format.or_else(|| {
        let (bytes, inner) = super::uncompressed(name, bytes).ok()?;
        Format::detect(inner, &bytes).ok()
    });
    matches!(format, Some(Format::Npz | Format::Safetensors))
}
