//! A reliability diagram: is a confidence of 0.8 right in 80 % of the cases?

use serde::Serialize;

use super::axis::{Axis, Scale};
use super::canvas::{Area, Canvas};
use super::frame::{Frame, Spec};
use super::legend::{Entry, Sample};
use super::{Size, Svg, count_of, left_out};
use crate::number::{fixed, grouped};

/// What [`reliability`] draws.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Reliability {
    /// The title, drawn above the plot; may be empty.
    pub title: String,
    /// The bins, in order.
    pub bins: Vec<ReliabilityBin>,
    /// The size; the width counts, the height follows. Default width 380.
    pub size: Option<Size>,
}

/// One bin of [`Reliability`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Lower edge of the confidences in the bin, within 0 and 1.
    pub low: f64,
    /// Upper edge.
    pub high: f64,
    /// Mean confidence of the predictions in the bin.
    pub confidence: f64,
    /// Share of them that are right.
    pub accuracy: f64,
    /// How many there are.
    pub count: u64,
}

impl Reliability {
    /// The expected calibration error, `Σ count/total · |accuracy − confidence|`; none without predictions.
    ///
    /// Reference: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599.
    pub fn expected_calibration_error(&self) -> Option<f64> {
        let used = || self.bins.iter().filter(|bin| bin.is_used());
        let total: f64 = used().map(|bin| bin.count as f64).sum();
        let error: f64 = used().map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs()).sum();
        (total > 0.0).then_some(error / total)
    }
}

impl ReliabilityBin {
    /// Whether the bin has predictions and numbers that can be shown.
    fn is_used(&self) -> bool {
        self.count > 0 && self.is_sound()
    }

    fn is_sound(&self) -> bool {
        let numbers = [self.low, self.high, self.confidence, self.accuracy];
        numbers.iter().all(|v| (0.0..=1.0).contains(v)) && self.low < self.high
    }
}

/// Height of the strip of counts below the diagram, and its distance.
const STRIP: f64 = 42.0;
const STRIP_GAP: f64 = 8.0;

/// Draws the accuracy of each bin (where the model is under-confident, up to the end of the gap), the gap to the
/// confidence, the diagonal of perfect calibration and, below, how many predictions each bin has. The expected calibration error stands under the title.
///
/// Bins with values outside 0 to 1 are left out and counted in the description.
pub fn reliability(plot: &Reliability) -> Svg {
    let used: Vec<&ReliabilityBin> = plot.bins.iter().filter(|bin| bin.is_used()).collect();
    let skipped = plot.bins.iter().filter(|bin| bin.count > 0 && !bin.is_sound()).count();
    let total: u64 = used.iter().map(|bin| bin.count).sum();
    let summary = match plot.expected_calibration_error() {
        Some(error) => format!("ECE {} · {} predictions", fixed(error, 3), grouped(total)),
        None => String::new(),
    };
    let unit = |label: &str| Axis::linear(label).range(0.0, 1.0);
    let (x_axis, y_axis) = (unit(""), unit("accuracy"));
    let entry = |name: &str, style, sample| Entry { name: name.into(), style, sample };
    let mut frame = Frame::new(Spec {
        title: &plot.title,
        subtitle: &summary,
        size: plot.size.unwrap_or(Size { width: 380.0, ..Size::default() }),
        x: Scale::fit(&x_axis, [], false),
        y: Scale::fit(&y_axis, [], false),
        x_axis: &x_axis,
        y_axis: &y_axis,
        right: 0.0,
        above: 0.0,
        below: STRIP_GAP + STRIP + 18.0,
        square: true,
        legend: vec![
            entry("accuracy", 0, Sample::Fill),
            entry("over-confident by", 1, Sample::Gap),
            entry("under-confident by", 2, Sample::Gap),
        ],
    });
    let (area, x, y) = (frame.area, frame.x.clone(), frame.y.clone());
    let canvas = &mut frame.canvas;
    for bin in &used {
        let (left, right) = (x.at(bin.low) + 0.7, x.at(bin.high) - 0.7);
        let over = if bin.confidence > bin.accuracy { "over" } else { "under" };
        let tip = format!(
            "{} to {}: confidence {}, accuracy {}, {}, {over}confident by {}",
            fixed(bin.low, 2),
            fixed(bin.high, 2),
            fixed(bin.confidence, 3),
            fixed(bin.accuracy, 3),
            count_of(bin.count as usize, "prediction"),
            fixed((bin.confidence - bin.accuracy).abs(), 3)
        );
        canvas.open_with_tip("", &tip);
        let between = |low: f64, high: f64| Area {
            left,
            top: y.at(high),
            width: (right - left).max(1.0),
            height: y.at(low) - y.at(high),
        };
        let (low, high) = (bin.accuracy.min(bin.confidence), bin.accuracy.max(bin.confidence));
        canvas.open("c1");
        canvas.rect(between(0.0, low), "br", None);
        canvas.close();
        canvas.open(if bin.confidence > bin.accuracy { "c2" } else { "c3" });
        canvas.rect(between(low, high), "gp", None);
        canvas.close();
        canvas.close();
    }
    canvas.line((area.left, area.bottom()), (area.right(), area.top), "rf");
    let strip = Area { top: area.bottom() + 20.0 + STRIP_GAP, height: STRIP, ..area };
    counts(canvas, &used, &x, strip);
    if used.is_empty() {
        frame.say("no data");
    }
    let ece = plot.expected_calibration_error();
    let ece = ece.map(|e| format!(" Expected calibration error {}.", fixed(e, 4))).unwrap_or_default();
    let shown = format!("{} in {}", count_of(total as usize, "prediction"), count_of(used.len(), "bin"));
    let desc = format!("Accuracy against confidence of {shown}.{ece}{}", left_out(skipped));
    let title = if plot.title.is_empty() { "Reliability".to_string() } else { plot.title.clone() };
    frame.finish(title, desc)
}

