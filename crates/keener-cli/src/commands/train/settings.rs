//! What a training is made from: the command's defaults, a configuration file over them, options over that.

use super::bags::BagRecord;
use super::run_folder::RunConfig;
use super::{Args, GradientArg, HeadArg};
use crate::commands::compare::data::{self, DataRecord};
use crate::commands::compare::shown;
use crate::config_file::{ConfigFile, Key, render};
use crate::error::Failure;
use anyhow::Result;
use keener_burn::compare::{Candidate, HeadChoice};
use keener_burn::{HeadConfig, TrainConfig, reads_of};
use std::path::Path;

/// Steps, where nobody says how many.
const STEPS: usize = 1000;
/// Width of the hidden layer.
const HIDDEN: usize = 128;
/// Width of the embeddings.
const EMBEDDING: usize = 64;

/// Every key of `config.toml`.
pub(crate) const KEYS: &[Key] = &[
    Key::new("version", "of the command that wrote this"),
    Key::new("validation", "share of the rows that validate"),
    Key::optional("label_noise", "wrong labels in the training rows: kind and share", "\"uniform:0.4\""),
    Key::new("standardize", "features to mean 0 and variance 1, by the training rows"),
    Key::new("validate_every", "steps from one validation and checkpoint to the next"),
    data::KEYS[0],
    data::KEYS[1],
    data::KEYS[2],
    data::KEYS[3],
    data::KEYS[4],
    data::KEYS[5],
    data::KEYS[6],
    data::PART_KEYS[0],
    data::PART_KEYS[1],
    data::PART_KEYS[2],
    data::PART_KEYS[3],
    Key::optional("bags.size", "random bags of so many training rows, whose shares of classes alone are known", "8"),
    Key::optional("bags.file", "bag of each row, one id a line, instead of random bags", "\"bags.csv\""),
    Key::optional("bags.responses", "table with the column bag and one column a class", "\"responses.csv\""),
    Key::new("train.objective", "as `keener objectives` explains: name, name:parameter=value, first+second:weight=0.5"),
    Key::new("train.learning_rate", "at its peak"),
    Key::new("train.weight_decay", "decoupled, as AdamW's"),
    Key::new("train.batch_size", "rows a step"),
    Key::new("train.steps", "the budget"),
    Key::new("train.warmup", "steps of linear warm-up before the schedule"),
    Key::new("train.schedule.kind", "cosine (to zero), constant or step"),
    Key::optional("train.schedule.at", "step: parts of the budget at which the rate falls", "[0.5, 0.75]"),
    Key::optional("train.schedule.factor", "step: what it is multiplied by there", "0.1"),
    Key::optional("train.clip_norm", "longer gradients are shortened to this length", "10.0"),
    Key::new("train.seed", "fixes split, weights and batches"),
    Key::new("train.head.kind", "linear, cosine (class weights) or projection (embeddings alone)"),
    Key::optional("train.head.hidden", "width of a hidden layer with ReLU", "128"),
    Key::optional("train.head.embedding", "width of a layer between it and the class weights", "64"),
    Key::optional("train.head.bias", "linear: whether scores have one", "true"),
    Key::optional("train.head.out", "projection: width of the embeddings", "64"),
    Key::new("train.gradient", "plain, or orthogonal: without its part along the weights"),
    Key::new("train.optimizer.kind", "adamw or sgd"),
    Key::optional("train.optimizer.beta_1", "adamw: decay of the mean gradient", "0.9"),
    Key::optional("train.optimizer.beta_2", "adamw: decay of the mean squared gradient", "0.999"),
    Key::optional("train.optimizer.epsilon", "adamw: added to the root of the mean squared gradient", "1e-8"),
    Key::optional("train.optimizer.momentum", "sgd", "0.9"),
    Key::optional("train.optimizer.nesterov", "sgd: whether the step looks ahead", "true"),
    Key::new("train.class_weights", "none or balanced, for objectives that take weights of classes"),
    Key::new("train.attack.epsilon", "largest change of a feature, for objectives that read an attacked version"),
    Key::new("train.attack.steps", "of the attack; more than one start at random"),
    Key::new("train.attack.step_size", "length of a step, in parts of epsilon"),
    Key::new("train.attack.norm", "linf (each feature apart) or l2 (each row)"),
    Key::optional(
        "train.attack.goal",
        "cross_entropy, margin, margin_shift or kl; left out: as the objective is meant",
        "\"kl\"",
    ),
    Key::optional("train.attack.clip_min", "least value of a feature", "0.0"),
    Key::optional("train.attack.clip_max", "greatest value of a feature", "1.0"),
    Key::optional(
        "train.sampler.kind",
        "shuffle, stratified, classes_per_batch, pairs or bags; left out: as the objective needs",
        "\"classes_per_batch\"",
    ),
    Key::optional("train.sampler.classes", "classes_per_batch: classes a batch", "16"),
    Key::optional("train.sampler.per_class", "classes_per_batch: rows a class", "8"),
];

