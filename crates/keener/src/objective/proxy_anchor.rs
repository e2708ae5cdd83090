//! Proxy anchor: each class weight pulls its own rows and pushes all others, the hardest first.

use super::common::{above, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::{Real, sigmoid, softplus};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `loss = (1/|P⁺|) Σ_{p ∈ P⁺} ln(1 + Σ_{y_i = p} e^{−α (c_ip − δ)}) + (1/|P|) Σ_p ln(1 + Σ_{y_i ≠ p} e^{α (c_ip + δ)})`.
///
/// Reads queries `[B, d]` and proxies (class weights) `[N, d]`, whose cosines are `c_ip` (or cosines `[B, N]`), and the class
/// of each row. P are all proxies, P⁺ those with a row in the batch. One number for the whole batch.
///
/// Rows without a class are ignored. With no row left both sums are 0; a proxy that every row belongs to pushes nothing.
///
/// Reference: Proxy Anchor Loss for Deep Metric Learning (arXiv 2003.13911).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyAnchor {
    /// δ ≥ 0, the cosine margin. Default 0.1 (the paper).
    pub margin: f64,
    /// α > 0, how much harder rows count more. Default 32 (the paper).
    pub alpha: f64,
}

impl Default for ProxyAnchor {
    fn default() -> Self {
        Self { margin: 0.1, alpha: 32.0 }
    }
}

impl Configured for ProxyAnchor {
    fn check(&self) -> Result<()> {
        within("margin", self.margin, 0.0, 2.0)?;
        above("alpha", self.alpha, 0.0)
    }
}

/// Keeps the rows that have a class.
fn with_class<T>(set: Set<T>, targets: &[u32], columns: usize) -> Set<T> {
    if !targets.contains(&NONE) {
        return set;
    }
    let absent: Vec<u32> = targets.iter().map(|t| u32::from(*t == NONE)).collect();
    set.same(absent.into(), vec![0; columns].into())
}

