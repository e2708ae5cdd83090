//! The registry: every objective with what it reads, its parameters, its source, and when to use it.

use crate::engine::Objective;
use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What kind of method an objective is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Trains a classifier's scores.
    Classification,
    /// Trains the geometry of embeddings.
    Embedding,
    /// Trains queries to find documents.
    Retrieval,
    /// Trains against an attack or a shift.
    Robustness,
}

/// What an objective reads; decides where it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// Queries, class weights (a head) and the class of each row.
    ClassHead,
    /// Scores of each class and a set of positive classes a row.
    MultiLabel,
    /// Embeddings of a batch with the class of each.
    LabelledEmbeddings,
    /// Two aligned views: row `i` of the queries belongs to row `i` of the candidates.
    PairedViews,
    /// Scores of a clean and of an attacked version, with the class of each row.
    TwoScores,
    /// Scores of two classes and which of the two each row is.
    BinaryHead,
    /// Scores, the bag of each row, and the response of each bag.
    Bags,
}

impl Reads {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ClassHead => "queries [B, d], class weights [N, d] (or scores [B, N]) and the class of each row",
            Self::MultiLabel => "scores [B, N] (or queries and class weights) and the positive classes of each row",
            Self::LabelledEmbeddings => "embeddings [B, d] and the class of each row",
            Self::PairedViews => {
                "queries [B, d] and candidates [N, d]; row i of both belong together unless targets say otherwise"
            }
            Self::TwoScores => {
                "scores of a clean and of an attacked version [B, N] (or both queries and class weights) and the class of each row"
            }
            Self::BinaryHead => {
                "one score a row [B, 1] or one for each of two classes [B, 2] (or queries and class weights) and the class, 0 or 1, of each row"
            }
            Self::Bags => {
                "scores [B, N] (or queries and class weights), the bag of each row and the response of each bag [M, N]; rows with classes alone are bags of one"
            }
        }
    }
}

/// Where a method comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Paper {
    /// Title.
    pub title: &'static str,
    /// arXiv id, or a venue where there is none.
    pub id: &'static str,
}

/// One parameter of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ParameterDoc {
    /// Name, as in the specification.
    pub name: &'static str,
    /// Meaning, range and whose default it is.
    pub doc: &'static str,
    /// Values worth trying when this is the one parameter to tune; empty for the others.
    pub grid: &'static [f64],
}

impl ParameterDoc {
    /// A parameter that is left alone by tuning.
    pub const fn new(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, grid: &[] }
    }

    /// The parameter that matters most, with values worth trying.
    pub const fn main(name: &'static str, doc: &'static str, grid: &'static [f64]) -> Self {
        Self { name, doc, grid }
    }
}

/// An objective in the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Other names that are accepted.
    pub aliases: &'static [&'static str],
    /// Kind of method.
    pub family: Family,
    /// What it reads.
    pub reads: Reads,
    /// One line.
    pub summary: &'static str,
    /// The formula, in plain text.
    pub formula: &'static str,
    /// Its parameters.
    pub parameters: &'static [ParameterDoc],
    /// Its source.
    pub paper: Paper,
    /// When to use it.
    pub when: &'static str,
    /// When not.
    pub when_not: &'static str,
    /// The same loss as a PyTorch expression, `{name}` standing for the parameters.
    pub pytorch: &'static str,
    /// Builds it from parameters.
    pub build: fn(Map<String, Value>) -> Result<SharedObjective>,
    /// Its default parameters.
    pub defaults: fn() -> Map<String, Value>,
}

impl Entry {
    /// The parameter to tune first, if the registry names one.
    pub fn main_parameter(&self) -> Option<&'static ParameterDoc> {
        self.parameters.iter().find(|p| !p.grid.is_empty())
    }
}

/// An objective over both number types.
pub trait Objectives: std::fmt::Debug + Send + Sync {
    /// In the working type.
    fn f32(&self) -> &dyn Objective<f32>;
    /// In double precision.
    fn f64(&self) -> &dyn Objective<f64>;
}

impl<O: Objective<f32> + Objective<f64>> Objectives for O {
    fn f32(&self) -> &dyn Objective<f32> {
        self
    }
    fn f64(&self) -> &dyn Objective<f64> {
        self
    }
}

/// An objective that can be handed around.
pub type SharedObjective = Arc<dyn Objectives>;

/// A configuration that knows its limits.
pub trait Configured: Serialize + DeserializeOwned + Default + Objectives + 'static {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that is out of range.
    fn check(&self) -> Result<()>;
}

