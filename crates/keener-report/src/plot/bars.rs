//! Horizontal bars: one row a category, one bar a series.

use serde::Serialize;

use super::axis::{Axis, Scale};
use super::canvas::{Area, Canvas, colour, text_width};
use super::frame::{PAD, fitting_ticks, heading};
use super::legend::{Entry, Legend, Sample};
use super::{Size, Svg, count_of, left_out};
use crate::number::{brief, typeset};

/// What [`bars`] draws.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bars {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The axis of the values; it always includes zero and is never logarithmic.
    pub x: Axis,
    /// The names of the rows, from top to bottom.
    pub categories: Vec<String>,
    /// The bars of each row.
    pub series: Vec<BarSeries>,
    /// The width; the height follows from the rows. Default 480.
    pub width: f64,
}

impl Default for Bars {
    fn default() -> Self {
        let width = Size::default().width;
        Self { title: String::new(), x: Axis::default(), categories: Vec::new(), series: Vec::new(), width }
    }
}

/// One series of [`Bars`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BarSeries {
    /// The name, for the legend.
    pub name: String,
    /// One value for each category; what is absent has no bar.
    pub values: Vec<f64>,
}

impl BarSeries {
    /// A series of one value for each category.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        Self { name: name.into(), values: values.into_iter().collect() }
    }
}

/// Draws horizontal bars from zero with their values at the end; several series stand under one another in each row.
pub fn bars(plot: &Bars) -> Svg {
    let width = Size { width: plot.width, ..Size::default() }.checked().width;
    let axis = Axis { log: false, ..plot.x.clone() };
    let longest_series = plot.series.iter().map(|s| s.values.len()).max().unwrap_or_default();
    let rows = plot.categories.len().max(longest_series);
    let value = |s: &BarSeries, row: usize| s.values.get(row).copied().filter(|&v| axis.shows(v));
    let given: usize = plot.series.iter().map(|s| s.values.len()).sum();
    let shown: Vec<f64> = plot.series.iter().flat_map(|s| (0..rows).filter_map(move |row| value(s, row))).collect();
    let skipped = given - shown.len();

    let several = plot.series.len() > 1;
    let thick = if several { 11.0 } else { 15.0 };
    let row_height = thick * plot.series.len().max(1) as f64 + if several { 10.0 } else { 8.0 };
    let name_room = width * 0.4;
    let names = plot.categories.iter().map(|c| text_width(c, 12.0).min(name_room)).fold(0.0, f64::max);
    let label = |v: f64| typeset(&brief(v));
    let label_room = shown.iter().map(|&v| text_width(&label(v), 11.0)).fold(0.0, f64::max) + 8.0;

    let mut canvas = Canvas::default();
    let top = heading(&mut canvas, &plot.title, "", width) + 4.0;
    let negative = shown.iter().any(|&v| v < 0.0);
    let left = PAD + names + 10.0 + if negative { label_room } else { 0.0 };
    let area_width = (width - left - label_room.max(14.0) - PAD).max(60.0);
    let area = Area { left, top, width: area_width, height: row_height * rows.max(1) as f64 + 4.0 };
    let x = Scale::fit(&axis, shown.iter().copied().chain([0.0]), true).place(area.left, area.right());
    let zero = x.at_clamped(0.0);
    for tick in fitting_ticks(&x, area.width) {
        let at = x.at(tick.value);
        canvas.line((at, area.top), (at, area.bottom()), "g");
        canvas.text(at, area.bottom() + 15.0, "m sm mu", &tick.label);
    }
    for row in 0..rows {
        let row_top = area.top + 2.0 + row as f64 * row_height;
        let name = plot.categories.get(row).map_or("", String::as_str);
        canvas.text_cut(PAD + names, row_top + row_height / 2.0 + 4.0, "e", "", name, names + 1.0, 12.0);
        for (i, series) in plot.series.iter().enumerate() {
            let Some(v) = value(series, row) else { continue };
            let end = x.at_clamped(v);
            let bar_top = row_top + if several { 5.0 } else { 4.0 } + i as f64 * thick;
            let bar = Area { left: zero.min(end), top: bar_top, width: (zero - end).abs(), height: thick - 1.0 };
            canvas.open(&colour(i));
            let who = [name, series.name.as_str()].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ");
            canvas.rect(bar, "br", Some(&format!("{who}: {}", label(v))));
            canvas.close();
            let (at, class) = if v < 0.0 { (end - 4.0, "e sm mu") } else { (end + 4.0, "sm mu") };
            canvas.text(at, bar_top + thick / 2.0 + 3.5, class, &label(v));
        }
    }
    canvas.line((zero, area.top), (zero, area.bottom()), "ax");
    if shown.is_empty() {
        canvas.text(area.left + area.width / 2.0, area.top + area.height / 2.0 + 4.0, "m mu", "no data");
    }
    let mut end = area.bottom() + 20.0;
    if !axis.label.is_empty() {
        canvas.text_cut(area.left + area.width / 2.0, end + 11.0, "m sm mu", "", &axis.label, width, 11.0);
        end += 17.0;
    }
    if several {
        let entry = |(i, s): (usize, &BarSeries)| Entry { name: s.name.clone(), style: i, sample: Sample::Fill };
        let legend = Legend::new(plot.series.iter().enumerate().map(entry).collect(), width - 2.0 * PAD);
        legend.draw(&mut canvas, PAD, end + 5.0, width - 2.0 * PAD);
        end += 5.0 + legend.height();
    }
    let desc =
        format!("Bar chart of {} in {}.{}", count_of(shown.len(), "value"), count_of(rows, "row"), left_out(skipped));
    let title = match (plot.title.is_empty(), axis.label.is_empty()) {
        (false, _) => plot.title.clone(),
        (true, false) => axis.label.clone(),
        (true, true) => "Bar chart".to_string(),
    };
    canvas.finish(width, end + PAD, title, desc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_and_negative_ones_go_left() {
        let svg = bars(&Bars {
            categories: vec!["a".into(), "b".into(), "c".into()],
            series: vec![BarSeries::new("s", [1.0, 2.0, -1.0, f64::NAN])],
            ..Bars::default()
        });
        let text = svg.inline();
        let tree = roxmltree::Document::parse(&text).unwrap();
        let bars: Vec<(f64, f64)> = tree
            .descendants()
            .filter(|n| n.has_tag_name("rect"))
            .map(|n| ["x", "width"].map(|a| n.attribute(a).unwrap().parse().unwrap()).into())
            .collect();
        assert_eq!(bars.len(), 3);
        assert!((bars[1].1 - 2.0 * bars[0].1).abs() < 0.2, "{bars:?}");
        assert!((bars[2].0 + bars[2].1 - bars[0].0).abs() < 0.2, "{bars:?}");
        assert!(svg.desc().contains("3 values in 4 rows. 1 value that"), "{}", svg.desc());
    }
}
