//! Parquet: columns of numbers, text, and lists of numbers.
//!
//! Before the crate's parser sees a file, its footer is walked (sizes within the file, bounded depth), and so is the header
//! of every page that will be read: none may become larger than the allowance of the file, or hold more values than its
//! column declares. Row groups are read one after another, in batches.

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::ChunkReader;
use std::sync::Arc;

use crate::error::DataError;
use crate::formats::columnar::{Assembler, broken};
use crate::formats::contain::{check_allowance, contained};
use crate::formats::thrift;
use crate::formats::{Input, Table, Want};
use crate::options::ReadOptions;

/// The first and the last bytes.
pub(crate) const MAGIC: &[u8] = b"PAR1";

const VALID: &str = "a complete Parquet file";

/// Rows of a batch, where the texts are short.
const BATCH: usize = 8192;

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let bytes = Bytes::copy_from_slice(input.bytes);
    stream(input.file, bytes, want, options, |_| Ok(()))?.finish()
}

/// Reads a file batch by batch. After each batch `each` sees the collector and may take the rows that are in it.
///
/// # Errors
/// [`DataError`] as for every format, and what `each` returns.
pub(crate) fn stream<'a, R: ChunkReader + 'static>(
    file: &'a str,
    reader: R,
    want: Want,
    options: &'a ReadOptions,
    mut each: impl FnMut(&mut Assembler<'a>) -> Result<(), DataError>,
) -> Result<Assembler<'a>, DataError> {
    let len = reader.len();
    contained(file, "Parquet", VALID, || {
        let failed = |error: ParquetError| broken(file, "Parquet", &error, VALID);
        let metadata = Arc::new(footer(file, &reader, len)?);
        let arrow = ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new()).map_err(failed)?;
        let mut rows = Assembler::new(file, arrow.schema(), want, options, len)?;
        let projection = rows.projection();
        let mask = ProjectionMask::roots(arrow.parquet_schema(), projection.iter().copied());
        let text = projection.iter().any(|&column| rows.reads_text(column));
        let batch = check_pages(file, &reader, len, &metadata, &mask, text)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(reader, arrow);
        for batch in builder.with_projection(mask).with_batch_size(batch).build().map_err(failed)? {
            rows.push(&batch.map_err(|error| broken(file, "Parquet", &error, VALID))?)?;
            each(&mut rows)?;
        }
        Ok(rows)
    })
}

/// Number of values in all columns, as the footer declares it.
///
/// # Errors
/// As [`stream`], for a footer that is none.
pub(crate) fn values<R: ChunkReader>(file: &str, reader: &R, len: u64) -> Result<u64, DataError> {
    contained(file, "Parquet", VALID, || {
        let metadata = footer(file, reader, len)?;
        let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
        Ok(chunks.fold(0_u64, |sum, chunk| sum.saturating_add(u64::try_from(chunk.num_values()).unwrap_or(u64::MAX))))
    })
}

/// Checks and parses the footer.
fn footer<R: ChunkReader>(file: &str, reader: &R, len: u64) -> Result<ParquetMetaData, DataError> {
    let failed = |error: ParquetError| broken(file, "footer", &error, VALID);
    let wrong = |found: String| Err(broken(file, "footer", &found, VALID));
    let Some(end) = len.checked_sub(8).filter(|&end| end >= 4) else { return wrong(format!("a file of {len} bytes")) };
    if reader.get_bytes(0, 4).map_err(failed)? != MAGIC {
        return wrong("another beginning".into());
    }
    let tail = reader.get_bytes(end, 8).map_err(failed)?;
    let (length, magic) = tail.split_at(4);
    if magic == b"PARE" {
        return Err(DataError::Unsupported {
            file: file.into(),
            at: "footer".into(),
            found: "encryption".into(),
            expected: "a file that is not encrypted".into(),
        });
    }
    if magic != MAGIC {
        return wrong("no signature at the end of the file".into());
    }
    let length = u64::from(length.first_chunk().map_or(0, |word| u32::from_le_bytes(*word)));
    let Some(start) = end.checked_sub(length).filter(|&start| start >= 4) else {
        return wrong(format!("a length of {length} bytes in a file of {len}"));
    };
    let bytes = reader.get_bytes(start, length as usize).map_err(failed)?;
    thrift::check_footer(&bytes).map_err(|found| broken(file, "footer", &found, VALID))?;
    ParquetMetaDataReader::decode_metadata(&bytes).map_err(failed)
}

