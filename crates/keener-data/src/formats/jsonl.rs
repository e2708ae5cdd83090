//! JSON lines: an object a line (its names are the columns), or a list a line.
//!
//! Values are numbers, booleans, text, `null`, or lists of numbers, which are flattened. The first row says which columns
//! there are, and how long their lists are.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::dataset::Matrix;
use crate::error::{DataError, list, quoted};
use crate::formats::kinds::{self, Kind, LabelColumn, missing, ragged, shown};
use crate::formats::select::Roles;
use crate::formats::svmlight::lines;
use crate::formats::{Input, Table, Want};
use crate::options::ReadOptions;

pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    let mut plan: Option<Plan> = None;
    let (mut values, mut labels, mut row) = (Vec::new(), LabelColumn::default(), 0);
    let bytes = input.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input.bytes);
    for (line, text) in lines(bytes) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let parsed: Row = serde_json::from_slice(text).map_err(|error| DataError::Malformed {
            file: input.file.into(),
            at: format!("line {line}, column {}", error.column()),
            found: error.to_string(),
            expected: "a JSON object or list a line, with numbers, text or lists of numbers".into(),
        })?;
        let plan = match &mut plan {
            Some(plan) => plan,
            None => plan.insert(Plan::new(input.file, &parsed, want, options)?),
        };
        let cells = plan.order(input.file, row, parsed, options)?;
        plan.push(input.file, row, &cells, &mut values, &mut labels, options)?;
        row += 1;
    }
    let plan = plan.ok_or_else(|| DataError::Empty { place: input.file.into(), what: "rows of data".into() })?;
    let features = match want {
        Want::Labels => None,
        _ => {
            let names = plan.names.as_deref();
            let names = kinds::feature_names(names, &plan.roles.features, &plan.kinds, &plan.widths);
            let dim = plan.widths.iter().sum();
            Some(Matrix::checked(input.file, values, dim, names, options.keep_non_finite)?.into())
        }
    };
    Ok(Table { features, labels: (want != Want::Features).then(|| labels.finish()), class_names: None })
}

/// Whether the first line is a whole JSON object, or a list with at least one value in it.
pub(super) fn looks_like_it(text: &[u8]) -> bool {
    let first = lines(text).map(|(_, line)| line.trim_ascii()).find(|line| !line.is_empty()).unwrap_or_default();
    first.starts_with(b"{") && serde_json::from_slice::<Row>(first).is_ok()
        || first.starts_with(b"[") && serde_json::from_slice::<Row>(first).is_ok_and(|row| row.is_flat())
}

/// What the columns are, as the first row has them.
struct Plan {
    names: Option<Vec<String>>,
    index: HashMap<String, usize>,
    kinds: Vec<Kind>,
    roles: Roles,
    /// Numbers that each feature column has in a row.
    widths: Vec<usize>,
}

impl Plan {
    fn new(file: &str, first: &Row, want: Want, options: &ReadOptions) -> Result<Self, DataError> {
        let cells: Vec<&Cell> = match first {
            Row::Object(entries) => entries.iter().map(|(_, cell)| cell).collect(),
            Row::List(cells) => cells.iter().collect(),
        };
        let names: Option<Vec<String>> = match first {
            Row::Object(entries) => Some(entries.iter().map(|(name, _)| name.clone()).collect()),
            Row::List(_) => None,
        };
        let kinds: Vec<Kind> = cells.iter().map(|cell| cell.kind()).collect();
        let roles = kinds::roles(file, names.as_deref(), &kinds, want, options)?;
        let width = |&column: &usize| match cells[column] {
            Cell::Numbers(numbers) => numbers.len(),
            _ => 1,
        };
        let widths = roles.features.iter().map(width).collect();
        let index = names.iter().flatten().cloned().zip(0..).collect();
        Ok(Self { names, index, kinds, roles, widths })
    }

