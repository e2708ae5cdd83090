//! Understanding the Behaviour of Contrastive Loss (arXiv 2012.09740): what the temperature does to an embedding.
//!
//! Free embeddings instead of a network: unit vectors around class centres are moved by each loss in turn, with the score
//! of every positive held constant, so that what remains is the losses' treatment of negatives.

mod held;
mod identities;
mod measure;
mod show;
mod verdict;

use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;
use measure::{Curve, CurvePoint, Measured, Unit};
use serde::{Serialize, Serializer};
use std::fmt;

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "contrastive-behaviour",
    number: 12,
    title: "Understanding the Behaviour of Contrastive Loss",
    arxiv: "2012.09740",
    method: "hardness of the contrastive loss: temperature, hard negatives, uniformity and tolerance",
    code: &[
        "keener::objective::{Contrastive, HardContrastive, SimpleContrastive, HardSimpleContrastive}",
        "keener::metrics::embedding",
        "keener::metrics::hardness",
    ],
    claim: "The temperature decides how strongly the contrastive loss concentrates on the hardest negatives: with a higher \
            one, embeddings are less uniform and more tolerant of neighbours of the same class. Without that hardness (the \
            simple loss) embeddings are far less uniform; choosing hard negatives explicitly removes most of the \
            dependence on the temperature and rescues the simple loss.",
    rule: verdict::RULE,
    quick: "2 seeds of 11 settings, 300 steps each; some seconds",
    full: "5 seeds of 11 settings, 300 steps each, and 2 seeds of the 6 plain temperatures with 3000 steps; about a minute",
    revision: 1,
    run,
};

/// Temperatures of the plain loss.
const PLAIN_TAUS: [f64; 6] = [0.05, 0.1, 0.2, 0.5, 1.0, 5.0];
/// Temperatures of the loss with hard negatives.
const HARD_TAUS: [f64; 3] = [0.1, 0.5, 1.0];
/// Share of the negatives that hard selection keeps.
const ALPHA: f64 = 0.08;

/// A loss of the sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Contrastive { tau: f64 },
    HardContrastive { tau: f64 },
    Simple,
    HardSimple,
}

impl Loss {
    fn all() -> Vec<Self> {
        let plain = PLAIN_TAUS.map(|tau| Self::Contrastive { tau });
        let hard = HARD_TAUS.map(|tau| Self::HardContrastive { tau });
        plain.into_iter().chain([Self::Simple]).chain(hard).chain([Self::HardSimple]).collect()
    }

    fn is_hard(self) -> bool {
        matches!(self, Self::HardContrastive { .. } | Self::HardSimple)
    }

    fn tau(self) -> Option<f64> {
        match self {
            Self::Contrastive { tau } | Self::HardContrastive { tau } => Some(tau),
            Self::Simple | Self::HardSimple => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contrastive { tau } => write!(f, "contrastive τ={tau}"),
            Self::HardContrastive { tau } => write!(f, "hard_contrastive τ={tau}"),
            Self::Simple => f.write_str("simple"),
            Self::HardSimple => f.write_str("hard_simple"),
        }
    }
}

impl Serialize for Loss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is run: sizes, steps and seeds.
#[derive(Clone, Debug)]
struct Study {
    problem: measure::Problem,
    seeds: Vec<u64>,
    /// Seeds of the plain losses with ten times the steps.
    long: Vec<u64>,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let seeds = mode.seeds_or(2, 5);
    let long = if mode.extent == Extent::Full { seeds.iter().copied().take(2).collect() } else { Vec::new() };
    study(&Study { problem: measure::Problem::default(), seeds, long }, session)
}

/// What the seeds of one loss gave.
struct Row {
    loss: Loss,
    measured: Vec<Measured>,
}

impl Row {
    fn spread(&self, what: impl Fn(&Measured) -> f64) -> Spread {
        Spread::of(self.measured.iter().map(what))
    }
}

/// Everything measured, before it is judged.
struct Measurements {
    rows: Vec<Row>,
    long: Vec<Row>,
    /// The untrained embeddings.
    start: Row,
    curve: Vec<CurvePoint>,
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let long_problem = measure::Problem { steps: 10 * study.problem.steps, ..study.problem };
    let unit = |problem, loss, seed| Unit { problem, loss, seed };
    let short = study.seeds.iter().flat_map(|seed| Loss::all().into_iter().map(move |l| (l, *seed)));
    let mut units: Vec<Unit> = short.map(|(loss, seed)| unit(study.problem, Some(loss), seed)).collect();
    units.extend(study.seeds.iter().map(|seed| unit(study.problem, None, *seed)));
    let plain = || PLAIN_TAUS.into_iter().map(|tau| Loss::Contrastive { tau });
    for seed in &study.long {
        units.extend(plain().map(|loss| unit(long_problem, Some(loss), *seed)));
    }
    let results = session.all(&units, Unit::name, measure::measure)?;
    let curves: Vec<Curve> =
        study.seeds.iter().map(|seed| Curve { problem: study.problem, curve_of_seed: *seed }).collect();
    let curves = session.all(&curves, |c| format!("hardness over τ, seed {}", c.curve_of_seed), measure::curve)?;

