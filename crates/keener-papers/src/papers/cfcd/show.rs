//! Tables, plots and notes.

use super::coarse::{self, Head};
use super::{Measurements, heads};
use crate::{Plot, Spread};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

fn cell(values: impl IntoIterator<Item = f64>) -> Cell {
    let spread = Spread::of(values);
    Cell::interval(spread.mean, spread.low, spread.high)
}

pub(super) fn tables(found: &Measurements, seeds: usize, steps: usize, halves: [usize; 2]) -> Vec<Table> {
    let mut all = Vec::new();
    for spread in coarse::Spread::ALL {
        let title =
            format!("Stage 1, {spread}: {seeds} seeds, {steps} steps, retrieval among unseen classes (mean and range)");
        let mut table = Table::new(title)
            .column(Column::text("head"))
            .column(Column::number("recall@1", 3))
            .column(Column::number("MAP@R", 3))
            .column(Column::number("scale at the end", 0).note("over all training rows"))
            .column(Column::number("margin at the end", 2));
        for head in heads() {
            let Ok(measured) = found.coarse(spread, head) else { continue };
            let last = |what: fn(&(usize, f64, f64, f64)) -> f64| match head {
                Head::MadaCos { .. } => cell(measured.iter().filter_map(|m| m.looks.last().map(what))),
                Head::CosFace { .. } => Cell::default(),
            };
            table.push([
                head.to_string().into(),
                cell(measured.iter().map(|m| m.recall_at_1)),
                cell(measured.iter().map(|m| m.map_at_r)),
                last(|l| l.1),
                last(|l| l.2),
            ]);
        }
        all.push(table);
    }
    let title = format!(
        "Stage 2 on digits: {seeds} seeds, {} steps of stage 1, then {} of each, 64 images a step; 4 unseen classes",
        halves[0], halves[1]
    );
    let mut table = Table::new(title)
        .column(Column::text("second half"))
        .column(Column::number("recall@1", 3))
        .column(Column::number("MAP@R", 3))
        .column(Column::number("gain", 3).note("in MAP@R over the end of the first half"))
        .column(Column::number("local term", 4).note("weighted, a tuple"));
    for (second, measured) in &found.fine {
        table.push([
            second.to_string().into(),
            cell(measured.iter().map(|m| m.recall_at_1)),
            cell(measured.iter().map(|m| m.after)),
            cell(measured.iter().map(|m| m.after - m.before)),
            cell(measured.iter().map(|m| m.local)),
        ]);
    }
    all.push(table);
    all
}

/// One line over the steps, for each adaptive head under each spread.
fn over_steps(found: &Measurements, what: fn(&(usize, f64, f64, f64)) -> f64) -> Vec<Series> {
    let mut series = Vec::new();
    for spread in coarse::Spread::ALL {
        for head in Head::ADAPTIVE {
            let Ok(measured) = found.coarse(spread, head) else { continue };
            let looks = measured.first().map_or(0, |m| m.looks.len());
            let at = |k: usize| (measured[0].looks[k].0 as f64, Spread::of(measured.iter().map(|m| what(&m.looks[k]))));
            let points: Vec<(f64, Spread)> = (0..looks).map(at).collect();
            let line = Series::new(format!("{head}, {spread}"), points.iter().map(|(x, s)| (*x, s.mean)));
            series.push(line.band(points.iter().map(|(_, s)| (s.low, s.high))));
        }
    }
    series
}

pub(super) fn plots(found: &Measurements) -> Vec<Plot> {
    let draw = |title: &str, label: &str, what| {
        plot::lines(&Lines {
            title: title.into(),
            x: Axis::linear("step"),
            y: Axis::linear(label),
            series: over_steps(found, what),
            ..Lines::default()
        })
    };
    vec![
        Plot {
            file: "scale.svg",
            caption: "The scale that MadaCos sets itself, over all training rows; nobody tuned it.".into(),
            svg: draw("Scale over training", "scale s", |l| l.1),
        },
        Plot {
            file: "margin.svg",
            caption: "The margin, alike. It is 0 until the median sample's target cosine leaves its negatives behind."
                .into(),
            svg: draw("Margin over training", "margin m", |l| l.2),
        },
    ]
}

pub(super) fn notes() -> Vec<String> {
    [
        "Stage 1: classes are codes of 16 numbers; samples scatter around them with a deviation of their class (0.3 to 0.6, or to 1.1 \
         where they overlap), beside 8 nuisance numbers, mixed to 64 by tanh. Network 64 → 128 → 32, AdamW at 2e-3, batches of 128.",
        "Stage 2: 8 × 8 digits, three 3 × 3 convolutions to 32 channels at 16 positions, generalised-mean pooling, an embedding of 32; \
         six classes are trained on, four are retrieved among. Tuples of 8 as published, weight 0.05 and margin 0.1; the released code \
         multiplies by 1 whatever the configuration says.",
        "The paper trains on 1.6 million landmark photographs; whether local matching pays there cannot be read off digits.",
    ]
    .map(String::from)
    .to_vec()
}
