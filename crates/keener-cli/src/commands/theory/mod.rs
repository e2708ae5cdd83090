//! `keener theory`: what can be computed instead of trained.

mod aggregate;
mod comp_sum;

use anyhow::{Context, Result};
use clap::Subcommand;
use keener_report::Svg;
use std::path::Path;

/// Bounds, risks and planners of methods.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    topic: Topic,
}

#[derive(Debug, Subcommand)]
enum Topic {
    /// Responses known by bag: the risk over the interpolation, the best one, and the best size of a private bag
    Aggregate(aggregate::Args),
    /// The comp-sum family: what a surrogate excess guarantees about the error
    CompSum(comp_sum::Args),
}

/// Runs the command.
///
/// # Errors
/// Parameters out of range; a plot that cannot be written.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.topic {
        Topic::Aggregate(args) => aggregate::run(&args),
        Topic::CompSum(args) => comp_sum::run(&args),
    }
}

/// Writes a plot.
fn write_plot(path: &Path, svg: &Svg) -> Result<()> {
    std::fs::write(path, svg.standalone()).with_context(|| format!("cannot write {}", path.display()))
}
