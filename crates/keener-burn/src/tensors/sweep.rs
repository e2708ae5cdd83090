//! Statistics with tensor operations, tile by tile: what comes to the host is one number a line and tile.

use super::mask::{Lines, belongs, mask, masked};
use super::matrix::Matrix;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use keener::engine::{Argument, Axis, Frozen, Map, Reduce, RowRule, SOFTPLUS_IS_EXP, Shaping, Stat, Statistic, Sweep};
use keener::real::Real;
use keener::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// Rows and columns of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileSize {
    /// Rows (default 1024).
    pub rows: usize,
    /// Columns (default 4096).
    pub cols: usize,
}

impl Default for TileSize {
    fn default() -> Self {
        Self { rows: 1024, cols: 4096 }
    }
}

/// Numbers of complete rows brought to the host at a time, for statistics that need whole rows.
const ROW_BLOCK: usize = 2 << 20;

/// Sweeps over tensors of any device.
pub(super) struct TensorSweep {
    pub(super) objective: &'static str,
    pub(super) matrices: Vec<Matrix>,
    pub(super) tile: TileSize,
    pub(super) device: Device,
    pub(super) report: Frozen<f32>,
}

pub(super) fn blocks(length: usize, size: usize) -> Vec<Range<usize>> {
    (0..length).step_by(size.max(1)).map(|from| from..(from + size.max(1)).min(length)).collect()
}

fn unreadable(e: crate::Error) -> Error {
    match e {
        crate::Error::Core(e) => e,
        other => Error::Unsupported { what: "reading a tile".into(), hint: other.to_string() },
    }
}

fn to_host(t: Tensor<2>) -> Result<Vec<f32>> {
    crate::attach::read(t, "a tile").map_err(unreadable)
}

/// `φ(u)` and, where it is not zero everywhere, `φ'(u)`.
pub(super) fn mapped(map: Map, u: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
    match map {
        Map::Identity => (u.clone(), Some(u.ones_like())),
        Map::Square => (u.clone().powi_scalar(2), Some(u * 2.0)),
        Map::Softplus => (softplus(u.clone()), Some(sigmoid(u))),
        Map::Hinge => (u.clone().clamp_min(0.0), Some(u.greater_scalar(0.0).float())),
        Map::Root => {
            let value = u.clone().clamp_min(0.0).sqrt();
            let slope = (value.clone() * 2.0).recip().mask_fill(u.lower_equal_scalar(0.0), 0.0);
            (value, Some(slope))
        }
        Map::Absolute => (u.clone().abs(), Some(u.sign())),
        Map::Expm1 => {
            let e = u.clone().exp();
            (expm1(u), Some(e))
        }
        Map::Ramp => {
            let inside = u.clone().greater_scalar(0.0).float() * u.clone().lower_scalar(1.0).float();
            (u.clamp(0.0, 1.0), Some(inside))
        }
        Map::One => (u.ones_like(), None),
        Map::Positive => (u.greater_scalar(0.0).float(), None),
    }
}

/// `s(u)`, the exponential that grows linearly, and its slope.
pub(super) fn linear_exp(u: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let below = u.clone().lower_scalar(0.0);
    let away = u.abs() + 1.0;
    let inverse = away.clone().recip();
    let slope = (inverse.clone() * inverse.clone()).mask_fill(below.clone().bool_not(), 1.0);
    (away.mask_where(below, inverse), slope)
}

/// `e^u − 1`, by its series where the difference would cancel.
fn expm1(u: Tensor<2>) -> Tensor<2> {
    let small = u.clone().abs().lower_scalar(0.05);
    // 1 + u/2 (1 + u/3 (1 + u/4 (1 + u/5))): the next term is below 3e-10 of the sum.
    let mut series = u.clone() * (1.0 / 5.0) + 1.0;
    for k in [4.0, 3.0, 2.0] {
        series = series * u.clone() * (1.0 / k) + 1.0;
    }
    (u.clone().exp() - 1.0).mask_where(small, series * u)
}

