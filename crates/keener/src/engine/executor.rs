//! Runs plans over slices: value, gradients, and the choice between the three schedules.

use super::batch::Batch;
use super::matrix::{Bound, Buffers, Wants};
use super::plan::{Coupling, Objective, Outcome, Slot};
use super::schedule::{Choice, Schedule, Shape, choose, price};
use super::slices::Engine;
use super::tiles::Store;
use crate::error::{Error, Result};
use crate::memory;
use crate::real::Real;
use crate::state::Update;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A schedule to insist on; otherwise the planner chooses.
    pub schedule: Option<Schedule>,
    /// Budget in bytes for what is held beyond inputs and gradients. Default [`crate::budget::engine`]: 512 MiB unless the
    /// program says otherwise.
    pub memory: usize,
    /// Refuse NaN and infinities in the inputs (default). Switch off only where the caller has checked.
    pub check_finite: bool,
    /// Which gradients to compute (default all that apply).
    pub candidates: bool,
    /// See [`Options::candidates`].
    pub queries: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedule: None, memory: crate::budget::engine(), check_finite: true, candidates: true, queries: true }
    }
}

/// Gradients of a loss; empty where they do not apply or were not wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients<T> {
    /// `[B, d]`
    pub queries: Vec<T>,
    /// `[N, d]`
    pub candidates: Vec<T>,
    /// `[N]`
    pub bias: Vec<T>,
    /// `[B, d]`, of the second version of the queries.
    pub second: Vec<T>,
    /// `[B, N]`, where scores were given.
    pub scores: Vec<T>,
    /// `[B, N]`, where second scores were given.
    pub second_scores: Vec<T>,
    /// One a learned parameter.
    pub parameters: Vec<T>,
}

/// Named quantities that a plan computed and declared frozen, for replay.
pub type Frozen<T> = Vec<(&'static str, Vec<T>)>;

/// Value, gradients and what there is to know about them.
#[derive(Clone, Debug)]
pub struct Evaluation<T> {
    /// `Σ values / normalizer`
    pub loss: T,
    /// One a row, or a single one.
    pub values: Vec<T>,
    /// See [`Objective::normalizer`].
    pub normalizer: f64,
    /// Of the loss.
    pub gradients: Gradients<T>,
    /// Frozen and reported quantities by name (scale, margin, thresholds …).
    pub report: Frozen<T>,
    /// New values of per-sample state, to be applied when the step counts.
    pub updates: Vec<Update<T>>,
    /// The schedule that ran.
    pub choice: Choice,
}
/// Everything that is settled before the first sweep.
struct Prepared<'a, T> {
    matrices: Vec<Bound<'a, T>>,
    wants: Vec<Wants>,
    normalizer: f64,
    choice: Choice,
}

fn prepare<'a, T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'a, T>,
    options: &Options,
) -> Result<Prepared<'a, T>> {
    batch.check_labelled(options.check_finite, objective.label_count(batch.classes()))?;
    let specs = objective.matrices();
    let expected = objective.parameters().len();
    if !batch.parameters.is_empty() && batch.parameters.len() != expected {
        return Err(Error::shape(
            "parameters",
            &[batch.parameters.len()],
            format!("[{expected}] for {}", objective.name()),
        ));
    }
    let matrices = specs.iter().map(|s| Bound::new(*s, batch, objective.name())).collect::<Result<Vec<_>>>()?;
    let wants = specs
        .iter()
        .map(|spec| match spec.slot {
            Slot::Pairs => Wants { left: options.queries, right: options.queries, bias: false },
            Slot::Main | Slot::Second => {
                Wants { left: options.queries, right: options.candidates, bias: options.candidates }
            }
        })
        .collect();
    let choice = plan(objective, &matrices, options);
    Ok(Prepared { normalizer: objective.normalizer(batch)?, matrices, wants, choice })
}

