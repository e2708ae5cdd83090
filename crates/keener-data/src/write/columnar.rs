//! Parquet and Arrow IPC.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::formats::CLASS_NAMES_KEY;
use crate::write::{Content, FEATURES, LABEL, Labels, Sink};

/// Values of a batch, about.
const BATCH: usize = 1 << 22;

pub(super) fn parquet(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    let schema = schema(content)?;
    // Few values of features repeat, those of labels do.
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(LABEL.into(), true)
        .build();
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(io::Error::other)?;
    batches(content, &schema, |batch| writer.write(batch).map_err(io::Error::other))?;
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

pub(super) fn arrow(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    let schema = schema(content)?;
    let mut writer = FileWriter::try_new(out, &schema).map_err(io::Error::other)?;
    batches(content, &schema, |batch| writer.write(batch).map_err(io::Error::other))?;
    writer.finish().map_err(io::Error::other)
}

/// A column a named feature, or one of lists; then the label.
fn schema(content: &Content<'_>) -> io::Result<SchemaRef> {
    let mut fields: Vec<Field> = match content.names() {
        Some(names) => names.iter().map(|name| Field::new(name, DataType::Float32, false)).collect(),
        None => vec![Field::new(FEATURES, DataType::FixedSizeList(item(), width(content)?), false)],
    };
    let mut metadata = HashMap::new();
    if let Some(labels) = content.spelled() {
        let kind = match labels {
            Labels::Numbers(_) => DataType::Int64,
            Labels::Names(_) => DataType::Utf8,
        };
        if content.numbers_say_all() {
            fields.push(Field::new(LABEL, kind, false));
        } else {
            // Among classes that are listed, numbers would be positions.
            fields.push(Field::new(LABEL, DataType::Utf8, false));
            metadata.insert(CLASS_NAMES_KEY.to_string(), serde_json::to_string(content.class_names)?);
        }
    }
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

fn width(content: &Content<'_>) -> io::Result<i32> {
    i32::try_from(content.dim()).map_err(|_| io::Error::other("lists of more than 2^31 values cannot be written"))
}

fn batches(
    content: &Content<'_>,
    schema: &SchemaRef,
    mut write: impl FnMut(&RecordBatch) -> io::Result<()>,
) -> io::Result<()> {
    let failed = |error: ArrowError| io::Error::other(error);
    let dim = content.dim();
    let step = (BATCH / dim.max(1)).max(1);
    let mut buffer = Vec::new();
    for start in (0..content.rows()).step_by(step) {
        let range = start..(start + step).min(content.rows());
        content.dense(range.clone(), &mut buffer);
        let mut columns: Vec<ArrayRef> = match content.names() {
            Some(_) => (0..dim)
                .map(|column| {
                    let values = buffer.iter().skip(column).step_by(dim).copied();
                    Arc::new(Float32Array::from_iter_values(values)) as ArrayRef
                })
                .collect(),
            None => {
                let values = Arc::new(Float32Array::from(std::mem::take(&mut buffer)));
                vec![Arc::new(FixedSizeListArray::try_new(item(), width(content)?, values, None).map_err(failed)?)]
            }
        };
        if let Some(labels) = content.labels {
            let names = labels[range].iter().map(|&label| content.class_names[label as usize].as_str());
            let numbers = match schema.field_with_name(LABEL).map_err(failed)?.data_type() {
                DataType::Int64 => content.class_numbers(),
                _ => None,
            };
            columns.push(match numbers {
                Some(_) => Arc::new(Int64Array::from_iter_values(names.map(|name| name.parse().unwrap_or_default()))),
                None => Arc::new(StringArray::from_iter_values(names)),
            });
        }
        write(&RecordBatch::try_new(schema.clone(), columns).map_err(failed)?)?;
    }
    Ok(())
}
