//! Weighted sums of objectives: a base loss with its regularisers, sharing sweeps over equal matrices.

use super::registry::SharedObjective;
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Outcome, Parameter, Reduce, Stat, Statistic, Sweep,
};
use crate::error::Result;
use crate::real::Real;
use std::sync::Arc;

/// `Σ_k weight_k · loss_k`, each loss reduced by its own normaliser.
#[derive(Debug, Clone)]
pub struct Sum {
    parts: Vec<(f64, SharedObjective)>,
}

impl Sum {
    /// A sum of weighted objectives.
    pub fn new(parts: Vec<(f64, SharedObjective)>) -> Self {
        Self { parts }
    }

    /// The addends with their weights.
    pub fn parts(&self) -> &[(f64, SharedObjective)] {
        &self.parts
    }
}

/// The number types that a shared objective can be asked for.
trait Pick: Real {
    fn pick(objective: &SharedObjective) -> &dyn Objective<Self>;
}

impl Pick for f32 {
    fn pick(objective: &SharedObjective) -> &dyn Objective<Self> {
        objective.f32()
    }
}

impl Pick for f64 {
    fn pick(objective: &SharedObjective) -> &dyn Objective<Self> {
        objective.f64()
    }
}

/// Equal matrices of different addends are one matrix.
fn merged<T: Pick>(parts: &[(f64, SharedObjective)]) -> (Vec<MatrixSpec>, Vec<Vec<usize>>) {
    let mut all: Vec<MatrixSpec> = Vec::new();
    let maps = parts.iter().map(|(_, objective)| {
        let specs = T::pick(objective).matrices();
        let place = |spec: MatrixSpec| {
            all.iter().position(|s| *s == spec).unwrap_or_else(|| {
                all.push(spec);
                all.len() - 1
            })
        };
        specs.into_iter().map(place).collect()
    });
    let maps = maps.collect();
    (all, maps)
}

/// Shows an addend its own numbering of the matrices.
struct Renumbered<'e, T: Real> {
    engine: &'e mut dyn Sweep<T>,
    map: &'e [usize],
}

fn renumber<T: Real>(statistic: &Statistic<T>, map: &[usize]) -> Statistic<T> {
    let argument = |a: &Argument<T>| Argument { matrix: map[a.matrix], minus: a.minus.map(|m| map[m]), ..a.clone() };
    let reduce = match &statistic.reduce {
        Reduce::LogSumExp { expect: Some(expect) } => Reduce::LogSumExp { expect: Some(argument(expect)) },
        other => other.clone(),
    };
    Statistic { argument: argument(&statistic.argument), reduce, ..statistic.clone() }
}

impl<T: Real> Sweep<T> for Renumbered<'_, T> {
    fn shape(&self, matrix: usize) -> (usize, usize) {
        self.engine.shape(self.map[matrix])
    }

    fn sweep(&mut self, statistics: &[Statistic<T>]) -> Result<Vec<Arc<Stat<T>>>> {
        let renumbered: Vec<Statistic<T>> = statistics.iter().map(|s| renumber(s, self.map)).collect();
        self.engine.sweep(&renumbered)
    }

    fn order_statistics(
        &mut self,
        over: &Statistic<T>,
        ranks: &mut dyn FnMut(usize) -> Vec<usize>,
    ) -> Result<(usize, Vec<T>)> {
        self.engine.order_statistics(&renumber(over, self.map), ranks)
    }

    fn visit_rows(&mut self, matrix: usize, visit: &mut dyn FnMut(usize, &[T])) -> Result<()> {
        self.engine.visit_rows(self.map[matrix], visit)
    }

    fn freeze(&mut self, name: &'static str, value: Vec<T>) -> Vec<T> {
        self.engine.freeze(name, value)
    }

    fn report(&mut self, name: &'static str, value: Vec<T>) {
        self.engine.report(name, value);
    }
}

impl<T: Pick> Objective<T> for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        merged::<T>(&self.parts).0
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.parts.iter().flat_map(|(_, o)| T::pick(o).parameters()).collect()
    }

    fn label_count(&self, columns: usize) -> usize {
        self.parts.iter().map(|(_, o)| T::pick(o).label_count(columns)).min().unwrap_or(columns)
    }

    fn normalizer(&self, _: &Batch<'_, T>) -> Result<f64> {
        Ok(1.0)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let (_, maps) = merged::<T>(&self.parts);
        let mut outcomes = Vec::with_capacity(self.parts.len());
        let mut total = 0.0;
        let mut updates = Vec::new();
        let mut first_parameter = 0;
        for ((weight, objective), map) in self.parts.iter().zip(maps) {
            let objective = T::pick(objective);
            let count = objective.parameters().len();
            let own = batch.parameters.get(first_parameter..first_parameter + count).unwrap_or(&[]);
            first_parameter += count;
            let part = Batch { parameters: own.into(), ..batch.clone() };
            let mut outcome = objective.evaluate(&mut Renumbered { engine: &mut *engine, map: &map }, &part)?;
            let normalizer = objective.normalizer(&part)?;
            let factor = if normalizer == 0.0 { 0.0 } else { weight / normalizer };
            let loss = factor * outcome.values.iter().map(|v| v.f64()).sum::<f64>();
            engine.report(objective.name(), vec![T::of(loss)]);
            total += loss;
            updates.append(&mut outcome.updates);
            outcomes.push((factor, outcome, map));
        }
        Ok(Outcome::new(vec![T::of(total)], move |weights| {
            let mut all = Backward { terms: Vec::new(), parameters: Vec::new() };
            for (factor, outcome, map) in &outcomes {
                let each = vec![T::of(*factor) * weights[0]; outcome.values.len()];
                let part = (outcome.backward)(&each);
                all.parameters.extend(part.parameters);
                all.terms.extend(part.terms.into_iter().map(|mut term| {
                    term.statistic = renumber(&term.statistic, map);
                    term
                }));
            }
            all
        })
        .with_updates(updates))
    }
}
