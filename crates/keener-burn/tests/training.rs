//! The training loop: it learns, repeats, stops, resumes bit for bit, and refuses what does not fit.

use burn::tensor::Device;
use keener_burn::{
    AttackConfig, Ended, Error, Head, HeadConfig, Labelled, OptimizerConfig, RunOptions, SamplerConfig, Stop,
    TrainConfig, Training, embed, fitting_head, scores,
};
use std::ops::ControlFlow;

struct Digits {
    train: keener_data::Dataset,
    test: keener_data::Dataset,
}

fn digits() -> Digits {
    let data = keener_data::digits();
    let parts = keener_data::split::stratified(&data.labels, &[0.6, 0.4], 1).unwrap();
    Digits { train: data.select(&parts[0]), test: data.select(&parts[1]) }
}

fn labelled(data: &keener_data::Dataset) -> Labelled<'_> {
    Labelled::new(&data.features, data.dim, &data.labels, data.num_classes()).unwrap()
}

fn device() -> Device {
    Device::flex()
}

fn accuracy(head: &Head, data: &keener_data::Dataset) -> f64 {
    let scores = scores(head, &data.features).unwrap();
    let hits = scores.chunks_exact(data.num_classes()).zip(&data.labels).filter(|(s, label)| {
        let best = (0..s.len()).max_by(|a, b| s[*a].total_cmp(&s[*b]));
        best == Some(**label as usize)
    });
    hits.count() as f64 / data.rows() as f64
}

/// Share of test rows whose nearest training row has their class.
fn neighbours(head: &Head, data: &Digits) -> f64 {
    let (train, test) = (embed(head, &data.train.features).unwrap(), embed(head, &data.test.features).unwrap());
    let dim = train.len() / data.train.rows();
    let nearest = |q: &[f32]| {
        let dot = |k: &[f32]| q.iter().zip(k).map(|(a, b)| a * b).sum::<f32>();
        let found = train.chunks_exact(dim).enumerate().max_by(|a, b| dot(a.1).total_cmp(&dot(b.1)));
        data.train.labels[found.unwrap().0]
    };
    let hits = test.chunks_exact(dim).zip(&data.test.labels).filter(|(q, label)| nearest(q) == **label);
    hits.count() as f64 / data.test.rows() as f64
}

fn run(config: TrainConfig, data: &Digits) -> Head {
    let mut training = Training::new(config, labelled(&data.train), &device()).unwrap();
    let ended = training.run(&RunOptions::default(), &mut |_| Ok(ControlFlow::Continue(()))).unwrap();
    assert_eq!(ended, Ended::Finished);
    training.head().clone()
}

#[test]
fn class_heads_learn_the_digits() {
    let data = digits();
    for (objective, head, learning_rate) in [
        ("softmax_cross_entropy", HeadConfig::linear(), 0.02),
        ("softmax_cross_entropy", HeadConfig::Linear { hidden: Some(64), embedding: None, bias: true }, 0.005),
        ("cosface:scale=16,margin=0.1", HeadConfig::Cosine { hidden: Some(64), embedding: None }, 0.01),
        ("trades", HeadConfig::linear(), 0.02),
    ] {
        let attack = AttackConfig { epsilon: 0.03, ..Default::default() };
        let config =
            TrainConfig { objective: objective.into(), head, learning_rate, attack, steps: 300, ..Default::default() };
        let found = accuracy(&run(config, &data), &data.test);
        assert!(found > 0.92, "{objective}: {found}");
    }
}

#[test]
fn embeddings_learn_the_digits() {
    let data = digits();
    for objective in ["tcm", "info_nce:temperature=0.2"] {
        let head = fitting_head(objective, Some(64)).unwrap();
        assert!(matches!(head, HeadConfig::Projection { hidden: 64, .. }));
        let config =
            TrainConfig { objective: objective.into(), head, learning_rate: 0.005, steps: 150, ..Default::default() };
        let found = neighbours(&run(config, &data), &data);
        assert!(found > 0.92, "{objective}: {found}");
    }
}

