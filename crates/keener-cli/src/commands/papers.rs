//! `keener papers`: claims of papers, tested by running them.

use crate::error::Failure;
use crate::interrupt::stop_on_signal;
use crate::memory;
use crate::output::{self, OutputArgs, print, print_json, print_table};
use crate::paths::shell;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use keener_papers::{Done, Findings, Mode, Progress, Recorded, Reproduction, Session, Stopped, Units, Verdict};
use keener_report::cells;
use keener_report::table::{Cell, Column, Table, Tone};
use keener_run::Stop;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Where runs are kept unless `--out` says otherwise.
const RUNS: &str = "runs/papers";

/// What to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keener papers list
  keener papers show contrastive-behaviour
  keener papers run contrastive-behaviour --quick
  keener papers run --all --resume")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every reproduction with the verdict of its last run
    List(ListArgs),
    /// The claim, how it is tested, and the rule for the verdict
    Show(ShowArgs),
    /// Run a reproduction; writes findings.json, findings.md, report.html and plots
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Where verdicts are looked up: a folder of SLUG/findings.json or SLUG.json
    #[arg(long, value_name = "DIR", default_value = RUNS)]
    results: PathBuf,
    /// Print the table of docs/papers.md (with --results docs/papers)
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Name of the reproduction, as in `keener papers list`
    slug: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Name of the reproduction, as in `keener papers list`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    slug: Option<String>,
    /// Run every reproduction
    #[arg(long)]
    all: bool,
    /// Fewer settings and seeds: some seconds instead of minutes
    #[arg(long)]
    quick: bool,
    /// Number of seeds [default: the reproduction's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Folder for the results [default: runs/papers/SLUG; with --all a folder a slug below DIR]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep what an interrupted run in the same folder has finished
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
///
/// # Errors
/// An unknown slug, a folder that cannot be written, a run that fails. A claim that is not shown is no error.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::List(args) => list(&args),
        Action::Show(args) => show(&args),
        Action::Run(args) => run_some(&args),
    }
}

fn badge(verdict: Verdict) -> Cell {
    let tone = match verdict {
        Verdict::Shown => Tone::Good,
        Verdict::ShownWithReservation => Tone::Warn,
        Verdict::NotShown => Tone::Bad,
    };
    Cell::badge(verdict.to_string(), tone)
}

fn list(args: &ListArgs) -> Result<()> {
    if args.markdown {
        return print(&keener_papers::catalogue(&args.results)?);
    }
    let all = keener_papers::reproductions();
    let verdicts: Vec<Option<Recorded>> =
        all.iter().map(|r| keener_papers::recorded(r, &args.results)).collect::<Result<_>>()?;
    if args.output.json {
        let one = |(r, found): (&Reproduction, &Option<Recorded>)| -> Result<Value> {
            let mut value = serde_json::to_value(r)?;
            value["verdict"] = json!(found.as_ref().map(|f| f.verdict));
            Ok(value)
        };
        return print_json(&all.iter().zip(&verdicts).map(one).collect::<Result<Vec<_>>>()?);
    }
    let mut table = Table::new("Reproductions")
        .column(Column::text("slug"))
        .column(Column::text("paper").priority(60))
        .column(Column::text("arXiv").priority(40))
        .column(Column::text("method").priority(50))
        .column(Column::text("verdict"))
        .note(format!("Verdicts of the runs in {}; `keener papers run SLUG` makes one.", args.results.display()));
    for (r, found) in all.iter().zip(&verdicts) {
        let verdict = match found {
            Some(found) if found.revision == r.revision => badge(found.verdict),
            Some(found) => format!("{} (earlier version)", found.verdict).into(),
            None => "not run".into(),
        };
        table.push(cells![r.slug, r.title, r.arxiv, r.method, verdict]);
    }
    print_table(&table)
}

fn show(args: &ShowArgs) -> Result<()> {
    let r = keener_papers::find(&args.slug)?;
    if args.output.json {
        return print_json(r);
    }
    let width = output::width().unwrap_or(100).clamp(40, 120);
    let mut text = format!("{}\narXiv {}\n", r.title, r.arxiv);
    for (head, body) in [
        ("method", r.method),
        ("code", &r.code.join(", ")),
        ("claim", r.claim),
        ("rule for the verdict", r.rule),
        ("quick mode", r.quick),
        ("full mode", r.full),
        ("command", &format!("keener papers run {}", r.slug)),
    ] {
        text += &format!("\n{head}\n{}", wrapped(body, width));
    }
    print(&text)
}

/// Words in lines of at most `width` characters, set in by two.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width.saturating_sub(2) {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.len() - 1;
        if used > 0 {
            lines[line].push(' ');
            used += 1;
        }
        lines[line] += word;
        used += length;
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

impl RunArgs {
    /// The command that goes on with what this one has begun.
    fn command_to_resume(&self) -> String {
        let mut words: Vec<OsString> = ["keener", "papers", "run"].map(OsString::from).to_vec();
        words.push(self.slug.as_deref().unwrap_or("--all").into());
        words.extend(self.quick.then(|| "--quick".into()));
        words.extend(self.seeds.iter().flat_map(|n| ["--seeds".into(), n.to_string().into()]));
        words.extend(self.out.iter().flat_map(|out| ["--out".into(), out.into()]));
        words.push("--resume".into());
        words.extend(memory::words());
        shell(&words)
    }
}