/// `ln(1 + e^x)`.
fn softplus(x: Tensor<2>) -> Tensor<2> {
    x.clone().clamp_min(0.0) + (x.abs() * -1.0).exp().log1p()
}

/// `scale · s + shift` of a complete row.
pub(super) fn at_row(argument: &Argument<f32>, row: usize, x: &[f32]) -> Vec<f32> {
    let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
    x.iter().map(|x| scale * x + shift).collect()
}

/// Running state of a line: peak, relative sum and expectation of a log-sum-exp; peak and relative sum of a linear one; mean, count
/// and squares of moments.
#[derive(Clone, Copy)]
struct Line {
    peak: f64,
    sum: f64,
    expected: f64,
}

impl TensorSweep {
    /// The matrices that a statistic reads; the first gives the shape.
    pub(super) fn matrices_of(&self, statistic: &Statistic<f32>) -> Result<Vec<usize>> {
        statistic.check_shaping(self.objective)?;
        let mut used = vec![statistic.argument.matrix];
        used.extend(statistic.argument.minus);
        if let Reduce::LogSumExp { expect: Some(expect) } = &statistic.reduce {
            used.push(expect.matrix);
            used.extend(expect.minus);
        }
        let shape = |m: &usize| self.matrices.get(*m).map(|m| (m.rows, m.cols));
        if used.iter().any(|m| shape(m).is_none() || shape(m) != shape(&used[0])) {
            return Err(Error::Unsupported {
                what: format!("a statistic of {} over matrices {used:?} of unlike shapes", self.objective),
                hint: "read one shape at a time".into(),
            });
        }
        used.sort_unstable();
        used.dedup();
        Ok(used)
    }

    /// What an argument sees of rows `r` of a tile, before scale and shift.
    pub(super) fn seen(&self, tiles: &[Option<Tensor<2>>], argument: &Argument<f32>, r: &Range<usize>) -> Tensor<2> {
        self.shaped(&argument.shaping, Self::raw(tiles, argument), r).0
    }

    /// `g(x)` and, where it is not 1 everywhere, `g'(x)`.
    pub(super) fn shaped(
        &self,
        shaping: &Shaping<f32>,
        x: Tensor<2>,
        r: &Range<usize>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let Shaping::Softplus { anchor } = shaping else { return (x, None) };
        if r.clone().all(|row| anchor.at(row) == 0.0) {
            return (softplus(x.clone()), Some(sigmoid(x)));
        }
        let column = |f: &dyn Fn(f32) -> f32| {
            let values: Vec<f32> = r.clone().map(|row| f(anchor.at(row))).collect();
            Tensor::<2>::from_data(TensorData::new(values, [r.len(), 1]), &self.device)
        };
        // Only entries above the limit use the factor, and their rows' anchors are above it too.
        let limit = SOFTPLUS_IS_EXP as f32;
        let factor = column(&|a| (-a.max(limit)).exp());
        let far = x.clone().lower_scalar(limit);
        let e = (x.clone() - column(&|a| a)).clamp_max(1.0).exp();
        let value = (softplus(x.clone()) * factor.clone()).mask_where(far.clone(), e.clone());
        (value, Some((sigmoid(x) * factor).mask_where(far, e)))
    }

    /// The same before shaping.
    pub(super) fn raw(tiles: &[Option<Tensor<2>>], argument: &Argument<f32>) -> Tensor<2> {
        let of = |m: usize| tiles[m].clone().unwrap_or_else(|| Tensor::zeros([0, 0], &Device::flex()));
        match argument.minus {
            None => of(argument.matrix),
            Some(minus) => of(argument.matrix) - of(minus),
        }
    }

