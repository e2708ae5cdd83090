//! Errors as the user sees them: one line of what is wrong, lines of what to try, and the exit status.

use clap::error::ErrorKind;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Status of a failed check.
pub(crate) const CHECK_FAILED: u8 = 1;
/// Status of wrong usage or input.
pub(crate) const WRONG: u8 = 2;

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

    /// A check failed, and the output says so already.
    pub(crate) fn check_failed() -> Self {
        Self { message: String::new(), tries: Vec::new(), status: CHECK_FAILED }
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
    let failure = error.downcast_ref::<Failure>();
    let mut tries = failure.map(|f| f.tries.clone()).unwrap_or_default();
    let mut message = format!("{error:#}");
    if let Some(keener::Error::Unknown { kind, name, nearest }) = error.downcast_ref::<keener::Error>() {
        message = format!("no {kind} is called `{name}`");
        if !nearest.is_empty() {
            tries.push(nearest.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or "));
        }
        if *kind == "objective" {
            tries.push("`keener objectives` lists them all".into());
        }
    }
    if !message.is_empty() {
        say(&message, &tries);
    }
    ExitCode::from(failure.map_or(WRONG, |f| f.status))
}

/// What clap has to say, in the same form; help and version go to standard output.
pub(crate) fn from_clap(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nothing is to be done about a closed output.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(WRONG);
    }
    let text = error.render().to_string();
    let first: Vec<&str> = text.lines().take_while(|l| !l.trim().is_empty()).map(str::trim).collect();
    let message = first.join(" ");
    let mut tries: Vec<String> =
        text.lines().filter_map(|l| l.trim().strip_prefix("tip: ")).map(|tip| tip.replace('\'', "`")).collect();
    let known = |word: &String| crate::cli::command().find_subcommand(word).is_some();
    let words = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok());
    let command = words.into_iter().find(known).map_or(String::new(), |name| name + " ");
    tries.push(format!("`keener {command}--help`"));
    say(message.strip_prefix("error: ").unwrap_or(&message), &tries);
    ExitCode::from(WRONG)
}

fn say(message: &str, tries: &[String]) {
    let (bold, reset) = if crate::output::color(&std::io::stderr()) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = format!("{bold}error:{reset} {}\n", one_line(message));
    for line in tries {
        text += &format!("  try: {}\n", one_line(line));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