fn plan<T: Real>(objective: &dyn Objective<T>, matrices: &[Bound<'_, T>], options: &Options) -> Choice {
    let largest = matrices.iter().max_by_key(|m| m.rows * m.cols);
    let (rows, cols) = largest.map_or((0, 0), |m| (m.rows, m.cols));
    let products = matrices.iter().filter(|m| m.is_product() && (m.rows, m.cols) == (rows, cols)).count();
    let shape = Shape {
        rows,
        cols,
        depth: if products > 0 { largest.map_or(0, |m| m.depth()) } else { 0 },
        matrices: products,
        number: size_of::<T>(),
    };
    let panel_fits = matrices.iter().all(|m| m.spec.slot != Slot::Pairs);
    let coupling = if panel_fits { objective.coupling() } else { Coupling::WholeBatch };
    let mut choice = choose(shape, coupling, options.memory);
    if let Some(schedule) = options.schedule {
        let possible = schedule != Schedule::Panel || coupling == Coupling::RowByRow;
        if possible && choice.schedule != schedule {
            choice = price(shape, schedule);
        }
    }
    choice
}

/// The schedule that [`evaluate`] would take, with its reasons.
///
/// # Errors
/// As [`evaluate`], for missing or wrong input.
pub fn explain<T: Real>(objective: &dyn Objective<T>, batch: &Batch<'_, T>, options: &Options) -> Result<Choice> {
    Ok(prepare(objective, batch, options)?.choice)
}

/// Gives each matrix's gradients to the inputs it was made of.
fn distribute<T: Real>(matrices: &[Bound<'_, T>], buffers: Vec<Buffers<T>>) -> Gradients<T> {
    fn add<T: Real>(into: &mut Vec<T>, from: Vec<T>) {
        if into.is_empty() {
            *into = from;
        } else {
            into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
    }
    let mut g = Gradients::default();
    for (matrix, buffers) in matrices.iter().zip(buffers) {
        match matrix.spec.slot {
            Slot::Main => {
                add(&mut g.queries, buffers.left);
                add(&mut g.candidates, buffers.right);
                add(&mut g.scores, buffers.scores);
                if matrix.spec.scorer == super::plan::Scorer::Inner {
                    add(&mut g.bias, buffers.col_sums);
                }
            }
            Slot::Second => {
                add(&mut g.second, buffers.left);
                add(&mut g.candidates, buffers.right);
                add(&mut g.second_scores, buffers.scores);
                if matrix.spec.scorer == super::plan::Scorer::Inner {
                    add(&mut g.bias, buffers.col_sums);
                }
            }
            Slot::Pairs => {
                add(&mut g.queries, buffers.left);
                add(&mut g.queries, buffers.right);
            }
        }
    }
    g
}

/// The forward half: values, and what the backward half needs.
pub struct Forward<'a, T: Real> {
    engine: Engine<'a, T>,
    wants: Vec<Wants>,
    outcome: Outcome<T>,
    normalizer: f64,
    choice: Choice,
}

/// Computes statistics and values; gradients follow with [`Forward::backward`], for any weight of each value.
///
/// # Errors
/// Wrong or missing input, before anything is computed.
pub fn forward<'a, T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'a, T>,
    options: &Options,
) -> Result<Forward<'a, T>> {
    forward_replaying(objective, batch, options, None)
}

