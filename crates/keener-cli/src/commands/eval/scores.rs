//! Figures of class scores: classification, calibration and ranking.

use super::figures::{Figure, Group, Pictures};
use anyhow::Result;
use keener::metrics::bootstrap::Bootstrap;
use keener::metrics::calibration::{self, Classwise, DEFAULT_BINS, Gaps};
use keener::metrics::classification::{self as classes, ClassCounts, ConfusionMatrix};
use keener::metrics::{ranking, roc};

/// What score columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Softmax makes probabilities of them.
    Logits,
    /// Rows that sum to one.
    Probabilities,
    /// One column, of which only the order is known; the second class should score higher.
    Decision,
}

/// Class scores `[n, columns]` with labels.
pub(crate) struct Scores {
    pub(crate) values: Vec<f64>,
    pub(crate) columns: usize,
    pub(crate) labels: Vec<usize>,
    pub(crate) kind: Kind,
}

/// Steps of all resamples together that are worth an interval, about a second or two.
const WORK: usize = 3_000_000_000;
/// Scores that are kept sorted, at 16 bytes.
const KEPT: usize = 8_000_000;
/// Fewer resamples make no interval.
const LEAST: usize = 100;
/// Classes that a confusion matrix can show.
const SHOWN: usize = 40;
/// Points of a ROC curve.
const POINTS: usize = 400;

/// As many resamples as the work allows; none where that is too few.
pub(crate) fn afford(bootstrap: &Bootstrap, work: usize) -> Bootstrap {
    let most = (WORK / work.max(1)).min(bootstrap.resamples);
    Bootstrap { resamples: if most < LEAST.min(bootstrap.resamples) { 0 } else { most }, ..*bootstrap }
}

/// All figures that the scores allow.
pub(crate) fn evaluate(
    scores: &Scores,
    cut_offs: &[usize],
    far: &[f64],
    bootstrap: &Bootstrap,
    pictures: &mut Pictures,
) -> Result<Group> {
    let mut group = Group::new("classification", "Classification");
    if scores.kind == Kind::Decision {
        decision(scores, far, bootstrap, pictures, &mut group)?;
        return Ok(group);
    }
    let (n, columns, labels) = (scores.labels.len(), scores.columns, &scores.labels[..]);
    let probabilities = match scores.kind {
        Kind::Logits => classes::softmax(&scores.values, columns)?,
        _ => scores.values.clone(),
    };
    let ranks = classes::label_ranks(&scores.values, columns, labels)?;
    let predicted = classes::argmax(&scores.values, columns)?;
    let averages = |drawn: Option<&[u32]>| -> Result<[f64; 5], keener::Error> {
        let counts = ClassCounts::new(&predicted, labels, columns, drawn)?;
        Ok([
            counts.accuracy(),
            counts.balanced_accuracy(),
            counts.geometric_mean(),
            counts.macro_f1(),
            counts.micro_f1(),
        ])
    };
    let found = averages(None)?;
    let undefined = |_| [f64::NAN; 5];
    let few = afford(bootstrap, n + columns);
    let intervals = few.intervals(n, &found, |drawn| averages(Some(drawn)).unwrap_or_else(undefined).to_vec())?;
    for (name, (value, interval)) in ["accuracy", "balanced_accuracy", "g_mean", "macro_f1", "micro_f1"]
        .into_iter()
        .zip(found.into_iter().zip(intervals))
    {
        group.add(Figure::new(name, value).within(interval));
    }
    rows(scores, &probabilities, &ranks, cut_offs, bootstrap, &mut group)?;
    calibration(scores, &probabilities, bootstrap, pictures, &mut group)?;
    ranked(scores, &probabilities, bootstrap, pictures, &mut group)?;
    if columns <= SHOWN {
        let matrix = ConfusionMatrix::new(&predicted, labels, columns)?;
        pictures.confusion = matrix.counts().chunks(columns).map(<[u64]>::to_vec).collect();
    }
    Ok(group)
}

