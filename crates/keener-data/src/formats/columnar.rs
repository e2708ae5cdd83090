//! From record batches (Arrow, Parquet) to rows of features and labels.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};

use crate::dataset::Matrix;
use crate::error::{DataError, quoted};
use crate::formats::contain::check_allowance;
use crate::formats::kinds::{self, Kind, LabelColumn, missing, ragged, shown};
use crate::formats::select::Roles;
use crate::formats::{Table, Want};
use crate::labels::RawLabels;
use crate::options::ReadOptions;

/// The key of a schema's metadata under which the list of classes is kept, as JSON.
pub(crate) const CLASS_NAMES: &str = "keener.class_names";

/// Rows that came out of some batches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// Features, row-major `[rows, dim]`; checked to be finite unless such values are kept.
    pub(crate) features: Vec<f32>,
    /// One label a row, where labels are wanted.
    pub(crate) labels: Option<RawLabels>,
}

/// Collects rows from record batches.
pub(crate) struct Assembler<'a> {
    file: &'a str,
    want: Want,
    options: &'a ReadOptions,
    names: Vec<String>,
    kinds: Vec<Kind>,
    roles: Roles,
    pub(crate) class_names: Option<Vec<String>>,
    /// Numbers a row of each feature column, known from the first row.
    widths: Option<Vec<usize>>,
    values: Vec<f32>,
    labels: LabelColumn,
    /// Rows seen, also those that were taken.
    rows: usize,
    /// Bytes of label text, which few bytes of a file can repeat many times.
    text: u64,
    len: u64,
}

impl<'a> Assembler<'a> {
    /// Finds out what the columns of `schema` are. `len` is the size of the file, which bounds what may come out of it.
    ///
    /// # Errors
    /// As [`kinds::roles`].
    pub(crate) fn new(
        file: &'a str,
        schema: &Schema,
        want: Want,
        options: &'a ReadOptions,
        len: u64,
    ) -> Result<Self, DataError> {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let kinds: Vec<Kind> = schema.fields().iter().map(|field| kind(field.data_type())).collect();
        let roles = kinds::roles(file, Some(&names), &kinds, want, options)?;
        let listed = schema.metadata().get(CLASS_NAMES).and_then(|text| serde_json::from_str(text).ok());
        Ok(Self {
            file,
            want,
            options,
            names,
            kinds,
            // Names that the metadata lists belong to the label column that was written, not to any other one.
            class_names: listed.filter(|_| want != Want::Features && options.label_column.is_none()),
            roles,
            widths: None,
            values: Vec::new(),
            labels: LabelColumn::default(),
            rows: 0,
            text: 0,
            len,
        })
    }

    /// The columns that are read, rising.
    pub(crate) fn projection(&self) -> Vec<usize> {
        let label = self.roles.label.filter(|_| self.want != Want::Features);
        let mut columns: Vec<usize> = self.roles.features.iter().copied().chain(label).collect();
        columns.sort_unstable();
        columns
    }

    /// Columns that hold text and are read.
    pub(crate) fn reads_text(&self, column: usize) -> bool {
        self.kinds[column] == Kind::Text
    }

