//! Softmax over cosines with a margin on the target: normalised softmax, CosFace, ArcFace.

use super::common::{TargetAndOthers, above, against, times, to_entries, within};
use super::registry::{Configured, Entry, Family, Paper, ParameterDoc, Reads, build_from, defaults_of};
use crate::engine::{
    Argument, Backward, Batch, Coupling, MatrixSpec, NONE, Objective, Outcome, Scorer, Set, Sweep, Term,
};
use crate::error::{Error, Result};
use crate::real::Real;
use serde::{Deserialize, Serialize};

/// Normalised softmax: `loss_i = −ln softmax(scale · cos(x_i, w_·))_{y_i}`.
///
/// Embeddings `[B, d]` and class weights `[N, d]` are normalised inside; rows without a class are ignored; a zero vector has
/// cosine 0 with everything and gradient 0.
///
/// References: NormFace: L2 Hypersphere Embedding for Face Verification (arXiv 1704.06369); Classification is a Strong
/// Baseline for Deep Metric Learning (arXiv 1811.12649), whose temperature 0.05 is scale 20.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizedSoftmax {
    /// Multiplies the cosine (1/temperature), > 0. Default 20 (arXiv 1811.12649); arXiv 2102.03243 trains with 10.
    pub scale: f64,
    /// How class weights are kept on the sphere. Default `reparametrized`.
    pub constraint: Constraint,
}

/// How class weights are kept at length one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Constraint {
    /// `w / |w|` stands in the loss; the gradient is tangent to the sphere.
    #[default]
    Reparametrized,
    /// The gradient is that by the unit weight as it is, and whoever trains brings the weights back to length one after
    /// every step ([`crate::estimate::project_unit_norm`]; the training loop of `keener-burn` does). This is how the author of
    /// Hyperspherical embedding for novel class classification (arXiv 2102.03243) trains.
    Projected,
}

impl Default for NormalizedSoftmax {
    fn default() -> Self {
        Self { scale: 20.0, constraint: Constraint::Reparametrized }
    }
}

impl NormalizedSoftmax {
    fn scorer(&self) -> Scorer {
        match self.constraint {
            Constraint::Reparametrized => Scorer::Cosine,
            Constraint::Projected => Scorer::CosineOfUnit,
        }
    }
}

/// CosFace: the target's logit is `scale · (cos − margin)`.
///
/// As [`NormalizedSoftmax`] otherwise. Reference: CosFace: Large Margin Cosine Loss for Deep Face Recognition (arXiv 1801.09414).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosFace {
    /// Multiplies the cosine, > 0. Default 64 (the paper).
    pub scale: f64,
    /// Subtracted from the target's cosine, ≥ 0. Default 0.35 (the paper).
    pub margin: f64,
}

impl Default for CosFace {
    fn default() -> Self {
        Self { scale: 64.0, margin: 0.35 }
    }
}

/// ArcFace: the target's logit is `scale · cos(θ + margin)`, θ the angle to the class weight; beyond `θ = π − margin`, where the
/// cosine would turn back, it goes on as `cos θ − margin · sin margin`.
///
/// As [`NormalizedSoftmax`] otherwise. Reference: ArcFace: Additive Angular Margin Loss for Deep Face Recognition (arXiv
/// 1801.07698); the continuation is that of its authors' code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArcFace {
    /// Multiplies the cosine, > 0. Default 64 (the paper).
    pub scale: f64,
    /// Added to the target's angle, radians in `[0, π)`. Default 0.5 (the paper).
    pub margin: f64,
}

impl Default for ArcFace {
    fn default() -> Self {
        Self { scale: 64.0, margin: 0.5 }
    }
}

impl Configured for NormalizedSoftmax {
    fn check(&self) -> Result<()> {
        above("scale", self.scale, 0.0)
    }
}

impl Configured for CosFace {
    fn check(&self) -> Result<()> {
        above("scale", self.scale, 0.0)?;
        within("margin", self.margin, 0.0, f64::INFINITY)
    }
}

