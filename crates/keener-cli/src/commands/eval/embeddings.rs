//! Figures of embeddings: retrieval, verification, clustering and spread.

use super::figures::{Figure, Group, Pictures};
use super::scores::afford;
use super::selection::Selection;
use anyhow::Result;
use keener::metrics::bootstrap::Bootstrap;
use keener::metrics::clustering::{Contingency, KMeans};
use keener::metrics::embedding::{UniformityConfig, tolerance, uniformity};
use keener::metrics::retrieval::Retrieval;
use keener::metrics::verification::Verification;
use keener::metrics::{Measure, Similarity};
use keener::real::Real;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::PathBuf;

/// Rows over which uniformity is computed, whose time grows with their square.
const SPREAD_ROWS: usize = 20_000;

/// Embeddings with labels, and what they are compared with where that is another set.
pub(crate) struct Embeddings<T> {
    pub(crate) values: Vec<T>,
    pub(crate) labels: Vec<usize>,
    pub(crate) dim: usize,
    /// References and their labels, in the same numbering.
    pub(crate) gallery: Option<(Vec<T>, Vec<usize>)>,
}

/// How embeddings are evaluated.
pub(crate) struct Settings {
    pub(crate) similarity: Similarity,
    pub(crate) far: Vec<f64>,
    pub(crate) clusters: Option<usize>,
    /// Where the clusters of the rows go.
    pub(crate) cluster_file: Option<PathBuf>,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) seed: u64,
}

