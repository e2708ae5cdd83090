//! How embeddings are spread.

use super::super::Outputs;
use super::super::case::Case;
use crate::error::{Error, Result};
use crate::metrics::embedding::{self, UniformityConfig};

/// `t`, `normalize` (0 or 1); `embeddings` `[N, d]` → `value`, `value_with_self_pairs`, `grad_embeddings` (of `value`).
pub(super) fn uniformity(case: &Case) -> Result<Outputs> {
    let defaults = UniformityConfig::default();
    let optional =
        |name: &str, default: f64| if case.params.contains_key(name) { case.number(name) } else { Ok(default) };
    let normalize = match optional("normalize", f64::from(defaults.normalize))? {
        0.0 => false,
        1.0 => true,
        other => return Err(Error::parameter("normalize", other, "0 or 1")),
    };
    let config = UniformityConfig { t: optional("t", defaults.t)?, normalize };
    let embeddings = case.matrix("embeddings")?;
    let (found, gradient) = embedding::uniformity_with_gradient(embeddings.data(), embeddings.cols(), &config)?;
    Ok(Outputs::from([
        ("value".into(), vec![found.value]),
        ("value_with_self_pairs".into(), vec![found.value_with_self_pairs]),
        ("grad_embeddings".into(), gradient),
    ]))
}

/// `embeddings` `[N, d]`, `labels` `[N]` → `same_class_mean`, `all_pairs_mean`, `grad_same_class_mean`.
pub(super) fn tolerance(case: &Case) -> Result<Outputs> {
    let embeddings = case.matrix("embeddings")?;
    let labels: Vec<usize> = case.labels("labels")?.into_iter().map(|l| l as usize).collect();
    let found = embedding::tolerance(embeddings.data(), embeddings.cols(), &labels)?;
    Ok(Outputs::from([
        ("same_class_mean".into(), vec![found.same_class_mean]),
        ("all_pairs_mean".into(), vec![found.all_pairs_mean]),
        ("grad_same_class_mean".into(), found.grad_same_class_mean),
    ]))
}
