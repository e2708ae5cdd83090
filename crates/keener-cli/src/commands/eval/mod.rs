//! `keener eval`: every metric that applies to a run, to embeddings or to scores.

mod embeddings;
mod figures;
mod report;
mod scores;
mod selection;
mod subject;

use crate::error::Failure;
use crate::output::{OutputArgs, print, print_json, print_table};
use crate::paths::shell;
use anyhow::Result;
use embeddings::{Embeddings, Settings};
use figures::{Evaluation, Pictures};
use keener::metrics::Similarity;
use keener::metrics::bootstrap::Bootstrap;
use keener::real::Real;
use selection::{Selection, Wanted};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;
use subject::{As, Source, Subject};

/// How embeddings are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SimilarityArg {
    /// Angle
    Cosine,
    /// Product
    InnerProduct,
    /// Distance
    Euclidean,
}

/// The numbers that similarities are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Precision {
    /// 32 bits: twice as fast; neighbours nearer than about 1e-7 to each other may change places
    Single,
    /// 64 bits
    Double,
}

const EXAMPLES: &str = "\
Examples:
  keener eval runs/train-digits-1                         a model on its validation rows
  keener eval runs/train-digits-1 new.csv                 a model on other rows with labels
  keener eval embeddings.npy --labels labels.npy          retrieval, verification, clustering, spread
  keener eval queries.npy --labels q.npy --gallery gallery.npy --gallery-labels g.npy
  keener eval logits.csv --as logits --report report.html  classification and calibration, with plots
  keener eval embeddings.npy --labels labels.npy --metrics recall@1,recall@10,map@r --json

Labels of score files are column names or column numbers. Intervals are percentile bootstrap intervals over rows or queries.
Similarities: of equally similar references the lower row comes first. A pair or row is accepted where its score is at
least the threshold.";

/// Arguments of `keener eval`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run folder, or file of embeddings or scores with labels
    #[arg(value_name = "RUN|FILE")]
    subject: PathBuf,
    /// Other rows with labels to judge a run on [default: the run's validation rows]
    data: Option<PathBuf>,
    /// A second file that holds the labels
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Column that holds the labels, by name or index
    #[arg(long, value_name = "COLUMN")]
    label_column: Option<String>,
    /// Embeddings that the rows of FILE search, instead of each other
    #[arg(long, value_name = "FILE")]
    gallery: Option<PathBuf>,
    /// A second file that holds the gallery's labels
    #[arg(long, value_name = "FILE", requires = "gallery")]
    gallery_labels: Option<PathBuf>,
    /// What the columns of FILE are
    #[arg(long = "as", value_enum, default_value = "auto")]
    kind: As,
    /// Cut-offs of recall, precision, nDCG and top-k accuracy
    #[arg(long, value_name = "K,…", value_delimiter = ',', default_values_t = [1, 5, 10],
          value_parser = cut_off)]
    k: Vec<usize>,
    /// Groups (classification, retrieval, verification, clustering, spread) or measures of retrieval [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    metrics: Vec<Wanted>,
    /// How embeddings are compared
    #[arg(long, value_enum, default_value = "cosine")]
    similarity: SimilarityArg,
    /// The numbers that similarities are computed in
    #[arg(long, value_enum, default_value = "single")]
    precision: Precision,
    /// False accept rates at which the true accept rate is reported
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', default_values_t = [0.01, 0.001, 0.0001])]
    far: Vec<f64>,
    /// Clusters of k-means [default: as many as classes]
    #[arg(long, value_name = "N")]
    clusters: Option<usize>,
    /// Resamples of the bootstrap; 0 for no intervals
    #[arg(long, value_name = "N", default_value_t = 1000)]
    bootstrap: usize,
    /// Coverage of the intervals
    #[arg(long, default_value_t = 0.95)]
    confidence: f64,
    /// Fixes resamples, k-means and samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the cluster of each row, one a line
    #[arg(long, value_name = "FILE")]
    cluster_file: Option<PathBuf>,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

