//! `keener data`, and data of every shape in training, comparison and prediction.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn keener(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_keener")).current_dir(folder).args(arguments).output().unwrap()
}

fn ran(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&ran(folder, arguments)).unwrap()
}

/// Three clouds of 120 rows; every four rows are of one owner.
fn pets(rows: std::ops::Range<usize>) -> String {
    let mut text = String::from("a,b,owner,species\n");
    for i in rows {
        let class = i / 4 % 3;
        let (x, y) = (class as f64 + 0.001 * i as f64, (class as f64 - 1.0).abs() + 0.02 * (i % 11) as f64);
        text += &format!("{x},{y},owner{},{}\n", i / 4, ["cat", "dog", "owl"][class]);
    }
    text
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pets.csv"), pets(0..120)).unwrap();
    folder
}

#[test]
fn a_file_is_described_with_what_to_do_next() {
    let folder = folder();
    let path = folder.path();
    let text = ran(path, &["data", "describe", "pets.csv"]);
    for part in ["120 rows of 2 features", "`species`", "column `owner`", "3: cat 40, dog 40, owl 40", "none"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.contains("`keener compare pets.csv --leave-out owner`"), "{text}");
    // What it says is what works.
    ran(path, &["train", "pets.csv", "--leave-out", "owner", "--objective", "ce", "--steps", "5", "--out", "run"]);

    fs::write(path.join("test.csv"), pets(118..130)).unwrap();
    let found = json(path, &["data", "describe", "pets.csv", "--test-data", "test.csv", "--json"]);
    assert_eq!((found["leakage"][0]["rows"].as_u64(), found["leakage"][0]["of"].as_u64()), (Some(2), Some(12)));
    let broken = pets(0..120).replacen("1.004,", "NaN,", 1);
    fs::write(path.join("broken.csv"), broken).unwrap();
    let text = ran(path, &["data", "describe", "broken.csv"]);
    assert!(text.contains("1 missing values in 1 rows: row 4 `a`") && text.contains("training refuses"), "{text}");
}

#[test]
fn conversions_keep_the_rows_and_never_write_over_a_file() {
    let folder = folder();
    let path = folder.path();
    let train = |file: &str, out: &str| {
        let run = ["train", file, "--objective", "focal", "--steps", "20", "--out", out, "--json"];
        json(path, &run)["validation"]["nll"].as_f64().unwrap()
    };
    ran(path, &["data", "convert", "pets.csv", "pets.parquet", "--leave-out", "owner"]);
    let first = train("pets.parquet", "r0");
    for (k, file) in
        ["pets.npz", "pets.npy", "pets.safetensors", "pets.arrow", "pets.jsonl", "back.csv"].iter().enumerate()
    {
        ran(path, &["data", "convert", "pets.parquet", file]);
        assert_eq!(train(file, &format!("r{}", k + 1)), first, "{file}");
    }
    let there = refused(path, &["data", "convert", "pets.csv", "pets.npz", "--leave-out", "owner"]);
    assert!(there.contains("exists") && there.contains("--force"), "{there}");
    let unknown = refused(path, &["data", "convert", "pets.csv", "pets.docx", "--leave-out", "owner"]);
    assert!(unknown.contains("--to") && unknown.contains("parquet"), "{unknown}");
    assert!(ran(path, &["data", "list"]).contains("safetensors"));
}