    fn fold_sum(
        &self,
        s: &Statistic<f32>,
        r: &Range<usize>,
        c: &Range<usize>,
        x: Tensor<2>,
        stat: &mut [Vec<f64>; 3],
    ) -> Result<()> {
        let Reduce::Sum { map, moments } = &s.reduce else { return Ok(()) };
        let lines = |values| Lines::of(values, s.axis, r, c, &self.device);
        let keep = mask(&s.set, s.axis, r, c, &x);
        let u = lines(&s.argument.shift).plus(lines(&s.argument.scale).times(x.clone()));
        let (value, slope) = mapped(*map, u);
        let along = if s.axis == Axis::Rows { 1 } else { 0 };
        let reduce = |t: Tensor<2>| masked(t, &keep, 0.0).sum_dim(along).reshape([1, -1]);
        let mut parts = vec![reduce(value)];
        if let (true, Some(slope)) = (*moments, slope) {
            parts.push(reduce(slope.clone()));
            parts.push(reduce(slope * x));
        }
        let first = if s.axis == Axis::Rows { r.start } else { c.start };
        let width = if s.axis == Axis::Rows { r.len() } else { c.len() };
        for (into, part) in stat.iter_mut().zip(to_host(Tensor::cat(parts, 0))?.chunks_exact(width)) {
            into[first..].iter_mut().zip(part).for_each(|(a, b)| *a += f64::from(*b));
        }
        Ok(())
    }

    fn fold_lse(
        &self,
        s: &Statistic<f32>,
        r: &Range<usize>,
        c: &Range<usize>,
        tiles: &[Option<Tensor<2>>],
        lines: &mut [Line],
    ) -> Result<()> {
        let Reduce::LogSumExp { expect } = &s.reduce else { return Ok(()) };
        let numbers = |values| Lines::of(values, s.axis, r, c, &self.device);
        let x = self.seen(tiles, &s.argument, r);
        let keep = mask(&s.set, s.axis, r, c, &x);
        let u = masked(numbers(&s.argument.scale).times(x), &keep, f32::NEG_INFINITY);
        let along = if s.axis == Axis::Rows { 1 } else { 0 };
        // A floor keeps −∞ − −∞ away; an empty line keeps the sum 0.
        let peak = u.clone().max_dim(along).clamp_min(f32::MIN);
        let e = (u - peak.clone()).exp();
        let mut parts = vec![peak.reshape([1, -1]), e.clone().sum_dim(along).reshape([1, -1])];
        if let Some(expect) = expect {
            let g = numbers(&expect.shift).plus(numbers(&expect.scale).times(self.seen(tiles, expect, r)));
            parts.push((e * g).sum_dim(along).reshape([1, -1]));
        }
        let first = if s.axis == Axis::Rows { r.start } else { c.start };
        let width = if s.axis == Axis::Rows { r.len() } else { c.len() };
        let found = to_host(Tensor::cat(parts, 0))?;
        for (k, line) in lines[first..first + width].iter_mut().enumerate() {
            let (peak, sum) = (f64::from(found[k]), f64::from(found[width + k]));
            if sum == 0.0 {
                continue;
            }
            let top = line.peak.max(peak);
            let (a, b) = ((line.peak - top).exp(), (peak - top).exp());
            line.sum = line.sum * a + sum * b;
            if expect.is_some() {
                line.expected = line.expected * a + f64::from(found[2 * width + k]) * b;
            }
            line.peak = top;
        }
        Ok(())
    }

