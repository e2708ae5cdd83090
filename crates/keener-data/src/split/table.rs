//! A split as a value that is written to a file and read again: which row is in which part.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, list};

/// Name of the part that is trained on.
pub const TRAIN: &str = "train";
/// Name of the part that validates.
pub const VALIDATION: &str = "validation";
/// Name of the part that is reported.
pub const TEST: &str = "test";

/// How parts came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The class shares of the whole in every part: [`super::stratified`].
    Stratified,
    /// Whole classes: [`super::class_disjoint`].
    Classes,
    /// Whole groups: [`super::group_wise`].
    Groups,
    /// As a column of the data says.
    Column,
    /// As separate files say.
    Files,
}

/// Named parts of the rows of a data set. No row is in two parts; rows may be in none.
///
/// As a file it is CSV (`row,part`, rows from 0, after a comment line with fingerprint and origin) or JSON:
///
/// ```
/// use keener_data::split::{Method, Split};
/// let split = Split::new(4, vec![("test".into(), vec![2]), ("train".into(), vec![0, 1, 3])])?
///     .described("5a17a1e0c0ffee00", Method::Stratified, Some(7));
/// assert_eq!(
///     split.to_csv(),
///     "# keener split: 4 rows, fingerprint 5a17a1e0c0ffee00, stratified, seed 7\nrow,part\n0,train\n1,train\n2,test\n3,train\n"
/// );
/// assert_eq!(Split::parse("split.csv", &split.to_csv())?, split);
/// assert_eq!(Split::parse("split.json", &split.to_json())?, split);
/// # Ok::<(), keener_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    rows: usize,
    parts: Vec<(String, Vec<usize>)>,
    fingerprint: Option<String>,
    method: Option<Method>,
    seed: Option<u64>,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    rows: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    parts: Vec<StoredPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPart {
    name: String,
    rows: Vec<usize>,
}

