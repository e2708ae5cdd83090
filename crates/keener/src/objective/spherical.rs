//! The spherical family over scores: the Z-loss, and the Taylor and spherical softmaxes.
//!
//! [`crate::spherical`] trains the same losses with an output layer that never computes the scores.

use super::common::{one_column, spread, to_entries};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use crate::spherical::{Slopes, Spherical};
use serde::{Deserialize, Serialize};

/// `loss_i = (1/a) softplus(a (b − z_i))`, `z_i = (s_iy − μ_i)/(σ_i + ε)`, μ and σ over all N scores of the row (σ divides by N);
/// mean over rows that have a class.
///
/// The score is standardised within its row, so the loss is unchanged by `s → α s + β` (α > 0), as ranking is. `b` is the
/// standardised score that is asked for: `|z| ≤ √(N − 1)`, and a larger b weighs the first place more, a smaller one the first many.
///
/// Reads scores `[B, N]` or queries `[B, d]` and class weights `[N, d]` (with a bias `[N]` if there is one), and the class of each
/// row. Rows without a class are ignored. A row without spread has z = 0, loss `softplus(a b)/a`, and by definition no gradient.
/// With two classes z is ±1 and the gradient vanishes: take another loss. Mean and spread are computed about the row's own mean, so
/// that scores far from zero lose no digits. Reports `mean`, `std` and `z_target` of each row.
///
/// Not the penalty on the squared log-partition function that goes by the same name in PaLM. For many classes,
/// [`crate::spherical::FactoredOutput`] makes exact SGD steps on the class weights in time independent of N.
///
/// # Errors
/// Beside wrong or missing input, fewer than two classes.
///
/// Reference: The Z-loss: a shift and scale invariant classification loss belonging to the Spherical Family (arXiv 1604.08859).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZLoss {
    /// Sharpness a > 0. Default 1 (the reference's script).
    pub a: f64,
    /// Location b. Default 0 (the reference's script); for accuracy values of 4 to 12 do better.
    pub b: f64,
    /// ε ≥ 0, added to σ. Default 1e-12 (the reference's script).
    pub eps: f64,
}

impl Default for ZLoss {
    fn default() -> Self {
        Self { a: 1.0, b: 0.0, eps: 1e-12 }
    }
}

/// `loss_i = −ln[(1 + s_iy + s_iy²/2) / Σ_j (1 + s_ij + s_ij²/2)]`; mean over rows that have a class.
///
/// The softmax with the exponential's Taylor series of second order. Inputs as for [`ZLoss`]. A score of −1 is the least probable.
///
/// Reference: An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family (arXiv 1511.05042).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaylorSoftmax {}

/// `loss_i = −ln[(s_iy² + ε) / Σ_j (s_ij² + ε)]`; mean over rows that have a class.
///
/// Inputs as for [`ZLoss`]. Large scores of either sign are probable; unchanged by scaling where ε is negligible.
///
/// Reference: An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family (arXiv 1511.05042).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SphericalSoftmax {
    /// ε > 0. Default 1e-3 (ours).
    pub eps: f64,
}

impl Default for SphericalSoftmax {
    fn default() -> Self {
        Self { eps: 1e-3 }
    }
}

/// A configuration that is a loss of the family.
trait Member {
    const NAME: &'static str;
    fn loss(&self) -> Spherical;
}

impl Member for ZLoss {
    const NAME: &'static str = "z_loss";
    fn loss(&self) -> Spherical {
        Spherical::Z { a: self.a, b: self.b, eps: self.eps }
    }
}

impl Member for TaylorSoftmax {
    const NAME: &'static str = "taylor_softmax";
    fn loss(&self) -> Spherical {
        Spherical::TaylorSoftmax
    }
}

impl Member for SphericalSoftmax {
    const NAME: &'static str = "spherical_softmax";
    fn loss(&self) -> Spherical {
        Spherical::SphericalSoftmax { eps: self.eps }
    }
}

macro_rules! member {
    ($config:ty) => {
        impl Configured for $config {
            fn check(&self) -> Result<()> {
                self.loss().check()
            }
        }

        impl<T: Real> Objective<T> for $config {
            fn name(&self) -> &'static str {
                Self::NAME
            }

            fn matrices(&self) -> Vec<MatrixSpec> {
                vec![MatrixSpec::main(Scorer::Inner)]
            }

            fn coupling(&self) -> Coupling {
                Coupling::RowByRow
            }

            fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
                Ok(batch.targets_for(Self::NAME)?.iter().filter(|t| **t != NONE).count() as f64)
            }

            fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
                plan(&self.loss(), engine, batch.targets_for(Self::NAME)?)
            }
        }
    };
}

member!(ZLoss);
member!(TaylorSoftmax);
member!(SphericalSoftmax);

