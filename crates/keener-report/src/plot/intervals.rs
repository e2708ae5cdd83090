//! A forest plot: estimates with their intervals, one row each.

use serde::Serialize;

use super::axis::{Axis, Mark, Scale};
use super::canvas::{Area, Canvas, cut, text_width};
use super::frame::{PAD, fitting_ticks, heading};
use super::{Size, Svg, count_of, left_out};
use crate::number::{fixed, typeset};

/// What [`intervals`] draws.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intervals {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The axis of the values.
    pub x: Axis,
    /// The rows, from top to bottom.
    pub rows: Vec<Interval>,
    /// A vertical reference line, such as the baseline or zero.
    pub reference: Option<Mark>,
    /// Decimals of the values at the right. Default 3.
    pub digits: usize,
    /// The width; the height follows from the rows. Default 620.
    pub width: f64,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { title: String::new(), x: Axis::default(), rows: Vec::new(), reference: None, digits: 3, width: 620.0 }
    }
}

/// One row of [`Intervals`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// The name.
    pub name: String,
    /// The estimate.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How much the row stands out.
    pub emphasis: Emphasis,
}

impl Interval {
    /// A plain row.
    pub fn new(name: impl Into<String>, mean: f64, low: f64, high: f64) -> Self {
        Self { name: name.into(), mean, low, high, emphasis: Emphasis::Plain }
    }

    /// Sets how much the row stands out.
    pub fn emphasis(mut self, emphasis: Emphasis) -> Self {
        self.emphasis = emphasis;
        self
    }
}

/// How much a row stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Emphasis {
    /// The best: filled mark, bold name, tinted row.
    Best,
    /// As good as the best within what was measured: filled mark.
    Tied,
    /// Open mark.
    #[default]
    Plain,
}

const ROW: f64 = 25.0;

/// Draws estimates with their intervals, one row each, with the values at the right.
///
/// A row whose estimate cannot be shown keeps its place and says so; an interval without finite ends is left away.
pub fn intervals(plot: &Intervals) -> Svg {
    let width = Size { width: plot.width, ..Size::default() }.checked().width;
    let known = |row: &&Interval| plot.x.shows(row.mean);
    let mut skipped = plot.rows.iter().filter(|row| !known(row)).count();
    let ends = |row: &Interval| {
        let shown = plot.x.shows(row.low) && plot.x.shows(row.high) && row.low <= row.high;
        shown.then_some((row.low, row.high))
    };
    skipped += plot.rows.iter().filter(known).filter(|row| ends(row).is_none()).count();
    let values = plot.rows.iter().filter(known).flat_map(|row| {
        let (low, high) = ends(row).unwrap_or((row.mean, row.mean));
        [row.mean, low, high]
    });
    let scale = Scale::fit(&plot.x, values.chain(plot.reference.iter().map(|m| m.at)), false);

    let texts: Vec<String> = plot.rows.iter().map(|row| value_text(row, ends(row), plot)).collect();
    let name_room = width * 0.36;
    let names = plot.rows.iter().map(|r| text_width(&r.name, 12.5).min(name_room)).fold(0.0, f64::max);
    let numbers = texts.iter().map(|t| text_width(t, 11.0)).fold(0.0, f64::max);
    // Where the values would leave the plot too little room they are in the tooltips only.
    let show_numbers = width - names - numbers - 60.0 >= width * 0.28;
    let right = if show_numbers { numbers + 14.0 } else { 6.0 };

    let mut canvas = Canvas::default();
    let mut top = heading(&mut canvas, &plot.title, "", width) + 4.0;
    if plot.reference.is_some() {
        top += 14.0;
    }
    let left = PAD + names + 18.0;
    let rows = plot.rows.len().max(1);
    let area = Area { left, top, width: (width - left - right - PAD - 6.0).max(60.0), height: ROW * rows as f64 };
    // A small margin keeps the marks off the edge.
    let x = scale.place(area.left + 6.0, area.right() - 6.0);
    let base = area.bottom() + 2.0;

    for (i, _) in plot.rows.iter().enumerate().filter(|(_, row)| row.emphasis == Emphasis::Best) {
        let row = Area { left: PAD - 4.0, top: top + ROW * i as f64, width: width - 2.0 * PAD + 8.0, height: ROW };
        canvas.rect_with(row, "hl", " rx=\"4\"", None);
    }
    let ticks = fitting_ticks(&x, area.width);
    for tick in &ticks {
        canvas.line((x.at(tick.value), top), (x.at(tick.value), base), "g");
        canvas.text(x.at(tick.value), base + 15.0, "m sm mu", &tick.label);
    }
    canvas.line((area.left, base), (area.right(), base), "ax");
    if let Some(mark) = plot.reference.as_ref().filter(|m| plot.x.shows(m.at)) {
        super::lines::draw_marks(&mut canvas, std::slice::from_ref(mark), &x, area);
    }
    for (i, row) in plot.rows.iter().enumerate() {
        let middle = top + ROW * (i as f64 + 0.5);
        let bold = if row.emphasis == Emphasis::Best { "hd" } else { "t" };
        canvas.text_cut(PAD, middle + 4.0, bold, "", &row.name, names, 12.0);
        if show_numbers {
            canvas.text(width - PAD, middle + 4.0, "e sm mu", &texts[i]);
        }
        if !known(&row) {
            canvas.text(area.left + area.width / 2.0, middle + 4.0, "m sm mu ha", "not measured");
            continue;
        }
        canvas.open_with_tip("c1", &format!("{}: {}", row.name, texts[i]));
        if let Some((low, high)) = ends(row) {
            let (from, to) = (x.at_clamped(low), x.at_clamped(high));
            canvas.line((from, middle), (to, middle), "wh");
            for end in [from, to] {
                canvas.line((end, middle - 4.0), (end, middle + 4.0), "wh");
            }
        }
        let at = x.at_clamped(row.mean);
        let class = if row.emphasis == Emphasis::Plain { "mk" } else { "mk fl" };
        match row.emphasis {
            Emphasis::Best => canvas.path(class, &super::canvas::marker_path(3, at, middle, 5.2)),
            _ => canvas.path(class, &super::canvas::marker_path(0, at, middle, 4.2)),
        }
        canvas.close();
    }
    let mut end = base + 20.0;
    if plot.rows.is_empty() {
        canvas.text(area.left + area.width / 2.0, top + ROW / 2.0 + 4.0, "m mu", "no data");
    }
    if !plot.x.label.is_empty() {
        canvas.text_cut(area.left + area.width / 2.0, end + 11.0, "m sm mu", "", &plot.x.label, width, 11.0);
        end += 17.0;
    }
    let best = plot.rows.iter().find(|r| r.emphasis == Emphasis::Best);
    let best = best.map(|r| format!(" Best: {}.", cut(&r.name, 600.0, 12.0))).unwrap_or_default();
    let desc = format!("{} with intervals.{best}{}", count_of(plot.rows.len(), "estimate"), left_out(skipped));
    let title = match (plot.title.is_empty(), plot.x.label.is_empty()) {
        (false, _) => plot.title.clone(),
        (true, false) => plot.x.label.clone(),
        (true, true) => "Estimates with intervals".to_string(),
    };
    canvas.finish(width, end + PAD, title, desc)
}