#[test]
fn every_objective_of_the_registry_trains_with_its_fitting_head() {
    let data = digits();
    for entry in keener::objective::registry() {
        // Ten classes are more than two.
        let spec = match entry.reads {
            keener::objective::Reads::BinaryHead => format!("{}:multi_class=one_vs_rest", entry.name),
            _ => entry.name.to_string(),
        };
        let head = fitting_head(&spec, Some(16)).unwrap();
        let config = TrainConfig { objective: spec, head, steps: 4, ..Default::default() };
        let mut training = Training::new(config, labelled(&data.train), &device()).unwrap();
        let before = training.head().named_parameters().unwrap();
        for _ in 0..4 {
            training.step().unwrap_or_else(|e| panic!("{}: {e}", entry.name));
        }
        for ((name, _, before), (.., after)) in before.iter().zip(training.head().named_parameters().unwrap()) {
            // A bias may cancel; weights never.
            assert!(*before != after || name.ends_with("bias"), "{}: {name} has not moved", entry.name);
        }
    }
}

/// Digits whose labels are known as shares of random bags of eight.
fn bagged(data: &Digits) -> (Vec<u32>, Vec<f32>) {
    let rows = data.train.rows() / 8 * 8;
    let of_rows: Vec<u32> = (0..rows).map(|r| (r * 37 % rows / 8) as u32).collect();
    let mut responses = vec![0.0; rows / 8 * 10];
    for (row, bag) in of_rows.iter().enumerate() {
        responses[*bag as usize * 10 + data.train.labels[row] as usize] += 0.125;
    }
    (of_rows, responses)
}

#[test]
fn single_digits_are_learned_from_shares_of_bags() {
    let data = digits();
    let (of_rows, responses) = bagged(&data);
    let features = &data.train.features[..of_rows.len() * 64];
    let config = TrainConfig {
        objective: "aggregate:kind=bce,rho=0".into(),
        learning_rate: 0.02,
        batch_size: 128,
        steps: 300,
        ..Default::default()
    };
    let shares = Labelled::bags(features, 64, &of_rows, &responses, 10).unwrap();
    let mut training = Training::new(config.clone(), shares, &device()).unwrap();
    training.run(&RunOptions::default(), &mut |_| Ok(ControlFlow::Continue(()))).unwrap();
    let found = accuracy(training.head(), &data.test);
    assert!(found > 0.75, "{found}");
    let message = |e: keener_burn::Error| e.to_string();
    let config = TrainConfig { objective: "softmax_cross_entropy".into(), ..config };
    assert!(message(Training::new(config, shares, &device()).unwrap_err()).contains("reads bags"));
    assert!(message(Labelled::bags(features, 64, &of_rows, &responses[10..], 10).unwrap_err()).contains("bag of row"));
}

fn resumed_like_uninterrupted(config: TrainConfig, data: &Digits) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let mut whole = Training::new(config.clone(), labelled(&data.train), &device()).unwrap();
    whole.run(&RunOptions::default(), &mut |_| Ok(ControlFlow::Continue(()))).unwrap();

    let stop = Stop::default();
    let options = RunOptions { validate_every: 7, checkpoint: Some(&path), stop: stop.clone() };
    let mut first = Training::new(config, labelled(&data.train), &device()).unwrap();
    let mut validations = 0;
    let ended = first.run(&options, &mut |training| {
        validations += 1;
        if training.steps_done() == 14 {
            stop.stop();
        }
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!((ended.unwrap(), validations), (Ended::Stopped, 2));
    drop(first);
    let mut second = Training::resume(&path, labelled(&data.train), &device()).unwrap();
    assert_eq!(second.steps_done(), 14);
    let options = RunOptions { checkpoint: Some(&path), ..RunOptions::default() };
    second.run(&options, &mut |_| Ok(ControlFlow::Continue(()))).unwrap();
    assert_eq!(second.records(), whole.records());
    assert_eq!(second.samples(), whole.samples());
    let bits = |t: &Training<'_>| -> Vec<u32> {
        let named = t.head().named_parameters().unwrap();
        named.iter().flat_map(|(_, _, v)| v.iter().map(|x| x.to_bits())).collect()
    };
    assert_eq!(bits(&second), bits(&whole));
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let data = digits();
    let base = TrainConfig { steps: 30, warmup: 5, batch_size: 64, seed: 5, ..Default::default() };
    let variants = [
        TrainConfig { ..base.clone() },
        TrainConfig {
            optimizer: OptimizerConfig::sgd(),
            head: HeadConfig::Linear { hidden: Some(16), embedding: None, bias: true },
            ..base.clone()
        },
        TrainConfig {
            objective: "trades".into(),
            attack: AttackConfig { steps: 2, ..Default::default() },
            ..base.clone()
        },
        TrainConfig { objective: "tcm".into(), head: HeadConfig::projection(), ..base.clone() },
        TrainConfig { objective: "aldr_kl:lambda0=1".into(), clip_norm: Some(0.5), ..base.clone() },
        TrainConfig { objective: "siglip".into(), head: HeadConfig::projection(), ..base },
    ];
    for config in variants {
        resumed_like_uninterrupted(config, &data);
    }
}