fn run_some(args: &RunArgs) -> Result<()> {
    let mode = Mode { seeds: args.seeds, ..if args.quick { Mode::quick() } else { Mode::full() } };
    let chosen = args.slug.as_ref().map(|slug| keener_papers::find(slug)).transpose()?;
    let stop = stop_on_signal("unit")?;
    if let Some(reproduction) = chosen {
        let folder = args.out.clone().unwrap_or_else(|| Path::new(RUNS).join(reproduction.slug));
        let findings = run_one(reproduction, &mode, &folder, args, &stop)?;
        return match args.output.json {
            true => print_json(&keener_papers::to_json(reproduction, &mode, &findings)),
            false => Ok(()),
        };
    }
    let base = args.out.clone().unwrap_or_else(|| RUNS.into());
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for reproduction in keener_papers::reproductions() {
        match run_one(reproduction, &mode, &base.join(reproduction.slug), args, &stop) {
            Ok(findings) => found.push((reproduction, findings)),
            Err(error) if stop.is_set() => return Err(error),
            // The others are still worth having.
            Err(error) => failed.push(format!("{}: {error:#}", reproduction.slug)),
        }
    }
    if args.output.json {
        let all: Vec<Value> = found.iter().map(|(r, f)| keener_papers::to_json(r, &mode, f)).collect();
        print_json(&all)?;
    } else {
        let mut table = Table::new("Verdicts").column(Column::text("slug")).column(Column::text("verdict"));
        found.iter().for_each(|(r, f)| table.push(cells![r.slug, badge(f.decision.verdict)]));
        print_table(&table)?;
    }
    if !failed.is_empty() {
        bail!("{} of {} failed: {}", failed.len(), found.len() + failed.len(), failed.join("; "));
    }
    Ok(())
}

/// Runs one, writes its files, and prints its tables unless JSON is wanted.
fn run_one(reproduction: &Reproduction, mode: &Mode, folder: &Path, args: &RunArgs, stop: &Stop) -> Result<Findings> {
    let units = Units::open(folder, Some(reproduction.slug), args.resume)?;
    let known = units.len();
    let mut watch = Watch::new(reproduction.slug);
    let mut session = Session::new(reproduction.revision, units, &mut watch).until(stop.clone());
    let outcome = (reproduction.run)(mode, &mut session);
    // The folder stays ours until the findings are written.
    let _store = session.into_units();
    watch.finish();
    if outcome.as_ref().is_err_and(|error| error.is::<Stopped>()) {
        let units = watch.fresh + known;
        let message = format!("{}: {units} units are finished and kept in {}", reproduction.slug, folder.display());
        return Err(Failure::stopped(message, args.command_to_resume()).into());
    }
    let findings =
        outcome.with_context(|| format!("`{}` stopped; --resume keeps what has finished", reproduction.slug))?;
    let files = keener_papers::write(reproduction, mode, &findings, folder)?;
    if args.output.json {
        return Ok(findings);
    }
    let width = output::width().unwrap_or(100).clamp(40, 120);
    print(&format!("{} (arXiv {})\n{}\n", reproduction.title, reproduction.arxiv, wrapped(reproduction.claim, width)))?;
    for table in &findings.tables {
        print_table(table)?;
        print("\n")?;
    }
    print_table(&keener_papers::checks(&findings))?;
    let mut text = format!("\nverdict: {}\n", findings.decision.verdict);
    findings.notes.iter().for_each(|note| text += &format!("\n{}", wrapped(note, width)));
    text += &format!("\n{}\n{}\n", files.html.display(), files.json.display());
    print(&text)?;
    Ok(findings)
}

/// A bar on a terminal, a line a unit elsewhere; on standard error, so that the output stays clean.
struct Watch {
    slug: &'static str,
    planned: usize,
    finished: usize,
    /// Of them, those that were not known.
    fresh: usize,
    bar: Option<ProgressBar>,
}

impl Watch {
    fn new(slug: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(slug);
            bar
        });
        Self { slug, planned: 0, finished: 0, fresh: 0, bar }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Watch {
    fn planned(&mut self, units: usize) {
        self.planned += units;
        if let Some(bar) = &self.bar {
            bar.set_length(self.planned as u64);
        }
    }

    fn finished(&mut self, unit: &Done) {
        self.finished += 1;
        self.fresh += usize::from(!unit.known);
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.finished as u64);
                bar.set_message(unit.name.clone());
            }
            None => {
                let how = if unit.known { "known".to_string() } else { format!("{:.1} s", unit.seconds) };
                // Nothing is to be done about a closed standard error.
                let _ = writeln!(
                    std::io::stderr(),
                    "{}: {}/{} {} ({how})",
                    self.slug,
                    self.finished,
                    self.planned,
                    unit.name
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_to_the_width() {
        assert_eq!(wrapped("one two  three", 10), "  one two\n  three\n");
        assert_eq!(wrapped("−−−−−−−−−−−− x", 8), "  −−−−−−−−−−−−\n  x\n");
    }

    #[test]
    fn an_unknown_slug_is_an_error_before_anything_is_written() {
        let args = RunArgs {
            slug: Some("contrastive".into()),
            all: false,
            quick: true,
            seeds: None,
            out: Some("/nonexistent/folder".into()),
            resume: false,
            output: OutputArgs { json: false },
        };
        let error = run_some(&args).unwrap_err();
        let unknown = error.downcast_ref::<keener::Error>();
        assert!(
            matches!(unknown, Some(keener::Error::Unknown { nearest, .. }) if nearest[0] == "contrastive-behaviour")
        );
    }
}
