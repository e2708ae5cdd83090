//! What a measurement found, as JSON and as a table.

use super::Sizes;
use crate::chosen::Dtype;
use crate::output::print_table;
use crate::size;
use anyhow::Result;
use keener::engine::{Choice, Options, Schedule};
use keener_report::{Column, Table, cells};
use serde::{Deserialize, Serialize};

/// Everything that one invocation prints.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    version: String,
    threads: usize,
    pub(super) runs: Vec<Record>,
}

impl Report {
    pub(super) fn new(runs: Vec<Record>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").into(), threads: rayon::current_num_threads(), runs }
    }
}

/// One objective, measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) objective: String,
    pub(super) spec: String,
    #[serde(flatten)]
    pub(super) sizes: Sizes,
    pub(super) dtype: Dtype,
    /// None for inputs from files.
    pub(super) seed: Option<u64>,
    pub(super) loss: f64,
    pub(super) plan: Plan,
    pub(super) forward: Pass,
    pub(super) forward_backward: Pass,
    pub(super) memory: Memory,
}

/// The schedule of forward and backward in one, and its reason.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// `auto`, or the schedule that was insisted on.
    asked: String,
    budget_bytes: usize,
    schedule: String,
    rows_at_once: usize,
    /// Planned beyond inputs and gradients.
    bytes: usize,
    products: usize,
    reason: String,
}

impl Plan {
    pub(super) fn new(choice: &Choice, options: &Options) -> Self {
        Self {
            asked: options.schedule.map_or("auto", name_of).into(),
            budget_bytes: options.memory,
            schedule: name_of(choice.schedule).into(),
            rows_at_once: choice.rows_at_once,
            bytes: choice.bytes,
            products: choice.products,
            reason: choice.reason.clone(),
        }
    }
}

/// Timings of one kind of pass.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pass {
    schedule: String,
    median_seconds: f64,
    min_seconds: f64,
    seconds: Vec<f64>,
    /// The plan's products by the median.
    gflops: f64,
    /// The same products alone, measured in turn with the pass.
    bare_gflops: f64,
    /// The former divided by the latter.
    share_of_products: f64,
}

impl Pass {
    pub(super) fn new(schedule: &str, seconds: Vec<f64>, flops: f64, bare: &[f64]) -> Self {
        let median_seconds = median(&seconds);
        let (gflops, bare_gflops) = (flops / median_seconds / 1e9, median(bare));
        let min_seconds = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let share_of_products = gflops / bare_gflops;
        Self { schedule: schedule.into(), median_seconds, min_seconds, seconds, gflops, bare_gflops, share_of_products }
    }
}

/// Bytes, counted in the first run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) inputs_bytes: usize,
    pub(super) gradients_bytes: usize,
    /// The process at its highest beyond both; none where the system does not say.
    pub(super) beyond_bytes: Option<usize>,
}

/// `whole`, `panel` or `recompute`.
pub(super) fn name_of(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Whole => "whole",
        Schedule::Panel => "panel",
        Schedule::Recompute => "recompute",
    }
}

/// The median; of an even number, the mean of the middle two.
fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

/// Prints records as a table, and with `explain` the reasons below it.
pub(super) fn print(records: &[Record], explain: bool) -> Result<()> {
    let mib = |bytes: usize| bytes as f64 / 1_048_576.0;
    let repeats = records.first().map_or(0, |r| r.forward_backward.seconds.len());
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let title = format!(
        "{}, {} of each pass; times in ms, memory in MiB",
        plural(rayon::current_num_threads(), "thread"),
        plural(repeats, "timed run")
    );
    let mut table = Table::new(title)
        .column(Column::text("objective"))
        .column(Column::text("B × d × N"))
        .column(Column::text("schedule"))
        .column(Column::number("forward", 2))
        .column(Column::number("both passes", 2))
        .column(Column::number("fastest", 2).priority(10))
        .column(Column::number("GFLOP/s", 1).priority(40))
        .column(Column::number("of bare %", 0).priority(50))
        .column(Column::number("inputs", 1).priority(20))
        .column(Column::number("gradients", 1).priority(20))
        .column(Column::number("beyond", 1))
        .note(
            "Times are medians. GFLOP/s: the products, by the time of both passes; of bare: against the same products \
             alone. Beyond: the process at its \
             highest, less inputs and gradients.",
        );
    for record in records {
        let Sizes { batch, dim, candidates, .. } = record.sizes;
        let pass = &record.forward_backward;
        table.push(cells![
            record.spec.as_str(),
            format!("{batch} × {dim} × {candidates}"),
            pass.schedule.as_str(),
            record.forward.median_seconds * 1e3,
            pass.median_seconds * 1e3,
            pass.min_seconds * 1e3,
            pass.gflops,
            pass.share_of_products * 100.0,
            mib(record.memory.inputs_bytes),
            mib(record.memory.gradients_bytes),
            record.memory.beyond_bytes.map(mib),
        ]);
    }
    print_table(&table)?;
    if explain {
        for record in records {
            crate::output::print(&record.explanation())?;
        }
    }
    Ok(())
}

impl Record {
    /// Why this schedule, and what is counted, in words.
    fn explanation(&self) -> String {
        let Plan { budget_bytes, schedule, rows_at_once, bytes, products, reason, .. } = &self.plan;
        let Memory { inputs_bytes, gradients_bytes, beyond_bytes } = self.memory;
        let beyond = beyond_bytes.map_or("not measurable here".into(), size::show);
        let speed = |pass: &Pass| format!("{:.1} GFLOP/s, bare products {:.1}", pass.gflops, pass.bare_gflops);
        format!(
            "\n{}\n  schedule     {schedule}: {reason} ({products} products, {rows_at_once} rows at once)\n  \
             memory       {beyond} beyond inputs ({}) and gradients ({}); planned {}, budget {}\n  \
             forward      {} when alone: {}\n  \
             both passes  {}\n",
            self.spec,
            size::show(inputs_bytes),
            size::show(gradients_bytes),
            size::show(*bytes),
            size::show(*budget_bytes),
            self.forward.schedule,
            speed(&self.forward),
            speed(&self.forward_backward),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