/// Tables whose keys depend on their `kind`: a file gives them whole.
const WHOLE: &[&str] = &["train.head", "train.optimizer", "train.sampler", "train.schedule"];

/// The configuration with comments, as it stands in a run folder.
pub(crate) fn to_text(config: &RunConfig) -> Result<String> {
    let title = "What `keener train` does; `keener train --config FILE` does it again.\n\
                 Keys may be left out: they take the command's defaults. Options of the command line win over this file.";
    render(title, config, KEYS)
}

/// Warm-up and distance of validations, as they follow from the budget.
fn shares(steps: usize) -> (usize, usize) {
    (steps / 20, steps.div_ceil(20).max(1))
}

/// The head as the objective asks.
fn fitting(objective: &str, hidden: usize, embedding: usize) -> Result<HeadConfig> {
    let candidate = Candidate::new(objective, HeadChoice::Auto);
    let classes = match &candidate {
        Ok(candidate) => candidate.classes,
        // Attacked versions are made by the training itself.
        Err(_) if reads_of(objective)?.contains(&keener::objective::Reads::TwoScores) => true,
        Err(_) => return Err(shown(candidate.err().ok_or_else(|| Failure::wrong("unreadable objective"))?)),
    };
    let kind = match (classes, candidate.is_ok_and(|c| c.cosine)) {
        (false, _) => HeadArg::Projection,
        (true, true) => HeadArg::Cosine,
        (true, false) => HeadArg::Linear,
    };
    Ok(head(kind, hidden, embedding, true))
}

/// A head of a kind; widths of 0 leave a layer out.
fn head(kind: HeadArg, hidden: usize, embedding: usize, bias: bool) -> HeadConfig {
    let inner = (hidden > 0).then_some(hidden);
    let outer = (embedding > 0 && hidden > 0).then_some(embedding);
    match kind {
        HeadArg::Cosine => HeadConfig::Cosine { hidden: inner, embedding: outer },
        HeadArg::Projection => HeadConfig::Projection { hidden, out: embedding },
        HeadArg::Linear | HeadArg::Auto => HeadConfig::Linear { hidden: inner, embedding: outer, bias },
    }
}

/// Kind, widths and bias of a head.
fn taken_apart(head: &HeadConfig) -> (HeadArg, usize, usize, bool) {
    match *head {
        HeadConfig::Linear { hidden, embedding, bias } => {
            (HeadArg::Linear, hidden.unwrap_or(0), embedding.unwrap_or(0), bias)
        }
        HeadConfig::Cosine { hidden, embedding } => {
            (HeadArg::Cosine, hidden.unwrap_or(0), embedding.unwrap_or(0), true)
        }
        HeadConfig::Projection { hidden, out } => (HeadArg::Projection, hidden, out, true),
    }
}

