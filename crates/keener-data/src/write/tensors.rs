//! `.safetensors`.

use std::io;

use serde_json::{Map, Value, json};

use crate::formats::archive::{CLASS_NAMES, FEATURE_NAMES};
use crate::write::{Content, FEATURES, Sink};

/// The labels (whole numbers of 8 bytes, first, so that all data are aligned) and the features.
pub(super) fn safetensors(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    let (rows, dim) = (content.rows(), content.dim());
    let labels = content.numbered();
    let labels_end = labels.as_ref().map_or(0, |(labels, _)| 8 * labels.len());
    let mut metadata = Map::new();
    metadata.insert("format".into(), "pt".into());
    if let Some(names) = content.names() {
        metadata.insert(FEATURE_NAMES.into(), serde_json::to_string(names)?.into());
    }
    if let Some((_, Some(names))) = &labels {
        metadata.insert(CLASS_NAMES.into(), serde_json::to_string(names)?.into());
    }
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    if labels.is_some() {
        header.insert("labels".into(), json!({"dtype": "I64", "shape": [rows], "data_offsets": [0, labels_end]}));
    }
    let offsets = [labels_end, labels_end + 4 * rows * dim];
    header.insert(FEATURES.into(), json!({"dtype": "F32", "shape": [rows, dim], "data_offsets": offsets}));
    let mut text = serde_json::to_string(&header)?;
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())?;
    for label in labels.iter().flat_map(|(labels, _)| labels) {
        out.write_all(&label.to_le_bytes())?;
    }
    let mut bytes = Vec::new();
    content.each_row(|_, row| {
        bytes.clear();
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        out.write_all(&bytes)
    })
}