    /// `ln Σ s(u)` of rows, relative to the largest `s` of the tile.
    fn fold_linear(
        &self,
        s: &Statistic<f32>,
        r: &Range<usize>,
        c: &Range<usize>,
        x: Tensor<2>,
        lines: &mut [Line],
    ) -> Result<()> {
        let numbers = |values| Lines::of(values, s.axis, r, c, &self.device);
        let keep = mask(&s.set, s.axis, r, c, &x);
        let u = numbers(&s.argument.shift).plus(numbers(&s.argument.scale).times(x));
        let peak = masked(u.clone(), &keep, f32::NEG_INFINITY).max_dim(1).clamp_min(f32::MIN);
        let unit = linear_exp(peak.clone() * -1.0).0;
        let sum = (masked(linear_exp(u).0, &keep, 0.0) * unit).sum_dim(1);
        let found = to_host(Tensor::cat(vec![peak.reshape([1, -1]), sum.reshape([1, -1])], 0))?;
        for (k, line) in lines[r.clone()].iter_mut().enumerate() {
            let (peak, sum) = (f64::from(found[k]), f64::from(found[r.len() + k]));
            if sum > 0.0 {
                let top = line.peak.max(peak);
                let relative = |peak: f64| keener::real::linear_exp(peak) * keener::real::linear_exp(-top);
                line.sum = line.sum * relative(line.peak) + sum * relative(peak);
                line.peak = top;
            }
        }
        Ok(())
    }

    /// Mean and squares of rows, about the tile's own mean.
    fn fold_moments(
        &self,
        s: &Statistic<f32>,
        r: &Range<usize>,
        c: &Range<usize>,
        x: Tensor<2>,
        lines: &mut [Line],
    ) -> Result<()> {
        let keep = mask(&s.set, s.axis, r, c, &x);
        let sum = |t: Tensor<2>| masked(t, &keep, 0.0).sum_dim(1);
        let count = sum(x.ones_like());
        let first = x.clone().slice([0..r.len(), 0..1]);
        let centre = first.clone() + sum(x.clone() - first) / count.clone().clamp_min(1.0);
        let away = x - centre.clone();
        let parts = [count, centre, sum(away.clone()), sum(away.powi_scalar(2))].map(|t| t.reshape([1, -1]));
        let found = to_host(Tensor::cat(parts.to_vec(), 0))?;
        let n = r.len();
        for (k, line) in lines[r.clone()].iter_mut().enumerate() {
            let at = |part: usize| f64::from(found[part * n + k]);
            let (count, centre, rest, squares) = (at(0), at(1), at(2), at(3));
            if count > 0.0 {
                let row = r.start + k;
                let (scale, shift) = (f64::from(s.argument.scale.at(row)), f64::from(s.argument.shift.at(row)));
                let mean = scale * (centre + rest / count) + shift;
                let squares = scale * scale * (squares - rest * rest / count).max(0.0);
                let (total, delta) = (line.sum + count, mean - line.peak);
                line.expected += squares + delta * delta * (line.sum * count / total);
                line.peak += delta * (count / total);
                line.sum = total;
            }
        }
        Ok(())
    }

    fn gather(&self, s: &Statistic<f32>) -> Result<Stat<f32>> {
        let Reduce::Gather(lists) = &s.reduce else { return Ok(Stat::default()) };
        let (mut rows, mut values) = (Vec::with_capacity(lists.len()), Vec::with_capacity(lists.len()));
        for row in 0..lists.rows() {
            rows.extend(std::iter::repeat_n(row as u32, lists.row(row).len()));
        }
        for part in blocks(rows.len(), self.tile.rows * 16) {
            let (r, c) = (&rows[part.clone()], &lists.columns[part]);
            let mut found = self.matrices[s.argument.matrix].entries(r, c);
            if let Some(minus) = s.argument.minus {
                found = found - self.matrices[minus].entries(r, c);
            }
            let found = crate::attach::read(found, "entries").map_err(unreadable)?;
            let at =
                |(row, x): (&u32, f32)| s.argument.scale.at(*row as usize) * x + s.argument.shift.at(*row as usize);
            values.extend(r.iter().zip(found).map(at));
        }
        Ok(Stat { values, ..Stat::default() })
    }

    /// Rows whose complete scores fit the host's share.
    pub(super) fn rows_at_once(&self, cols: usize) -> usize {
        (ROW_BLOCK / cols.max(1)).clamp(1, self.tile.rows)
    }

