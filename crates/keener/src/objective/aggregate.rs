//! Learning from responses that are known as means of bags only.

use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Outcome, Scorer, Statistic, Sweep, Term, View,
};
use crate::error::{Error, Result};
use crate::real::Real;
use crate::segments::{AggregateKind, Bags, aggregate_loss};
use serde::{Deserialize, Serialize};

/// `loss = (1 − ρ) (1/n) Σ_a k_a ℓ(ȳ_a, f̄_a) + ρ (1/n) Σ_a Σ_{i ∈ a} ℓ(ȳ_a, f_i)`, bags `a` of `k_a` rows with response `ȳ_a`.
///
/// Reads scores `[B, N]` or queries and class weights, the bag of each row, and the response of each bag `[M, N]`. With
/// `ℓ = squared` scores are values, with `bce` logits, each column by itself; what several columns give is averaged (the paper
/// has one). Bags must be whole: half of a bag has another mean. Where rows have classes and no bags, each row is a bag of its
/// own whose response is 1 in the column of its class (with one column: the class, 0 or 1), and ρ does not matter.
///
/// ρ = 0 is the bag-level loss, ρ = 1 the instance-level loss; their difference, reported as `regularizer`, is for the squared
/// loss the variance of the predictions within bags. A single row is a bag of one.
///
/// Errors: missing bags, bags without rows or without a response, shares outside `[0, 1]`.
///
/// Reference: Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions (arXiv 2401.11081).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aggregate {
    /// ℓ: `squared` (default, the paper) or `bce`.
    pub kind: AggregateKind,
    /// ρ in `[0, 1]`. Default 0.1: the paper chooses it by validation or from its asymptotics, which put it there for small
    /// noise.
    pub rho: f64,
    /// Allows ρ > 1: a stronger penalty than the instance-level loss. Default false.
    pub extrapolate: bool,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self { kind: AggregateKind::Squared, rho: 0.1, extrapolate: false }
    }
}

impl Configured for Aggregate {
    fn check(&self) -> Result<()> {
        let sound = self.rho.is_finite() && self.rho >= 0.0 && (self.rho <= 1.0 || self.extrapolate);
        let expected =
            if self.extrapolate { "a finite number ≥ 0" } else { "a number in [0, 1], or extrapolate=true" };
        if sound { Ok(()) } else { Err(Error::parameter("rho", self.rho, expected)) }
    }
}

const NAME: &str = "aggregate";

/// The bags of a batch and their responses `[M, N]`.
fn bags_of<T: Real>(batch: &Batch<'_, T>, rows: usize, columns: usize) -> Result<(Bags, Vec<T>)> {
    match (&batch.bags, batch.bag_responses) {
        (Some(ids), Some(responses)) => {
            let bags = Bags::new(ids, responses.rows())?;
            if responses.cols() != columns {
                let found = [responses.rows(), responses.cols()];
                return Err(Error::shape("responses of bags", &found, format!("[M, {columns}], a number a column")));
            }
            Ok((bags, responses.data().to_vec()))
        }
        (None, None) if batch.targets.is_some() => {
            let labels = batch.labels_for(NAME)?;
            let mut responses = vec![T::zero(); rows * columns];
            for (row, label) in labels.iter().enumerate() {
                match columns {
                    1 => responses[row] = T::of(f64::from(*label)),
                    _ => responses[row * columns + *label as usize] = T::one(),
                }
            }
            Ok((Bags::singletons(rows), responses))
        }
        (Some(_), None) => Err(missing("the response of each bag")),
        (None, _) => Err(missing("the bag of each row and the response of each bag (or the class of each row)")),
    }
}

fn missing(what: &str) -> Error {
    Error::MissingInput { objective: NAME.into(), missing: what.into() }
}

