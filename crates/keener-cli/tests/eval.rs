//! `keener eval` as a user meets it.

use assert_cmd::Command;
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;

fn keener(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_keener")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(folder, &[arguments, &["--json"]].concat())).unwrap()
}

fn error(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Rows of a matrix as CSV without a header, and labels one a line.
fn write_rows(folder: &Path, name: &str, rows: &Value) {
    let mut csv = String::new();
    for row in rows.as_array().unwrap() {
        let cells: Vec<String> = row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap().to_string()).collect();
        writeln!(csv, "{}", cells.join(",")).unwrap();
    }
    fs::write(folder.join(name), csv).unwrap();
}

fn write_labels(folder: &Path, name: &str, labels: &Value) {
    let lines: Vec<String> = labels.as_array().unwrap().iter().map(|v| format!("{v}\n")).collect();
    fs::write(folder.join(name), lines.concat()).unwrap();
}

/// What scikit-learn and pytrec_eval say about the same inputs, random and tied; `bench/peers/metrics.py agree --fixture` wrote it.
#[test]
fn figures_are_those_of_the_peers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let fixture: Value = serde_json::from_str(include_str!("fixtures/metrics.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    let mut compared = 0;
    for case in cases {
        write_rows(path, "x.csv", &case["rows"]);
        write_labels(path, "y.txt", &case["labels"]);
        let mut arguments = vec!["eval", "x.csv", "--labels", "y.txt", "--precision", "double", "--bootstrap", "0"];
        arguments.extend(case["options"].as_array().unwrap().iter().map(|o| o.as_str().unwrap()));
        if !case["gallery"].is_null() {
            write_rows(path, "g.csv", &case["gallery"]);
            write_labels(path, "h.txt", &case["gallery_labels"]);
            arguments.extend(["--gallery", "g.csv", "--gallery-labels", "h.txt"]);
        }
        let found = json(path, &arguments);
        for (name, expected) in case["expected"].as_object().unwrap() {
            let (group, metric) = name.split_once('.').unwrap();
            let value = found["metrics"][group][metric]["value"].as_f64();
            let value = value.unwrap_or_else(|| panic!("{}: no {name} in {found:#}", case["name"]));
            let expected = expected.as_f64().unwrap();
            assert!((value - expected).abs() < 1e-9, "{}: {name} = {value}, expected {expected}", case["name"]);
            compared += 1;
        }
    }
    assert!(cases.len() == 8 && compared > 100, "{} cases, {compared} figures", cases.len());
}

/// 90 rows in three clouds, `width` columns, with a label column.
fn clouds(width: usize) -> String {
    let names: Vec<String> = (0..width).map(|k| format!("e{k}")).collect();
    let mut csv = format!("{},label\n", names.join(","));
    for i in 0..90 {
        let class = i % 3;
        let cell = |k: usize| {
            let noise = ((i * 37 + k * 101) % 97) as f64 / 97.0 - 0.5;
            format!("{:.4}", if k % 3 == class { 1.0 } else { 0.0 } + noise)
        };
        let cells: Vec<String> = (0..width).map(cell).collect();
        writeln!(csv, "{},{}", cells.join(","), ["ant", "bee", "cat"][class]).unwrap();
    }
    csv
}

#[test]
fn embeddings_get_every_group_with_intervals_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("e.csv"), clouds(6)).unwrap();
    let found = json(path, &["eval", "e.csv", "--report", "report.html", "--far", "0.1", "--k", "1,4"]);
    let metrics = found["metrics"].as_object().unwrap();
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ["retrieval", "verification", "clustering", "spread"]);
    for (group, name) in
        [("retrieval", "recall@4"), ("retrieval", "map@r"), ("verification", "tar@far=0.1"), ("clustering", "ari")]
    {
        let figure = &metrics[group][name];
        let [low, value, high] = ["low", "value", "high"].map(|k| figure[k].as_f64().unwrap());
        assert!(0.0 <= low && low <= value && value <= high && high <= 1.0, "{name}: {figure}");
        assert_eq!(figure["resamples"], 1000);
    }
    assert!(found["not_applicable"]["classification"].as_str().unwrap().contains("class scores"));
    let page = fs::read_to_string(path.join("report.html")).unwrap();
    for part in ["ROC of pairs", "Retrieval by cut-off", "needs class scores", "keener eval e.csv"] {
        assert!(page.contains(part), "{part}");
    }
    let table = text(path, &["eval", "e.csv"]);
    for part in
        ["Retrieval", "recall@10", "Verification", "eer", "Clustering", "Not applicable", "lower row comes first"]
    {
        assert!(table.contains(part), "{part}\n{table}");
    }
    // The same bits for any number of threads, without the time.
    let run = |threads: &str| {
        let mut found = json(path, &["eval", "e.csv", "--threads", threads]);
        found["seconds"] = Value::Null;
        found
    };
    assert_eq!(run("1"), run("3"));
    // What is not asked for is not there.
    let some = json(path, &["eval", "e.csv", "--metrics", "recall@2,clustering", "--bootstrap", "0"]);
    assert_eq!(some["metrics"]["retrieval"].as_object().unwrap().len(), 2);
    assert!(some["metrics"]["retrieval"]["recall@2"]["low"].is_null() && some["metrics"]["verification"].is_null());
}

