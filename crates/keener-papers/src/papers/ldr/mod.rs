//! Label Distributionally Robust Losses for Multi-class Classification (arXiv 2112.14869): classifiers on wrong labels.

mod identities;
mod measure;
mod show;
mod verdict;

use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;
use measure::{Measured, Unit};
use serde::Serialize;

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "ldr",
    number: 15,
    title: "Label Distributionally Robust Losses for Multi-class Classification",
    arxiv: "2112.14869",
    method: "LDR-KL and ALDR-KL: worst-case weighting of class margins, with a temperature for each sample",
    code: &["keener::objective::{LdrKl, AldrKl}", "keener::state", "keener_data::noise"],
    claim: "With a large temperature, the label-distributionally robust loss bears uniform and class-dependent label noise far \
            better than cross-entropy, at no price on clean labels, and is among the best of the robust losses everywhere; \
            adapting the temperature to each sample helps further.",
    rule: verdict::RULE,
    quick: "8 losses, 3 noise settings, 3 seeds, 30 epochs; about a quarter of a minute",
    full: "14 losses, 3 noise settings, 10 seeds, 30 epochs; about two minutes",
    revision: 1,
    run,
};

/// A loss of the table, as the registry reads it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Loss {
    name: &'static str,
    spec: &'static str,
}

const CROSS_ENTROPY: Loss = Loss { name: "CE", spec: "softmax_cross_entropy" };
const LDR_10: Loss = Loss { name: "LDR λ=10", spec: "ldr_kl:lambda=10" };
const LDR_1: Loss = Loss { name: "LDR λ=1", spec: "ldr_kl:lambda=1" };
const ALDR_10: Loss = Loss { name: "ALDR λ0=10", spec: "aldr_kl:lambda0=10" };
const ALDR_1: Loss = Loss { name: "ALDR λ0=1", spec: "aldr_kl:lambda0=1" };

/// The losses of both modes.
const COMMON: [Loss; 8] = [
    CROSS_ENTROPY,
    Loss { name: "MAE", spec: "comp_sum:tau=2" },
    Loss { name: "GCE q=0.7", spec: "gce:q=0.7" },
    Loss { name: "SCE", spec: "sce" },
    LDR_1,
    LDR_10,
    ALDR_1,
    ALDR_10,
];

/// Those of the full mode alone.
const MORE: [Loss; 6] = [
    Loss { name: "MSE", spec: "brier" },
    Loss { name: "JS", spec: "jensen_shannon" },
    Loss { name: "NCE+RCE", spec: "normalized_cross_entropy+comp_sum:tau=2,weight=4" },
    Loss { name: "Crammer-Singer", spec: "crammer_singer" },
    Loss { name: "Weston-Watkins", spec: "weston_watkins" },
    Loss { name: "LDR λ=∞", spec: "ldr_kl:lambda=inf" },
];

/// What is wrong with the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Noise {
    Clean,
    /// With probability 0.6 a uniform class, the true one among them: 54 % wrong of ten classes.
    Uniform,
    /// With probability 0.3 the next class.
    ClassDependent,
}

const NOISES: [Noise; 3] = [Noise::Clean, Noise::Uniform, Noise::ClassDependent];

impl Noise {
    fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Uniform => "uniform 0.6",
            Self::ClassDependent => "class-dependent 0.3",
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
struct Study {
    losses: Vec<Loss>,
    epochs: usize,
    seeds: Vec<u64>,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    let losses = COMMON.into_iter().chain(MORE.into_iter().filter(|_| full)).collect();
    study(&Study { losses, epochs: 30, seeds: mode.seeds_or(3, 10) }, session)
}

/// All seeds of one loss under one noise.
struct Cell {
    loss: Loss,
    noise: Noise,
    measured: Vec<Measured>,
}

impl Cell {
    fn spread(&self, what: impl Fn(&Measured) -> f64) -> Spread {
        Spread::of(self.measured.iter().map(what))
    }
}

/// The name of a fact about a cell.
fn fact(what: &str, loss: Loss, noise: Noise) -> String {
    format!("{what}[{}, {}]", loss.name, noise.name())
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let mut units = Vec::new();
    for seed in &study.seeds {
        for noise in NOISES {
            let unit = |loss: &Loss| Unit { loss: *loss, noise, seed: *seed, epochs: study.epochs };
            units.extend(study.losses.iter().map(unit));
        }
    }
    let results = session.all(&units, Unit::name, measure::measure)?;
    let mut cells = Vec::new();
    for loss in &study.losses {
        for noise in NOISES {
            let mine = units.iter().zip(&results).filter(|(u, _)| u.loss == *loss && u.noise == noise);
            cells.push(Cell { loss: *loss, noise, measured: mine.map(|(_, m)| m.clone()).collect() });
        }
    }
    let mut facts = Facts::default();
    for cell in &cells {
        facts.set(fact("top1", cell.loss, cell.noise), cell.spread(|m| m.top1));
        facts.set(fact("top3", cell.loss, cell.noise), cell.spread(|m| m.top3));
        if cell.loss == ALDR_1 || cell.loss == ALDR_10 {
            facts.set(fact("least_temperature", cell.loss, cell.noise), cell.spread(|m| m.least_temperature));
            facts.set(fact("mean_temperature", cell.loss, cell.noise), cell.spread(|m| m.mean_temperature));
        }
    }
    identities::check(&mut facts)?;
    let names: Vec<Loss> = study.losses.clone();
    let decision = verdict::decide(&facts, &names)?;
    Ok(Findings {
        tables: show::tables(&cells, study),
        plots: show::plots(&cells, study),
        notes: show::notes(&facts)?,
        facts,
        decision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units};

    #[test]
    fn a_small_study_states_every_fact_and_repeats() {
        let once = || {
            let mut silent = Silent;
            let mut session = Session::new(1, Units::in_memory(), &mut silent);
            let small =
                Study { losses: vec![CROSS_ENTROPY, LDR_1, LDR_10, ALDR_1, ALDR_10], epochs: 2, seeds: vec![0] };
            study(&small, &mut session).unwrap()
        };
        let findings = once();
        assert_eq!(findings.facts, once().facts);
        assert!(!findings.decision.checks.is_empty() && findings.plots.len() == 1 && findings.tables.len() == 2);
        assert!(findings.facts.mean(&fact("top1", CROSS_ENTROPY, Noise::Clean)).unwrap() > 0.5);
        let least = findings.facts.mean(&fact("least_temperature", ALDR_10, Noise::Clean)).unwrap();
        assert!((5.0..10.0).contains(&least), "{least}");
    }
}
