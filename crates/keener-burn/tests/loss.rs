//! Objectives as differentiable operations: against composed burn operations, finite differences, and bad input.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use keener_burn::{Error, Inputs, ObjectiveLoss, Supervision, one_hot};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn strategies() -> [Device; 2] {
    [Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()]
}

fn random(rows: usize, cols: usize, seed: u64, device: &Device) -> Tensor<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..rows * cols).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, [rows, cols]), device)
}

fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data().try_into_vec().unwrap()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    let scale = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    assert_eq!(a.len(), b.len());
    for (k, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance * scale, "at {k}: {x} {y}");
    }
}

/// Cross-entropy of each row, composed.
fn composed(x: Tensor<2>, w: Tensor<2>, bias: Option<Tensor<1>>, labels: &[u32]) -> Tensor<1> {
    let logits = x.matmul(w.transpose());
    let logits = bias.map_or(logits.clone(), |b| logits + b.unsqueeze());
    let index: Vec<i64> = labels.iter().map(|l| i64::from(*l)).collect();
    let index = Tensor::<2, Int>::from_data(TensorData::new(index, [labels.len(), 1]), &logits.device());
    -log_softmax(logits, 1).gather(1, index).flatten(0, 1)
}

const LABELS: [u32; 6] = [0, 3, 2, 8, 3, 1];

#[test]
fn the_reduced_loss_and_its_gradients_are_the_composed_ones() {
    for device in strategies() {
        let run = |ours: bool| {
            let x = random(6, 5, 1, &device).require_grad();
            let w = random(9, 5, 2, &device).require_grad();
            let b = random(1, 9, 3, &device).flatten::<1>(0, 1).detach().require_grad();
            // Memory-bound parents and a scale from above.
            let (hx, hw) = (x.clone().tanh() * 3.0, w.clone().abs());
            let loss = if ours {
                let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
                let inputs = Inputs::embeddings(hx).with_candidates(hw).with_bias(b.clone());
                loss.reduced(&inputs, &Supervision::classes(&LABELS[..])).unwrap().loss
            } else {
                composed(hx, hw, Some(b.clone()), &LABELS).mean()
            };
            let loss = loss * 0.7;
            let g = loss.backward();
            (numbers(loss), numbers(x.grad(&g).unwrap()), numbers(w.grad(&g).unwrap()), numbers(b.grad(&g).unwrap()))
        };
        let (a, b) = (run(true), run(false));
        close(&a.0, &b.0, 1e-6);
        close(&a.1, &b.1, 1e-5);
        close(&a.2, &b.2, 1e-5);
        close(&a.3, &b.3, 1e-5);
    }
}

#[test]
fn weights_of_rows_reach_the_gradients() {
    for device in strategies() {
        let run = |ours: bool| {
            let x = random(6, 5, 1, &device).require_grad();
            let w = random(9, 5, 2, &device).require_grad();
            let rows = if ours {
                let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
                let inputs = Inputs::embeddings(x.clone()).with_candidates(w.clone() * 2.0);
                loss.rows(&inputs, &Supervision::classes(&LABELS[..])).unwrap()
            } else {
                composed(x.clone(), w.clone() * 2.0, None, &LABELS)
            };
            // Uneven, signed, and depending on the rows themselves.
            let weights = Tensor::from_floats([1.0, -2.0, 0.0, 0.5, 3.0, 0.1], &device);
            let loss = (rows.clone() * weights).sum() + rows.powi_scalar(2).mean();
            let g = loss.backward();
            (numbers(loss), numbers(x.grad(&g).unwrap()), numbers(w.grad(&g).unwrap()))
        };
        let (a, b) = (run(true), run(false));
        close(&a.0, &b.0, 1e-5);
        close(&a.1, &b.1, 1e-5);
        close(&a.2, &b.2, 1e-5);
    }
}

#[test]
fn one_tensor_as_both_inputs_gets_both_gradients() {
    let device = Device::flex().autodiff();
    let run = |ours: bool| {
        let x = random(6, 5, 1, &device).require_grad();
        let labels = [0, 1, 2, 3, 4, 5];
        let loss = if ours {
            let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
            loss.forward(x.clone(), Some(x.clone()), &Supervision::classes(&labels[..])).unwrap()
        } else {
            composed(x.clone(), x.clone(), None, &labels).mean()
        };
        numbers(x.grad(&loss.backward()).unwrap())
    };
    close(&run(true), &run(false), 1e-5);
}

#[test]
fn only_tracked_tensors_get_gradients_and_untracked_calls_give_values() {
    let device = Device::flex().autodiff();
    let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
    let supervision = Supervision::classes(&LABELS[..]);
    let (x, w) = (random(6, 5, 1, &device), random(9, 5, 2, &device).require_grad());
    let value = loss.forward(x.clone(), Some(w.clone()), &supervision).unwrap();
    let gradients = value.backward();
    assert!(x.grad(&gradients).is_none() && w.grad(&gradients).is_some());
    let plain = loss.forward(x.clone().inner(), Some(w.clone().inner()), &supervision).unwrap();
    assert!(!plain.is_autodiff());
    close(&numbers(plain), &numbers(value), 1e-6);
    let inputs = Inputs::embeddings(x.inner()).with_candidates(w.inner());
    assert_eq!(loss.rows(&inputs, &supervision).unwrap().dims(), [6]);
}

