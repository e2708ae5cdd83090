//! Leader boards as tables.

use keener::metrics::resampling::Comparison;
use keener_burn::compare::{Board, Metric, Row, Verdict};
use keener_report::table::{Cell, Column, Table, Tone};

fn cell(value: Option<Comparison>) -> Cell {
    match value {
        Some(Comparison { mean, low: Some(low), high: Some(high), .. }) => Cell::interval(mean, low, high),
        Some(found) => Cell::from(found.mean),
        None => Cell::Missing,
    }
}

fn verdict(row: &Row) -> Cell {
    match row.verdict {
        Verdict::Best => Cell::badge("best", Tone::Good),
        Verdict::NotDistinguishable => Cell::badge("not distinguishable from the best", Tone::Neutral),
        Verdict::Worse => Cell::badge("worse", Tone::Warn),
        Verdict::Failed => Cell::badge(format!("failed {} times", row.failed), Tone::Bad),
    }
}

/// Metrics of probabilities, which have a table of their own.
fn of_probabilities(metric: Metric) -> bool {
    use Metric::{Brier, BrierScaled, Ece, EceScaled, Nll, NllScaled};
    matches!(metric, Nll | Ece | Brier | NllScaled | EceScaled | BrierScaled)
}

/// The leader board of a scenario.
pub(crate) fn board(board: &Board) -> Table {
    let known = |m: &Metric| *m == Metric::of(board.scenario)[0] || board.rows.iter().any(|r| r.metric(*m).is_some());
    let metrics: Vec<Metric> =
        Metric::of(board.scenario).iter().copied().filter(|m| !of_probabilities(*m) && known(m)).collect();
    let mut table = Table::new(format!("{}: leader board by {}", board.scenario.title(), board.decides))
        .column(Column::text("objective"))
        .column(Column::number(metrics[0].title(), 3))
        .column(Column::number("to best", 3))
        .column(Column::number("p", 3))
        .column(Column::text("verdict"));
    for (k, metric) in metrics.iter().enumerate().skip(1) {
        table = table.column(Column::number(metric.title(), 3).priority(90 - 5 * k as u8));
    }
    table = table
        .column(Column::number("time", 2).unit("s").priority(30))
        .column(Column::text("tuned to").priority(20))
        .column(Column::text("rate").priority(21));
    for row in &board.rows {
        let mut cells = vec![
            Cell::from(row.objective.as_str()),
            cell(row.metric(metrics[0])),
            row.difference.map_or(Cell::Missing, |d| Cell::from(d.mean)),
            row.difference.and_then(|d| d.p_value).map_or(Cell::Missing, Cell::from),
            verdict(row),
        ];
        for metric in &metrics[1..] {
            cells.push(row.metric(*metric).map_or(Cell::Missing, |m| Cell::from(m.mean)));
        }
        cells.push(Cell::from(row.seconds));
        let objective = row.objective.split('@').next().unwrap_or_default();
        let parameters = row.chosen.spec.strip_prefix(objective).unwrap_or(&row.chosen.spec);
        cells.push(Cell::from(parameters.trim_start_matches([':', ','])));
        cells.push(Cell::from(row.chosen.learning_rate.to_string()));
        table.push(cells);
    }
    if board.winner().is_some() {
        table = table.highlight(0);
    }
    table.note(format!(
        "{} repeats; {} training and {} test rows each. Intervals: 95 %, corrected resampled t (Nadeau–Bengio). p: paired \
         difference to the best, Holm-corrected.",
        board.repeats, board.train_rows, board.test_rows,
    ))
}

/// How well probabilities are calibrated, raw and after temperature scaling; none for retrieval.
pub(crate) fn probabilities(board: &Board) -> Option<Table> {
    let metrics: Vec<Metric> = Metric::of(board.scenario).iter().copied().filter(|m| of_probabilities(*m)).collect();
    if metrics.is_empty() {
        return None;
    }
    let mut table = Table::new(format!("{}: probabilities", board.scenario.title())).column(Column::text("objective"));
    for metric in &metrics {
        table = table.column(Column::number(metric.title(), 3));
    }
    for row in &board.rows {
        let mut cells = vec![Cell::from(row.objective.as_str())];
        cells.extend(metrics.iter().map(|m| row.metric(*m).map_or(Cell::Missing, |found| Cell::from(found.mean))));
        table.push(cells);
    }
    Some(table.note(
        "NLL, ECE (15 bins) and Brier after temperature scaling fitted on validation rows, and raw. Less is better.",
    ))
}

/// Everything of a scenario as one flat table for other programs: a line per objective and metric.
pub(crate) fn flat(board: &Board) -> Table {
    let mut table = Table::new("")
        .column(Column::text("scenario"))
        .column(Column::text("objective"))
        .column(Column::text("metric"))
        .column(Column::text("mean"))
        .column(Column::text("low"))
        .column(Column::text("high"))
        .column(Column::text("verdict"))
        .column(Column::text("specification"))
        .column(Column::text("learning_rate"));
    let number = |value: Option<f64>| value.map_or(Cell::Missing, Cell::from);
    for row in &board.rows {
        for (metric, found) in &row.metrics {
            table.push([
                Cell::from(board.scenario.name()),
                Cell::from(row.objective.as_str()),
                Cell::from(*metric),
                Cell::from(found.mean),
                number(found.low),
                number(found.high),
                Cell::from(format!("{:?}", row.verdict)),
                Cell::from(row.chosen.spec.as_str()),
                Cell::from(row.chosen.learning_rate),
            ]);
        }
    }
    table
}
