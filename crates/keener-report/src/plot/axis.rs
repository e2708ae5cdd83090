//! Axes: which values are shown, where they stand, and ticks at round numbers.

use serde::Serialize;

/// One axis of a plot.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Axis {
    /// What is shown, with its unit.
    pub label: String,
    /// Logarithmic; values that are not positive are left out.
    pub log: bool,
    /// The ends; by default those of the data. Ignored where low is not below high or the axis cannot show them.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis over the data's range.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// A logarithmic axis over the data's range.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true, range: None }
    }

    /// Sets the ends.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// Whether `value` has a place on this axis.
    pub(crate) fn shows(&self, value: f64) -> bool {
        // Beyond 1e300 differences of two values would overflow; below 1e-300 logarithms lose their digits.
        value.is_finite() && value.abs() <= 1e300 && (!self.log || value >= 1e-300)
    }

    pub(crate) fn fixed_range(&self) -> Option<(f64, f64)> {
        self.range.filter(|&(low, high)| self.shows(low) && self.shows(high) && low < high)
    }
}

/// A labelled reference value, drawn as a line across the plot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Where.
    pub at: f64,
    /// What it is.
    pub label: String,
}

impl Mark {
    /// A reference line at `at`.
    pub fn new(at: f64, label: impl Into<String>) -> Self {
        Self { at, label: label.into() }
    }
}

/// A tick: a value and how it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// The map from values to coordinates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// A scale that shows all of `values` that the axis can show; with `round`, its ends are round numbers.
    pub(crate) fn fit(axis: &Axis, values: impl IntoIterator<Item = f64>, round: bool) -> Self {
        let mut scale = Self { low: 0.0, high: 1.0, log: axis.log, from: 0.0, to: 1.0 };
        if let Some((low, high)) = axis.fixed_range() {
            (scale.low, scale.high) = (low, high);
            return scale;
        }
        let bounds = values
            .into_iter()
            .filter(|&v| axis.shows(v))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        (scale.low, scale.high) = match bounds {
            (low, high) if low > high => (if axis.log { 0.1 } else { 0.0 }, 1.0),
            (low, high) if axis.log => {
                if high / low < 1.0 + 1e-9 {
                    ((low / 2.0).max(f64::MIN_POSITIVE), high * 2.0)
                } else {
                    (low, high)
                }
            }
            // Constant data, or so nearly that ticks would read the same.
            (low, high) if high - low <= high.abs().max(low.abs()) * 1e-11 || high - low < 1e-290 => {
                let around = if high == 0.0 { 0.5 } else { (high.abs() * 0.1).max(1e-280) };
                (low - around, high + around)
            }
            bounds => bounds,
        };
        if round && !axis.log {
            let step = round_step((scale.high - scale.low) / 5.0);
            let (low, high) = ((scale.low / step + 1e-9).floor() * step, (scale.high / step - 1e-9).ceil() * step);
            if low.is_finite() && high.is_finite() && low < high {
                (scale.low, scale.high) = (low, high);
            }
        }
        scale
    }

    /// Sets the coordinates of the two ends.
    pub(crate) fn place(mut self, from: f64, to: f64) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// The coordinate of `value`, which may lie outside of the scale.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// The coordinate of `value`, held within the scale.
    pub(crate) fn at_clamped(&self, value: f64) -> f64 {
        self.at(value.clamp(self.low, self.high))
    }

    pub(crate) fn contains(&self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }

    /// About `target` ticks at round numbers within the scale.
    pub(crate) fn ticks(&self, target: usize) -> Vec<Tick> {
        let target = target.max(2);
        if self.log {
            let ticks = self.log_ticks(target);
            if ticks.len() >= 2 {
                return ticks;
            }
        }
        let step = round_step((self.high - self.low) / target as f64);
        let (first, last) = ((self.low / step - 1e-6).ceil(), (self.high / step + 1e-6).floor());
        let largest = self.low.abs().max(self.high.abs());
        let mut ticks = Vec::new();
        let mut at = first;
        while at <= last && ticks.len() < 50 {
            let value = at * step;
            ticks.push(Tick { value, label: tick_label(value, step, largest) });
            at += 1.0;
        }
        ticks
    }

    /// Ticks at powers of ten, thinned to `target`; over less than two decades also at 2 and 5.
    fn log_ticks(&self, target: usize) -> Vec<Tick> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let decades = self.high.log10() - self.low.log10();
        let every = ((decades / target as f64).ceil() as i32).max(1);
        let factors: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        for exponent in (first..=last).filter(|e| e % every == 0) {
            for factor in factors {
                let value = factor * 10f64.powi(exponent);
                if value >= self.low * (1.0 - 1e-9) && value <= self.high * (1.0 + 1e-9) {
                    ticks.push(Tick { value, label: log_label(*factor, exponent) });
                }
            }
        }
        ticks
    }
}