pub(crate) fn forward_replaying<'a, T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'a, T>,
    options: &Options,
    replay: Option<Frozen<T>>,
) -> Result<Forward<'a, T>> {
    // A panel cannot be split in two passes: its scores are gone when the next one comes.
    let schedule = match options.schedule {
        Some(Schedule::Panel) => None,
        other => other,
    };
    let mut prepared = prepare(objective, batch, &Options { schedule, ..options.clone() })?;
    if prepared.choice.schedule == Schedule::Panel {
        let bytes: usize =
            prepared.matrices.iter().filter(|m| m.is_product()).map(|m| m.rows * m.cols * size_of::<T>()).sum();
        let whole = bytes + prepared.choice.bytes <= options.memory;
        prepared.choice.schedule = if whole { Schedule::Whole } else { Schedule::Recompute };
        prepared.choice.products = if whole { 3 } else { 4 };
        prepared.choice.reason = "forward and backward are separate".into();
    }
    let keep = prepared.choice.schedule == Schedule::Whole;
    let mut engine = Engine::new(objective.name(), prepared.matrices, keep);
    engine.replay = replay;
    let outcome = objective.evaluate(&mut engine, batch)?;
    let Prepared { wants, normalizer, choice, .. } = Prepared { matrices: Vec::new(), ..prepared };
    Ok(Forward { engine, wants, outcome, normalizer, choice })
}

impl<T: Real> Forward<'_, T> {
    /// One a row, or a single one.
    pub fn values(&self) -> &[T] {
        &self.outcome.values
    }

    /// See [`Objective::normalizer`].
    pub fn normalizer(&self) -> f64 {
        self.normalizer
    }

    /// `Σ values / normalizer`
    pub fn loss(&self) -> T {
        mean(&self.outcome.values, self.normalizer)
    }

    /// Frozen and reported quantities by name.
    pub fn report(&self) -> &Frozen<T> {
        &self.engine.report
    }

    /// New values of per-sample state.
    pub fn updates(&self) -> &[Update<T>] {
        &self.outcome.updates
    }

    /// The schedule that ran.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Gradients of `Σ_i weights_i · values_i`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one weight a value.
    pub fn backward(&mut self, weights: &[T]) -> Result<Gradients<T>> {
        if weights.len() != self.outcome.values.len() {
            let expected = format!("[{}], one a value", self.outcome.values.len());
            return Err(Error::shape("weights", &[weights.len()], expected));
        }
        let backward = (self.outcome.backward)(weights);
        let buffers = self.engine.gradients(&backward.terms, &self.wants)?;
        let mut gradients = distribute(&self.engine.matrices, buffers);
        gradients.parameters = backward.parameters;
        Ok(gradients)
    }
}

fn mean<T: Real>(values: &[T], normalizer: f64) -> T {
    if normalizer == 0.0 {
        return T::zero();
    }
    T::of(values.iter().map(|v| v.f64()).sum::<f64>() / normalizer)
}

/// Value and gradients of the loss `Σ values / normalizer`.
///
/// # Errors
/// Wrong or missing input, before anything is computed.
pub fn evaluate<T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'_, T>,
    options: &Options,
) -> Result<Evaluation<T>> {
    let prepared = prepare(objective, batch, options)?;
    if prepared.choice.schedule == Schedule::Panel {
        return evaluate_by_panels(objective, batch, prepared);
    }
    let keep = prepared.choice.schedule == Schedule::Whole;
    let mut engine = Engine::new(objective.name(), prepared.matrices, keep);
    let outcome = objective.evaluate(&mut engine, batch)?;
    let weight = if prepared.normalizer == 0.0 { 0.0 } else { 1.0 / prepared.normalizer };
    let backward = (outcome.backward)(&vec![T::of(weight); outcome.values.len()]);
    let buffers = engine.gradients(&backward.terms, &prepared.wants)?;
    let mut gradients = distribute(&engine.matrices, buffers);
    gradients.parameters = backward.parameters;
    Ok(Evaluation {
        loss: mean(&outcome.values, prepared.normalizer),
        values: outcome.values,
        normalizer: prepared.normalizer,
        gradients,
        report: engine.report,
        updates: outcome.updates,
        choice: prepared.choice,
    })
}

