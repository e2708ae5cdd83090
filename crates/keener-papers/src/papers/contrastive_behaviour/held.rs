//! The pairs of a batch with the positive held constant.

use keener::engine::{
    Backward, BackwardStep, Batch, Coupling, MatrixSpec, Objective, Outcome, Reduce, Scorer, Slot, Stat, Statistic,
    Sweep, Term,
};
use keener::error::{Error, Result};
use keener::objective::SharedObjective;
use keener::real::Real;
use std::sync::Arc;

/// An objective over queries and candidates, seen over the pairs of one batch of embeddings: scores are cosines, the
/// others of the batch are the negatives, and the positive of each row has a constant score instead of the diagonal's.
///
/// Embeddings `[B, d]` without targets. Nothing of size B×B is stored beyond what the schedule keeps: the constant takes
/// the place of the positive where the plan asks for it, and has no gradient.
#[derive(Debug, Clone)]
pub(super) struct HeldPositive {
    pub(super) inner: SharedObjective,
    pub(super) positive: f64,
}

/// Answers for the diagonal; everything else is the engine's.
struct Held<'e, T: Real> {
    engine: &'e mut dyn Sweep<T>,
    positive: T,
}

impl<T: Real> Held<'_, T> {
    fn constant(&self, statistic: &Statistic<T>) -> Option<Result<Arc<Stat<T>>>> {
        let lists = match &statistic.reduce {
            Reduce::Gather(lists) => lists,
            Reduce::Rule(_) => {
                let hint = "use an objective that reads its positive as an entry of its own".to_string();
                let what = "a rule over complete rows with a held positive".into();
                return Some(Err(Error::Unsupported { what, hint }));
            }
            _ => return None,
        };
        if (0..lists.rows()).any(|row| lists.row(row) != [row as u32]) {
            let hint = "leave the targets out: the diagonal stands for the positives".to_string();
            return Some(Err(Error::Unsupported { what: "a held positive off the diagonal".into(), hint }));
        }
        let seen = |row| statistic.argument.scale.at(row) * self.positive + statistic.argument.shift.at(row);
        Some(Ok(Arc::new(Stat { values: (0..lists.rows()).map(seen).collect(), ..Stat::default() })))
    }
}

impl<T: Real> Sweep<T> for Held<'_, T> {
    fn shape(&self, matrix: usize) -> (usize, usize) {
        self.engine.shape(matrix)
    }

    fn sweep(&mut self, statistics: &[Statistic<T>]) -> Result<Vec<Arc<Stat<T>>>> {
        let constants = statistics.iter().map(|s| self.constant(s).transpose()).collect::<Result<Vec<_>>>()?;
        let open: Vec<Statistic<T>> =
            statistics.iter().zip(&constants).filter(|(_, c)| c.is_none()).map(|(s, _)| s.clone()).collect();
        let mut swept = self.engine.sweep(&open)?.into_iter();
        Ok(constants.into_iter().map(|c| c.or_else(|| swept.next()).unwrap_or_default()).collect())
    }

    fn order_statistics(
        &mut self,
        over: &Statistic<T>,
        ranks: &mut dyn FnMut(usize) -> Vec<usize>,
    ) -> Result<(usize, Vec<T>)> {
        self.engine.order_statistics(over, ranks)
    }

    fn visit_rows(&mut self, matrix: usize, visit: &mut dyn FnMut(usize, &[T])) -> Result<()> {
        let positive = self.positive;
        self.engine.visit_rows(matrix, &mut |row, scores| {
            let mut scores = scores.to_vec();
            scores[row] = positive;
            visit(row, &scores);
        })
    }

    fn freeze(&mut self, name: &'static str, value: Vec<T>) -> Vec<T> {
        self.engine.freeze(name, value)
    }

    fn report(&mut self, name: &'static str, value: Vec<T>) {
        self.engine.report(name, value);
    }
}

impl HeldPositive {
    fn run<T: Real>(
        &self,
        inner: &dyn Objective<T>,
        engine: &mut dyn Sweep<T>,
        batch: &Batch<'_, T>,
    ) -> Result<Outcome<T>> {
        if inner.matrices().iter().any(|m| m.slot != Slot::Main) || inner.matrices().len() != 1 {
            let hint = "use an objective over one matrix of queries and candidates".to_string();
            return Err(Error::Unsupported { what: format!("a held positive in {}", inner.name()), hint });
        }
        let mut held = Held { engine, positive: T::of(self.positive) };
        let Outcome { values, backward, updates } = inner.evaluate(&mut held, batch)?;
        let backward: BackwardStep<T> = Box::new(move |weights| {
            let mut derivatives: Backward<T> = backward(weights);
            derivatives.terms.retain(|term: &Term<T>| !matches!(term.statistic.reduce, Reduce::Gather(_)));
            derivatives
        });
        Ok(Outcome { values, backward, updates })
    }
}

