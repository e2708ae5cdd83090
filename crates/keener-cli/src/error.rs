//! Errors as the user sees them: one line of what is wrong, lines of what to try, and the exit status.

use clap::error::ErrorKind as Usage;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(crate) mod advice;

/// Status of a failed check: the command did its work, and what it looked at is not right.
pub(crate) const CHECK_FAILED: u8 = 1;
/// Status of wrong usage or input, and of everything that keeps a command from its work.
pub(crate) const WRONG: u8 = 2;
/// Status of a run that was asked to stop.
pub(crate) const INTERRUPTED: u8 = 130;

/// An error with what to try next and its exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One line; empty where everything has been said on standard output.
    message: String,
    tries: Vec<String>,
    status: u8,
}

impl Failure {
    /// Wrong usage or input.
    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self { message: message.into(), tries: Vec::new(), status: WRONG }
    }

    /// A file or folder that cannot be read, with what there is instead.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::wrong(format!("{}: {}", path.display(), advice::reason(error)));
        let there = if advice::explains(error) { advice::beside(path) } else { None };
        there.into_iter().fold(failure, Self::hint)
    }

    /// A file or folder that cannot be written.
    pub(crate) fn unwritten(path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::wrong(format!("cannot write {}: {}", path.display(), advice::reason(error)));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        match folder {
            Some(folder) => failure.hint(format!("another place, or make `{}` first", folder.display())),
            None => failure,
        }
    }

    /// An error of the layers below.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let (message, tries) = advice::of(error);
        Self { message, tries, status: WRONG }
    }

    /// What to try.
    #[cfg(test)]
    pub(crate) fn tries(&self) -> &[String] {
        &self.tries
    }

    /// A check failed, and the output says so already.
    pub(crate) fn check_failed() -> Self {
        Self { message: String::new(), tries: Vec::new(), status: CHECK_FAILED }
    }

    /// A run was asked to stop; `command` goes on with it.
    pub(crate) fn stopped(message: impl Into<String>, command: impl Into<String>) -> Self {
        Self { message: message.into(), tries: vec![command.into()], status: INTERRUPTED }
    }

    /// Adds a line of what to try.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.tries.push(text.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints the error, unless nobody listens any more, and gives the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(closed)) {
        return ExitCode::SUCCESS;
    }
    let (message, mut tries) = match error.downcast_ref::<Failure>() {
        Some(failure) => (format!("{error:#}"), failure.tries.clone()),
        None => advice::of(error),
    };
    if tries.is_empty() {
        tries.extend(advice::of_choices(&message));
    }
    let failure = error.downcast_ref::<Failure>();
    if failure.is_some_and(|failure| failure.status == INTERRUPTED) {
        say(("stopped", "1;33"), &message, ("go on", &tries));
    } else if !message.is_empty() {
        say(ERROR, &message, ("try", &tries));
    }
    ExitCode::from(failure.map_or(WRONG, |failure| failure.status))
}

/// What clap has to say, in the same form; help and version go to standard output.
pub(crate) fn from_clap(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), Usage::DisplayHelp | Usage::DisplayVersion) {
        // Nothing is to be done about a closed output.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == Usage::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(WRONG);
    }
    let text = error.render().to_string();
    let first: Vec<&str> = text.lines().take_while(|l| !l.trim().is_empty()).map(str::trim).collect();
    let message = first.join(" ").replace('\'', "`");
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let mut tries: Vec<String> = tips.map(|tip| tip.replace('\'', "`")).collect();
    tries.push(format!("`{} --help`", command_of(std::env::args_os().skip(1))));
    say(ERROR, message.strip_prefix("error: ").unwrap_or(&message), ("try", &tries));
    ExitCode::from(WRONG)
}

/// The command that the words of a command line name, as `keener papers run`.
fn command_of(words: impl Iterator<Item = std::ffi::OsString>) -> String {
    let mut at = &crate::cli::command();
    let mut named = "keener".to_string();
    for word in words.filter_map(|word| word.into_string().ok()) {
        if let Some(below) = at.find_subcommand(&word) {
            at = below;
            named += &format!(" {word}");
        }
    }
    named
}

/// A word and its colour.
type Title = (&'static str, &'static str);
const ERROR: Title = ("error", "1;31");

fn say((title, color): Title, message: &str, (label, lines): (&str, &[String])) {
    let title = match crate::output::color(&std::io::stderr()) {
        true => format!("\x1b[{color}m{title}:\x1b[0m"),
        false => format!("{title}:"),
    };
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = format!("{title} {}\n", one_line(message));
    for line in lines {
        text += &format!("  {label}: {}\n", one_line(line));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
