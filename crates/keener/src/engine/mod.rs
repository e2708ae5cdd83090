//! The engine: objectives are short plans over the statistics of score matrices that are never stored.
//!
//! [`evaluate`] gives value and gradients in one go; [`forward`] and [`Forward::backward`] split where a framework's
//! passes split. Both choose a [`Schedule`] by the memory budget in [`Options`].

mod batch;
mod complete;
mod entries;
mod executor;
mod gradient;
mod masks;
mod matrix;
mod plan;
mod rows;
mod schedule;
mod set;
mod shaping;
mod slices;
mod state;
mod statistic;
mod sweep;
mod tiles;

#[cfg(test)]
mod tests;

pub use batch::{Batch, View};
pub use complete::RowRule;
#[cfg(test)]
pub(crate) use executor::forward_replaying;
pub use executor::{Evaluation, Forward, Frozen, Gradients, Options, evaluate, explain, forward};
pub use plan::{Backward, BackwardStep, Coupling, MatrixSpec, Objective, Outcome, Parameter, Scorer, Slot, Sweep};
pub use schedule::{Choice, Schedule, Shape, Tiling, choose, price, tiling};
pub use set::{Conditions, Excluded, NONE, Set};
pub use shaping::{SOFTPLUS_IS_EXP, Shaping};
pub(crate) use state::insert;
pub use statistic::{Argument, Axis, Map, PerLine, Reduce, Sparse, Stat, Statistic, Term};
