//! The table as data: CSV and JSON, with full precision.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{Cell, Table};
use crate::number;

impl Table {
    /// The table as CSV (RFC 4180, lines end with `\n`): one header line, numbers with full precision, missing cells
    /// empty. A column that holds intervals becomes three: `title`, `title low`, `title high`.
    pub fn to_csv(&self) -> String {
        let keys = self.keys();
        let spread: Vec<bool> = (0..self.columns.len())
            .map(|c| self.rows.iter().any(|row| matches!(row[c], Cell::Interval { .. })))
            .collect();
        let mut header = Vec::new();
        for (key, spread) in keys.iter().zip(&spread) {
            header.push(quote(key));
            if *spread {
                header.extend([quote(&format!("{key} low")), quote(&format!("{key} high"))]);
            }
        }
        let mut out = header.join(",") + "\n";
        for row in &self.rows {
            let mut fields = Vec::new();
            for (cell, spread) in row.iter().zip(&spread) {
                match cell {
                    Cell::Interval { mean, low, high, .. } => {
                        fields.extend([*mean, *low, *high].map(number::shortest));
                        continue;
                    }
                    Cell::Missing => fields.push(String::new()),
                    Cell::Text(text) | Cell::Badge { text, .. } => fields.push(quote(text)),
                    Cell::Number { value, .. } => fields.push(number::shortest(*value)),
                }
                if *spread {
                    fields.extend([String::new(), String::new()]);
                }
            }
            out.push_str(&fields.join(","));
            out.push('\n');
        }
        out
    }

    /// The table as JSON: `{"title", "columns": [{"name", "unit", "note"}], "rows": [{name: value}]}`.
    ///
    /// Numbers have full precision, intervals are `{"mean", "low", "high"}`, badges are their text; missing cells and
    /// numbers that are not finite are `null`.
    pub fn to_json(&self) -> Value {
        let keys = self.keys();
        let columns: Vec<Value> = self
            .columns
            .iter()
            .zip(&keys)
            .map(|(column, key)| json!({"name": key, "unit": column.unit, "note": column.note}))
            .collect();
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let fields = keys.iter().zip(row).map(|(key, cell)| {
                    let value = match cell {
                        Cell::Missing => Value::Null,
                        Cell::Text(text) | Cell::Badge { text, .. } => json!(text),
                        Cell::Number { value, .. } => json!(value),
                        Cell::Interval { mean, low, high, .. } => json!({"mean": mean, "low": low, "high": high}),
                    };
                    (key.clone(), value)
                });
                Value::Object(fields.collect::<Map<_, _>>())
            })
            .collect();
        json!({"title": self.title, "columns": columns, "rows": rows})
    }

    /// A name for every column, none twice: the title, `column 3` where there is none, with a number where it repeats.
    fn keys(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for (c, column) in self.columns.iter().enumerate() {
            let base = if column.title.is_empty() { format!("column {}", c + 1) } else { column.title.clone() };
            let mut key = base.clone();
            let mut copy = 2;
            while !seen.insert(key.clone()) {
                key = format!("{base} ({copy})");
                copy += 1;
            }
            keys.push(key);
        }
        keys
    }
}

fn quote(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::{Column, Tone};
    use super::*;
    use crate::cells;

    fn table() -> Table {
        Table::new("t")
            .column(Column::text("name"))
            .column(Column::number("score", 2))
            .column(Column::text("name"))
            .row(["a,\"b\"\nc".into(), Cell::interval(0.123456, 0.1, 0.2), Cell::badge("best", Tone::Good)])
            .row(["d".into(), 0.5.into()])
    }

    #[test]
    fn csv_quotes_and_keeps_precision() {
        let csv = table().to_csv();
        let expected = "name,score,score low,score high,name (2)\n\"a,\"\"b\"\"\nc\",0.123456,0.1,0.2,best\nd,0.5,,,\n";
        assert_eq!(csv, expected);
    }

    #[test]
    fn json_has_a_value_for_every_column() {
        let value = table().row([Cell::Missing, f64::NAN.into()]).to_json();
        assert_eq!(value["rows"][0]["score"]["low"], 0.1);
        assert_eq!(value["rows"][0]["name (2)"], "best");
        assert_eq!(value["rows"][1]["score"], 0.5);
        assert!(value["rows"][1]["name (2)"].is_null());
        assert!(value["rows"][2]["score"].is_null());
    }

    #[test]
    fn rows_longer_than_the_columns_lose_nothing() {
        let table = Table::new("").column(Column::text("a")).row(cells!["1"]).row(cells!["2", "3"]);
        assert_eq!(table.to_csv(), "a,column 2\n1,\n2,3\n");
    }
}
