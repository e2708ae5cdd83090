//! Random and damaged bytes: every reader answers with a value or an error, never with a panic.

use std::fs;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::probe::read_every_way as probe;
use super::*;
use crate::dataset::Dataset;
use crate::write::{Content, write};

/// Reads the bytes in every way; what comes out must hold together.
fn read_all(name: &str, bytes: &[u8]) {
    probe(name, None, bytes);
}

/// A small labelled set in every format that is written.
fn written() -> &'static [(Format, Vec<u8>)] {
    static FILES: OnceLock<Vec<(Format, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let names = ["a", "b", "b2"].map(String::from).to_vec();
        let values = (0..12).map(|i| i as f32 / 4.0 - 1.0).collect();
        let plain =
            Dataset::new("toy", values, 3, vec![1, 0, 2, 1], ["x", "y", "z"].map(String::from).to_vec()).unwrap();
        let named = plain.clone().with_feature_names(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for format in Format::ALL.into_iter().filter(|format| format.is_written()) {
            for data in [&plain, &named] {
                let path = folder.path().join("toy");
                write(&path, format, &Content::from(data)).unwrap();
                files.push((format, fs::read(path).unwrap()));
            }
        }
        let mut png = Vec::new();
        let image = image::RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        image.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        files.push((Format::Images, png));
        files.push((Format::ExtremeClassification, b"2 5 4\n0,3 0:1 4:0.5\n 2:1.5\n".to_vec()));
        assert!(files.iter().all(|(format, bytes)| probe("toy", Some(*format), bytes) > 0));
        files
    })
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

    #[test]
    fn damaged_files_of_every_format(
        which in any::<prop::sample::Index>(), cut in 0.0_f64..1.5,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), named: bool,
    ) {
        let (format, mut bytes) = which.get(written()).clone();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate((cut * bytes.len() as f64) as usize);
        probe("toy", named.then_some(format), &bytes);
    }

    #[test]
    fn random_sparse_text_and_json(
        sparse in "([0-9,]{0,4} ?(qid:[0-9] )?([0-9]{1,6}:[0-9.e-]{1,4} ?){0,3}(#.*)?\n){0,5}",
        header in "[0-9]{1,20} [0-9]{1,20} [0-9]{1,20}\n",
        json in "(([{\\[](\"[ab]\":)?(-?[0-9]{1,3}|null|\"x\"|\\[[0-9],[0-9]\\])(, ?(\"label\":)?[0-9])?[}\\]])\n){0,4}",
    ) {
        for format in [None, Some(Format::Svmlight), Some(Format::ExtremeClassification)] {
            probe("f.svm", format, sparse.as_bytes());
            probe("f.svm", format, [header.as_str(), &sparse].concat().as_bytes());
        }
        probe("f.jsonl", Some(Format::JsonLines), json.as_bytes());
    }

    #[test]
    fn random_headers_of_tensors(
        shape in prop::collection::vec(0_u64..4, 0..4), dtype in prop::sample::select(vec!["F32", "U8", "I64", "BF16", "F4"]),
        begin in 0_u64..9, end in 0_u64..40, text in "[{}\\[\\]:,\"a-z0-9]{0,40}", data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let entry = format!("{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{begin},{end}]}}}}");
        for header in [entry, text] {
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
            probe("f.safetensors", Some(Format::Safetensors), &bytes);
        }
    }
}
