//! Reproducible data for the tests, simple enough to be made again in any other language.

/// Numbers in [0, 1): the upper 24 bits of a 64-bit linear congruential generator started at `seed`.
///
/// `s ← s · 6364136223846793005 + 1442695040888963407 mod 2⁶⁴; value = (s >> 40) / 2²⁴`.
pub(crate) fn uniform(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        })
        .collect()
}

/// Class indices `floor(classes · uniform)`.
pub(crate) fn labels(seed: u64, n: usize, classes: usize) -> Vec<usize> {
    uniform(seed, n).into_iter().map(|u| (u * classes as f64) as usize).collect()
}

/// 200 rows of 5 logits in [−3, 3] plus 2 at the label; no label is 4.
pub(crate) fn logits() -> (Vec<f64>, Vec<usize>) {
    let y = labels(1, 200, 4);
    let mut z: Vec<f64> = uniform(2, 1000).iter().map(|u| 6.0 * u - 3.0).collect();
    y.iter().enumerate().for_each(|(i, &y)| z[i * 5 + y] += 2.0);
    (z, y)
}

/// Panics where two slices differ by more than `tolerance`, absolutely and relative to the second.
pub(crate) fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "at {i}: {a}, expected {b}");
    }
}

/// Central differences of `f` at `x`.
pub(crate) fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    (0..x.len())
        .map(|i| {
            let mut moved = x.to_vec();
            moved[i] = x[i] + step;
            let up = f(&moved);
            moved[i] = x[i] - step;
            (up - f(&moved)) / (2.0 * step)
        })
        .collect()
}

/// `n` rows of 6 around class centres `0.35 sin(1 + 3 c + 5 j)`: what the reference figures were computed on.
pub(crate) fn clusters(seed: u64, labels: &[usize]) -> Vec<f64> {
    let noise = uniform(seed, labels.len() * 6);
    let centre = |i: usize| 0.35 * ((1 + 3 * labels[i / 6] + 5 * (i % 6)) as f64).sin();
    noise.iter().enumerate().map(|(i, u)| u - 0.5 + centre(i)).collect()
}

/// 300 scores on 20 levels, positive with a probability that grows with the score.
pub(super) fn levels() -> (Vec<f64>, Vec<bool>) {
    let scores: Vec<f64> = uniform(3, 300).iter().map(|u| (20.0 * u).floor() / 20.0).collect();
    let positive = uniform(4, 300).iter().zip(&scores).map(|(u, s)| *u < 0.25 + 0.4 * s).collect();
    (scores, positive)
}
