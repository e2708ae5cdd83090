//! `keener train`: one objective, one head, a run folder that reproduces, resumes and predicts.

mod bags;
mod metrics;
mod parts;
mod report;
pub(crate) mod run_folder;
pub(crate) mod settings;

use crate::commands::compare::data::{DataArgs, PartArgs};
use crate::commands::compare::folder;
use crate::error::Failure;
use crate::interrupt::stop_on_signal;
use crate::memory;
use crate::output::{OutputArgs, print};
use crate::paths::shell;
use anyhow::Result;
use keener_burn::compare::{Rows, class_means, raw_scale};
use keener_burn::{GradientTransform, HeadConfig, Labelled, Training};
use keener_data::noise::LabelNoise;
use keener_data::{Samples, Standardizer};
use keener_run::Folder;
use metrics::{Metrics, Validation};
use parts::Parts;
use run_folder::{CHECKPOINT, CONFIG, MODEL, READOUT, REPORT, ReadoutRecord, RunConfig, identity};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum HeadArg {
    /// As the objective asks: class weights by inner product or cosine, or a projection
    Auto,
    /// Class weights by inner product
    Linear,
    /// Class weights by cosine
    Cosine,
    /// Embeddings without classes
    Projection,
}

/// What becomes of gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum GradientArg {
    /// Nothing
    Plain,
    /// Without its part along the weights, tensor by tensor
    Orthogonal,
}

impl GradientArg {
    fn transform(self) -> GradientTransform {
        match self {
            Self::Plain => GradientTransform::Plain,
            Self::Orthogonal => GradientTransform::Orthogonal,
        }
    }
}

const AFTER: &str = "\
Examples:
  keener train data.csv --objective focal --out run
  keener train --config run/config.toml            the same model again, bit for bit
  keener train --config run/config.toml --seed 1 --out other
  keener train data.csv --objective cosface:margin=0.2 --print-config > mine.toml
  keener train --config mine.toml

A configuration may be a part of one; what it leaves out takes the defaults. Options win over it. Its relative paths count
from its own folder.";

/// Arguments of `keener train`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    parts: PartArgs,
    /// What to train on: `name`, `name:parameter=value` or `first+second:weight=0.5`
    #[arg(long, value_name = "SPEC", value_parser = crate::spec::SpecParser, hide_possible_values = true)]
    objective: Option<String>,
    /// Take everything that is not given here from this file, such as another run's `config.toml`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the whole configuration and train nothing
    #[arg(long, conflicts_with_all = ["resume", "json"])]
    print_config: bool,
    /// What is trained [default: auto]
    #[arg(long, value_enum)]
    head: Option<HeadArg>,
    /// Width of the hidden layer; 0 for none [default: 128]
    #[arg(long, value_name = "WIDTH")]
    hidden: Option<usize>,
    /// Width of the embeddings, also below class weights; 0 for none there [default: 64]
    #[arg(long, value_name = "WIDTH")]
    embedding: Option<usize>,
    /// The budget [default: 1000]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Rows a step [default: 128]
    #[arg(long, value_name = "ROWS")]
    batch: Option<usize>,
    /// Peak learning rate [default: 0.003]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Decoupled weight decay of AdamW [default: 0.0001]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
    /// What becomes of gradients before the optimiser [default: plain]
    #[arg(long, value_enum)]
    gradient: Option<GradientArg>,
    /// Say at each validation whether training has stalled: softmax collapse, alignment of gradient and weights
    #[arg(long)]
    diagnose: bool,
    /// Steps of linear warm-up [default: a twentieth]
    #[arg(long, value_name = "N")]
    warmup: Option<usize>,
    /// Share of the rows that validate [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    validation: Option<f64>,
    /// Steps from one validation and checkpoint to the next [default: a twentieth]
    #[arg(long, value_name = "N")]
    validate_every: Option<usize>,
    /// Wrong labels in the training rows, as uniform:SHARE or class-dependent:SHARE, to see how an objective bears them
    #[arg(long, value_name = "KIND:SHARE")]
    label_noise: Option<LabelNoise>,
    /// Train on what is known of random bags of so many rows: shares of classes, for objectives that read bags
    #[arg(long, value_name = "ROWS", conflicts_with = "bags")]
    bag_size: Option<usize>,
    /// Bag of each row of the data, one id a line; no bag is cut by the split
    #[arg(long, value_name = "FILE")]
    bags: Option<PathBuf>,
    /// Table with the column `bag` and one column a class: the response of each bag [default: shares of the labels]
    #[arg(long, value_name = "FILE", conflicts_with = "bag_size")]
    bag_responses: Option<PathBuf>,
    /// Leave the features as they are
    #[arg(long)]
    no_standardize: bool,
    /// Fixes split, weights and batches [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run folder [default: runs/train-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the interrupted run in `--out`, as its `config.toml` says
    #[arg(long, requires = "out", conflicts_with_all = [
        "data", "labels", "label_column", "columns", "leave_out", "group_column", "split", "split_column",
        "validation_data", "test_data", "objective", "config", "head", "hidden", "embedding", "steps", "batch",
        "learning_rate", "weight_decay", "gradient", "warmup", "validation", "validate_every", "label_noise", "bag_size", "bags",
        "bag_responses", "no_standardize", "seed",
    ])]
    resume: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a report is made from.
