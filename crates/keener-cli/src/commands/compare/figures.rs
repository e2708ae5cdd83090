//! The pictures of the report.

use keener_burn::compare::{Board, Details, Metric, ReliabilityBar, Task, Unit, Verdict};
use keener_data::Samples;
use keener_report::Svg;
use keener_report::plot::{self, Axis, Emphasis, Interval, Intervals, Lines, Series};

/// Curves that can be told apart in one plot.
const MOST_CURVES: usize = 10;

/// Means with their intervals.
pub(crate) fn forest(board: &Board) -> Svg {
    let metric = Metric::of(board.scenario)[0];
    let row = |row: &keener_burn::compare::Row| {
        let found = row.metric(metric)?;
        let emphasis = match row.verdict {
            Verdict::Best => Emphasis::Best,
            Verdict::NotDistinguishable => Emphasis::Tied,
            _ => Emphasis::Plain,
        };
        let (low, high) = (found.low.unwrap_or(f64::NAN), found.high.unwrap_or(f64::NAN));
        Some(Interval::new(&row.objective, found.mean, low, high).emphasis(emphasis))
    };
    plot::intervals(&Intervals {
        title: format!("{}: {} with 95 % intervals", board.scenario.title(), metric.title()),
        x: Axis::linear(metric.title()),
        rows: board.rows.iter().filter_map(row).collect(),
        ..Intervals::default()
    })
}

/// Paired differences to the best.
pub(crate) fn differences(board: &Board) -> Svg {
    let metric = Metric::of(board.scenario)[0];
    let row = |row: &keener_burn::compare::Row| {
        let found = row.difference?;
        let emphasis = if row.verdict == Verdict::Worse { Emphasis::Plain } else { Emphasis::Tied };
        let (low, high) = (found.low.unwrap_or(f64::NAN), found.high.unwrap_or(f64::NAN));
        Some(Interval::new(&row.objective, found.mean, low, high).emphasis(emphasis))
    };
    plot::intervals(&Intervals {
        title: format!("{}: difference to the best", board.scenario.title()),
        x: Axis::linear(format!("difference in {}", metric.title())),
        rows: board.rows.iter().filter_map(row).collect(),
        reference: Some(plot::Mark::new(0.0, "the best")),
        ..Intervals::default()
    })
}

/// Training loss of each objective, as a share of where it began, so that unlike losses fit one axis.
pub(crate) fn curves(board: &Board, units: &[&Unit]) -> Svg {
    let series = board.rows.iter().take(MOST_CURVES).filter_map(|row| {
        let unit = units.iter().find(|u| u.objective == row.objective && u.repeat == 0)?;
        let first = unit.curve.first()?.1.abs().max(1e-12);
        Some(Series::new(&row.objective, unit.curve.iter().map(|(step, loss)| (*step as f64, loss / first))))
    });
    plot::lines(&Lines {
        title: format!("{}: training loss", board.scenario.title()),
        x: Axis::linear("step"),
        y: Axis::linear("loss, relative to the first steps"),
        series: series.collect(),
        ..Lines::default()
    })
}

/// ROC curves over all classes, pooled.
pub(crate) fn roc(board: &Board, units: &[&Unit]) -> Option<Svg> {
    let series: Vec<Series> = board
        .rows
        .iter()
        .take(5)
        .filter_map(|row| {
            Some(Series::new(&row.objective, details(units, &row.objective)?.classes.as_ref()?.roc.clone()))
        })
        .collect();
    (!series.is_empty()).then(|| {
        plot::lines(&Lines {
            title: format!("{}: ROC, one class against the rest", board.scenario.title()),
            x: Axis::linear("false positive rate").range(0.0, 1.0),
            y: Axis::linear("true positive rate").range(0.0, 1.0),
            series,
            diagonal: true,
            square: true,
            ..Lines::default()
        })
    })
}

fn details<'u>(units: &[&'u Unit], objective: &str) -> Option<&'u Details> {
    units.iter().find(|u| u.objective == objective && u.repeat == 0)?.details.as_ref()
}

