//! Matrix products: the only place that knows which library computes them.
//!
//! Each call runs on the calling thread. Parallelism lives above, in blocks of fixed geometry, so that results do
//! not depend on the number of threads. `bench/products` holds the measurement behind the choice of library.

use crate::real::Real;

/// A strided view of a matrix inside a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> MatRef<'a, T> {
    /// Row-major `[rows, cols]`; `data` may be longer than needed.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * cols`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major with `stride >= cols` elements from one row to the next.
    ///
    /// # Panics
    /// If the last element would lie outside `data`.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "stride {stride} < columns {cols}");
        assert!(rows == 0 || cols == 0 || (rows - 1) * stride + cols <= data.len(), "matrix view outside its slice");
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The transpose, without copying.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `out = beta · out + alpha · a · b`, with `out` row-major and `stride` elements from one row to the next.
///
/// With `beta = 0` the old content of `out` is not read (it may be NaN).
///
/// # Panics
/// If the shapes do not agree; callers check user input before.
pub fn gemm<T: Real>(alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, out: &mut [T], stride: usize) {
    let (m, n) = (a.rows, b.cols);
    assert_eq!(a.cols, b.rows, "inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && (m - 1) * stride + n <= out.len(), "output outside its slice");
    if beta != T::zero() && beta != T::one() {
        for row in out.chunks_mut(stride) {
            let width = n.min(row.len());
            row[..width].iter_mut().for_each(|x| *x *= beta);
        }
    }
    T::multiply(alpha, a, b, beta != T::zero(), out, stride);
}

/// The library call, for each number type.
pub trait Multiply: Sized {
    /// `out (+)= alpha · a · b`; shapes have been checked by [`gemm`].
    #[doc(hidden)]
    fn multiply(alpha: Self, a: MatRef<'_, Self>, b: MatRef<'_, Self>, add: bool, out: &mut [Self], stride: usize);
}

macro_rules! multiply {
    ($t:ty) => {
        impl Multiply for $t {
            fn multiply(alpha: $t, a: MatRef<'_, $t>, b: MatRef<'_, $t>, add: bool, out: &mut [$t], stride: usize) {
                use faer::{Accum, Par, linalg::matmul::matmul};
                // SAFETY: `MatRef` checked its strides against its slice on construction, `gemm` checked the output, and the
                // output is borrowed mutably, so nothing overlaps it.
                let (left, right, into) = unsafe {
                    (
                        faer::MatRef::from_raw_parts(
                            a.data.as_ptr(),
                            a.rows,
                            a.cols,
                            a.row_stride as isize,
                            a.col_stride as isize,
                        ),
                        faer::MatRef::from_raw_parts(
                            b.data.as_ptr(),
                            b.rows,
                            b.cols,
                            b.row_stride as isize,
                            b.col_stride as isize,
                        ),
                        faer::MatMut::from_raw_parts_mut(out.as_mut_ptr(), a.rows, b.cols, stride as isize, 1),
                    )
                };
                matmul(into, if add { Accum::Add } else { Accum::Replace }, left, right, alpha, Par::Seq);
            }
        }
    };
}

multiply!(f32);
multiply!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_for_every_layout() {
        let (m, k, n) = (5, 7, 3);
        let a: Vec<f64> = (0..m * k).map(|v| (v as f64 * 0.37).sin()).collect();
        let b: Vec<f64> = (0..n * k).map(|v| (v as f64 * 0.11).cos()).collect();
        let mut out = vec![f64::NAN; m * (n + 2)];
        gemm(2.0, MatRef::new(&a, m, k), MatRef::new(&b, n, k).t(), 0.0, &mut out, n + 2);
        let exact = |i: usize, j: usize| 2.0 * (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f64>();
        for i in 0..m {
            for j in 0..n {
                assert!((out[i * (n + 2) + j] - exact(i, j)).abs() < 1e-14);
            }
            assert!(out[i * (n + 2) + n].is_nan(), "the gap between rows is not written");
        }
        gemm(2.0, MatRef::new(&a, m, k), MatRef::new(&b, n, k).t(), 0.5, &mut out, n + 2);
        assert!((out[0] - 1.5 * exact(0, 0)).abs() < 1e-14);
        // Transposed left side, and an empty inner dimension.
        let mut square = vec![1.0; k * k];
        gemm(1.0, MatRef::new(&a, m, k).t(), MatRef::new(&a, m, k), 1.0, &mut square, k);
        let exact: f64 = 1.0 + (0..m).map(|i| a[i * k] * a[i * k + 1]).sum::<f64>();
        assert!((square[1] - exact).abs() < 1e-14);
        let mut zero = vec![5.0; 2];
        gemm(1.0, MatRef::new(&[], 1, 0), MatRef::new(&[], 0, 2), 0.0, &mut zero, 2);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
