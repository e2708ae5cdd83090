//! `keener data convert`: the rows of a file in another format.

use crate::commands::compare::data::{DataArgs, DataRecord};
use crate::error::Failure;
use crate::output::print;
use anyhow::Result;
use keener_data::{Content, Format, Matrix, RowSource, RowsRef};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `keener data convert`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// File to write; its extension says the format
    #[arg(value_name = "OUT")]
    out: Option<PathBuf>,
    /// The format to write [default: by the extension of OUT]
    #[arg(long, value_name = "FORMAT")]
    to: Option<String>,
    /// The rows have no labels: every column is a feature
    #[arg(long)]
    unlabelled: bool,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// A format that is unknown or only read, and what reading and writing raise.
pub(crate) fn run(args: Args) -> Result<()> {
    let (Some(path), Some(out)) = (&args.data.data, &args.out) else {
        return Err(Failure::wrong("a file to read and a file to write are needed")
            .hint("`keener data convert data.csv data.parquet`")
            .into());
    };
    let written = || {
        let words: Vec<&str> = Format::ALL.iter().filter(|f| f.is_written()).map(|f| f.word()).collect();
        words.join(", ")
    };
    let format = match &args.to {
        Some(word) => Format::from_word(word).ok_or_else(|| {
            Failure::wrong(format!("no format is called `{word}`")).hint(format!("one of {}", written()))
        })?,
        None => Format::of_path(out).ok_or_else(|| {
            Failure::wrong(format!("{}: the extension names no format", out.display()))
                .hint(format!("`--to` and one of {}", written()))
        })?,
    };
    if !format.is_written() {
        let message = format!("{} is read but not written", format.name());
        return Err(Failure::wrong(message).hint(format!("one of {}", written())).into());
    }
    if out.exists() && !args.force {
        let message = format!("{} exists; nothing was written", out.display());
        return Err(Failure::wrong(message).hint("another name, or `--force` to write over it").into());
    }
    let record = args.data.over(&DataRecord::default())?;
    let (features, names, labels, classes): (Arc<dyn RowSource>, _, _, _) = match args.unlabelled {
        true => {
            let rows = keener_data::open_rows(path, &record.options(), usize::MAX)?;
            (rows.features, rows.names, None, Vec::new())
        }
        false => {
            let data = keener_data::open_samples(path, &record.options(), usize::MAX)?;
            let names = data.feature_names().map(<[String]>::to_vec);
            (Arc::clone(data.features()), names, Some(data.labels().to_vec()), data.class_names().to_vec())
        }
    };
    let (rows, dim) = (features.rows(), features.dim());
    let filled: Matrix;
    let content = match (features.sparse(), features.dense()) {
        (Some(csr), _) => RowsRef::Sparse(csr),
        (_, Some(values)) => RowsRef::Dense { values, dim, names: names.as_deref() },
        (None, None) => {
            let mut values = vec![0.0; rows * dim];
            features.read_rows(&(0..rows).collect::<Vec<_>>(), &mut values)?;
            filled = Matrix { rows, values, dim, names: names.clone() };
            RowsRef::Dense { values: &filled.values, dim, names: filled.names.as_deref() }
        }
    };
    let content = Content { rows: content, labels: labels.as_deref(), class_names: &classes };
    let files = keener_data::write(out, format, &content)?;
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let labelled = if labels.is_some() { format!(", {} classes", classes.len()) } else { String::new() };
    print(&format!("{}: {rows} rows, {dim} features{labelled}, as {}\n", files.join(" and "), format.name()))
}
