//! `keener data`: what is in a file, other formats of it, and parts of its rows.

mod convert;
mod describe;
mod list;
mod split;

use anyhow::Result;
use clap::Subcommand;

/// Arguments of `keener data`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// The embedded data, and the formats that are read and written
    List(list::Args),
    /// What is in a file: shapes, classes, missing values, duplicates, and what keener would do with it
    Describe(Box<describe::Args>),
    /// Write the rows of a file in another format
    Convert(Box<convert::Args>),
    /// Divide the rows of a file into parts, and write which row is in which
    Split(Box<split::Args>),
}

/// Runs the command.
///
/// # Errors
/// Wrong usage or input, before anything is written.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::List(args) => list::run(args),
        Action::Describe(args) => describe::run(*args),
        Action::Convert(args) => convert::run(*args),
        Action::Split(args) => split::run(*args),
    }
}
