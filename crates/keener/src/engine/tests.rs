//! What the engine promises to every plan.

use super::matrix::Bound;
use super::*;
use crate::objective::testing::{Case, numbers};
use crate::objective::{Reads, parse, registry};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// One case of what an objective reads, of several panels and groups.
fn large(entry: &crate::objective::Entry) -> (crate::objective::SharedObjective, Case) {
    let objective = parse(if entry.name == "nt_xent" { "nt_xent:variant=pml" } else { entry.name }).unwrap();
    let (rows, classes) = if entry.reads == Reads::LabelledEmbeddings { (280, 30) } else { (520, 600) };
    (objective, Case::random(entry.reads, rows, classes, 16, 4))
}

/// Of the gradients of learned parameters, and of everything else.
fn bits(e: Evaluation<f32>) -> [Vec<u32>; 2] {
    let g = e.gradients;
    let all = [g.queries, g.candidates, g.bias, g.second, g.second_scores, g.scores, e.values, vec![e.loss]].concat();
    [g.parameters, all].map(|numbers| numbers.into_iter().map(f32::to_bits).collect())
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    for entry in registry() {
        let (objective, case) = large(entry);
        for schedule in [Schedule::Whole, Schedule::Panel, Schedule::Recompute] {
            let options = Options { schedule: Some(schedule), ..Options::default() };
            let run = |threads| pool(threads).install(|| bits(case.run(objective.f32(), &options)));
            let one = run(1);
            assert!([2, 4].into_iter().all(|n| run(n) == one), "{} under {schedule:?}", entry.name);
        }
    }
}

/// What `docs/reliability.md` says of the budget: panels of full height add the gradients of learned parameters in an order
/// of their own, and nothing else differs.
#[test]
fn the_same_bits_whether_scores_are_kept_or_computed_again() {
    for entry in registry() {
        let (objective, case) = large(entry);
        let run = |schedule| {
            let found = case.run(objective.f32(), &Options { schedule: Some(schedule), ..Options::default() });
            (found.choice.schedule, bits(found))
        };
        let ((_, whole), (_, again), (ran, panel)) =
            (run(Schedule::Whole), run(Schedule::Recompute), run(Schedule::Panel));
        assert!(whole == again, "{}", entry.name);
        assert!(whole[1] == panel[1], "{} under {ran:?}", entry.name);
    }
}

#[test]
fn a_score_has_the_same_bits_however_rows_are_cut() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for d in [3, 16, 64, 200] {
        let (rows, cols) = (256, 513);
        let q: Vec<f32> = numbers(&mut rng, rows * d).into_iter().map(|x| x as f32).collect();
        let c: Vec<f32> = numbers(&mut rng, cols * d).into_iter().map(|x| x as f32).collect();
        let batch = Batch::embeddings(View::new(&q, rows, d).unwrap()).with_candidates(View::new(&c, cols, d).unwrap());
        let bound = Bound::new(MatrixSpec::main(Scorer::Cosine), &batch, "test").unwrap();
        let mut whole = vec![0.0; rows * 512];
        bound.fill(0..rows, 0..512, &mut whole);
        for part in [0..16, 16..48, 100..117, 200..256] {
            let mut cut = vec![0.0; part.len() * 512];
            bound.fill(part.clone(), 0..512, &mut cut);
            assert!(cut == whole[part.start * 512..part.end * 512], "d = {d}, rows {part:?}");
        }
    }
}

/// Long rows: the sum over a million candidates is as good as in double precision.
#[test]
fn a_million_candidates_lose_nothing() {
    let n = 1_000_000;
    let scores: Vec<f32> = (0..n).map(|k| ((k as f32) * 0.618).sin() * 3.0).collect();
    let batch = Batch::scores(View::new(&scores, 1, n).unwrap()).with_targets(vec![5]);
    let objective = parse("softmax_cross_entropy").unwrap();
    let run = evaluate(objective.f32(), &batch, &Options::default()).unwrap();
    let exact = scores.iter().map(|s| f64::from(*s).exp()).sum::<f64>().ln() - f64::from(scores[5]);
    assert!((f64::from(run.loss) - exact).abs() < 4.0 * f64::from(f32::EPSILON) * exact, "{} {exact}", run.loss);
    let total: f64 = run.gradients.scores.iter().map(|g| f64::from(*g)).sum();
    assert!(total.abs() < 1e-6, "the gradient sums to zero: {total}");
}

/// A plan made on the spot, for vocabulary that no objective of the registry uses yet.
#[derive(Debug)]
struct Probe(Vec<Statistic<f64>>, Vec<MatrixSpec>);

