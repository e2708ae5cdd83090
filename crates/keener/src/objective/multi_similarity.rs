//! The multi-similarity loss, with its own mining.

use super::common::{above, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{Argument, Batch, Coupling, MatrixSpec, Objective, Outcome, Scorer, Set, Statistic, Sweep};
use crate::error::{Error, Result};
use crate::pairs::{just_above, just_below};
use crate::real::{Real, sigmoid, softplus};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `loss_i = ln(1 + Σ_{p∈P(i)} e^{−α(s_ip − λ)})/α + ln(1 + Σ_{n∈N(i)} e^{β(s_in − λ)})/β` with cosines `s`; mean over all rows.
///
/// With `epsilon = ε` only informative pairs are kept: positives with `s_ip < max_n s_in + ε` and negatives with
/// `s_in > min_p s_ip − ε`, the extremes taken over the other rows of the anchor's class and of the other classes. Which pairs
/// are kept is constant for differentiation.
///
/// Reads embeddings `[B, d]` and the class of each row. A row without positives keeps the half of its negatives and the other way
/// round; with mining such a row keeps nothing and has value 0. Rows of value 0 count in the mean.
///
/// Errors: missing labels.
///
/// Reference: Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning (arXiv 1904.06627).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiSimilarity {
    /// α > 0, the sharpness among positives. Default 2 (the paper's, and pytorch-metric-learning's).
    pub alpha: f64,
    /// β > 0, the sharpness among negatives. Default 50 (the paper's, and pytorch-metric-learning's).
    pub beta: f64,
    /// λ, the cosine that separates near from far. Default 0.5 (pytorch-metric-learning; the paper's code the same).
    pub base: f64,
    /// ε ≥ 0 of the mining; nothing (the default) keeps all pairs. The paper mines with 0.1.
    pub epsilon: Option<f64>,
}

impl Default for MultiSimilarity {
    fn default() -> Self {
        Self { alpha: 2.0, beta: 50.0, base: 0.5, epsilon: None }
    }
}

impl Configured for MultiSimilarity {
    fn check(&self) -> Result<()> {
        above("alpha", self.alpha, 0.0)?;
        above("beta", self.beta, 0.0)?;
        if !self.base.is_finite() {
            return Err(Error::parameter("base", self.base, "a finite number"));
        }
        self.epsilon.map_or(Ok(()), |epsilon| within("epsilon", epsilon, 0.0, f64::INFINITY))
    }
}

const NAME: &str = "multi_similarity";

