//! How head, sampler and supervision are joined so that an objective finds what it reads.

use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::head::HeadConfig;
use crate::loss::ObjectiveLoss;
use crate::sampler::SamplerConfig;
use keener::engine::{Scorer, Slot};
use keener::objective::{Reads, find};

/// What a step has to provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wiring {
    /// Class weights are the candidates.
    pub(crate) classes: bool,
    /// Partners are the candidates.
    pub(crate) pairs: bool,
    /// Targets are also given as positives.
    pub(crate) positives: bool,
    /// An attacked copy is the second version of the queries.
    pub(crate) second: bool,
    /// Responses belong to bags of rows, where the data have them.
    pub(crate) bags: bool,
    /// Queries and candidates are divided by their length: the head is one of cosines and the objective takes inner
    /// products.
    pub(crate) normalize: bool,
    /// Class weights are brought back to length one after every step.
    pub(crate) projected: bool,
    pub(crate) sampler: SamplerConfig,
}

/// The names of the addends of a specification.
pub(crate) fn names_of(spec: &str) -> impl Iterator<Item = &str> {
    spec.split('+').map(|part| part.split_once(':').map_or(part, |(name, _)| name))
}

/// What the addends of a specification read.
///
/// # Errors
/// Unknown names.
pub fn reads_of(spec: &str) -> Result<Vec<Reads>> {
    Ok(names_of(spec).map(|name| find(name).map(|entry| entry.reads)).collect::<keener::Result<_>>()?)
}

/// The head that fits an objective: a projection for embeddings, a cosine head where the objective scores by cosines, a
/// linear head otherwise; `hidden` is the width of the hidden layer.
///
/// # Errors
/// Unknown objectives.
pub fn fitting_head(spec: &str, hidden: Option<usize>) -> Result<HeadConfig> {
    let objective = keener::objective::parse(spec)?;
    let needs_classes = reads_of(spec)?.iter().any(|r| wants_classes(*r));
    if !needs_classes {
        return Ok(match (HeadConfig::projection(), hidden) {
            (HeadConfig::Projection { out, .. }, Some(hidden)) => HeadConfig::Projection { hidden, out },
            (default, _) => default,
        });
    }
    let cosine = objective.f32().matrices().iter().any(|m| m.slot != Slot::Pairs && m.scorer.is_cosine());
    Ok(if cosine {
        HeadConfig::Cosine { hidden, embedding: None }
    } else {
        HeadConfig::Linear { hidden, embedding: None, bias: true }
    })
}

fn wants_classes(reads: Reads) -> bool {
    matches!(reads, Reads::ClassHead | Reads::MultiLabel | Reads::TwoScores | Reads::BinaryHead | Reads::Bags)
}

impl Wiring {
    pub(crate) fn of(config: &TrainConfig, loss: &ObjectiveLoss) -> Result<Self> {
        let reads = reads_of(&config.objective)?;
        let any = |wanted: Reads| reads.contains(&wanted);
        let classes = reads.iter().any(|r| wants_classes(*r));
        let pairs = any(Reads::PairedViews);
        let unsupported = |what: String, hint: &str| Err(Error::Unsupported { what, hint: hint.into() });
        if classes && pairs {
            let what = format!("`{}`: class weights and paired views as candidates at once", config.objective);
            return unsupported(what, "train on one of them");
        }
        let projection = matches!(config.head, HeadConfig::Projection { .. });
        if classes && projection {
            let what = format!("a projection head for `{}`, which reads class weights", config.objective);
            return unsupported(what, "use a linear or a cosine head");
        }
        if !classes && !projection {
            let what = format!("a class head for `{}`, which reads embeddings", config.objective);
            return unsupported(what, "use a projection head");
        }
        let matrices = loss.objective.f32().matrices();
        let of_classes = matrices.iter().filter(|m| m.slot != Slot::Pairs);
        if let HeadConfig::Linear { .. } = config.head
            && let Some(found) = of_classes.map(|m| m.scorer).find(|s| *s != Scorer::Inner)
        {
            let what = format!("a linear head for `{}`, which scores by {found:?}", config.objective);
            return unsupported(what, "use a cosine head");
        }
        // Cosines do not see lengths: dividing first would be work for nothing.
        let by_length = !matches!(config.head, HeadConfig::Linear { .. });
        let normalize = by_length && matrices.iter().any(|m| !m.scorer.is_cosine());
        let sampler = config.sampler.unwrap_or_else(|| {
            if pairs {
                SamplerConfig::Pairs
            } else if any(Reads::LabelledEmbeddings) && !classes {
                // NT-Xent as published wants exactly two rows of each label.
                let two = names_of(&config.objective).any(|n| find(n).is_ok_and(|e| e.name == "nt_xent"));
                let classes = if two { config.batch_size / 2 } else { (config.batch_size / 8).min(16) }.max(2);
                let per_class = if two { 2 } else { (config.batch_size / classes).max(2) };
                SamplerConfig::ClassesPerBatch { classes, per_class }
            } else if any(Reads::BinaryHead) {
                SamplerConfig::Stratified
            } else {
                SamplerConfig::Shuffle
            }
        });
        if pairs && sampler != SamplerConfig::Pairs {
            return unsupported(format!("{sampler:?} for `{}`", config.objective), "use the sampler `pairs`");
        }
        Ok(Self {
            classes,
            pairs,
            positives: any(Reads::MultiLabel),
            second: any(Reads::TwoScores),
            bags: any(Reads::Bags),
            normalize,
            projected: matrices.iter().any(|m| m.scorer == Scorer::CosineOfUnit),
            sampler,
        })
    }
}