impl Split {
    /// Named parts of `rows` rows, checked; the indices of each part are sorted, and `train`, `validation` and `test` come
    /// before other parts, which come in the order of their names.
    ///
    /// # Errors
    /// [`DataError::Parameter`] for a row that is not there or in two parts, and for a name that comes twice.
    pub fn new(rows: usize, mut parts: Vec<(String, Vec<usize>)>) -> Result<Self, DataError> {
        const PLACE: &str = "split";
        let refuse = |name: String, value: String, expected: String| {
            Err(DataError::Parameter { place: PLACE, name, value, expected })
        };
        let mut home = vec![usize::MAX; rows];
        for (at, (name, indices)) in parts.iter_mut().enumerate() {
            indices.sort_unstable();
            for &row in indices.iter() {
                match home.get_mut(row) {
                    None => return refuse(format!("row of part `{name}`"), row.to_string(), format!("below {rows}")),
                    Some(part) if *part != usize::MAX => {
                        return refuse(format!("row of part `{name}`"), row.to_string(), "each row once".into());
                    }
                    Some(part) => *part = at,
                }
            }
        }
        let known = |name: &str| [TRAIN, VALIDATION, TEST].iter().position(|known| *known == name).unwrap_or(3);
        parts.sort_by(|(a, _), (b, _)| (known(a), a).cmp(&(known(b), b)));
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return refuse("part".into(), pair[0].0.clone(), "each name once".into());
        }
        Ok(Self { rows, parts, fingerprint: None, method: None, seed: None })
    }

    /// With what the rows and the draw were.
    #[must_use]
    pub fn described(mut self, fingerprint: impl Into<String>, method: Method, seed: Option<u64>) -> Self {
        (self.fingerprint, self.method, self.seed) = (Some(fingerprint.into()), Some(method), seed);
        self
    }

    /// The parts that a column names: `train`, `validation` (`valid`, `val`, `dev`) and `test`, in any case, or names of
    /// one's own. Rows with an empty name are in no part.
    ///
    /// # Errors
    /// [`DataError::Parameter`] when no row has a name.
    pub fn by_names<S: AsRef<str>>(names: &[S]) -> Result<Self, DataError> {
        let mut parts = BTreeMap::<String, Vec<usize>>::new();
        for (row, name) in names.iter().enumerate() {
            let name = canonical(name.as_ref());
            if !name.is_empty() {
                parts.entry(name).or_default().push(row);
            }
        }
        if parts.is_empty() {
            return Err(DataError::Parameter {
                place: "split",
                name: "part".into(),
                value: "empty in every row".into(),
                expected: format!("names such as {TRAIN}, {VALIDATION}, {TEST}"),
            });
        }
        Self::new(names.len(), parts.into_iter().collect())
    }

    /// Rows of the data set.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names and sorted rows of the parts.
    pub fn parts(&self) -> &[(String, Vec<usize>)] {
        &self.parts
    }

    /// The rows of a part.
    pub fn part(&self, name: &str) -> Option<&[usize]> {
        self.parts.iter().find(|(known, _)| known == name).map(|(_, rows)| rows.as_slice())
    }

    /// The content that it was made for, as [`crate::Dataset::fingerprint`] prints it.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// How it came about, and the seed of the draw.
    pub fn origin(&self) -> (Option<Method>, Option<u64>) {
        (self.method, self.seed)
    }

    /// Refuses other data than those it was made for: another number of rows, or another fingerprint where it has one.
    ///
    /// # Errors
    /// [`DataError::Parameter`].
    pub fn check(&self, rows: usize, fingerprint: &str) -> Result<(), DataError> {
        let refuse = |name: &str, value: String, expected: String| {
            Err(DataError::Parameter { place: "the split was made for other data", name: name.into(), value, expected })
        };
        match &self.fingerprint {
            _ if self.rows != rows => refuse("rows", rows.to_string(), self.rows.to_string()),
            Some(mine) if mine != fingerprint => refuse("fingerprint", fingerprint.into(), mine.clone()),
            _ => Ok(()),
        }
    }

    /// The CSV form: a comment with the origin, a header, a line a row.
    pub fn to_csv(&self) -> String {
        let mut text = format!("# keener split: {} rows", self.rows);
        let kebab = |method: Method| serde_json::to_value(method).ok().and_then(|v| v.as_str().map(String::from));
        let notes = [
            self.fingerprint.as_ref().map(|print| format!("fingerprint {print}")),
            self.method.and_then(kebab),
            self.seed.map(|seed| format!("seed {seed}")),
        ];
        notes.into_iter().flatten().for_each(|note| text += &format!(", {note}"));
        text += "\nrow,part\n";
        let mut home = vec![""; self.rows];
        for (name, rows) in &self.parts {
            rows.iter().for_each(|&row| home[row] = name);
        }
        for (row, name) in home.into_iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            // Writing to a string cannot fail.
            let _ = match name.contains([',', '"', '\n', '\r']) {
                true => writeln!(text, "{row},\"{}\"", name.replace('"', "\"\"")),
                false => writeln!(text, "{row},{name}"),
            };
        }
        text
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        let parts = self.parts.iter().map(|(name, rows)| StoredPart { name: name.clone(), rows: rows.clone() });
        let stored = Stored {
            rows: self.rows,
            fingerprint: self.fingerprint.clone(),
            method: self.method,
            seed: self.seed,
            parts: parts.collect(),
        };
        serde_json::to_string(&stored).unwrap_or_default() + "\n"
    }

    /// Reads either form; `file` names it in messages.
    ///
    /// A CSV file of another origin needs the columns `row` and `part` alone; its number of rows is then one more than
    /// the greatest.
    ///
    /// # Errors
    /// [`DataError::Malformed`], [`DataError::Cell`], and what [`Split::new`] refuses.
    pub fn parse(file: &str, text: &str) -> Result<Self, DataError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            let stored: Stored = serde_json::from_str(text).map_err(|error| DataError::Malformed {
                file: file.into(),
                at: format!("line {}", error.line()),
                found: error.to_string(),
                expected: "a split with `rows` and `parts`, as `keener data split` writes it".into(),
            })?;
            // A file may claim any number of rows; they must not be allocated on its word.
            let most = stored.parts.iter().map(|part| part.rows.len()).sum::<usize>();
            let parts = stored.parts.into_iter().map(|part| (part.name, part.rows)).collect();
            return Self::claimed(file, stored.rows, most, parts, stored.fingerprint, stored.method, stored.seed);
        }
        parse_csv(file, text)
    }

    fn claimed(
        file: &str,
        rows: usize,
        listed: usize,
        parts: Vec<(String, Vec<usize>)>,
        fingerprint: Option<String>,
        method: Option<Method>,
        seed: Option<u64>,
    ) -> Result<Self, DataError> {
        const UNLISTED: usize = 1 << 26;
        if rows > listed.saturating_add(UNLISTED) {
            return Err(DataError::Malformed {
                file: file.into(),
                at: "number of rows".into(),
                found: rows.to_string(),
                expected: format!("at most {UNLISTED} more than the {listed} that are listed"),
            });
        }
        Ok(Self { fingerprint, method, seed, ..Self::new(rows, parts)? })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`DataError::Io`], and as [`Split::parse`].
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| DataError::Io { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// The form that a file name asks for: JSON for `.json`, else CSV.
    pub fn to_text(&self, path: &Path) -> String {
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            true => self.to_json(),
            false => self.to_csv(),
        }
    }
}

fn canonical(name: &str) -> String {
    let name = name.trim();
    match name.to_lowercase().as_str() {
        "train" | "training" => TRAIN.into(),
        "validation" | "valid" | "val" | "dev" => VALIDATION.into(),
        "test" | "testing" => TEST.into(),
        _ => name.into(),
    }
}

