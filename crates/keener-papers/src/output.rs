//! The files of a run: JSON, Markdown, pictures and the HTML page.

use crate::{Findings, Mode, Reproduction, Verdict};
use anyhow::Result;
use keener_report::html::{Block, CalloutKind, Page, Section};
use keener_report::markdown;
use keener_report::table::{Cell, Column, Table, Tone};
use keener_run::Error;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What [`write`] has written.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// `findings.json`
    pub json: PathBuf,
    /// `findings.md`
    pub markdown: PathBuf,
    /// `report.html`
    pub html: PathBuf,
    /// The pictures.
    pub plots: Vec<PathBuf>,
}

/// The findings as JSON: what was asked, the verdict and its checks, the facts, the tables, the pictures' names, the notes.
/// The same run gives the same text.
pub fn to_json(reproduction: &Reproduction, mode: &Mode, findings: &Findings) -> Value {
    let plots = findings.plots.iter().map(|p| json!({"file": p.file, "title": p.svg.title(), "caption": p.caption}));
    json!({
        "slug": reproduction.slug,
        "number": reproduction.number,
        "title": reproduction.title,
        "arxiv": reproduction.arxiv,
        "revision": reproduction.revision,
        "mode": mode,
        "claim": reproduction.claim,
        "rule": reproduction.rule,
        "verdict": findings.decision.verdict,
        "checks": findings.decision.checks,
        "facts": findings.facts,
        "tables": findings.tables.iter().map(Table::to_json).collect::<Vec<_>>(),
        "plots": plots.collect::<Vec<_>>(),
        "notes": findings.notes,
    })
}

/// The command that repeats a run.
fn command(reproduction: &Reproduction, mode: &Mode) -> String {
    let quick = if mode.extent == crate::Extent::Quick { " --quick" } else { "" };
    let seeds = mode.seeds.map_or(String::new(), |n| format!(" --seeds {n}"));
    format!("keener papers run {}{quick}{seeds}", reproduction.slug)
}

/// The findings as Markdown.
pub fn to_markdown(reproduction: &Reproduction, mode: &Mode, findings: &Findings) -> String {
    let mut out = format!(
        "# {}\n\narXiv {} · verdict: **{}** · printed by `{}`\n\n**Claim.** {}\n\n**Rule.** {}\n\n",
        reproduction.title,
        reproduction.arxiv,
        findings.decision.verdict,
        command(reproduction, mode),
        reproduction.claim,
        reproduction.rule
    );
    out += &markdown::table(&checks(findings));
    for table in &findings.tables {
        out += "\n";
        out += &markdown::table(table);
    }
    if !findings.notes.is_empty() {
        out += "\n**Notes**\n\n";
        findings.notes.iter().for_each(|note| out += &format!("- {note}\n"));
    }
    out
}

/// The checks of the verdict as a table.
pub fn checks(findings: &Findings) -> Table {
    let mut table = Table::new("What the verdict rests on")
        .column(Column::text("asked"))
        .column(Column::text("holds"))
        .column(Column::text("if not"))
        .column(Column::text("measured").priority(50));
    for check in &findings.decision.checks {
        let holds = match (check.holds, check.decisive) {
            (true, _) => Cell::badge("yes", Tone::Good),
            (false, true) => Cell::badge("no", Tone::Bad),
            (false, false) => Cell::badge("no", Tone::Warn),
        };
        let weight = if check.decisive { "not shown" } else { "reservation" };
        table.push([check.statement.as_str().into(), holds, weight.into(), check.measured.as_str().into()]);
    }
    table
}

fn facts(findings: &Findings) -> Table {
    let mut table =
        Table::new("").column(Column::text("fact")).column(Column::text("value")).column(Column::text("range"));
    for fact in findings.facts.iter() {
        let value = fact.value;
        let range = (value.low != value.high).then(|| format!("{} to {}", short(value.low), short(value.high)));
        table.push([fact.name.as_str().into(), short(value.mean).into(), range.into()]);
    }
    table
}

/// Six significant digits.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e6).contains(&magnitude) {
        let digits = if value == 0.0 { 0 } else { (5 - magnitude.log10().floor() as i64).clamp(0, 8) as usize };
        format!("{value:.digits$}")
    } else {
        format!("{value:.3e}")
    }
}

