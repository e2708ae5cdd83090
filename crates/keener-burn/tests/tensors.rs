//! The path for devices whose memory is elsewhere equals the path over slices: every objective of the registry, and one
//! that uses the whole vocabulary.

use burn::tensor::{Device, Tensor, TensorData};
use keener::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, Objective, Outcome, PerLine, RowRule, Scorer, Set, Shaping,
    Slot, Sparse, Statistic, Sweep, Term,
};
use keener::objective::{Reads, SharedObjective, registry};
use keener::real::Real;
use keener_burn::{Inputs, ObjectiveLoss, Supervision, TileSize};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

const B: usize = 7;
const N: usize = 9;
const D: usize = 5;
const TILES: TileSize = TileSize { rows: 3, cols: 4 };

fn device() -> Device {
    Device::flex().autodiff()
}

fn random(rows: usize, cols: usize, seed: u64) -> Tensor<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..rows * cols).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, [rows, cols]), &device()).require_grad()
}

fn vector(length: usize, seed: u64) -> Tensor<1> {
    random(1, length, seed).flatten::<1>(0, 1).detach().require_grad()
}

fn targets() -> Vec<u32> {
    vec![0, 3, 2, 8, 3, 1, 0]
}

/// Leaves of a case, in a fixed order.
#[derive(Default)]
struct Case {
    name: String,
    matrices: Vec<(&'static str, Tensor<2>)>,
    bias: Option<Tensor<1>>,
    parameters: Option<Tensor<1>>,
}

impl Case {
    fn inputs(&self) -> Inputs {
        let find = |what: &str| self.matrices.iter().find(|(n, _)| *n == what).map(|(_, t)| t.clone());
        let mut inputs = match (find("queries"), find("scores")) {
            (Some(q), _) => Inputs::embeddings(q),
            (_, Some(s)) => Inputs::scores(s),
            _ => Inputs::default(),
        };
        if let Some(c) = find("candidates") {
            inputs = inputs.with_candidates(c);
        }
        if let Some(s) = find("second") {
            inputs = inputs.with_second(s);
        }
        if let Some(s) = find("second scores") {
            inputs = inputs.with_second_scores(s);
        }
        if let Some(b) = &self.bias {
            inputs = inputs.with_bias(b.clone());
        }
        if let Some(p) = &self.parameters {
            inputs = inputs.with_parameters(p.clone());
        }
        inputs
    }

    /// Value and gradients by name, scaled from above.
    fn run(&self, loss: &ObjectiveLoss, supervision: &Supervision<'_>) -> (f32, Vec<(String, Vec<f32>)>) {
        let found = loss.reduced(&self.inputs(), supervision).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        if !found.loss.is_tracked() {
            return (found.value, Vec::new());
        }
        let g = (found.loss * 1.5).backward();
        let mut all = Vec::new();
        let mut push = |name: &str, values: Option<TensorData>| {
            if let Some(values) = values {
                all.push((name.to_string(), values.try_into_vec::<f32>().unwrap()));
            }
        };
        for (name, t) in &self.matrices {
            push(name, t.grad(&g).map(|t| t.into_data()));
        }
        push("bias", self.bias.as_ref().and_then(|t| t.grad(&g)).map(|t| t.into_data()));
        push("parameters", self.parameters.as_ref().and_then(|t| t.grad(&g)).map(|t| t.into_data()));
        (found.value, all)
    }

