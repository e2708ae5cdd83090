//! The command `keener`.

mod chosen;
mod cli;
mod commands;
mod config_file;
mod error;
mod help;
mod interrupt;
mod memory;
mod output;
mod paths;
mod size;
mod spec;

use clap::FromArgMatches;
use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return error::from_clap(&error),
    };
    let outcome = match cli::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.run(),
        Err(error) => return error::from_clap(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}
