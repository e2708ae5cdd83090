//! The factored output layer: what it is made of, and how it is made.

use super::dense::identity;
use super::loss::Spherical;
use crate::engine::View;
use crate::error::{Error, Result};
use crate::memory;
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::simd;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How the rows of a batch are taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their mean (rows without a target do not count).
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// How a [`FactoredOutput`] is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FactoredConfig {
    /// The loss. Default: the Z-loss with a = 1 and b = 8 (ours; the reference's script has b = 0, which hardly ranks).
    pub loss: Spherical,
    /// Mean (default) or sum over the rows of a batch.
    pub reduction: Reduction,
    /// λ ≥ 0: a step adds `λ W` to the gradient, as PyTorch's SGD does. Default 0.
    pub weight_decay: f64,
    /// Steps between two checks of the factors' conditioning. Default 100 (the reference's script).
    pub stabilize_every: u64,
}

impl Default for FactoredConfig {
    fn default() -> Self {
        Self { loss: Spherical::z(1.0, 8.0), reduction: Reduction::Mean, weight_decay: 0.0, stabilize_every: 100 }
    }
}

impl FactoredConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Parameter`] by name.
    pub fn check(&self) -> Result<()> {
        self.loss.check()?;
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::parameter("weight_decay", self.weight_decay, "a finite number ≥ 0"));
        }
        match self.stabilize_every {
            0 => Err(Error::parameter("stabilize_every", 0, "at least 1 step")),
            _ => Ok(()),
        }
    }
}

/// What a layer holds, for storing it and making it again bit for bit.
///
/// `W = V U + 1 (ω + offset)ᵀ`. The small matrices are in `f64` whatever T is: they accumulate every step.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts<T> {
    /// V `[D, d]`, row-major.
    pub v: Vec<T>,
    /// U `[d, d]`.
    pub u: Vec<f64>,
    /// `U⁻ᵀ` `[d, d]`.
    pub inverse: Vec<f64>,
    /// ω `[d]`.
    pub omega: Vec<f64>,
    /// Gram matrix of the rows of `W − 1 offsetᵀ`, `[d, d]`.
    pub gram: Vec<f64>,
    /// Column sums of `W − 1 offsetᵀ`, `[d]`.
    pub column_sum: Vec<f64>,
    /// The mean row that was set aside where the loss does not see it, `[d]`; else 0.
    pub offset: Vec<f64>,
    /// Steps made.
    pub steps: u64,
    /// Smallest and largest singular value of U when last looked at, and a bound on the logarithm of their change since.
    pub range: [f64; 3],
}

/// An output layer of D classes with weights `W` `[D, d]`, scores `o = W h`, whose gradient step under a loss of the [`Spherical`]
/// family is exact and costs O(d²) a row, whatever D: the D scores are never computed.
///
/// The trick is to keep `W = V U + 1 ωᵀ` with the Gram matrix `WᵀW` and the column sums beside it. Sum and sum of squares of the
/// scores of `h` are then quadratic and linear in h, the dense part of the gradient step changes U, and only the rows of V that
/// belong to targets are touched. A batch of m rows costs O(m d² + m² d + m³) and random access to its target rows; memory is
/// `D d` numbers of T and some `d²` of `f64`. Results are the same bits for any number of threads.
///
/// A step is plain stochastic gradient descent on W, with weight decay, as exact as rounding allows. Momentum or Adam would need
/// the gradient's history for every entry of W, which no factorisation holds: only SGD can drive this layer.
///
/// For a loss that does not see a common offset of all scores (the Z-loss), the mean row of W is set aside: it never changes but
/// by weight decay, the sum of the scores is 0, and the variance is `hᵀ(WᵀW)h / D` without cancellation.
///
/// ```
/// use keener::engine::View;
/// use keener::spherical::{FactoredConfig, FactoredOutput, Targets};
///
/// # fn main() -> keener::Result<()> {
/// let mut layer = FactoredOutput::<f32>::seeded(100_000, 16, 7, FactoredConfig::default())?;
/// let hidden: Vec<f32> = (0..4 * 16).map(|k| (k as f32 * 0.7).sin()).collect();
/// let hidden = View::new(&hidden, 4, 16)?;
/// let targets = Targets::Classes(&[5, 99_999, 17, 5]);
/// let before = layer.evaluate(hidden, &targets)?.loss;
/// let step = layer.step(hidden, &targets, 1.0)?; // its own update, and the gradient for the layers below
/// assert_eq!(step.grad_hidden.len(), 4 * 16);
/// assert!(layer.evaluate(hidden, &targets)?.loss < before);
/// assert_eq!(layer.top_k(hidden, 3)?.classes.len(), 4 * 3);
/// # Ok(())
/// # }
/// ```
///
/// References: Efficient Exact Gradient Update for training Deep Networks with Very Large Sparse Targets (arXiv 1412.7091); The
/// Z-loss (arXiv 1604.08859).
#[derive(Clone, Debug, PartialEq)]
pub struct FactoredOutput<T> {
    pub(super) config: FactoredConfig,
    pub(super) classes: usize,
    pub(super) dim: usize,
    pub(super) parts: Parts<T>,
}

