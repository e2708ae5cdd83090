//! The pieces of unified negative pair generation.

use super::super::Outputs;
use super::super::case::Case;
use crate::error::Result;
use crate::objective;

/// `whisker`; `similarities` `[n]` → `kept_sorted`, quartiles and fences.
pub(super) fn whisker_filter(case: &Case) -> Result<Outputs> {
    let found = objective::whisker_filter(&case.input("similarities")?.data, case.number("whisker")?)?;
    Ok(Outputs::from([
        ("kept_sorted".into(), found.kept_sorted),
        ("lower_quartile".into(), vec![found.lower_quartile]),
        ("upper_quartile".into(), vec![found.upper_quartile]),
        ("lower_fence".into(), vec![found.lower_fence]),
        ("upper_fence".into(), vec![found.upper_fence]),
    ]))
}

/// `embeddings` `[B, d]`, `labels` `[B]` → `positive` and `negative` similarities, pairs `i < j` row by row.
pub(super) fn pair_similarities(case: &Case) -> Result<Outputs> {
    let (positive, negative) = objective::pair_similarities(case.matrix("embeddings")?, &case.labels("labels")?)?;
    Ok(Outputs::from([("positive".into(), positive), ("negative".into(), negative)]))
}
