//! All trainings of a comparison on several workers; every finished one is handed to the caller at once.

use super::candidate::{Baseline, Candidate, candidates};
use super::config::{CompareConfig, Scenario, Task, derived_seed, stream};
use super::details::{self, Details};
use super::error::CompareError;
use super::fit::{Fit, Rows, fit};
use super::inserted;
use super::measure::{self, Measures};
use super::readout::read_out;
use super::splits::{Part, Splits};
use super::thresholds::fit_offsets;
use super::tune::{Chosen, Tuned, rungs, tune};
use crate::Error;
use keener_data::Samples;
use keener_run::Stop;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One training of one objective in one repeat, with what was measured on its test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Where.
    pub scenario: Scenario,
    /// The objective as given.
    pub objective: String,
    /// Which split, from 0.
    pub repeat: usize,
    /// The parameters it ran with.
    pub chosen: Chosen,
    /// Rows that were trained on.
    pub train_rows: usize,
    /// Rows that were tested.
    pub test_rows: usize,
    /// What was measured; `None` where the training failed.
    pub measures: Option<Measures>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Wall time of the training alone.
    pub seconds: f64,
    /// `(step, mean loss)`.
    pub curve: Vec<(usize, f64)>,
    /// What pictures are drawn from; of the first repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// A finished piece of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant, reason = "a few hundred exist, and most are units")]
pub enum Line {
    /// Parameters were chosen.
    Tuned(Tuned),
    /// A training was measured.
    Unit(Unit),
}

/// Everything that was measured, in the order of scenarios, objectives and repeats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What tuning chose.
    pub tuned: Vec<Tuned>,
    /// The trainings.
    pub units: Vec<Unit>,
}

struct Bench<'a> {
    data: &'a Samples,
    config: &'a CompareConfig,
    candidates: Vec<Candidate>,
    splits: Vec<(Scenario, Splits)>,
}

/// Runs what `done` does not hold yet, on `workers` threads. Results do not depend on the number of workers.
///
/// `keep` is called with each finished piece, how many are finished, and how many there are. When `stop` is set, what is
/// being trained is finished and kept, and nothing is begun.
///
/// # Errors
/// Settings, objectives and data that do not fit, before anything is trained; failures of `keep`;
/// [`CompareError::Stopped`]. A training that fails is a unit that says so.
pub fn run(
    data: &Samples,
    config: &CompareConfig,
    done: &[Line],
    workers: usize,
    stop: &Stop,
    keep: &(dyn Fn(&Line, usize, usize) -> Result<(), keener_run::Error> + Sync),
) -> Result<Outcome, CompareError> {
    config.check()?;
    let candidates = candidates(config)?;
    // Classes that are trained on: half of them where the others are to be unseen.
    for candidate in &candidates {
        for scenario in &config.scenarios {
            let all = data.num_classes();
            candidate.check_classes(if *scenario == Scenario::UnseenClasses { all / 2 } else { all })?;
        }
    }
    let splits = config.scenarios.iter().map(|s| Ok((*s, Splits::draw(data, *s, config)?)));
    let splits = splits.collect::<Result<Vec<_>, CompareError>>()?;
    let bench = Bench { data, config, candidates, splits };
    let places: Vec<(usize, usize)> =
        (0..bench.splits.len()).flat_map(|s| (0..bench.candidates.len()).map(move |c| (s, c))).collect();
    let total = places.len() * (1 + config.repeats);
    let finished = AtomicUsize::new(0);
    let told = |line: Line| -> Result<(), CompareError> {
        let count = finished.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(keep(&line, count, total)?)
    };

    let known = |s: usize, c: usize| {
        done.iter().find_map(|line| match line {
            Line::Tuned(t) if t.scenario == bench.splits[s].0 && t.objective == bench.candidates[c].spec => Some(t),
            _ => None,
        })
    };
    let stopped = |error: CompareError| match error {
        CompareError::Stopped { .. } => CompareError::Stopped { finished: finished.load(Ordering::Relaxed), total },
        other => other,
    };
    let tuned: Vec<Tuned> = parallel(&places, workers, stop, |&(s, c)| {
        if let Some(found) = known(s, c) {
            finished.fetch_add(1, Ordering::Relaxed);
            return Ok(found.clone());
        }
        let (scenario, splits) = &bench.splits[s];
        let found = tune(data, *scenario, &bench.candidates[c], config, &splits.development)?;
        told(Line::Tuned(found.clone()))?;
        Ok(found)
    })
    .map_err(stopped)?;

    // Repeat by repeat, so that an interrupted run has whole repeats.
    let jobs: Vec<(usize, usize, usize)> = (0..config.repeats)
        .flat_map(|r| (0..places.len()).map(move |p| (r, p)))
        .map(|(r, p)| (p, places[p].1, r))
        .collect();
    let mut units: Vec<(usize, usize, Unit)> = parallel(&jobs, workers, stop, |&(place, c, repeat)| {
        let (s, chosen) = (places[place].0, &tuned[place].chosen);
        let scenario = bench.splits[s].0;
        let spec = &bench.candidates[c].spec;
        let known = done.iter().find_map(|line| match line {
            Line::Unit(u) if u.scenario == scenario && u.objective == *spec && u.repeat == repeat => Some(u),
            _ => None,
        });
        if let Some(found) = known {
            finished.fetch_add(1, Ordering::Relaxed);
            return Ok((place, repeat, found.clone()));
        }
        let unit = bench.unit(s, c, repeat, chosen);
        told(Line::Unit(unit.clone()))?;
        Ok((place, repeat, unit))
    })
    .map_err(stopped)?;
    units.sort_by_key(|(place, repeat, _)| (*place, *repeat));
    Ok(Outcome { tuned, units: units.into_iter().map(|(.., unit)| unit).collect() })
}

