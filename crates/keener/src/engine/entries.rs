//! Every entry of a score matrix with few columns, for host steps that look at all of them: counts over the batch, means of
//! bags of rows.

use super::complete::fold;
use super::matrix::{Bound, Buffers, Source};
use super::state::empty;
use super::statistic::{Stat, Statistic, Term};
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;
use std::ops::Range;

/// Up to this many columns an inner product an entry is quicker than a matrix product.
const NARROW: usize = 8;
/// Rows of a block; fixed, so that sums over rows do not depend on the number of threads.
const LEAST_ROWS: usize = 1024;
/// Most blocks of a narrow matrix: each holds the partial gradient of its columns.
const MOST_BLOCKS: usize = 64;
/// Numbers of derivatives held at a time where the matrix is not narrow.
const HELD: usize = 2 << 20;

fn block_of(rows: usize) -> usize {
    rows.div_ceil(MOST_BLOCKS).max(LEAST_ROWS)
}

/// All entries, row by row.
pub(crate) fn values<T: Real>(matrices: &[Bound<'_, T>], statistic: &Statistic<T>) -> Stat<T> {
    let argument = &statistic.argument;
    let bound = &matrices[argument.matrix];
    let mut stat = empty(statistic, bound.rows, bound.cols);
    if bound.cols == 0 {
        return stat;
    }
    let (block, cols) = (block_of(bound.rows), bound.cols);
    stat.values.par_chunks_mut(block * cols).enumerate().for_each(|(k, out)| {
        let first = k * block;
        fill(bound, first..first + out.len() / cols, out);
        if let Some(minus) = argument.minus {
            let mut other = vec![T::zero(); out.len()];
            fill(&matrices[minus], first..first + out.len() / cols, &mut other);
            simd::add_scaled(out, &other, -T::one());
        }
        for (row, line) in out.chunks_exact_mut(cols).enumerate() {
            let (scale, shift) = (argument.scale.at(first + row), argument.shift.at(first + row));
            line.iter_mut().for_each(|u| *u = scale * *u + shift);
        }
    });
    stat
}

fn fill<T: Real>(bound: &Bound<'_, T>, rows: Range<usize>, out: &mut [T]) {
    match &bound.source {
        Source::Product(..) if bound.cols <= NARROW => {
            for (row, line) in rows.zip(out.chunks_exact_mut(bound.cols)) {
                line.iter_mut().enumerate().for_each(|(col, u)| *u = bound.entry(row, col));
            }
        }
        _ => bound.fill(rows, 0..bound.cols, out),
    }
}

/// Adds the derivative of a term over all entries to the gradients.
pub(crate) fn accumulate<T: Real>(matrices: &[Bound<'_, T>], term: &Term<T>, buffers: &mut [Buffers<T>]) {
    let argument = &term.statistic.argument;
    let signed = [(Some(argument.matrix), T::one()), (argument.minus, -T::one())];
    for (index, sign) in signed.into_iter().filter_map(|(m, sign)| Some((m?, sign))) {
        let (matrix, into) = (&matrices[index], &mut buffers[index]);
        into.fresh = false;
        let cols = matrix.cols;
        if cols == 0 {
            continue;
        }
        // ∂loss/∂(q·k) of a row.
        let derivative = |row: usize, h: &mut [T]| {
            let scale = sign * argument.scale.at(row);
            h.copy_from_slice(&term.weight[row * cols..(row + 1) * cols]);
            h.iter_mut().for_each(|h| *h *= scale);
            matrix.through_scorer(row, 0..cols, h);
        };
        match &matrix.source {
            Source::Given(_) => {
                into.scores.par_chunks_mut(LEAST_ROWS * cols).enumerate().for_each(|(k, out)| {
                    let mut h = vec![T::zero(); cols];
                    for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                        derivative(k * LEAST_ROWS + row, &mut h);
                        out.iter_mut().zip(&h).for_each(|(o, h)| *o += *h);
                    }
                });
            }
            Source::Product(..) if cols <= NARROW => narrow(matrix, derivative, into),
            _ => {
                let at_once = (HELD / cols).max(LEAST_ROWS);
                for start in (0..matrix.rows).step_by(at_once) {
                    let block = start..(start + at_once).min(matrix.rows);
                    let mut h = vec![T::zero(); block.len() * cols];
                    h.par_chunks_mut(cols).enumerate().for_each(|(k, h)| derivative(start + k, h));
                    fold(matrix, block, &h, into);
                }
            }
        }
    }
}

/// Rows of both sides are added while they are in cache; each block keeps its own gradient of the few columns.
fn narrow<T: Real>(matrix: &Bound<'_, T>, derivative: impl Fn(usize, &mut [T]) + Sync, into: &mut Buffers<T>) {
    let Source::Product(q, k) = &matrix.source else { return };
    let (d, cols, block) = (q.cols, matrix.cols, block_of(matrix.rows));
    let blocks = matrix.rows.div_ceil(block);
    let (wants_right, wants_sums) = (!into.right.is_empty(), !into.col_sums.is_empty());
    fn parts<T>(data: &mut [T], size: usize, count: usize) -> Vec<&mut [T]> {
        match data.is_empty() {
            true => (0..count).map(|_| Default::default()).collect(),
            false => data.chunks_mut(size).collect(),
        }
    }
    let lefts = parts(&mut into.left, block * d, blocks);
    let row_sums = parts(&mut into.row_sums, block, blocks);
    let partial: Vec<(Vec<T>, Vec<T>)> = lefts
        .into_par_iter()
        .zip(row_sums)
        .enumerate()
        .map(|(at, (left, row_sums))| {
            let mut right = vec![T::zero(); if wants_right { cols * d } else { 0 }];
            let mut col_sums = vec![T::zero(); if wants_sums { cols } else { 0 }];
            let mut h = [T::zero(); NARROW];
            let h = &mut h[..cols];
            for row in at * block..((at + 1) * block).min(matrix.rows) {
                derivative(row, h);
                let local = row - at * block;
                for (col, h) in h.iter().enumerate().filter(|(_, h)| **h != T::zero()) {
                    if !left.is_empty() {
                        simd::add_scaled(&mut left[local * d..(local + 1) * d], k.row(col), *h);
                    }
                    if wants_right {
                        simd::add_scaled(&mut right[col * d..(col + 1) * d], q.row(row), *h);
                    }
                    if wants_sums {
                        col_sums[col] += *h;
                    }
                    if let Some(sum) = row_sums.get_mut(local) {
                        *sum += *h;
                    }
                }
            }
            (right, col_sums)
        })
        .collect();
    for (right, col_sums) in partial {
        if wants_right {
            simd::add_scaled(&mut into.right, &right, T::one());
        }
        if wants_sums {
            simd::add_scaled(&mut into.col_sums, &col_sums, T::one());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::{
        Argument, Backward, Batch, Coupling, MatrixSpec, Objective, Options, Outcome, Scorer, Sparse, Statistic, Sweep,
        Term, View, evaluate,
    };
    use crate::error::Result;
    use crate::objective::testing::numbers;
    use rand::SeedableRng;
    use std::sync::Arc;

    /// `½ Σ s²`, from all entries or from a list of all of them.
    #[derive(Debug)]
    struct HalfSquares {
        listed: bool,
        scorer: Scorer,
    }

    impl Objective<f64> for HalfSquares {
        fn name(&self) -> &'static str {
            "half_squares"
        }
        fn matrices(&self) -> Vec<MatrixSpec> {
            vec![MatrixSpec::main(self.scorer)]
        }
        fn coupling(&self) -> Coupling {
            Coupling::WholeBatch
        }
        fn evaluate(&self, engine: &mut dyn Sweep<f64>, _: &Batch<'_, f64>) -> Result<Outcome<f64>> {
            let (rows, cols) = engine.shape(0);
            let argument = Argument::of(0).scaled(1.5).shifted(-0.25);
            let all = Arc::new(Sparse::from_rows((0..rows).map(|_| 0..cols as u32)));
            let wanted = match self.listed {
                true => Statistic::gather(argument, all),
                false => Statistic::entries(argument),
            };
            let stat = engine.sweep(std::slice::from_ref(&wanted))?.remove(0);
            let value = stat.values.iter().map(|u| u * u / 2.0).sum();
            Ok(Outcome::new(vec![value], move |w| {
                let weight = stat.values.iter().map(|u| w[0] * u).collect();
                Backward::terms(vec![Term::new(wanted.clone(), stat.clone(), weight)])
            }))
        }
    }

    #[test]
    fn all_entries_and_a_list_of_all_entries_are_the_same() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for (rows, cols, d) in [(3000, 1, 5), (2100, 3, 33), (1300, 20, 4), (7, 2, 3), (1, 1, 1)] {
            let (q, c) = (numbers(&mut rng, rows * d), numbers(&mut rng, cols * d));
            let (bias, given) = (numbers(&mut rng, cols), numbers(&mut rng, rows * cols));
            let product =
                Batch::embeddings(View::new(&q, rows, d).unwrap()).with_candidates(View::new(&c, cols, d).unwrap());
            for scorer in [Scorer::Inner, Scorer::Cosine, Scorer::NegativeSquaredDistance] {
                let batches = match scorer {
                    Scorer::Inner => vec![
                        product.clone(),
                        product.clone().with_bias(&bias),
                        Batch::scores(View::new(&given, rows, cols).unwrap()),
                    ],
                    _ => vec![product.clone()],
                };
                for batch in batches {
                    let run = |listed| evaluate(&HalfSquares { listed, scorer }, &batch, &Options::default()).unwrap();
                    let (a, b) = (run(false), run(true));
                    let close = |a: &[f64], b: &[f64]| {
                        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-10 * (1.0 + b.abs()))
                    };
                    assert!(close(&a.values, &b.values), "{rows}×{cols} {scorer:?}");
                    let (g, h) = (a.gradients, b.gradients);
                    assert!(close(&g.queries, &h.queries) && close(&g.candidates, &h.candidates), "{scorer:?}");
                    assert!(close(&g.bias, &h.bias) && close(&g.scores, &h.scores), "{scorer:?}");
                }
            }
        }
    }
}
