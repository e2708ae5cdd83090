//! `.npz`: a zip archive of NumPy arrays, of which two are chosen by name.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::error::DataError;
use crate::formats::archive::{self, place};
use crate::formats::contain::{check_allowance, contained};
use crate::formats::select::choose_columns;
use crate::formats::{Input, RawArray, Table, Values, Want, npy};
use crate::options::ReadOptions;
use crate::sparse::Csr;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

const VALID: &str = "a complete archive as written by numpy.savez";

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    contained(input.file, "zip archive", VALID, || {
        let mut archive =
            ZipArchive::new(Cursor::new(input.bytes)).map_err(|error| broken(input.file, "directory", error))?;
        let names: Vec<String> = arrays(&archive);
        let mut load = |name: &str| load(input, &mut archive, name);
        if !is_sparse(&names) || options.features_array.is_some() {
            return archive::read(input.file, &names, want, options, load);
        }
        let csr = (want != Want::Labels).then(|| sparse(input.file, &mut load, options)).transpose()?;
        let mut table = match want {
            Want::Features => Table::default(),
            _ => archive::read(input.file, &names, Want::Labels, options, load)?,
        };
        table.features = csr.map(|csr| choose_columns(input.file, csr.into(), options)).transpose()?;
        Ok(table)
    })
}

/// Whether these are the arrays that `scipy.sparse.save_npz` writes for a matrix compressed by rows.
fn is_sparse(names: &[String]) -> bool {
    ["indptr", "indices", "data", "shape", "format"].iter().all(|part| names.iter().any(|name| name == part))
}

/// The matrix that `scipy.sparse.save_npz` wrote.
fn sparse(
    file: &str,
    load: &mut impl FnMut(&str) -> Result<RawArray, DataError>,
    options: &ReadOptions,
) -> Result<Csr, DataError> {
    match load("format")?.values {
        Values::Text(format) if format == ["csr"] => {}
        other => {
            return Err(DataError::Unsupported {
                file: file.into(),
                at: place("format"),
                found: format!("a sparse matrix of format {other:?}"),
                expected: "\"csr\" (convert with matrix.tocsr())".into(),
            });
        }
    }
    let mut whole = |name: &str| -> Result<Vec<usize>, DataError> {
        let refused = |found: String| DataError::Malformed {
            file: file.into(),
            at: place(name),
            found,
            expected: "whole numbers from 0".into(),
        };
        match load(name)?.values {
            Values::U8(values) => Ok(values.into_iter().map(usize::from).collect()),
            Values::I64(values) => {
                let convert = |value: i64| usize::try_from(value).map_err(|_| refused(value.to_string()));
                values.into_iter().map(convert).collect()
            }
            _ => Err(refused("another type".into())),
        }
    };
    let shape = whole("shape")?;
    let (indptr, indices) = (whole("indptr")?, whole("indices")?);
    let data = load("data")?;
    let count = data.shape.first().copied().unwrap_or(0);
    let data = RawArray { shape: vec![count, 1], ..data };
    let values = if count == 0 { Vec::new() } else { data.into_features(file, &place("data"), true)?.values };
    let &[rows, dim] = shape.as_slice() else {
        return Err(DataError::Shape {
            place: format!("{file}: {}", place("shape")),
            what: "the sparse matrix".into(),
            found: format!("shape {shape:?}"),
            expected: "[rows, dim]".into(),
        });
    };
    if indptr.len().checked_sub(1) != Some(rows) {
        return Err(DataError::Shape {
            place: format!("{file}: {}", place("indptr")),
            what: "the row pointer".into(),
            found: format!("{} entries", indptr.len()),
            expected: format!("one more than the {rows} rows"),
        });
    }
    Csr::from_unsorted(file, dim, indptr, indices, values, options.keep_non_finite)
}

/// Whether a zip archive holds at least one array.
pub(super) fn holds_arrays(bytes: &[u8]) -> bool {
    contained("", "zip archive", VALID, || {
        Ok(ZipArchive::new(Cursor::new(bytes)).is_ok_and(|archive| !arrays(&archive).is_empty()))
    })
    .unwrap_or(false)
}

