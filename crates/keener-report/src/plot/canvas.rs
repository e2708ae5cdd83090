//! Drawing primitives: elements appended to one string, every text escaped, every coordinate rounded.

use std::fmt::Write;

use super::Svg;
use super::style::COLOURS;
use crate::escape::escape;

/// A rectangle in view box units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Area {
    pub(crate) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(crate) fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// A picture in the making.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    body: String,
}

impl Canvas {
    pub(crate) fn open(&mut self, class: &str) {
        let _ = write!(self.body, "<g class=\"{class}\">");
    }

    /// Opens a group with a tooltip.
    pub(crate) fn open_with_tip(&mut self, class: &str, tip: &str) {
        let _ = write!(self.body, "<g class=\"{class}\"><title>{}</title>", escape(tip));
    }

    pub(crate) fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// Opens a nested viewport that shows only what lies within `area`; coordinates inside count from its corner.
    pub(crate) fn open_clip(&mut self, area: Area) {
        let _ = write!(
            self.body,
            "<svg x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">",
            n(area.left),
            n(area.top),
            n(area.width),
            n(area.height)
        );
        let _ = write!(self.body, "<g transform=\"translate({} {})\">", n(-area.left), n(-area.top));
    }

    pub(crate) fn close_clip(&mut self) {
        self.body.push_str("</g></svg>");
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ =
            write!(self.body, "<path class=\"{class}\" d=\"M{} {}L{} {}\"/>", n(from.0), n(from.1), n(to.0), n(to.1));
    }

    pub(crate) fn path(&mut self, class: &str, d: &str) {
        if !d.is_empty() {
            let _ = write!(self.body, "<path class=\"{class}\" d=\"{d}\"/>");
        }
    }

    pub(crate) fn rect(&mut self, area: Area, class: &str, tip: Option<&str>) {
        self.rect_with(area, class, "", tip);
    }

    /// A rectangle with more attributes, which the caller vouches for.
    pub(crate) fn rect_with(&mut self, area: Area, class: &str, attributes: &str, tip: Option<&str>) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{attributes}",
            n(area.left),
            n(area.top),
            n(area.width.max(0.0)),
            n(area.height.max(0.0))
        );
        match tip {
            Some(tip) => {
                let _ = write!(self.body, "><title>{}</title></rect>", escape(tip));
            }
            None => self.body.push_str("/>"),
        }
    }

    /// A text with its baseline at `y`; `class` may hold `m` (middle) or `e` (end).
    pub(crate) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.text_with(x, y, class, "", text);
    }

    /// A text with more attributes, which the caller vouches for.
    pub(crate) fn text_with(&mut self, x: f64, y: f64, class: &str, attributes: &str, text: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = write!(self.body, "<text x=\"{}\" y=\"{}\"{class}{attributes}>{}</text>", n(x), n(y), escape(text));
    }

    /// A text cut to `room` units of width; the whole of it is then in a tooltip.
    pub(crate) fn text_cut(&mut self, x: f64, y: f64, class: &str, attributes: &str, text: &str, room: f64, size: f64) {
        let cut = cut(text, room, size);
        if cut == text {
            return self.text_with(x, y, class, attributes, text);
        }
        let _ = write!(
            self.body,
            "<text x=\"{}\" y=\"{}\" class=\"{class}\"{attributes}>{}<title>{}</title></text>",
            n(x),
            n(y),
            escape(&cut),
            escape(text)
        );
    }

    /// The marker of series `index`, centred at `(x, y)`.
    pub(crate) fn marker(&mut self, index: usize, x: f64, y: f64, class: &str) {
        let d = marker_path(index, x, y, 3.6);
        self.path(class, &d);
    }

    pub(crate) fn finish(self, width: f64, height: f64, title: String, desc: String) -> Svg {
        Svg { width: width.round(), height: height.round(), title, desc, body: self.body }
    }
}

/// Circle, square, triangle, diamond, inverted triangle, cross; then again.
pub(crate) fn marker_path(index: usize, x: f64, y: f64, r: f64) -> String {
    let at = format!("M{} {}", n(x), n(y));
    match index % 6 {
        0 => format!("{at}m{0} 0a{1} {1} 0 1 0 {2} 0a{1} {1} 0 1 0 {3} 0z", n(-r), n(r), n(2.0 * r), n(-2.0 * r)),
        1 => format!("{at}m{0} {0}h{1}v{1}h{2}z", n(-0.9 * r), n(1.8 * r), n(-1.8 * r)),
        2 => format!("{at}m0 {}l{} {}h{}z", n(-1.2 * r), n(1.15 * r), n(2.1 * r), n(-2.3 * r)),
        3 => format!("{at}m0 {0}l{1} {1}l{0} {1}l{0} {0}z", n(-1.25 * r), n(1.25 * r)),
        4 => format!("{at}m0 {}l{} {}h{}z", n(1.2 * r), n(1.15 * r), n(-2.1 * r), n(-2.3 * r)),
        _ => format!("{at}m{0} {0}l{1} {1}m0 {2}l{2} {1}", n(-r), n(2.0 * r), n(-2.0 * r)),
    }
}

/// The colour class of series `index`.
pub(crate) fn colour(index: usize) -> String {
    format!("c{}", index % COLOURS + 1)
}

/// The dash class of series `index`: colour and dash together repeat only after 32 series.
pub(crate) fn dash(index: usize) -> &'static str {
    ["", " d1", " d2", " d3"][(index + index / COLOURS) % 4]
}

/// A coordinate: one decimal, no trailing zero, 0 where it is not finite.
pub(crate) fn n(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_string();
    }
    let tenths = (value.clamp(-1e6, 1e6) * 10.0).round() as i64;
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, tenth) = (tenths.abs() / 10, tenths.abs() % 10);
    if tenth == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{tenth}") }
}

/// The width of `text` at font size `size`, estimated for common sans-serif fonts and rather too wide than too narrow.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'I' => 0.3,
            'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | ' ' | '-' => 0.38,
            'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' | '−' | '+' | '=' | '<' | '>' | '±' => 0.9,
            'A'..='Z' => 0.7,
            '0'..='9' => 0.63,
            c if (c as u32) < 0x2e80 => 0.61,
            _ => 1.05,
        })
        .sum();
    ems * size
}

/// `text` shortened with an ellipsis so that it takes at most `room`.
pub(crate) fn cut(text: &str, room: f64, size: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_string();
    }
    let mut out = String::new();
    let room = room - text_width("…", size);
    for c in text.chars() {
        out.push(c);
        if text_width(&out, size) > room {
            out.pop();
            break;
        }
    }
    out.truncate(out.trim_end().len());
    out + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        assert_eq!([0.0, -0.04, 1.25, -12.0, f64::NAN, 1e300].map(n), ["0", "0", "1.3", "-12", "0", "1000000"]);
    }

    #[test]
    fn cutting_keeps_the_room() {
        let name = "a very long name of an objective with parameters";
        for room in [20.0, 50.0, 100.0] {
            let short = cut(name, room, 12.0);
            assert!(short.ends_with('…') && text_width(&short, 12.0) <= room, "{short}");
        }
        assert_eq!(cut("short", 100.0, 12.0), "short");
    }

    #[test]
    fn the_style_of_a_series_is_unique_for_32_series() {
        let styles: std::collections::HashSet<String> = (0..32).map(|i| colour(i) + dash(i)).collect();
        assert_eq!(styles.len(), 32);
    }
}
