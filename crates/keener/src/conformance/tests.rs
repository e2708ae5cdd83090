//! The runner notices what is wrong, and says where.

use super::*;
use crate::error::Error;
use std::path::{Path, PathBuf};

const FOCAL: &str = r#"{"op": "focal", "case": "by-hand", "paper": null, "params": {"gamma": 1.0},
    "inputs": {"scores": {"shape": [1, 2], "data": [0.0, 0]}, "targets": {"shape": [1], "data": [1]}},
    "outputs": {"loss": {"shape": [], "data": [0.34657359027997264]},
        "grad_scores": {"shape": [1, 2], "data": [0.42328679513998635, -0.42328679513998635]}},
    "rtol": 1e-12, "atol": 1e-12, "provenance": "p = 1/2: the loss is ½ ln 2, its slope ½ (½ ln 2 + ½)"}"#;

fn focal() -> Case {
    serde_json::from_str(FOCAL).unwrap()
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors")
}

#[test]
fn a_right_case_passes_and_survives_writing() {
    let case = focal();
    let outcome = run(&case);
    assert!(outcome.passed() && outcome.worst_error < 1e-15, "{outcome}");
    let again: Case = serde_json::from_str(&serde_json::to_string(&case).unwrap()).unwrap();
    assert_eq!(again, case);
}

#[test]
fn a_wrong_number_is_a_miss_at_its_place() {
    let mut case = focal();
    case.outputs.get_mut("grad_scores").unwrap().data[1] += 1e-9;
    let outcome = run(&case);
    assert_eq!(outcome.verdict, Verdict::Miss);
    assert!((outcome.worst_error - 1e-9).abs() < 1e-15 && outcome.worst_in_tolerances > 700.0);
    let place = outcome.place.as_ref().unwrap();
    assert_eq!((place.output.as_str(), &place.index[..]), ("grad_scores", &[0, 1][..]));
    assert!(outcome.to_string().contains("grad_scores[0, 1] is -4.2328"), "{outcome}");
    // Infinity never passes for a number, whatever the tolerance.
    let mut case = focal();
    (case.rtol, case.outputs.get_mut("loss").unwrap().data[0]) = (1e300, f64::INFINITY);
    assert_eq!((run(&case).verdict, run(&case).worst_error), (Verdict::Miss, f64::INFINITY));
}

#[test]
fn what_cannot_be_run_says_why() {
    let changed = |change: &dyn Fn(&mut Case)| {
        let mut case = focal();
        change(&mut case);
        let outcome = run(&case);
        assert!(!outcome.passed());
        outcome
    };
    let unknown = changed(&|c| c.op = "focal_los".into());
    assert!(
        matches!(&unknown.verdict, Verdict::UnknownOp { nearest } if nearest.contains(&"focal".to_string())),
        "{unknown}"
    );
    let unheard = changed(&|c| c.op = "zzzzzzzzzzzzzzzz".into());
    assert_eq!(unheard.to_string(), "unknown operation");
    let failed = |change: &dyn Fn(&mut Case), words: &str| {
        let outcome = changed(change);
        assert!(matches!(outcome.verdict, Verdict::Failed(_)) && outcome.to_string().contains(words), "{outcome}");
    };
    let loss = focal().outputs["loss"].clone();
    failed(&|c| drop(c.outputs.insert("lss".into(), loss.clone())), "`lss`");
    failed(&|c| drop(c.outputs.insert("row_loss".into(), Array { shape: vec![2], data: vec![0.0; 2] })), "[2]");
    failed(&|c| c.outputs.clear(), "no outputs");
    failed(&|c| drop(c.inputs.remove("targets")), "targets");
    failed(&|c| drop(c.inputs.insert("logits".into(), loss.clone())), "`logits`");
    failed(&|c| drop(c.inputs.insert("labels".into(), Array { shape: vec![1], data: vec![1.0] })), "same input");
    failed(&|c| drop(c.inputs.insert("targets".into(), Array { shape: vec![1], data: vec![0.5] })), "whole number");
    failed(
        &|c| drop(c.inputs.insert("targets".into(), Array { shape: vec![1], data: vec![2.0] })),
        "there are 2 classes",
    );
    failed(&|c| drop(c.inputs.insert("scores".into(), Array { shape: vec![2], data: vec![0.0; 2] })), "two axes");
    failed(&|c| drop(c.params.insert("gama".into(), 1.into())), "gama");
    failed(&|c| drop(c.params.insert("reduction".into(), "max".into())), "mean, sum or none");
    failed(&|c| c.rtol = -1.0, "rtol = -1");
    failed(&|c| c.inputs.get_mut("scores").unwrap().shape = vec![3, 2], "do not fill");
}