    let of = |problem, loss: Option<Loss>| -> Vec<Measured> {
        let mine = units.iter().zip(&results).filter(|(u, _)| u.problem == problem && u.loss == loss);
        mine.map(|(_, m)| m.clone()).collect()
    };
    let row = |problem, loss| Row { loss, measured: of(problem, Some(loss)) };
    let measurements = Measurements {
        rows: Loss::all().into_iter().map(|l| row(study.problem, l)).collect(),
        long: if study.long.is_empty() { Vec::new() } else { plain().map(|l| row(long_problem, l)).collect() },
        start: Row { loss: Loss::Simple, measured: of(study.problem, None) },
        curve: measure::mean_curve(&curves),
    };

    let mut facts = Facts::default();
    for row in &measurements.rows {
        state(&mut facts, "", row);
    }
    for row in &measurements.long {
        state(&mut facts, "long.", row);
    }
    facts.set("start.minus_uniformity", measurements.start.spread(|m| m.minus_uniformity));
    facts.set("start.tolerance", measurements.start.spread(|m| m.tolerance));
    identities::check(&mut facts)?;
    let decision = verdict::decide(&facts)?;
    let notes = show::notes(&measurements, study);
    Ok(Findings {
        tables: show::tables(&measurements, study),
        plots: show::plots(&measurements),
        facts,
        decision,
        notes,
    })
}

fn state(facts: &mut Facts, prefix: &str, row: &Row) {
    let mut one = |what: &str, value: Spread| facts.set(format!("{prefix}{}", verdict::fact(what, row.loss)), value);
    one("minus_uniformity", row.spread(|m| m.minus_uniformity));
    one("tolerance", row.spread(|m| m.tolerance));
    one("effective_negatives", row.spread(|m| m.effective_negatives));
    if row.loss.tau().is_some() {
        one("negative_probability", row.spread(|m| m.negative_probability));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units, to_json};

    fn small() -> Study {
        let problem = measure::Problem { samples: 60, dimension: 8, classes: 5, steps: 40, ..Default::default() };
        Study { problem, seeds: vec![0, 1], long: vec![0] }
    }

    fn json(units: Units) -> Result<String> {
        let mut silent = Silent;
        let mut session = Session::new(REPRODUCTION.revision, units, &mut silent);
        let findings = study(&small(), &mut session)?;
        Ok(to_json(&REPRODUCTION, &Mode::quick(), &findings).to_string())
    }

    #[test]
    fn a_run_repeats_bit_for_bit_and_resumes_to_the_same() {
        let whole = json(Units::in_memory()).unwrap();
        assert_eq!(whole, json(Units::in_memory()).unwrap());
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(whole, one_thread.install(|| json(Units::in_memory())).unwrap());

        // Killed after nine units, in the middle of writing the tenth.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("units.jsonl");
        assert_eq!(whole, json(Units::fresh(folder.path()).unwrap()).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let tenth: usize = text.split_inclusive('\n').take(9).map(str::len).sum::<usize>() + 20;
        std::fs::write(&path, &text[..tenth]).unwrap();
        let units = Units::resume(folder.path()).unwrap();
        assert_eq!((units.len(), text.lines().count()), (9, 2 * 12 + 6 + 2));
        assert_eq!(whole, json(units).unwrap());
    }

    #[test]
    fn the_small_study_states_every_fact_and_a_verdict() {
        let mut silent = Silent;
        let mut session = Session::new(1, Units::in_memory(), &mut silent);
        let findings = study(&small(), &mut session).unwrap();
        assert_eq!(findings.decision.checks.len(), 8);
        assert_eq!((findings.tables.len(), findings.plots.len()), (2, 4));
        for loss in Loss::all() {
            let u = findings.facts.get(&format!("minus_uniformity[{loss}]")).unwrap();
            assert!(u.low <= u.mean && u.mean <= u.high && u.high > u.low, "{loss}: seeds must differ");
            let start = findings.facts.mean("start.minus_uniformity").unwrap();
            assert!(u.mean > start, "{loss}: training must spread the embeddings: {} from {start}", u.mean);
        }
        let effective = |loss| findings.facts.mean(&verdict::fact("effective_negatives", loss)).unwrap();
        assert_eq!((effective(Loss::Simple), effective(Loss::HardSimple)), (59.0, 5.0));
        assert!(effective(Loss::Contrastive { tau: 5.0 }) > 58.0);
        assert!(effective(Loss::HardContrastive { tau: 1.0 }) <= 5.0);
    }
}
