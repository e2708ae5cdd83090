//! `keener compare`: several objectives, one budget, the same rows; who is best, and is that more than chance?

pub(crate) mod data;
mod figures;
pub(crate) mod folder;
mod progress;
mod report;
mod results;
mod settings;
mod tables;

use crate::error::Failure;
use crate::interrupt::stop_on_signal;
use crate::memory;
use crate::output::{OutputArgs, print, print_table};
use crate::paths::shell;
use anyhow::Result;
use data::DataArgs;
use folder::{Folder, Interrupted, Plan};
use keener_burn::compare::{self, Candidate, CompareConfig, CompareError, Outcome, Scenario};
use keener_data::Samples;
use keener_data::noise::NoiseKind;
use settings::Settings;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

/// What is asked of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TaskArg {
    /// Name the class of a row
    Classify,
    /// Find rows of the same, unseen class
    Retrieve,
    /// Both
    All,
}

/// Under which conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ScenarioArg {
    /// All labels, as they are
    Full,
    /// A few labels a class
    FewLabels,
    /// Wrong labels in training and validation
    NoisyLabels,
    /// Train on some classes, retrieve among others
    UnseenClasses,
    /// Rare classes: F1, G-mean and balanced accuracy
    Imbalanced,
}

impl From<ScenarioArg> for Scenario {
    fn from(scenario: ScenarioArg) -> Self {
        match scenario {
            ScenarioArg::Full => Self::Full,
            ScenarioArg::FewLabels => Self::FewLabels,
            ScenarioArg::NoisyLabels => Self::NoisyLabels,
            ScenarioArg::UnseenClasses => Self::UnseenClasses,
            ScenarioArg::Imbalanced => Self::Imbalanced,
        }
    }
}

/// Which labels are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum NoiseArg {
    /// Any label may become any other
    Uniform,
    /// Labels become those of the next class
    ClassDependent,
}

impl From<NoiseArg> for NoiseKind {
    fn from(kind: NoiseArg) -> Self {
        match kind {
            NoiseArg::Uniform => Self::Uniform,
            NoiseArg::ClassDependent => Self::ClassDependent,
        }
    }
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum HeadArg {
    /// One trunk for all, class weights on top where the objective wants them
    Auto,
    /// Class weights on the features, no trunk
    Linear,
    /// One trunk, classes scored by cosine
    Cosine,
    /// One trunk, everything read out by class means
    Projection,
}

/// Where everything that was set is kept, beside the plan.
const CONFIG: &str = "config.toml";

const AFTER: &str = "\
Examples:
  keener compare                                   ten objectives on the embedded digits
  keener compare data.csv --label-column species
  keener compare x.npy --labels y.npy --objectives softmax_cross_entropy,gce:q=0.7,arcface+tcm:weight=1
  keener compare data.csv --seconds 60 --out first
  keener compare --config first/config.toml        the same numbers again
  keener compare --config first/config.toml --print-config --repeats 20 > longer.toml

A configuration may be a part of one; what it leaves out takes the defaults. Options win over it. Its relative paths count
from its own folder.";

/// Arguments of `keener compare`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// What is asked of the heads [default: classify; all for the embedded digits]
    #[arg(long, value_enum)]
    task: Option<TaskArg>,
    /// Conditions to compare under [default: those of the task; for the digits few-labels,noisy-labels,unseen-classes]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO,…")]
    scenario: Vec<ScenarioArg>,
    /// Objectives, as `name`, `name:parameter=value` or `first+second:weight=0.5` [default: ten]
    #[arg(long, value_name = "A,B,…")]
    objectives: Option<String>,
    /// Take everything that is not given here from this file, such as another run's `config.toml`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the whole configuration and train nothing
    #[arg(long, conflicts_with_all = ["resume", "json", "seconds"])]
    print_config: bool,
    /// What is trained [default: auto]
    #[arg(long, value_enum)]
    head: Option<HeadArg>,
    /// Steps of one training [default: 200]
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    steps: Option<usize>,
    /// Budget of the whole comparison; measured into steps once, at the start
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Resampled splits, each with its own initial weights [default: 10]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// Rows a step [default: 100]
    #[arg(long, value_name = "ROWS")]
    batch: Option<usize>,
    /// Configurations that tuning starts from; 1 tunes nothing [default: 16]
    #[arg(long, value_name = "N")]
    trials: Option<usize>,
    /// Divisions of the development rows that a configuration is judged on [default: 4]
    #[arg(long, value_name = "N")]
    folds: Option<usize>,
    /// Labelled rows a class under few labels [default: 10]
    #[arg(long, value_name = "N")]
    labels_per_class: Option<usize>,
    /// Share of wrong labels under noisy labels [default: 0.4]
    #[arg(long, value_name = "SHARE")]
    noise: Option<f64>,
    /// Which labels are wrong under noisy-labels [default: uniform]
    #[arg(long, value_enum)]
    noise_kind: Option<NoiseArg>,
    /// How many times the most frequent class outnumbers the rarest under imbalance [default: 10]
    #[arg(long, value_name = "RATIO")]
    imbalance: Option<f64>,
    /// Fixes splits, noise, weights and batches [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Output folder [default: runs/compare-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the interrupted comparison in `--out`, as its `config.toml` says
    #[arg(long, requires = "out")]
    resume: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Everything that tables and report are made from.
pub(crate) struct Compared<'a> {
    pub(crate) data: &'a Samples,
    pub(crate) plan: &'a Plan,
    pub(crate) outcome: &'a Outcome,
    pub(crate) boards: Vec<compare::Board>,
    pub(crate) command: String,
    pub(crate) seconds: f64,
    pub(crate) workers: usize,
    pub(crate) peak_memory: Option<u64>,
}

