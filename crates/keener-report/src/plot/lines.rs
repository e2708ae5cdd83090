//! Lines over two axes: learning curves, ROC curves, sweeps.

use serde::Serialize;

use super::axis::{Axis, Mark, Scale};
use super::canvas::{Area, Canvas, colour, cut, dash, n, text_width};
use super::frame::{Frame, Spec};
use super::legend::{Entry, Sample};
use super::{Size, Svg, count_of, left_out, name_list};
use crate::number::{brief, typeset};

/// What [`lines`] draws.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Lines {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// Vertical reference lines.
    pub marks: Vec<Mark>,
    /// Draws the line `y = x`, as for ROC curves.
    pub diagonal: bool,
    /// Makes the plot square; its height then follows from its width.
    pub square: bool,
    /// The size.
    pub size: Size,
}

/// One line of [`Lines`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Series {
    /// The name, for the legend.
    pub name: String,
    /// The points `(x, y)` in the order in which they are joined; a point that cannot be shown leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// For each point the ends `(low, high)` of its band; empty for none.
    pub band: Vec<(f64, f64)>,
}

impl Series {
    /// A line without a band.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect(), band: Vec::new() }
    }

    /// A line through `values` at 0, 1, 2, …
    pub fn indexed(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        Self::new(name, values.into_iter().enumerate().map(|(i, v)| (i as f64, v)))
    }

    /// Sets the ends `(low, high)` of the band, one for each point.
    pub fn band(mut self, band: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.band = band.into_iter().collect();
        self
    }
}

/// Beyond this many points a line is thinned, keeping the lowest and the highest of each stretch.
const MOST_POINTS: usize = 800;
/// Up to this many points each has a marker and a tooltip.
const MARKED: usize = 16;

/// A point with its band, both on the axes.
#[derive(Debug, Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
    band: Option<(f64, f64)>,
}

/// Draws lines, with bands where given.
///
/// Up to five lines are named at their ends where there is room, else in a legend below. Lines of more than 800 points
/// are thinned for size, keeping the extremes.
pub fn lines(plot: &Lines) -> Svg {
    let runs: Vec<Vec<Vec<Point>>> = plot.series.iter().map(|series| runs(series, plot)).collect();
    let shown = || runs.iter().flatten().flatten();
    let total: usize = plot.series.iter().map(|s| s.points.len()).sum();
    let skipped = total - shown().count();
    let runs: Vec<Vec<Vec<Point>>> = runs.iter().map(|s| s.iter().map(|run| thin(run)).collect()).collect();
    let shown = || runs.iter().flatten().flatten();

    let x = Scale::fit(&plot.x, shown().map(|p| p.x), plot.square);
    let bands = shown().filter_map(|p| p.band).flat_map(|(low, high)| [low, high]);
    let y = Scale::fit(&plot.y, shown().map(|p| p.y).chain(bands), true);
    let marked: Vec<bool> =
        runs.iter().map(|series| series.iter().map(Vec::len).sum::<usize>() <= MARKED && !plot.square).collect();

    let spec = |right: f64, legend: Vec<Entry>| {
        let size =
            if plot.square && plot.size == Size::default() { Size { width: 380.0, ..plot.size } } else { plot.size };
        let above = if plot.marks.is_empty() { 0.0 } else { 14.0 };
        Frame::new(Spec {
            title: &plot.title,
            subtitle: "",
            size,
            x_axis: &plot.x,
            y_axis: &plot.y,
            x: x.clone(),
            y: y.clone(),
            right,
            above,
            below: 0.0,
            square: plot.square,
            legend,
        })
    };
    let entries = || {
        let entry =
            |(i, s): (usize, &Series)| Entry { name: s.name.clone(), style: i, sample: Sample::Line(marked[i]) };
        plot.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty()).map(entry).collect::<Vec<_>>()
    };
    let (mut frame, labels) = match direct_labels(plot, &runs, |right| spec(right, Vec::new())) {
        Some((frame, labels)) => (frame, labels),
        None => (spec(0.0, entries()), Vec::new()),
    };

    let Frame { area, x, y, .. } = &frame;
    let (area, x, y) = (*area, x.clone(), y.clone());
    let canvas = &mut frame.canvas;
    if plot.diagonal {
        let (low, high) = (x.low.max(y.low), x.high.min(y.high));
        if low < high {
            canvas.line((x.at(low), y.at(low)), (x.at(high), y.at(high)), "rf");
        }
    }
    draw_marks(canvas, &plot.marks, &x, area);
    canvas.open_clip(Area {
        left: area.left - 5.0,
        top: area.top - 5.0,
        width: area.width + 10.0,
        height: area.height + 10.0,
    });
    for (i, series) in runs.iter().enumerate() {
        canvas.open(&colour(i));
        canvas.path("bd", &series.iter().map(|run| band_path(run, &x, &y)).collect::<String>());
        canvas.close();
    }
    for (i, series) in runs.iter().enumerate() {
        canvas.open(&colour(i));
        let d: String = series.iter().map(|run| line_path(run, &x, &y)).collect();
        let fine = if series.iter().map(Vec::len).sum::<usize>() > 300 { " fi" } else { "" };
        canvas.path(&format!("ln{fine}{}", dash(i)), &d);
        for point in series.iter().flatten().filter(|_| marked[i]) {
            let at = format!("{}, {}", typeset(&brief(point.x)), typeset(&brief(point.y)));
            canvas.open_with_tip("", &format!("{}: {at}", plot.series[i].name));
            canvas.marker(i, x.at(point.x), y.at(point.y), "mk");
            canvas.close();
        }
        canvas.close();
    }
    canvas.close_clip();
    for (i, at) in labels {
        let left = area.right() + 9.0;
        canvas.open(&colour(i));
        canvas.path("fl", &super::canvas::marker_path(i, left + 3.0, at, 3.4));
        if i % 6 == 5 {
            canvas.path("mk", &super::canvas::marker_path(i, left + 3.0, at, 3.0));
        }
        canvas.close();
        canvas.text_cut(left + 11.0, at + 4.0, "t", "", &plot.series[i].name, LABEL_ROOM, 12.0);
    }
    if shown().next().is_none() {
        frame.say("no data");
    }
    let names = name_list(plot.series.iter().map(|s| s.name.as_str()));
    let desc = match plot.series.len() {
        0 => "Line chart without data.".to_string(),
        count => format!(
            "Line chart of {} against {} with {} lines: {names}.{}",
            axis_name(&plot.y, "y"),
            axis_name(&plot.x, "x"),
            count,
            left_out(skipped)
        ),
    };
    let desc = if total > shown().count() + skipped {
        format!("{desc} Drawn from {} of {}.", shown().count(), count_of(total - skipped, "point"))
    } else {
        desc
    };
    let title = if plot.title.is_empty() { desc_title(plot) } else { plot.title.clone() };
    frame.finish(title, desc)
}

