//! What to try next: the nearest name, the columns that exist, the files beside the one that does not.

use keener::objective::nearest;
use keener_data::DataError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `a` or `b`, in ticks.
pub(crate) fn ticked<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(" or ")
}

/// What the system says, in words.
pub(super) fn reason(error: &std::io::Error) -> String {
    keener_run::reason(error)
}

/// Whether what stands beside a path helps.
pub(super) fn explains(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// The message for an error of the layers below, and what to try.
pub(super) fn of(error: &anyhow::Error) -> (String, Vec<String>) {
    let mut parts: Vec<String> = Vec::new();
    let mut tries = Vec::new();
    for cause in error.chain() {
        let mut said = cause.to_string();
        if let Some(core) = cause.downcast_ref::<keener::Error>() {
            said = of_core(core, &mut tries).unwrap_or(said);
        } else if let Some(data) = cause.downcast_ref::<DataError>() {
            said = of_data(data, &mut tries).unwrap_or(said);
        } else if let Some(keener_burn::Error::Io { path, source }) = cause.downcast_ref::<keener_burn::Error>() {
            said = format!("{}: {}", path.display(), reason(source));
            tries.extend(beside(path).filter(|_| explains(source)));
        } else if let Some(system) = cause.downcast_ref::<std::io::Error>() {
            // Where the error above has it already, in these words or in those of the system.
            let again = parts.iter().any(|part| part.contains(&said) || part.contains(&reason(system)));
            said = if again { String::new() } else { reason(system) };
        }
        if !said.is_empty() && !parts.iter().any(|part| part.contains(&said)) {
            parts.push(said);
        }
    }
    // Not a link of the chain where words were put before it.
    if let Some(hint) = error.downcast_ref::<keener_run::Error>().and_then(keener_run::Error::hint) {
        tries.push(hint.into());
    }
    (parts.join(": "), tries)
}

/// What the core suggests, as lines of what to try; the message without it.
fn of_core(error: &keener::Error, tries: &mut Vec<String>) -> Option<String> {
    match error {
        keener::Error::Unknown { kind, name, nearest } => {
            if !nearest.is_empty() {
                tries.push(ticked(nearest));
            }
            match *kind {
                "objective" => tries.push("`keener objectives` lists them all".into()),
                "reproduction" => tries.push("`keener papers list` lists them all".into()),
                _ => {}
            }
            Some(format!("no {kind} is called `{name}`"))
        }
        keener::Error::UnknownParameter { objective, name, nearest, known } => {
            match (nearest.is_empty(), known.is_empty()) {
                (false, _) => tries.push(ticked(nearest)),
                (true, false) => tries.push(format!("one of {}", known.join(", "))),
                (true, true) => tries.push(format!("`{objective}` alone: it takes no parameters")),
            }
            tries.push(format!("`keener objectives {objective}` explains the parameters"));
            Some(format!("`{objective}` has no parameter `{name}`"))
        }
        keener::Error::Specification { spec, reason } => {
            tries.extend(of_choices(reason));
            let names: Vec<&str> = spec.split('+').map(|part| part.split(':').next().unwrap_or(part).trim()).collect();
            if names.iter().all(|name| keener::objective::find(name).is_ok()) {
                tries.push(format!("`keener objectives {}` explains the parameters", names.join("+")));
            }
            Some(format!("cannot read `{spec}`: {}", reason.replace("expected f64", "expected a number")))
        }
        _ => None,
    }
}

/// As [`of_core`], for errors of data.
fn of_data(error: &DataError, tries: &mut Vec<String>) -> Option<String> {
    let mut close = |wanted: &str, list: &str| {
        let close = nearest_text(wanted, list.split(", "));
        tries.extend((!close.is_empty()).then(|| ticked(&close)));
    };
    match error {
        DataError::Io { file, source } => {
            tries.extend(beside(Path::new(file)).filter(|_| explains(source)));
            return Some(format!("{file}: {}", reason(source)));
        }
        DataError::LabelColumn { wanted, times: 0, columns, .. } => close(wanted, columns),
        DataError::NoSuchColumn { wanted, columns, .. } => close(wanted, columns),
        DataError::NoSuchArray { wanted, arrays, .. } => close(wanted, arrays),
        DataError::Write { file, source } => return Some(format!("cannot write {file}: {}", reason(source))),
        DataError::UnknownFormat { file, looks_like, known } => {
            tries.push(format!("one of {known}"));
            return Some(format!("{file}: unknown format: the bytes look like {looks_like}"));
        }
        DataError::LabelValue { expected, .. } if expected.contains("regression") => {
            tries.push("`--label-column COLUMN`, if another column holds the labels, or `--labels FILE`".into());
        }
        DataError::NoLabels { .. } => {
            tries.push("`--labels FILE` for a second file, `--label-column COLUMN` for a column of this one".into());
        }
        _ => {}
    }
    None
}

/// As [`nearest`], but letters count the same in both cases.
fn nearest_text<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let names: Vec<(String, &str)> = names.map(|name| (name.to_lowercase(), name)).collect();
    let close = nearest(&wanted.to_lowercase(), names.iter().map(|(lower, _)| lower.as_str()));
    close.iter().filter_map(|lower| Some(names.iter().find(|(name, _)| name == lower)?.1.to_string())).collect()
}

