//! Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions (arXiv 2401.11081).
//!
//! Simulated linear regression against its asymptotics, digits whose responses are known by bag only, and responses released
//! under label differential privacy.

mod measure;
mod show;
mod verdict;

use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;
use keener::theory::aggregate::{Privacy, Setting, instance_bag_size};
use measure::{Network, Private, Real, Simulated};

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "aggregate",
    number: 17,
    title: "Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions",
    arxiv: "2401.11081",
    method: "bag-level, instance-level and interpolating loss for responses known by bag; private release of bag means",
    code: &[
        "keener::segments",
        "keener::objective::Aggregate",
        "keener::estimate::AggregateRidge",
        "keener::theory::aggregate",
    ],
    claim: "When responses are known only as means of bags, comparing every prediction with the response of its bag is the \
            bag-level loss plus a penalty on the spread of predictions within bags: less variance, more bias. Bag-level wins with \
            small bags and little noise, instance-level with large bags and much noise, and an interpolation beats both; the \
            exact risk in high dimensions says which. Under label differential privacy there is a best size of a bag.",
    rule: verdict::RULE,
    quick: "10 simulations of 4 settings, 10 of 3 private releases, 4 splits of the digits, 1 seed of a network; a second or two",
    full: "40 simulations of 4 settings, 40 of 4 private releases, 12 splits, 3 seeds of a network; some seconds",
    revision: 1,
    run,
};

/// (σ, k) of the simulations; ψ = d/n = 0.1, r = 1, λ = 0.
const SETTINGS: [(f64, usize); 4] = [(1.0, 2), (1.0, 5), (1.0, 8), (2.0, 5)];
/// Interpolations that are simulated.
const RHOS: [f64; 5] = [0.0, 0.1, 0.2, 0.5, 1.0];
/// Sizes of bags of the digits, and of the private release.
const REAL_SIZES: [usize; 4] = [2, 4, 8, 16];
const PRIVATE_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Interpolations that the digits are fitted with.
const REAL_RHOS: [f64; 8] = [0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0];
/// Interpolations that the network is trained with, bags of eight.
const NETWORK_RHOS: [f64; 4] = [0.0, 0.1, 0.35, 1.0];
/// Clip of the private release; σ = 0.5, r = 1, ψ = 0.1.
const CLIP: f64 = 3.0;

fn setting(sigma: f64, k: usize) -> Setting {
    Setting { psi: 0.1, bag_size: k as f64, rho: 0.0, lambda: 0.0, signal_norm: 1.0, noise_std: sigma }
}

fn private_setting(k: usize) -> Setting {
    Setting { rho: 1.0, ..setting(0.5, k) }
}

/// What is run.
#[derive(Clone, Debug)]
struct Study {
    simulations: u64,
    epsilons: Vec<f64>,
    splits: u64,
    seeds: u64,
    /// Features of the simulations.
    dim: usize,
    /// Steps of the network.
    steps: usize,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    let count = |quick: u64, full: u64| mode.seeds_or(quick, full).len() as u64;
    study(
        &Study {
            simulations: count(10, 40),
            epsilons: if full { vec![0.5, 1.0, 2.0, 5.0] } else { vec![1.0, 2.0, 5.0] },
            splits: count(4, 12),
            seeds: count(1, 3),
            dim: 50,
            steps: 600,
        },
        session,
    )
}

/// Names of facts.
fn risk_fact(sigma: f64, k: usize, rho: f64) -> String {
    format!("risk[sigma={sigma},k={k},rho={rho}]")
}

fn real_fact(k: usize, rho: f64) -> String {
    format!("digits.mse[k={k},rho={rho}]")
}

fn private_fact(epsilon: f64, k: usize) -> String {
    format!("private.risk[epsilon={epsilon},k={k}]")
}

