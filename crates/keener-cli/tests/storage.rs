//! Full disks, read-only folders, foreign folders, two processes on one folder, and wrong input: a clear error, nothing lost.

#![cfg(unix)]

mod common;

use common::{error_of, keener, lines, pets, timeless};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TRAIN: [&str; 7] = ["train", "pets.csv", "--objective", "softmax_cross_entropy", "--steps", "60", "--out"];

/// Every file below a folder with its content, and every folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path.clone(), fs::read(&path).ok());
    }
    found
}

fn with_pets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pets.csv"), pets(true)).unwrap();
    folder
}

fn model(run: &Path) -> [Vec<u8>; 2] {
    ["model.safetensors", "metrics.jsonl"].map(|name| fs::read(run.join(name)).unwrap())
}

/// A small file system of its own, as long as it lives.
struct Small(PathBuf);

impl Small {
    /// None, with the reason printed, where this process may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "keener"]).arg(&at).stderr(Stdio::null());
        match mount.status() {
            Ok(status) if status.success() => Some(Self(at)),
            _ => {
                println!("skipped: this process may not mount a file system");
                None
            }
        }
    }

    fn read_only(&self) {
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What stays mounted goes with the container.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_finished() {
    let folder = with_pets();
    let path = folder.path();
    keener(path).args(TRAIN).arg("whole").output().unwrap();
    let expected = model(&path.join("whole"));
    let Some(small) = Small::mount(path.join("small"), "1m") else { return };
    let (run, filler) = (small.0.join("run"), small.0.join("filler"));
    let mut refused = 0;
    for room in [0, 4, 12, 60, 100, 130, 180, 230, 290] {
        fs::write(&filler, vec![0; (1024 - room) << 10]).unwrap();
        let output = keener(path).args(TRAIN).arg("small/run").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            refused += 1;
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("the disk is full") && said.contains("make room"), "{room}: {said}");
        }
        let begun = run.exists();
        fs::remove_file(&filler).unwrap();
        let more: &[&str] = if begun { &["train", "--resume", "--out"] } else { &TRAIN };
        let output = keener(path).args(more).arg("small/run").output().unwrap();
        assert!(output.status.success(), "{room}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(model(&run) == expected, "{room} KiB");
        fs::remove_dir_all(&run).unwrap();
    }
    assert!(refused >= 5, "{refused}");
    println!("9 disks with 0 to 290 KiB left: {refused} refused, all went on to the same model");
}

/// The same without privileges: a limit on the size of files.
#[test]
fn a_limit_on_files_is_told_and_the_run_goes_on_without_it() {
    let folder = with_pets();
    let path = folder.path();
    assert!(keener(path).args(TRAIN).arg("whole").output().unwrap().status.success());
    // In blocks of 512 or 1024 bytes, as the shell has it.
    let limited = |blocks: u32, arguments: &[&str]| {
        let script = &format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$@""#);
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_keener")]).args(arguments).current_dir(path);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = limited(40, &[&TRAIN[..], &["run"]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("cannot write run/checkpoint.safetensors: the file would be larger"), "{said}");
    let names: Vec<String> = tree(&path.join("run")).keys().map(|p| p.display().to_string()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".part")), "{names:?}");
    assert!(keener(path).args(["train", "--resume", "--out", "run"]).output().unwrap().status.success());
    assert!(model(&path.join("run")) == model(&path.join("whole")));
    // A log takes back the line that did not fit.
    let words = ["compare", "pets.csv", "--objectives", "focal", "--steps", "20", "--trials", "1", "--repeats", "30"];
    assert!(keener(path).args(words).args(["--out", "all"]).output().unwrap().status.success());
    let (status, said) = limited(16, &[&words[..], &["--out", "some"]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("units.jsonl: the file would be larger"), "{said}");
    let log = fs::read(path.join("some/units.jsonl")).unwrap();
    assert!(log.ends_with(b"\n") && lines(&path.join("some/units.jsonl")) > 1);
    assert!(keener(path).args(words).args(["--out", "some", "--resume"]).output().unwrap().status.success());
    assert_eq!(timeless(&path.join("all/results.json")), timeless(&path.join("some/results.json")));
}

