//! One table for every place that shows it: terminal, HTML, CSV and JSON.
//!
//! ```
//! use keener_report::cells;
//! use keener_report::table::{Cell, Column, Table, Tone};
//!
//! let table = Table::new("Leader board")
//!     .column(Column::text("objective"))
//!     .column(Column::number("accuracy", 3).note("mean and 95 % interval over the seeds"))
//!     .column(Column::number("time", 1).unit("s").priority(1))
//!     .column(Column::text("verdict"))
//!     .row(cells!["focal", Cell::interval(0.912, 0.905, 0.919), 12.25, Cell::badge("best", Tone::Good)])
//!     .row(cells!["hinge", Cell::interval(0.871, 0.860, 0.882), None::<f64>]);
//! assert!(table.to_text(None, false).contains("0.912 [0.905, 0.919]"));
//! ```

mod data;
mod markup;
mod text;

use serde::Serialize;

use crate::number;

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// At the left edge; for text.
    #[default]
    Left,
    /// In the middle.
    Center,
    /// At the right edge; for numbers, so that their decimals stand under one another.
    Right,
}

/// What a badge says by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Neutral,
    /// A success, the best.
    Good,
    /// Worth a look.
    Warn,
    /// A failure.
    Bad,
}

impl Tone {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Tone::Neutral => "neutral",
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
        }
    }
}

/// A column: its heading and how its cells are set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// The heading.
    pub title: String,
    /// Where the cells stand.
    pub align: Align,
    /// Decimals of the numbers in this column; `None` prints the shortest text that reads back.
    pub digits: Option<usize>,
    /// The unit, shown after the heading.
    pub unit: Option<String>,
    /// A remark, printed below the table.
    pub note: Option<String>,
    /// Where a terminal is too narrow, the columns with the lowest priority go first; the first column always stays.
    /// Default 100.
    pub priority: u8,
    /// Texts are not wrapped to fewer characters than this; another column is dropped first. Default 14.
    pub least: usize,
}

impl Column {
    /// A left-aligned column.
    pub fn text(title: impl Into<String>) -> Self {
        Self { title: title.into(), align: Align::Left, digits: None, unit: None, note: None, priority: 100, least: 14 }
    }

    /// A right-aligned column of numbers with `digits` decimals.
    pub fn number(title: impl Into<String>, digits: usize) -> Self {
        Self { align: Align::Right, digits: Some(digits), ..Self::text(title) }
    }

    /// Sets the unit that is shown after the heading.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// Sets the remark that is printed below the table.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Sets the priority (default 100): where a terminal is too narrow, the lowest goes first.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the width that texts keep where a terminal is narrow.
    pub fn at_least(mut self, characters: usize) -> Self {
        self.least = characters;
        self
    }

    /// Sets where the cells stand.
    pub fn align(mut self, align: Align) -> Self {
        self.align = align;
        self
    }

    /// Heading and unit: `time (s)`.
    pub(crate) fn heading(&self) -> String {
        match &self.unit {
            Some(unit) => format!("{} ({unit})", self.title),
            None => self.title.clone(),
        }
    }
}

/// What stands in one place of a table.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// Nothing is known here; shown as a dash.
    #[default]
    Missing,
    /// A text.
    Text(String),
    /// A number, with its own count of decimals or the column's.
    Number {
        /// The number; NaN and infinities are shown as such.
        value: f64,
        /// Decimals; `None` takes the column's.
        digits: Option<usize>,
    },
    /// An estimate with its interval, shown as `mean [low, high]`.
    Interval {
        /// The estimate.
        mean: f64,
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
        /// Decimals; `None` takes the column's.
        digits: Option<usize>,
    },
    /// A short text set off by a colour, such as `best`.
    Badge {
        /// The text.
        text: String,
        /// What its colour says.
        tone: Tone,
    },
}

impl Cell {
    /// A number with its own count of decimals.
    pub fn number(value: f64, digits: usize) -> Self {
        Cell::Number { value, digits: Some(digits) }
    }

    /// An estimate with its interval.
    pub fn interval(mean: f64, low: f64, high: f64) -> Self {
        Cell::Interval { mean, low, high, digits: None }
    }

    /// A short text set off by a colour.
    pub fn badge(text: impl Into<String>, tone: Tone) -> Self {
        Cell::Badge { text: text.into(), tone }
    }

    /// The cell as plain text, with the decimals of `column`.
    pub(crate) fn plain(&self, column: &Column) -> String {
        let show = |value: f64, digits: &Option<usize>| match digits.or(column.digits) {
            Some(digits) => number::fixed(value, digits),
            None => number::shortest(value),
        };
        match self {
            Cell::Missing => "–".to_string(),
            Cell::Text(text) | Cell::Badge { text, .. } => text.clone(),
            Cell::Number { value, digits } => show(*value, digits),
            Cell::Interval { mean, low, high, digits } => {
                format!("{} [{}, {}]", show(*mean, digits), show(*low, digits), show(*high, digits))
            }
        }
    }
}

/// The cells of a row from anything that a [`Cell`](crate::table::Cell) is made from: texts, numbers, options of them,
/// cells.
///
/// ```
/// use keener_report::cells;
/// use keener_report::table::{Cell, Column, Table};
///
/// let table = Table::new("")
///     .column(Column::text("name"))
///     .column(Column::number("value", 2))
///     .row(cells!["a", 0.5])
///     .row(cells!["b", Cell::interval(0.4, 0.3, 0.5)]);
/// assert_eq!(table.rows().len(), 2);
/// ```
#[macro_export]
macro_rules! cells {
    ($($cell:expr),* $(,)?) => {
        [$($crate::table::Cell::from($cell)),*]
    };
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Cell::Number { value, digits: None }
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        f64::from(value).into()
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Cell::number(value as f64, 0)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Cell::number(value as f64, 0)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    /// `None` is [`Cell::Missing`].
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Missing, Into::into)
    }
}

/// A titled table of rows under columns.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    highlighted: Vec<usize>,
    note: Option<String>,
}

impl Table {
    /// An empty table; an empty `title` prints none.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a column at the right.
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        for row in &mut self.rows {
            row.resize(self.columns.len(), Cell::Missing);
        }
        self
    }

    /// Adds a row, as [`Table::push`] does.
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row at the end. Cells that are not given are missing; cells beyond the last column open columns without
    /// a title, so that nothing is lost.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        while self.columns.len() < row.len() {
            self.columns.push(Column::text(""));
            for earlier in &mut self.rows {
                earlier.push(Cell::Missing);
            }
        }
        row.resize(self.columns.len(), Cell::Missing);
        self.rows.push(row);
    }

    /// Sets row `index` (from 0) off from the others, as for the best one.
    pub fn highlight(mut self, index: usize) -> Self {
        self.highlighted.push(index);
        self
    }

    /// Sets a remark that is printed below the table.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The columns, from left to right.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The rows; each has as many cells as there are columns.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn is_highlighted(&self, row: usize) -> bool {
        self.highlighted.contains(&row)
    }

    /// The remarks below the table: the columns' and then the table's own.
    fn remarks(&self) -> Vec<(Option<&str>, &str)> {
        let of_columns = self.columns.iter().filter_map(|c| Some((Some(c.title.as_str()), c.note.as_deref()?)));
        of_columns.chain(self.note.as_deref().map(|note| (None, note))).collect()
    }
}
