//! `keener objectives`: the registry as a table, or one objective explained.

use crate::chosen::{Addend, Chosen};
use crate::error::{Failure, advice::ticked};
use crate::output::{OutputArgs, Page, print, print_json, print_table, width};
use anyhow::Result;
use keener::objective::{Entry, nearest, registry};
use keener_report::{Column, Table, cells, markdown};
use serde::Serialize;
use serde_json::{Value, json};

const AFTER: &str = "\
Examples:
  keener objectives                         all of them
  keener objectives --family embedding      those of one family
  keener objectives cosface:margin=0.2      one, with these parameters
  keener objectives arcface+tcm:weight=0.5  a weighted sum";

/// Lists the objectives, or explains one.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Explain this one: a name, `name:parameter=value`, or a sum
    #[arg(value_name = "NAME", value_parser = crate::spec::SpecParser, hide_possible_values = true, conflicts_with_all = ["family", "reads"])]
    objective: Option<String>,
    /// Only this family, such as classification or embedding
    #[arg(long)]
    family: Option<String>,
    /// Only those that read this, such as class-head or paired-views
    #[arg(long)]
    reads: Option<String>,
    /// Print the page of the guide that says which objective serves when
    #[arg(long, conflicts_with_all = ["objective", "family", "reads", "json"])]
    markdown: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
///
/// # Errors
/// Unknown names (with the nearest), families and inputs, parameters out of range.
pub(crate) fn run(args: Args) -> Result<()> {
    if let Some(spec) = &args.objective {
        let chosen = Chosen::parse(spec)?;
        let described = chosen.addends.iter().map(description).collect::<Result<Vec<_>>>()?;
        if args.output.json {
            return print_json(&json!({"spec": spec, "objectives": described}));
        }
        return print(&explanation(&chosen, &described));
    }
    if args.markdown {
        return print(&page());
    }
    let family =
        args.family.map(|given| one_of("family", &given, registry().iter().map(|e| label(&e.family)))).transpose()?;
    let reads = args
        .reads
        .map(|given| one_of("kind of input", &given, registry().iter().map(|e| label(&e.reads))))
        .transpose()?;
    let wanted = |wanted: &Option<String>, found: String| wanted.as_ref().is_none_or(|w| *w == found);
    let found: Vec<&Entry> =
        registry().iter().filter(|e| wanted(&family, label(&e.family)) && wanted(&reads, label(&e.reads))).collect();
    if args.output.json {
        let described = found.iter().map(|e| description(&Addend::plain(e))).collect::<Result<Vec<_>>>()?;
        return print_json(&json!({ "objectives": described }));
    }
    let mut table = Table::new("")
        .column(Column::text("objective"))
        .column(Column::text("family").priority(20))
        .column(Column::text("reads").priority(30))
        .column(Column::text("summary").at_least(34))
        .column(Column::text("paper").priority(10));
    for entry in &found {
        table.push(cells![entry.name, label(&entry.family), label(&entry.reads), entry.summary, entry.paper.id]);
    }
    print_table(&table.note(format!(
        "{} of {} objectives. `keener objectives NAME` explains one.",
        found.len(),
        registry().len()
    )))
}

/// The page "which objective when" of the guide.
fn page() -> String {
    let mut text =
        "# Which objective when\n\nPrinted by `keener objectives --markdown`, so that it says what this version \
                    has. `keener objectives NAME` adds formula, parameters with their defaults, and the same loss in \
                    PyTorch.\n"
            .to_string();
    let mut families: Vec<String> = Vec::new();
    for family in registry().iter().map(|entry| label(&entry.family)) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    for family in families {
        let heading: String =
            family.chars().take(1).flat_map(char::to_uppercase).chain(family.chars().skip(1)).collect();
        text += &format!("\n## {heading}\n\n");
        let columns = ["objective", "what it is", "when", "when not", "reads", "paper"];
        text += &markdown::row(columns.map(String::from));
        text += &markdown::row(columns.map(|_| "---".to_string()));
        for entry in registry().iter().filter(|entry| label(&entry.family) == family) {
            let paper = match is_arxiv(entry.paper.id) {
                true => format!("[{}](https://arxiv.org/abs/{})", entry.paper.title, entry.paper.id),
                false => format!("{} ({})", entry.paper.title, entry.paper.id),
            };
            let cells = [entry.summary, entry.when, entry.when_not, &label(&entry.reads)].map(markdown::escaped);
            let name = [format!("`{}`", entry.name)];
            text += &markdown::row(name.into_iter().chain(cells).chain([paper.replace('|', "\\|")]));
        }
    }
    text
}

/// Whether the source of a paper is an arXiv id.
fn is_arxiv(id: &str) -> bool {
    id.split_once('.').is_some_and(|(a, b)| [a, b].iter().all(|part| part.chars().all(|c| c.is_ascii_digit())))
}

/// The name of a variant as people write it: `paired views`.
fn label(variant: &impl Serialize) -> String {
    let name = serde_json::to_value(variant).ok().and_then(|v| v.as_str().map(str::to_string));
    name.unwrap_or_default().replace('_', " ")
}

