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
        Self { data: self.data, rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride }
    }
}

/// `out = beta · out + alpha · a · b`, with `out` row-major and `stride` elements from one row to the next.
///
/// With `beta = 0` the old content of `out` is not read (it may be NaN).
///
/// # Panics
/// If the shapes do not agree; callers check user input before.
pub fn gemm<T: Real>(alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, out: &mut [T], stride: usize) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(a.cols, b.rows, "inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && (m - 1) * stride + n <= out.len(), "output outside its slice");
    // SAFETY: both views were checked against their slices on construction and the output just above; `gemm` reads
    // the output only where `read_dst` is set.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            beta != T::zero(),
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
