//! What every objective over the pairs of a batch is held to, beside its gradients.

use crate::engine::{Batch, Evaluation, Options, View, evaluate};
use crate::error::Result;
use crate::objective::parse;

/// Runs an objective over rows of width `d`.
pub(crate) fn run(spec: &str, embeddings: &[f64], d: usize, labels: &[u32]) -> Result<Evaluation<f64>> {
    let view = View::new(embeddings, embeddings.len() / d, d)?;
    evaluate(parse(spec)?.f64(), &Batch::embeddings(view).with_targets(labels.to_vec()), &Options::default())
}

/// The loss does not see the length of a row, and follows a permutation of rows, gradient and all.
pub(crate) fn check_invariances(spec: &str, embeddings: &[f64], d: usize, labels: &[u32]) {
    let reference = run(spec, embeddings, d, labels).unwrap();
    assert!(reference.loss > 0.0, "{spec}: a case that tests nothing");
    let longer: Vec<f64> = embeddings.iter().enumerate().map(|(k, x)| x * [0.5, 3.0, 100.0][(k / d) % 3]).collect();
    let found = run(spec, &longer, d, labels).unwrap();
    assert!((found.loss - reference.loss).abs() < 1e-12, "{spec}: {} at other lengths", found.loss);
    // Rows backwards.
    let back: Vec<f64> = embeddings.chunks(d).rev().flatten().copied().collect();
    let found = run(spec, &back, d, &labels.iter().rev().copied().collect::<Vec<_>>()).unwrap();
    assert!((found.loss - reference.loss).abs() < 1e-12, "{spec}: {} with rows reversed", found.loss);
    let turned = found.gradients.queries.chunks(d).rev().flatten();
    for (k, (found, expected)) in turned.zip(&reference.gradients.queries).enumerate() {
        assert!((found - expected).abs() < 1e-12, "{spec}: gradient {k} with rows reversed");
    }
}

/// The loss and every gradient are exactly zero.
pub(crate) fn check_silent(spec: &str, embeddings: &[f64], d: usize, labels: &[u32]) {
    let found = run(spec, embeddings, d, labels).unwrap();
    assert_eq!(found.loss, 0.0, "{spec}");
    assert!(found.gradients.queries.iter().all(|g| *g == 0.0), "{spec}: {:?}", found.gradients.queries);
}

/// Embeddings whose rows are neither equal nor opposite, by a fixed rule.
pub(crate) fn rows(n: usize, d: usize) -> Vec<f64> {
    (0..n * d).map(|k| ((k * k + 3 * k + 1) as f64 * 0.37).sin() + 0.1).collect()
}

/// Missing labels are named by every objective over pairs.
pub(crate) fn check_missing_labels(spec: &str) {
    let x = rows(3, 2);
    let view = View::new(&x, 3, 2).unwrap();
    let objective = parse(spec).unwrap();
    let message =
        |batch: &Batch<'_, f64>| evaluate(objective.f64(), batch, &Options::default()).unwrap_err().to_string();
    let name = objective.f64().name();
    assert_eq!(message(&Batch::embeddings(view)), format!("{name} needs the class of each row (targets)"));
    let partial = Batch::embeddings(view).with_targets(vec![0, crate::engine::NONE, 0]);
    assert_eq!(message(&partial), format!("{name} needs a label at row 1"));
    assert!(message(&Batch::embeddings(view).with_targets(vec![0, 1])).contains("shape [2]"));
}