#[test]
fn places_that_cannot_be_written_are_told_before_anything_is_trained() {
    let folder = with_pets();
    let path = folder.path();
    let below = error_of(path, &[&TRAIN[..], &["pets.csv/run"]].concat());
    assert!(below.contains("pets.csv/run") && below.contains("not a folder") && below.contains("--out"), "{below}");
    let papers = ["papers", "run", "contrastive-behaviour", "--quick", "--out", "pets.csv/run"];
    assert!(error_of(path, &papers).contains("pets.csv/run"));
    let Some(small) = Small::mount(path.join("small"), "4m") else { return };
    assert!(keener(path).args(TRAIN).arg("small/run").output().unwrap().status.success());
    small.read_only();
    let before = tree(&small.0);
    for arguments in [
        [&TRAIN[..], &["small/other"]].concat(),
        vec!["train", "--resume", "--out", "small/run"],
        vec!["compare", "pets.csv", "--objectives", "focal", "--out", "small/other"],
        vec!["papers", "run", "contrastive-behaviour", "--quick", "--out", "small/other"],
        vec!["predict", "small/run", "pets.csv", "--out", "small/classes.csv"],
    ] {
        let said = error_of(path, &arguments);
        assert!(said.contains("the file system is read-only"), "{arguments:?}: {said}");
        assert!(!said.contains("step ") && !said.contains("training"), "{said}");
    }
    assert!(tree(&small.0) == before);
    // Reading needs no lock.
    assert!(keener(path).args(["predict", "small/run", "pets.csv"]).output().unwrap().status.success());
}