impl Bench<'_> {
    fn unit(&self, s: usize, c: usize, repeat: usize, chosen: &Chosen) -> Unit {
        let (scenario, splits) = &self.splits[s];
        let (candidate, part) = (&self.candidates[c], &splits.repeats[repeat]);
        let mut unit = Unit {
            scenario: *scenario,
            objective: candidate.spec.clone(),
            repeat,
            chosen: chosen.clone(),
            train_rows: part.train.rows.len(),
            test_rows: part.test.rows.len(),
            measures: None,
            failed: None,
            seconds: 0.0,
            curve: Vec::new(),
            details: None,
        };
        if let Err(error) = self.measure(*scenario, candidate, part, &mut unit) {
            unit.failed = Some(error.to_string());
        }
        unit
    }

    fn measure(
        &self,
        scenario: Scenario,
        candidate: &Candidate,
        part: &Part,
        unit: &mut Unit,
    ) -> Result<(), CompareError> {
        let config = self.config;
        let standardizer = Rows::standardizer(self.data, &part.train)?;
        let train = Rows::gather(self.data, &part.train, &standardizer)?;
        let test = Rows::gather(self.data, &part.test, &standardizer)?;
        let told = Fit {
            spec: unit.chosen.spec.clone(),
            learning_rate: unit.chosen.learning_rate,
            steps: config.steps,
            // The same for every objective: paired initial weights and batches.
            seed: derived_seed(config.seed, stream::TRAINING, unit.repeat as u64),
        };
        let fitted = fit(candidate, config, &train, &told)?;
        (unit.seconds, unit.curve) = (fitted.seconds, fitted.curve);
        let readout = read_out(candidate, config.head, &told.spec, &fitted.head, &train)?;
        let pictured = unit.repeat == 0;
        let (embeddings, dim) = match scenario.task() == Task::Retrieve || pictured {
            true => readout.embeddings(&test)?,
            false => (Vec::new(), 0),
        };
        let mut pictures = None;
        if pictured {
            let labels: Vec<u32> = part.test.rows.iter().map(|r| self.data.labels()[*r]).collect();
            pictures = Some(details::map(&embeddings, dim, &labels)?);
        }
        match scenario.task() {
            Task::Retrieve => {
                let held = Rows::gather(self.data, &part.validation, &standardizer)?;
                let (known, held_out) = (train.embed(&fitted.head)?, held.embed(&fitted.head)?);
                let (trained, held, new) = (
                    inserted::Embedded::of(&known, &train),
                    inserted::Embedded::of(&held_out, &held),
                    inserted::Embedded::of(&embeddings, &test),
                );
                let inserted = inserted::insert(dim, &trained, &held, &new, config.labels_per_class)?;
                unit.measures = Some(measure::retrieve(&embeddings, dim, &test, Some(inserted))?);
                if let Some(pictures) = &mut pictures {
                    pictures.pairs = Some(details::of_pairs(&embeddings, dim, &test.labels));
                }
            }
            Task::Classify => {
                let validation = Rows::gather(self.data, &part.validation, &standardizer)?;
                let temperature = measure::temperature(&readout.logits(&validation)?, &validation)?;
                let logits = readout.logits(&test)?;
                let offsets = match candidate.baseline {
                    Baseline::Thresholds => {
                        let (logits, classes) = (readout.logits(&validation)?, validation.classes);
                        Some(fit_offsets(&logits, &validation.indices(), classes, &train.labels)?)
                    }
                    _ => None,
                };
                unit.measures = Some(measure::classify(&logits, &test, temperature, offsets.as_deref())?);
                if let Some(pictures) = &mut pictures {
                    pictures.classes = Some(details::of_scores(&logits, &test, temperature)?);
                }
            }
        }
        unit.details = pictures;
        Ok(())
    }
}

