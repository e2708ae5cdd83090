//! Tables, plots and notes.

use super::adversarial::EPSILON;
use super::{Measurements, Study};
use crate::{Facts, Plot, Spread};
use anyhow::Result;
use keener::theory::comp_sum::bound;
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

fn cell(spread: Spread) -> Cell {
    Cell::interval(spread.mean, spread.low, spread.high)
}

/// Zero-one and surrogate excess, and bound, of an independent implementation of the descent with other random numbers:
/// τ, then start, 20, 200 and 2000 steps.
const REFERENCE: [(f64, [f64; 4]); 5] = [
    (0.0, [1.0, 0.176, 0.002, 0.0]),
    (0.5, [1.0, 0.422, 0.031, 0.0]),
    (1.0, [1.0, 0.605, 0.067, 0.013]),
    (1.5, [0.899, 0.719, 0.230, 0.035]),
    (2.0, [1.0, 1.0, 0.389, 0.042]),
];

pub(super) fn tables(found: &Measurements, study: &Study) -> Vec<Table> {
    let mut bounds = Table::new("Descent on the expected loss: 20 points of known label distribution, 4 classes")
        .column(Column::number("τ", 1))
        .column(Column::number("steps", 0))
        .column(Column::number("zero-one excess", 4))
        .column(Column::number("surrogate excess", 4))
        .column(Column::number("bound", 4).note("on the zero-one excess, exact inverse"))
        .column(
            Column::number("ref. bound", 3).note("an independent implementation, other random points").priority(30),
        );
    for descent in &found.descents {
        for point in &descent.points {
            let at = [0, 20, 200, 2000].iter().position(|s| *s == point.step);
            let known = REFERENCE.iter().find(|r| r.0 == descent.tau).zip(at).map(|(r, at)| r.1[at]);
            bounds.push([
                descent.tau.into(),
                (point.step as f64).into(),
                point.error.into(),
                point.surrogate.into(),
                point.bound.into(),
                known.into(),
            ]);
        }
    }
    let title = format!("Training on the digits: {} seeds, {} epochs", study.clean_seeds.len(), study.clean_epochs);
    let mut clean = Table::new(title)
        .column(Column::number("τ", 1))
        .column(Column::number("test error", 3).note("mean and range over the seeds"))
        .column(Column::number("ref. test error", 3).note("an independent implementation, 3 other seeds").priority(30));
    let known = [0.717, 0.032, 0.034, 0.036, 0.146];
    for ((tau, measured), known) in found.clean.iter().zip(known) {
        clean.push([(*tau).into(), cell(Spread::of(measured.iter().map(|m| m.error))), known.into()]);
    }
    let title = format!(
        "Under attack (each pixel by up to {EPSILON}): {} seeds, {} epochs",
        study.attacked_seeds.len(),
        study.attacked_epochs
    );
    let mut attacked = Table::new(title)
        .column(Column::text("training"))
        .column(Column::number("clean accuracy", 3).note("mean and range over the seeds"))
        .column(Column::number("robust accuracy", 3).note("worst of 40 steps on cross-entropy and on the margin"))
        .column(
            Column::number("ref. clean", 3)
                .note("an independent implementation, 2 other seeds, 40 epochs")
                .priority(30),
        )
        .column(Column::number("ref. robust", 3).priority(30));
    for (setting, measured) in &found.attacked {
        let known = reference(setting.name);
        attacked.push([
            setting.name.into(),
            cell(Spread::of(measured.iter().map(|m| m.clean))),
            cell(Spread::of(measured.iter().map(|m| m.robust))),
            known.map(|k| k.0).into(),
            known.map(|k| k.1).into(),
        ]);
    }
    vec![bounds, clean, attacked]
}

fn reference(name: &str) -> Option<(f64, f64)> {
    Some(match name {
        "CE" => (0.973, 0.169),
        "PGD training" => (0.978, 0.690),
        "TRADES β=1" => (0.978, 0.653),
        "TRADES β=6" => (0.958, 0.664),
        "ADV-COMP-SUM ν=0.1" => (0.980, 0.552),
        "ADV-COMP-SUM ν=0.3" => (0.979, 0.614),
        "ADV-COMP-SUM ν=0.5" => (0.974, 0.630),
        "ADV-COMP-SUM ν=1" => (0.954, 0.624),
        "ADV-COMP-SUM ν=2" => (0.914, 0.568),
        "ADV-COMP-SUM τ=1 ν=0.3" => (0.967, 0.609),
        _ => return None,
    })
}