fn evaluate_by_panels<T: Real>(
    objective: &dyn Objective<T>,
    batch: &Batch<'_, T>,
    prepared: Prepared<'_, T>,
) -> Result<Evaluation<T>> {
    let Prepared { matrices, wants, normalizer, choice } = prepared;
    let rows = batch.rows();
    let weight = T::of(if normalizer == 0.0 { 0.0 } else { 1.0 / normalizer });
    let mut buffers: Vec<Buffers<T>> = matrices.iter().zip(&wants).map(|(m, w)| m.buffers(*w)).collect();
    let mut values = Vec::with_capacity(rows);
    let mut parameters: Vec<T> = Vec::new();
    let mut report: Frozen<T> = Vec::new();
    let mut updates = Vec::new();
    // The stored panel is allocated once and handed on.
    let mut spare: Vec<Option<Store<T>>> = matrices.iter().map(|_| None).collect();
    let mut start = 0;
    while start < rows {
        let range = start..(start + choice.rows_at_once).min(rows);
        let part = batch.slice(range.clone());
        let bound: Vec<Bound<'_, T>> = matrices.iter().map(|m| m.slice(range.clone())).collect();
        let mut engine = Engine::new(objective.name(), bound, false);
        for (k, matrix) in engine.matrices.iter().enumerate().filter(|(_, m)| m.is_product()) {
            let size = matrix.rows * matrix.cols;
            let mut store = spare[k].take().unwrap_or_else(|| Store { data: memory::zeros(size), filled: false });
            store.data.resize(size, T::zero());
            store.filled = false;
            engine.stores[k] = Some(store);
        }
        let outcome = objective.evaluate(&mut engine, &part)?;
        let backward = (outcome.backward)(&vec![weight; outcome.values.len()]);
        // Columns accumulate over panels; rows belong to this one.
        let mut mine: Vec<Buffers<T>> = Vec::with_capacity(matrices.len());
        for ((matrix, bound), whole) in matrices.iter().zip(&engine.matrices).zip(&mut buffers) {
            let d = matrix.depth();
            let rows_of = |v: &Vec<T>, n: usize| vec![T::zero(); if v.is_empty() { 0 } else { bound.rows * n }];
            mine.push(Buffers {
                left: rows_of(&whole.left, d),
                row_sums: rows_of(&whole.row_sums, 1),
                scores: rows_of(&whole.scores, matrix.cols),
                right: std::mem::take(&mut whole.right),
                col_sums: std::mem::take(&mut whole.col_sums),
                fresh: whole.fresh,
            });
        }
        engine.accumulate(&backward.terms, &mut mine)?;
        for (((matrix, mine), whole), (stored, spare)) in
            matrices.iter().zip(mine).zip(&mut buffers).zip(engine.stores.into_iter().zip(&mut spare))
        {
            let put = |into: &mut Vec<T>, from: &[T], n: usize| {
                if !into.is_empty() {
                    into[range.start * n..range.end * n].copy_from_slice(from);
                }
            };
            put(&mut whole.left, &mine.left, matrix.depth());
            put(&mut whole.row_sums, &mine.row_sums, 1);
            put(&mut whole.scores, &mine.scores, matrix.cols);
            whole.right = mine.right;
            whole.col_sums = mine.col_sums;
            whole.fresh = mine.fresh;
            *spare = stored;
        }
        values.extend(outcome.values);
        updates.extend(outcome.updates);
        if parameters.is_empty() {
            parameters = backward.parameters;
        } else {
            parameters.iter_mut().zip(backward.parameters).for_each(|(a, b)| *a += b);
        }
        for (name, mut value) in engine.report {
            match report.iter_mut().find(|(n, _)| *n == name) {
                Some((_, all)) => all.append(&mut value),
                None => report.push((name, value)),
            }
        }
        start = range.end;
    }
    for (matrix, buffers) in matrices.iter().zip(&mut buffers) {
        matrix.finish(buffers);
    }
    let mut gradients = distribute(&matrices, buffers);
    gradients.parameters = parameters;
    Ok(Evaluation { loss: mean(&values, normalizer), values, normalizer, gradients, report, updates, choice })
}