impl Configured for ArcFace {
    fn check(&self) -> Result<()> {
        above("scale", self.scale, 0.0)?;
        match self.margin.is_finite() && (0.0..std::f64::consts::PI).contains(&self.margin) {
            true => Ok(()),
            false => Err(Error::parameter("margin", self.margin, "radians in [0, π)")),
        }
    }
}

/// What a margin does to the target's cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TargetMargin {
    /// `c − m`
    Additive(f64),
    /// `cos(arccos c + m)`
    Angular(f64),
}

impl TargetMargin {
    /// The cosine after the margin, and its derivative.
    pub(crate) fn apply<T: Real>(self, cosine: T) -> (T, T) {
        match self {
            Self::Additive(margin) => (cosine - T::of(margin), T::one()),
            Self::Angular(margin) => {
                // The angle's derivative is infinite at ±1; beyond the clamp the slope is that of a constant.
                let limit = 1.0 - 1e-7;
                let raw = cosine.f64();
                let c = raw.clamp(-limit, limit);
                let inside = if raw.abs() > limit { 0.0 } else { 1.0 };
                let sine = (1.0 - c * c).max(0.0).sqrt();
                if c > (std::f64::consts::PI - margin).cos() {
                    let value = c * margin.cos() - sine * margin.sin();
                    let slope = margin.cos() + c / sine * margin.sin();
                    (T::of(value), T::of(slope * inside))
                } else {
                    (T::of(c - margin * margin.sin()), T::of(inside))
                }
            }
        }
    }
}

/// Cosine softmax with a margin on the target.
fn evaluate<T: Real>(
    name: &str,
    scale: f64,
    margin: TargetMargin,
    engine: &mut dyn Sweep<T>,
    batch: &Batch<'_, T>,
) -> Result<Outcome<T>> {
    let targets = batch.targets_for(name)?;
    let scale = T::of(scale);
    let lists = super::common::one_column(targets);
    let argument = Argument::of(0).scaled(scale);
    let found = TargetAndOthers::sweep(engine, argument, targets, Set::others(targets.into()))?;
    let mut values = Vec::with_capacity(targets.len());
    let (mut on_others, mut on_target) = (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
    for (row, target) in targets.iter().enumerate() {
        if *target == NONE {
            values.push(T::zero());
            on_others.push(T::zero());
            on_target.push(T::zero());
            continue;
        }
        // The gathered value is scaled; its weight is with respect to the scaled value.
        let (cosine, slope) = margin.apply(found.target_values[row] / scale);
        let (loss, p) = against(found.others.1.values[row], scale * cosine);
        values.push(loss);
        on_others.push(p);
        on_target.push(-p * slope);
    }
    Ok(Outcome::new(values, move |upstream| {
        let ((gather, at), (lse, value)) = (found.target.clone(), found.others.clone());
        Backward::terms(vec![
            Term::new(lse, value, times(upstream, &on_others)),
            Term::new(gather, at, to_entries(&times(upstream, &on_target), &lists)),
        ])
    }))
}

macro_rules! margin_softmax {
    ($config:ty, $name:literal, |$self:ident| $scorer:expr, $margin:expr) => {
        impl<T: Real> Objective<T> for $config {
            fn name(&self) -> &'static str {
                $name
            }

            fn matrices(&$self) -> Vec<MatrixSpec> {
                vec![MatrixSpec::main($scorer)]
            }

            fn coupling(&self) -> Coupling {
                Coupling::RowByRow
            }

            fn normalizer(&self, batch: &Batch<'_, T>) -> Result<f64> {
                Ok(batch.targets_for($name)?.iter().filter(|t| **t != NONE).count() as f64)
            }

            fn evaluate(&$self, engine: &mut dyn Sweep<T>, batch: &Batch<'_, T>) -> Result<Outcome<T>> {
                evaluate($name, $self.scale, $margin, engine, batch)
            }
        }
    };
}

