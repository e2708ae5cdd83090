//! `.safetensors`: named tensors behind a JSON header.
//!
//! Eight bytes with the header's length, the header, the data. Tensors must lie within the data, without holes and
//! without overlaps, each exactly as long as its shape says. The lists `class_names` and `feature_names` are kept as JSON
//! in the header's `__metadata__`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::DataError;
use crate::formats::archive::{self, CLASS_NAMES, FEATURE_NAMES, place};
use crate::formats::layout::{Dtype, Layout};
use crate::formats::select::choose_columns;
use crate::formats::{Input, Table, Want};
use crate::options::ReadOptions;

/// The longest header that is read, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors of a file, and the texts that come with them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    /// Name and place of each tensor whose type is read, sorted by name.
    pub(crate) tensors: Vec<(String, Layout)>,
    /// Tensors of other types, with the type.
    others: Vec<(String, String)>,
    /// Free texts.
    metadata: BTreeMap<String, String>,
}

impl Header {
    /// A list of names among the free texts.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        serde_json::from_str(self.metadata.get(name)?).ok()
    }

    fn names(&self) -> Vec<String> {
        let names = self.tensors.iter().map(|(name, _)| name).chain(self.others.iter().map(|(name, _)| name));
        let mut names: Vec<String> = names.cloned().collect();
        names.sort();
        names
    }

    /// The tensor called `name`.
    fn tensor(&self, file: &str, name: &str) -> Result<&Layout, DataError> {
        if let Some((_, layout)) = self.tensors.iter().find(|(known, _)| known == name) {
            return Ok(layout);
        }
        let dtype = self.others.iter().find(|(known, _)| known == name).map_or("", |(_, dtype)| dtype);
        Err(DataError::Unsupported {
            file: file.into(),
            at: place(name),
            found: format!("dtype {dtype}"),
            expected: "BOOL, integers, F16, BF16, F32 or F64".into(),
        })
    }

    /// The tensor with the features: the one that the options name, or the one with a usual name.
    #[allow(dead_code, reason = "for sources that are mapped instead of read")]
    pub(crate) fn features(
        &self,
        file: &str,
        want: Want,
        options: &ReadOptions,
    ) -> Result<(String, &Layout), DataError> {
        let names = self.names();
        let name = archive::choose_features(file, &names, want, options)?;
        Ok((name.to_string(), self.tensor(file, name)?))
    }
}

pub(crate) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let header = header(input.file, input.bytes, input.bytes.len() as u64)?;
    let names = header.names();
    let load = |name: &str| {
        let layout = header.tensor(input.file, name)?;
        let end = layout.bytes().and_then(|bytes| bytes.checked_add(layout.offset)).unwrap_or(usize::MAX);
        layout.decode(input.file, &place(name), input.bytes.get(layout.offset..end).unwrap_or_default())
    };
    let unselected = ReadOptions { columns: Vec::new(), leave_out: Vec::new(), ..options.clone() };
    let mut table = archive::read(input.file, &names, want, &unselected, load)?;
    if want != Want::Features {
        table.class_names = header.list(CLASS_NAMES);
    }
    if let Some(mut features) = table.features.take() {
        if let (crate::sparse::Features::Dense(matrix), Some(names)) = (&mut features, header.list(FEATURE_NAMES)) {
            matrix.names = (names.len() == matrix.dim).then_some(names);
        }
        table.features = Some(choose_columns(input.file, features, options)?);
    }
    Ok(table)
}

/// Whether bytes begin like such a file: a length that fits, and a brace.
pub(super) fn looks_like_it(bytes: &[u8], total: u64) -> bool {
    let length = bytes.first_chunk().map(|first| u64::from_le_bytes(*first));
    let fits =
        |length: u64| (2..=MAX_HEADER).contains(&length) && length.checked_add(8).is_some_and(|end| end <= total);
    length.is_some_and(fits) && bytes.get(8) == Some(&b'{')
}

/// Length of the header and its 8 bytes before it, from those 8 bytes: as much of a file as [`header`] needs.
#[allow(dead_code, reason = "for sources that are mapped instead of read")]
pub(crate) fn head_len(first: [u8; 8]) -> u64 {
    u64::from_le_bytes(first).saturating_add(8)
}