/// Checks every page that will be read, and returns how many rows a batch may have.
fn check_pages<R: ChunkReader>(
    file: &str,
    reader: &R,
    len: u64,
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
    text: bool,
) -> Result<usize, DataError> {
    let mut values = 0_u64;
    let mut largest_dictionary = 1_u64;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        for (column, chunk) in group.columns().iter().enumerate().filter(|(column, _)| mask.leaf_included(*column)) {
            let at = format!("row group {number}, column {column}");
            let declared = u64::try_from(chunk.num_values()).unwrap_or(u64::MAX);
            values = values.saturating_add(declared);
            check_allowance(file, &at, values.saturating_mul(4), len)?;
            let dictionary = check_chunk(file, &at, reader, len, chunk)?;
            largest_dictionary = largest_dictionary.max(dictionary);
        }
    }
    // One long text in a dictionary may be meant by every row of a batch.
    let most = crate::formats::contain::allowance(len) / largest_dictionary;
    Ok(if text { BATCH.min(usize::try_from(most).unwrap_or(BATCH)).max(1) } else { BATCH })
}

/// Walks over the pages of a column chunk; returns the size of its dictionary.
fn check_chunk<R: ChunkReader>(
    file: &str,
    at: &str,
    reader: &R,
    len: u64,
    chunk: &ColumnChunkMetaData,
) -> Result<u64, DataError> {
    let wrong = |found: String, expected: &str| Err(broken(file, at, &found, expected));
    let start = chunk.dictionary_page_offset().filter(|&offset| offset > 0).unwrap_or(chunk.data_page_offset());
    let size = chunk.compressed_size();
    let range = u64::try_from(start).ok().zip(u64::try_from(size).ok());
    let range = range.and_then(|(start, size)| start.checked_add(size).map(|end| (start, end)));
    let Some((mut position, end)) = range.filter(|&(_, end)| end <= len) else {
        return wrong(format!("{size} bytes at {start}"), &format!("pages within the {len} bytes of the file"));
    };
    let (mut values, mut dictionary, mut total) = (0_i64, 0_u64, 0_u64);
    while position < end {
        let page = header(file, at, reader, position, end)?;
        let sizes = u64::try_from(page.compressed).ok().zip(u64::try_from(page.uncompressed).ok());
        let Some((compressed, uncompressed)) = sizes else {
            return wrong(format!("a page of {} bytes", page.compressed.min(page.uncompressed)), "a size from 0");
        };
        total = total.saturating_add(uncompressed);
        check_allowance(file, at, total, len)?;
        position = position.saturating_add(page.header as u64).saturating_add(compressed);
        if position > end {
            return wrong(format!("a page of {compressed} bytes"), &format!("pages that end before {end}"));
        }
        if page.entries < 0 || page.entries as u64 > uncompressed || page.values < 0 {
            return wrong(format!("a page of {} values", page.entries.max(page.values)), "values that fit their page");
        }
        if page.entries > 0 {
            dictionary = dictionary.max(uncompressed);
        }
        values = values.saturating_add(page.values);
        if values > chunk.num_values() {
            return wrong(format!("{values} values in pages"), &format!("{}, as the footer says", chunk.num_values()));
        }
    }
    Ok(dictionary)
}

