//! A run in progress: computes units, in parallel, and hands each over as it finishes.

use crate::Units;
use anyhow::{Context, Result, bail};
use keener_run::Stop;
use rayon::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A unit that has finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What it was, in words.
    pub name: String,
    /// How long it took; 0 where it was known.
    pub seconds: f64,
    /// Whether its result was known from an earlier run.
    pub known: bool,
}

/// Somebody who watches a run.
pub trait Progress: Send {
    /// So many units more will be computed.
    fn planned(&mut self, units: usize);

    /// A unit has finished and is stored.
    fn finished(&mut self, unit: &Done);
}

/// Nobody who watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn planned(&mut self, _: usize) {}
    fn finished(&mut self, _: &Done) {}
}

/// What a reproduction runs in.
pub struct Session<'p> {
    revision: u32,
    units: Units,
    progress: &'p mut dyn Progress,
    stop: Stop,
}

/// The run was asked to stop: the unit that would have been next was not begun, those that were finished are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped before this unit")
    }
}

impl std::error::Error for Stopped {}

impl<'p> Session<'p> {
    /// A session over a store, for results of one revision of a reproduction.
    pub fn new(revision: u32, units: Units, progress: &'p mut dyn Progress) -> Self {
        Self { revision, units, progress, stop: Stop::default() }
    }

    /// Finishes the units in hand and begins no other once `stop` is set; [`Session::all`] then fails with [`Stopped`].
    pub fn until(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// The store back, and with it the folder, which stays owned until the store is dropped.
    pub fn into_units(self) -> Units {
        self.units
    }

    /// The results of all `units`, in their order: known ones from the store, the others computed in parallel and stored
    /// as they finish.
    ///
    /// A unit serialises to everything that its result depends on; `name` puts it into words.
    ///
    /// # Errors
    /// The first unit that fails, by name; a result that JSON does not hold (NaN, infinities); a store that cannot be
    /// written; [`Stopped`]. What finished before stays stored.
    pub fn all<K, R>(
        &mut self,
        units: &[K],
        name: impl Fn(&K) -> String + Sync,
        compute: impl Fn(&K) -> Result<R> + Sync,
    ) -> Result<Vec<R>>
    where
        K: Serialize + Sync,
        R: Serialize + DeserializeOwned + Send,
    {
        self.progress.planned(units.len());
        let (revision, stop) = (self.revision, &self.stop);
        let shared = Mutex::new((&mut self.units, &mut *self.progress));
        let one = |unit: &K| -> Result<R> {
            let key = serde_json::to_value(unit)?;
            let known = {
                let store = shared.lock().unwrap_or_else(PoisonError::into_inner);
                store.0.get(revision, &key).cloned()
            };
            if known.is_none() && stop.is_set() {
                bail!(Stopped);
            }
            let started = Instant::now();
            let (value, fresh) = match known {
                Some(value) => (value, false),
                None => (serde_json::to_value(compute(unit)?)?, true),
            };
            // Fresh results take the way of stored ones, so that a resumed run cannot differ.
            let result = serde_json::from_value(value.clone()).context("a result that cannot be stored")?;
            let seconds = if fresh { started.elapsed().as_secs_f64() } else { 0.0 };
            let mut store = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh {
                store.0.put(revision, key, value, seconds)?;
            }
            store.1.finished(&Done { name: name(unit), seconds, known: !fresh });
            Ok(result)
        };
        units.par_iter().map(|unit| one(unit).with_context(|| name(unit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Log(usize, Vec<Done>);

    impl Progress for Log {
        fn planned(&mut self, units: usize) {
            self.0 += units;
        }
        fn finished(&mut self, unit: &Done) {
            self.1.push(unit.clone());
        }
    }

    #[test]
    fn a_failing_unit_loses_none_that_finished() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, runs) = ([1u32, 2, 3, 4], AtomicUsize::new(0));
        let compute = |broken: u32| {
            let runs = &runs;
            move |key: &u32| {
                runs.fetch_add(1, Ordering::Relaxed);
                if *key == broken { bail!("broken") } else { Ok(f64::from(*key).sqrt()) }
            }
        };
        let mut log = Log::default();
        // One after the other, so that what comes before the broken one has finished.
        for key in keys {
            let mut session = Session::new(7, Units::resume(folder.path()).unwrap(), &mut log);
            let outcome = session.all(&[key], |k| format!("unit {k}"), compute(3));
            assert_eq!(outcome.is_err(), key == 3);
            if let Err(error) = outcome {
                assert_eq!(format!("{error:#}"), "unit 3: broken");
            }
        }
        let mut session = Session::new(7, Units::resume(folder.path()).unwrap(), &mut log);
        let all = session.all(&keys, |k| format!("unit {k}"), compute(0)).unwrap();
        assert_eq!(all, keys.map(|k| f64::from(k).sqrt()));
        assert_eq!(runs.into_inner(), 5, "only the broken one runs again");
        assert_eq!((log.0, log.1.iter().filter(|d| d.known).count()), (8, 3));
    }

    #[test]
    fn a_result_that_json_does_not_hold_is_refused() {
        let mut silent = Silent;
        let mut session = Session::new(1, Units::in_memory(), &mut silent);
        let outcome: Result<Vec<f64>> = session.all(&[0], |_| "the unit".into(), |_| Ok(f64::NAN));
        assert!(format!("{:#}", outcome.unwrap_err()).contains("the unit: a result that cannot be stored"));
    }
}
