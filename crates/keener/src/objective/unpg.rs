//! UNPG: the hard negative pairs of the batch join the softmax of every row, behind a box-and-whisker filter.

use super::common::{TargetAndOthers, above, against, log_add_exp, times, to_entries, within};
use super::margin_softmax::TargetMargin;
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term, View,
};
use crate::error::{Error, Result};
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::simd;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The margin of the head that unified negatives join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarginHead {
    /// Additive margin on the cosine.
    CosFace,
    /// Additive margin on the angle.
    ArcFace,
    /// No margin.
    Plain,
}

/// `loss_i = ln(e^{z_iy} + Σ_{j ≠ y} e^{z_ij} + e^A) − z_iy`, with `z` the scaled cosines of a margin head and
/// `A = ln Σ e^{scale · v}` over the cosines `v` of all negative pairs of the batch that lie within the whiskers: one scalar for
/// all rows.
///
/// With quartiles `q1 = v[⌊n/4⌋]`, `q3 = v[⌊3n/4⌋]` of the ascending values, those in `[q1 − r (q3 − q1), q3 + r (q3 − q1)]` are
/// kept, both ends inclusive. The fences are constants for the gradient; no matrix of rows × pairs exists. A batch without
/// negative pairs gives the plain head's loss.
///
/// Reference: Unified Negative Pair Generation toward Well-discriminative Feature Space for Face Recognition (arXiv 2203.11593).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unpg {
    /// Margin of the head. Default `cosface`.
    pub head: MarginHead,
    /// Multiplies the cosine, > 0. Default 64 (the released configuration).
    pub scale: f64,
    /// Margin, ≥ 0 (for `arcface` radians in `[0, π)`). Default 0.5 (the released configuration).
    pub margin: f64,
    /// Whisker length r ≥ 0 in interquartile ranges. Default 1.5 (MS1MV2).
    pub whisker: f64,
}

impl Default for Unpg {
    fn default() -> Self {
        Self { head: MarginHead::CosFace, scale: 64.0, margin: 0.5, whisker: 1.5 }
    }
}

impl Configured for Unpg {
    fn check(&self) -> Result<()> {
        above("scale", self.scale, 0.0)?;
        within("whisker", self.whisker, 0.0, f64::INFINITY)?;
        let most = if self.head == MarginHead::ArcFace { std::f64::consts::PI } else { f64::INFINITY };
        if !(self.margin.is_finite() && self.margin >= 0.0 && self.margin < most) {
            return Err(Error::parameter("margin", self.margin, "≥ 0, and below π for arcface"));
        }
        Ok(())
    }
}

/// 0-based ranks of the lower and upper quartile among `n` ascending values.
fn quartile_ranks(n: usize) -> Vec<usize> {
    if n == 0 { Vec::new() } else { vec![n / 4, (3 * n) / 4] }
}

/// The fences that quartiles and a whisker length set.
fn fences<T: Real>(q1: T, q3: T, whisker: f64) -> (T, T) {
    let reach = T::of(whisker) * (q3 - q1);
    (q1 - reach, q3 + reach)
}

