//! What embeddings look like: a deterministic map to the plane.

use super::panels::mean_row;
use super::rows;
use crate::Result;
use crate::products::{MatRef, gemm};
use crate::real::Real;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Columns that are iterated together: more than the two that are wanted, so that a close third does not slow it down.
const BLOCK: usize = 8;
const MOST_ITERATIONS: usize = 500;
const TOLERANCE: f64 = 1e-10;

/// Rows and columns per product of the covariance.
const PANEL: usize = 256;

/// A map of embeddings to the plane along their two principal directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// `(x, y)` of each row.
    pub coordinates: Vec<[f64; 2]>,
    /// Unit directions `[2, dim]`; the entry of largest magnitude is positive. The second is zero when `dim = 1`.
    pub directions: Vec<f64>,
    /// Mean row `[dim]`, which maps to the origin.
    pub mean: Vec<f64>,
    /// Share of the total variance along each direction; zero when there is no variance.
    pub explained: [f64; 2],
    /// Largest `‖C v − λ v‖ / λ₁` of the two directions: how far the iteration was from exact when it stopped.
    pub residual: f64,
}

/// Projects embeddings `[n, dim]` on their first two principal directions.
///
/// Subspace iteration with Rayleigh–Ritz on the `dim × dim` covariance from a fixed start, so equal input gives equal
/// output, signs included. Pearson, *On lines and planes of closest fit to systems of points in space* (1901);
/// iteration: Halko, Martinsson & Tropp, *Finding structure with randomness* (2009, arXiv 0909.4061).
///
/// # Errors
/// Empty, ragged or non-finite input.
pub fn principal_plane<T: Real>(embeddings: &[T], dim: usize) -> Result<Projection> {
    let n = rows::matrix("embeddings", embeddings, dim)?;
    let mean = mean_row(embeddings, dim);
    let mut centred: Vec<f64> = embeddings.iter().enumerate().map(|(i, x)| x.f64() - mean[i % dim]).collect();
    // The directions do not depend on the scale, and squares of a scaled copy neither overflow nor underflow.
    let scale = centred.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if scale > 0.0 {
        centred.iter_mut().for_each(|x| *x /= scale);
    }
    let covariance = covariance(&centred, n, dim);
    let trace: f64 = (0..dim).map(|i| covariance[i * dim + i]).sum();
    let (mut directions, values, residual) = leading(&covariance, dim);
    for direction in directions.chunks_exact_mut(dim) {
        let magnitudes: Vec<f64> = direction.iter().map(|x| x.abs()).collect();
        if direction[rows::argmax(&magnitudes)] < 0.0 {
            direction.iter_mut().for_each(|x| *x = -*x);
        }
    }
    let mut flat = vec![0.0; n * 2];
    gemm(scale, MatRef::new(&centred, n, dim), MatRef::new(&directions, 2, dim).t(), 0.0, &mut flat, 2);
    let share = |value: f64| if trace > 0.0 { (value / trace).clamp(0.0, 1.0) } else { 0.0 };
    Ok(Projection {
        coordinates: flat.chunks_exact(2).map(|p| [p[0], p[1]]).collect(),
        directions,
        mean,
        explained: values.map(share),
        residual,
    })
}

/// `XᵀX / n`, in blocks of rows of the result.
fn covariance(centred: &[f64], n: usize, dim: usize) -> Vec<f64> {
    let mut out = vec![0.0; dim * dim];
    out.par_chunks_mut(PANEL * dim).enumerate().for_each(|(p, block)| {
        let (first, height) = (p * PANEL, block.len() / dim);
        for start in (0..n).step_by(PANEL) {
            let depth = PANEL.min(n - start);
            let some = MatRef::strided(&centred[start * dim + first..], depth, height, dim).t();
            let all = MatRef::new(&centred[start * dim..], depth, dim);
            gemm(1.0 / n as f64, some, all, 1.0, block, dim);
        }
    });
    out
}

/// The two leading eigenvectors `[2, dim]`, their values and the relative residual.
fn leading(covariance: &[f64], dim: usize) -> (Vec<f64>, [f64; 2], f64) {
    let block = BLOCK.min(dim);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<f64> = (0..block * dim).map(|_| random.random::<f64>() - 0.5).collect();
    orthonormalise(&mut basis, dim);
    let mut image = vec![0.0; block * dim];
    let (mut values, mut residual) = ([0.0; 2], 0.0);
    for _ in 0..MOST_ITERATIONS {
        // The covariance is symmetric: rows of `basis · C` are the images of the basis vectors.
        gemm(1.0, MatRef::new(&basis, block, dim), MatRef::new(covariance, dim, dim), 0.0, &mut image, dim);
        let mut small = vec![0.0; block * block];
        gemm(1.0, MatRef::new(&basis, block, dim), MatRef::new(&image, block, dim).t(), 0.0, &mut small, block);
        let (ritz, rotation) = jacobi(small, block);
        let rotated = |x: &[f64]| {
            let mut out = vec![0.0; block * dim];
            gemm(1.0, MatRef::new(&rotation, block, block), MatRef::new(x, block, dim), 0.0, &mut out, dim);
            out
        };
        basis = rotated(&basis);
        image = rotated(&image);
        let two = block.min(2);
        values = [ritz[0].max(0.0), if two == 2 { ritz[1].max(0.0) } else { 0.0 }];
        let miss = |k: usize| {
            let (v, cv) = (&basis[k * dim..(k + 1) * dim], &image[k * dim..(k + 1) * dim]);
            v.iter().zip(cv).map(|(v, c)| (c - ritz[k] * v).powi(2)).sum::<f64>().sqrt()
        };
        let largest = (0..two).map(miss).fold(0.0, f64::max);
        residual = if values[0] > 0.0 { largest / values[0] } else { 0.0 };
        if residual <= TOLERANCE {
            break;
        }
        std::mem::swap(&mut basis, &mut image);
        orthonormalise(&mut basis, dim);
    }
    let mut directions = basis[..block.min(2) * dim].to_vec();
    directions.resize(2 * dim, 0.0);
    (directions, values, residual)
}

