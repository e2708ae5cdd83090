//! `keener data describe`: what is in a file, and what keener would do with it.

use crate::commands::compare::data::{DataArgs, DataRecord, PartArgs};
use crate::error::Failure;
use crate::output::{OutputArgs, print, print_json, print_table, width};
use crate::paths::shell;
use crate::size::show;
use anyhow::Result;
use keener_data::describe::{Places, Profile, describe};
use keener_data::split::Split;
use keener_report::{Column, Table, cells};
use std::ffi::OsStr;

/// Arguments of `keener data describe`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    parts: PartArgs,
    /// Print every feature with its range
    #[arg(long)]
    columns_table: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
///
/// # Errors
/// Files that cannot be read at all.
pub(crate) fn run(args: Args) -> Result<()> {
    let Some(path) = &args.data.data else {
        return Err(Failure::wrong("there is no file to describe")
            .hint("`keener data list` shows what is embedded")
            .into());
    };
    let mut record = args.data.over(&DataRecord::default())?;
    args.parts.over(&mut record);
    let options = record.options();
    let split = match (&record.split, &record.split_column) {
        (Some(file), _) => Some(Split::read(file)?),
        (None, Some(column)) => Some(Split::by_names(&keener_data::read_column(path, &options, column)?)?),
        (None, None) => None,
    };
    let parts = split.map_or(Vec::new(), |split| split.parts().to_vec());
    let others = [("validation", &record.validation_data), ("test", &record.test_data)];
    let others: Vec<_> =
        others.into_iter().filter_map(|(part, file)| Some((part.to_string(), file.clone()?))).collect();
    let profile = describe(path, &options, &parts, &others, keener::budget::total())?;
    let steps = next(&profile, &args.data);
    if args.output.json {
        let mut value = serde_json::to_value(&profile)?;
        value["plan"] = serde_json::json!(steps);
        return print_json(&value);
    }
    print(&text(&profile, &steps))?;
    if args.columns_table {
        let mut table = Table::new("Features")
            .column(Column::text("feature"))
            .column(Column::number("min", 4))
            .column(Column::number("max", 4))
            .column(Column::number("mean", 4))
            .column(Column::number("deviation", 4))
            .column(Column::number("missing", 0));
        for c in &profile.columns {
            table.push(cells![c.name.as_str(), f64::from(c.min), f64::from(c.max), c.mean, c.deviation, c.missing]);
        }
        print("\n")?;
        print_table(&table)?;
    }
    Ok(())
}

fn places(places: &Places, what: &str) -> Option<String> {
    let first: Vec<String> = places.first.iter().map(|(row, column)| format!("row {row} `{column}`")).collect();
    let more = if places.count > first.len() { " …" } else { "" };
    (places.count > 0).then(|| format!("{} {what} in {} rows: {}{more}", places.count, places.rows, first.join(", ")))
}

/// At most a few names.
fn few<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    let more = names.len().saturating_sub(SHOWN);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

fn text(profile: &Profile, steps: &[String]) -> String {
    let mut page = crate::output::Page::new(width());
    page.title(&profile.file, "");
    page.item("format", &format!("{}, {}", profile.format, profile.storage));
    let density = match profile.storage {
        "sparse" => format!(", {:.3} % of the values stored", 100.0 * profile.density),
        _ => format!(", {:.1} % of the values are not zero", 100.0 * profile.density),
    };
    page.item("shape", &format!("{} rows of {} features{density}", profile.rows, profile.features));
    page.item("memory", &show(usize::try_from(profile.bytes).unwrap_or(usize::MAX)));
    if let Some(labels) = &profile.labels {
        page.item("labels", &labels.source);
        match &labels.problem {
            Some(problem) => page.item("classes", &format!("none: {problem}")),
            None => page.item("classes", &classes(&labels.classes)),
        }
        if labels.missing > 0 {
            page.item("classes", &format!("{} rows have no label", labels.missing));
        }
    } else {
        page.item("labels", "none");
    }
    if let Some(range) = range(profile) {
        page.item("ranges", &range);
    }
    for column in &profile.text_columns {
        page.item("text", &format!("column `{}`, such as {:?}: no feature", column.name, column.example));
    }
    let wrong = [
        places(&profile.missing, "missing values"),
        places(&profile.infinite, "infinite values"),
        places(&profile.text_cells, "cells of text among numbers"),
    ];
    wrong.into_iter().flatten().for_each(|line| page.item("values", &line));
    if !profile.constant.is_empty() {
        let line = format!("{} features never change: {}", profile.constant.len(), few(&profile.constant));
        page.item("constant", &line);
    }
    let duplicates = &profile.duplicates;
    if duplicates.rows > 0 {
        let pairs: Vec<String> = duplicates.first.iter().map(|(row, first)| format!("{row} = {first}")).collect();
        let other = match duplicates.other_label {
            0 => String::new(),
            count => format!(", {count} of them with another label"),
        };
        page.item(
            "duplicates",
            &format!("{} rows repeat an earlier one{other}: {}", duplicates.rows, pairs.join(", ")),
        );
    } else {
        page.item("duplicates", "none");
    }
    for leak in &profile.leakage {
        let line = format!("{} of {} rows of `{}` are also in `{}`", leak.rows, leak.of, leak.part, leak.other);
        page.item("leakage", &line);
    }
    page.gap();
    steps.iter().for_each(|step| page.item("what next", step));
    page.finish()
}