margin_softmax!(NormalizedSoftmax, "normalized_softmax", |self| self.scorer(), TargetMargin::Additive(0.0));
margin_softmax!(CosFace, "cosface", |self| Scorer::Cosine, TargetMargin::Additive(self.margin));
margin_softmax!(ArcFace, "arcface", |self| Scorer::Cosine, TargetMargin::Angular(self.margin));

pub(crate) const NORMALIZED: Entry = Entry {
    name: "normalized_softmax",
    aliases: &["normface", "norm_softmax"],
    family: Family::Classification,
    reads: Reads::ClassHead,
    summary: "Softmax over scaled cosines: directions decide, lengths do not.",
    formula: "loss_i = −ln softmax_j(scale · cos(x_i, w_j))_y",
    parameters: &[
        ParameterDoc::main(
            "scale",
            "> 0; 20 by default (arXiv 1811.12649: temperature 0.05); 10 to insert classes later (arXiv 2102.03243)",
            &[5.0, 10.0, 20.0, 40.0],
        ),
        ParameterDoc::new(
            "constraint",
            "reparametrized (default) or projected: weights brought back to length one after every step",
        ),
    ],
    paper: Paper { title: "Classification is a Strong Baseline for Deep Metric Learning", id: "1811.12649" },
    when: "Embeddings that must also serve unseen classes, without sampling pairs, and classes that are added later without training (`keener add-class`); the simplest cosine head to start from.",
    when_not: "Calibrated probabilities matter, or one class has many distinct modes.",
    pytorch: "F.cross_entropy({scale} * F.normalize(x) @ F.normalize(W).T, y)",
    build: build_from::<NormalizedSoftmax>,
    defaults: defaults_of::<NormalizedSoftmax>,
};

pub(crate) const COSFACE: Entry = Entry {
    name: "cosface",
    aliases: &["am_softmax", "lmcl"],
    family: Family::Embedding,
    reads: Reads::ClassHead,
    summary: "Cosine softmax whose target must win by an additive margin.",
    formula: "loss_i = −ln softmax(z_i)_y, z_iy = scale · (cos θ_y − margin), z_ij = scale · cos θ_j",
    parameters: &[
        ParameterDoc::new("scale", "> 0; 64 by default (the paper); 16 to 32 suit small data"),
        ParameterDoc::main("margin", "≥ 0; 0.35 by default (the paper)", &[0.1, 0.2, 0.35, 0.5]),
    ],
    paper: Paper { title: "CosFace: Large Margin Cosine Loss for Deep Face Recognition", id: "1801.09414" },
    when: "Verification and retrieval on unseen classes with clean labels and many classes.",
    when_not: "Noisy labels or overlapping classes: the margin works hardest on samples that cannot be separated.",
    pytorch: "F.cross_entropy({scale} * (F.normalize(x) @ F.normalize(W).T - {margin} * F.one_hot(y, W.shape[0])), y)",
    build: build_from::<CosFace>,
    defaults: defaults_of::<CosFace>,
};