/// The nearest of the choices that a message of serde lists: ``unknown variant `x`, expected `a` or `b` ``.
pub(crate) fn of_choices(message: &str) -> Option<String> {
    let rest = ["unknown variant `", "unknown field `"].iter().find_map(|start| Some(message.split_once(start)?.1))?;
    let (wanted, rest) = rest.split_once('`')?;
    let choices: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let close = nearest_text(wanted, choices.iter().copied());
    (!close.is_empty()).then(|| ticked(&close))
}

/// Names in the folder where a path ends to exist: the nearest, else some.
pub(crate) fn beside(path: &Path) -> Option<String> {
    const SHOWN: usize = 8;
    let mut at = path;
    let mut name = None;
    let folder = loop {
        if at.as_os_str().is_empty() {
            break Path::new(".");
        }
        if at.is_dir() {
            break at;
        }
        if at.exists() {
            return Some(format!("`{}`, which is a file", at.display()));
        }
        name = at.file_name();
        at = at.parent()?;
    };
    let mut names: Vec<String> =
        std::fs::read_dir(folder).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let close =
        name.map(|name| nearest_text(&name.to_string_lossy(), names.iter().map(String::as_str))).unwrap_or_default();
    let shown = |name: &String| if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) };
    if !close.is_empty() {
        return Some(ticked(&close.iter().map(|name| shown(name).display().to_string()).collect::<Vec<_>>()));
    }
    let place = if folder == Path::new(".") { "this folder".to_string() } else { format!("`{}`", folder.display()) };
    if names.is_empty() {
        return Some(format!("another path: {place} is empty"));
    }
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    Some(format!("one of those in {place}: {}{more}", names[..names.len().min(SHOWN)].join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_choice_of_a_list_is_found() {
        let found = |message: &str| of_choices(message);
        assert_eq!(found("unknown variant `lineer`, expected one of `linear`, `cosine`").as_deref(), Some("`linear`"));
        assert_eq!(found("a: unknown field `stepps`, expected `steps` or `seed` in x").as_deref(), Some("`steps`"));
        assert_eq!(found("unknown field `q`, there are no fields"), None);
        assert_eq!(found("another error"), None);
    }

    #[test]
    fn names_beside_a_missing_path_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert!(beside(&at.join("x.csv")).unwrap().ends_with("is empty"));
        for name in ["Pets.csv", "houses.csv", ".hidden"] {
            std::fs::write(at.join(name), "").unwrap();
        }
        assert_eq!(beside(&at.join("pets.cvs")), Some(format!("`{}`", at.join("Pets.csv").display())));
        let listed = beside(&at.join("qqqqqqqqq/deep.csv")).unwrap();
        assert!(listed.starts_with("one of those in ") && listed.ends_with(": Pets.csv, houses.csv"), "{listed}");
        assert!(beside(&at.join("houses.csv/x")).unwrap().ends_with("which is a file"));
    }
}
