//! What a comparison is made from: the command's defaults, a configuration file over them, options over that.

use super::data::{self, DataRecord};
use super::{Args, CONFIG, HeadArg, TaskArg, shown, split_objectives};
use crate::config_file::{ConfigFile, Key, render};
use crate::error::Failure;
use anyhow::Result;
use keener_burn::compare::{Candidate, CompareConfig, HeadChoice, Scenario, Task, default_objectives};
use serde::{Deserialize, Serialize};

/// `config.toml` of a comparison: with the same data it gives the same numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) version: String,
    pub(crate) data: DataRecord,
    pub(crate) compare: CompareConfig,
}

/// Every key of `config.toml`.
const KEYS: &[Key] = &[
    Key::new("version", "of the command that wrote this"),
    data::KEYS[0],
    data::KEYS[1],
    data::KEYS[2],
    data::KEYS[3],
    data::KEYS[4],
    data::KEYS[5],
    data::KEYS[6],
    Key::new("compare.objectives", "as `keener objectives` explains; parameters given here are not tuned"),
    Key::new(
        "compare.scenarios",
        "full, few-labels, noisy-labels, unseen-classes, imbalanced; each has its own leader board",
    ),
    Key::new("compare.head", "auto, linear, cosine or projection"),
    Key::new("compare.hidden", "width of the trunk's hidden layer"),
    Key::new("compare.embedding", "width of the embeddings"),
    Key::new("compare.steps", "of one training"),
    Key::new("compare.batch", "rows a step"),
    Key::new("compare.repeats", "resampled splits, each with its own initial weights"),
    Key::new("compare.seed", "fixes splits, noise, weights and batches"),
    Key::new("compare.trials", "configurations that tuning starts from for each objective; 1 tunes nothing"),
    Key::new("compare.folds", "divisions of the development rows that a configuration is judged on"),
    Key::new("compare.learning_rates", "that are tried; untuned runs take the middle one"),
    Key::new("compare.weight_decay", "decoupled, as AdamW's"),
    Key::new("compare.labels_per_class", "labelled rows a class under few-labels"),
    Key::new("compare.noise", "share of wrong labels under noisy-labels"),
    Key::new("compare.noise_kind", "uniform, or class-dependent: labels of the next class"),
    Key::new("compare.imbalance", "most frequent over rarest class under imbalanced"),
    Key::new("compare.most_tested", "most rows of a test part"),
];

/// The configuration with comments, as it stands in a run folder.
pub(crate) fn to_text(settings: &Settings) -> Result<String> {
    let title = "What `keener compare` does; `keener compare --config FILE` does it again.\n\
                 Keys may be left out: they take the command's defaults. Options of the command line win over this file.";
    render(title, settings, KEYS)
}

/// Where nobody says under which conditions.
fn scenarios(task: Option<TaskArg>, embedded: bool) -> Vec<Scenario> {
    match task {
        None | Some(TaskArg::All) if embedded => CompareConfig::default().scenarios,
        Some(TaskArg::Classify) if embedded => vec![Scenario::FewLabels, Scenario::NoisyLabels],
        None | Some(TaskArg::Classify) => vec![Scenario::Full],
        Some(TaskArg::Retrieve) => vec![Scenario::UnseenClasses],
        Some(TaskArg::All) => vec![Scenario::Full, Scenario::UnseenClasses],
    }
}

impl From<HeadArg> for HeadChoice {
    fn from(head: HeadArg) -> Self {
        match head {
            HeadArg::Auto => Self::Auto,
            HeadArg::Linear => Self::Linear,
            HeadArg::Cosine => Self::Cosine,
            HeadArg::Projection => Self::Projection,
        }
    }
}

