//! An objective as it enters a comparison: what it reads, and which of its parameters are tuned.

use super::config::{CompareConfig, HeadChoice};
use super::error::CompareError;
use crate::reads_of;
use keener::engine::Slot;
use keener::objective::{Entry, Reads, find, parse, registry};
use serde_json::{Map, Value};

/// Scales that are tried where an objective multiplies its scores by one.
const SCALES: [f64; 4] = [8.0, 16.0, 32.0, 64.0];

/// What is compared when nothing else is asked for, as far as this build has it: over classes by inner product and by
/// cosine, with margins, over proxies, over pairs and triplets, and over two views.
const DEFAULTS: [&str; 10] = [
    "softmax_cross_entropy",
    "focal",
    "normalized_softmax",
    "cosface",
    "arcface",
    "proxy_anchor",
    "supervised_contrastive",
    "multi_similarity",
    "triplet",
    "siglip",
];

/// Taken, in order, where one of the above is missing from the registry.
const RESERVE: [&str; 3] = ["info_nce", "madacos", "symmetric_info_nce"];

/// The objectives that a comparison runs by default: ten, fewer only where the registry has fewer that apply.
pub fn default_objectives() -> Vec<String> {
    let exists = |name: &&&str| registry().iter().any(|e| e.name == **name);
    let names = DEFAULTS.iter().filter(exists).chain(RESERVE.iter().filter(exists));
    names.take(DEFAULTS.len()).map(ToString::to_string).collect()
}

/// What a comparison of imbalanced classes runs by default: cross-entropy with the usual remedies, and losses that aim at a
/// metric (one class against the rest where there are more than two).
pub fn imbalanced_objectives(classes: usize) -> Vec<String> {
    let aims = ["fbeta", "gmean", "balanced_accuracy"].map(|metric| match classes {
        2 => format!("anyloss:metric={metric}"),
        _ => format!("anyloss:metric={metric},multi_class=one_vs_rest,on_missing_class=skip"),
    });
    let plain =
        ["softmax_cross_entropy", "softmax_cross_entropy@class_weights", "softmax_cross_entropy@thresholds", "focal"];
    plain.map(String::from).into_iter().chain(aims).collect()
}

/// A parameter that is tuned, with the values that are tried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tunable {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
    /// The value that it has unless tuned.
    pub(crate) default: Option<f64>,
}

/// What is done beside an objective against imbalance, as a suffix of its specification: `softmax_cross_entropy@class_weights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Baseline {
    /// Nothing.
    #[default]
    None,
    /// `@class_weights`: classes weigh the same in training.
    ClassWeights,
    /// `@thresholds`: decisions are moved after training, as validation rows say.
    Thresholds,
}

/// Objectives that look at weights of classes.
const TAKE_CLASS_WEIGHTS: [&str; 3] = ["softmax_cross_entropy", "focal", "binary_cross_entropy"];

/// An objective that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The specification as given.
    pub spec: String,
    /// Whether it trains class weights.
    pub classes: bool,
    /// Whether its class scores are cosines.
    pub cosine: bool,
    /// The objective without what is said about its baseline.
    pub(crate) objective: String,
    /// What is done beside the objective against imbalance.
    pub baseline: Baseline,
    pub(crate) tunables: Vec<Tunable>,
}

fn first_name(spec: &str) -> &str {
    let first = spec.split('+').next().unwrap_or(spec);
    first.split_once(':').map_or(first, |(name, _)| name).trim()
}

/// Parameters that the first addend is given.
fn given(spec: &str) -> Map<String, Value> {
    let first = spec.split('+').next().unwrap_or(spec);
    let pairs =
        first.split_once(':').map_or("", |(_, arguments)| arguments).split(',').filter_map(|a| a.split_once('='));
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string()));
    pairs.map(|(key, text)| (key.trim().to_string(), value(text.trim()))).collect()
}