fn one_of(what: &str, given: &str, all: impl Iterator<Item = String>) -> Result<String> {
    let mut all: Vec<String> = all.collect();
    all.sort();
    all.dedup();
    let wanted = given.to_lowercase().replace(['-', '_'], " ");
    if all.contains(&wanted) {
        return Ok(wanted);
    }
    let names: Vec<String> = all.iter().map(|n| n.replace(' ', "-")).collect();
    let close = nearest(&wanted.replace(' ', "-"), names.iter().map(String::as_str));
    let mut failure = Failure::wrong(format!("no {what} of objectives is called `{given}`"));
    if !close.is_empty() {
        failure = failure.hint(ticked(&close));
    }
    Err(failure.hint(format!("one of {}", names.join(", "))).into())
}

/// One objective with the values of its parameters, as data.
#[derive(Debug, Serialize)]
struct Description {
    name: &'static str,
    aliases: &'static [&'static str],
    family: String,
    reads: String,
    reads_in_words: &'static str,
    weight: f64,
    summary: &'static str,
    formula: &'static str,
    parameters: Vec<Described>,
    /// Scalars that are trained along.
    learned: Vec<Value>,
    when: &'static str,
    when_not: &'static str,
    paper: keener::objective::Paper,
    /// With the values of the parameters put in.
    pytorch: String,
}

#[derive(Debug, Serialize)]
struct Described {
    name: &'static str,
    value: Value,
    default: Value,
    meaning: &'static str,
    /// Values worth trying.
    grid: &'static [f64],
}

fn description(addend: &Addend) -> Result<Description> {
    let entry = addend.entry;
    let defaults = (entry.defaults)();
    let parameters: Vec<Described> = entry
        .parameters
        .iter()
        .map(|p| {
            let default = defaults.get(p.name).cloned().unwrap_or(Value::Null);
            let value = addend.parameters.get(p.name).cloned().unwrap_or_else(|| default.clone());
            Described { name: p.name, value, default, meaning: p.doc, grid: p.grid }
        })
        .collect();
    let built = (entry.build)(addend.parameters.clone())?;
    let learned = built.f64().parameters().iter().map(|p| json!({"name": p.name, "initial": p.initial})).collect();
    let put_in = |text: String, p: &Described| text.replace(&format!("{{{}}}", p.name), &shown(&p.value));
    Ok(Description {
        name: entry.name,
        aliases: entry.aliases,
        family: label(&entry.family),
        reads: label(&entry.reads),
        reads_in_words: entry.reads.describe(),
        weight: addend.weight,
        summary: entry.summary,
        formula: entry.formula,
        learned,
        when: entry.when,
        when_not: entry.when_not,
        paper: entry.paper,
        pytorch: parameters.iter().fold(entry.pytorch.to_string(), put_in),
        parameters,
    })
}

/// A parameter's value: texts without quotes, nothing as `none`.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or(number.to_string(), |x| x.to_string()),
        other => other.to_string(),
    }
}

fn explanation(chosen: &Chosen, described: &[Description]) -> String {
    let mut page = Page::new(width());
    if described.len() > 1 {
        let terms: Vec<String> = described.iter().map(|d| format!("{} · {}", d.weight, d.name)).collect();
        page.title(&chosen.spec, &format!("the sum {}", terms.join(" + ")));
        page.gap();
    }
    for (k, d) in described.iter().enumerate() {
        if k > 0 {
            page.gap();
        }
        page.title(d.name, d.summary);
        page.gap();
        page.item("formula", d.formula);
        page.item("reads", d.reads_in_words);
        page.item("family", &d.family);
        if !d.aliases.is_empty() {
            page.item("also called", &d.aliases.join(", "));
        }
        page.item("when", d.when);
        page.item("when not", d.when_not);
        for p in &d.parameters {
            let set = if p.value == p.default { String::new() } else { format!(" (default {})", shown(&p.default)) };
            let grid: Vec<String> = p.grid.iter().map(f64::to_string).collect();
            let grid = if grid.is_empty() { String::new() } else { format!("; worth trying: {}", grid.join(", ")) };
            page.entry(
                "parameters",
                &format!("{} = {}{set}", p.name, shown(&p.value)),
                &format!("{}{grid}", p.meaning),
            );
        }
        for learned in &d.learned {
            let start = format!("starts at {}", shown(&learned["initial"]));
            page.entry("learned", learned["name"].as_str().unwrap_or_default(), &start);
        }
        let id = d.paper.id;
        page.item("paper", &format!("{} ({}{id})", d.paper.title, if is_arxiv(id) { "arXiv " } else { "" }));
        page.item("in PyTorch", &d.pytorch);
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_objective_can_be_explained_and_leaves_no_placeholder() {
        for entry in registry() {
            let chosen = Chosen::parse(entry.name).unwrap();
            let described = vec![description(&chosen.addends[0]).unwrap()];
            for p in entry.parameters {
                assert!(!described[0].pytorch.contains(&format!("{{{}}}", p.name)), "{}", entry.name);
            }
            let text = explanation(&chosen, &described);
            for word in [entry.name, "formula", "when not", "paper"] {
                assert!(text.contains(word), "{}: {word}", entry.name);
            }
        }
    }
}
