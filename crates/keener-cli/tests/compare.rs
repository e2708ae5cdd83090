//! `keener compare` as a user meets it.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn keener(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keener"));
    command.current_dir(folder).env_remove("NO_COLOR");
    command
}

const QUICK: [&str; 12] = [
    "compare",
    "--objectives",
    "softmax_cross_entropy,cosface:margin=0.2,supervised_contrastive",
    "--steps",
    "10",
    "--repeats",
    "2",
    "--trials",
    "2",
    "--scenario",
    "noisy-labels,unseen-classes",
    "--out",
];

fn error_of(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

/// Results without what differs from run to run.
fn timeless(path: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                ["seconds", "peak_memory_bytes", "threads"].iter().for_each(|key| drop(map.remove(*key)));
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    strip(&mut value);
    value
}

#[test]
fn a_comparison_writes_everything_and_its_command_line_gives_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let output = keener(folder.path()).args(QUICK).arg("one").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in ["Noisy labels: leader board", "Unseen classes: leader board", "ObjectiveLoss::parse(", "PyTorch"] {
        assert!(text.contains(expected), "{text}");
    }
    let one = folder.path().join("one");
    for file in ["plan.json", "units.jsonl", "results.json", "noisy-labels.csv", "unseen-classes.csv", "report.html"] {
        assert!(one.join(file).is_file(), "{file}");
    }
    let results = timeless(&one.join("results.json"));
    assert_eq!(results["units"].as_array().unwrap().len(), 2 * 3 * 2);
    let board = &results["boards"][0];
    assert_eq!(board["rows"].as_array().unwrap().len(), 3);
    assert_eq!(board["rows"][0]["verdict"], "best");
    assert!(board["winner"]["burn"].as_str().unwrap().contains("TrainConfig"));
    let fixed = board["rows"].as_array().unwrap().iter().find(|r| r["objective"] == "cosface:margin=0.2").unwrap();
    assert!(fixed["chosen"]["spec"].as_str().unwrap().starts_with("cosface:margin=0.2,scale="), "{fixed}");

    let command = results["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let again = keener(folder.path()).args(&words).args(["--out", "two", "--threads", "1"]).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(results, timeless(&folder.path().join("two/results.json")));
}

#[test]
fn an_interrupted_comparison_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    keener(folder.path()).args(QUICK).arg("whole").assert().success();
    let whole = folder.path().join("whole");
    let part = folder.path().join("part");
    fs::create_dir(&part).unwrap();
    for file in ["run.json", "plan.json"] {
        fs::copy(whole.join(file), part.join(file)).unwrap();
    }
    let lines = fs::read_to_string(whole.join("units.jsonl")).unwrap();
    // Some lines, the last of them cut off in the middle.
    let some: String = lines.split_inclusive('\n').take(7).collect();
    fs::write(part.join("units.jsonl"), &some[..some.len() - 40]).unwrap();
    let refused = error_of(folder.path(), &[&QUICK[..], &["part"]].concat());
    assert!(refused.contains("not empty") && refused.contains("--resume"), "{refused}");
    let other = error_of(folder.path(), &[&QUICK[..], &["part", "--resume", "--seed", "3"]].concat());
    assert!(other.contains("another comparison") && other.contains("seed is 3 now and was 0"), "{other}");
    keener(folder.path()).args(QUICK).args(["part", "--resume"]).assert().success();
    assert_eq!(timeless(&whole.join("results.json")), timeless(&part.join("results.json")));
    let count = fs::read_to_string(part.join("units.jsonl")).unwrap().lines().count();
    assert_eq!(count, lines.lines().count());
}

#[test]
fn mistakes_are_told_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let unknown = error_of(path, &["compare", "--objectives", "arcfase"]);
    assert!(unknown.contains("arcface") && unknown.contains("try"), "{unknown}");
    let two = error_of(path, &["compare", "--objectives", "trades"]);
    assert!(two.contains("does not apply") && two.contains("attacked version"), "{two}");
    let parameter = error_of(path, &["compare", "--objectives", "cosface:margn=0.2"]);
    assert!(parameter.contains("margn") && parameter.contains("margin"), "{parameter}");
    fs::write(path.join("few.csv"), "a,b,kind\n1,2,x\n2,3,y\n3,4,x\n").unwrap();
    let column = error_of(path, &["compare", "few.csv", "--label-column", "species"]);
    assert!(column.contains("species") && column.contains("kind"), "{column}");
    let rows = error_of(path, &["compare", "few.csv", "--label-column", "kind"]);
    assert!(rows.contains("class `x` has 2 rows"), "{rows}");
    assert!(error_of(path, &["compare", "--repeats", "0"]).contains("repeats = 0"));
    assert!(error_of(path, &["compare", "absent.csv"]).contains("absent.csv"));
    assert!(error_of(path, &["compare", "--task", "retrieve", "--scenario", "full"]).contains("does not belong"));
    assert!(!path.join("runs").exists());
}

#[test]
fn own_data_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("a,b,species\n");
    for i in 0..120 {
        let class = i % 3;
        text += &format!(
            "{},{},{}\n",
            class as f64 + 0.01 * (i % 7) as f64,
            0.02 * (i % 11) as f64,
            ["cat", "dog", "owl"][class]
        );
    }
    fs::write(folder.path().join("pets.csv"), text).unwrap();
    let output = keener(folder.path())
        .args([
            "compare",
            "pets.csv",
            "--objectives",
            "ce,focal",
            "--steps",
            "20",
            "--repeats",
            "2",
            "--trials",
            "1",
            "--json",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["plan"]["data"], "pets");
    assert_eq!(results["boards"][0]["scenario"], "full");
    assert!(results["tuning"]["how"].as_str().unwrap().contains("Nothing was tuned"));
    assert!(folder.path().join("runs/compare-pets-1/report.html").is_file());
}
