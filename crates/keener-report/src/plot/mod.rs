//! Plots as SVG: each function takes a plain struct of data and returns an [`Svg`].
//!
//! The pictures have no script and no file beside them. Their colours are CSS variables (`--kr-bg`, `--kr-ink`,
//! `--kr-muted`, `--kr-grid`, `--kr-axis`, `--kr-heat`, `--kr-on-heat`, `--kr-1` … `--kr-8`) with values for light and for dark, so one SVG serves
//! both. Series differ by dash and marker as well as by colour.
//!
//! No input is an error: values that cannot be shown are left out and counted in the `<desc>`, an empty plot says that
//! it has no data, long names are cut and keep their full text in a tooltip.

mod axis;
mod bars;
mod canvas;
mod confusion;
mod frame;
mod histogram;
mod intervals;
mod legend;
mod lines;
mod reliability;
mod scatter;
mod style;

use std::fmt;

use serde::Serialize;

pub use axis::{Axis, Mark};
pub use bars::{BarSeries, Bars, bars};
pub use confusion::{Confusion, confusion};
pub use histogram::{Histogram, Sample, histogram};
pub use intervals::{Emphasis, Interval, Intervals, intervals};
pub use lines::{Lines, Series, lines};
pub use reliability::{Reliability, ReliabilityBin, reliability};
pub use scatter::{Scatter, scatter};
pub(crate) use style::{rules, variables};

use crate::escape::escape;

/// The size of a plot in CSS pixels, before its legend; the picture scales to where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Size {
    /// Width; values outside 200 to 2000 are moved to the nearest end.
    pub width: f64,
    /// Height; values outside 120 to 2000 are moved to the nearest end. Plots of rows and matrices find their own.
    pub height: f64,
}

impl Default for Size {
    /// 480 by 300: readable when scaled down to a phone.
    fn default() -> Self {
        Self { width: 480.0, height: 300.0 }
    }
}

impl Size {
    fn checked(self) -> Self {
        let within = |value: f64, low: f64, default: f64| {
            if value.is_finite() { value.clamp(low, 2000.0) } else { default }
        };
        let default = Self::default();
        Self { width: within(self.width, 200.0, default.width), height: within(self.height, 120.0, default.height) }
    }
}

/// A finished picture.
///
/// [`Svg::inline`] is for an HTML page that has the styles ([`Page`](crate::html::Page) does);
/// [`Svg::standalone`] and `Display` give a file of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Svg {
    width: f64,
    height: f64,
    title: String,
    desc: String,
    body: String,
}

impl Svg {
    /// Width of the view box.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// Height of the view box.
    pub fn height(&self) -> f64 {
        self.height
    }

    /// The accessible name.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The accessible description: what is shown, and what was left out.
    pub fn desc(&self) -> &str {
        &self.desc
    }

    /// The `<svg>` element without its styles.
    pub fn inline(&self) -> String {
        self.element("", "")
    }

    /// A whole SVG file with its styles, which follow the viewer's light or dark scheme.
    pub fn standalone(&self) -> String {
        let style = format!("<style>{}{}</style>", variables("svg.kr"), rules());
        let size = format!(" xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\"", self.width, self.height);
        self.element(&size, &style) + "\n"
    }

    fn element(&self, attributes: &str, style: &str) -> String {
        format!(
            "<svg class=\"kr\" role=\"img\" viewBox=\"0 0 {} {}\"{attributes}><title>{}</title><desc>{}</desc>{style}{}</svg>",
            self.width,
            self.height,
            escape(&self.title),
            escape(&self.desc),
            self.body
        )
    }
}

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.standalone())
    }
}

/// `1 value`, `2 values`, with thousands set apart.
fn count_of(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", crate::number::grouped(count as u64), if count == 1 { "" } else { "s" })
}

/// The names of a plot's series for its description; the first twelve and how many more.
fn name_list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let total = names.len();
    let mut list = names.take(12).collect::<Vec<_>>().join(", ");
    if total > 12 {
        list.push_str(&format!(" and {} more", total - 12));
    }
    list
}

/// The sentence that says how many values are not shown; empty where all are.
fn left_out(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " 1 value that is not finite or not on the axis is left out.".to_string(),
        n => format!(" {} that are not finite or not on the axis are left out.", count_of(n, "value")),
    }
}