#[test]
fn reductions_follow_from_the_mean() {
    let mut case = focal();
    case.inputs.insert("scores".into(), Array { shape: vec![3, 2], data: vec![0.0, 0.0, 0.4, -1.0, 9.0, 2.0] });
    case.inputs.insert("targets".into(), Array { shape: vec![3], data: vec![1.0, 0.0, -1.0] });
    case.params.insert("ignore_index".into(), (-1).into());
    let with = |reduction: &str| {
        let mut case = case.clone();
        case.params.insert("reduction".into(), reduction.into());
        objective::perform(&case, "focal", case.params.clone()).unwrap()
    };
    let [mean, sum, none] = ["mean", "sum", "none"].map(with);
    assert_eq!(none["loss"], mean["row_loss"]);
    assert_eq!((none["loss"].len(), none["loss"][2]), (3, 0.0));
    // Two of three rows count.
    assert!((sum["loss"][0] - 2.0 * mean["loss"][0]).abs() < 1e-15);
    assert!((sum["grad_scores"][2] - 2.0 * mean["grad_scores"][2]).abs() < 1e-15);
    assert_eq!(sum["grad_scores"], none["grad_scores"]);
}

#[test]
fn unreadable_files_are_named() {
    let folder = std::env::temp_dir().join(format!("keener-conformance-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("b/empty")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("b/second.json", FOCAL);
    write("a.json", FOCAL);
    write("notes.txt", "not a case, and not looked at");
    let names =
        |paths: &[PathBuf]| -> Vec<PathBuf> { load(paths).unwrap().into_iter().map(|(path, _)| path).collect() };
    assert_eq!(names(std::slice::from_ref(&folder)), [folder.join("a.json"), folder.join("b/second.json")]);
    let refused = |path: PathBuf, words: &str| {
        let error = load(std::slice::from_ref(&path)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Specification { .. }), "{text}");
        assert!(text.contains(path.file_name().unwrap().to_str().unwrap()) && text.contains(words), "{text}");
    };
    refused(folder.join("b/empty"), "no .json");
    refused(folder.join("absent.json"), "cannot read");
    for (name, old, new, words) in [
        ("broken.json", "}", "", "not a conformance case"),
        ("list.json", FOCAL, "[1, 2]", "not a conformance case"),
        ("null.json", "[0.0, 0]", "[0.0, null]", "data[1] is null"),
        ("word.json", "[0.0, 0]", "[0.0, \"much\"]", "data[1] is \"much\""),
        (
            "shape.json",
            "\"shape\": [1, 2], \"data\": [0.0, 0]",
            "\"shape\": [5], \"data\": [0.0]",
            "do not fill the shape [5]",
        ),
        ("tolerance.json", "\"atol\": 1e-12", "\"atol\": -1", "atol = -1"),
        ("untold.json", "\"op\": \"focal\", ", "", "missing field `op`"),
    ] {
        assert!(FOCAL.contains(old), "{name}");
        write(name, &FOCAL.replace(old, new));
        refused(folder.join(name), words);
        // The folder is no better than its worst file.
        assert!(load(&[&folder]).is_err());
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn infinities_are_written_as_words() {
    let array: Array = serde_json::from_str(r#"{"shape": [2], "data": ["inf", "-inf"]}"#).unwrap();
    assert_eq!(array.data, [f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!(serde_json::to_string(&array).unwrap(), r#"{"shape":[2],"data":["inf","-inf"]}"#);
}

/// Everything that this build knows, against every vector of it.
#[test]
fn known_operations_pass_their_vectors() {
    let cases = load(&[vectors()]).unwrap();
    let mut checked = std::collections::BTreeSet::new();
    let mut misses = Vec::new();
    for (path, case) in &cases {
        let outcome = run(case);
        match outcome.verdict {
            Verdict::UnknownOp { .. } => {}
            Verdict::Pass => drop(checked.insert(case.op.as_str())),
            _ => misses.push(format!("{}: {outcome}", path.display())),
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
    for op in
        ["softmax_cross_entropy", "binary_cross_entropy", "focal", "proxy_anchor", "hardness_weights", "tolerance"]
    {
        assert!(checked.contains(op), "{op} has no vector");
    }
}

#[test]
fn operations_are_listed_once() {
    let names = ops();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(names.contains(&"proxy_anchor") && names.contains(&"whisker_filter"));
}
