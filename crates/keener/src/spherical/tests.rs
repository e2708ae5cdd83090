//! The layer against gradient descent on dense weights, by definition.

use super::*;
use crate::engine::{NONE, Sparse, View};
use crate::real::Real;

fn numbers(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|k| ((k * k * 7 + seed * k + 11 * seed) as f64 * 0.613).sin()).collect()
}

/// Each row's classes with weights.
type Lists = Vec<Vec<(u32, f64)>>;

/// Losses of rows, and the step on dense weights `[D, d]`.
fn dense_step(
    w: &mut [f64],
    d: usize,
    h: &[f64],
    lists: &Lists,
    config: &FactoredConfig,
    eta: f64,
    sparse: bool,
) -> (f64, Vec<f64>) {
    let (classes, m) = (w.len() / d, lists.len());
    let counted = if sparse { m } else { lists.iter().filter(|l| !l.is_empty()).count() };
    let factor = if config.reduction == Reduction::Mean { 1.0 / counted as f64 } else { 1.0 };
    let (mut loss, mut grad_h, mut grad_w) = (0.0, vec![0.0; m * d], vec![0.0; w.len()]);
    for (i, list) in lists.iter().enumerate() {
        let h = &h[i * d..(i + 1) * d];
        let o: Vec<f64> = w.chunks(d).map(|w| w.iter().zip(h).map(|(a, b)| a * b).sum()).collect();
        let (sum, squares) = (o.iter().sum(), o.iter().map(|o| o * o).sum());
        let mut by_score = vec![0.0; classes];
        if sparse && config.loss == Spherical::SquaredError {
            let mut y = vec![0.0; classes];
            list.iter().for_each(|(c, weight)| y[*c as usize] = *weight);
            loss += factor * o.iter().zip(&y).map(|(o, y)| (o - y) * (o - y)).sum::<f64>();
            by_score = o.iter().zip(&y).map(|(o, y)| 2.0 * factor * (o - y)).collect();
        } else {
            for (c, weight) in list {
                let s = config.loss.of_sums(o[*c as usize], sum, squares, classes);
                loss += factor * weight * s.value;
                by_score.iter_mut().zip(&o).for_each(|(g, o)| *g += factor * weight * (s.sum + 2.0 * s.sum_sq * o));
                by_score[*c as usize] += factor * weight * s.target;
            }
        }
        for (c, g) in by_score.iter().enumerate() {
            for k in 0..d {
                grad_h[i * d + k] += g * w[c * d + k];
                grad_w[c * d + k] += g * h[k];
            }
        }
    }
    w.iter_mut().zip(&grad_w).for_each(|(w, g)| *w -= eta * (g + config.weight_decay * *w));
    (loss, grad_h)
}