/// Gram–Schmidt, twice over, on rows; a row that vanishes is replaced by a coordinate axis.
fn orthonormalise(rows: &mut [f64], dim: usize) {
    for k in 0..rows.len() / dim {
        let (done, rest) = rows.split_at_mut(k * dim);
        let row = &mut rest[..dim];
        let mut axis = 0;
        loop {
            let before = rows::norm(row);
            for _ in 0..2 {
                for other in done.chunks_exact(dim) {
                    let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                    row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
                }
            }
            let after = rows::norm(row);
            if after > 1e-12 * before && after > 0.0 {
                row.iter_mut().for_each(|x| *x /= after);
                break;
            }
            // Fewer rows than columns: some axis is not in their span.
            row.fill(0.0);
            row[axis] = 1.0;
            axis += 1;
        }
    }
}

/// Eigenvalues, greatest first, and eigenvectors as rows, of a small symmetric matrix by cyclic Jacobi rotations.
fn jacobi(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    for _ in 0..50 {
        let total: f64 = a.iter().map(|x| x * x).sum();
        let off: f64 = (0..n * n).filter(|i| i / n != i % n).map(|i| a[i] * a[i]).sum();
        if off <= 1e-32 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = a[p * n + q];
                if apq == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (vectors[p * n + k], vectors[q * n + k]);
                    (vectors[p * n + k], vectors[q * n + k]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|&i| a[i * n + i]).collect();
    (values, order.iter().flat_map(|&i| vectors[i * n..(i + 1) * n].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, clusters, labels, uniform};
    use super::*;
    use crate::Error;

    /// Expected: scikit-learn's `PCA(2, svd_solver="full")` on the same numbers, signs set by the rule here.
    #[test]
    fn agrees_with_scikit_learn() {
        let p = principal_plane(&clusters(5, &labels(6, 150, 8)), 6).unwrap();
        #[rustfmt::skip]
        let directions = [
            0.3243693222785163, -0.47954243020716825, -0.45518717373283896, 0.2010272276297208, 0.6224287823076115, 0.17262300533608252,
            0.48379314891477154, 0.12287114621464156, -0.04825210889034972, -0.3114809274129546, -0.2999661687707893, 0.7493454036221238,
        ];
        close(&p.directions, &directions, 1e-9);
        close(&p.explained, &[0.4489087913720718, 0.1412906690021921], 1e-12);
        close(&p.coordinates[0], &[-0.4837215464183899, -0.21020885657190785], 1e-9);
    }

    #[test]
    fn wide_data_converge_and_repeat() {
        // Two strong directions among 300 columns, more than a panel of the covariance.
        let (n, dim) = (200, 300);
        let (a, b) = (uniform(71, n), uniform(72, n));
        let mut x: Vec<f64> = uniform(73, n * dim).iter().map(|u| 0.1 * u).collect();
        for i in 0..n {
            x[i * dim + 290] += 5.0 * a[i];
            x[i * dim + 4] -= 2.0 * b[i];
        }
        let p = principal_plane(&x, dim).unwrap();
        assert!(p.residual <= TOLERANCE, "{}", p.residual);
        assert!(p.directions[290] > 0.99 && p.directions[dim + 4] > 0.99);
        assert_eq!(p, principal_plane(&x, dim).unwrap());
        let dot: f64 = (0..dim).map(|k| p.directions[k] * p.directions[dim + k]).sum();
        close(&[dot, rows::norm(&p.directions[..dim]), rows::norm(&p.directions[dim..])], &[0.0, 1.0, 1.0], 1e-12);
        let shifted: Vec<f64> = x.iter().map(|v| 1e3 + v).collect();
        close(&principal_plane(&shifted, dim).unwrap().coordinates.concat(), &p.coordinates.concat(), 1e-8);
    }

    #[test]
    fn degenerate_shapes_have_a_plane() {
        let line = principal_plane(&[1.0f32, 3.0, 8.0], 1).unwrap();
        close(&line.coordinates.concat(), &[-3.0, 0.0, -1.0, 0.0, 4.0, 0.0], 1e-6);
        assert_eq!(line.explained, [1.0, 0.0]);
        let same = principal_plane(&[2.0f32, 5.0, 1.0, 2.0, 5.0, 1.0], 3).unwrap();
        assert_eq!((same.coordinates.concat(), same.explained), (vec![0.0; 4], [0.0; 2]));
        let ray = principal_plane(&[1e-200f64, 2e-200, -1e-200, -2e-200, 3e-200, 6e-200], 2).unwrap();
        close(&ray.explained, &[1.0, 0.0], 1e-12);
        close(&ray.directions[..2], &[0.2f64.sqrt(), 0.8f64.sqrt()], 1e-12);
        let one = principal_plane(&[4.0f32, 5.0], 2).unwrap();
        assert_eq!(one.coordinates, [[0.0, 0.0]]);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(principal_plane::<f32>(&[], 3), Err(Error::Shape { .. })));
        assert!(matches!(principal_plane(&[1.0f32, f32::NAN], 2), Err(Error::NonFinite { .. })));
    }
}