pub(crate) const ARCFACE: Entry = Entry {
    name: "arcface",
    aliases: &["additive_angular_margin"],
    family: Family::Embedding,
    reads: Reads::ClassHead,
    summary: "Cosine softmax whose target must win by an angle.",
    formula: "loss_i = −ln softmax(z_i)_y, z_iy = scale · cos(θ_y + margin), z_ij = scale · cos θ_j",
    parameters: &[
        ParameterDoc::new("scale", "> 0; 64 by default (the paper); 16 to 32 suit small data"),
        ParameterDoc::main("margin", "radians in [0, π); 0.5 by default (the paper)", &[0.1, 0.2, 0.35, 0.5]),
    ],
    paper: Paper { title: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", id: "1801.07698" },
    when: "As CosFace; the angle keeps pulling where an additive margin is already satisfied.",
    when_not: "Noisy labels, overlapping classes, or very few classes.",
    pytorch: "F.cross_entropy({scale} * torch.where(F.one_hot(y, W.shape[0]).bool(), torch.cos(torch.acos((F.normalize(x) @ F.normalize(W).T).clamp(-1 + 1e-7, 1 - 1e-7)) + {margin}), F.normalize(x) @ F.normalize(W).T), y)  # for angles below π − margin",
    build: build_from::<ArcFace>,
    defaults: defaults_of::<ArcFace>,
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, check_all};
    use super::*;
    use crate::engine::Options;

    #[test]
    fn gradients_and_schedules() {
        check_all("normalized_softmax:scale=7", Reads::ClassHead);
        check_all("cosface:scale=8", Reads::ClassHead);
        check_all("arcface:scale=8", Reads::ClassHead);
    }

    #[test]
    fn lengths_do_not_matter_and_zero_vectors_are_harmless() {
        let case = Case::random(Reads::ClassHead, 6, 5, 4, 3);
        let mut scaled = case.clone();
        scaled.queries.iter_mut().for_each(|x| *x *= 1e3);
        scaled.candidates.as_mut().unwrap().iter_mut().for_each(|x| *x *= 1e-3);
        for objective in [&ArcFace::default() as &dyn Objective<f64>, &CosFace::default()] {
            let (a, b) = (case.run(objective, &Options::default()), case.run(objective, &Options::default()));
            let c = scaled.run(objective, &Options::default());
            assert_eq!(a.loss, b.loss);
            assert!((a.loss - c.loss).abs() < 1e-9 * a.loss.abs());
        }
        let mut zero = case.clone();
        zero.queries[..4].fill(0.0);
        let run = zero.run::<f32>(&ArcFace::default(), &Options::default());
        assert!(run.values.iter().all(|v| v.is_finite()) && run.gradients.queries[..4].iter().all(|g| *g == 0.0));
    }

    #[test]
    fn no_margin_is_the_normalised_softmax() {
        let case = Case::random(Reads::ClassHead, 8, 5, 4, 8);
        let plain = case.run::<f64>(&NormalizedSoftmax { scale: 10.0, ..Default::default() }, &Options::default());
        for objective in
            [&CosFace { scale: 10.0, margin: 0.0 } as &dyn Objective<f64>, &ArcFace { scale: 10.0, margin: 0.0 }]
        {
            let run = case.run(objective, &Options::default());
            assert!((run.loss - plain.loss).abs() < 1e-12);
        }
        let harder = case.run::<f64>(&CosFace { scale: 10.0, margin: 0.2 }, &Options::default());
        assert!(harder.values.iter().zip(&plain.values).all(|(a, b)| a > b));
    }

    #[test]
    fn the_projected_gradient_adds_what_points_outwards() {
        let case = Case::random(Reads::ClassHead, 6, 5, 4, 11);
        let run = |constraint| case.run::<f64>(&NormalizedSoftmax { scale: 6.0, constraint }, &Options::default());
        let (tangent, whole) = (run(Constraint::Reparametrized), run(Constraint::Projected));
        assert_eq!((tangent.loss, &tangent.gradients.queries), (whole.loss, &whole.gradients.queries));
        let weights = case.candidates.as_ref().unwrap();
        let pairs = tangent.gradients.candidates.chunks_exact(4).zip(whole.gradients.candidates.chunks_exact(4));
        for ((tangent, whole), w) in pairs.zip(weights.chunks_exact(4)) {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let length = dot(w, w).sqrt();
            let radial = dot(whole, w) / (length * length);
            assert!(radial.abs() > 1e-4, "there is something to project");
            for ((t, g), w) in tangent.iter().zip(whole).zip(w) {
                assert!((t * length - (g - radial * w)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_angular_margin_goes_on_falling_beyond_its_turn() {
        let margin = TargetMargin::Angular(0.5);
        let mut before = f64::INFINITY;
        for k in 0..=200 {
            let (value, slope) = margin.apply((k as f64 / 200.0 * std::f64::consts::PI).cos());
            assert!(value < before + 1e-12 && slope >= 0.0);
            before = value;
        }
    }
}