impl Candidate {
    /// Reads a specification and decides whether it applies under a task and a choice of head.
    ///
    /// # Errors
    /// Unknown names and parameters; [`CompareError::NotApplicable`] with what is missing.
    pub fn new(spec: &str, head: HeadChoice) -> Result<Self, CompareError> {
        let whole = spec.trim();
        let (spec, baseline) = match whole.split_once('@') {
            None => (whole, Baseline::None),
            Some((spec, "class_weights")) => (spec, Baseline::ClassWeights),
            Some((spec, "thresholds")) => (spec, Baseline::Thresholds),
            Some((_, other)) => {
                let expected = "@class_weights or @thresholds".to_string();
                return Err(CompareError::Setting { name: "objectives", value: format!("@{other}"), expected });
            }
        };
        let objective = parse(spec)?;
        let reads = reads_of(spec)?;
        let refuse = |reads: &[Reads], reason: &str| {
            let reads = reads.iter().map(|r| r.describe()).collect::<Vec<_>>().join("; and ");
            Err(CompareError::NotApplicable { objective: spec.to_string(), reads, reason: reason.to_string() })
        };
        if reads.contains(&Reads::TwoScores) {
            return refuse(
                &reads,
                "a comparison trains on one version of each row. `keener train` makes the attacked version for it",
            );
        }
        let classes =
            reads.iter().any(|r| matches!(r, Reads::ClassHead | Reads::MultiLabel | Reads::BinaryHead | Reads::Bags));
        if classes && reads.contains(&Reads::PairedViews) {
            return refuse(&reads, "class weights and second views cannot both be the candidates; compare them apart");
        }
        let matrices = objective.f32().matrices();
        let cosine = matrices.iter().any(|m| m.slot != Slot::Pairs && m.scorer.is_cosine());
        match head {
            HeadChoice::Linear if !classes => {
                return refuse(
                    &reads,
                    "`--head linear` has class scores and no embeddings; use `auto` or `projection`",
                );
            }
            HeadChoice::Linear if cosine => {
                return refuse(
                    &reads,
                    "it scores by cosine, and `--head linear` has inner products; use `auto` or `cosine`",
                );
            }
            HeadChoice::Cosine if !classes => {
                return refuse(
                    &reads,
                    "`--head cosine` has class scores and no classes are trained; use `auto` or `projection`",
                );
            }
            _ => {}
        }
        let entry = find(first_name(spec))?;
        if baseline == Baseline::ClassWeights && !TAKE_CLASS_WEIGHTS.contains(&entry.name) {
            return refuse(&reads, &format!("only {} take weights of classes", TAKE_CLASS_WEIGHTS.join(", ")));
        }
        if baseline == Baseline::Thresholds && !classes {
            return refuse(&reads, "thresholds are moved on class scores");
        }
        Ok(Self {
            spec: whole.to_string(),
            objective: spec.to_string(),
            baseline,
            classes,
            cosine,
            tunables: tunables(entry, &given(spec)),
        })
    }

    /// The specification with `values` for its tuned parameters, in their order.
    pub(crate) fn with(&self, values: &[f64]) -> String {
        let added: Vec<String> = self.tunables.iter().zip(values).map(|(t, v)| format!("{}={v}", t.name)).collect();
        if added.is_empty() {
            return self.objective.clone();
        }
        let (first, rest) = match self.objective.split_once('+') {
            Some((first, rest)) => (first, format!("+{rest}")),
            None => (self.objective.as_str(), String::new()),
        };
        let joint = if first.contains(':') { ',' } else { ':' };
        format!("{first}{joint}{}{rest}", added.join(","))
    }

    /// Whether data of so many classes can be trained on.
    ///
    /// # Errors
    /// [`CompareError::NotApplicable`] for objectives of two classes on more.
    pub fn check_classes(&self, classes: usize) -> Result<(), CompareError> {
        let reads = reads_of(&self.objective)?;
        let binary = reads.contains(&Reads::BinaryHead) && !self.objective.contains("multi_class=one_vs_rest");
        match binary && classes != 2 {
            false => Ok(()),
            true => Err(CompareError::NotApplicable {
                objective: self.spec.clone(),
                reads: Reads::BinaryHead.describe().into(),
                reason: format!(
                    "the data have {classes} classes; `multi_class=one_vs_rest` averages over each class against the rest (an \
                     extension of ours)"
                ),
            }),
        }
    }

    /// Names of the parameters that are tuned besides the learning rate.
    pub fn tuned(&self) -> Vec<&str> {
        self.tunables.iter().map(|t| t.name.as_str()).collect()
    }
}

/// The main parameter of the registry, and the scale where there is one; without those that the user fixed.
fn tunables(entry: &Entry, given: &Map<String, Value>) -> Vec<Tunable> {
    let defaults = (entry.defaults)();
    let mut found: Vec<(String, Vec<f64>)> = Vec::new();
    if let Some(main) = entry.main_parameter() {
        found.push((main.name.to_string(), main.grid.to_vec()));
    }
    let has_scale = entry.parameters.iter().any(|p| p.name == "scale");
    if has_scale && !found.iter().any(|(name, _)| name == "scale") {
        found.push(("scale".into(), SCALES.to_vec()));
    }
    let free = found.into_iter().filter(|(name, _)| !given.contains_key(name));
    free.map(|(name, values)| Tunable { default: defaults.get(&name).and_then(Value::as_f64), name, values }).collect()
}

