//! Which candidates an anchor meets: drawing of negatives beyond what a batch happens to hold.

mod tuples;

pub use tuples::{HardTuples, Tuple};