fn close(what: &str, a: &[f64], b: &[f64], tolerance: f64) {
    let scale = b.iter().fold(1e-12f64, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(a.len() == b.len() && worst <= tolerance * scale, "{what}: off by {worst:.2e} of {scale:.2e}");
}

const KINDS: [Spherical; 4] = [
    Spherical::Z { a: 1.0, b: 2.0, eps: 1e-3 },
    Spherical::SquaredError,
    Spherical::TaylorSoftmax,
    Spherical::SphericalSoftmax { eps: 0.1 },
];

/// Runs both and compares everything after every step.
fn compare(
    config: FactoredConfig,
    classes: usize,
    d: usize,
    lists: &[Lists],
    sparse: bool,
    eta: f64,
) -> FactoredOutput<f64> {
    let mut w = numbers(classes * d, 5);
    w.iter_mut().enumerate().for_each(|(k, w)| *w = 0.6 * *w + if k % d == 0 { 0.3 } else { 0.0 });
    let mut layer = FactoredOutput::new(View::new(&w, classes, d).unwrap(), config).unwrap();
    for (at, lists) in lists.iter().enumerate() {
        let h = numbers(lists.len() * d, 100 + at);
        let hidden = View::new(&h, lists.len(), d).unwrap();
        let plain: Vec<u32> = lists.iter().map(|l| l.first().map_or(NONE, |(c, _)| *c)).collect();
        let columns = Sparse::from_rows(lists.iter().map(|l| l.iter().map(|(c, _)| *c)));
        let weights: Vec<f64> = lists.iter().flatten().map(|(_, w)| *w).collect();
        let targets = match sparse {
            true => Targets::Sparse { classes: &columns, weights: &weights },
            false => Targets::Classes(&plain),
        };
        let step = layer.step(hidden, &targets, eta).unwrap();
        let (loss, gradient) = dense_step(&mut w, d, &h, lists, &config, eta, sparse);
        let what = format!("{:?}, step {at}", config.loss);
        assert!((step.loss - loss).abs() <= 1e-11 * loss.abs().max(1.0), "{what}: {} {loss}", step.loss);
        close(&format!("{what}: gradient"), &step.grad_hidden, &gradient, 1e-9);
        close(&format!("{what}: weights"), &layer.to_dense(), &w, 1e-10);
        let gram: Vec<f64> = (0..d * d).map(|ij| w.chunks(d).map(|w| w[ij / d] * w[ij % d]).sum()).collect();
        close(&format!("{what}: Gram matrix"), &layer.gram(), &gram, 1e-9);
        let sums: Vec<f64> = (0..d).map(|k| w.chunks(d).map(|w| w[k]).sum()).collect();
        close(&format!("{what}: column sums"), &layer.column_sum(), &sums, 1e-9);
    }
    layer
}

fn one_class(rows: usize, classes: usize, seed: usize) -> Lists {
    // With repeats, and a row that does not count.
    let class = |i: usize| ((i * i * 5 + seed) % classes) as u32;
    (0..rows).map(|i| if i == 3 { vec![] } else { vec![(class(i), 1.0)] }).collect()
}

#[test]
fn steps_are_those_of_dense_gradient_descent() {
    for loss in KINDS {
        for (rows, reduction, weight_decay) in
            [(5, Reduction::Mean, 0.0), (13, Reduction::Mean, 0.05), (6, Reduction::Sum, 0.0)]
        {
            let config = FactoredConfig { loss, reduction, weight_decay, stabilize_every: 3 };
            let lists: Vec<Lists> = (0..8).map(|s| one_class(rows, 20, s)).collect();
            compare(config, 20, 6, &lists, false, 0.01);
        }
    }
}

#[test]
fn rows_with_several_classes() {
    let lists = |seed: usize| -> Lists {
        (0..5).map(|i| (0..i).map(|k| ((3 * i + 4 * k + seed) as u32 % 17, 0.2 + 0.1 * k as f64)).collect()).collect()
    };
    for loss in KINDS {
        let sorted = |s: usize| {
            let mut lists = lists(s);
            lists.iter_mut().for_each(|l| l.sort_by_key(|(c, _)| *c));
            lists
        };
        let config = FactoredConfig { loss, ..FactoredConfig::default() };
        compare(config, 17, 7, &(0..4).map(sorted).collect::<Vec<_>>(), true, 0.02);
    }
}

#[test]
fn stabilising_moves_the_factors_and_not_the_weights() {
    // Squared error at a bold rate shrinks directions of U quickly.
    let config = FactoredConfig { loss: Spherical::SquaredError, stabilize_every: 2, ..FactoredConfig::default() };
    let lists: Vec<Lists> = (0..30).map(|s| one_class(4, 25, s)).collect();
    let mut layer = compare(config, 25, 12, &lists, false, 0.15);
    let (before, gram) = (layer.to_dense(), layer.gram());
    layer.stabilize();
    close("after stabilising", &layer.to_dense(), &before, 1e-13);
    layer.unfactorize();
    close("after taking the factors apart", &layer.to_dense(), &before, 1e-13);
    assert_eq!(gram, layer.gram());
    let range = &layer.parts().range;
    assert_eq!(range[..2], [1.0, 1.0]);
    // One direction of U shrunk to a fifth, and V grown to match: one look mends it.
    let mut parts = layer.parts().clone();
    parts.v.iter_mut().step_by(12).for_each(|x| *x *= 5.0);
    parts.u[..12].iter_mut().for_each(|x| *x /= 5.0);
    parts.inverse[..12].iter_mut().for_each(|x| *x *= 5.0);
    let layer = FactoredOutput::from_parts(25, 12, config, parts).unwrap();
    close("the same weights", &layer.to_dense(), &before, 1e-13);
    let mut mended = layer.clone();
    assert!(mended.stabilize() && mended.parts().v != layer.parts().v);
    close("mended", &mended.to_dense(), &layer.to_dense(), 1e-12);
    let again = mended.clone();
    assert!(!mended.stabilize() && again.parts().v == mended.parts().v, "nothing is left to do");
}

#[test]
fn a_vanishing_pivot_is_reported_and_the_step_still_exact() {
    let (d, h) = (5, numbers(5, 3));
    let config = FactoredConfig { loss: Spherical::SquaredError, ..FactoredConfig::default() };
    let mut w = numbers(12 * d, 1);
    for rows in [1, 7] {
        // 1 − 2 η |h|² = 0 for one row; for several copies of it, with their mean, the same.
        let eta = 0.5 / h.iter().map(|x| x * x).sum::<f64>();
        let mut layer = FactoredOutput::new(View::new(&w, 12, d).unwrap(), config).unwrap();
        let hidden = h.repeat(rows);
        let targets = vec![4; rows];
        let step = layer.step(View::new(&hidden, rows, d).unwrap(), &Targets::Classes(&targets), eta).unwrap();
        assert!(step.whole, "{rows} rows");
        dense_step(&mut w, d, &hidden, &vec![vec![(4, 1.0)]; rows], &config, eta, false);
        close("weights", &layer.to_dense(), &w, 1e-12);
        let next = numbers(3 * d, 8);
        layer.step(View::new(&next, 3, d).unwrap(), &Targets::Classes(&[1, 2, 1]), 0.01).unwrap();
        dense_step(&mut w, d, &next, &vec![vec![(1, 1.0)], vec![(2, 1.0)], vec![(1, 1.0)]], &config, 0.01, false);
        close("weights after the next step", &layer.to_dense(), &w, 1e-12);
    }
}

#[test]
fn single_precision_is_near_and_threads_do_not_matter() {
    let (classes, d, m) = (3000, 40, 150);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut layer = FactoredOutput::<f32>::seeded(classes, d, 3, FactoredConfig::default()).unwrap();
            let mut losses = Vec::new();
            for at in 0..12 {
                let h: Vec<f32> = numbers(m * d, at).iter().map(|x| *x as f32).collect();
                let targets: Vec<u32> = (0..m).map(|i| ((i * 37 + at) % classes) as u32).collect();
                let hidden = View::new(&h, m, d).unwrap();
                losses.push(layer.step(hidden, &Targets::Classes(&targets), 5.0).unwrap().loss);
            }
            (layer, losses)
        })
    };
    let (layer, losses) = run(1);
    let (other, more) = run(3);
    assert!(layer == other && losses == more);
    let start = FactoredOutput::<f32>::seeded(classes, d, 3, FactoredConfig::default()).unwrap();
    let dense: Vec<f64> = start.to_dense().iter().map(|x| f64::from(*x)).collect();
    let mut double = FactoredOutput::new(View::new(&dense, classes, d).unwrap(), FactoredConfig::default()).unwrap();
    for (at, loss) in losses.iter().enumerate() {
        let h = numbers(m * d, at);
        let targets: Vec<u32> = (0..m).map(|i| ((i * 37 + at) % classes) as u32).collect();
        let step = double.step(View::new(&h, m, d).unwrap(), &Targets::Classes(&targets), 5.0).unwrap();
        assert!((step.loss - loss).abs() < 1e-5 * step.loss, "{at}: {} {loss}", step.loss);
    }
    let single: Vec<f64> = layer.to_dense().iter().map(|x| f64::from(*x)).collect();
    close("weights", &single, &double.to_dense(), 1e-5);
}