/// Reads the header of a file of `total` bytes that begins with `head`.
///
/// # Errors
/// [`DataError::Malformed`] for a header that is none, [`DataError::Size`] for a tensor that is not as long as its shape
/// says, lies outside the data, over another, or leaves a hole.
pub(crate) fn header(file: &str, head: &[u8], total: u64) -> Result<Header, DataError> {
    let malformed = |found: String, expected: &str| DataError::Malformed {
        file: file.into(),
        at: "safetensors header".into(),
        found,
        expected: expected.into(),
    };
    const WHOLE: &str = "8 bytes with the length of a JSON header, and that header";
    let first = head.first_chunk().ok_or_else(|| malformed(format!("{} bytes", head.len()), WHOLE))?;
    let length = u64::from_le_bytes(*first);
    if length > MAX_HEADER {
        return Err(malformed(format!("a length of {length} bytes"), "at most 100000000"));
    }
    let end = length as usize + 8;
    let text = head.get(8..end).ok_or_else(|| malformed(format!("{} of {end} bytes", head.len()), WHOLE))?;
    let parsed: Parsed = serde_json::from_slice(text).map_err(|error| {
        malformed(error.to_string(), "JSON with dtype, shape and data_offsets for each tensor, each name once")
    })?;
    let data = total.saturating_sub(end as u64);
    let mut header = Header { tensors: Vec::new(), others: Vec::new(), metadata: parsed.metadata };
    let mut ranges = Vec::with_capacity(parsed.tensors.len());
    for (name, Tensor { dtype, shape, data_offsets: [begin, stop] }) in parsed.tensors {
        let wrong =
            |declared: String| DataError::Size { file: file.into(), at: place(&name), declared, available: data };
        if begin > stop || stop > data {
            return Err(wrong(format!("the offsets {begin} to {stop}")));
        }
        let known = known(&dtype);
        let bits = known.and_then(Dtype::size).map(|bytes| 8 * bytes as u64).or_else(|| other_bits(&dtype));
        let bits = bits.ok_or_else(|| malformed(format!("the type {dtype:?} of {name:?}"), "a type of the format"))?;
        let size = shape.iter().try_fold(bits, |size, &extent| size.checked_mul(extent));
        if size != (stop - begin).checked_mul(8) {
            return Err(wrong(format!("shape {shape:?} of {dtype} in {} bytes", stop - begin)));
        }
        ranges.push((begin, stop, name.clone()));
        let address = |extent: &u64| usize::try_from(*extent).ok();
        let shape: Option<Vec<usize>> = shape.iter().map(address).collect();
        match (known, shape, address(&(end as u64 + begin))) {
            (Some(dtype), Some(shape), Some(offset)) => {
                let layout = Layout { dtype, big_endian: false, column_major: false, shape, offset };
                header.tensors.push((name, layout));
            }
            _ => header.others.push((name, dtype)),
        }
    }
    ranges.sort();
    let mut at = 0;
    for (begin, stop, name) in ranges {
        if begin != at {
            let what = if begin < at { "lies over another" } else { "leaves a hole before it" };
            let declared =
                format!("the offsets {begin} to {stop}, where the tensor {what} (the one before ends at {at})");
            return Err(DataError::Size { file: file.into(), at: place(&name), declared, available: data });
        }
        at = stop;
    }
    if at != data {
        let declared = format!("{at} bytes of data");
        return Err(DataError::Size { file: file.into(), at: "safetensors data".into(), declared, available: data });
    }
    header.tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(header)
}

fn known(dtype: &str) -> Option<Dtype> {
    Some(match dtype {
        "BOOL" => Dtype::Bool,
        "U8" => Dtype::U8,
        "I8" => Dtype::I8,
        "U16" => Dtype::U16,
        "I16" => Dtype::I16,
        "U32" => Dtype::U32,
        "I32" => Dtype::I32,
        "U64" => Dtype::U64,
        "I64" => Dtype::I64,
        "F16" => Dtype::F16,
        "BF16" => Dtype::Bf16,
        "F32" => Dtype::F32,
        "F64" => Dtype::F64,
        _ => return None,
    })
}

