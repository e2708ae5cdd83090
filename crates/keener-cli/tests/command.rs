//! The command as its users meet it: what it prints, where, and its exit status.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use std::process::{Output, Stdio};

fn keener(arguments: &[&str]) -> Output {
    Command::cargo_bin("keener").unwrap().args(arguments).output().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = keener(arguments);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "nothing but the data is printed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One line `error: …`, then lines `try: …`.
fn assert_error(arguments: &[&str], message: &str, hint: &str) {
    let output = keener(arguments);
    assert_eq!(status(&output), 2, "{arguments:?}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
    let text = stderr(&output);
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("error: ") && first.contains(message), "{text}");
    let tries: Vec<&str> = lines.collect();
    assert!(tries.iter().all(|line| line.starts_with("  try: ")), "{text}");
    assert!(hint.is_empty() || tries.iter().any(|line| line.contains(hint)), "{text}");
}

#[test]
fn help_names_commands_examples_and_exit_statuses() {
    let help = keener(&["--help"]);
    assert_eq!(status(&help), 0);
    let text = stdout(&help);
    for part in ["Usage: keener", "objectives ", "plan ", "bench ", "vectors ", "Examples:", "Exit status:", "130"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours where there is no terminal");
    for command in ["objectives", "plan", "bench", "vectors"] {
        let help = keener(&[command, "--help"]);
        assert_eq!(status(&help), 0);
        let text = stdout(&help);
        assert!(text.contains("Examples:") && text.contains("--json") && text.contains("--threads"), "{text}");
    }
    assert_eq!(stdout(&keener(&["--version"])), format!("keener {}\n", env!("CARGO_PKG_VERSION")));
    let nothing = keener(&[]);
    assert_eq!((status(&nothing), stderr(&nothing).as_str()), (0, ""));
    for part in ["\n  keener compare\n", "\n  keener compare data.csv", "\n  keener objectives\n", "keener --help"] {
        assert!(stdout(&nothing).contains(part), "{}", stdout(&nothing));
    }
}

#[test]
fn errors_are_one_line_and_say_what_to_try() {
    assert_error(&["objectives", "arcfase"], "no objective is called `arcfase`", "`arcface`");
    assert_error(&["bench", "softmax-cee"], "`softmax-cee`", "softmax_ce");
    assert_error(&["plan", "cosface:margins=1"], "margins", "keener objectives cosface");
    assert_error(&["plan", "arcface:margin=99"], "margin = 99", "keener objectives arcface");
    assert_error(&["objectives", "--family", "none"], "`none`", "classification");
    assert_error(&["objectives", "--family", "embeding"], "`embeding`", "try: `embedding`");
    assert_error(&["objectives", "arcface:mrgin=1"], "`arcface` has no parameter `mrgin`", "try: `margin`");
    assert_error(&["objectives", "arcface:margin=wide"], "margin = \"wide\"", "keener objectives arcface");
    assert_error(&["objectives", "triplet:mining=semihrd"], "`semihrd`", "`semi_hard`");
    assert_error(&["papers", "show", "contrastive"], "`contrastive`", "`contrastive-behaviour`");
    assert_error(&["papers", "run", "--seds", "3"], "--seds", "keener papers run --help");
    assert_error(&["plan", "arcface", "--batch", "-3"], "from 1", "");
    assert_error(&["completions", "bsh"], "`bsh`", "`bash`");
    assert_error(&["bench", "--btch", "3"], "--btch", "--batch");
    assert_error(&["bench", "arcface", "--memory", "5XB"], "expected a size", "keener bench --help");
    assert_error(&["bench", "arcface", "--batch", "0"], "from 1", "keener bench --help");
    assert_error(&["bench", "arcface", "--repeat", "0"], "0", "");
    assert_error(
        &["bench", "tcm", "--batch", "8", "--candidates", "9"],
        "compares the batch with itself",
        "--candidates 8",
    );
    assert_error(&["bench", "info_nce", "--batch", "8", "--candidates", "4"], "fewer", "--candidates 8");
    assert_error(&["bench", "arcface", "--candidates", "8", "--classes", "9"], "9 classes", "--classes 8");
    assert_error(&["bench", "info_nce+tcm"], "different batches", "same kind");
    assert_error(&["bench", "arcface", "--inputs", "/nowhere/at/all"], "queries.npy", "");
    assert_error(&["bench", "--serve"], "--inputs", "");
    assert_error(&["vectors", "/nowhere/at/all"], "/nowhere/at/all", "");
    assert_error(&["vectors"], "PATH", "keener vectors --help");
    assert_error(&["--threads", "0", "objectives"], "0", "");
    assert_error(&["conquer"], "conquer", "keener --help");
}

#[test]
fn objectives_are_listed_filtered_and_explained() {
    let all = json(&["objectives", "--json"]);
    let all = all["objectives"].as_array().unwrap();
    let table = stdout(&keener(&["objectives"]));
    for objective in all {
        assert!(table.contains(objective["name"].as_str().unwrap()));
    }
    let some = json(&["objectives", "--reads", "paired-views", "--family", "Retrieval", "--json"]);
    let some = some["objectives"].as_array().unwrap();
    assert!(!some.is_empty() && some.len() < all.len());
    assert!(some.iter().all(|o| o["reads"] == "paired views" && o["family"] == "retrieval"));

    let text = stdout(&keener(&["objectives", "cosface:margin=0.2"]));
    for part in ["margin = 0.2 (default 0.35)", "scale = 64\n", "arXiv 1801.09414", "- 0.2 *", "when not", "am_softmax"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let sum = json(&["objectives", "arcface+tcm:weight=0.5", "--json"]);
    assert_eq!(sum["objectives"][1]["weight"], 0.5);
    let siglip = json(&["objectives", "siglip", "--json"]);
    assert!(!siglip["objectives"][0]["learned"].as_array().unwrap().is_empty());
}

#[test]
fn bench_measures_what_it_says() {
    let sizes = ["--batch", "64", "--dim", "16", "--candidates", "500", "--repeat", "3", "--warm-up", "0", "--json"];
    let report = json(&[&["bench", "softmax-ce"], &sizes[..]].concat());
    let run = &report["runs"][0];
    assert_eq!(run["objective"], "softmax_cross_entropy");
    assert_eq!((&run["batch"], &run["dim"], &run["candidates"]), (&64.into(), &16.into(), &500.into()));
    // Scores of unit variance: ln 500 + 1/2.
    let loss = run["loss"].as_f64().unwrap();
    assert!((loss - 6.71).abs() < 0.5, "{loss}");
    for pass in ["forward", "forward_backward"] {
        let pass = &run[pass];
        let seconds: Vec<f64> = pass["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        assert_eq!(seconds.len(), 3);
        let (median, least) = (pass["median_seconds"].as_f64().unwrap(), pass["min_seconds"].as_f64().unwrap());
        assert!(seconds.contains(&median) && seconds.iter().all(|s| *s >= least && *s > 0.0));
        assert!(pass["gflops"].as_f64().unwrap() > 0.0 && pass["bare_gflops"].as_f64().unwrap() > 0.0);
    }
    let products = run["plan"]["products"].as_f64().unwrap();
    let pass = &run["forward_backward"];
    let work = pass["gflops"].as_f64().unwrap() * pass["median_seconds"].as_f64().unwrap() * 1e9;
    assert!((work / (products * 2.0 * 64.0 * 16.0 * 500.0) - 1.0).abs() < 1e-9);
    let memory = &run["memory"];
    assert_eq!(memory["gradients_bytes"], (64 + 500) * 16 * 4);
    assert_eq!(memory["inputs_bytes"], (64 + 500) * 16 * 4 + 64 * 4);
    assert!(memory["beyond_bytes"].is_null() || memory["beyond_bytes"].as_u64().unwrap() < 100 << 20);
    // The same seed, the same loss, whatever the schedule and the threads; another one, another.
    let again = json(&[&["--threads", "1", "bench", "softmax-ce", "--schedule", "recompute"], &sizes[..]].concat());
    assert_eq!(again["threads"], 1);
    assert_eq!(again["runs"][0]["plan"]["schedule"], "recompute");
    assert!((again["runs"][0]["loss"].as_f64().unwrap() - loss).abs() < 1e-5);
    let other = json(&[&["bench", "softmax-ce", "--seed", "5"], &sizes[..]].concat());
    assert!((other["runs"][0]["loss"].as_f64().unwrap() - loss).abs() > 1e-4);
}

#[test]
fn memory_beyond_inputs_and_gradients_follows_the_schedule() {
    let sizes = ["--batch", "2048", "--dim", "8", "--candidates", "16384", "--repeat", "1", "--warm-up", "0", "--json"];
    let beyond = |schedule: &str| {
        let report = json(&[&["bench", "softmax-ce", "--schedule", schedule], &sizes[..]].concat());
        report["runs"][0]["memory"]["beyond_bytes"].as_u64()
    };
    let (Some(whole), Some(recompute)) = (beyond("whole"), beyond("recompute")) else { return };
    assert!(whole >= 2048 * 16384 * 4, "{whole}: all scores are stored");
    assert!(recompute < 2048 * 16384 * 4 / 2, "{recompute}: none are");
}

#[test]
fn bench_runs_every_objective() {
    let all = json(&["objectives", "--json"]);
    for objective in all["objectives"].as_array().unwrap() {
        let name = objective["name"].as_str().unwrap();
        let report = json(&["bench", name, "--batch", "16", "--dim", "8", "--repeat", "1", "--warm-up", "0", "--json"]);
        assert!(report["runs"][0]["loss"].as_f64().unwrap().is_finite(), "{name}");
    }
}

#[test]
fn bench_without_an_objective_measures_a_set() {
    let set = json(&["bench", "--batch", "32", "--dim", "8", "--repeat", "1", "--dtype", "f64", "--json"]);
    let runs = set["runs"].as_array().unwrap();
    assert!(runs.len() >= 5);
    assert!(runs.iter().all(|r| r["dtype"] == "f64" && r["batch"] == 32));
    let table = stdout(&keener(&["bench", "softmax-ce", "--batch", "32", "--dim", "8", "--repeat", "1", "--explain"]));
    assert!(table.contains("both passes") && table.contains("schedule     whole"), "{table}");
}

fn write_npy<T: npyz::AutoSerialize>(path: &Path, shape: &[u64], data: &[T]) {
    use npyz::WriterBuilder;
    let file = std::fs::File::create(path).unwrap();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
    writer.extend(data).unwrap();
    writer.finish().unwrap();
}

fn read_npy(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let file = npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

#[test]
fn serve_answers_line_by_line_and_writes_the_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, classes, d) = (3usize, 4usize, 2usize);
    let queries: Vec<f32> = (0..rows * d).map(|i| (i as f32 * 1.3).sin()).collect();
    let heads: Vec<f32> = (0..classes * d).map(|i| (i as f32 * 0.7).cos()).collect();
    let targets = [2i64, 0, 3];
    write_npy(&folder.path().join("queries.npy"), &[rows as u64, d as u64], &queries);
    write_npy(&folder.path().join("candidates.npy"), &[classes as u64, d as u64], &heads);
    write_npy(&folder.path().join("targets.npy"), &[rows as u64], &targets);

    let sizes =
        ["--batch", "3", "--dim", "2", "--candidates", "4", "--schedule", "recompute", "--threads", "2", "--serve"];
    let mut command = Command::cargo_bin("keener").unwrap();
    command.args(["bench", "softmax_cross_entropy", "--inputs"]).arg(folder.path()).args(sizes);
    let output = command.write_stdin("write\nstep\nstep\nwrite\njump\nquit\nstep\n").output().unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let answers: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 6);
    assert_eq!(answers[0]["ready"], true);
    assert!(answers[1]["failed"].as_str().unwrap().contains("before the first step"));
    assert_eq!(answers[2]["schedule"], "recompute");
    assert!(answers[2]["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(answers[2]["loss"], answers[3]["loss"]);
    assert_eq!(answers[4]["written"], true);
    assert!(answers[5]["failed"].as_str().unwrap().contains("jump"));
    if cfg!(target_os = "linux") {
        for answer in [&answers[0], &answers[2]] {
            assert!(answer["hwm_bytes"].as_u64().unwrap() >= answer["rss_bytes"].as_u64().unwrap());
        }
    }

    // The definition: p − y, times the other side, by the mean.
    let (mut loss, mut of_queries, mut of_heads) = (0.0, vec![0.0f32; rows * d], vec![0.0f32; classes * d]);
    for i in 0..rows {
        let score = |j: usize| (0..d).map(|k| queries[i * d + k] * heads[j * d + k]).sum::<f32>();
        let total: f32 = (0..classes).map(|j| score(j).exp()).sum();
        for j in 0..classes {
            let hit = j as i64 == targets[i];
            let p = score(j).exp() / total;
            loss -= if hit { p.ln() / rows as f32 } else { 0.0 };
            for k in 0..d {
                let weight = (p - f32::from(hit)) / rows as f32;
                of_queries[i * d + k] += weight * heads[j * d + k];
                of_heads[j * d + k] += weight * queries[i * d + k];
            }
        }
    }
    assert!((answers[2]["loss"].as_f64().unwrap() - f64::from(loss)).abs() < 1e-5);
    for (name, rows, expected) in [("grad_queries.npy", rows, of_queries), ("grad_candidates.npy", classes, of_heads)] {
        let (shape, found) = read_npy(&folder.path().join("out").join(name));
        assert_eq!(shape, [rows as u64, d as u64]);
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: {found:?} {expected:?}");
    }

    let path = folder.path().to_str().unwrap();
    assert_error(&["bench", "softmax-ce", "--inputs", path, "--batch", "4"], "--batch 4", "--batch 3");
    write_npy(&folder.path().join("targets.npy"), &[rows as u64], &[0i64, 1, 9]);
    assert_error(&["bench", "softmax-ce", "--inputs", path], "label 9 at row 2: there are 4 classes", "");
    write_npy(&folder.path().join("queries.npy"), &[3], &[1.0f32, 2.0, 3.0]);
    assert_error(&["bench", "softmax-ce", "--inputs", path], "two axes", "");
}

#[test]
fn plan_chooses_by_the_budget() {
    let plan = |arguments: &[&str]| json(&[&["plan"], arguments, &["--json"]].concat());
    let small = plan(&["symmetric_info_nce", "--batch", "2048"]);
    assert_eq!(small["choice"]["schedule"], "whole");
    assert_eq!(small["candidates"], 2048);
    let large = plan(&["symmetric_info_nce", "--batch", "64k"]);
    assert_eq!(large["choice"]["schedule"], "recompute");
    let ways = |plan: &Value| plan["ways"].as_array().unwrap().clone();
    assert_eq!(ways(&large)[0]["fits"], false);
    let most = ways(&large)[0]["largest_batch"].as_u64().unwrap();
    assert!((2048..65_536).contains(&most));
    // The batch that fits does, and one more does not.
    let at = |batch: u64| plan(&["symmetric_info_nce", "--batch", &batch.to_string()])["choice"]["schedule"].clone();
    assert_eq!((at(most), at(most + 1)), ("whole".into(), "recompute".into()));
    let head = plan(&["arcface", "--batch", "4096", "--candidates", "1M"]);
    assert_eq!(ways(&head).len(), 3);
    assert_eq!(head["choice"]["schedule"], "panel");
    let tight = stdout(&keener(&["plan", "arcface", "--batch", "4096", "--candidates", "1M", "--memory", "100MiB"]));
    assert!(tight.contains("recompute: ") && tight.contains("largest batch"), "{tight}");
}

const GOOD: &str = r#"{"op": "softmax_cross_entropy", "case": "even", "params": {}, "inputs": {
    "scores": {"shape": [1, 2], "data": [0, 0]}, "labels": {"shape": [1], "data": [0]}},
    "outputs": {"loss": {"shape": [], "data": [0.6931471805599453]}}, "rtol": 1e-9, "atol": 1e-12}"#;

#[test]
fn vectors_pass_or_miss() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("good.json"), GOOD).unwrap();
    let good = keener(&["vectors", path]);
    assert_eq!(status(&good), 0, "{}{}", stdout(&good), stderr(&good));
    assert!(stdout(&good).ends_with("\n1 passed, 0 failed\n"), "{}", stdout(&good));
    assert!(stdout(&good).starts_with("ok "));

    std::fs::write(folder.path().join("off.json"), GOOD.replace("0.6931", "0.7")).unwrap();
    std::fs::write(folder.path().join("unknown.json"), GOOD.replace("softmax_cross_entropy", "soft_cross")).unwrap();
    let bad = keener(&["vectors", path]);
    assert_eq!(status(&bad), 1);
    assert_eq!(stderr(&bad), "");
    let text = stdout(&bad);
    for part in ["off.json", "unknown.json", "loss", "expected 7.", "unknown operation", "2 cases"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.ends_with("\n1 passed, 2 failed\n"), "{text}");
    let data = keener(&["vectors", path, "--json"]);
    assert_eq!(status(&data), 1);
    let data: Value = serde_json::from_slice(&data.stdout).unwrap();
    assert_eq!((&data["passed"], &data["failed"]), (&1.into(), &2.into()));
    assert_eq!(data["misses"].as_array().unwrap().len(), 2);

    std::fs::write(folder.path().join("broken.json"), "{").unwrap();
    assert_error(&["vectors", path], "broken.json", "");
}

