//! Table, plot and notes.

use super::measure::Source;
use super::{Measured, Row};
use crate::{Plot, Spread};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

fn cell(spread: Spread) -> Cell {
    Cell::interval(spread.mean, spread.low, spread.high)
}

pub(super) fn table(rows: &[Row], source: Source, seeds: usize) -> Table {
    let title = format!("{source}: 7 known and 3 new classes, {seeds} seeds, accuracy on test rows (mean and range)");
    let mut table = Table::new(title)
        .column(Column::text("trained with"))
        .column(Column::number("new, 5 examples", 3).note("among the new classes alone, each inserted from 5 examples"))
        .column(Column::number(format!("new, {} examples", source.many()), 3))
        .column(Column::number("all, means", 3).note("among all classes, each the mean of its examples"))
        .column(Column::number("all, weights", 3).note("learned weights of known classes, means of new ones"))
        .column(Column::number("known of these", 3).note("the same on rows of known classes alone").priority(40))
        .column(Column::number("alignment", 2).note("mean cosine of learned weights and class means").priority(30));
    for row in rows {
        let some = |what: fn(&Measured) -> Option<f64>| row.some(what).map(cell).unwrap_or_default();
        table.push([
            row.method.to_string().into(),
            cell(row.spread(|m| m.disjoint_few)),
            cell(row.spread(|m| m.disjoint_many)),
            cell(row.spread(|m| m.joint_means)),
            some(|m| m.joint_weights),
            some(|m| m.known_of_joint_weights),
            some(|m| m.alignment),
        ]);
    }
    table
}

pub(super) fn plots(rows: &[Row]) -> Vec<Plot> {
    let scaled = || {
        rows.iter().filter_map(|r| match r.method {
            super::Method::Nsl { scale } => Some((scale, r)),
            _ => None,
        })
    };
    let line = |name: &str, what: fn(&Row) -> Option<Spread>| {
        let mut points: Vec<(f64, Spread)> = scaled().filter_map(|(scale, r)| Some((scale, what(r)?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series::new(name, points.iter().map(|(s, v)| (*s, v.mean))).band(points.iter().map(|(_, v)| (v.low, v.high)))
    };
    let svg = plot::lines(&Lines {
        title: "What the scale does".into(),
        x: Axis::linear("scale s of the normalised softmax"),
        y: Axis::linear("accuracy on test rows"),
        series: vec![
            line("new classes alone", |r| Some(r.spread(|m| m.disjoint_many))),
            line("all classes, means", |r| Some(r.spread(|m| m.joint_means))),
            line("all classes, learned weights", |r| r.some(|m| m.joint_weights)),
        ],
        ..Lines::default()
    });
    let caption = "A larger scale separates new classes better, but its learned weights lie beside the class means, and inserted \
                   means then win against them: where known and new classes compete, take means for all.";
    vec![Plot { file: "scale.svg", caption: caption.into(), svg }]
}

pub(super) fn notes(source: Source) -> Vec<String> {
    let mut notes = vec![
        "One network for all: features → 128 (ReLU) → 60; AdamW at 1e-3 without weight decay, cosine decay, batches of 128 (126 of \
         7 × 18 rows for triplets and pairs). Triplets are semi-hard ones, margin 0.2; contrastive pairs keep a distance of 1."
            .to_string(),
        "The seed chooses which classes are new, and that choice moves the figures more than the method does: compare by seed."
            .to_string(),
    ];
    if source == Source::Digits {
        notes.push(
            "The digits are nearly solved by any embedding, so differences are small; the full mode takes Fashion-MNIST where \
             Debian's package dataset-fashion-mnist is installed."
                .to_string(),
        );
    }
    notes
}
