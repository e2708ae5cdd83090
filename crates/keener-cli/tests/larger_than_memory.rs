//! Training on files that are several times larger than the memory that the process may use.
//!
//! `cargo test --release --workspace --test larger_than_memory -- --nocapture` prints the figures.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

/// What `--memory` says, and what the system enforces for data (`ulimit -d`): mappings of files are no part of that, and
/// their resident pages are part of the peak that is measured.
const MEMORY: u64 = 160 << 20;
const ROWS: usize = 600_000;
const DIM: usize = 256;

fn header(descr: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// Class `row % 4`, told by one column in 256.
fn write(folder: &Path) -> std::io::Result<()> {
    let mut rows = BufWriter::with_capacity(1 << 20, File::create(folder.join("large.npy"))?);
    rows.write_all(&header("<f4", &format!("({ROWS}, {DIM})")))?;
    let mut line = vec![0u8; 4 * DIM];
    let mut state = 1u32;
    for row in 0..ROWS {
        for (column, out) in line.chunks_exact_mut(4).enumerate() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let signal = if column == row % 4 { 2.0 } else { 0.0 };
            out.copy_from_slice(&((state >> 8) as f32 / 16_777_216.0 + signal).to_le_bytes());
        }
        rows.write_all(&line)?;
    }
    rows.flush()?;
    let mut labels = header("|u1", &format!("({ROWS},)"));
    labels.extend((0..ROWS).map(|row| (row % 4) as u8));
    std::fs::write(folder.join("large.labels.npy"), labels)
}

#[test]
fn a_training_keeps_within_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path).unwrap();
    let size = std::fs::metadata(path.join("large.npy")).unwrap().len();
    assert!(size > 3 * MEMORY);
    let run = |limit: &str, out: &str| {
        let script = format!(
            "{limit}; exec {} train large.npy --objective ce --steps 150 --learning-rate 0.02 --hidden 0 --validation 0.05 --memory {MEMORY} --threads 1 --json --out {out}",
            env!("CARGO_BIN_EXE_keener"),
        );
        let output = Command::new("sh").arg("-c").arg(script).current_dir(path).output().unwrap();
        assert!(output.status.success(), "{limit}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let mapped = run(&format!("ulimit -d {}", MEMORY / 1024), "mapped");
    let peak = mapped["peak_memory_bytes"].as_u64().unwrap();
    println!(
        "{} MiB of features, {} MiB allowed: peak {} MiB resident, validation accuracy {}",
        size >> 20,
        MEMORY >> 20,
        peak >> 20,
        mapped["validation"]["accuracy"]
    );
    assert!(peak < MEMORY, "peak {peak}, allowed {MEMORY}");
    assert!(mapped["validation"]["accuracy"].as_f64().unwrap() > 0.9, "{mapped}");
    // Where the whole address space is limited, the file cannot be mapped and is read piece by piece, to the same result.
    let read = run(&format!("ulimit -v {}", (MEMORY + (384 << 20)) / 1024), "read");
    assert_eq!(read["validation"], mapped["validation"]);
}
