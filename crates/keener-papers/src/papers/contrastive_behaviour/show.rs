//! Tables, plots and notes.

use super::{ALPHA, Loss, Measurements, Row, Study};
use crate::{Plot, Spread};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

/// −uniformity and tolerance of an independent implementation of the same experiment: 2 seeds, other random numbers, 300
/// samples, 300 steps.
const REFERENCE: [(Loss, f64, f64); 10] = [
    (Loss::Contrastive { tau: 0.05 }, 3.580, 0.178),
    (Loss::Contrastive { tau: 0.1 }, 3.594, 0.121),
    (Loss::Contrastive { tau: 0.2 }, 3.594, 0.117),
    (Loss::Contrastive { tau: 0.5 }, 3.589, 0.156),
    (Loss::Contrastive { tau: 1.0 }, 3.580, 0.188),
    (Loss::Contrastive { tau: 5.0 }, 3.531, 0.306),
    (Loss::Simple, 3.147, 0.589),
    (Loss::HardContrastive { tau: 0.1 }, 3.590, 0.127),
    (Loss::HardContrastive { tau: 0.5 }, 3.589, 0.116),
    (Loss::HardContrastive { tau: 1.0 }, 3.578, 0.113),
];
/// The same of the hard simple loss.
const REFERENCE_HARD_SIMPLE: (f64, f64) = (3.558, 0.113);

fn reference(loss: Loss) -> Option<(f64, f64)> {
    if loss == Loss::HardSimple {
        return Some(REFERENCE_HARD_SIMPLE);
    }
    REFERENCE.iter().find(|r| r.0 == loss).map(|r| (r.1, r.2))
}

fn cell(spread: Spread) -> Cell {
    Cell::interval(spread.mean, spread.low, spread.high)
}

fn minus_uniformity(row: &Row) -> Spread {
    row.spread(|m| m.minus_uniformity)
}

fn tolerance(row: &Row) -> Spread {
    row.spread(|m| m.tolerance)
}

fn words(loss: Loss) -> String {
    match loss {
        Loss::Contrastive { tau } => format!("contrastive, τ = {tau}"),
        Loss::HardContrastive { tau } => format!("hard contrastive, τ = {tau}"),
        Loss::Simple => "simple".into(),
        Loss::HardSimple => "hard simple".into(),
    }
}

fn heads(title: String) -> Table {
    Table::new(title)
        .column(Column::text("loss"))
        .column(Column::number("−uniformity", 3).note("t = 2; higher is more uniform; mean and range over the seeds"))
        .column(Column::number("tolerance", 3).note("mean cosine of pairs of one class"))
}

pub(super) fn tables(found: &Measurements, study: &Study) -> Vec<Table> {
    let problem = &study.problem;
    let title = format!("{} seeds, {} samples, {} steps", study.seeds.len(), problem.samples, problem.steps);
    let mut main = heads(title)
        .column(Column::number("ref. −uniformity", 3).note("an independent implementation, 2 other seeds").priority(30))
        .column(Column::number("ref. tolerance", 3).priority(30))
        .column(
            Column::number("effective negatives", 1)
                .note("perplexity of the hardness weights after training")
                .priority(60),
        )
        .column(
            Column::number("gradient left", 3)
                .note("probability of all negatives together after training")
                .priority(50),
        );
    main.push(["untrained".into(), cell(minus_uniformity(&found.start)), cell(tolerance(&found.start))]);
    for row in &found.rows {
        let expected = reference(row.loss);
        let left = row.loss.tau().map(|_| cell(row.spread(|m| m.negative_probability)));
        main.push([
            words(row.loss).into(),
            cell(minus_uniformity(row)),
            cell(tolerance(row)),
            expected.map(|e| e.0).into(),
            expected.map(|e| e.1).into(),
            cell(row.spread(|m| m.effective_negatives)),
            left.unwrap_or_default(),
        ]);
    }
    let mut all = vec![main];
    if !found.long.is_empty() {
        let title = format!("Ten times the steps: {} seeds, {} steps", study.long.len(), 10 * problem.steps);
        let mut long = heads(title);
        for row in &found.long {
            long.push([words(row.loss).into(), cell(minus_uniformity(row)), cell(tolerance(row))]);
        }
        all.push(long);
    }
    all
}

/// One line over τ.
fn over_tau(name: &str, rows: &[&Row], what: fn(&Row) -> Spread) -> Series {
    let points = rows.iter().filter_map(|r| Some((r.loss.tau()?, what(r))));
    let points: Vec<(f64, Spread)> = points.collect();
    Series::new(name, points.iter().map(|(tau, s)| (*tau, s.mean))).band(points.iter().map(|(_, s)| (s.low, s.high)))
}