/// The groups that were found, and those that are undefined with the reason.
pub(crate) type Found = (Vec<Group>, Vec<(&'static str, String)>);

/// All groups of the selection.
pub(crate) fn evaluate<T: Real>(
    embeddings: &Embeddings<T>,
    settings: &Settings,
    selection: &Selection,
    pictures: &mut Pictures,
) -> Result<Found> {
    let (mut groups, mut missing) = (Vec::new(), Vec::new());
    let mut take = |name: &'static str, found: Result<Group>| -> Result<()> {
        match found {
            Ok(group) => groups.push(group),
            Err(error) => match error.downcast_ref::<keener::Error>() {
                Some(keener::Error::Undefined { reason, .. }) => missing.push((name, reason.clone())),
                _ => return Err(error),
            },
        }
        Ok(())
    };
    if selection.has("retrieval") {
        take("retrieval", retrieval(embeddings, settings, selection.measures(), pictures))?;
    }
    if selection.has("verification") {
        take("verification", verification(embeddings, settings, pictures))?;
    }
    if selection.has("clustering") {
        take("clustering", clustering(embeddings, settings))?;
    }
    if selection.has("spread") {
        take("spread", spread(embeddings, settings))?;
    }
    Ok((groups, missing))
}

fn retrieval<T: Real>(
    embeddings: &Embeddings<T>,
    settings: &Settings,
    measures: &[Measure],
    pictures: &mut Pictures,
) -> Result<Group> {
    let config = Retrieval { similarity: settings.similarity, measures: measures.to_vec() };
    let (values, labels, dim) = (&embeddings.values, &embeddings.labels, embeddings.dim);
    let report = match &embeddings.gallery {
        Some((references, others)) => config.against(values, labels, references, others, dim)?,
        None => config.leave_one_out(values, dim, labels)?,
    };
    let intervals = afford(&settings.bootstrap, report.values.len()).means(&report.values, measures.len())?;
    let mut group = Group::new("retrieval", "Retrieval");
    for ((measure, mean), interval) in report.measures.iter().zip(&report.means).zip(intervals) {
        let figure = Figure::new(measure.to_string(), *mean).within(interval);
        group.add(figure.clone());
        let (Measure::RecallAt(k) | Measure::FoundAt(k) | Measure::PrecisionAt(k)) = measure else { continue };
        let name = measure.to_string();
        let name = name.split('@').next().unwrap_or(&name);
        match pictures.over_k.iter_mut().find(|(n, _)| n == name) {
            Some((_, points)) => points.push((*k, figure)),
            None => pictures.over_k.push((name.into(), vec![(*k, figure)])),
        }
    }
    let against = if embeddings.gallery.is_some() { "the gallery" } else { "all other rows" };
    group.note(format!(
        "{} queries against {against}; {} queries without a relevant reference are left out. recall@k is the share of queries with a hit among the k nearest, found@k the share of what is relevant that is found there. Of equally similar references the lower row comes first.",
        report.queries.len(),
        report.excluded
    ));
    Ok(group)
}

fn verification<T: Real>(embeddings: &Embeddings<T>, settings: &Settings, pictures: &mut Pictures) -> Result<Group> {
    let config = Verification {
        similarity: settings.similarity,
        far: settings.far.clone(),
        seed: settings.seed,
        ..Verification::default()
    };
    let (values, labels, dim) = (&embeddings.values, &embeddings.labels, embeddings.dim);
    let report = match &embeddings.gallery {
        Some((references, others)) => config.between(values, labels, references, others, dim)?,
        None => config.within(values, dim, labels)?,
    };
    let (rows, of) = report.rows;
    let values = report.figures(&vec![1; rows]);
    let intervals = afford(&settings.bootstrap, rows * 128).intervals(rows, &values, |drawn| report.figures(drawn))?;
    let mut group = Group::new("verification", "Verification");
    group.add(Figure::new("auroc", report.auroc).within(intervals[0]));
    let error = report.equal_error_rate;
    group.add(Figure::new("eer", error.value).within(intervals[1]).at(error.threshold));
    for ((rate, at), interval) in report.true_accept_rate.iter().zip(&intervals[2..]) {
        group.add(Figure::new(format!("tar@far={rate}"), at.value).within(*interval).at(at.threshold));
    }
    let sampled = if rows < of { format!(" of a sample of {rows} of {of} rows") } else { String::new() };
    group.note(format!(
        "{} pairs of one class, {} of two{sampled}. Intervals draw rows, not pairs.",
        report.positives, report.negatives
    ));
    pictures.roc.push(("pairs".into(), report.curve));
    Ok(group)
}

fn clustering<T: Real>(embeddings: &Embeddings<T>, settings: &Settings) -> Result<Group> {
    let (values, labels, dim) = (&embeddings.values, &embeddings.labels, embeddings.dim);
    let mut distinct = labels.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let config = KMeans {
        clusters: settings.clusters.unwrap_or(distinct.len()),
        normalize: settings.similarity == Similarity::Cosine,
        seed: settings.seed,
        ..KMeans::default()
    };
    let found = config.fit(values, dim)?;
    if let Some(path) = &settings.cluster_file {
        super::write(path, &found.assignment.iter().map(|c| format!("{c}\n")).collect::<String>())?;
    }
    let table = Contingency::new(labels, &found.assignment)?;
    let whole = table.agreement(None)?;
    let few = afford(&settings.bootstrap, table.work());
    let values = [whole.nmi, whole.ami, whole.ari];
    let intervals = few.intervals(labels.len(), &values, |drawn| match table.agreement(Some(drawn)) {
        Ok(now) => vec![now.nmi, now.ami, now.ari],
        Err(_) => vec![f64::NAN; 3],
    })?;
    let mut group = Group::new("clustering", "Clustering");
    for ((name, value), interval) in ["nmi", "ami", "ari"].into_iter().zip(values).zip(intervals) {
        group.add(Figure::new(name, value).spanning(interval, -1.0, 1.0));
    }
    group.note(format!(
        "k-means with {} clusters{}, the best of {} starts, against the labels; intervals keep the clusters.",
        config.clusters,
        if config.normalize { " of rows brought to length one" } else { "" },
        config.starts
    ));
    Ok(group)
}

fn spread<T: Real>(embeddings: &Embeddings<T>, settings: &Settings) -> Result<Group> {
    let (values, dim) = (&embeddings.values, embeddings.dim);
    let n = embeddings.labels.len();
    let sample: Vec<usize> = match n > SPREAD_ROWS {
        true => {
            let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
            let mut chosen = rand::seq::index::sample(&mut random, n, SPREAD_ROWS).into_vec();
            chosen.sort_unstable();
            chosen
        }
        false => (0..n).collect(),
    };
    let some: Vec<T> = sample.iter().flat_map(|i| &values[i * dim..(i + 1) * dim]).copied().collect();
    let labels: Vec<usize> = sample.iter().map(|i| embeddings.labels[*i]).collect();
    let mut group = Group::new("spread", "Spread on the sphere");
    let tolerance = tolerance(&some, dim, &labels)?;
    group.add(Figure::new("uniformity", uniformity(&some, dim, &UniformityConfig::default())?.value));
    group.add(Figure::new("tolerance", tolerance.same_class_mean));
    group.add(Figure::new("alignment", tolerance.alignment()));
    group.note(format!(
        "Rows brought to length one{}. Uniformity (t = 2): lower is more uniform; tolerance and alignment are means over pairs of one class.",
        if n > SPREAD_ROWS { format!("; a sample of {SPREAD_ROWS} of {n}") } else { String::new() }
    ));
    Ok(group)
}