impl Objective<f64> for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }
    fn matrices(&self) -> Vec<MatrixSpec> {
        self.1.clone()
    }
    fn coupling(&self) -> Coupling {
        Coupling::WholeBatch
    }
    fn normalizer(&self, _: &Batch<'_, f64>) -> crate::Result<f64> {
        Ok(1.0)
    }
    /// Σ over everything of every statistic's values (and expectations), each with its own weight.
    fn evaluate(&self, engine: &mut dyn Sweep<f64>, _: &Batch<'_, f64>) -> crate::Result<Outcome<f64>> {
        let stats = engine.sweep(&self.0)?;
        let mut total = 0.0;
        let mut weights: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        for stat in &stats {
            let w = |k: usize| 0.3 + 0.1 * (k as f64).sin();
            let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
            total += stat.values.iter().enumerate().map(|(k, v)| w(k) * finite(*v)).sum::<f64>();
            total += stat.expectation.iter().enumerate().map(|(k, v)| w(k + 7) * v).sum::<f64>();
            let mask = |k: usize| if stat.values[k].is_finite() { w(k) } else { 0.0 };
            weights.push((
                (0..stat.values.len()).map(mask).collect(),
                (0..stat.expectation.len()).map(|k| w(k + 7)).collect(),
            ));
        }
        let statistics = self.0.clone();
        Ok(Outcome::new(vec![total], move |upstream| {
            let terms = statistics.iter().zip(&stats).zip(&weights).map(|((statistic, stat), (w, e))| Term {
                statistic: statistic.clone(),
                stat: stat.clone(),
                weight: w.iter().map(|x| x * upstream[0]).collect(),
                expectation_weight: e.iter().map(|x| x * upstream[0]).collect(),
            });
            Backward::terms(terms.collect())
        }))
    }
}

#[test]
fn every_statistic_has_the_gradient_of_its_value() {
    let rows: Arc<[u32]> = vec![0, 1, 2, 0, 1, 2, 0].into();
    let columns: Arc<[u32]> = vec![0, 1, 0, 2, 1].into();
    let one = || Argument::<f64>::of(0);
    let both = || Argument::<f64>::difference(0, 1);
    let per_row = || vec![0.5, 1.0, -0.7, 2.0, 0.1, 1.3, 0.9];
    let per_column = || vec![0.4, 1.2, -0.6, 0.8, 1.5];
    let softplus = |anchor: PerLine<f64>| Shaping::Softplus { anchor };
    let lists = Arc::new(Sparse::from_rows([vec![0, 3], vec![], vec![2], vec![1, 4], vec![0], vec![4], vec![3, 1]]));
    let statistics = vec![
        Statistic::log_sum_exp(one().scaled(per_row()).shifted(per_row()), Set::all()),
        Statistic::log_sum_exp_expecting(
            one().scaled(0.7),
            Set::outside(lists.clone()),
            both().scaled(0.4).shifted(0.2),
        ),
        Statistic::log_sum_exp_expecting(both(), Set::all().same(rows.clone(), columns.clone()), Argument::of(1)),
        Statistic::log_sum_exp(one().scaled(1.3), Set::all()).down_columns(),
        Statistic::log_sum_exp(
            one().scaled(per_column()).shifted(per_column()),
            Set::all().different(rows.clone(), columns.clone()),
        )
        .down_columns(),
        Statistic::log_sum_exp_expecting(one(), Set::off_diagonal(), Argument::of(1).scaled(0.3)).down_columns(),
        Statistic::sum(
            Map::Softplus,
            one().scaled(per_row()).shifted(0.1),
            Set::all().different(rows.clone(), columns.clone()),
        ),
        Statistic::sum(Map::Square, both().shifted(per_row()), Set::all()),
        Statistic::sum(Map::Hinge, one().scaled(-1.0).shifted(0.3), Set::off_diagonal()),
        Statistic::sum(Map::Identity, one(), Set::all().at_least(-0.2).at_most(0.4)),
        Statistic::sum(Map::Softplus, one().scaled(0.5), Set::all().same(rows, columns)).down_columns(),
        Statistic::sum(Map::Absolute, both().scaled(per_row()).shifted(0.1), Set::off_diagonal()),
        Statistic::sum(Map::Expm1, one().scaled(0.3).shifted(per_row()), Set::all()),
        Statistic::sum(Map::Ramp, one().scaled(0.8).shifted(0.4), Set::off_diagonal()),
        Statistic::log_sum_exp_expecting(
            one().shaped(softplus(0.0.into())).scaled(per_row()).shifted(0.3),
            Set::off_diagonal(),
            one().shaped(softplus(0.0.into())).scaled(0.4).shifted(per_row()),
        ),
        Statistic::log_sum_exp(both().shaped(softplus(per_row().into())).scaled(1.7), Set::all()),
        Statistic::sum(Map::Square, both().shaped(softplus(0.0.into())).shifted(per_row()), Set::off_diagonal()),
        Statistic::top_k(2, one().scaled(per_row()), Set::off_diagonal()),
        Statistic::max(both().scaled(-1.0), Set::all()),
        Statistic::gather(both().scaled(per_row()), lists),
    ];
    for scorer in [Scorer::Inner, Scorer::Cosine, Scorer::NegativeSquaredDistance] {
        let matrices = vec![MatrixSpec::main(scorer), MatrixSpec { slot: Slot::Second, scorer }];
        for (k, statistic) in statistics.iter().enumerate() {
            let probe = Probe(vec![statistic.clone()], matrices.clone());
            let case = Case::random(Reads::TwoScores, 7, 5, 3, 10 + k as u64);
            crate::objective::testing::check_gradients(&probe, &case, 2e-6);
        }
        let all = Probe(statistics.clone(), matrices);
        crate::objective::testing::check_gradients(&all, &Case::random(Reads::TwoScores, 7, 5, 3, 99), 5e-6);
    }
}

