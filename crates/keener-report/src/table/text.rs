//! The table in a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Align, Cell, Table, Tone};

/// Before a column is dropped, texts are wrapped: down to the least width of the column, or that of their longest word if
/// that is more, but no word keeps a column wider than this.
const LONGEST_WORD: usize = 32;

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

impl Table {
    /// The table for a terminal, in box-drawing characters.
    ///
    /// With a `width` (in character cells) no line is wider: texts are wrapped first, then the columns with the lowest
    /// priority are dropped, the rightmost first, and a line below the table names them. `color` adds ANSI colours.
    /// Control characters in the cells are replaced by spaces, so data cannot drive the terminal.
    pub fn to_text(&self, width: Option<usize>, color: bool) -> String {
        let headings: Vec<String> = self.columns.iter().map(|c| clean(&c.heading())).collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().zip(&self.columns).map(|(cell, column)| clean(&cell.plain(column))).collect())
            .collect();
        let (kept, widths) = self.fit(&headings, &rows, width);
        let paint = |text: &str, code: &str| if color { format!("{code}{text}{RESET}") } else { text.to_string() };

        let mut out = String::new();
        let say = |out: &mut String, text: &str, code: &str| {
            for line in wrap(&clean(text), width.unwrap_or(usize::MAX).max(1)) {
                out.push_str(&paint(&line, code));
                out.push('\n');
            }
        };
        if !self.title.is_empty() {
            say(&mut out, &self.title, BOLD);
        }
        if !kept.is_empty() {
            let rule = |left: char, middle: &str, right: char| {
                let bars: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
                paint(&format!("{left}{}{right}", bars.join(middle)), DIM) + "\n"
            };
            let line = |out: &mut String, texts: Vec<&str>, style: &dyn Fn(usize) -> Option<&'static str>| {
                let wrapped: Vec<Vec<String>> = texts.iter().zip(&widths).map(|(text, w)| wrap(text, *w)).collect();
                for i in 0..wrapped.iter().map(Vec::len).max().unwrap_or(0) {
                    for (slot, lines) in wrapped.iter().enumerate() {
                        let text = lines.get(i).map_or("", String::as_str);
                        let (before, after) = self.columns[kept[slot]].align.split(widths[slot] - text.width());
                        let painted = match style(slot) {
                            Some(code) if !text.is_empty() => paint(text, code),
                            _ => text.to_string(),
                        };
                        out.push_str(&paint("│", DIM));
                        out.push_str(&format!(" {}{painted}{} ", " ".repeat(before), " ".repeat(after)));
                    }
                    out.push_str(&paint("│", DIM));
                    out.push('\n');
                }
            };
            out.push_str(&rule('┌', "┬", '┐'));
            line(&mut out, kept.iter().map(|&c| headings[c].as_str()).collect(), &|_| Some(BOLD));
            out.push_str(&rule('├', "┼", '┤'));
            for (r, texts) in rows.iter().enumerate() {
                let style = |slot: usize| match &self.rows[r][kept[slot]] {
                    Cell::Badge { tone, .. } => Some(tone.ansi()),
                    Cell::Missing => Some(DIM),
                    _ if self.is_highlighted(r) => Some(BOLD),
                    _ => None,
                };
                line(&mut out, kept.iter().map(|&c| texts[c].as_str()).collect(), &style);
            }
            out.push_str(&rule('└', "┴", '┘'));
            if rows.is_empty() {
                say(&mut out, "no rows", DIM);
            }
        }
        let dropped: Vec<&str> =
            (0..headings.len()).filter(|c| !kept.contains(c)).map(|c| self.columns[c].title.as_str()).collect();
        if !dropped.is_empty() {
            let (noun, verb) = if dropped.len() == 1 { ("column", "does") } else { ("columns", "do") };
            let text = format!("{} {noun} {verb} not fit in this width: {}", dropped.len(), dropped.join(", "));
            say(&mut out, &text, DIM);
        }
        for (title, remark) in self.remarks() {
            let text = title.map_or(remark.to_string(), |title| format!("{title}: {remark}"));
            say(&mut out, &text, DIM);
        }
        out
    }

    /// Which columns fit into `limit`, and how wide each is.
    fn fit(&self, headings: &[String], rows: &[Vec<String>], limit: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        let natural: Vec<usize> = (0..headings.len())
            .map(|c| rows.iter().map(|row| row[c].width()).chain([headings[c].width()]).max().unwrap_or(0))
            .collect();
        let mut kept: Vec<usize> = (0..headings.len()).collect();
        let least: Vec<usize> = (0..headings.len())
            .map(|c| {
                let texts = rows.iter().map(|row| &row[c]).chain([&headings[c]]);
                let word = texts.flat_map(|text| text.split(' ')).map(UnicodeWidthStr::width).max().unwrap_or(0);
                word.min(LONGEST_WORD).max(self.columns[c].least)
            })
            .collect();
        let Some(limit) = limit else { return (kept, natural) };
        loop {
            let mut widths: Vec<usize> = kept.iter().map(|&c| natural[c]).collect();
            // Every column costs two spaces and a bar, and there is one bar more.
            let room = limit.saturating_sub(3 * kept.len() + 1);
            while widths.iter().sum::<usize>() > room {
                let widest = (0..kept.len())
                    .filter(|&i| self.is_prose(kept[i]) && widths[i] > least[kept[i]])
                    .max_by_key(|&i| widths[i]);
                let Some(i) = widest else { break };
                widths[i] -= 1;
            }
            if widths.iter().sum::<usize>() <= room {
                return (kept, widths);
            }
            let lowest = (1..kept.len()).rev().min_by_key(|&i| self.columns[kept[i]].priority);
            match lowest {
                Some(i) => drop(kept.remove(i)),
                None => {
                    let only = widths.first().map_or(1, |w| (*w).min(room)).max(1);
                    return (kept, if widths.is_empty() { widths } else { vec![only] });
                }
            }
        }
    }

    /// Whether a column may be wrapped: it holds texts and nothing that reads badly over two lines.
    fn is_prose(&self, column: usize) -> bool {
        self.rows.iter().all(|row| matches!(row[column], Cell::Text(_) | Cell::Missing | Cell::Badge { .. }))
    }
}

