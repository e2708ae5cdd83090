//! Focal loss: cross-entropy that fades out where the target is already probable.

use super::common::{TargetAndOthers, above, against, times, to_entries, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Sweep, Term,
};
use crate::error::Result;
use crate::real::{Real, sigmoid};
use serde::{Deserialize, Serialize};

/// `loss_i = −α w_y (1 − p_y)^γ ln p_y`, `p = softmax(scores_i)`; mean over rows that have a class.
///
/// Reads scores `[B, N]` or queries `[B, d]` and class weights `[N, d]` (with a bias `[N]` if there is one), and the class of
/// each row. `w` is 1, or the batch's class weights (the paper's `α_t`; they do not change the divisor). `ln p` and
/// `1 − p` both come from the target's score against the others, so neither cancels: a row won by 700 still has its
/// tiny loss, and a lost row is linear in its scores. Rows without a class are ignored: value 0, no gradient, not
/// counted. γ = 0 is cross-entropy; a single class gives 0.
///
/// Reference: Focal Loss for Dense Object Detection (arXiv 1708.02002), here over the softmax.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Focal {
    /// γ ≥ 0: how fast easy rows fade. Default 2 (the paper).
    pub gamma: f64,
    /// α > 0: factor of the whole. Default 1 (the paper's 0.25 balances two classes).
    pub alpha: f64,
}

impl Default for Focal {
    fn default() -> Self {
        Self { gamma: 2.0, alpha: 1.0 }
    }
}

impl Configured for Focal {
    fn check(&self) -> Result<()> {
        within("gamma", self.gamma, 0.0, f64::INFINITY)?;
        above("alpha", self.alpha, 0.0)
    }
}

impl<T: Real> Objective<T> for Focal {
    fn name(&self) -> &'static str {
        "focal"
    }

    fn matrices(&self) -> Vec<MatrixSpec> {
        vec![MatrixSpec::main(Scorer::Inner)]
    }

    fn coupling(&self) -> Coupling {
        Coupling::RowByRow
    }

    fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
        Ok(batch.targets_for("focal")?.iter().filter(|t| **t != NONE).count() as f64)
    }

    fn evaluate(&self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
        let targets = batch.targets_for("focal")?;
        let found = TargetAndOthers::sweep(engine, Argument::of(0), targets, Set::others(targets.into()))?;
        let (alpha, gamma) = (T::of(self.alpha), T::of(self.gamma));
        let weight = |target: u32| match (target, batch.class_weights) {
            (NONE, _) => T::zero(),
            (target, Some(w)) => alpha * w[target as usize],
            (_, None) => alpha,
        };
        // With x = others − target: −ln p = softplus(x), 1 − p = σ(x), and
        // d/dx (1 − p)^γ (−ln p) = (1 − p)^γ (γ p (−ln p) + 1 − p).
        let (values, slopes): (Vec<T>, Vec<T>) = (targets.iter().zip(&found.others.1.values).zip(&found.target_values))
            .map(|((target, others), score)| {
                let (loss, missed) = against(*others, *score);
                let fade = weight(*target) * missed.powf(gamma);
                (fade * loss, fade * (gamma * sigmoid(*score - *others) * loss + missed))
            })
            .unzip();
        Ok(Outcome::new(values, move |upstream| {
            let others = times(upstream, &slopes);
            let target = to_entries(&others, &found.lists).into_iter().map(|x| -x).collect();
            let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
            Backward::terms(vec![Term::new(lse, value, others), Term::new(gather, at, target)])
        }))
    }
}

