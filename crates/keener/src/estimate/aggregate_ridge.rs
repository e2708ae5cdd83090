//! Linear regression on responses that are known as means of bags only.

use crate::engine::View;
use crate::error::{Error, Result};
use crate::segments::Bags;
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

/// `θ = argmin (1 − ρ) L_bag + ρ L_ins + λ‖θ‖²` with squared losses, in closed form.
///
/// With mean rows `x̄_a` of bags of `k_a` rows: `A θ = b`, `A = (1/n) [ Σ_a k_a x̄_a x̄_aᵀ + ρ Σ_i (x_i − x̄_a)(x_i − x̄_a)ᵀ ] + λI`,
/// `b = (1/n) Σ_a k_a ȳ_a x̄_a`. Solved by Cholesky; `O(n d² + d³)`.
///
/// Reference: Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions (arXiv 2401.11081).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AggregateRidge {
    /// ρ in `[0, 1]`: 0 compares means of bags with responses, 1 every prediction with the response of its bag.
    pub rho: f64,
    /// λ ≥ 0.
    pub lambda: f64,
    /// Where the data do not determine θ: take the solution of least norm instead of an error (default false).
    pub minimum_norm: bool,
}

/// What was fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateRidgeFit {
    /// `[d]`
    pub theta: Vec<f64>,
    /// `L_ρ + λ‖θ‖²` at θ.
    pub objective: f64,
}

impl AggregateRidge {
    /// Fits features `[n, d]` to the responses `[M]` of the bags.
    ///
    /// # Errors
    /// ρ or λ out of range, shapes that do not fit, numbers that are not finite; [`Error::Undefined`] where the system is
    /// singular: the problem is under-determined.
    pub fn fit(&self, x: View<'_, f64>, bags: &Bags, responses: &[f64]) -> Result<AggregateRidgeFit> {
        if !(0.0..=1.0).contains(&self.rho) {
            return Err(Error::parameter("rho", self.rho, "a number in [0, 1]"));
        }
        if !(self.lambda.is_finite() && self.lambda >= 0.0) {
            return Err(Error::parameter("lambda", self.lambda, "a finite number ≥ 0"));
        }
        let (n, d) = (x.rows(), x.cols());
        if n != bags.rows() || n == 0 || d == 0 {
            let expected = format!("[{}, d], a row for each row of the bags, neither of them none", bags.rows());
            return Err(Error::shape("features", &[n, d], expected));
        }
        if responses.len() != bags.len() {
            return Err(Error::shape("responses of bags", &[responses.len()], format!("[{}], one a bag", bags.len())));
        }
        for (what, data, width) in [("features", x.data(), d), ("responses of bags", responses, 1)] {
            if let Some(at) = data.iter().position(|v| !v.is_finite()) {
                let (value, row, column) = (data[at].to_string(), at / width, at % width);
                return Err(Error::NonFinite { what: what.into(), value, row, column });
            }
        }
        let means = bags.means(x.data(), d)?;
        // Rows √(k/n) x̄ and √(ρ/n) (x − x̄): their Gram matrix is A − λI without a difference of large numbers.
        let within = if self.rho > 0.0 { n } else { 0 };
        let mut rows = Mat::<f64>::zeros(bags.len() + within, d);
        let mut b = Mat::<f64>::zeros(d, 1);
        for bag in 0..bags.len() {
            let (mean, weight) = (&means[bag * d..(bag + 1) * d], bags.size(bag) as f64 / n as f64);
            for j in 0..d {
                rows[(bag, j)] = weight.sqrt() * mean[j];
                b[(j, 0)] += weight * responses[bag] * mean[j];
            }
            if within > 0 {
                let weight = (self.rho / n as f64).sqrt();
                for row in bags.rows_of(bag) {
                    for j in 0..d {
                        rows[(bags.len() + row, j)] = weight * (x.row(row)[j] - mean[j]);
                    }
                }
            }
        }
        let mut a = rows.transpose() * &rows;
        for j in 0..d {
            a[(j, j)] += self.lambda;
        }
        let theta = match cholesky(&a, &b) {
            Some(theta) => theta,
            None if self.minimum_norm => minimum_norm(&a, &b)?,
            None => {
                return Err(Error::Undefined {
                    what: format!("the fit of {d} features to {} bags at rho = {}", bags.len(), self.rho),
                    reason: "the system is singular, the problem under-determined: add lambda".into(),
                });
            }
        };
        let theta: Vec<f64> = (0..d).map(|j| theta[(j, 0)]).collect();
        let predictions: Vec<f64> = (0..n).map(|row| x.row(row).iter().zip(&theta).map(|(x, t)| x * t).sum()).collect();
        let kind = crate::segments::AggregateKind::Squared;
        let responses = View::new(responses, bags.len(), 1)?;
        let loss = crate::segments::aggregate_loss(kind, self.rho, &predictions, bags, responses)?.loss;
        let norm2: f64 = theta.iter().map(|t| t * t).sum();
        Ok(AggregateRidgeFit { theta, objective: loss + self.lambda * norm2 })
    }
}

