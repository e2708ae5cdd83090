//! Small dense matrices in `f64`, row-major: products in blocks of fixed size, inverse, singular values.

use crate::products::{MatRef, gemm};
use crate::real::Real;
use rayon::prelude::*;

/// Multiply-adds from which a product is shared out.
const SHARED: usize = 2 << 20;
/// Rows of the result in one task.
const ROWS: usize = 64;

/// `out = beta · out + alpha · A B`, A `[m, k]` row-major, `out` `[m, n]`.
pub(super) fn product<T: Real>(alpha: T, a: &[T], k: usize, b: MatRef<'_, T>, n: usize, beta: T, out: &mut [T]) {
    let m = out.len() / n.max(1);
    let block = |first: usize, out: &mut [T]| {
        let rows = out.len() / n;
        gemm(alpha, MatRef::new(&a[first * k..(first + rows) * k], rows, k), b, beta, out, n);
    };
    match m * n * k >= SHARED && m > ROWS {
        true => out.par_chunks_mut(ROWS * n).enumerate().for_each(|(task, out)| block(task * ROWS, out)),
        false => block(0, out),
    }
}

/// `out = beta · out + alpha · Aᵀ B`, A `[k, m]` row-major, `out` `[m, n]`.
pub(super) fn product_t(
    alpha: f64,
    a: &[f64],
    k: usize,
    m: usize,
    b: MatRef<'_, f64>,
    n: usize,
    beta: f64,
    out: &mut [f64],
) {
    if k == 0 {
        out.iter_mut().for_each(|x| *x *= beta);
        return;
    }
    let block = |first: usize, out: &mut [f64]| {
        let rows = out.len() / n;
        gemm(alpha, MatRef::strided(&a[first..], k, rows, m).t(), b, beta, out, n);
    };
    match m * n * k >= SHARED && m > ROWS {
        true => out.par_chunks_mut(ROWS * n).enumerate().for_each(|(task, out)| block(task * ROWS, out)),
        false => block(0, out),
    }
}

/// The identity.
pub(super) fn identity(n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    (0..n).for_each(|k| out[k * n + k] = 1.0);
    out
}

/// Smallest pivot, relative to the largest, at which a matrix still counts as regular.
const REGULAR: f64 = 1e-11;

/// `(A⁻¹)ᵀ`, or `None` where A is singular to working precision.
pub(super) fn inverse_transposed(a: &[f64], n: usize) -> Option<Vec<f64>> {
    // Read as column-major, A is its transpose, and so is the inverse that comes out.
    let lu = regular(faer::MatRef::from_column_major_slice(a, n, n))?;
    use faer::linalg::solvers::DenseSolveCore;
    let inverse = lu.inverse();
    let mut out = Vec::with_capacity(n * n);
    for row in 0..n {
        out.extend((0..n).map(|col| inverse[(row, col)]));
    }
    out.iter().all(|x| x.is_finite()).then_some(out)
}

/// `A⁻¹ B` for A `[n, n]`, B `[n, width]`, both row-major; `None` where A is singular to working precision.
pub(super) fn solve(a: &[f64], n: usize, b: &[f64], width: usize) -> Option<Vec<f64>> {
    use faer::linalg::solvers::Solve;
    let lu = regular(faer::MatRef::from_row_major_slice(a, n, n))?;
    let found = lu.solve(faer::MatRef::from_row_major_slice(b, n, width));
    let mut out = Vec::with_capacity(n * width);
    for row in 0..n {
        out.extend((0..width).map(|col| found[(row, col)]));
    }
    out.iter().all(|x| x.is_finite()).then_some(out)
}

fn regular(a: faer::MatRef<'_, f64>) -> Option<faer::linalg::solvers::PartialPivLu<f64>> {
    let lu = a.partial_piv_lu();
    let pivots = (0..a.nrows()).map(|k| lu.U()[(k, k)].abs());
    let (least, most) = pivots.fold((f64::INFINITY, 0.0f64), |(l, m), p| (l.min(p), m.max(p)));
    (least > REGULAR * most && most.is_finite()).then_some(lu)
}

/// Left singular vectors (column `k` in `vectors[k]`) and singular values, descending; `None` where none can be found.
pub(super) fn left_singular(a: &[f64], n: usize) -> Option<(Vec<Vec<f64>>, Vec<f64>)> {
    let svd = faer::MatRef::from_row_major_slice(a, n, n).svd().ok()?;
    let (vectors, values) = (svd.U(), svd.S());
    let column = |k: usize| (0..n).map(|row| vectors[(row, k)]).collect();
    Some(((0..n).map(column).collect(), (0..n).map(|k| values[k]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f64> {
        (0..n).map(|k| ((k * k * 3 + k) as f64 * 0.37).sin()).collect()
    }

    #[test]
    fn shared_products_are_the_products() {
        let (m, k, n) = (150, 130, 140);
        let (a, b) = (numbers(m * k), numbers(k * n));
        let mut found = vec![1.0; m * n];
        product(2.0, &a, k, MatRef::new(&b, k, n), n, 0.5, &mut found);
        let mut transposed = vec![0.0; k * m];
        (0..m).for_each(|i| (0..k).for_each(|j| transposed[j * m + i] = a[i * k + j]));
        let mut other = vec![1.0; m * n];
        product_t(2.0, &transposed, k, m, MatRef::new(&b, k, n), n, 0.5, &mut other);
        for (i, j) in [(0, 0), (149, 139), (70, 3)] {
            let exact = 0.5 + 2.0 * (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f64>();
            assert!((found[i * n + j] - exact).abs() < 1e-11 && (other[i * n + j] - exact).abs() < 1e-11);
        }
    }

    #[test]
    fn inverses_solutions_and_singular_values() {
        let n = 7;
        let mut a = numbers(n * n);
        (0..n).for_each(|k| a[k * n + k] += 3.0);
        let inverse = inverse_transposed(&a, n).unwrap();
        let at = |i: usize, j: usize| (0..n).map(|l| a[i * n + l] * inverse[j * n + l]).sum::<f64>();
        assert!((0..n).all(|i| (0..n).all(|j| (at(i, j) - f64::from(u8::from(i == j))).abs() < 1e-13)));
        let b = numbers(n * 2);
        let x = solve(&a, n, &b, 2).unwrap();
        assert!(
            (0..n).all(|i| ((0..n).map(|l| a[i * n + l] * x[l * 2 + 1]).sum::<f64>() - b[i * 2 + 1]).abs() < 1e-13)
        );
        let (vectors, values) = left_singular(&[3.0, 0.0, 0.0, -0.5], 2).unwrap();
        assert_eq!((values[0], values[1]), (3.0, 0.5));
        assert!((vectors[0][0].abs() - 1.0).abs() < 1e-15);
        let singular = [1.0, 2.0, 2.0, 4.0];
        assert!(inverse_transposed(&singular, 2).is_none() && solve(&singular, 2, &[1.0, 1.0], 1).is_none());
        assert!(inverse_transposed(&[0.0], 1).is_none());
    }
}