    /// The complete rows `r` of raw scores on the host, row-major.
    pub(super) fn host_block(&self, argument: &Argument<f32>, r: &Range<usize>) -> Result<Vec<f32>> {
        let cols = self.matrices[argument.matrix].cols;
        let mut block = vec![0.0; r.len() * cols];
        for c in blocks(cols, self.tile.cols) {
            let mut tile = self.matrices[argument.matrix].tile(r, &c);
            if let Some(minus) = argument.minus {
                tile = tile - self.matrices[minus].tile(r, &c);
            }
            for (line, part) in block.chunks_exact_mut(cols).zip(to_host(tile)?.chunks_exact(c.len())) {
                line[c.clone()].copy_from_slice(part);
            }
        }
        Ok(block)
    }

    /// Complete rows of raw scores on the host, block after block.
    fn host_rows(&self, argument: &Argument<f32>, visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let (rows, cols) = (self.matrices[argument.matrix].rows, self.matrices[argument.matrix].cols);
        for r in blocks(rows, self.rows_at_once(cols)) {
            let block = self.host_block(argument, &r)?;
            for (k, line) in block.chunks_exact(cols.max(1)).enumerate() {
                visit(r.start + k, line);
            }
        }
        Ok(())
    }

    /// Every entry, row by row.
    fn entries(&self, s: &Statistic<f32>) -> Result<Stat<f32>> {
        let mut values = Vec::new();
        self.host_rows(&s.argument, &mut |row, x| values.extend(at_row(&s.argument, row, x)))?;
        Ok(Stat { values, ..Stat::default() })
    }

    /// What a rule makes of complete rows.
    fn ruled(&self, s: &Statistic<f32>, rule: &dyn RowRule<f32>) -> Result<Stat<f32>> {
        let rows = self.matrices[s.argument.matrix].rows;
        let (mut values, mut slope) = (vec![0.0; rows], vec![0.0; rows]);
        self.host_rows(&s.argument, &mut |row, x| {
            (values[row], slope[row]) = rule.value(row, &at_row(&s.argument, row, x));
        })?;
        Ok(Stat { values, slope, ..Stat::default() })
    }

    /// Top-k and k-th largest, from complete rows.
    fn largest(&self, s: &Statistic<f32>) -> Result<Stat<f32>> {
        let rows = self.matrices[s.argument.matrix].rows;
        let width = if let Reduce::TopK(k) = s.reduce { k } else { 1 };
        let mut stat = Stat { values: vec![f32::NEG_INFINITY; rows * width], ..Stat::default() };
        if let Reduce::TopK(k) = s.reduce {
            stat.columns = vec![u32::MAX; rows * k];
        }
        self.host_rows(&s.argument, &mut |row, x| {
            let (scale, shift) = (s.argument.scale.at(row), s.argument.shift.at(row));
            let inside = x.iter().enumerate().filter(|(col, x)| belongs(&s.set, row, *col, **x));
            let mut found: Vec<(f32, u32)> = inside.map(|(col, x)| (scale * x + shift, col as u32)).collect();
            found.retain(|(u, _)| *u != f32::NEG_INFINITY);
            found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            match &s.reduce {
                Reduce::TopK(k) => {
                    for (at, (value, column)) in found.into_iter().take(*k).enumerate() {
                        stat.values[row * k + at] = value;
                        stat.columns[row * k + at] = column;
                    }
                }
                Reduce::KthLargest(ks) => {
                    let k = ks[row] as usize;
                    if let Some((value, _)) = k.checked_sub(1).and_then(|at| found.get(at)) {
                        stat.values[row] = *value;
                    }
                }
                _ => {}
            }
        })?;
        Ok(stat)
    }