macro_rules! over_pairs {
    ($real:ident) => {
        impl Objective<$real> for HeldPositive {
            fn name(&self) -> &'static str {
                self.inner.$real().name()
            }

            fn matrices(&self) -> Vec<MatrixSpec> {
                vec![MatrixSpec::pairs(Scorer::Cosine)]
            }

            fn coupling(&self) -> Coupling {
                self.inner.$real().coupling()
            }

            fn evaluate(&self, engine: &mut dyn Sweep<$real>, batch: &Batch<'_, $real>) -> Result<Outcome<$real>> {
                self.run(self.inner.$real(), engine, batch)
            }
        }
    };
}

over_pairs!(f32);
over_pairs!(f64);

#[cfg(test)]
mod tests {
    use super::*;
    use keener::engine::{Options, Schedule, View, evaluate};
    use keener::objective::parse;

    fn embeddings(rows: usize, dim: usize) -> Vec<f64> {
        (0..rows * dim).map(|k| ((k * k + 3 * k) as f64 * 0.37).sin()).collect()
    }

    fn held(inner: SharedObjective) -> HeldPositive {
        HeldPositive { inner, positive: 0.9 }
    }

    fn all_four() -> [SharedObjective; 4] {
        [
            "contrastive:temperature=0.3",
            "hard_contrastive:temperature=0.3,alpha=0.4",
            "simple_contrastive:lambda=0.2",
            "hard_simple_contrastive:lambda=0.2,alpha=0.4",
        ]
        .map(|spec| parse(spec).unwrap())
    }

    /// The loss of the inner objective over scores that are given, with 0.9 on the diagonal.
    fn given(inner: &SharedObjective, x: &[f64], rows: usize) -> f64 {
        let unit: Vec<Vec<f64>> = x
            .chunks_exact(x.len() / rows)
            .map(|r| {
                let norm = r.iter().map(|x| x * x).sum::<f64>().sqrt();
                r.iter().map(|x| x / norm).collect()
            })
            .collect();
        let score = |i: usize, j: usize| -> f64 {
            if i == j { 0.9 } else { unit[i].iter().zip(&unit[j]).map(|(a, b)| a * b).sum() }
        };
        let scores: Vec<f64> = (0..rows * rows).map(|k| score(k / rows, k % rows)).collect();
        let batch = Batch::scores(View::new(&scores, rows, rows).unwrap());
        evaluate(inner.f64(), &batch, &Options::default()).unwrap().loss
    }

    #[test]
    fn held_positives_equal_given_scores_with_a_constant_diagonal_and_so_do_the_gradients() {
        let (rows, dim) = (11, 4);
        let x = embeddings(rows, dim);
        for inner in all_four() {
            for schedule in [Schedule::Whole, Schedule::Recompute] {
                let options = Options { schedule: Some(schedule), ..Options::default() };
                let batch = Batch::embeddings(View::new(&x, rows, dim).unwrap());
                let found = evaluate::<f64>(&held(inner.clone()), &batch, &options).unwrap();
                assert!((found.loss - given(&inner, &x, rows)).abs() < 1e-13, "{inner:?}");
                for k in 0..x.len() {
                    let at = |h: f64| {
                        let mut x = x.clone();
                        x[k] += h;
                        given(&inner, &x, rows)
                    };
                    let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                    let error = (found.gradients.queries[k] - expected).abs();
                    assert!(error < 1e-8, "{inner:?} at {k}: {} {expected}", found.gradients.queries[k]);
                }
            }
        }
    }

    #[test]
    fn positives_elsewhere_are_refused() {
        let x = embeddings(3, 2);
        let batch = Batch::embeddings(View::new(&x, 3, 2).unwrap()).with_targets(vec![0, 0, 2]);
        let [contrastive, ..] = all_four();
        let outcome = evaluate::<f64>(&held(contrastive), &batch, &Options::default());
        assert!(matches!(outcome, Err(Error::Unsupported { .. })), "{outcome:?}");
    }
}