/// Rows of V in one task, wherever all of them are visited.
pub(super) const TASK_ROWS: usize = 2048;

impl<T: Real> FactoredOutput<T> {
    /// A layer that starts from `weights` `[D, d]`.
    ///
    /// # Errors
    /// Parameters out of range, fewer than two classes, no columns, numbers that are not finite; for the Z-loss rows that are all
    /// equal, from which no gradient leads away.
    pub fn new(weights: View<'_, T>, config: FactoredConfig) -> Result<Self> {
        let (classes, dim) = (weights.rows(), weights.cols());
        check_sizes(classes, dim, &config)?;
        check_finite("weights", weights.data(), dim)?;
        let mut v = memory::zeros(weights.data().len());
        v.copy_from_slice(weights.data());
        Self::centred(v, classes, dim, config)
    }

    /// A layer with weights uniform in `±1/√d`, from ChaCha8 with the given seed.
    ///
    /// # Errors
    /// As [`FactoredOutput::new`].
    pub fn seeded(classes: usize, dim: usize, seed: u64, config: FactoredConfig) -> Result<Self> {
        check_sizes(classes, dim, &config)?;
        let bound = 1.0 / (dim as f64).sqrt();
        let mut v = memory::zeros::<T>(classes * dim);
        v.par_chunks_mut(TASK_ROWS * dim).enumerate().for_each(|(task, rows)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(task as u64);
            rows.iter_mut().for_each(|x| *x = T::of(rng.random_range(-bound..bound)));
        });
        Self::centred(v, classes, dim, config)
    }

    fn centred(mut v: Vec<T>, classes: usize, dim: usize, config: FactoredConfig) -> Result<Self> {
        let mut offset = vec![0.0; dim];
        if config.loss.is_shift_invariant() {
            offset = column_sums(&v, dim);
            offset.iter_mut().for_each(|x| *x /= classes as f64);
            v.par_chunks_mut(TASK_ROWS * dim).for_each(|rows| {
                for row in rows.chunks_exact_mut(dim) {
                    row.iter_mut().zip(&offset).for_each(|(x, mean)| *x = T::of(x.f64() - mean));
                }
            });
        }
        let mut parts = Parts {
            gram: gram(&v, dim),
            column_sum: vec![0.0; dim],
            u: identity(dim),
            inverse: identity(dim),
            omega: vec![0.0; dim],
            offset,
            steps: 0,
            range: [1.0, 1.0, 0.0],
            v,
        };
        if !config.loss.is_shift_invariant() {
            parts.column_sum = column_sums(&parts.v, dim);
        } else if (0..dim).all(|k| parts.gram[k * dim + k] == 0.0) {
            return Err(Error::Undefined {
                what: "the Z-loss of these weights".into(),
                reason: "all rows are equal, so that scores have no spread and no gradient: start from random weights"
                    .into(),
            });
        }
        Ok(Self { config, classes, dim, parts })
    }

    /// A layer from what [`FactoredOutput::parts`] gave.
    ///
    /// # Errors
    /// Parts that do not fit each other, and numbers that are not finite.
    pub fn from_parts(classes: usize, dim: usize, config: FactoredConfig, parts: Parts<T>) -> Result<Self> {
        check_sizes(classes, dim, &config)?;
        if parts.v.len() != classes * dim {
            return Err(Error::shape("V", &[parts.v.len()], format!("[{classes}, {dim}]")));
        }
        check_finite("V", &parts.v, dim)?;
        for (name, values, length) in [
            ("U", &parts.u, dim * dim),
            ("the inverse of U", &parts.inverse, dim * dim),
            ("omega", &parts.omega, dim),
            ("the Gram matrix", &parts.gram, dim * dim),
            ("column sums", &parts.column_sum, dim),
            ("offset", &parts.offset, dim),
        ] {
            if values.len() != length {
                let expected =
                    if length == dim { format!("[{dim}]") } else { format!("[{dim}, {dim}] as V has {dim} columns") };
                return Err(Error::shape(name, &[values.len()], expected));
            }
            check_finite(name, values, dim)?;
        }
        Ok(Self { config, classes, dim, parts })
    }

    /// What it holds.
    pub fn parts(&self) -> &Parts<T> {
        &self.parts
    }

    /// How it is trained.
    pub fn config(&self) -> &FactoredConfig {
        &self.config
    }

    /// Number of classes D.
    pub fn num_classes(&self) -> usize {
        self.classes
    }

    /// Width d of what it reads.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.parts.steps
    }

    /// Length of all weights together (of their part that the loss sees). Steps of the Z-loss are orthogonal to the weights, so
    /// that it only grows without weight decay, and the effective learning rate falls as its square.
    pub fn norm(&self) -> f64 {
        (0..self.dim).map(|k| self.parts.gram[k * self.dim + k]).sum::<f64>().max(0.0).sqrt()
    }

    /// Gram matrix `WᵀW` `[d, d]`.
    pub fn gram(&self) -> Vec<f64> {
        let (d, count, offset) = (self.dim, self.classes as f64, &self.parts.offset);
        let sum = &self.parts.column_sum;
        let mut gram = self.parts.gram.clone();
        for i in 0..d {
            for j in 0..d {
                gram[i * d + j] += count * offset[i] * offset[j] + offset[i] * sum[j] + sum[i] * offset[j];
            }
        }
        gram
    }

    /// Column sums of W `[d]`.
    pub fn column_sum(&self) -> Vec<f64> {
        let count = self.classes as f64;
        self.parts.column_sum.iter().zip(&self.parts.offset).map(|(s, o)| s + count * o).collect()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.parts.v.len() * size_of::<T>() + (3 * self.dim + 3) * self.dim * size_of::<f64>()
    }
}

