//! `keener add-class`: classes that a finished run learns from a few examples, without training.

use crate::commands::train::run_folder::{CONFIG, MODEL, READOUT, ReadoutRecord, identity, read_json};
use crate::commands::train::{settings, training_rows};
use crate::error::Failure;
use crate::output::print;
use anyhow::Result;
use keener::engine::View;
use keener::estimate::PrototypeClassifier;
use keener_burn::compare::class_means;
use keener_burn::{Head, HeadConfig};
use keener_data::{ReadOptions, Samples};
use keener_run::Folder;
use std::path::PathBuf;

/// What stands for the classes that were trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Prototypes {
    /// The means of their training rows, read once more from where `config.toml` says: new and old compete fairly
    Means,
    /// The trained class weights, as published; fair only at a small scale
    Weights,
}

const AFTER: &str = "\
Examples:
  keener add-class run new-species.csv --label-column species
  keener predict run unknown.csv

Each new class is the normalised mean of its rows' normalised embeddings. Rows of a class that was added before (or that
is a mean) move its mean, as if they had been there from the beginning. Probabilities are not calibrated between trained
and added classes. Source: Hyperspherical embedding for novel class classification (arXiv 2102.03243).";

/// Arguments of `keener add-class`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Run folder that `keener train` wrote
    run: PathBuf,
    /// Labelled rows of the classes to add
    file: PathBuf,
    /// File with one label a row
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Column of the labels, by name or index
    #[arg(long, value_name = "COLUMN")]
    label_column: Option<String>,
    /// What stands for the trained classes, the first time that a class is added
    #[arg(long, value_enum, default_value = "means")]
    prototypes: Prototypes,
}

/// Runs the command.
///
/// # Errors
/// A folder that holds no finished run, rows that do not fit the model, names that are trained classes.
pub(crate) fn run(args: Args) -> Result<()> {
    let folder = Folder::resume(&args.run, &identity())?;
    let mut record: ReadoutRecord = read_json(&args.run, READOUT)?;
    let head = Head::load(&args.run.join(MODEL), &keener_burn::compare::cpu())?;
    let options =
        ReadOptions { labels: args.labels.clone(), label_column: args.label_column.clone(), ..ReadOptions::default() };
    let new = keener_data::open_samples(&args.file, &options, keener::budget::total())?;
    if new.dim() != record.dim {
        let (file, run) = (args.file.display(), args.run.display());
        let message = format!(
            "{file} has {} features a row, expected {} as in the data that {run} was trained on",
            new.dim(),
            record.dim
        );
        return Err(Failure::wrong(message).hint("`--label-column COLUMN`, if another column is the label").into());
    }
    let mut prototypes = match record.prototypes.take() {
        Some(prototypes) => prototypes,
        None => trained(&args, &record, &head)?,
    };
    let mut said = Vec::new();
    for (label, name) in new.class_names().iter().enumerate() {
        let rows: Vec<usize> = (0..new.rows()).filter(|r| new.labels()[*r] as usize == label).collect();
        if rows.is_empty() {
            continue;
        }
        let embeddings = embedded(&head, &new, &rows, &record)?;
        let view = View::new(&embeddings, rows.len(), record.embedding)?;
        match record.class_names.iter().position(|known| known == name) {
            None => {
                prototypes.add_class(view)?;
                record.class_names.push(name.clone());
                said.push(format!("added `{name}` from {} examples", rows.len()));
            }
            Some(class) if prototypes.counts()[class] > 0 => {
                prototypes.add_examples(class, view)?;
                said.push(format!("moved `{name}` by {} more examples", rows.len()));
            }
            Some(_) => {
                let message = format!("`{name}` is a class whose weight was trained: examples cannot be added to it");
                return Err(Failure::wrong(message)
                    .hint("`--prototypes means`, or other names in the label column")
                    .into());
            }
        }
    }
    record.prototypes = Some(prototypes);
    folder.write(READOUT, &(serde_json::to_string(&record)? + "\n"))?;
    said.push(format!("{} classes now in {}", record.class_names.len(), args.run.display()));
    print(&(said.join("\n") + "\n"))
}

fn embedded(head: &Head, data: &Samples, rows: &[usize], record: &ReadoutRecord) -> Result<Vec<f32>> {
    let features = data.gather(rows, record.standardizer.as_ref())?;
    Ok(keener_burn::embed_rows(head, &*features, 0..rows.len())?)
}

/// Directions of the trained classes.
fn trained(args: &Args, record: &ReadoutRecord, head: &Head) -> Result<PrototypeClassifier> {
    if args.prototypes == Prototypes::Means {
        let config = settings::stored(&args.run.join(CONFIG))?;
        return Ok(class_means(head, &training_rows(&config)?, record.scale)?);
    }
    let weights = head.named_parameters()?.into_iter().find(|(name, ..)| name == "classes.weight");
    match (weights, head.config()) {
        (Some((_, _, weights)), HeadConfig::Cosine { .. }) => {
            let view = View::new(&weights, record.class_names.len(), record.embedding)?;
            Ok(PrototypeClassifier::from_weights(view, record.scale)?)
        }
        _ => Err(Failure::wrong("the class weights of this run are no directions: its head does not score by cosine")
            .hint("`--prototypes means`")
            .into()),
    }
}
