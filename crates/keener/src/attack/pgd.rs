//! Projected gradient ascent.

use super::{Attacked, Goal};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::real::Real;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How the size of a change is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// The largest change of a feature; steps follow the sign of the gradient.
    #[default]
    Linf,
    /// The Euclidean length of a row's change; steps follow the gradient's direction.
    L2,
}

/// Projected gradient ascent within a ball around each row: `δ ← Π_ε(δ + step · direction)`, then the row is clipped to its range.
///
/// Reference: Towards Deep Learning Models Resistant to Adversarial Attacks (arXiv 1706.06083).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PgdConfig {
    /// How changes are measured (default `linf`).
    pub norm: Norm,
    /// Radius of the ball (default 8/255, that of images in the literature).
    pub epsilon: f64,
    /// Length of a step (default 2/255).
    pub step: f64,
    /// Steps (default 10).
    pub steps: usize,
    /// Starts; of several, each row keeps its worst (default 1). The first start is the row itself, unless `random_start`.
    pub restarts: usize,
    /// Whether the first start too is random within the ball (default true; goals that measure a move need it).
    pub random_start: bool,
    /// What is to rise.
    pub goal: Goal,
    /// Least value of a feature, if there is one.
    pub clip_min: Option<f64>,
    /// Greatest value of a feature, if there is one.
    pub clip_max: Option<f64>,
}

impl Default for PgdConfig {
    fn default() -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: 8.0 / 255.0,
            step: 2.0 / 255.0,
            steps: 10,
            restarts: 1,
            random_start: true,
            goal: Goal::CrossEntropy,
            clip_min: None,
            clip_max: None,
        }
    }
}

/// A checked [`PgdConfig`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pgd(PgdConfig);

/// What an attack found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// The moved rows `[B, d]`.
    pub x: Vec<T>,
    /// Their scores `[B, n]`.
    pub scores: Vec<T>,
    /// The value of the goal, one a row.
    pub values: Vec<T>,
}

impl PgdConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// A parameter out of range, by name.
    pub fn check(self) -> Result<Pgd> {
        let finite =
            |name: &str, value: f64, zero: bool| match value.is_finite() && (value > 0.0 || zero && value == 0.0) {
                true => Ok(()),
                false => {
                    let expected = if zero { "a finite number ≥ 0" } else { "a finite number > 0" };
                    Err(Error::parameter(name, value, expected))
                }
            };
        finite("epsilon", self.epsilon, true)?;
        finite("step", self.step, false)?;
        if self.restarts == 0 {
            return Err(Error::parameter("restarts", 0, "at least 1"));
        }
        let (low, high) = self.range();
        if low.is_nan() || high.is_nan() || low > high {
            return Err(Error::parameter("clip_min", low, format!("a number up to clip_max = {high}")));
        }
        Ok(Pgd(self))
    }

    fn range(&self) -> (f64, f64) {
        (self.clip_min.unwrap_or(f64::NEG_INFINITY), self.clip_max.unwrap_or(f64::INFINITY))
    }
}

impl Pgd {
    /// The configuration.
    pub fn config(&self) -> &PgdConfig {
        &self.0
    }

    /// Attacks rows `x` `[B, d]` of classes `targets`; `seed` draws the random starts.
    ///
    /// # Errors
    /// Shapes and labels that do not fit, and what the model raises.
    pub fn attack<T: Real>(
        &self,
        model: &mut dyn Attacked<T>,
        x: &[T],
        targets: &[u32],
        seed: u64,
    ) -> Result<Found<T>> {
        let (_, d, _) = self.checked(model, x, targets)?;
        let mut best: Option<Found<T>> = None;
        for restart in 0..self.0.restarts {
            let start = match restart > 0 || self.0.random_start {
                true => self.random(x.len(), d, seed, restart),
                false => vec![T::zero(); x.len()],
            };
            let found = self.from(model, x, targets, start)?;
            best = Some(match best {
                None => found,
                Some(best) => worse(best, found, d),
            });
        }
        // There is at least one start.
        best.ok_or_else(|| Error::parameter("restarts", 0, "at least 1"))
    }

