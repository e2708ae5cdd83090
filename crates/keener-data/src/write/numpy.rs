//! `.npy` and `.npz`.

use std::io::{self, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::formats::archive::{CLASS_NAMES, FEATURE_NAMES};
use crate::write::{Content, Labels, RowsRef, Sink};

/// The header of an array, padded so that the data begin at a multiple of 64.
fn header(out: &mut (impl Write + ?Sized), descr: &str, shape: &[usize]) -> io::Result<()> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    text.extend(std::iter::repeat_n(' ', 63 - (10 + text.len()) % 64));
    text.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(text.len() as u16).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

/// The features.
pub(super) fn matrix<W: Write + ?Sized>(out: &mut W, content: &Content<'_>) -> io::Result<()> {
    header(out, "<f4", &[content.rows(), content.dim()])?;
    let mut bytes = Vec::new();
    content.each_row(|_, row| {
        bytes.clear();
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        out.write_all(&bytes)
    })
}

/// The labels, as numbers or as text.
pub(super) fn labels(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    match content.spelled() {
        None => Ok(()),
        Some(Labels::Numbers(numbers)) => integers(out, &numbers, &[numbers.len()]),
        Some(Labels::Names(names)) => texts(out, &names),
    }
}

fn integers(out: &mut (impl Write + ?Sized), values: &[i64], shape: &[usize]) -> io::Result<()> {
    header(out, "<i8", shape)?;
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// Text of one width, padded with NULs.
fn texts(out: &mut (impl Write + ?Sized), texts: &[impl AsRef<str>]) -> io::Result<()> {
    let width = texts.iter().map(|text| text.as_ref().chars().count()).max().unwrap_or(0).max(1);
    header(out, &format!("<U{width}"), &[texts.len()])?;
    let mut cell = Vec::with_capacity(4 * width);
    for text in texts {
        cell.clear();
        cell.extend(text.as_ref().chars().flat_map(|point| u32::from(point).to_le_bytes()));
        cell.resize(4 * width, 0);
        out.write_all(&cell)?;
    }
    Ok(())
}

/// An archive of features (dense as `X`, sparse as SciPy writes them), labels and names.
pub(super) fn archive(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(out);
    // Members may be large; sizes of 64 bits are always written.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
    match content.rows {
        RowsRef::Dense { .. } => {
            zip.start_file("X.npy", options)?;
            matrix(&mut zip, content)?;
        }
        RowsRef::Sparse(csr) => {
            zip.start_file("data.npy", options)?;
            header(&mut zip, "<f4", &[csr.nnz()])?;
            csr.values().iter().try_for_each(|value| zip.write_all(&value.to_le_bytes()))?;
            zip.start_file("indices.npy", options)?;
            header(&mut zip, "<i8", &[csr.nnz()])?;
            csr.indices().iter().try_for_each(|&column| zip.write_all(&i64::from(column).to_le_bytes()))?;
            zip.start_file("indptr.npy", options)?;
            header(&mut zip, "<i8", &[csr.indptr().len()])?;
            csr.indptr().iter().try_for_each(|&start| zip.write_all(&(start as u64).to_le_bytes()))?;
            zip.start_file("shape.npy", options)?;
            integers(&mut zip, &[csr.rows() as i64, csr.dim() as i64], &[2])?;
            zip.start_file("format.npy", options)?;
            header(&mut zip, "|S3", &[])?;
            zip.write_all(b"csr")?;
        }
    }
    if let Some(names) = content.names() {
        zip.start_file(format!("{FEATURE_NAMES}.npy"), options)?;
        texts(&mut zip, names)?;
    }
    if let Some((labels, names)) = content.numbered() {
        zip.start_file("y.npy", options)?;
        integers(&mut zip, &labels, &[labels.len()])?;
        if let Some(names) = names {
            zip.start_file(format!("{CLASS_NAMES}.npy"), options)?;
            texts(&mut zip, names)?;
        }
    }
    zip.finish()?.flush()
}