#[test]
fn a_gallery_is_searched_by_names_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // One query of each class, and one of a class that the gallery lacks.
    fs::write(path.join("q.csv"), "x,y,label\n1,0,a\n0,1,b\n1,1,z\n").unwrap();
    fs::write(path.join("g.csv"), "x,y,label\n0,1,b\n1,0.1,c\n1,0.2,a\n").unwrap();
    let found = json(path, &["eval", "q.csv", "--gallery", "g.csv", "--k", "1,2", "--bootstrap", "0"]);
    let retrieval = &found["metrics"]["retrieval"];
    assert_eq!(retrieval["recall@1"]["value"], 0.5);
    assert_eq!(retrieval["mrr"]["value"], 0.75);
    assert!(retrieval["notes"][0].as_str().unwrap().contains("2 queries against the gallery; 1 queries without"));
    fs::write(path.join("wide.csv"), "x,y,w,label\n0,1,3,b\n").unwrap();
    let wide = error(path, &["eval", "q.csv", "--gallery", "wide.csv"]);
    assert!(wide.contains("3 columns, expected 2"), "{wide}");
}

#[test]
fn score_files_get_classification_and_say_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Columns are named, in another order than the classes are sorted.
    fs::write(path.join("p.csv"), "dog,cat,label\n0.8,0.2,dog\n0.4,0.6,cat\n0.3,0.7,dog\n0.1,0.9,cat\n").unwrap();
    let found = json(path, &["eval", "p.csv", "--report", "p.html"]);
    let figures = &found["metrics"]["classification"];
    assert_eq!(figures["accuracy"]["value"], 0.75);
    assert_eq!(figures["auroc"]["value"], 0.75);
    assert!((figures["brier"]["value"].as_f64().unwrap() - (0.08 + 0.32 + 0.98 + 0.02) / 4.0).abs() < 1e-6);
    assert!(found["not_applicable"]["retrieval"].as_str().unwrap().contains("--as embeddings"));
    assert!(fs::read_to_string(path.join("p.html")).unwrap().contains("Reliability"));
    // As embeddings the same file has a geometry.
    assert!(json(path, &["eval", "p.csv", "--as", "embeddings"])["metrics"]["retrieval"].is_object());
    fs::write(path.join("s.csv"), "score,label\n0.1,0\n0.4,0\n0.35,1\n0.8,1\n").unwrap();
    let scores = json(path, &["eval", "s.csv", "--far", "0.5"]);
    let figures = &scores["metrics"]["classification"];
    assert_eq!((&figures["auroc"]["value"], &figures["eer"]["value"]), (&0.75.into(), &0.5.into()));
    assert_eq!(
        (&figures["tar@far=0.5"]["value"], &figures["tar@far=0.5"]["threshold"]),
        (&1.0.into(), &0.35f32.into())
    );
    let impossible = json(path, &["eval", "s.csv", "--as", "probabilities"]);
    assert_eq!(impossible["metrics"]["classification"]["accuracy"]["value"], 0.75);
    fs::write(path.join("zero.csv"), "0,1,label\n1,0,1\n0,1,1\n").unwrap();
    let zero = json(path, &["eval", "zero.csv", "--as", "probabilities"]);
    assert!(zero["metrics"]["classification"]["nll"]["value"].is_null());
    assert!(zero["metrics"]["classification"]["notes"].to_string().contains("probability 0"));
}

#[test]
fn a_run_is_judged_on_its_validation_rows_or_on_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("rows.csv"), clouds(4)).unwrap();
    let train = ["train", "rows.csv", "--objective", "cosface:scale=16", "--steps", "60", "--out", "run", "--json"];
    let trained: Value = serde_json::from_str(&text(path, &train)).unwrap();
    let found = json(path, &["eval", "run"]);
    let accuracy = &found["metrics"]["classification"]["accuracy"]["value"];
    assert_eq!(accuracy, &trained["validation"]["accuracy"]);
    let nll = found["metrics"]["classification"]["nll"]["value"].as_f64().unwrap();
    assert!((nll - trained["validation"]["nll"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(found["not_applicable"].as_object().unwrap().len(), 0);
    assert!(found["metrics"]["retrieval"]["map@r"].is_object());
    let others = json(path, &["eval", "run", "rows.csv", "--metrics", "classification"]);
    assert_eq!(others["subject"]["rows"], "90");
    assert!(error(path, &["eval", "run", "--as", "logits"]).contains("for files"));
    fs::write(path.join("new.csv"), clouds(4).replace("cat", "cow")).unwrap();
    assert!(error(path, &["eval", "run", "new.csv"]).contains("cow"));
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("e.csv"), clouds(4)).unwrap();
    assert!(error(path, &["eval", "e.csv", "--metrics", "hits@3"]).contains("recall@k"));
    assert!(error(path, &["eval", "e.csv", "--k", "0"]).contains("at least 1"));
    assert!(error(path, &["eval", "e.csv", "--confidence", "2"]).contains("confidence"));
    assert!(error(path, &["eval", "e.csv", "--far", "7"]).contains("[0, 1]"));
    assert!(error(path, &["eval", "e.csv", "--metrics", "classification"]).contains("needs class scores"));
    assert!(error(path, &["eval", "e.csv", "e.csv"]).contains("one file too many"));
    assert!(error(path, &["eval", "e.csv", "--as", "scores"]).contains("one column"));
    assert!(error(path, &["eval", "e.csv", "--as", "logits"]).contains("4 columns of scores for 3 classes"));
    assert!(error(path, &["eval", "e.csv", "--clusters", "91"]).contains("1 to 90"));
    assert!(error(path, &["eval", "nowhere.npy"]).contains("nowhere.npy"));
    // Every class on its own: no pairs, no relevant rows.
    fs::write(path.join("alone.csv"), "x,y,label\n1,0,a\n0,1,b\n1,1,c\n").unwrap();
    let alone = json(path, &["eval", "alone.csv"]);
    assert!(alone["not_applicable"]["retrieval"].as_str().unwrap().contains("no query has a reference of its class"));
    assert!(alone["not_applicable"]["verification"].as_str().unwrap().contains("positive"));
    assert!(error(path, &["eval", "alone.csv", "--report", "no/such/report.html"]).contains("report.html"));
}
