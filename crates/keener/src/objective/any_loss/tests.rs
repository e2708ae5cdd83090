//! The promises of AnyLoss.

use super::*;
use crate::engine::{Evaluation, Options, View, evaluate};
use crate::objective::parse;
use crate::objective::testing::{Case, check_all, check_gradients, check_sizes, numbers};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn run(loss: &AnyLoss, scores: &[f64], targets: &[u32]) -> Result<Evaluation<f64>> {
    let columns = scores.len() / targets.len();
    let batch = Batch::scores(View::new(scores, targets.len(), columns)?).with_targets(targets);
    evaluate(loss, &batch, &Options::default())
}

fn of(metric: ConfusionMetric) -> AnyLoss {
    AnyLoss { metric, ..AnyLoss::default() }
}

#[test]
fn gradients_and_schedules() {
    check_all("anyloss:amplify=6,beta=2", Reads::BinaryHead);
    check_sizes("anyloss:amplify=9,metric=accuracy", Reads::BinaryHead);
    check_all(
        "anyloss:amplify=5,multi_class=one_vs_rest,metric=balanced_accuracy,on_missing_class=skip",
        Reads::ClassHead,
    );
    for metric in ConfusionMetric::ALL {
        let loss = AnyLoss { amplify: Some(7.0), beta: 0.5, ..of(metric) };
        let mut case = Case::random(Reads::BinaryHead, 9, 2, 3, 6);
        case.targets = Some(vec![0, 1, 0, 0, 1, 0, 1, 0, 0]);
        case.bias = Some(vec![0.2, -0.1]);
        check_gradients(&loss, &case, 2e-7);
        // One column of logits.
        case.candidates = case.candidates.map(|c| c[..3].to_vec());
        case.bias = Some(vec![0.3]);
        check_gradients(&loss, &case, 2e-7);
    }
}

#[test]
fn two_columns_are_their_difference() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let scores = numbers(&mut rng, 20);
    let logits: Vec<f64> = scores.chunks(2).map(|s| s[1] - s[0]).collect();
    let targets = [0, 1, 0, 0, 0, 1, 0, 0, 1, 0];
    for metric in ConfusionMetric::ALL {
        let (two, one) = (run(&of(metric), &scores, &targets).unwrap(), run(&of(metric), &logits, &targets).unwrap());
        assert_eq!(two.loss, one.loss);
        for (pair, g) in two.gradients.scores.chunks(2).zip(&one.gradients.scores) {
            assert_eq!(pair, [-g, *g]);
        }
    }
}

/// With probabilities at least δ away from ½ a soft label is within e^{−Lδ} of the hard one.
#[test]
fn the_loss_tends_to_one_minus_the_metric() {
    let targets = [1u32, 1, 1, 0, 0, 0, 0, 0];
    let p = [0.9, 0.8, 0.3, 0.2, 0.6, 0.1, 0.35, 0.05];
    let (tp, fp, fn_, tn) = (2.0, 1.0, 1.0, 4.0);
    let hard = [
        6.0 / 8.0,
        tp / (tp + fp),
        tp / 3.0,
        tn / 5.0,
        2.0 * tp / (2.0 * tp + fp + fn_),
        f64::sqrt(tp / 3.0 * tn / 5.0),
        (tp / 3.0 + tn / 5.0) / 2.0,
    ];
    for (metric, hard) in ConfusionMetric::ALL.into_iter().zip(hard) {
        let mut last = f64::INFINITY;
        for scale in [50.0, 100.0, 200.0, 400.0] {
            let loss = AnyLoss { amplify: Some(scale), input: ScoreKind::Probabilities, ..of(metric) };
            let error = (run(&loss, &p, &targets).unwrap().loss - (1.0 - hard)).abs();
            assert!(
                error <= 8.0 * f64::exp(-scale * 0.1) + 1e-15 && error <= last + 1e-15,
                "{metric:?} {scale}: {error}"
            );
            last = error;
        }
    }
}

#[test]
fn saturated_rows_keep_what_gradient_there_is() {
    // A (1 − A) would be 0 here: 1 − A is below the rounding of A.
    let loss = AnyLoss { amplify: Some(73.0), input: ScoreKind::Probabilities, ..of(ConfusionMetric::Accuracy) };
    let found = run(&loss, &[1.0, 0.0], &[0, 1]).unwrap();
    let slope = 73.0 * (-36.5f64).exp();
    assert!(found.gradients.scores.iter().all(|g| (g.abs() / (slope / 2.0) - 1.0).abs() < 1e-12));
    for logits in [[1e4, -1e4], [1e308, -1e308]] {
        let found = run(&of(ConfusionMetric::Fbeta), &logits, &[0, 1]).unwrap();
        assert!(found.loss > 0.99 && found.gradients.scores == [0.0, 0.0]);
    }
    // In f32 an amplified 1 is below 1 at 33.
    assert!(crate::real::sigmoid(33f32 / 2.0) < 1.0 && crate::real::sigmoid(34f32 / 2.0) == 1.0);
    assert!(crate::real::sigmoid(73f64 / 2.0) < 1.0 && crate::real::sigmoid(74f64 / 2.0) == 1.0);
}

