//! Memory under a limit that the system enforces, and the same bits whatever the number of threads.

mod common;

use common::{keener, timeless};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the command with so many MiB of address space. Threads are two, as their stacks count.
#[cfg(target_os = "linux")]
fn within(mib: usize, folder: &Path, arguments: &[&str]) -> Output {
    let script = format!(r#"ulimit -v {}; exec "$@""#, mib << 10);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_keener"), "--threads", "2"]).args(arguments);
    command.current_dir(folder).env("MALLOC_ARENA_MAX", "2").output().unwrap()
}

#[cfg(target_os = "linux")]
fn assert_ran(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// 12,288 × 12,288 scores are 576 MiB: more than the process may have, and it runs all the same.
#[cfg(target_os = "linux")]
#[test]
fn the_engine_keeps_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let bench = ["bench", "symmetric_info_nce", "--batch", "12288", "--dim", "16", "--repeat", "1", "--warm-up", "0"];
    let more = ["--json", "--memory", "64MiB"];
    let run = within(448, folder.path(), &[&bench[..], &more].concat());
    assert_ran(&run);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let found = &report["runs"][0];
    assert_eq!(found["forward_backward"]["schedule"], "recompute");
    let beyond = found["memory"]["beyond_bytes"].as_u64().unwrap();
    assert!(beyond < 64 << 20, "{beyond}");
    println!("{} MiB beyond inputs and gradients of 64 allowed, 448 MiB of address space", beyond >> 20);
    // Without a word it asks what it may have; a budget beyond that is not kept.
    assert_ran(&within(448, folder.path(), &bench));
    assert!(!within(448, folder.path(), &[&bench[..], &["--memory", "8GB"]].concat()).status.success());
}

/// A batch of 12,000 rows in pairs is 549 MiB of scores.
#[cfg(target_os = "linux")]
#[test]
fn training_keeps_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("a,b,c,kind\n");
    for i in 0..15_600u32 {
        let at = |k: u32| f64::from((i * 7919 + k * 104_729) % 1000) / 1000.0 + f64::from(i % 3);
        text += &format!("{:.3},{:.3},{:.3},{}\n", at(1), at(2), at(3), ["x", "y", "z"][i as usize % 3]);
    }
    fs::write(folder.path().join("data.csv"), text).unwrap();
    let train = |memory: &[&str], out: &str| {
        let words = [
            "train",
            "data.csv",
            "--objective",
            "symmetric_info_nce",
            "--batch",
            "12000",
            "--steps",
            "1",
            "--out",
            out,
        ];
        within(512, folder.path(), &[&words[..], memory].concat())
    };
    assert_ran(&train(&["--memory", "256MiB"], "kept"));
    assert_ran(&train(&[], "default"));
    assert!(!train(&["--memory", "64GB"], "not").status.success());
    let model = |run: &str| fs::read(folder.path().join(run).join("model.safetensors")).unwrap();
    assert!(model("kept") == model("default"));
}

/// Layers and batches large enough for burn's products to run on several threads.
#[test]
fn a_training_has_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for objective in ["softmax_cross_entropy", "cosface", "supervised_contrastive", "siglip", "trades"] {
        let train = |out: &str, more: &[&str]| {
            let words = ["train", "--objective", objective, "--hidden", "512", "--batch", "512", "--steps", "6"];
            let output = keener(folder.path()).args(words).args(["--out", out]).args(more).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let files = ["model.safetensors", "metrics.jsonl", "readout.json"];
            let found = files.map(|name| fs::read(folder.path().join(out).join(name)).unwrap());
            fs::remove_dir_all(folder.path().join(out)).unwrap();
            found
        };
        let one = train("run", &["--threads", "1"]);
        for threads in ["2", "4", "4"] {
            assert!(train("run", &["--threads", threads]) == one, "{objective} with {threads} threads");
        }
        // Learned scalars may differ in last bits between schedules.
        assert!(objective == "siglip" || train("run", &["--memory", "1MiB"]) == one, "{objective} with little memory");
    }
}

#[test]
fn validation_rows_are_thinned_to_what_memory_holds() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["train", "--objective", "focal", "--steps", "20", "--memory", "64KiB", "--out", "run"];
    let output = keener(folder.path()).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("24 of 359 validation rows are looked at"), "{said}");
}

#[test]
fn a_comparison_has_the_same_numbers_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = |threads: &str| {
        let words = ["compare", "--objectives", "softmax_cross_entropy,tcm", "--steps", "20", "--repeats", "2"];
        let more = ["--trials", "2", "--scenario", "few-labels,unseen-classes", "--threads", threads, "--out", threads];
        let output = keener(folder.path()).args(words).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        timeless(&folder.path().join(threads).join("results.json"))
    };
    let one = run("1");
    assert_eq!(one, run("2"));
    assert_eq!(one, run("4"));
}
