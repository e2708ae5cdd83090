//! Random and damaged bytes: every reader answers with a value or an error, never with a panic.

use std::fs;

use proptest::prelude::*;

use super::*;

/// Reads the bytes in every way; what comes out must hold together.
fn read_all(name: &str, bytes: &[u8]) {
    let column = ReadOptions { label_column: Some("0".into()), ..Default::default() };
    let no_header = ReadOptions { header: Some(false), separator: Some(';'), ..Default::default() };
    for options in [ReadOptions::default(), column, no_header] {
        for want in [Want::Labelled, Want::Features, Want::Labels] {
            if let Ok(table) = read(name, bytes, want, &options) {
                assert_eq!(table.features.is_some(), want != Want::Labels);
                assert_eq!(table.labels.is_some(), want != Want::Features);
                if let Some(Features::Dense(features)) = &table.features {
                    assert_eq!(features.values.len(), features.rows * features.dim);
                    assert!(features.rows > 0 && features.values.iter().all(|value| value.is_finite()));
                }
                if let Some(labels) = table.labels
                    && let Ok((labels, names)) = labels.into_classes(name, None)
                {
                    assert!(labels.iter().all(|&label| (label as usize) < names.len()));
                }
            }
        }
    }
}

fn fixtures() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "npy" || extension == "npz"));
    paths.sort();
    assert!(paths.len() > 15);
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn idx_file() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..16, prop::collection::vec(0_u32..5, 0..4), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |(kind, shape, data)| {
            let mut bytes = vec![0, 0, kind, shape.len() as u8];
            bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
            bytes.extend(data);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_behind_every_signature(
        magic in prop::sample::select(vec![
            &b""[..], b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00\x20\x00\x00\x00", b"PK\x03\x04", b"PK\x05\x06",
            &[0, 0, 8, 1], &[0, 0, 13, 2], &[0x1f, 0x8b, 8, 0],
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        name in prop::sample::select(vec!["f.npy", "f.npz", "f.csv", "f-idx3-ubyte", "f", "f.csv.gz"]),
    ) {
        read_all(name, &[magic, &bytes].concat());
    }

    #[test]
    fn random_headers_of_arrays(
        text in "[{}()\\[\\], :'\"a-fx0-9<>|TrueFalse\\\\-]{0,80}",
        shape in "[(][0-9]{1,20}, ?[0-9]{0,20}[)]", kind in "[<>|][?bifuSUOVcmM][0-9]{0,20}",
        order: bool, data in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let order = if order { "True" } else { "False" };
        for header in [text, format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}")] {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(&data);
            read_all("f.npy", &bytes);
        }
    }

    #[test]
    fn damaged_arrays_and_archives(
        which in any::<prop::sample::Index>(), cut in 0.0_f64..1.5, hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut files = fixtures();
        let mut bytes = files.swap_remove(which.index(files.len()));
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate((cut * bytes.len() as f64) as usize);
        read_all("f.npz", &bytes);
    }

    #[test]
    fn random_idx(bytes in idx_file()) {
        read_all("f-idx3-ubyte", &bytes);
    }

    #[test]
    fn random_tables(
        text in "[0-9a-z.,;\t\"\n\r +-]{0,200}",
        cells in prop::collection::vec(prop::collection::vec("[0-9]{1,2}|nan|x|\"a,\n\"|", 1..5), 1..8),
    ) {
        read_all("f.csv", text.as_bytes());
        let rows: Vec<String> = cells.iter().map(|row| row.join(",")).collect();
        read_all("f.csv", rows.join("\n").as_bytes());
    }
}
