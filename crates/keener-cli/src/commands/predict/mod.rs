//! `keener predict`: classes or embeddings of new rows by a trained run.

mod out;

use crate::commands::train::run_folder::{CONFIG, MODEL, READOUT, ReadoutRecord, check_version, read_json};
use crate::commands::train::settings;
use crate::error::Failure;
use anyhow::Result;
use keener::metrics::classification::{argmax, softmax};
use keener_burn::Head;
use keener_data::{ReadOptions, RowSource};
use out::Output;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line a row, with a header
    Csv,
    /// A JSON object a line
    Json,
}

const AFTER: &str = "\
Examples:
  keener predict run new.csv  a line a row: class and probability
  keener predict run new.csv --embed --out embeddings.csv
  keener predict run new.csv --format json  with the probability of every class";

/// Arguments of `keener predict`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER)]
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
    /// Columns that are features [default: as in the run]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    columns: Vec<String>,
    /// Columns that are no features [default: as in the run]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    leave_out: Vec<String>,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to write
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
}

impl Args {
    /// How the rows are read: as those of the run, unless said otherwise.
    fn options(&self) -> ReadOptions {
        let run = settings::stored(&self.run.join(CONFIG)).map(|run| run.data).unwrap_or_default();
        let mut leave_out = if self.leave_out.is_empty() { run.leave_out } else { self.leave_out.clone() };
        leave_out.extend(run.group_column.into_iter().chain(run.split_column));
        // New rows often lack the label, and then a place counts other columns than in the run.
        let label = run.label_column.filter(|column| column.parse::<i64>().is_err());
        let label = self.label_column.clone().or(label);
        ReadOptions {
            drop_labels: label.is_none(),
            label_column: label,
            columns: if self.columns.is_empty() { run.columns } else { self.columns.clone() },
            leave_out,
            ..ReadOptions::default()
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A folder that holds no finished run, rows that do not fit the model.
pub(crate) fn run(args: Args) -> Result<()> {
    if let Some(folder) =
        args.out.as_deref().and_then(Path::parent).filter(|f| !f.as_os_str().is_empty() && !f.is_dir())
    {
        return Err(Failure::unwritten(args.out.as_deref().unwrap_or(folder), &ErrorKind::NotFound.into()).into());
    }
    check_version(&args.run)?;
    let record: ReadoutRecord = read_json(&args.run, READOUT)?;
    let head = Head::load(&args.run.join(MODEL), &keener_burn::compare::cpu())?;
    let options = args.options();
    let rows = keener_data::open_rows(&args.file, &options, keener::budget::total())?.features;
    if rows.dim() != record.dim {
        let (file, run) = (args.file.display(), args.run.display());
        let message = format!(
            "{file} has {} features a row, expected {} as in the data that {run} was trained on",
            rows.dim(),
            record.dim
        );
        let one_more = rows.dim() == record.dim + 1;
        let failure = Failure::wrong(message);
        return Err(if one_more {
            failure.hint("`--label-column COLUMN`, if one of them is a label")
        } else {
            failure
        }
        .into());
    }
    let mut out = Output::open(args.out.as_deref())?;
    if args.format == Format::Csv && args.embed {
        let names: Vec<String> = (0..record.embedding).map(|k| format!("e{k}")).collect();
        out.write(&(names.join(",") + "\n"))?;
    } else if args.format == Format::Csv {
        out.write("row,class,probability\n")?;
    }
    for first in (0..rows.rows()).step_by(ROWS) {
        let block: Vec<usize> = (first..(first + ROWS).min(rows.rows())).collect();
        let features = keener_data::gather(&rows, &block, record.standardizer.as_ref())?;
        out.write(&match args.embed {
            true => embeddings(&head, &*features, first, args.format)?,
            false => classes(&record, &head, &*features, first, args.format)?,
        })?;
    }
    out.finish()
}

/// Rows that are computed and written at a time.
const ROWS: usize = 1 << 13;

fn embeddings(head: &Head, rows: &dyn RowSource, first: usize, format: Format) -> Result<String> {
    let values = keener_burn::embed_rows(head, rows, 0..rows.rows())?;
    let dim = values.len() / rows.rows().max(1);
    let mut text = String::new();
    for (row, values) in values.chunks(dim.max(1)).enumerate() {
        match format {
            Format::Csv => {
                let cells: Vec<String> = values.iter().map(f32::to_string).collect();
                writeln!(text, "{}", cells.join(","))?;
            }
            Format::Json => writeln!(text, "{}", serde_json::json!({ "row": first + row, "embedding": values }))?,
        }
    }
    Ok(text)
}

fn classes(record: &ReadoutRecord, head: &Head, rows: &dyn RowSource, first: usize, format: Format) -> Result<String> {
    let count = record.class_names.len();
    let probabilities = softmax(&record.logits_of(head, rows, 0..rows.rows())?, count)?;
    let predicted = argmax(&probabilities, count)?;
    let mut text = String::new();
    for (row, (class, all)) in predicted.iter().zip(probabilities.chunks(count)).enumerate() {
        let (row, name) = (first + row, &record.class_names[*class]);
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
