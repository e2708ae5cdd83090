//! Scores where they are needed: the best classes, and the dense weights.

use super::layer::{FactoredOutput, TASK_ROWS};
use crate::engine::View;
use crate::error::{Error, Result};
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::simd;
use rayon::prelude::*;

/// The best classes of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK<T> {
    /// `[m, k]`, best first; of equal scores the lower class.
    pub classes: Vec<u32>,
    /// Their scores `[m, k]`.
    pub scores: Vec<T>,
    /// How many a row: what was asked for, at most the number of classes.
    pub k: usize,
}

/// Rows of hidden at a time.
const BLOCK: usize = 256;
/// Groups of classes that are searched side by side.
const GROUPS: usize = 8;

impl<T: Real> FactoredOutput<T> {
    /// The `k` best classes of each row of `hidden` `[m, d]`, with their scores: O(D d) a row, nothing of size m × D is stored.
    ///
    /// # Errors
    /// Shapes that do not fit, k = 0, numbers that are not finite.
    pub fn top_k(&self, hidden: View<'_, T>, k: usize) -> Result<TopK<T>> {
        self.check_hidden(&hidden)?;
        if k == 0 {
            return Err(Error::parameter("k", k, "at least 1"));
        }
        let (d, k) = (self.dim, k.min(self.classes));
        let mut found = TopK { classes: Vec::new(), scores: Vec::new(), k };
        for rows in hidden.data().chunks(BLOCK * d) {
            let m = rows.len() / d;
            let (left, common) = self.queries(rows);
            let group = self.classes.div_ceil(GROUPS).next_multiple_of(64);
            let parts: Vec<(Vec<T>, Vec<u32>)> = (0..self.classes.div_ceil(group))
                .into_par_iter()
                .map(|g| self.best_of(&left, m, g * group..((g + 1) * group).min(self.classes), k))
                .collect();
            for i in 0..m {
                let (mut scores, mut classes) = (vec![T::neg_infinity(); k], vec![u32::MAX; k]);
                for (s, c) in &parts {
                    for (score, class) in s[i * k..(i + 1) * k].iter().zip(&c[i * k..(i + 1) * k]) {
                        crate::engine::insert(&mut scores, &mut classes, *score, *class);
                    }
                }
                found.scores.extend(scores.into_iter().map(|s| T::of(s.f64() + common[i])));
                found.classes.extend(classes);
            }
        }
        Ok(found)
    }

    /// Rank of one class in each row: how many classes score higher (or as high, with a lower number). O(D d) a row.
    ///
    /// # Errors
    /// As [`FactoredOutput::top_k`], and classes that do not exist.
    pub fn ranks(&self, hidden: View<'_, T>, classes: &[u32]) -> Result<Vec<usize>> {
        self.check_hidden(&hidden)?;
        if classes.len() != hidden.rows() {
            return Err(Error::shape("classes", &[classes.len()], format!("[{}], one a row", hidden.rows())));
        }
        if let Some(row) = classes.iter().position(|c| *c as usize >= self.classes) {
            return Err(Error::Label { label: i64::from(classes[row]), row, classes: self.classes });
        }
        let d = self.dim;
        let mut found = Vec::with_capacity(classes.len());
        for (rows, classes) in hidden.data().chunks(BLOCK * d).zip(classes.chunks(BLOCK)) {
            let m = classes.len();
            let (left, _) = self.queries(rows);
            // The wanted scores come from the same products as the others, so that a class equals itself.
            let mut wanted = vec![T::zero(); m];
            for_tiles(&self.parts.v, d, 0..self.classes, &left, m, |tile, scores, width| {
                for (i, class) in classes.iter().enumerate() {
                    if let Some(at) = (*class as usize).checked_sub(tile).filter(|at| *at < width) {
                        wanted[i] = scores[i * width + at];
                    }
                }
            });
            let group = self.classes.div_ceil(GROUPS).next_multiple_of(TILE);
            let parts: Vec<Vec<usize>> = (0..self.classes.div_ceil(group))
                .into_par_iter()
                .map(|g| {
                    let mut above = vec![0; m];
                    let range = g * group..((g + 1) * group).min(self.classes);
                    for_tiles(&self.parts.v, d, range, &left, m, |tile, scores, width| {
                        for (i, line) in scores.chunks_exact(width).enumerate() {
                            let (class, wanted) = (classes[i] as usize, wanted[i]);
                            let higher = |(at, s): &(usize, &T)| **s > wanted || (**s == wanted && tile + at < class);
                            above[i] += line.iter().enumerate().filter(higher).count();
                        }
                    });
                    above
                })
                .collect();
            found.extend((0..m).map(|i| parts.iter().map(|p| p[i]).sum::<usize>()));
        }
        Ok(found)
    }

