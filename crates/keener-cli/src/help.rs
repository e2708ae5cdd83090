//! Help that people lay out by hand, brought to the width of the terminal: examples keep their commands whole, what they
//! do stands behind them or below, prose is wrapped.

use crate::output::wrap;

/// Width that help is laid out for; clap asks in the same order.
pub(crate) fn width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(columns).unwrap_or(100).clamp(20, 110)
}

/// Lays out text of three kinds of lines: headings, which end with a colon; entries, which are indented, two spaces or more
/// before what they mean; and prose.
pub(crate) fn laid_out(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let kind = kind_of(line);
        let mut block = vec![line];
        while let Some(next) = lines.next_if(|next| kind == kind_of(next) && matches!(kind, Kind::Entry | Kind::Prose))
        {
            block.push(next);
        }
        out += &match kind {
            Kind::Empty => "\n".to_string(),
            Kind::Heading => format!("\x1b[1m{line}\x1b[0m\n"),
            Kind::Entry => {
                let split = |line: &&str| {
                    let (left, right) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
                    (left.to_string(), right.trim().to_string())
                };
                entries(&block.iter().map(split).collect::<Vec<_>>(), width, 0, false)
            }
            Kind::Prose => wrap(&block.join(" "), width).iter().map(|line| format!("{line}\n")).collect(),
        };
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Empty,
    Heading,
    Entry,
    Prose,
}

fn kind_of(line: &str) -> Kind {
    match line {
        "" => Kind::Empty,
        _ if line.starts_with(' ') => Kind::Entry,
        _ if line.ends_with(':') => Kind::Heading,
        _ => Kind::Prose,
    }
}

/// Things with what they mean, in two columns where there is room for both; the first is at least `least` wide.
pub(crate) fn entries(all: &[(String, String)], width: usize, least: usize, bold: bool) -> String {
    /// Longer things have their meaning below.
    const LONG: usize = 48;
    /// A narrower column of meanings is none.
    const NARROW: usize = 24;
    let length = |text: &str| text.chars().count();
    let column = all.iter().filter(|(_, meaning)| !meaning.is_empty()).map(|(thing, _)| length(thing));
    let column = column.filter(|length| *length <= LONG).max().unwrap_or(0).max(least);
    let beside = column + 4 + NARROW <= width;
    let paint = |text: &str| if bold { format!("\x1b[1m{text}\x1b[0m") } else { text.to_string() };
    let mut out = String::new();
    for (thing, meaning) in all {
        let below = |indent: usize| -> String {
            wrap(meaning, width.saturating_sub(indent).max(1))
                .iter()
                .map(|line| format!("{:indent$}{line}\n", ""))
                .collect()
        };
        if meaning.is_empty() || !beside || length(thing) > column {
            out += &format!("  {}\n", paint(&wrap(thing, width.saturating_sub(8).max(1)).join(" \\\n      ")));
            out += &below(6);
        } else {
            let space = " ".repeat(column - length(thing) + 2);
            out += &format!("  {}{space}{}", paint(thing), below(column + 4).trim_start());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Examples:\n  keener a            does this\n  keener bcd --long  does that\n\nProse that\nis broken.";

    #[test]
    fn wide_terminals_have_two_columns_and_narrow_ones_one() {
        assert_eq!(
            laid_out(TEXT, 80),
            "\x1b[1mExamples:\x1b[0m\n  keener a           does this\n  keener bcd --long  does that\n\nProse that is broken."
        );
        assert_eq!(
            laid_out(TEXT, 30),
            "\x1b[1mExamples:\x1b[0m\n  keener a\n      does this\n  keener bcd --long\n      does that\n\nProse that is broken."
        );
        assert_eq!(laid_out("  keener a --one 1 --two 2", 20), "  keener a \\\n      --one 1 \\\n      --two 2");
        assert_eq!(
            laid_out("  0    done\n  130  it was interrupted by you", 34),
            "  0    done\n  130  it was interrupted by you"
        );
    }

    #[test]
    fn no_line_of_any_help_is_wider_than_the_terminal() {
        fn check(command: &clap::Command, width: usize) {
            let help = command.clone().term_width(width).render_help().to_string();
            // clap does not break its line of usage.
            for line in help.lines().filter(|line| !line.starts_with("Usage:")) {
                // Words that cannot be broken, such as paths and the usage of an option, may stand out.
                assert!(
                    line.chars().count() <= width || line.trim().split(' ').count() <= 2,
                    "{}: {line}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(|below| check(below, width));
        }
        for width in [40, 80, 110] {
            check(&crate::cli::command_for(width), width);
        }
    }
}
