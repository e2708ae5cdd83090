//! `keener train` and `keener predict` as a user meets them.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn keener(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keener"));
    command.current_dir(folder);
    command
}

fn error_of(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

/// Three clouds, with labels or without.
fn pets(labels: bool) -> String {
    let mut text = String::from(if labels { "a,b,species\n" } else { "a,b\n" });
    for i in 0..90 {
        let class = i % 3;
        let (x, y) = (class as f64 + 0.03 * (i % 7) as f64, (class as f64 - 1.0).abs() + 0.02 * (i % 11) as f64);
        text += &match labels {
            true => format!("{x},{y},{}\n", ["cat", "dog, wild", "owl"][class]),
            false => format!("{x},{y}\n"),
        };
    }
    text.replace("dog, wild", "\"dog, wild\"")
}

/// A fourth cloud and a fifth.
fn birds(labels: bool) -> String {
    let mut text = String::from(if labels { "a,b,species\n" } else { "a,b\n" });
    for i in 0..24 {
        let (x, y) = if i % 2 == 0 { (-2.0, -3.0) } else { (4.0, 5.0) };
        let (x, y) = (x + 0.02 * (i % 5) as f64, y + 0.03 * (i % 7) as f64);
        text += &if labels { format!("{x},{y},{}\n", ["heron", "gull"][i % 2]) } else { format!("{x},{y}\n") };
    }
    text
}

#[test]
fn a_finished_run_learns_further_classes_from_examples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("pets.csv"), pets(true)).unwrap();
    fs::write(path.join("birds.csv"), birds(true)).unwrap();
    fs::write(path.join("new.csv"), pets(false) + birds(false).split_once('\n').unwrap().1).unwrap();
    for objective in ["normalized_softmax:scale=8", "supervised_contrastive", "softmax_cross_entropy"] {
        let run = objective.split(':').next().unwrap();
        let train = ["train", "pets.csv", "--objective", objective, "--steps", "200", "--out", run];
        keener(path).args(train).assert().success();
        let output = keener(path).args(["add-class", run, "birds.csv"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("added `heron` from 12 examples") && said.contains("5 classes now"), "{said}");
        let output = keener(path).args(["predict", run, "new.csv", "--format", "json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 114);
        let expected = |i: usize| {
            if i < 90 { ["cat", "dog, wild", "owl"][i % 3] } else { ["heron", "gull"][i % 2] }
        };
        let right = lines.iter().enumerate().filter(|(i, l)| l["class"] == expected(*i)).count();
        assert!(right >= 108, "{objective}: {right} of 114");
        // More of a class that was added is taken in.
        let output = keener(path).args(["add-class", run, "birds.csv"]).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("moved `gull` by 12 more examples"));
    }
    // Trained weights are directions only under a cosine head, and take no examples.
    let train = ["train", "pets.csv", "--objective", "normalized_softmax", "--steps", "50", "--out", "fresh"];
    keener(path).args(train).assert().success();
    let before = fs::read(path.join("fresh/readout.json")).unwrap();
    let error = error_of(path, &["add-class", "fresh", "pets.csv", "--prototypes", "weights"]);
    assert!(error.contains("weight was trained") && error.contains("--prototypes means"), "{error}");
    fs::write(path.join("wide.csv"), "a,b,c,species\n1,2,3,heron\n1,2,4,gull\n").unwrap();
    assert!(error_of(path, &["add-class", "fresh", "wide.csv"]).contains("3 features a row, expected 2"));
    assert_eq!(fs::read(path.join("fresh/readout.json")).unwrap(), before, "nothing was changed");
    keener(path).args(["add-class", "fresh", "birds.csv", "--prototypes", "weights"]).assert().success();
}

#[test]
fn trained_runs_predict_for_every_kind_of_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("pets.csv"), pets(true)).unwrap();
    fs::write(path.join("new.csv"), pets(false)).unwrap();
    for (k, objective) in
        ["softmax_cross_entropy", "cosface:scale=16", "supervised_contrastive", "siglip"].iter().enumerate()
    {
        let run = format!("run{k}");
        keener(path)
            .args(["train", "pets.csv", "--objective", objective, "--steps", "150", "--out", &run])
            .assert()
            .success();
        for file in ["config.toml", "metrics.jsonl", "model.safetensors", "readout.json", "report.html"] {
            assert!(path.join(&run).join(file).is_file(), "{file}");
        }
        let output = keener(path).args(["predict", &run, "new.csv", "--format", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<serde_json::Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 90);
        let right = lines.iter().enumerate().filter(|(i, l)| l["class"] == ["cat", "dog, wild", "owl"][i % 3]).count();
        assert!(right >= 85, "{objective}: {right}");
        let sum: f64 = lines[0]["probabilities"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        keener(path).args(["predict", &run, "new.csv", "--embed", "--out", "e.csv"]).assert().success();
        let text = fs::read_to_string(path.join("e.csv")).unwrap();
        assert_eq!(text.lines().count(), 91);
        assert_eq!(text.lines().nth(1).unwrap().split(',').count(), 64);
    }
    let csv = keener(path).args(["predict", "run0", "pets.csv"]).output().unwrap();
    let text = String::from_utf8(csv.stdout).unwrap();
    assert!(text.starts_with("row,class,probability\n0,cat,") && text.contains("1,\"dog, wild\","), "{text}");
}

#[test]
fn a_configuration_gives_the_same_model_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("pets.csv"), pets(true)).unwrap();
    keener(path)
        .args(["train", "pets.csv", "--objective", "focal", "--steps", "40", "--out", "one"])
        .assert()
        .success();
    keener(path).args(["train", "--config", "one/config.toml", "--out", "two"]).assert().success();
    let model = |run: &str| fs::read(path.join(run).join("model.safetensors")).unwrap();
    assert!(model("one") == model("two"));
    assert_eq!(fs::read(path.join("one/metrics.jsonl")).unwrap(), fs::read(path.join("two/metrics.jsonl")).unwrap());

    // An interrupt after the last checkpoint leaves no model; resuming makes the same one.
    fs::remove_file(path.join("two/model.safetensors")).unwrap();
    keener(path).args(["train", "--resume", "--out", "two"]).assert().success();
    assert!(model("one") == model("two"));

    fs::write(path.join("pets.csv"), pets(true).replace("0.03", "0.04")).unwrap();
    let other = error_of(path, &["train", "--config", "one/config.toml", "--out", "three"]);
    assert!(other.contains("other data"), "{other}");
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("pets.csv"), pets(true)).unwrap();
    assert!(error_of(path, &["train", "pets.csv", "--objective", "focl"]).contains("focal"));
    let head = error_of(path, &["train", "pets.csv", "--objective", "focal", "--head", "projection"]);
    assert!(head.contains("projection head") && head.contains("linear"), "{head}");
    assert!(error_of(path, &["predict", "pets", "pets.csv"]).contains("keener train"));
    let missing = error_of(path, &["train", "pest.csv", "--objective", "focal"]);
    assert!(missing.starts_with("error: pest.csv: there is no such file or folder\n  try: `pets.csv`\n"), "{missing}");
    let column = error_of(path, &["train", "pets.csv", "--label-column", "specie", "--objective", "focal"]);
    assert!(column.contains("among a, b, species") && column.contains("try: `species`"), "{column}");
    let last = keener(path)
        .args(["train", "pets.csv", "--label-column", "-1", "--objective", "ce", "--print-config"])
        .output();
    assert!(String::from_utf8(last.unwrap().stdout).unwrap().contains("label_column = \"-1\""));
    fs::write(path.join("prices.csv"), "a,b,label\n1,2,0.5\n2,3,0.7\n3,1,1.5\n").unwrap();
    let label = error_of(path, &["train", "prices.csv", "--objective", "ce"]);
    assert!(label.contains("regression") && label.contains("--label-column COLUMN"), "{label}");
    let rate = error_of(path, &["train", "pets.csv", "--objective", "ce", "--learning-rate", "-1"]);
    assert!(rate.contains("learning_rate = -1: expected a finite number > 0"), "{rate}");
    let diverged = ["train", "pets.csv", "--objective", "ce", "--steps", "5", "--learning-rate", "1e30", "--out", "no"];
    let diverged = error_of(path, &diverged);
    assert!(diverged.contains("diverged") && diverged.contains("lower `--learning-rate`"), "{diverged}");
    fs::remove_dir_all(path.join("no")).unwrap();
    assert!(!path.join("runs").exists());
    keener(path).args(["train", "pets.csv", "--objective", "ce", "--steps", "5", "--out", "run"]).assert().success();
    let filled = error_of(path, &["train", "pets.csv", "--objective", "ce", "--steps", "5", "--out", "run"]);
    assert!(filled.contains("not empty"), "{filled}");
    fs::create_dir(path.join("empty")).unwrap();
    let none = error_of(path, &["predict", "empty", "pets.csv"]);
    assert!(none.contains("empty is no finished run") && none.contains("try: `run`"), "{none}");
    let file = error_of(path, &["predict", "pets.csv", "pets.csv"]);
    assert!(file.contains("pets.csv is a file, expected a folder"), "{file}");
    assert!(error_of(path, &["predict", "run", "pets.csv", "--out", "no/x.csv"]).contains("make `no` first"));
    fs::write(path.join("wide.csv"), "a,b,c\n1,2,3\n").unwrap();
    let wide = error_of(path, &["predict", "run", "wide.csv"]);
    assert!(wide.contains("3 features a row, expected 2"), "{wide}");
}

