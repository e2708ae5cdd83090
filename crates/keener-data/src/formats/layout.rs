//! How the elements of an array lie in a file: known from the header alone, before anything is read.

use crate::error::DataError;
use crate::formats::array::row_major;
use crate::formats::{RawArray, Values};

/// Type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
    /// That many bytes of UTF-8, padded with NULs.
    Bytes(usize),
    /// That many code points of 4 bytes, padded with NULs.
    Unicode(usize),
}

impl Dtype {
    /// Bytes an element; `None` beyond the address space.
    pub(crate) fn size(self) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Bytes(length) => length,
            Self::Unicode(length) => length.checked_mul(4)?,
        })
    }
}

/// Where an array lies and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Type of the elements.
    pub(crate) dtype: Dtype,
    /// Whether the most significant byte comes first.
    pub(crate) big_endian: bool,
    /// Whether the first axis varies fastest.
    pub(crate) column_major: bool,
    /// Extent of each axis.
    pub(crate) shape: Vec<usize>,
    /// Bytes from the beginning of the file to the first element.
    pub(crate) offset: usize,
}

/// Applies `$body` to the elements of `$data` as iterators of the plain number type.
macro_rules! numbers {
    ($number:ty, $big:expr, $data:expr) => {
        $data.chunks_exact(size_of::<$number>()).map(|chunk| {
            let mut array = [0; size_of::<$number>()];
            array.copy_from_slice(chunk);
            if $big { <$number>::from_be_bytes(array) } else { <$number>::from_le_bytes(array) }
        })
    };
}

impl Layout {
    /// Bytes of the whole array; `None` beyond the address space.
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.dtype.size()?, |size, &extent| size.checked_mul(extent))
    }

    /// Rows and values a row, the axes after the first flattened; `None` unless it is a matrix of numbers with both.
    #[allow(dead_code, reason = "for sources that are mapped instead of read")]
    pub(crate) fn matrix(&self) -> Option<(usize, usize)> {
        let (&rows, rest) = self.shape.split_first()?;
        let dim = rest.iter().product();
        let numbers = !matches!(self.dtype, Dtype::Bytes(_) | Dtype::Unicode(_));
        (!rest.is_empty() && rows > 0 && dim > 0 && numbers).then_some((rows, dim))
    }

    /// Converts consecutive elements to `f32`, as reading the whole array does. Text is left out: `out` stays as it is.
    ///
    /// # Panics
    /// Unless `data` holds as many elements as `out`.
    pub(crate) fn to_f32(&self, data: &[u8], out: &mut [f32]) {
        assert_eq!(Some(data.len()), self.dtype.size().and_then(|size| size.checked_mul(out.len())), "one byte range");
        let big = self.big_endian;
        macro_rules! fill {
            ($numbers:expr) => {
                out.iter_mut().zip($numbers).for_each(|(out, value)| *out = value)
            };
        }
        match self.dtype {
            Dtype::Bool => fill!(data.iter().map(|&byte| f32::from(u8::from(byte != 0)))),
            Dtype::U8 => fill!(data.iter().map(|&byte| f32::from(byte))),
            Dtype::I8 => fill!(numbers!(i8, big, data).map(f32::from)),
            Dtype::U16 => fill!(numbers!(u16, big, data).map(f32::from)),
            Dtype::I16 => fill!(numbers!(i16, big, data).map(f32::from)),
            Dtype::U32 => fill!(numbers!(u32, big, data).map(|value| value as f32)),
            Dtype::I32 => fill!(numbers!(i32, big, data).map(|value| value as f32)),
            Dtype::U64 => fill!(numbers!(u64, big, data).map(|value| value as f32)),
            Dtype::I64 => fill!(numbers!(i64, big, data).map(|value| value as f32)),
            Dtype::F16 => fill!(numbers!(u16, big, data).map(|bits| half::f16::from_bits(bits).to_f32())),
            Dtype::Bf16 => fill!(numbers!(u16, big, data).map(|bits| half::bf16::from_bits(bits).to_f32())),
            Dtype::F32 => fill!(numbers!(f32, big, data)),
            Dtype::F64 => fill!(numbers!(f64, big, data).map(|value| value as f32)),
            Dtype::Bytes(_) | Dtype::Unicode(_) => {}
        }
    }

    /// The array, where `data` begins with its first element. `at` names it in messages.
    ///
    /// # Errors
    /// [`DataError::Size`] unless `data` has the length that the shape says, [`DataError::Unsupported`] for whole numbers
    /// beyond `i64`.
    pub(crate) fn decode(&self, file: &str, at: &str, data: &[u8]) -> Result<RawArray, DataError> {
        if self.bytes() != Some(data.len()) {
            return Err(self.size_error(file, at, data.len() as u64));
        }
        let big = self.big_endian;
        let values = match self.dtype {
            Dtype::Bool => Values::U8(data.iter().map(|&byte| u8::from(byte != 0)).collect()),
            Dtype::U8 => Values::U8(data.to_vec()),
            Dtype::I8 => Values::I64(numbers!(i8, big, data).map(i64::from).collect()),
            Dtype::U16 => Values::I64(numbers!(u16, big, data).map(i64::from).collect()),
            Dtype::I16 => Values::I64(numbers!(i16, big, data).map(i64::from).collect()),
            Dtype::U32 => Values::I64(numbers!(u32, big, data).map(i64::from).collect()),
            Dtype::I32 => Values::I64(numbers!(i32, big, data).map(i64::from).collect()),
            Dtype::I64 => Values::I64(numbers!(i64, big, data).collect()),
            Dtype::U64 => {
                let whole: Result<Vec<i64>, _> = numbers!(u64, big, data).map(i64::try_from).collect();
                Values::I64(whole.map_err(|_| DataError::Unsupported {
                    file: file.into(),
                    at: at.into(),
                    found: "an unsigned integer of 2^63 or more".into(),
                    expected: "whole numbers that fit 64 bits with a sign".into(),
                })?)
            }
            Dtype::F16 | Dtype::Bf16 | Dtype::F32 => {
                let mut values = vec![0.0; data.len() / self.dtype.size().unwrap_or(1)];
                self.to_f32(data, &mut values);
                Values::F32(values)
            }
            Dtype::F64 => Values::F64(numbers!(f64, big, data).collect()),
            Dtype::Bytes(length) => {
                let text = |cell: &[u8]| String::from_utf8_lossy(until_nul(cell)).into_owned();
                Values::Text(data.chunks_exact(length.max(1)).map(text).collect())
            }
            Dtype::Unicode(length) => {
                let cells = data.chunks_exact(length.max(1) * 4);
                Values::Text(cells.map(|cell| unicode(&numbers!(u32, big, cell).collect::<Vec<_>>())).collect())
            }
        };
        let shape = self.shape.clone();
        if !self.column_major || shape.len() < 2 || shape.contains(&0) {
            return Ok(RawArray { shape, values });
        }
        macro_rules! turn {
            ($($kind:ident),*) => {
                match values {
                    $(Values::$kind(values) => Values::$kind(row_major(values, &shape)),)*
                }
            };
        }
        Ok(RawArray { values: turn!(U8, I64, F32, F64, Text), shape })
    }

    /// The error for an array that is not as long as its shape says.
    pub(crate) fn size_error(&self, file: &str, at: &str, available: u64) -> DataError {
        let size = self.dtype.size().map_or_else(|| "too many".into(), |size| size.to_string());
        DataError::Size {
            file: file.into(),
            at: at.into(),
            declared: format!("shape {:?} with {size} bytes an element", self.shape),
            available,
        }
    }
}