/// The nearest to `raw` of 1, 2 and 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    if !raw.is_finite() || raw <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(raw.log10().floor());
    let share = raw / magnitude;
    let factor = match share {
        s if s < 1.5 => 1.0,
        s if s < 3.2 => 2.0,
        s if s < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * magnitude
}

/// A tick's label with as many decimals as the step needs and one unit for the whole axis.
fn tick_label(value: f64, step: f64, largest: f64) -> String {
    if value.abs() < step * 1e-6 {
        return "0".to_string();
    }
    let (unit, suffix) = match largest {
        l if (1e4..1e6).contains(&l) && step >= 10.0 => (1e3, "k".to_string()),
        l if (1e6..1e9).contains(&l) && step >= 1e4 => (1e6, "M".to_string()),
        l if (1e9..1e12).contains(&l) && step >= 1e7 => (1e9, "G".to_string()),
        l if !(1e-3..1e12).contains(&l) => {
            let exponent = l.log10().floor();
            (10f64.powf(exponent), format!("e{exponent}"))
        }
        _ => (1.0, String::new()),
    };
    let decimals = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    let text = format!("{:.decimals$}{suffix}", value / unit);
    text.replace('-', "\u{2212}")
}

fn log_label(factor: f64, exponent: i32) -> String {
    if (-3..=4).contains(&exponent) {
        let value = factor * 10f64.powi(exponent);
        return format!("{value:.*}", (-exponent).max(0) as usize);
    }
    let digits: String = exponent.to_string().chars().map(superscript).collect();
    if factor == 1.0 { format!("10{digits}") } else { format!("{factor}·10{digits}") }
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => c.to_digit(10).and_then(|d| char::from_u32(0x2070 + d)).unwrap_or(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, target: usize) -> Vec<String> {
        scale.ticks(target).into_iter().map(|t| t.label).collect()
    }

    fn fit(values: &[f64], round: bool) -> Scale {
        Scale::fit(&Axis::linear(""), values.iter().copied(), round)
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&fit(&[0.0, 1.0], false), 5), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&fit(&[-3.0, 7.0], false), 5), ["−2", "0", "2", "4", "6"]);
        assert_eq!(labels(&fit(&[0.0, 20000.0], false), 4), ["0", "5k", "10k", "15k", "20k"]);
        assert_eq!(
            labels(&fit(&[0.0, 4e-5], false), 4),
            ["0", "1e-5", "2e-5", "3e-5", "4e-5"].map(|s| s.replace('-', "−"))
        );
        assert_eq!(labels(&fit(&[0.913, 0.918], false), 5), ["0.913", "0.914", "0.915", "0.916", "0.917", "0.918"]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten() {
        let scale = Scale::fit(&Axis::log(""), [1e-6, 1.0, -3.0, 0.0], false);
        assert_eq!((scale.low, scale.high), (1e-6, 1.0));
        assert_eq!(labels(&scale, 8), ["10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]);
        assert_eq!(labels(&Scale::fit(&Axis::log(""), [10.0, 120.0], false), 5), ["10", "20", "50", "100"]);
        assert!(labels(&Scale::fit(&Axis::log(""), [3.1, 3.9], false), 5).len() >= 2);
        assert!(labels(&Scale::fit(&Axis::log(""), [1e-300, 1e300], false), 5).len() <= 8);
    }

    #[test]
    fn any_data_gives_a_proper_scale() {
        let cases: [&[f64]; 8] =
            [&[], &[f64::NAN], &[0.0], &[5.0, 5.0], &[-1e300, 1e300], &[1e-310, 2e-310], &[1e16, 1e16 + 2.0], &[1e308]];
        for values in cases {
            for axis in
                [Axis::linear(""), Axis::log(""), Axis::linear("").range(3.0, 1.0), Axis::log("").range(0.0, 1.0)]
            {
                for round in [false, true] {
                    let scale = Scale::fit(&axis, values.iter().copied(), round).place(0.0, 100.0);
                    assert!(scale.low < scale.high && scale.low.is_finite() && scale.high.is_finite(), "{values:?}");
                    for value in values.iter().filter(|v| axis.shows(**v)) {
                        let at = scale.at(*value);
                        assert!((-0.1..=100.1).contains(&at), "{values:?} {axis:?}: {at}");
                    }
                    let ticks = scale.ticks(5);
                    assert!(ticks.len() <= 20, "{values:?} {axis:?}: {ticks:?}");
                }
            }
        }
    }

    #[test]
    fn a_range_wins_over_the_data() {
        let scale = Scale::fit(&Axis::linear("").range(0.0, 1.0), [5.0], true).place(10.0, 20.0);
        assert_eq!((scale.at(0.5), scale.at_clamped(5.0)), (15.0, 20.0));
    }
}