    /// As [`Pgd::attack`], from the changes `delta` `[B, d]`, once.
    ///
    /// # Errors
    /// As [`Pgd::attack`].
    pub fn from<T: Real>(
        &self,
        model: &mut dyn Attacked<T>,
        x: &[T],
        targets: &[u32],
        mut delta: Vec<T>,
    ) -> Result<Found<T>> {
        let (rows, d, n) = self.checked(model, x, targets)?;
        if delta.len() != x.len() {
            return Err(Error::shape("start_delta", &[delta.len()], format!("[{rows}, {d}]")));
        }
        let clean = model.scores(x)?;
        let clean = View::new(&clean, rows, n)?;
        self.project(&mut delta, x, d);
        let moved = |delta: &[T]| -> Vec<T> { x.iter().zip(delta).map(|(x, d)| *x + *d).collect() };
        let goal = self.0.goal;
        for _ in 0..self.0.steps {
            let gradient = model.gradient(&moved(&delta), &mut |scores| {
                Ok(goal.evaluate(clean, View::new(scores, rows, n)?, targets)?.1)
            })?;
            self.ascend(&mut delta, &gradient, d);
            self.project(&mut delta, x, d);
        }
        let at = moved(&delta);
        let scores = model.scores(&at)?;
        let (values, _) = goal.evaluate(clean, View::new(&scores, rows, n)?, targets)?;
        Ok(Found { x: at, scores, values })
    }

    fn checked<T>(&self, model: &dyn Attacked<T>, x: &[T], targets: &[u32]) -> Result<(usize, usize, usize)> {
        let (rows, d, n) = model.shape();
        if x.len() != rows * d || targets.len() != rows {
            return Err(Error::shape("x", &[targets.len(), x.len()], format!("{rows} targets, [{rows}, {d}]")));
        }
        match targets.iter().position(|t| *t as usize >= n) {
            None => Ok((rows, d, n)),
            Some(row) => Err(Error::Label { label: i64::from(targets[row]), row, classes: n }),
        }
    }

    fn random<T: Real>(&self, length: usize, d: usize, seed: u64, restart: usize) -> Vec<T> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(restart as u64);
        let mut delta: Vec<f64> = (0..length).map(|_| rng.random_range(-1.0..=1.0)).collect();
        if self.0.norm == Norm::L2 {
            // Uniform over directions of the cube, anywhere between centre and surface.
            for row in delta.chunks_exact_mut(d.max(1)) {
                let length = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                let radius = rng.random_range(0.0..=1.0);
                row.iter_mut().for_each(|v| *v *= radius / length);
            }
        }
        delta.into_iter().map(|v| T::of(self.0.epsilon * v)).collect()
    }

    fn ascend<T: Real>(&self, delta: &mut [T], gradient: &[T], d: usize) {
        let step = T::of(self.0.step);
        match self.0.norm {
            Norm::Linf => {
                for (v, g) in delta.iter_mut().zip(gradient) {
                    *v += if *g == T::zero() { T::zero() } else { step * g.signum() };
                }
            }
            Norm::L2 => {
                for (v, g) in delta.chunks_exact_mut(d.max(1)).zip(gradient.chunks_exact(d.max(1))) {
                    let length = g.iter().map(|g| *g * *g).sum::<T>().sqrt();
                    if length > T::zero() {
                        v.iter_mut().zip(g).for_each(|(v, g)| *v += step * *g / length);
                    }
                }
            }
        }
    }

    /// Back into the ball, then into the range of the features.
    fn project<T: Real>(&self, delta: &mut [T], x: &[T], d: usize) {
        let epsilon = T::of(self.0.epsilon);
        match self.0.norm {
            Norm::Linf => delta.iter_mut().for_each(|v| *v = v.max(-epsilon).min(epsilon)),
            Norm::L2 => {
                for v in delta.chunks_exact_mut(d.max(1)) {
                    let length = v.iter().map(|v| *v * *v).sum::<T>().sqrt();
                    if length > epsilon {
                        v.iter_mut().for_each(|v| *v *= epsilon / length);
                    }
                }
            }
        }
        if self.0.clip_min.is_some() || self.0.clip_max.is_some() {
            let (low, high) = self.0.range();
            let (low, high) = (T::of(low), T::of(high));
            for (v, x) in delta.iter_mut().zip(x) {
                *v = (*x + *v).max(low).min(high) - *x;
            }
        }
    }
}