impl<T: Real> Objective<T> for Aggregate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn label_count(&self, columns: usize) -> usize {
        if columns == 1 { 2 } else { columns }
    }

    /// The mean over rows is taken within.
    fn normalizer(&self, _: &Batch<'_, T>) -> Result<f64> {
        Ok(1.0)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let (rows, columns) = engine.shape(0);
        let (bags, responses) = bags_of(batch, rows, columns)?;
        let wanted = Statistic::entries(Argument::of(0));
        let stat = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
        let responses = View::new(&responses, bags.len(), columns)?;
        let found = aggregate_loss(self.kind, self.rho, &stat.values, &bags, responses)?;
        engine.report("bag_loss", vec![T::of(found.bag_loss)]);
        engine.report("instance_loss", vec![T::of(found.instance_loss)]);
        engine.report("regularizer", vec![T::of(found.regularizer)]);
        let gradient = found.gradient;
        Ok(Outcome::new(vec![T::of(found.loss)], move |upstream| {
            let weight = gradient.iter().map(|g| *g * upstream[0]).collect();
            Backward::terms(vec![Term::new(wanted.clone(), stat.clone(), weight)])
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    aliases: &["aggregate_responses", "label_proportions"],
    family: Family::Classification,
    reads: Reads::Bags,
    summary: "Predictions for rows from responses that are known as means of bags only; interpolates bag-level and instance-level loss.",
    formula: "loss = (1 − ρ) (1/n) Σ_a k_a ℓ(ȳ_a, mean of f over a) + ρ (1/n) Σ_a Σ_{i∈a} ℓ(ȳ_a, f_i)",
    parameters: &[
        ParameterDoc::new(
            "kind",
            "ℓ: squared (default, the paper) for numbers, bce for shares in [0, 1] with scores as logits",
        ),
        ParameterDoc::main(
            "rho",
            "ρ in [0, 1]: 0 bag-level, 1 instance-level; 0.1 by default; `keener theory aggregate` computes the best for a setting",
            &[0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0],
        ),
        ParameterDoc::new("extrapolate", "allows ρ > 1; false by default"),
    ],
    paper: Paper {
        title: "Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions",
        id: "2401.11081",
    },
    when: "Privacy, cost or law gives responses by group only (conversion rates, precinct results, batches of a laboratory) and \
           predictions are wanted for single rows. Small ρ for small bags and little noise, large ρ for large bags and much.",
    when_not: "Labels of single rows exist (softmax cross-entropy); one label marks a bag because *some* row has it (multiple-instance \
               learning); batches that cut bags apart.",
    pytorch: "(lambda f, loss, k: (1 - {rho}) * (k * loss(torch.zeros_like(Y).index_add(0, bag, f) / k, Y)).mean(1).sum() / len(f) \
              + {rho} * loss(f, Y[bag]).mean())(*((x @ W.T, lambda u, v: (u - v)**2) if '{kind}' == 'squared' \
              else (torch.sigmoid(x @ W.T), lambda u, v: F.binary_cross_entropy(u, v, reduction='none'))), \
              torch.bincount(bag)[:, None])",
    build: build_from::<Aggregate>,
    defaults: defaults_of::<Aggregate>,
};

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{Case, check_all, check_gradients, check_sizes};
    use super::*;
    use crate::engine::{Evaluation, Options, evaluate};

    #[test]
    fn gradients_and_schedules() {
        check_all("aggregate:rho=0.3", Reads::Bags);
        check_all("aggregate:rho=0,kind=bce", Reads::Bags);
        check_sizes("aggregate:rho=1,kind=bce", Reads::Bags);
        check_all("aggregate:rho=1.5,extrapolate=true,kind=bce", Reads::ClassHead);
        let mut case = Case::random(Reads::Bags, 10, 1, 3, 5);
        case.bias = Some(vec![0.4]);
        check_gradients(&Aggregate { kind: AggregateKind::Bce, rho: 0.6, extrapolate: false }, &case, 1e-7);
    }

    fn run(loss: &Aggregate, batch: &Batch<'_, f64>) -> Result<Evaluation<f64>> {
        evaluate(loss, batch, &Options::default())
    }

    #[test]
    fn the_loss_is_linear_in_rho_and_says_its_parts() {
        let (f, y) = ([0.3, 2.0, -1.0, 0.4], [0.2, 0.9]);
        let batch =
            Batch::scores(View::new(&f, 4, 1).unwrap()).with_bags(vec![0, 1, 1, 0], View::new(&y, 2, 1).unwrap());
        for kind in [AggregateKind::Squared, AggregateKind::Bce] {
            let at = |rho| run(&Aggregate { kind, rho, extrapolate: false }, &batch).unwrap();
            let (zero, half, one) = (at(0.0), at(0.5), at(1.0));
            assert!((half.loss - (zero.loss + one.loss) / 2.0).abs() < 1e-15 && one.loss > zero.loss);
            let part = |name: &str| half.report.iter().find(|(n, _)| *n == name).unwrap().1[0];
            assert!((part("bag_loss") - zero.loss).abs() < 1e-15 && (part("instance_loss") - one.loss).abs() < 1e-15);
            assert!((part("regularizer") - (one.loss - zero.loss)).abs() < 1e-15);
        }
    }

    #[test]
    fn classes_are_bags_of_one() {
        let scores = [0.3, -0.2, 1.0, 0.5, 0.1, -0.7];
        let by_class = Batch::scores(View::new(&scores, 2, 3).unwrap()).with_targets(vec![2, 0]);
        let loss = Aggregate { kind: AggregateKind::Bce, ..Aggregate::default() };
        let one_vs_rest = parse("bce").unwrap();
        let expected = evaluate(one_vs_rest.f64(), &by_class, &Options::default()).unwrap();
        assert!((run(&loss, &by_class).unwrap().loss - expected.loss).abs() < 1e-15);
        let binary = Batch::scores(View::new(&scores, 6, 1).unwrap()).with_targets(vec![0, 1, 1, 0, 0, 1]);
        let expected: f64 = scores.iter().zip([0.0, 1.0, 1.0, 0.0, 0.0, 1.0]).map(|(s, y)| (s - y).powi(2) / 6.0).sum();
        assert!((run(&Aggregate::default(), &binary).unwrap().loss - expected).abs() < 1e-15);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("aggregate:rho=1.2").contains("extrapolate=true"));
        assert!(message("aggregate:rho=-0.1,extrapolate=true").contains("rho = -0.1"));
        assert!(message("aggregate:kind=cubic").contains("cubic"));
        let (f, y) = ([0.0; 4], [0.5, 0.5]);
        let scores = Batch::scores(View::new(&f, 4, 1).unwrap());
        let wrong = |batch: &Batch<'_, f64>| run(&Aggregate::default(), batch).unwrap_err().to_string();
        assert!(wrong(&scores).contains("the bag of each row"));
        let with = |ids: Vec<u32>, y, m, w| scores.clone().with_bags(ids, View::new(y, m, w).unwrap());
        assert!(wrong(&with(vec![0, 0, 2, 1], &y, 2, 1)).contains("bag of row 2 = 2"));
        assert!(wrong(&with(vec![0; 4], &y, 2, 1)).contains("no row is in it"));
        assert!(wrong(&with(vec![0, 1], &y, 2, 1)).contains("bags has shape [2]"));
        assert!(wrong(&with(vec![0; 4], &y, 1, 2)).contains("[M, 1]"));
        assert!(wrong(&with(vec![0; 4], &[f64::NAN], 1, 1)).contains("responses of bags holds NaN"));
    }
}
