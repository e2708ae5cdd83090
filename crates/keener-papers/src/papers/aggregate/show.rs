//! Tables, plots and notes.

use super::{
    NETWORK_RHOS, PRIVATE_SIZES, REAL_RHOS, REAL_SIZES, RHOS, SETTINGS, Study, network_fact, private_fact, real_fact,
    risk_fact, setting,
};
use crate::{Facts, Plot, Spread};
use anyhow::Result;
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};

fn cell(spread: Spread) -> Cell {
    Cell::interval(spread.mean, spread.low, spread.high)
}

pub(super) fn tables(facts: &Facts, study: &Study) -> Result<Vec<Table>> {
    let mut risks =
        Table::new(format!("Risk of the linear fit, d = {0}, n = 10 d, {1} simulations", study.dim, study.simulations))
            .column(Column::text("σ, k"))
            .column(Column::number("ρ", 2))
            .column(Column::number("risk", 3).note("mean and range over the simulations"))
            .column(Column::number("asymptotic", 3));
    for (sigma, k) in SETTINGS {
        for rho in RHOS {
            let name = risk_fact(sigma, k, rho);
            let theory = facts.mean(&format!("theory.{name}"))?;
            risks.push([format!("{sigma}, {k}").into(), rho.into(), cell(facts.get(&name)?), theory.into()]);
        }
        let fact = |what: &str| facts.mean(&format!("theory.{what}[sigma={sigma},k={k}]"));
        risks.push([
            format!("{sigma}, {k}").into(),
            fact("best_rho")?.into(),
            Cell::Missing,
            fact("best_risk")?.into(),
        ]);
    }
    let risks = risks.note("The last line of each setting is the best ρ of the asymptotics.");

    let mut real =
        Table::new(format!("Digits by value, linear, 400 rows in bags: test error, {} splits", study.splits))
            .column(Column::text("k"));
    for rho in REAL_RHOS {
        real = real.column(Column::number(format!("ρ = {rho}"), 3));
    }
    for k in REAL_SIZES {
        let mut cells: Vec<Cell> = vec![k.to_string().into()];
        for rho in REAL_RHOS {
            cells.push(cell(facts.get(&real_fact(k, rho))?));
        }
        real.push(cells);
    }

    let mut private = Table::new(format!(
        "Private release, instance-level fit, clip 3: risk (asymptotic), {} simulations",
        study.simulations
    ))
    .column(Column::text("ε"))
    .column(Column::number("best k", 1).note("of the formula, over all real sizes"));
    for k in PRIVATE_SIZES {
        private = private
            .column(Column::number(format!("k = {k}"), 3))
            .column(Column::number(format!("({k})"), 3).priority(40));
    }
    for epsilon in &study.epsilons {
        let best = facts.mean(&format!("theory.best_size[epsilon={epsilon}]"))?;
        let mut cells: Vec<Cell> = vec![epsilon.to_string().into(), best.into()];
        for k in PRIVATE_SIZES {
            let name = private_fact(*epsilon, k);
            cells.push(cell(facts.get(&name)?));
            cells.push(facts.mean(&format!("theory.{name}"))?.into());
        }
        private.push(cells);
    }

    let mut network =
        Table::new(format!("Digits by class, one hidden layer, shares in bags of 8: {} seeds", study.seeds))
            .column(Column::number("ρ", 2))
            .column(Column::number("accuracy on single digits", 3));
    for rho in NETWORK_RHOS {
        network.push([rho.into(), cell(facts.get(&network_fact(rho))?)]);
    }
    Ok(vec![risks, real, private, network])
}

pub(super) fn plots(facts: &Facts, study: &Study) -> Result<Vec<Plot>> {
    let mut series = Vec::new();
    for (sigma, k) in SETTINGS {
        let name = format!("σ = {sigma}, k = {k}");
        let curve = (0..=100).map(|p| f64::from(p) / 100.0);
        let risk = |rho: f64| Some((rho, setting(sigma, k).with_rho(rho).risk().ok()?.risk));
        series.push(Series::new(format!("{name}, asymptotic"), curve.filter_map(risk)));
        let points =
            RHOS.iter().map(|rho| Ok((*rho, facts.get(&risk_fact(sigma, k, *rho))?))).collect::<Result<Vec<_>>>()?;
        series.push(Series::new(format!("{name}, simulated"), points.iter().map(|(rho, s)| (*rho, s.mean))));
    }
    let risks = plot::lines(&Lines {
        title: "Risk over the interpolation".into(),
        x: Axis::linear("ρ: bag-level 0, instance-level 1"),
        y: Axis::log("risk"),
        series,
        ..Lines::default()
    });
    let mut series = Vec::new();
    for k in REAL_SIZES {
        let points =
            REAL_RHOS.iter().map(|rho| Ok((*rho, facts.get(&real_fact(k, *rho))?))).collect::<Result<Vec<_>>>()?;
        let line = Series::new(format!("k = {k}"), points.iter().map(|(rho, s)| (*rho, s.mean)));
        series.push(line.band(points.iter().map(|(_, s)| (s.low, s.high))));
    }
    let real = plot::lines(&Lines {
        title: "Digits in bags".into(),
        x: Axis::linear("ρ"),
        y: Axis::log("test error"),
        series,
        ..Lines::default()
    });
    let mut series = Vec::new();
    for epsilon in &study.epsilons {
        let of = |prefix: &str| -> Result<Vec<(f64, f64)>> {
            let at = |k: &usize| Ok((*k as f64, facts.mean(&format!("{prefix}{}", private_fact(*epsilon, *k)))?));
            PRIVATE_SIZES.iter().map(at).collect()
        };
        series.push(Series::new(format!("ε = {epsilon}, asymptotic"), of("theory.")?));
        series.push(Series::new(format!("ε = {epsilon}, simulated"), of("")?));
    }
    let private = plot::lines(&Lines {
        title: "Risk over the size of private bags".into(),
        x: Axis::log("rows a bag"),
        y: Axis::log("risk"),
        series,
        ..Lines::default()
    });
    Ok(vec![
        Plot { file: "risk.svg", caption: "Asymptotic risk, and means of the simulations.".into(), svg: risks },
        Plot { file: "digits.svg", caption: "Test error with the range over the splits.".into(), svg: real },
        Plot {
            file: "private.svg",
            caption: "Small bags need much noise, large ones say little about their rows.".into(),
            svg: private,
        },
    ])
}

pub(super) fn notes() -> Vec<String> {
    vec![
        "The asymptotic formulas are our derivation; that simulations follow them is what the first check tests.".into(),
        "The paper's experiment on a housing data set is replaced by the embedded digits: their value by linear regression, and \
         their class by a small network."
            .into(),
        "At σ = 1, k = 8, ρ = 0 there are 1.25 bags a feature: risks of single simulations range widely there, and means over few \
         of them lie off the asymptotic risk of 4."
            .into(),
    ]
}
