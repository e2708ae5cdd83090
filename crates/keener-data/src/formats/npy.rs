//! `.npy`: one NumPy array.
//!
//! The header is checked before it is parsed and again before anything is allocated: an array must be exactly as long
//! as its shape says. Arrays of Python objects are pickles and are refused.

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use crate::error::DataError;
use crate::formats::contain::contained;
use crate::formats::layout::{Dtype, Layout};
use crate::formats::{Input, RawArray, Table, Want};
use crate::options::ReadOptions;

/// The first bytes of every file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read, as in NumPy itself.
const MAX_HEADER: usize = 10_000;

/// As many first bytes of a file as [`layout`] may need.
#[allow(dead_code, reason = "for sources that are mapped instead of read")]
pub(crate) const HEAD: usize = MAX_HEADER + 12;

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    parse(input.file, "array", input.bytes)?.into_table(input, want, options)
}

/// The array in `bytes`; `at` names it in messages.
pub(super) fn parse(file: &str, at: &str, bytes: &[u8]) -> Result<RawArray, DataError> {
    let layout = layout(file, at, bytes, bytes.len() as u64)?;
    layout.decode(file, at, bytes.get(layout.offset..).unwrap_or_default())
}

/// Where the elements are in a file of `total` bytes that begins with `head`; the header must lie within `head`
/// ([`HEAD`] bytes are always enough).
///
/// # Errors
/// [`DataError::Malformed`], [`DataError::Unsupported`] for what is no number and no text, [`DataError::Size`] unless the
/// file is exactly as long as the shape says.
pub(crate) fn layout(file: &str, at: &str, head: &[u8], total: u64) -> Result<Layout, DataError> {
    let malformed = |found: String, expected: &str| DataError::Malformed {
        file: file.into(),
        at: format!("{at}, header"),
        found,
        expected: expected.into(),
    };
    check_header(head).map_err(|(found, expected)| malformed(found, expected))?;
    let mut rest = head;
    const EXPECTED: &str = "a NumPy header with 'descr', 'fortran_order' and 'shape'";
    let header = contained(file, at, EXPECTED, || {
        NpyHeader::from_reader(&mut rest).map_err(|error| malformed(error.to_string(), EXPECTED))
    })?;
    let unsupported = |found: String| DataError::Unsupported {
        file: file.into(),
        at: at.into(),
        found,
        expected: "booleans, integers, floats of 16, 32 or 64 bits, or text".into(),
    };
    if header.uses_pickled_array() {
        return Err(unsupported(
            "an array of Python objects, a pickle that is never read because it can run code,".into(),
        ));
    }
    let DType::Plain(kind) = header.dtype() else {
        return Err(unsupported(format!("dtype {}", header.dtype().descr())));
    };
    let item = kind.num_bytes().filter(|&item| item > 0).ok_or_else(|| unsupported(format!("dtype '{kind}'")))?;
    let dtype = match (kind.type_char(), item) {
        (TypeChar::Bool, 1) => Dtype::Bool,
        (TypeChar::Uint, 1) => Dtype::U8,
        (TypeChar::Uint, 2) => Dtype::U16,
        (TypeChar::Uint, 4) => Dtype::U32,
        (TypeChar::Uint, 8) => Dtype::U64,
        (TypeChar::Int, 1) => Dtype::I8,
        (TypeChar::Int, 2) => Dtype::I16,
        (TypeChar::Int, 4) => Dtype::I32,
        (TypeChar::Int, 8) => Dtype::I64,
        (TypeChar::Float, 2) => Dtype::F16,
        (TypeChar::Float, 4) => Dtype::F32,
        (TypeChar::Float, 8) => Dtype::F64,
        (TypeChar::ByteStr, _) => Dtype::Bytes(item),
        (TypeChar::UnicodeStr, _) => Dtype::Unicode(item / 4),
        _ => return Err(unsupported(format!("dtype '{kind}'"))),
    };
    let offset = head.len() - rest.len();
    let available = total.saturating_sub(offset as u64);
    let shape: Option<Vec<usize>> = header.shape().iter().map(|&extent| usize::try_from(extent).ok()).collect();
    let big_endian = kind.endianness() == Endianness::Big;
    let column_major = header.order() == Order::Fortran;
    match shape.map(|shape| Layout { dtype, big_endian, column_major, shape, offset }) {
        Some(layout) if layout.bytes().map(|bytes| bytes as u64) == Some(available) => Ok(layout),
        Some(layout) => Err(layout.size_error(file, at, available)),
        None => Err(DataError::Size {
            file: file.into(),
            at: at.into(),
            declared: format!("shape {:?} of '{kind}'", header.shape()),
            available,
        }),
    }
}