#[test]
fn the_z_loss_only_lets_the_weights_grow() {
    let (classes, d) = (30, 4);
    let config = FactoredConfig { loss: Spherical::Z { a: 1.0, b: 3.0, eps: 0.0 }, ..FactoredConfig::default() };
    let w = numbers(classes * d, 2);
    let mut layer = FactoredOutput::new(View::new(&w, classes, d).unwrap(), config).unwrap();
    let sums = layer.column_sum();
    for at in 0..20 {
        let h = numbers(d, 40 + at);
        let before = layer.to_dense();
        let norm = layer.norm().powi(2);
        layer.step(View::new(&h, 1, d).unwrap(), &Targets::Classes(&[at as u32]), 0.5).unwrap();
        let after = layer.to_dense();
        let moved: f64 = after.iter().zip(&before).map(|(a, b)| (a - b).powi(2)).sum();
        // |W|² grows by the square of the step: the step is orthogonal to W.
        assert!((layer.norm().powi(2) - norm - moved).abs() < 1e-11 * norm, "{at}");
    }
    close("column sums never change", &layer.column_sum(), &sums, 1e-13);
}

#[test]
fn the_best_classes_and_ranks_are_those_of_all_scores() {
    fn check<T: Real>(tolerance: f64) {
        let (classes, d, m, k) = (1300, 9, 300, 7);
        let w: Vec<T> = numbers(classes * d, 4).iter().map(|x| T::of(x + 0.5)).collect();
        let mut layer = FactoredOutput::new(View::new(&w, classes, d).unwrap(), FactoredConfig::default()).unwrap();
        let h: Vec<T> = numbers(m * d, 6).iter().map(|x| T::of(*x)).collect();
        let hidden = View::new(&h, m, d).unwrap();
        let targets: Vec<u32> = (0..m).map(|i| (i * 31 % classes) as u32).collect();
        layer.step(hidden, &Targets::Classes(&targets), 1.0).unwrap();
        let dense = layer.to_dense();
        let found = layer.top_k(hidden, k).unwrap();
        let ranks = layer.ranks(hidden, &targets).unwrap();
        for i in 0..m {
            let score = |c: usize| (0..d).map(|x| dense[c * d + x].f64() * h[i * d + x].f64()).sum::<f64>();
            let scores: Vec<f64> = (0..classes).map(score).collect();
            let mut order: Vec<usize> = (0..classes).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            for at in 0..k {
                let (class, value) = (found.classes[i * k + at] as usize, found.scores[i * k + at].f64());
                assert!(
                    (value - scores[class]).abs() < tolerance && (scores[class] - scores[order[at]]).abs() < tolerance
                );
            }
            let best = found.classes[i * k..(i + 1) * k].iter().position(|c| *c == targets[i]);
            assert_eq!(best.unwrap_or(k), ranks[i].min(k), "row {i}");
            let exact = order.iter().position(|c| *c == targets[i] as usize).unwrap();
            assert!(tolerance > 1e-9 || ranks[i] == exact);
        }
        assert_eq!(layer.top_k(hidden, 5000).unwrap().k, classes);
    }
    check::<f64>(1e-11);
    check::<f32>(1e-4);
}

