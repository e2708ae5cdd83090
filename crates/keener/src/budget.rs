//! How much memory this process is to keep within.
//!
//! One number for everybody who can choose between memory and something else: the engine between its schedules
//! ([`crate::engine::Options::default`] takes [`engine`]), a loader between memory and disk ([`total`]). A program sets it
//! once, at its start. Where it makes the engine choose another schedule, last bits may differ: `docs/reliability.md` says
//! where.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What the engine takes where nothing is set.
pub const ENGINE: usize = 512 << 20;

static TOTAL: AtomicUsize = AtomicUsize::new(usize::MAX);
static SHARE: AtomicUsize = AtomicUsize::new(ENGINE);

/// Sets the bytes that the process is to keep within, and those that the engine may hold of them beyond inputs and
/// gradients.
pub fn set(total: usize, engine: usize) {
    TOTAL.store(total, Ordering::Relaxed);
    SHARE.store(engine, Ordering::Relaxed);
}

/// Bytes that the process is to keep within, data included; `usize::MAX` where nothing is set.
pub fn total() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// Bytes that the engine may hold beyond inputs and gradients; [`ENGINE`] where nothing is set.
pub fn engine() -> usize {
    SHARE.load(Ordering::Relaxed)
}