pub(crate) struct Trained<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) data: &'a Samples,
    pub(crate) command: String,
    pub(crate) losses: Vec<(f64, f64)>,
    pub(crate) validations: Vec<(f64, Validation)>,
    pub(crate) logits: Vec<f64>,
    pub(crate) embeddings: Vec<f32>,
    pub(crate) validation: &'a Rows,
    /// Step that this process began after: 0 unless it went on with a run.
    pub(crate) begun: usize,
    pub(crate) seconds: f64,
}

/// The data of a finished run, and which of its rows validate.
///
/// # Errors
/// A folder without configuration; data that are no longer there or have changed.
pub(crate) fn validation_rows(run: &Path) -> Result<(Samples, Vec<usize>)> {
    let config = settings::stored(&run.join(CONFIG))?;
    let (data, split) = config.data.open()?;
    config.data.check(&data)?;
    let rows = parts::rows(&data, &config, split.as_ref())?.validation;
    Ok((data, rows))
}

/// The read-out of the head as it is now, with a temperature fitted on validation rows.
fn readout(
    training: &Training<'_>,
    data: &Samples,
    train: &Rows,
    validation: &Rows,
    standardizer: &Option<Standardizer>,
) -> Result<(ReadoutRecord, Validation)> {
    use keener::metrics::{calibration::fit_temperature, classification};
    let head = training.head();
    let scale = raw_scale(&training.config().objective, head)?;
    let prototypes = match head.config() {
        HeadConfig::Projection { .. } => Some(class_means(head, train, scale)?),
        _ => None,
    };
    let embedding = match &prototypes {
        Some(prototypes) => prototypes.dim(),
        None => keener_burn::embed_rows(head, &*validation.features, [0])?.len(),
    };
    let mut record = ReadoutRecord {
        dim: data.dim(),
        class_names: data.class_names().to_vec(),
        standardizer: standardizer.clone(),
        scale,
        temperature: 1.0,
        embedding,
        prototypes,
    };
    let logits = record.logits(head, validation)?;
    if !logits.iter().all(|logit| logit.is_finite()) {
        let (config, done) = (training.config(), training.steps_done());
        let message = format!("the training diverged: after {done} steps the scores of validation rows are not finite");
        return Err(Failure::wrong(message)
            .hint(format!("a lower `--learning-rate` than {}", config.learning_rate))
            .into());
    }
    let (classes, labels) = (validation.classes, validation.indices());
    let fit = fit_temperature(&logits, classes, &labels)?;
    let (temperature, nll) = fit.applied();
    record.temperature = temperature;
    let accuracy = classification::accuracy(&classification::argmax(&logits, classes)?, &labels)?;
    Ok((record, Validation { accuracy, nll, temperature }))
}

/// The rows that a finished run was trained on, read once more.
///
/// # Errors
/// Data that cannot be read, or are not those of the run.
pub(crate) fn training_rows(config: &RunConfig) -> Result<Rows> {
    let (data, split) = config.data.open()?;
    config.data.check(&data)?;
    Ok(parts::draw(&data, config, split.as_ref())?.train)
}

