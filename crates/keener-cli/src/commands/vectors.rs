//! `keener vectors`: conformance vectors against this build.

use crate::error::Failure;
use crate::output::{OutputArgs, color, print, print_json};
use anyhow::Result;
use keener::conformance::{Case, Outcome, load, run as run_case};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  keener vectors vectors/                        everything below a folder
  keener vectors arcface-plain.json --json       one case, as data

A number x passes if |x − expected| ≤ atol + rtol |expected|, with the case's own tolerances, in f64. An operation that this
build does not know is a miss. The exit status is 1 when there is one.";

/// Checks conformance vectors against this build.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// JSON cases, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What one operation's cases came to.
#[derive(Debug, Default, Serialize)]
struct Operation {
    op: String,
    cases: usize,
    passed: usize,
    failed: usize,
    /// Largest error in units of what its case allows; none where a case could not be compared, or is infinitely wrong.
    worst_in_tolerances: Option<f64>,
}

/// A case that did not pass.
#[derive(Debug, Serialize)]
struct Miss {
    file: String,
    op: String,
    case: String,
    /// What was found and expected, or why nothing was.
    reason: String,
}

#[derive(Debug, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    ops: Vec<Operation>,
    misses: Vec<Miss>,
}

/// Runs the command.
///
/// # Errors
/// Paths that cannot be read or hold no case; a miss, once everything has been printed.
pub(crate) fn run(args: Args) -> Result<()> {
    for path in &args.paths {
        std::fs::metadata(path).map_err(|e| Failure::file(path, &e))?;
    }
    let cases = load(&args.paths)?;
    let outcomes: Vec<Outcome> = cases.par_iter().map(|(_, case)| run_case(case)).collect();
    let report = summarize(&cases, &outcomes);
    if args.output.json {
        print_json(&report)?
    } else {
        print(&text(&report))?
    }
    if report.failed > 0 { Err(Failure::check_failed().into()) } else { Ok(()) }
}

fn summarize(cases: &[(PathBuf, Case)], outcomes: &[Outcome]) -> Report {
    let mut ops: BTreeMap<&str, Operation> = BTreeMap::new();
    let mut misses = Vec::new();
    for ((path, case), outcome) in cases.iter().zip(outcomes) {
        let op = ops.entry(&case.op).or_insert_with(|| Operation {
            op: case.op.clone(),
            worst_in_tolerances: Some(0.0),
            ..Operation::default()
        });
        op.cases += 1;
        let worst = Some(outcome.worst_in_tolerances).filter(|w| w.is_finite());
        op.worst_in_tolerances = op.worst_in_tolerances.zip(worst).map(|(a, b)| a.max(b));
        if outcome.passed() {
            op.passed += 1;
            continue;
        }
        op.failed += 1;
        misses.push(Miss {
            file: path.display().to_string(),
            op: case.op.clone(),
            case: case.case.clone(),
            reason: outcome.to_string(),
        });
    }
    let passed = ops.values().map(|o| o.passed).sum();
    Report { passed, failed: misses.len(), ops: ops.into_values().collect(), misses }
}

fn text(report: &Report) -> String {
    let painted = color(&std::io::stdout());
    let paint = |text: &str, code: &str| if painted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() };
    let wide = report.ops.iter().map(|o| o.op.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for op in &report.ops {
        let state = if op.failed == 0 { paint("ok  ", "32") } else { paint("MISS", "1;31") };
        let cases = format!("{} case{}", op.cases, if op.cases == 1 { " " } else { "s" });
        let worst =
            op.worst_in_tolerances.map_or("not comparable".into(), |w| format!("worst error {w:.2e} of its tolerance"));
        let failed = if op.failed == 0 { String::new() } else { format!(", {} missed", op.failed) };
        out += &format!("{state}  {:<wide$}  {cases:>10}  {worst}{failed}\n", op.op);
    }
    if !report.misses.is_empty() {
        out += "\nMisses:\n";
    }
    for miss in &report.misses {
        out += &format!("  {}\n    {} {}: {}\n", miss.file, miss.op, miss.case, miss.reason);
    }
    out + &format!(
        "{}{} passed, {} failed\n",
        if report.misses.is_empty() { "" } else { "\n" },
        report.passed,
        report.failed
    )
}