/// Figures that are means over rows: top-k, NLL, Brier.
fn rows(
    scores: &Scores,
    probabilities: &[f64],
    ranks: &[usize],
    cut_offs: &[usize],
    bootstrap: &Bootstrap,
    group: &mut Group,
) -> Result<()> {
    let (columns, labels) = (scores.columns, &scores.labels[..]);
    let mut names: Vec<String> = Vec::new();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for k in cut_offs.iter().filter(|k| **k > 1 && **k < columns) {
        names.push(format!("top_{k}_accuracy"));
        values.push(ranks.iter().map(|rank| f64::from(rank <= k)).collect());
    }
    let nll = match scores.kind {
        Kind::Logits => classes::nll_rows(&scores.values, columns, labels)?,
        _ => probabilities.chunks_exact(columns).zip(labels).map(|(p, y)| -p[*y].ln()).collect(),
    };
    if nll.iter().all(|v| v.is_finite()) {
        names.push("nll".into());
        values.push(nll);
    } else {
        let zero = nll.iter().filter(|v| !v.is_finite()).count();
        group.add(Figure::new("nll", f64::INFINITY));
        group.note(format!("The true class of {zero} rows has probability 0, so that the NLL is infinite."));
    }
    names.push("brier".into());
    values.push(classes::brier_rows(probabilities, columns, labels)?);
    let by_row: Vec<f64> = (0..labels.len()).flat_map(|i| values.iter().map(move |column| column[i])).collect();
    let intervals = afford(bootstrap, by_row.len()).means(&by_row, names.len())?;
    for ((name, column), interval) in names.into_iter().zip(&values).zip(intervals) {
        let figure = Figure::new(name, column.iter().sum::<f64>() / column.len() as f64);
        group.add(figure.spanning(interval, 0.0, f64::INFINITY));
    }
    Ok(())
}

/// Calibration errors, with bins that stay as they are when rows are drawn again.
fn calibration(
    scores: &Scores,
    probabilities: &[f64],
    bootstrap: &Bootstrap,
    pictures: &mut Pictures,
    group: &mut Group,
) -> Result<()> {
    let (n, columns, labels) = (scores.labels.len(), scores.columns, &scores.labels[..]);
    let mut add = |name: &str, value: f64, settings: Bootstrap, error: &(dyn Fn(&[u32]) -> f64 + Sync)| -> Result<()> {
        let interval = settings.intervals(n, &[value], |drawn| vec![error(drawn)])?.remove(0);
        group.add(Figure::new(name, value).within(interval));
        Ok(())
    };
    let equal = Gaps::confidence(probabilities, columns, labels, DEFAULT_BINS)?;
    let error = calibration::ece(probabilities, columns, labels, DEFAULT_BINS)?;
    add("ece", error, *bootstrap, &|drawn| equal.error(Some(drawn)))?;
    let adaptive = Gaps::adaptive(probabilities, columns, labels, DEFAULT_BINS)?;
    let error = calibration::adaptive_ece(probabilities, columns, labels, DEFAULT_BINS)?;
    add("adaptive_ece", error, *bootstrap, &|drawn| adaptive.error(Some(drawn)))?;
    let classwise = Classwise::new(probabilities, columns, labels, DEFAULT_BINS)?;
    let few = afford(bootstrap, n * columns);
    add("classwise_ece", classwise.error(None), few, &|drawn| classwise.error(Some(drawn)))?;
    pictures.reliability = calibration::reliability_bins(probabilities, columns, labels, DEFAULT_BINS)?;
    Ok(())
}

