//! What aggregation of responses costs: the risk of the interpolating estimator in high dimensions, the best interpolation, and
//! the best size of a bag under label differential privacy.
//!
//! Setting: rows `x ~ N(0, I_d)`, responses `y = x·θ₀ + ε` with `‖θ₀‖ = r` and `ε ~ N(0, σ²)`, `d/n → ψ`, random bags of k rows
//! whose mean response alone is known, and `θ̂ = argmin L_ρ + λ‖θ‖²` with the squared loss of
//! [`crate::segments::aggregate_loss`]. Risk is the excess error of prediction, `‖θ̂ − θ₀‖²`.
//!
//! Problem and interpolation: Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions (arXiv
//! 2401.11081). The formulas are our derivation (convex Gaussian min–max over the means of bags and what is left within them) and
//! agree with simulation; the parametrisation of the paper may differ.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// ψ = d/n > 0: features a row of the data.
    pub psi: f64,
    /// k ≥ 1: rows a bag.
    pub bag_size: f64,
    /// ρ in `[0, 1]`: 0 is the bag-level loss, 1 the instance-level loss.
    pub rho: f64,
    /// λ ≥ 0: ridge penalty.
    pub lambda: f64,
    /// r = ‖θ₀‖.
    pub signal_norm: f64,
    /// σ: standard deviation of the noise of a response.
    pub noise_std: f64,
}

/// The asymptotic risk with its parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    /// ψ times the normalised trace of the inverse Gram matrix.
    pub t: f64,
    /// Shrinkage along θ₀: `⟨θ̂ − θ₀, θ₀⟩/r`, negative where the estimate is too short.
    pub alpha: f64,
    /// The part that the noise has no share in.
    pub bias2: f64,
    /// The part of the noise.
    pub variance: f64,
    /// Their sum.
    pub risk: f64,
}

fn at_least(name: &str, value: f64, bound: f64) -> Result<()> {
    match value.is_finite() && value >= bound {
        true => Ok(()),
        false => Err(Error::parameter(name, value, format!("a finite number ≥ {bound}"))),
    }
}

fn more_than_zero(name: &str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(Error::parameter(name, value, "a finite number > 0")),
    }
}

impl Setting {
    fn check(&self) -> Result<()> {
        more_than_zero("psi", self.psi)?;
        at_least("bag_size", self.bag_size, 1.0)?;
        at_least("lambda", self.lambda, 0.0)?;
        at_least("signal_norm", self.signal_norm, 0.0)?;
        at_least("noise_std", self.noise_std, 0.0)?;
        match (0.0..=1.0).contains(&self.rho) {
            true => Ok(()),
            false => Err(Error::parameter("rho", self.rho, "a number in [0, 1]")),
        }
    }

    /// The root of the increasing function `t [ (1/k)/(1+t) + ρ(1−1/k)/(1+ρt) + λ ] = ψ`.
    fn t(&self) -> Result<f64> {
        let (x, rho) = (1.0 / self.bag_size, self.rho);
        let left = |t: f64| t * (x / (1.0 + t) + rho * (1.0 - x) / (1.0 + rho * t) + self.lambda);
        let limit = if self.lambda > 0.0 { f64::INFINITY } else { x + if rho > 0.0 { 1.0 - x } else { 0.0 } };
        if limit <= self.psi {
            return Err(Error::Undefined {
                what: format!("the risk at psi = {}, bag_size = {}, rho = {rho}, lambda = 0", self.psi, self.bag_size),
                reason: "the problem is under-determined: add lambda".into(),
            });
        }
        let mut high = 1.0;
        while left(high) < self.psi {
            high *= 2.0;
            if !f64::is_finite(high) {
                return Err(Error::Undefined {
                    what: "the risk".into(),
                    reason: "it is at the edge of being under-determined: add lambda".into(),
                });
            }
        }
        let mut low = 0.0;
        // To neighbouring numbers: the function is cheap.
        loop {
            let middle = low + (high - low) / 2.0;
            if middle <= low || middle >= high {
                return Ok(middle);
            }
            if left(middle) < self.psi { low = middle } else { high = middle }
        }
    }