fn parse_csv(file: &str, text: &str) -> Result<Split, DataError> {
    let (mut rows, mut fingerprint, mut method, mut seed) = (None, None, None, None);
    let first = text.lines().next().unwrap_or_default();
    if let Some(notes) = first.strip_prefix("# keener split:") {
        for note in notes.split(',').map(str::trim) {
            match note.split_once(' ') {
                Some((number, "rows")) => rows = number.parse::<usize>().ok(),
                Some(("fingerprint", print)) => fingerprint = Some(print.to_string()),
                Some(("seed", number)) => seed = number.parse().ok(),
                _ => method = serde_json::from_value(note.into()).ok(),
            }
        }
    }
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let broken = |error: csv::Error| DataError::Malformed {
        file: file.into(),
        at: format!("line {}", error.position().map_or(1, csv::Position::line)),
        found: error.to_string(),
        expected: "a table with the columns `row` and `part`".into(),
    };
    let headers = reader.headers().map_err(broken)?.clone();
    let column = |wanted: &str| {
        headers.iter().position(|name| name.trim() == wanted).ok_or_else(|| DataError::Malformed {
            file: file.into(),
            at: "header".into(),
            found: list(headers.iter()),
            expected: format!("a column `{wanted}`: a split has the columns `row` and `part`"),
        })
    };
    let (row_at, part_at) = (column("row")?, column("part")?);
    let mut parts: Vec<(String, Vec<usize>)> = Vec::new();
    let (mut listed, mut greatest) = (0_usize, 0_usize);
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let cell = record.get(row_at).unwrap_or_default().trim();
        let row: usize = cell.parse().map_err(|_| DataError::Cell {
            file: file.into(),
            line: record.position().map_or(0, csv::Position::line),
            column: "\"row\"".into(),
            found: crate::error::quoted(cell),
            expected: "the number of a row, from 0".into(),
        })?;
        let name = canonical(record.get(part_at).unwrap_or_default());
        (listed, greatest) = (listed + 1, greatest.max(row));
        if name.is_empty() {
            continue;
        }
        match parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((name, vec![row])),
        }
    }
    if listed == 0 {
        return Err(DataError::Empty { place: file.into(), what: "rows of a split".into() });
    }
    let rows = rows.unwrap_or_else(|| greatest.saturating_add(1));
    Split::claimed(file, rows, listed, parts, fingerprint, method, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Split::parse("s.csv", text).unwrap_err().to_string()
    }

    #[test]
    fn names_are_read_as_they_are_written_elsewhere() {
        let split = Split::by_names(&["Train", "val", "", "TEST", "dev", "extra"]).unwrap();
        let parts: Vec<(&str, &[usize])> = split.parts().iter().map(|(n, r)| (n.as_str(), r.as_slice())).collect();
        assert_eq!(parts, [("train", &[0][..]), ("validation", &[1, 4]), ("test", &[3]), ("extra", &[5])]);
        assert!(Split::by_names(&["", " "]).is_err());
    }

    #[test]
    fn files_of_other_origin_need_two_columns_only() {
        let split = Split::parse("s.csv", "id,part,row\na,train,2\nb,valid,0\n").unwrap();
        assert_eq!((split.rows(), split.part(TRAIN), split.part(VALIDATION)), (3, Some(&[2][..]), Some(&[0][..])));
        assert_eq!(split.fingerprint(), None);
        let odd = Split::new(1, vec![("a, \"b\"".into(), vec![0])]).unwrap();
        assert_eq!(Split::parse("s.csv", &odd.to_csv()).unwrap(), odd);
    }

    #[test]
    fn other_data_are_refused() {
        let split = Split::new(2, vec![]).unwrap().described("aa", Method::Groups, Some(1));
        assert!(split.check(2, "aa").is_ok());
        assert!(split.check(3, "aa").unwrap_err().to_string().contains("rows = 3: expected 2"));
        assert!(split.check(2, "bb").unwrap_err().to_string().contains("fingerprint = bb: expected aa"));
    }

    #[test]
    fn broken_files_say_where() {
        assert!(message("row,part\n0,train\nx,test\n").contains("line 3, column \"row\": found \"x\""));
        assert!(message("row,part\n0,train\n0,test\n").contains("each row once"));
        assert!(message("# keener split: 1 rows\nrow,part\n1,train\n").contains("below 1"));
        assert!(message("a,b\n1,2\n").contains("a column `row`"));
        assert!(message("row,part\n").contains("no rows of a split"));
        assert!(message("row,part\n0,train,9\n").contains("s.csv: line 2"));
        assert!(message("row,part\n18446744073709551615,train\n").contains("number of rows"));
        assert!(message("{\"rows\": 99999999999999, \"parts\": []}").contains("number of rows"));
        assert!(message("{\"rows\": 1}").contains("parts"));
    }
}
