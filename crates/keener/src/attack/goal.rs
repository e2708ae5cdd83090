//! What an attack wants to rise.

use crate::engine::{Batch, Objective, Options, View, evaluate};
use crate::error::Result;
use crate::objective::{SmoothAdvCompSum, SoftmaxCrossEntropy, Trades};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// A value for each row that an attack raises by moving the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Cross-entropy of the class (Madry et al., arXiv 1706.06083).
    #[default]
    #[serde(alias = "ce")]
    CrossEntropy,
    /// `max_{k≠y} s_k − s_y`: above 0 the row is misclassified.
    Margin,
    /// `‖D' − D‖₂` of the vectors of margins `D_j = s_y − s_j`, against the clean scores (ADV-COMP-SUM, arXiv 2304.07288).
    MarginShift,
    /// `KL(softmax(s) ‖ softmax(s'))`, against the clean scores (TRADES, arXiv 1901.08573).
    Kl,
}

impl std::str::FromStr for Goal {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ce" | "cross_entropy" => Ok(Self::CrossEntropy),
            "margin" => Ok(Self::Margin),
            "margin_shift" => Ok(Self::MarginShift),
            "kl" => Ok(Self::Kl),
            _ => Err(crate::Error::parameter("goal", text, "ce, margin, margin_shift or kl")),
        }
    }
}

impl Goal {
    /// Whether its slope vanishes where nothing has moved yet, so that an attack must start elsewhere.
    pub fn needs_a_start(self) -> bool {
        matches!(self, Self::MarginShift | Self::Kl)
    }

    /// Values `[B]` at scores `moved` `[B, n]`, and the derivative of their sum with respect to them; `clean` are the scores before.
    ///
    /// # Errors
    /// Labels outside the classes, scores that are not finite.
    pub fn evaluate<T: Real>(
        self,
        clean: View<'_, T>,
        moved: View<'_, T>,
        targets: &[u32],
    ) -> Result<(Vec<T>, Vec<T>)> {
        let one = Batch::scores(moved).with_targets(targets);
        let both = || Batch::scores(clean).with_second_scores(moved).with_targets(targets);
        match self {
            Self::CrossEntropy => {
                let (values, _, moved) = summed(&SoftmaxCrossEntropy::default(), &one)?;
                Ok((values, moved))
            }
            Self::Margin => {
                one.check(true)?;
                Ok(margins(moved, targets))
            }
            // The clean terms of both do not depend on the moved scores.
            Self::MarginShift => {
                let loss = SmoothAdvCompSum { tau: 1.0, rho: 1.0, nu: 1.0 };
                let found = evaluate(&loss, &both(), &Options::default())?;
                let values = found.report.into_iter().find(|(name, _)| *name == "margin_shift_norm");
                let factor = T::of(found.normalizer);
                let slope = found.gradients.second_scores.into_iter().map(|g| g * factor).collect();
                Ok((values.map(|(_, v)| v).unwrap_or_default(), slope))
            }
            Self::Kl => {
                let (values, second, _) = summed(&Trades { beta: 1.0 }, &both())?;
                let plain = evaluate(
                    &SoftmaxCrossEntropy::default(),
                    &Batch::scores(clean).with_targets(targets),
                    &Options::default(),
                )?;
                Ok((values.iter().zip(&plain.values).map(|(v, p)| *v - *p).collect(), second))
            }
        }
    }
}

/// Values, and the gradients of their sum with respect to second and first scores.
fn summed<T: Real>(objective: &dyn Objective<T>, batch: &Batch<'_, T>) -> Result<(Vec<T>, Vec<T>, Vec<T>)> {
    let found = evaluate(objective, batch, &Options::default())?;
    let factor = T::of(found.normalizer);
    let scaled = |g: Vec<T>| g.into_iter().map(|g| g * factor).collect();
    Ok((found.values, scaled(found.gradients.second_scores), scaled(found.gradients.scores)))
}

fn margins<T: Real>(scores: View<'_, T>, targets: &[u32]) -> (Vec<T>, Vec<T>) {
    let mut slope = vec![T::zero(); scores.data().len()];
    let values = (0..scores.rows()).map(|row| {
        let (s, y) = (scores.row(row), targets[row] as usize);
        let mut top: Option<usize> = None;
        for k in (0..s.len()).filter(|k| *k != y) {
            top = if top.is_some_and(|t| s[t] >= s[k]) { top } else { Some(k) };
        }
        let (Some(top), Some(target)) = (top, s.get(y)) else { return T::zero() };
        slope[row * s.len() + top] = T::one();
        slope[row * s.len() + y] = -T::one();
        s[top] - *target
    });
    (values.collect(), slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::numbers;
    use rand::SeedableRng;

    #[test]
    fn slopes_are_those_of_the_values() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let (clean, moved, targets) = (numbers(&mut rng, 12), numbers(&mut rng, 12), [0, 3, 2]);
        let view = |v| View::new(v, 3, 4).unwrap();
        for goal in [Goal::CrossEntropy, Goal::Margin, Goal::MarginShift, Goal::Kl] {
            let sum = |m: &[f64]| {
                goal.evaluate(view(&clean), View::new(m, 3, 4).unwrap(), &targets).unwrap().0.iter().sum::<f64>()
            };
            let (_, slope) = goal.evaluate(view(&clean), view(&moved), &targets).unwrap();
            for k in 0..12 {
                let shifted = |by: f64| {
                    let mut m = moved.clone();
                    m[k] += by;
                    sum(&m)
                };
                let numeric = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                assert!((slope[k] - numeric).abs() < 1e-7, "{goal:?} {k}: {} {numeric}", slope[k]);
            }
            // A move that is none is worth nothing to the goals that measure it.
            let still = goal.evaluate(view(&clean), view(&clean), &targets).unwrap();
            if goal.needs_a_start() {
                assert!(still.0.iter().chain(&still.1).all(|v| v.abs() < 1e-15), "{goal:?}");
            }
        }
    }
}
