//! From scores to soft counts, in one pass, and back.

use super::counts::{MetricValue, SoftCounts};
use crate::engine::{Argument, Backward, Batch, NONE, Outcome, Statistic, Sweep, Term};
use crate::error::{Error, Result};
use crate::real::{Real, sigmoid};
use crate::simd;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What the scores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreKind {
    /// Logits: `p = σ(z)`, exactly one sigmoid.
    Logits,
    /// Probabilities of class 1.
    #[serde(alias = "probs")]
    Probabilities,
}

/// The approximation itself: `A = σ(L(p − ½))`, its complement computed directly, and `dA/dp = L A (1 − A)`.
///
/// # Errors
/// [`Error::Parameter`] for a scale that is not finite and positive, and for probabilities outside `[0, 1]`.
pub fn amplified(probabilities: &[f64], scale: f64) -> Result<[Vec<f64>; 3]> {
    super::super::common::above("amplify", scale, 0.0)?;
    check_probabilities(probabilities)?;
    let u = |p: &f64| scale * (p - 0.5);
    let value: Vec<f64> = probabilities.iter().map(|p| sigmoid(u(p))).collect();
    let complement: Vec<f64> = probabilities.iter().map(|p| sigmoid(-u(p))).collect();
    let slope = value.iter().zip(&complement).map(|(a, c)| scale * a * c).collect();
    Ok([value, complement, slope])
}

fn check_probabilities<T: Real>(p: &[T]) -> Result<()> {
    match p.iter().position(|p| !(*p >= T::zero() && *p <= T::one())) {
        None => Ok(()),
        Some(at) => Err(Error::parameter(format!("probability {at}"), p[at], "a number in [0, 1]")),
    }
}

/// The largest integer scale whose amplified 1 is still below 1: 73 in `f64`, 33 in `f32`.
pub(super) fn default_scale<T: Real>() -> T {
    if T::KEY_BITS == 32 { T::of(33.0) } else { T::of(73.0) }
}

/// How the columns are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<T> {
    pub(super) name: &'static str,
    pub(super) scale: T,
    pub(super) kind: ScoreKind,
    /// Each column against all others; otherwise the two classes of one or two columns.
    pub(super) one_vs_rest: bool,
}

/// Rows of a block: fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 4096;

/// The soft counts of each problem (one, or one a class), then `1 − metric`, averaged; `metric` gives `None` for a problem
/// that is left out.
pub(super) fn evaluate<T: Real>(
    engine: &mut dyn Sweep<T>,
    batch: &Batch<'_, T>,
    reading: Reading<T>,
    metric: impl Fn(&SoftCounts) -> Result<Option<MetricValue>>,
) -> Result<Outcome<T>> {
    let targets = batch.targets_for(reading.name)?;
    let (rows, columns) = engine.shape(0);
    let problems = problems(reading, columns)?;
    if targets.iter().all(|t| *t == NONE) {
        return Err(Error::Undefined { what: reading.name.into(), reason: "no row has a class".into() });
    }
    let wanted = Statistic::entries(Argument::of(0));
    let stat = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
    if reading.kind == ScoreKind::Probabilities {
        check_probabilities(&stat.values)?;
    }
    // ∂A/∂score by row and problem.
    let mut slopes = vec![T::zero(); rows * problems];
    let blocks: Vec<Vec<SoftCounts>> = slopes
        .par_chunks_mut(ROWS * problems)
        .zip(stat.values.par_chunks(ROWS * columns))
        .zip(targets.par_chunks(ROWS))
        .map(|((slopes, scores), targets)| count(reading, columns, problems, scores, targets, slopes))
        .collect();
    let mut counts = vec![SoftCounts::default(); problems];
    for block in &blocks {
        counts.iter_mut().zip(block).for_each(|(all, part)| all.add(part));
    }
    let found = counts.iter().map(&metric).collect::<Result<Vec<_>>>()?;
    let sound = found.iter().flatten().count();
    let share = if sound == 0 { 0.0 } else { 1.0 / sound as f64 };
    let value = found.iter().flatten().map(|m| share * (1.0 - m.value)).sum::<f64>();
    let each = |f: fn(&SoftCounts) -> f64| counts.iter().map(|c| T::of(f(c))).collect::<Vec<T>>();
    engine.report("tp", each(|c| c.tp));
    engine.report("fp", each(|c| c.fp));
    engine.report("fn", each(|c| c.fn_));
    engine.report("tn", each(|c| c.tn));
    engine.report("skipped", vec![T::of((problems - sound) as f64)]);
    // −∂metric/∂A of a row of class 0 and of class 1.
    let weights: Vec<[T; 2]> = found
        .iter()
        .map(|m| {
            let [tp, fp, fn_, tn] = m.unwrap_or_default().slopes;
            [T::of(-share * (fp - tn)), T::of(-share * (tp - fn_))]
        })
        .collect();
    let targets = targets.to_vec();
    Ok(Outcome::new(vec![T::of(value)], move |upstream| {
        let mut weight = vec![T::zero(); rows * columns];
        let up = upstream[0];
        let lines = weight.par_chunks_mut(columns).zip(slopes.par_chunks(problems)).zip(&targets);
        lines.with_min_len(ROWS).for_each(|((line, slopes), target)| {
            if *target == NONE {
                return;
            }
            for (problem, slope) in slopes.iter().enumerate() {
                let class = usize::from(is_one(reading, *target, problem));
                line[problem] = up * weights[problem][class] * *slope;
            }
            if columns == 2 && problems == 1 {
                // z = s₁ − s₀
                (line[0], line[1]) = (-line[0], line[0]);
            }
        });
        Backward::terms(vec![Term::new(wanted.clone(), stat.clone(), weight)])
    }))
}

