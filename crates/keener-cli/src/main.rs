//! The command `keener`.
fn main() {}
