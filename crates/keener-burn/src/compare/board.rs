//! The leader board of a scenario: means, intervals, differences to the best, and what may be said about them.

use super::config::Scenario;
use super::error::CompareError;
use super::measure::Metric;
use super::run::{Outcome, Unit};
use super::tune::Chosen;
use keener::metrics::resampling::{Comparison, CorrectedT};
use serde::Serialize;

/// Differences with a corrected p-value of at most this are called differences.
pub(crate) const SIGNIFICANCE: f64 = 0.05;

/// What may be said about an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has the best mean.
    Best,
    /// The repeats do not tell it from the best.
    NotDistinguishable,
    /// It is worse than the best.
    Worse,
    /// At least one of its trainings failed.
    Failed,
}

/// One objective of a leader board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The objective as given.
    pub objective: String,
    /// The parameters it ran with.
    pub chosen: Chosen,
    /// What may be said about it.
    pub verdict: Verdict,
    /// Each metric by its heading: mean and interval.
    pub metrics: Vec<(&'static str, Comparison)>,
    /// The deciding metric of every repeat.
    pub values: Vec<f64>,
    /// Difference to the best in the deciding metric, p corrected for the number of objectives; `None` for the best.
    pub difference: Option<Comparison>,
    /// Mean wall time of a training.
    pub seconds: f64,
    /// Trainings that failed, and why the first did.
    pub failed: usize,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Row {
    /// Mean and interval of a metric.
    pub fn metric(&self, metric: Metric) -> Option<Comparison> {
        self.metrics.iter().find(|(title, _)| *title == metric.title()).map(|(_, value)| *value)
    }
}

/// The leader board of one scenario, best first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Board {
    /// The scenario.
    pub scenario: Scenario,
    /// Heading of the metric that decides.
    pub decides: &'static str,
    /// Repeats.
    pub repeats: usize,
    /// Training rows of a repeat.
    pub train_rows: usize,
    /// Test rows of a repeat.
    pub test_rows: usize,
    /// Objectives, best first; those that failed come last.
    pub rows: Vec<Row>,
}

impl Board {
    /// The best.
    pub fn winner(&self) -> Option<&Row> {
        self.rows.first().filter(|row| row.verdict == Verdict::Best)
    }

    /// Objectives that the repeats do not tell from the best.
    pub fn tied(&self) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::NotDistinguishable).collect()
    }

    /// What may be said, in a sentence.
    pub fn sentence(&self) -> String {
        let Some(winner) = self.winner() else { return "No objective could be trained.".into() };
        let tied = self.tied();
        let others = self.rows.len() - 1 - self.rows.iter().filter(|r| r.verdict == Verdict::Failed).count();
        let mean = winner.values.iter().sum::<f64>() / winner.values.len().max(1) as f64;
        let best = format!("`{}` has the best mean {} ({mean:.3})", winner.objective, self.decides);
        match (others, tied.len()) {
            (0, _) => format!("{best}; there is nothing to compare it with."),
            (_, _) if self.repeats < 2 => {
                format!("{best}; a single repeat does not tell whether that is more than chance.")
            }
            (_, 0) => format!("{best}, and every other objective is distinguishably worse."),
            (all, some) if all == some => {
                format!("{best}, but none of the other {all} is distinguishable from it with {} repeats.", self.repeats)
            }
            (_, _) => {
                let names: Vec<String> = tied.iter().map(|r| format!("`{}`", r.objective)).collect();
                format!("{best}; not distinguishable from it: {}.", names.join(", "))
            }
        }
    }
}

/// Ranks the objectives of a scenario.
///
/// Means have corrected resampled t intervals (Nadeau & Bengio, 2003), cut to the metric's range; differences to the best are paired by repeat, with
/// Holm's correction.
///
/// # Errors
/// Values that are not finite.
pub fn board(outcome: &Outcome, scenario: Scenario) -> Result<Board, CompareError> {
    let metrics = Metric::of(scenario);
    let units: Vec<&Unit> = outcome.units.iter().filter(|u| u.scenario == scenario).collect();
    let (train_rows, test_rows) = units.first().map_or((1, 0), |u| (u.train_rows, u.test_rows));
    let procedure = CorrectedT::new(train_rows, test_rows)?;
    let mut names: Vec<&str> = Vec::new();
    for unit in &units {
        if !names.contains(&unit.objective.as_str()) {
            names.push(&unit.objective);
        }
    }
    let mut rows = Vec::with_capacity(names.len());
    for name in names {
        let mine: Vec<&Unit> = units.iter().copied().filter(|u| u.objective == name).collect();
        let failed: Vec<&&Unit> = mine.iter().filter(|u| u.measures.is_none()).collect();
        let values =
            |metric: Metric| -> Vec<f64> { mine.iter().filter_map(|u| u.measures.as_ref()?.get(metric)).collect() };
        let mut found = Vec::new();
        if failed.is_empty() {
            for metric in metrics {
                let values = values(*metric);
                // F1 of one class, where there are more than two.
                if values.len() < mine.len() {
                    continue;
                }
                let mean = procedure.mean(&values)?;
                // A t interval knows nothing of the range of what it estimates.
                let inside = |end: f64| end.clamp(0.0, metric.greatest());
                found.push((
                    metric.title(),
                    Comparison { low: mean.low.map(inside), high: mean.high.map(inside), ..mean },
                ));
            }
        }
        rows.push(Row {
            objective: name.to_string(),
            chosen: mine[0].chosen.clone(),
            verdict: if failed.is_empty() { Verdict::NotDistinguishable } else { Verdict::Failed },
            metrics: found,
            values: values(metrics[0]),
            difference: None,
            seconds: mine.iter().map(|u| u.seconds).sum::<f64>() / mine.len() as f64,
            failed: failed.len(),
            reason: failed.first().and_then(|u| u.failed.clone()),
        });
    }
    let mean = |row: &Row| match row.verdict {
        Verdict::Failed => f64::NEG_INFINITY,
        _ => row.values.iter().sum::<f64>() / row.values.len().max(1) as f64,
    };
    // Stable: equal means stay in the order in which they were asked for.
    rows.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    let sound = rows.iter().filter(|r| r.verdict != Verdict::Failed).count();
    if sound > 0 {
        rows[0].verdict = Verdict::Best;
        let (best, others) = rows[..sound].split_at_mut(1);
        let values: Vec<Vec<f64>> = others.iter().map(|r| r.values.clone()).collect();
        for (row, difference) in others.iter_mut().zip(procedure.differences(&values, &best[0].values)?) {
            if difference.p_value.is_some_and(|p| p <= SIGNIFICANCE) {
                row.verdict = Verdict::Worse;
            }
            row.difference = Some(difference);
        }
    }
    let repeats = units.iter().map(|u| u.repeat + 1).max().unwrap_or(0);
    Ok(Board { scenario, decides: metrics[0].title(), repeats, train_rows, test_rows, rows })
}
