//! How embeddings are spread: uniformity, tolerance and alignment, with gradients in closed form.

use super::panels::{mean_row, panel_rows};
use super::rows;
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;

/// Settings of [`uniformity`].
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UniformityConfig {
    /// Sharpness of the Gaussian potential. Default: 2 (arXiv 2005.10242).
    pub t: f64,
    /// Divide each row by its norm first. Default: yes, as the definition wants it.
    pub normalize: bool,
}

impl Default for UniformityConfig {
    fn default() -> Self {
        Self { t: 2.0, normalize: true }
    }
}

/// What [`uniformity`] reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Uniformity {
    /// `log mean_{i<j} exp(−t ‖u_i − u_j‖²)`: lower is more uniform.
    pub value: f64,
    /// The same over all N² ordered pairs, i = j included, as some code has it.
    pub value_with_self_pairs: f64,
}

/// Rows ready for pairwise work, in `f64`: normalised where asked for, then centred (distances do not notice, products
/// lose fewer digits).
struct Points {
    centred: Vec<f64>,
    squares: Vec<f64>,
    n: usize,
    dim: usize,
    t: f64,
}

impl Points {
    fn new<T: Real>(embeddings: &[T], dim: usize, config: &UniformityConfig) -> Result<(Self, Option<Unit>)> {
        let n = rows::matrix("embeddings", embeddings, dim)?;
        rows::positive("t", config.t)?;
        if n < 2 {
            return Err(Error::shape("embeddings", &[n, dim], "[n, dim] with n ≥ 2"));
        }
        let unit = match config.normalize {
            true => Some(Unit::new(embeddings, dim)?),
            false => None,
        };
        let mut centred =
            unit.as_ref().map_or_else(|| embeddings.iter().map(|x| x.f64()).collect(), |unit| unit.rows.clone());
        let mean = mean_row(&centred, dim);
        centred.iter_mut().enumerate().for_each(|(i, x)| *x -= mean[i % dim]);
        let squares = centred.chunks_exact(dim).map(|r| r.iter().map(|x| x * x).sum()).collect();
        Ok((Self { centred, squares, n, dim, t: config.t }, unit))
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.centred[i * self.dim..(i + 1) * self.dim]
    }

    /// `−t d²` between rows `start..end` and rows `from..n`.
    fn exponents(&self, start: usize, end: usize, from: usize, out: &mut Vec<f64>) {
        let (dim, width) = (self.dim, self.n - from);
        out.resize((end - start) * width, 0.0);
        let some = MatRef::new(&self.centred[start * dim..], end - start, dim);
        gemm(-2.0, some, MatRef::new(&self.centred[from * dim..], width, dim).t(), 0.0, out, width);
        for (i, row) in (start..end).zip(out.chunks_exact_mut(width)) {
            for (j, x) in (from..self.n).zip(row) {
                let whole = self.squares[i] + self.squares[j];
                let mut square = whole + *x;
                if square < 1e-4 * whole {
                    // Near neighbours far from the centre: the expansion has cancelled.
                    square = self.row(i).iter().zip(self.row(j)).map(|(a, b)| (a - b) * (a - b)).sum();
                }
                *x = -self.t * square;
            }
        }
    }

    /// `log Σ_{i<j} exp(−t d²)`.
    fn log_sum(&self) -> f64 {
        let height = panel_rows(self.n);
        let panel = |buffer: &mut Vec<f64>, p: usize| {
            let (start, end) = (p * height, self.n.min((p + 1) * height));
            self.exponents(start, end, start, buffer);
            let width = self.n - start;
            let later = || (0..end - start).flat_map(|i| &buffer[i * width + i + 1..(i + 1) * width]);
            let max = later().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
            if max == f64::NEG_INFINITY {
                return (max, 0.0);
            }
            (max, later().map(|x| (x - max).exp()).sum())
        };
        let parts: Vec<(f64, f64)> = (0..self.n.div_ceil(height)).into_par_iter().map_init(Vec::new, panel).collect();
        let max = parts.iter().fold(f64::NEG_INFINITY, |m, p| m.max(p.0));
        max + parts.iter().map(|(m, s)| s * (m - max).exp()).sum::<f64>().ln()
    }