/// Runs the command.
///
/// # Errors
/// Wrong usage or input, before anything is trained or written.
pub(crate) fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    // A run that another process works in is not even read.
    let resumed = args.out.as_ref().filter(|_| args.resume).map(|out| Folder::resume(out, &identity())).transpose()?;
    let mut config = match (&args.out, args.resume) {
        (Some(out), true) => settings::stored(&out.join(CONFIG))?,
        _ => settings::effective(&args)?,
    };
    if args.print_config {
        return print(&settings::to_text(&config)?);
    }
    let (data, split) = config.data.open()?;
    // Rows on disk are read once for statistics, fingerprint and check of values.
    let Parts { train, validation, test, standardizer, bags } = parts::draw(&data, &config, split.as_ref())?;
    config.data.check(&data)?;
    let fingerprint = data.fingerprint()?;
    if let (Some(split), true) = (&split, config.data.split.is_some()) {
        split.check(data.rows(), &fingerprint)?;
    }
    let mut labelled = Labelled::from_source(&*train.features, &train.labels, train.classes)?;
    if data.is_on_disk() {
        // Known already, where another pass over all rows would tell the same.
        labelled = labelled.identified(u64::from_str_radix(&fingerprint, 16).unwrap_or_default());
    }
    if let Some((of_rows, responses)) = &bags {
        labelled = labelled.with_bags(of_rows, responses)?;
    }
    config.data.fingerprint = Some(fingerprint);
    let device = burn_device();
    let out = args.out.clone().unwrap_or_else(|| folder::fresh(&format!("train-{}", data.name())));
    let checkpoint = out.join(CHECKPOINT);
    let mut training = match resumed.is_some() && checkpoint.exists() {
        true => Training::resume(&checkpoint, labelled, &device)?,
        false => Training::new(config.train.clone(), labelled, &device).map_err(core_first)?,
    };
    if training.config() != &config.train {
        let message = format!("{} belongs to another {CONFIG} than the one beside it", checkpoint.display());
        return Err(Failure::wrong(message).hint("a new run in another `--out`").into());
    }
    let stop = stop_on_signal("step")?;
    let folder = match resumed {
        Some(folder) => folder,
        None => {
            let bags = config.bags.as_ref().map(|bags| bags.with_paths(|path| crate::paths::seen_from(&out, path)));
            let there = RunConfig { data: config.data.seen_from(&out), bags, ..config.clone() };
            Folder::create(&out, &identity(), &[(CONFIG, &settings::to_text(&there)?)])?
        }
    };
    let begun = training.steps_done();
    let mut metrics = Metrics::open(&out, begun, args.output.json)?;
    while training.steps_done() < config.train.steps {
        if stop.is_set() {
            training.save_checkpoint(&checkpoint).map_err(unwritten)?;
            let (done, steps) = (training.steps_done(), config.train.steps);
            let message = format!("{done} of {steps} steps are done and kept in {}", out.display());
            let mut words: Vec<OsString> = ["keener", "train", "--resume", "--out"].map(OsString::from).to_vec();
            words.push(out.clone().into());
            words.extend(memory::words());
            return Err(Failure::stopped(message, shell(&words)).into());
        }
        training.step()?;
        let done = training.steps_done();
        if !done.is_multiple_of(config.validate_every) && done != config.train.steps {
            continue;
        }
        let (_, found) = readout(&training, &data, &train, &validation, &standardizer)?;
        // In this order: a checkpoint never knows of a step that the metrics do not know.
        let diagnosis = if args.diagnose { Some(training.diagnose()?) } else { None };
        metrics.write(&training, config.validate_every, found, diagnosis)?;
        training.save_checkpoint(&checkpoint).map_err(unwritten)?;
    }
    let (record, found) = readout(&training, &data, &train, &validation, &standardizer)?;
    training.head().save(&out.join(MODEL)).map_err(unwritten)?;
    folder.write(READOUT, &(serde_json::to_string(&record)? + "\n"))?;
    let trained = Trained {
        config: &config,
        data: &data,
        command: shell(&["keener".as_ref(), "train".as_ref(), "--config".as_ref(), out.join(CONFIG).as_os_str()]),
        losses: training.records().iter().map(|r| ((r.step + 1) as f64, f64::from(r.loss))).collect(),
        validations: metrics.validations(),
        logits: record.logits(training.head(), &validation)?,
        embeddings: report::pictured(training.head(), &validation)?,
        validation: &validation,
        begun,
        seconds: started.elapsed().as_secs_f64(),
    };
    folder.write(REPORT, &report::page(&trained)?.render())?;
    let tested = test.as_ref().map(|test| parts::tested(&record, training.head(), test)).transpose()?;
    let summary = serde_json::json!({
        "folder": out.display().to_string(), "objective": config.train.objective, "steps": config.train.steps,
        "validation": found, "test": tested, "seconds": trained.seconds,
        "peak_memory_bytes": crate::commands::compare::peak_memory(),
    });
    if args.output.json {
        return crate::output::print_json(&summary);
    }
    let tested = tested
        .map_or(String::new(), |t| format!("accuracy {:.3}, NLL {:.3} on {} test rows\n", t.accuracy, t.nll, t.rows));
    print(&format!(
        "{}: accuracy {:.3}, NLL {:.3} on {} validation rows after {} steps ({:.1} s)\n{tested}{}\n",
        config.train.objective,
        found.accuracy,
        found.nll,
        validation.labels.len(),
        config.train.steps,
        trained.seconds,
        out.display()
    ))
}

fn burn_device() -> keener_burn::compare::Device {
    keener_burn::compare::cpu()
}

/// A file that cannot be written says what to do about it.
fn unwritten(error: keener_burn::Error) -> anyhow::Error {
    match error {
        keener_burn::Error::Io { path, source } => keener_run::Error::io("write", &path, source).into(),
        other => other.into(),
    }
}

/// Unknown objectives are shown with suggestions where they are errors of the core.
pub(crate) fn core_first(error: keener_burn::Error) -> anyhow::Error {
    match error {
        keener_burn::Error::Core(core) => core.into(),
        other => other.into(),
    }
}
