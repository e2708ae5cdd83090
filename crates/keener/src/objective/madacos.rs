//! MadaCos: a cosine softmax that sets its own scale and margin from every batch.

use super::common::{TargetAndOthers, above, against, one_column, spread, times, to_entries};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// Whose negatives set the margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogBMethod {
    /// The sample with the median target cosine (the reference's default).
    Index,
    /// `ln` of the mean over the batch.
    Mean,
    /// The lower median over the batch.
    Median,
}

/// CosFace whose scale `s` and margin `m` follow the batch, so that the median sample has probability `alpha`.
///
/// With `t_i` the target cosines, `med` their lower median, `B_i = Σ_{j ≠ y_i} exp(s c_ij)`:
/// `s = max(ln(ρ (1 − α)/α) / (1 − med), min_scale)`, `m = max(0, med − (ln B + ln(α/(1 − α)))/s)`, `loss_i = −ln softmax(s (c_i − m e_y))_y`.
/// Scale and margin are constants for the gradient. Embeddings `[B, d]`, class weights `[N, d]` (or cosines given), `N ≥ 2`;
/// every row needs a class. Median ties go to the lowest row; `1 − med` is held above 1e-6. Without training `m = 0`.
///
/// Reference: Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MadaCos {
    /// Probability of the median sample, in (0, 1). Default 0.02 (the paper's configuration files).
    pub alpha: f64,
    /// Whose negatives set the margin. Default `index`.
    pub b_method: LogBMethod,
    /// Smallest scale, > 0. Default 32.
    pub min_scale: f64,
    /// Odds ρ that the median sample would have at cosine 1. Default 9999999.
    pub saturation_odds: f64,
    /// Whether the margin applies. Default true.
    pub training: bool,
}

impl Default for MadaCos {
    fn default() -> Self {
        Self { alpha: 0.02, b_method: LogBMethod::Index, min_scale: 32.0, saturation_odds: 9_999_999.0, training: true }
    }
}

impl Configured for MadaCos {
    fn check(&self) -> Result<()> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return Err(Error::parameter("alpha", self.alpha, "a probability in (0, 1)"));
        }
        above("min_scale", self.min_scale, 0.0)?;
        above("saturation_odds", self.saturation_odds, 0.0)
    }
}

/// Indices in ascending order of their values, ties by index; the lower median is at `(n − 1) / 2`.
fn lower_median<T: Real>(values: &[T]) -> usize {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].partial_cmp(&values[*b]).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b)));
    order[(values.len() - 1) / 2]
}

