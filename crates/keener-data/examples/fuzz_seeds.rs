//! Writes the first inputs of every fuzz target into `fuzz/corpus/`: small files of each format, read in several ways.

use std::fs;
use std::path::Path;

use keener_data::{Content, Csr, Dataset, Format, RowsRef, write};

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).expect("the corpus can be made");
        for way in [0, 1, 2, 5] {
            let input = [bytes, &[way]].concat();
            fs::write(folder.join(format!("{name}-{way}")), input).expect("the corpus can be written");
        }
    };
    let values: Vec<f32> = (0..12).map(|i| i as f32 / 4.0 - 1.0).collect();
    let words = |words: [&str; 3]| words.map(String::from).to_vec();
    let plain = Dataset::new("toy", values, 3, vec![1, 0, 2, 1], words(["x", "y", "z"])).expect("a valid set");
    let named = plain.clone().with_feature_names(words(["a", "b", "b2"])).expect("three names");
    let csr = Csr::new("toy", 4, vec![0, 2, 2, 3], vec![0, 2, 1], vec![1.5, -2.0, 3.0]).expect("valid rows");
    let classes = words(["3", "5", "9"]);
    let contents = [
        ("plain", Content::from(&plain)),
        ("named", Content::from(&named)),
        ("sparse", Content { rows: RowsRef::Sparse(&csr), labels: Some(&[0, 1, 0]), class_names: &classes }),
    ];
    let folder = std::env::temp_dir().join(format!("keener-seed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a scratch folder");
    for format in Format::ALL.into_iter().filter(|format| format.is_written()) {
        for (name, content) in &contents {
            let path = folder.join("x");
            write(&path, format, content).expect("the set can be written");
            let bytes = fs::read(&path).expect("what was written can be read");
            let target = if format == Format::Tsv { "csv" } else { format.word() };
            put(target, &format!("{}-{name}", format.word()), &bytes);
            put("detect", &format!("{}-{name}", format.word()), &bytes);
        }
    }
    fs::remove_dir_all(&folder).expect("the scratch folder can go");
    let xc = b"3 5 4\n0,3 0:1 4:0.5\n 2:1.5\n1 3:2\n";
    put("xc", "rows", xc);
    put("detect", "xc", xc);
    let svm = b"# dim: 4\n+1 1:0.5 3:2 # c\n\n-1\tqid:4 2:1e-1\r\n1,3 1:7\n";
    put("svmlight", "rows", svm);
    let json = b"{\"x\": 1.5, \"v\": [1, 2], \"label\": \"cat\"}\n[1, null, true, \"a\", [3]]\n";
    put("jsonl", "rows", json);
    put("csv", "semicolons", b"\"a\";b;label\n1;2e3;\"x;y\"\n-3;nan;?\n");
    put("csv", "labels", b"cat\ndog\ncat\n");
    for (kind, bytes) in [(8_u8, 1_usize), (11, 2), (12, 4), (13, 4), (14, 8)] {
        let data = vec![7; 6 * bytes];
        put("idx", &format!("kind{kind}"), &[&[0, 0, kind, 2, 0, 0, 0, 3, 0, 0, 0, 2][..], data.as_slice()].concat());
    }
    for (name, descr, order, size) in
        [("i2", ">i2", "True", 2), ("text", "<U2", "False", 8), ("bool", "|b1", "False", 1), ("f2", "<f2", "True", 2)]
    {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
        let start = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
        put("npy", name, &[start, vec![1; 6 * size]].concat());
    }
    for (name, format) in [("png", image::ImageFormat::Png), ("jpeg", image::ImageFormat::Jpeg)] {
        let picture = image::RgbImage::from_fn(5, 3, |x, y| image::Rgb([40 * x as u8, 80 * y as u8, 9]));
        let mut bytes = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), format).expect("an image can be encoded");
        put("images", name, &bytes);
        put("detect", name, &bytes);
    }
    put("thrift", "page", &[0x15, 0, 0x15, 0xc8, 1, 0x15, 100, 0x2c, 0x15, 20, 0x15, 0, 0, 0]);
    put(
        "thrift",
        "schema",
        &[0x29, 0x2c, 0x55, 2, 0, 0x55, 0, 0, 0x19, 0x18, 1, b'x', 0x1b, 1, 0x88, 1, b'a', 1, b'b', 0],
    );
}