/// The solution, unless a pivot is lost in the rounding of the largest.
fn cholesky(a: &Mat<f64>, b: &Mat<f64>) -> Option<Mat<f64>> {
    let factor = a.llt(Side::Lower).ok()?;
    let l = factor.L();
    let pivots: Vec<f64> = (0..a.nrows()).map(|j| l[(j, j)].powi(2)).collect();
    let (low, high) = pivots.iter().fold((f64::INFINITY, 0.0f64), |(l, h), p| (l.min(*p), h.max(*p)));
    (low > high * f64::EPSILON * 8.0 * a.nrows() as f64).then(|| factor.solve(b))
}

/// Through eigenvalues, those that are rounding left out.
fn minimum_norm(a: &Mat<f64>, b: &Mat<f64>) -> Result<Mat<f64>> {
    let failed = |_| Error::Undefined { what: "the fit".into(), reason: "its eigenvalues do not converge".into() };
    let eigen = a.self_adjoint_eigen(Side::Lower).map_err(failed)?;
    let (u, s) = (eigen.U(), eigen.S().column_vector());
    let largest = (0..a.nrows()).map(|j| s[j].abs()).fold(0.0, f64::max);
    let mut along = u.transpose() * b;
    for j in 0..a.nrows() {
        let kept = s[j] > largest * f64::EPSILON * 8.0 * a.nrows() as f64;
        along[(j, 0)] = if kept { along[(j, 0)] / s[j] } else { 0.0 };
    }
    Ok(u * along)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::numbers;
    use rand::SeedableRng;

    fn problem(n: usize, d: usize, bags: usize) -> (Vec<f64>, Bags, Vec<f64>) {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        let ids: Vec<u32> = (0..n).map(|r| ((r * 7) % bags) as u32).collect();
        (numbers(&mut rng, n * d), Bags::new(&ids, bags).unwrap(), numbers(&mut rng, bags))
    }

    #[test]
    fn the_objective_is_stationary_and_least() {
        let (x, bags, y) = problem(30, 3, 10);
        let view = View::new(&x, 30, 3).unwrap();
        for (rho, lambda) in [(0.0, 0.0), (0.3, 0.1), (1.0, 0.0), (1.0, 2.0)] {
            let ridge = AggregateRidge { rho, lambda, minimum_norm: false };
            let fit = ridge.fit(view, &bags, &y).unwrap();
            let value = |theta: &[f64]| {
                let f: Vec<f64> = (0..30).map(|r| view.row(r).iter().zip(theta).map(|(x, t)| x * t).sum()).collect();
                let responses = View::new(&y, 10, 1).unwrap();
                let kind = crate::segments::AggregateKind::Squared;
                let loss = crate::segments::aggregate_loss(kind, rho, &f, &bags, responses).unwrap().loss;
                loss + lambda * theta.iter().map(|t| t * t).sum::<f64>()
            };
            assert!((value(&fit.theta) - fit.objective).abs() < 1e-14);
            for j in 0..3 {
                for step in [1e-4, -1e-4] {
                    let mut moved = fit.theta.clone();
                    moved[j] += step;
                    assert!(value(&moved) > fit.objective, "rho {rho}, lambda {lambda}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_determined_is_an_error_or_the_least_norm() {
        let (x, bags, y) = problem(30, 12, 10);
        let view = View::new(&x, 30, 12).unwrap();
        let ridge = AggregateRidge { rho: 0.0, lambda: 0.0, minimum_norm: false };
        let message = ridge.fit(view, &bags, &y).unwrap_err().to_string();
        assert!(message.contains("under-determined: add lambda"), "{message}");
        let least = AggregateRidge { minimum_norm: true, ..ridge }.fit(view, &bags, &y).unwrap();
        assert!(least.objective < 1e-20, "ten responses are met exactly: {}", least.objective);
        // The limit of a vanishing penalty.
        let almost = AggregateRidge { lambda: 1e-9, ..ridge }.fit(view, &bags, &y).unwrap();
        assert!(least.theta.iter().zip(&almost.theta).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn bad_input_is_named() {
        let (x, bags, y) = problem(30, 3, 10);
        let view = View::new(&x, 30, 3).unwrap();
        let fit = |rho, lambda, y: &[f64]| {
            AggregateRidge { rho, lambda, minimum_norm: false }.fit(view, &bags, y).unwrap_err().to_string()
        };
        assert!(fit(-0.1, 0.0, &y).contains("rho = -0.1"));
        assert!(fit(0.0, f64::NAN, &y).contains("lambda = NaN"));
        assert!(fit(0.0, 0.0, &y[1..]).contains("one a bag"));
        let mut bad = y.clone();
        bad[4] = f64::INFINITY;
        assert!(fit(0.0, 0.0, &bad).contains("responses of bags holds inf at row 4"));
    }
}
