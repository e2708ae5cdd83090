//! Arrow IPC: `.arrow` and `.feather` (version 2), as a file or as a stream.
//!
//! A file is a stream between two signatures, followed by a directory, so both are read as streams. Every message is
//! looked at before arrow sees it: its buffers must lie within it, and what they become when they are uncompressed must
//! stay within the allowance of the file.

use std::io::Cursor;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::{BodyCompression, Buffer, RecordBatch, root_as_message};

use crate::error::DataError;
use crate::formats::columnar::{Assembler, broken};
use crate::formats::contain::{check_allowance, contained};
use crate::formats::{Input, Table, Want};
use crate::options::ReadOptions;

/// The first and the last bytes of a file (the first are padded to 8).
pub(super) const MAGIC: &[u8] = b"ARROW1";

const VALID: &str = "a complete Arrow IPC file or stream";

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let Input { file, bytes } = *input;
    let stream = match bytes.strip_prefix(MAGIC) {
        None => bytes,
        Some(_) if bytes.len() < 18 || !bytes.ends_with(MAGIC) => {
            return Err(broken(file, "last bytes", &"no signature at the end of the file", VALID));
        }
        // The directory and its length lie before the last signature; the stream ends before them by itself.
        Some(_) => unpadded(&bytes[8..bytes.len() - MAGIC.len()]),
    };
    contained(file, "Arrow IPC", VALID, || {
        check(file, stream, bytes.len() as u64)?;
        let failed = |error: arrow_schema::ArrowError| broken(file, "Arrow IPC", &error, VALID);
        let reader = StreamReader::try_new(Cursor::new(stream), None).map_err(failed)?;
        let mut rows = Assembler::new(file, &reader.schema(), want, options, bytes.len() as u64)?;
        let reader = StreamReader::try_new(Cursor::new(stream), Some(rows.projection())).map_err(failed)?;
        for batch in reader {
            rows.push(&batch.map_err(failed)?)?;
        }
        rows.finish()
    })
}

/// The stream after the first signature, which some writers pad to 64 bytes instead of 8.
fn unpadded(mut stream: &[u8]) -> &[u8] {
    for _ in 1..8 {
        stream = stream.strip_prefix(&[0; 8]).unwrap_or(stream);
    }
    stream
}

/// Whether bytes begin like a stream: a marker, and the length of a message that fits.
pub(super) fn looks_like_a_stream(bytes: &[u8]) -> bool {
    message(bytes).is_ok_and(|message| {
        message.is_some_and(|(text, _)| root_as_message(text).is_ok_and(|message| message.header_as_schema().is_some()))
    })
}

/// The flatbuffer at the beginning of `bytes`, and what follows it; nothing at the end of the stream.
fn message(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>, String> {
    let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u32::from_le_bytes(*word));
    let Some(first) = word(bytes) else { return Ok(None) };
    let (length, rest) = match first {
        // Files of before 2019 have no marker before the length.
        u32::MAX => (word(&bytes[4..]).ok_or("no length after the marker")?, &bytes[8..]),
        length => (length, &bytes[4..]),
    };
    if length == 0 {
        return Ok(None);
    }
    let cut = || format!("a message of {length} bytes where {} are left", rest.len());
    rest.split_at_checked(length as usize).map(Some).ok_or_else(cut)
}

/// Looks at every message of a stream.
fn check(file: &str, mut stream: &[u8], len: u64) -> Result<(), DataError> {
    let mut total = 0_u64;
    let mut number = 0;
    loop {
        let at = format!("message {number}");
        let Some((text, rest)) = message(stream).map_err(|found| broken(file, &at, &found, VALID))? else { break };
        let message = root_as_message(text).map_err(|error| broken(file, &at, &error, "an Arrow message"))?;
        let body_len = usize::try_from(message.bodyLength()).ok();
        let Some((body, after)) = body_len.and_then(|length| rest.split_at_checked(length)) else {
            let found = format!("a body of {} bytes where {} are left", message.bodyLength(), rest.len());
            return Err(broken(file, &at, &found, VALID));
        };
        let batch = message.header_as_record_batch();
        let batch = batch.or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
        if let Some(batch) = batch {
            total = total.saturating_add(check_batch(file, &at, &batch, body, len)?);
            check_allowance(file, &at, total, len)?;
        }
        stream = after;
        number += 1;
    }
    match number {
        0 => Err(broken(file, "Arrow IPC", &"no message", VALID)),
        _ => Ok(()),
    }
}

