//! Runs that are interrupted, by Ctrl-C or by SIGKILL, reach what an uninterrupted run reaches, bit for bit.

#![cfg(unix)]

mod common;

use common::{keener, lines, pets, timeless};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A command that writes a run folder.
struct Work {
    /// Without `--out`.
    begin: &'static [&'static str],
    /// How it goes on; the same with `--resume` where it is none of its own.
    resume: Option<&'static [&'static str]>,
    /// The file that grows.
    log: &'static str,
}

const TRAIN: Work = Work {
    begin: &["train", "pets.csv", "--objective", "softmax_cross_entropy", "--steps", "400", "--hidden", "32"],
    resume: Some(&["train", "--resume"]),
    log: "metrics.jsonl",
};
/// As `TRAIN`, with state by sample that outlives a batch.
const STATEFUL: Work = Work {
    begin: &["train", "pets.csv", "--objective", "aldr_kl:lambda0=1", "--steps", "400", "--hidden", "32"],
    ..TRAIN
};
const COMPARE: Work = Work {
    begin: &[
        "compare",
        "pets.csv",
        "--objectives",
        "softmax_cross_entropy,supervised_contrastive",
        "--steps",
        "40",
        "--repeats",
        "3",
        "--trials",
        "2",
        "--folds",
        "2",
    ],
    resume: None,
    log: "units.jsonl",
};
const PAPERS: Work = Work {
    begin: &["papers", "run", "contrastive-behaviour", "--quick", "--seeds", "1"],
    resume: None,
    log: "units.jsonl",
};