fn classes(classes: &[(String, usize)]) -> String {
    const SHOWN: usize = 12;
    let mut sorted: Vec<&(String, usize)> = classes.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let some: Vec<String> = sorted.iter().take(SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
    let more = if classes.len() > SHOWN { " …" } else { "" };
    let imbalance = match (sorted.first(), sorted.last()) {
        (Some((_, most)), Some((_, least))) if *most > *least => {
            format!("; the largest has {:.1} times the rows of the smallest", *most as f64 / (*least).max(1) as f64)
        }
        _ => String::new(),
    };
    format!("{}: {}{more}{imbalance}", classes.len(), some.join(", "))
}

fn range(profile: &Profile) -> Option<String> {
    let live: Vec<_> = profile.columns.iter().filter(|c| c.deviation > 0.0).collect();
    let low = live.iter().map(|c| c.min).reduce(f32::min)?;
    let high = live.iter().map(|c| c.max).reduce(f32::max)?;
    let least = live.iter().map(|c| c.deviation).reduce(f64::min)?;
    let most = live.iter().map(|c| c.deviation).reduce(f64::max)?;
    Some(format!("{low} to {high}; standard deviations {least:.3} to {most:.3}"))
}

/// What keener would do, and what to do before.
fn next(profile: &Profile, data: &DataArgs) -> Vec<String> {
    let mut steps = Vec::new();
    let mut words = data.words();
    let text: Vec<&str> = profile.text_columns.iter().map(|column| column.name.as_str()).collect();
    if !text.is_empty() {
        let mut leave_out = data.leave_out.clone();
        leave_out.extend(text.iter().map(ToString::to_string));
        if let Some(at) = words.iter().position(|word| word == "--leave-out") {
            words.drain(at..at + 2);
        }
        words.extend(["--leave-out".into(), leave_out.join(",").into()]);
    }
    let command = |name: &str, more: &[&str]| {
        let all = ["keener", name].into_iter().map(OsStr::new);
        let all: Vec<&OsStr> =
            all.chain(words.iter().map(|word| word.as_os_str())).chain(more.iter().map(OsStr::new)).collect();
        format!("`{}`", shell(&all))
    };
    let bad = profile.missing.count + profile.infinite.count + profile.text_cells.count;
    if bad > 0 {
        steps.push(format!("fill or remove the {bad} values that are no finite numbers: training refuses them"));
    }
    if profile.labels.as_ref().is_some_and(|labels| labels.missing > 0) {
        steps.push("remove the rows without a label".into());
    }
    if profile.duplicates.other_label > 0 {
        steps.push("look at equal rows with different labels: no model can tell them apart".into());
    }
    if !profile.leakage.is_empty() {
        steps.push("remove rows from one of the parts that share them: what is reported there is too good".into());
    }
    let Some(labels) = &profile.labels else {
        steps
            .push("rows without labels: `keener predict RUN FILE`; or `--labels FILE`, `--label-column COLUMN`".into());
        return steps;
    };
    if labels.problem.is_some() {
        steps.push("classes are whole numbers or text: name their column with `--label-column`".into());
        return steps;
    }
    let least = labels.classes.iter().map(|(_, count)| *count).min().unwrap_or(0);
    if labels.classes.len() < 2 {
        steps.push("there is one class, and nothing to tell it from".into());
        return steps;
    }
    let scaled = match profile.storage {
        "sparse" => "features are divided by their standard deviation and not centred, so that zeros stay zeros",
        _ => "features are brought to mean 0 and deviation 1 (`--no-standardize` leaves them)",
    };
    steps.push(format!("classification of {} classes; {scaled}", labels.classes.len()));
    if profile.storage == "on disk" {
        steps.push("the rows stay on disk: more than a quarter of the memory budget (`--memory`)".into());
    }
    match least {
        12.. => steps.push(format!("{}: which objective is best here", command("compare", &[]))),
        2.. => steps.push(format!("a class has {least} rows; `keener compare` needs 12 of each")),
        _ => steps.push("a class has a single row: leave such classes out".into()),
    }
    if least >= 2 {
        steps.push(format!("{}: one model", command("train", &["--objective", "softmax_cross_entropy"])));
    }
    steps
}
