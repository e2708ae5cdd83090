//! From a trained head to class scores and embeddings of rows.

use super::candidate::{Candidate, effective};
use super::config::HeadChoice;
use super::fit::Rows;
use crate::{Error, Head, embed_rows, score_rows};
use keener::engine::View;
use keener::estimate::{ClassSums, PrototypeClassifier};
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
    Means(PrototypeClassifier),
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
        Kind::Means(class_means(head, train, raw_scale(spec, head)?)?)
    };
    Ok(Readout { head, kind })
}

/// Means of the embeddings of each class, taken in block by block; cosines with them are multiplied by `scale`.
///
/// # Errors
/// As [`read_out`].
pub fn class_means(head: &Head, rows: &Rows, scale: f64) -> Result<PrototypeClassifier, Error> {
    /// Rows whose embeddings are in memory at a time.
    const ROWS: usize = 1 << 14;
    let mut sums = None;
    for first in (0..rows.len()).step_by(ROWS) {
        let block = first..(first + ROWS).min(rows.len());
        let embeddings = embed_rows(head, &*rows.features, block.clone())?;
        let dim = embeddings.len() / block.len();
        let sums = sums.get_or_insert_with(|| ClassSums::new(dim, rows.classes));
        sums.add(View::new(&embeddings, block.len(), dim)?, &rows.labels[block])?;
    }
    Ok(sums.unwrap_or_else(|| ClassSums::new(1, rows.classes)).into_classifier(scale)?)
}

impl Rows {
    /// Embeddings `[n, e]`.
    ///
    /// # Errors
    /// Features of another width, or that cannot be read.
    pub fn embed(&self, head: &Head) -> Result<Vec<f32>, Error> {
        embed_rows(head, &*self.features, 0..self.len())
    }
}

impl Readout<'_> {
    /// Logits `[n, classes]` of rows.
    ///
    /// # Errors
    /// Embeddings without direction.
    pub fn logits(&self, rows: &Rows) -> Result<Vec<f64>, Error> {
        match &self.kind {
            Kind::Scores(scale) => Ok(score_rows(self.head, &*rows.features, 0..rows.len())?
                .into_iter()
                .map(|s| f64::from(s) * scale)
                .collect()),
            Kind::Means(means) => {
                let embeddings = rows.embed(self.head)?;
                Ok(means.logits(View::new(&embeddings, rows.len(), means.dim())?)?)
            }
        }
    }

    /// Embeddings of rows, and their width.
    ///
    /// # Errors
    /// Features of another width.
    pub fn embeddings(&self, rows: &Rows) -> Result<(Vec<f32>, usize), Error> {
        let embeddings = rows.embed(self.head)?;
        let dim = embeddings.len() / rows.labels.len().max(1);
        Ok((embeddings, dim))
    }
}
