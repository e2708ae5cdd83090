//! The frame of plots with two axes: title, margins, grid, ticks, labels and legend.

use super::axis::{Axis, Scale, Tick};
use super::canvas::{Area, Canvas, text_width};
use super::legend::Legend;
use super::{Size, Svg};

/// What a frame is made from; the scales have no coordinates yet.
pub(crate) struct Spec<'a> {
    pub(crate) title: &'a str,
    /// A second line under the title, in muted ink.
    pub(crate) subtitle: &'a str,
    pub(crate) size: Size,
    pub(crate) x_axis: &'a Axis,
    pub(crate) y_axis: &'a Axis,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    /// Room kept free at the right of the area.
    pub(crate) right: f64,
    /// Room kept free above the area.
    pub(crate) above: f64,
    /// Room kept free between the ticks of x and the legend.
    pub(crate) below: f64,
    /// Makes the area square.
    pub(crate) square: bool,
    pub(crate) legend: Vec<super::legend::Entry>,
}

/// A frame that is drawn, open for the data.
pub(crate) struct Frame {
    pub(crate) canvas: Canvas,
    pub(crate) area: Area,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    width: f64,
    height: f64,
}

/// The outer margin of every plot.
pub(crate) const PAD: f64 = 8.0;

/// Draws a plot's title and subtitle and returns where they end; the title is cut to the width.
pub(crate) fn heading(canvas: &mut Canvas, title: &str, subtitle: &str, width: f64) -> f64 {
    let mut top = PAD;
    if !title.is_empty() {
        canvas.text_cut(PAD, top + 12.0, "ti", "", title, width - 2.0 * PAD, 13.5);
        top += 20.0;
    }
    if !subtitle.is_empty() {
        canvas.text_cut(PAD, top + 10.0, "sm mu", "", subtitle, width - 2.0 * PAD, 11.0);
        top += 17.0;
    }
    top
}

impl Frame {
    /// Lays the plot out and draws all but its data.
    pub(crate) fn new(spec: Spec<'_>) -> Self {
        let size = spec.size.checked();
        let mut canvas = Canvas::default();
        let mut top = heading(&mut canvas, spec.title, spec.subtitle, size.width);
        if !spec.y_axis.label.is_empty() {
            canvas.text_cut(PAD, top + 11.0, "sm mu", "", &spec.y_axis.label, size.width - 2.0 * PAD, 11.0);
            top += 17.0;
        }
        top += 6.0 + spec.above;

        let x_label = if spec.x_axis.label.is_empty() { 0.0 } else { 17.0 };
        let bottom = 20.0 + x_label + spec.below;
        // The left margin depends on the ticks, and their number on the height only.
        let rough = size.height - top - bottom - PAD;
        let tall = if spec.square { size.width - 60.0 } else { rough };
        let y_ticks = spec.y.ticks(((tall / 42.0) as usize).clamp(2, 6));
        let left = PAD + y_ticks.iter().map(|t| text_width(&t.label, 11.0)).fold(0.0, f64::max) + 8.0;
        let width = (size.width - left - spec.right.max(16.0)).max(60.0);
        let height = if spec.square { width } else { rough.max(60.0) };
        let area = Area { left, top, width, height };
        let x = spec.x.place(area.left, area.right());
        let y = spec.y.place(area.bottom(), area.top);

        canvas.open("g");
        for tick in &y_ticks {
            let at = y.at(tick.value);
            canvas.line((area.left, at), (area.right(), at), "");
        }
        canvas.close();
        for tick in &y_ticks {
            canvas.text(area.left - 6.0, y.at(tick.value) + 4.0, "e sm mu", &tick.label);
        }
        let x_ticks = fitting_ticks(&x, area.width);
        let base = area.bottom();
        canvas.line((area.left, base), (area.right(), base), "ax");
        for tick in &x_ticks {
            let at = x.at(tick.value);
            canvas.line((at, base), (at, base + 4.0), "ax");
            // Keep the last label within the picture.
            let half = text_width(&tick.label, 11.0) / 2.0;
            let centre = at.min(size.width - half - 1.0);
            canvas.text(centre, base + 16.0, "m sm mu", &tick.label);
        }
        let mut end = base + 20.0;
        if x_label > 0.0 {
            let middle = area.left + area.width / 2.0;
            canvas.text_cut(middle, end + 11.0, "m sm mu", "", &spec.x_axis.label, size.width - 2.0 * PAD, 11.0);
            end += x_label;
        }
        end += spec.below;
        let legend_width = size.width - 2.0 * PAD;
        let legend = Legend::new(spec.legend, legend_width);
        if legend.height() > 0.0 {
            end += 5.0;
            legend.draw(&mut canvas, PAD, end, legend_width);
            end += legend.height();
        }
        Self { canvas, area, x, y, width: size.width, height: end + PAD }
    }

    /// Writes `text` into the middle of the area; for plots without data.
    pub(crate) fn say(&mut self, text: &str) {
        let (x, y) = (self.area.left + self.area.width / 2.0, self.area.top + self.area.height / 2.0);
        self.canvas.text(x, y + 4.0, "m mu", text);
    }

    pub(crate) fn finish(self, title: String, desc: String) -> Svg {
        self.canvas.finish(self.width, self.height, title, desc)
    }
}

/// As many ticks as stand beside one another without touching.
pub(crate) fn fitting_ticks(scale: &Scale, room: f64) -> Vec<Tick> {
    let mut target = ((room / 55.0) as usize).clamp(2, 8);
    loop {
        let ticks = scale.ticks(target);
        let apart = ticks.windows(2).all(|pair| {
            let need = (text_width(&pair[0].label, 11.0) + text_width(&pair[1].label, 11.0)) / 2.0 + 8.0;
            (scale.at(pair[1].value) - scale.at(pair[0].value)).abs() >= need
        });
        if apart || ticks.len() <= 1 {
            return ticks;
        }
        if target <= 2 {
            return ticks.into_iter().take(1).collect();
        }
        target -= 1;
    }
}
