//! The comparison as a whole, on a few points in the plane.

use super::*;
use keener_data::{Dataset, Samples};
use keener_run::Stop;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Four blobs around corners, with some overlap.
fn rows(rows: usize) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for i in 0..rows {
        let class = i % 4;
        let corner = [(class % 2) as f32, (class / 2) as f32];
        features.extend(corner.map(|c| c + 0.6 * (rng.random::<f32>() + rng.random::<f32>() - 1.0)));
        features.push(rng.random::<f32>());
        labels.push(class as u32);
    }
    let names = (0..4).map(|c| format!("c{c}")).collect();
    Dataset::new("blobs", features, 3, labels, names).unwrap()
}

fn blobs(count: usize) -> Samples {
    rows(count).into()
}

fn quick() -> CompareConfig {
    CompareConfig {
        objectives: vec!["softmax_cross_entropy".into(), "cosface".into(), "tcm".into(), "info_nce".into()],
        scenarios: vec![Scenario::NoisyLabels, Scenario::UnseenClasses],
        hidden: 16,
        embedding: 8,
        steps: 20,
        batch: 32,
        repeats: 3,
        trials: 4,
        folds: 2,
        ..CompareConfig::default()
    }
}

/// Wall times differ between runs; nothing else does.
fn timeless(mut outcome: Outcome) -> Outcome {
    outcome.tuned.iter_mut().for_each(|t| t.seconds = 0.0);
    outcome.units.iter_mut().for_each(|u| u.seconds = 0.0);
    outcome
}

fn never(_: &Line, _: usize, _: usize) -> Result<(), keener_run::Error> {
    Ok(())
}

#[test]
fn a_seed_fixes_everything_whatever_the_number_of_workers() {
    let data = blobs(240);
    let one = timeless(run(&data, &quick(), &[], 1, &Stop::default(), &never).unwrap());
    let two = timeless(run(&data, &quick(), &[], 2, &Stop::default(), &never).unwrap());
    assert_eq!(one, two);
    assert!(one.units.iter().all(|u| u.failed.is_none()), "{:?}", one.units.iter().find(|u| u.failed.is_some()));
    let other = timeless(run(&data, &CompareConfig { seed: 1, ..quick() }, &[], 2, &Stop::default(), &never).unwrap());
    assert_ne!(one, other);
}

