//! Forward pass: losses, and the gradient for what feeds the layer.

use super::dense::product;
use super::layer::{FactoredOutput, Reduction, check_finite};
use super::loss::Spherical;
use crate::engine::{NONE, Sparse, View};
use crate::error::{Error, Result};
use crate::products::MatRef;
use crate::real::Real;
use crate::simd;

/// What the rows of a batch belong to.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class a row; [`NONE`] for rows that do not count.
    Classes(&'a [u32]),
    /// Some classes a row with their weights, which usually add up to 1. The loss of a row is the weighted sum of the loss of each
    /// of its classes; for the squared error it is `Σ_k (o_k − y_k)²`. Rows without classes have loss 0, but for the squared error
    /// `Σ_k o_k²`.
    Sparse {
        /// Classes of each row.
        classes: &'a Sparse,
        /// Weight of each, in the order of the lists.
        weights: &'a [f64],
    },
}

/// Losses of a batch and the gradient for the layers below.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated<T> {
    /// Mean or sum of the values.
    pub loss: f64,
    /// One a row.
    pub values: Vec<f64>,
    /// ∂loss/∂hidden `[m, d]`.
    pub grad_hidden: Vec<T>,
}

/// Everything that a step needs from the forward pass; rows `[m, d]` in `f64`.
pub(super) struct Pass {
    pub(super) rows: usize,
    pub(super) loss: f64,
    pub(super) values: Vec<f64>,
    /// Row `i` owns `offsets[i]..offsets[i + 1]` of the entries.
    pub(super) offsets: Vec<usize>,
    pub(super) classes: Vec<u32>,
    /// ∂loss/∂(target score), an entry.
    pub(super) of_target: Vec<f64>,
    /// Its sum over each row.
    pub(super) of_targets: Vec<f64>,
    /// ∂loss/∂(sum of the scores), a row.
    pub(super) of_sum: Vec<f64>,
    /// Twice ∂loss/∂(sum of squares), a row.
    pub(super) of_squares: Vec<f64>,
    /// Sum of the scores, a row.
    pub(super) sums: Vec<f64>,
    pub(super) hidden: Vec<f64>,
    /// `h Uᵀ`
    pub(super) through_u: Vec<f64>,
    /// The gradient's part that does not come through the sum of squares.
    pub(super) rest: Vec<f64>,
    /// ∂loss/∂hidden
    pub(super) gradient: Vec<f64>,
}

impl<T: Real> FactoredOutput<T> {
    /// Losses of a batch and ∂loss/∂hidden, with the weights held: O(m d²) for towers over a fixed set of items.
    ///
    /// # Errors
    /// Shapes that do not fit, classes that do not exist, numbers that are not finite.
    pub fn evaluate(&self, hidden: View<'_, T>, targets: &Targets<'_>) -> Result<Evaluated<T>> {
        Ok(self.pass(hidden, targets)?.evaluated())
    }

    pub(super) fn check_hidden(&self, hidden: &View<'_, T>) -> Result<()> {
        if hidden.cols() != self.dim {
            let found = [hidden.rows(), hidden.cols()];
            return Err(Error::shape("hidden", &found, format!("[m, {}], the width of the layer", self.dim)));
        }
        check_finite("hidden", hidden.data(), self.dim)
    }

    /// Lists of classes with weights, and how many rows count.
    fn entries(&self, rows: usize, targets: &Targets<'_>) -> Result<(Vec<usize>, Vec<u32>, Vec<f64>, usize)> {
        let beyond = |classes: &[u32], row: usize| match classes.iter().find(|c| **c as usize >= self.classes) {
            None => Ok(()),
            Some(class) => Err(Error::Label { label: i64::from(*class), row, classes: self.classes }),
        };
        match targets {
            Targets::Classes(classes) => {
                if classes.len() != rows {
                    return Err(Error::shape("targets", &[classes.len()], format!("[{rows}], one a row of hidden")));
                }
                let (mut offsets, mut found) = (vec![0], Vec::with_capacity(rows));
                for (row, class) in classes.iter().enumerate() {
                    if *class != NONE {
                        beyond(&[*class], row)?;
                        found.push(*class);
                    }
                    offsets.push(found.len());
                }
                let (ones, counted) = (vec![1.0; found.len()], found.len());
                Ok((offsets, found, ones, counted))
            }
            Targets::Sparse { classes, weights } => {
                if classes.rows() != rows {
                    return Err(Error::shape("rows of targets", &[classes.rows()], format!("[{rows}], as of hidden")));
                }
                if weights.len() != classes.len() {
                    let expected = format!("[{}], one a listed class", classes.len());
                    return Err(Error::shape("weights of the targets", &[weights.len()], expected));
                }
                (0..rows).try_for_each(|row| beyond(classes.row(row), row))?;
                check_finite("weights of the targets", weights, weights.len().max(1))?;
                Ok((classes.offsets.clone(), classes.columns.clone(), weights.to_vec(), rows))
            }
        }
    }