#[test]
fn temperatures_of_samples_follow_their_confidence() {
    let data = digits();
    let objective = "aldr_kl:lambda0=1,normalize=none,num_samples=2000".to_string();
    let config = TrainConfig { objective, learning_rate: 0.02, steps: 150, ..Default::default() };
    let mut training = Training::new(config, labelled(&data.train), &device()).unwrap();
    training.run(&RunOptions::default(), &mut |_| Ok(ControlFlow::Continue(()))).unwrap();
    let stored = training.samples().field(keener::objective::ALDR_FIELD);
    assert_eq!(stored.iter().flatten().count(), data.train.rows(), "every row was visited");
    let scores = scores(training.head(), &data.train.features).unwrap();
    let classes = data.train.num_classes();
    let mut rows: Vec<(f32, f32)> = scores
        .chunks_exact(classes)
        .zip(stored)
        .map(|(s, lambda)| {
            let mut sorted = s.to_vec();
            sorted.sort_by(f32::total_cmp);
            (sorted[classes - 1] - sorted[classes - 2], lambda.unwrap())
        })
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mean = |part: &[(f32, f32)]| part.iter().map(|r| r.1).sum::<f32>() / part.len() as f32;
    let (unsure, sure) = (mean(&rows[..100]), mean(&rows[rows.len() - 100..]));
    assert!(sure < unsure - 0.05, "{sure} {unsure}");
    assert!(rows.iter().all(|r| (0.5..=1.0).contains(&r.1)));
}

#[test]
fn a_checkpoint_belongs_to_its_data() {
    let data = digits();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    let config = TrainConfig { steps: 3, ..Default::default() };
    let mut training = Training::new(config, labelled(&data.train), &device()).unwrap();
    training.step().unwrap();
    training.save_checkpoint(&path).unwrap();
    let error = Training::resume(&path, labelled(&data.test), &device()).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    assert!(matches!(Head::load(&path, &device()), Err(Error::Format { .. })));
}

#[test]
fn what_does_not_fit_is_refused_before_training() {
    let data = digits();
    let refused = |objective: &str, head: HeadConfig, sampler: Option<SamplerConfig>| {
        let config = TrainConfig { objective: objective.into(), head, sampler, ..Default::default() };
        Training::new(config, labelled(&data.train), &device()).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused("cosface", HeadConfig::linear(), None).contains("cosine head"));
    assert!(refused("softmax_cross_entropy", HeadConfig::projection(), None).contains("linear or a cosine head"));
    assert!(refused("tcm", HeadConfig::linear(), None).contains("projection head"));
    assert!(refused("info_nce", HeadConfig::projection(), Some(SamplerConfig::Shuffle)).contains("pairs"));
    assert!(refused("nonsense", HeadConfig::linear(), None).contains("nonsense"));
    let labels = [0u32, 10];
    assert!(Labelled::new(&[0.0; 4], 2, &labels, 10).unwrap_err().to_string().contains("label 10 at row 1"));
    assert!(Labelled::new(&[0.0; 3], 2, &labels, 11).is_err());
    assert!(Labelled::new(&[0.0, f32::NAN, 0.0, 0.0], 2, &labels, 11).is_err());
}

