//! Comp-sum losses against attacks: the ρ-margin loss at an attacked point, and its smooth upper bound for training.

use super::CompSum;
use super::common::{TargetAndOthers, above, against, one_column, spread, times, to_entries, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Slot, Statistic,
    Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

const PAPER: Paper =
    Paper { title: "Cross-Entropy Loss Functions: Theoretical Analysis and Applications", id: "2304.07288" };

fn counted<T: Real>(targets: &[u32]) -> Vec<T> {
    targets.iter().map(|t| if *t == NONE { T::zero() } else { T::one() }).collect()
}

fn count(targets: &[u32]) -> f64 {
    targets.iter().filter(|t| **t != NONE).count() as f64
}

/// `loss_i = Φ_τ(Σ_{j≠y} min(max(1 − (s_y − s_j)/ρ, 0), 1))`, with the scores at the attacked point.
///
/// `Φ_τ` is that of [`CompSum`]. The loss is at least `Φ_τ(1)` wherever the point is misclassified or tied, so that the adversarial
/// error is at most `loss / Φ_τ(1)`. Inputs as for cross-entropy; rows without a class are ignored; the slope is 0 where a margin
/// lies outside `[0, ρ]`, and at both ends.
///
/// Reference: Cross-Entropy Loss Functions: Theoretical Analysis and Applications (arXiv 2304.07288).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarginCompSum {
    /// τ ≥ 0. Default 1 (the margin form of cross-entropy).
    pub tau: f64,
    /// ρ > 0: the margin. Default 1 (the paper).
    pub rho: f64,
}

impl Default for MarginCompSum {
    fn default() -> Self {
        Self { tau: 1.0, rho: 1.0 }
    }
}

impl Configured for MarginCompSum {
    fn check(&self) -> Result<()> {
        within("tau", self.tau, 0.0, f64::INFINITY)?;
        above("rho", self.rho, 0.0)
    }
}

impl<T: Real> Objective<T> for MarginCompSum {
    fn name(&self) -> &'static str {
        "margin_comp_sum"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(count(batch.targets_for("margin_comp_sum")?))
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("margin_comp_sum")?;
        let lists = one_column(targets);
        let scale = T::of(1.0 / self.rho);
        let gather = Statistic::gather(Argument::of(0).scaled(scale), lists.clone());
        let at = engine.sweep(std::slice::from_ref(&gather))?.remove(0);
        let shift: Vec<T> = spread(&at, &lists, T::zero()).iter().map(|s| T::one() - *s).collect();
        let seen = Argument::of(0).scaled(scale).shifted(shift);
        let wanted = Statistic::sum_with_moments(Map::Ramp, seen, Set::others(targets.into()));
        let found = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
        let family = CompSum { tau: self.tau };
        let (values, slope): (Vec<T>, Vec<T>) = found
            .values
            .iter()
            .zip(counted::<T>(targets))
            .map(|(u, counted)| {
                let (loss, slope) = family.apply(u.ln_1p());
                (counted * loss, counted * slope / (T::one() + *u))
            })
            .unzip();
        Ok(Outcome::new(values, move |upstream| {
            let weight = times(upstream, &slope);
            // Every inner entry pulls the target with the opposite sign.
            let pull: Vec<T> = times(&weight, &found.slope).iter().map(|w| -*w).collect();
            let pull = to_entries(&pull, &lists);
            Backward::terms(vec![
                Term::new(wanted.clone(), found.clone(), weight),
                Term::new(gather.clone(), at.clone(), pull),
            ])
        }))
    }
}

/// `loss_i = Φ_τ(Σ_{j≠y} exp(−D_j/ρ)) + ν ‖D' − D‖₂`, with `D_j = s_y − s_j` of the clean and `D'` of the attacked version.
///
/// The first term is [`CompSum`] at the scores `s/ρ`; the second is how far the attack moves the vector of margins (slope 0 where
/// it does not move at all). With `ν ≥ √(N − 1)/ρ` the loss is at least [`MarginCompSum`] at the attacked point; in practice ν
/// is tuned. Reads two score matrices `[B, N]`, or both versions of the queries and class weights, and the class of each row;
/// gradients go to both. Rows without a class are ignored. Reports `clean_term` and `margin_shift_norm` a row.
///
/// Reference: Cross-Entropy Loss Functions: Theoretical Analysis and Applications (arXiv 2304.07288), ADV-COMP-SUM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothAdvCompSum {
    /// τ ≥ 0. Default 0.4 (the paper's experiments).
    pub tau: f64,
    /// ρ > 0: the margin. Default 1 (the paper's experiments).
    pub rho: f64,
    /// ν ≥ 0: the price of moved margins. Default 1 (the paper's experiments).
    pub nu: f64,
}