#[test]
fn a_folder_serves_one_process_and_a_killed_one_leaves_no_lock() {
    let folder = with_pets();
    let path = folder.path();
    let words = ["compare", "pets.csv", "--objectives", "focal", "--trials", "1", "--out", "run"];
    let mut first = keener(path);
    let mut first = first.args(words).args(["--steps", "1000000"]).stderr(Stdio::null()).spawn().unwrap();
    while lines(&path.join("run/units.jsonl")) < 1 {
        assert!(first.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for more in [&["--resume"][..], &[]] {
        let second = error_of(path, &[&words[..], more].concat());
        assert!(second.contains("in use by another process") && second.contains(&first.id().to_string()), "{second}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // Now it is read, and found to hold other settings.
    let after = error_of(path, &[&words[..], &["--resume", "--steps", "10"]].concat());
    assert!(after.contains("another comparison") && after.contains("steps is 10 now and was 1000000"), "{after}");
}

#[test]
fn foreign_folders_are_told_and_left_as_they_are() {
    let folder = with_pets();
    let path = folder.path();
    assert!(keener(path).args(TRAIN).arg("run").output().unwrap().status.success());
    fs::create_dir(path.join("photos")).unwrap();
    fs::write(path.join("photos/cat.png"), "").unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        let before = tree(path);
        let said = error_of(path, arguments);
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
        assert!(tree(path) == before, "{arguments:?} changed something");
    };
    refused(&["train", "--resume", "--out", "photos"], &["photos holds no run", "run.json"]);
    refused(&["train", "--resume", "--out", "absent"], &["absent holds no run", "no such folder"]);
    refused(&[&TRAIN[..], &["photos"]].concat(), &["photos exists and is not empty"]);
    refused(&["compare", "pets.csv", "--out", "run", "--resume"], &["holds a run of `train`", "`compare`"]);
    refused(&["papers", "run", "contrastive-behaviour", "--quick", "--out", "run"], &["holds a run of `train`"]);

    let manifest = path.join("run/run.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    fs::write(&manifest, text.replace(version, "7.0.0").replace("\"format\":1", "\"format\":9")).unwrap();
    for arguments in [&["train", "--resume", "--out", "run"][..], &["predict", "run", "pets.csv"]] {
        refused(arguments, &["run was written by keener 7.0.0 (format 9), this is keener", version]);
    }
    fs::write(&manifest, text).unwrap();

    let config = path.join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("steps = 60", "steps = 90")).unwrap();
    refused(&["train", "--resume", "--out", "run"], &["belongs to another config.toml"]);
    fs::write(&config, text).unwrap();
    fs::write(path.join("pets.csv"), pets(true).replace("0.03", "0.04")).unwrap();
    refused(&["train", "--resume", "--out", "run"], &["other data than then"]);
}

#[test]
fn every_command_that_writes_refuses_wrong_input_before_it_writes() {
    let folder = with_pets();
    let path = folder.path();
    fs::write(path.join("one.csv"), "a,species\n1,cat\n2,cat\n3,dog\n").unwrap();
    fs::write(path.join("broken.csv"), "a,b,species\n1,2,cat\n3,dog\n").unwrap();
    fs::write(path.join("infinite.csv"), pets(true).replace("1.03", "inf")).unwrap();
    fs::write(path.join("unknown.toml"), "stepps = 3\n").unwrap();
    assert!(keener(path).args(TRAIN).arg("run").output().unwrap().status.success());
    let commands: &[&[&str]] = &[
        &["train", "absent.csv", "--objective", "focal", "--out", "new"],
        &["train", "broken.csv", "--objective", "focal", "--out", "new"],
        &["train", "infinite.csv", "--objective", "focal", "--out", "new"],
        &["train", "one.csv", "--objective", "focal", "--out", "new"],
        &["train", "pets.csv", "--objective", "nonsense", "--out", "new"],
        &["train", "pets.csv", "--objective", "focal:gamma=-1", "--out", "new"],
        &["train", "pets.csv", "--objective", "cosface", "--head", "linear", "--out", "new"],
        &["train", "pets.csv", "--objective", "focal", "--steps", "0", "--out", "new"],
        &["train", "pets.csv", "--objective", "focal", "--learning-rate", "nan", "--out", "new"],
        &["train", "pets.csv", "--objective", "focal", "--validation", "1.5", "--out", "new"],
        &["train", "--config", "unknown.toml", "--out", "new"],
        &["compare", "absent.csv", "--out", "new"],
        &["compare", "broken.csv", "--out", "new"],
        &["compare", "one.csv", "--out", "new"],
        &["compare", "pets.csv", "--objectives", "focal,nonsense", "--out", "new"],
        &["compare", "pets.csv", "--objectives", "trades", "--out", "new"],
        &["compare", "pets.csv", "--repeats", "0", "--out", "new"],
        &["compare", "pets.csv", "--seconds", "-1", "--out", "new"],
        &["compare", "pets.csv", "--noise", "2", "--out", "new"],
        &["compare", "--config", "unknown.toml", "--out", "new"],
        &["papers", "run", "nonsense", "--out", "new"],
        &["papers", "run", "contrastive-behaviour", "--seeds", "0", "--out", "new"],
        &["predict", "absent", "pets.csv", "--out", "new"],
        &["predict", "run", "absent.csv", "--out", "new"],
        &["predict", "run", "broken.csv", "--out", "new"],
        &["predict", "run", "one.csv", "--out", "new"],
        &["eval", "absent.npy", "--report", "new"],
        &["eval", "broken.csv", "--report", "new"],
        &["theory", "aggregate", "--nonsense", "--plot", "new"],
        &["--memory", "much", "train", "pets.csv", "--objective", "focal", "--out", "new"],
    ];
    let before = tree(path);
    for arguments in commands {
        let said = error_of(path, arguments);
        assert!(said.starts_with("error: "), "{arguments:?}: {said}");
        assert!(tree(path) == before, "{arguments:?} has written something");
    }
}
