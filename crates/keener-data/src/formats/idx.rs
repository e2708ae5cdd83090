//! IDX: the format of MNIST and its relatives.
//!
//! Two zero bytes, a type, the number of axes, the extents as big-endian `u32`, then the elements, also big-endian.
//! Bytes as features are pixel values and are scaled to 0..=1.

use crate::error::DataError;
use crate::formats::layout::{Dtype, Layout};
use crate::formats::{Input, RawArray, Table, Values, Want};
use crate::options::ReadOptions;

/// More axes than any data set has; guards against other files that begin with zeros.
const MAX_AXES: u8 = 8;

/// Whether the first bytes are those of this format.
pub(super) fn has_magic(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, 1..=MAX_AXES, ..])
}

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let mut array = parse(input)?;
    if want != Want::Labels
        && options.label_column.is_none()
        && let Values::U8(pixels) = &array.values
    {
        array.values = Values::F32(pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect());
    }
    array.into_table(input, want, options)
}

fn parse(input: &Input<'_>) -> Result<RawArray, DataError> {
    let Input { file, bytes } = *input;
    let [0, 0, kind, axes, rest @ ..] = bytes else {
        return Err(malformed(file, "first bytes", "another beginning", "two zero bytes, a type and a number of axes"));
    };
    let Some((extents, data)) = rest.split_at_checked(4 * usize::from(*axes)) else {
        return Err(malformed(
            file,
            "header",
            &format!("{} bytes", bytes.len()),
            &format!("the extents of {axes} axes"),
        ));
    };
    let extents = extents.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let dtype = match kind {
        0x08 => Dtype::U8,
        0x09 => Dtype::I8,
        0x0b => Dtype::I16,
        0x0c => Dtype::I32,
        0x0d => Dtype::F32,
        0x0e => Dtype::F64,
        _ => return Err(malformed(file, "type", &format!("{kind:#04x}"), "one of 0x08, 0x09, 0x0b to 0x0e")),
    };
    let shape = extents.map(|extent| extent as usize).collect();
    let layout = Layout { dtype, big_endian: true, column_major: false, shape, offset: bytes.len() - data.len() };
    layout.decode(file, "IDX array", data)
}

fn malformed(file: &str, at: &str, found: &str, expected: &str) -> DataError {
    DataError::Malformed { file: file.into(), at: format!("IDX {at}"), found: found.into(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn array(bytes: &[u8]) -> Result<RawArray, DataError> {
        parse(&Input { file: "f", bytes })
    }

    #[test]
    fn every_type_is_big_endian() {
        let cases = [
            (0x08, vec![200], Values::U8(vec![200])),
            (0x09, vec![200], Values::I64(vec![-56])),
            (0x0b, (-300_i16).to_be_bytes().to_vec(), Values::I64(vec![-300])),
            (0x0c, 70_000_i32.to_be_bytes().to_vec(), Values::I64(vec![70_000])),
            (0x0d, 1.5_f32.to_be_bytes().to_vec(), Values::F32(vec![1.5])),
            (0x0e, (-2.5_f64).to_be_bytes().to_vec(), Values::F64(vec![-2.5])),
        ];
        for (kind, data, values) in cases {
            let bytes = file(kind, &[1, 1], &data);
            assert!(has_magic(&bytes));
            assert_eq!(array(&bytes).unwrap(), RawArray { shape: vec![1, 1], values });
        }
    }

    #[test]
    fn pixels_are_scaled_and_labels_are_not() {
        let bytes = file(0x08, &[2, 1, 2], &[0, 255, 51, 102]);
        let table = read(&Input { file: "f", bytes: &bytes }, Want::Features, &ReadOptions::default()).unwrap();
        let images = table.features.unwrap().into_dense("f").unwrap();
        assert_eq!((images.rows, images.dim, images.values), (2, 2, vec![0.0, 1.0, 0.2, 0.4]));
        let bytes = file(0x08, &[2], &[9, 255]);
        let table = read(&Input { file: "f", bytes: &bytes }, Want::Labels, &ReadOptions::default()).unwrap();
        assert_eq!(table.labels.unwrap(), crate::labels::RawLabels::Integers(vec![9, 255]));
    }

    #[test]
    fn a_header_is_not_believed() {
        for (shape, data) in [(vec![2, 2], 3), (vec![2, 2], 5), (vec![u32::MAX; 8], 5), (vec![0, u32::MAX], 5)] {
            let message = array(&file(0x08, &shape, &vec![0; data])).unwrap_err().to_string();
            assert!(message.contains(&format!("found {data}")), "{message}");
        }
        assert!(array(&[0, 0, 8, 3, 0, 0]).unwrap_err().to_string().contains("extents of 3 axes"));
        assert!(array(&file(0x0a, &[1], &[0])).unwrap_err().to_string().contains("0x0a"));
        assert!(!has_magic(&[0, 0, 8, 0]) && !has_magic(&[0, 0, 0x0a, 1]) && !has_magic(&[0, 0, 8]));
    }
}
