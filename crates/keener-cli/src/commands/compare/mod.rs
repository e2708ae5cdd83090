//! `keener compare`: several objectives, one budget, the same rows; who is best, and is that more than chance?

pub(crate) mod data;
mod figures;
pub(crate) mod folder;
mod progress;
mod report;
mod results;
mod tables;

use crate::error::Failure;
use crate::output::{OutputArgs, print, print_table};
use anyhow::Result;
use data::{DataArgs, shell};
use folder::{Folder, Plan};
use keener_burn::compare::{
    self, Candidate, CompareConfig, CompareError, HeadChoice, Outcome, Scenario, Task, default_objectives,
};
use keener_data::Dataset;
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
}

impl From<ScenarioArg> for Scenario {
    fn from(scenario: ScenarioArg) -> Self {
        match scenario {
            ScenarioArg::Full => Self::Full,
            ScenarioArg::FewLabels => Self::FewLabels,
            ScenarioArg::NoisyLabels => Self::NoisyLabels,
            ScenarioArg::UnseenClasses => Self::UnseenClasses,
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

/// Arguments of `keener compare`.
#[derive(Clone, Debug, clap::Args)]
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
    /// What is trained
    #[arg(long, value_enum, default_value = "auto")]
    head: HeadArg,
    /// Steps of one training [default: 200]
    #[arg(long, conflicts_with = "seconds")]
    steps: Option<usize>,
    /// Budget of the whole comparison; measured into steps once, at the start
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Resampled splits, each with its own initial weights
    #[arg(long, default_value_t = 10)]
    repeats: usize,
    /// Rows a step
    #[arg(long, value_name = "ROWS")]
    batch: Option<usize>,
    /// Configurations that tuning starts from; 1 tunes nothing
    #[arg(long, value_name = "N")]
    trials: Option<usize>,
    /// Divisions of the development rows that a configuration is judged on [default: 4]
    #[arg(long, value_name = "N")]
    folds: Option<usize>,
    /// Labelled rows a class under few labels
    #[arg(long, value_name = "N")]
    labels_per_class: Option<usize>,
    /// Share of wrong labels under noisy labels
    #[arg(long, value_name = "SHARE")]
    noise: Option<f64>,
    /// Fixes splits, noise, weights and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Output folder [default: runs/compare-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with an interrupted comparison in `--out`
    #[arg(long, requires = "out")]
    resume: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Everything that tables and report are made from.
pub(crate) struct Compared<'a> {
    pub(crate) data: &'a Dataset,
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
    fn config(&self) -> CompareConfig {
        let embedded = self.data.data.is_none();
        let scenarios: Vec<Scenario> = match (self.scenario.is_empty(), self.task) {
            (false, _) => self.scenario.iter().map(|s| (*s).into()).collect(),
            (true, None | Some(TaskArg::All)) if embedded => CompareConfig::default().scenarios,
            (true, Some(TaskArg::Classify)) if embedded => vec![Scenario::FewLabels, Scenario::NoisyLabels],
            (true, None | Some(TaskArg::Classify)) => vec![Scenario::Full],
            (true, Some(TaskArg::Retrieve)) => vec![Scenario::UnseenClasses],
            (true, Some(TaskArg::All)) => vec![Scenario::Full, Scenario::UnseenClasses],
        };
        let head = match self.head {
            HeadArg::Auto => HeadChoice::Auto,
            HeadArg::Linear => HeadChoice::Linear,
            HeadArg::Cosine => HeadChoice::Cosine,
            HeadArg::Projection => HeadChoice::Projection,
        };
        let objectives = match &self.objectives {
            Some(list) => split_objectives(list),
            None => {
                let applies = |spec: &String| Candidate::new(spec, head).is_ok();
                default_objectives().into_iter().filter(applies).collect()
            }
        };
        let default = CompareConfig::default();
        CompareConfig {
            objectives,
            scenarios,
            head,
            steps: self.steps.unwrap_or(default.steps),
            batch: self.batch.unwrap_or(default.batch),
            repeats: self.repeats,
            seed: self.seed,
            trials: self.trials.unwrap_or(default.trials),
            folds: self.folds.unwrap_or(default.folds),
            labels_per_class: self.labels_per_class.unwrap_or(default.labels_per_class),
            noise: self.noise.unwrap_or(default.noise),
            ..default
        }
    }

    fn check_task(&self, config: &CompareConfig) -> Result<()> {
        let wanted = match self.task {
            Some(TaskArg::Classify) => Task::Classify,
            Some(TaskArg::Retrieve) => Task::Retrieve,
            None | Some(TaskArg::All) => return Ok(()),
        };
        match config.scenarios.iter().find(|s| s.task() != wanted) {
            Some(scenario) => Err(Failure::wrong(format!("scenario `{scenario}` does not belong to `--task`"))
                .hint("`--task all`, or scenarios of one task")
                .into()),
            None => Ok(()),
        }
    }

    /// The command line that gives the same numbers.
    fn command(&self, config: &CompareConfig) -> String {
        let mut words = vec!["keener".to_string(), "compare".to_string()];
        words.extend(self.data.words());
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
        words.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]));
        if config.labels_per_class != default.labels_per_class {
            words.extend(["--labels-per-class".to_string(), config.labels_per_class.to_string()]);
        }
        if config.noise != default.noise {
            words.extend(["--noise".to_string(), config.noise.to_string()]);
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
        other => other.into(),
    }
}

/// Most memory that this process ever held, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
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
    let data = args.data.open()?;
    let workers = rayon::current_num_threads();
    let mut config = args.config();
    args.check_task(&config)?;
    config.check().map_err(shown)?;
    for objective in &config.objectives {
        Candidate::new(objective, config.head).map_err(shown)?;
    }
    for scenario in &config.scenarios {
        compare::Splits::draw(&data, *scenario, &config).map_err(shown)?;
    }
    if let Some(seconds) = args.seconds {
        config.steps = compare::steps_for(&data, &config, seconds, workers).map_err(shown)?;
        if args.resume {
            // A budget of seconds was measured into steps once, when the comparison began.
            let plan = args.out.as_ref().and_then(|out| std::fs::read_to_string(out.join("plan.json")).ok());
            let old: Option<Plan> = plan.and_then(|text| serde_json::from_str(&text).ok());
            config.steps = old.map_or(config.steps, |plan| plan.config.steps);
        }
    }
    let plan = Plan::new(&data, &config);
    let out = args.out.clone().unwrap_or_else(|| folder::fresh(&format!("compare-{}", data.name)));
    let (folder, done) = Folder::open(out, &plan, args.resume)?;
    let progress = progress::Progress::new(false);
    let keep = |line: &compare::Line, finished: usize, total: usize| {
        folder.keep(line)?;
        progress.finished(line, finished, total);
        Ok(())
    };
    let outcome = compare::run(&data, &config, &done, workers, &keep).map_err(shown)?;
    progress.end();
    let boards = config.scenarios.iter().map(|s| compare::board(&outcome, *s));
    let compared = Compared {
        data: &data,
        plan: &plan,
        outcome: &outcome,
        boards: boards.collect::<Result<_, _>>().map_err(shown)?,
        command: args.command(&config),
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
    let path = folder.path.display();
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
