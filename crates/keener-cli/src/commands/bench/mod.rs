//! `keener bench`: times objectives against size and memory.

mod factored;
mod inputs;
mod measure;
mod memory;
mod products;
mod record;
mod serve;

use crate::chosen::{Chosen, Dtype, Number, compares_batch_with_itself};
use crate::error::Failure;
use crate::output::{OutputArgs, print_json};
use crate::size;
use anyhow::{Context, Result};
use inputs::Inputs;
use keener::engine::{Options, Schedule};
use keener::objective::Reads;
use record::Record;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Stdio;

const AFTER: &str = "\
Examples:
  keener bench                                   a small set of objectives
  keener bench factored --plot steps.svg         the factored output layer: step time against the number of classes
  keener bench arcface --batch 512 --candidates 16384 --explain
  keener bench softmax-ce --batch 8192 --candidates 262144 --memory 64MiB --repeat 1 --json

`--memory` is the budget beyond inputs and gradients by which `--schedule auto` chooses (512 MiB unless given).
Memory in the table is what the process holds at its highest beyond the inputs and the gradients; all three are shown.
`of bare` compares the products of the objective with the same products alone, in the same tiles, in turn.";

/// Times objectives against size and memory.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// What to time: a name, `name:parameter=value`, or a sum [default: a small set]
    #[arg(value_name = "SPEC", value_parser = crate::spec::SpecParser, hide_possible_values = true)]
    objective: Option<String>,
    /// Rows of the batch, B [default: 1024]
    #[arg(long, value_name = "B", value_parser = size::count)]
    batch: Option<usize>,
    /// Width of the embeddings, d [default: 256]
    #[arg(long, value_name = "D", value_parser = size::count)]
    dim: Option<usize>,
    /// Candidates, N: classes or documents [default: 8192, or B for paired views]
    #[arg(long, value_name = "N", value_parser = size::count)]
    candidates: Option<usize>,
    /// Classes that occur as labels [default: N, or B/2 where the batch is compared with itself]
    #[arg(long, value_name = "C", value_parser = size::count)]
    classes: Option<usize>,
    /// How scores are kept between the two passes
    #[arg(long, default_value = "auto")]
    schedule: ScheduleArg,
    /// Timed repetitions of each pass
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Repetitions before them
    #[arg(long, value_name = "N", default_value_t = 1)]
    warm_up: u32,
    /// Number type
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
    /// Seed of the inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Read queries.npy, candidates.npy and targets.npy from this folder instead of making inputs
    #[arg(long, value_name = "DIR", requires = "objective")]
    inputs: Option<PathBuf>,
    /// Answer `step`, `write` and `quit` on standard input with a line of JSON each (for bench/peers)
    #[arg(long, requires = "inputs", conflicts_with_all = ["json", "explain", "repeat", "warm_up"])]
    serve: bool,
    /// With `factored`: draw the step times into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// With `factored`: show what bench/peers/factored.py has measured beside it
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
    /// Say why the schedule was chosen and what is counted
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A schedule, or the planner's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ScheduleArg {
    Auto,
    Whole,
    Panel,
    Recompute,
}

impl ScheduleArg {
    fn schedule(self) -> Option<Schedule> {
        match self {
            Self::Auto => None,
            Self::Whole => Some(Schedule::Whole),
            Self::Panel => Some(Schedule::Panel),
            Self::Recompute => Some(Schedule::Recompute),
        }
    }
}

/// What is timed when no objective is named.
const SMALL_SET: &[&str] =
    &["softmax_cross_entropy", "arcface", "info_nce", "symmetric_info_nce", "siglip", "tcm", "trades"];

/// Sizes of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sizes {
    batch: usize,
    dim: usize,
    candidates: usize,
    /// Distinct labels; none where nothing is labelled.
    classes: Option<usize>,
}

impl Args {
    fn options(&self) -> Options {
        Options { schedule: self.schedule.schedule(), ..Options::default() }
    }