/// Refuses headers that no writer makes, before the parser sees them: too long, nested deeply, with anything but
/// names in quotes, plain integers and brackets, or with a shape beyond 64 bits. Returns what was found and expected.
fn check_header(bytes: &[u8]) -> Result<(), (String, &'static str)> {
    const WHOLE: &str = "a NumPy file of version 1, 2 or 3 with its whole header";
    let (start, length) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => return Err((format!("{} bytes without a valid beginning", bytes.len()), WHOLE)),
    };
    if length > MAX_HEADER {
        return Err((format!("a header of {length} bytes"), "at most 10000"));
    }
    let Some(text) = bytes.get(start..start + length) else {
        return Err((format!("{} of {length} bytes", bytes.len() - start), WHOLE));
    };
    let (mut quote, mut depth, mut product, mut digits) = (None, 0_usize, 1_u64, None::<u64>);
    let close = |digits: &mut Option<u64>, product: &mut u64| -> Option<()> {
        if let Some(value) = digits.take() {
            *product = product.checked_mul(value.max(1))?;
        }
        Some(())
    };
    const LARGE: (&str, &str) = ("a shape beyond 64 bits", "a shape that fits the file");
    let large = || (LARGE.0.to_string(), LARGE.1);
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if let Some(mark) = quote {
            match byte {
                b'\\' => return Err(("an escape".into(), "plain text in quotes")),
                0x20..=0x7e => quote = (byte != mark).then_some(mark),
                _ => return Err((format!("byte {byte:02x} in quotes"), "plain text in quotes")),
            }
            continue;
        }
        if byte.is_ascii_digit() {
            let value = digits.unwrap_or(0).checked_mul(10).and_then(|v| v.checked_add(u64::from(byte - b'0')));
            digits = Some(value.ok_or_else(large)?);
            continue;
        }
        close(&mut digits, &mut product).ok_or_else(large)?;
        match byte {
            b'\'' | b'"' => quote = Some(byte),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' | b'\n' | b',' | b':' => {}
            b'T' if text[at..].starts_with(b"rue") => at += 3,
            b'F' if text[at..].starts_with(b"alse") => at += 4,
            _ => return Err((format!("byte {byte:02x}"), "names in quotes, whole numbers, True or False")),
        }
        if depth > 5 {
            return Err(("deeply nested brackets".into(), "at most 5 levels"));
        }
    }
    close(&mut digits, &mut product).ok_or_else(large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Values;

    /// A file of version 1 with the given header text.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn plain(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
    }

    fn error(bytes: &[u8]) -> String {
        parse("f.npy", "array", bytes).unwrap_err().to_string()
    }

    #[test]
    fn byte_order_and_axis_order() {
        let data: Vec<u8> = [1_i16, -2, 3, 4, 5, 6].iter().flat_map(|value| value.to_be_bytes()).collect();
        let array = parse("f", "array", &file(&plain(">i2", "True", "(2, 3)"), &data)).unwrap();
        assert_eq!(array, RawArray { shape: vec![2, 3], values: Values::I64(vec![1, 3, 5, -2, 4, 6]) });
    }

    #[test]
    fn text_loses_its_padding_only() {
        let array = parse("f", "array", &file(&plain("|S3", "False", "(2,)"), b"a\0b\xc3\xa9\0")).unwrap();
        assert_eq!(array.values, Values::Text(vec!["a\0b".into(), "é".into()]));
    }

    #[test]
    fn shapes_must_fit_the_bytes() {
        for shape in ["(3,)", "(1,)", "(1000000000000,)", "()"] {
            let message = error(&file(&plain("<f4", "False", shape), &[0; 8]));
            assert!(message.contains("found 8") && message.contains("f.npy: array"), "{message}");
        }
        for shape in ["(4294967296, 4294967296)", "(99999999999999999999,)", "(0, 4294967296, 4294967296)"] {
            assert!(error(&file(&plain("<f4", "False", shape), &[0; 8])).contains("beyond 64 bits"));
        }
        // Empty elements would allow any shape.
        assert!(error(&file(&plain("|S0", "False", "(1000000000000,)"), &[])).contains("dtype"));
    }

    #[test]
    fn pickles_and_other_types_are_refused() {
        assert!(error(&file(&plain("|O", "False", "(2,)"), b"\x80\x04pickle")).contains("pickle that is never read"));
        assert!(error(&file(&plain("<c8", "False", "(1,)"), &[0; 8])).contains("'<c8'"));
        assert!(error(&file(&plain("<f16", "False", "(1,)"), &[0; 16])).contains("'<f16'"));
        let record = "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,)}";
        assert!(error(&file(record, &[0; 4])).contains("dtype [("));
        assert!(error(&file(&plain("<u8", "False", "(1,)"), &[0xff; 8])).contains("2^63"));
    }

    #[test]
    fn hostile_headers_never_reach_the_parser() {
        assert!(error(&file(&"(".repeat(5000), &[])).contains("nested"));
        assert!(error(&file("{'descr': '\\N{x}'}", &[])).contains("escape"));
        assert!(error(&file(&plain("<f4", "False", "(0x10,)"), &[])).contains("byte 78"));
        assert!(error(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("4294967295 bytes"));
        assert!(error(b"\x93NUMPY\x01\x00\x76\x00{").contains("1 of 118 bytes"));
        assert!(error(b"\x93NUMPY").contains("6 bytes"));
        assert!(error(&file("{}", &[])).contains("descr") || error(&file("{}", &[])).contains("missing"));
    }
}
