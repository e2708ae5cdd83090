//! What an objective is: matrices to score, and a host step between statistics and coefficients.

use super::batch::Batch;
use super::statistic::{Stat, Statistic, Term};
use crate::error::Result;
use crate::real::Real;
use crate::state::Update;
use std::sync::Arc;

/// How a score is made from two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scorer {
    /// `q·k` (plus a bias of the candidate where one is given).
    Inner,
    /// `q·k / (|q| |k|)`; 0, with gradient 0, for the zero vector.
    Cosine,
    /// As [`Scorer::Cosine`], but the gradient of a candidate is that by its unit vector, as it is: for candidates that a
    /// projection after every step keeps at length one. Not for the pairs of a batch.
    CosineOfUnit,
    /// `−|q − k|²`.
    NegativeSquaredDistance,
}

impl Scorer {
    /// Whether scores are cosines.
    pub const fn is_cosine(self) -> bool {
        matches!(self, Self::Cosine | Self::CosineOfUnit)
    }
}

/// Which rows meet which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Queries × candidates, or given scores.
    Main,
    /// The second version of the queries × candidates, or the second given scores.
    Second,
    /// Queries × queries: the pairs of a batch.
    Pairs,
}

/// One score matrix of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixSpec {
    /// Which rows meet which.
    pub slot: Slot,
    /// How they are scored.
    pub scorer: Scorer,
}

impl MatrixSpec {
    /// Queries × candidates.
    pub const fn main(scorer: Scorer) -> Self {
        Self { slot: Slot::Main, scorer }
    }

    /// Queries × queries.
    pub const fn pairs(scorer: Scorer) -> Self {
        Self { slot: Slot::Pairs, scorer }
    }
}

/// Whether the value of a row needs the other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// Every row can be finished alone: statistics of rows only, and a host step row by row. Such objectives can run
    /// panel by panel.
    RowByRow,
    /// The host step sees all rows, or statistics run down columns.
    WholeBatch,
}

/// A learned scalar of an objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, as in `grad_NAME`.
    pub name: &'static str,
    /// Where training starts.
    pub initial: f64,
}

/// The sweeps that a host step can ask for. Implemented by the engine over slices, and by other executors over tensors
/// of a framework.
pub trait Sweep<T: Real> {
    /// `(rows, columns)` of a matrix of the plan.
    fn shape(&self, matrix: usize) -> (usize, usize);

    /// Computes statistics; those of one call share a sweep where they can.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] or [`crate::Error::Unsupported`] where the executor cannot.
    fn sweep(&mut self, statistics: &[Statistic<T>]) -> Result<Vec<Arc<Stat<T>>>>;

    /// The values at 0-based `ranks` of the ascending order of all entries of a row-wise statistic's set, over the whole
    /// matrix, together with the number of entries. Only the argument's matrix and the set are looked at; never stores
    /// the entries.
    ///
    /// `ranks` is asked for once the number of entries is known.
    fn order_statistics(
        &mut self,
        over: &Statistic<T>,
        ranks: &mut dyn FnMut(usize) -> Vec<usize>,
    ) -> Result<(usize, Vec<T>)>;

    /// Visits complete rows of a matrix in order, for mining that no statistic describes.
    fn visit_rows(&mut self, matrix: usize, visit: &mut dyn FnMut(usize, &[T])) -> Result<()>;

    /// Declares a quantity that is computed from scores but constant for differentiation (an adaptive scale, a
    /// stop-gradient weight), under a name that reports can show. Returns the value to use: the same, or the recorded
    /// one when a gradient is checked by finite differences.
    fn freeze(&mut self, name: &'static str, value: Vec<T>) -> Vec<T>;

    /// Shows a quantity in the report without freezing it.
    fn report(&mut self, name: &'static str, value: Vec<T>);
}

/// Derivatives at the end of the host step's backward half.
#[derive(Clone, Debug)]
pub struct Backward<T> {
    /// The statistics' parts.
    pub terms: Vec<Term<T>>,
    /// One gradient a learned parameter, in the order of [`Objective::parameters`].
    pub parameters: Vec<T>,
}

impl<T> Backward<T> {
    /// Terms alone.
    pub fn terms(terms: Vec<Term<T>>) -> Self {
        Self { terms, parameters: Vec::new() }
    }
}

/// The backward half of a host step: the weight of each value (∂loss/∂value) to derivatives.
pub type BackwardStep<T> = Box<dyn Fn(&[T]) -> Backward<T> + Send + Sync>;

/// What a host step ends with.
pub struct Outcome<T> {
    /// One value a row, or a single value where the objective is a number of the whole batch.
    pub values: Vec<T>,
    /// From weights of the values to derivatives.
    pub backward: BackwardStep<T>,
    /// New values of per-sample state, for the caller to apply.
    pub updates: Vec<Update<T>>,
}

impl<T: Real> Outcome<T> {
    /// An outcome with its backward half.
    pub fn new(values: Vec<T>, backward: impl Fn(&[T]) -> Backward<T> + Send + Sync + 'static) -> Self {
        Self { values, backward: Box::new(backward), updates: Vec::new() }
    }

    /// Adds new values of per-sample state.
    pub fn with_updates(mut self, updates: Vec<Update<T>>) -> Self {
        self.updates = updates;
        self
    }

    /// Row values whose derivatives are `∂value_i/∂statistic_i = slopes_i`, for statistics with one value a row.
    pub fn row_wise(values: Vec<T>, slopes: Vec<(Statistic<T>, Arc<Stat<T>>, Vec<T>)>) -> Self {
        Self::new(values, move |weights| {
            let terms = slopes.iter().map(|(statistic, stat, slope)| {
                let weight = weights.iter().zip(slope).map(|(w, s)| *w * *s).collect();
                Term::new(statistic.clone(), stat.clone(), weight)
            });
            Backward::terms(terms.collect())
        })
    }
}

/// A training objective: a short plan over the statistics of score matrices.
pub trait Objective<T: Real>: std::fmt::Debug + Send + Sync {
    /// Name, for messages.
    fn name(&self) -> &'static str;

    /// The score matrices; statistics refer to them by position.
    fn matrices(&self) -> Vec<MatrixSpec>;

    /// Whether rows can be finished alone.
    fn coupling(&self) -> Coupling;

    /// Learned scalars.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// How many classes targets may name, given the number of columns: as many, unless one column tells two classes apart.
    fn label_count(&self, columns: usize) -> usize {
        columns
    }

    /// What the sum of the values is divided by to give the loss: the number of rows, unless the objective says
    /// otherwise. Depends on supervision only, never on scores.
    ///
    /// # Errors
    /// Where the batch lacks what is needed.
    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(batch.rows() as f64)
    }

    /// The host step: asks for statistics, ends with values and the way back.
    ///
    /// # Errors
    /// Missing input, or what the sweeps raise.
    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>>;
}
