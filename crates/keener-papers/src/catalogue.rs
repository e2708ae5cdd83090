//! The table of all papers with the verdicts that were recorded.

use crate::{Reproduction, Verdict, reproductions};
use anyhow::{Context, Result};
use keener_report::markdown;
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::Path;

/// What a file of findings says about its run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Recorded {
    /// The verdict.
    pub verdict: Verdict,
    /// The revision of the reproduction that found it.
    pub revision: u32,
}

/// The recorded verdict of a reproduction: `SLUG.json` or `SLUG/findings.json` in `folder`; `None` where there is neither.
///
/// # Errors
/// A file that cannot be read.
pub fn recorded(reproduction: &Reproduction, folder: &Path) -> Result<Option<Recorded>> {
    for path in
        [folder.join(format!("{}.json", reproduction.slug)), folder.join(reproduction.slug).join("findings.json")]
    {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let read = serde_json::from_str(&text);
        return Ok(Some(read.with_context(|| format!("{} does not hold findings", path.display()))?));
    }
    Ok(None)
}

/// The table of `docs/papers.md`: one row a reproduction, verdicts from the findings recorded in `folder`.
///
/// # Errors
/// A file of findings that cannot be read.
pub fn catalogue(folder: &Path) -> Result<String> {
    let words = ["paper", "method", "where it lives", "claim", "verdict", "command"];
    let mut out = markdown::row(words.map(String::from));
    out += &markdown::row(words.map(|_| "---".to_string()));
    for r in reproductions() {
        let verdict = match recorded(r, folder)? {
            Some(found) if found.revision == r.revision => format!("[{}](papers/{}.md)", found.verdict, r.slug),
            Some(found) => format!("[{} (by an earlier version)](papers/{}.md)", found.verdict, r.slug),
            None => "not run".into(),
        };
        let code: Vec<String> = r.code.iter().map(|c| format!("`{c}`")).collect();
        out += &markdown::row([
            format!("{} [{}](https://arxiv.org/abs/{})", r.number, markdown::escaped(r.title), r.arxiv),
            markdown::escaped(r.method),
            code.join(", "),
            markdown::escaped(r.claim),
            verdict,
            format!("`keener papers run {}`", r.slug),
        ]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_from_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let first = &reproductions()[0];
        let line = |folder: &Path| catalogue(folder).unwrap().lines().nth(2).unwrap().to_string();
        assert!(line(folder.path()).contains("| not run |"));
        let path = folder.path().join(format!("{}.json", first.slug));
        for (revision, expected) in
            [(first.revision, "[shown]"), (first.revision + 1, "[shown (by an earlier version)]")]
        {
            std::fs::write(&path, format!("{{\"verdict\": \"shown\", \"revision\": {revision}, \"more\": 1}}"))
                .unwrap();
            assert!(line(folder.path()).contains(expected), "{}", line(folder.path()));
        }
        std::fs::write(&path, "{}").unwrap();
        assert!(catalogue(folder.path()).unwrap_err().to_string().contains("does not hold findings"));
    }
}
