//! Learning rate and parameters, chosen on development rows by successive halving.
//!
//! Every objective gets the same number of trials from its own grid (learning rates × values of its main parameter ×
//! scales where it has one), the defaults first; a smaller grid is tried whole. A trial is one training on each of several
//! divisions of the development rows, judged by the mean; those that do best at half the steps are trained at all of
//! them, from the same initial weights. Jamieson & Talwalkar, *Non-stochastic Best Arm Identification and Hyperparameter
//! Optimization* (2015, arXiv 1502.07943).

use super::candidate::{Baseline, Candidate};
use super::config::{CompareConfig, Scenario, Task, derived_seed, stream};
use super::error::CompareError;
use super::fit::{Fit, Rows, fit};
use super::measure::{self, Measures, Metric};
use super::readout::read_out;
use super::splits::Part;
use super::thresholds::fit_offsets;
use crate::Error;
use keener_data::Samples;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// One rung: how many trials run how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Trials.
    pub trials: usize,
    /// Steps of each.
    pub steps: usize,
}

/// A configuration that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The objective with its parameters.
    pub spec: String,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Mean validation score of each rung it took part in: accuracy, or MAP@R. `None` where the training failed.
    pub scores: Vec<Option<f64>>,
}

/// What tuning chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The objective with its parameters.
    pub spec: String,
    /// Peak learning rate.
    pub learning_rate: f64,
}

/// Tuning of one objective in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// Where.
    pub scenario: Scenario,
    /// The objective as given.
    pub objective: String,
    /// What was chosen.
    pub chosen: Chosen,
    /// Everything that was tried.
    pub trials: Vec<Trial>,
    /// Wall time.
    pub seconds: f64,
}

/// The rungs of a configuration; none where there is nothing to choose from.
pub(crate) fn rungs(config: &CompareConfig, trials: usize) -> Vec<Rung> {
    if trials <= 1 {
        return Vec::new();
    }
    // Shorter first rungs mislead: what overfits noise is ahead while it has not overfitted yet.
    vec![Rung { trials, steps: config.steps.div_ceil(2) }, Rung { trials: trials.div_ceil(3), steps: config.steps }]
}

/// The grid in the order in which it is tried: defaults at the middle learning rate first, the rest shuffled.
pub(crate) fn grid(candidate: &Candidate, config: &CompareConfig, seed: u64) -> Vec<Chosen> {
    let middle = config.learning_rates[config.learning_rates.len() / 2];
    let defaults: Option<Vec<f64>> = candidate.tunables.iter().map(|t| t.default).collect();
    let first = match &defaults {
        Some(values) => candidate.with(values),
        None => candidate.objective.clone(),
    };
    let mut points: Vec<Vec<f64>> = vec![Vec::new()];
    for tunable in &candidate.tunables {
        let longer = |p: &Vec<f64>| -> Vec<Vec<f64>> {
            tunable.values.iter().map(|v| p.iter().copied().chain([*v]).collect()).collect()
        };
        points = points.iter().flat_map(longer).collect();
    }
    let mut all: Vec<Chosen> = points
        .iter()
        .flat_map(|p| config.learning_rates.iter().map(|r| Chosen { spec: candidate.with(p), learning_rate: *r }))
        .filter(|c| c.spec != first || c.learning_rate != middle)
        .collect();
    all.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    all.insert(0, Chosen { spec: first, learning_rate: middle });
    all.truncate(config.trials);
    all
}

