//! What every objective is held to: gradients against finite differences with the frozen quantities held, the same
//! result from every schedule and tile, `f32` near `f64`.

use super::registry::{Reads, SharedObjective};
use crate::engine::{Batch, Evaluation, Gradients, Options, Schedule, View, evaluate, forward};
use crate::engine::{Frozen, Objective};
use crate::real::Real;
use crate::state::SampleStore;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Tensors and supervision of one test.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) d: usize,
    pub(crate) queries: Vec<f64>,
    pub(crate) candidates: Option<Vec<f64>>,
    pub(crate) bias: Option<Vec<f64>>,
    pub(crate) second: Option<Vec<f64>>,
    pub(crate) targets: Option<Vec<u32>>,
    pub(crate) positives: Option<crate::engine::Sparse>,
    pub(crate) bags: Option<Vec<u32>>,
    pub(crate) responses: Option<Vec<f64>>,
    pub(crate) parameters: Vec<f64>,
}

pub(crate) fn numbers(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Ids in the order of their first appearance.
fn renumbered(ids: &[u32]) -> Vec<u32> {
    let mut seen: Vec<u32> = Vec::new();
    ids.iter()
        .map(|id| {
            let at = seen.iter().position(|s| s == id).unwrap_or(seen.len());
            if at == seen.len() {
                seen.push(*id);
            }
            at as u32
        })
        .collect()
}

impl Case {
    /// Random input of the kind that an objective reads: `rows` rows, `classes` classes.
    pub(crate) fn random(reads: Reads, rows: usize, classes: usize, d: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let classes = if reads == Reads::BinaryHead { 2 } else { classes };
        let queries = numbers(&mut rng, rows * d);
        let labels: Vec<u32> = (0..rows).map(|_| rng.random_range(0..classes as u32)).collect();
        let candidates = match reads {
            Reads::ClassHead | Reads::MultiLabel | Reads::TwoScores | Reads::BinaryHead | Reads::Bags => {
                Some(numbers(&mut rng, classes * d))
            }
            Reads::PairedViews => Some(numbers(&mut rng, rows * d)),
            Reads::LabelledEmbeddings => None,
        };
        let second = (reads == Reads::TwoScores)
            .then(|| queries.iter().map(|q| q + 0.2 * rng.random_range(-1.0..1.0)).collect());
        let positives = (reads == Reads::MultiLabel).then(|| {
            crate::engine::Sparse::from_rows((0..rows).map(|r| {
                (0..classes as u32)
                    .filter(|_| rng.random_range(0.0..1.0) < 0.3)
                    .take(if r == 0 { 0 } else { 9 })
                    .collect::<Vec<_>>()
            }))
        });
        let targets = match reads {
            Reads::PairedViews | Reads::MultiLabel | Reads::Bags => None,
            _ => Some(labels),
        };
        // Bags of about three rows, none of them empty, in no order.
        let bags = (reads == Reads::Bags).then(|| (0..rows).map(|r| (r * 7 % rows.div_ceil(3)) as u32).collect());
        let bags = bags.map(|ids: Vec<u32>| renumbered(&ids));
        let count = bags.as_ref().map(|b| b.iter().max().map_or(0, |m| *m as usize + 1));
        let responses = count.map(|m| (0..m * classes).map(|_| rng.random_range(0.0..1.0)).collect());
        Self { d, queries, candidates, bias: None, second, targets, positives, bags, responses, parameters: Vec::new() }
    }

    fn batch<'a, T: Real>(&self, t: &'a Tensors<T>) -> Batch<'a, T> {
        let view = |data: &'a [T]| View::new(data, data.len() / self.d, self.d).unwrap();
        let mut batch = Batch::embeddings(view(&t.queries));
        batch.candidates = t.candidates.as_deref().map(view);
        batch.second = t.second.as_deref().map(view);
        batch.bias = t.bias.as_deref();
        batch.targets = self.targets.clone().map(Into::into);
        batch.positives = self.positives.clone().map(std::borrow::Cow::Owned);
        batch.parameters = t.parameters.clone().into();
        batch.bags = self.bags.clone().map(Into::into);
        batch.bag_responses = t.responses.as_deref().map(|y| {
            let bags = self.bags.iter().flatten().max().map_or(0, |m| *m as usize + 1);
            View::new(y, bags, y.len() / bags).unwrap()
        });
        let ids: Vec<u32> = (0..batch.rows() as u32).collect();
        batch.with_samples(ids, &t.samples)
    }

    pub(crate) fn tensors<T: Real>(&self) -> Tensors<T> {
        let to = |v: &Vec<f64>| v.iter().map(|x| T::of(*x)).collect::<Vec<T>>();
        Tensors {
            queries: to(&self.queries),
            candidates: self.candidates.as_ref().map(to),
            bias: self.bias.as_ref().map(to),
            second: self.second.as_ref().map(to),
            responses: self.responses.as_ref().map(to),
            parameters: to(&self.parameters),
            samples: SampleStore::new(),
        }
    }

    pub(crate) fn run<T: Real>(&self, objective: &dyn Objective<T>, options: &Options) -> Evaluation<T> {
        evaluate(objective, &self.batch(&self.tensors()), options).unwrap()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Tensors<T> {
    queries: Vec<T>,
    candidates: Option<Vec<T>>,
    bias: Option<Vec<T>>,
    second: Option<Vec<T>>,
    responses: Option<Vec<T>>,
    parameters: Vec<T>,
    samples: SampleStore<T>,
}

fn loss_with(objective: &dyn Objective<f64>, case: &Case, tensors: &Tensors<f64>, frozen: &Frozen<f64>) -> f64 {
    let run =
        crate::engine::forward_replaying(objective, &case.batch(tensors), &Options::default(), Some(frozen.clone()));
    run.unwrap().loss()
}

/// Compares every gradient with central differences, holding frozen quantities at their recorded values.
pub(crate) fn check_gradients(objective: &dyn Objective<f64>, case: &Case, tolerance: f64) {
    check_gradients_holding(objective, case, tolerance, |_| {});
}

/// As [`check_gradients`], with the frozen quantities moved off a discontinuity by `adjust` (a threshold that equals a score).
pub(crate) fn check_gradients_holding(
    objective: &dyn Objective<f64>,
    case: &Case,
    tolerance: f64,
    adjust: impl Fn(&mut Frozen<f64>),
) {
    let mut tensors = case.tensors::<f64>();
    if tensors.parameters.is_empty() {
        tensors.parameters = objective.parameters().iter().map(|p| p.initial).collect();
    }
    let all = evaluate(objective, &case.batch(&tensors), &Options::default()).unwrap();
    let mut frozen = all.report.clone();
    adjust(&mut frozen);
    let Gradients { queries, candidates, bias, second, parameters, .. } = all.gradients;
    let step = 1e-6;
    type Pick = fn(&mut Tensors<f64>) -> Option<&mut Vec<f64>>;
    let inputs: [(&str, Vec<f64>, Pick); 5] = [
        ("queries", queries, |t| Some(&mut t.queries)),
        ("candidates", candidates, |t| t.candidates.as_mut()),
        ("bias", bias, |t| t.bias.as_mut()),
        ("second", second, |t| t.second.as_mut()),
        ("parameters", parameters, |t| Some(&mut t.parameters)),
    ];
    for (name, gradient, pick) in inputs {
        let Some(length) = pick(&mut tensors).map(|v| v.len()) else { continue };
        if length == 0 {
            continue;
        }
        assert_eq!(gradient.len(), length, "{}: length of the gradient of {name}", objective.name());
        for k in 0..length {
            let shifted = |by: f64| {
                let mut moved = tensors.clone();
                pick(&mut moved).unwrap()[k] += by;
                loss_with(objective, case, &moved, &frozen)
            };
            let numeric = (shifted(step) - shifted(-step)) / (2.0 * step);
            let found = gradient[k];
            assert!(
                (found - numeric).abs() <= tolerance * (1.0 + numeric.abs()),
                "{}: ∂loss/∂{name}[{k}] is {found}, finite differences say {numeric}",
                objective.name()
            );
        }
    }
}

fn flat<T: Real>(e: &Evaluation<T>) -> Vec<f64> {
    let g = &e.gradients;
    let parts = [&g.queries, &g.candidates, &g.bias, &g.second, &g.scores, &g.second_scores, &g.parameters];
    std::iter::once(&e.loss).chain(e.values.iter()).chain(parts.into_iter().flatten()).map(|x| x.f64()).collect()
}

fn assert_close(name: &str, what: &str, a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len(), "{name}, {what}");
    let scale = b.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (k, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale || a == b, "{name}, {what}: entry {k} is {a}, expected {b}");
    }
}