fn bins(bars: &[ReliabilityBar]) -> Vec<plot::ReliabilityBin> {
    let bin = |b: &ReliabilityBar| plot::ReliabilityBin {
        low: b.low,
        high: b.high,
        confidence: b.confidence,
        accuracy: b.accuracy,
        count: b.count as u64,
    };
    bars.iter().map(bin).collect()
}

/// Reliability of the first few, before and after temperature scaling.
pub(crate) fn reliability(board: &Board, units: &[&Unit], most: usize) -> Vec<(Svg, String)> {
    let mut found = Vec::new();
    for row in board.rows.iter().take(most) {
        let Some(classes) = details(units, &row.objective).and_then(|d| d.classes.as_ref()) else { continue };
        for (bars, words) in [(&classes.raw, "raw"), (&classes.scaled, "after temperature scaling")] {
            let title = format!("{}, {words}", row.objective);
            let svg = plot::reliability(&plot::Reliability { title, bins: bins(bars), size: None });
            found.push((svg, String::new()));
        }
    }
    found
}

/// Confusion of the best.
pub(crate) fn confusion(board: &Board, units: &[&Unit], data: &Samples) -> Option<Svg> {
    let winner = board.winner()?;
    let classes = details(units, &winner.objective)?.classes.as_ref()?;
    Some(plot::confusion(&plot::Confusion {
        title: format!("{}: confusion of {}", board.scenario.title(), winner.objective),
        classes: data.class_names().to_vec(),
        counts: classes.confusion.clone(),
    }))
}

/// Maps of the embeddings of the best and of the worst.
pub(crate) fn maps(board: &Board, units: &[&Unit], data: &Samples) -> Vec<(Svg, String)> {
    let sound: Vec<&keener_burn::compare::Row> = board.rows.iter().filter(|r| r.verdict != Verdict::Failed).collect();
    let (Some(best), Some(worst)) = (sound.first(), sound.last()) else { return Vec::new() };
    let mut rows = vec![(*best, "best")];
    if worst.objective != best.objective {
        rows.push((*worst, "last"));
    }
    let map = |(row, place): (&keener_burn::compare::Row, &str)| {
        let found = details(units, &row.objective)?;
        let svg = plot::scatter(&plot::Scatter {
            title: format!("{} ({place})", row.objective),
            x: Axis::linear(format!("first direction, {:.0} % of variance", 100.0 * found.explained.0)),
            y: Axis::linear(format!("second, {:.0} %", 100.0 * found.explained.1)),
            points: found.map.clone(),
            labels: found.map_labels.iter().map(|l| *l as usize).collect(),
            classes: data.class_names().to_vec(),
            equal: true,
            ..plot::Scatter::default()
        });
        let what = if board.scenario.task() == Task::Retrieve { "Classes that were not trained on." } else { "" };
        Some((svg, what.to_string()))
    };
    rows.into_iter().filter_map(map).collect()
}

/// Cosines of pairs of one class and of two, for the best and the worst.
pub(crate) fn similarities(board: &Board, units: &[&Unit]) -> Vec<(Svg, String)> {
    let sound: Vec<&keener_burn::compare::Row> = board.rows.iter().filter(|r| r.verdict != Verdict::Failed).collect();
    let mut rows: Vec<&keener_burn::compare::Row> = sound.first().copied().into_iter().collect();
    rows.extend(
        sound.last().copied().filter(|r| Some(r.objective.as_str()) != rows.first().map(|b| b.objective.as_str())),
    );
    let histogram = |row: &keener_burn::compare::Row| {
        let pairs = details(units, &row.objective)?.pairs.as_ref()?;
        let svg = plot::histogram(&plot::Histogram {
            title: format!("{}: cosines of pairs", row.objective),
            x: Axis::linear("cosine"),
            samples: vec![
                plot::Sample::new("one class", pairs.positive.clone()),
                plot::Sample::new("two classes", pairs.negative.clone()),
            ],
            ..plot::Histogram::default()
        });
        Some((svg, String::new()))
    };
    rows.into_iter().filter_map(histogram).collect()
}