/// Better first: the score, then the negative log-likelihood where there is one; what failed goes last.
fn order(a: &Option<(f64, f64)>, b: &Option<(f64, f64)>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Chooses learning rate and parameters. Reads the rows of `development` and no others.
///
/// # Errors
/// Rows that cannot be standardised. A trial that fails is only ranked last.
pub(crate) fn tune(
    data: &Samples,
    scenario: Scenario,
    candidate: &Candidate,
    config: &CompareConfig,
    development: &[Part],
) -> Result<Tuned, CompareError> {
    let started = std::time::Instant::now();
    let seed = derived_seed(config.seed, stream::TRIALS, 0);
    let grid = grid(candidate, config, seed);
    let rungs = rungs(config, grid.len());
    let mut trials: Vec<Trial> =
        grid.into_iter().map(|c| Trial { spec: c.spec, learning_rate: c.learning_rate, scores: Vec::new() }).collect();
    if !rungs.is_empty() {
        let mut folds = Vec::with_capacity(development.len());
        for part in development {
            let standardizer = Rows::standardizer(data, &part.train)?;
            let gather = |rows| Rows::gather(data, rows, &standardizer);
            folds.push((gather(&part.train)?, gather(&part.validation)?));
        }
        for rung in rungs {
            let mut found: Vec<(Option<(f64, f64)>, Trial)> = Vec::with_capacity(rung.trials);
            let rest = trials.split_off(rung.trials.min(trials.len()));
            for mut trial in trials {
                let told = |fold: usize| Fit {
                    spec: trial.spec.clone(),
                    learning_rate: trial.learning_rate,
                    steps: rung.steps,
                    seed: derived_seed(derived_seed(config.seed, stream::TUNING, scenario as u64), 0, fold as u64),
                };
                let scores: Result<Vec<(f64, f64)>, Error> = folds
                    .iter()
                    .enumerate()
                    .map(|(k, (train, valid))| score(candidate, config, scenario, train, valid, &told(k)))
                    .collect();
                let count = folds.len() as f64;
                let mean =
                    |all: Vec<(f64, f64)>| all.iter().fold((0.0, 0.0), |m, s| (m.0 + s.0 / count, m.1 + s.1 / count));
                let score = scores.ok().map(mean);
                trial.scores.push(score.map(|s| s.0));
                found.push((score, trial));
            }
            // Equal ones stay in the order in which they were tried: the defaults win ties.
            found.sort_by(|a, b| order(&a.0, &b.0));
            trials = found.into_iter().map(|(_, trial)| trial).chain(rest).collect();
        }
    }
    let best = &trials[0];
    let chosen = Chosen { spec: best.spec.clone(), learning_rate: best.learning_rate };
    let (objective, seconds) = (candidate.spec.clone(), started.elapsed().as_secs_f64());
    Ok(Tuned { scenario, objective, chosen, trials, seconds })
}

/// Validation score of one training, and what breaks ties.
fn score(
    candidate: &Candidate,
    config: &CompareConfig,
    scenario: Scenario,
    train: &Rows,
    validation: &Rows,
    told: &Fit,
) -> Result<(f64, f64), Error> {
    let fitted = fit(candidate, config, train, told)?;
    let readout = read_out(candidate, config.head, &told.spec, &fitted.head, train)?;
    let measures = match scenario.task() {
        Task::Retrieve => {
            let (embeddings, dim) = readout.embeddings(validation)?;
            measure::retrieve(&embeddings, dim, validation, None)?
        }
        Task::Classify => {
            let logits = readout.logits(validation)?;
            let offsets = match candidate.baseline {
                Baseline::Thresholds => {
                    Some(fit_offsets(&logits, &validation.indices(), validation.classes, &train.labels)?)
                }
                _ => None,
            };
            measure::classify(&logits, validation, measure::temperature(&logits, validation)?, offsets.as_deref())?
        }
    };
    let decides = measures.get(Metric::of(scenario)[0]).unwrap_or(f64::NEG_INFINITY);
    Ok(match measures {
        Measures::Classify { nll_scaled, .. } => (decides, nll_scaled),
        Measures::Retrieve { .. } => (decides, 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::HeadChoice;
    use super::*;

    #[test]
    fn trials_are_as_many_as_the_grid_allows_and_defaults_come_first() {
        let config = CompareConfig::default();
        for spec in super::super::default_objectives() {
            let candidate = Candidate::new(&spec, HeadChoice::Auto).unwrap();
            let grid = grid(&candidate, &config, 1);
            let points: usize = candidate.tunables.iter().map(|t| t.values.len()).product();
            assert_eq!(grid.len(), config.trials.min(points * config.learning_rates.len()), "{spec}: {grid:?}");
            assert_eq!(grid[0].learning_rate, 0.004);
            let mut distinct: Vec<String> = grid.iter().map(|c| format!("{c:?}")).collect();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), grid.len());
        }
    }

    #[test]
    fn rungs_drop_trials_and_double_steps() {
        let rungs = rungs(&CompareConfig::default(), 12);
        let plain: Vec<(usize, usize)> = rungs.iter().map(|r| (r.trials, r.steps)).collect();
        assert_eq!(plain, [(12, 100), (4, 200)]);
        assert!(super::rungs(&CompareConfig::default(), 1).is_empty());
    }

    #[test]
    fn failures_go_last_and_ties_fall_to_the_likelihood() {
        let mut scores = [None, Some((0.5, 1.0)), Some((0.7, 2.0)), Some((0.7, 1.0))];
        scores.sort_by(order);
        assert_eq!(scores, [Some((0.7, 1.0)), Some((0.7, 2.0)), Some((0.5, 1.0)), None]);
    }
}
