//! From terms to gradients: each tile of scores becomes a tile of ∂loss/∂score and is folded into the inputs' gradients.

use super::mask::{Lines, mask, masked};
use super::matrix::{Buffers, Matrix};
use super::sweep::{TensorSweep, at_row, blocks, linear_exp, mapped};
use burn::tensor::{Tensor, TensorData};
use keener::Result;
use keener::engine::{Argument, Map, PerLine, Reduce, Term};
use std::ops::Range;

/// Tiles of ∂loss/∂score, one a matrix.
struct Tiles(Vec<Option<Tensor<2>>>);

impl Tiles {
    fn add(&mut self, matrix: usize, part: Tensor<2>) {
        let old = self.0[matrix].take();
        self.0[matrix] = Some(match old {
            None => part,
            Some(sum) => sum + part,
        });
    }

    /// Adds to the matrices of an argument, the subtracted one with the other sign.
    fn through(&mut self, argument: &Argument<f32>, part: Tensor<2>) {
        if let Some(minus) = argument.minus {
            self.add(minus, part.clone() * -1.0);
        }
        self.add(argument.matrix, part);
    }
}

impl TensorSweep {
    /// Gradients of every matrix, folded but not finished. `wants`: queries, candidates, given scores.
    pub(super) fn gradients(
        &mut self,
        terms: &[Term<f32>],
        wants: impl Fn(&Matrix) -> [bool; 3],
    ) -> Result<Vec<Buffers>> {
        // Rules and entries want complete rows on the host: as many at once as fit.
        if let Some(cols) = terms.iter().filter_map(|t| self.ruled_columns(t)).max() {
            self.tile.rows = self.rows_at_once(cols);
        }
        let row_blocks = |m: &Matrix| blocks(m.rows, self.tile.rows).len();
        let col_blocks = |m: &Matrix| blocks(m.cols, self.tile.cols).len();
        let mut buffers: Vec<Buffers> =
            self.matrices.iter().map(|m| m.buffers(row_blocks(m), col_blocks(m), wants(m))).collect();
        let mut shapes: Vec<((usize, usize), Vec<&Term<f32>>)> = Vec::new();
        for term in terms {
            let first = &self.matrices[self.matrices_of(&term.statistic)?[0]];
            match &term.statistic.reduce {
                Reduce::KthLargest(_) => {}
                Reduce::Gather(_) | Reduce::TopK(_) => list(term, &mut buffers),
                _ => {
                    let shape = (first.rows, first.cols);
                    match shapes.iter_mut().find(|(of, _)| *of == shape) {
                        Some((_, terms)) => terms.push(term),
                        None => shapes.push((shape, vec![term])),
                    }
                }
            }
        }
        for ((rows, cols), terms) in shapes {
            let mut used = Vec::new();
            for term in &terms {
                used.extend(self.matrices_of(&term.statistic)?);
            }
            for (rb, r) in blocks(rows, self.tile.rows).iter().enumerate() {
                let ruled = terms.iter().map(|t| self.rule_rows(t, r)).collect::<Result<Vec<_>>>()?;
                for (cb, c) in blocks(cols, self.tile.cols).iter().enumerate() {
                    let tile = |(k, m): (usize, &Matrix)| used.contains(&k).then(|| m.tile(r, c));
                    let tiles: Vec<Option<Tensor<2>>> = self.matrices.iter().enumerate().map(tile).collect();
                    let mut h = Tiles(vec![None; self.matrices.len()]);
                    for (term, rows) in terms.iter().zip(&ruled) {
                        match rows {
                            None => self.derivative(term, r, c, &tiles, &mut h),
                            Some(rows) => {
                                let part: Vec<f32> =
                                    rows.chunks_exact(cols).flat_map(|line| &line[c.clone()]).copied().collect();
                                let data = TensorData::new(part, [r.len(), c.len()]);
                                h.through(&term.statistic.argument, Tensor::from_data(data, &self.device));
                            }
                        }
                    }
                    for (k, h) in h.0.into_iter().enumerate() {
                        // Given scores are put together from all of their tiles.
                        let h = match h {
                            None if used.contains(&k) && buffers[k].wants_left => {
                                Some(Tensor::zeros([r.len(), c.len()], &self.device))
                            }
                            other => other,
                        };
                        if let Some(h) = h {
                            self.matrices[k].fold(&mut buffers[k], (rb, r), (cb, c), h);
                        }
                    }
                }
            }
        }
        Ok(buffers)
    }

    /// Columns of the matrix whose complete rows a term looks at.
    fn ruled_columns(&self, term: &Term<f32>) -> Option<usize> {
        let matrix = self.matrices.get(term.statistic.argument.matrix)?;
        matches!(term.statistic.reduce, Reduce::Rule(_) | Reduce::Entries).then_some(matrix.cols)
    }

    /// ∂loss/∂score of the complete rows `r` of a term over rules or entries; `None` for other terms.
    fn rule_rows(&self, term: &Term<f32>, r: &Range<usize>) -> Result<Option<Vec<f32>>> {
        let argument = &term.statistic.argument;
        let rule = match &term.statistic.reduce {
            Reduce::Rule(rule) => rule,
            Reduce::Entries => {
                let cols = self.matrices[argument.matrix].cols;
                let weights = &term.weight[r.start * cols..r.end * cols];
                let scaled = weights.chunks_exact(cols.max(1)).zip(r.clone()).flat_map(|(line, row)| {
                    let scale = argument.scale.at(row);
                    line.iter().map(move |w| w * scale)
                });
                return Ok(Some(scaled.collect()));
            }
            _ => return Ok(None),
        };
        let mut block = self.host_block(argument, r)?;
        let cols = self.matrices[argument.matrix].cols;
        for (line, row) in block.chunks_exact_mut(cols.max(1)).zip(r.clone()) {
            let u = at_row(argument, row, line);
            line.fill(0.0);
            rule.derivative(row, &u, term.weight[row] * argument.scale.at(row), line);
        }
        Ok(Some(block))
    }

