//! TRADES: clean accuracy against the change that an attack makes.

use super::common::{TargetAndOthers, against, times, to_entries, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Slot, Statistic, Sweep,
    Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = CE(s_i, y_i) + β · KL(softmax(s_i) ‖ softmax(s'_i))`, `s` the scores of the clean and `s'` of the attacked version.
///
/// Reads two score matrices `[B, N]`, or both versions of the queries and class weights, and the class of each row. Gradients go
/// to both versions. Rows without a class are ignored.
///
/// Reference: Theoretically Principled Trade-off between Robustness and Accuracy (arXiv 1901.08573).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trades {
    /// β ≥ 0. Default 6 (the paper).
    pub beta: f64,
}

impl Default for Trades {
    fn default() -> Self {
        Self { beta: 6.0 }
    }
}

impl Configured for Trades {
    fn check(&self) -> Result<()> {
        within("beta", self.beta, 0.0, f64::INFINITY)
    }
}

impl<T: Real> Objective<T> for Trades {
    fn name(&self) -> &'static str {
        "trades"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner), MatrixSpec { slot: Slot::Second, scorer: Scorer::Inner }]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(batch.targets_for("trades")?.iter().filter(|t| **t != NONE).count() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("trades")?;
        let beta = T::of(self.beta);
        let counted: Vec<T> = targets.iter().map(|t| if *t == NONE { T::zero() } else { T::one() }).collect();
        let found = TargetAndOthers::sweep(engine, Argument::of(0), targets, Set::others(targets.into()))?;
        // KL = E_p[s − s'] − lse(s) + lse(s').
        let wanted = [
            Statistic::log_sum_exp_expecting(Argument::of(0), Set::all(), Argument::difference(0, 1)),
            Statistic::log_sum_exp(Argument::of(1), Set::all()),
        ];
        let stats = engine.sweep(&wanted)?;
        let pairs = found.others.1.values.iter().zip(&found.target_values);
        let (clean, p): (Vec<T>, Vec<T>) = pairs.map(|(o, t)| against(*o, *t)).unzip();
        let divergence = |i: usize| (stats[0].expectation[i] - stats[0].values[i] + stats[1].values[i]).max(T::zero());
        let values = (0..clean.len()).map(|i| counted[i] * (clean[i] + beta * divergence(i))).collect();
        Ok(Outcome::new(values, move |upstream| {
            let upstream = times(upstream, &counted);
            let others = times(&upstream, &p);
            let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
            let shift: Vec<T> = upstream.iter().map(|u| beta * *u).collect();
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            let expectation = Term {
                expectation_weight: shift.clone(),
                ..Term::new(wanted[0].clone(), stats[0].clone(), shift.iter().map(|s| -*s).collect())
            };
            Backward::terms(vec![
                Term::new(lse, value, others),
                Term::new(gather, at, target),
                expectation,
                Term::new(wanted[1].clone(), stats[1].clone(), shift),
            ])
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "trades",
    aliases: &["trades_loss"],
    family: Family::Robustness,
    reads: Reads::TwoScores,
    summary: "Cross-entropy on clean input plus the divergence that an attack causes.",
    formula: "loss_i = CE(s_i, y) + β KL(softmax(s_i) ‖ softmax(s'_i))",
    parameters: &[ParameterDoc::main("beta", "≥ 0; 6 by default (the paper)", &[1.0, 3.0, 6.0])],
    paper: Paper { title: "Theoretically Principled Trade-off between Robustness and Accuracy", id: "1901.08573" },
    when: "Small worst-case perturbations of the input must not change the decision, at a price in clean accuracy that β sets.",
    when_not: "No attack is to be feared, or the second version is not made by one.",
    pytorch: "F.cross_entropy(s, y) + {beta} * F.kl_div(F.log_softmax(s_adv, 1), F.softmax(s, 1), reduction='batchmean')",
    build: build_from::<Trades>,
    defaults: defaults_of::<Trades>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        check_all("trades", Reads::TwoScores);
        check_all("trades:beta=0", Reads::TwoScores);
    }

    #[test]
    fn an_attack_without_effect_costs_nothing() {
        let mut case = Case::random(Reads::TwoScores, 6, 4, 3, 2);
        case.second = Some(case.queries.clone());
        let trades = case.run::<f64>(&Trades::default(), &Options::default());
        let plain = case.run::<f64>(&super::super::SoftmaxCrossEntropy::default(), &Options::default());
        assert!((trades.loss - plain.loss).abs() < 1e-12);
        assert!(trades.gradients.second.iter().all(|g| g.abs() < 1e-12));
    }
}