/// The header of the page at `position`.
fn header<R: ChunkReader>(
    file: &str,
    at: &str,
    reader: &R,
    position: u64,
    end: u64,
) -> Result<thrift::Page, DataError> {
    // Statistics make some headers long; most are not.
    for most in [128, 1 << 20] {
        let length = (end - position).min(most) as usize;
        let bytes = reader.get_bytes(position, length).map_err(|error| broken(file, at, &error, VALID))?;
        if let Some(page) = thrift::page(&bytes) {
            return Ok(page);
        }
    }
    Err(broken(file, at, &format!("no page header at {position}"), "one page after another"))
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::labels::RawLabels;

    fn lists(rows: &[Option<&[i64]>]) -> ArrayRef {
        let mut builder = ListBuilder::new(Int64Builder::new());
        for row in rows {
            row.iter().for_each(|row| builder.values().append_slice(row));
            builder.append(row.is_some());
        }
        Arc::new(builder.finish())
    }

    fn file(columns: &[(&str, ArrayRef)], compression: Compression) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn floats(values: &[Option<f64>]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn text(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn labelled(bytes: &[u8], options: &ReadOptions) -> Result<Table, DataError> {
        read(&Input { file: "f.parquet", bytes }, Want::Labelled, options)
    }

    fn error(columns: &[(&str, ArrayRef)], options: &ReadOptions) -> String {
        labelled(&file(columns, Compression::SNAPPY), options).unwrap_err().to_string()
    }

    #[test]
    fn columns_lists_and_text_in_every_compression() {
        let words: DictionaryArray<Int32Type> = ["cat", "dog", "cat"].into_iter().collect();
        let columns = [
            ("x", floats(&[Some(0.5), Some(1.0), Some(2.0)])),
            ("id", text(&["a", "b", "c"])),
            ("v", lists(&[Some(&[1, 2]), Some(&[3, 4]), Some(&[5, 6])])),
            ("label", Arc::new(words) as ArrayRef),
        ];
        let options = ReadOptions { leave_out: vec!["id".into()], ..Default::default() };
        let zstd = Compression::ZSTD(Default::default());
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd, Compression::LZ4_RAW] {
            let table = labelled(&file(&columns, compression), &options).unwrap();
            let features = table.features.unwrap().into_dense("f").unwrap();
            assert_eq!(features.values, [0.5, 1.0, 2.0, 1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
            assert_eq!(features.names.unwrap(), ["x", "v_0", "v_1"]);
            assert_eq!(table.labels.unwrap(), RawLabels::Text(["cat", "dog", "cat"].map(String::from).to_vec()));
        }
        let several = ReadOptions { label_column: Some("v".into()), ..options };
        let labels = labelled(&file(&columns[..3], Compression::SNAPPY), &several).unwrap().labels.unwrap();
        assert!(matches!(labels, RawLabels::Sets(sets) if sets.row(1) == [3, 4]));
    }

    #[test]
    fn values_that_cannot_be_used_are_named() {
        let label = ("label", Arc::new(Int64Array::from(vec![0, 1])) as ArrayRef);
        let x = |values: &[Option<f64>]| [("x", floats(values)), label.clone()];
        let v = |rows: &[Option<&[i64]>]| [("v", lists(rows)), label.clone()];
        let plain = ReadOptions::default();
        for (columns, part) in [
            (x(&[Some(1.0), None]), "f.parquet, row 1, column \"x\": found a missing value"),
            (x(&[Some(1.0), Some(f64::NAN)]), "f.parquet, row 1, column 0: found NaN"),
            (x(&[Some(1e300), Some(1.0)]), "row 0, column 0: found inf"),
            (v(&[Some(&[1, 2]), Some(&[3])]), "row 1, column \"v\": found a list of 1 numbers, expected 2"),
            (v(&[Some(&[1, 2]), None]), "row 1, column \"v\": found a missing value"),
            (v(&[Some(&[]), Some(&[])]), "0 columns"),
            ([("x", text(&["a", "b"])), label.clone()], "column \"x\": text as a feature"),
            ([("x", floats(&[Some(1.0), Some(2.0)])), ("y", floats(&[Some(0.5), Some(1.0)]))], "regression"),
        ] {
            let message = error(&columns, &plain);
            assert!(message.contains(part), "{part}: {message}");
        }
        let keep = ReadOptions { keep_non_finite: true, ..plain };
        let table = labelled(&file(&x(&[Some(1.0), None]), Compression::SNAPPY), &keep).unwrap();
        assert!(table.features.unwrap().into_dense("f").unwrap().values[1].is_nan());
    }

    #[test]
    fn cut_and_forged_files_are_refused() {
        let label: ArrayRef = Arc::new(Int64Array::from_iter_values((0..500).map(|i| i % 3)));
        let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(f64::from)));
        let bytes = file(&[("x", x), ("label", label)], Compression::SNAPPY);
        let refused = |bytes: &[u8]| labelled(bytes, &ReadOptions::default()).unwrap_err().to_string();
        for length in [0, 4, 11, 12, bytes.len() / 2, bytes.len() - 1] {
            assert!(refused(&bytes[..length]).starts_with("f.parquet: footer: found"), "{length}");
        }
        let mut longer = bytes.clone();
        let at = bytes.len() - 8;
        longer[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(refused(&longer).contains("a length of 4294967295 bytes"));
        let mut secret = bytes.clone();
        secret[at + 4..].copy_from_slice(b"PARE");
        assert!(refused(&secret).contains("encryption"));
        // The header of the first page says that it becomes 2 GiB: field 2 of its structure.
        let page = thrift::page(&bytes[4..]).unwrap();
        assert_eq!(bytes[6], 0x15);
        let mut bomb = bytes[..7].to_vec();
        bomb.extend([0xfe, 0xff, 0xff, 0xff, 0x0f]);
        let old = (0..).find(|&i| bytes[7 + i] < 0x80).unwrap() + 1;
        bomb.extend(&bytes[7 + old..]);
        assert_eq!(thrift::page(&bomb[4..]).unwrap().uncompressed, i64::from(i32::MAX), "{page:?}");
        let message = refused(&bomb);
        assert!(message.contains("row group 0, column 0") && message.contains("2147483647 bytes"), "{message}");
    }

    #[test]
    fn rows_can_be_taken_batch_by_batch() {
        let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..20_000).map(f64::from)));
        let label: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20_000).map(|i| i % 2)));
        let bytes = Bytes::from(file(&[("x", x), ("label", label)], Compression::SNAPPY));
        let options = ReadOptions::default();
        let (mut sizes, mut sum) = (Vec::new(), 0.0);
        let rest = stream("f.parquet", bytes, Want::Labelled, &options, |rows| {
            let (rows, dim) = rows.take();
            assert_eq!((dim, rows.labels.unwrap().len()), (1, rows.features.len()));
            sum += rows.features.iter().map(|&value| f64::from(value)).sum::<f64>();
            sizes.push(rows.features.len());
            Ok(())
        });
        assert!(rest.unwrap().take().0.features.is_empty());
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>(), sum), (3, 20_000, 199_990_000.0));
    }
}
