//! The commands, one a module: each has its `Args` and `run`.

use anyhow::Result;
use clap::Subcommand;

mod bench;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Time objectives against size and memory
    Bench(bench::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Bench(args) => bench::run(args),
        }
    }
}
