//! The Z-loss (arXiv 1604.08859) and the factored output layer (arXiv 1412.7091): very many classes at the price of few.

mod measure;
mod show;
mod verdict;

use crate::output_layers::{self, Layer, median};
use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;
use keener::spherical::Spherical;
use measure::{Deviation, Exactness, Measured, Problem, Unit};
use serde::{Deserialize, Serialize};
use std::fmt;

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "z-loss",
    number: 2,
    title: "The Z-loss: a shift and scale invariant classification loss belonging to the Spherical Family",
    arxiv: "1604.08859",
    method: "the Z-loss and an output layer with exact gradient steps in time independent of the number of classes",
    code: &["keener::objective::ZLoss", "keener::spherical::{Spherical, FactoredOutput}"],
    claim: "A loss that reads the scores through the target, their sum and their sum of squares can be trained exactly in time \
            independent of the number of classes, tens of times faster than the softmax where there are hundreds of thousands. The \
            Z-loss ranks far better than the other losses of this family, and as well as the softmax for the first many places, if \
            not for the first.",
    rule: verdict::RULE,
    quick: "exactness over 200 steps; next-word prediction with 2000 words, 2 seeds of 5 output layers, 2 epochs; step times to 10⁵ classes; about 40 s",
    full: "5 seeds of 8 output layers, 5 epochs; step times to 10⁶ classes; some minutes",
    revision: 1,
    run,
};

/// Places up to which a word counts as found.
const KS: [usize; 7] = [1, 5, 10, 20, 50, 100, 200];

/// An output layer with its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Output {
    Dense {
        objective: String,
    },
    /// The Z-loss on the factored layer, which is its own SGD step.
    Factored {
        a: f64,
        b: f64,
    },
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense { objective } => f.write_str(objective),
            Self::Factored { a, b } => write!(f, "z_loss:a={a},b={b} factored"),
        }
    }
}

const SOFTMAX: &str = "softmax_cross_entropy";
/// The Z-loss that the verdict is about.
const Z: &str = "z_loss:a=1,b=8";
const TAYLOR: &str = "taylor_softmax";
const SPHERICAL: &str = "spherical_softmax";

#[derive(Clone, Debug)]
struct Study {
    problem: Problem,
    outputs: Vec<Output>,
    seeds: Vec<u64>,
    exact_steps: usize,
    /// Classes whose step is timed; the dense layers up to [`Study::dense`] of them.
    classes: Vec<usize>,
    dense: usize,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    let dense = |objective: &str| Output::Dense { objective: objective.into() };
    let mut outputs =
        vec![dense(SOFTMAX), dense(Z), dense(TAYLOR), dense(SPHERICAL), Output::Factored { a: 1.0, b: 8.0 }];
    if full {
        outputs.extend(["z_loss:a=1,b=4", "z_loss:a=1,b=12", "z_loss:a=0.3,b=10"].map(dense));
    }
    let mut classes = vec![1000, 10_000, 100_000];
    if full {
        classes.extend([300_000, 1_000_000]);
    }
    study(
        &Study {
            problem: Problem { vocabulary: 2000, train: 60_000, test: 8000, epochs: if full { 5 } else { 2 } },
            outputs,
            seeds: mode.seeds_or(2, 5),
            exact_steps: if full { 1000 } else { 200 },
            classes,
            dense: if full { 300_000 } else { 100_000 },
        },
        session,
    )
}

/// What the seeds of one output layer gave.
struct Row {
    output: Output,
    runs: Vec<Measured>,
}

impl Row {
    fn error(&self, k: usize) -> Spread {
        Spread::of(self.runs.iter().map(|r| r.error[k]))
    }
}

/// Seconds a step for a number of classes: factored, and dense where it was timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Times {
    classes: usize,
    factored: f64,
    softmax: Option<f64>,
    z: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Timing {
    timed_classes: usize,
    dense: bool,
}