/// The settings that arguments and their file come to. Paths in them count from where the command runs.
///
/// # Errors
/// A file that cannot be read, scenarios of another task, settings out of range.
pub(super) fn effective(args: &Args) -> Result<Settings> {
    // What is resumed says itself what it is.
    let own = args.out.as_deref().filter(|_| args.resume).map(|out| out.join(CONFIG)).filter(|path| path.is_file());
    let file = args.config.clone().or(own).map(|path| ConfigFile::read(&path, KEYS)).transpose()?;
    let file = file.as_ref();
    let mut data = match file {
        Some(file) => file.read_at::<DataRecord>("data")?.unwrap_or_default().found_from(file.folder()),
        None => DataRecord::default(),
    };
    if args.data.any() {
        data = args.data.over(&data)?;
    }
    let head = match (args.head, file) {
        (Some(head), _) => head.into(),
        (None, Some(file)) => file.read_at("compare.head")?.unwrap_or_default(),
        (None, None) => HeadChoice::Auto,
    };
    let applies = |spec: &String| Candidate::new(spec, head).is_ok();
    let mut settings = Settings {
        version: env!("CARGO_PKG_VERSION").into(),
        data: data.clone(),
        compare: CompareConfig {
            objectives: default_objectives().into_iter().filter(applies).collect(),
            scenarios: scenarios(args.task, data.path.is_none()),
            head,
            ..CompareConfig::default()
        },
    };
    if let Some(file) = file {
        settings = file.over(&settings, &[])?;
        let (then, now) = (settings.version, env!("CARGO_PKG_VERSION"));
        if then != now {
            crate::output::note(&format!("{} was written by keener {then}, this is {now}", file.shown()));
        }
        settings = Settings { version: now.into(), data, compare: settings.compare };
    }
    args.apply(&mut settings.compare);
    let config = &settings.compare;
    args.check_task(config)?;
    config.check().map_err(shown)?;
    config.objectives.iter().try_for_each(|spec| Candidate::new(spec, config.head).map(|_| ()).map_err(shown))?;
    Ok(settings)
}

impl Args {
    /// Puts the options that were given over a configuration.
    fn apply(&self, config: &mut CompareConfig) {
        if !self.scenario.is_empty() {
            config.scenarios = self.scenario.iter().map(|s| (*s).into()).collect();
        } else if self.task.is_some() && (self.config.is_some() || self.resume) {
            config.scenarios = scenarios(self.task, self.data.data.is_none());
        }
        if let Some(list) = &self.objectives {
            config.objectives = split_objectives(list);
        }
        config.head = self.head.map_or(config.head, HeadChoice::from);
        let set = |to: &mut usize, given: Option<usize>| *to = given.unwrap_or(*to);
        set(&mut config.steps, self.steps);
        set(&mut config.batch, self.batch);
        set(&mut config.repeats, self.repeats);
        set(&mut config.trials, self.trials);
        set(&mut config.folds, self.folds);
        set(&mut config.labels_per_class, self.labels_per_class);
        config.seed = self.seed.unwrap_or(config.seed);
        config.noise = self.noise.unwrap_or(config.noise);
        config.noise_kind = self.noise_kind.map_or(config.noise_kind, Into::into);
        config.imbalance = self.imbalance.unwrap_or(config.imbalance);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::undocumented;

    #[test]
    fn every_key_of_the_file_says_what_it_is_and_is_read_again() {
        let data = DataRecord {
            path: Some("x.csv".into()),
            labels: Some("y.csv".into()),
            label_column: Some("a".into()),
            columns: vec!["x*".into()],
            leave_out: vec!["id".into()],
            group_column: Some("g".into()),
            fingerprint: Some("0".into()),
            ..DataRecord::default()
        };
        let settings = Settings { version: "1".into(), data, compare: CompareConfig::default() };
        assert_eq!(undocumented(&settings, KEYS), [""; 0], "settings.rs: KEYS lacks these");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, to_text(&settings).unwrap()).unwrap();
        let other = Settings {
            version: "2".into(),
            data: DataRecord::default(),
            compare: CompareConfig { objectives: Vec::new(), seed: 9, ..CompareConfig::default() },
        };
        assert_eq!(ConfigFile::read(&path, KEYS).unwrap().over(&other, &[]).unwrap(), settings);
    }
}