/// What the command does where neither file nor options say otherwise.
fn defaults(objective: &str, steps: usize) -> Result<RunConfig> {
    let (warmup, validate_every) = shares(steps);
    Ok(RunConfig {
        version: env!("CARGO_PKG_VERSION").into(),
        validation: 0.2,
        standardize: true,
        label_noise: None,
        bags: None,
        validate_every,
        data: DataRecord::default(),
        train: TrainConfig {
            head: fitting(objective, HIDDEN, EMBEDDING)?,
            objective: objective.into(),
            learning_rate: 0.003,
            weight_decay: 0.0001,
            batch_size: 128,
            steps,
            warmup,
            ..TrainConfig::default()
        },
    })
}

/// The configuration that arguments and their file come to. Paths in it count from where the command runs.
///
/// # Errors
/// No objective, a file that cannot be read, settings out of range.
pub(super) fn effective(args: &Args) -> Result<RunConfig> {
    let file = args.config.as_deref().map(|path| ConfigFile::read(path, KEYS)).transpose()?;
    let file = file.as_ref();
    let read = |path: &str| file.map_or(Ok(None), |file| file.read_at::<String>(path));
    let Some(objective) = args.objective.clone().map_or_else(|| read("train.objective"), |given| Ok(Some(given)))?
    else {
        return Err(Failure::wrong("there is no objective to train on")
            .hint("`--objective softmax_cross_entropy`, or another of `keener objectives`")
            .into());
    };
    let objective = objective.trim();
    crate::chosen::Chosen::parse(objective)?;
    let steps = match (args.steps, file) {
        (Some(steps), _) => steps,
        (None, Some(file)) => file.read_at("train.steps")?.unwrap_or(STEPS),
        (None, None) => STEPS,
    };
    let mut config = defaults(objective, steps)?;
    if let Some(file) = file {
        config = file.over(&config, WHOLE)?;
        config.data = config.data.found_from(file.folder());
        config.bags = config.bags.map(|bags| bags.with_paths(|path| crate::paths::found_from(file.folder(), path)));
        let (then, now) = (config.version.clone(), env!("CARGO_PKG_VERSION"));
        if then != now {
            crate::output::note(&format!("{} was written by keener {then}, this is {now}", file.shown()));
        }
        config.version = now.into();
    }
    args.apply(&mut config, steps, objective)?;
    config.train.check().map_err(super::core_first)?;
    if !(config.validation > 0.0 && config.validation < 1.0) {
        return Err(
            Failure::wrong(format!("validation = {}: expected a share between 0 and 1", config.validation)).into()
        );
    }
    if config.validate_every == 0 {
        return Err(Failure::wrong("validate_every = 0: expected at least 1").into());
    }
    Ok(config)
}

/// The configuration that a run folder holds. Paths in it count from where the command runs.
///
/// # Errors
/// A file that cannot be read or lacks something.
pub(crate) fn stored(path: &Path) -> Result<RunConfig> {
    let file = ConfigFile::read(path, KEYS)?;
    let objective = file.read_at::<String>("train.objective")?.unwrap_or_default();
    let mut config: RunConfig = file.over(&defaults(&objective, STEPS)?, WHOLE)?;
    config.data = config.data.found_from(file.folder());
    config.bags = config.bags.map(|bags| bags.with_paths(|path| crate::paths::found_from(file.folder(), path)));
    Ok(config)
}