impl<T: Real> Objective<T> for ProxyAnchor {
    fn name(&self) -> &'static str {
        "proxy_anchor"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn normalizer(&self, _: &Batch<'_, T>) -> Result<f64> {
        Ok(1.0)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        if batch.gathered.is_some() {
            return Err(Error::Unsupported {
                what: "proxy_anchor over candidates gathered per row".into(),
                hint: "give the proxies of all classes as candidates".into(),
            });
        }
        let targets = batch.targets_for("proxy_anchor")?;
        let proxies = engine.shape(0).1;
        let (rows, columns): (Arc<[u32]>, Arc<[u32]>) = (targets.into(), (0..proxies as u32).collect());
        let (alpha, shift) = (T::of(self.alpha), T::of(self.alpha * self.margin));
        let pull = Argument::of(0).scaled(-alpha).shifted(shift);
        let push = Argument::of(0).scaled(alpha).shifted(shift);
        let others = with_class(Set::all().different(rows.clone(), columns.clone()), targets, proxies);
        let wanted = [
            Statistic::log_sum_exp(pull, Set::all().same(rows, columns)).down_columns(),
            Statistic::log_sum_exp(push, others).down_columns(),
        ];
        let stats = engine.sweep(&wanted)?;
        let mut present = vec![false; proxies];
        targets.iter().filter(|t| **t != NONE).for_each(|t| present[*t as usize] = true);
        let counts = [present.iter().filter(|p| **p).count(), proxies];
        let shares = counts.map(|count| T::one() / T::of(count.max(1) as f64));
        // Over an empty set the log-sum-exp is −∞ and softplus and its slope are 0.
        let sums = stats.iter().zip(shares).map(|(s, share)| share * s.values.iter().map(|v| softplus(*v)).sum::<T>());
        let value = sums.sum();
        Ok(Outcome::new(vec![value], move |upstream| {
            let terms = wanted.iter().zip(&stats).zip(shares).map(|((statistic, stat), share)| {
                let weight = stat.values.iter().map(|v| upstream[0] * share * sigmoid(*v)).collect();
                Term::new(statistic.clone(), stat.clone(), weight)
            });
            Backward::terms(terms.collect())
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "proxy_anchor",
    aliases: &["proxyanchor", "proxy_anchor_loss"],
    family: Family::Embedding,
    reads: Reads::ClassHead,
    summary: "Each class proxy pulls its own rows and pushes all others, weighted by how hard they are.",
    formula: "loss = mean over proxies with rows of ln(1 + Σ_same exp(−α (c − δ))) + mean over all proxies of \
              ln(1 + Σ_other exp(α (c + δ))),   c = cosine of row and proxy",
    parameters: &[
        ParameterDoc::new("margin", "δ in [0, 2], the cosine margin; 0.1 by default (the paper)"),
        ParameterDoc::main(
            "alpha",
            "α > 0, how much harder rows count more; 32 by default (the paper)",
            &[8.0, 16.0, 32.0, 64.0],
        ),
    ],
    paper: Paper { title: "Proxy Anchor Loss for Deep Metric Learning", id: "2003.13911" },
    when: "Embeddings for retrieval of unseen classes with class labels at hand: converges fast, needs no mining and no \
           sampling of classes; batches of 100 and more, so that proxies see several rows.",
    when_not: "Very many classes with few rows each (most proxies then only push), tiny batches, or when probabilities \
               are wanted: use a softmax objective.",
    pytorch: "(lambda c, p, z: torch.cat([(-{alpha} * (c - {margin})).masked_fill(~p, -torch.inf), z]).logsumexp(0).sum() \
              / p.any(0).sum() + torch.cat([({alpha} * (c + {margin})).masked_fill(p, -torch.inf), z]).logsumexp(0).mean())\
              (F.normalize(x) @ F.normalize(W).T, F.one_hot(y, len(W)).bool(), torch.zeros(1, len(W)))",
    build: build_from::<ProxyAnchor>,
    defaults: defaults_of::<ProxyAnchor>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients};
    use super::*;
    use crate::engine::{Evaluation, Options, View, evaluate};

    fn cosines(config: &ProxyAnchor, c: &[f64], columns: usize, targets: Vec<u32>) -> Evaluation<f64> {
        let batch = Batch::scores(View::new(c, targets.len(), columns).unwrap()).with_targets(targets);
        evaluate(config, &batch, &Options::default()).unwrap()
    }

    #[test]
    fn gradients_and_schedules() {
        check_all("proxy_anchor", Reads::ClassHead);
        check_all("proxy_anchor:alpha=4,margin=0.3", Reads::ClassHead);
        let mut case = Case::random(Reads::ClassHead, 6, 4, 3, 14);
        case.targets = Some(vec![0, 0, NONE, 3, 3, NONE]);
        check_gradients(&ProxyAnchor { margin: 0.2, alpha: 8.0 }, &case, 1e-6);
    }

    #[test]
    fn the_definition_by_hand() {
        let config = ProxyAnchor { margin: 0.1, alpha: 5.0 };
        let c = [0.3, -0.2, 0.7, 0.1, 0.5, -0.9];
        let found = cosines(&config, &c, 3, vec![0, 0]).loss;
        let pull = |c: f64| (-5.0 * (c - 0.1)).exp();
        let push = |c: f64| (5.0 * (c + 0.1)).exp();
        let expected = (pull(0.3) + pull(0.1)).ln_1p()
            + ((push(-0.2) + push(0.5)).ln_1p() + (push(0.7) + push(-0.9)).ln_1p()) / 3.0;
        assert!((found - expected).abs() < 1e-14);
    }

    #[test]
    fn lengths_do_not_matter_and_rows_without_a_class_neither() {
        let config = ProxyAnchor::default();
        let mut case = Case::random(Reads::ClassHead, 5, 4, 3, 15);
        case.targets = Some(vec![1, NONE, 0, 1, NONE]);
        let whole = case.run::<f64>(&config, &Options::default());
        assert!(whole.gradients.queries[3..6].iter().all(|g| *g == 0.0));
        let mut part = case.clone();
        part.queries = [&case.queries[0..3], &case.queries[6..12]].concat().iter().map(|q| 7.0 * q).collect();
        part.targets = Some(vec![1, 0, 1]);
        let part = part.run::<f64>(&config, &Options::default());
        assert!((whole.loss - part.loss).abs() < 1e-13);
        assert!((whole.gradients.queries[0] - 7.0 * part.gradients.queries[0]).abs() < 1e-12);
        case.targets = Some(vec![NONE; 5]);
        assert_eq!(case.run::<f64>(&config, &Options::default()).loss, 0.0);
    }

    #[test]
    fn sharp_settings_stay_linear() {
        let config = ProxyAnchor { margin: 0.0, alpha: 1e4 };
        // Wrong by a cosine of 2 both ways: softplus is the identity up there.
        let found = cosines(&config, &[-1.0, 1.0], 2, vec![0]);
        assert!((found.loss - 1.5e4).abs() < 1e-9 && found.gradients.scores == [-1e4, 5e3]);
        let won = cosines(&config, &[1.0, -1.0], 2, vec![0]);
        assert_eq!((won.loss, won.gradients.scores.iter().all(|g| *g == 0.0)), (0.0, true));
    }

    #[test]
    fn bad_input_is_named() {
        let message = |spec: &str| crate::objective::parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("proxy_anchor:alpha=0").contains("alpha = 0"));
        assert!(message("proxy_anchor:margin=-0.1").contains("margin = -0.1"));
        let (x, w, ids) = ([1.0f64, 0.0], [0.0f64, 1.0, 1.0, 1.0], [1u32, 0]);
        let batch = Batch::embeddings(View::new(&x, 1, 2).unwrap()).with_candidates(View::new(&w, 2, 2).unwrap());
        let run =
            |b: &Batch<'_, f64>| evaluate(&ProxyAnchor::default(), b, &Options::default()).unwrap_err().to_string();
        assert!(run(&batch).contains("targets"));
        assert!(run(&batch.with_targets(vec![0]).with_gathered(&ids, 2)).contains("gathered"));
    }
}
