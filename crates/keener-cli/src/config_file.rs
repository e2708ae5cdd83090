//! Configuration files: TOML with a comment for every key, read strictly.

use crate::error::Failure;
use anyhow::Result;
use keener::objective::nearest;
use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// A key of a configuration file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Where it stands: `train.steps`.
    path: &'static str,
    /// What it means, in a line.
    meaning: &'static str,
    /// A value to show where the key is left out; empty for keys that always stand there.
    example: &'static str,
}

impl Key {
    /// A key that always stands there.
    pub(crate) const fn new(path: &'static str, meaning: &'static str) -> Self {
        Self { path, meaning, example: "" }
    }

    /// A key that may be left out, with a value to show then.
    pub(crate) const fn optional(path: &'static str, meaning: &'static str, example: &'static str) -> Self {
        Self { path, meaning, example }
    }

    fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// A line with its comment behind it, or above it where both are too long for a line.
fn commented(line: &str, meaning: &str) -> String {
    const COLUMN: usize = 36;
    const LINE: usize = 120;
    match meaning {
        "" => format!("{line}\n"),
        _ if line.contains('\n') || COLUMN.max(line.chars().count()) + 3 + meaning.chars().count() > LINE => {
            format!("# {meaning}\n{line}\n")
        }
        _ => format!("{line:<COLUMN$} # {meaning}\n"),
    }
}

/// A list that is too long for a line, an element a line.
fn broken(line: &str) -> String {
    if line.len() < 100 {
        return line.to_string();
    }
    let parsed: Option<(String, Value)> = line.parse::<Table>().ok().and_then(|table| table.into_iter().next());
    match parsed {
        Some((name, Value::Array(items))) => {
            let items: String = items.iter().map(|item| format!("    {item},\n")).collect();
            format!("{name} = [\n{items}]")
        }
        _ => line.to_string(),
    }
}

/// Writes a configuration with what each key means; keys that are left out stand there as comments.
pub(crate) fn render(title: &str, config: &impl Serialize, keys: &[Key]) -> Result<String> {
    let plain = toml::to_string(config)?;
    let mut sections: Vec<(&str, Vec<&str>)> = vec![("", Vec::new())];
    for line in plain.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => sections.push((name, Vec::new())),
            None => sections.last_mut().into_iter().for_each(|(_, lines)| lines.push(line)),
        }
    }
    let left_out = |key: &Key| commented(&format!("# {} = {}", key.name(), key.example), key.meaning);
    let mut text: String = title.lines().map(|line| format!("# {line}\n")).collect();
    for (section, lines) in &sections {
        if !section.is_empty() {
            text += &format!("\n[{section}]\n");
        }
        let mut there = Vec::new();
        for line in lines {
            let name = line.split_once(" = ").map_or(*line, |(name, _)| name);
            let key = keys.iter().find(|key| key.section() == *section && key.name() == name);
            text += &commented(&broken(line), key.map_or("", |key| key.meaning));
            there.push(name);
        }
        let absent = keys.iter().filter(|key| key.section() == *section && !there.contains(&key.name()));
        text += &absent.filter(|key| !key.example.is_empty()).map(left_out).collect::<String>();
    }
    let mut last = "";
    for key in keys.iter().filter(|key| sections.iter().all(|(name, _)| *name != key.section())) {
        if key.section() != last {
            last = key.section();
            text += &format!("\n# [{last}]\n");
        }
        text += &left_out(key);
    }
    Ok(text)
}

