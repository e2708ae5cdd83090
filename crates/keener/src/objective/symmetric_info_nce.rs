//! Symmetric InfoNCE (CLIP's loss): rows and columns of one score matrix, in one sweep.

use super::common::{above, against, one_column, times, to_entries};
use super::info_nce::{negatives, scorer};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Outcome, Parameter, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = ½ [ −ln softmax_row(s_i·/τ)_i − ln softmax_column(s_·i/τ)_i ]`; row `i` of queries and candidates belong together.
///
/// Queries and candidates `[B, d]`. With ids, pairs of equal id are left out of the negatives on both sides. One pair has loss 0.
///
/// Reference: Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SymmetricInfoNce {
    /// τ > 0, divides the scores. Default 0.07 (where CLIP starts).
    pub temperature: f64,
    /// Cosines (true, default) or plain inner products.
    pub normalize: bool,
    /// Whether `log_temperature` is a learned parameter, as in CLIP. Default false.
    pub learn_temperature: bool,
}

impl Default for SymmetricInfoNce {
    fn default() -> Self {
        Self { temperature: 0.07, normalize: true, learn_temperature: false }
    }
}

impl Configured for SymmetricInfoNce {
    fn check(&self) -> Result<()> {
        above("temperature", self.temperature, 0.0)
    }
}

impl<T: Real> Objective<T> for SymmetricInfoNce {
    fn name(&self) -> &'static str {
        "symmetric_info_nce"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(scorer(self.normalize))]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn parameters(&self) -> Vec<Parameter> {
        let log = Parameter { name: "log_temperature", initial: self.temperature.ln() };
        if self.learn_temperature { vec![log] } else { Vec::new() }
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let (rows, cols) = engine.shape(0);
        if rows != cols {
            return Err(Error::shape("candidates of symmetric_info_nce", &[cols], format!("[{rows}, d], one a query")));
        }
        let learned = self.learn_temperature;
        let scale = (-batch.parameter(0, self.temperature.ln())).exp();
        let argument = Argument::of(0).scaled(scale);
        let set = negatives(Set::off_diagonal(), batch);
        let lse = || match learned {
            true => Statistic::log_sum_exp_expecting(argument.clone(), set.clone(), Argument::of(0)),
            false => Statistic::log_sum_exp(argument.clone(), set.clone()),
        };
        let diagonal = one_column(&(0..rows as u32).collect::<Vec<_>>());
        let wanted = [Statistic::gather(argument.clone(), diagonal.clone()), lse(), lse().down_columns()];
        let stats = engine.sweep(&wanted)?;
        let half = T::of(0.5);
        let mut values = Vec::with_capacity(rows);
        let (mut by_row, mut by_column) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut slope = Vec::with_capacity(if learned { rows } else { 0 });
        for i in 0..rows {
            let target = stats[0].values[i];
            let (across, p) = against(stats[1].values[i], target);
            let (down, q) = against(stats[2].values[i], target);
            values.push(half * (across + down));
            by_row.push(half * p);
            by_column.push(half * q);
            if learned {
                let along = |stat: usize, p: T| p * (scale * stats[stat].expectation[i] - target);
                slope.push(-half * (along(1, p) + along(2, q)));
            }
        }
        Ok(Outcome::new(values, move |upstream| {
            let (rows, columns) = (times(upstream, &by_row), times(upstream, &by_column));
            let both: Vec<T> = rows.iter().zip(&columns).map(|(a, b)| -(*a + *b)).collect();
            let term = |k: usize, weight: Vec<T>| Term::new(wanted[k].clone(), stats[k].clone(), weight);
            let terms = vec![term(1, rows), term(2, columns), term(0, to_entries(&both, &diagonal))];
            let parameters = if learned { vec![times(upstream, &slope).into_iter().sum()] } else { Vec::new() };
            Backward { terms, parameters }
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "symmetric_info_nce",
    aliases: &["clip", "symmetric_infonce"],
    family: Family::Retrieval,
    reads: Reads::PairedViews,
    summary: "InfoNCE both ways, rows and columns in one sweep (CLIP).",
    formula: "loss_i = ½ [ln Σ_j exp(s_ij/τ) + ln Σ_j exp(s_ji/τ)] − s_ii/τ",
    parameters: &[
        ParameterDoc::main("temperature", "τ > 0; 0.07 by default (where CLIP starts)", &[0.03, 0.07, 0.15, 0.3]),
        ParameterDoc::new("normalize", "cosines (true, default) or inner products"),
        ParameterDoc::new("learn_temperature", "learn ln τ with the rest; false by default"),
    ],
    paper: Paper { title: "Learning Transferable Visual Models From Natural Language Supervision", id: "2103.00020" },
    when: "Two views or modalities that must find each other in both directions.",
    when_not: "Only one direction will be searched, or pairs repeat within a batch without ids to mark them.",
    pytorch: "s = F.normalize(q) @ F.normalize(c).T / {temperature}; y = torch.arange(len(q)); (F.cross_entropy(s, y) + F.cross_entropy(s.T, y)) / 2",
    build: build_from::<SymmetricInfoNce>,
    defaults: defaults_of::<SymmetricInfoNce>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::{Options, Schedule};

    #[test]
    fn gradients_and_schedules() {
        check_all("clip:temperature=0.3", Reads::PairedViews);
        check_all("clip:temperature=0.5,learn_temperature=true,normalize=false", Reads::PairedViews);
    }

    #[test]
    fn swapping_the_sides_swaps_the_gradients() {
        let case = Case::random(Reads::PairedViews, 9, 2, 4, 7);
        let swapped =
            Case { queries: case.candidates.clone().unwrap(), candidates: Some(case.queries.clone()), ..case.clone() };
        let objective = SymmetricInfoNce::default();
        let (a, b) =
            (case.run::<f64>(&objective, &Options::default()), swapped.run::<f64>(&objective, &Options::default()));
        assert!((a.loss - b.loss).abs() < 1e-12);
        assert!(a.gradients.queries.iter().zip(&b.gradients.candidates).all(|(x, y)| (x - y).abs() < 1e-12));
    }

    #[test]
    fn sharp_scores_stay_finite() {
        let case = Case::random(Reads::PairedViews, 40, 2, 4, 7);
        for schedule in [Schedule::Whole, Schedule::Recompute] {
            let options = Options { schedule: Some(schedule), ..Options::default() };
            let run = case.run::<f32>(&SymmetricInfoNce { temperature: 1e-4, ..SymmetricInfoNce::default() }, &options);
            assert!(run.loss.is_finite() && run.gradients.queries.iter().all(|g| g.is_finite()));
        }
    }
}