    /// `−2t Σ_j w_ij (u_i − u_j)` for all rows, `w = exp(−t d² − log_sum)`.
    fn gradient(&self, log_sum: f64) -> Vec<f64> {
        let (n, dim, height) = (self.n, self.dim, panel_rows(self.n));
        let mut gradient = vec![0.0; n * dim];
        gradient.par_chunks_mut(height * dim).enumerate().for_each_init(Vec::new, |weights, (p, out)| {
            let start = p * height;
            let end = start + out.len() / dim;
            self.exponents(start, end, 0, weights);
            for (i, (row, own)) in (start..end).zip(weights.chunks_exact_mut(n).zip(out.chunks_exact_mut(dim))) {
                row.iter_mut().for_each(|x| *x = (*x - log_sum).exp());
                row[i] = 0.0;
                let total: f64 = row.iter().sum();
                own.iter_mut().zip(self.row(i)).for_each(|(g, u)| *g = total * u);
            }
            let scale = -2.0 * self.t;
            let all = MatRef::new(&self.centred, n, dim);
            gemm(-scale, MatRef::new(weights, end - start, n), all, scale, out, dim);
        });
        gradient
    }
}

/// Normalised rows and their norms.
struct Unit {
    rows: Vec<f64>,
    norms: Vec<f64>,
}

impl Unit {
    fn new<T: Real>(embeddings: &[T], dim: usize) -> Result<Self> {
        let (rows, norms) = rows::normalised("embeddings", embeddings, dim)?;
        Ok(Self { rows, norms })
    }

    /// From gradients of the normalised rows to those of the raw rows: `(g − (gᵀu) u) / ‖z‖`.
    fn project(&self, gradient: &mut [f64]) {
        let dim = gradient.len() / self.norms.len();
        for ((g, u), norm) in gradient.chunks_exact_mut(dim).zip(self.rows.chunks_exact(dim)).zip(&self.norms) {
            let along: f64 = g.iter().zip(u).map(|(g, u)| g * u).sum();
            g.iter_mut().zip(u).for_each(|(g, u)| *g = (*g - along * u) / norm);
        }
    }
}

fn uniformity_of(points: &Points) -> Result<(Uniformity, f64)> {
    let (log_sum, n) = (points.log_sum(), points.n as f64);
    if !log_sum.is_finite() {
        let reason = "the distances between the embeddings overflow".to_string();
        return Err(Error::Undefined { what: "uniformity".to_string(), reason });
    }
    let ordered = log_sum + 2f64.ln();
    let max = ordered.max(n.ln());
    let with_self = max + ((ordered - max).exp() + (n.ln() - max).exp()).ln() - 2.0 * n.ln();
    Ok((Uniformity { value: log_sum - (n * (n - 1.0) / 2.0).ln(), value_with_self_pairs: with_self }, log_sum))
}

/// Uniformity of embeddings `[n, dim]`: the logarithm of the mean Gaussian potential over pairs.
///
/// Log-sum-exp over panels of pairs, so that far-apart points do not underflow; O(n² dim) time. Wang & Isola,
/// *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere* (2020,
/// arXiv 2005.10242).
///
/// # Errors
/// Fewer than two rows, ragged or non-finite input, `t` that is not positive, rows of norm zero when normalising;
/// undefined when squared distances overflow.
pub fn uniformity<T: Real>(embeddings: &[T], dim: usize, config: &UniformityConfig) -> Result<Uniformity> {
    Ok(uniformity_of(&Points::new(embeddings, dim, config)?.0)?.0)
}

/// [`uniformity`] and the gradient `[n, dim]` of its value with respect to the embeddings as given.
///
/// With respect to `u_i` it is `−4t Σ_j w_ij (u_i − u_j) / Σ_{a≠b} w_ab`, `w = exp(−t d²)`, from there through the
/// normalisation.
///
/// # Errors
/// As [`uniformity`].
pub fn uniformity_with_gradient<T: Real>(
    embeddings: &[T],
    dim: usize,
    config: &UniformityConfig,
) -> Result<(Uniformity, Vec<f64>)> {
    let (points, unit) = Points::new(embeddings, dim, config)?;
    let (value, log_sum) = uniformity_of(&points)?;
    let mut gradient = points.gradient(log_sum);
    if let Some(unit) = unit {
        unit.project(&mut gradient);
    }
    Ok((value, gradient))
}