impl Work {
    /// Begins, or goes on with what is there.
    fn command(&self, folder: &Path, out: &str) -> Command {
        let mut command = keener(folder);
        match (folder.join(out).exists(), self.resume) {
            (true, Some(words)) => command.args(words),
            (true, None) => command.args(self.begin).arg("--resume"),
            (false, _) => command.args(self.begin),
        };
        command.args(["--out", out]).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn finish(&self, folder: &Path, out: &str) {
        let output = self.command(folder, out).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Everything that a run found, without the times that it took.
    fn results(&self, run: &Path) -> Vec<Vec<u8>> {
        let read = |name: &str| fs::read(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        match self.begin[0] {
            "train" => {
                let report = String::from_utf8(read("report.html")).unwrap();
                // The plot of the validation curve, and no wall times.
                let curves = report[report.find("<svg").unwrap()..report.rfind("</svg>").unwrap()].to_string();
                let files = ["model.safetensors", "metrics.jsonl", "readout.json", "config.toml"];
                files.into_iter().map(read).chain([curves.into_bytes()]).collect()
            }
            "compare" => vec![timeless(&run.join("results.json")).to_string().into_bytes()],
            _ => vec![read("findings.json"), read("findings.md"), read("report.html")],
        }
    }
}

/// Whatever the moment, no file of a run is half a file: at most a log lacks the end of its last line.
fn assert_whole(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let Ok(bytes) = fs::read(&path) else { continue };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let whole = match extension {
            "json" => serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(),
            "toml" => toml::from_str::<toml::Table>(std::str::from_utf8(&bytes).unwrap()).is_ok(),
            "safetensors" => safetensors::SafeTensors::deserialize(&bytes).is_ok(),
            "html" => bytes.ends_with(b"</html>\n"),
            "jsonl" => bytes
                .split_inclusive(|b| *b == b'\n')
                .filter(|line| line.ends_with(b"\n"))
                .all(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok()),
            _ => true,
        };
        assert!(whole, "{name} is torn");
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap().success());
}

fn ended_within(child: &mut Child, seconds: u64) -> std::process::ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(started.elapsed() < Duration::from_secs(seconds), "still running after {seconds} s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn fifty_kills_at_random_moments_change_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(50);
    let (mut all, mut tallies) = (0, Vec::new());
    for (work, kills) in [(TRAIN, 16), (STATEFUL, 12), (COMPARE, 14), (PAPERS, 8)] {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        fs::write(folder.join("pets.csv"), pets(true)).unwrap();
        let started = Instant::now();
        work.finish(folder, "whole");
        let (length, expected) = (started.elapsed(), work.results(&folder.join("whole")));
        let (mut delivered, mut runs) = (0, 0);
        while delivered < kills {
            runs += 1;
            let out = format!("run{runs}");
            // Killed again and again, until it comes to its end.
            loop {
                let mut child = work.command(folder, &out).stderr(Stdio::null()).spawn().unwrap();
                if delivered < kills {
                    std::thread::sleep(length.mul_f64(rng.random_range(0.0..1.0)));
                    // An error here means that it has ended.
                    let _ = child.kill();
                }
                let status = child.wait().unwrap();
                assert_whole(&folder.join(&out));
                if status.signal().is_none() {
                    assert!(status.success(), "{status} after {delivered} kills");
                    break;
                }
                delivered += 1;
            }
            assert!(work.results(&folder.join(&out)) == expected, "{} after {delivered} kills", work.begin[0]);
            let parts = fs::read_dir(folder.join(&out)).unwrap().flatten();
            assert!(parts.into_iter().all(|e| !e.file_name().to_string_lossy().ends_with(".part")));
        }
        all += delivered;
        tallies.push(format!("{} {delivered} in {runs} runs", work.begin[0]));
    }
    println!("{all} kills survived ({}): same metrics, same weights", tallies.join(", "));
}

#[test]
fn an_interrupt_ends_after_the_unit_and_the_printed_command_goes_on() {
    for (work, name, more) in [(TRAIN, "INT", 2000), (TRAIN, "TERM", 2000), (COMPARE, "INT", 400), (PAPERS, "INT", 0)] {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        fs::write(folder.join("pets.csv"), pets(true)).unwrap();
        let steps = more.to_string();
        let begin = |out: &str| {
            let mut command = keener(folder);
            let words = work.begin.iter().map(|w| if ["40", "400"].contains(w) { steps.as_str() } else { w });
            command.args(words).args(["--out", out]).stdout(Stdio::null()).stderr(Stdio::piped());
            command
        };
        assert!(begin("whole").output().unwrap().status.success());
        let mut child = begin("a run").spawn().unwrap();
        let log = folder.join("a run").join(work.log);
        while lines(&log) < 2 {
            assert!(child.try_wait().unwrap().is_none(), "ended too soon");
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(&child, name);
        let status = ended_within(&mut child, 60);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("stopped: ") && said.contains("kept in a run"), "{said}");
        let command = said.lines().find_map(|line| line.trim().strip_prefix("go on: ")).expect("a command");
        assert!(command.starts_with("keener ") && command.contains("--resume"), "{command}");
        let program = Path::new(env!("CARGO_BIN_EXE_keener")).parent().unwrap().display().to_string();
        let path = format!("{program}:{}", std::env::var("PATH").unwrap());
        let resumed = Command::new("sh").args(["-c", command]).env("PATH", path).current_dir(folder).output().unwrap();
        assert!(resumed.status.success(), "{command}\n{}", String::from_utf8_lossy(&resumed.stderr));
        assert!(work.results(&folder.join("a run")) == work.results(&folder.join("whole")), "{command}");
    }
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let long = ["compare", "--objectives", "softmax_cross_entropy", "--steps", "1000000", "--trials", "1"];
    let mut child = keener(folder.path()).args(long).args(["--out", "run"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while lines(&folder.path().join("run/units.jsonl")) < 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "INT");
    let mut line = String::new();
    while !line.contains("once more") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it says that it heard");
    }
    assert!(child.try_wait().unwrap().is_none(), "the training in hand goes on");
    signal(&child, "INT");
    assert_eq!(ended_within(&mut child, 10).code(), Some(130));
}

#[test]
fn seconds_are_measured_once() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    fs::write(folder.join("pets.csv"), pets(true)).unwrap();
    let run = |seconds: &str, more: &[&str]| {
        let words = ["compare", "pets.csv", "--objectives", "focal", "--repeats", "2", "--trials", "1", "--out", "run"];
        keener(folder).args(words).args(["--seconds", seconds]).args(more).output().unwrap()
    };
    assert!(run("0.05", &[]).status.success());
    let before = timeless(&folder.join("run/results.json"));
    let log = folder.join("run/units.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.lines().next().unwrap().to_string() + "\n").unwrap();
    let again = run("500", &["--resume"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(before, timeless(&folder.join("run/results.json")));
}
