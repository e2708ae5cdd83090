//! `keener theory comp-sum`: what a surrogate excess guarantees.

use crate::output::{OutputArgs, print, print_json, print_table};
use anyhow::Result;
use keener::theory::comp_sum::{Bound, bound, gap_upper_bound, transform};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};
use serde::Serialize;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  keener theory comp-sum
  keener theory comp-sum --tau 0.5,1,1.5 --classes 100 --gap 0.01,0.1
  keener theory comp-sum --score-bound 3 --sum-exp-risk 0.8 --plot bounds.svg

The bound: zero-one excess ≤ Γ(surrogate excess), the excess measured above the least risk of unrestricted scores. tau 0 is the
sum-exponential loss, 1 cross-entropy, 1.7 the generalised cross-entropy with q = 0.7, 2 the mean absolute error.";

/// Arguments of `keener theory comp-sum`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Members of the family
    #[arg(long, value_name = "τ,…", value_delimiter = ',', default_value = "0,0.5,1,1.5,2")]
    tau: Vec<f64>,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Surrogate excesses
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_value = "0.001,0.01,0.1,0.3,1")]
    gap: Vec<f64>,
    /// Scores lie in [−Λ, Λ]: bounds the minimisability gap for deterministic labels
    #[arg(long, value_name = "Λ", requires = "sum_exp_risk")]
    score_bound: Option<f64>,
    /// The best risk of the sum-exponential loss (τ = 0) in the hypothesis set
    #[arg(long, value_name = "R", requires = "score_bound")]
    sum_exp_risk: Option<f64>,
    /// Write the curves of the bound as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Guarantee {
    surrogate_excess: f64,
    exact: f64,
    simple: f64,
}

#[derive(Debug, Serialize)]
struct Member {
    tau: f64,
    /// The surrogate excess from which nothing is guaranteed: the transform at 1.
    vacuous_from: f64,
    guarantees: Vec<Guarantee>,
    /// Upper bound of the minimisability gap, where scores are bounded.
    minimisability_gap: Option<f64>,
}

fn find(args: &Args) -> Result<Vec<Member>> {
    let gaps = match (args.score_bound, args.sum_exp_risk) {
        (Some(bound), Some(risk)) => Some(gap_upper_bound(args.classes, bound, risk, &args.tau)?),
        _ => None,
    };
    let member = |(k, tau): (usize, &f64)| {
        let found = bound(*tau, args.classes, &args.gap)?;
        let guarantee = |(t, b): (&f64, Bound)| Guarantee { surrogate_excess: *t, exact: b.exact, simple: b.simple };
        Ok(Member {
            tau: *tau,
            vacuous_from: transform(*tau, args.classes, &[1.0])?[0],
            guarantees: args.gap.iter().zip(found).map(guarantee).collect(),
            minimisability_gap: gaps.as_ref().map(|g| g[k]),
        })
    };
    args.tau.iter().enumerate().map(member).collect()
}

fn figure(args: &Args) -> Result<keener_report::Svg> {
    let gaps: Vec<f64> = (0..=100).map(|k| 10f64.powf(-5.0 + 5.7 * f64::from(k) / 100.0)).collect();
    let mut series = Vec::new();
    for tau in &args.tau {
        let found = bound(*tau, args.classes, &gaps)?;
        series.push(Series::new(format!("τ = {tau}"), gaps.iter().zip(found).map(|(t, b)| (*t, b.exact))));
    }
    Ok(plot::lines(&Lines {
        title: format!("What the surrogate excess guarantees, {} classes", args.classes),
        x: Axis::log("surrogate excess"),
        y: Axis::linear("bound on the zero-one excess"),
        series,
        ..Lines::default()
    }))
}

/// Runs the command.
///
/// # Errors
/// Parameters out of range; a plot that cannot be written.
pub(super) fn run(args: &Args) -> Result<()> {
    let found = find(args)?;
    if let Some(path) = &args.plot {
        super::write_plot(path, &figure(args)?)?;
    }
    if args.output.json {
        return print_json(&found);
    }
    let mut table = Table::new(format!("Bounds on the zero-one excess, {} classes", args.classes))
        .column(Column::number("τ", 2))
        .column(Column::number("vacuous from", 4).note("surrogate excess at which the bound is 1"));
    for gap in &args.gap {
        table = table.column(Column::number(format!("Γ({gap})"), 4));
    }
    if args.score_bound.is_some() {
        table = table.column(Column::number("gap ≤", 4).note("upper bound of the minimisability gap"));
    }
    for member in &found {
        let mut row: Vec<Cell> = vec![member.tau.into(), member.vacuous_from.into()];
        row.extend(member.guarantees.iter().map(|g| Cell::from(g.exact)));
        row.extend(member.minimisability_gap.map(Cell::from));
        table.push(row);
    }
    print_table(&table)?;
    print("Γ(t): no scores whose surrogate excess is t err more often than that above the least error.\n")
}
