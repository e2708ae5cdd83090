//! Cross-Entropy Loss Functions: Theoretical Analysis and Applications (arXiv 2304.07288): the comp-sum family, what it guarantees,
//! and its smooth adversarial form.

mod adversarial;
mod bounds;
mod clean;
mod show;
mod verdict;

use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "comp-sum",
    number: 6,
    title: "Cross-Entropy Loss Functions: Theoretical Analysis and Applications",
    arxiv: "2304.07288",
    method: "comp-sum losses in τ, their H-consistency bounds, and smooth adversarial comp-sum training",
    code: &[
        "keener::objective::{CompSum, MarginCompSum, SmoothAdvCompSum, Trades}",
        "keener::theory::comp_sum",
        "keener::attack",
        "keener_burn::attack",
    ],
    claim: "The excess error of every comp-sum loss is bounded by a function of its surrogate excess; in training, cross-entropy and \
            its neighbours (τ from 0.5 to 1.5) are best and the ends of the family (τ = 0 and 2) worse; training with the smooth \
            adversarial form gives robust accuracy at little clean price, more than TRADES.",
    rule: verdict::RULE,
    quick: "bounds on 20 points and 900 random pairs a τ; 5 τ over 3 seeds, 30 epochs; 7 adversarial settings, 1 seed, 30 epochs; about half a minute",
    full: "bounds on 20 points and 9,000 random pairs a τ; 5 τ over 5 seeds, 30 epochs; 13 adversarial settings, 3 seeds, 40 epochs; some minutes",
    revision: 1,
    run,
};

/// What is run.
#[derive(Clone, Debug)]
struct Study {
    pairs: usize,
    iterations: usize,
    clean_epochs: usize,
    clean_seeds: Vec<u64>,
    settings: Vec<adversarial::Setting>,
    attacked_epochs: usize,
    attacked_seeds: Vec<u64>,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    study(
        &Study {
            pairs: if full { 3000 } else { 300 },
            iterations: 2000,
            clean_epochs: 30,
            clean_seeds: mode.seeds_or(3, 5),
            settings: adversarial::settings(full),
            attacked_epochs: if full { 40 } else { 30 },
            attacked_seeds: mode.seeds_or(1, 3),
        },
        session,
    )
}

/// Everything measured, before it is judged.
struct Measurements {
    descents: Vec<bounds::Descent>,
    clean: Vec<(f64, Vec<clean::Measured>)>,
    attacked: Vec<(adversarial::Setting, Vec<adversarial::Measured>)>,
}

/// The name of a fact in τ.
fn in_tau(what: &str, tau: f64) -> String {
    format!("{what}[τ={tau}]")
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let mut facts = Facts::default();
    let descents: Vec<bounds::DescentUnit> =
        bounds::TAUS.iter().map(|tau| bounds::DescentUnit { tau: *tau, iterations: study.iterations }).collect();
    let descents = session.all(&descents, bounds::DescentUnit::name, bounds::descend)?;
    for descent in &descents {
        for point in &descent.points {
            for (what, value) in
                [("error_gap", point.error), ("surrogate_gap", point.surrogate), ("bound", point.bound)]
            {
                facts.set(format!("{what}[τ={}, step {}]", descent.tau, point.step), Spread::once(value));
            }
        }
        facts.set(in_tau("least_slack_in_descent", descent.tau), Spread::once(descent.least_slack));
    }
    let searches: Vec<bounds::SearchUnit> =
        bounds::SEARCHED.iter().map(|tau| bounds::SearchUnit { tau: *tau, pairs: study.pairs }).collect();
    let slacks = session.all(&searches, bounds::SearchUnit::name, bounds::search)?;
    for (unit, slack) in searches.iter().zip(&slacks) {
        facts.set(in_tau("least_slack_in_search", unit.tau), Spread::once(*slack));
    }

    let mut units = Vec::new();
    for tau in bounds::TAUS {
        let unit = |seed: &u64| clean::Unit { tau, seed: *seed, epochs: study.clean_epochs };
        units.extend(study.clean_seeds.iter().map(unit));
    }
    let measured = session.all(&units, clean::Unit::name, clean::measure)?;
    let clean: Vec<(f64, Vec<clean::Measured>)> = bounds::TAUS
        .into_iter()
        .map(|tau| (tau, units.iter().zip(&measured).filter(|(u, _)| u.tau == tau).map(|(_, m)| *m).collect()))
        .collect();
    for (tau, measured) in &clean {
        facts.set(in_tau("test_error", *tau), Spread::of(measured.iter().map(|m| m.error)));
    }

    let mut units = Vec::new();
    for setting in &study.settings {
        let unit = |seed: &u64| adversarial::Unit { setting: *setting, seed: *seed, epochs: study.attacked_epochs };
        units.extend(study.attacked_seeds.iter().map(unit));
    }
    let measured = session.all(&units, adversarial::Unit::name, adversarial::measure)?;
    let attacked: Vec<(adversarial::Setting, Vec<adversarial::Measured>)> = study
        .settings
        .iter()
        .map(|s| (*s, units.iter().zip(&measured).filter(|(u, _)| u.setting == *s).map(|(_, m)| *m).collect()))
        .collect();
    for (setting, measured) in &attacked {
        let spread = |what: fn(&adversarial::Measured) -> f64| Spread::of(measured.iter().map(what));
        facts.set(format!("clean[{}]", setting.name), spread(|m| m.clean));
        facts.set(format!("robust[{}]", setting.name), spread(|m| m.robust));
        facts.set(format!("chain_slack[{}]", setting.name), spread(|m| m.chain_slack));
    }

    let names: Vec<&str> = study.settings.iter().map(|s| s.name).collect();
    let decision = verdict::decide(&facts, &names)?;
    let found = Measurements { descents, clean, attacked };
    Ok(Findings {
        tables: show::tables(&found, study),
        plots: show::plots(&found)?,
        notes: show::notes(&facts, &names)?,
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
            let settings = adversarial::settings(false).into_iter().take(5).collect();
            let small = Study {
                pairs: 20,
                iterations: 40,
                clean_epochs: 2,
                clean_seeds: vec![0],
                settings,
                attacked_epochs: 1,
                attacked_seeds: vec![0],
            };
            study(&small, &mut session).unwrap()
        };
        let findings = once();
        assert_eq!(findings.facts, once().facts);
        assert_eq!((findings.tables.len(), findings.plots.len()), (3, 3));
        assert!(findings.facts.mean("clean[CE]").unwrap() > findings.facts.mean("robust[CE]").unwrap());
    }
}
