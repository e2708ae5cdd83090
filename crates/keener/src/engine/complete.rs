//! Statistics over complete rows: rules that no set and no map can describe, such as counting what lies within a margin of
//! each of several entries. Rows are computed in blocks, forward and backward; the matrix is never stored.

use super::matrix::{Bound, Buffers, Source};
use super::statistic::{Stat, Statistic, Term};
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;
use std::ops::Range;

/// What is computed from a complete row of `u = scale · s + shift`.
pub trait RowRule<T>: std::fmt::Debug + Send + Sync {
    /// The value of row `row`, and a tally beside it (how many terms it sums) that is constant for differentiation.
    fn value(&self, row: usize, u: &[T]) -> (T, T);

    /// Adds `weight · ∂value/∂u` to `into`, which is as long as `u`.
    fn derivative(&self, row: usize, u: &[T], weight: T, into: &mut [T]);
}

/// Rows of one task.
const TASK_ROWS: usize = 32;
/// Bytes of derivatives held at a time.
const BLOCK_BYTES: usize = 8 << 20;
/// Columns of one task when derivatives are folded into the candidates.
const TASK_COLUMNS: usize = 512;

/// The arguments `u` of `rows`, row-major.
fn arguments<T: Real>(matrices: &[Bound<'_, T>], statistic: &Statistic<T>, rows: Range<usize>) -> Vec<T> {
    let argument = &statistic.argument;
    let matrix = &matrices[argument.matrix];
    let cols = matrix.cols;
    let mut u = vec![T::zero(); rows.len() * cols];
    matrix.fill(rows.clone(), 0..cols, &mut u);
    if let Some(minus) = argument.minus {
        let mut other = vec![T::zero(); u.len()];
        matrices[minus].fill(rows.clone(), 0..cols, &mut other);
        u.iter_mut().zip(&other).for_each(|(a, b)| *a -= *b);
    }
    for (row, line) in rows.zip(u.chunks_exact_mut(cols)) {
        let (scale, shift) = (argument.scale.at(row), argument.shift.at(row));
        if scale != T::one() || shift != T::zero() {
            line.iter_mut().for_each(|x| *x = scale * *x + shift);
        }
    }
    u
}

/// The rule's value and tally of every row.
pub(crate) fn values<T: Real>(matrices: &[Bound<'_, T>], statistic: &Statistic<T>, rule: &dyn RowRule<T>) -> Stat<T> {
    let matrix = &matrices[statistic.argument.matrix];
    if matrix.cols == 0 {
        let zeros = vec![T::zero(); matrix.rows];
        return Stat { values: zeros.clone(), slope: zeros, ..Stat::default() };
    }
    let found: Vec<Vec<(T, T)>> = (0..matrix.rows.div_ceil(TASK_ROWS))
        .into_par_iter()
        .map(|task| {
            let rows = task * TASK_ROWS..((task + 1) * TASK_ROWS).min(matrix.rows);
            let u = arguments(matrices, statistic, rows.clone());
            rows.zip(u.chunks_exact(matrix.cols)).map(|(row, u)| rule.value(row, u)).collect()
        })
        .collect();
    let (values, slope) = found.into_iter().flatten().unzip();
    Stat { values, slope, ..Stat::default() }
}

/// Adds the derivative of a rule's term to the gradients, a block of rows at a time.
pub(crate) fn accumulate<T: Real>(
    matrices: &[Bound<'_, T>],
    term: &Term<T>,
    rule: &dyn RowRule<T>,
    buffers: &mut [Buffers<T>],
) {
    let argument = &term.statistic.argument;
    let (rows, cols) = (matrices[argument.matrix].rows, matrices[argument.matrix].cols);
    if cols == 0 {
        return;
    }
    // Whole tasks, cut as in the forward half: products of other shapes may round otherwise, and what a rule counts with it.
    let tasks = (BLOCK_BYTES / (cols * size_of::<T>()) / TASK_ROWS).clamp(1, 8);
    let at_once = tasks * TASK_ROWS;
    let mut derivative = vec![T::zero(); at_once.min(rows) * cols];
    let mut h = derivative.clone();
    for start in (0..rows).step_by(at_once) {
        let block = start..(start + at_once).min(rows);
        let derivative = &mut derivative[..block.len() * cols];
        derivative.par_chunks_mut(TASK_ROWS * cols).enumerate().for_each(|(task, out)| {
            let first = block.start + task * TASK_ROWS;
            let u = arguments(matrices, &term.statistic, first..first + out.len() / cols);
            out.fill(T::zero());
            for (k, (u, out)) in u.chunks_exact(cols).zip(out.chunks_exact_mut(cols)).enumerate() {
                let weight = term.weight[first + k] * argument.scale.at(first + k);
                if weight != T::zero() {
                    rule.derivative(first + k, u, weight, out);
                }
            }
        });
        let signed = [(Some(argument.matrix), T::one()), (argument.minus, -T::one())];
        for (index, sign) in signed.into_iter().filter_map(|(m, sign)| Some((m?, sign))) {
            let matrix = &matrices[index];
            let h = &mut h[..derivative.len()];
            h.par_chunks_mut(cols).zip(derivative.par_chunks(cols)).enumerate().for_each(|(k, (h, d))| {
                h.iter_mut().zip(d).for_each(|(h, d)| *h = sign * *d);
                matrix.through_scorer(block.start + k, 0..cols, h);
            });
            fold(matrix, block.clone(), h, &mut buffers[index]);
        }
    }
}

/// Folds ∂loss/∂(q·k) of a block of complete rows into the gradients of what the matrix is made of.
pub(crate) fn fold<T: Real>(matrix: &Bound<'_, T>, block: Range<usize>, h: &[T], into: &mut Buffers<T>) {
    let cols = matrix.cols;
    let (q, k) = match &matrix.source {
        Source::Given(_) => {
            if !into.scores.is_empty() {
                simd::add_scaled(&mut into.scores[block.start * cols..block.end * cols], h, T::one());
            }
            return;
        }
        Source::Gathered(q, k, ids) => {
            let d = q.cols;
            for (row, line) in block.zip(h.chunks_exact(cols)) {
                for (h, id) in line.iter().zip(&ids[row * cols..(row + 1) * cols]) {
                    let id = *id as usize;
                    if !into.left.is_empty() {
                        simd::add_scaled(&mut into.left[row * d..(row + 1) * d], k.row(id), *h);
                    }
                    if !into.right.is_empty() {
                        simd::add_scaled(&mut into.right[id * d..(id + 1) * d], q.row(row), *h);
                    }
                    if let Some(sum) = into.row_sums.get_mut(row) {
                        *sum += *h;
                    }
                    if let Some(sum) = into.col_sums.get_mut(id) {
                        *sum += *h;
                    }
                }
            }
            return;
        }
        Source::Product(q, k) => (q, k),
    };
    let d = q.cols;
    if d == 0 {
        return;
    }
    if !into.left.is_empty() {
        let left = &mut into.left[block.start * d..block.end * d];
        left.par_chunks_mut(TASK_ROWS * d).zip(h.par_chunks(TASK_ROWS * cols)).for_each(|(left, h)| {
            let rows = left.len() / d;
            gemm(T::one(), MatRef::new(h, rows, cols), MatRef::new(k.data, cols, d), T::one(), left, d);
        });
    }
    if !into.right.is_empty() {
        let queries = MatRef::new(&q.data[block.start * d..block.end * d], block.len(), d);
        into.right.par_chunks_mut(TASK_COLUMNS * d).enumerate().for_each(|(task, right)| {
            let part = MatRef::strided(&h[task * TASK_COLUMNS..], block.len(), right.len() / d, cols);
            gemm(T::one(), part.t(), queries, T::one(), right, d);
        });
    }
    for (row, line) in block.zip(h.chunks_exact(cols)) {
        if let Some(sum) = into.row_sums.get_mut(row) {
            *sum += simd::sum(line);
        }
        if !into.col_sums.is_empty() {
            simd::add_scaled(&mut into.col_sums, line, T::one());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        Argument, Batch, Coupling, Map, MatrixSpec, Objective, Options, Outcome, Scorer, Set, Slot, Sweep, View,
        evaluate,
    };
    use crate::error::Result;
    use std::sync::Arc;

    /// `Σ u²`, with the number of entries.
    #[derive(Debug)]
    struct Squares;

    impl RowRule<f64> for Squares {
        fn value(&self, _: usize, u: &[f64]) -> (f64, f64) {
            (u.iter().map(|u| u * u).sum(), u.len() as f64)
        }
        fn derivative(&self, _: usize, u: &[f64], weight: f64, into: &mut [f64]) {
            into.iter_mut().zip(u).for_each(|(to, u)| *to += 2.0 * weight * u);
        }
    }

    /// The same sum by the rule or by the statistic that the engine has for it.
    #[derive(Debug)]
    struct BySquares {
        rule: bool,
        scorer: Scorer,
        difference: bool,
    }

    impl Objective<f64> for BySquares {
        fn name(&self) -> &'static str {
            "squares"
        }
        fn matrices(&self) -> Vec<MatrixSpec> {
            let main = MatrixSpec::main(self.scorer);
            if self.difference { vec![main, MatrixSpec { slot: Slot::Second, ..main }] } else { vec![main] }
        }
        fn coupling(&self) -> Coupling {
            Coupling::WholeBatch
        }
        fn evaluate(&self, engine: &mut dyn Sweep<f64>, batch: &Batch<'_, f64>) -> Result<Outcome<f64>> {
            let argument = if self.difference { Argument::difference(0, 1) } else { Argument::of(0) };
            let argument =
                argument.scaled(-0.7).shifted((0..batch.rows()).map(|r| 0.01 * r as f64).collect::<Vec<_>>());
            let statistic = match self.rule {
                true => Statistic::rule(argument, Arc::new(Squares)),
                false => Statistic::sum(Map::Square, argument, Set::all()),
            };
            let stat = engine.sweep(std::slice::from_ref(&statistic))?.remove(0);
            if self.rule {
                assert!(stat.slope.iter().all(|n| *n == engine.shape(0).1 as f64));
            }
            let weight = (0..batch.rows()).map(|r| (r % 3) as f64).collect();
            Ok(Outcome::row_wise(stat.values.clone(), vec![(statistic, stat, weight)]))
        }
    }

    #[test]
    fn a_rule_agrees_with_the_statistic_it_spells_out() {
        let numbers =
            |n: usize, seed: usize| (0..n).map(|k| ((k * k + seed * k + 7) as f64 * 0.61).sin()).collect::<Vec<_>>();
        let (rows, cols, d, k) = (300, 1100, 5, 40);
        let (q, c, bias, second) = (numbers(rows * d, 1), numbers(cols * d, 2), numbers(cols, 3), numbers(rows * d, 4));
        let (scores, scores2) = (numbers(rows * 70, 5), numbers(rows * 70, 6));
        let ids: Vec<u32> = (0..rows * k).map(|i| ((i * 37) % cols) as u32).collect();
        let view = |data, rows, cols| View::new(data, rows, cols).unwrap();
        let product = || Batch::embeddings(view(&q, rows, d)).with_candidates(view(&c, cols, d));
        let given = || Batch::scores(view(&scores, rows, 70));
        let cases: [(Batch<'_, f64>, Scorer, bool); 7] = [
            (product().with_bias(&bias), Scorer::Inner, false),
            (product(), Scorer::Cosine, false),
            (product(), Scorer::NegativeSquaredDistance, false),
            (product().with_second(view(&second, rows, d)), Scorer::Cosine, true),
            (product().with_gathered(&ids, k), Scorer::NegativeSquaredDistance, false),
            (given(), Scorer::Inner, false),
            (given().with_second_scores(view(&scores2, rows, 70)), Scorer::Inner, true),
        ];
        for (batch, scorer, difference) in cases {
            let run = |rule| evaluate(&BySquares { rule, scorer, difference }, &batch, &Options::default()).unwrap();
            let (found, expected) = (run(true), run(false));
            let close = |a: &[f64], b: &[f64]| {
                let peak = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * peak)
            };
            assert!(close(&found.values, &expected.values), "{scorer:?}");
            let (a, b) = (found.gradients, expected.gradients);
            let pairs = [
                (a.queries, b.queries),
                (a.candidates, b.candidates),
                (a.bias, b.bias),
                (a.second, b.second),
                (a.scores, b.scores),
                (a.second_scores, b.second_scores),
            ];
            for (k, (a, b)) in pairs.iter().enumerate() {
                assert!(close(a, b), "{scorer:?}, difference {difference}, gradient {k}");
            }
        }
    }
}