#[test]
fn gathered_candidates_agree_with_the_scores_they_stand_for() {
    let (b, n, d, k) = (6, 9, 4, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (q, c) = (numbers(&mut rng, b * d), numbers(&mut rng, n * d));
    let ids: Vec<u32> = (0..b * k).map(|i| ((i * 5 + 1) % n) as u32).collect();
    // The same candidates laid out in full, one batch row at a time.
    let objective = parse("info_nce:temperature=0.4").unwrap();
    let targets = vec![0, 1, 2, 0, 1, 2];
    let batch = Batch::embeddings(View::new(&q, b, d).unwrap())
        .with_candidates(View::new(&c, n, d).unwrap())
        .with_gathered(&ids, k)
        .with_targets(targets.clone());
    let found = evaluate(objective.f64(), &batch, &Options::default()).unwrap();
    let mut expected_q = vec![0.0; b * d];
    let mut expected_c = vec![0.0; n * d];
    for i in 0..b {
        let own: Vec<f64> = ids[i * k..(i + 1) * k]
            .iter()
            .flat_map(|id| c[*id as usize * d..(*id as usize + 1) * d].to_vec())
            .collect();
        let row = Batch::embeddings(View::new(&q[i * d..(i + 1) * d], 1, d).unwrap())
            .with_candidates(View::new(&own, k, d).unwrap())
            .with_targets(vec![targets[i]]);
        let one = evaluate(objective.f64(), &row, &Options::default()).unwrap();
        assert!((one.loss - found.values[i]).abs() < 1e-13);
        for (e, g) in expected_q[i * d..].iter_mut().zip(&one.gradients.queries) {
            *e += g / b as f64;
        }
        for (slot, g) in one.gradients.candidates.chunks(d).enumerate() {
            let id = ids[i * k + slot] as usize;
            for (e, g) in expected_c[id * d..].iter_mut().zip(g) {
                *e += g / b as f64;
            }
        }
    }
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-13);
    assert!(close(&found.gradients.queries, &expected_q) && close(&found.gradients.candidates, &expected_c));
}

#[test]
fn order_statistics_agree_with_sorting() {
    #[derive(Debug)]
    struct Quartiles;
    impl<T: crate::real::Real> Objective<T> for Quartiles {
        fn name(&self) -> &'static str {
            "quartiles"
        }
        fn matrices(&self) -> Vec<MatrixSpec> {
            vec![MatrixSpec::pairs(Scorer::Inner)]
        }
        fn coupling(&self) -> Coupling {
            Coupling::WholeBatch
        }
        fn evaluate(&self, engine: &mut dyn Sweep<T>, _: &Batch<'_, T>) -> crate::Result<Outcome<T>> {
            let over = Statistic::count(0, Set::pairs());
            let (n, found) = engine.order_statistics(&over, &mut |n| vec![0, n / 4, n / 2, n - 1])?;
            let mut all = Vec::new();
            engine.visit_rows(0, &mut |i, row| all.extend_from_slice(&row[i + 1..]))?;
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            assert_eq!(all.len(), n);
            assert_eq!(found, [all[0], all[n / 4], all[n / 2], all[n - 1]]);
            Ok(Outcome::new(Vec::new(), |_| Backward::terms(Vec::new())))
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let x = numbers(&mut rng, 600 * 5);
    evaluate(&Quartiles, &Batch::embeddings(View::new(&x, 600, 5).unwrap()), &Options::default()).unwrap();
    let x: Vec<f32> = x.into_iter().map(|v| v as f32).collect();
    evaluate(&Quartiles, &Batch::embeddings(View::new(&x, 600, 5).unwrap()), &Options::default()).unwrap();
}