#[test]
fn single_rows_are_learned_from_bags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("pets.csv"), pets(true)).unwrap();
    // Some rows a bag, and what a registry might say of each: shares of the classes.
    let names = ["cat", "dog, wild", "owl"];
    let bag_of = |row: usize| row * row / 7 % 18;
    let ids: String = (0..90).map(|row| format!("b{}\n", bag_of(row))).collect();
    fs::write(path.join("bags.csv"), format!("bag\n{ids}")).unwrap();
    let mut responses = String::from("bag,owl,cat,\"dog, wild\"\n");
    for bag in 0..18 {
        let rows: Vec<usize> = (0..90).filter(|row| bag_of(*row) == bag).collect();
        let share =
            |class: usize| rows.iter().filter(|row| *row % 3 == class).count() as f64 / rows.len().max(1) as f64;
        responses += &format!("b{bag},{},{},{}\n", share(2), share(0), share(1));
    }
    fs::write(path.join("responses.csv"), responses).unwrap();
    let given = ["--bags", "bags.csv", "--bag-responses", "responses.csv"];
    for (k, bags) in [&given[..], &given[..2], &["--bag-size", "4"][..]].into_iter().enumerate() {
        let run = format!("run{k}");
        let mut arguments = vec!["train", "pets.csv", "--objective", "aggregate:kind=bce,rho=0", "--out", &run];
        arguments.extend(["--steps", "300", "--batch", "20", "--learning-rate", "0.01"]);
        arguments.extend(bags);
        keener(path).args(&arguments).assert().success();
        let output = keener(path).args(["predict", &run, "pets.csv", "--format", "json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let class = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["class"].clone();
        let right = text.lines().enumerate().filter(|(i, line)| class(line) == names[i % 3]).count();
        assert!(right >= 75, "{bags:?}: {right}");
    }
    // What was written trains again.
    keener(path).args(["train", "--config", "run0/config.toml", "--out", "again"]).assert().success();
    let model = |run: &str| fs::read(path.join(run).join("model.safetensors")).unwrap();
    assert!(model("run0") == model("again"));
    let wrong = |more: &[&str]| error_of(path, &[&["train", "pets.csv", "--out", "bad"], more].concat());
    assert!(wrong(&["--objective", "focal", "--bag-size", "4"]).contains("reads the class of each row"));
    fs::write(path.join("short.csv"), "a\nb\n").unwrap();
    assert!(wrong(&["--objective", "aggregate", "--bags", "short.csv"]).contains("2 bag ids, expected 90"));
    assert!(!path.join("bad").exists());
}
