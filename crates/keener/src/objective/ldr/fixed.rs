//! LDR-KL: one temperature for all samples.

use super::super::common::{times, within};
use super::super::registry::Configured;
use super::at::At;
use super::normalization::{Normalization, Normalized};
use super::{count, targets_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = max_p Σ_k p_k a_k − λ Σ_k p_k ln(K p_k) = λ ln((1/K) Σ_k exp(a_k/λ))`, p over the simplex, with
/// `a_k = f_k − f_y + c [k≠y]` and `f` the normalised scores of the K classes.
///
/// `λ = 0` is the hinge of Crammer and Singer, `max_k a_k` (ties share the slope); `λ = ∞` the mean of `a`; `λ = 1` with `c = 0` and no
/// normalisation cross-entropy minus `ln K`. Inputs as for cross-entropy, with at least two classes; rows without a class are
/// ignored. Losses may be negative.
///
/// Reference: Label Distributionally Robust Losses for Multi-class Classification (arXiv 2112.14869).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdrKl {
    /// λ ≥ 0, or `"inf"`. Default 10 (the released script).
    #[serde(with = "number_or_infinity")]
    pub lambda: f64,
    /// c ≥ 0. Default 0.1 (the experiments).
    pub margin: f64,
    /// Default [`Normalization::SoftplusMean`] (the reference).
    pub normalize: Normalization,
}

impl Default for LdrKl {
    fn default() -> Self {
        Self { lambda: 10.0, margin: 0.1, normalize: Normalization::SoftplusMean }
    }
}

impl Configured for LdrKl {
    fn check(&self) -> Result<()> {
        if self.lambda.is_nan() || self.lambda < 0.0 {
            return Err(Error::parameter("lambda", self.lambda, "a number ≥ 0, or inf"));
        }
        within("margin", self.margin, 0.0, f64::INFINITY)
    }
}

impl<T: Real> Objective<T> for LdrKl {
    fn name(&self) -> &'static str {
        "ldr_kl"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(count(batch.targets_for("ldr_kl")?))
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = targets_of("ldr_kl", engine, batch)?;
        let f = Normalized::sweep(engine, self.normalize, targets)?;
        let margin = T::of(self.margin);
        if self.lambda == 0.0 {
            return hinge(engine, f, targets, margin);
        }
        let lambda = T::of(self.lambda);
        if lambda == T::infinity() {
            return mean(engine, f, targets, margin);
        }
        let divides = f.divides();
        Ok(At::sweep(engine, &f, targets, vec![lambda; targets.len()], margin, divides)?.outcome(f))
    }
}

/// `max_k a_k` over all columns, the target's `a_y = 0` among them.
fn hinge<T: Real>(engine: &mut dyn Sweep<T>, f: Normalized<T>, targets: &[u32], margin: T) -> Result<Outcome<T>> {
    // Every normalisation keeps the order of a row, so the largest raw score is the largest of all.
    let others = Set::others(targets.into());
    let top = engine.sweep(&[Statistic::max(Argument::of(0), others.clone())])?.remove(0);
    let tied = others.at_least(top.values.clone());
    let wanted = [Statistic::count(0, tied.clone()), Statistic::sum(Map::Identity, Argument::of(0), tied)];
    let stats = engine.sweep(&wanted)?;
    let (mut values, mut slope, mut pull, mut mass) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..targets.len() {
        let (highest, through) = f.seen(row, top.values[row]);
        let excess = highest - f.target[row] + margin;
        let count = stats[0].values[row];
        let share = match excess {
            _ if targets[row] == NONE => T::zero(),
            e if e > T::zero() => count.recip(),
            e if e == T::zero() => (count + T::one()).recip(),
            _ => T::zero(),
        };
        values.push(if share > T::zero() { excess } else { T::zero() });
        slope.push(share * through);
        pull.push(share * count);
        mass.push(share * count * (highest - f.target[row]));
    }
    let [_, sum] = wanted;
    let stat = stats[1].clone();
    Ok(Outcome::new(values, move |upstream| {
        let mut terms = f.terms(&times(upstream, &pull), &times(upstream, &mass));
        terms.push(Term::new(sum.clone(), stat.clone(), times(upstream, &slope)));
        Backward::terms(terms)
    }))
}

/// The mean of `a` over all columns.
fn mean<T: Real>(engine: &mut dyn Sweep<T>, f: Normalized<T>, targets: &[u32], margin: T) -> Result<Outcome<T>> {
    let k = T::of(engine.shape(0).1 as f64);
    let wanted = Statistic::sum(Map::Identity, f.argument(&vec![T::one(); targets.len()]), Set::all());
    let stat = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
    let counted: Vec<T> = targets.iter().map(|t| if *t == NONE { T::zero() } else { T::one() }).collect();
    let mass: Vec<T> = (0..targets.len()).map(|i| counted[i] * (stat.values[i] / k - f.target[i])).collect();
    let values = mass.iter().zip(&counted).map(|(m, c)| *m + *c * margin * (k - T::one()) / k).collect();
    Ok(Outcome::new(values, move |upstream| {
        let upstream = times(upstream, &counted);
        let mut terms = f.terms(&upstream, &times(&upstream, &mass));
        terms.push(Term::new(wanted.clone(), stat.clone(), upstream.iter().map(|u| *u / k).collect()));
        Backward::terms(terms)
    }))
}

/// A number, or the word `inf`.
mod number_or_infinity {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Word(String),
    }

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if *value == f64::INFINITY { to.serialize_str("inf") } else { to.serialize_f64(*value) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(number) => Ok(number),
            Written::Word(word) if word == "inf" => Ok(f64::INFINITY),
            Written::Word(word) => Err(D::Error::custom(format!("`{word}` is neither a number nor inf"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::{Options, View, evaluate};
    use crate::objective::{Reads, SoftmaxCrossEntropy, parse};

    #[test]
    fn gradients_and_schedules() {
        for normalize in ["none", "softplus_mean", "l1"] {
            for lambda in ["0", "0.3", "10", "inf"] {
                check_all(&format!("ldr_kl:lambda={lambda},margin=0.2,normalize={normalize}"), Reads::ClassHead);
            }
        }
    }

    #[test]
    fn its_limits_are_the_losses_they_are_named_after() {
        let case = Case::random(Reads::ClassHead, 9, 5, 3, 2);
        let run = |lambda, margin| {
            let loss = LdrKl { lambda, margin, normalize: Normalization::None };
            case.run::<f64>(&loss, &Options::default()).values
        };
        let ce = case.run::<f64>(&SoftmaxCrossEntropy::default(), &Options::default()).values;
        for row in 0..9 {
            assert!((run(1.0, 0.0)[row] - (ce[row] - 5f64.ln())).abs() < 1e-14);
            assert!((run(1e-6, 0.5)[row] - run(0.0, 0.5)[row]).abs() < 1e-5);
            // l(λ) = mean + var/(2λ) + …
            let (far, further) = (run(1e7, 0.5)[row], run(f64::INFINITY, 0.5)[row]);
            assert!((far - further).abs() < 1e-6 && far > further);
            assert!(run(0.5, 0.5)[row] > run(5.0, 0.5)[row], "the loss falls in λ");
        }
    }

    #[test]
    fn large_temperatures_keep_their_digits_in_single_precision() {
        let scores = [0.3f32, -0.1, 0.2, 0.4];
        let exact: f64 = [0.0, -0.4, -0.1, 0.1].iter().sum::<f64>() / 4.0;
        let loss = parse("ldr_kl:lambda=1e6,margin=0,normalize=none").unwrap();
        let batch = Batch::scores(View::new(&scores, 1, 4).unwrap()).with_targets(vec![0]);
        let found = evaluate(loss.f32(), &batch, &Options::default()).unwrap();
        assert!((f64::from(found.loss) - exact).abs() < 1e-6, "{} {exact}", found.loss);
    }

    #[test]
    fn the_mean_of_normalised_scores_is_symmetric_in_the_label() {
        let case = Case::random(Reads::ClassHead, 1, 4, 3, 5);
        let loss = LdrKl { lambda: f64::INFINITY, margin: 0.3, normalize: Normalization::SoftplusMean };
        let over_labels = |case: &Case| -> f64 {
            (0..4)
                .map(|y| {
                    let case = Case { targets: Some(vec![y]), ..case.clone() };
                    case.run::<f64>(&loss, &Options::default()).loss
                })
                .sum()
        };
        let other = Case::random(Reads::ClassHead, 1, 4, 3, 6);
        assert!((over_labels(&case) - over_labels(&other)).abs() < 1e-12);
    }

    #[test]
    fn bad_parameters_and_single_classes_are_refused() {
        for spec in ["ldr:lambda=-1", "ldr:margin=-0.1", "ldr:lambda=often", "ldr:normalize=l2"] {
            assert!(parse(spec).is_err(), "{spec}");
        }
        let scores = [1.0f64, 2.0];
        let batch = Batch::scores(View::new(&scores, 2, 1).unwrap()).with_targets(vec![0, 0]);
        let error = evaluate(&LdrKl::default(), &batch, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Undefined { .. }), "{error}");
    }
}