    /// Log-sum-exps and sums of one shape, each tile computed once.
    fn tiled(&self, wanted: &[&Statistic<f32>]) -> Result<Vec<Stat<f32>>> {
        let mut used = Vec::new();
        for s in wanted {
            used.extend(self.matrices_of(s)?);
        }
        let Some(first) = used.first().map(|m| &self.matrices[*m]) else { return Ok(Vec::new()) };
        let length = |s: &Statistic<f32>| if s.axis == Axis::Rows { first.rows } else { first.cols };
        let start = |s: &Statistic<f32>| Line {
            peak: if matches!(s.reduce, Reduce::Moments) { 0.0 } else { f64::NEG_INFINITY },
            sum: 0.0,
            expected: 0.0,
        };
        let mut lines: Vec<Vec<Line>> = wanted.iter().map(|s| vec![start(s); length(s)]).collect();
        let mut sums: Vec<[Vec<f64>; 3]> =
            wanted.iter().map(|s| std::array::from_fn(|_| vec![0.0; length(s)])).collect();
        for r in blocks(first.rows, self.tile.rows) {
            for c in blocks(first.cols, self.tile.cols) {
                let tile = |(k, m): (usize, &Matrix)| used.contains(&k).then(|| m.tile(&r, &c));
                let tiles: Vec<Option<Tensor<2>>> = self.matrices.iter().enumerate().map(tile).collect();
                for (k, s) in wanted.iter().enumerate() {
                    match s.reduce {
                        Reduce::LogSumExp { .. } => self.fold_lse(s, &r, &c, &tiles, &mut lines[k])?,
                        Reduce::LogSumLinear => {
                            self.fold_linear(s, &r, &c, self.seen(&tiles, &s.argument, &r), &mut lines[k])?;
                        }
                        Reduce::Moments => {
                            self.fold_moments(s, &r, &c, self.seen(&tiles, &s.argument, &r), &mut lines[k])?;
                        }
                        _ => self.fold_sum(s, &r, &c, self.seen(&tiles, &s.argument, &r), &mut sums[k])?,
                    }
                }
            }
        }
        let finish = |((s, lines), sums): ((&&Statistic<f32>, Vec<Line>), [Vec<f64>; 3])| match &s.reduce {
            Reduce::LogSumExp { expect } => Stat {
                values: lines
                    .iter()
                    .enumerate()
                    .map(|(at, l)| match l.sum > 0.0 {
                        true => (l.peak + l.sum.ln() + f64::from(s.argument.shift.at(at))) as f32,
                        false => f32::NEG_INFINITY,
                    })
                    .collect(),
                expectation: match expect {
                    None => Vec::new(),
                    Some(_) => {
                        lines.iter().map(|l| if l.sum > 0.0 { (l.expected / l.sum) as f32 } else { 0.0 }).collect()
                    }
                },
                ..Stat::default()
            },
            Reduce::LogSumLinear => Stat {
                values: lines
                    .iter()
                    .map(|l| match l.sum > 0.0 {
                        true => (keener::real::ln_linear_exp(l.peak) + l.sum.ln()) as f32,
                        false => f32::NEG_INFINITY,
                    })
                    .collect(),
                ..Stat::default()
            },
            Reduce::Moments => Stat {
                values: lines.iter().map(|l| l.peak as f32).collect(),
                expectation: lines.iter().map(|l| (l.expected / l.sum.max(1.0)) as f32).collect(),
                slope: lines.iter().map(|l| l.sum as f32).collect(),
                ..Stat::default()
            },
            Reduce::Sum { moments, .. } => {
                let [values, slope, moment] = sums.map(|v| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>());
                match moments {
                    true => Stat { values, slope, moment, ..Stat::default() },
                    false => Stat { values, ..Stat::default() },
                }
            }
            _ => Stat::default(),
        };
        Ok(wanted.iter().zip(lines).zip(sums).map(finish).collect())
    }
}

impl Sweep<f32> for TensorSweep {
    fn shape(&self, matrix: usize) -> (usize, usize) {
        self.matrices.get(matrix).map_or((0, 0), |m| (m.rows, m.cols))
    }

