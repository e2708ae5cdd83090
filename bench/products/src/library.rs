//! The candidates behind one interface: `out = lhs · rhs` or `out += lhs · rhs`, strided operands.

/// A strided matrix that is only read.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    /// Elements; `(rows − 1)·row_stride + (cols − 1)·col_stride` must be in bounds.
    pub data: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements between rows.
    pub row_stride: usize,
    /// Elements between columns.
    pub col_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// A dense row-major matrix `[rows, cols]`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert!(data.len() >= rows * cols, "{} elements for {rows}×{cols}", data.len());
        View { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The same elements read as the transpose.
    pub fn transposed(self) -> Self {
        View {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// The libraries that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Crate `gemm`.
    Gemm,
    /// Crate `faer` (on x86-64 its `private-gemm-x86` kernels, chosen at run time).
    Faer,
    /// Crate `matrixmultiply`.
    MatrixMultiply,
    /// OpenBLAS through `cblas_*gemm`.
    #[cfg(feature = "blas")]
    OpenBlas,
}

impl Library {
    /// Every candidate of this build.
    pub const ALL: &[Library] = &[
        Library::Gemm,
        Library::Faer,
        Library::MatrixMultiply,
        #[cfg(feature = "blas")]
        Library::OpenBlas,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Library::Gemm if cfg!(feature = "gemm-x86-v4") => "gemm-x86-v4",
            Library::Gemm => "gemm",
            Library::Faer => "faer",
            Library::MatrixMultiply => "matrixmultiply",
            #[cfg(feature = "blas")]
            Library::OpenBlas => "openblas",
        }
    }
}

/// An element type that every candidate multiplies.
pub trait Scalar: Copy + Send + Sync + 'static {
    /// Its name in tables.
    const NAME: &'static str;
    /// Conversion of test data.
    fn from_f64(value: f64) -> Self;
    /// Back again, for the check.
    fn to_f64(self) -> f64;
    /// `out[m,n] (row-major) = or += lhs[m,k] · rhs[k,n]` on `threads` threads.
    fn product(
        library: Library,
        lhs: View<'_, Self>,
        rhs: View<'_, Self>,
        out: &mut [Self],
        accumulate: bool,
        threads: usize,
    );
}

macro_rules! scalar {
    ($t:ident, $mm:ident, $cblas:ident) => {
        impl Scalar for $t {
            const NAME: &'static str = stringify!($t);

            fn from_f64(value: f64) -> Self {
                value as $t
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn product(
                library: Library,
                lhs: View<'_, $t>,
                rhs: View<'_, $t>,
                out: &mut [$t],
                accumulate: bool,
                threads: usize,
            ) {
                let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
                assert!(rhs.rows == k && out.len() >= m * n);
                let beta = if accumulate { 1.0 } else { 0.0 };
                match library {
                    Library::Gemm => {
                        let parallelism = match threads {
                            1 => gemm::Parallelism::None,
                            t => gemm::Parallelism::Rayon(t),
                        };
                        // SAFETY: the views and `out` cover the strides given (asserted above and
                        // in `View::new`), and `out` is exclusively borrowed.
                        unsafe {
                            gemm::gemm::<$t>(
                                m,
                                n,
                                k,
                                out.as_mut_ptr(),
                                1,
                                n as isize,
                                accumulate,
                                lhs.data.as_ptr(),
                                lhs.col_stride as isize,
                                lhs.row_stride as isize,
                                rhs.data.as_ptr(),
                                rhs.col_stride as isize,
                                rhs.row_stride as isize,
                                beta,
                                1.0,
                                false,
                                false,
                                false,
                                parallelism,
                            );
                        }
                    }
                    Library::Faer => {
                        let par = match threads {
                            1 => faer::Par::Seq,
                            t => faer::Par::rayon(t),
                        };
                        faer::linalg::matmul::matmul(
                            faer::MatMut::from_row_major_slice_mut(&mut out[..m * n], m, n),
                            if accumulate { faer::Accum::Add } else { faer::Accum::Replace },
                            faer_view(lhs),
                            faer_view(rhs),
                            1.0,
                            par,
                        );
                    }
                    // SAFETY: as for `gemm`; its thread count comes from MATMUL_NUM_THREADS.
                    Library::MatrixMultiply => unsafe {
                        matrixmultiply::$mm(
                            m,
                            k,
                            n,
                            1.0,
                            lhs.data.as_ptr(),
                            lhs.row_stride as isize,
                            lhs.col_stride as isize,
                            rhs.data.as_ptr(),
                            rhs.row_stride as isize,
                            rhs.col_stride as isize,
                            beta,
                            out.as_mut_ptr(),
                            n as isize,
                            1,
                        );
                    },
                    #[cfg(feature = "blas")]
                    Library::OpenBlas => {
                        let (ta, lda) = blas::layout(&lhs);
                        let (tb, ldb) = blas::layout(&rhs);
                        // SAFETY: as for `gemm`; the leading dimensions are the views' strides.
                        unsafe {
                            blas::$cblas(
                                blas::ROW_MAJOR,
                                ta,
                                tb,
                                m as i32,
                                n as i32,
                                k as i32,
                                1.0,
                                lhs.data.as_ptr(),
                                lda,
                                rhs.data.as_ptr(),
                                ldb,
                                beta,
                                out.as_mut_ptr(),
                                n as i32,
                            );
                        }
                    }
                }
            }
        }
    };
}

scalar!(f32, sgemm, cblas_sgemm);
scalar!(f64, dgemm, cblas_dgemm);

fn faer_view<T>(view: View<'_, T>) -> faer::MatRef<'_, T> {
    if view.col_stride == 1 {
        faer::MatRef::from_row_major_slice(&view.data[..view.rows * view.cols], view.rows, view.cols)
    } else {
        faer::MatRef::from_column_major_slice(&view.data[..view.rows * view.cols], view.rows, view.cols)
    }
}

/// Tells OpenBLAS how many threads one call may use; the other libraries are told per call.
pub fn set_blas_threads(threads: usize) {
    #[cfg(feature = "blas")]
    // SAFETY: a plain setter, called while no product runs.
    unsafe {
        blas::openblas_set_num_threads(threads as i32);
    }
    #[cfg(not(feature = "blas"))]
    let _ = threads;
}

#[cfg(feature = "blas")]
mod blas {
    use super::View;

    pub(super) const ROW_MAJOR: i32 = 101;
    const NO_TRANSPOSE: i32 = 111;
    const TRANSPOSE: i32 = 112;

    /// The `CBLAS_TRANSPOSE` value and the leading dimension of a dense view.
    pub(super) fn layout<T>(view: &View<'_, T>) -> (i32, i32) {
        if view.col_stride == 1 { (NO_TRANSPOSE, view.row_stride as i32) } else { (TRANSPOSE, view.col_stride as i32) }
    }

    macro_rules! cblas {
        ($($name:ident: $t:ty),*) => {
            unsafe extern "C" {
                $(pub(super) fn $name(
                    order: i32, trans_a: i32, trans_b: i32, m: i32, n: i32, k: i32,
                    alpha: $t, a: *const $t, lda: i32, b: *const $t, ldb: i32,
                    beta: $t, c: *mut $t, ldc: i32,
                );)*
                pub(super) fn openblas_set_num_threads(threads: i32);
            }
        };
    }
    cblas!(cblas_sgemm: f32, cblas_dgemm: f64);
}