/// Room for a name at the end of a line.
const LABEL_ROOM: f64 = 130.0;

fn axis_name<'a>(axis: &'a Axis, default: &'a str) -> &'a str {
    if axis.label.is_empty() { default } else { &axis.label }
}

fn desc_title(plot: &Lines) -> String {
    format!("{} against {}", axis_name(&plot.y, "y"), axis_name(&plot.x, "x"))
}

/// Vertical reference lines with their names above the area.
pub(crate) fn draw_marks(canvas: &mut Canvas, marks: &[Mark], x: &Scale, area: Area) {
    let mut last_end = f64::NEG_INFINITY;
    let mut order: Vec<&Mark> = marks.iter().filter(|m| x.contains(m.at)).collect();
    order.sort_by(|a, b| a.at.total_cmp(&b.at));
    for mark in order {
        let at = x.at(mark.at);
        canvas.line((at, area.top - 3.0), (at, area.bottom()), "rf");
        let label = cut(&mark.label, 120.0, 11.0);
        let half = text_width(&label, 11.0) / 2.0;
        let centre = at.clamp(area.left + half, (area.right() - half).max(area.left + half)).max(last_end + half + 6.0);
        if centre + half <= area.right() + 14.0 {
            canvas.text_cut(centre, area.top - 6.0, "m sm mu", "", &mark.label, 120.0, 11.0);
            last_end = centre + half;
        }
    }
}

