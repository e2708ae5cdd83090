//! Configuration files: printed, changed in parts, overridden, refused, and runs that are made again from them.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn keener(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keener"));
    command.current_dir(folder);
    command
}

fn ran(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = keener(folder).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// A folder with `data/pets.csv`: three clouds.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("a,b,species\n");
    for i in 0..90 {
        let class = i % 3;
        text += &format!(
            "{},{},{}\n",
            class as f64 + 0.03 * (i % 7) as f64,
            0.02 * (i % 11) as f64,
            ["cat", "dog", "owl"][class]
        );
    }
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/pets.csv"), text).unwrap();
    folder
}

fn same(folder: &Path, one: &str, two: &str, file: &str) -> bool {
    let bytes = |run: &str| fs::read(folder.join(run).join(file)).unwrap();
    bytes(one) == bytes(two)
}

#[test]
fn what_train_prints_trains_the_same_weights_from_anywhere() {
    let folder = place();
    let path = folder.path();
    let options =
        ["--objective", "cosface:scale=16", "--steps", "30", "--hidden", "16", "--embedding", "8", "--seed", "5"];
    ran(path, &[&["train", "data/pets.csv", "--out", "runs/one"], &options[..]].concat());
    let printed = ran(path, &[&["train", "data/pets.csv", "--print-config"], &options[..]].concat());
    let lines: Vec<&str> = printed.lines().collect();
    for (k, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
        assert!(line.contains("# ") || lines[k - 1].starts_with("# "), "{line}\n{printed}");
    }
    fs::write(path.join("mine.toml"), &printed).unwrap();
    ran(path, &["train", "--config", "mine.toml", "--out", "two"]);
    // The run's own file, found from elsewhere, after the whole place was moved.
    let moved = tempfile::tempdir().unwrap();
    for part in ["data", "runs", "two"] {
        fs::rename(path.join(part), moved.path().join(part)).unwrap();
    }
    let path = moved.path();
    ran(&path.join("data"), &["train", "--config", "../runs/one/config.toml", "--out", "../three"]);
    for run in ["two", "three"] {
        assert!(
            same(path, "runs/one", run, "model.safetensors") && same(path, "runs/one", run, "metrics.jsonl"),
            "{run}"
        );
    }
    // The printed configuration is that of the run, but for what only a run knows.
    let text = fs::read_to_string(path.join("runs/one/config.toml")).unwrap();
    assert!(text.contains("path = \"../../data/pets.csv\"") && text.contains("\nfingerprint = "), "{text}");
    let plain = |text: &str| -> Vec<String> {
        text.lines().filter(|l| !l.contains("fingerprint") && !l.contains("path = ")).map(String::from).collect()
    };
    assert_eq!(plain(&text), plain(&printed));
}