#[test]
fn splits_are_written_and_trained_on() {
    let folder = folder();
    let path = folder.path();
    let said =
        ran(path, &["data", "split", "pets.csv", "--group-column", "owner", "--seed", "3", "--out", "split.csv"]);
    assert!(said.contains("train") && said.contains("3 classes"), "{said}");
    let text = fs::read_to_string(path.join("split.csv")).unwrap();
    let part = |row: usize| text.lines().nth(2 + row).unwrap().split(',').nth(1).unwrap().to_string();
    assert!((0..120).all(|row| part(row) == part(row / 4 * 4)), "an owner is on one side");
    let leaks = json(path, &["data", "describe", "pets.csv", "--split", "split.csv", "--json"]);
    assert_eq!(leaks["leakage"], serde_json::json!([]));
    let train = ["train", "pets.csv", "--objective", "ce", "--steps", "150", "--leave-out", "owner", "--json"];
    let run = |more: &[&str]| json(path, &[&train[..], more].concat());
    let one = run(&["--split", "split.csv", "--out", "one"]);
    let test = text.lines().filter(|line| line.ends_with(",test")).count() as u64;
    assert_eq!(one["test"]["rows"].as_u64(), Some(test));
    assert!(one["test"]["accuracy"].as_f64().unwrap() > 0.9, "{one}");
    // The run is reproduced with its split; other data are refused.
    let again = json(path, &["train", "--config", "one/config.toml", "--out", "two", "--json"]);
    assert_eq!(again["test"], one["test"]);
    fs::write(path.join("more.csv"), pets(0..124)).unwrap();
    let other = refused(path, &[&["train", "more.csv"], &train[2..8], &["--split", "split.csv"]].concat());
    assert!(other.contains("other data") && other.contains("expected 120"), "{other}");

    // The same by a column, by files, and by groups drawn on the way.
    let with_part: String = pets(0..120)
        .lines()
        .enumerate()
        .map(|(k, line)| format!("{line},{}\n", if k == 0 { "part".into() } else { part(k - 1) }))
        .collect();
    fs::write(path.join("parts.csv"), with_part).unwrap();
    let column = [
        &["train", "parts.csv", "--label-column", "species"],
        &train[2..],
        &["--split-column", "part", "--out", "three"],
    ]
    .concat();
    assert_eq!(json(path, &column)["test"], one["test"]);
    fs::write(path.join("test.csv"), pets(120..144)).unwrap();
    let files = run(&["--test-data", "test.csv", "--out", "four"]);
    assert_eq!(files["test"]["rows"].as_u64(), Some(24));
    let groups = json(
        path,
        &[
            "train",
            "pets.csv",
            "--objective",
            "ce",
            "--steps",
            "9",
            "--group-column",
            "owner",
            "--out",
            "five",
            "--json",
        ],
    );
    assert!(groups["validation"]["accuracy"].is_number());
    let predicted = ran(path, &["predict", "five", "pets.csv"]);
    assert_eq!(predicted.lines().count(), 121);
    assert!(
        refused(path, &["data", "split", "pets.csv", "--by", "groups", "--leave-out", "owner"])
            .contains("--group-column")
    );
}

#[test]
fn comparisons_keep_groups_whole_or_say_that_they_cannot() {
    let folder = folder();
    let path = folder.path();
    let compare = [
        "compare",
        "pets.csv",
        "--group-column",
        "owner",
        "--objectives",
        "ce",
        "--steps",
        "5",
        "--repeats",
        "2",
        "--trials",
        "1",
        "--json",
        "--out",
    ];
    let found = json(path, &[&compare[..], &["one"]].concat());
    assert_eq!(found["boards"][0]["scenario"], "full");
    assert!(found["command"].as_str().unwrap().contains("--group-column owner"));
    let few = refused(path, &[&compare[..], &["two", "--scenario", "few-labels"]].concat());
    assert!(few.contains("rows in groups"), "{few}");
}

#[test]
fn sparse_rows_are_trained_on_compared_and_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut text = String::new();
    for i in 0..150 {
        let class = i % 3;
        // 5000 columns, of which a class has its own dozen.
        text += &format!("{class} {}:1 {}:0.5 5000:0.1\n", 1 + class * 40 + i % 12, 1000 + class * 40 + i % 7);
    }
    fs::write(path.join("docs.svm"), text).unwrap();
    let found = json(path, &["data", "describe", "docs.svm", "--json"]);
    assert_eq!((found["storage"].as_str(), found["features"].as_u64()), (Some("sparse"), Some(5000)));
    for (objective, out) in [("ce", "one"), ("arcface", "two"), ("supervised_contrastive", "three")] {
        let run = json(path, &["train", "docs.svm", "--objective", objective, "--steps", "60", "--out", out, "--json"]);
        assert!(run["validation"]["accuracy"].as_f64().unwrap() > 0.95, "{objective}: {run}");
        let predicted = ran(path, &["predict", out, "docs.svm"]);
        let right = predicted
            .lines()
            .skip(1)
            .enumerate()
            .filter(|(i, line)| line.split(',').nth(1) == Some(["0", "1", "2"][i % 3]));
        assert!(right.count() > 145, "{objective}");
    }
    let compare = [
        "compare",
        "docs.svm",
        "--objectives",
        "ce,cosface",
        "--steps",
        "20",
        "--repeats",
        "2",
        "--trials",
        "1",
        "--json",
    ];
    let best = &json(path, &compare)["boards"][0]["rows"][0];
    assert_eq!(best["verdict"], "best");
}
