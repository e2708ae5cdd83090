//! Tables, a plot and notes.

use super::{Data, Measure, Method, SCALES, Study, fact, scale_fact};
use crate::{Facts, Plot, Spread};
use anyhow::Result;
use keener_report::plot::{self, Axis, BarSeries, Bars};
use keener_report::table::{Cell, Column, Table};

fn cell(spread: Spread) -> Cell {
    Cell::interval(spread.mean, spread.low, spread.high)
}

pub(super) fn tables(facts: &Facts, study: &Study) -> Result<Vec<Table>> {
    let title =
        format!("Single layer, {} steps of gradient descent, five folds, {} seeds", study.steps, study.seeds.len());
    let mut all = Table::new(title).column(Column::text("data")).column(Column::text("trained with"));
    for measure in Measure::ALL {
        all = all.column(Column::number(measure.name(), 3).note("mean and range over the seeds"));
    }
    for data in Data::ALL {
        for method in Method::ALL {
            let mut cells: Vec<Cell> = vec![data.name().into(), method.name().into()];
            for measure in Measure::ALL {
                cells.push(cell(facts.get(&fact(measure, data, method))?));
            }
            all.push(cells);
        }
    }
    let mut tables = vec![all];
    if study.scales {
        let mut scales = Table::new(format!("The scale L of the approximation, {}", Data::Tenth.name()))
            .column(Column::number("L", 0))
            .column(Column::number("balanced accuracy", 3));
        for scale in SCALES {
            scales.push([scale.into(), cell(facts.get(&scale_fact(scale))?)]);
        }
        tables.push(scales);
    }
    Ok(tables)
}

pub(super) fn plots(facts: &Facts) -> Result<Vec<Plot>> {
    let measures = [Measure::F1, Measure::Gmean, Measure::BalancedAccuracy];
    let mut categories = Vec::new();
    for data in Data::ALL {
        categories.extend(measures.map(|m| format!("{}: {}", data.name(), m.name())));
    }
    let values = |method: &dyn Fn(Measure) -> Method| -> Result<Vec<f64>> {
        let places = Data::ALL.into_iter().flat_map(|data| measures.map(|m| (data, m)));
        places.map(|(data, m)| facts.mean(&fact(m, data, method(m)))).collect()
    };
    let series = vec![
        BarSeries::new("cross-entropy", values(&|_| Method::CrossEntropy)?),
        BarSeries::new("cross-entropy, class weights", values(&|_| Method::Weighted)?),
        BarSeries::new("one minus the metric itself", values(&|m| m.aim())?),
    ];
    let svg = plot::bars(&Bars {
        title: "Trained for the metric that is reported".into(),
        x: Axis::linear("metric"),
        categories,
        series,
        ..Bars::default()
    });
    let caption =
        "Each metric on each data set, trained with cross-entropy and with the loss that aims at it; means over seeds.";
    Ok(vec![Plot { file: "metrics.svg", caption: caption.into(), svg }])
}

pub(super) fn notes() -> Vec<String> {
    vec![
        "The clusters follow the recipe of the usual generator (two clusters a class at corners of a cube, each stretched its own \
         way) with our own random numbers, so single figures differ from those of other implementations."
            .into(),
        "The paper compares with plain cross-entropy alone. Class weights and a threshold chosen on training rows are added here: \
         what they reach says what directness is worth."
            .into(),
        "The paper's 102 tabular data sets and its small network are left out.".into(),
    ]
}
