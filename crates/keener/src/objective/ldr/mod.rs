//! Label-distributionally robust losses: the worst weighting of the class margins near the uniform one.

mod adaptive;
mod at;
mod fixed;
mod normalization;

pub use adaptive::{ALDR_FIELD, AldrKl, AldrVariant};
pub use fixed::LdrKl;
pub use normalization::Normalization;

use super::registry::{Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{Batch, NONE, Sweep};
use crate::error::{Error, Result};
use crate::real::Real;

const PAPER: Paper =
    Paper { title: "Label Distributionally Robust Losses for Multi-class Classification", id: "2112.14869" };

/// The class of each row, in a matrix of at least two columns.
fn targets_of<'b, T: Real>(name: &str, engine: &dyn Sweep<T>, batch: &'b Batch<'_, T>) -> Result<&'b [u32]> {
    let targets = batch.targets_for(name)?;
    match engine.shape(0) {
        (0, _) | (_, 2..) => Ok(targets),
        (_, columns) => Err(Error::Undefined {
            what: name.into(),
            reason: format!("it weighs classes against each other, and there are {columns}"),
        }),
    }
}

fn count(targets: &[u32]) -> f64 {
    targets.iter().filter(|t| **t != NONE).count() as f64
}

const NORMALIZE: ParameterDoc = ParameterDoc::new(
    "normalize",
    "none, softplus_mean (= softplus_l1) or l1; softplus_mean by default (the reference's for LDR, and for ALDR on CIFAR-100)",
);

pub(crate) const LDR: Entry = Entry {
    name: "ldr_kl",
    aliases: &["ldr", "ldr_kl_loss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "The worst weighting of class margins: from SVM (λ = 0) over cross-entropy (1) to a noise-robust mean (∞).",
    formula: "loss_i = λ ln((1/K) Σ_k exp((f_k − f_y + c [k≠y])/λ)),  f the normalised scores",
    parameters: &[
        ParameterDoc::main("lambda", "λ ≥ 0 or inf; 10 by default (the released script)", &[0.5, 1.0, 10.0, 100.0]),
        ParameterDoc::new("margin", "c ≥ 0; 0.1 by default (the experiments)"),
        NORMALIZE,
    ],
    paper: PAPER,
    when: "Noisy labels, uniform or class-dependent: a large λ with normalised scores bounds what a wrong label can do, and top-k stays consistent.",
    when_not: "Clean labels, where it gives nothing over cross-entropy; unnormalised scores with a large λ, whose gradient never vanishes.",
    pytorch: "n = '{normalize}'; s = x @ W.T + b; f = F.softplus(s) if n.startswith('softplus') else s; f = f if n == 'none' else f / f.abs().mean(1, keepdim=True); fy = f.gather(1, y[:, None]); a = f - fy + {margin} * (1 - F.one_hot(y, f.shape[1])); ({lambda} * (torch.logsumexp(a / {lambda}, 1) - math.log(f.shape[1]))).mean()",
    build: build_from::<LdrKl>,
    defaults: defaults_of::<LdrKl>,
};

pub(crate) const ALDR: Entry = Entry {
    name: "aldr_kl",
    aliases: &["aldr", "aldr_kl_loss"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "LDR-KL with a temperature of its own for every training sample, adapted while training.",
    formula: "loss_i = λ_i ln((1/K) Σ_k exp((f_k − f_y + c [k≠y])/λ_i)) − α ln K (λ_i − λ0)²/(2 λ0),  λ_i ← λ0 − λ0 KL(p_i ‖ 1/K)/(α ln K)",
    parameters: &[
        ParameterDoc::main("lambda0", "λ0 > 0; 10 by default (the released script)", &[0.1, 1.0, 10.0]),
        ParameterDoc::new("alpha", "α > 1; 2 by default (the reference)"),
        ParameterDoc::new("margin", "c ≥ 0; 0.1 by default (the experiments)"),
        NORMALIZE,
        ParameterDoc::new(
            "variant",
            "one_step (default: one update a visit), converged (to the fixed point; no state) or reference (one update without the margin, probabilities smoothed by kl_eps)",
        ),
        ParameterDoc::new("kl_eps", "≥ 0, of the reference variant; 1e-5 by default (the reference)"),
        ParameterDoc::new("num_samples", "size of the training set, to refuse ids beyond it; unknown by default"),
    ],
    paper: PAPER,
    when: "Noisy labels of differing reliability, with ids of the samples: confident samples become sharper, uncertain ones stay robust.",
    when_not: "Samples are seen once, or have no stable id: use ldr_kl. With normalised scores and a large λ0 both are the same to three digits.",
    pytorch: "n = '{normalize}'; s = x @ W.T + b; f = F.softplus(s) if n.startswith('softplus') else s; f = f if n == 'none' else f / f.abs().mean(1, keepdim=True); fy = f.gather(1, y[:, None]); a = f - fy + {margin} * (1 - F.one_hot(y, f.shape[1])); K = f.shape[1]; p = (a / lam[ids, None]).softmax(1).detach(); lam[ids] = {lambda0} * (1 - (p * (K * p + 1e-30).log()).sum(1) / ({alpha} * math.log(K))); l = lam[ids]; (l * (torch.logsumexp(a / l[:, None], 1) - math.log(K)) - {alpha} * math.log(K) / (2 * {lambda0}) * (l - {lambda0}) ** 2).mean()  # lam = torch.full([num_samples], {lambda0}) before training",
    build: build_from::<AldrKl>,
    defaults: defaults_of::<AldrKl>,
};
