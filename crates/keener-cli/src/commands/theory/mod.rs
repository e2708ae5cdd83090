//! `keener theory`: what can be computed instead of trained.

mod aggregate;
mod comp_sum;

use anyhow::Result;
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
    Ok(keener_run::replace(path, svg.standalone().as_bytes()).map_err(|e| keener_run::Error::io("write", path, e))?)
}