fn time(unit: &Timing) -> Result<Times> {
    let layer = Layer { classes: unit.timed_classes, dim: 64, batch: 64 };
    let dense = |objective: &str| -> Result<Option<f64>> {
        if !unit.dense {
            return Ok(None);
        }
        Ok(Some(median(&output_layers::dense(objective, layer, 1, 5, 0)?)))
    };
    let factored = median(&output_layers::factored(layer, 50, 400, 0)?);
    Ok(Times { classes: unit.timed_classes, factored, softmax: dense(SOFTMAX)?, z: dense("z_loss")? })
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let kinds = [Spherical::Z { a: 1.0, b: 4.0, eps: 0.0 }, Spherical::SquaredError, Spherical::TaylorSoftmax];
    let exact: Vec<Exactness> = kinds.map(|loss| Exactness { loss, steps: study.exact_steps }).to_vec();
    let deviations: Vec<Deviation> = session.all(&exact, |u| format!("exactness, {:?}", u.loss), measure::exactness)?;
    let mut units = Vec::new();
    for output in &study.outputs {
        let unit = |seed: &u64| Unit { problem: study.problem, output: output.clone(), seed: *seed };
        units.extend(study.seeds.iter().map(unit));
    }
    let results = session.all(&units, Unit::name, measure::measure)?;
    let of = |output: &Output| Row {
        output: output.clone(),
        runs: units.iter().zip(&results).filter(|(u, _)| u.output == *output).map(|(_, r)| r.clone()).collect(),
    };
    let rows: Vec<Row> = study.outputs.iter().map(of).collect();
    // One after the other, with nothing else running.
    let mut times = Vec::new();
    for classes in &study.classes {
        let unit = Timing { timed_classes: *classes, dense: *classes <= study.dense };
        times.extend(session.all(&[unit], |u| format!("step times, {} classes", u.timed_classes), time)?);
    }

    let mut facts = Facts::default();
    facts.set("exactness.weights", Spread::of(deviations.iter().map(|d| d.weights)));
    facts.set("exactness.losses", Spread::of(deviations.iter().map(|d| d.losses)));
    for row in &rows {
        for (at, k) in KS.iter().enumerate() {
            facts.set(format!("error_at_{k}[{}]", row.output), row.error(at));
        }
    }
    for t in &times {
        facts.set(format!("milliseconds_factored[{}]", t.classes), Spread::once(1e3 * t.factored));
        if let Some(softmax) = t.softmax {
            facts.set(format!("milliseconds_softmax[{}]", t.classes), Spread::once(1e3 * softmax));
        }
    }
    let ends = |pick: fn(&Times) -> Option<f64>| -> (f64, f64) {
        let of: Vec<f64> = times.iter().filter_map(pick).collect();
        (of.first().copied().unwrap_or(f64::NAN), of.last().copied().unwrap_or(f64::NAN))
    };
    let (first, last) = ends(|t| Some(t.factored));
    facts.set("time_most_over_least_classes", Spread::once(last / first));
    let (_, ratio) = ends(|t| Some(t.softmax? / t.factored));
    facts.set("softmax_over_factored_at_most_classes", Spread::once(ratio));
    let decision = verdict::decide(&facts)?;
    Ok(Findings {
        tables: show::tables(study, &rows, &times),
        plots: show::plots(&rows, &times),
        notes: show::notes(study),
        facts,
        decision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units};

    #[test]
    fn the_small_study_is_exact_and_states_every_fact() {
        let dense = |objective: &str| Output::Dense { objective: objective.into() };
        let small = Study {
            problem: Problem { vocabulary: 200, train: 2000, test: 300, epochs: 1 },
            outputs: vec![
                dense(SOFTMAX),
                dense(Z),
                dense(TAYLOR),
                dense(SPHERICAL),
                Output::Factored { a: 1.0, b: 8.0 },
            ],
            seeds: vec![0],
            exact_steps: 20,
            classes: vec![100, 500],
            dense: 500,
        };
        let mut silent = Silent;
        let findings = study(&small, &mut Session::new(1, Units::in_memory(), &mut silent)).unwrap();
        assert!(findings.facts.get("exactness.weights").unwrap().high < 1e-10);
        for output in &small.outputs {
            let at = |k| findings.facts.mean(&format!("error_at_{k}[{output}]")).unwrap();
            assert!(at(1) >= at(50) && at(50) >= at(200) && at(200) < 0.01, "{output}");
        }
        assert_eq!((findings.tables.len(), findings.plots.len(), findings.decision.checks.len()), (2, 2, 7));
    }
}
