//! From a trained head to class scores and embeddings of rows.

use super::candidate::{Candidate, effective};
use super::config::HeadChoice;
use super::fit::Rows;
use crate::{Error, Head, embed, scores};
use keener::metrics::neighbours::ClassMeans;
use serde_json::Value;

/// Multiplies cosines where the objective itself has no scale.
const SCALE: f64 = 10.0;

/// A head ready to score rows.
#[derive(Debug)]
pub struct Readout<'h> {
    head: &'h Head,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The head's own class scores, times a scale (1 for inner products).
    Scores(f64),
    /// Cosines with class means, times a scale.
    Means(ClassMeans, f64),
}

/// What a softmax over cosines is multiplied by before any temperature is fitted: the objective's learned scale or
/// temperature, else its `scale`, else `1 / temperature`, else 10.
///
/// # Errors
/// Learned parameters that cannot be read.
pub fn raw_scale(spec: &str, head: &Head) -> Result<f64, Error> {
    let objective = keener::objective::parse(spec)?;
    let learned = match head.learned() {
        Some(tensor) => crate::attach::read(tensor, "learned parameters")?,
        None => Vec::new(),
    };
    for (parameter, value) in objective.f32().parameters().iter().zip(learned) {
        match parameter.name {
            "log_scale" => return Ok(f64::from(value).exp()),
            "log_temperature" => return Ok((-f64::from(value)).exp()),
            _ => {}
        }
    }
    let parameters = effective(spec);
    let number = |name: &str| parameters.get(name).and_then(Value::as_f64).filter(|v| *v > 0.0);
    Ok(number("scale").or_else(|| number("temperature").map(|t| 1.0 / t)).unwrap_or(SCALE))
}

/// Prepares the read-out: class scores where the objective trains class weights (unless `projection` was chosen), means
/// of the training rows' embeddings otherwise.
///
/// # Errors
/// Classes without training rows, embeddings without direction.
pub fn read_out<'h>(
    candidate: &Candidate,
    choice: HeadChoice,
    spec: &str,
    head: &'h Head,
    train: &Rows,
) -> Result<Readout<'h>, Error> {
    let kind = if candidate.classes && choice != HeadChoice::Projection {
        let cosine = matches!(head.config(), crate::HeadConfig::Cosine { .. });
        Kind::Scores(if cosine { raw_scale(spec, head)? } else { 1.0 })
    } else {
        let embeddings = embed(head, &train.features)?;
        let dim = embeddings.len() / train.labels.len().max(1);
        let means = ClassMeans::fit(&embeddings, dim, &train.indices(), train.classes)?;
        Kind::Means(means, raw_scale(spec, head)?)
    };
    Ok(Readout { head, kind })
}

impl Readout<'_> {
    /// Logits `[n, classes]` of rows.
    ///
    /// # Errors
    /// Embeddings without direction.
    pub fn logits(&self, rows: &Rows) -> Result<Vec<f64>, Error> {
        match &self.kind {
            Kind::Scores(scale) => {
                Ok(scores(self.head, &rows.features)?.into_iter().map(|s| f64::from(s) * scale).collect())
            }
            Kind::Means(means, scale) => Ok(means.logits(&embed(self.head, &rows.features)?, *scale)?),
        }
    }

    /// Embeddings of rows, and their width.
    ///
    /// # Errors
    /// Features of another width.
    pub fn embeddings(&self, rows: &Rows) -> Result<(Vec<f32>, usize), Error> {
        let embeddings = embed(self.head, &rows.features)?;
        let dim = embeddings.len() / rows.labels.len().max(1);
        Ok((embeddings, dim))
    }
}