/// Builds an objective of type `C` from parameters; absent ones take their defaults.
pub(crate) fn build_from<C: Configured>(parameters: Map<String, Value>) -> Result<SharedObjective> {
    let spec = Value::Object(parameters.clone()).to_string();
    let config: C = serde_json::from_value(Value::Object(parameters))
        .map_err(|e| Error::Specification { spec, reason: e.to_string() })?;
    config.check()?;
    Ok(Arc::new(config))
}

pub(crate) fn defaults_of<C: Configured>() -> Map<String, Value> {
    match serde_json::to_value(C::default()) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Every objective, in the order in which the table shows them.
pub fn registry() -> &'static [Entry] {
    const ENTRIES: &[Entry] = &[
        super::softmax_cross_entropy::ENTRY,
        super::binary_cross_entropy::ENTRY,
        super::focal::ENTRY,
        super::comp_sum::GCE,
        super::comp_sum::ENTRY,
        super::stablemax::ENTRY,
        super::spherical::Z_LOSS,
        super::spherical::TAYLOR,
        super::spherical::SPHERICAL_SOFTMAX,
        super::noise_robust::SCE,
        super::noise_robust::JS,
        super::noise_robust::NCE,
        super::noise_robust::BRIER,
        super::ldr::LDR,
        super::ldr::ALDR,
        super::multiclass_hinge::CRAMMER_SINGER,
        super::multiclass_hinge::WESTON_WATKINS,
        super::any_loss::ENTRY,
        super::aggregate::ENTRY,
        super::margin_softmax::NORMALIZED,
        super::margin_softmax::COSFACE,
        super::margin_softmax::ARCFACE,
        super::madacos::ENTRY,
        super::unpg::ENTRY,
        super::proxy_anchor::ENTRY,
        super::supervised_contrastive::ENTRY,
        super::nt_xent::ENTRY,
        super::triplet::ENTRY,
        super::contrastive_pairs::ENTRY,
        super::multi_similarity::ENTRY,
        super::tcm::ENTRY,
        super::info_nce::ENTRY,
        super::symmetric_info_nce::ENTRY,
        super::siglip::ENTRY,
        super::contrastive::PLAIN,
        super::contrastive::HARD,
        super::simple_contrastive::PLAIN,
        super::simple_contrastive::HARD,
        super::adversarial_cross_entropy::ENTRY,
        super::trades::ENTRY,
        super::adversarial_comp_sum::SMOOTH,
        super::adversarial_comp_sum::MARGIN,
    ];
    ENTRIES
}

/// The entry of that name or alias.
///
/// # Errors
/// [`Error::Unknown`] with the nearest names.
pub fn find(name: &str) -> Result<&'static Entry> {
    let wanted = name.trim().to_lowercase().replace('-', "_");
    let found = registry().iter().find(|e| e.name == wanted || e.aliases.contains(&wanted.as_str()));
    found.ok_or_else(|| Error::Unknown {
        kind: "objective",
        name: name.to_string(),
        nearest: nearest(
            &wanted,
            registry().iter().flat_map(|e| std::iter::once(e.name).chain(e.aliases.iter().copied())),
        ),
    })
}

/// Builds one objective by name.
///
/// # Errors
/// Unknown name, unknown parameter, or a parameter out of range.
pub fn build(name: &str, parameters: Map<String, Value>) -> Result<SharedObjective> {
    let entry = find(name)?;
    let known = || entry.parameters.iter().map(|p| p.name);
    if let Some(unknown) = parameters.keys().find(|key| known().all(|name| name != key.as_str())) {
        return Err(Error::UnknownParameter {
            objective: entry.name,
            name: unknown.clone(),
            nearest: nearest(unknown, known()),
            known: known().collect(),
        });
    }
    let unreadable = |error| matches!(error, Error::Specification { .. });
    (entry.build)(parameters.clone()).map_err(|error| match error {
        Error::Specification { reason, .. } => {
            // A value of the wrong kind: found by trying each alone.
            let alone = |(key, value): &(&String, &Value)| {
                let one = Map::from_iter([((*key).clone(), (*value).clone())]);
                (entry.build)(one).is_err_and(unreadable)
            };
            let culprit = parameters.iter().find(alone).map(|(key, value)| format!("{key} = {value}: "));
            Error::Specification { spec: name.to_string(), reason: culprit.unwrap_or_default() + &reason }
        }
        other => other,
    })
}