/// A configuration file as it stands there: known keys, values not yet read.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    table: Table,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, and keys that are not among `keys`, with the nearest.
    pub(crate) fn read(path: &Path, keys: &[Key]) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Failure::file(path, &e))?;
        let table = text.parse::<Table>().map_err(|e| {
            let line = e.span().map_or(String::new(), |span| format!(", line {}", line_at(&text, span.start)));
            Failure::wrong(format!("{}{line}: {}", path.display(), e.message()))
                .hint("`keener train --print-config` and `keener compare --print-config` show a whole file")
        })?;
        let file = Self { path: path.to_path_buf(), text, table };
        file.refuse_unknown(keys)?;
        Ok(file)
    }

    fn refuse_unknown(&self, keys: &[Key]) -> Result<()> {
        let Ok(document) = DeTable::parse(&self.text) else { return Ok(()) };
        let Some((section, name, at)) = unknown(document.get_ref(), "", keys) else { return Ok(()) };
        let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
        let message =
            format!("{}, line {}: there is no key `{name}`{place}", self.path.display(), line_at(&self.text, at));
        let mut failure = Failure::wrong(message);
        if section.is_empty() && ["compare", "train"].contains(&name.as_str()) {
            let again = format!(
                "`keener {name} --config {}`: the file is one of that command",
                crate::paths::shell(&[&self.path])
            );
            return Err(failure.hint(again).into());
        }
        // Keys of the section, and the tables below it.
        let below = |path: &'static str| {
            let rest = if section.is_empty() { path } else { path.strip_prefix(&section)?.strip_prefix('.')? };
            Some(rest.split_once('.').map_or(rest, |(first, _)| first))
        };
        let mut here: Vec<&str> = keys.iter().filter_map(|key| below(key.path)).collect();
        here.dedup();
        let close = nearest(&name, here.iter().copied());
        match keys.iter().find(|key| key.name() == name && key.section() != section) {
            Some(other) if other.section().is_empty() => {
                failure = failure.hint(format!("`{name}` above the first section"));
            }
            Some(other) => failure = failure.hint(format!("`{name}` under [{}]", other.section())),
            None if !close.is_empty() => failure = failure.hint(crate::error::advice::ticked(&close)),
            None => failure = failure.hint(format!("one of {}", here.join(", "))),
        }
        Err(failure.into())
    }

    /// What stands at a path such as `train.objective`.
    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let mut found = self.table.get(first)?;
        for part in rest.into_iter().flat_map(|rest| rest.split('.')) {
            found = found.get(part)?;
        }
        Some(found)
    }

    /// A value of a known type, if it stands there.
    ///
    /// # Errors
    /// A value of another type.
    pub(crate) fn read_at<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(value) = self.get(path) else { return Ok(None) };
        value.clone().try_into().map(Some).map_err(|e| self.wrong_value(&e, path))
    }

    /// The configuration `base` with what the file says instead. Tables named in `whole` are taken as they are and not
    /// merged key by key.
    ///
    /// # Errors
    /// Values of another type or outside the choices.
    pub(crate) fn over<T: Serialize + DeserializeOwned>(&self, base: &T, whole: &[&str]) -> Result<T> {
        let mut table = Table::try_from(base)?;
        merge(&mut table, &self.table, "", whole);
        Value::Table(table).try_into().map_err(|e| self.wrong_value(&e, ""))
    }

    fn wrong_value(&self, error: &toml::de::Error, path: &str) -> anyhow::Error {
        let shown = error.to_string();
        let within = shown.split_once("\nin `").and_then(|(_, rest)| rest.split_once('`')).map(|(path, _)| path);
        let place: Vec<&str> = [path, within.unwrap_or("")].into_iter().filter(|part| !part.is_empty()).collect();
        let place = place.join(".");
        let line = DeTable::parse(&self.text).ok().and_then(|doc| start_of(doc.get_ref(), &place));
        let line = line.map_or(String::new(), |at| format!(", line {}", line_at(&self.text, at)));
        let named = if place.is_empty() { String::new() } else { format!("`{place}`: ") };
        Failure::wrong(format!("{}{line}: {named}{}", self.path.display(), in_words(error.message()))).into()
    }

    /// The path, for messages.
    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The folder that relative paths of the file count from.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

