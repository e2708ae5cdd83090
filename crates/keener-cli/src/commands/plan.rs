//! `keener plan`: which schedule an objective takes at a size, why, and how large a batch may become.

use crate::chosen::{Chosen, Dtype, Number, compares_batch_with_itself};
use crate::error::Failure;
use crate::output::{OutputArgs, Page, print, print_json, print_table, width};
use crate::size;
use anyhow::Result;
use keener::engine::{Choice, Coupling, Schedule, choose};
use keener::objective::Reads;
use keener_report::{Column, Table, cells};
use serde::Serialize;

const AFTER: &str = "\
Examples:
  keener plan arcface --batch 4096 --candidates 1M
  keener plan info-nce --batch 32k --memory 2GiB

`--memory` is the budget beyond inputs and gradients (512 MiB unless given).
Nothing is allocated: the planner's own arithmetic is printed. `keener bench` measures.";

/// Says which schedule an objective takes and how large a batch may become.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// A name, `name:parameter=value`, or a sum
    #[arg(value_name = "SPEC", value_parser = crate::spec::SpecParser, hide_possible_values = true)]
    objective: String,
    /// Rows of the batch, B
    #[arg(long, value_name = "B", default_value = "1024", value_parser = size::count)]
    batch: usize,
    /// Width of the embeddings, d
    #[arg(long, value_name = "D", default_value = "256", value_parser = size::count)]
    dim: usize,
    /// Candidates, N: classes or documents [default: 8192, or B for paired views]
    #[arg(long, value_name = "N", value_parser = size::count)]
    candidates: Option<usize>,
    /// Number type
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
    #[command(flatten)]
    output: OutputArgs,
}