/// What [`tolerance`] reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    /// Mean of `u_iᵀu_j` over pairs i ≠ j of the same class.
    pub same_class_mean: f64,
    /// The same sum divided by the number of all pairs i ≠ j, as the paper's formula reads literally.
    pub all_pairs_mean: f64,
    /// Gradient `[n, dim]` of `same_class_mean` with respect to the embeddings as given.
    pub grad_same_class_mean: Vec<f64>,
}

impl Tolerance {
    /// Alignment of the pairs of one class, `mean ‖u_i − u_j‖²` over pairs i ≠ j, which on the sphere is `2 − 2 · tolerance`: 0 is
    /// perfect. Wang & Isola (2020, arXiv 2005.10242), alpha = 2, with rows of one class as positives.
    pub fn alignment(&self) -> f64 {
        2.0 - 2.0 * self.same_class_mean
    }
}

/// Tolerance of embeddings `[n, dim]`: how near samples of one class stay to each other.
///
/// In linear time, `Σ_c (‖S_c‖² − Σ_{i∈c} ‖u_i‖²) / Σ_c n_c (n_c − 1)` with S_c the sum of the normalised members of
/// class c; gradient `2 (S_c − u_i) / Σ_c n_c (n_c − 1)` through the normalisation. Labels are any numbers; classes of
/// one member contribute nothing. Wang & Liu, *Understanding the Behaviour of Contrastive Loss* (2020, arXiv 2012.09740).
///
/// # Errors
/// Empty, ragged or non-finite input, one label a row missing, rows of norm zero; undefined without two rows of one class.
pub fn tolerance<T: Real>(embeddings: &[T], dim: usize, labels: &[usize]) -> Result<Tolerance> {
    let n = rows::matrix("embeddings", embeddings, dim)?;
    rows::same_length("labels", labels.len(), n)?;
    let unit = Unit::new(embeddings, dim)?;
    // Classes in order of appearance.
    let mut places: HashMap<usize, usize> = HashMap::new();
    let classes: Vec<usize> = labels
        .iter()
        .map(|&y| {
            let next = places.len();
            *places.entry(y).or_insert(next)
        })
        .collect();
    let (mut sums, mut members, mut own) = (vec![0.0; places.len() * dim], vec![0usize; places.len()], 0.0);
    for (&c, u) in classes.iter().zip(unit.rows.chunks_exact(dim)) {
        sums[c * dim..(c + 1) * dim].iter_mut().zip(u).for_each(|(s, u)| *s += u);
        members[c] += 1;
        // A class of one would add the same amount on both sides.
        own += u.iter().map(|u| u * u).sum::<f64>();
    }
    let pairs: f64 = members.iter().map(|&m| m as f64 * (m as f64 - 1.0)).sum();
    if pairs == 0.0 {
        return Err(Error::Undefined {
            what: "tolerance".to_string(),
            reason: "no two rows are of the same class".to_string(),
        });
    }
    let total = sums.iter().map(|s| s * s).sum::<f64>() - own;
    let mut gradient: Vec<f64> = Vec::with_capacity(n * dim);
    for (&c, u) in classes.iter().zip(unit.rows.chunks_exact(dim)) {
        gradient.extend(sums[c * dim..(c + 1) * dim].iter().zip(u).map(|(s, u)| 2.0 * (s - u) / pairs));
    }
    unit.project(&mut gradient);
    Ok(Tolerance {
        same_class_mean: total / pairs,
        all_pairs_mean: total / (n as f64 * (n as f64 - 1.0)),
        grad_same_class_mean: gradient,
    })
}