/// AUROC and average precision of each class against the rest, averaged.
fn ranked(
    scores: &Scores,
    probabilities: &[f64],
    bootstrap: &Bootstrap,
    pictures: &mut Pictures,
    group: &mut Group,
) -> Result<()> {
    let (n, columns, labels) = (scores.labels.len(), scores.columns, &scores.labels[..]);
    let (auroc, precision) = match ranking::macro_auroc(probabilities, columns, labels) {
        Ok(auroc) => (auroc, ranking::macro_average_precision(probabilities, columns, labels)?),
        Err(error @ keener::Error::Undefined { .. }) => {
            group.note(format!("No AUROC and AUPR: {error}."));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if auroc.skipped > 0 {
        group.note(format!("AUROC and AUPR leave out {} classes without rows.", auroc.skipped));
    }
    let few =
        if n * columns > KEPT { Bootstrap { resamples: 0, ..*bootstrap } } else { afford(bootstrap, n * columns) };
    let mut intervals = vec![None, None];
    if few.resamples > 0 {
        let sorted = ranking::columns(probabilities, columns, labels)?;
        intervals = few.intervals(n, &[auroc.value, precision.value], |drawn| {
            let mut sums = [0.0; 2];
            let mut defined = 0.0;
            for column in sorted.iter().flatten() {
                let figures = column.figures(drawn);
                // A class that was not drawn is left out, as one without rows is.
                if figures.iter().all(|f| f.is_finite()) {
                    sums.iter_mut().zip(figures).for_each(|(s, f)| *s += f);
                    defined += 1.0;
                }
            }
            sums.map(|s| s / defined).to_vec()
        })?;
    } else if bootstrap.resamples > 0 {
        group.note("AUROC and AUPR have no intervals: too many scores.");
    }
    group.add(Figure::new("auroc", auroc.value).within(intervals[0]));
    group.add(Figure::new("aupr", precision.value).within(intervals[1]));
    if n * columns <= KEPT {
        let (title, pooled, positive): (&str, Vec<f64>, Vec<bool>) = match columns {
            2 => {
                let second = probabilities.iter().skip(1).step_by(2).copied().collect();
                ("second class", second, labels.iter().map(|y| *y == 1).collect())
            }
            _ => {
                let positive = (0..n * columns).map(|i| labels[i / columns] == i % columns).collect();
                ("classes against the rest, pooled", probabilities.to_vec(), positive)
            }
        };
        pictures.roc.push((title.into(), roc::roc_curve(&pooled, &positive, POINTS)?));
    }
    Ok(())
}

/// One column: the second class against the first, by order alone.
fn decision(
    scores: &Scores,
    far: &[f64],
    bootstrap: &Bootstrap,
    pictures: &mut Pictures,
    group: &mut Group,
) -> Result<()> {
    let positive: Vec<bool> = scores.labels.iter().map(|y| *y == 1).collect();
    let sorted = ranking::Sorted::new(&scores.values, &positive)?;
    let n = positive.len();
    let error = roc::equal_error_rate(&scores.values, &positive)?;
    let accepted = far.iter().map(|rate| roc::true_positive_rate_at(&scores.values, &positive, *rate));
    let accepted = accepted.collect::<Result<Vec<_>, _>>()?;
    let mut values = sorted.figures(&vec![1; n]).to_vec();
    values.push(error.value);
    values.extend(accepted.iter().map(|at| at.value));
    let few = afford(bootstrap, n * (2 + far.len()));
    let intervals = few.intervals(n, &values, |drawn| {
        let mut all = sorted.figures(drawn).to_vec();
        all.push(roc::drawn_equal_error_rate(&sorted, drawn));
        all.extend(far.iter().map(|rate| roc::drawn_true_positive_rate_at(&sorted, drawn, *rate)));
        all
    })?;
    group.add(Figure::new("auroc", values[0]).within(intervals[0]));
    group.add(Figure::new("aupr", values[1]).within(intervals[1]));
    group.add(Figure::new("eer", error.value).within(intervals[2]).at(error.threshold));
    for ((rate, at), interval) in far.iter().zip(accepted).zip(&intervals[3..]) {
        group.add(Figure::new(format!("tar@far={rate}"), at.value).within(*interval).at(at.threshold));
    }
    group.note("One column of scores: only their order is known, so there are no figures of accuracy and calibration; `--as probabilities` or `--as logits` says more.");
    pictures.roc.push(("second class".into(), roc::roc_curve(&scores.values, &positive, POINTS)?));
    Ok(())
}