/// The findings as one HTML page.
pub fn page(reproduction: &Reproduction, mode: &Mode, findings: &Findings) -> Page {
    let kind = match findings.decision.verdict {
        Verdict::Shown => CalloutKind::Success,
        Verdict::ShownWithReservation => CalloutKind::Warning,
        Verdict::NotShown => CalloutKind::Error,
    };
    let verdict = Section::new("Claim and verdict")
        .callout(kind, format!("The claim is {}.", findings.decision.verdict))
        .paragraph(format!("Claim: {}", reproduction.claim))
        .paragraph(format!("Rule for the verdict: {}", reproduction.rule))
        .table(checks(findings));
    let mut measured = Section::new("What was measured");
    for table in &findings.tables {
        measured = measured.table(table.clone());
    }
    measured = measured.figures(findings.plots.iter().map(|p| (p.svg.clone(), p.caption.clone())));
    let mut notes = Section::new("Notes");
    for note in &findings.notes {
        notes = notes.paragraph(note.as_str());
    }
    notes = notes.details("All measured facts", [Block::Table(facts(findings))]);
    Page::new(reproduction.title)
        .subtitle(format!("arXiv {}: {}", reproduction.arxiv, reproduction.method))
        .section(verdict)
        .section(measured)
        .section(notes.code("sh", command(reproduction, mode)))
        .footer(format!("Written by `{}`.", command(reproduction, mode)))
}

/// Writes `findings.json`, `findings.md`, `report.html` and the pictures into `folder`.
///
/// # Errors
/// Where the folder or a file cannot be written.
pub fn write(reproduction: &Reproduction, mode: &Mode, findings: &Findings, folder: &Path) -> Result<Files> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e))?;
    let put = |name: &str, text: String| -> Result<PathBuf> {
        let path = folder.join(name);
        keener_run::replace(&path, text.as_bytes()).map_err(|e| Error::io("write", &path, e))?;
        Ok(path)
    };
    let json = serde_json::to_string_pretty(&to_json(reproduction, mode, findings))? + "\n";
    Ok(Files {
        json: put("findings.json", json)?,
        markdown: put("findings.md", to_markdown(reproduction, mode, findings))?,
        html: put("report.html", page(reproduction, mode, findings).render())?,
        plots: findings.plots.iter().map(|p| put(p.file, p.svg.standalone())).collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Check, Decision, Facts, Plot, Spread, reproductions};
    use keener_report::plot::{Lines, lines};
    use std::fs;

    #[test]
    fn every_file_holds_verdict_and_checks() {
        let mut facts = Facts::default();
        facts.set("answer", Spread { mean: 42.0, low: 41.0, high: 43.0 });
        let findings = Findings {
            tables: vec![Table::new("Numbers").column(Column::text("x")).row([Cell::from("one")])],
            plots: vec![Plot { file: "curve.svg", caption: "A curve.".into(), svg: lines(&Lines::default()) }],
            facts,
            decision: Decision::from_checks(vec![
                Check::decisive("It is so", true, "1 < 2"),
                Check::reservation("It is so elsewhere", false, "2 > 1"),
            ]),
            notes: vec!["A note.".into()],
        };
        let (folder, reproduction) = (tempfile::tempdir().unwrap(), &reproductions()[0]);
        let files = write(reproduction, &Mode::quick().with_seeds(3), &findings, folder.path()).unwrap();
        let json: Value = serde_json::from_str(&fs::read_to_string(&files.json).unwrap()).unwrap();
        assert_eq!(json["verdict"], "shown_with_reservation");
        assert_eq!(json["facts"][0], json!({"name": "answer", "mean": 42.0, "low": 41.0, "high": 43.0}));
        assert_eq!((&json["checks"][1]["holds"], &json["mode"]["seeds"]), (&json!(false), &json!(3)));
        let markdown = fs::read_to_string(&files.markdown).unwrap();
        assert!(
            markdown.contains("**shown with reservation**") && markdown.contains("--quick --seeds 3"),
            "{markdown}"
        );
        let html = fs::read_to_string(&files.html).unwrap();
        assert!(html.contains("It is so elsewhere") && html.contains("A note.") && html.contains("41.0000 to 43.0000"));
        assert!(fs::read_to_string(&files.plots[0]).unwrap().starts_with("<svg"));
    }
}