/// `f` of every job, in order, on `workers` threads. Each worker computes on one core, so that times are comparable and
/// no training waits for a piece of another. Fails where `stop` is set before the last job is begun.
fn parallel<J: Sync, R: Send>(
    jobs: &[J],
    workers: usize,
    asked: &Stop,
    f: impl Fn(&J) -> Result<R, CompareError> + Sync,
) -> Result<Vec<R>, CompareError> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let found = Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || -> Result<(), CompareError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|e| CompareError::Worker(e.to_string()))?;
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { break };
            if asked.is_set() {
                // The caller fills in how far it came.
                return Err(CompareError::Stopped { finished: 0, total: 0 });
            }
            match pool.install(|| f(job)) {
                Ok(result) => lock(&found).push((at, result)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.clamp(1, jobs.len().max(1))).map(|_| scope.spawn(work)).collect();
        let mut outcome = Ok(());
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| Err(CompareError::Worker("it panicked".into())));
            outcome = outcome.and(ended);
        }
        outcome
    })?;
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, result)| result).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Trainings of full length that a comparison amounts to, tuning included.
///
/// # Errors
/// Objectives that do not apply.
pub fn step_equivalents(config: &CompareConfig) -> Result<f64, CompareError> {
    let each = |candidate: &Candidate| {
        let trials = super::tune::grid(candidate, config, 0).len();
        let tuning: usize = rungs(config, trials).iter().map(|r| r.trials * r.steps * config.folds).sum();
        tuning as f64 / config.steps as f64 + config.repeats as f64
    };
    let one_scenario: f64 = candidates(config)?.iter().map(each).sum();
    Ok(one_scenario * config.scenarios.len() as f64)
}

/// The number of steps of one training with which a comparison takes about `seconds` on `workers` threads: measured
/// once, on the first objective's first training rows.
///
/// # Errors
/// As [`run`]; a budget that is no positive number.
pub fn steps_for(data: &Samples, config: &CompareConfig, seconds: f64, workers: usize) -> Result<usize, CompareError> {
    if !(seconds.is_finite() && seconds > 0.0) {
        let expected = "a finite number > 0".to_string();
        return Err(CompareError::Setting { name: "seconds", value: seconds.to_string(), expected });
    }
    config.check()?;
    const PROBE: usize = 30;
    let scenario = config.scenarios[0];
    let splits = Splits::draw(data, scenario, config)?;
    let train = &splits.development[0].train;
    let rows = Rows::gather(data, train, &Rows::standardizer(data, train)?)?;
    let mut slowest = 0.0f64;
    for candidate in candidates(config)? {
        let (spec, learning_rate) = (candidate.objective.clone(), config.learning_rates[0]);
        let told = Fit { spec, learning_rate, steps: PROBE, seed: config.seed };
        match fit(&candidate, config, &rows, &told) {
            Ok(fitted) => slowest = slowest.max(fitted.seconds / PROBE as f64),
            Err(Error::Diverged { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let trainings = step_equivalents(config)?;
    let steps = seconds * workers.max(1) as f64 / (trainings * slowest.max(1e-7));
    Ok((steps as usize).clamp(10, 1_000_000))
}
