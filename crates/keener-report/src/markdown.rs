//! Tables as Markdown.

use crate::table::{Align, Cell, Column, Table};

/// One cell; pipes and line ends would break the row.
pub fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A row of cells that are set already.
pub fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn set(cell: &Cell, column: &Column) -> String {
    let number = |value: f64, digits: &Option<usize>| match digits.or(column.digits) {
        Some(digits) if value.is_finite() => format!("{value:.digits$}"),
        _ => value.to_string(),
    };
    match cell {
        Cell::Missing => "–".into(),
        Cell::Text(text) | Cell::Badge { text, .. } => escaped(text),
        Cell::Number { value, digits } => number(*value, digits),
        Cell::Interval { mean, low, high, digits } => {
            format!("{} [{}, {}]", number(*mean, digits), number(*low, digits), number(*high, digits))
        }
    }
}

/// The table with its title as a bold line and its remarks below.
pub fn table(table: &Table) -> String {
    let heading = |c: &Column| match &c.unit {
        Some(unit) => escaped(&format!("{} ({unit})", c.title)),
        None => escaped(&c.title),
    };
    let rule = |c: &Column| match c.align {
        Align::Left => "---",
        Align::Center => ":---:",
        Align::Right => "---:",
    };
    let mut out = String::new();
    if !table.title().is_empty() {
        out += &format!("**{}**\n\n", table.title());
    }
    out += &row(table.columns().iter().map(heading));
    out += &row(table.columns().iter().map(|c| rule(c).to_string()));
    for cells in table.rows() {
        out += &row(cells.iter().zip(table.columns()).map(|(cell, column)| set(cell, column)));
    }
    let remarks: Vec<String> =
        table.columns().iter().filter_map(|c| Some(format!("- {}: {}\n", c.title, c.note.as_ref()?))).collect();
    if !remarks.is_empty() {
        out += "\n";
        out.extend(remarks);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells;

    #[test]
    fn cells_are_set_and_cannot_break_the_row() {
        let made = Table::new("Title")
            .column(Column::text("a|b"))
            .column(Column::number("x", 2).unit("s").note("remark"))
            .row(cells!["one|two\nthree", Cell::interval(1.234, 1.0, 2.0)])
            .row(cells![None::<f64>, 7.0]);
        let expected = "**Title**\n\n| a\\|b | x (s) |\n| --- | ---: |\n| one\\|two three | 1.23 [1.00, 2.00] |\n| – | 7.00 |\n\n- x: remark\n";
        assert_eq!(table(&made), expected);
    }
}