    /// Sizes for made inputs: as given, or a default that suits what is read.
    fn sizes(&self, chosen: &Chosen) -> Result<Sizes> {
        let reads = chosen.reads()?;
        let batch = self.batch.unwrap_or(1024);
        let dim = self.dim.unwrap_or(256);
        let name = chosen.name();
        let wrong = |message: String, hint: String| Err(Failure::wrong(message).hint(hint).into());
        let candidates = match (reads, self.candidates) {
            (reads, given) if compares_batch_with_itself(reads) => match given {
                Some(n) if n != batch => {
                    let message =
                        format!("{name} compares the batch with itself: {n} candidates do not fit a batch of {batch}");
                    return wrong(message, format!("--candidates {batch}, or leave it out"));
                }
                _ => batch,
            },
            (Reads::PairedViews, given) => given.unwrap_or(batch),
            (Reads::BinaryHead, given) => given.unwrap_or(2),
            (Reads::Bags, given) => given.unwrap_or(1),
            (_, given) => given.unwrap_or(8192),
        };
        if reads == Reads::PairedViews && candidates < batch {
            let message = format!("{name} reads pairs: {candidates} candidates are fewer than the batch of {batch}");
            return wrong(message, format!("--candidates {batch} or more"));
        }
        let most = match reads {
            _ if compares_batch_with_itself(reads) => batch,
            // One column tells two classes apart.
            Reads::BinaryHead => candidates.max(2),
            _ => candidates,
        };
        let classes = match (reads, self.classes) {
            (Reads::PairedViews, None) => None,
            (Reads::PairedViews, Some(_)) => {
                return wrong(format!("{name} reads no labels"), "without --classes".into());
            }
            (_, Some(classes)) if classes > most => {
                return wrong(
                    format!("{classes} classes: there are {most} candidates"),
                    format!("--classes {most} or fewer"),
                );
            }
            (_, Some(classes)) => Some(classes),
            (Reads::LabelledEmbeddings, None) => Some((batch / 2).max(1)),
            (Reads::BinaryHead, None) => Some(most),
            (_, None) => Some(candidates),
        };
        Ok(Sizes { batch, dim, candidates, classes })
    }

    fn inputs<T: Number + npyz::Deserialize>(&self, chosen: &Chosen) -> Result<Inputs<T>>
    where
        rand_distr::StandardNormal: rand_distr::Distribution<T>,
    {
        match &self.inputs {
            Some(folder) => Inputs::read(folder, chosen.reads()?, [self.batch, self.dim, self.candidates]),
            None => Ok(Inputs::seeded(self.sizes(chosen)?, chosen.reads()?, self.seed)),
        }
    }

    fn measure(&self, chosen: &Chosen) -> Result<Record> {
        match self.dtype {
            Dtype::F32 => measure::measure(chosen, &self.inputs::<f32>(chosen)?, self),
            Dtype::F64 => measure::measure(chosen, &self.inputs::<f64>(chosen)?, self),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Unknown objectives, sizes that do not fit them, unreadable inputs.
pub(crate) fn run(args: Args) -> Result<()> {
    if args.objective.as_deref() == Some("factored") {
        return factored::run(&args);
    }
    if let (Some(spec), true) = (&args.objective, args.serve) {
        let chosen = Chosen::parse(spec)?;
        return match args.dtype {
            Dtype::F32 => serve::serve(&chosen, &args.inputs::<f32>(&chosen)?, &args),
            Dtype::F64 => serve::serve(&chosen, &args.inputs::<f64>(&chosen)?, &args),
        };
    }
    let records = match &args.objective {
        Some(spec) => vec![args.measure(&Chosen::parse(spec)?)?],
        None => small_set(&args)?,
    };
    if args.output.json {
        return print_json(&record::Report::new(records));
    }
    record::print(&records, args.explain)
}

/// Measures the small set, each in a process of its own: what one has freed must not hide what the next one takes.
fn small_set(args: &Args) -> Result<Vec<Record>> {
    // All sizes before the first measurement.
    SMALL_SET.iter().try_for_each(|spec| Chosen::parse(spec).and_then(|c| args.sizes(&c)).map(|_| ()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut options: Vec<std::ffi::OsString> =
        std::env::args_os().skip(1).filter(|a| a != "--json" && a != "--explain").collect();
    options.push("--json".into());
    let mut records = Vec::new();
    for spec in SMALL_SET {
        let out = std::process::Command::new(&program).args(&options).arg(spec).stderr(Stdio::inherit()).output();
        let out = out.with_context(|| format!("cannot start {}", program.display()))?;
        let report: record::Report =
            serde_json::from_slice(&out.stdout).with_context(|| format!("{spec} was not measured ({})", out.status))?;
        records.extend(report.runs);
    }
    Ok(records)
}