fn check_sizes(classes: usize, dim: usize, config: &FactoredConfig) -> Result<()> {
    config.check()?;
    Spherical::check_classes(classes)?;
    match dim {
        0 => Err(Error::parameter("columns of the weights", 0, "at least 1")),
        _ => Ok(()),
    }
}

pub(super) fn check_finite<T: Real>(what: &str, values: &[T], columns: usize) -> Result<()> {
    if values.par_chunks(1 << 16).all(simd::all_finite) {
        return Ok(());
    }
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            what: what.into(),
            value: values[at].to_string(),
            row: at / columns,
            column: at % columns,
        }),
    }
}

/// Adds up what tasks of a fixed number of rows give, in their order.
fn over_tasks<T: Real>(v: &[T], dim: usize, length: usize, task: impl Fn(&[f64], &mut [f64]) + Sync) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = v
        .par_chunks(TASK_ROWS * dim)
        .map(|rows| {
            let rows: Vec<f64> = rows.iter().map(|x| x.f64()).collect();
            let mut out = vec![0.0; length];
            task(&rows, &mut out);
            out
        })
        .collect();
    let mut sum = vec![0.0; length];
    parts.iter().for_each(|part| simd::add_scaled(&mut sum, part, 1.0));
    sum
}

fn column_sums<T: Real>(v: &[T], dim: usize) -> Vec<f64> {
    over_tasks(v, dim, dim, |rows, out| rows.chunks_exact(dim).for_each(|row| simd::add_scaled(out, row, 1.0)))
}

fn gram<T: Real>(v: &[T], dim: usize) -> Vec<f64> {
    over_tasks(v, dim, dim * dim, |rows, out| {
        let rows = MatRef::new(rows, rows.len() / dim, dim);
        gemm(1.0, rows.t(), rows, 0.0, out, dim);
    })
}