    /// The asymptotic risk.
    ///
    /// With `a = (1/k)/(1+t)`, `b = ρ(1−1/k)/(1+ρt) + λ`, `α = −r b t/ψ`, `c₁ = (1/k)/(1+t)²`, `c₂ = (1−1/k) ρ²/(1+ρt)²` and
    /// `D = ψ − t²(c₁ + c₂)`: `bias² = α² + t² (c₁ α² + c₂ (α + r)²)/D`, `variance = t² c₁ σ²/D`.
    ///
    /// # Errors
    /// Parameters out of range; [`Error::Undefined`] where the unpenalised problem is under-determined.
    pub fn risk(&self) -> Result<Risk> {
        self.check()?;
        let t = self.t()?;
        let (x, rho, r) = (1.0 / self.bag_size, self.rho, self.signal_norm);
        let b = rho * (1.0 - x) / (1.0 + rho * t) + self.lambda;
        let alpha = -r * b * t / self.psi;
        let c1 = x / (1.0 + t).powi(2);
        let c2 = (1.0 - x) * rho * rho / (1.0 + rho * t).powi(2);
        let den = self.psi - t * t * (c1 + c2);
        if den <= 0.0 {
            return Err(Error::Undefined { what: "the risk".into(), reason: "it is infinite: add lambda".into() });
        }
        let bias2 = alpha * alpha + t * t * (c1 * alpha * alpha + c2 * (alpha + r).powi(2)) / den;
        let variance = t * t * c1 * self.noise_std.powi(2) / den;
        Ok(Risk { t, alpha, bias2, variance, risk: bias2 + variance })
    }

    /// The same setting with another ρ.
    pub fn with_rho(self, rho: f64) -> Self {
        Self { rho, ..self }
    }

    /// The ρ in `[0, 1]` of least risk, with that risk: grid, then golden section. `rho` of the setting is not looked at.
    ///
    /// # Errors
    /// As [`Setting::risk`], where no ρ is determined.
    pub fn best_rho(&self) -> Result<(f64, f64)> {
        const GRID: usize = 200;
        self.with_rho(0.5).check()?;
        // Infinite where a ρ alone is under-determined.
        let risk = |rho: f64| self.with_rho(rho).risk().map_or(f64::INFINITY, |r| r.risk);
        let at = |k: usize| k as f64 / GRID as f64;
        let best = (0..=GRID).min_by(|a, b| risk(at(*a)).total_cmp(&risk(at(*b)))).unwrap_or(0);
        if risk(at(best)) == f64::INFINITY {
            return Err(self.with_rho(at(best)).risk().err().unwrap_or_else(|| Error::Undefined {
                what: "the best rho".into(),
                reason: "no rho has a finite risk".into(),
            }));
        }
        let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(GRID)));
        let ratio = (5f64.sqrt() - 1.0) / 2.0;
        while high - low > 1e-9 {
            let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
            if risk(a) <= risk(b) { high = b } else { low = a }
        }
        // The least may lie at an end, which golden section only comes near.
        let rho = [low, (low + high) / 2.0, high, at(best)].into_iter().min_by(|a, b| risk(*a).total_cmp(&risk(*b)));
        let rho = rho.unwrap_or(0.0);
        Ok((rho, risk(rho)))
    }
}

/// A label-differentially private release of means of bags: responses clipped to `[−clip, clip]`, noise of scale `2C/(kε)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// C > 0.
    pub clip: f64,
    /// ε > 0.
    pub epsilon: f64,
}

impl Privacy {
    fn check(&self) -> Result<()> {
        more_than_zero("clip", self.clip)?;
        more_than_zero("epsilon", self.epsilon)
    }

    /// Scale of the noise of a bag of `k` rows.
    pub fn laplace_scale(&self, k: f64) -> f64 {
        2.0 * self.clip / (k * self.epsilon)
    }

    /// The setting in which this release of it learns: noise of variance `2·scale²` on a mean of k is extra noise of variance
    /// `8C²/(kε²)` on each response. Clipping is not accounted for.
    pub fn noisy(&self, setting: &Setting) -> Setting {
        let extra = setting.bag_size * 2.0 * self.laplace_scale(setting.bag_size).powi(2);
        Setting { noise_std: (setting.noise_std.powi(2) + extra).sqrt(), ..*setting }
    }

