//! What the comp-sum losses guarantee: how small the excess zero-one error is, given the excess of the surrogate.
//!
//! For a symmetric and complete hypothesis set (the scores of a point can be any vector), `R01(h) − R01* + M01 ≤
//! Γ_τ(R_τ(h) − R_τ* + M_τ)` with `Γ_τ` the inverse of the transform [`transform`]. `R − R* + M` is `R(h) − E[C*(x)]`, the surrogate risk
//! above the mean least conditional risk ([`optimal_conditional_risk`]): what one computes where the label distribution is known.
//! The least conditional risk is over *unrestricted* scores; measured against the best bounded scores the bound is not valid for
//! three or more classes.
//!
//! Reference: Cross-Entropy Loss Functions: Theoretical Analysis and Applications (arXiv 2304.07288).

use super::root::brent;
use crate::engine::View;
use crate::error::{Error, Result};
use crate::objective::CompSum;
use std::f64::consts::LN_2;

/// Nearer than this to τ = 1 the formulas of τ = 1 are taken: their error is then below that of the cancellation they avoid.
const NEAR_ONE: f64 = 1e-8;

fn check_tau(tau: f64) -> Result<()> {
    match tau.is_finite() && tau >= 0.0 {
        true => Ok(()),
        false => Err(Error::parameter("tau", tau, "a finite number ≥ 0")),
    }
}

fn check_classes(num_classes: usize) -> Result<()> {
    match num_classes {
        2.. => Ok(()),
        n => Err(Error::parameter("num_classes", n, "at least 2")),
    }
}

fn check_each(name: &str, values: &[f64], fits: impl Fn(f64) -> bool, expected: &str) -> Result<()> {
    match values.iter().position(|v| !fits(*v)) {
        None => Ok(()),
        Some(at) => Err(Error::parameter(format!("{name}[{at}]"), values[at], expected)),
    }
}

/// `Φ_τ(u) = ((1 + u)^{1−τ} − 1)/(1 − τ)`, `ln(1 + u)` at τ = 1: the loss of [`CompSum`] as a function of `u = Σ_{j≠y} e^{s_j − s_y}`.
/// Concave and increasing in `u ≥ 0`; ∞ beyond the range of numbers.
pub fn phi(tau: f64, u: f64) -> f64 {
    CompSum { tau }.apply(u.ln_1p()).0
}

/// `ln cosh y`, without cancellation at 0 or overflow.
fn ln_cosh(y: f64) -> f64 {
    let y = y.abs();
    if y < 1.0 { 0.5 * (y.sinh() * y.sinh()).ln_1p() } else { y + (-2.0 * y).exp().ln_1p() - LN_2 }
}

/// `ln av` with `av = (((1 + β)^a + (1 − β)^a)/2)^{2−τ}`, `a = 1/(2 − τ)`, for τ < 2.
///
/// With `y = artanh β` it is `(2 − τ) ln cosh(y/(2 − τ)) − ln cosh(y)`: a difference of two terms of second order, not of two of
/// order one.
fn ln_average(tau: f64, beta: f64) -> f64 {
    let c = 2.0 - tau;
    if beta == 1.0 {
        return (1.0 - c) * LN_2;
    }
    let y = beta.atanh();
    c * ln_cosh(y / c) - ln_cosh(y)
}

fn transform_at(tau: f64, num_classes: usize, beta: f64) -> f64 {
    let n = num_classes as f64;
    if (tau - 1.0).abs() < NEAR_ONE {
        // [(1+β) ln(1+β) + (1−β) ln(1−β)]/2, whose two terms cancel at small β.
        return match beta {
            1.0 => LN_2,
            b => b * b.atanh() - ln_cosh(b.atanh()),
        };
    }
    match tau {
        t if t < 1.0 => -(2f64.powf(1.0 - t) / (1.0 - t)) * ln_average(t, beta).exp_m1(),
        t if t < 2.0 => ln_average(t, beta).exp_m1() / ((t - 1.0) * n.powf(t - 1.0)),
        t => beta / ((t - 1.0) * n.powf(t - 1.0)),
    }
}