/// Alignment `mean_i ‖u_i − v_i‖^alpha` of positive pairs: row i of `first` with row i of `second`, both `[n, dim]`
/// and normalised here; 0 is perfect.
///
/// Wang & Isola, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere*
/// (2020, arXiv 2005.10242), where alpha = 2.
///
/// # Errors
/// Empty or ragged input, shapes that differ, non-finite values, rows of norm zero, `alpha` that is not positive.
pub fn alignment<T: Real>(first: &[T], second: &[T], dim: usize, alpha: f64) -> Result<f64> {
    rows::positive("alpha", alpha)?;
    let n = rows::matrix("first", first, dim)?;
    let m = rows::matrix("second", second, dim)?;
    if n != m {
        return Err(Error::shape("second", &[m, dim], format!("[{n}, {dim}] as the first")));
    }
    let (u, v) = (rows::normalised("first", first, dim)?.0, rows::normalised("second", second, dim)?.0);
    let [total] = rows::sum(n, |i| {
        let (u, v) = (&u[i * dim..(i + 1) * dim], &v[i * dim..(i + 1) * dim]);
        [u.iter().zip(v).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().powf(0.5 * alpha)]
    });
    Ok(total / n as f64)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, clusters, differences, labels, uniform};
    use super::*;

    const RAW: UniformityConfig = UniformityConfig { t: 0.7, normalize: false };

    /// Expected: PyTorch (`pdist`, `normalize`) on the same numbers.
    #[test]
    fn agrees_with_pytorch() {
        let (y, yq) = (labels(6, 150, 8), labels(8, 40, 9));
        let (x, q) = (clusters(5, &y), clusters(7, &yq));
        let found = [
            uniformity(&x, 6, &UniformityConfig::default()).unwrap().value,
            alignment(&x[..240], &q, 6, 2.0).unwrap(),
            alignment(&x[..240], &q, 6, 1.0).unwrap(),
        ];
        close(&found, &[-2.5576648998986142, 2.144313406736461, 1.431955075252237], 1e-13);
    }

    #[test]
    fn gradients_are_derivatives() {
        let y = [0, 1, 0, 2, 1, 0, 2];
        let x = uniform(51, 7 * 4);
        for config in [RAW, UniformityConfig::default()] {
            let (_, gradient) = uniformity_with_gradient(&x, 4, &config).unwrap();
            close(&gradient, &differences(&x, |x| uniformity(x, 4, &config).unwrap().value), 1e-8);
        }
        let found = tolerance(&x, 4, &y).unwrap();
        let numeric = differences(&x, |x| tolerance(x, 4, &y).unwrap().same_class_mean);
        close(&found.grad_same_class_mean, &numeric, 1e-8);
    }

    /// Direct sums over pairs, on more rows than a panel holds.
    #[test]
    fn panels_agree_with_pairs() {
        let n = 700;
        let x = uniform(52, n * 3);
        let y = labels(53, n, 9);
        let square = |i: usize, j: usize| (0..3).map(|k| (x[i * 3 + k] - x[j * 3 + k]).powi(2)).sum::<f64>();
        let (mut apart, mut same, mut pairs) = (0.0, 0.0, 0.0);
        for i in 0..n {
            for j in (0..n).filter(|&j| j != i) {
                apart += (-0.7 * square(i, j)).exp();
                let dot: f64 = (0..3).map(|k| x[i * 3 + k] * x[j * 3 + k]).sum();
                let cosine = dot / (rows::norm(&x[i * 3..i * 3 + 3]) * rows::norm(&x[j * 3..j * 3 + 3]));
                same += f64::from(y[i] == y[j]) * cosine;
                pairs += f64::from(y[i] == y[j]);
            }
        }
        let (u, all) = (uniformity(&x, 3, &RAW).unwrap(), (n * n) as f64);
        let expected = [(apart / (all - n as f64)).ln(), ((apart + n as f64) / all).ln()];
        close(&[u.value, u.value_with_self_pairs], &expected, 1e-12);
        let t = tolerance(&x, 3, &y).unwrap();
        close(&[t.same_class_mean, t.all_pairs_mean], &[same / pairs, same / (all - n as f64)], 1e-12);
        let gradient = uniformity_with_gradient(&x, 3, &RAW).unwrap().1;
        let column = |k: usize| gradient.iter().skip(k).step_by(3).sum::<f64>();
        close(&[column(0), column(1), column(2)], &[0.0; 3], 1e-12);
        for i in [0, 255, 256, 699] {
            let pull = |k: usize| {
                (0..n).map(|j| (-0.7 * square(i, j)).exp() * (x[i * 3 + k] - x[j * 3 + k])).sum::<f64>() * -2.8 / apart
            };
            close(&gradient[i * 3..i * 3 + 3], &[pull(0), pull(1), pull(2)], 1e-13);
        }
    }

    #[test]
    fn far_points_and_large_offsets_survive() {
        // Only the nearest pair counts, at distance 100.
        let (u, g) = uniformity_with_gradient(&[0.0f64, 100.0, 1e4], 1, &RAW).unwrap();
        close(&[u.value, u.value_with_self_pairs], &[-7000.0 - 3f64.ln(), -(3f64.ln())], 1e-13);
        close(&g, &[140.0, -140.0, 0.0], 1e-12);
        // A shift of all rows changes nothing; small distances far out keep their digits.
        let near = [0.0f64, 1e-3, 4e-3, 1e3, 1e3 + 2e-3];
        let shifted: Vec<f64> = near.iter().map(|x| x + 4096.0).collect();
        let sharp = UniformityConfig { t: 1e5, normalize: false };
        let (a, b) = (uniformity(&near, 1, &sharp).unwrap(), uniformity(&shifted, 1, &sharp).unwrap());
        let squares = [1e-3f64, 4e-3, 3e-3, 2e-3].map(|d| (-1e5 * d * d).exp());
        close(&[a.value, b.value], &[(squares.iter().sum::<f64>() / 10.0).ln(); 2], 1e-6);
    }

    #[test]
    fn threads_do_not_matter() {
        let x: Vec<f32> = uniform(54, 600 * 5).iter().map(|u| *u as f32 - 0.5).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| uniformity_with_gradient(&x, 5, &UniformityConfig::default()).unwrap())
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn alignment_of_classes_is_that_of_their_pairs() {
        let (y, dim) = (labels(6, 40, 5), 6);
        let x = clusters(5, &y);
        let row = |i: usize| x[i * dim..(i + 1) * dim].to_vec();
        let pairs = (0..40).flat_map(|i| (0..40).map(move |j| (i, j))).filter(|(i, j)| i != j && y[*i] == y[*j]);
        let (first, second): (Vec<Vec<f64>>, Vec<Vec<f64>>) = pairs.map(|(i, j)| (row(i), row(j))).unzip();
        let expected = alignment(&first.concat(), &second.concat(), dim, 2.0).unwrap();
        close(&[tolerance(&x, dim, &y).unwrap().alignment()], &[expected], 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        let config = UniformityConfig::default();
        assert!(matches!(uniformity(&[1.0f32, 2.0], 2, &config), Err(Error::Shape { .. })));
        assert!(matches!(uniformity(&[1.0f32, 0.0], 1, &config), Err(Error::Undefined { .. })));
        assert!(uniformity(&[1.0f32, 0.0], 1, &RAW).is_ok());
        assert!(matches!(uniformity(&[1e200f64, -1e200, 0.0], 1, &RAW), Err(Error::Undefined { .. })));
        let bad = UniformityConfig { t: 0.0, ..config };
        assert!(matches!(uniformity(&[1.0f32, 2.0], 1, &bad), Err(Error::Parameter { .. })));
        assert!(matches!(tolerance(&[1.0f32, 2.0], 1, &[0, 1]), Err(Error::Undefined { .. })));
        assert!(matches!(tolerance(&[1.0f32, f32::NAN], 1, &[0, 0]), Err(Error::NonFinite { .. })));
        assert!(matches!(tolerance(&[1.0f32, 2.0], 1, &[0]), Err(Error::Shape { .. })));
        assert!(matches!(alignment(&[1.0f32, 2.0], &[1.0], 1, 2.0), Err(Error::Shape { .. })));
    }
}