#[test]
fn resumed_is_uninterrupted() {
    let data = blobs(240);
    let lines = std::sync::Mutex::new(Vec::new());
    let keep = |line: &Line, _: usize, _: usize| {
        lines.lock().unwrap().push(serde_json::to_string(line).unwrap());
        Ok(())
    };
    let whole = run(&data, &quick(), &[], 1, &Stop::default(), &keep).unwrap();
    let lines = lines.into_inner().unwrap();
    assert_eq!(lines.len(), 2 * 4 * (1 + 3));
    for cut in [3, 8, 19] {
        let done: Vec<Line> = lines[..cut].iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        let again = std::sync::atomic::AtomicUsize::new(0);
        let count = |_: &Line, finished: usize, total: usize| {
            assert!(finished <= total && total == 32);
            again.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        let resumed = run(&data, &quick(), &done, 2, &Stop::default(), &count).unwrap();
        assert_eq!(again.into_inner(), lines.len() - cut, "only what was missing ran");
        assert_eq!(timeless(resumed), timeless(whole.clone()));
    }
}

#[test]
fn a_stop_finishes_what_is_begun_and_says_how_far_it_came() {
    let data = blobs(240);
    for after in [1, 8, 20] {
        let (stop, kept) = (Stop::default(), std::sync::atomic::AtomicUsize::new(0));
        let keep = |_: &Line, finished: usize, _: usize| {
            kept.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if finished == after {
                stop.stop();
            }
            Ok(())
        };
        let error = run(&data, &quick(), &[], 2, &stop, &keep).unwrap_err();
        let CompareError::Stopped { finished, total } = error else { panic!("{error}") };
        assert_eq!((finished, total), (kept.into_inner(), 32));
        assert!((after..=after + 1).contains(&finished), "the other worker finishes its training: {finished}");
    }
}

#[test]
fn nothing_is_tuned_on_test_rows() {
    let data = blobs(240);
    let (truth, config) = (rows(240), quick());
    for scenario in [Scenario::Full, Scenario::FewLabels, Scenario::NoisyLabels, Scenario::UnseenClasses] {
        let splits = Splits::draw(&data, scenario, &config).unwrap();
        // Every label outside the development rows is replaced by another one.
        let seen = splits.development_rows();
        let mut garbled = truth.clone();
        for row in (0..data.rows()).filter(|r| !seen.contains(r)) {
            garbled.labels[row] = (garbled.labels[row] + 1 + (row as u32) % 3) % 4;
        }
        let garbled = Samples::from(garbled);
        for spec in &config.objectives {
            let candidate = Candidate::new(spec, config.head).unwrap();
            let choose = |data: &Samples| {
                let found = tune::tune(data, scenario, &candidate, &config, &splits.development).unwrap();
                (found.chosen, found.trials)
            };
            assert_eq!(choose(&data), choose(&garbled), "{scenario} {spec}");
        }
    }
}

#[test]
fn the_initial_weights_of_a_repeat_are_the_same_for_every_objective() {
    use burn::tensor::Device;
    let config = quick();
    let first = |spec: &str, seed: u64| {
        let candidate = Candidate::new(spec, HeadChoice::Auto).unwrap();
        let head = head_for(&candidate, &config).init(3, 4, &[], seed, &Device::flex()).unwrap();
        head.named_parameters().unwrap()[..4].to_vec()
    };
    let trunk = first("softmax_cross_entropy", 5);
    assert_eq!(trunk[2].1, [8, 16], "hidden to embedding");
    assert_eq!(trunk, first("cosface", 5));
    assert_eq!(trunk, first("tcm", 5));
    assert_ne!(trunk, first("tcm", 6));
}

#[test]
fn boards_say_what_the_repeats_allow() {
    let data = blobs(240);
    let outcome = run(&data, &quick(), &[], 2, &Stop::default(), &never).unwrap();
    for scenario in quick().scenarios {
        let board = board(&outcome, scenario).unwrap();
        assert_eq!(board.rows.len(), 4);
        assert_eq!(board.rows[0].verdict, Verdict::Best);
        assert!(board.rows[0].difference.is_none());
        let means: Vec<f64> = board.rows.iter().map(|r| r.metrics[0].1.mean).collect();
        assert!(means.windows(2).all(|w| w[0] >= w[1]), "{means:?}");
        for row in &board.rows[1..] {
            let p = row.difference.unwrap().p_value;
            assert_eq!(row.verdict == Verdict::Worse, p.is_some_and(|p| p <= 0.05), "{row:?}");
        }
    }
    let single = run(&data, &CompareConfig { repeats: 1, ..quick() }, &[], 2, &Stop::default(), &never).unwrap();
    let board = board(&single, Scenario::NoisyLabels).unwrap();
    assert!(board.rows[1..].iter().all(|r| r.verdict == Verdict::NotDistinguishable));
    assert!(board.sentence().contains("single repeat"), "{}", board.sentence());
}

#[test]
fn trainings_that_fail_say_so_and_come_last() {
    let config = CompareConfig { learning_rates: vec![1e30], trials: 1, ..quick() };
    let outcome = run(&blobs(240), &config, &[], 2, &Stop::default(), &never).unwrap();
    let board = board(&outcome, Scenario::NoisyLabels).unwrap();
    let failed: Vec<&Row> = board.rows.iter().filter(|r| r.verdict == Verdict::Failed).collect();
    assert!(!failed.is_empty());
    assert!(failed.iter().all(|r| r.failed > 0 && r.reason.as_ref().is_some_and(|t| !t.is_empty())));
    let first_failed = board.rows.iter().position(|r| r.verdict == Verdict::Failed).unwrap();
    assert!(board.rows[first_failed..].iter().all(|r| r.verdict == Verdict::Failed));
}

#[test]
fn budgets_in_seconds_become_steps() {
    let data = blobs(240);
    let (short, long) = (steps_for(&data, &quick(), 1.0, 1).unwrap(), steps_for(&data, &quick(), 100.0, 1).unwrap());
    assert!(long > short, "{short} {long}");
    assert!(steps_for(&data, &quick(), -1.0, 1).is_err());
    // 4 trials of a half, 2 of the whole, each on 2 divisions; 3 repeats; 4 objectives in 2 scenarios.
    assert_eq!(step_equivalents(&quick()).unwrap(), 8.0 * (2.0 * (2.0 + 2.0) + 3.0));
}

#[test]
fn imbalance_is_judged_by_f1_with_its_remedies_beside_it() {
    // Two of the four blobs: class 1 is thinned.
    let all = rows(600);
    let two: Vec<usize> = (0..600).filter(|r| all.labels[*r] < 2).collect();
    let mut data = all.select(&two);
    data.class_names.truncate(2);
    let config = CompareConfig {
        objectives: imbalanced_objectives(2),
        scenarios: vec![Scenario::Imbalanced],
        trials: 1,
        steps: 60,
        ..quick()
    };
    let data = Samples::from(data);
    let outcome = run(&data, &config, &[], 2, &Stop::default(), &never).unwrap();
    assert!(
        outcome.units.iter().all(|u| u.failed.is_none()),
        "{:?}",
        outcome.units.iter().find(|u| u.failed.is_some())
    );
    let board = board(&outcome, Scenario::Imbalanced).unwrap();
    assert_eq!((board.decides, board.rows.len()), ("macro-F1", 7));
    for row in &board.rows {
        for metric in [Metric::MacroF1, Metric::BalancedAccuracy, Metric::GMean, Metric::F1] {
            assert!(row.metric(metric).is_some_and(|m| (0.0..=1.0).contains(&m.mean)), "{}", row.objective);
        }
    }
    let of = |name: &str, metric| board.rows.iter().find(|r| r.objective == name).unwrap().metric(metric).unwrap().mean;
    let plain = of("softmax_cross_entropy", Metric::BalancedAccuracy);
    assert!(of("softmax_cross_entropy@class_weights", Metric::BalancedAccuracy) > plain);
    assert!(of("anyloss:metric=balanced_accuracy", Metric::BalancedAccuracy) > plain);
    let error = run(&blobs(240), &config, &[], 1, &Stop::default(), &never).unwrap_err().to_string();
    assert!(error.contains("one_vs_rest"), "{error}");
}