/// Names of the arrays, sorted.
fn arrays(archive: &Archive<'_>) -> Vec<String> {
    let mut names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_string())).collect();
    names.sort();
    names
}

/// Unpacks one array. Memory grows with what the stream yields; a member longer than it declares is an error.
fn load(input: &Input<'_>, archive: &mut Archive<'_>, name: &str) -> Result<RawArray, DataError> {
    let at = place(name);
    let mut member = archive.by_name(&format!("{name}.npy")).map_err(|error| broken(input.file, &at, error))?;
    let declared = member.size();
    check_allowance(input.file, &at, declared, input.bytes.len() as u64)?;
    let mut bytes = Vec::new();
    member
        .by_ref()
        .take(declared.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| broken(input.file, &at, ZipError::Io(error)))?;
    if bytes.len() as u64 != declared {
        return Err(DataError::Size {
            file: input.file.into(),
            at,
            declared: format!("{declared} bytes"),
            available: bytes.len() as u64,
        });
    }
    npy::parse(input.file, &at, &bytes)
}

fn broken(file: &str, at: &str, error: ZipError) -> DataError {
    match error {
        ZipError::UnsupportedArchive(what) => DataError::Unsupported {
            file: file.into(),
            at: at.into(),
            found: what.into(),
            expected: "a member that is stored or deflated, without encryption".into(),
        },
        error => DataError::Malformed {
            file: file.into(),
            at: format!("zip {at}"),
            found: error.to_string(),
            expected: VALID.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored archive of arrays of `i64` or text.
    fn archive(members: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
        use std::io::Write;
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, descr, shape, data) in members {
            let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            zip.start_file(format!("{name}.npy"), options).unwrap();
            let shape: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
            zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
            zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
            zip.write_all(header.as_bytes()).unwrap();
            zip.write_all(data).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn whole(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_sparse_matrix_of_scipy_stays_sparse() {
        let members = |format: &[u8], indices: &[i64]| {
            archive(&[
                ("indptr", "<i8", &[3], whole(&[0, 2, 3])),
                ("indices", "<i8", &[3], whole(indices)),
                ("data", "<i8", &[3], whole(&[5, 7, 9])),
                ("shape", "<i8", &[2], whole(&[2, 4])),
                ("format", "|S3", &[1], format.to_vec()),
                ("y", "<i8", &[2], whole(&[1, 0])),
                ("class_names", "|S1", &[2], b"ab".to_vec()),
            ])
        };
        let read = |bytes: &[u8]| read(&Input { file: "f.npz", bytes }, Want::Labelled, &ReadOptions::default());
        let table = read(&members(b"csr", &[3, 0, 1])).unwrap();
        let crate::sparse::Features::Sparse(csr) = table.features.unwrap() else { panic!("dense") };
        assert_eq!((csr.row(0), csr.row(1)), ((&[0, 3][..], &[7.0, 5.0][..]), (&[1][..], &[9.0][..])));
        assert_eq!(table.class_names.unwrap(), ["a", "b"]);
        let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(message(&members(b"csc", &[3, 0, 1])).contains("tocsr"));
        assert!(message(&members(b"csr", &[3, 3, 1])).contains("row 0: found column 3"));
        assert!(
            message(&members(b"csr", &[3, 4, 1])).contains("expected one in 4..4")
                || message(&members(b"csr", &[3, 4, 1])).contains("found column 4")
        );
        assert!(message(&members(b"csr", &[-1, 0, 1])).contains("array 'indices'"));
    }

    #[test]
    fn a_member_that_declares_too_much_is_not_unpacked() {
        let mut bytes = archive(&[("x", "<i8", &[1, 1], whole(&[1]))]);
        let directory = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        bytes[directory + 24..directory + 28].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
        let error = read(&Input { file: "f.npz", bytes: &bytes }, Want::Features, &ReadOptions::default());
        assert!(error.unwrap_err().to_string().contains("bytes, expected at most"));
    }
}
