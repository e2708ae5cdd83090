//! Multi-class support vector losses: the largest violated margin, or all of them.

use super::common::{one_column, spread, times, to_entries, within};
use super::ldr::{LdrKl, Normalization};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, Map, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Statistic, Sweep, Term,
};
use crate::error::Result;
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// `loss_i = max(0, max_{k≠y} (s_k − s_y + c))`: the largest violated margin. [`LdrKl`] at λ = 0; ties share the slope.
///
/// Inputs as for cross-entropy, with at least two classes; rows without a class are ignored.
///
/// Reference: On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines (JMLR 2, 2001).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrammerSinger {
    /// c ≥ 0. Default 1 (the paper).
    pub margin: f64,
}

impl Default for CrammerSinger {
    fn default() -> Self {
        Self { margin: 1.0 }
    }
}

impl Configured for CrammerSinger {
    fn check(&self) -> Result<()> {
        within("margin", self.margin, 0.0, f64::INFINITY)
    }
}

impl CrammerSinger {
    fn as_ldr(&self) -> LdrKl {
        LdrKl { lambda: 0.0, margin: self.margin, normalize: Normalization::None }
    }
}

impl<T: Real> Objective<T> for CrammerSinger {
    fn name(&self) -> &'static str {
        "crammer_singer"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Objective::<T>::normalizer(&self.as_ldr(), batch)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        self.as_ldr().evaluate(engine, batch)
    }
}

/// `loss_i = Σ_{k≠y} max(0, s_k − s_y + c)`: every violated margin. (PyTorch's `MultiMarginLoss` is this over the number of classes.)
///
/// Inputs as for cross-entropy; rows without a class are ignored. The slope at 0 is 0.
///
/// Reference: Weston and Watkins, Support Vector Machines for Multi-Class Pattern Recognition (ESANN 1999).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WestonWatkins {
    /// c ≥ 0. Default 1 (PyTorch's `MultiMarginLoss`).
    pub margin: f64,
}

impl Default for WestonWatkins {
    fn default() -> Self {
        Self { margin: 1.0 }
    }
}

impl Configured for WestonWatkins {
    fn check(&self) -> Result<()> {
        within("margin", self.margin, 0.0, f64::INFINITY)
    }
}

impl<T: Real> Objective<T> for WestonWatkins {
    fn name(&self) -> &'static str {
        "weston_watkins"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(batch.targets_for("weston_watkins")?.iter().filter(|t| **t != NONE).count() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("weston_watkins")?;
        let lists = one_column(targets);
        let gather = Statistic::gather(Argument::of(0), lists.clone());
        let at = engine.sweep(std::slice::from_ref(&gather))?.remove(0);
        let margin = T::of(self.margin);
        let shift: Vec<T> = spread(&at, &lists, T::zero()).iter().map(|s| margin - *s).collect();
        let wanted =
            Statistic::sum_with_moments(Map::Hinge, Argument::of(0).shifted(shift), Set::others(targets.into()));
        let found = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
        let counted: Vec<T> = targets.iter().map(|t| if *t == NONE { T::zero() } else { T::one() }).collect();
        Ok(Outcome::new(times(&found.values, &counted), move |upstream| {
            let weight = times(upstream, &counted);
            let pull: Vec<T> = times(&weight, &found.slope).into_iter().map(|x| -x).collect();
            Backward::terms(vec![
                Term::new(wanted.clone(), found.clone(), weight),
                Term::new(gather.clone(), at.clone(), to_entries(&pull, &lists)),
            ])
        }))
    }
}

const MARGIN: &str = "c ≥ 0; 1 by default";

pub(crate) const CRAMMER_SINGER: Entry = Entry {
    name: "crammer_singer",
    aliases: &["multiclass_hinge"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Multi-class SVM: the largest violated margin.",
    formula: "loss_i = max(0, max_{k≠y} (s_k − s_y + c))",
    parameters: &[ParameterDoc::main("margin", MARGIN, &[0.1, 1.0, 10.0])],
    paper: Paper {
        title: "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines",
        id: "JMLR 2 (2001)",
    },
    when: "A decision with a margin is wanted and probabilities are not.",
    when_not: "Noisy labels (it is not consistent where no class has half of the probability), or calibrated scores.",
    pytorch: "s = x @ W.T + b; sy = s.gather(1, y[:, None]); (s - sy + {margin} * (1 - F.one_hot(y, s.shape[1]))).amax(1).mean()",
    build: build_from::<CrammerSinger>,
    defaults: defaults_of::<CrammerSinger>,
};

pub(crate) const WESTON_WATKINS: Entry = Entry {
    name: "weston_watkins",
    aliases: &["multi_margin"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Multi-class SVM: the sum of all violated margins.",
    formula: "loss_i = Σ_{k≠y} max(0, s_k − s_y + c)",
    parameters: &[ParameterDoc::main("margin", MARGIN, &[0.1, 1.0, 10.0])],
    paper: Paper { title: "Support Vector Machines for Multi-Class Pattern Recognition", id: "ESANN 1999" },
    when: "A decision with margins against every class is wanted and probabilities are not.",
    when_not: "Many classes (the sum is dominated by easy ones), noisy labels, or calibrated scores.",
    pytorch: "s = x @ W.T + b; F.multi_margin_loss(s, y, margin={margin}) * s.shape[1]",
    build: build_from::<WestonWatkins>,
    defaults: defaults_of::<WestonWatkins>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::check_all;
    use super::*;
    use crate::engine::{Options, View, evaluate};

    #[test]
    fn gradients_and_schedules() {
        check_all("crammer_singer", Reads::ClassHead);
        check_all("weston_watkins:margin=0.3", Reads::ClassHead);
    }

    #[test]
    fn margins_are_counted_once_or_all() {
        let scores = [1.0f64, 0.5, 3.0, -2.0, 5.0, 0.0, 0.0, 0.0];
        let batch = Batch::scores(View::new(&scores, 2, 4).unwrap()).with_targets(vec![0, 0]);
        let run = |loss: &dyn Objective<f64>| evaluate(loss, &batch, &Options::default()).unwrap();
        assert_eq!(run(&CrammerSinger::default()).values, [3.0, 0.0]);
        let all = run(&WestonWatkins::default());
        assert_eq!(all.values, [3.5, 0.0]);
        assert_eq!(all.gradients.scores, [-1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