/// Target and moments in one sweep, slopes in the host step.
fn plan<T: Real>(loss: &Spherical, engine: &mut dyn Sweep<T>, targets: &[u32]) -> Result<Outcome<T>> {
    let classes = engine.shape(0).1;
    Spherical::check_classes(classes)?;
    let lists = one_column(targets);
    let wanted = [Statistic::gather(Argument::of(0), lists.clone()), Statistic::moments(Argument::of(0), Set::all())];
    let stats = engine.sweep(&wanted)?;
    let moments = &stats[1];
    let target = spread(&stats[0], &lists, T::zero());
    let slopes: Vec<Slopes> = (0..targets.len())
        .map(|row| match targets[row] {
            NONE => Slopes::default(),
            _ => {
                let (mean, variance) = (moments.values[row].f64(), moments.expectation[row].f64());
                loss.of_moments(target[row].f64(), mean, variance, classes)
            }
        })
        .collect();
    if let Spherical::Z { eps, .. } = loss {
        let std: Vec<T> = moments.expectation.iter().map(|v| v.sqrt()).collect();
        let z = |(row, std): (usize, &T)| match *std == T::zero() || targets[row] == NONE {
            true => T::zero(),
            false => (target[row] - moments.values[row]) / (*std + T::of(*eps)),
        };
        engine.report("z_target", std.iter().enumerate().map(z).collect());
        engine.report("std", std);
        engine.report("mean", moments.values.clone());
    }
    let values = slopes.iter().map(|s| T::of(s.value)).collect();
    Ok(Outcome::new(values, move |upstream| {
        let weighted = |of: fn(&Slopes) -> f64| -> Vec<T> {
            upstream.iter().zip(&slopes).map(|(u, s)| *u * T::of(of(s))).collect()
        };
        let [gather, moments] = wanted.clone();
        let target = to_entries(&weighted(|s| s.target), &lists);
        let mut through = Term::new(moments, stats[1].clone(), weighted(|s| s.mean));
        through.expectation_weight = weighted(|s| s.variance);
        Backward::terms(vec![through, Term::new(gather, stats[0].clone(), target)])
    }))
}

const EXPLORATION: Paper =
    Paper { title: "An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family", id: "1511.05042" };

