//! `keener train`: one objective, one head, a run folder that reproduces, resumes and predicts.

mod report;
pub(crate) mod run_folder;

use crate::commands::compare::data::{DataArgs, shell};
use crate::commands::compare::{folder, shown};
use crate::error::Failure;
use crate::output::{OutputArgs, print};
use anyhow::Result;
use keener_burn::compare::{Candidate, HeadChoice, Rows, raw_scale};
use keener_burn::{HeadConfig, Labelled, TrainConfig, Training, reads_of};
use keener_data::{Dataset, Standardizer, split};
use run_folder::{CHECKPOINT, CONFIG, DataRecord, METRICS, MODEL, READOUT, REPORT, ReadoutRecord, RunConfig, write};
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write};
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

/// Arguments of `keener train`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// What to train on: `name`, `name:parameter=value` or `first+second:weight=0.5`
    #[arg(long, value_name = "SPEC", required_unless_present_any = ["config", "resume"])]
    objective: Option<String>,
    /// Train as another run's `config.toml` says; only `--out` may be added
    #[arg(long, value_name = "FILE", conflicts_with_all = ["objective", "data", "resume"])]
    config: Option<PathBuf>,
    /// What is trained
    #[arg(long, value_enum, default_value = "auto")]
    head: HeadArg,
    /// Width of the hidden layer; 0 for none
    #[arg(long, default_value_t = 128)]
    hidden: usize,
    /// Width of the embeddings, also below class weights; 0 for none there
    #[arg(long, default_value_t = 64)]
    embedding: usize,
    /// The budget
    #[arg(long, default_value_t = 1000)]
    steps: usize,
    /// Rows a step
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 0.003)]
    learning_rate: f64,
    /// Decoupled weight decay of AdamW
    #[arg(long, default_value_t = 0.0001)]
    weight_decay: f64,
    /// Share of the rows that validate
    #[arg(long, default_value_t = 0.2)]
    validation: f64,
    /// Leave the features as they are
    #[arg(long)]
    no_standardize: bool,
    /// Fixes split, weights and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run folder [default: runs/train-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the interrupted run in `--out`
    #[arg(long, requires = "out", conflicts_with = "objective")]
    resume: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
struct Record {
    step: usize,
    loss: f64,
    learning_rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<Validation>,
}

/// What validation rows say.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Validation {
    pub(crate) accuracy: f64,
    pub(crate) nll: f64,
    pub(crate) temperature: f64,
}

/// What a report is made from.
pub(crate) struct Trained<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) data: &'a Dataset,
    pub(crate) command: String,
    pub(crate) losses: Vec<(f64, f64)>,
    pub(crate) validations: Vec<(f64, Validation)>,
    pub(crate) logits: Vec<f64>,
    pub(crate) embeddings: Vec<f32>,
    pub(crate) validation: &'a Rows,
    pub(crate) seconds: f64,
}

impl Args {
    fn run_config(&self, data: &Dataset, objective: &str) -> Result<RunConfig> {
        let candidate = Candidate::new(objective, HeadChoice::Auto);
        let classes = match &candidate {
            Ok(candidate) => candidate.classes,
            // Attacked versions are made by the training itself.
            Err(_) if reads_of(objective)?.contains(&keener::objective::Reads::TwoScores) => true,
            Err(_) => return Err(shown(candidate.err().ok_or_else(|| Failure::wrong("unreadable objective"))?)),
        };
        let cosine = candidate.is_ok_and(|c| c.cosine);
        let hidden = (self.hidden > 0).then_some(self.hidden);
        let embedding = (self.embedding > 0 && hidden.is_some()).then_some(self.embedding);
        let projection = HeadConfig::Projection { hidden: self.hidden, out: self.embedding };
        let head = match self.head {
            HeadArg::Linear => HeadConfig::Linear { hidden, embedding, bias: true },
            HeadArg::Cosine => HeadConfig::Cosine { hidden, embedding },
            HeadArg::Projection => projection,
            HeadArg::Auto if !classes => projection,
            HeadArg::Auto if cosine => HeadConfig::Cosine { hidden, embedding },
            HeadArg::Auto => HeadConfig::Linear { hidden, embedding, bias: true },
        };
        Ok(RunConfig {
            version: env!("CARGO_PKG_VERSION").into(),
            validate_every: self.steps.div_ceil(20).max(1),
            data: DataRecord {
                path: self.data.data.clone(),
                labels: self.data.labels.clone(),
                label_column: self.data.label_column.clone(),
                fingerprint: data.fingerprint(),
                validation: self.validation,
                standardize: !self.no_standardize,
            },
            train: TrainConfig {
                head,
                objective: objective.into(),
                learning_rate: self.learning_rate,
                weight_decay: self.weight_decay,
                batch_size: self.batch,
                steps: self.steps,
                warmup: self.steps / 20,
                seed: self.seed,
                ..TrainConfig::default()
            },
        })
    }
}