impl<T: Real> Objective<T> for Unpg {
    fn name(&self) -> &'static str {
        "unpg"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Cosine), MatrixSpec::pairs(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.labels_for("unpg")?;
        let labels: Arc<[u32]> = targets.into();
        let scale = T::of(self.scale);
        let margin = match self.head {
            MarginHead::CosFace => TargetMargin::Additive(self.margin),
            MarginHead::ArcFace => TargetMargin::Angular(self.margin),
            MarginHead::Plain => TargetMargin::Additive(0.0),
        };
        let head = Argument::of(0).scaled(scale);
        let found = TargetAndOthers::sweep(engine, head, targets, Set::others(targets.into()))?;
        let negatives = Set::pairs().different(labels.clone(), labels);
        let pairs = Argument::of(1);
        let over = Statistic::count(1, negatives.clone());
        let (_, quartiles) = engine.order_statistics(&over, &mut |n| quartile_ranks(n))?;
        let (low, high) = match quartiles[..] {
            [q1, q3] => fences(q1, q3, self.whisker),
            _ => (T::infinity(), T::neg_infinity()),
        };
        let low = engine.freeze("lower_fence", vec![low])[0];
        let high = engine.freeze("upper_fence", vec![high])[0];
        let kept = negatives.at_least(low).at_most(high);
        let wanted =
            [Statistic::log_sum_exp(pairs.clone().scaled(scale), kept.clone()), Statistic::sum(Map::One, pairs, kept)];
        let stats = engine.sweep(&wanted)?;
        let shared = stats[0].values.iter().fold(T::neg_infinity(), |a, b| log_add_exp(a, *b));
        engine.report("kept_count", vec![stats[1].values.iter().copied().sum()]);
        let rows = targets.len();
        let mut values = Vec::with_capacity(rows);
        let mut on_others = Vec::with_capacity(rows);
        let mut on_target = Vec::with_capacity(rows);
        let mut on_shared = Vec::with_capacity(rows);
        for row in 0..rows {
            let (cosine, slope) = margin.apply(found.target_values[row] / scale);
            let own = found.others.1.values[row];
            let all = log_add_exp(own, shared);
            let (loss, p) = against(all, scale * cosine);
            let share = |part: T| if part == T::neg_infinity() { T::zero() } else { p * (part - all).exp() };
            values.push(loss);
            on_others.push(share(own));
            on_target.push(-p * slope);
            on_shared.push(share(shared));
        }
        Ok(Outcome::new(values, move |upstream| {
            let total: T = times(upstream, &on_shared).into_iter().sum();
            let part = |a: &T| if *a == T::neg_infinity() { T::zero() } else { total * (*a - shared).exp() };
            let by_row = stats[0].values.iter().map(part).collect();
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            Backward::terms(vec![
                Term::new(lse, value, times(upstream, &on_others)),
                Term::new(gather, at, to_entries(&times(upstream, &on_target), &found.lists)),
                Term::new(wanted[0].clone(), stats[0].clone(), by_row),
            ])
        }))
    }
}

/// What the box-and-whisker filter keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct WhiskerFilter<T> {
    /// Kept values, ascending.
    pub kept_sorted: Vec<T>,
    /// `v[⌊n/4⌋]`
    pub lower_quartile: T,
    /// `v[⌊3n/4⌋]`
    pub upper_quartile: T,
    /// Smallest value that is kept.
    pub lower_fence: T,
    /// Largest value that is kept.
    pub upper_fence: T,
}

/// Tukey's fences over a list of similarities, as UNPG uses them (arXiv 2203.11593).
///
/// # Errors
/// [`Error::Undefined`] for an empty list, [`Error::Parameter`] for a negative whisker.
pub fn whisker_filter<T: Real>(similarities: &[T], whisker: f64) -> Result<WhiskerFilter<T>> {
    within("whisker", whisker, 0.0, f64::INFINITY)?;
    let mut sorted = similarities.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let ranks = quartile_ranks(sorted.len());
    let [first, third] = ranks[..] else {
        return Err(Error::Undefined { what: "the quartiles".into(), reason: "there are no similarities".into() });
    };
    let (lower_quartile, upper_quartile) = (sorted[first], sorted[third]);
    let (lower_fence, upper_fence) = fences(lower_quartile, upper_quartile, whisker);
    sorted.retain(|v| *v >= lower_fence && *v <= upper_fence);
    Ok(WhiskerFilter { kept_sorted: sorted, lower_quartile, upper_quartile, lower_fence, upper_fence })
}

/// Cosines of all unordered pairs `i < j` in row-major order: of the same class, and of different classes. For inspection;
/// training never lists them.
///
/// # Errors
/// [`Error::Shape`] if there is not one label a row.
pub fn pair_similarities<T: Real>(embeddings: View<'_, T>, labels: &[u32]) -> Result<(Vec<T>, Vec<T>)> {
    let (n, d) = (embeddings.rows(), embeddings.cols());
    if labels.len() != n {
        return Err(Error::shape("labels", &[labels.len()], format!("[{n}]")));
    }
    let mut unit = embeddings.data().to_vec();
    for row in unit.chunks_mut(d.max(1)) {
        let norm = simd::dot(row, row).sqrt();
        if norm > T::zero() {
            simd::scale_in_place(row, norm.recip());
        }
    }
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let mut line = vec![T::zero(); n];
    for i in 0..n {
        let row = MatRef::new(&unit[i * d..(i + 1) * d], 1, d);
        gemm(T::one(), row, MatRef::new(&unit, n, d).t(), T::zero(), &mut line, n);
        for j in i + 1..n {
            let list = if labels[i] == labels[j] { &mut positive } else { &mut negative };
            list.push(line[j]);
        }
    }
    Ok((positive, negative))
}