impl Align {
    /// Splits `space` into what stands before the text and what stands after it.
    fn split(self, space: usize) -> (usize, usize) {
        match self {
            Align::Left => (0, space),
            Align::Center => (space / 2, space - space / 2),
            Align::Right => (space, 0),
        }
    }
}

impl Tone {
    fn ansi(self) -> &'static str {
        match self {
            Tone::Neutral => "\u{1b}[36m",
            Tone::Good => "\u{1b}[32m",
            Tone::Warn => "\u{1b}[33m",
            Tone::Bad => "\u{1b}[31m",
        }
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Breaks `text` into lines of at most `width` character cells: at spaces, in words that are too long after
/// punctuation, else anywhere.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_string()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let mut rest = word;
        while rest.width() > width {
            let at = break_point(rest, width);
            lines.push(rest[..at].to_string());
            rest = &rest[at..];
        }
        line.push_str(rest);
    }
    lines.push(line);
    lines
}

/// The byte at which a word that is too long is broken; at least one character is taken.
fn break_point(word: &str, width: usize) -> usize {
    let mut used = 0;
    let mut hard = word.chars().next().map_or(0, char::len_utf8);
    let mut soft = None;
    for (at, c) in word.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        hard = at + c.len_utf8();
        if used * 3 > width && ",;:/_-+=".contains(c) {
            soft = Some(hard);
        }
    }
    soft.unwrap_or(hard)
}

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::*;
    use crate::cells;

    fn board() -> Table {
        Table::new("Leader board")
            .column(Column::text("objective"))
            .column(Column::number("accuracy", 3))
            .column(Column::number("macro F1", 3).priority(50))
            .column(Column::number("time", 1).unit("s").priority(10).note("wall clock"))
            .row(["arcface:margin=0.5,scale=64".into(), Cell::interval(0.9, 0.89, 0.91), 0.88.into(), 12.34.into()])
            .row(["gce".into(), Cell::interval(0.871, 0.86, 0.882), Cell::Missing, f64::NAN.into()])
    }

    fn widest(text: &str) -> usize {
        text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    #[test]
    fn every_width_is_kept_and_what_is_dropped_is_named() {
        for width in 30..120 {
            let text = board().to_text(Some(width), false);
            assert!(widest(&text) <= width, "{width}\n{text}");
            let boxed: Vec<usize> = text.lines().filter(|l| l.starts_with(['│', '┌'])).map(|l| l.width()).collect();
            assert!(boxed.windows(2).all(|pair| pair[0] == pair[1]), "ragged at {width}\n{text}");
        }
        let wide = board().to_text(None, false);
        assert!(wide.contains("time (s)") && !wide.contains("not fit"), "{wide}");
        let narrow = board().to_text(Some(72), false);
        assert!(narrow.contains("1 column does not fit in this width: time"), "{narrow}");
        assert!(narrow.contains("macro F1"), "{narrow}");
        let tiny = board().to_text(Some(8), false);
        assert!(tiny.lines().filter(|l| l.starts_with('│')).all(|l| l.width() <= 8), "{tiny}");
    }

    #[test]
    fn numbers_are_right_aligned() {
        let text = Table::new("")
            .column(Column::number("n", 1))
            .row([Cell::from(1.0)])
            .row([Cell::from(100.25)])
            .to_text(None, false);
        assert!(text.contains("│   1.0 │\n│ 100.2 │"), "{text}");
    }

    #[test]
    fn prose_is_wrapped_before_columns_go() {
        let text = Table::new("")
            .column(Column::text("name"))
            .column(Column::text("when"))
            .row(cells!["mae", "labels are noisy and there are few classes so that fitting is not the trouble"])
            .to_text(Some(40), false);
        assert!(widest(&text) <= 40 && text.contains("trouble") && !text.contains("not fit in"), "{text}");
    }

    #[test]
    fn cells_cannot_drive_the_terminal() {
        let table = Table::new("a\u{1b}[2J").column(Column::text("b\nc")).row(cells!["\u{1b}]0;x\u{7}"]);
        let text = table.to_text(Some(40), false);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        assert!(text.contains("b c"));
        assert!(table.to_text(None, true).contains("\u{1b}[1m"));
    }

    #[test]
    fn empty_tables_and_wide_characters() {
        assert_eq!(Table::new("").to_text(Some(20), false), "");
        let text = Table::new("t").column(Column::text("a")).to_text(Some(20), false);
        assert!(text.ends_with("no rows\n"), "{text}");
        let text =
            Table::new("").column(Column::text("名前")).row(cells!["数数数数数数数数数数"]).to_text(Some(11), false);
        assert!(widest(&text) <= 11, "{text}");
    }
}