    /// The cells of a row in the order of the columns.
    fn order(&self, file: &str, row: usize, parsed: Row, options: &ReadOptions) -> Result<Vec<Cell>, DataError> {
        let wrong = |column: String, found: String, expected: String| {
            Err(DataError::Value { file: file.into(), row, column, found, expected })
        };
        match (parsed, &self.names) {
            (Row::List(cells), None) if cells.len() == self.kinds.len() => Ok(cells),
            (Row::List(cells), None) => {
                let found = format!("{} values", cells.len());
                wrong("(all)".into(), found, format!("{}, as in the first row", self.kinds.len()))
            }
            (Row::Object(entries), Some(names)) => {
                let mut cells: Vec<Option<Cell>> = names.iter().map(|_| None).collect();
                for (name, cell) in entries {
                    match self.index.get(&name) {
                        Some(&column) if cells[column].is_none() => cells[column] = Some(cell),
                        Some(_) => return wrong(quoted(&name), "the name twice".into(), "it once a row".into()),
                        None if options.columns.is_empty() => {
                            return wrong(
                                quoted(&name),
                                "a new name".into(),
                                format!("those of the first row, {}", list(names)),
                            );
                        }
                        None => {}
                    }
                }
                Ok(cells.into_iter().map(|cell| cell.unwrap_or(Cell::Null)).collect())
            }
            (Row::Object(_), None) => wrong("(all)".into(), "an object".into(), "a list, as in the first row".into()),
            (Row::List(_), Some(_)) => wrong("(all)".into(), "a list".into(), "an object, as in the first row".into()),
        }
    }

    fn push(
        &self,
        file: &str,
        row: usize,
        cells: &[Cell],
        values: &mut Vec<f32>,
        labels: &mut LabelColumn,
        options: &ReadOptions,
    ) -> Result<(), DataError> {
        let keep = options.keep_non_finite;
        let name = |column: usize| shown(self.names.as_deref(), column);
        for (&column, &width) in self.roles.features.iter().zip(&self.widths) {
            let is_list = self.kinds[column] == Kind::Numbers;
            match &cells[column] {
                Cell::Number(number) if !is_list => values.push(*number as f32),
                Cell::Numbers(numbers) if is_list && numbers.len() == width => {
                    if !keep && let Some(at) = numbers.iter().position(Option::is_none) {
                        return Err(missing(file, row, format!("{}[{at}]", name(column)), "a number"));
                    }
                    values.extend(numbers.iter().map(|number| number.map_or(f32::NAN, |number| number as f32)));
                }
                Cell::Numbers(numbers) if is_list => {
                    return Err(ragged(file, row, name(column), numbers.len(), width));
                }
                Cell::Null if keep => values.extend(std::iter::repeat_n(f32::NAN, width)),
                Cell::Null => return Err(missing(file, row, name(column), "a number")),
                other => {
                    let found = other.describe();
                    let expected = if is_list { "a list of numbers, as in the first row" } else { "a number" };
                    let (file, column) = (file.into(), name(column));
                    return Err(DataError::Value { file, row, column, found, expected: expected.into() });
                }
            }
        }
        let Some(label) = self.roles.label else { return Ok(()) };
        match &cells[label] {
            Cell::Number(number) => labels.number(file, *number),
            Cell::Text(text) => {
                labels.text(text);
                Ok(())
            }
            Cell::Numbers(numbers) if numbers.iter().all(Option::is_some) => {
                labels.set(file, &numbers.iter().flatten().copied().collect::<Vec<_>>())
            }
            Cell::Null if keep => {
                labels.text("");
                Ok(())
            }
            Cell::Null => Err(missing(file, row, name(label), "a label")),
            other => {
                let (file, column, found) = (file.into(), name(label), other.describe());
                Err(DataError::Value { file, row, column, found, expected: "a label: text or a whole number".into() })
            }
        }
    }
}

/// A line.
enum Row {
    Object(Vec<(String, Cell)>),
    List(Vec<Cell>),
}

impl Row {
    /// Whether it is a list of plain values, at least one.
    fn is_flat(&self) -> bool {
        matches!(self, Self::List(cells) if !cells.is_empty()
            && cells.iter().all(|cell| !matches!(cell, Cell::Other(_))))
    }
}