pub(crate) const ENTRY: Entry = Entry {
    name: "focal",
    aliases: &["focal_loss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Cross-entropy weighted by (1 − p)^γ: attention goes to the rows that are not yet right.",
    formula: "loss_i = −α (1 − p_iy)^γ ln p_iy,   p_i = softmax(s_i)",
    parameters: &[
        ParameterDoc::main("gamma", "γ ≥ 0, how fast easy rows fade; 2 by default (the paper)", &[0.5, 1.0, 2.0, 5.0]),
        ParameterDoc::new("alpha", "α > 0, factor of the whole; 1 by default (class weights do the balancing)"),
    ],
    paper: Paper { title: "Focal Loss for Dense Object Detection", id: "1708.02002" },
    when: "A flood of easy rows hides the hard ones (strong imbalance, detection); over-confident classifiers: γ around 1 \
           to 3 often calibrates them.",
    when_not: "Wrong labels, which look like hard rows and get the attention (try a bounded loss); balanced data with \
               enough capacity, where plain cross-entropy learns faster.",
    pytorch: "(lambda ce: ({alpha} * (-torch.expm1(-ce)) ** {gamma} * ce).mean())(F.cross_entropy(x @ W.T + b, y, reduction='none'))",
    build: build_from::<Focal>,
    defaults: defaults_of::<Focal>,
};

#[cfg(test)]
mod tests {
    use super::super::softmax_cross_entropy::SoftmaxCrossEntropy;
    use super::super::testing::{Case, check_all, check_gradients};
    use super::*;
    use crate::engine::{Evaluation, Options, View, evaluate};

    fn focal(gamma: f64, alpha: f64, scores: &[f64], columns: usize, targets: Vec<u32>) -> Evaluation<f64> {
        let batch = Batch::scores(View::new(scores, targets.len(), columns).unwrap()).with_targets(targets);
        evaluate(&Focal { gamma, alpha }, &batch, &Options::default()).unwrap()
    }

    #[test]
    fn gradients_and_schedules() {
        check_all("focal", Reads::ClassHead);
        check_all("focal:gamma=0.5,alpha=0.25", Reads::ClassHead);
        let mut case = Case::random(Reads::ClassHead, 6, 4, 3, 12);
        case.bias = Some(vec![0.3, -0.2, 0.1, 0.5]);
        case.targets.as_mut().unwrap()[2] = NONE;
        check_gradients(&Focal { gamma: 1.5, alpha: 2.0 }, &case, 1e-6);
    }

    #[test]
    fn without_fading_it_is_cross_entropy() {
        let case = Case::random(Reads::ClassHead, 9, 5, 4, 13);
        let a = case.run::<f64>(&Focal { gamma: 0.0, alpha: 1.0 }, &Options::default());
        let b = case.run::<f64>(&SoftmaxCrossEntropy::default(), &Options::default());
        assert_eq!(a.values, b.values);
        assert!(a.gradients.queries.iter().zip(&b.gradients.queries).all(|(x, y)| (x - y).abs() < 1e-15));
    }

    #[test]
    fn won_and_lost_rows_keep_their_digits() {
        // Two classes, one score apart by x: p = σ(−x).
        let run = |x: f64| focal(2.0, 1.0, &[0.0, x], 2, vec![0]);
        // p → 1: value e^{3x}, slope 3 e^{3x}, far below what 1 − p could resolve.
        let won = run(-60.0);
        let tiny = (-180f64).exp();
        assert!((won.loss / tiny - 1.0).abs() < 1e-12 && (won.gradients.scores[1] / (3.0 * tiny) - 1.0).abs() < 1e-12);
        // p → 0: linear.
        let lost = run(1e4);
        assert_eq!((lost.loss, &lost.gradients.scores[..]), (1e4, &[-1.0, 1.0][..]));
        let settled = focal(0.5, 1.0, &[1e4, -1e4], 2, vec![0]);
        assert_eq!((settled.loss, &settled.gradients.scores[..]), (0.0, &[-0.0, 0.0][..]));
        // Ties over n classes.
        let tie = focal(2.0, 0.5, &[3.0; 4], 4, vec![1]);
        assert!((tie.loss - 0.5 * 0.75 * 0.75 * 4f64.ln()).abs() < 1e-15);
        // A single class leaves nothing to lose.
        assert_eq!(focal(0.0, 1.0, &[2.0], 1, vec![0]).loss, 0.0);
    }

    #[test]
    fn ignored_rows_and_class_weights() {
        let scores: Vec<f64> = (0..9).map(|k| f64::from(k).cos()).collect();
        let plain = focal(2.0, 1.0, &scores, 3, vec![0, NONE, 2]);
        assert_eq!((plain.values[1], plain.normalizer), (0.0, 2.0));
        assert!(plain.gradients.scores[3..6].iter().all(|g| *g == 0.0));
        let weights = [3.0, 1.0, 0.5];
        let batch = Batch::scores(View::new(&scores, 3, 3).unwrap()).with_targets(vec![0, NONE, 2]);
        let batch = batch.with_class_weights(&weights);
        let weighted = evaluate(&Focal::default(), &batch, &Options::default()).unwrap();
        let expected = (3.0 * plain.values[0] + 0.5 * plain.values[2]) / 2.0;
        assert!((weighted.loss - expected).abs() < 1e-15);
        assert!((weighted.gradients.scores[7] - 0.5 * plain.gradients.scores[7]).abs() < 1e-16);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |spec: &str| crate::objective::parse(spec).map(|_| ()).unwrap_err().to_string();
        assert!(message("focal:gamma=-1").contains("gamma = -1"));
        assert!(message("focal:alpha=0").contains("alpha = 0"));
        let scores = [0.0f64, 1.0];
        let batch = Batch::scores(View::new(&scores, 1, 2).unwrap());
        let error = evaluate(&Focal::default(), &batch, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("targets"), "{error}");
    }
}