/// Rows of both parts, and the statistics of the training rows.
fn parts(data: &Dataset, config: &RunConfig) -> Result<(Rows, Rows, Option<Standardizer>)> {
    let share = config.data.validation;
    if !(share > 0.0 && share < 1.0) {
        return Err(Failure::wrong(format!("validation = {share}: expected a share between 0 and 1")).into());
    }
    let counts = data.class_counts();
    if let Some(class) = counts.iter().position(|c| *c < 2) {
        let (name, rows) = (&data.class_names[class], counts[class]);
        let message =
            format!("class `{name}` has {rows} rows, expected at least 2: one to train on and one to validate");
        return Err(Failure::wrong(message).hint("leave such classes out").into());
    }
    let halves = split::stratified(&data.labels, &[1.0 - share, share], config.train.seed)?;
    let (train, validation) = (data.select(&halves[0]), data.select(&halves[1]));
    let standardizer = config.data.standardize.then(|| Standardizer::fit_dataset(&train)).transpose()?;
    let rows = |mut part: Dataset| -> Result<Rows> {
        if let Some(standardizer) = &standardizer {
            standardizer.apply_dataset(&mut part)?;
        }
        let (dim, classes) = (part.dim, part.num_classes());
        Ok(Rows { features: part.features, dim, labels: part.labels, classes })
    };
    Ok((rows(train)?, rows(validation)?, standardizer))
}

/// The read-out of the head as it is now, with a temperature fitted on validation rows.
fn readout(
    training: &Training<'_>,
    data: &Dataset,
    train: &Rows,
    validation: &Rows,
    standardizer: &Option<Standardizer>,
) -> Result<(ReadoutRecord, Validation)> {
    use keener::metrics::{calibration::fit_temperature, classification, neighbours::ClassMeans};
    let head = training.head();
    let embeddings = keener_burn::embed(head, &train.features)?;
    let embedding = embeddings.len() / train.labels.len();
    let means = match head.config() {
        HeadConfig::Projection { .. } => {
            Some(ClassMeans::fit(&embeddings, embedding, &train.indices(), train.classes)?.means().to_vec())
        }
        _ => None,
    };
    let mut record = ReadoutRecord {
        dim: data.dim,
        class_names: data.class_names.clone(),
        standardizer: standardizer.clone(),
        scale: raw_scale(&training.config().objective, head)?,
        temperature: 1.0,
        embedding,
        means,
    };
    let logits = record.logits(head, &validation.features)?;
    let (classes, labels) = (validation.classes, validation.indices());
    let fit = fit_temperature(&logits, classes, &labels)?;
    let (temperature, nll) = fit.applied();
    record.temperature = temperature;
    let accuracy = classification::accuracy(&classification::argmax(&logits, classes)?, &labels)?;
    Ok((record, Validation { accuracy, nll, temperature }))
}