fn network_fact(rho: f64) -> String {
    format!("network.accuracy[k=8,rho={rho}]")
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let mut facts = Facts::default();
    let simulated: Vec<Simulated> = SETTINGS
        .iter()
        .flat_map(|(sigma, k)| {
            (0..study.simulations).map(|seed| Simulated { dim: study.dim, sigma: *sigma, k: *k, seed })
        })
        .collect();
    let risks = session.all(&simulated, Simulated::name, measure::simulate)?;
    for (sigma, k) in SETTINGS {
        let mine = || simulated.iter().zip(&risks).filter(move |(u, _)| u.sigma == sigma && u.k == k).map(|(_, r)| r);
        for (at, rho) in RHOS.into_iter().enumerate() {
            let theory = setting(sigma, k).with_rho(rho).risk()?.risk;
            facts.set(risk_fact(sigma, k, rho), Spread::of(mine().map(|r| r[at])));
            facts.set(format!("theory.{}", risk_fact(sigma, k, rho)), Spread::once(theory));
        }
        // The best of the interpolations between the ends, paired with each end.
        let mean = |at: usize| mine().map(|r| r[at]).sum::<f64>();
        let best = (1..RHOS.len() - 1).min_by(|a, b| mean(*a).total_cmp(&mean(*b))).unwrap_or(1);
        for (end, name) in [(0, "bag"), (RHOS.len() - 1, "instance")] {
            let gains: Vec<f64> = mine().map(|r| r[end] - r[best]).collect();
            facts.set(format!("gain_over_{name}_in_errors[sigma={sigma},k={k}]"), Spread::once(in_errors(&gains)));
        }
        let (rho, risk) = setting(sigma, k).best_rho()?;
        facts.set(format!("theory.best_rho[sigma={sigma},k={k}]"), Spread::once(rho));
        facts.set(format!("theory.best_risk[sigma={sigma},k={k}]"), Spread::once(risk));
    }

    let real: Vec<Real> = REAL_SIZES.iter().flat_map(|k| (0..study.splits).map(|seed| Real { k: *k, seed })).collect();
    let errors = session.all(&real, Real::name, measure::digits)?;
    for k in REAL_SIZES {
        for (at, rho) in REAL_RHOS.into_iter().enumerate() {
            let mine = real.iter().zip(&errors).filter(|(u, _)| u.k == k).map(|(_, e)| e[at]);
            facts.set(real_fact(k, rho), Spread::of(mine));
        }
    }

    let private: Vec<Private> = study
        .epsilons
        .iter()
        .flat_map(|e| {
            PRIVATE_SIZES.iter().flat_map(move |k| {
                (0..study.simulations).map(move |seed| Private { dim: study.dim, epsilon: *e, k: *k, seed })
            })
        })
        .collect();
    let released = session.all(&private, Private::name, measure::private)?;
    for epsilon in &study.epsilons {
        let privacy = Privacy { clip: CLIP, epsilon: *epsilon };
        for k in PRIVATE_SIZES {
            let mine = private.iter().zip(&released).filter(|(u, _)| u.epsilon == *epsilon && u.k == k);
            facts.set(private_fact(*epsilon, k), Spread::of(mine.map(|(_, r)| *r)));
            let theory = privacy.noisy(&private_setting(k)).risk()?.risk;
            facts.set(format!("theory.{}", private_fact(*epsilon, k)), Spread::once(theory));
        }
        let best = instance_bag_size(0.1, 1.0, 0.5, &privacy)?;
        facts.set(format!("theory.best_size[epsilon={epsilon}]"), Spread::once(best.continuous));
    }

    let networks: Vec<Network> = NETWORK_RHOS
        .iter()
        .flat_map(|rho| (0..study.seeds).map(|seed| Network { rho: *rho, seed, steps: study.steps }))
        .collect();
    let accuracies = session.all(&networks, Network::name, measure::network)?;
    for rho in NETWORK_RHOS {
        let mine = networks.iter().zip(&accuracies).filter(|(u, _)| u.rho == rho).map(|(_, a)| *a);
        facts.set(network_fact(rho), Spread::of(mine));
    }

    let decision = verdict::decide(&facts, &study.epsilons)?;
    Ok(Findings {
        tables: show::tables(&facts, study)?,
        plots: show::plots(&facts, study)?,
        notes: show::notes(),
        facts,
        decision,
    })
}

/// Mean over its standard error; 0 for a single value.
fn in_errors(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    match variance > 0.0 {
        true => mean / (variance / n).sqrt(),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units, to_json};

    fn small() -> Study {
        Study { simulations: 3, epsilons: vec![1.0], splits: 1, seeds: 1, dim: 20, steps: 10 }
    }

    #[test]
    fn a_small_run_repeats_and_states_every_fact_and_check() {
        let run = || {
            let mut silent = Silent;
            study(&small(), &mut Session::new(1, Units::in_memory(), &mut silent)).unwrap()
        };
        let (one, two) = (run(), run());
        let json = |f: &Findings| to_json(&REPRODUCTION, &Mode::quick(), f).to_string();
        assert_eq!(json(&one), json(&two));
        assert_eq!((one.tables.len(), one.plots.len(), one.decision.checks.len()), (4, 3, 6));
        // The formula is the simulation's limit, not its mean: near it even at twenty features.
        let (found, theory) = (risk_fact(1.0, 2, 0.2), format!("theory.{}", risk_fact(1.0, 2, 0.2)));
        let ratio = one.facts.mean(&found).unwrap() / one.facts.mean(&theory).unwrap();
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
        assert!((in_errors(&[1.0, 3.0]) - 2.0).abs() < 1e-12);
    }
}