impl Default for SmoothAdvCompSum {
    fn default() -> Self {
        Self { tau: 0.4, rho: 1.0, nu: 1.0 }
    }
}

impl Configured for SmoothAdvCompSum {
    fn check(&self) -> Result<()> {
        within("tau", self.tau, 0.0, f64::INFINITY)?;
        above("rho", self.rho, 0.0)?;
        within("nu", self.nu, 0.0, f64::INFINITY)
    }
}

impl<T: Real> Objective<T> for SmoothAdvCompSum {
    fn name(&self) -> &'static str {
        "smooth_adv_comp_sum"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner), MatrixSpec { slot: Slot::Second, scorer: Scorer::Inner }]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(count(batch.targets_for("smooth_adv_comp_sum")?))
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("smooth_adv_comp_sum")?;
        let counted = counted::<T>(targets);
        // How far the target moves; then D' − D is the difference of two small numbers, never of four large ones.
        let lists = one_column(targets);
        let moved = Statistic::gather(Argument::difference(1, 0), lists.clone());
        let at = engine.sweep(std::slice::from_ref(&moved))?.remove(0);
        let shift: Vec<T> = spread(&at, &lists, T::zero()).iter().map(|g| -*g).collect();
        let seen = Argument::difference(1, 0).shifted(shift);
        let squares = Statistic::sum_with_moments(Map::Square, seen, Set::others(targets.into()));
        let scaled = Argument::of(0).scaled(T::of(1.0 / self.rho));
        let (clean, mut extra) =
            TargetAndOthers::sweep_with(engine, scaled, targets, Set::others(targets.into()), vec![squares.clone()])?;
        let found = extra.remove(0);
        let norm: Vec<T> = found.values.iter().zip(&counted).map(|(s, c)| *c * s.sqrt()).collect();
        let family = CompSum { tau: self.tau };
        let rows = clean.others.1.values.iter().zip(&clean.target_values).zip(&counted);
        let (terms, slope): (Vec<T>, Vec<T>) = rows
            .map(|((others, target), counted)| {
                let (cross_entropy, p) = against(*others, *target);
                let (loss, slope) = family.apply(cross_entropy);
                // An infinite slope has no part where the row does not count.
                if *counted == T::zero() { (T::zero(), T::zero()) } else { (loss, slope * p) }
            })
            .unzip();
        let nu = T::of(self.nu);
        let values = terms.iter().zip(&norm).map(|(c, n)| *c + nu * *n).collect();
        engine.report("clean_term", terms);
        engine.report("margin_shift_norm", norm.clone());
        Ok(Outcome::new(values, move |upstream| {
            let others = times(upstream, &slope);
            let target = to_entries(&others, &clean.lists).into_iter().map(|x| -x).collect();
            let half = |(u, n): (&T, &T)| if *n == T::zero() { T::zero() } else { *u * nu / (*n + *n) };
            let shift: Vec<T> = upstream.iter().zip(&norm).map(half).collect();
            let pull: Vec<T> = times(&shift, &found.slope).iter().map(|w| -*w).collect();
            let ((gather, gathered), (lse, value)) = (clean.target.clone(), clean.others.clone());
            Backward::terms(vec![
                Term::new(lse, value, others),
                Term::new(gather, gathered, target),
                Term::new(squares.clone(), found.clone(), shift),
                Term::new(moved.clone(), at.clone(), to_entries(&pull, &lists)),
            ])
        }))
    }
}

pub(crate) const MARGIN: Entry = Entry {
    name: "margin_comp_sum",
    aliases: &["margin_comp_sum_loss"],
    family: Family::Robustness,
    reads: Reads::ClassHead,
    summary: "Comp-sum loss of clipped margins: bounds the (adversarial) error of the point whose scores it is given.",
    formula: "loss_i = Φ_τ(Σ_{j≠y} min(max(1 − (s_y − s_j)/ρ, 0), 1)),  Φ_τ(u) = ((1+u)^(1−τ) − 1)/(1−τ)",
    parameters: &[
        ParameterDoc::new("tau", "τ ≥ 0; 1 by default (the margin form of cross-entropy)"),
        ParameterDoc::main("rho", "ρ > 0, the margin; 1 by default (the paper)", &[0.5, 1.0, 2.0]),
    ],
    paper: PAPER,
    when: "To report or bound robust error: evaluate it at attacked points; loss/Φ_τ(1) is at least the error.",
    when_not: "As the only training objective: its slope is zero for rows that are wrong by more than the margin.",
    pytorch: "s = x @ W.T + b; sy = s.gather(1, y[:, None]); u = (1 - (sy - s) / {rho}).clamp(0, 1).sum(1) - 1; (torch.log1p(u) if {tau} == 1 else ((1 + u) ** (1 - {tau}) - 1) / (1 - {tau})).mean()",
    build: build_from::<MarginCompSum>,
    defaults: defaults_of::<MarginCompSum>,
};

