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

/// Whether colours are wanted on a stream: on a terminal that has them, unless `NO_COLOR` is set; elsewhere where
/// `CLICOLOR_FORCE` is. (<https://no-color.org>, <https://bixense.com/clicolors>; the first wins.)
pub(crate) fn color(stream: &impl IsTerminal) -> bool {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let forced = var("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let off = var("CLICOLOR").is_some_and(|value| value == "0");
    let able = stream.is_terminal() && var("TERM").is_none_or(|term| term != "dumb");
    var("NO_COLOR").is_none() && (forced || able && !off)
}

/// Width of the terminal, else `COLUMNS`; none where the output goes elsewhere, so that nothing is cut off in a file.
pub(crate) fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    match terminal_size::terminal_size_of(&stdout) {
        Some((width, _)) => Some(width.0.into()),
        None if stdout.is_terminal() => columns().or(Some(100)),
        None => columns(),
    }
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

/// Says something that is no error, on standard error.
pub(crate) fn note(text: &str) {
    // Nothing is to be done about a closed standard error.
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// Prose with labels at the left, wrapped.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    width: usize,
    color: bool,
    label: String,
}

/// Room for a label.
const LABEL: usize = 13;

impl Page {
    /// For a terminal of that width.
    pub(crate) fn new(width: Option<usize>) -> Self {
        let width = width.unwrap_or(110).clamp(30, 110);
        Self { text: String::new(), width, color: color(&std::io::stdout()), label: String::new() }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A name and what it is.
    pub(crate) fn title(&mut self, name: &str, what: &str) {
        let name = self.paint(name, "1");
        self.text += &format!("{name}\n");
        for line in wrap(what, self.width) {
            self.text += &(line + "\n");
        }
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) {
        self.text.push('\n');
        self.label.clear();
    }

    /// Text under a label.
    pub(crate) fn item(&mut self, label: &str, text: &str) {
        // A label that repeats is printed once.
        let shown = if self.label == label { "" } else { label };
        for (k, line) in wrap(text, self.width - LABEL - 2).iter().enumerate() {
            let left = format!("{:<LABEL$}", if k == 0 { shown } else { "" });
            self.text += &format!("  {}{line}\n", self.paint(&left, "2"));
        }
        self.label = label.to_string();
    }

    /// A named thing under a label, with its meaning below.
    pub(crate) fn entry(&mut self, label: &str, name: &str, meaning: &str) {
        self.item(label, name);
        for line in wrap(meaning, self.width - LABEL - 6) {
            self.text += &format!("  {:<LABEL$}    {line}\n", "");
        }
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Breaks at spaces; a word that is longer than a line has one of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_at_spaces() {
        assert_eq!(wrap("a bc  def\nghij", 6), ["a bc", "def", "ghij"]);
        assert_eq!(wrap("abcdefgh i", 4), ["abcdefgh", "i"]);
        assert!(wrap(" ", 4).is_empty());
    }

    #[test]
    fn labels_stand_once() {
        let mut page = Page::new(Some(60));
        page.entry("parameters", "scale = 64", "a number");
        page.entry("parameters", "margin = 0.5", "an angle");
        assert_eq!(page.finish().matches("parameters").count(), 1);
    }
}