/// Splits a list of specifications at the commas that do not belong to parameters.
fn split_objectives(list: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for piece in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let names_objective = piece.split(['+', ':']).next().is_some_and(|name| !name.contains('='));
        match found.last_mut() {
            Some(last) if !names_objective => *last += &format!(",{piece}"),
            _ => found.push(piece.to_string()),
        }
    }
    found
}

impl Args {
    /// The command line that gives the same numbers.
    fn command(settings: &Settings) -> String {
        let config = &settings.compare;
        let mut words: Vec<OsString> = vec!["keener".into(), "compare".into()];
        words.extend(DataArgs::from(&settings.data).words());
        let scenarios: Vec<&str> = config.scenarios.iter().map(|s| s.name()).collect();
        let default = CompareConfig::default();
        let pairs = [
            ("--scenario", scenarios.join(",")),
            ("--objectives", config.objectives.join(",")),
            ("--head", format!("{:?}", config.head).to_lowercase()),
            ("--steps", config.steps.to_string()),
            ("--repeats", config.repeats.to_string()),
            ("--batch", config.batch.to_string()),
            ("--trials", config.trials.to_string()),
            ("--folds", config.folds.to_string()),
            ("--seed", config.seed.to_string()),
        ];
        words.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        if config.labels_per_class != default.labels_per_class {
            words.extend(["--labels-per-class".into(), config.labels_per_class.to_string().into()]);
        }
        if config.imbalance != default.imbalance {
            words.extend(["--imbalance".into(), config.imbalance.to_string().into()]);
        }
        if config.noise != default.noise {
            words.extend(["--noise".into(), config.noise.to_string().into()]);
        }
        if config.noise_kind != default.noise_kind {
            words.extend(["--noise-kind".into(), config.noise_kind.to_string().into()]);
        }
        shell(&words)
    }
}

/// The layers below as errors that the frame of the command knows how to show.
pub(crate) fn shown(error: CompareError) -> anyhow::Error {
    match error {
        CompareError::Burn(keener_burn::Error::Core(core)) => core.into(),
        CompareError::Burn(other) => other.into(),
        CompareError::Data(data) => data.into(),
        CompareError::Keep(error) => error.into(),
        other => other.into(),
    }
}