impl<T: Real> Objective<T> for MadaCos {
    fn name(&self) -> &'static str {
        "madacos"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.labels_for("madacos")?;
        let (rows, classes) = engine.shape(0);
        if classes < 2 || rows == 0 {
            return Err(Error::shape("scores of madacos", &[rows, classes], "at least one row and two classes"));
        }
        let lists = one_column(targets);
        let cosines =
            spread(&engine.sweep(&[Statistic::gather(Argument::of(0), lists.clone())])?[0], &lists, T::zero());
        let at = lower_median(&cosines);
        let median = cosines[at].f64().min(1.0);
        let odds = self.alpha / (1.0 - self.alpha);
        let scale = ((self.saturation_odds / odds).ln() / (1.0 - median).max(1e-6)).max(self.min_scale);
        let scale = engine.freeze("scale", vec![T::of(scale)])[0];
        let argument = Argument::of(0).scaled(scale);
        let found = TargetAndOthers::sweep(engine, argument, targets, Set::others(targets.into()))?;
        let others = &found.others.1.values;
        let log_b = match self.b_method {
            LogBMethod::Index => others[at].f64(),
            LogBMethod::Median => others[lower_median(others)].f64(),
            LogBMethod::Mean => {
                let peak = others.iter().fold(f64::NEG_INFINITY, |m, b| m.max(b.f64()));
                peak + (others.iter().map(|b| (b.f64() - peak).exp()).sum::<f64>() / rows as f64).ln()
            }
        };
        let margin = if self.training { (median - (log_b + odds.ln()) / scale.f64()).max(0.0) } else { 0.0 };
        let margin = engine.freeze("margin", vec![T::of(margin)])[0];
        engine.report("median", vec![T::of(median)]);
        engine.report("log_b", vec![T::of(log_b)]);
        let pairs = others.iter().zip(&cosines);
        let (values, p): (Vec<T>, Vec<T>) = pairs.map(|(b, c)| against(*b, scale * (*c - margin))).unzip();
        Ok(Outcome::new(values, move |upstream| {
            let others = times(upstream, &p);
            let target = to_entries(&others, &lists).into_iter().map(|x| -x).collect();
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            Backward::terms(vec![Term::new(lse, value, others), Term::new(gather, at, target)])
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "madacos",
    aliases: &["cfcd_softmax"],
    family: Family::Embedding,
    reads: Reads::ClassHead,
    summary: "Cosine softmax whose scale and margin follow the batch: nothing to tune but the median's probability.",
    formula: "loss_i = −ln softmax_j(s (cos_ij − m [j = y]))_y with s and m such that the median sample has probability alpha",
    parameters: &[
        ParameterDoc::main(
            "alpha",
            "probability of the median sample, in (0, 1); 0.02 by default (the paper)",
            &[0.02, 0.1, 0.5, 0.8],
        ),
        ParameterDoc::new("b_method", "whose negatives set the margin: index (default), mean or median"),
        ParameterDoc::new("min_scale", "smallest scale, > 0; 32 by default"),
        ParameterDoc::new("saturation_odds", "odds of the median sample at cosine 1; 9999999 by default"),
        ParameterDoc::new("training", "whether the margin applies; true by default"),
    ],
    paper: Paper {
        title: "Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval",
        id: "2308.04008",
    },
    when: "Retrieval on unseen classes without the budget to tune CosFace's scale and margin.",
    when_not: "Heavily overlapping classes: margins aimed at the hard half of the batch then hurt; very small batches.",
    pytorch: "c = F.normalize(x) @ F.normalize(W).T; t = c[torch.arange(len(y)), y].detach(); med, i = t.median(0); s = max(math.log({saturation_odds} * (1 - {alpha}) / {alpha}) / (1 - med.item()), {min_scale}); b = (s * c.detach()).scatter(1, y[:, None], -torch.inf).logsumexp(1)[i]; m = max(0, (med - (b + math.log({alpha} / (1 - {alpha}))) / s).item()); F.cross_entropy(s * (c - m * F.one_hot(y, W.shape[0])), y)",
    build: build_from::<MadaCos>,
    defaults: defaults_of::<MadaCos>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::{Options, View, evaluate};

    #[test]
    fn gradients_and_schedules() {
        check_all("madacos:alpha=0.3,min_scale=2,saturation_odds=99", Reads::ClassHead);
        check_all("madacos:alpha=0.3,min_scale=2,saturation_odds=99,b_method=mean", Reads::ClassHead);
        check_all("madacos:alpha=0.3,min_scale=2,saturation_odds=99,b_method=median", Reads::ClassHead);
    }

    #[test]
    fn the_median_sample_has_probability_alpha() {
        // Targets near 1, others near 0: the margin is positive.
        let cosines: Vec<f64> =
            (0..25).map(|k| if k / 5 == k % 5 { 0.7 + 0.02 * (k / 5) as f64 } else { 0.01 * f64::from(k) }).collect();
        let batch = Batch::scores(View::new(&cosines, 5, 5).unwrap()).with_targets(vec![0, 1, 2, 3, 4]);
        let run = evaluate(&MadaCos::default(), &batch, &Options::default()).unwrap();
        assert!((run.values[2] + 0.02f64.ln()).abs() < 1e-12, "median row is row 2: {:?}", run.values);
        let report = |name| run.report.iter().find(|(n, _)| *n == name).unwrap().1[0];
        assert!(report("margin") > 0.0 && report("scale") > 32.0 && (report("median") - 0.74).abs() < 1e-12);
    }

    #[test]
    fn one_class_is_refused() {
        let cosines = [0.5];
        let batch = Batch::scores(View::new(&cosines, 1, 1).unwrap()).with_targets(vec![0]);
        assert!(
            evaluate(&MadaCos::default(), &batch, &Options::default()).unwrap_err().to_string().contains("two classes")
        );
        let case = Case::random(Reads::ClassHead, 1, 4, 3, 1);
        assert!(case.run::<f64>(&MadaCos::default(), &Options::default()).loss.is_finite());
    }
}