impl<T: Real> Objective<T> for MultiSimilarity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::pairs(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let labels: Arc<[u32]> = batch.labels_for(NAME)?.into();
        let mut positives = Set::off_diagonal().same(labels.clone(), labels.clone());
        let mut negatives = Set::all().different(labels.clone(), labels);
        if let Some(epsilon) = self.epsilon {
            let farthest = Statistic::max(Argument::of(0).scaled(-T::one()), positives.clone());
            let nearest = Statistic::max(Argument::of(0), negatives.clone());
            let stats = engine.sweep(&[farthest, nearest])?;
            let epsilon = T::of(epsilon);
            // Infinite where a row has no such pair, and then nothing is kept. The comparisons are strict.
            let low: Vec<T> = stats[0].values.iter().map(|turned| just_above(-*turned - epsilon)).collect();
            let high: Vec<T> = stats[1].values.iter().map(|s| just_below(*s + epsilon)).collect();
            positives = positives.at_most(high);
            negatives = negatives.at_least(low);
        }
        let (alpha, beta, base) = (T::of(self.alpha), T::of(self.beta), T::of(self.base));
        let pull = Statistic::log_sum_exp(Argument::of(0).scaled(-alpha).shifted(alpha * base), positives);
        let push = Statistic::log_sum_exp(Argument::of(0).scaled(beta).shifted(-beta * base), negatives);
        let stats = engine.sweep(&[pull.clone(), push.clone()])?;
        let pairs = stats[0].values.iter().zip(&stats[1].values);
        let values = pairs.map(|(p, n)| softplus(*p) / alpha + softplus(*n) / beta).collect();
        let slope = |k: usize, sharpness: T| stats[k].values.iter().map(|u| sigmoid(*u) / sharpness).collect();
        let slopes = vec![(pull, stats[0].clone(), slope(0, alpha)), (push, stats[1].clone(), slope(1, beta))];
        Ok(Outcome::row_wise(values, slopes))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["ms", "multisimilarity"],
    family: Family::Embedding,
    reads: Reads::LabelledEmbeddings,
    summary: "Soft weighting of all pairs by how hard they are, positives and negatives with their own sharpness.",
    formula: "loss_i = ln(1 + Σ_p exp(−α(s_ip − λ)))/α + ln(1 + Σ_n exp(β(s_in − λ)))/β",
    parameters: &[
        ParameterDoc::new("alpha", "α > 0, sharpness among positives; 2 by default (the paper's)"),
        ParameterDoc::new("beta", "β > 0, sharpness among negatives; 50 by default (the paper's)"),
        ParameterDoc::main(
            "base",
            "λ, the cosine between near and far; 0.5 by default (pytorch-metric-learning)",
            &[0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
        ),
        ParameterDoc::new(
            "epsilon",
            "ε ≥ 0: keep positives below the hardest negative + ε and negatives above the hardest positive − ε (the paper mines \
             with 0.1); none by default: all pairs",
        ),
    ],
    paper: Paper {
        title: "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
        id: "1904.06627",
    },
    when: "Fine-grained retrieval with labels (products, birds, cars) and P × K batches of moderate size: uses every pair, \
           weighs by difficulty, and is less brittle than batch-hard triplets. Set epsilon=0.1 as in the paper once the \
           encoder is warm.",
    when_not: "Label noise (β = 50 looks at the nearest negatives almost alone), or when there is no time to tune: it has more \
               parameters than supervised_contrastive. With thousands of classes and a head that fits, proxies converge faster.",
    pytorch: "(lambda s, p, n: (lambda p, n: (F.softplus((-{alpha} * (s - {base})).masked_fill(~p, -torch.inf).logsumexp(1)) / {alpha} \
              + F.softplus(({beta} * (s - {base})).masked_fill(~n, -torch.inf).logsumexp(1)) / {beta}).mean())(\
              *((p, n) if '{epsilon}' in ('None', 'null', '') else \
              (p & (s - float('{epsilon}') < s.masked_fill(~n, -torch.inf).amax(1, True)), \
              n & (s + float('{epsilon}') > s.masked_fill(~p, torch.inf).amin(1, True))))))(\
              F.normalize(x) @ F.normalize(x).T, (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool), y[:, None] != y)",
    build: build_from::<MultiSimilarity>,
    defaults: defaults_of::<MultiSimilarity>,
};

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::check_all;
    use super::*;
    use crate::pairs::testing::{check_invariances, check_missing_labels, check_silent, rows, run};

    const MINED: &str = "multi_similarity:epsilon=0.1";

    #[test]
    fn gradients_and_schedules() {
        check_all("multi_similarity", Reads::LabelledEmbeddings);
        check_all("multi_similarity:alpha=5,beta=20,base=0.3,epsilon=0.1", Reads::LabelledEmbeddings);
    }

    #[test]
    fn lengths_and_order_do_not_matter() {
        check_invariances("ms", &rows(7, 3), 3, &[0, 0, 1, 1, 2, 0, 3]);
        check_invariances(MINED, &rows(7, 3), 3, &[0, 0, 1, 1, 2, 0, 3]);
    }

    #[test]
    fn mining_keeps_what_is_harder_than_the_hardest_of_the_other_kind() {
        let cosine = |degrees: f64| degrees.to_radians().cos();
        let x: Vec<f64> = [0.0f64, 10.0, 60.0, 50.0, 120.0]
            .iter()
            .flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()])
            .collect();
        let found = run("multi_similarity:alpha=2,beta=10,epsilon=0.1", &x, 2, &[0, 0, 0, 1, 1]).unwrap();
        // From row 0: cos 10° is far above cos 50° + 0.1 and falls out, as does cos 120°, below cos 60° − 0.1.
        let pull = (-2.0 * (cosine(60.0) - 0.5)).exp().ln_1p() / 2.0;
        let push = (10.0 * (cosine(50.0) - 0.5)).exp().ln_1p() / 10.0;
        assert!((found.values[0] - pull - push).abs() < 1e-12, "{}", found.values[0]);
        // A wide window keeps everything.
        let (all, wide) =
            (run("ms", &x, 2, &[0, 0, 0, 1, 1]).unwrap(), run("ms:epsilon=3", &x, 2, &[0, 0, 0, 1, 1]).unwrap());
        assert_eq!(all.values, wide.values);
    }

    #[test]
    fn the_window_is_open_at_both_ends() {
        // Cosines 0 to the positive and to the negative; with ε = 0 neither is strictly inside.
        check_silent("multi_similarity:epsilon=0", &[1.0, 0.0, 0.0, 1.0, 0.0, -1.0], 2, &[0, 0, 1]);
    }

    #[test]
    fn twins_and_huge_sharpness_stay_finite() {
        let x = [1.0, 2.0, 1.0, 2.0, -1.0, 0.5, 2.0, 4.0];
        let found = run("multi_similarity:alpha=1000,beta=10000", &x, 2, &[0, 0, 1, 1]).unwrap();
        assert!(found.loss.is_finite() && found.gradients.queries.iter().all(|g| g.is_finite()));
        // The twin of another class: ln(1 + 2 e^{β/2})/β for row 3, which has two of them, and a positive at cosine 0.
        let expected = 0.5 + 2f64.ln() / 10_000.0 + 0.5 + (-500.0f64).exp().ln_1p() / 1000.0;
        assert!((found.values[3] - expected).abs() < 1e-12, "{}", found.values[3]);
    }

    #[test]
    fn one_kind_of_pair_alone() {
        let x = rows(4, 3);
        check_silent(MINED, &x, 3, &[0, 1, 2, 3]);
        check_silent(MINED, &x, 3, &[0; 4]);
        check_silent("ms", &[1.0, 2.0], 2, &[0]);
        assert!(run("ms", &x, 3, &[0; 4]).unwrap().loss > 0.0);
        assert!(run("ms", &x, 3, &[0, 1, 2, 3]).unwrap().loss > 0.0);
    }

    #[test]
    fn bad_input_is_named() {
        check_missing_labels("ms");
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("ms:alpha=0").contains("alpha = 0"));
        assert!(message("ms:beta=-2").contains("beta = -2"));
        assert!(message("ms:epsilon=-0.1").contains("epsilon = -0.1: expected a finite number ≥ 0"));
        assert!(message("ms:gamma=1").contains("takes alpha, beta, base, epsilon"));
    }
}
