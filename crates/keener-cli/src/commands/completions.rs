//! `keener completions`: scripts by which a shell completes commands, options, paths and names of objectives.

use crate::output::print;
use anyhow::Result;
use clap_complete::Shell;

const AFTER: &str = "\
Examples:
  keener completions bash > ~/.local/share/bash-completion/completions/keener
  keener completions zsh > ~/.zfunc/_keener       with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  keener completions fish > ~/.config/fish/completions/keener.fish
  keener completions powershell >> $PROFILE";

/// Arguments of `keener completions`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn run(args: Args) -> Result<()> {
    print(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::command(), "keener", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_command_and_every_objective_is_completed_in_every_shell() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in crate::cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for entry in keener::objective::registry() {
                assert!(script.contains(entry.name), "{shell}: {}", entry.name);
            }
        }
    }
}
