//! Text: separated by commas or tabs, svmlight, JSON lines.

use std::io;

use crate::write::{Content, FEATURES, LABEL, Labels, RowsRef, Sink};

/// Names of the columns, also where there are none.
fn column_names(content: &Content<'_>) -> Vec<String> {
    match content.names() {
        Some(names) => names.to_vec(),
        None => (0..content.dim()).map(|column| format!("f{column}")).collect(),
    }
}

/// A text table with names in the first line and the label last.
pub(super) fn delimited(out: &mut Sink<'_>, content: &Content<'_>, separator: u8) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().delimiter(separator).from_writer(out);
    let mut cells = column_names(content);
    let labels = content.spelled();
    cells.extend(labels.as_ref().map(|_| LABEL.to_string()));
    csv.write_record(&cells)?;
    content.each_row(|i, row| {
        cells.clear();
        cells.extend(row.iter().map(f32::to_string));
        match &labels {
            Some(Labels::Numbers(numbers)) => cells.push(numbers[i].to_string()),
            Some(Labels::Names(names)) => cells.push(names[i].to_string()),
            None => {}
        }
        Ok(csv.write_record(&cells)?)
    })?;
    csv.flush()
}

/// Sparse text with indices from 1.
pub(super) fn svmlight(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    writeln!(out, "# dim: {}", content.dim())?;
    let labels = content.numbered();
    if let Some((_, Some(names))) = &labels {
        // JSON in one line; a class name cannot end the comment.
        writeln!(out, "# class_names: {}", serde_json::to_string(names)?)?;
    }
    let label = |i: usize| labels.as_ref().map_or(0, |(labels, _)| labels[i]);
    if let RowsRef::Sparse(csr) = content.rows {
        for i in 0..csr.rows() {
            let (columns, values) = csr.row(i);
            write!(out, "{}", label(i))?;
            for (&column, value) in columns.iter().zip(values) {
                write!(out, " {}:{value}", u64::from(column) + 1)?;
            }
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    content.each_row(|i, row| {
        write!(out, "{}", label(i))?;
        for (column, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            write!(out, " {}:{value}", column + 1)?;
        }
        out.write_all(b"\n")
    })
}

/// An object a line: a field for each named column, or one list.
pub(super) fn json_lines(out: &mut Sink<'_>, content: &Content<'_>) -> io::Result<()> {
    let quoted = |name: &str| serde_json::to_string(name).map_err(io::Error::from);
    let names = content.names().map(|names| names.iter().map(|name| quoted(name)).collect::<io::Result<Vec<_>>>());
    let names = names.transpose()?;
    let labels = content.spelled();
    content.each_row(|i, row| {
        out.write_all(b"{")?;
        match &names {
            Some(names) => {
                for (column, (name, value)) in names.iter().zip(row).enumerate() {
                    write!(out, "{}{name}:{value}", if column > 0 { "," } else { "" })?;
                }
            }
            None => {
                write!(out, "\"{FEATURES}\":")?;
                serde_json::to_writer(&mut *out, row)?;
            }
        }
        match &labels {
            Some(Labels::Numbers(numbers)) => write!(out, ",\"{LABEL}\":{}", numbers[i])?,
            Some(Labels::Names(names)) => write!(out, ",\"{LABEL}\":{}", quoted(names[i])?)?,
            None => {}
        }
        out.write_all(b"}\n")
    })
}
