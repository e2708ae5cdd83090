//! InfoNCE: the positive against all other candidates, one way.

use super::common::{TargetAndOthers, above, against, times, to_entries};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Outcome, Parameter, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = −ln [ e^{s_it/τ} / Σ_j e^{s_ij/τ} ]`, `s` the cosine of query `i` and candidate `j`, `t` its positive.
///
/// Queries `[B, d]` and candidates `[N, d]`; the positive is the target of the row, or the candidate of the same index. With ids,
/// candidates that share the id of the query are left out of the negatives (false negatives). A row without negatives has loss 0.
///
/// Reference: Representation Learning with Contrastive Predictive Coding (arXiv 1807.03748).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InfoNce {
    /// τ > 0, divides the scores. Default 0.07 (MoCo, arXiv 1911.05722; pytorch-metric-learning).
    pub temperature: f64,
    /// Cosines (true, default) or plain inner products.
    pub normalize: bool,
    /// Whether `log_temperature` is a learned parameter. Default false.
    pub learn_temperature: bool,
}

impl Default for InfoNce {
    fn default() -> Self {
        Self { temperature: 0.07, normalize: true, learn_temperature: false }
    }
}

impl Configured for InfoNce {
    fn check(&self) -> Result<()> {
        above("temperature", self.temperature, 0.0)
    }
}

/// The scorer of an objective that may normalise.
pub(crate) fn scorer(normalize: bool) -> Scorer {
    if normalize { Scorer::Cosine } else { Scorer::Inner }
}

/// All candidates but the positive, and but those that share the query's id.
pub(crate) fn negatives<T: Real>(base: Set<T>, batch: &Batch<'_, T>) -> Set<T> {
    match (&batch.query_ids, &batch.candidate_ids) {
        (Some(q), Some(c)) => base.different(q.as_ref().into(), c.as_ref().into()),
        (Some(q), None) if q.len() == batch.classes() => base.different(q.as_ref().into(), q.as_ref().into()),
        _ => base,
    }
}

impl<T: Real> Objective<T> for InfoNce {
    fn name(&self) -> &'static str {
        "info_nce"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(scorer(self.normalize))]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn parameters(&self) -> Vec<Parameter> {
        let log = Parameter { name: "log_temperature", initial: self.temperature.ln() };
        if self.learn_temperature { vec![log] } else { Vec::new() }
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let learned = self.learn_temperature;
        let scale = (-batch.parameter(0, self.temperature.ln())).exp();
        let targets = batch.targets_or_diagonal();
        let set = negatives(Set::others(targets.as_ref().into()), batch);
        let mut found = TargetAndOthers::sweep_expecting(
            engine,
            Argument::of(0).scaled(scale),
            &targets,
            set,
            learned.then(|| Argument::of(0)),
        )?;
        let expected = std::mem::take(&mut found.expectation);
        let pairs = found.others.1.values.iter().zip(&found.target_values);
        let (values, p): (Vec<T>, Vec<T>) = pairs.map(|(o, t)| against(*o, *t)).unzip();
        // ∂loss/∂ln τ = −(1/τ) p (E − s_t), E the mean score of the negatives under their softmax.
        let slope: Vec<T> =
            expected.iter().zip(&found.target_values).zip(&p).map(|((e, t), p)| -*p * (scale * *e - *t)).collect();
        Ok(Outcome::new(values, move |upstream| {
            let others = times(upstream, &p);
            let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            let terms = vec![Term::new(lse, value, others), Term::new(gather, at, target)];
            let parameters = if learned { vec![times(upstream, &slope).into_iter().sum()] } else { Vec::new() };
            Backward { terms, parameters }
        }))
    }
}

impl<T: Real> TargetAndOthers<T> {
    /// As `sweep`, with the expectation of `expect` under the softmax of the others where it is wanted.
    pub(crate) fn sweep_expecting(
        engine: &mut dyn Sweep<T>,
        argument: Argument<T>,
        targets: &[u32],
        others: Set<T>,
        expect: Option<Argument<T>>,
    ) -> Result<Self> {
        let Some(expect) = expect else { return Self::sweep(engine, argument, targets, others) };
        let lists = super::common::one_column(targets);
        let wanted = [
            Statistic::gather(argument.clone(), lists.clone()),
            Statistic::log_sum_exp_expecting(argument, others, expect),
        ];
        let stats = engine.sweep(&wanted)?;
        let [target, others] = wanted;
        let target_values = super::common::spread(&stats[0], &lists, T::zero());
        let expectation = stats[1].expectation.clone();
        let (target, others) = ((target, stats[0].clone()), (others, stats[1].clone()));
        Ok(Self { lists, target, others, target_values, expectation })
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "info_nce",
    aliases: &["infonce", "mnrl", "multiple_negatives_ranking"],
    family: Family::Retrieval,
    reads: Reads::PairedViews,
    summary: "The positive against all other candidates, one way; false negatives excluded by id.",
    formula: "loss_i = ln Σ_j exp(s_ij/τ) − s_it/τ, s the cosine",
    parameters: &[
        ParameterDoc::main("temperature", "τ > 0; 0.07 by default (MoCo)", &[0.03, 0.07, 0.15, 0.3]),
        ParameterDoc::new("normalize", "cosines (true, default) or inner products"),
        ParameterDoc::new("learn_temperature", "learn ln τ with the rest; false by default"),
    ],
    paper: Paper { title: "Representation Learning with Contrastive Predictive Coding", id: "1807.03748" },
    when: "Retrieval and self-supervision with one positive per query and many in-batch negatives.",
    when_not: "Batches with few negatives, or many unmarked duplicates: they are pushed apart.",
    pytorch: "F.cross_entropy(F.normalize(q) @ F.normalize(c).T / {temperature}, torch.arange(len(q)))",
    build: build_from::<InfoNce>,
    defaults: defaults_of::<InfoNce>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::{Options, View, evaluate};

    #[test]
    fn gradients_and_schedules() {
        check_all("info_nce:temperature=0.3", Reads::PairedViews);
        check_all("info_nce:temperature=0.5,learn_temperature=true,normalize=false", Reads::PairedViews);
    }

    #[test]
    fn shared_ids_are_no_negatives() {
        let case = Case::random(Reads::PairedViews, 4, 2, 3, 1);
        let view = |d| View::new(d, 4, 3).unwrap();
        let candidates = case.candidates.clone().unwrap();
        let batch = Batch::embeddings(view(&case.queries)).with_candidates(view(&candidates));
        let run = |b: &Batch<'_, f64>| evaluate(&InfoNce::default(), b, &Options::default()).unwrap();
        let all_same = run(&batch.clone().with_ids(vec![5; 4], vec![5; 4]));
        assert_eq!(all_same.loss, 0.0);
        assert!(all_same.gradients.queries.iter().all(|g| *g == 0.0));
        let distinct = run(&batch.clone().with_ids(vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
        assert!((distinct.loss - run(&batch).loss).abs() < 1e-14);
        let some = run(&batch.with_ids(vec![0, 0, 2, 3], vec![0, 0, 2, 3]));
        assert!(some.values[0] < distinct.values[0] && (some.values[2] - distinct.values[2]).abs() < 1e-14);
    }

    #[test]
    fn cold_temperature_is_the_hardest_negative() {
        let case = Case::random(Reads::PairedViews, 6, 2, 3, 2);
        let tau = 1e-3;
        let run = case.run::<f64>(&InfoNce { temperature: tau, ..InfoNce::default() }, &Options::default());
        let hard = |i: usize| {
            let unit = |v: &[f64]| {
                let n = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                v.iter().map(|x| x / n).collect::<Vec<_>>()
            };
            let q = unit(&case.queries[i * 3..i * 3 + 3]);
            let s: Vec<f64> = case
                .candidates
                .as_ref()
                .unwrap()
                .chunks(3)
                .map(|c| unit(c).iter().zip(&q).map(|(a, b)| a * b).sum())
                .collect();
            (s.iter().enumerate().filter(|(j, _)| *j != i).fold(f64::MIN, |m, (_, v)| m.max(*v)) - s[i]).max(0.0)
        };
        for i in 0..6 {
            assert!((tau * run.values[i] - hard(i)).abs() < 2e-3);
        }
    }
}