/// The transform `T_τ(β)` of errors `β` in `[0, 1]`, for `num_classes` classes: the least surrogate excess of a point whose zero-one
/// excess is β. Increasing, 0 at 0.
///
/// # Errors
/// τ below 0 or not finite, fewer than two classes, β outside `[0, 1]`.
pub fn transform(tau: f64, num_classes: usize, beta: &[f64]) -> Result<Vec<f64>> {
    check_tau(tau)?;
    check_classes(num_classes)?;
    check_each("beta", beta, |b| (0.0..=1.0).contains(&b), "a number in [0, 1]")?;
    Ok(beta.iter().map(|b| transform_at(tau, num_classes, *b)).collect())
}

/// The bound on the zero-one excess for one surrogate excess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// `Γ_τ(t) = T_τ^{-1}(t)`, 1 from `T_τ(1)` on.
    pub exact: f64,
    /// The weaker closed form: `√(2^τ (2 − τ) t)` for τ < 1, `√(2 n^{τ−1} t)` for 1 ≤ τ < 2, `(τ − 1) n^{τ−1} t` from 2 on, at most 1.
    pub simple: f64,
}

/// Bounds on the zero-one excess from surrogate excesses `gap ≥ 0` (∞ allowed).
///
/// # Errors
/// τ below 0 or not finite, fewer than two classes, a negative excess.
pub fn bound(tau: f64, num_classes: usize, gap: &[f64]) -> Result<Vec<Bound>> {
    check_tau(tau)?;
    check_classes(num_classes)?;
    check_each("surrogate_gap", gap, |t| t >= 0.0, "a number ≥ 0")?;
    let n = num_classes as f64;
    let top = transform_at(tau, num_classes, 1.0);
    let one = |t: &f64| {
        let exact = match *t {
            t if t >= top => 1.0,
            0.0 => 0.0,
            t => brent(|beta| transform_at(tau, num_classes, beta) - t, 0.0, 1.0),
        };
        let simple = match tau {
            tau if tau < 1.0 => (2f64.powf(tau) * (2.0 - tau) * t).sqrt(),
            tau if tau < 2.0 => (2.0 * n.powf(tau - 1.0) * t).sqrt(),
            tau => (tau - 1.0) * n.powf(tau - 1.0) * t,
        };
        Bound { exact, simple: simple.min(1.0) }
    };
    Ok(gap.iter().map(one).collect())
}

/// The least conditional risk `C*_τ(q)` over all scores, one a row of the label distributions `q` `[m, n]`.
///
/// `−Σ q ln q` at τ = 1; `([Σ q^{1/(2−τ)}]^{2−τ} − 1)/(1 − τ)` for other τ < 2; `(1 − max q)/(τ − 1)` from 2 on. A softmax reaches it only in
/// the limit where q has zeros, or τ ≥ 2.
///
/// # Errors
/// τ below 0 or not finite, no class, rows with negative entries or whose sum is not 1 (within 1e-6).
pub fn optimal_conditional_risk(tau: f64, q: View<'_, f64>) -> Result<Vec<f64>> {
    check_tau(tau)?;
    if q.cols() == 0 {
        return Err(Error::shape("probs", &[q.rows(), 0], "[m, n] with n ≥ 1"));
    }
    check_each("probs", q.data(), |p| p >= 0.0, "a number ≥ 0")?;
    let one = |row: usize| {
        let q = q.row(row);
        let sum: f64 = q.iter().sum();
        if (sum - 1.0).abs() > 1e-6 || sum.is_nan() {
            return Err(Error::parameter(format!("the sum of probs[{row}]"), sum, "1, within 1e-6"));
        }
        let present = || q.iter().copied().filter(|p| *p > 0.0);
        if (tau - 1.0).abs() < NEAR_ONE {
            return Ok(-present().map(|p| p * p.ln()).sum::<f64>());
        }
        let peak = present().fold(0.0, f64::max);
        Ok(if tau < 2.0 {
            // Relative to the largest, so that a → ∞ does no harm.
            let a = 1.0 / (2.0 - tau);
            let rest: f64 = present().map(|p| (a * (p / peak).ln()).exp()).sum();
            (peak.ln() + (2.0 - tau) * rest.ln()).exp_m1() / (1.0 - tau)
        } else {
            (1.0 - peak) / (tau - 1.0)
        })
    };
    (0..q.rows()).map(one).collect()
}