/// One way to run.
#[derive(Debug, Serialize)]
struct Way {
    schedule: Schedule,
    products: usize,
    /// Beyond inputs and gradients, at the batch asked for; none where no panel fits.
    bytes: Option<usize>,
    fits: bool,
    /// The largest batch that stays within the budget; none where not even one row does.
    largest_batch: Option<usize>,
    /// Inputs and gradients of that batch, which come on top.
    largest_batch_inputs_and_gradients_bytes: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Plan {
    objective: String,
    spec: String,
    batch: usize,
    dim: usize,
    candidates: usize,
    dtype: Dtype,
    threads: usize,
    budget_bytes: usize,
    inputs_and_gradients_bytes: usize,
    choice: Choice,
    /// Whether every row can be finished alone, which `panel` needs.
    row_by_row: bool,
    ways: Vec<Way>,
}

/// How the candidates follow from the batch.
#[derive(Clone, Copy)]
enum Candidates {
    Fixed(usize),
    /// The batch itself, or its other view.
    LikeBatch,
}

/// Runs the command.
///
/// # Errors
/// Unknown objectives, sizes that do not fit them.
pub(crate) fn run(args: Args) -> Result<()> {
    let chosen = Chosen::parse(&args.objective)?;
    let reads = chosen.reads()?;
    let candidates = match (reads, args.candidates) {
        (reads, given) if compares_batch_with_itself(reads) => {
            if let Some(n) = given.filter(|n| *n != args.batch) {
                let message = format!(
                    "{} compares the batch with itself: {n} candidates do not fit a batch of {}",
                    chosen.name(),
                    args.batch
                );
                return Err(Failure::wrong(message).hint("without --candidates").into());
            }
            Candidates::LikeBatch
        }
        (Reads::PairedViews, None) => Candidates::LikeBatch,
        (Reads::BinaryHead, given) => Candidates::Fixed(given.unwrap_or(2)),
        (Reads::Bags, given) => Candidates::Fixed(given.unwrap_or(1)),
        (_, given) => Candidates::Fixed(given.unwrap_or(8192)),
    };
    let memory = keener::budget::engine();
    let plan = match args.dtype {
        Dtype::F32 => plan::<f32>(&chosen, reads, &args, candidates, memory),
        Dtype::F64 => plan::<f64>(&chosen, reads, &args, candidates, memory),
    };
    if args.output.json { print_json(&plan) } else { show(&plan) }
}

fn plan<T: Number>(chosen: &Chosen, reads: Reads, args: &Args, candidates: Candidates, memory: usize) -> Plan {
    let count = |batch: usize| match candidates {
        Candidates::Fixed(n) => n,
        Candidates::LikeBatch => batch,
    };
    let shape = |batch: usize| chosen.shape::<T>(batch, count(batch), args.dim).0;
    let coupling = chosen.shape::<T>(args.batch, count(args.batch), args.dim).1;
    let held = |batch: usize| {
        let rows = match reads {
            Reads::LabelledEmbeddings => batch,
            Reads::TwoScores => 2 * batch + count(batch),
            _ => batch + count(batch),
        };
        2usize.saturating_mul(rows).saturating_mul(args.dim).saturating_mul(size_of::<T>())
    };
    // The planner asked with no budget recomputes, with any budget it keeps all it may keep.
    let unlimited = usize::MAX / 2;
    let way = |schedule: Schedule| {
        let choice = |batch: usize| match schedule {
            Schedule::Whole => choose(shape(batch), Coupling::WholeBatch, unlimited),
            Schedule::Panel => choose(shape(batch), Coupling::RowByRow, memory),
            Schedule::Recompute => choose(shape(batch), Coupling::WholeBatch, 0),
        };
        // A batch that is no higher than a panel is one panel: only recomputing is none.
        let bytes = |batch: usize| {
            let choice = choice(batch);
            (schedule == Schedule::Recompute || choice.schedule != Schedule::Recompute).then_some(choice.bytes)
        };
        let fits = |batch: usize| bytes(batch).is_some_and(|b| b <= memory);
        let largest_batch = largest(fits);
        Way {
            schedule,
            products: if schedule == Schedule::Recompute { 4 } else { 3 },
            bytes: bytes(args.batch),
            fits: fits(args.batch),
            largest_batch,
            largest_batch_inputs_and_gradients_bytes: largest_batch.map(held),
        }
    };
    let possible = [Schedule::Whole, Schedule::Panel, Schedule::Recompute];
    let possible = possible.into_iter().filter(|s| *s != Schedule::Panel || coupling == Coupling::RowByRow);
    Plan {
        objective: chosen.name(),
        spec: chosen.spec.clone(),
        batch: args.batch,
        dim: args.dim,
        candidates: count(args.batch),
        dtype: args.dtype,
        threads: rayon::current_num_threads(),
        budget_bytes: memory,
        inputs_and_gradients_bytes: held(args.batch),
        choice: choose(shape(args.batch), coupling, memory),
        row_by_row: coupling == Coupling::RowByRow,
        ways: possible.map(way).collect(),
    }
}

/// The largest number ≥ 1 that fits, where all smaller ones do.
fn largest(fits: impl Fn(usize) -> bool) -> Option<usize> {
    if !fits(1) {
        return None;
    }
    let (mut low, mut high) = (1usize, 1usize << 40);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

fn show(plan: &Plan) -> Result<()> {
    let Plan { batch, dim, candidates, choice, .. } = plan;
    let schedule = format!("{:?}", choice.schedule).to_lowercase();
    let mut page = Page::new(width());
    page.title(&plan.spec, &format!("{batch} × {dim} × {candidates}, {}, {} threads", plan.dtype.name(), plan.threads));
    page.gap();
    page.item("schedule", &format!("{schedule}: {}", choice.reason));
    let within = if choice.bytes <= plan.budget_bytes { "of" } else { "and so beyond" };
    page.item(
        "beyond",
        &format!("{} {within} the budget of {}", size::show(choice.bytes), size::show(plan.budget_bytes)),
    );
    page.item("besides", &format!("{} for inputs and gradients", size::show(plan.inputs_and_gradients_bytes)));
    if !plan.row_by_row {
        page.item("no panel", "rows cannot be finished alone: a statistic needs the whole batch");
    }
    page.gap();
    print(&page.finish())?;
    let mut table = Table::new("")
        .column(Column::text("schedule"))
        .column(Column::number("products", 0))
        .column(Column::text("beyond").align(keener_report::table::Align::Right))
        .column(Column::text("fits"))
        .column(Column::number("largest batch", 0))
        .column(Column::text("its inputs and gradients").align(keener_report::table::Align::Right));
    for way in &plan.ways {
        table.push(cells![
            format!("{:?}", way.schedule).to_lowercase(),
            way.products,
            way.bytes.map(size::show),
            if way.fits { "yes" } else { "no" },
            way.largest_batch,
            way.largest_batch_inputs_and_gradients_bytes.map(size::show),
        ]);
    }
    print_table(&table.note(
        "Beyond: what is held beyond inputs and gradients. Largest batch: the last one that stays within the budget.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_found() {
        assert_eq!(largest(|n| n <= 1234), Some(1234));
        assert_eq!(largest(|n| n <= 1), Some(1));
        assert_eq!(largest(|_| false), None);
    }

    #[test]
    fn the_largest_batch_is_the_last_that_the_planner_keeps() {
        let chosen = Chosen::parse("symmetric_info_nce").unwrap();
        let args = Args {
            objective: chosen.spec.clone(),
            batch: 512,
            dim: 64,
            candidates: None,
            dtype: Dtype::F32,
            output: OutputArgs { json: false },
        };
        let plan = plan::<f32>(&chosen, Reads::PairedViews, &args, Candidates::LikeBatch, 64 << 20);
        assert_eq!(plan.ways.iter().map(|w| w.schedule).collect::<Vec<_>>(), [Schedule::Whole, Schedule::Recompute]);
        let most = plan.ways[0].largest_batch.unwrap();
        let choice = |batch: usize| choose(chosen.shape::<f32>(batch, batch, 64).0, Coupling::WholeBatch, 64 << 20);
        assert_eq!(choice(most).schedule, Schedule::Whole);
        assert_eq!(choice(most + 1).schedule, Schedule::Recompute);
    }
}
