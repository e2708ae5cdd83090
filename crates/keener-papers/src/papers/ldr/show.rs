//! Tables, plot and notes.

use super::{ALDR_1, ALDR_10, Cell, NOISES, Noise, Study, fact};
use crate::{Facts, Plot, Spread};
use anyhow::Result;
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell as Entry, Column, Table};

fn entry(spread: Spread) -> Entry {
    Entry::interval(spread.mean, spread.low, spread.high)
}

fn of<'c>(cells: &'c [Cell], loss: &str, noise: Noise) -> Option<&'c Cell> {
    cells.iter().find(|c| c.loss.name == loss && c.noise == noise)
}

pub(super) fn tables(cells: &[Cell], study: &Study) -> Vec<Table> {
    let title = |what: &str| format!("{what} on clean test rows: {} seeds, {} epochs", study.seeds.len(), study.epochs);
    let one = |title: String, what: fn(&super::Measured) -> f64| {
        let mut table = Table::new(title).column(Column::text("loss"));
        for noise in NOISES {
            let column = Column::number(noise.name(), 3);
            table =
                table.column(if noise == Noise::Clean { column.note("mean and range over the seeds") } else { column });
        }
        for loss in &study.losses {
            let cell = |noise| of(cells, loss.name, noise).map_or_else(Entry::default, |c| entry(c.spread(what)));
            table.push([loss.name.into(), cell(NOISES[0]), cell(NOISES[1]), cell(NOISES[2])]);
        }
        table
    };
    vec![one(title("Top-1 accuracy"), |m| m.top1), one(title("Top-3 accuracy"), |m| m.top3)]
}

pub(super) fn plots(cells: &[Cell], study: &Study) -> Vec<Plot> {
    let series = study.losses.iter().map(|loss| {
        let points: Vec<(f64, Spread)> = NOISES
            .iter()
            .enumerate()
            .filter_map(|(k, noise)| Some((k as f64, of(cells, loss.name, *noise)?.spread(|m| m.top1))))
            .collect();
        Series::new(loss.name, points.iter().map(|(x, s)| (*x, s.mean)))
            .band(points.iter().map(|(_, s)| (s.low, s.high)))
    });
    let svg = plot::lines(&Lines {
        title: "Top-1 accuracy under label noise".into(),
        x: Axis::linear("0: clean, 1: uniform 0.6, 2: class-dependent 0.3"),
        y: Axis::linear("top-1 accuracy on clean test rows"),
        series: series.collect(),
        ..Lines::default()
    });
    vec![Plot { file: "noise.svg", caption: "Means over the seeds, with their range.".into(), svg }]
}

pub(super) fn notes(facts: &Facts) -> Result<Vec<String>> {
    let mut ranges = Vec::new();
    for loss in [ALDR_10, ALDR_1] {
        for noise in NOISES {
            let least = facts.get(&fact("least_temperature", loss, noise))?.low;
            let mean = facts.mean(&fact("mean_temperature", loss, noise))?;
            ranges.push(format!("{} {}: mean {mean:.3}, least {least:.3}", loss.name, noise.name()));
        }
    }
    Ok(vec![
        "The network is 64-64-10 with ReLU on the embedded digits; labels of training and validation rows are noisy, the \
         learning rate (0.3 or 0.03) is chosen on the noisy validation rows, test rows are clean. The paper's seven data sets \
         and networks are larger; its table is not compared."
            .into(),
        format!(
            "Temperatures at the end of training: {}. With normalised scores the divergence from the uniform weighting is \
             small at a large λ0, so that ALDR and LDR are nearly the same there.",
            ranges.join("; ")
        ),
        "The uniform noise of the paper draws from all classes: with probability 0.6 of ten classes, 54 % of the labels are \
         wrong, an exact number here."
            .into(),
    ])
}
