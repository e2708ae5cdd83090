//! Tables, plots and notes.

use super::{KS, Row, Study, Times};
use crate::Plot;
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

pub(super) fn tables(study: &Study, rows: &[Row], times: &[Times]) -> Vec<Table> {
    let p = &study.problem;
    let title = format!(
        "Next-word prediction: {} words, {} rows, {} epochs, {} test rows; error % at k, seeds: {}",
        p.vocabulary,
        p.train,
        p.epochs,
        p.test,
        study.seeds.len()
    );
    let mut ranking = Table::new(title).column(Column::text("output layer"));
    for k in KS {
        ranking = ranking.column(Column::number(format!("k = {k}"), 1));
    }
    for row in rows {
        let cell = |at: usize| {
            let s = row.error(at);
            Cell::interval(100.0 * s.mean, 100.0 * s.low, 100.0 * s.high)
        };
        ranking.push(std::iter::once(Cell::from(row.output.to_string())).chain((0..KS.len()).map(cell)));
    }
    let mut speed =
        Table::new("Milliseconds a step (forward, backward, update), 64 hidden units, batch 64, f32; medians")
            .column(Column::number("classes", 0))
            .column(Column::number("Z factored", 3))
            .column(Column::number("softmax dense", 2))
            .column(Column::number("Z dense", 2))
            .column(Column::number("softmax / factored", 1));
    for t in times {
        let ms = |s: Option<f64>| Cell::from(s.map(|s| 1e3 * s));
        let ratio = Cell::from(t.softmax.map(|s| s / t.factored));
        speed.push([Cell::from(t.classes as f64), ms(Some(t.factored)), ms(t.softmax), ms(t.z), ratio]);
    }
    vec![ranking, speed]
}

pub(super) fn plots(rows: &[Row], times: &[Times]) -> Vec<Plot> {
    let softmax = |at: usize| rows.first().map_or(0.0, |r| r.error(at).mean);
    let line = |row: &Row| {
        let gap = |(at, k): (usize, &usize)| (*k as f64, 100.0 * (row.error(at).mean - softmax(at)));
        Series::new(row.output.to_string(), KS.iter().enumerate().map(gap))
    };
    let ranking = plot::lines(&Lines {
        title: "Error beyond that of the softmax".into(),
        x: Axis::log("k"),
        y: Axis::linear("points"),
        series: rows.iter().skip(1).map(line).collect(),
        ..Lines::default()
    });
    let of = |name: &str, pick: fn(&Times) -> Option<f64>| {
        Series::new(name, times.iter().filter_map(|t| Some((t.classes as f64, 1e3 * pick(t)?))))
    };
    let speed = plot::lines(&Lines {
        title: "Time of a step".into(),
        x: Axis::log("classes"),
        y: Axis::log("milliseconds"),
        series: vec![
            of("Z factored", |t| Some(t.factored)),
            of("softmax dense", |t| t.softmax),
            of("Z dense", |t| t.z),
        ],
        ..Lines::default()
    });
    vec![
        Plot {
            file: "ranking.svg",
            caption: "How much more often a word is not among the first k than with the softmax; the Z-loss closes the gap as k grows.".into(),
            svg: ranking,
        },
        Plot {
            file: "step-time.svg",
            caption: "The factored layer's step does not see the number of classes.".into(),
            svg: speed,
        },
    ]
}

pub(super) fn notes(study: &Study) -> Vec<String> {
    let n = study.problem.test as f64;
    vec![
        format!(
            "Text: one-line descriptions of Debian packages, divided by line; embedding 24, hidden layer 96, 32 before the output, Adam \
             2e-3 with linear decay. One error of {:.0} % on {} words has a standard error of {:.1} points.",
            30.0,
            study.problem.test,
            100.0 * (0.3 * 0.7 / n).sqrt()
        ),
        "The factored layer is trained by plain SGD (rate 30, linear decay) and the network below it by Adam; its bias is a constant \
         feature."
            .into(),
        "Step times depend on the machine and on what else it does: they are the one thing here that a second run does not repeat to \
         the bit."
            .into(),
        "The paper's One Billion Word runs are not repeated."
            .into(),
    ]
}