/// Of two finds the one whose goal is higher, row by row; the first where they tie.
fn worse<T: Real>(mut a: Found<T>, b: Found<T>, d: usize) -> Found<T> {
    let n = a.scores.len() / a.values.len().max(1);
    for row in 0..a.values.len() {
        if b.values[row] > a.values[row] {
            a.values[row] = b.values[row];
            a.x[row * d..(row + 1) * d].copy_from_slice(&b.x[row * d..(row + 1) * d]);
            a.scores[row * n..(row + 1) * n].copy_from_slice(&b.scores[row * n..(row + 1) * n]);
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::LinearModel;
    use super::*;

    const W: [f64; 6] = [1.0, 0.0, -1.0, 0.5, 0.0, -2.0];
    const X: [f64; 4] = [0.3, 0.4, 0.6, 0.1];

    fn attack(config: PgdConfig) -> Found<f64> {
        let mut model = LinearModel::new(View::new(&W, 3, 2).unwrap(), &[], 2).unwrap();
        config.check().unwrap().attack(&mut model, &X, &[0, 2], 7).unwrap()
    }

    #[test]
    fn a_linear_model_is_moved_to_the_corner_that_hurts_most() {
        // Margin of row 0 against class 1: s_1 − s_0 = −2 x_0 + 0.5 x_1, worst at (x_0 − ε, x_1 + ε).
        let config = PgdConfig { epsilon: 0.1, step: 0.05, goal: Goal::Margin, ..PgdConfig::default() };
        let found = attack(config);
        assert!((found.x[0] - 0.2).abs() < 1e-12 && (found.x[1] - 0.5).abs() < 1e-12, "{:?}", found.x);
        let clipped = attack(PgdConfig { clip_min: Some(0.25), clip_max: Some(0.45), ..config });
        assert!((clipped.x[0] - 0.25).abs() < 1e-12 && (clipped.x[1] - 0.45).abs() < 1e-12);
        // Euclidean: along the gradient (−2, 0.5), of length ε.
        let round = attack(PgdConfig { norm: Norm::L2, steps: 60, ..config });
        let (a, b) = (round.x[0] - 0.3, round.x[1] - 0.4);
        assert!((a.hypot(b) - 0.1).abs() < 1e-12 && (a / b + 4.0).abs() < 1e-2, "{a} {b}");
    }

    #[test]
    fn restarts_never_hurt_and_runs_repeat() {
        let config = PgdConfig { epsilon: 0.5, step: 0.3, steps: 2, goal: Goal::MarginShift, ..PgdConfig::default() };
        let (one, many) = (attack(config), attack(PgdConfig { restarts: 5, ..config }));
        assert!(one.values.iter().zip(&many.values).all(|(a, b)| b >= a));
        assert_eq!(many, attack(PgdConfig { restarts: 5, ..config }));
        let still = attack(PgdConfig { epsilon: 0.0, ..config });
        assert_eq!(still.x, X);
    }

    #[test]
    fn bad_input_is_named() {
        let fails = |config: PgdConfig| config.check().unwrap_err().to_string();
        assert!(fails(PgdConfig { epsilon: -0.1, ..Default::default() }).contains("epsilon"));
        assert!(fails(PgdConfig { step: 0.0, ..Default::default() }).contains("step"));
        let crossed = PgdConfig { clip_min: Some(1.0), clip_max: Some(0.0), ..Default::default() };
        assert!(fails(crossed).contains("clip_min"));
        let mut model = LinearModel::new(View::new(&W, 3, 2).unwrap(), &[], 2).unwrap();
        let pgd = PgdConfig::default().check().unwrap();
        assert!(pgd.attack(&mut model, &X, &[0, 3], 1).unwrap_err().to_string().contains("label 3 at row 1"));
        assert!(pgd.attack(&mut model, &X[..3], &[0, 1], 1).is_err());
    }
}
