//! The legend below a plot.

use super::canvas::{Canvas, colour, cut, dash, text_width};

/// How an entry's sample looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// A line with its dash and, with `true`, its marker.
    Line(bool),
    /// A filled square.
    Fill,
    /// A filled square with a dashed outline.
    Gap,
    /// The point of a scatter plot.
    Point,
}

/// One entry of a legend.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) style: usize,
    pub(crate) sample: Sample,
}

/// Entries set into rows of a given width.
#[derive(Debug, Default)]
pub(crate) struct Legend {
    placed: Vec<(f64, f64, Entry)>,
    more: Option<(f64, f64, usize)>,
    height: f64,
}

const ROW: f64 = 19.0;
const GAP: f64 = 16.0;
const MOST: usize = 40;
const LONGEST: f64 = 190.0;

impl Sample {
    fn width(self) -> f64 {
        match self {
            Sample::Line(_) => 26.0,
            _ => 12.0,
        }
    }
}

impl Legend {
    /// Sets `entries` into rows of `width`; of more than 40 only the first are named, and the count of the others.
    pub(crate) fn new(entries: Vec<Entry>, width: f64) -> Self {
        let hidden = entries.len().saturating_sub(MOST);
        let room = LONGEST.min(width - 40.0);
        let widths: Vec<f64> =
            entries.iter().take(MOST).map(|e| e.sample.width() + 6.0 + text_width(&e.name, 12.0).min(room)).collect();
        // Columns of equal width read best where there are several rows of short names.
        let widest = widths.iter().copied().fold(0.0, f64::max);
        let columns = ((width + GAP) / (widest + GAP)).floor().max(1.0);
        let one_row = widths.iter().sum::<f64>() + GAP * widths.len() as f64 - GAP <= width;
        let grid = !one_row && columns >= 3.0;
        let mut legend = Self::default();
        let (mut x, mut y) = (0.0, 0.0);
        for (entry, own) in entries.into_iter().zip(widths) {
            let step = if grid { width / columns } else { own + GAP };
            if x > 0.0 && x + own > width + 0.5 {
                (x, y) = (0.0, y + ROW);
            }
            legend.placed.push((x, y, entry));
            x += step;
        }
        if hidden > 0 {
            y += ROW;
            legend.more = Some((0.0, y, hidden));
        }
        if !legend.placed.is_empty() {
            legend.height = y + ROW;
        }
        legend
    }

    /// The height it takes; 0 without entries.
    pub(crate) fn height(&self) -> f64 {
        self.height
    }

    pub(crate) fn draw(&self, canvas: &mut Canvas, left: f64, top: f64, width: f64) {
        for (x, y, entry) in &self.placed {
            let (x, y) = (left + x, top + y + 9.0);
            canvas.open(&colour(entry.style));
            match entry.sample {
                Sample::Line(marked) => {
                    canvas.line((x, y), (x + 24.0, y), &format!("ln{}", dash(entry.style)));
                    if marked {
                        canvas.marker(entry.style, x + 12.0, y, "mk");
                    }
                }
                Sample::Fill => canvas.path("br", &format!("M{x:.1} {:.1}h10v10h-10z", y - 5.0)),
                Sample::Gap => canvas.path("gp", &format!("M{x:.1} {:.1}h10v10h-10z", y - 5.0)),
                Sample::Point => canvas.path(point_class(entry.style), &point(entry.style, x + 5.0, y)),
            }
            canvas.close();
            let text_left = x + entry.sample.width() + 5.0;
            let room = LONGEST.min(width - 40.0).max(20.0);
            if cut(&entry.name, room, 12.0) == entry.name {
                canvas.text(text_left, y + 4.0, "", &entry.name);
            } else {
                canvas.text_cut(text_left, y + 4.0, "t", "", &entry.name, room, 12.0);
            }
        }
        if let Some((x, y, hidden)) = self.more {
            canvas.text(left + x, top + y + 13.0, "mu", &format!("and {hidden} more"));
        }
    }
}

/// The class that draws the points of class `index`: dots, then squares, then small shapes.
pub(crate) fn point_class(index: usize) -> &'static str {
    match index / super::style::COLOURS {
        0 => "ds",
        1 => "dq",
        _ => "px",
    }
}

/// One point of class `index` as path data. Dots and squares are zero-length strokes whose ends draw them, which keeps
/// thousands of points small.
pub(crate) fn point(index: usize, x: f64, y: f64) -> String {
    use super::canvas::{marker_path, n};
    match index / super::style::COLOURS {
        0 | 1 => format!("M{} {}h0", n(x), n(y)),
        cycle => marker_path(cycle, x, y, 2.6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize, name: &str) -> Vec<Entry> {
        (0..count).map(|i| Entry { name: format!("{name}{i}"), style: i, sample: Sample::Line(true) }).collect()
    }

    #[test]
    fn entries_never_overlap_or_leave_the_width() {
        for count in [1, 2, 5, 9, 40, 100] {
            for name in ["a", "middling name ", "a name that is so long that it has to be cut somewhere "] {
                let legend = Legend::new(entries(count, name), 420.0);
                let mut last: Option<(f64, f64)> = None;
                for (x, y, entry) in &legend.placed {
                    let end = x + 32.0 + text_width(&entry.name, 12.0).min(LONGEST);
                    assert!(end <= 421.0 || *x == 0.0, "{name}: {end}");
                    if let Some((last_end, last_y)) = last {
                        assert!(*y > last_y || *x >= last_end, "{name}: overlap in row {y}");
                    }
                    last = Some((end, *y));
                }
                assert_eq!(legend.more.is_some(), count > MOST);
                assert!(legend.height() >= ROW);
            }
        }
        assert_eq!(Legend::new(Vec::new(), 400.0).height(), 0.0);
    }
}
