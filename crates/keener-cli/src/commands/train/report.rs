//! The report of one training.

use super::Trained;
use anyhow::Result;
use keener::metrics::calibration::{DEFAULT_BINS, reliability_bins};
use keener::metrics::classification::{ConfusionMatrix, argmax, softmax};
use keener::metrics::projection::principal_plane;
use keener_burn::Head;
use keener_burn::compare::Rows;
use keener_report::Svg;
use keener_report::html::{Page, Section};
use keener_report::plot::{self, Axis, Lines, Series};

/// Points of a curve or map.
const POINTS: usize = 800;

/// The whole page.
pub(crate) fn page(trained: &Trained<'_>) -> Result<Page> {
    let (config, rows) = (&trained.config.train, trained.validation);
    let (classes, labels) = (rows.classes, rows.indices());
    let predicted = argmax(&trained.logits, classes)?;
    let confusion = ConfusionMatrix::new(&predicted, &labels, classes)?;
    let last = trained.validations.last().map(|(_, v)| *v);
    let mut numbers = vec![("macro-F1".to_string(), format!("{:.4}", confusion.macro_f1()))];
    if let Some(v) = last {
        numbers.insert(0, ("accuracy".into(), format!("{:.4}", v.accuracy)));
        numbers.push(("NLL".into(), format!("{:.4}, after division by temperature {:.3}", v.nll, v.temperature)));
    }
    numbers.push(("validation rows".into(), labels.len().to_string()));
    let since = if trained.begun > 0 { format!(" since step {}", trained.begun) } else { String::new() };
    numbers.push(("time".into(), format!("{:.1} s{since}", trained.seconds)));
    let bins = reliability_bins(&softmax(&trained.logits, classes)?, classes, &labels, DEFAULT_BINS)?;
    let bins = bins.iter().map(|b| plot::ReliabilityBin {
        low: b.lower,
        high: b.upper,
        confidence: b.confidence,
        accuracy: b.accuracy,
        count: b.count as u64,
    });
    let reliability =
        plot::reliability(&plot::Reliability { title: "Reliability".into(), bins: bins.collect(), size: None });
    let confusion = plot::confusion(&plot::Confusion {
        title: "Confusion".into(),
        classes: trained.data.class_names().to_vec(),
        counts: confusion.counts().chunks(classes).map(<[u64]>::to_vec).collect(),
    });
    let note = "The temperature is fitted on the rows shown here.";
    Ok(Page::new(format!("{} on {}", config.objective, trained.data.name()))
        .subtitle(format!(
            "{} rows, {} features, {classes} classes; {} steps of {} rows",
            trained.data.rows(),
            trained.data.dim(),
            config.steps,
            config.batch_size
        ))
        .section(Section::new("Validation").key_values(numbers))
        .section(Section::new("Curves").figures([(losses(trained), ""), (accuracy(trained), "")]))
        .section(Section::new("Classes").figures([(confusion, ""), (reliability, note)]).figure(map(trained)?, ""))
        .section(
            Section::new("Again").code("sh", &trained.command).code("toml", super::settings::to_text(trained.config)?),
        )
        .footer(format!("keener {}", trained.config.version)))
}

fn losses(trained: &Trained<'_>) -> Svg {
    let width = trained.losses.len().div_ceil(POINTS).max(1);
    let points = trained
        .losses
        .chunks(width)
        .filter_map(|some| Some((some.last()?.0, some.iter().map(|p| p.1).sum::<f64>() / some.len() as f64)));
    plot::lines(&Lines {
        title: "Training loss".into(),
        x: Axis::linear("step"),
        y: Axis::linear("loss"),
        series: vec![Series::new("loss", points)],
        ..Lines::default()
    })
}

fn accuracy(trained: &Trained<'_>) -> Svg {
    plot::lines(&Lines {
        title: "Validation accuracy".into(),
        x: Axis::linear("step"),
        y: Axis::linear("accuracy"),
        series: vec![Series::new("accuracy", trained.validations.iter().map(|(step, v)| (*step, v.accuracy)))],
        ..Lines::default()
    })
}

fn map(trained: &Trained<'_>) -> Result<Svg> {
    let step = step(trained.validation.len());
    let dim = trained.embeddings.len() / trained.validation.len().div_ceil(step).max(1);
    let plane = principal_plane(&trained.embeddings, dim)?;
    Ok(plot::scatter(&plot::Scatter {
        title: "Embeddings of validation rows".into(),
        x: Axis::linear(format!("first direction, {:.0} % of variance", 100.0 * plane.explained[0])),
        y: Axis::linear(format!("second, {:.0} %", 100.0 * plane.explained[1])),
        points: plane.coordinates.iter().map(|[x, y]| (*x, *y)).collect(),
        labels: trained.validation.labels.iter().step_by(step).map(|l| *l as usize).collect(),
        classes: trained.data.class_names().to_vec(),
        equal: true,
        ..plot::Scatter::default()
    }))
}

/// Every how many rows one is drawn.
fn step(rows: usize) -> usize {
    rows.div_ceil(POINTS).max(1)
}

/// Embeddings of the rows that are drawn.
pub(crate) fn pictured(head: &Head, rows: &Rows) -> Result<Vec<f32>> {
    Ok(keener_burn::embed_rows(head, &*rows.features, (0..rows.len()).step_by(step(rows.len())))?)
}