fn value_text(row: &Interval, ends: Option<(f64, f64)>, plot: &Intervals) -> String {
    if !plot.x.shows(row.mean) {
        return "–".to_string();
    }
    let mean = fixed(row.mean, plot.digits);
    let text = match ends {
        Some((low, high)) => format!("{mean} [{}, {}]", fixed(low, plot.digits), fixed(high, plot.digits)),
        None => mean,
    };
    typeset(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_where_the_value_is() {
        let rows = vec![Interval::new("a", 0.0, 0.0, 0.0), Interval::new("b", 1.0, 0.5, 1.0)];
        let svg = intervals(&Intervals { rows, x: Axis::linear("v").range(0.0, 1.0), ..Intervals::default() });
        let text = svg.inline();
        let tree = roxmltree::Document::parse(&text).unwrap();
        let paths: Vec<&str> = tree
            .descendants()
            .filter(|n| n.attribute("class") == Some("mk"))
            .filter_map(|n| n.attribute("d"))
            .collect();
        let x: Vec<f64> = paths.iter().map(|d| d[1..].split(' ').next().unwrap().parse().unwrap()).collect();
        let whisker = tree.descendants().filter(|n| n.attribute("class") == Some("wh")).nth(3).unwrap();
        let half: f64 = whisker.attribute("d").unwrap()[1..].split(' ').next().unwrap().parse().unwrap();
        assert!((half - (x[0] + x[1]) / 2.0).abs() < 0.11, "{half} between {x:?}");
    }

    #[test]
    fn rows_without_a_value_keep_their_place() {
        let rows = vec![
            Interval::new("a", f64::NAN, 0.0, 1.0),
            Interval::new("b", 1.0, f64::NAN, 2.0),
            Interval::new("c", 1.0, 0.5, 1.5).emphasis(Emphasis::Best),
        ];
        let svg = intervals(&Intervals { rows, ..Intervals::default() });
        assert!(svg.inline().contains("not measured"));
        assert!(svg.desc().contains("2 values") && svg.desc().contains("Best: c."), "{}", svg.desc());
    }
}