#[test]
fn a_part_of_a_configuration_is_filled_up_and_options_win() {
    let folder = place();
    let path = folder.path();
    fs::write(path.join("data/part.toml"), "seed_of_nothing = 1\n").unwrap();
    let unknown = refused(path, &["train", "--config", "data/part.toml"]);
    assert!(unknown.contains("data/part.toml, line 1: there is no key `seed_of_nothing`"), "{unknown}");
    fs::write(path.join("data/part.toml"), "[data]\npath = \"pets.csv\"\n[train]\nobjective = \"focal\"\nsteps = 40\n")
        .unwrap();
    let printed = ran(path, &["train", "--config", "data/part.toml", "--print-config"]);
    for part in [
        "path = \"data/pets.csv\"",
        "objective = \"focal\"",
        "steps = 40",
        "warmup = 2 ",
        "learning_rate = 0.003",
        "hidden = 128",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    let arguments = [
        "train",
        "--config",
        "data/part.toml",
        "--print-config",
        "--steps",
        "100",
        "--objective",
        "arcface",
        "--hidden",
        "32",
    ];
    let printed = ran(path, &arguments);
    for part in [
        "objective = \"arcface\"",
        "steps = 100",
        "warmup = 5 ",
        "validate_every = 5 ",
        "kind = \"cosine\"",
        "hidden = 32",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert!(!path.join("runs").exists(), "nothing is trained");
    ran(path, &["train", "--config", "data/part.toml", "--steps", "10", "--out", "run"]);
    assert!(fs::read_to_string(path.join("run/config.toml")).unwrap().contains("steps = 10 "));
}

#[test]
fn a_comparison_is_made_again_from_its_configuration() {
    let folder = place();
    let path = folder.path();
    let options =
        ["--objectives", "ce,cosface:margin=0.2,scale=16", "--steps", "10", "--repeats", "2", "--trials", "1"];
    ran(path, &[&["compare", "data/pets.csv", "--out", "one"], &options[..]].concat());
    ran(&path.join("data"), &["compare", "--config", "../one/config.toml", "--out", "../two"]);
    assert!(same(path, "one", "two", "full.csv") && same(path, "one", "two", "plan.json"));
    // What is resumed needs no other word, and refuses another one.
    fs::remove_file(path.join("two/full.csv")).unwrap();
    ran(path, &["compare", "--resume", "--out", "two"]);
    assert!(same(path, "one", "two", "full.csv"));
    assert!(refused(path, &["compare", "--resume", "--out", "two", "--seed", "3"]).contains("seed"));
    let printed = ran(path, &["compare", "--config", "one/config.toml", "--print-config", "--repeats", "3"]);
    for part in [
        "path = \"data/pets.csv\"",
        "\"cosface:margin=0.2,scale=16\"",
        "scenarios = [\"full\"]",
        "repeats = 3",
        "trials = 1 ",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    fs::write(path.join("mine.toml"), printed).unwrap();
    ran(path, &["compare", "--config", "mine.toml", "--repeats", "2", "--out", "three"]);
    assert!(same(path, "one", "three", "full.csv"));
    fs::write(
        path.join("data/pets.csv"),
        fs::read_to_string(path.join("data/pets.csv")).unwrap().replace("0.03", "0.04"),
    )
    .unwrap();
    assert!(refused(path, &["compare", "--config", "one/config.toml"]).contains("other data than then"));
}

#[test]
fn mistakes_in_a_configuration_are_told_with_what_to_try() {
    let folder = place();
    let path = folder.path();
    let told = |command: &str, text: &str| {
        fs::write(path.join("c.toml"), text).unwrap();
        refused(path, &[command, "--config", "c.toml"])
    };
    for (command, text, parts) in [
        (
            "train",
            "[train]\nobjective = \"focal\"\nstepps = 3\n",
            &["line 3", "`stepps` in [train]", "try: `steps`"][..],
        ),
        ("train", "[train]\nobjective = \"focl\"\n", &["no objective is called `focl`", "try: `focal`"]),
        ("train", "[train]\nobjective = \"focal\"\nsteps = \"many\"\n", &["line 3: `train.steps`", "whole number"]),
        ("train", "[train]\nobjective = \"focal\"\nhead = { kind = \"lineer\" }\n", &["`lineer`", "try: `linear`"]),
        ("train", "[train]\nsteps = 3\n", &["no objective", "--objective"]),
        ("train", "[train]\nobjective = \"focal\"\nbatch_size = 0\n", &["batch_size = 0: expected at least 1"]),
        ("train", "[train\n", &["c.toml, line 1", "--print-config"]),
        ("compare", "[compare]\nscenarios = [\"ful\"]\n", &["`ful`", "try: `full`"]),
        ("compare", "[compare]\nrepeats = 0\n", &["repeats = 0"]),
        ("compare", "[train]\nsteps = 3\n", &["no key `train`", "try: `keener train --config c.toml`"]),
        ("compare", "[comparee]\nsteps = 3\n", &["no key `comparee`", "try: `compare`"]),
    ] {
        let message = told(command, text);
        assert!(parts.iter().all(|part| message.contains(part)), "{text}\n{message}");
    }
    let missing = refused(path, &["train", "--config", "data/pets.tsv"]);
    assert!(missing.contains("there is no such file") && missing.contains("try: `data/pets.csv`"), "{missing}");
    assert!(!path.join("runs").exists());
    assert!(refused(path, &["train", "--resume", "--out", "x", "--steps", "3"]).contains("--steps"));
}

#[cfg(unix)]
#[test]
fn paths_that_are_no_unicode_come_in_and_go_out() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = place();
    let path = folder.path();
    let odd = OsStr::from_bytes(b"caf\xe9.csv");
    fs::rename(path.join("data/pets.csv"), path.join("data").join(odd)).unwrap();
    let run = OsStr::from_bytes(b"run\xff");
    let data = Path::new("data").join(odd);
    let output = keener(path)
        .arg("train")
        .arg(&data)
        .args(["--objective", "ce", "--steps", "5", "--json", "--out"])
        .arg(run)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(path.join(run).join("config.toml")).unwrap();
    assert!(text.contains("\"percent-encoded:../data/caf%E9.csv\""), "{text}");
    let again = keener(path)
        .args(["train", "--config"])
        .arg(Path::new(run).join("config.toml"))
        .args(["--out", "two"])
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(
        fs::read(path.join(run).join("model.safetensors")).unwrap(),
        fs::read(path.join("two/model.safetensors")).unwrap()
    );
    let out = OsStr::from_bytes(b"out\xfe.csv");
    let predicted = keener(path).arg("predict").arg(run).arg(&data).arg("--out").arg(out).output().unwrap();
    assert!(predicted.status.success(), "{}", String::from_utf8_lossy(&predicted.stderr));
    assert!(path.join(out).is_file());
    let compared = keener(path)
        .arg("compare")
        .arg(&data)
        .args(["--objectives", "ce", "--steps", "3", "--repeats", "2", "--trials", "1", "--json"])
        .output()
        .unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
}