/// Every parameter of the first addend of a specification: given ones, and defaults for the rest.
pub(crate) fn effective(spec: &str) -> Map<String, Value> {
    let mut all = find(first_name(spec)).map(|entry| (entry.defaults)()).unwrap_or_default();
    all.extend(given(spec));
    all.remove("weight");
    all
}

/// The registry's entry of the first addend.
pub(crate) fn entry_of(spec: &str) -> Option<&'static Entry> {
    find(first_name(spec)).ok()
}

/// All objectives of a configuration; duplicates are refused.
pub(crate) fn candidates(config: &CompareConfig) -> Result<Vec<Candidate>, CompareError> {
    let all = config.objectives.iter().map(|spec| Candidate::new(spec, config.head)).collect::<Result<Vec<_>, _>>()?;
    for (k, candidate) in all.iter().enumerate() {
        if all[..k].iter().any(|other| other.spec == candidate.spec) {
            let expected = "each objective once".to_string();
            return Err(CompareError::Setting { name: "objectives", value: candidate.spec.clone(), expected });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_given_are_not_tuned() {
        let free = Candidate::new("cosface", HeadChoice::Auto).unwrap();
        assert_eq!(free.tuned(), ["margin", "scale"]);
        assert_eq!(free.with(&[0.2, 16.0]), "cosface:margin=0.2,scale=16");
        let fixed = Candidate::new("cosface:margin=0.1", HeadChoice::Auto).unwrap();
        assert_eq!(fixed.tuned(), ["scale"]);
        assert_eq!(fixed.with(&[8.0]), "cosface:margin=0.1,scale=8");
        parse(&fixed.with(&[8.0])).unwrap();
        assert_eq!(effective("cosface:margin=0.1")["scale"], 64.0);
    }

    #[test]
    fn sums_tune_their_first_addend() {
        let sum = Candidate::new("arcface+tcm:weight=0.5", HeadChoice::Auto).unwrap();
        assert!(sum.classes && sum.cosine);
        assert_eq!(sum.with(&[0.2, 16.0]), "arcface:margin=0.2,scale=16+tcm:weight=0.5");
        parse(&sum.with(&[0.2, 16.0])).unwrap();
    }

    #[test]
    fn what_does_not_apply_says_what_it_reads_and_why() {
        let message = |spec: &str, head| Candidate::new(spec, head).unwrap_err().to_string();
        assert!(message("trades", HeadChoice::Auto).contains("attacked version"));
        assert!(message("tcm", HeadChoice::Linear).contains("`--head linear`"));
        assert!(message("arcface", HeadChoice::Linear).contains("cosine"));
        assert!(message("info_nce", HeadChoice::Cosine).contains("queries [B, d] and candidates"));
        assert!(message("arcfce", HeadChoice::Auto).contains("did you mean `arcface`"));
        assert!(message("arcface+info_nce", HeadChoice::Auto).contains("cannot both"));
    }

    #[test]
    fn baselines_are_suffixes_and_two_classes_are_two() {
        let weighted = Candidate::new("focal:gamma=1@class_weights", HeadChoice::Auto).unwrap();
        assert_eq!((weighted.baseline, weighted.with(&[])), (Baseline::ClassWeights, "focal:gamma=1".to_string()));
        assert_eq!(weighted.spec, "focal:gamma=1@class_weights");
        let message = |spec: &str| Candidate::new(spec, HeadChoice::Auto).unwrap_err().to_string();
        assert!(message("arcface@class_weights").contains("only softmax_cross_entropy"));
        assert!(message("triplet@thresholds").contains("class scores"));
        assert!(message("focal@magic").contains("@magic"));
        let binary = Candidate::new("anyloss", HeadChoice::Auto).unwrap();
        assert!(binary.classes && binary.check_classes(2).is_ok());
        assert!(binary.check_classes(3).unwrap_err().to_string().contains("one_vs_rest"));
        let many = Candidate::new("anyloss:multi_class=one_vs_rest", HeadChoice::Auto).unwrap();
        many.check_classes(3).unwrap();
    }

    #[test]
    fn defaults_exist_and_apply() {
        let all = default_objectives();
        assert!(all.len() >= 8, "{all:?}");
        all.iter().for_each(|spec| drop(Candidate::new(spec, HeadChoice::Auto).unwrap()));
    }
}
