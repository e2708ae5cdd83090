//! Classes that are inserted into a trained embedding from a few examples.

use super::fit::Rows;
use crate::Error;
use keener::engine::View;
use keener::estimate::PrototypeClassifier;
use serde::{Deserialize, Serialize};

/// Accuracy with classes that were added without training, each as the normalised mean of its examples' normalised embeddings
/// (Pereira et al., Hyperspherical embedding for novel class classification, 2102.03243).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inserted {
    /// Examples of each new class; they are not tested on.
    pub examples: usize,
    /// Among the new classes alone ("disjoint").
    pub disjoint: f64,
    /// Among trained and new classes ("joint"), over new rows and rows of trained classes that were held out.
    pub joint: f64,
}

/// Embeddings with their classes.
pub(crate) struct Embedded<'e> {
    pub(crate) embeddings: &'e [f32],
    pub(crate) labels: &'e [u32],
    pub(crate) classes: usize,
}

impl<'e> Embedded<'e> {
    pub(crate) fn of(embeddings: &'e [f32], rows: &'e Rows) -> Self {
        Self { embeddings, labels: &rows.labels, classes: rows.classes }
    }

    fn rows(&self, dim: usize, rows: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let embeddings = rows.iter().flat_map(|r| &self.embeddings[r * dim..(r + 1) * dim]).copied().collect();
        (embeddings, rows.iter().map(|r| self.labels[*r]).collect())
    }
}

/// Inserts the classes of `new` from `examples` rows of each (at most half of the rows of the smallest) and classifies its other
/// rows among them, and among them and the
/// classes of `trained`, together with `held`, rows of those classes.
pub(crate) fn insert(
    dim: usize,
    trained: &Embedded<'_>,
    held: &Embedded<'_>,
    new: &Embedded<'_>,
    examples: usize,
) -> Result<Inserted, Error> {
    let smallest = (0..new.classes as u32).map(|c| new.labels.iter().filter(|l| **l == c).count()).min().unwrap_or(0);
    let examples = examples.min(smallest / 2).max(1);
    let known = View::new(trained.embeddings, trained.labels.len(), dim)?;
    let mut joint = PrototypeClassifier::from_class_means(known, trained.labels, trained.classes, 1.0)?;
    let mut disjoint = PrototypeClassifier::empty(dim, 1.0)?;
    let mut tested = Vec::new();
    for class in 0..new.classes as u32 {
        let rows: Vec<usize> = (0..new.labels.len()).filter(|r| new.labels[*r] == class).collect();
        let (taken, left) = rows.split_at(examples.min(rows.len()));
        let (shown, _) = new.rows(dim, taken);
        let shown = View::new(&shown, taken.len(), dim)?;
        joint.add_class(shown)?;
        disjoint.add_class(shown)?;
        tested.extend_from_slice(left);
    }
    let right = |model: &PrototypeClassifier, embeddings: &[f32], labels: &[u32], first: usize| -> Result<f64, Error> {
        let found = model.predict(View::new(embeddings, labels.len(), dim)?)?;
        Ok(found.iter().zip(labels).filter(|(f, y)| **f == **y as usize + first).count() as f64)
    };
    let (embeddings, labels) = new.rows(dim, &tested);
    let among_new = right(&disjoint, &embeddings, &labels, 0)?;
    let new_of_all = right(&joint, &embeddings, &labels, trained.classes)?;
    let known_of_all = right(&joint, held.embeddings, held.labels, 0)?;
    let count = labels.len() as f64;
    let all = count + held.labels.len() as f64;
    Ok(Inserted { examples, disjoint: among_new / count, joint: (new_of_all + known_of_all) / all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_classes_compete_among_themselves_and_with_all() {
        // Known classes along x and y, new ones along −x and −y; one held-out row of class 1 lies nearest to the new class 0.
        let trained = Embedded { embeddings: &[1.0, 0.1, 0.1, 1.0], labels: &[0, 1], classes: 2 };
        let held = Embedded { embeddings: &[2.0, 0.0, -0.9, 0.2], labels: &[0, 1], classes: 2 };
        let new = [-1.0, 0.1, -2.0, -0.1, 0.1, -1.0, 0.2, -3.0];
        let new = Embedded { embeddings: &new, labels: &[0, 0, 1, 1], classes: 2 };
        let found = insert(2, &trained, &held, &new, 1).unwrap();
        assert_eq!(found, Inserted { examples: 1, disjoint: 1.0, joint: 0.75 });
    }
}
