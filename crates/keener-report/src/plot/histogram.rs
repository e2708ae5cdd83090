//! Distributions over one another, such as the similarities of positive and negative pairs.

use serde::Serialize;

use super::axis::{Axis, Mark, Scale};
use super::canvas::{colour, dash, n};
use super::frame::{Frame, Spec};
use super::legend::{Entry, Sample as Key};
use super::{Size, Svg, count_of, left_out, name_list};

/// What [`histogram`] draws.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Histogram {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The axis of the values.
    pub x: Axis,
    /// The distributions.
    pub samples: Vec<Sample>,
    /// Number of bins; by default the Freedman–Diaconis rule, held between 8 and 60.
    pub bins: Option<usize>,
    /// Vertical reference lines, such as a threshold.
    pub marks: Vec<Mark>,
    /// The size.
    pub size: Size,
}

/// One distribution of [`Histogram`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Sample {
    /// The name, for the legend.
    pub name: String,
    /// The values.
    pub values: Vec<f64>,
}

impl Sample {
    /// A distribution of `values`.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        Self { name: name.into(), values: values.into_iter().collect() }
    }
}

/// Draws each distribution as the share of its values in each bin, so that samples of different size compare.
///
/// Values outside of a given range of the axis are left out of the picture but count for the shares.
pub fn histogram(plot: &Histogram) -> Svg {
    let shown: Vec<Vec<f64>> =
        plot.samples.iter().map(|s| s.values.iter().copied().filter(|&v| plot.x.shows(v)).collect()).collect();
    let total: usize = plot.samples.iter().map(|s| s.values.len()).sum();
    let skipped = total - shown.iter().map(Vec::len).sum::<usize>();
    let x = Scale::fit(&plot.x, shown.iter().flatten().copied(), true).place(0.0, 1.0);
    let bins = plot.bins.unwrap_or_else(|| default_bins(&shown, &x)).clamp(1, 400);
    let shares: Vec<Vec<f64>> = shown
        .iter()
        .map(|values| {
            let mut counts = vec![0.0; bins];
            for &value in values.iter().filter(|&&v| x.contains(v)) {
                counts[((x.at(value) * bins as f64) as usize).min(bins - 1)] += 1.0 / values.len() as f64;
            }
            counts
        })
        .collect();
    let y_axis = Axis::linear("share of the values in each bin");
    let y = Scale::fit(&y_axis, shares.iter().flatten().copied().chain([0.0]), true);
    let named = plot.samples.len() > 1 || plot.samples.iter().any(|s| !s.name.is_empty());
    let entry = |(i, s): (usize, &Sample)| Entry { name: s.name.clone(), style: i, sample: Key::Line(false) };
    let mut frame = Frame::new(Spec {
        title: &plot.title,
        subtitle: "",
        size: plot.size,
        x_axis: &plot.x,
        y_axis: &y_axis,
        x,
        y,
        right: 0.0,
        above: if plot.marks.is_empty() { 0.0 } else { 14.0 },
        below: 0.0,
        square: false,
        legend: if named { plot.samples.iter().enumerate().map(entry).collect() } else { Vec::new() },
    });
    let (area, x, y) = (frame.area, frame.x.clone(), frame.y.clone());
    let canvas = &mut frame.canvas;
    for (i, counts) in shares.iter().enumerate() {
        let (mut outline, mut last) = (String::new(), 0.0);
        for (b, &share) in counts.iter().enumerate().chain([(bins, &0.0)]) {
            let at = area.left + area.width * b as f64 / bins as f64;
            if share != last {
                if outline.is_empty() {
                    outline = format!("M{} {}", n(at), n(area.bottom()));
                } else {
                    outline.push_str(&format!("H{}", n(at)));
                }
                outline.push_str(&format!("V{}", n(y.at(share))));
            }
            last = share;
        }
        if outline.is_empty() {
            continue;
        }
        let tip = format!("{}: {}", plot.samples[i].name, count_of(shown[i].len(), "value"));
        canvas.open_with_tip(&colour(i), &tip);
        canvas.path("hs", &format!("{outline}Z"));
        canvas.path(&format!("st{}", dash(i)), &outline);
        canvas.close();
    }
    super::lines::draw_marks(canvas, &plot.marks, &x, area);
    if shown.iter().all(Vec::is_empty) {
        frame.say("no data");
    }
    let names = name_list(plot.samples.iter().map(|s| s.name.as_str()));
    let what = if plot.samples.is_empty() { "no values".to_string() } else { names };
    let desc = format!(
        "Histogram of {what}: {} in {}.{}",
        count_of(total - skipped, "value"),
        count_of(bins, "bin"),
        left_out(skipped)
    );
    let title = match (plot.title.is_empty(), plot.x.label.is_empty()) {
        (false, _) => plot.title.clone(),
        (true, false) => format!("Distribution of {}", plot.x.label),
        (true, true) => "Histogram".to_string(),
    };
    frame.finish(title, desc)
}

/// Bins of width `2 · IQR / n^(1/3)` of the narrowest sample (Freedman and Diaconis 1981), held between 8 and 60.
fn default_bins(samples: &[Vec<f64>], x: &Scale) -> usize {
    let width = samples
        .iter()
        .filter(|values| values.len() >= 4)
        .map(|values| {
            let mut places: Vec<f64> = values.iter().map(|&v| x.at(v)).collect();
            places.sort_by(f64::total_cmp);
            let spread = places[places.len() * 3 / 4] - places[places.len() / 4];
            2.0 * spread / (places.len() as f64).cbrt()
        })
        .fold(f64::INFINITY, f64::min);
    if width > 0.0 { (1.0 / width).ceil().clamp(8.0, 60.0) as usize } else { 30 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tallest_bin_reaches_its_share() {
        let values = [0.1, 0.1, 0.1, 0.9, f64::NAN];
        let svg = histogram(&Histogram {
            x: Axis::linear("v").range(0.0, 1.0),
            samples: vec![Sample::new("s", values)],
            bins: Some(2),
            ..Histogram::default()
        });
        assert!(svg.desc().contains("4 values in 2 bins. 1 value that"), "{}", svg.desc());
        // Shares 0.75 and 0.25 on an axis from 0 to 0.8: the steps stand in the ratio 3 to 1 above the base.
        let text = svg.inline();
        let tree = roxmltree::Document::parse(&text).unwrap();
        let d = tree.descendants().find(|n| n.attribute("class") == Some("st")).unwrap().attribute("d").unwrap();
        let heights: Vec<f64> = d.split('V').skip(1).map(|p| p.split('H').next().unwrap().parse().unwrap()).collect();
        let ratio = (heights[2] - heights[0]) / (heights[2] - heights[1]);
        assert!((ratio - 3.0).abs() < 0.02, "{d}");
    }

    #[test]
    fn constant_and_large_samples_get_a_sane_number_of_bins() {
        let x = Scale::fit(&Axis::linear(""), [0.0, 1.0], true).place(0.0, 1.0);
        assert_eq!(default_bins(&[vec![0.5; 100]], &x), 30);
        let many: Vec<f64> = (0..100_000).map(|i| f64::from(i) / 1e5).collect();
        assert!((8..=60).contains(&default_bins(&[many], &x)));
    }
}