/// Checks the buffers and lengths of a batch, and returns the bytes that it becomes.
fn check_batch(file: &str, at: &str, batch: &RecordBatch<'_>, body: &[u8], len: u64) -> Result<u64, DataError> {
    let wrong = |found: String, expected: &str| Err(broken(file, at, &found, expected));
    // A value takes at least a bit; what takes none (columns of nulls, empty lists) is not read.
    let most = i64::try_from(crate::formats::contain::allowance(len)).unwrap_or(i64::MAX);
    let nodes = batch.nodes();
    let lengths = nodes.iter().flatten().flat_map(|node| [node.length(), node.null_count()]);
    if let Some(length) = lengths.chain([batch.length()]).find(|length| !(0..=most).contains(length)) {
        return wrong(format!("a column of {length} values"), "columns that fit the file");
    }
    let mut end = 0;
    let mut total = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let Some(bytes) = slice(buffer, body) else {
            let found = format!("a buffer of {} bytes at {}", buffer.length(), buffer.offset());
            return wrong(found, &format!("one within the {} bytes of the message", body.len()));
        };
        if buffer.length() > 0 && buffer.offset() < end {
            return wrong(format!("a buffer at {} over the one before", buffer.offset()), "buffers one after another");
        }
        end = end.max(buffer.offset() + buffer.length());
        total = total.saturating_add(uncompressed(bytes, batch.compression()).ok_or_else(|| {
            broken(file, at, &"a compressed buffer without its length", "8 bytes with the length before the data")
        })?);
    }
    Ok(total)
}

fn slice<'a>(buffer: &Buffer, body: &'a [u8]) -> Option<&'a [u8]> {
    let (start, length) = (usize::try_from(buffer.offset()).ok()?, usize::try_from(buffer.length()).ok()?);
    body.get(start..start.checked_add(length)?)
}

/// The bytes that a buffer becomes; −1 as the declared length means that it is not compressed.
fn uncompressed(bytes: &[u8], compression: Option<BodyCompression<'_>>) -> Option<u64> {
    if compression.is_none() || bytes.is_empty() {
        return Some(bytes.len() as u64);
    }
    match i64::from_le_bytes(*bytes.first_chunk()?) {
        -1 => Some(bytes.len() as u64),
        length => u64::try_from(length).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, DictionaryArray, Float32Array, RecordBatch, types::Int8Type};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;
    use crate::labels::RawLabels;

    fn batch() -> RecordBatch {
        let labels: DictionaryArray<Int8Type> = ["cat", "dog", "cat"].into_iter().collect();
        let columns: [(&str, ArrayRef); 2] =
            [("x", Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]))), ("label", Arc::new(labels))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn file(compression: Option<CompressionType>, alignment: usize) -> Vec<u8> {
        let options = IpcWriteOptions::try_new(alignment, false, arrow_ipc::MetadataVersion::V5).unwrap();
        let options = options.try_with_compression(compression).unwrap();
        let mut bytes = Vec::new();
        let mut writer = FileWriter::try_new_with_options(&mut bytes, &batch().schema(), options).unwrap();
        writer.write(&batch()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn labelled(bytes: &[u8]) -> Result<Table, DataError> {
        read(&Input { file: "f.arrow", bytes }, Want::Labelled, &ReadOptions::default())
    }

    #[test]
    fn files_and_streams_also_compressed() {
        let mut kinds = vec![stream()];
        for alignment in [8, 64] {
            kinds.extend(
                [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)].map(|c| file(c, alignment)),
            );
        }
        assert!(looks_like_a_stream(&kinds[0]) && !looks_like_a_stream(&kinds[1]));
        for bytes in kinds {
            let table = labelled(&bytes).unwrap();
            assert_eq!(table.features.unwrap().into_dense("f").unwrap().values, [1.0, 2.0, 3.0]);
            assert_eq!(table.labels.unwrap(), RawLabels::Text(["cat", "dog", "cat"].map(String::from).to_vec()));
        }
    }

    #[test]
    fn a_message_is_not_believed() {
        let bytes = stream();
        for cut in [10, bytes.len() / 2] {
            let error = labelled(&bytes[..cut]).unwrap_err().to_string();
            assert!(error.contains("f.arrow: message"), "{error}");
        }
        let mut huge = bytes.clone();
        huge[4..8].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        assert!(labelled(&huge).unwrap_err().to_string().contains("a message of 2147483647 bytes"));
        // The uncompressed length before a compressed buffer.
        let columns: [(&str, ArrayRef); 2] =
            ["x", "label"].map(|name| (name, Arc::new(Float32Array::from(vec![1.0; 999])) as _));
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
        let mut bomb = Vec::new();
        let mut writer = FileWriter::try_new_with_options(&mut bomb, &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        assert!(labelled(&bomb).is_ok());
        let at = bomb.windows(8).rposition(|word| word == 3996_i64.to_le_bytes()).unwrap();
        bomb[at..at + 8].copy_from_slice(&(1_i64 << 40).to_le_bytes());
        let error = labelled(&bomb).unwrap_err().to_string();
        assert!(error.contains("message 1") && error.contains("need 10995116"), "{error}");
        let file = file(None, 8);
        assert!(labelled(&file[..file.len() - 1]).unwrap_err().to_string().contains("no signature at the end"));
    }
}
