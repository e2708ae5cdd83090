//! Checks at the door and row-wise sums shared by the metrics.

use crate::real::Real;
use crate::{Error, Result};
use rayon::prelude::*;

/// Rows handled by one task: fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 256;

/// How far probabilities may leave `[0, 1]`, and a row's sum may miss 1: room for half precision, not for logits.
const PROBABILITY_SLACK: f64 = 1e-2;

/// Number of rows of a matrix with `columns` columns; at least one.
pub(super) fn count(what: &str, length: usize, columns: usize) -> Result<usize> {
    if columns == 0 || length == 0 || !length.is_multiple_of(columns) {
        let expected = match columns {
            0 => "at least one column".to_string(),
            _ => format!("[n, {columns}] with n ≥ 1, that is a multiple of {columns} elements"),
        };
        return Err(Error::shape(what, &[length], expected));
    }
    Ok(length / columns)
}

/// Refuses the first NaN or infinity.
pub(super) fn finite<T: Real>(what: &str, data: &[T], columns: usize) -> Result<()> {
    match data.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(non_finite(what, data[at], at / columns, at % columns)),
    }
}

/// The error for one non-finite value.
pub(super) fn non_finite<T: Real>(what: &str, value: T, row: usize, column: usize) -> Error {
    Error::NonFinite { what: what.to_string(), value: value.to_string(), row, column }
}

/// Number of rows of a finite matrix with `columns` columns.
pub(super) fn matrix<T: Real>(what: &str, data: &[T], columns: usize) -> Result<usize> {
    let rows = count(what, data.len(), columns)?;
    finite(what, data, columns)?;
    Ok(rows)
}

/// One entry a row.
pub(super) fn same_length(what: &str, length: usize, rows: usize) -> Result<()> {
    if length != rows {
        return Err(Error::shape(what, &[length], format!("[{rows}], one entry per row")));
    }
    Ok(())
}

/// One label a row, each in `0..classes`.
pub(super) fn labels(what: &str, labels: &[usize], rows: usize, classes: usize) -> Result<()> {
    same_length(what, labels.len(), rows)?;
    match labels.iter().position(|&label| label >= classes) {
        None => Ok(()),
        Some(row) => Err(Error::Label { label: i64::try_from(labels[row]).unwrap_or(i64::MAX), row, classes }),
    }
}

/// Number of rows of a matrix of probabilities: each in `[0, 1]`, each row summing to one.
pub(super) fn probabilities<T: Real>(data: &[T], classes: usize) -> Result<usize> {
    let rows = matrix("probabilities", data, classes)?;
    for (row, values) in data.chunks_exact(classes).enumerate() {
        let outside = |p: &&T| p.f64() < -PROBABILITY_SLACK || p.f64() > 1.0 + PROBABILITY_SLACK;
        if let Some(p) = values.iter().find(outside) {
            return Err(Error::parameter(format!("probability at row {row}"), p, "a number in [0, 1]"));
        }
        let sum: f64 = values.iter().map(|p| p.f64()).sum();
        if (sum - 1.0).abs() > PROBABILITY_SLACK {
            return Err(Error::parameter(format!("sum of probabilities at row {row}"), sum, "1"));
        }
    }
    Ok(rows)
}

/// A parameter that must be a positive finite number.
pub(super) fn positive(name: &str, value: f64) -> Result<()> {
    if !(value.is_finite() && value > 0.0) {
        return Err(Error::parameter(name, value, "a finite number > 0"));
    }
    Ok(())
}

/// Index of the greatest value, the lowest one on ties.
pub(super) fn argmax<T: Real>(row: &[T]) -> usize {
    let mut best = 0;
    for (k, &value) in row.iter().enumerate().skip(1) {
        if value > row[best] {
            best = k;
        }
    }
    best
}

/// `log Σ exp(row)`, exact for rows that hold `-inf`.
pub(super) fn log_sum_exp<T: Real>(row: &[T]) -> f64 {
    let max = row[argmax(row)].f64();
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + row.iter().map(|&x| (x.f64() - max).exp()).sum::<f64>().ln()
}

/// `Σ f(row)` over `rows`, in parallel and independent of the number of threads.
pub(super) fn sum<const K: usize>(rows: usize, f: impl Fn(usize) -> [f64; K] + Sync) -> [f64; K] {
    let add = |mut a: [f64; K], b: [f64; K]| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    let parts: Vec<[f64; K]> = (0..rows.div_ceil(CHUNK))
        .into_par_iter()
        .map(|c| (c * CHUNK..rows.min((c + 1) * CHUNK)).map(&f).fold([0.0; K], add))
        .collect();
    parts.into_iter().fold([0.0; K], add)
}

/// Euclidean norm of a row in `f64`, without overflow or underflow on the way.
pub(super) fn norm<T: Real>(row: &[T]) -> f64 {
    let plain: f64 = row.iter().map(|x| x.f64() * x.f64()).sum();
    if (1e-280..1e300).contains(&plain) {
        return plain.sqrt();
    }
    let scale = row.iter().fold(0.0f64, |m, x| m.max(x.f64().abs()));
    if scale == 0.0 {
        return 0.0;
    }
    scale * row.iter().map(|x| (x.f64() / scale).powi(2)).sum::<f64>().sqrt()
}

/// The error for a row of norm zero where a direction is needed.
pub(super) fn no_direction(what: &str, row: usize) -> Error {
    Error::Undefined { what: format!("direction of row {row} of the {what}"), reason: "its norm is zero".to_string() }
}

/// Divides each row by its norm; the norms come along. A zero row has no direction and is an error.
pub(super) fn normalised<T: Real>(what: &str, data: &[T], columns: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut unit = Vec::with_capacity(data.len());
    let mut norms = Vec::with_capacity(data.len() / columns);
    for (i, row) in data.chunks_exact(columns).enumerate() {
        let length = norm(row);
        if length == 0.0 {
            return Err(no_direction(what, i));
        }
        unit.extend(row.iter().map(|x| x.f64() / length));
        norms.push(length);
    }
    Ok((unit, norms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_say_where() {
        assert!(matches!(count("x", 7, 3), Err(Error::Shape { .. })));
        assert!(matches!(count("x", 0, 3), Err(Error::Shape { .. })));
        assert!(matches!(count("x", 3, 0), Err(Error::Shape { .. })));
        let bad = [1.0f32, 2.0, 3.0, f32::NAN, 1.0, 1.0];
        assert!(matches!(matrix("x", &bad, 2), Err(Error::NonFinite { row: 1, column: 1, .. })));
        assert_eq!(labels("y", &[0, 4], 2, 4), Err(Error::Label { label: 4, row: 1, classes: 4 }));
        assert!(matches!(labels("y", &[0], 2, 4), Err(Error::Shape { .. })));
        assert!(probabilities(&[0.5f64, 0.5, 0.9, 0.3], 2).is_err());
        assert!(probabilities(&[0.5f64, 0.5, 1.5, -0.5], 2).is_err());
        assert_eq!(probabilities(&[0.5f64, 0.5, 0.9, 0.1], 2), Ok(2));
    }

    #[test]
    fn norms_and_sums_survive_extremes() {
        for scale in [1.0, 1e200, 1e-200] {
            assert!((norm(&[3.0 * scale, 4.0 * scale]) / scale - 5.0).abs() < 1e-14);
        }
        assert_eq!(norm(&[0.0f32; 3]), 0.0);
        assert!((log_sum_exp(&[1e4f64, 1e4]) - 1e4 - 2f64.ln()).abs() < 1e-12);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert_eq!(sum(1000, |i| [i as f64, 1.0]), [499_500.0, 1000.0]);
    }
}