/// The parts of a series that can be drawn without a gap.
fn runs(series: &Series, plot: &Lines) -> Vec<Vec<Point>> {
    let mut runs = vec![Vec::new()];
    for (i, &(x, y)) in series.points.iter().enumerate() {
        if plot.x.shows(x) && plot.y.shows(y) {
            let band = series.band.get(i).copied().filter(|&(low, high)| {
                low.is_finite() && plot.y.shows(high) && low <= high && (plot.y.log || plot.y.shows(low))
            });
            // A band that reaches below a logarithmic axis ends at its bottom.
            let band = band.map(|(low, high)| if plot.y.shows(low) { (low, high) } else { (y.min(high), high) });
            if let Some(run) = runs.last_mut() {
                run.push(Point { x, y, band });
            }
        } else if runs.last().is_some_and(|run| !run.is_empty()) {
            runs.push(Vec::new());
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Of each stretch of a long run, its ends, its lowest and its highest point.
fn thin(run: &[Point]) -> Vec<Point> {
    if run.len() <= MOST_POINTS {
        return run.to_vec();
    }
    let stretch = run.len().div_ceil(MOST_POINTS / 4);
    let mut kept = Vec::new();
    for points in run.chunks(stretch) {
        let by = |a: &usize, b: &usize| points[*a].y.total_cmp(&points[*b].y);
        let mut indices = vec![0, points.len() - 1];
        indices.extend((0..points.len()).min_by(by));
        indices.extend((0..points.len()).max_by(by));
        indices.sort_unstable();
        indices.dedup();
        kept.extend(indices.into_iter().map(|i| points[i]));
    }
    kept
}

fn line_path(run: &[Point], x: &Scale, y: &Scale) -> String {
    let mut d = String::new();
    for (i, p) in run.iter().enumerate() {
        let command = ["M", "L"][i.min(1)];
        d.push_str(&format!("{command}{} {}", n(x.at(p.x)), n(y.at(p.y))));
    }
    // A lone point is a dot: the round ends of a line of no length.
    if run.len() == 1 { d + "h0" } else { d }
}

fn band_path(run: &[Point], x: &Scale, y: &Scale) -> String {
    let mut d = String::new();
    for part in run.split(|p| p.band.is_none()).filter(|part| !part.is_empty()) {
        let upper = part.iter().map(|p| (p.x, p.band.map_or(p.y, |b| b.1)));
        let lower = part.iter().rev().map(|p| (p.x, p.band.map_or(p.y, |b| b.0)));
        for (i, (at, value)) in upper.chain(lower).enumerate() {
            let command = ["M", "L"][i.min(1)];
            d.push_str(&format!("{command}{} {}", n(x.at(at)), n(y.at(value))));
        }
        d.push('Z');
    }
    d
}

/// The frame with room for the names at the right, and where each stands; none where there are too many lines or their
/// ends are too close to one another.
fn direct_labels(
    plot: &Lines,
    runs: &[Vec<Vec<Point>>],
    frame: impl Fn(f64) -> Frame,
) -> Option<(Frame, Vec<(usize, f64)>)> {
    const APART: f64 = 16.0;
    const FARTHEST: f64 = 20.0;
    if plot.square || runs.len() < 2 || runs.len() > 5 || plot.series.iter().any(|s| s.name.is_empty()) {
        return None;
    }
    let widest = plot.series.iter().map(|s| text_width(&s.name, 12.0)).fold(0.0, f64::max);
    if widest > LABEL_ROOM {
        return None;
    }
    let frame = frame(widest + 28.0);
    let right = runs.iter().flatten().flatten().map(|p| p.x).fold(f64::NEG_INFINITY, f64::max);
    let mut ends = Vec::new();
    for (i, series) in runs.iter().enumerate() {
        let last = series.last()?.last()?;
        // A line that stops early has its end far from its name.
        if frame.x.at(right) - frame.x.at(last.x) > 30.0 || !frame.y.contains(last.y) {
            return None;
        }
        ends.push((i, frame.y.at(last.y)));
    }
    let wanted = ends.clone();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    for i in 1..ends.len() {
        ends[i].1 = ends[i].1.max(ends[i - 1].1 + APART);
    }
    // Move back up what was pushed below the area.
    let mut limit = frame.area.bottom() + 2.0;
    for end in ends.iter_mut().rev() {
        end.1 = end.1.min(limit);
        limit = end.1 - APART;
    }
    let near = ends.iter().all(|&(i, at)| (wanted[i].1 - at).abs() <= FARTHEST && at >= frame.area.top - 4.0);
    near.then_some((frame, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_kept_and_counted() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (f64::INFINITY, 0.0)];
        let plot = Lines { series: vec![Series::new("a", points)], ..Lines::default() };
        let svg = lines(&plot);
        assert!(svg.desc().contains("2 values that are not finite"), "{}", svg.desc());
        assert_eq!(svg.inline().matches("h0\"").count(), 1, "the lone point is a dot");
        assert!(!svg.inline().contains("NaN") && !svg.inline().contains("inf"));
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let mut points: Vec<(f64, f64)> = (0..50_000).map(|i| (f64::from(i), (f64::from(i) * 0.01).sin())).collect();
        points[12_345].1 = 9.0;
        let series = Series::new("a", points);
        let run = &runs(&series, &Lines::default())[0];
        let thinned = thin(run);
        assert!(thinned.len() <= MOST_POINTS + 4, "{}", thinned.len());
        assert!(thinned.iter().any(|p| p.y == 9.0));
        assert_eq!((thinned[0].x, thinned[thinned.len() - 1].x), (0.0, 49_999.0));
    }

    #[test]
    fn names_stand_at_the_ends_only_where_they_fit() {
        let series = |ends: &[f64]| {
            let make = |(i, end): (usize, &f64)| Series::new(format!("s{i}"), [(0.0, 0.0), (1.0, *end)]);
            Lines { series: ends.iter().enumerate().map(make).collect(), ..Lines::default() }
        };
        let direct = |plot: &Lines| lines(plot).height() <= plot.size.height + 1.0;
        assert!(direct(&series(&[0.1, 0.5, 0.9])));
        assert!(!direct(&series(&[0.5, 0.5, 0.5, 0.5, 0.5])));
        assert!(!direct(&series(&[0.1, 0.2, 0.4, 0.6, 0.8, 1.0])));
    }
}