    fn agrees(&self, objective: SharedObjective, supervision: &Supervision<'_>) {
        let loss = ObjectiveLoss::new(objective);
        let slices = self.run(&loss, supervision);
        for size in [TILES, TileSize::default()] {
            let tiles = self.run(&loss.clone().with_tiles(size), supervision);
            let name = &self.name;
            let error = (tiles.0 - slices.0).abs();
            assert!(error <= 1e-5 * slices.0.abs().max(1.0), "{name}: {} {}", tiles.0, slices.0);
            assert!(!slices.1.is_empty(), "{name} has no gradient at all");
            for (what, expected) in &slices.1 {
                let zeros = vec![0.0; expected.len()];
                let found = tiles.1.iter().find(|(n, _)| n == what).map_or(&zeros, |(_, v)| v);
                let scale = expected.iter().fold(1e-4f32, |m, v| m.max(v.abs()));
                for (k, (a, b)) in found.iter().zip(expected).enumerate() {
                    assert!((a - b).abs() <= 1e-5 * scale.max(0.1), "{name}: {what} at {k}: {a} {b} (largest {scale})");
                }
            }
        }
    }
}

#[test]
fn every_objective_of_the_registry() {
    for entry in registry() {
        let objective = (entry.build)((entry.defaults)()).unwrap();
        let learned: Vec<f32> = objective.f32().parameters().iter().map(|p| p.initial as f32 * 0.9 + 0.05).collect();
        let parameters =
            (!learned.is_empty()).then(|| Tensor::<1>::from_floats(learned.as_slice(), &device()).require_grad());
        let ids: Vec<u32> = (0..B as u32).collect();
        let classes = Supervision::classes(targets()).with_samples(ids, Box::leak(Box::default()));
        let embeddings = || vec![("queries", random(B, D, 1)), ("candidates", random(N, D, 2))];
        let mut cases: Vec<(Vec<(&'static str, Tensor<2>)>, Supervision<'static>)> = Vec::new();
        match entry.reads {
            Reads::ClassHead => cases.push((embeddings(), classes.clone())),
            Reads::MultiLabel => {
                let positives =
                    Sparse::from_rows([vec![0, 3], vec![], vec![8], vec![1, 2, 7], vec![4], vec![5], vec![0]]);
                let supervision = classes.clone().with_positives(positives);
                cases.push((embeddings(), supervision.clone()));
                cases.push((vec![("scores", random(B, N, 3))], supervision));
            }
            Reads::LabelledEmbeddings => {
                let twice = Supervision::classes(vec![0, 1, 0, 1, 2, 2]);
                cases.push((vec![("queries", random(B - 1, D, 1))], twice));
                // As published, NT-Xent takes two rows of each label and no other number.
                if entry.name != "nt_xent" {
                    let labels = Supervision::classes(vec![0, 1, 0, 1, 2, 3, 0]);
                    cases.push((vec![("queries", random(B, D, 1))], labels));
                }
            }
            Reads::PairedViews => {
                let views = || vec![("queries", random(B, D, 1)), ("candidates", random(B, D, 2))];
                cases.push((views(), Supervision::none()));
                let ids = vec![0, 1, 0, 3, 4, 5, 6];
                cases.push((views(), Supervision::none().with_ids(ids.clone(), ids)));
            }
            Reads::BinaryHead => {
                let labels = Supervision::classes(vec![0, 1, 0, 0, 1, 1, 0]);
                cases.push((vec![("queries", random(B, D, 1)), ("candidates", random(2, D, 2))], labels.clone()));
                cases.push((vec![("scores", random(B, 1, 3))], labels));
            }
            Reads::Bags => {
                let shares: Vec<f32> = (0..3 * N).map(|k| (k % 5) as f32 / 4.0).collect();
                let bags = Supervision::none().with_bags(vec![0, 1, 2, 0, 1, 2, 0], shares, N);
                cases.push((embeddings(), bags.clone()));
                cases.push((vec![("scores", random(B, N, 3))], bags));
            }
            Reads::TwoScores => {
                let mut both = embeddings();
                both.push(("second", random(B, D, 4)));
                cases.push((both, classes.clone()));
                cases.push((vec![("scores", random(B, N, 3)), ("second scores", random(B, N, 5))], classes.clone()));
            }
        }
        for (matrices, supervision) in cases {
            let inner = matches!(entry.reads, Reads::ClassHead | Reads::MultiLabel | Reads::TwoScores)
                && matrices[0].0 == "queries"
                && objective.f32().matrices().iter().all(|m| m.scorer == Scorer::Inner);
            let bias = inner.then(|| vector(N, 6));
            let case = Case { name: entry.name.into(), matrices, bias, parameters: parameters.clone() };
            case.agrees(objective.clone(), &supervision);
        }
    }
}

/// `Σ_j u_j u_{j+1}`: a rule that no map describes.
#[derive(Debug)]
struct Neighbours;

impl<T: Real> RowRule<T> for Neighbours {
    fn value(&self, row: usize, u: &[T]) -> (T, T) {
        (u.windows(2).map(|w| w[0] * w[1]).sum(), T::of(row as f64))
    }

    fn derivative(&self, _: usize, u: &[T], weight: T, into: &mut [T]) {
        for k in 1..u.len() {
            into[k] += weight * u[k - 1];
            into[k - 1] += weight * u[k];
        }
    }
}

/// Uses every statistic, map, set and scorer once, with weights that depend on the row.
#[derive(Debug)]
struct Everything {
    scorer: Scorer,
}

impl<T: Real> Objective<T> for Everything {
    fn name(&self) -> &'static str {
        "everything"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        let main = MatrixSpec::main(self.scorer);
        vec![main, MatrixSpec { slot: Slot::Second, ..main }, MatrixSpec::pairs(self.scorer)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> keener::Result<Outcome<T>> {
        let rows = batch.rows();
        let labels: Arc<[u32]> = batch.labels_for("everything")?.into();
        let columns: Arc<[u32]> = (0..batch.classes() as u32).map(|c| c % 3).collect();
        let reduced: Arc<[u32]> = labels.iter().map(|l| l % 3).collect();
        let per_row = |a: f64, b: f64| PerLine::from((0..rows).map(|k| T::of(a + b * k as f64)).collect::<Vec<_>>());
        let per_column =
            |a: f64, b: f64| PerLine::from((0..batch.classes()).map(|k| T::of(a + b * k as f64)).collect::<Vec<_>>());
        let main = || Argument::<T>::of(0);
        let both = || Argument::<T>::difference(0, 1).scaled(per_row(0.5, 0.3));
        let softplus = |anchor: T| Shaping::Softplus { anchor: PerLine::All(anchor) };
        let lists = Arc::new(Sparse::from_rows((0..rows as u32).map(|r| vec![r, (r * 5 + 2) % 9])));
        let all = vec![
            Statistic::log_sum_exp(main().scaled(T::of(3.0)), Set::others(labels.clone())),
            Statistic::log_sum_exp_expecting(
                main().scaled(per_row(1.0, 0.5)).shifted(per_row(0.1, 0.2)),
                Set::all(),
                both(),
            ),
            Statistic::log_sum_exp_expecting(
                both().shifted(T::of(-0.2)),
                Set::outside(lists.clone()),
                main().scaled(T::of(2.0)).shifted(T::of(0.3)),
            ),
            Statistic::log_sum_exp(main().scaled(per_column(1.0, 0.4)).shifted(per_column(0.0, 0.1)), Set::all())
                .down_columns(),
            Statistic::log_sum_exp_expecting(
                main(),
                Set::all().at_most(per_column(0.2, 0.05)),
                both_columns(batch.classes()),
            )
            .down_columns(),
            Statistic::log_sum_exp(Argument::of(2), Set::off_diagonal()),
            Statistic::log_sum_exp(Argument::of(2), Set::pairs()),
            Statistic::log_sum_exp(main(), Set::all().at_least(T::of(1e6))),
            Statistic::sum(Map::Square, main(), Set::all().different(reduced.clone(), columns.clone())),
            Statistic::sum_with_moments(
                Map::Softplus,
                both(),
                Set::all().at_least(per_row(-0.6, 0.1)).at_most(T::of(0.7)),
            ),
            Statistic::sum_with_moments(Map::Hinge, main().shifted(T::of(0.2)), Set::all().same(reduced, columns)),
            Statistic::sum(Map::Identity, main().scaled(per_column(1.0, 0.3)), Set::all()).down_columns(),
            Statistic::sum(Map::Softplus, Argument::of(2).scaled(T::of(-2.0)), Set::pairs()),
            Statistic::sum(Map::Positive, main(), Set::all()),
            Statistic::log_sum_linear(main().scaled(T::of(-3.0)), Set::others(labels.clone())),
            Statistic::log_sum_linear(both().shifted(per_row(-1.0, 0.3)), Set::all().at_most(T::of(0.4))),
            Statistic::log_sum_linear(main(), Set::all().at_least(T::of(1e6))),
            Statistic::moments(main().scaled(per_row(0.5, -0.2)).shifted(T::of(20.0)), Set::all()),
            Statistic::moments(both(), Set::outside(lists.clone()).at_least(T::of(-0.3))),
            Statistic::moments(main(), Set::all().at_least(T::of(1e6))),
            Statistic::count(2, Set::off_diagonal()),
            Statistic::top_k(3, main().scaled(T::of(-1.0)), Set::others(labels.clone())),
            Statistic::top_k(2, both(), Set::all().at_least(T::of(0.5))),
            Statistic::kth_largest((0..rows as u32).collect(), main(), Set::all()),
            Statistic::rule(both().shifted(T::of(0.1)), Arc::new(Neighbours)),
            Statistic::sum_with_moments(Map::Root, main().shifted(T::of(5.5)), Set::all()),
            Statistic::gather(both().shifted(T::of(1.0)), lists.clone()),
            Statistic::sum_with_moments(Map::Absolute, both(), Set::others(labels.clone())),
            Statistic::sum(Map::Expm1, main().scaled(per_row(0.01, 0.2)), Set::all()),
            Statistic::sum(Map::Ramp, main().shifted(T::of(0.4)), Set::all()),
            Statistic::log_sum_exp_expecting(
                main().shaped(softplus(T::zero())).scaled(per_row(1.0, 0.5)),
                Set::others(labels.clone()),
                main().shaped(softplus(T::zero())).scaled(T::of(2.0)).shifted(T::of(0.3)),
            ),
            Statistic::sum(Map::Square, both().shaped(softplus(T::of(0.5))), Set::all()),
            Statistic::log_sum_exp(main().shaped(softplus(T::of(-0.7))), Set::all().at_least(T::of(0.2))),
        ];
        let stats = engine.sweep(&all)?;
        let (total, quantiles) =
            engine.order_statistics(&Statistic::count(2, Set::off_diagonal()), &mut |n| vec![0, n / 2, n - 1])?;
        let mut visited = T::zero();
        engine.visit_rows(1, &mut |row, x| visited += T::of(row as f64 + 1.0) * x[row % x.len()])?;
        let mut constant = visited + T::of(total as f64);
        quantiles.iter().for_each(|q| constant += *q);
        let finite = |v: &T| if v.is_finite() { *v } else { T::zero() };
        let mut value = constant;
        for stat in &stats {
            for (k, part) in [&stat.values, &stat.expectation, &stat.slope, &stat.moment].into_iter().enumerate() {
                let weigh = |(at, v): (usize, &T)| finite(v) * weight::<T>(at, k);
                value += part.iter().enumerate().map(weigh).sum::<T>();
            }
        }
        Ok(Outcome::new(vec![value], move |upstream| {
            // Slopes and moments are reported, not differentiated.
            let terms = all.iter().zip(&stats).map(|(statistic, stat)| {
                let weights = |count: usize, part: usize| -> Vec<T> {
                    (0..count).map(|at| upstream[0] * weight::<T>(at, part)).collect()
                };
                let mut term = Term::new(statistic.clone(), stat.clone(), weights(stat.values.len(), 0));
                term.expectation_weight = weights(stat.expectation.len(), 1);
                term
            });
            Backward::terms(terms.collect())
        }))
    }
}

fn both_columns<T: Real>(columns: usize) -> Argument<T> {
    let scale: Vec<T> = (0..columns).map(|k| T::of(0.4 + 0.1 * k as f64)).collect();
    Argument::difference(1, 0).scaled(scale)
}

fn weight<T: Real>(at: usize, part: usize) -> T {
    T::of(((at * 7 + part * 3) % 5) as f64 / 10.0 - 0.15)
}

#[test]
fn the_whole_vocabulary_under_every_scorer() {
    for scorer in [Scorer::Inner, Scorer::Cosine, Scorer::NegativeSquaredDistance] {
        let matrices = vec![("queries", random(B, D, 1)), ("candidates", random(N, D, 2)), ("second", random(B, D, 4))];
        let bias = (scorer == Scorer::Inner).then(|| vector(N, 6));
        let case = Case { name: format!("{scorer:?}"), matrices, bias, parameters: None };
        case.agrees(Arc::new(Everything { scorer }), &Supervision::classes(targets()));
    }
}

#[test]
fn mistakes_are_the_same_errors() {
    let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
    let tiles = loss.clone().with_tiles(TILES);
    let (x, w) = (random(B, D, 1), random(N, D, 2));
    let cases = [
        (x.clone(), random(N, 4, 2), Supervision::classes(targets())),
        (x.clone(), w.clone(), Supervision::classes(vec![0, 1, 2, 3, 4, 5, 9])),
        (x.clone(), w.clone(), Supervision::classes(vec![0, 1])),
        (x.clone() * f32::INFINITY, w.clone(), Supervision::classes(targets())),
        (x, w, Supervision::none().with_class_weights(vec![1.0; 3])),
    ];
    for (x, w, supervision) in cases {
        let error =
            |loss: &ObjectiveLoss| loss.forward(x.clone(), Some(w.clone()), &supervision).unwrap_err().to_string();
        assert_eq!(error(&loss), error(&tiles));
    }
}