/// Reads `name`, `name:key=value,key=value` or a sum `first+second:weight=0.5` (the weight belongs to an addend).
///
/// # Errors
/// Unknown names with suggestions, unknown or unreadable parameters, values out of range.
pub fn parse(spec: &str) -> Result<SharedObjective> {
    let unreadable = |reason: String| Error::Specification { spec: spec.to_string(), reason };
    let mut parts = Vec::new();
    for part in spec.split('+') {
        let (name, arguments) = part.split_once(':').unwrap_or((part, ""));
        let mut parameters = Map::new();
        for argument in arguments.split(',').filter(|a| !a.trim().is_empty()) {
            let (key, value) = argument
                .split_once('=')
                .ok_or_else(|| unreadable(format!("`{argument}` is not of the form parameter=value")))?;
            let value = value.trim();
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
            if parameters.insert(key.trim().to_string(), value).is_some() {
                return Err(unreadable(format!("`{}` is given twice", key.trim())));
            }
        }
        let weight = match parameters.remove("weight") {
            None => 1.0,
            Some(value) => value
                .as_f64()
                .filter(|w| w.is_finite() && *w >= 0.0)
                .ok_or_else(|| Error::parameter("weight", value, "a number ≥ 0"))?,
        };
        parts.push((weight, build(name, parameters)?));
    }
    match parts.len() {
        1 if parts[0].0 == 1.0 => Ok(parts.remove(0).1),
        _ => Ok(Arc::new(super::Sum::new(parts))),
    }
}

/// Up to three names that `wanted` may have been meant to be: those within a small edit distance or with it as a part,
/// nearest first.
///
/// ```
/// let names = ["cosface", "arcface", "focal"];
/// assert_eq!(keener::objective::nearest("arcfase", names.into_iter()), ["arcface"]);
/// assert!(keener::objective::nearest("hinge", names.into_iter()).is_empty());
/// ```
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut close: Vec<(usize, &str)> = names
        .map(|name| {
            let contained = wanted.len() > 3 && name.len() > 3 && (name.contains(wanted) || wanted.contains(name));
            (if contained { 1 } else { distance(wanted, name) }, name)
        })
        .filter(|(d, name)| *d <= 1 + name.len() / 3)
        .collect();
    close.sort();
    // What is much farther than the best was not meant.
    let best = close.first().map_or(0, |(d, _)| *d);
    close.retain(|(d, _)| *d <= best + best / 2);
    close.truncate(3);
    close.into_iter().map(|(_, name)| name.to_string()).collect()
}

/// Edit distance in which two letters that changed places count once (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let substitute = row[j] + usize::from(a[i] != b[j]);
            let swapped = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
            let swap = if swapped { before[j - 1] + 1 } else { usize::MAX };
            next.push(substitute.min(row[j + 1] + 1).min(next[j] + 1).min(swap));
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_builds_with_its_defaults_and_documents_its_parameters() {
        for entry in registry() {
            let defaults = (entry.defaults)();
            (entry.build)(defaults.clone()).unwrap_or_else(|e| panic!("{}: {e}", entry.name));
            let documented: Vec<&str> = entry.parameters.iter().map(|p| p.name).collect();
            let existing: Vec<&String> = defaults.keys().collect();
            assert_eq!(documented, existing, "{}", entry.name);
            for text in [entry.summary, entry.formula, entry.when, entry.when_not, entry.pytorch] {
                assert!(text.len() > 10, "{} lacks a text", entry.name);
            }
        }
        let mut names: Vec<&str> = registry().iter().flat_map(|e| e.aliases.iter().chain([&e.name])).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name is used twice");
    }

    #[test]
    fn specifications_are_read() {
        assert_eq!(parse("cosface:margin=0.2, scale=16").unwrap().f32().name(), "cosface");
        assert!(parse("Cos-Face").map(|_| ()).unwrap_err().to_string().contains("did you mean `cosface`"));
        assert_eq!(parse("arcface+tcm:weight=0.5").unwrap().f64().name(), "sum");
    }

    #[test]
    fn letters_that_changed_places_are_one_mistake() {
        assert_eq!(
            (distance("nwe", "new"), distance("abc", "cab"), distance("", "ab"), distance("arcfase", "arcface")),
            (1, 2, 2, 1)
        );
        assert_eq!(nearest("nwe.csv", ["new.csv", "one.csv", "bad.csv"].into_iter()), ["new.csv"]);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("arcfase").contains("`arcface`"));
        assert!(message("cosface:margins=1").contains("scale, margin"), "{}", message("cosface:margins=1"));
        assert!(message("cosface:margins=1").contains("did you mean `margin`"), "{}", message("cosface:margins=1"));
        assert!(message("cosface:scale=2,margin=wide").contains("margin = \"wide\": invalid type"));
        assert!(message("cosface:scale=-1").contains("scale = -1"));
        assert!(message("cosface:margin").contains("parameter=value"));
        assert!(message("cosface:margin=1,margin=2").contains("twice"));
        assert!(message("cosface+tcm:weight=-1").contains("weight"));
    }
}
