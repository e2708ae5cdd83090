//! The guide is true: its commands run, its links lead somewhere, its table is that of the registry.
//!
//! Blocks fenced as `sh` are run, those of a page one after the other in one folder that holds `docs/guide/samples`. A block
//! after a line `<!-- not run: reason -->` is not. A block after `<!-- fails, and says: -->` must fail with what the next block
//! shows.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The pages in the order of the summary.
fn pages() -> Vec<(String, String)> {
    let summary = read(&guide().join("src/SUMMARY.md"));
    let names: Vec<String> =
        summary.lines().filter_map(|line| Some(line.split_once("](")?.1.split_once(')')?.0.to_string())).collect();
    assert!(names.len() > 5, "{summary}");
    names.into_iter().map(|name| (name.clone(), read(&guide().join("src").join(name)))).collect()
}

/// A block of a page: its language, its lines, why it is not run, whether it must fail.
struct Block {
    language: String,
    text: String,
    not_run: Option<String>,
    fails: bool,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for line in page.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, Some(language)) => {
                let reason = before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
                let fails = before == "<!-- fails, and says: -->";
                let not_run = reason.map(String::from);
                open = Some(Block { language: language.into(), text: String::new(), not_run, fails });
                before = "";
            }
            (None, None) if !line.is_empty() => before = line,
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Every page's commands, in a folder of its own; `sh -e` stops at the first that fails.
#[cfg(unix)]
#[test]
fn the_commands_of_the_guide_run() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_keener"));
    let mut path = OsString::from(program.parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut run = 0;
    for (name, page) in pages() {
        let folder = tempfile::tempdir().unwrap();
        for sample in fs::read_dir(guide().join("samples")).unwrap() {
            let sample = sample.unwrap();
            fs::copy(sample.path(), folder.path().join(sample.file_name())).unwrap();
        }
        let blocks = blocks(&page);
        for (k, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
            if let Some(reason) = &block.not_run {
                assert!(reason.len() > 10, "{name}: why is this not run?\n{}", block.text);
                continue;
            }
            let mut shell = Command::new("sh");
            shell.arg("-euc").arg(&block.text).current_dir(folder.path()).env("PATH", &path).env("HOME", folder.path());
            let output = shell.output().unwrap();
            run += 1;
            if block.fails {
                assert_eq!(output.status.code(), Some(2), "{name}\n{}", block.text);
                assert_eq!(String::from_utf8_lossy(&output.stderr), blocks[k + 1].text, "{name}\n{}", block.text);
                continue;
            }
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            assert!(output.status.success(), "{name}: {}\n{}\n{said}", output.status, block.text);
        }
    }
    assert!(run >= 15, "{run} blocks were run");
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let pages = pages();
    for entry in fs::read_dir(guide().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "SUMMARY.md" || pages.iter().any(|(page, _)| *page == name), "{name} is not in SUMMARY.md");
    }
    for (name, page) in &pages {
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap();
            assert!(guide().join("src").join(file).is_file(), "{name} links to {link}");
        }
        for include in page.split("{{#include ").skip(1).filter_map(|rest| rest.split("}}").next()) {
            let (file, anchor) = include.split_once(':').unwrap_or((include, ""));
            let text = read(&guide().join("src").join(file));
            assert!(anchor.is_empty() || text.contains(&format!("ANCHOR: {anchor}")), "{name} includes {include}");
        }
    }
}

#[test]
fn the_page_of_objectives_is_what_the_registry_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_keener")).args(["objectives", "--markdown"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed == read(&guide().join("src/objectives.md")),
        "the registry changed: keener objectives --markdown > docs/guide/src/objectives.md"
    );
}
