//! SigLIP's pairwise sigmoid loss.

use super::common::{one_column, spread, times, to_entries};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, Parameter, Scorer, Set, Statistic, Sweep,
    Term,
};
use crate::error::Result;
use crate::real::{Real, sigmoid, softplus};
use serde::{Deserialize, Serialize};

/// `loss_i = −Σ_j ln σ(y_ij (scale · cos(q_i, c_j) + bias))`, `y_ij = 1` for the pair that belongs together and −1 otherwise; mean over
/// rows. `ln scale` and the bias are learned.
///
/// Queries `[B, d]`, candidates `[N, d]`; the positive is the target of the row, or the candidate of the same index; candidates that
/// share the query's id are left out.
///
/// Reference: Sigmoid Loss for Language Image Pre-Training (arXiv 2303.15343).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigLip {
    /// Where `ln scale` starts. Default ln 10 (the paper).
    pub log_scale: f64,
    /// Where the bias starts. Default −10 (the paper).
    pub bias: f64,
}

impl Default for SigLip {
    fn default() -> Self {
        Self { log_scale: std::f64::consts::LN_10, bias: -10.0 }
    }
}

impl Configured for SigLip {
    fn check(&self) -> Result<()> {
        super::common::within("log_scale", self.log_scale, -20.0, 20.0)?;
        super::common::within("bias", self.bias, -1e6, 1e6)
    }
}

impl<T: Real> Objective<T> for SigLip {
    fn name(&self) -> &'static str {
        "siglip"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Cosine)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter { name: "log_scale", initial: self.log_scale }, Parameter { name: "bias", initial: self.bias }]
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let scale = batch.parameter(0, self.log_scale).exp();
        let bias = batch.parameter(1, self.bias);
        let targets = batch.targets_or_diagonal();
        let lists = one_column(&targets);
        let argument = Argument::of(0).scaled(scale).shifted(bias);
        let set = super::info_nce::negatives(Set::others(targets.as_ref().into()), batch);
        let wanted = [
            Statistic::gather(argument.clone(), lists.clone()),
            Statistic::sum_with_moments(Map::Softplus, argument, set),
        ];
        let stats = engine.sweep(&wanted)?;
        let positive = spread(&stats[0], &lists, T::infinity());
        let pull: Vec<T> = positive.iter().map(|u| sigmoid(-*u)).collect();
        let values = positive.iter().zip(&stats[1].values).map(|(u, v)| softplus(-*u) + *v).collect();
        Ok(Outcome::new(values, move |upstream| {
            let target: Vec<T> = times(upstream, &pull).into_iter().map(|x| -x).collect();
            let on_bias = |i: usize| stats[1].slope[i] - pull[i];
            // Σ φ' · scale · s, and for the positive the gathered u = scale · s + bias.
            let on_scale = |i: usize| {
                let own = if pull[i] == T::zero() { T::zero() } else { pull[i] * (positive[i] - bias) };
                scale * stats[1].moment[i] - own
            };
            let total = |slope: &dyn Fn(usize) -> T| (0..upstream.len()).map(|i| upstream[i] * slope(i)).sum::<T>();
            let parameters = vec![total(&on_scale), total(&on_bias)];
            let terms = vec![
                Term::new(wanted[1].clone(), stats[1].clone(), upstream.to_vec()),
                Term::new(wanted[0].clone(), stats[0].clone(), to_entries(&target, &lists)),
            ];
            Backward { terms, parameters }
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "siglip",
    aliases: &["pairwise_sigmoid"],
    family: Family::Retrieval,
    reads: Reads::PairedViews,
    summary: "Every pair a yes-or-no question; no normalisation over the batch; learned scale and bias.",
    formula: "loss_i = −Σ_j ln σ(y_ij (scale · cos_ij + bias)), y = ±1",
    parameters: &[
        ParameterDoc::new("log_scale", "where ln scale starts; ln 10 by default (the paper)"),
        ParameterDoc::main("bias", "where the bias starts; −10 by default (the paper)", &[-10.0, -5.0, -2.0]),
    ],
    paper: Paper { title: "Sigmoid Loss for Language Image Pre-Training", id: "2303.15343" },
    when: "Very large or very small batches, several positives per query by id, thresholds on the score at use.",
    when_not: "Short training: scale and bias take time to settle from their cautious start.",
    pytorch: "-F.logsigmoid((2 * torch.eye(len(q)) - 1) * (torch.exp(torch.tensor({log_scale})) * F.normalize(q) @ F.normalize(c).T + {bias})).sum() / len(q)",
    build: build_from::<SigLip>,
    defaults: defaults_of::<SigLip>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::check_all;
    use super::*;

    #[test]
    fn gradients_and_schedules() {
        check_all("siglip", Reads::PairedViews);
        check_all("siglip:log_scale=0.5,bias=-0.3", Reads::PairedViews);
    }
}
