//! The commands, one a module: each has its `Args` and `run`.

use anyhow::Result;
use clap::Subcommand;

mod bench;
mod objectives;
mod papers;
mod plan;
mod vectors;

/// What to do. [`crate::cli`] groups the commands in the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the objectives, or explain one
    Objectives(objectives::Args),
    /// Say which schedule an objective takes, and which batch fits
    Plan(plan::Args),
    /// Time objectives against size and memory
    Bench(bench::Args),
    /// Run the reproductions of papers
    Papers(papers::Args),
    /// Check conformance vectors against this build
    Vectors(vectors::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Objectives(args) => objectives::run(args),
            Self::Plan(args) => plan::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Papers(args) => papers::run(args),
            Self::Vectors(args) => vectors::run(args),
        }
    }
}
