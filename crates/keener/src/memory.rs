//! Large buffers.

use crate::real::Real;

/// Below this size ordinary pages are as good.
const LARGE: usize = 4 << 20;

/// `n` zeros. Large buffers ask the system for huge pages where it grants them on request: the first touch of a gradient
/// of hundreds of megabytes otherwise costs more than the arithmetic that fills it.
pub(crate) fn zeros<T: Real>(n: usize) -> Vec<T> {
    let buffer = vec![T::zero(); n];
    if n * size_of::<T>() >= LARGE {
        advise_huge_pages(&buffer);
    }
    buffer
}

#[cfg(target_os = "linux")]
fn advise_huge_pages<T>(buffer: &[T]) {
    const PAGE: usize = 4096;
    let start = (buffer.as_ptr() as usize).next_multiple_of(PAGE);
    let end = (buffer.as_ptr() as usize + size_of_val(buffer)) / PAGE * PAGE;
    if end > start {
        // SAFETY: the range lies within an allocation that we hold, and MADV_HUGEPAGE changes no content. A refusal is harmless.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_: &[T]) {}