#[test]
fn missing_classes() {
    let z = [0.4, -0.3, 0.1];
    for (metric, targets, class) in [
        (ConfusionMetric::Recall, [0; 3], 1),
        (ConfusionMetric::Specificity, [1; 3], 0),
        (ConfusionMetric::Gmean, [0; 3], 1),
        (ConfusionMetric::BalancedAccuracy, [1; 3], 0),
    ] {
        let message = run(&of(metric), &z, &targets).unwrap_err().to_string();
        assert!(message.contains(&format!("no row is of class {class}")), "{message}");
        let skip = AnyLoss { on_missing_class: OnMissingClass::Skip, ..of(metric) };
        let found = run(&skip, &z, &targets).unwrap();
        assert_eq!((found.loss, found.gradients.scores), (0.0, vec![0.0; 3]));
        assert!(found.report.iter().any(|(name, value)| *name == "skipped" && value == &[1.0]));
    }
    let present = AnyLoss { on_missing_class: OnMissingClass::Present, ..of(ConfusionMetric::BalancedAccuracy) };
    let (a, b) = (run(&present, &z, &[1; 3]).unwrap(), run(&of(ConfusionMetric::Recall), &z, &[1; 3]).unwrap());
    assert_eq!((a.loss, a.gradients.scores), (b.loss, b.gradients.scores));
    // F1 without positives is 0 for whatever is predicted.
    for metric in [ConfusionMetric::Fbeta, ConfusionMetric::Precision] {
        let found = run(&of(metric), &z, &[0; 3]).unwrap();
        assert_eq!(found.loss, 1.0);
        assert!(found.gradients.scores.iter().all(|g| *g == 0.0));
    }
}

#[test]
fn one_against_the_rest_is_the_mean_of_binary_losses_and_marked_rows_do_not_count() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let scores = numbers(&mut rng, 24);
    let targets = [0u32, 1, 2, 1, 0, 2, 2, 1];
    let loss = AnyLoss { multi_class: MultiClass::OneVsRest, ..of(ConfusionMetric::Gmean) };
    let found = run(&loss, &scores, &targets).unwrap();
    let parts: Vec<f64> = (0..3)
        .map(|class| {
            let logits: Vec<f64> = scores.iter().skip(class).step_by(3).copied().collect();
            let binary: Vec<u32> = targets.iter().map(|t| u32::from(*t == class as u32)).collect();
            run(&of(ConfusionMetric::Gmean), &logits, &binary).unwrap().loss
        })
        .collect();
    assert!((found.loss - parts.iter().sum::<f64>() / 3.0).abs() < 1e-15);
    let z = [0.2, -0.4, 9.0, 0.7];
    let some = run(&AnyLoss::default(), &z, &[1, 0, crate::engine::NONE, 1]).unwrap();
    let all = run(&AnyLoss::default(), &[0.2, -0.4, 0.7], &[1, 0, 1]).unwrap();
    assert_eq!((some.loss, some.gradients.scores[2]), (all.loss, 0.0));
}

#[test]
fn a_metric_of_ones_own_is_the_same_as_the_built_in_one() {
    let f2 = ConfusionLoss::new("f2", |c| ConfusionMetric::Fbeta.of(c, 2.0)).with_amplify(20.0).unwrap();
    let built_in = AnyLoss { beta: 2.0, amplify: Some(20.0), ..AnyLoss::default() };
    let case = Case::random(Reads::BinaryHead, 30, 2, 4, 9);
    let options = Options::default();
    let (a, b) = (case.run::<f64>(&f2, &options), case.run::<f64>(&built_in, &options));
    assert_eq!((a.loss, a.gradients), (b.loss, b.gradients));
    assert!(ConfusionLoss::new("f2", |_| Ok(MetricValue::default())).with_amplify(0.0).is_err());
}

#[test]
fn bad_input_is_named() {
    let message = |spec: &str| parse(spec).map(|_| ()).unwrap_err().to_string();
    assert!(message("anyloss:amplify=0").contains("amplify = 0"));
    assert!(message("anyloss:beta=-1").contains("beta = -1"));
    assert!(message("anyloss:metric=f3").contains("f3"));
    assert!(message("anyloss:on_missing_class=present").contains("balanced_accuracy"));
    let wrong = |loss: &AnyLoss, scores: &[f64], targets: &[u32]| run(loss, scores, targets).unwrap_err().to_string();
    assert_eq!(wrong(&AnyLoss::default(), &[0.0, 1.0], &[0, 2]), "label 2 at row 1: there are 2 classes");
    assert!(wrong(&AnyLoss::default(), &[0.0; 6], &[0, 1]).contains("one_vs_rest"));
    let probabilities = AnyLoss { input: ScoreKind::Probabilities, ..AnyLoss::default() };
    assert!(wrong(&probabilities, &[0.1, 1.2], &[0, 1]).contains("probability 1 = 1.2"));
    assert!(wrong(&probabilities, &[0.1, 0.9, 0.3, 0.7], &[0, 1]).contains("class 1 alone"));
    assert!(wrong(&AnyLoss::default(), &[0.1, f64::NAN], &[0, 1]).contains("NaN"));
    assert!(wrong(&AnyLoss::default(), &[0.1], &[crate::engine::NONE]).contains("no row has a class"));
    assert!(amplified(&[0.5], f64::INFINITY).is_err() && amplified(&[-0.1], 3.0).is_err());
}