fn until_nul(cell: &[u8]) -> &[u8] {
    // Cells are padded with NULs at their end only; NULs inside belong to the text.
    let end = cell.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &cell[..end]
}

fn unicode(cell: &[u32]) -> String {
    let end = cell.iter().rposition(|&point| point != 0).map_or(0, |last| last + 1);
    cell[..end].iter().map(|&point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_convert_as_the_whole_array_does() {
        let data: Vec<u8> = (0..96).map(|i| (i * 37 % 251) as u8).collect();
        use Dtype::*;
        for dtype in [Bool, U8, I8, U16, I16, U32, I32, I64, F16, Bf16, F32] {
            for big_endian in [false, true] {
                let rows = 96 / dtype.size().unwrap() / 2;
                let layout = Layout { dtype, big_endian, column_major: false, shape: vec![rows, 2], offset: 0 };
                assert_eq!(layout.matrix(), Some((rows, 2)));
                let mut one = vec![0.0; rows * 2];
                layout.to_f32(&data, &mut one);
                let all = layout.decode("f", "array", &data).unwrap().into_features("f", "array", true).unwrap();
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&one), bits(&all.values), "{dtype:?}");
            }
        }
    }

    #[test]
    fn lengths_are_checked_without_overflow() {
        let layout = |dtype, shape: &[usize]| Layout {
            dtype,
            big_endian: false,
            column_major: false,
            shape: shape.to_vec(),
            offset: 0,
        };
        for layout in [
            layout(Dtype::F64, &[usize::MAX, 2]),
            layout(Dtype::Unicode(usize::MAX), &[1]),
            layout(Dtype::F32, &[1]),
            layout(Dtype::F32, &[3]),
        ] {
            let error = layout.decode("f", "array", &[0; 8]).unwrap_err().to_string();
            assert!(error.contains("expected as many bytes after it, found 8"), "{error}");
        }
    }
}
