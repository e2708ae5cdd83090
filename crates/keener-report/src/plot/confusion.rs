//! A confusion matrix as a heat map.

use serde::Serialize;

use super::Svg;
use super::canvas::{Area, Canvas, text_width};
use super::frame::{PAD, heading};
use crate::number::{fixed, grouped};

/// What [`confusion`] draws.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Confusion {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The names of the classes; a class without one is called by its index.
    pub classes: Vec<String>,
    /// `counts[t][p]`: how often the true class `t` was predicted as `p`; what is absent counts as zero.
    pub counts: Vec<Vec<u64>>,
}

/// Up to this many classes the cells have numbers.
const NUMBERED: usize = 30;
/// Beyond this many classes neighbours are drawn as one.
const DRAWN: usize = 100;

/// Draws a confusion matrix: rows are the true classes, the colour is a cell's share of its row, up to 30 classes with
/// counts. Beyond 100 classes neighbouring classes are added up, and the subtitle says so.
pub fn confusion(plot: &Confusion) -> Svg {
    let classes =
        plot.counts.iter().map(Vec::len).chain([plot.counts.len(), plot.classes.len()]).max().unwrap_or_default();
    let block = classes.div_ceil(DRAWN).max(1);
    let size = classes.div_ceil(block);
    let mut counts = vec![vec![0u64; size]; size];
    for (t, row) in plot.counts.iter().enumerate() {
        for (p, &count) in row.iter().enumerate() {
            let cell = &mut counts[t / block][p / block];
            *cell = cell.saturating_add(count);
        }
    }
    let name_of = |i: usize| plot.classes.get(i).filter(|n| !n.is_empty()).cloned().unwrap_or_else(|| i.to_string());
    let names: Vec<String> = (0..size)
        .map(|i| match (i * block, ((i + 1) * block).min(classes) - 1) {
            (first, last) if first == last => name_of(first),
            (first, last) => format!("{} to {}", name_of(first), name_of(last)),
        })
        .collect();
    let sum = |row: &[u64]| row.iter().fold(0u64, |sum, &c| sum.saturating_add(c));
    let total = counts.iter().fold(0u64, |all, row| all.saturating_add(sum(row)));
    let right: u64 =
        (0..plot.counts.len()).fold(0, |sum, i| sum.saturating_add(plot.counts[i].get(i).copied().unwrap_or_default()));
    let accuracy = if total > 0 { fixed(right as f64 / total as f64, 3) } else { "unknown".to_string() };

    let cell = match size {
        0..=4 => 56.0,
        5..=8 => 44.0,
        _ => (480.0 / size as f64).clamp(4.5, 40.0),
    };
    let side = cell * size.max(1) as f64;
    let room = |most: f64| names.iter().map(|name| text_width(name, 11.0)).fold(0.0, f64::max).min(most);
    let names_left = room(130.0);
    let longest = room(90.0);
    // Names that are wider than their column stand upright.
    let upright = longest > cell - 4.0;
    let names_top = if upright { longest + 8.0 } else { 12.0 };
    let width = (PAD + 16.0 + names_left + 6.0 + side + PAD).max(360.0);

    let mut canvas = Canvas::default();
    let merged = if block > 1 { format!(" · each row and column holds {block} classes") } else { String::new() };
    let subtitle = if total > 0 {
        format!("accuracy {accuracy} · {} samples · colour: share of the row{merged}", grouped(total))
    } else {
        String::new()
    };
    let top = heading(&mut canvas, &plot.title, &subtitle, width);
    let area =
        Area { left: PAD + 16.0 + names_left + 6.0, top: top + 16.0 + names_top + 4.0, width: side, height: side };
    if size > 0 {
        canvas.text(area.left + side / 2.0, top + 11.0, "m sm mu", "predicted");
        let (x, y) = (PAD + 9.0, area.top + side / 2.0);
        let turned = format!(" transform=\"rotate(-90 {x:.1} {y:.1})\"");
        canvas.text_with(x, y, "m sm mu", &turned, "true class");
    } else {
        canvas.text(width / 2.0, area.top + 4.0, "m mu", "no data");
    }
    let every = (13.0 / cell).ceil().max(1.0) as usize;
    for (i, name) in names.iter().enumerate().step_by(every) {
        let centre = (i as f64 + 0.5) * cell;
        canvas.text_cut(area.left - 6.0, area.top + centre + 4.0, "e sm", "", name, names_left + 1.0, 11.0);
        let (x, y) = (area.left + centre, area.top - 6.0);
        if upright {
            let turned = format!(" transform=\"rotate(-90 {:.1} {y:.1})\"", x + 4.0);
            canvas.text_cut(x + 4.0, y, "sm", &turned, name, longest + 1.0, 11.0);
        } else {
            canvas.text(x, y, "m sm", name);
        }
    }
    // One size for all numbers, unless a few of many digits would make it too small.
    let fits = |text: &str| (cell * 0.9 / text_width(text, 1.0)).min(12.0);
    let font = counts.iter().flatten().map(|&c| fits(&grouped(c))).fold(12.0, f64::min).max(8.0);
    for (t, row) in counts.iter().enumerate() {
        let row_total = sum(row);
        for (p, &count) in row.iter().enumerate().filter(|(_, c)| **c > 0) {
            let share = count as f64 / row_total as f64;
            let (left, top) = (area.left + p as f64 * cell, area.top + t as f64 * cell);
            let place = Area { left, top, width: cell, height: cell };
            let opacity = format!(" fill-opacity=\"{:.2}\"", 0.03 + 0.97 * share);
            let text = grouped(count);
            if size <= NUMBERED {
                let percent = fixed(share * 100.0, 1);
                let tip = format!("{} as {}: {text} ({percent} % of the row)", names[t], names[p]);
                canvas.rect_with(place, "ce", &opacity, Some(&tip));
                let font = fits(&text).min(font);
                if font >= 5.0 {
                    let class = if share > 0.7 { "m on" } else { "m" };
                    let style = format!(" style=\"font-size:{font:.1}px;pointer-events:none\"");
                    canvas.text_with(left + cell / 2.0, top + cell / 2.0 + font * 0.35, class, &style, &text);
                }
            } else {
                canvas.rect_with(place, "ce", &opacity, None);
            }
        }
    }
    if size > 0 {
        canvas.open("g");
        if size <= NUMBERED {
            for i in 1..size {
                let at = i as f64 * cell;
                canvas.line((area.left + at, area.top), (area.left + at, area.bottom()), "");
                canvas.line((area.left, area.top + at), (area.right(), area.top + at), "");
            }
        }
        canvas.close();
        canvas.rect(area, "ax", None);
    }
    let desc = format!("Confusion matrix of {classes} classes, {} samples, accuracy {accuracy}.", grouped(total));
    let title = if plot.title.is_empty() { "Confusion matrix".to_string() } else { plot.title.clone() };
    canvas.finish(width, area.top + side + PAD + 2.0, title, desc)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(size: usize) -> Confusion {
        let count = |t: usize, p: usize| if t == p { 20 } else { (t * 7 + p * 3) as u64 % 4 };
        Confusion {
            title: "m".into(),
            classes: (0..size).map(|i| format!("class {i}")).collect(),
            counts: (0..size).map(|t| (0..size).map(|p| count(t, p)).collect()).collect(),
        }
    }

    #[test]
    fn numbers_up_to_thirty_classes_then_colour_only() {
        let few = confusion(&matrix(12)).inline();
        assert!(few.contains(">20</text>"));
        let many = confusion(&matrix(31)).inline();
        assert!(!many.contains(">20</text>") && many.contains("class=\"ce\""));
    }

    #[test]
    fn many_classes_are_merged_and_the_accuracy_stays_exact() {
        let plot = matrix(250);
        let svg = confusion(&plot);
        assert!(svg.inline().contains("holds 3 classes"));
        let total: u64 = plot.counts.iter().flatten().sum();
        assert!(svg.desc().contains(&format!("accuracy {:.3}", 5000.0 / total as f64)), "{}", svg.desc());
        assert!(svg.width() < 800.0);
    }

    #[test]
    fn ragged_counts_are_zero_where_absent() {
        let plot = Confusion { counts: vec![vec![3], vec![], vec![0, 0, u64::MAX]], ..Confusion::default() };
        let svg = confusion(&plot);
        assert!(svg.desc().contains("3 classes"), "{}", svg.desc());
    }
}