/// Bits an element of the types that are not read.
fn other_bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E5M2FNUZ" | "F8_E4M3FNUZ" => 8,
        "C64" => 64,
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The JSON header with its tensors in their order; a name that comes twice is an error.
struct Parsed {
    tensors: Vec<(String, Tensor)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Parsed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Parsed, M::Error> {
                let mut parsed = Parsed { tensors: Vec::new(), metadata: BTreeMap::new() };
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("the name {name:?} comes twice")));
                    }
                    if name == "__metadata__" {
                        parsed.metadata = map.next_value()?;
                    } else {
                        parsed.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn table(bytes: &[u8], want: Want) -> Result<Table, DataError> {
        read(&Input { file: "f.safetensors", bytes }, want, &ReadOptions::default())
    }

    fn entry(name: &str, dtype: &str, shape: &str, begin: u64, stop: u64) -> String {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{stop}]}}")
    }

    #[test]
    fn tensors_names_and_classes() {
        let header = format!(
            "{{{},{},\"__metadata__\":{{\"class_names\":\"[\\\"a\\\",\\\"b\\\"]\",\"feature_names\":\"[\\\"u\\\",\\\"v\\\"]\"}}}}",
            entry("labels", "U8", "[2]", 8, 10),
            entry("embeddings", "BF16", "[2,2]", 0, 8)
        );
        let data = [0x80, 0x3f, 0x00, 0x40, 0x00, 0xc0, 0, 0, 1, 0];
        let table = table(&file(&header, &data), Want::Labelled).unwrap();
        let features = table.features.unwrap().into_dense("f").unwrap();
        assert_eq!((features.values, features.names.unwrap().join(" ")), (vec![1.0, 2.0, -2.0, 0.0], "u v".into()));
        let classes = table.labels.unwrap().into_classes("f", None, table.class_names).unwrap();
        assert_eq!(classes, (vec![1, 0], vec!["a".into(), "b".into()]));
    }

    #[test]
    fn the_reference_implementation_writes_what_is_read() {
        let values: Vec<u8> = [1.5_f32, -2.0, 0.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 2], &values).unwrap();
        let bytes = safetensors::serialize([("x", view)], None).unwrap();
        assert!(looks_like_it(&bytes, bytes.len() as u64));
        let features = table(&bytes, Want::Features).unwrap().features.unwrap();
        assert_eq!(features.into_dense("f").unwrap().values, [1.5, -2.0, 0.0, 4.0]);
    }

    #[test]
    fn a_header_is_not_believed() {
        let one = |entry: &str| file(&format!("{{{entry}}}"), &[0; 8]);
        let two = |a: &str, b: &str| file(&format!("{{{a},{b}}}"), &[0; 8]);
        let cases = [
            (one(&entry("x", "F32", "[3,1]", 0, 8)), "shape [3, 1] of F32 in 8 bytes"),
            (one(&entry("x", "F32", "[3,1]", 0, 12)), "offsets 0 to 12"),
            (one(&entry("x", "F32", "[1,1]", 0, 4)), "4 bytes of data"),
            (one(&entry("x", "F32", "[1,1]", 4, 8)), "hole"),
            (one(&entry("x", "F32", "[1,1]", 8, 4)), "offsets 8 to 4"),
            (one(&entry("x", "F32", "[4294967296,4294967296]", 0, 8)), "shape"),
            (one(&entry("x", "F31", "[2,1]", 0, 8)), "the type \"F31\""),
            (one(&entry("x", "F8_E4M3", "[4,2]", 0, 8)), "dtype F8_E4M3 cannot be used"),
            (two(&entry("x", "F32", "[2,1]", 0, 8), &entry("y", "U8", "[4]", 4, 8)), "lies over another"),
            (two(&entry("x", "F32", "[1,1]", 0, 4), &entry("x", "F32", "[1,1]", 4, 8)), "comes twice"),
            (one("\"x\":{\"dtype\":\"F32\"}"), "missing field"),
            (file(&"[".repeat(9000), &[]), "JSON"),
            (vec![255; 9], "18446744073709551615 bytes"),
            (vec![9, 0, 0, 0, 0, 0, 0, 0, b'{'], "9 of 17 bytes"),
            (vec![1, 2], "2 bytes"),
        ];
        for (bytes, part) in cases {
            let error = table(&bytes, Want::Features).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("f.safetensors"), "{part}: {error}");
        }
    }
}