pub(super) fn plots(found: &Measurements) -> Vec<Plot> {
    let of = |keep: fn(Loss) -> bool| -> Vec<&Row> { found.rows.iter().filter(|r| keep(r.loss)).collect() };
    let plain = of(|l| matches!(l, Loss::Contrastive { .. }));
    let hard = of(|l| matches!(l, Loss::HardContrastive { .. }));
    let place = |r: &&Row| (tolerance(r).mean, minus_uniformity(r).mean);
    let simple = of(|l| l == Loss::Simple).first().map_or((f64::NAN, f64::NAN), place);
    let at = |name: &str, rows: &[&Row]| Series::new(name, rows.iter().map(place));
    let trade_off = plot::lines(&Lines {
        title: "Uniformity against tolerance".into(),
        x: Axis::linear("tolerance"),
        y: Axis::linear("−uniformity"),
        series: vec![
            at("contrastive", &plain),
            at("hard contrastive", &hard),
            at("hard simple", &of(|l| l == Loss::HardSimple)),
        ],
        ..Lines::default()
    });
    let sweep = |title: &str, label: &str, what: fn(&Row) -> Spread| {
        plot::lines(&Lines {
            title: title.into(),
            x: Axis::log("temperature τ"),
            y: Axis::linear(label),
            series: vec![over_tau("contrastive", &plain, what), over_tau("hard contrastive", &hard, what)],
            ..Lines::default()
        })
    };
    let negatives = plot::lines(&Lines {
        title: "Effective number of negatives".into(),
        x: Axis::log("temperature τ"),
        y: Axis::log("perplexity of the hardness weights"),
        series: vec![
            Series::new("all, untrained", found.curve.iter().map(|p| (p.tau, p.plain))),
            Series::new("hard, untrained", found.curve.iter().map(|p| (p.tau, p.hard))),
            over_tau("all, trained", &plain, |r| r.spread(|m| m.effective_negatives)),
            over_tau("hard, trained", &hard, |r| r.spread(|m| m.effective_negatives)),
        ],
        ..Lines::default()
    });
    vec![
        Plot {
            file: "trade-off.svg",
            caption: format!(
                "Each point is a loss, lines join rising temperatures; means over the seeds. The simple loss lies far off, \
                 at tolerance {:.2} and −uniformity {:.2}.",
                simple.0, simple.1
            ),
            svg: trade_off,
        },
        Plot {
            file: "uniformity.svg",
            caption: "With the range over the seeds.".into(),
            svg: sweep("Uniformity over the temperature", "−uniformity", minus_uniformity),
        },
        Plot {
            file: "tolerance.svg",
            caption: "With the range over the seeds.".into(),
            svg: sweep("Tolerance over the temperature", "tolerance", tolerance),
        },
        Plot {
            file: "effective-negatives.svg",
            caption: format!(
                "Between how many negatives the gradient is shared: all of them, or the hardest {} %.",
                (ALPHA * 100.0).round()
            ),
            svg: negatives,
        },
    ]
}

pub(super) fn notes(found: &Measurements, study: &Study) -> Vec<String> {
    let mut notes = vec![
        "Tested are uniformity, tolerance and the identities of the loss. The paper's accuracies of linear classifiers on \
         images are not: they need encoders and augmentations."
            .to_string(),
    ];
    if study.problem == Default::default() {
        let difference = |row: &Row| {
            let (u, t) = reference(row.loss)?;
            Some((row.loss, minus_uniformity(row).mean - u, tolerance(row).mean - t))
        };
        let all: Vec<(Loss, f64, f64)> = found.rows.iter().filter_map(difference).collect();
        let most = |of: fn(&(Loss, f64, f64)) -> f64| all.iter().max_by(|a, b| of(a).abs().total_cmp(&of(b).abs()));
        if let (Some(u), Some(t)) = (most(|d| d.1), most(|d| d.2)) {
            notes.push(format!(
                "Against the reference figures (two other random sets), −uniformity differs most with {} ({:+.3}) and \
                 tolerance with {} ({:+.3}); the figures depend on where the ten random centres fall, as the ranges show.",
                words(u.0),
                u.1,
                words(t.0),
                t.2
            ));
        }
    }
    let cold = Loss::Contrastive { tau: 0.05 };
    let at = |rows: &[Row], loss: Loss| {
        rows.iter().find(|r| r.loss == loss).map(|r| (minus_uniformity(r).mean, tolerance(r).mean))
    };
    let left = found.rows.iter().find(|r| r.loss == cold).map(|r| r.spread(|m| m.negative_probability).mean);
    let next = Loss::Contrastive { tau: 0.1 };
    let warm = Loss::Contrastive { tau: 0.2 };
    if let (Some(left), Some(a), Some(b)) = (left, at(&found.rows, cold), at(&found.rows, warm))
        && (a.0 < b.0 || a.1 > b.1)
    {
        notes.push(format!(
            "Below τ = 0.2 the order breaks: with positives held at {} the loss at τ = 0.05 is won by margins far above τ, \
             and {:.1} % of its gradient is left at the end of training.",
            study.problem.positive,
            100.0 * left
        ));
    }
    let hottest = Loss::Contrastive { tau: 5.0 };
    if let (Some(a), Some(b), Some(c)) = (at(&found.long, cold), at(&found.long, next), at(&found.long, warm)) {
        let order = |holds: bool| if holds { "in order" } else { "not in order" };
        notes.push(format!(
            "With ten times the steps, −uniformity and tolerance are {:.4} and {:.3} at τ = 0.05, {:.4} and {:.3} at 0.1, \
             {:.4} and {:.3} at 0.2: 0.05 to 0.1 {}, 0.1 to 0.2 {}.",
            a.0,
            a.1,
            b.0,
            b.1,
            c.0,
            c.1,
            order(a.0 > b.0 && a.1 < b.1),
            order(b.0 > c.0 && b.1 < c.1)
        ));
    }
    let change = |rows: &[Row]| Some(at(rows, warm)?.0 - at(rows, hottest)?.0);
    if let (Some(short), Some(long)) = (change(&found.rows), change(&found.long)) {
        notes.push(format!(
            "From τ = 0.2 to 5, −uniformity falls by {short:.4} after {} steps and by {long:.4} after {}: {}",
            study.problem.steps,
            10 * study.problem.steps,
            if long < short {
                "a part of what the temperature does here is how fast embeddings spread."
            } else {
                "the effect of the temperature is not one of slow training."
            }
        ));
    }
    notes
}