pub(crate) const SMOOTH: Entry = Entry {
    name: "smooth_adv_comp_sum",
    aliases: &["smooth_adv_comp_sum_loss", "adv_comp_sum"],
    family: Family::Robustness,
    reads: Reads::TwoScores,
    summary: "Comp-sum loss on clean input plus how far an attack moves the margins.",
    formula: "loss_i = Φ_τ(Σ_{j≠y} exp(−D_j/ρ)) + ν ‖D' − D‖₂,  D_j = s_y − s_j",
    parameters: &[
        ParameterDoc::new("tau", "τ ≥ 0; 0.4 by default (the paper's experiments)"),
        ParameterDoc::new("rho", "ρ > 0, the margin; 1 by default (the paper's experiments)"),
        ParameterDoc::main(
            "nu",
            "ν ≥ 0, the price of moved margins; 1 by default (the paper's experiments)",
            &[0.1, 0.3, 0.5, 1.0],
        ),
    ],
    paper: PAPER,
    when: "Small worst-case perturbations must not change the decision; ν trades clean for robust accuracy (start at 0.3).",
    when_not: "No attack is to be feared. With a large ν, or a small ρ, the norm's constant slope outweighs the clean term and training collapses; TRADES has no such edge.",
    pytorch: "u = torch.exp((s - s.gather(1, y[:, None])) / {rho}).sum(1) - 1; g = s_adv - s; (((1 + u) ** (1 - {tau}) - 1) / (1 - {tau}) + {nu} * (g - g.gather(1, y[:, None])).norm(dim=1)).mean()",
    build: build_from::<SmoothAdvCompSum>,
    defaults: defaults_of::<SmoothAdvCompSum>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        check_all("margin_comp_sum:tau=0.5,rho=0.7", Reads::ClassHead);
        check_all("margin_comp_sum:tau=2", Reads::ClassHead);
        for spec in ["smooth_adv_comp_sum", "smooth_adv_comp_sum:tau=1,rho=0.5,nu=3", "adv_comp_sum:tau=2,nu=0"] {
            check_all(spec, Reads::TwoScores);
        }
    }

    #[test]
    fn the_chain_of_bounds_holds() {
        // error ≤ margin loss / Φ_τ(1), and margin loss at the attacked point ≤ smooth loss where ν ≥ √(N − 1)/ρ.
        for (seed, tau, rho) in [(1, 0.0, 0.5), (2, 0.4, 1.0), (3, 1.0, 2.0), (4, 1.5, 1.0), (5, 2.0, 0.3)] {
            let case = Case::random(Reads::TwoScores, 40, 6, 3, seed);
            let attacked = Case { queries: case.second.clone().unwrap(), second: None, ..case.clone() };
            let nu = 5f64.sqrt() / rho;
            let smooth = case.run::<f64>(&SmoothAdvCompSum { tau, rho, nu }, &Options::default()).values;
            let margin = attacked.run::<f64>(&MarginCompSum { tau, rho }, &Options::default()).values;
            let lowest = attacked.run::<f64>(&super::super::SoftmaxCrossEntropy::default(), &Options::default());
            let one = CompSum { tau }.apply(2f64.ln()).0;
            for row in 0..40 {
                assert!(margin[row] <= smooth[row] + 1e-12, "τ = {tau}, row {row}");
                // A cross-entropy above ln N is certainly an error.
                if lowest.values[row] > 6f64.ln() {
                    assert!(margin[row] >= one - 1e-12);
                }
            }
        }
    }

    #[test]
    fn an_attack_without_effect_costs_nothing_and_has_no_slope() {
        let mut case = Case::random(Reads::TwoScores, 6, 4, 3, 2);
        case.second = Some(case.queries.clone());
        let both = case.run::<f64>(&SmoothAdvCompSum { tau: 1.0, rho: 1.0, nu: 5.0 }, &Options::default());
        let plain = case.run::<f64>(&CompSum { tau: 1.0 }, &Options::default());
        assert!((both.loss - plain.loss).abs() < 1e-14);
        assert!(both.gradients.second.iter().all(|g| *g == 0.0));
        assert!(SmoothAdvCompSum { nu: -1.0, ..Default::default() }.check().is_err());
        assert!(MarginCompSum { rho: 0.0, tau: 1.0 }.check().is_err());
    }
}
