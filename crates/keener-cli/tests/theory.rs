//! `keener theory` and label noise as a user meets them.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_keener")).current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn bounds_are_printed_drawn_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (status, out, _) = run(
        folder.path(),
        &[
            "theory",
            "comp-sum",
            "--tau",
            "1,2",
            "--gap",
            "0.1",
            "--score-bound",
            "3",
            "--sum-exp-risk",
            "0.8",
            "--plot",
            "b.svg",
            "--json",
        ],
    );
    assert_eq!(status, 0);
    let found: Value = serde_json::from_str(&out).unwrap();
    let exact = found[0]["guarantees"][0]["exact"].as_f64().unwrap();
    assert!((exact - 0.439_589_252_322_819_4).abs() < 1e-9, "{exact}");
    let gap = found[0]["minimisability_gap"].as_f64().unwrap();
    assert!((gap - (1.8f64.ln() - (9.0 * (-6.0f64).exp()).ln_1p())).abs() < 1e-12, "{gap}");
    assert!(std::fs::read_to_string(folder.path().join("b.svg")).unwrap().contains("zero-one excess"));
    let (status, table, _) = run(folder.path(), &["theory", "comp-sum"]);
    assert!(status == 0 && table.contains("Γ(0.1)") && table.contains("0.43"), "{table}");
    let (status, _, error) = run(folder.path(), &["theory", "comp-sum", "--tau", "1,-1"]);
    assert!(status == 2 && error.contains("tau = -1"), "{error}");
}

#[test]
fn label_noise_is_an_option_of_train() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = |noise: &'static str| {
        vec![
            "train",
            "--objective",
            "aldr_kl",
            "--label-noise",
            noise,
            "--steps",
            "12",
            "--hidden",
            "0",
            "--out",
            "run",
        ]
    };
    let (status, _, error) = run(folder.path(), &arguments("uniform:2"));
    assert!(status == 2 && error.contains("uniform:RATE"), "{error}");
    let (status, _, error) = run(folder.path(), &arguments("class-dependent:0.3"));
    assert_eq!(status, 0, "{error}");
    let config = std::fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    assert!(config.contains("label_noise = \"class-dependent:0.3\""), "{config}");
}

#[test]
fn the_risk_of_aggregation_is_computed_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |more: &str| {
        let words: Vec<&str> = "theory aggregate --noise 1".split(' ').chain(more.split(' ')).collect();
        run(folder.path(), &words)
    };
    let (status, out, error) = ask("--psi 0.1 --bag-size 5 --clip 3 --epsilon 1 --most 32 --plot risk.svg --json");
    assert_eq!(status, 0, "{error}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let number = |path: &str| found.pointer(path).and_then(Value::as_f64).unwrap();
    assert!((number("/best_rho") - 0.13).abs() < 1e-3 && (number("/best_risk") - 0.430).abs() < 1e-3, "{out}");
    assert!((number("/risks/0/risk") - 1.0).abs() < 1e-9, "bag-level: σ² ψ k / (1 − ψ k)");
    assert!(number("/private/best_risk") <= number("/private/sizes/0/1"));
    assert!(std::fs::read_to_string(folder.path().join("risk.svg")).unwrap().contains("k = 8"));
    let (status, table, _) = ask("--psi 0.1 --bag-size 5");
    assert!(status == 0 && table.contains("best ρ = 0.130"), "{table}");
    let (status, _, error) = ask("--psi 0.5 --bag-size 5 --rho 0");
    assert!(status == 2 && error.contains("under-determined: add lambda"), "{error}");
    let (status, _, error) = ask("--psi 0.1 --clip 1 --epsilon=-1");
    assert!(status == 2 && error.contains("epsilon"), "{error}");
}