#[test]
fn given_scores_and_strided_views_have_gradients() {
    let device = Device::flex().autodiff();
    let run = |ours: bool| {
        let s = random(9, 6, 4, &device).require_grad();
        let turned = s.clone().transpose();
        let loss = if ours {
            let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
            loss.reduced(&Inputs::scores(turned), &Supervision::classes(&LABELS[..])).unwrap().loss
        } else {
            let unit = Tensor::<2>::eye(9, &device);
            composed(turned, unit, None, &LABELS).mean()
        };
        numbers(s.grad(&loss.backward()).unwrap())
    };
    close(&run(true), &run(false), 1e-5);
}

#[test]
fn learned_parameters_have_gradients() {
    let device = Device::flex().autodiff();
    let Ok(loss) = ObjectiveLoss::parse("siglip") else { return };
    let start = loss.initial_parameters(&device).unwrap();
    let count = start.dims()[0];
    let start = numbers(start);
    let value = |parameters: &[f32]| {
        let p = Tensor::<1>::from_floats(parameters, &device).require_grad();
        let (x, w) = (random(6, 5, 1, &device), random(6, 5, 2, &device));
        let inputs = Inputs::embeddings(x).with_candidates(w).with_parameters(p.clone());
        let found = loss.reduced(&inputs, &Supervision::none()).unwrap();
        let gradient = numbers(p.grad(&found.loss.backward()).unwrap());
        (f64::from(found.value), gradient)
    };
    let gradient = value(&start).1;
    for k in 0..count {
        let shifted = |by: f32| {
            let mut p = start.clone();
            p[k] += by;
            value(&p).0
        };
        let h = 1e-2;
        let slope = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
        assert!((f64::from(gradient[k]) - slope).abs() < 1e-2 * slope.abs().max(0.1), "{k}: {gradient:?} {slope}");
    }
}

#[test]
fn integer_labels_of_any_width_and_their_mistakes() {
    let device = Device::flex().autodiff();
    let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
    let (x, w) = (random(3, 5, 1, &device), random(9, 5, 2, &device));
    let with = |labels: Tensor<1, Int>| {
        loss.forward(x.clone(), Some(w.clone()), &Supervision::labels(labels).unwrap()).map(|t| numbers(t)[0])
    };
    let expected = loss.forward(x.clone(), Some(w.clone()), &Supervision::classes(vec![0, 8, 2])).unwrap();
    let expected = numbers(expected)[0];
    for dtype in [DType::I32, DType::I64, DType::U8, DType::U32] {
        let labels = Tensor::<1, Int>::from_data(TensorData::from([0i64, 8, 2]).convert_dtype(dtype), (&device, dtype));
        assert_eq!(with(labels).unwrap(), expected, "{dtype:?}");
    }
    let message = |labels: [i64; 3]| with(Tensor::from_data(labels, &device)).unwrap_err().to_string();
    assert_eq!(message([0, -1, 2]), "label -1 at row 1: there are 9 classes");
    assert_eq!(message([0, 1, 9]), "label 9 at row 2: there are 9 classes");
    let ignored = Supervision::labels_ignoring(Tensor::from_data([0i64, -100, 2], &device), -100).unwrap();
    let inputs = Inputs::embeddings(x).with_candidates(w);
    assert_eq!(numbers(loss.rows(&inputs, &ignored).unwrap())[1], 0.0);
}

#[test]
fn mistakes_are_errors_and_not_panics() {
    let device = Device::flex().autodiff();
    let loss = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
    let labels = Supervision::classes(&LABELS[..]);
    let (x, w) = (random(6, 5, 1, &device), random(9, 5, 2, &device));
    let fails = |x: Tensor<2>, w: Tensor<2>, s: &Supervision<'_>| loss.forward(x, Some(w), s).unwrap_err();
    let message = fails(x.clone(), random(9, 4, 2, &device), &labels).to_string();
    assert!(message.contains("candidates has shape [9, 4]"), "{message}");
    assert!(matches!(fails(x.clone(), w.clone().cast(DType::F64), &labels), Error::DType { .. }));
    assert!(matches!(fails(x.clone(), w.clone(), &Supervision::classes(vec![1, 2])), Error::Core(_)));
    let nan = x.clone() * f32::NAN;
    assert!(matches!(fails(nan, w.clone(), &labels), Error::Core(keener::Error::NonFinite { .. })));
    let other = Device::flex().autodiff().gradient_checkpointing();
    let on_other = Tensor::<2>::random([9, 5], Distribution::Default, &other).require_grad();
    assert!(matches!(fails(x.require_grad(), on_other, &labels), Error::Device { .. }));
    assert!(loss.forward(random(6, 5, 1, &device), None, &labels).unwrap_err().to_string().contains("needs"));
    let none = Tensor::<2>::zeros([0, 5], &device);
    assert!(loss.forward(none, Some(random(9, 5, 2, &device)), &Supervision::classes(vec![])).is_ok());
    let positives = one_hot(&[12, 0, 0, 0, 0, 0]);
    let wrong = Supervision::classes(&LABELS[..]).with_positives(positives);
    assert!(matches!(fails(random(6, 5, 1, &device), random(9, 5, 2, &device), &wrong), Error::Core(_)));
}