/// Most memory that this process ever held, in bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Runs the command.
///
/// # Errors
/// Wrong usage or input, before anything is trained or written.
pub(crate) fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    // A folder that is no comparison, or that another process works in, is not even read. One that is empty holds what a
    // comparison left that was killed before it began: it begins now.
    let begun = |out: &&PathBuf| out.read_dir().map_or(out.exists(), |mut entries| entries.next().is_some());
    let interrupted = args.out.as_ref().filter(|_| args.resume).filter(begun).map(|out| Interrupted::open(out));
    let interrupted = interrupted.transpose()?;
    let mut settings = settings::effective(&args)?;
    if args.print_config {
        return print(&settings::to_text(&settings)?);
    }
    let (data, _) = settings.data.open()?;
    settings.data.check(&data)?;
    settings.data.fingerprint = Some(data.fingerprint()?);
    let workers = rayon::current_num_threads();
    let config = &mut settings.compare;
    if args.objectives.is_none()
        && args.config.is_none()
        && interrupted.is_none()
        && config.scenarios == [Scenario::Imbalanced]
    {
        config.objectives = compare::imbalanced_objectives(data.num_classes());
    }
    for objective in &config.objectives {
        let candidate = Candidate::new(objective, config.head).map_err(shown)?;
        candidate.check_classes(data.num_classes()).map_err(shown)?;
    }
    for scenario in &config.scenarios {
        compare::Splits::draw(&data, *scenario, config).map_err(shown)?;
    }
    let out = args.out.clone().unwrap_or_else(|| folder::fresh(&format!("compare-{}", data.name())));
    if let Some(seconds) = args.seconds {
        config.steps = match &interrupted {
            // A budget of seconds was measured into steps once, when the comparison began.
            Some(old) => old.plan.config.steps,
            None => compare::steps_for(&data, config, seconds, workers).map_err(shown)?,
        };
    }
    let config = &settings.compare;
    let plan = Plan::new(&data, config)?;
    let there = Settings { data: settings.data.seen_from(&out), ..settings.clone() };
    let stop = stop_on_signal("training")?;
    let (folder, done) = Folder::open(&out, &plan, interrupted, &[(CONFIG, &settings::to_text(&there)?)])?;
    let progress = progress::Progress::new(false);
    let keep = |line: &compare::Line, finished: usize, total: usize| {
        folder.keep(line)?;
        progress.finished(line, finished, total);
        Ok(())
    };
    let outcome = compare::run(&data, config, &done, workers, &stop, &keep);
    progress.end();
    if let Err(CompareError::Stopped { finished, total }) = outcome {
        let message = format!("{finished} of {total} trainings are finished and kept in {}", out.display());
        let mut words: Vec<OsString> = ["keener", "compare", "--resume", "--out"].map(OsString::from).to_vec();
        words.push(out.clone().into());
        words.extend(memory::words());
        return Err(Failure::stopped(message, shell(&words)).into());
    }
    let outcome = outcome.map_err(shown)?;
    let boards = config.scenarios.iter().map(|s| compare::board(&outcome, *s));
    let compared = Compared {
        data: &data,
        plan: &plan,
        outcome: &outcome,
        boards: boards.collect::<Result<_, _>>().map_err(shown)?,
        command: Args::command(&settings),
        seconds: started.elapsed().as_secs_f64(),
        workers,
        peak_memory: peak_memory(),
    };
    let results = results::json(&compared)?;
    folder.write("results.json", &(serde_json::to_string_pretty(&results)? + "\n"))?;
    for board in &compared.boards {
        folder.write(&format!("{}.csv", board.scenario), &tables::flat(board).to_csv())?;
    }
    folder.write("report.html", &report::page(&compared)?.render())?;
    if args.output.json {
        return crate::output::print_json(&results);
    }
    for board in &compared.boards {
        print_table(&tables::board(board))?;
        if let Some(table) = tables::probabilities(board) {
            print_table(&table)?;
        }
        print(&format!("{}\n\n", board.sentence().replace('`', "")))?;
    }
    for board in &compared.boards {
        let Some(winner) = board.winner() else { continue };
        let (name, spec) = (board.scenario.title().to_lowercase(), &winner.chosen.spec);
        print(&format!(
            "{name}, learning rate {}:\n  burn     ObjectiveLoss::parse(\"{spec}\")?\n  PyTorch  {}\n",
            winner.chosen.learning_rate,
            compare::pytorch_code(spec).replace('\n', "\n           ")
        ))?;
    }
    let path = folder.path().display();
    print(&format!("\n{:.0} s on {workers} threads. {path}/report.html, results.json, units.jsonl\n", compared.seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_of_parameters_do_not_split_objectives() {
        assert_eq!(
            split_objectives("ce, cosface:margin=0.2,scale=16,arcface+tcm:weight=1,lambda_plus=2,focal"),
            ["ce", "cosface:margin=0.2,scale=16", "arcface+tcm:weight=1,lambda_plus=2", "focal"]
        );
        assert!(split_objectives(" ,").is_empty());
    }

    #[test]
    fn the_process_knows_its_peak() {
        assert!(peak_memory().is_none_or(|bytes| bytes > 1 << 20));
    }
}