    fn derivative(
        &self,
        term: &Term<f32>,
        r: &Range<usize>,
        c: &Range<usize>,
        tiles: &[Option<Tensor<2>>],
        h: &mut Tiles,
    ) {
        let s = &term.statistic;
        let lines = |values: &PerLine<f32>| Lines::of(values, s.axis, r, c, &self.device);
        let each = |values: Vec<f32>| lines(&PerLine::from(values));
        let (x, slope) = self.shaped(&s.argument.shaping, Self::raw(tiles, &s.argument), r);
        let through_shaping = |part: Tensor<2>| match &slope {
            Some(slope) => part * slope.clone(),
            None => part,
        };
        let keep = mask(&s.set, s.axis, r, c, &x);
        let scale = lines(&s.argument.scale);
        match &s.reduce {
            Reduce::LogSumExp { expect } => {
                // Empty lines have no softmax: their weight is dropped, and their exponent kept finite.
                let empty = |at: usize| term.stat.values[at] == f32::NEG_INFINITY;
                let count = term.stat.values.len();
                let weights =
                    |of: &[f32]| -> Vec<f32> { (0..count).map(|k| if empty(k) { 0.0 } else { of[k] }).collect() };
                let offset = (0..count).map(|k| match empty(k) {
                    true => 0.0,
                    false => s.argument.shift.at(k) - term.stat.values[k],
                });
                let exponent = each(offset.collect()).plus(scale.times(x));
                let p = masked(exponent, &keep, f32::NEG_INFINITY);
                // Of an empty line nothing is kept, or every score is −∞: never above 0 otherwise but for rounding.
                let p = p.clamp_max(1.0).exp();
                let mut through = each(weights(&term.weight)).times(p.clone());
                if let (Some(expect), false) = (expect, term.expectation_weight.is_empty()) {
                    let e = each(weights(&term.expectation_weight));
                    let (a, b) = (lines(&expect.scale), lines(&expect.shift));
                    let g = b.plus(a.times(self.seen(tiles, expect, r)));
                    let centred = each(term.stat.expectation.iter().map(|v| -v).collect()).plus(g);
                    through = through + e.times(p.clone() * centred);
                    h.through(expect, through_shaping(e.times(a.times(p))));
                }
                h.through(&s.argument, through_shaping(scale.times(through)));
            }
            Reduce::LogSumLinear => {
                let u = lines(&s.argument.shift).plus(scale.times(x));
                let weight = term.weight.iter().zip(&term.stat.values).map(|(w, v)| match *v == f32::NEG_INFINITY {
                    true => 0.0,
                    false => w * (-v).exp(),
                });
                let part = each(weight.collect()).times(scale.times(linear_exp(u).1));
                h.through(&s.argument, masked(part, &keep, 0.0));
            }
            Reduce::Moments => {
                let spread = |row: usize| term.expectation_weight.get(row).copied().unwrap_or_default();
                let rows = 0..term.weight.len();
                let share = |row: usize| 1.0 / term.stat.slope[row].max(1.0);
                let slope = rows.clone().map(|row| 2.0 * spread(row) * share(row)).collect();
                let constant = rows.clone().map(|row| term.weight[row] * share(row)).collect();
                let away = rows.map(|row| s.argument.shift.at(row) - term.stat.values[row]).collect();
                let u = each(away).plus(scale.times(x));
                let part = scale.times(each(constant).plus(each(slope).times(u)));
                h.through(&s.argument, masked(part, &keep, 0.0));
            }
            Reduce::Sum { map, .. } => {
                if matches!(map, Map::One | Map::Positive) {
                    return;
                }
                let u = lines(&s.argument.shift).plus(scale.times(x));
                if let (_, Some(of_map)) = mapped(*map, u) {
                    let part = each(term.weight.clone()).times(scale.times(of_map));
                    h.through(&s.argument, through_shaping(masked(part, &keep, 0.0)));
                }
            }
            _ => {}
        }
    }
}

/// Puts the entries of a gather or a top-k on the lists of their matrices.
fn list(term: &Term<f32>, buffers: &mut [Buffers]) {
    let argument = &term.statistic.argument;
    let mut put = |row: usize, column: u32, weight: f32| {
        let weight = weight * argument.scale.at(row);
        for (matrix, sign) in [(Some(argument.matrix), 1.0), (argument.minus, -1.0)] {
            if let (Some(matrix), true) = (matrix, weight != 0.0) {
                let entries = &mut buffers[matrix].entries;
                entries.rows.push(row as u32);
                entries.cols.push(column);
                entries.weights.push(sign * weight);
            }
        }
    };
    match &term.statistic.reduce {
        Reduce::Gather(lists) => {
            for row in 0..lists.rows() {
                for (k, column) in lists.range(row).zip(lists.row(row)) {
                    put(row, *column, term.weight[k]);
                }
            }
        }
        Reduce::TopK(k) => {
            for (at, (column, weight)) in term.stat.columns.iter().zip(&term.weight).enumerate() {
                if *column != u32::MAX {
                    put(at / k, *column, *weight);
                }
            }
        }
        _ => {}
    }
}
