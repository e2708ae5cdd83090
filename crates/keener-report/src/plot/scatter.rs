//! Points in the plane, coloured by class: two-dimensional maps of embeddings.

use serde::Serialize;

use super::axis::{Axis, Scale};
use super::canvas::colour;
use super::frame::{Frame, Spec};
use super::legend::{Entry, Sample, point, point_class};
use super::{Size, Svg, count_of, left_out};
use crate::number::grouped;

/// What [`scatter`] draws.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scatter {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The points `(x, y)`.
    pub points: Vec<(f64, f64)>,
    /// The class of each point; points without one are of class 0.
    pub labels: Vec<usize>,
    /// The names of the classes; a class without one is called by its index.
    pub classes: Vec<String>,
    /// Gives both axes the same scale, so that distances read true.
    pub equal: bool,
    /// Beyond this many points an even choice of each class is drawn, and the subtitle says so. Default 3000.
    pub most: usize,
    /// The size.
    pub size: Size,
}

impl Default for Scatter {
    fn default() -> Self {
        Self {
            title: String::new(),
            x: Axis::default(),
            y: Axis::default(),
            points: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            equal: false,
            most: 3000,
            size: Size { width: 480.0, height: 400.0 },
        }
    }
}

/// Draws points coloured by class: dots for the first eight classes, squares for the next, then other shapes.
pub fn scatter(plot: &Scatter) -> Svg {
    let class_of = |i: usize| plot.labels.get(i).copied().unwrap_or_default();
    let mut by_class: std::collections::BTreeMap<usize, Vec<(f64, f64)>> = std::collections::BTreeMap::new();
    let mut skipped = 0;
    for (i, &(x, y)) in plot.points.iter().enumerate() {
        if plot.x.shows(x) && plot.y.shows(y) {
            by_class.entry(class_of(i)).or_default().push((x, y));
        } else {
            skipped += 1;
        }
    }
    let total: usize = by_class.values().map(Vec::len).sum();
    // Every class keeps its share and at least one point.
    for points in by_class.values_mut().filter(|_| total > plot.most) {
        let keep = (points.len() as f64 * plot.most as f64 / total as f64).round().max(1.0) as usize;
        *points = (0..keep).map(|i| points[i * points.len() / keep]).collect();
    }
    let drawn: usize = by_class.values().map(Vec::len).sum();
    let subtitle = if drawn < total {
        format!("{} of {} shown", grouped(drawn as u64), count_of(total, "point"))
    } else {
        String::new()
    };

    let all = || by_class.values().flatten();
    let mut x = Scale::fit(&plot.x, all().map(|p| p.0), false);
    let mut y = Scale::fit(&plot.y, all().map(|p| p.1), false);
    if !plot.x.log && !plot.y.log {
        let shape =
            if plot.equal { (plot.size.width - 60.0).max(1.0) / (plot.size.height - 70.0).max(1.0) } else { 0.0 };
        (x, y) = spread(x, y, shape);
    }
    let name = |class: usize| {
        plot.classes.get(class).filter(|n| !n.is_empty()).cloned().unwrap_or_else(|| format!("class {class}"))
    };
    let style = |rank: usize, class: usize| if by_class.len() > plot.classes.len() { rank } else { class };
    let alone = by_class.len() <= 1 && plot.classes.len() <= 1;
    let entries = by_class.keys().enumerate().filter(|_| !alone);
    let legend =
        entries.map(|(rank, &class)| Entry { name: name(class), style: style(rank, class), sample: Sample::Point });
    let mut frame = Frame::new(Spec {
        title: &plot.title,
        subtitle: &subtitle,
        size: plot.size,
        x_axis: &plot.x,
        y_axis: &plot.y,
        x,
        y,
        right: 0.0,
        above: 0.0,
        below: 0.0,
        square: false,
        legend: legend.collect(),
    });
    let (area, x, y) = (frame.area, frame.x.clone(), frame.y.clone());
    let canvas = &mut frame.canvas;
    canvas.open_clip(area);
    for (rank, (&class, points)) in by_class.iter().enumerate() {
        let style = style(rank, class);
        let d: String = points.iter().map(|&(px, py)| point(style, x.at(px), y.at(py))).collect();
        canvas.open_with_tip(&colour(style), &name(class));
        canvas.path(point_class(style), &d);
        canvas.close();
    }
    canvas.close_clip();
    if drawn == 0 {
        frame.say("no data");
    }
    let classes = match by_class.len() {
        1 => "1 class".to_string(),
        count => format!("{count} classes"),
    };
    let desc = format!("Scatter plot of {} in {classes}.{}", count_of(total, "point"), left_out(skipped));
    let title = if plot.title.is_empty() { "Scatter plot".to_string() } else { plot.title.clone() };
    frame.finish(title, desc)
}

/// Adds a margin to both scales; with a `shape` (width by height, 0 for none) also gives them one unit.
fn spread(mut x: Scale, mut y: Scale, shape: f64) -> (Scale, Scale) {
    let grow = |scale: &mut Scale, span: f64| {
        let middle = scale.low / 2.0 + scale.high / 2.0;
        (scale.low, scale.high) = (middle - span / 2.0, middle + span / 2.0);
    };
    let (mut width, mut height) = ((x.high - x.low) * 1.06, (y.high - y.low) * 1.06);
    if shape > 0.0 {
        let unit = (width / shape).max(height);
        (width, height) = (unit * shape, unit);
    }
    grow(&mut x, width);
    grow(&mut y, height);
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(count: usize, classes: usize) -> Scatter {
        let at = |i: usize, k: f64| ((i as f64 * k).sin() * 43758.5453).fract();
        Scatter {
            points: (0..count).map(|i| (at(i, 12.9898), at(i, 78.233))).collect(),
            labels: (0..count).map(|i| i % classes).collect(),
            ..Scatter::default()
        }
    }

    #[test]
    fn thousands_of_points_stay_small() {
        let svg = scatter(&cloud(3000, 10)).inline();
        assert_eq!(svg.matches("h0").count(), 3000 + 10);
        assert!(svg.len() < 60_000, "{}", svg.len());
    }

    #[test]
    fn too_many_points_are_thinned_and_said() {
        let svg = scatter(&cloud(20_000, 4));
        assert!(svg.inline().contains("3000 of 20\u{2009}000 points shown"));
        assert_eq!(svg.inline().matches("h0").count(), 3000 + 4);
    }

    #[test]
    fn missing_labels_and_values() {
        let plot = Scatter { points: vec![(0.0, f64::NAN), (1.0, 1.0)], labels: vec![9], ..Scatter::default() };
        let svg = scatter(&plot);
        assert!(svg.desc().contains("1 point in 1 class. 1 value"), "{}", svg.desc());
    }
}