/// Runs the command.
///
/// # Errors
/// Wrong usage or input, before anything is trained or written.
pub(crate) fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let stored = match (&args.config, &args.out) {
        (Some(file), _) => Some(run_folder::read_config(file)?),
        (None, Some(out)) if args.resume => Some(run_folder::read_config(&out.join(CONFIG))?),
        _ => None,
    };
    let source = match &stored {
        Some(config) => DataArgs {
            data: config.data.path.clone(),
            labels: config.data.labels.clone(),
            label_column: config.data.label_column.clone(),
        },
        None => args.data.clone(),
    };
    let data = source.open()?;
    let config = match stored {
        Some(config) if config.data.fingerprint != data.fingerprint() => {
            let (then, now) = (&config.data.fingerprint, data.fingerprint());
            return Err(Failure::wrong(format!(
                "{} holds other data than then: content {now}, expected {then}",
                data.source
            ))
            .into());
        }
        Some(config) => config,
        None => args.run_config(&data, args.objective.as_deref().unwrap_or_default().trim())?,
    };
    let (train, validation, standardizer) = parts(&data, &config)?;
    let labelled = Labelled::new(&train.features, train.dim, &train.labels, train.classes)?;
    let device = burn_device();
    let out = args.out.clone().unwrap_or_else(|| folder::fresh(&format!("train-{}", data.name)));
    let checkpoint = out.join(CHECKPOINT);
    let mut training = match args.resume && checkpoint.exists() {
        true => Training::resume(&checkpoint, labelled, &device)?,
        false => Training::new(config.train.clone(), labelled, &device).map_err(core_first)?,
    };
    if !args.resume {
        folder::refuse_filled(&out, "another `--out`, or `--resume`")?;
        fs::create_dir_all(&out)?;
        write(&out, CONFIG, &toml::to_string_pretty(&config)?)?;
    }
    let log = Log::open(&out, training.steps_done(), args.output.json)?;
    let mut validations = Vec::new();
    while training.steps_done() < config.train.steps {
        training.step()?;
        let done = training.steps_done();
        if !done.is_multiple_of(config.validate_every) && done != config.train.steps {
            continue;
        }
        let (_, found) = readout(&training, &data, &train, &validation, &standardizer)?;
        validations.push((done as f64, found));
        log.write(&training, config.validate_every, Some(found))?;
        training.save_checkpoint(&checkpoint)?;
    }
    let (record, found) = readout(&training, &data, &train, &validation, &standardizer)?;
    training.head().save(&out.join(MODEL))?;
    write(&out, READOUT, &(serde_json::to_string(&record)? + "\n"))?;
    let trained = Trained {
        config: &config,
        data: &data,
        command: shell(&["keener", "train", "--config", &out.join(CONFIG).display().to_string()].map(String::from)),
        losses: training.records().iter().map(|r| ((r.step + 1) as f64, f64::from(r.loss))).collect(),
        validations,
        logits: record.logits(training.head(), &validation.features)?,
        embeddings: keener_burn::embed(training.head(), &validation.features)?,
        validation: &validation,
        seconds: started.elapsed().as_secs_f64(),
    };
    write(&out, REPORT, &report::page(&trained)?.render())?;
    let summary = serde_json::json!({
        "folder": out, "objective": config.train.objective, "steps": config.train.steps,
        "validation": found, "seconds": trained.seconds,
    });
    if args.output.json {
        return crate::output::print_json(&summary);
    }
    print(&format!(
        "{}: accuracy {:.3}, NLL {:.3} on {} validation rows after {} steps ({:.1} s)\n{}\n",
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

/// Unknown objectives are shown with suggestions where they are errors of the core.
pub(crate) fn core_first(error: keener_burn::Error) -> anyhow::Error {
    match error {
        keener_burn::Error::Core(core) => core.into(),
        other => other.into(),
    }
}

/// `metrics.jsonl`, flushed record by record, and a line for who watches.
struct Log {
    file: std::cell::RefCell<fs::File>,
    quiet: bool,
}

impl Log {
    /// Opens the file; records after step `done`, of a run that was interrupted, are dropped.
    fn open(folder: &Path, done: usize, quiet: bool) -> Result<Self> {
        let path = folder.join(METRICS);
        let old = fs::read_to_string(&path).unwrap_or_default();
        let kept: String = old
            .lines()
            .filter(|line| {
                let record: Option<serde_json::Value> = serde_json::from_str(line).ok();
                record.and_then(|r| r["step"].as_u64()).is_some_and(|step| step as usize <= done)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(&path, kept)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { file: file.into(), quiet })
    }

    /// Writes the mean loss of the last `window` steps.
    fn write(&self, training: &Training<'_>, window: usize, validation: Option<Validation>) -> Result<()> {
        let records = training.records();
        let last = &records[records.len().saturating_sub(window)..];
        let loss = last.iter().map(|r| f64::from(r.loss)).sum::<f64>() / last.len().max(1) as f64;
        let learning_rate = last.last().map_or(0.0, |r| r.learning_rate);
        let record = Record { step: records.len(), loss, learning_rate, validation };
        let mut file = self.file.borrow_mut();
        file.write_all((serde_json::to_string(&record)? + "\n").as_bytes())?;
        file.flush()?;
        if !self.quiet {
            let accuracy = validation.map_or(String::new(), |v| format!("  validation accuracy {:.3}", v.accuracy));
            let text = format!("step {}/{}  loss {loss:.4}{accuracy}", records.len(), training.config().steps);
            let mut stderr = std::io::stderr();
            let finished = records.len() == training.config().steps;
            let line = match stderr.is_terminal() && !finished {
                true => format!("\r\x1b[2K{text}"),
                false if stderr.is_terminal() => format!("\r\x1b[2K{text}\n"),
                false => text + "\n",
            };
            // Nothing is to be done about a closed standard error.
            let _ = stderr.write_all(line.as_bytes());
        }
        Ok(())
    }
}
