//! What is compared, on what, and under which budget.

use super::error::CompareError;
use keener_data::noise::NoiseKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the trained heads are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Name the class of a row.
    Classify,
    /// Find other rows of the same class.
    Retrieve,
}

/// Under which conditions objectives are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// All labels of the training part, as they are.
    Full,
    /// A few labelled rows a class.
    FewLabels,
    /// Noise on the labels of training and validation rows; test labels are clean.
    NoisyLabels,
    /// Training on some classes, retrieval among others.
    UnseenClasses,
    /// Rare classes, everywhere: rows are left out until the rarest class has the wanted share of the most frequent.
    Imbalanced,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 5] = [Self::Full, Self::FewLabels, Self::NoisyLabels, Self::UnseenClasses, Self::Imbalanced];

    /// Its name, as in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::FewLabels => "few-labels",
            Self::NoisyLabels => "noisy-labels",
            Self::UnseenClasses => "unseen-classes",
            Self::Imbalanced => "imbalanced",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Full => "All labels",
            Self::FewLabels => "Few labels",
            Self::NoisyLabels => "Noisy labels",
            Self::UnseenClasses => "Unseen classes",
            Self::Imbalanced => "Imbalanced classes",
        }
    }

    /// What is asked of the heads.
    pub fn task(self) -> Task {
        match self {
            Self::UnseenClasses => Task::Retrieve,
            _ => Task::Classify,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is trained on the features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadChoice {
    /// Every objective trains the same trunk, `d → hidden (ReLU) → embedding`; objectives over classes put class weights on
    /// top, compared by inner product or cosine as the objective asks. Read-out: their scores, or class means.
    #[default]
    Auto,
    /// Class weights on the features themselves, no trunk. For objectives over classes.
    Linear,
    /// As `auto`, but classes are scored by cosine. For objectives over classes whose scores are cosines.
    Cosine,
    /// As `auto`, but every objective is read out by class means of its embeddings.
    Projection,
}

/// Settings of a comparison; [`CompareConfig::default`] is what the command runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareConfig {
    /// Specifications, as [`keener::objective::parse`] reads them. Parameters given here are not tuned.
    pub objectives: Vec<String>,
    /// The scenarios, each with its own leader board.
    pub scenarios: Vec<Scenario>,
    /// What is trained.
    pub head: HeadChoice,
    /// Width of the trunk's hidden layer. Default 128.
    pub hidden: usize,
    /// Width of the embeddings. Default 64.
    pub embedding: usize,
    /// Steps of one training. Default 200.
    pub steps: usize,
    /// Rows a step. Default 100.
    pub batch: usize,
    /// Resampled splits, each with its own initial weights. Default 10.
    pub repeats: usize,
    /// Fixes everything. Default 0.
    pub seed: u64,
    /// Configurations that tuning starts from for each objective; 1 leaves all at their defaults. Default 16.
    pub trials: usize,
    /// Divisions of the development rows that a trial is averaged over. Default 4.
    pub folds: usize,
    /// Learning rates that are tried, the defaults at the middle one (the upper of two). Default 0.00025, 0.001, 0.004,
    /// 0.016.
    pub learning_rates: Vec<f64>,
    /// Decoupled weight decay of AdamW. Default 0.0001.
    pub weight_decay: f64,
    /// Labelled rows a class under few labels. Default 10.
    pub labels_per_class: usize,
    /// Share of labels that are wrong under noisy labels. Default 0.4.
    pub noise: f64,
    /// Which labels are wrong there. Default uniform.
    pub noise_kind: NoiseKind,
    /// How many times the most frequent class outnumbers the rarest under imbalance (a data set that is more imbalanced
    /// stays as it is). Default 10.
    pub imbalance: f64,
    /// Most rows of a test part, so that retrieval among them stays cheap. Default 4000.
    pub most_tested: usize,
}

impl Default for CompareConfig {
    fn default() -> Self {
        Self {
            objectives: super::default_objectives(),
            scenarios: vec![Scenario::FewLabels, Scenario::NoisyLabels, Scenario::UnseenClasses],
            head: HeadChoice::Auto,
            hidden: 128,
            embedding: 64,
            steps: 200,
            batch: 100,
            repeats: 10,
            seed: 0,
            trials: 16,
            folds: 4,
            learning_rates: vec![0.00025, 0.001, 0.004, 0.016],
            weight_decay: 1e-4,
            labels_per_class: 10,
            noise: 0.4,
            noise_kind: NoiseKind::Uniform,
            imbalance: 10.0,
            most_tested: 4000,
        }
    }
}

impl CompareConfig {
    /// Checks every setting that does not need the data.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn check(&self) -> Result<(), CompareError> {
        let setting = |name, value: String, expected: &str| {
            Err(CompareError::Setting { name, value, expected: expected.to_string() })
        };
        let sizes = [
            ("hidden", self.hidden, 1),
            ("embedding", self.embedding, 2),
            ("steps", self.steps, 1),
            ("batch", self.batch, 2),
            ("repeats", self.repeats, 1),
            ("trials", self.trials, 1),
            ("folds", self.folds, 1),
            ("labels_per_class", self.labels_per_class, 2),
            ("most_tested", self.most_tested, 10),
        ];
        for (name, value, least) in sizes {
            if value < least {
                return setting(name, value.to_string(), &format!("at least {least}"));
            }
        }
        if self.objectives.is_empty() {
            return setting("objectives", "none".into(), "at least one");
        }
        if self.scenarios.is_empty() {
            return setting("scenarios", "none".into(), "at least one");
        }
        if !(0.0..=0.9).contains(&self.noise) {
            return setting("noise", self.noise.to_string(), "a share in [0, 0.9]");
        }
        if !(self.imbalance.is_finite() && self.imbalance >= 1.0) {
            return setting("imbalance", self.imbalance.to_string(), "a finite ratio ≥ 1");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return setting("weight_decay", self.weight_decay.to_string(), "a finite number ≥ 0");
        }
        match self.learning_rates.iter().find(|r| !(r.is_finite() && **r > 0.0)) {
            Some(rate) => setting("learning_rates", rate.to_string(), "finite numbers > 0"),
            None if self.learning_rates.is_empty() => setting("learning_rates", "none".into(), "at least one"),
            None => Ok(()),
        }
    }
}

/// An independent seed for use `what` at place `at` (SplitMix64's finaliser over all three).
pub(crate) fn derived_seed(seed: u64, what: u64, at: u64) -> u64 {
    let mut x = seed
        .wrapping_add(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(what + 1))
        .wrapping_add(0xd1b5_4a32_d192_ed03u64.wrapping_mul(at + 1));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Uses of [`derived_seed`].
pub(crate) mod stream {
    pub(crate) const DEVELOPMENT: u64 = 0;
    pub(crate) const SPLIT: u64 = 1;
    pub(crate) const NOISE: u64 = 2;
    pub(crate) const FEW: u64 = 3;
    pub(crate) const CAP: u64 = 4;
    pub(crate) const TRAINING: u64 = 5;
    pub(crate) const TUNING: u64 = 6;
    pub(crate) const TRIALS: u64 = 7;
    pub(crate) const IMBALANCE: u64 = 8;
}