fn cut_off(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(k) if k > 0 => Ok(k),
        _ => Err("expected a whole number of at least 1".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// Wrong usage or input; nothing that applies.
pub(crate) fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let selection = Selection::new(&args.metrics, &args.k);
    let bootstrap = Bootstrap { resamples: args.bootstrap, confidence: args.confidence, seed: args.seed };
    bootstrap.check()?;
    let subject = Source {
        subject: &args.subject,
        data: args.data.as_deref(),
        labels: args.labels.clone(),
        label_column: args.label_column.clone(),
        gallery: args.gallery.as_deref(),
        gallery_labels: args.gallery_labels.clone(),
        kind: args.kind,
    }
    .open()?;
    let mut evaluation = judge(&args, subject, &selection, &bootstrap)?;
    evaluation.seconds = started.elapsed().as_secs_f64();
    if let Some(path) = &args.report {
        let words: Vec<OsString> = ["keener".into()].into_iter().chain(std::env::args_os().skip(1)).collect();
        write(path, &report::page(&evaluation, &shell(&words)).render())?;
    }
    if args.output.json {
        return print_json(&evaluation.json());
    }
    let facts: Vec<String> = evaluation.subject.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    print(&format!("{} ({})\n\n", evaluation.source, facts.join("; ")))?;
    for group in &evaluation.groups {
        print_table(&group.table())?;
        print("\n")?;
    }
    if let Some(table) = evaluation.missing_table() {
        print_table(&table)?;
        print("\n")?;
    }
    match &args.report {
        Some(path) => print(&format!("{}\n", path.display())),
        None => Ok(()),
    }
}

/// All figures that apply.
fn judge(args: &Args, subject: Subject, selection: &Selection, bootstrap: &Bootstrap) -> Result<Evaluation> {
    let mut pictures = Pictures::default();
    let mut groups = Vec::new();
    let mut missing: Vec<(&'static str, String)> =
        subject.missing.into_iter().filter(|(name, _)| selection.has(name)).collect();
    if let Some(scores) = subject.scores.as_ref().filter(|_| selection.has("classification")) {
        groups.push(scores::evaluate(scores, &args.k, &args.far, bootstrap, &mut pictures)?);
    }
    if let Some(points) = subject.points {
        let settings = Settings {
            similarity: match args.similarity {
                SimilarityArg::Cosine => Similarity::Cosine,
                SimilarityArg::InnerProduct => Similarity::InnerProduct,
                SimilarityArg::Euclidean => Similarity::Euclidean,
            },
            far: args.far.clone(),
            clusters: args.clusters,
            cluster_file: args.cluster_file.clone(),
            bootstrap: *bootstrap,
            seed: args.seed,
        };
        let (labels, dim) = (subject.labels, points.dim);
        let (found, undefined) = match args.precision {
            Precision::Single => {
                let embeddings = Embeddings { values: points.values, labels, dim, gallery: points.gallery };
                embeddings::evaluate(&embeddings, &settings, selection, &mut pictures)?
            }
            Precision::Double => {
                let gallery = points.gallery.map(|(values, labels)| (wide(&values), labels));
                let embeddings: Embeddings<f64> = Embeddings { values: wide(&points.values), labels, dim, gallery };
                embeddings::evaluate(&embeddings, &settings, selection, &mut pictures)?
            }
        };
        groups.extend(found);
        missing.extend(undefined);
    }
    if groups.is_empty() {
        let reasons: Vec<String> = missing.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        return Err(Failure::wrong(format!("nothing to report ({})", reasons.join("; ")))
            .hint("`keener eval --help`")
            .into());
    }
    Ok(Evaluation {
        source: subject.source,
        subject: subject.facts,
        groups,
        missing,
        pictures,
        class_names: subject.class_names,
        seconds: 0.0,
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(keener_run::replace(path, text.as_bytes()).map_err(|e| keener_run::Error::io("write", path, e))?)
}

fn wide<T: Real>(values: &[f32]) -> Vec<T> {
    values.iter().map(|v| T::of(f64::from(*v))).collect()
}
