//! What an evaluation says: groups of figures, and what could not be said.

use keener::metrics::bootstrap::Interval;
use keener::metrics::calibration::ReliabilityBin;
use keener::metrics::roc::RocPoint;
use keener_report::table::{Cell, Column, Table};
use serde_json::{Map, Value, json};

/// One number, with its interval where there is one.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) interval: Option<Interval>,
    /// The threshold that it belongs to.
    pub(crate) threshold: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, interval: None, threshold: None }
    }

    /// The interval of a figure from 0 to 1.
    pub(crate) fn within(self, interval: Option<Interval>) -> Self {
        self.spanning(interval, 0.0, 1.0)
    }

    /// The interval of a figure from `least` to `greatest`.
    pub(crate) fn spanning(mut self, interval: Option<Interval>, least: f64, greatest: f64) -> Self {
        self.interval = interval.map(|interval| interval.clamp(least, greatest));
        self
    }

    pub(crate) fn at(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    fn cell(&self) -> Cell {
        match self.interval {
            Some(interval) => Cell::interval(self.value, interval.low, interval.high),
            None => Cell::from(self.value),
        }
    }

    fn json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("value".into(), json!(self.value));
        if let Some(interval) = self.interval {
            fields.insert("low".into(), json!(interval.low));
            fields.insert("high".into(), json!(interval.high));
            fields.insert("resamples".into(), json!(interval.resamples));
        }
        if let Some(threshold) = self.threshold {
            fields.insert("threshold".into(), json!(threshold));
        }
        Value::Object(fields)
    }
}

/// Figures of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// The key in JSON.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) figures: Vec<Figure>,
    /// What to know about them.
    pub(crate) notes: Vec<String>,
}

impl Group {
    pub(crate) fn new(name: &'static str, title: impl Into<String>) -> Self {
        Self { name, title: title.into(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(crate) fn table(&self) -> Table {
        let thresholds = self.figures.iter().any(|f| f.threshold.is_some());
        let mut table = Table::new(&self.title).column(Column::text("metric")).column(Column::number("value", 4));
        if thresholds {
            table = table.column(Column::number("threshold", 4).priority(50));
        }
        for figure in &self.figures {
            let threshold = figure.threshold.map_or(Cell::Missing, Cell::from);
            let cells = [Cell::from(figure.name.as_str()), figure.cell()].into_iter();
            table.push(cells.chain(thresholds.then_some(threshold)));
        }
        if self.notes.is_empty() { table } else { table.note(self.notes.join(" ")) }
    }
}

/// What plots are drawn from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pictures {
    pub(crate) reliability: Vec<ReliabilityBin>,
    /// Confusion `[classes, classes]`, where there are few classes.
    pub(crate) confusion: Vec<Vec<u64>>,
    /// ROC curves with their names.
    pub(crate) roc: Vec<(String, Vec<RocPoint>)>,
    /// Values over k with their bands, by measure.
    pub(crate) over_k: Vec<(String, Vec<(usize, Figure)>)>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evaluation {
    pub(crate) source: String,
    /// What was read: names and values.
    pub(crate) subject: Vec<(&'static str, String)>,
    pub(crate) groups: Vec<Group>,
    /// Groups that do not apply, with the reason.
    pub(crate) missing: Vec<(&'static str, String)>,
    pub(crate) pictures: Pictures,
    pub(crate) class_names: Vec<String>,
    pub(crate) seconds: f64,
}

impl Evaluation {
    pub(crate) fn json(&self) -> Value {
        let text = |pairs: &[(&'static str, String)]| -> Map<String, Value> {
            pairs.iter().map(|(name, value)| ((*name).to_string(), json!(value))).collect()
        };
        let mut metrics = Map::new();
        for group in &self.groups {
            let mut fields: Map<String, Value> =
                group.figures.iter().map(|figure| (figure.name.clone(), figure.json())).collect();
            fields.insert("notes".into(), json!(group.notes));
            metrics.insert(group.name.into(), Value::Object(fields));
        }
        json!({
            "source": self.source,
            "subject": text(&self.subject),
            "metrics": metrics,
            "not_applicable": text(&self.missing),
            "seconds": self.seconds,
        })
    }

    /// A line for what does not apply.
    pub(crate) fn missing_table(&self) -> Option<Table> {
        if self.missing.is_empty() {
            return None;
        }
        let mut table = Table::new("Not applicable").column(Column::text("metrics")).column(Column::text("why"));
        for (name, reason) in &self.missing {
            table.push([Cell::from(*name), Cell::from(reason.as_str())]);
        }
        Some(table)
    }
}