#[test]
fn parts_make_the_same_layer_again() {
    let mut layer = FactoredOutput::<f32>::seeded(50, 6, 1, FactoredConfig::default()).unwrap();
    let h: Vec<f32> = numbers(4 * 6, 1).iter().map(|x| *x as f32).collect();
    let hidden = View::new(&h, 4, 6).unwrap();
    layer.step(hidden, &Targets::Classes(&[1, 2, 3, 49]), 1.0).unwrap();
    let mut again = FactoredOutput::from_parts(50, 6, *layer.config(), layer.parts().clone()).unwrap();
    let a = layer.step(hidden, &Targets::Classes(&[7, 2, 9, 0]), 1.0).unwrap();
    let b = again.step(hidden, &Targets::Classes(&[7, 2, 9, 0]), 1.0).unwrap();
    assert!(a == b && layer == again && layer.steps() == 2);
    let mut parts = layer.parts().clone();
    parts.u.pop();
    let message = |parts| FactoredOutput::from_parts(50, 6, *layer.config(), parts).unwrap_err().to_string();
    assert!(message(parts).starts_with("U has shape [35]"));
    let mut parts = layer.parts().clone();
    parts.gram[7] = f64::NAN;
    assert!(message(parts).contains("the Gram matrix holds NaN at row 1, column 1"));
    assert!(FactoredOutput::from_parts(51, 6, *layer.config(), layer.parts().clone()).is_err());
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let config = FactoredConfig::default();
    let layer = FactoredOutput::<f64>::seeded(10, 3, 1, config).unwrap();
    let h = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    let mut other = layer.clone();
    let mut message = |h: &[f64], cols: usize, targets: Targets<'_>, eta: f64| {
        let hidden = View::new(h, h.len() / cols, cols).unwrap();
        other.step(hidden, &targets, eta).unwrap_err().to_string()
    };
    let two = Targets::Classes(&[1, 2]);
    assert_eq!(message(&h, 3, Targets::Classes(&[1, 10]), 0.1), "label 10 at row 1: there are 10 classes");
    assert!(message(&h, 3, Targets::Classes(&[1]), 0.1).contains("targets"));
    assert!(message(&h, 2, two, 0.1).contains("the width of the layer"));
    assert!(message(&[0.1, 0.2, 0.3, 0.4, f64::NAN, 0.6], 3, two, 0.1).contains("row 1, column 1"));
    assert!(message(&h, 3, two, 0.0).contains("learning_rate = 0"));
    assert!(message(&h, 3, two, f64::MAX).contains("a smaller one"));
    let lists = Sparse::from_rows([vec![1u32], vec![2, 10]]);
    assert!(message(&h, 3, Targets::Sparse { classes: &lists, weights: &[1.0; 3] }, 0.1).contains("label 10 at row 1"));
    assert!(message(&h, 3, Targets::Sparse { classes: &lists, weights: &[1.0; 2] }, 0.1).contains("weights"));
    assert!(other == layer);

    let error = |config: FactoredConfig, w: &[f64], classes: usize| {
        FactoredOutput::new(View::new(w, classes, w.len() / classes).unwrap(), config).unwrap_err().to_string()
    };
    assert!(error(config, &[1.0, 2.0], 1).contains("classes = 1"));
    assert!(error(config, &[0.0; 8], 4).contains("no spread"), "zero weights give no gradient");
    assert!(error(config, &[1.0, f64::NAN, 0.0, 0.0], 2).contains("row 0, column 1"));
    assert!(error(FactoredConfig { weight_decay: -1.0, ..config }, &h, 2).contains("weight_decay"));
    assert!(error(FactoredConfig { stabilize_every: 0, ..config }, &h, 2).contains("stabilize_every"));
    let mut decayed = FactoredOutput::<f64>::seeded(10, 3, 1, FactoredConfig { weight_decay: 2.0, ..config }).unwrap();
    let hidden = View::new(&h, 2, 3).unwrap();
    assert!(decayed.step(hidden, &two, 0.5).unwrap_err().to_string().contains("1/weight_decay"));
    assert!(decayed.top_k(hidden, 0).is_err() && decayed.ranks(hidden, &[1]).is_err());
    assert!(
        serde_json::from_str::<FactoredConfig>(r#"{"loss":{"kind":"softmax"}}"#).is_err(),
        "not a loss of the family"
    );
    // The mean over no rows that count is 0 and changes nothing.
    let nothing = decayed.step(hidden, &Targets::Classes(&[NONE, NONE]), 0.1).unwrap();
    assert_eq!((nothing.loss, nothing.grad_hidden), (0.0, vec![0.0; 6]));
}