    pub(super) fn pass(&self, hidden: View<'_, T>, targets: &Targets<'_>) -> Result<Pass> {
        self.check_hidden(&hidden)?;
        let (m, d, parts) = (hidden.rows(), self.dim, &self.parts);
        let (offsets, classes, weights, counted) = self.entries(m, targets)?;
        // Rows of V lie anywhere: ask for all of them before the first is needed.
        let rows: Vec<f64> = classes.iter().flat_map(|c| &parts.v[*c as usize * d..][..d]).map(|x| x.f64()).collect();
        let h: Vec<f64> = hidden.data().iter().map(|x| x.f64()).collect();
        let square = MatRef::new(&parts.gram, d, d);
        let (mut through_gram, mut through_u) = (vec![0.0; m * d], vec![0.0; m * d]);
        product(1.0, &h, d, square, d, 0.0, &mut through_gram);
        product(1.0, &h, d, MatRef::new(&parts.u, d, d).t(), d, 0.0, &mut through_u);

        let factor = match self.config.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / counted.max(1) as f64,
        };
        let all_rows = matches!(targets, Targets::Sparse { .. });
        let zeros = || vec![0.0; m];
        let (mut values, mut of_sum, mut of_squares, mut of_targets, mut sums) =
            (zeros(), zeros(), zeros(), zeros(), zeros());
        let mut of_target = vec![0.0; classes.len()];
        let mut rest = vec![0.0; m * d];
        for i in 0..m {
            let (hidden, range) = (&h[i * d..(i + 1) * d], offsets[i]..offsets[i + 1]);
            if range.is_empty() && !(all_rows && self.config.loss == Spherical::SquaredError) {
                continue;
            }
            let squares = simd::dot(hidden, &through_gram[i * d..(i + 1) * d]).max(0.0);
            sums[i] = simd::dot(hidden, &parts.column_sum);
            let common = simd::dot(hidden, &parts.omega);
            let score =
                |entry: usize| simd::dot(&rows[entry * d..(entry + 1) * d], &through_u[i * d..(i + 1) * d]) + common;
            if all_rows && self.config.loss == Spherical::SquaredError {
                // Σ (o_k − y_k)², the squares counted once.
                (values[i], of_squares[i]) = (squares, 2.0 * factor);
                for entry in range.clone() {
                    values[i] += weights[entry] * (weights[entry] - 2.0 * score(entry));
                    of_target[entry] = -2.0 * weights[entry] * factor;
                }
            } else {
                for entry in range.clone() {
                    let slopes = self.config.loss.of_sums(score(entry), sums[i], squares, self.classes);
                    let weight = weights[entry] * factor;
                    values[i] += weights[entry] * slopes.value;
                    of_target[entry] = weight * slopes.target;
                    of_sum[i] += weight * slopes.sum;
                    of_squares[i] += 2.0 * weight * slopes.sum_sq;
                }
            }
            of_targets[i] = of_target[range.clone()].iter().sum();
            for entry in range {
                simd::add_scaled(&mut rest[i * d..(i + 1) * d], &rows[entry * d..(entry + 1) * d], of_target[entry]);
            }
        }
        let weighted_rows = rest;
        let mut rest = vec![0.0; m * d];
        product(1.0, &weighted_rows, d, MatRef::new(&parts.u, d, d), d, 0.0, &mut rest);
        let mut gradient = vec![0.0; m * d];
        for i in 0..m {
            let line = &mut rest[i * d..(i + 1) * d];
            simd::add_scaled(line, &parts.omega, of_targets[i]);
            simd::add_scaled(line, &parts.column_sum, of_sum[i]);
            let gradient = &mut gradient[i * d..(i + 1) * d];
            gradient.copy_from_slice(line);
            simd::add_scaled(gradient, &through_gram[i * d..(i + 1) * d], of_squares[i]);
        }
        Ok(Pass {
            rows: m,
            loss: values.iter().sum::<f64>() * factor,
            values,
            offsets,
            classes,
            of_target,
            of_targets,
            of_sum,
            of_squares,
            sums,
            hidden: h,
            through_u,
            rest,
            gradient,
        })
    }
}

impl Pass {
    pub(super) fn evaluated<T: Real>(&self) -> Evaluated<T> {
        Evaluated {
            loss: self.loss,
            values: self.values.clone(),
            grad_hidden: self.gradient.iter().map(|g| T::of(*g)).collect(),
        }
    }
}
