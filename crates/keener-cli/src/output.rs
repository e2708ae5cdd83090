//! What goes to standard output: tables for people, JSON for programs. A closed output is an error like any other, which
//! [`crate::error::report`] keeps quiet about.

use anyhow::Result;
use keener_report::Table;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Options of the commands that print a table.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether colours are wanted on a stream.
pub(crate) fn color(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Width of the terminal; none where the output is not one, so that nothing is cut off in a file.
pub(crate) fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    stdout.is_terminal().then(|| terminal_size::terminal_size_of(&stdout).map_or(100, |(width, _)| width.0.into()))
}

/// Prints text.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Prints a table, as wide as the terminal.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn print_table(table: &Table) -> Result<()> {
    print(&table.to_text(width(), color(&std::io::stdout())))
}

/// Prints a value as indented JSON.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn print_json_line(value: &impl Serialize) -> Result<()> {
    print(&(serde_json::to_string(value)? + "\n"))
}