#[test]
fn divergence_is_an_error_that_says_when() {
    let data = digits();
    let config =
        TrainConfig { learning_rate: 1e38, optimizer: OptimizerConfig::sgd(), warmup: 0, ..Default::default() };
    let mut training = Training::new(config, labelled(&data.train), &device()).unwrap();
    let error = training.run(&RunOptions::default(), &mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
}

/// Digits with their zeros left out, and a few hundred columns that never or rarely hold anything.
fn sparse(data: &keener_data::Dataset) -> (keener_data::Csr, Vec<f32>, usize) {
    let dim = 600;
    let mut values = vec![0.0; data.rows() * dim];
    for row in 0..data.rows() {
        values[row * dim + 100..row * dim + 164].copy_from_slice(data.row(row));
        values[row * dim + 170 + row % 400] = 0.5;
    }
    let matrix = keener_data::Matrix::new("wide", values, dim, None).unwrap();
    (keener_data::Csr::from_dense("wide", &matrix).unwrap(), matrix.values, dim)
}

#[test]
fn sparse_rows_train_the_same_heads_as_dense_ones() {
    let data = digits().train;
    let (csr, values, dim) = sparse(&data);
    let classes = data.num_classes();
    let dense = Labelled::new(&values, dim, &data.labels, classes).unwrap();
    let sparse = Labelled::from_source(&csr, &data.labels, classes).unwrap();
    for (objective, head) in [
        ("softmax_cross_entropy", HeadConfig::linear()),
        ("softmax_cross_entropy", HeadConfig::Linear { hidden: Some(16), embedding: None, bias: true }),
        ("cosface:scale=8", HeadConfig::cosine()),
        ("cosface:scale=8", HeadConfig::Cosine { hidden: Some(16), embedding: Some(8) }),
        ("tcm", HeadConfig::Projection { hidden: 16, out: 8 }),
        ("info_nce", HeadConfig::Projection { hidden: 16, out: 8 }),
        ("trades", HeadConfig::linear()),
    ] {
        let config = TrainConfig {
            objective: objective.into(),
            head: head.clone(),
            optimizer: OptimizerConfig::sgd(),
            batch_size: 24,
            ..Default::default()
        };
        let train = |data| {
            let mut training = Training::new(config.clone(), data, &device()).unwrap();
            for _ in 0..5 {
                training.step().unwrap();
            }
            training.head().clone()
        };
        let (one, two) = (train(dense), train(sparse));
        for ((name, _, a), (.., b)) in one.named_parameters().unwrap().iter().zip(two.named_parameters().unwrap()) {
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{objective} {head:?} {name}: {worst}");
        }
        let rows = [5, 0, 700];
        let gathered: Vec<f32> = rows.iter().flat_map(|r| values[r * dim..(r + 1) * dim].to_vec()).collect();
        let close = |a: Vec<f32>, b: Vec<f32>| {
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{objective} {head:?}");
        };
        close(embed(&one, &gathered).unwrap(), keener_burn::embed_rows(&one, &csr, rows).unwrap());
        if !matches!(head, HeadConfig::Projection { .. }) {
            close(scores(&one, &gathered).unwrap(), keener_burn::score_rows(&one, &csr, rows).unwrap());
        }
    }
}

#[test]
fn checkpoints_know_sparse_rows_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let data = digits().train;
    let (csr, ..) = sparse(&data);
    let labelled = |csr| Labelled::from_source(csr, &data.labels, data.num_classes()).unwrap();
    let mut training = Training::new(TrainConfig::default(), labelled(&csr), &device()).unwrap();
    training.step().unwrap();
    training.save_checkpoint(&path).unwrap();
    assert_eq!(Training::resume(&path, labelled(&csr), &device()).unwrap().steps_done(), 1);
    let mut other = csr.clone();
    other.values_mut()[3] += 1.0;
    assert!(matches!(Training::resume(&path, labelled(&other), &device()), Err(Error::Format { .. })));
    assert!(Training::resume(&path, labelled(&csr).identified(7), &device()).is_err());
}