#[test]
fn the_vectors_of_the_repository_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors");
    let output = keener(&["vectors", folder]);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn a_closed_output_is_quiet() {
    for arguments in [&["objectives"][..], &["objectives", "--json"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program = assert_cmd::cargo::cargo_bin("keener");
        let child = std::process::Command::new(program).args(arguments).stdout(writer).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        assert_eq!((status(&output), stderr(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn no_colours_reach_a_file() {
    for arguments in [&["objectives"][..], &["objectives", "arcface"], &["plan", "arcface"], &["bench", "--btch"]] {
        let output = keener(arguments);
        assert!(!stdout(&output).contains('\u{1b}') && !stderr(&output).contains('\u{1b}'), "{arguments:?}");
    }
}

/// The table of exit statuses in the guide and the help, one by one; 130 is tested where runs are interrupted.
#[test]
fn exit_statuses_are_those_of_the_help() {
    let folder = tempfile::tempdir().unwrap();
    let miss = folder.path().join("miss.json");
    std::fs::write(&miss, GOOD.replace("0.6931", "0.7")).unwrap();
    let miss = miss.to_str().unwrap();
    for (arguments, expected) in [
        (&[][..], 0),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["objectives"], 0),
        (&["vectors", miss], 1),
        (&["vectors", "nowhere"], 2),
        (&["papers"], 2),
        (&["train"], 2),
        (&["train", "--steps", "x"], 2),
        (&["objectives", "arcfase"], 2),
        (&["man", miss], 2),
    ] {
        assert_eq!(status(&keener(arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn colours_are_forced_and_forbidden_by_the_environment() {
    let run = |variables: &[(&str, &str)]| {
        let mut command = Command::cargo_bin("keener").unwrap();
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        let output = command.args(["objectives", "focal"]).output().unwrap();
        stdout(&output).contains('\u{1b}')
    };
    assert!(run(&[("CLICOLOR_FORCE", "1")]));
    assert!(!run(&[]) && !run(&[("CLICOLOR_FORCE", "0")]));
    assert!(!run(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn narrow_terminals_are_kept_to() {
    for columns in [40, 60, 80] {
        for arguments in [&["objectives"][..], &["objectives", "focal"], &["plan", "arcface"], &["papers", "list"]] {
            let mut command = Command::cargo_bin("keener").unwrap();
            let output = command.args(arguments).env("COLUMNS", columns.to_string()).output().unwrap();
            let text = stdout(&output);
            let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
            // The code to paste has words that cannot be broken.
            assert!(widest.chars().count() <= columns || widest.contains('('), "{columns} {arguments:?}: {widest}");
        }
    }
}

#[test]
fn completions_and_manual_pages_are_made() {
    let script = stdout(&keener(&["completions", "bash"]));
    assert!(script.contains("complete -F _keener"), "{script}");
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("man1");
    let output = keener(&["man", into.to_str().unwrap()]);
    assert_eq!((status(&output), stdout(&output).as_str()), (0, ""));
    let pages = std::fs::read_dir(&into).unwrap().count();
    assert!(stderr(&output).starts_with(&format!("note: {pages} pages")), "{}", stderr(&output));
    assert!(std::fs::read_to_string(into.join("keener-train.1")).unwrap().contains("print\\-config"));
    // A shell that is there reads its script.
    if let Ok(output) = std::process::Command::new("bash").args(["-n", "-c", &script]).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