pub(super) fn plots(found: &Measurements) -> Result<Vec<Plot>> {
    let gaps: Vec<f64> = (0..=60).map(|k| 10f64.powf(-4.0 + 4.5 * f64::from(k) / 60.0)).collect();
    let mut curves = Vec::new();
    for tau in super::bounds::TAUS {
        let bounds = bound(tau, 4, &gaps)?;
        curves.push(Series::new(format!("τ = {tau}"), gaps.iter().zip(bounds).map(|(t, b)| (*t, b.exact))));
    }
    let guarantee = plot::lines(&Lines {
        title: "What the surrogate excess guarantees, 4 classes".into(),
        x: Axis::log("surrogate excess"),
        y: Axis::linear("bound on the zero-one excess"),
        series: curves,
        ..Lines::default()
    });
    let errors = found.clean.iter().map(|(tau, m)| (*tau, Spread::of(m.iter().map(|m| m.error))));
    let errors: Vec<(f64, Spread)> = errors.collect();
    let line = Series::new("test error", errors.iter().map(|(tau, s)| (*tau, s.mean)))
        .band(errors.iter().map(|(_, s)| (s.low, s.high)));
    let family = plot::lines(&Lines {
        title: "The family in training".into(),
        x: Axis::linear("τ"),
        y: Axis::log("test error"),
        series: vec![line],
        ..Lines::default()
    });
    let place = |m: &Vec<super::adversarial::Measured>| {
        (Spread::of(m.iter().map(|m| m.clean)).mean, Spread::of(m.iter().map(|m| m.robust)).mean)
    };
    let of = |name: &str, keep: &dyn Fn(&str) -> bool| {
        let mut points: Vec<(f64, f64)> =
            found.attacked.iter().filter(|(s, _)| keep(s.name)).map(|(_, m)| place(m)).collect();
        points.sort_by(|a, b| b.0.total_cmp(&a.0));
        Series::new(name, points)
    };
    let trade_off = plot::lines(&Lines {
        title: "Clean against robust accuracy".into(),
        x: Axis::linear("clean accuracy"),
        y: Axis::linear("robust accuracy"),
        series: vec![
            of("cross-entropy", &|n| n == "CE"),
            of("PGD training", &|n| n == "PGD training"),
            of("TRADES", &|n| n.starts_with("TRADES")),
            of("ADV-COMP-SUM, τ = 0.4, ρ = 1", &|n| n.starts_with("ADV-COMP-SUM ν")),
        ],
        ..Lines::default()
    });
    Ok(vec![
        Plot {
            file: "bounds.svg",
            caption: "The exact inverse of the transform; smaller is better.".into(),
            svg: guarantee,
        },
        Plot { file: "family.svg", caption: "Mean and range over the seeds.".into(), svg: family },
        Plot {
            file: "trade-off.svg",
            caption: "Means over the seeds; a line joins the strengths of one method.".into(),
            svg: trade_off,
        },
    ])
}

pub(super) fn notes(facts: &Facts, settings: &[&str]) -> Result<Vec<String>> {
    let mut notes = vec![
        "Networks are 64-64-10 (training) and 64-128-10 (attacks) with ReLU on the embedded digits; the paper's are residual \
         networks on images, evaluated with AutoAttack, which is stronger than the attacks here."
            .to_string(),
        "Gradients are shortened to length 10: without that, τ = 0 leaves the range of numbers in the first steps.".into(),
    ];
    let mut collapsed = Vec::new();
    for setting in settings {
        let clean = facts.mean(&format!("clean[{setting}]"))?;
        if clean < 0.8 {
            collapsed.push(format!("{setting} (clean {clean:.3})"));
        }
    }
    if !collapsed.is_empty() {
        notes.push(format!(
            "Collapsed: {}. The norm of moved margins has a constant slope and outweighs the bounded slope of the clean term.",
            collapsed.join(", ")
        ));
    }
    Ok(notes)
}
