//! `keener predict`: classes or embeddings of new rows by a trained run.

use crate::commands::train::run_folder::{MODEL, READOUT, ReadoutRecord, check_version, read_json};
use crate::error::Failure;
use crate::output::print;
use anyhow::Result;
use keener::metrics::classification::{argmax, softmax};
use keener_burn::Head;
use keener_data::ReadOptions;
use std::fmt::Write;
use std::path::PathBuf;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line a row, with a header
    Csv,
    /// A JSON object a line
    Json,
}

/// Arguments of `keener predict`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder that `keener train` wrote
    run: PathBuf,
    /// Rows without labels; a column with a usual label name is left out
    file: PathBuf,
    /// Write embeddings instead of classes
    #[arg(long)]
    embed: bool,
    /// Column to leave out, by name or index
    #[arg(long, value_name = "COLUMN")]
    label_column: Option<String>,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to write
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
}

/// Runs the command.
///
/// # Errors
/// A folder that holds no finished run, rows that do not fit the model.
pub(crate) fn run(args: Args) -> Result<()> {
    check_version(&args.run)?;
    let record: ReadoutRecord = read_json(&args.run, READOUT)?;
    let head = Head::load(&args.run.join(MODEL), &keener_burn::compare::cpu())?;
    let options = ReadOptions {
        label_column: args.label_column.clone(),
        drop_labels: args.label_column.is_none(),
        ..ReadOptions::default()
    };
    let rows = keener_data::open_features(&args.file, &options)?;
    if rows.dim != record.dim {
        let (file, run) = (args.file.display(), args.run.display());
        let message = format!(
            "{file} has {} features a row, expected {} as in the data that {run} was trained on",
            rows.dim, record.dim
        );
        let one_more = rows.dim == record.dim + 1;
        let failure = Failure::wrong(message);
        return Err(if one_more {
            failure.hint("`--label-column COLUMN`, if one of them is a label")
        } else {
            failure
        }
        .into());
    }
    let (dim, mut features) = (rows.dim, rows.values);
    if let Some(standardizer) = &record.standardizer {
        standardizer.apply(&mut features, dim)?;
    }
    let text = match args.embed {
        true => embeddings(&head, &features, rows.rows, args.format)?,
        false => classes(&record, &head, &features, args.format)?,
    };
    match &args.out {
        Some(path) => {
            Ok(keener_run::replace(path, text.as_bytes()).map_err(|e| keener_run::Error::io("write", path, e))?)
        }
        None => print(&text),
    }
}

fn embeddings(head: &Head, features: &[f32], rows: usize, format: Format) -> Result<String> {
    let values = keener_burn::embed(head, features)?;
    let dim = values.len() / rows.max(1);
    let mut text = String::new();
    if format == Format::Csv {
        let names: Vec<String> = (0..dim).map(|k| format!("e{k}")).collect();
        writeln!(text, "{}", names.join(","))?;
    }
    for (row, values) in values.chunks(dim.max(1)).enumerate() {
        match format {
            Format::Csv => {
                let cells: Vec<String> = values.iter().map(f32::to_string).collect();
                writeln!(text, "{}", cells.join(","))?;
            }
            Format::Json => writeln!(text, "{}", serde_json::json!({ "row": row, "embedding": values }))?,
        }
    }
    Ok(text)
}

fn classes(record: &ReadoutRecord, head: &Head, features: &[f32], format: Format) -> Result<String> {
    let count = record.class_names.len();
    let probabilities = softmax(&record.logits(head, features)?, count)?;
    let predicted = argmax(&probabilities, count)?;
    let mut text = if format == Format::Csv { "row,class,probability\n".to_string() } else { String::new() };
    for (row, (class, all)) in predicted.iter().zip(probabilities.chunks(count)).enumerate() {
        let name = &record.class_names[*class];
        match format {
            Format::Csv => writeln!(text, "{row},{},{}", quoted(name), all[*class])?,
            Format::Json => {
                let named: serde_json::Map<String, serde_json::Value> =
                    record.class_names.iter().zip(all).map(|(n, p)| (n.clone(), (*p).into())).collect();
                let line = serde_json::json!({
                    "row": row, "class": name, "probability": all[*class], "probabilities": named,
                });
                writeln!(text, "{line}")?;
            }
        }
    }
    Ok(text)
}

/// A CSV field, in quotes where it needs them.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_break_a_line_are_quoted() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
