//! Every conformance vector of the repository, against this build.

use keener::conformance::{load, run};
use std::path::Path;

#[test]
fn every_vector_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let cases = load(&[&folder]).unwrap();
    let misses: Vec<String> = cases
        .iter()
        .map(|(path, case)| (path, run(case)))
        .filter(|(_, outcome)| !outcome.passed())
        .map(|(path, outcome)| format!("{}: {outcome}", path.strip_prefix(&folder).unwrap_or(path).display()))
        .collect();
    assert!(misses.is_empty(), "{} of {} cases:\n{}", misses.len(), cases.len(), misses.join("\n"));
}