/// Conditional risk `Σ_y q_y loss_y` of scores `[m, n]` under label distributions `[m, n]`, one a row.
///
/// # Errors
/// τ below 0 or not finite, unlike shapes.
pub fn conditional_risk(tau: f64, q: View<'_, f64>, scores: View<'_, f64>) -> Result<Vec<f64>> {
    check_tau(tau)?;
    if (q.rows(), q.cols()) != (scores.rows(), scores.cols()) {
        return Err(Error::shape("scores", &[scores.rows(), scores.cols()], format!("[{}, {}]", q.rows(), q.cols())));
    }
    let family = CompSum { tau };
    let one = |row: usize| {
        let s = scores.row(row);
        let loss = |y: usize| {
            let u: f64 = (0..s.len()).filter(|j| *j != y).map(|j| (s[j] - s[y]).exp()).sum();
            family.apply(u.ln_1p()).0
        };
        q.row(row).iter().enumerate().filter(|(_, q)| **q > 0.0).map(|(y, q)| q * loss(y)).sum()
    };
    Ok((0..q.rows()).map(one).collect())
}

/// Upper bounds of the minimisability gap `M_τ ≤ Φ_τ(R0*) − E[C*_τ]` (floored at 0) for deterministic labels and scores in
/// `[−Λ, Λ]`, where `E[C*_τ] = Φ_τ((n − 1) e^{−2Λ})`; `best_sum_exp_risk` is R0*, the best risk of τ = 0 in the hypothesis set.
/// Decreasing in τ.
///
/// # Errors
/// Fewer than two classes, a negative or non-finite Λ, risk or τ.
pub fn gap_upper_bound(num_classes: usize, score_bound: f64, best_sum_exp_risk: f64, tau: &[f64]) -> Result<Vec<f64>> {
    check_classes(num_classes)?;
    for (name, value) in [("score_bound", score_bound), ("best_sum_exp_risk", best_sum_exp_risk)] {
        check_each(name, &[value], |v| v.is_finite() && v >= 0.0, "a finite number ≥ 0")?;
    }
    tau.iter().try_for_each(|t| check_tau(*t))?;
    let least = (num_classes as f64 - 1.0) * (-2.0 * score_bound).exp();
    Ok(tau.iter().map(|t| (phi(*t, best_sum_exp_risk) - phi(*t, least)).max(0.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn the_transform_is_smooth_increasing_and_right_at_its_ends() {
        let beta: Vec<f64> = (0..=40).map(|k| f64::from(k) / 40.0).collect();
        for tau in [0.0, 0.3, 0.999_999, 1.0, 1.0 + 1e-9, 1.000_001, 1.5, 1.99, 2.0, 3.0] {
            let t = transform(tau, 3, &beta).unwrap();
            assert_eq!(t[0], 0.0);
            assert!(t.windows(2).all(|w| w[1] > w[0]), "τ = {tau}");
        }
        // The leading term at small β, where a difference of powers would have no digits left.
        for (tau, lead) in [(0.4, 1.0 / (2f64.powf(0.4) * 1.6)), (1.0, 0.5), (1.5, 0.5 / (0.5 * 3f64.sqrt()))] {
            let found = transform(tau, 3, &[1e-9]).unwrap()[0];
            assert!((found / (lead * 1e-18) - 1.0).abs() < 1e-7, "τ = {tau}: {found}");
        }
        let near = transform(1.0 + 1e-6, 2, &[0.3, 0.9]).unwrap();
        let one = transform(1.0, 2, &[0.3, 0.9]).unwrap();
        assert!(near.iter().zip(&one).all(|(a, b)| (a / b - 1.0).abs() < 1e-5));
        // As written in the paper.
        let (tau, beta) = (0.5f64, 0.4f64);
        let a = 1.0 / (2.0 - tau);
        let av = (((1.0 + beta).powf(a) + (1.0 - beta).powf(a)) / 2.0).powf(2.0 - tau);
        let direct = 2f64.powf(1.0 - tau) / (1.0 - tau) * (1.0 - av);
        assert!((transform(tau, 5, &[beta]).unwrap()[0] - direct).abs() < 1e-14);
    }

    #[test]
    fn the_exact_bound_inverts_the_transform_and_is_the_smaller() {
        for tau in [0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 3.0] {
            let beta = [0.0, 1e-7, 1e-3, 0.2, 0.7, 0.999, 1.0];
            let t = transform(tau, 4, &beta).unwrap();
            for (b, bound) in beta.iter().zip(bound(tau, 4, &t).unwrap()) {
                assert!((bound.exact - b).abs() <= 1e-9 * b.max(1e-3), "τ = {tau}: {b} {bound:?}");
                assert!(bound.exact <= bound.simple + 1e-12, "τ = {tau}: {bound:?}");
            }
            assert_eq!(bound(tau, 4, &[f64::INFINITY]).unwrap()[0].exact, 1.0);
        }
    }

    #[test]
    fn no_scores_break_the_bound_and_none_are_below_the_least_risk() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for tau in [0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 3.0] {
            for n in [2, 3, 5] {
                for _ in 0..300 {
                    let e: Vec<f64> = (0..n).map(|_| -rng.random_range(1e-9f64..1.0).ln()).collect();
                    let q: Vec<f64> = e.iter().map(|x| x / e.iter().sum::<f64>()).collect();
                    let s: Vec<f64> = (0..n).map(|_| rng.random_range(-4.0..4.0)).collect();
                    let view = |v| View::new(v, 1, n).unwrap();
                    let risk = conditional_risk(tau, view(&q), view(&s)).unwrap()[0];
                    let excess = risk - optimal_conditional_risk(tau, view(&q)).unwrap()[0];
                    assert!(excess >= -1e-12);
                    let decided = (0..n).max_by(|a, b| s[*a].total_cmp(&s[*b])).unwrap();
                    let error = q.iter().fold(0.0, |m: f64, p| m.max(*p)) - q[decided];
                    let bound = bound(tau, n, &[excess.max(0.0)]).unwrap()[0].exact;
                    assert!(error <= bound + 1e-9, "τ = {tau}, n = {n}: {error} > {bound}");
                }
            }
        }
    }

    #[test]
    fn bad_input_is_named() {
        let text = |r: Result<Vec<f64>>| r.unwrap_err().to_string();
        assert!(text(transform(-0.1, 3, &[0.1])).contains("tau"));
        assert!(text(transform(1.0, 1, &[0.1])).contains("num_classes"));
        assert!(text(transform(1.0, 3, &[0.1, 1.1])).contains("beta[1]"));
        assert!(bound(1.0, 3, &[-1e-9]).unwrap_err().to_string().contains("surrogate_gap[0]"));
        assert!(text(optimal_conditional_risk(1.0, View::new(&[0.5, 0.6], 1, 2).unwrap())).contains("sum of probs[0]"));
        assert!(text(gap_upper_bound(3, -1.0, 0.1, &[1.0])).contains("score_bound"));
    }
}