pub(crate) const Z_LOSS: Entry = Entry {
    name: "z_loss",
    aliases: &["zloss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Softplus of the target's score standardised within its row: unchanged by shift and scale, made for very many classes.",
    formula: "loss_i = (1/a) softplus(a (b − z_i)),   z_i = (s_iy − mean_j s_ij) / (std_j s_ij + ε)",
    parameters: &[
        ParameterDoc::new(
            "a",
            "a > 0, sharpness: large for a hinge, small for a linear loss; 1 by default (the reference's script)",
        ),
        ParameterDoc::main(
            "b",
            "the standardised score asked for: larger for the first place, smaller for the first many; 0 by default (the reference's script)",
            &[1.0, 2.0, 4.0, 8.0],
        ),
        ParameterDoc::new("eps", "ε ≥ 0, added to the standard deviation; 1e-12 by default (the reference's script)"),
    ],
    paper: Paper {
        title: "The Z-loss: a shift and scale invariant classification loss belonging to the Spherical Family",
        id: "1604.08859",
    },
    when: "Tens of thousands of classes and more: with the factored layer (`keener::spherical::FactoredOutput`) a step costs the same for 10³ \
           and for 10⁶ classes. Where the target need only be among the first many (retrieval, language models).",
    when_not: "Two classes, where its gradient vanishes; where the first place alone counts or probabilities are wanted (softmax \
               cross-entropy is better there); not the z-loss of PaLM, which penalises the log-partition function.",
    pytorch: "(lambda s: (F.softplus({a} * ({b} - (s.gather(1, y[:, None])[:, 0] - s.mean(1)) / (s.std(1, correction=0) + {eps}))) / {a}).mean())(x @ W.T + b)",
    build: build_from::<ZLoss>,
    defaults: defaults_of::<ZLoss>,
};

pub(crate) const TAYLOR: Entry = Entry {
    name: "taylor_softmax",
    aliases: &["taylor"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Cross-entropy over a softmax of second order, 1 + s + s²/2 for the exponential.",
    formula: "loss_i = ln Σ_j (1 + s_ij + s_ij²/2) − ln(1 + s_iy + s_iy²/2)",
    parameters: &[],
    paper: EXPLORATION,
    when: "A probability model that a factored head can train exactly; few classes, where it can do as well as the softmax.",
    when_not: "Many classes: probabilities fall off too slowly (z_loss, or softmax cross-entropy).",
    pytorch: "(lambda t: (t.sum(1).log() - t.gather(1, y[:, None])[:, 0].log()).mean())((lambda s: 1 + s + s * s / 2)(x @ W.T + b))",
    build: build_from::<TaylorSoftmax>,
    defaults: defaults_of::<TaylorSoftmax>,
};

pub(crate) const SPHERICAL_SOFTMAX: Entry = Entry {
    name: "spherical_softmax",
    aliases: &["spherical"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Cross-entropy over squared scores, s² + ε for the exponential.",
    formula: "loss_i = ln Σ_j (s_ij² + ε) − ln(s_iy² + ε)",
    parameters: &[ParameterDoc::main(
        "eps",
        "ε > 0, probability of a score of zero; 1e-3 by default (ours)",
        &[1e-4, 1e-3, 1e-2, 0.1],
    )],
    paper: EXPLORATION,
    when: "A scale-free probability model that a factored head can train exactly.",
    when_not: "Where the sign of a score should matter; many classes (z_loss, or softmax cross-entropy).",
    pytorch: "(lambda t: (t.sum(1).log() - t.gather(1, y[:, None])[:, 0].log()).mean())((x @ W.T + b) ** 2 + {eps})",
    build: build_from::<SphericalSoftmax>,
    defaults: defaults_of::<SphericalSoftmax>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all, check_gradients};
    use super::*;
    use crate::engine::{Evaluation, Options, View, evaluate};

    fn run<T: Real>(config: &ZLoss, scores: &[T], columns: usize, targets: Vec<u32>) -> Evaluation<T> {
        let batch = Batch::scores(View::new(scores, targets.len(), columns).unwrap()).with_targets(targets);
        evaluate(config, &batch, &Options::default()).unwrap()
    }

    #[test]
    fn gradients_and_schedules() {
        check_all("z_loss", Reads::ClassHead);
        check_all("z_loss:a=3,b=2,eps=0.1", Reads::ClassHead);
        check_all("taylor_softmax", Reads::ClassHead);
        check_all("spherical_softmax:eps=0.2", Reads::ClassHead);
        let mut case = Case::random(Reads::ClassHead, 6, 4, 3, 12);
        case.bias = Some(vec![0.3, -0.2, 0.1, 0.5]);
        case.targets.as_mut().unwrap()[2] = NONE;
        check_gradients(&ZLoss { a: 0.5, b: 1.0, eps: 0.0 }, &case, 1e-6);
        check_gradients(&TaylorSoftmax {}, &case, 1e-6);
    }

    #[test]
    fn shift_and_scale_change_nothing_and_the_gradient_is_orthogonal_to_both() {
        let config = ZLoss { a: 2.0, b: 1.0, eps: 0.0 };
        let scores: Vec<f64> = (0..14).map(|k| (f64::from(k) * 1.7).sin()).collect();
        let moved: Vec<f64> = scores.iter().map(|s| 300.0 * s - 7.0).collect();
        let (a, b) = (run(&config, &scores, 7, vec![2, 6]), run(&config, &moved, 7, vec![2, 6]));
        assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-12));
        for (row, g) in scores.chunks(7).zip(a.gradients.scores.chunks(7)) {
            assert!(g.iter().sum::<f64>().abs() < 1e-15);
            assert!(row.iter().zip(g).map(|(s, g)| s * g).sum::<f64>().abs() < 1e-15);
        }
    }

    #[test]
    fn scores_far_from_zero_keep_their_digits() {
        // Spread 1e-6 about 2, where S₂/D − μ² has lost nearly everything.
        let near: Vec<f64> = (0..600).map(|k| (f64::from(k) * 0.77).sin()).collect();
        let far: Vec<f64> = near.iter().map(|s| 2.0 + 1e-6 * s).collect();
        let config = ZLoss { a: 1.0, b: 2.0, eps: 0.0 };
        let (a, b) = (run(&config, &near, 600, vec![17]), run(&config, &far, 600, vec![17]));
        assert!((a.loss - b.loss).abs() < 1e-9, "{} {}", a.loss, b.loss);
        let worst =
            a.gradients.scores.iter().zip(&b.gradients.scores).map(|(a, b)| (a - 1e-6 * b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-10, "{worst}");
    }

    #[test]
    fn rows_without_spread_have_no_gradient_in_either_precision() {
        fn check<T: Real>() {
            let scores = vec![T::of(0.1); 1200];
            let found = run(&ZLoss { a: 1.0, b: 1.0, eps: 0.0 }, &scores, 1200, vec![3]);
            assert!((found.loss.f64() - 1.313_261_687_518_222_8).abs() < 1e-6);
            assert!(found.gradients.scores.iter().all(|g| *g == T::zero()));
            assert!(found.report.iter().any(|(name, std)| *name == "std" && std[0] == T::zero()));
        }
        check::<f32>();
        check::<f64>();
    }

    #[test]
    fn bad_input_is_named() {
        let message = |spec: &str| crate::objective::parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("z_loss:a=0").contains("a = 0"));
        assert!(message("z_loss:eps=-1").contains("eps = -1"));
        assert!(message("spherical_softmax:eps=0").contains("eps = 0"));
        let batch = Batch::scores(View::new(&[1.0f64], 1, 1).unwrap()).with_targets(vec![0]);
        let error = evaluate(&ZLoss::default(), &batch, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("classes = 1"), "{error}");
    }
}
