//! Options that every command has, and the help of the whole.

use crate::commands::Command;
use crate::help;
use crate::output::print;
use crate::{memory, size};
use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

/// Choose, apply and check what a model is trained on.
#[derive(Debug, Parser)]
#[command(name = "keener", version, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Threads to compute with [default: all cores]
    #[arg(long, global = true, value_name = "N", help_heading = "Global options",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory to keep within, such as 2GB [default: half of what there is]
    ///
    /// Of the machine's memory, or of the container's where that is less. A quarter is for the scores that the engine keeps,
    /// the rest for data, weights and gradients. `bench` and `plan` give all of it to the engine, beyond inputs and gradients.
    #[arg(long, global = true, value_name = "SIZE", help_heading = "Global options", value_parser = size::bytes)]
    memory: Option<usize>,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// Sets the threads up and runs the command.
    pub(crate) fn run(self) -> Result<()> {
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
            pool.build_global().with_context(|| format!("cannot start {threads} threads"))?;
        }
        match self.command {
            Some(command) => {
                memory::set(self.memory, command.budget());
                command.run()
            }
            None => print(GREETING),
        }
    }
}

/// What `keener` alone says: nothing was asked, so nothing is wrong, and the exit status is 0.
const GREETING: &str = concat!(
    "keener ",
    env!("CARGO_PKG_VERSION"),
    ": choose, apply and check what a model is trained on.

Three things to do first:

  keener compare
      which objective is best on the embedded digits? a leader board and a
      report, in about two minutes
  keener compare data.csv --label-column species
      the same question about your own rows
  keener objectives
      every objective; `keener objectives focal` explains one

`keener --help` lists the commands, `keener COMMAND --help` explains one.
"
);

/// Commands in the order in which somebody meets them. Those that this build has not are passed over.
const GROUPS: &[(&str, &[&str])] = &[
    ("Train", &["compare", "train", "predict", "add-class", "eval"]),
    ("Look up", &["objectives", "papers", "data"]),
    ("Plan and measure", &["plan", "theory", "bench"]),
    ("Check", &["vectors"]),
    ("Set up", &["completions", "man"]),
];

const AFTER: &str = "\
Examples:
  keener compare  ten objectives on the embedded digits
  keener compare data.csv --label-column species  which is best for your rows?
  keener train data.csv --objective focal --out run  one objective, one model
  keener predict run new.csv  classes of new rows
  keener objectives arcface  formula, parameters, when to use it, paper
  keener plan arcface --batch 4k --candidates 1M  which schedule, and which batch still fits
  keener vectors vectors/  check this build against conformance vectors

Exit status:
  0  done
  1  a check failed: a conformance case missed
  2  wrong usage or input, or something else that kept the command from its work
  130  interrupted

Tables go to standard output, messages to standard error; `--json` prints data instead of a table. \
Colours are left out where NO_COLOR is set or the output is no terminal (CLICOLOR_FORCE=1 keeps them).";

/// The command line, its help laid out for this terminal.
pub(crate) fn command() -> clap::Command {
    command_for(help::width())
}

/// The command line, with the list of commands in groups and help of a width.
pub(crate) fn command_for(width: usize) -> clap::Command {
    let command = finished(Cli::command().after_help(AFTER), width);
    let about = |name: &str| {
        let found = command.get_subcommands().find(|c| c.get_name() == name)?;
        Some((name.to_string(), found.get_about().map(ToString::to_string).unwrap_or_default()))
    };
    let longest = command.get_subcommands().map(|c| c.get_name().len()).max().unwrap_or(0);
    let mut groups = String::new();
    let mut add = |title: &str, names: &[&str]| {
        let lines: Vec<(String, String)> = names.iter().filter_map(|name| about(name)).collect();
        if !lines.is_empty() {
            groups += &format!("\x1b[1m{title}:\x1b[0m\n{}\n", help::entries(&lines, width, longest, true));
        }
    };
    for (title, names) in GROUPS {
        add(title, names);
    }
    let listed = |name: &&str| GROUPS.iter().any(|(_, names)| names.contains(name));
    let others: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).filter(|n| !listed(n)).collect();
    add("More", &others);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\x1b[1mOptions:\x1b[0m\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

/// What holds for every command: notes as wide as the terminal, and values that may begin with a minus.
fn finished(command: clap::Command, width: usize) -> clap::Command {
    let notes = command.get_after_help().map(|notes| help::laid_out(&notes.to_string(), width));
    let command = match notes {
        Some(notes) => command.after_help(notes),
        None => command,
    };
    let negative = |argument: clap::Arg| {
        let takes = argument.get_action().takes_values();
        if takes { argument.allow_negative_numbers(true) } else { argument }
    };
    command.mut_args(negative).mut_subcommands(|below| finished(below, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_listed_with_a_line() {
        let help = command().render_help().to_string();
        for sub in command().get_subcommands() {
            let listed = help.lines().find(|line| line.trim_start().starts_with(sub.get_name()));
            assert!(
                listed.is_some_and(|line| line.trim().len() > sub.get_name().len() + 10),
                "{}\n{help}",
                sub.get_name()
            );
        }
    }
}
