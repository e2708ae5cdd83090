//! Tables, plots and notes.

use super::measure::{Measured, Point};
use super::{Row, Study};
use crate::{Plot, Spread};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

fn cell(spread: Spread) -> Cell {
    Cell::interval(spread.mean, spread.low, spread.high)
}

/// The least and the greatest step, or `never`.
fn steps(row: &Row, so: impl Fn(&Point) -> bool + Copy) -> String {
    let found: Vec<Option<usize>> = row.runs.iter().map(|r| r.first(so)).collect();
    let reached: Vec<usize> = found.iter().copied().flatten().collect();
    let (Some(low), Some(high)) = (reached.iter().min(), reached.iter().max()) else { return "never".into() };
    let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
    if reached.len() == found.len() { range } else { format!("{range} ({} of {} seeds)", reached.len(), found.len()) }
}

fn table(title: String, rows: &[Row]) -> Table {
    let mut table = Table::new(title)
        .column(Column::text("training"))
        .column(Column::text("training rows fitted at step"))
        .column(Column::text("test ≥ 90 % at step"))
        .column(Column::number("test at the end %", 1).note("mean and range over the seeds"))
        .column(Column::number("collapsed %", 1).note("training rows whose softmax sums to exactly 1 in f32"))
        .column(Column::text("loss at the end"))
        .column(Column::number("alignment", 2).note("cosine of descent direction and weights at the end").priority(40));
    for row in rows {
        let percent = |what: fn(&Point) -> f64| cell(row.spread(|p| 100.0 * what(p)));
        // The raw logits of a StableMax network are huge: the softmax is not what it is trained with.
        let stable = row.method.to_string().starts_with("Stable");
        table.push([
            row.method.to_string().into(),
            steps(row, |p| p.train == 1.0).into(),
            steps(row, |p| p.test >= 0.9).into(),
            percent(|p| p.test),
            if stable { Cell::default() } else { percent(|p| p.collapsed) },
            format!("{:.1e}", row.spread(|p| p.loss).mean).into(),
            cell(row.spread(|p| p.alignment)),
        ]);
    }
    table
}

pub(super) fn tables(study: &Study, short: &[Row], long: &[Row]) -> Vec<Table> {
    let title = |p: &super::Problem, seeds: usize| {
        format!("a + b mod {}, {:.0} % of the pairs, {} steps, seeds: {seeds}", p.p, 100.0 * p.share, p.steps)
    };
    vec![table(title(&study.short, study.seeds.len()), short), table(title(&study.long, study.long_seeds.len()), long)]
}

/// One line: mean and range over the seeds, look by look.
fn line(row: &Row, name: String, what: fn(&Point) -> f64) -> Series {
    let looks = row.runs.first().map_or(0, |r| r.points.len());
    let at = |k: usize| Spread::of(row.runs.iter().filter_map(|r| r.points.get(k)).map(what));
    let step = |k: usize| row.runs.first().and_then(|r: &Measured| r.points.get(k)).map_or(0.0, |p| p.step as f64);
    Series::new(name, (0..looks).map(|k| (step(k), at(k).mean))).band((0..looks).map(|k| (at(k).low, at(k).high)))
}

pub(super) fn plots(short: &[Row], long: &[Row]) -> Vec<Plot> {
    let test = plot::lines(&Lines {
        title: "Accuracy on pairs that were not trained on".into(),
        x: Axis::linear("step"),
        y: Axis::linear("test accuracy").range(0.0, 1.0),
        series: short.iter().map(|row| line(row, row.method.to_string(), |p| p.test)).collect(),
        ..Lines::default()
    });
    let mut series = Vec::new();
    for row in long {
        series.push(line(row, format!("{}: test accuracy", row.method), |p| p.test));
        if !row.method.to_string().starts_with("Stable") {
            series.push(line(row, format!("{}: rows collapsed", row.method), |p| p.collapsed));
        }
    }
    let collapse = plot::lines(&Lines {
        title: "The long run".into(),
        x: Axis::linear("step"),
        y: Axis::linear("share").range(0.0, 1.0),
        series,
        ..Lines::default()
    });
    vec![
        Plot {
            file: "test-accuracy.svg",
            caption: "With the orthogonal gradient the test pairs are known as soon as the training pairs are; mean and range over the seeds.".into(),
            svg: test,
        },
        Plot {
            file: "collapse.svg",
            caption: "Plain softmax training loses row after row to rounding and learns nothing more; StableMax goes on, slowly.".into(),
            svg: collapse,
        },
    ]
}

pub(super) fn notes() -> Vec<String> {
    vec![
        "AdamW with learning rate 0.01 and full batches as in the reference code; plain runs with its ε of 1e-25, the orthogonal \
         gradient with AdamW's own numbers."
            .into(),
        "The paper's StableMax runs take 80,000 to 100,000 steps, far beyond the budget here: what is tested is that its loss and \
         gradient stay alive where the softmax's do not."
            .into(),
        "`softmax` is computed as frameworks do it, all scores in one log-sum-exp in f32; `target against others` is keener's own \
         `softmax_cross_entropy`, whose gradient does not vanish by rounding. The collapse is measured on the logits of either."
            .into(),
    ]
}