    /// Appends the rows of a batch that has the columns of [`Assembler::projection`].
    ///
    /// # Errors
    /// Missing and ragged values, labels that are none, text beyond the allowance of the file.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        let projection = self.projection();
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let array = |column: usize| projection.binary_search(&column).ok().and_then(|at| batch.columns().get(at));
        let mut columns = Vec::with_capacity(self.roles.features.len());
        for &column in &self.roles.features {
            columns.push(self.column(column, array(column))?);
        }
        let widths: Vec<usize> = columns.iter().map(|column| column.width).collect();
        if let Some(before) = &self.widths {
            let differs = before.iter().zip(&widths).position(|(before, now)| before != now);
            if let Some(at) = differs {
                let name = shown(Some(&self.names), self.roles.features[at]);
                return Err(ragged(self.file, self.rows, name, widths[at], before[at]));
            }
        }
        let dim: usize = widths.iter().sum();
        let start = self.values.len();
        if dim > 0 {
            let size = (rows as u64).saturating_mul(dim as u64).saturating_mul(4);
            check_allowance(self.file, "a batch of rows", size, self.len)?;
            self.values.resize(start + rows * dim, 0.0);
        }
        let mut offset = 0;
        for column in &columns {
            if column.width > 0 {
                let out = self.values[start..].chunks_exact_mut(dim);
                for (out, values) in out.zip(column.values.chunks_exact(column.width)) {
                    out[offset..offset + column.width].copy_from_slice(values);
                }
            }
            offset += column.width;
        }
        if !self.options.keep_non_finite
            && let Some(at) = self.values[start..].iter().position(|value| !value.is_finite())
        {
            return Err(DataError::NonFinite {
                place: self.file.into(),
                row: self.rows + at / dim.max(1),
                column: at % dim.max(1),
                value: self.values[start + at].to_string(),
            });
        }
        self.widths = Some(widths);
        if let Some(label) = self.roles.label.filter(|_| self.want != Want::Features) {
            self.push_labels(label, array(label))?;
        }
        self.rows += rows;
        Ok(())
    }

    /// The rows so far, taken out, and the number of features.
    pub(crate) fn take(&mut self) -> (Rows, usize) {
        let dim = self.widths.iter().flatten().sum();
        let labels = std::mem::take(&mut self.labels).finish();
        let labels = (self.want != Want::Features).then_some(labels);
        (Rows { features: std::mem::take(&mut self.values), labels }, dim)
    }

    /// Names of the features, where they have some; known once a row was read.
    pub(crate) fn feature_names(&self) -> Option<Vec<String>> {
        kinds::feature_names(Some(&self.names), &self.roles.features, &self.kinds, self.widths.as_deref()?)
    }

    /// The table of all rows.
    ///
    /// # Errors
    /// [`DataError::Empty`] without rows, [`DataError::Shape`] without features.
    pub(crate) fn finish(mut self) -> Result<Table, DataError> {
        if self.rows == 0 {
            return Err(DataError::Empty { place: self.file.into(), what: "rows of data".into() });
        }
        let names = self.feature_names();
        let (rows, dim) = self.take();
        let features = match self.want {
            Want::Labels => None,
            _ => Some(Matrix::checked(self.file, rows.features, dim, names, true)?.into()),
        };
        Ok(Table { features, labels: rows.labels, class_names: self.class_names })
    }

    /// A column of features as numbers.
    fn column(&self, column: usize, array: Option<&ArrayRef>) -> Result<Column, DataError> {
        let name = || shown(Some(&self.names), column);
        let wrong = |found: &str| DataError::Unsupported {
            file: self.file.into(),
            at: format!("column {}", name()),
            found: found.into(),
            expected: "numbers or lists of numbers".into(),
        };
        let array = array.ok_or_else(|| wrong("a column that is not there"))?;
        let absent = |row: usize| missing(self.file, self.rows + row, name(), "a number");
        let keep = self.options.keep_non_finite;
        let number = |row: usize, value: Option<f64>| match value {
            Some(value) => Ok(value as f32),
            None if keep => Ok(f32::NAN),
            None => Err(absent(row)),
        };
        if self.kinds[column] == Kind::Number {
            let mut values = Vec::with_capacity(array.len());
            for (row, value) in numbers(array).ok_or_else(|| wrong("another type"))?.into_iter().enumerate() {
                values.push(number(row, value)?);
            }
            return Ok(Column { values, width: 1 });
        }
        let (flat, bounds) = lists(array).ok_or_else(|| wrong("another type"))?;
        let flat = numbers(&flat).ok_or_else(|| wrong("lists of another type"))?;
        // Missing lists say nothing about the length.
        let known = self
            .widths
            .as_ref()
            .and_then(|widths| self.roles.features.iter().position(|&feature| feature == column).map(|at| widths[at]));
        let first = (0..array.len()).find(|&row| array.is_valid(row)).map(|row| bounds[row].len());
        let width = known.or(first).unwrap_or(0);
        let mut values = Vec::new();
        for (row, bounds) in bounds.into_iter().enumerate() {
            if array.is_null(row) {
                if !keep {
                    return Err(absent(row));
                }
                values.extend(std::iter::repeat_n(f32::NAN, width));
                continue;
            }
            if bounds.len() != width {
                return Err(ragged(self.file, self.rows + row, name(), bounds.len(), width));
            }
            for &value in flat.get(bounds).unwrap_or_default() {
                values.push(number(row, value)?);
            }
        }
        Ok(Column { values, width })
    }

    fn push_labels(&mut self, column: usize, array: Option<&ArrayRef>) -> Result<(), DataError> {
        let name = shown(Some(&self.names), column);
        let wrong = || DataError::Unsupported {
            file: self.file.into(),
            at: format!("column {name}"),
            found: "another type as a label".into(),
            expected: "text, whole numbers or lists of whole numbers".into(),
        };
        let array = array.ok_or_else(wrong)?;
        let keep = self.options.keep_non_finite;
        let absent = |row: usize| missing(self.file, self.rows + row, name.clone(), "a label");
        match self.kinds[column] {
            Kind::Text => {
                let text = texts(array).ok_or_else(wrong)?;
                for row in 0..array.len() {
                    match text(row) {
                        Some(text) => {
                            self.text += text.len() as u64;
                            check_allowance(self.file, "the text of the labels", self.text, self.len)?;
                            self.labels.text(text);
                        }
                        None if keep => self.labels.text(""),
                        None => return Err(absent(row)),
                    }
                }
            }
            Kind::Numbers => {
                let (flat, bounds) = lists(array).ok_or_else(wrong)?;
                let flat = numbers(&flat).ok_or_else(wrong)?;
                for (row, bounds) in bounds.into_iter().enumerate() {
                    let ids: Option<Vec<f64>> = flat.get(bounds).unwrap_or_default().iter().copied().collect();
                    let ids = ids.filter(|_| array.is_valid(row)).ok_or_else(|| absent(row))?;
                    self.labels.set(self.file, &ids)?;
                }
            }
            _ => {
                for (row, value) in numbers(array).ok_or_else(wrong)?.into_iter().enumerate() {
                    match value {
                        Some(value) => self.labels.number(self.file, value)?,
                        None if keep => self.labels.text(""),
                        None => return Err(absent(row)),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Values `[rows, width]` of a column.
struct Column {
    values: Vec<f32>,
    width: usize,
}

fn kind(data_type: &DataType) -> Kind {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float16 | Float32 | Float64 => {
            Kind::Number
        }
        Utf8 | LargeUtf8 | Utf8View => Kind::Text,
        FixedSizeList(_, 0) => Kind::Other("a list without values".into()),
        List(item) | LargeList(item) | FixedSizeList(item, _) if kind(item.data_type()) == Kind::Number => {
            Kind::Numbers
        }
        Dictionary(_, value) if matches!(kind(value), Kind::Number | Kind::Text) => kind(value),
        other => {
            let text = other.to_string();
            Kind::Other(if text.len() > 40 { "a nested column".into() } else { format!("a column of {text}") })
        }
    }
}

/// The numbers of an array, `None` where they are missing.
fn numbers(array: &ArrayRef) -> Option<Vec<Option<f64>>> {
    fn plain<P: ArrowPrimitiveType>(array: &ArrayRef, to: impl Fn(P::Native) -> f64) -> Option<Vec<Option<f64>>> {
        let array = array.as_primitive_opt::<P>()?;
        if array.null_count() == 0 {
            return Some(array.values().iter().map(|&value| Some(to(value))).collect());
        }
        Some(array.iter().map(|value| value.map(&to)).collect())
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = numbers(dictionary.values())?;
        if values.is_empty() {
            return Some(vec![None; array.len()]);
        }
        let keys = dictionary.normalized_keys();
        let value = |(row, key): (usize, usize)| if array.is_valid(row) { values.get(key).copied()? } else { None };
        return Some(keys.into_iter().enumerate().map(value).collect());
    }
    match array.data_type() {
        DataType::Boolean => {
            Some(array.as_boolean_opt()?.iter().map(|value| value.map(|value| f64::from(u8::from(value)))).collect())
        }
        DataType::Int8 => plain::<Int8Type>(array, f64::from),
        DataType::Int16 => plain::<Int16Type>(array, f64::from),
        DataType::Int32 => plain::<Int32Type>(array, f64::from),
        DataType::Int64 => plain::<Int64Type>(array, |value| value as f64),
        DataType::UInt8 => plain::<UInt8Type>(array, f64::from),
        DataType::UInt16 => plain::<UInt16Type>(array, f64::from),
        DataType::UInt32 => plain::<UInt32Type>(array, f64::from),
        DataType::UInt64 => plain::<UInt64Type>(array, |value| value as f64),
        DataType::Float16 => plain::<Float16Type>(array, f64::from),
        DataType::Float32 => plain::<Float32Type>(array, f64::from),
        DataType::Float64 => plain::<Float64Type>(array, |value| value),
        _ => None,
    }
}

/// The values of lists, and where those of each row are.
fn lists(array: &ArrayRef) -> Option<(ArrayRef, Vec<std::ops::Range<usize>>)> {
    if let Some(list) = array.as_fixed_size_list_opt() {
        let width = usize::try_from(list.value_length()).ok()?;
        let bounds = (0..list.len()).map(|row| list.value_offset_at(row)..list.value_offset_at(row) + width);
        return Some((list.values().clone(), bounds.collect()));
    }
    let bounds = |offsets: Vec<usize>| offsets.windows(2).map(|pair| pair[0]..pair[1]).collect();
    if let Some(list) = array.as_list_opt::<i32>() {
        let offsets = list.value_offsets().iter().map(|&at| at as usize).collect();
        return Some((list.values().clone(), bounds(offsets)));
    }
    let list = array.as_list_opt::<i64>()?;
    let offsets = list.value_offsets().iter().map(|&at| at as usize).collect();
    Some((list.values().clone(), bounds(offsets)))
}

/// The texts of an array by row, `None` where they are missing.
fn texts<'a>(array: &'a ArrayRef) -> Option<Box<dyn Fn(usize) -> Option<&'a str> + 'a>> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = texts(dictionary.values())?;
        if dictionary.values().is_empty() {
            return Some(Box::new(|_| None));
        }
        let keys = dictionary.normalized_keys();
        return Some(Box::new(move |row| if array.is_valid(row) { values(keys[row]) } else { None }));
    }
    if let Some(strings) = array.as_string_opt::<i32>() {
        return Some(Box::new(move |row| strings.is_valid(row).then(|| strings.value(row))));
    }
    if let Some(strings) = array.as_string_opt::<i64>() {
        return Some(Box::new(move |row| strings.is_valid(row).then(|| strings.value(row))));
    }
    let strings = array.as_string_view_opt()?;
    Some(Box::new(move |row| strings.is_valid(row).then(|| strings.value(row))))
}

/// The error for what a crate's parser says about a file.
pub(super) fn broken(file: &str, at: &str, error: &dyn std::fmt::Display, expected: &str) -> DataError {
    DataError::Malformed {
        file: file.into(),
        at: at.into(),
        found: quoted(&error.to_string().chars().take(200).collect::<String>()),
        expected: expected.into(),
    }
}