/// The strip of counts.
fn counts(canvas: &mut Canvas, used: &[&ReliabilityBin], x: &Scale, strip: Area) {
    let most = used.iter().map(|bin| bin.count).max().unwrap_or(1) as f64;
    canvas.open("c8");
    for bin in used {
        // A bin with few predictions still shows.
        let height = (bin.count as f64 / most * strip.height).max(1.0);
        let (left, right) = (x.at(bin.low) + 0.7, x.at(bin.high) - 0.7);
        let bar = Area { left, top: strip.bottom() - height, width: (right - left).max(1.0), height };
        let tip = format!("{} to {}: {}", fixed(bin.low, 2), fixed(bin.high, 2), grouped(bin.count));
        canvas.rect(bar, "br", Some(&tip));
    }
    canvas.close();
    canvas.line((strip.left, strip.bottom()), (strip.right(), strip.bottom()), "ax");
    let middle = strip.left + strip.width / 2.0;
    canvas.text(middle, strip.bottom() + 14.0, "m sm mu", "confidence, and predictions in each bin");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(confidence: f64, accuracy: f64, count: u64) -> ReliabilityBin {
        let low = (confidence * 10.0).floor() / 10.0;
        ReliabilityBin { low, high: low + 0.1, confidence, accuracy, count }
    }

    #[test]
    fn the_error_weighs_bins_by_their_counts() {
        let bins = vec![bin(0.25, 0.15, 10), bin(0.75, 0.75, 30), bin(0.55, f64::NAN, 5), bin(0.35, 0.0, 0)];
        let plot = Reliability { bins, ..Reliability::default() };
        assert!((plot.expected_calibration_error().unwrap() - 0.1 * 10.0 / 40.0).abs() < 1e-12);
        let svg = reliability(&plot);
        assert!(svg.desc().contains("40 predictions in 2 bins") && svg.desc().contains("1 value"), "{}", svg.desc());
        assert_eq!(svg.inline().matches("class=\"gp\"").count(), 4, "a gap for each bin and two in the legend");
    }

    #[test]
    fn no_bins_no_error() {
        assert_eq!(Reliability::default().expected_calibration_error(), None);
        assert!(reliability(&Reliability::default()).inline().contains("no data"));
    }
}