/// A value.
enum Cell {
    Null,
    Number(f64),
    Text(String),
    Numbers(Vec<Option<f64>>),
    Other(&'static str),
}

impl Cell {
    fn kind(&self) -> Kind {
        match self {
            Self::Null | Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
            Self::Numbers(_) => Kind::Numbers,
            Self::Other(what) => Kind::Other((*what).into()),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => quoted(text),
            Self::Numbers(numbers) => format!("a list of {} numbers", numbers.len()),
            Self::Other(what) => (*what).into(),
        }
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Row, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Row::Object(entries))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Row, S::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = seq.next_element()? {
                    cells.push(cell);
                }
                Ok(Row::List(cells))
            }
        }
        deserializer.deserialize_any(Rows)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Cells;
        impl<'de> Visitor<'de> for Cells {
            type Value = Cell;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
                Ok(Cell::Number(f64::from(u8::from(value))))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
                Ok(Cell::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::Number(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
                Ok(Cell::Text(value.into()))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Cell, M::Error> {
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                Ok(Cell::Other("an object"))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Cell, S::Error> {
                let (mut numbers, mut other) = (Vec::new(), None);
                while let Some(cell) = seq.next_element()? {
                    match cell {
                        Cell::Number(number) => numbers.push(Some(number)),
                        Cell::Null => numbers.push(None),
                        Cell::Text(_) => other = Some("a list of text"),
                        Cell::Numbers(_) | Cell::Other(_) => other = Some("a list of lists or objects"),
                    }
                }
                Ok(match other {
                    Some(what) => Cell::Other(what),
                    None if numbers.is_empty() => Cell::Numbers(Vec::new()),
                    None => Cell::Numbers(numbers),
                })
            }
        }
        deserializer.deserialize_any(Cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::RawLabels;

    fn table(text: &str, options: &ReadOptions) -> Result<Table, DataError> {
        read(&Input { file: "f.jsonl", bytes: text.as_bytes() }, Want::Labelled, options)
    }

    #[test]
    fn objects_and_lists() {
        let text =
            "{\"x\": 1.5, \"v\": [1, 2], \"label\": \"cat\"}\n\n{\"label\": \"dog\", \"x\": true, \"v\": [3, 4]}\n";
        let read = table(text, &ReadOptions::default()).unwrap();
        let features = read.features.unwrap().into_dense("f").unwrap();
        assert_eq!(features.values, [1.5, 1.0, 2.0, 1.0, 3.0, 4.0]);
        assert_eq!(features.names.unwrap(), ["x", "v_0", "v_1"]);
        assert_eq!(read.labels.unwrap(), RawLabels::Text(vec!["cat".into(), "dog".into()]));
        let read = table("[1, 2, 7]\n[3, 4, 8]\n", &ReadOptions::default()).unwrap();
        assert_eq!(read.labels.unwrap(), RawLabels::Integers(vec![7, 8]));
        let read = table("{\"a\": [1, 2], \"label\": [3, 4]}\n{\"a\": [1, 2], \"label\": []}", &ReadOptions::default());
        assert!(matches!(read.unwrap().labels, Some(RawLabels::Sets(_))));
    }

    #[test]
    fn bad_rows_are_named() {
        let first = "{\"x\": 1, \"v\": [1, 2], \"label\": \"cat\"}\n";
        for (second, part) in [
            (
                "{\"x\": 1, \"v\": [1], \"label\": \"cat\"}",
                "row 1, column \"v\": found a list of 1 numbers, expected 2",
            ),
            ("{\"x\": null, \"v\": [1, 2], \"label\": \"cat\"}", "column \"x\": found a missing value"),
            ("{\"v\": [1, 2], \"label\": \"cat\"}", "column \"x\": found a missing value"),
            ("{\"x\": 1, \"v\": [1, null], \"label\": \"cat\"}", "column \"v\"[1]: found a missing value"),
            ("{\"x\": \"a\", \"v\": [1, 2], \"label\": \"cat\"}", "found \"a\", expected a number"),
            ("{\"x\": 1, \"v\": [1, 2], \"label\": null}", "expected a label"),
            ("{\"x\": 1, \"v\": [1, 2], \"label\": 0.5}", "regression"),
            ("{\"x\": 1, \"y\": 2, \"v\": [1, 2], \"label\": 1}", "column \"y\": found a new name"),
            ("{\"x\": 1, \"x\": 2, \"v\": [1, 2], \"label\": 1}", "the name twice"),
            ("{\"x\": 1e99, \"v\": [1, 2], \"label\": 1}", "row 1, column 0: found inf"),
            ("[1, 2]", "found a list, expected an object"),
            ("{\"x\": 1", "line 2, column"),
            ("{\"x\": NaN}", "line 2"),
            (&"[".repeat(200), "recursion"),
        ] {
            let error = table(&format!("{first}{second}\n"), &ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{second}: {error}");
        }
        assert!(table("\n", &ReadOptions::default()).unwrap_err().to_string().contains("no rows"));
        let nested = table("{\"a\": {\"b\": 1}, \"label\": 1}\n", &ReadOptions::default()).unwrap_err().to_string();
        assert!(nested.contains("column \"a\": an object as a feature"), "{nested}");
        let keep = ReadOptions { keep_non_finite: true, ..Default::default() };
        let text = format!("{first}{{\"x\": null, \"label\": null}}\n");
        let features = table(&text, &keep).unwrap().features.unwrap().into_dense("f").unwrap();
        assert!(features.row(1).iter().all(|value| value.is_nan()));
    }
}
