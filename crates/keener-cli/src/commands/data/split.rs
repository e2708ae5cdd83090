//! `keener data split`: which row is in which part.

use crate::commands::compare::data::{DataArgs, DataRecord};
use crate::error::Failure;
use crate::output::{OutputArgs, print, print_json};
use anyhow::Result;
use keener_data::split::{self, Method, Split, TEST, TRAIN, VALIDATION};
use std::path::PathBuf;

/// How rows are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Every part has the class shares of the whole
    Stratified,
    /// Every class is in one part
    Classes,
    /// Every group (`--group-column`) is in one part
    Groups,
    /// As a column says (`--part-column`)
    Column,
}

/// Arguments of `keener data split`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// How the rows are divided [default: groups with `--group-column`, column with `--part-column`, else stratified]
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Column that names the part of each row
    #[arg(long, value_name = "COLUMN")]
    part_column: Option<String>,
    /// Shares of train, validation and test, or of train and test
    #[arg(long, value_name = "A,B[,C]", value_delimiter = ',', default_values_t = [0.7, 0.15, 0.15])]
    fractions: Vec<f64>,
    /// Fixes the draw
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File to write: JSON for `.json`, else CSV [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
///
/// # Errors
/// Fractions that do not sum to 1, fewer classes or groups than parts, columns that are not there.
pub(crate) fn run(args: Args) -> Result<()> {
    let by = args.by.unwrap_or(match (&args.data.group_column, &args.part_column) {
        (Some(_), _) => By::Groups,
        (None, Some(_)) => By::Column,
        (None, None) => By::Stratified,
    });
    let record = match args.data.any() {
        true => DataRecord { split_column: args.part_column.clone(), ..args.data.over(&DataRecord::default())? },
        false => DataRecord::default(),
    };
    let (data, named) = record.open()?;
    let names: &[&str] = match args.fractions.len() {
        2 => &[TRAIN, TEST],
        3 => &[TRAIN, VALIDATION, TEST],
        other => {
            let message = format!("{other} fractions: expected 2 (train, test) or 3 (train, validation, test)");
            return Err(Failure::wrong(message).into());
        }
    };
    let needs = |option: &str| Failure::wrong(format!("this division needs `{option} COLUMN`"));
    let (method, parts) = match by {
        By::Stratified => (Method::Stratified, split::stratified(data.labels(), &args.fractions, args.seed)?),
        By::Classes => {
            let classes = data.num_classes();
            (Method::Classes, split::class_disjoint(data.labels(), classes, &args.fractions, args.seed)?)
        }
        By::Groups => {
            let groups = data.groups().ok_or_else(|| needs("--group-column"))?;
            (Method::Groups, split::group_wise(data.labels(), groups, &args.fractions, args.seed)?)
        }
        By::Column => (Method::Column, Vec::new()),
    };
    let split = match by {
        By::Column => named.ok_or_else(|| needs("--part-column"))?,
        _ => Split::new(data.rows(), names.iter().map(ToString::to_string).zip(parts).collect())?,
    };
    let seed = (by != By::Column).then_some(args.seed);
    let split = split.described(data.fingerprint()?, method, seed);
    let counts: Vec<(&str, usize, usize)> = split
        .parts()
        .iter()
        .map(|(name, rows)| {
            let mut classes: Vec<u32> = rows.iter().map(|&row| data.labels()[row]).collect();
            classes.sort_unstable();
            classes.dedup();
            (name.as_str(), rows.len(), classes.len())
        })
        .collect();
    let Some(out) = &args.out else {
        return print(&if args.output.json { split.to_json() } else { split.to_csv() });
    };
    keener_run::replace(out, split.to_text(out).as_bytes()).map_err(|e| keener_run::Error::io("write", out, e))?;
    if args.output.json {
        let parts: serde_json::Map<String, serde_json::Value> = counts
            .iter()
            .map(|(name, rows, classes)| ((*name).into(), serde_json::json!({ "rows": rows, "classes": classes })))
            .collect();
        return print_json(
            &serde_json::json!({ "file": out.display().to_string(), "rows": data.rows(), "parts": parts }),
        );
    }
    let parts: Vec<String> =
        counts.iter().map(|(name, rows, classes)| format!("{name} {rows} rows of {classes} classes")).collect();
    print(&format!("{}: {}\n", out.display(), parts.join(", ")))
}