pub(crate) const ENTRY: Entry = Entry {
    name: "unpg",
    aliases: &["unified_negatives"],
    family: Family::Embedding,
    reads: Reads::ClassHead,
    summary: "A margin head whose softmax also holds the batch's negative pairs, filtered by whiskers.",
    formula: "loss_i = ln(Σ_j exp z_ij + exp A) − z_iy, A = ln Σ_kept exp(scale · cos of a negative pair)",
    parameters: &[
        ParameterDoc::new("head", "cosface (default), arcface or plain"),
        ParameterDoc::new("scale", "> 0; 64 by default (the released configuration)"),
        ParameterDoc::new("margin", "≥ 0; 0.5 by default (the released configuration)"),
        ParameterDoc::main(
            "whisker",
            "r ≥ 0 in interquartile ranges; 1.5 by default (MS1MV2), 1.0 for K-FACE",
            &[0.5, 1.0, 1.5],
        ),
    ],
    paper: Paper {
        title: "Unified Negative Pair Generation toward Well-discriminative Feature Space for Face Recognition",
        id: "2203.11593",
    },
    when: "Verification at low false accept rates, few identities, batches of some hundred rows.",
    when_not: "Tiny batches (few pairs), or many duplicate images under different labels: more than the whiskers can cut.",
    pytorch: "u, w = F.normalize(x), F.normalize(W); z = {scale} * (u @ w.T - {margin} * F.one_hot(y, len(w))); i, j = torch.triu_indices(len(y), len(y), 1); v = (u[i] * u[j]).sum(1)[y[i] != y[j]]; v_ = v.detach().sort().values; q1, q3 = v_[len(v) // 4], v_[3 * len(v) // 4]; k = (v >= q1 - {whisker} * (q3 - q1)) & (v <= q3 + {whisker} * (q3 - q1)); (torch.logaddexp(z.logsumexp(1), ({scale} * v[k]).logsumexp(0)) - z[torch.arange(len(y)), y]).mean()  # head: {head}",
    build: build_from::<Unpg>,
    defaults: defaults_of::<Unpg>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        check_all("unpg:scale=6,margin=0.2", Reads::ClassHead);
        check_all("unpg:scale=6,margin=0.2,head=arcface,whisker=0.3", Reads::ClassHead);
    }

    #[test]
    fn one_scalar_equals_the_literal_softmax() {
        let case = Case::random(Reads::ClassHead, 12, 4, 3, 9);
        let (labels, scale, margin) = (case.targets.clone().unwrap(), 5.0, 0.3);
        let run = case.run::<f64>(&Unpg { scale, margin, whisker: 0.1, ..Unpg::default() }, &Options::default());
        let view = |d| View::new(d, d.len() / 3, 3).unwrap();
        let (_, negative) = pair_similarities(view(&case.queries), &labels).unwrap();
        let kept = whisker_filter(&negative, 0.1).unwrap().kept_sorted;
        assert!(kept.len() < negative.len(), "the filter cuts something");
        let unit = |row: &[f64]| {
            let n = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(|x| x / n).collect::<Vec<_>>()
        };
        for (i, x) in case.queries.chunks(3).enumerate() {
            let x = unit(x);
            let mut logits: Vec<f64> = kept.iter().map(|v| scale * v).collect();
            let mut target = 0.0;
            for (j, w) in case.candidates.as_ref().unwrap().chunks(3).enumerate() {
                let c: f64 = unit(w).iter().zip(&x).map(|(a, b)| a * b).sum();
                let z = scale * if j as u32 == labels[i] { c - margin } else { c };
                if j as u32 == labels[i] {
                    target = z;
                }
                logits.push(z);
            }
            let literal = logits.iter().map(|z| z.exp()).sum::<f64>().ln() - target;
            assert!((run.values[i] - literal).abs() < 1e-12);
        }
    }

    #[test]
    fn without_negative_pairs_it_is_the_plain_head() {
        let mut case = Case::random(Reads::ClassHead, 5, 4, 3, 9);
        case.targets = Some(vec![2; 5]);
        let unified = case.run::<f64>(&Unpg { scale: 5.0, margin: 0.3, ..Unpg::default() }, &Options::default());
        let plain = case.run::<f64>(&super::super::CosFace { scale: 5.0, margin: 0.3 }, &Options::default());
        assert!((unified.loss - plain.loss).abs() < 1e-13);
        assert!(whisker_filter::<f64>(&[], 1.0).is_err() && whisker_filter(&[1.0], -1.0).is_err());
    }
}
