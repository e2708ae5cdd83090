//! The report of an evaluation.

use super::figures::{Evaluation, Figure};
use keener_report::Svg;
use keener_report::html::{CalloutKind, Page, Section};
use keener_report::plot::{self, Axis, Lines, Series};

/// The whole page.
pub(crate) fn page(evaluation: &Evaluation, command: &str) -> Page {
    let facts = evaluation.subject.iter().map(|(name, value)| ((*name).to_string(), value.clone()));
    let mut page = Page::new(format!("Evaluation of {}", evaluation.source))
        .section(Section::new("What was evaluated").key_values(facts));
    for group in &evaluation.groups {
        let section = Section::new(&group.title).table(group.table());
        let figures: Vec<(Svg, String)> = match group.name {
            "classification" => {
                [confusion(evaluation), reliability(evaluation), roc(evaluation, false)].into_iter().flatten().collect()
            }
            "retrieval" => over_k(evaluation).into_iter().collect(),
            "verification" => roc(evaluation, true).into_iter().collect(),
            _ => Vec::new(),
        };
        page = page.section(if figures.is_empty() { section } else { section.figures(figures) });
    }
    if let Some(table) = evaluation.missing_table() {
        page = page.section(
            Section::new("What was not")
                .table(table)
                .callout(CalloutKind::Note, "Which metrics apply follows from what was given."),
        );
    }
    page.section(Section::new("Again").code("sh", command)).footer(format!("keener {}", env!("CARGO_PKG_VERSION")))
}

fn reliability(evaluation: &Evaluation) -> Option<(Svg, String)> {
    let bin = |b: &keener::metrics::calibration::ReliabilityBin| plot::ReliabilityBin {
        low: b.lower,
        high: b.upper,
        confidence: b.confidence,
        accuracy: b.accuracy,
        count: b.count as u64,
    };
    let bins: Vec<plot::ReliabilityBin> = evaluation.pictures.reliability.iter().map(bin).collect();
    (!bins.is_empty()).then(|| {
        let diagram = plot::Reliability { title: "Reliability".into(), bins, size: None };
        (plot::reliability(&diagram), "15 bins of equal width.".to_string())
    })
}

fn confusion(evaluation: &Evaluation) -> Option<(Svg, String)> {
    let counts = evaluation.pictures.confusion.clone();
    (!counts.is_empty()).then(|| {
        let classes = evaluation.class_names.clone();
        (plot::confusion(&plot::Confusion { title: "Confusion".into(), classes, counts }), String::new())
    })
}

fn roc(evaluation: &Evaluation, pairs: bool) -> Option<(Svg, String)> {
    let wanted = evaluation.pictures.roc.iter().filter(|(name, _)| (name == "pairs") == pairs);
    let series: Vec<Series> = wanted
        .map(|(name, curve)| {
            let points = curve.iter().map(|p| (p.false_positive_rate, p.true_positive_rate));
            Series::new(name, points)
        })
        .collect();
    let words =
        if pairs { ["false accept rate", "true accept rate"] } else { ["false positive rate", "true positive rate"] };
    (!series.is_empty()).then(|| {
        let lines = Lines {
            title: if pairs { "ROC of pairs" } else { "ROC" }.into(),
            x: Axis::linear(words[0]).range(0.0, 1.0),
            y: Axis::linear(words[1]).range(0.0, 1.0),
            series,
            diagonal: true,
            square: true,
            ..Lines::default()
        };
        (plot::lines(&lines), String::new())
    })
}

fn over_k(evaluation: &Evaluation) -> Option<(Svg, String)> {
    let over_k = &evaluation.pictures.over_k;
    let series: Vec<Series> = over_k
        .iter()
        .filter(|(_, points)| points.len() > 1)
        .map(|(name, points)| {
            let mut points = points.clone();
            points.sort_by_key(|(k, _)| *k);
            let ends = |figure: &Figure| figure.interval.map_or((figure.value, figure.value), |i| (i.low, i.high));
            let band: Vec<(f64, f64)> = points.iter().map(|(_, figure)| ends(figure)).collect();
            Series::new(format!("{name}@k"), points.iter().map(|(k, figure)| (*k as f64, figure.value))).band(band)
        })
        .collect();
    (!series.is_empty()).then(|| {
        let lines = Lines {
            title: "Retrieval by cut-off".into(),
            x: Axis::log("k"),
            y: Axis::linear("mean over queries").range(0.0, 1.0),
            series,
            ..Lines::default()
        };
        (plot::lines(&lines), "Bands are bootstrap intervals over queries.".to_string())
    })
}