/// Number of binary problems that the columns hold.
fn problems<T: Real>(reading: Reading<T>, columns: usize) -> Result<usize> {
    let refuse = |what: String, hint: &str| Err(Error::Unsupported { what, hint: hint.into() });
    match (reading.one_vs_rest, columns, reading.kind) {
        (true, 0, _) => refuse(format!("{} of no columns", reading.name), "give a column a class"),
        (true, _, _) => Ok(columns),
        (false, 1, _) | (false, 2, ScoreKind::Logits) => Ok(1),
        (false, 2, ScoreKind::Probabilities) => refuse(
            format!("{} of two columns of probabilities", reading.name),
            "give the probabilities of class 1 alone, [B, 1]",
        ),
        (false, _, _) => refuse(
            format!("{} of {columns} columns", reading.name),
            "it is defined for two classes; multi_class=one_vs_rest averages over each class against the rest (our extension)",
        ),
    }
}

/// Whether a row is of class 1 of a problem.
fn is_one<T>(reading: Reading<T>, target: u32, problem: usize) -> bool {
    target == if reading.one_vs_rest { problem as u32 } else { 1 }
}

fn count<T: Real>(
    reading: Reading<T>,
    columns: usize,
    problems: usize,
    scores: &[T],
    targets: &[u32],
    slopes: &mut [T],
) -> Vec<SoftCounts> {
    let differences: Vec<T>;
    let scores = if columns == 2 && problems == 1 {
        differences = scores.chunks_exact(2).map(|s| s[1] - s[0]).collect();
        &differences
    } else {
        scores
    };
    let (mut a, mut c) = (vec![T::zero(); scores.len()], vec![T::zero(); scores.len()]);
    match reading.kind {
        ScoreKind::Probabilities => simd::amplify(&mut a, &mut c, slopes, scores, reading.scale),
        ScoreKind::Logits => {
            let (mut p, mut q) = (vec![T::zero(); scores.len()], vec![T::zero(); scores.len()]);
            simd::sigmoid_pair(&mut p, &mut q, scores);
            simd::amplify(&mut a, &mut c, slopes, &p, reading.scale);
            slopes.iter_mut().zip(&p).zip(&q).for_each(|((s, p), q)| *s *= *p * *q);
        }
    }
    let mut counts = vec![SoftCounts::default(); problems];
    for ((a, c), target) in a.chunks_exact(problems).zip(c.chunks_exact(problems)).zip(targets) {
        if *target == NONE {
            continue;
        }
        for (problem, ((a, c), counts)) in a.iter().zip(c).zip(&mut counts).enumerate() {
            let y = if is_one(reading, *target, problem) { 1.0 } else { 0.0 };
            let (a, c) = (a.f64(), c.f64());
            counts.tp += y * a;
            counts.fp += (1.0 - y) * a;
            counts.fn_ += y * c;
            counts.tn += (1.0 - y) * c;
            counts.positives += y;
            counts.negatives += 1.0 - y;
        }
    }
    counts
}

impl SoftCounts {
    fn add(&mut self, other: &Self) {
        self.tp += other.tp;
        self.fp += other.fp;
        self.fn_ += other.fn_;
        self.tn += other.tn;
        self.positives += other.positives;
        self.negatives += other.negatives;
    }
}
