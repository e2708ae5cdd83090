//! Which format a file has, from its first bytes and its name.

use crate::error::{DataError, list};
use crate::formats::{Format, arrow, dialect, idx, images, jsonl, npy, npz, parquet, safetensors, svmlight, xc};

/// The format of `bytes` in a file called `file`; what it looks like is an error's business otherwise.
pub(super) fn detect(file: &str, bytes: &[u8]) -> Result<Format, DataError> {
    if bytes.is_empty() {
        return Err(DataError::Empty { place: file.into(), what: "bytes".into() });
    }
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file).to_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let signature = [
        (bytes.starts_with(npy::MAGIC), Format::Npy),
        (bytes.starts_with(parquet::MAGIC), Format::Parquet),
        (bytes.starts_with(arrow::MAGIC), Format::Arrow),
        (images::has_magic(bytes), Format::Images),
        (idx::has_magic(bytes), Format::Idx),
        (safetensors::looks_like_it(bytes, bytes.len() as u64), Format::Safetensors),
        (arrow::looks_like_a_stream(bytes), Format::Arrow),
    ];
    if let Some((_, format)) = signature.iter().find(|(found, _)| *found) {
        return Ok(*format);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        if extension == Some("npz") || npz::holds_arrays(bytes) {
            return Ok(Format::Npz);
        }
    } else if is_text(bytes)
        && let Some(format) = text(&name, bytes)
    {
        return Ok(format);
    }
    Err(DataError::UnknownFormat {
        file: file.into(),
        looks_like: foreign(bytes).map_or_else(|| describe(bytes), String::from),
        known: list(Format::ALL.map(Format::name)) + ", each file also compressed with gzip (.gz)",
    })
}

/// The format of a text.
fn text(name: &str, bytes: &[u8]) -> Option<Format> {
    let named = Format::of_path(name.as_ref());
    let head = &bytes[..bytes.len().min(1 << 16)];
    let pairs = xc::looks_like_it(head).then_some(Format::ExtremeClassification);
    let pairs = pairs.or(svmlight::looks_like_it(head).then_some(Format::Svmlight));
    match named {
        Some(Format::Svmlight | Format::JsonLines) => pairs.or(named),
        // `.txt` and the like say little.
        Some(Format::Csv) => pairs.or(named),
        Some(Format::Tsv) => named,
        // The name claims something that is no text.
        Some(_) => None,
        None if name.ends_with("-ubyte") => None,
        None if pairs.is_some() => pairs,
        None if jsonl::looks_like_it(head) => Some(Format::JsonLines),
        None => (foreign(bytes).is_none() && dialect::looks_like_a_table(bytes)).then_some(Format::Csv),
    }
}

/// Whether the first bytes are text: valid UTF-8 without control characters.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(4096)];
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character cut by the end of the sample is no fault; neither is Latin-1 in a cell, reported with its line.
        Err(error) => error.error_len().is_none() || error.valid_up_to() > 0,
    };
    valid && !head.iter().any(|&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
}

/// Names contents that are recognised but not read.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 16] = [
        (b"FEA1", "Feather of version 1 (write it again with pyarrow.feather)"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"GIF8", "a GIF image (save it as PNG)"),
        (b"RIFF", "a RIFF file, WebP or audio (save images as PNG)"),
        (b"BM", "a BMP image (save it as PNG)"),
        (b"PK", "a zip archive without .npy members"),
        (b"\x28\xb5\x2f\xfd", "zstd compression"),
        (b"BZh", "bzip2 compression"),
        (b"\xfd7zXZ", "xz compression"),
        (b"SQLite format 3", "an SQLite database"),
        (b"MATLAB 5.0", "a MATLAB file"),
        (b"%PDF", "a PDF document"),
        (b"\xff\xfe", "UTF-16 text (save it as UTF-8)"),
        (b"\xfe\xff", "UTF-16 text (save it as UTF-8)"),
        (b"version https://git-lfs", "a Git LFS pointer (fetch the file itself)"),
        (b"@relation", "ARFF"),
    ];
    if let Some((_, name)) = SIGNATURES.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    if bytes.len() > 2 && bytes[0] == 0x80 && (2..=5).contains(&bytes[1]) {
        return Some("a Python pickle, which is never read because it can run code (save with numpy.savez)");
    }
    if !is_text(bytes) {
        return None;
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let first = head.lines().find(|line| !line.trim().is_empty())?.trim_start().to_string();
    if first.starts_with(['{', '[']) {
        return Some("JSON that is not one object a line (write JSON lines)");
    }
    if first.starts_with('<') {
        return Some("HTML or XML");
    }
    None
}

fn describe(bytes: &[u8]) -> String {
    if is_text(bytes) {
        let head: String = String::from_utf8_lossy(&bytes[..bytes.len().min(32)]).into_owned();
        return format!("text, beginning with {head:?}");
    }
    let head: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("binary data, beginning with {}", head.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(name: &str, bytes: &[u8]) -> Option<Format> {
        super::detect(name, bytes).ok()
    }

    #[test]
    fn signatures_win_over_names() {
        assert_eq!(detect("a.csv", b"\x93NUMPY\x01\x00"), Some(Format::Npy));
        assert_eq!(detect("whatever", &[0, 0, 8, 1, 0, 0, 0, 1, 5]), Some(Format::Idx));
        assert_eq!(detect("dir.npy/a.csv", b"1,2\n3,4\n"), Some(Format::Csv));
        assert_eq!(detect("table", b"a;b\n1;2\n"), Some(Format::Csv));
        assert_eq!(detect("a.txt", b"1 1:0.5 2:3\n"), Some(Format::Svmlight));
        assert_eq!(detect("a.txt", b"2 3 4\n1,2 1:0.5 2:3\n3 1:1\n"), Some(Format::ExtremeClassification));
        assert_eq!(detect("a.json", b"{\"x\": 1}\n{\"x\": 2}\n"), Some(Format::JsonLines));
        assert_eq!(detect("a.tsv", b"a\tb\n1\t2\n"), Some(Format::Tsv));
        assert_eq!(detect("a.csv", b"PAR1\x15\x04"), Some(Format::Parquet));
        assert_eq!(detect("a", b"ARROW1\0\0"), Some(Format::Arrow));
        assert_eq!(detect("a", b"\x89PNG\r\n\x1a\n"), Some(Format::Images));
        assert_eq!(detect("labels.txt", b"cat\ndog\n"), Some(Format::Csv));
    }

    #[test]
    fn unknown_bytes_are_named() {
        let message = |name: &str, bytes: &[u8]| super::detect(name, bytes).unwrap_err().to_string();
        assert!(message("a.h5", b"\x89HDF\r\n\x1a\n").contains("look like HDF5"));
        assert!(message("a.json", b"[{\"x\": 1}]").contains("JSON that is not one object a line"));
        assert!(message("a.parquet", b"a,b\n1,2\n").contains("text, beginning with"));
        assert!(message("a.pkl", b"\x80\x04\x95rest").contains("pickle"));
        assert!(message("a.bin", &[1, 2, 3, 0xff]).contains("01 02 03 ff"));
        assert!(message("a.npy", b"1,2\n3,4\n").contains("text, beginning with"));
        assert!(message("a.csv", b"a,b\n\x00\x01").contains("binary"));
        let empty = message("a.csv", b"");
        assert!(empty.contains("a.csv") && empty.contains("no bytes"), "{empty}");
        for format in Format::ALL {
            assert!(message("a.bin", &[1, 2, 3]).contains(format.name()));
        }
    }
}