    fn sweep(&mut self, statistics: &[Statistic<f32>]) -> Result<Vec<Arc<Stat<f32>>>> {
        let mut results: Vec<Stat<f32>> = vec![Stat::default(); statistics.len()];
        let mut shapes: Vec<((usize, usize), Vec<usize>)> = Vec::new();
        for (k, s) in statistics.iter().enumerate() {
            let first = self.matrices_of(s)?[0];
            match &s.reduce {
                Reduce::Gather(_) => results[k] = self.gather(s)?,
                Reduce::Rule(rule) => results[k] = self.ruled(s, &**rule)?,
                Reduce::Entries => results[k] = self.entries(s)?,
                Reduce::TopK(_) | Reduce::KthLargest(_) => results[k] = self.largest(s)?,
                _ => {
                    let shape = self.shape(first);
                    match shapes.iter_mut().find(|(of, _)| *of == shape) {
                        Some((_, items)) => items.push(k),
                        None => shapes.push((shape, vec![k])),
                    }
                }
            }
        }
        for (_, items) in shapes {
            let wanted: Vec<&Statistic<f32>> = items.iter().map(|k| &statistics[*k]).collect();
            for (k, stat) in items.iter().zip(self.tiled(&wanted)?) {
                results[*k] = stat;
            }
        }
        Ok(results.into_iter().map(Arc::new).collect())
    }

    fn order_statistics(
        &mut self,
        over: &Statistic<f32>,
        ranks: &mut dyn FnMut(usize) -> Vec<usize>,
    ) -> Result<(usize, Vec<f32>)> {
        self.matrices_of(over)?;
        // By radix: one pass counts the upper half of the ordered keys, another the lower halves of those wanted.
        let mut upper = vec![0u64; 1 << 16];
        let keys = |visit: &mut dyn FnMut(u64)| {
            self.host_rows(&over.argument, &mut |row, x| {
                let inside = x.iter().enumerate().filter(|(col, x)| belongs(&over.set, row, *col, **x));
                inside.for_each(|(_, x)| visit(x.ordered_key()));
            })
        };
        keys(&mut |key| upper[(key >> 16) as usize] += 1)?;
        let total = upper.iter().sum::<u64>() as usize;
        let ranks = ranks(total);
        if let Some(rank) = ranks.iter().find(|r| **r >= total) {
            return Err(Error::Undefined {
                what: format!("order statistic {rank} in {}", self.objective),
                reason: format!("the set has {total} entries"),
            });
        }
        let find = |counts: &[u64], mut rank: u64| {
            let mut bin = 0;
            while rank >= counts[bin] {
                rank -= counts[bin];
                bin += 1;
            }
            (bin as u64, rank)
        };
        let found: Vec<(u64, u64)> = ranks.iter().map(|r| find(&upper, *r as u64)).collect();
        let mut prefixes: Vec<u64> = found.iter().map(|(bin, _)| *bin).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut lower = vec![vec![0u64; 1 << 16]; prefixes.len()];
        keys(&mut |key| {
            if let Ok(which) = prefixes.binary_search(&(key >> 16)) {
                lower[which][(key & 0xffff) as usize] += 1;
            }
        })?;
        let (scale, shift) = (over.argument.scale.at(0), over.argument.shift.at(0));
        let value = |(prefix, rank): &(u64, u64)| {
            let which = prefixes.binary_search(prefix).unwrap_or(0);
            let (bin, _) = find(&lower[which], *rank);
            scale * f32::from_ordered_key((prefix << 16) | bin) + shift
        };
        Ok((total, found.iter().map(value).collect()))
    }

    fn visit_rows(&mut self, matrix: usize, visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        self.host_rows(&Argument::of(matrix), visit)
    }

    fn freeze(&mut self, name: &'static str, value: Vec<f32>) -> Vec<f32> {
        self.report.push((name, value.clone()));
        value
    }

    fn report(&mut self, name: &'static str, value: Vec<f32>) {
        self.report.push((name, value));
    }
}
