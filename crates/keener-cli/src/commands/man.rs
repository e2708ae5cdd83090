//! `keener man`: the manual pages, one a command.

use crate::error::Failure;
use crate::output::{note, print};
use anyhow::Result;
use clap_mangen::Man;
use std::fs;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  keener man | man -l -                    read it
  keener man ~/.local/share/man/man1       install the pages, then `man keener-train`";

/// Arguments of `keener man`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Folder to write keener.1, keener-train.1 … into [default: print keener.1]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A folder that cannot be written.
pub(crate) fn run(args: Args) -> Result<()> {
    let pages = pages()?;
    let Some(folder) = args.folder else {
        return print(pages.first().map_or("", |(_, text)| text));
    };
    fs::create_dir_all(&folder).map_err(|e| Failure::unwritten(&folder, &e))?;
    for (name, text) in &pages {
        let path = folder.join(name);
        keener_run::replace(&path, text.as_bytes()).map_err(|e| Failure::unwritten(&path, &e))?;
    }
    note(&format!("{} pages in {}", pages.len(), folder.display()));
    Ok(())
}

/// Every page with its file name, that of `keener` first.
fn pages() -> Result<Vec<(String, String)>> {
    fn collect(command: &clap::Command, into: &mut Vec<clap::Command>) {
        into.push(command.clone());
        command.get_subcommands().for_each(|below| collect(below, into));
    }
    let mut root = crate::cli::command_for(100);
    root.build();
    let mut commands = Vec::new();
    collect(&root, &mut commands);
    let page = |command: clap::Command| {
        let name = command.get_display_name().unwrap_or("keener").to_string();
        // What a page says after its options is laid out by hand and keeps its lines.
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let man = Man::new(command);
        let mut bytes = Vec::new();
        man.render_title(&mut bytes)?;
        man.render_name_section(&mut bytes)?;
        man.render_synopsis_section(&mut bytes)?;
        man.render_description_section(&mut bytes)?;
        man.render_options_section(&mut bytes)?;
        if name == "keener" {
            man.render_subcommands_section(&mut bytes)?;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned() + &notes(&after);
        Ok((format!("{name}.1"), text))
    };
    commands.into_iter().map(page).collect()
}

/// Sections from text whose headings are lines that begin at the left and end with a colon; prose after them is a section
/// of its own.
fn notes(text: &str) -> String {
    let mut out = String::new();
    let mut prose = false;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let indented = line.starts_with(' ');
        if let Some(heading) = line.strip_suffix(':').filter(|_| !indented) {
            out += &format!(".SH {}\n.nf\n", heading.to_uppercase());
            prose = false;
            continue;
        }
        if !indented && !prose {
            out += ".SH NOTES\n.nf\n";
            prose = true;
        }
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        out += &format!("{guard}{}\n", line.replace('\\', "\\e").replace('-', "\\-"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_and_the_first_names_them_all() {
        let pages = pages().unwrap();
        assert_eq!(pages[0].0, "keener.1");
        for command in crate::cli::command().get_subcommands() {
            let name = command.get_name();
            let (_, text) = pages.iter().find(|(file, _)| *file == format!("keener-{name}.1")).unwrap();
            assert!(text.contains(".SH SYNOPSIS") && text.contains(name), "{text}");
            assert!(pages[0].1.contains(&name.replace('-', "\\-")), "{name}");
        }
        assert!(pages.iter().any(|(file, _)| file == "keener-papers-run.1"));
        assert!(pages.iter().all(|(_, text)| !text.contains('\u{1b}')));
        assert!(pages[0].1.contains(".SH EXIT STATUS\n.nf\n  0    done\n"), "{}", pages[0].1);
        assert!(pages[0].1.contains(".SH NOTES\n.nf\nTables go"), "{}", pages[0].1);
    }
}