/// Every schedule gives the same numbers, `f32` is near `f64`, and the two-pass form agrees with the fused one.
pub(crate) fn check_schedules(objective: &SharedObjective, case: &Case, f32_tolerance: f64) {
    let name = objective.f64().name();
    let reference = flat(&case.run(objective.f64(), &Options::default()));
    for schedule in [Schedule::Whole, Schedule::Panel, Schedule::Recompute] {
        let options = Options { schedule: Some(schedule), ..Options::default() };
        let double = case.run(objective.f64(), &options);
        assert_close(name, &format!("{schedule:?} in f64"), &flat(&double), &reference, 1e-12);
        let single = flat(&case.run(objective.f32(), &options));
        assert_close(name, &format!("{schedule:?} in f32"), &single, &reference, f32_tolerance);
    }
    let tensors = case.tensors::<f64>();
    let batch = case.batch(&tensors);
    let mut run = forward(objective.f64(), &batch, &Options::default()).unwrap();
    let weight = if run.normalizer() == 0.0 { 0.0 } else { 1.0 / run.normalizer() };
    let weights = vec![weight; run.values().len()];
    let gradients = run.backward(&weights).unwrap();
    let again = run.backward(&weights).unwrap();
    let fused = case.run(objective.f64(), &Options::default());
    assert_close(name, "two passes", &gradients.queries, &fused.gradients.queries, 1e-12);
    assert_close(name, "a second backward pass", &again.queries, &gradients.queries, 1e-12);
}

/// All of the above at several sizes, for an objective of the registry.
pub(crate) fn check_all(spec: &str, reads: Reads) {
    let objective = super::parse(spec).unwrap();
    for (rows, classes, d, seed) in [(7, 5, 4, 1), (12, 4, 3, 2)] {
        check_gradients(objective.f64(), &Case::random(reads, rows, classes, d, seed), 2e-6);
    }
    check_sizes(spec, reads);
}

/// Schedules and precisions at sizes below and above a tile, and a single row.
pub(crate) fn check_sizes(spec: &str, reads: Reads) {
    let objective = super::parse(spec).unwrap();
    // More rows and columns than a panel and a tile.
    let large = if reads == Reads::LabelledEmbeddings { (300, 40) } else { (300, 700) };
    check_schedules(&objective, &Case::random(reads, large.0, large.1, 8, 3), 2e-4);
    check_schedules(&objective, &Case::random(reads, 9, 6, 5, 4), 2e-4);
    // One row.
    let one = Case::random(reads, 1, 3, 4, 5).run(objective.f64(), &Options::default());
    assert!(flat(&one).iter().all(|x| x.is_finite()), "{spec}: one row");
}
