//! The commands, one a module: each has its `Args` and `run`.

use crate::memory::For;
use anyhow::Result;
use clap::Subcommand;

mod add_class;
mod bench;
mod compare;
mod completions;
mod data;
mod eval;
mod man;
mod objectives;
mod papers;
mod plan;
mod predict;
mod theory;
mod train;
mod vectors;

/// What to do. [`crate::cli`] groups the commands in the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train heads with several objectives under one budget: leader board, report, code
    Compare(Box<compare::Args>),
    /// Train a head with one objective: run folder with model, configuration and report
    Train(Box<train::Args>),
    /// Classes or embeddings of new rows by a trained run
    Predict(predict::Args),
    /// Teach a finished run further classes from a few examples, without training
    AddClass(add_class::Args),
    /// Every metric that applies to a run, to embeddings or to scores
    Eval(Box<eval::Args>),
    /// List the objectives, or explain one
    Objectives(objectives::Args),
    /// Say which schedule an objective takes, and which batch fits
    Plan(plan::Args),
    /// Compute what a method guarantees: bounds, risks, planners
    Theory(theory::Args),
    /// Time objectives against size and memory
    Bench(bench::Args),
    /// Describe, convert and split data
    Data(data::Args),
    /// Run the reproductions of papers
    Papers(papers::Args),
    /// Check conformance vectors against this build
    Vectors(vectors::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Print the manual page, or write one a command
    Man(man::Args),
}

impl Command {
    /// What `--memory` is for.
    pub(crate) fn budget(&self) -> For {
        match self {
            Self::Plan(_) | Self::Bench(_) => For::Engine,
            _ => For::Process,
        }
    }

    /// Runs it.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Compare(args) => compare::run(*args),
            Self::Train(args) => train::run(*args),
            Self::Predict(args) => predict::run(args),
            Self::AddClass(args) => add_class::run(args),
            Self::Eval(args) => eval::run(*args),
            Self::Objectives(args) => objectives::run(args),
            Self::Plan(args) => plan::run(args),
            Self::Theory(args) => theory::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Data(args) => data::run(args),
            Self::Papers(args) => papers::run(args),
            Self::Vectors(args) => vectors::run(args),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
        }
    }
}
