//! Numbers that belong to samples and outlive a batch: temperatures, moving averages, weights, by sample id.
//!
//! A plan reads them through [`crate::engine::Batch::sample_state`] and ends with [`Update`]s; the caller applies these with
//! [`SampleStore::apply`] when the step counts. Evaluation itself changes nothing, so a step can be repeated or thrown away,
//! and a store saved between steps resumes exactly.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// New values of one field for some samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<T> {
    /// Name of the field.
    pub field: &'static str,
    /// The samples.
    pub ids: Vec<u32>,
    /// Their new values, one a sample.
    pub values: Vec<T>,
}

/// Fields of numbers by sample id. A sample that was never written has the field's initial value.
///
/// Holds 4 or 8 bytes a sample and field, up to the largest id seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de>"))]
pub struct SampleStore<T> {
    fields: BTreeMap<String, Vec<Option<T>>>,
}

impl<T: Copy> SampleStore<T> {
    /// An empty store.
    pub fn new() -> Self {
        Self { fields: BTreeMap::new() }
    }

    /// The field's value of each sample; `initial` where it was never written.
    pub fn read(&self, field: &str, ids: &[u32], initial: T) -> Vec<T> {
        let values = self.fields.get(field).map_or(&[][..], Vec::as_slice);
        ids.iter().map(|id| values.get(*id as usize).copied().flatten().unwrap_or(initial)).collect()
    }

    /// Whether the field of a sample was ever written.
    pub fn contains(&self, field: &str, id: u32) -> bool {
        self.fields.get(field).and_then(|v| v.get(id as usize)).is_some_and(Option::is_some)
    }

    /// Names of the fields that exist.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// The values of a field by sample, `None` where it was never written; empty for a field that does not exist.
    pub fn field(&self, field: &str) -> &[Option<T>] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    /// Replaces a field, as read from disk.
    pub fn set_field(&mut self, field: &str, values: Vec<Option<T>>) {
        self.fields.insert(field.to_string(), values);
    }

    /// Writes updates, in order; of a sample named twice the last value stays.
    ///
    /// # Errors
    /// [`Error::Shape`] if an update has not one value a sample; nothing is then written.
    pub fn apply(&mut self, updates: &[Update<T>]) -> Result<()> {
        for update in updates {
            if update.ids.len() != update.values.len() {
                let expected = format!("[{}], one a sample", update.ids.len());
                return Err(Error::shape(format!("update of {}", update.field), &[update.values.len()], expected));
            }
        }
        for update in updates {
            let values = self.fields.entry(update.field.to_string()).or_default();
            for (id, value) in update.ids.iter().zip(&update.values) {
                let id = *id as usize;
                if values.len() <= id {
                    values.resize(id + 1, None);
                }
                values[id] = Some(*value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Options, Outcome, Scorer, Set, Statistic, Sweep,
        Term, View, evaluate,
    };

    /// The weighted contrast of a moving average: `u ← (1 − γ) u + γ Σ_j e^{s_ij}` by sample, gradient `Σ_j e^{s_ij} / u`, u frozen.
    #[derive(Debug)]
    struct MovingAverage;

    impl Objective<f64> for MovingAverage {
        fn name(&self) -> &'static str {
            "moving_average"
        }
        fn matrices(&self) -> Vec<MatrixSpec> {
            vec![MatrixSpec::main(Scorer::Inner)]
        }
        fn coupling(&self) -> Coupling {
            Coupling::RowByRow
        }
        fn evaluate(&self, engine: &mut dyn Sweep<f64>, batch: &Batch<'_, f64>) -> Result<Outcome<f64>> {
            let wanted = Statistic::log_sum_exp(Argument::of(0), Set::all());
            let stat = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
            let ids = batch.sample_ids_for("moving_average")?.to_vec();
            let old = batch.sample_state("u", &ids, 1.0);
            let average: Vec<f64> = old.iter().zip(&stat.values).map(|(u, l)| 0.5 * u + 0.5 * l.exp()).collect();
            let average = engine.freeze("u", average);
            let slope: Vec<f64> = stat.values.iter().zip(&average).map(|(l, u)| l.exp() / u).collect();
            let update = Update { field: "u", ids, values: average };
            Ok(Outcome::new(slope.clone(), move |w| {
                let weight = w.iter().zip(&slope).map(|(w, s)| w * s).collect();
                Backward::terms(vec![Term::new(wanted.clone(), stat.clone(), weight)])
            })
            .with_updates(vec![update]))
        }
    }

    #[test]
    fn state_follows_its_sample_through_batches() {
        let mut store = SampleStore::new();
        let (scores, other) = ([0.0f64.ln_1p(), 1.0, 0.0, 0.0], [0.0f64; 4]);
        for (scores, ids) in [(&scores, [7u32, 3]), (&other, [3, 9])] {
            let batch = Batch::scores(View::new(scores, 2, 2).unwrap()).with_samples(ids.to_vec(), &store);
            let first = evaluate(&MovingAverage, &batch, &Options::default()).unwrap();
            let again = evaluate(&MovingAverage, &batch, &Options::default()).unwrap();
            assert_eq!(first.values, again.values, "evaluation changes nothing");
            store.apply(&first.updates).unwrap();
        }
        let found = store.read("u", &[7, 3, 9, 0], -1.0);
        let expected = [0.5 + 0.5 * (1.0 + 1f64.exp()), 0.5 * (0.5 + 0.5 * 2.0) + 0.5 * 2.0, 0.5 + 1.0, -1.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {expected:?}");
        assert!(store.contains("u", 9) && !store.contains("u", 8));
        let text = serde_json::to_string(&store).unwrap();
        assert_eq!(serde_json::from_str::<SampleStore<f64>>(&text).unwrap(), store);
    }

    #[test]
    fn a_wrong_update_writes_nothing() {
        let mut store = SampleStore::new();
        let good = Update { field: "u", ids: vec![1], values: vec![2.0] };
        let bad = Update { field: "u", ids: vec![1, 2], values: vec![2.0] };
        assert!(store.apply(&[good, bad]).is_err());
        assert_eq!(store, SampleStore::new());
    }
}