impl Args {
    /// Puts the options that were given over a configuration.
    fn apply(&self, config: &mut RunConfig, steps: usize, objective: &str) -> Result<()> {
        if self.data.any() {
            config.data = self.data.over(&config.data)?;
        }
        self.parts.over(&mut config.data);
        let train = &mut config.train;
        train.objective = objective.into();
        let (kind, hidden, embedding, bias) = taken_apart(&train.head);
        let (hidden, embedding) = (self.hidden.unwrap_or(hidden), self.embedding.unwrap_or(embedding));
        match self.head {
            Some(HeadArg::Auto) => train.head = fitting(objective, hidden, embedding)?,
            Some(kind) => train.head = head(kind, hidden, embedding, bias),
            None => train.head = head(kind, hidden, embedding, bias),
        }
        if self.steps.is_some() {
            train.steps = steps;
            (train.warmup, config.validate_every) = shares(steps);
        }
        let set = |to: &mut usize, given: Option<usize>| *to = given.unwrap_or(*to);
        set(&mut train.warmup, self.warmup);
        set(&mut train.batch_size, self.batch);
        set(&mut config.validate_every, self.validate_every);
        train.learning_rate = self.learning_rate.unwrap_or(train.learning_rate);
        train.weight_decay = self.weight_decay.unwrap_or(train.weight_decay);
        train.gradient = self.gradient.map_or(train.gradient, GradientArg::transform);
        train.seed = self.seed.unwrap_or(train.seed);
        config.validation = self.validation.unwrap_or(config.validation);
        config.standardize &= !self.no_standardize;
        config.label_noise = self.label_noise.or(config.label_noise);
        if self.bag_size.is_some() || self.bags.is_some() || self.bag_responses.is_some() {
            let mut bags = config.bags.take().unwrap_or_default();
            // One kind of bags takes the place of the other.
            if self.bag_size.is_some() {
                bags = BagRecord { size: self.bag_size, ..BagRecord::default() };
            }
            if let Some(file) = &self.bags {
                bags = BagRecord { size: None, file: Some(file.clone()), ..bags };
            }
            bags.responses = self.bag_responses.clone().or(bags.responses);
            config.bags = Some(bags);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::undocumented;
    use keener_burn::{OptimizerConfig, SamplerConfig, ScheduleConfig};

    #[test]
    fn every_key_of_the_file_says_what_it_is() {
        let mut config = defaults("focal", 40).unwrap();
        config.data = DataRecord {
            path: Some("x.csv".into()),
            labels: Some("y.csv".into()),
            label_column: Some("a".into()),
            columns: vec!["x*".into()],
            leave_out: vec!["id".into()],
            group_column: Some("g".into()),
            split: Some("s.csv".into()),
            split_column: Some("p".into()),
            validation_data: Some("v.csv".into()),
            test_data: Some("t.csv".into()),
            fingerprint: Some("0".into()),
        };
        config.label_noise = Some("uniform:0.4".parse().unwrap());
        config.bags = Some(BagRecord { size: Some(8), file: Some("b".into()), responses: Some("r".into()) });
        config.train.sampler = Some(SamplerConfig::ClassesPerBatch { classes: 2, per_class: 2 });
        config.train.clip_norm = Some(1.0);
        config.train.schedule = ScheduleConfig::Step { at: vec![0.5], factor: 0.1 };
        config.train.attack.goal = Some(keener::attack::Goal::Kl);
        (config.train.attack.clip_min, config.train.attack.clip_max) = (Some(0.0), Some(1.0));
        let heads = [HeadArg::Linear, HeadArg::Cosine, HeadArg::Projection].map(|kind| head(kind, 8, 4, true));
        for (head, optimizer) in
            heads.into_iter().zip([OptimizerConfig::adamw(), OptimizerConfig::sgd(), OptimizerConfig::sgd()])
        {
            config.train = TrainConfig { head, optimizer, ..config.train };
            assert_eq!(undocumented(&config, KEYS), [""; 0], "settings.rs: KEYS lacks these");
        }
    }

    #[test]
    fn the_text_is_read_as_the_same_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for objective in ["focal", "cosface:scale=16", "supervised_contrastive", "trades", "arcface+tcm:weight=0.5"] {
            let mut config = defaults(objective, 70).unwrap();
            config.train.seed = 3;
            std::fs::write(&path, to_text(&config).unwrap()).unwrap();
            assert_eq!(stored(&path).unwrap(), config);
        }
    }
}