/// The types of the code as people call them.
fn in_words(message: &str) -> String {
    [
        ("usize", "a whole number ≥ 0"),
        ("u64", "a whole number ≥ 0"),
        ("f64", "a number"),
        ("a string", "a text in quotes"),
    ]
    .iter()
    .fold(message.trim().to_string(), |text, (code, words)| {
        text.replace(&format!("expected {code}"), &format!("expected {words}"))
    })
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The first key that nobody knows: its section, its name, its place.
fn unknown(table: &DeTable<'_>, section: &str, keys: &[Key]) -> Option<(String, String, usize)> {
    let mut found: Option<(String, String, usize)> = None;
    for (key, value) in table {
        let name: &str = key.get_ref();
        let path = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
        let is_section = keys.iter().any(|k| k.path.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')));
        let here = match value.get_ref() {
            DeValue::Table(inner) if is_section => unknown(inner, &path, keys),
            _ if is_section || keys.iter().any(|k| k.path == path) => None,
            _ => Some((section.to_string(), name.to_string(), key.span().start)),
        };
        found = match (found, here) {
            (Some(a), Some(b)) => Some(if a.2 <= b.2 { a } else { b }),
            (a, b) => a.or(b),
        };
    }
    found
}

/// Where the key of a path begins in the text.
fn start_of(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (key, value) = table.iter().find(|(key, _)| {
        let name: &str = key.get_ref();
        name == first
    })?;
    match (value.get_ref(), rest) {
        (DeValue::Table(inner), Some(rest)) => start_of(inner, rest).or(Some(key.span().start)),
        _ => Some(key.span().start),
    }
}

fn merge(base: &mut Table, over: &Table, section: &str, whole: &[&str]) {
    for (name, value) in over {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match (base.get_mut(name), value) {
            (Some(Value::Table(mine)), Value::Table(theirs)) if !whole.contains(&path.as_str()) => {
                merge(mine, theirs, &path, whole);
            }
            _ => drop(base.insert(name.clone(), value.clone())),
        }
    }
}

/// Every key that a configuration writes must be among the documented ones; a test calls this.
#[cfg(test)]
pub(crate) fn undocumented(config: &impl Serialize, keys: &[Key]) -> Vec<String> {
    fn walk(table: &Table, section: &str, found: &mut Vec<String>) {
        for (name, value) in table {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            match value {
                Value::Table(inner) => walk(inner, &path, found),
                _ => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(&Table::try_from(config).unwrap(), "", &mut found);
    found.retain(|path| !keys.iter().any(|key| key.path == path && !key.meaning.is_empty()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Toy {
        seed: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        train: Inner,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        steps: usize,
        objectives: Vec<String>,
        kind: Kind,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    enum Kind {
        One { width: usize },
        Two { height: usize },
    }

    const KEYS: &[Key] = &[
        Key::new("seed", "Fixes everything"),
        Key::optional("name", "What it is called", "\"mine\""),
        Key::new("train.steps", "The budget"),
        Key::new("train.objectives", "What is compared"),
        Key::new("train.kind.kind", "one or two"),
        Key::optional("train.kind.width", "Of one", "3"),
        Key::optional("train.kind.height", "Of two", "3"),
        Key::optional("train.sampler.kind", "How batches are drawn", "\"shuffle\""),
    ];

    fn toy() -> Toy {
        let objectives = (0..9).map(|k| format!("an_objective_with_a_long_name_{k}")).collect();
        Toy { seed: 1, name: None, train: Inner { steps: 10, objectives, kind: Kind::One { width: 2 } } }
    }

    fn file(text: &str) -> (tempfile::TempDir, Result<ConfigFile>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, text).unwrap();
        let read = ConfigFile::read(&path, KEYS);
        (folder, read)
    }

    #[test]
    fn what_is_written_is_read_again_and_says_what_it_means() {
        let text = render("A toy.\nOf two lines.", &toy(), KEYS).unwrap();
        for part in
            ["# A toy.\n# Of two lines.\n", "# The budget\n", "\n# name = \"mine\"", "\n# [train.sampler]\n# kind = "]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let (_folder, read) = file(&text);
        let other =
            Toy { seed: 7, train: Inner { steps: 1, objectives: Vec::new(), kind: Kind::Two { height: 1 } }, ..toy() };
        assert_eq!(read.unwrap().over(&other, &["train.kind"]).unwrap(), toy());
        assert!(undocumented(&toy(), KEYS).is_empty());
        assert_eq!(undocumented(&toy(), &KEYS[1..]), ["seed"]);
    }

    #[test]
    fn a_part_of_a_file_changes_a_part() {
        let (_folder, read) = file("[train]\nsteps = 3\nkind = { kind = \"two\", height = 5 }\n");
        let found: Toy = read.unwrap().over(&toy(), &["train.kind"]).unwrap();
        assert_eq!((found.train.steps, found.train.kind, found.seed), (3, Kind::Two { height: 5 }, 1));
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named_with_their_line() {
        let message = |text: &str| {
            let (_folder, read) = file(text);
            let error = read.and_then(|read| read.over(&toy(), &["train.kind"])).unwrap_err();
            let failure = error.downcast_ref::<Failure>().unwrap();
            format!("{failure} | {}", failure.tries().join(" | "))
        };
        for (text, parts) in [
            (
                "seed = 1\n[train]\nstepps = 3\n",
                &["c.toml, line 3: there is no key `stepps` in [train]", "| `steps`"][..],
            ),
            ("steps = 3\n", &["line 1: there is no key `steps` |", "`steps` under [train]"]),
            ("[train]\nseed = 3\n", &["line 2: there is no key `seed` in [train]", "`seed` above the first section"]),
            ("[trian]\nsteps = 3\n", &["no key `trian`", "| `train`"]),
            ("[train]\nqqqqqqqqqq = 3\n", &["one of steps, objectives, kind, sampler"]),
            ("\n[train]\nsteps = \"x\"\n", &["line 3: `train.steps`", "expected a whole number"]),
            ("seed = -1\n", &["line 1: `seed`"]),
            ("seed = = 2\n", &["c.toml, line 1: ", "--print-config"]),
        ] {
            let found = message(text);
            assert!(parts.iter().all(|part| found.contains(part)), "{text}\n{found}");
        }
    }
}