    /// The bag size in `1..=most` of least risk for a setting with any ρ and λ, and that risk.
    ///
    /// # Errors
    /// As [`Setting::risk`], where no size is determined.
    pub fn best_bag_size(&self, setting: &Setting, most: usize) -> Result<(usize, f64)> {
        self.check()?;
        let risk = |k: usize| self.noisy(&Setting { bag_size: k as f64, ..*setting }).risk();
        risk(1).map(|_| ()).or_else(|e| if matches!(e, Error::Parameter { .. }) { Err(e) } else { Ok(()) })?;
        let all = (1..=most.max(1)).filter_map(|k| risk(k).ok().map(|r| (k, r.risk)));
        all.min_by(|a, b| a.1.total_cmp(&b.1)).ok_or_else(|| Error::Undefined {
            what: format!("the best bag size up to {most}"),
            reason: "every size is under-determined: add lambda".into(),
        })
    }
}

/// The best size of a bag for the instance-level loss without penalty; infinite where predicting nothing is best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceBagSize {
    /// Where the risk is least over all real sizes ≥ 1.
    pub continuous: f64,
    /// The better of the whole numbers around it.
    pub integer: f64,
    /// The risk there.
    pub risk: f64,
    /// Scale of the noise there.
    pub laplace_scale: f64,
}