    /// `U h` of each row in T, and the part of the score that all classes have in common.
    fn queries(&self, rows: &[T]) -> (Vec<T>, Vec<f64>) {
        let d = self.dim;
        let h: Vec<f64> = rows.iter().map(|x| x.f64()).collect();
        let mut through = vec![0.0; h.len()];
        super::dense::product(1.0, &h, d, MatRef::new(&self.parts.u, d, d).t(), d, 0.0, &mut through);
        let common = |row: &[f64]| simd::dot(row, &self.parts.omega) + simd::dot(row, &self.parts.offset);
        (through.into_iter().map(T::of).collect(), h.chunks_exact(d).map(common).collect())
    }

    fn best_of(&self, left: &[T], m: usize, classes: std::ops::Range<usize>, k: usize) -> (Vec<T>, Vec<u32>) {
        let (mut best, mut at) = (vec![T::neg_infinity(); m * k], vec![u32::MAX; m * k]);
        for_tiles(&self.parts.v, self.dim, classes, left, m, |tile, scores, width| {
            for (i, line) in scores.chunks_exact(width).enumerate() {
                let (best, at) = (&mut best[i * k..(i + 1) * k], &mut at[i * k..(i + 1) * k]);
                if at[k - 1] != u32::MAX && simd::max_scaled(line, T::one()) <= best[k - 1] {
                    continue;
                }
                for (column, score) in line.iter().enumerate() {
                    crate::engine::insert(best, at, *score, (tile + column) as u32);
                }
            }
        });
        (best, at)
    }

    /// The weights W `[D, d]`.
    pub fn to_dense(&self) -> Vec<T> {
        let d = self.dim;
        let row: Vec<f64> = self.parts.omega.iter().zip(&self.parts.offset).map(|(a, b)| a + b).collect();
        let mut out = crate::memory::zeros(self.classes * d);
        out.par_chunks_mut(TASK_ROWS * d).zip(self.parts.v.par_chunks(TASK_ROWS * d)).for_each(|(out, v)| {
            let left: Vec<f64> = v.iter().map(|x| x.f64()).collect();
            let mut w = vec![0.0; left.len()];
            super::dense::product(1.0, &left, d, MatRef::new(&self.parts.u, d, d), d, 0.0, &mut w);
            for (out, w) in out.chunks_exact_mut(d).zip(w.chunks_exact(d)) {
                out.iter_mut().zip(w).zip(&row).for_each(|((o, w), r)| *o = T::of(w + r));
            }
        });
        out
    }
}

/// Classes of one tile.
const TILE: usize = 512;

/// Scores `[m, width]` of tile after tile of `classes`: first class, scores, width.
fn for_tiles<T: Real>(
    v: &[T],
    d: usize,
    classes: std::ops::Range<usize>,
    left: &[T],
    m: usize,
    mut visit: impl FnMut(usize, &[T], usize),
) {
    let mut scores = vec![T::zero(); m * TILE];
    for tile in classes.clone().step_by(TILE) {
        let width = TILE.min(classes.end - tile);
        let right = MatRef::new(&v[tile * d..(tile + width) * d], width, d);
        let scores = &mut scores[..m * width];
        gemm(T::one(), MatRef::new(left, m, d), right.t(), T::zero(), scores, width);
        visit(tile, scores, width);
    }
}