/// The best size of a bag for the instance-level loss (ρ = 1, λ = 0) under a private release, in closed form.
///
/// With `c = ψ/(1−ψ)`, `ν = 8C²/ε²` and `x = 1/k` the risk is `r²(1−x)² + c [ r² x(1−x) + σ² x + ν x² ]`, least at
/// `x* = (2r² − c(r² + σ²)) / (2(r² − c r² + c ν))`, cut to `[0, 1]`; where the denominator is not positive at the better end.
///
/// # Errors
/// [`Error::Parameter`] unless `0 < ψ < 1`, `r ≥ 0`, `σ ≥ 0`, and clip and ε are positive.
pub fn instance_bag_size(psi: f64, signal_norm: f64, noise_std: f64, privacy: &Privacy) -> Result<InstanceBagSize> {
    if !(psi > 0.0 && psi < 1.0) {
        return Err(Error::parameter(
            "psi",
            psi,
            "a number in (0, 1): without penalty there must be more rows than features",
        ));
    }
    at_least("signal_norm", signal_norm, 0.0)?;
    at_least("noise_std", noise_std, 0.0)?;
    privacy.check()?;
    let (c, nu) = (psi / (1.0 - psi), 8.0 * privacy.clip.powi(2) / privacy.epsilon.powi(2));
    let (r2, s2) = (signal_norm.powi(2), noise_std.powi(2));
    let risk = |x: f64| r2 * (1.0 - x).powi(2) + c * (r2 * x * (1.0 - x) + s2 * x + nu * x * x);
    let denominator = 2.0 * (r2 - c * r2 + c * nu);
    let best = if denominator > 0.0 {
        ((2.0 * r2 - c * (r2 + s2)) / denominator).clamp(0.0, 1.0)
    } else if risk(0.0) <= risk(1.0) {
        0.0
    } else {
        1.0
    };
    let continuous = 1.0 / best;
    let integer = match continuous.is_finite() {
        false => f64::INFINITY,
        true => {
            let (floor, ceil) = (continuous.floor(), continuous.ceil());
            if risk(1.0 / floor) <= risk(1.0 / ceil) { floor } else { ceil }
        }
    };
    Ok(InstanceBagSize {
        continuous,
        integer,
        risk: risk(1.0 / integer),
        laplace_scale: if integer.is_finite() { privacy.laplace_scale(integer) } else { 0.0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Setting = Setting { psi: 0.1, bag_size: 5.0, rho: 0.0, lambda: 0.0, signal_norm: 1.0, noise_std: 1.0 };

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-10 * (1.0 + b.abs())
    }

    #[test]
    fn special_cases_in_closed_form() {
        for (psi, k, r, s) in [(0.1, 5.0, 1.0, 1.0), (0.05, 8.0, 0.7, 2.0), (0.3, 2.0, 1.4, 0.1)] {
            let at = |rho| Setting { psi, bag_size: k, rho, lambda: 0.0, signal_norm: r, noise_std: s }.risk().unwrap();
            assert!(close(at(0.0).risk, s * s * psi * k / (1.0 - psi * k)));
            let (x, c) = (1.0 / k, psi / (1.0 - psi));
            let whole = r * r * (1.0 - x).powi(2) + c * (r * r * x * (1.0 - x) + s * s * x);
            assert!(close(at(1.0).risk, whole));
        }
        // Bags of one: ρ does not matter.
        let one = |rho| Setting { bag_size: 1.0, rho, lambda: 0.1, ..PLAIN }.risk().unwrap().risk;
        assert!(close(one(0.0), one(0.3)) && close(one(0.3), one(1.0)));
    }

    #[test]
    fn the_best_rho_beats_its_neighbours_and_the_ends() {
        // Rounded values of the settings that were simulated.
        for (s, k, rho, risk) in [(1.0, 2.0, 0.183, 0.199), (1.0, 5.0, 0.130, 0.430), (2.0, 5.0, 0.586, 0.722)] {
            let setting = Setting { bag_size: k, noise_std: s, ..PLAIN };
            let (best, found) = setting.best_rho().unwrap();
            assert!((best - rho).abs() < 2e-3 && (found - risk).abs() < 1e-3, "{best} {found}");
            for other in [0.0, best - 1e-3, best + 1e-3, 1.0] {
                assert!(setting.with_rho(other).risk().unwrap().risk > found);
            }
        }
        // Without a ridge the bag level has no solution here, and other ρ have.
        let (rho, _) = Setting { psi: 0.5, ..PLAIN }.best_rho().unwrap();
        assert!(rho > 0.0);
    }

    #[test]
    fn the_closed_form_agrees_with_a_search_over_sizes() {
        for (psi, r, s, clip, epsilon) in
            [(0.1, 1.0, 0.5, 3.0, 1.0), (0.1, 1.0, 0.5, 3.0, 2.0), (0.3, 2.0, 1.0, 2.0, 0.7)]
        {
            let privacy = Privacy { clip, epsilon };
            let closed = instance_bag_size(psi, r, s, &privacy).unwrap();
            let setting = Setting { psi, bag_size: 1.0, rho: 1.0, lambda: 0.0, signal_norm: r, noise_std: s };
            let (size, risk) = privacy.best_bag_size(&setting, 300).unwrap();
            assert_eq!(closed.integer, size as f64);
            assert!(close(closed.risk, risk));
        }
        let nothing = instance_bag_size(0.6, 0.3, 2.0, &Privacy { clip: 2.0, epsilon: 1.0 }).unwrap();
        assert_eq!((nothing.integer, nothing.laplace_scale), (f64::INFINITY, 0.0));
    }

    #[test]
    fn bad_input_is_named() {
        let message = |s: Setting| s.risk().unwrap_err().to_string();
        assert!(message(Setting { psi: 0.0, ..PLAIN }).contains("psi = 0"));
        assert!(message(Setting { bag_size: 0.5, ..PLAIN }).contains("bag_size = 0.5"));
        assert!(message(Setting { rho: 1.5, ..PLAIN }).contains("rho = 1.5"));
        assert!(message(Setting { lambda: -1.0, ..PLAIN }).contains("lambda = -1"));
        assert!(message(Setting { psi: 0.2, ..PLAIN }).contains("under-determined: add lambda"));
        let privacy = Privacy { clip: 1.0, epsilon: 1.0 };
        assert!(instance_bag_size(1.0, 1.0, 1.0, &privacy).unwrap_err().to_string().contains("psi = 1"));
        let bad = Privacy { clip: 1.0, epsilon: 0.0 };
        assert!(instance_bag_size(0.5, 1.0, 1.0, &bad).unwrap_err().to_string().contains("epsilon = 0"));
        assert!(bad.best_bag_size(&PLAIN, 5).unwrap_err().to_string().contains("epsilon = 0"));
    }
}
