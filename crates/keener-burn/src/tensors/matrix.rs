//! Score matrices made of tensors: any tile of one, and gradient tiles folded back into its inputs.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use keener::engine::{MatrixSpec, Scorer, Slot};
use std::ops::Range;

/// Where scores come from. For cosines, `left` and `right` hold rows of length 1.
#[expect(clippy::large_enum_variant, reason = "one a score matrix")]
enum Source {
    Given(Tensor<2>),
    Product { left: Tensor<2>, right: Tensor<2> },
}

pub(super) struct Matrix {
    pub(super) spec: MatrixSpec,
    pub(super) rows: usize,
    pub(super) cols: usize,
    source: Source,
    /// Inverse lengths (cosine) or squared lengths (distance) of the left rows `[B, 1]` and of the right rows `[N, 1]`.
    left_norms: Option<Tensor<2>>,
    right_norms: Option<Tensor<2>>,
    /// `[1, N]`
    bias: Option<Tensor<2>>,
    device: Device,
}

/// Listed entries and their weights.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) rows: Vec<u32>,
    pub(super) cols: Vec<u32>,
    pub(super) weights: Vec<f32>,
}

/// Accumulated ∂loss/∂score, folded: one tensor for each block of rows or columns.
pub(super) struct Buffers {
    left: Vec<Option<Tensor<2>>>,
    right: Vec<Option<Tensor<2>>>,
    row_sums: Vec<Option<Tensor<2>>>,
    col_sums: Vec<Option<Tensor<2>>>,
    scores: Vec<Vec<Tensor<2>>>,
    pub(super) entries: Entries,
    pub(super) wants_left: bool,
    pub(super) wants_right: bool,
}

/// Gradients of what a matrix is made of.
#[derive(Default)]
pub(super) struct Folded {
    pub(super) left: Option<Tensor<2>>,
    pub(super) right: Option<Tensor<2>>,
    /// `[N]`
    pub(super) bias: Option<Tensor<1>>,
    pub(super) scores: Option<Tensor<2>>,
}

fn block(t: &Tensor<2>, rows: &Range<usize>) -> Tensor<2> {
    if rows.len() == t.dims()[0] { t.clone() } else { t.clone().slice([rows.clone()]) }
}

pub(super) fn indices(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|v| *v as i32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

pub(super) fn column(values: Vec<f32>, device: &Device) -> Tensor<2> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length, 1]), device)
}

/// Rows of length 1 and their inverse lengths, without overflow on the way; the zero vector keeps both zero.
fn unit(x: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let peak = x.clone().abs().max_dim(1).clamp_min(f32::MIN_POSITIVE);
    let small = x.clone() / peak.clone();
    // At least 1 for every row but zeros.
    let length = small.clone().powi_scalar(2).sum_dim(1).sqrt();
    let divisor = length.clone().clamp_min(0.5);
    let inverse = length.clamp_max(1.0) / (divisor.clone() * peak);
    (small / divisor, inverse)
}

fn add(into: &mut Option<Tensor<2>>, tensor: Tensor<2>) {
    *into = Some(match into.take() {
        None => tensor,
        Some(sum) => sum + tensor,
    });
}

impl Matrix {
    pub(super) fn given(spec: MatrixSpec, scores: Tensor<2>) -> Self {
        let [rows, cols] = scores.dims();
        let device = scores.device();
        Self {
            spec,
            rows,
            cols,
            source: Source::Given(scores),
            left_norms: None,
            right_norms: None,
            bias: None,
            device,
        }
    }

    pub(super) fn product(spec: MatrixSpec, left: Tensor<2>, right: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let (rows, cols, device) = (left.dims()[0], right.dims()[0], left.device());
        let squares = |x: &Tensor<2>| x.clone().powi_scalar(2).sum_dim(1);
        let (left, right, left_norms, right_norms) = match spec.scorer {
            Scorer::Inner => (left, right, None, None),
            Scorer::Cosine | Scorer::CosineOfUnit => {
                let ((left, a), (right, b)) = (unit(&left), unit(&right));
                (left, right, Some(a), Some(b))
            }
            Scorer::NegativeSquaredDistance => {
                let (a, b) = (squares(&left), squares(&right));
                (left, right, Some(a), Some(b))
            }
        };
        let bias = bias.map(|b| b.unsqueeze());
        Self { spec, rows, cols, source: Source::Product { left, right }, left_norms, right_norms, bias, device }
    }

    /// Scores of rows `r` and columns `c`.
    pub(super) fn tile(&self, r: &Range<usize>, c: &Range<usize>) -> Tensor<2> {
        let (left, right) = match &self.source {
            Source::Given(scores) => return scores.clone().slice([r.clone(), c.clone()]),
            Source::Product { left, right } => (block(left, r), block(right, c)),
        };
        let dots = left.matmul(right.transpose());
        match (&self.bias, self.spec.scorer, &self.left_norms, &self.right_norms) {
            (Some(bias), ..) => dots + bias.clone().slice([0..1, c.clone()]),
            (_, Scorer::NegativeSquaredDistance, Some(a), Some(b)) => {
                (dots * 2.0 - block(a, r) - block(b, c).transpose()).clamp_max(0.0)
            }
            _ => dots,
        }
    }

    /// Listed scores `[n]`.
    pub(super) fn entries(&self, rows: &[u32], cols: &[u32]) -> Tensor<1> {
        let (r, c) = (indices(rows, &self.device), indices(cols, &self.device));
        let (left, right) = match &self.source {
            Source::Given(scores) => {
                let flat: Vec<i64> =
                    rows.iter().zip(cols).map(|(r, c)| *r as i64 * self.cols as i64 + i64::from(*c)).collect();
                let length = flat.len();
                let at = Tensor::<1, Int>::from_data(TensorData::new(flat, [length]), &self.device);
                return scores.clone().reshape([-1]).select(0, at);
            }
            Source::Product { left, right } => (left, right),
        };
        let dots = (left.clone().select(0, r.clone()) * right.clone().select(0, c.clone())).sum_dim(1);
        let scores = match (&self.bias, self.spec.scorer, &self.left_norms, &self.right_norms) {
            (Some(bias), ..) => dots + bias.clone().select(1, c).transpose(),
            (_, Scorer::NegativeSquaredDistance, Some(a), Some(b)) => {
                (dots * 2.0 - a.clone().select(0, r) - b.clone().select(0, c)).clamp_max(0.0)
            }
            _ => dots,
        };
        scores.reshape([-1])
    }

    pub(super) fn buffers(&self, row_blocks: usize, col_blocks: usize, wants: [bool; 3]) -> Buffers {
        let none = |n: usize| (0..n).map(|_| None).collect();
        Buffers {
            left: none(row_blocks),
            right: none(col_blocks),
            row_sums: none(row_blocks),
            col_sums: none(col_blocks),
            scores: (0..row_blocks).map(|_| Vec::new()).collect(),
            entries: Entries::default(),
            wants_left: if matches!(self.source, Source::Given(_)) { wants[2] } else { wants[0] },
            wants_right: wants[1],
        }
    }

    /// Folds a tile of ∂loss/∂score; tiles of a block of rows come in the order of their columns.
    pub(super) fn fold(
        &self,
        into: &mut Buffers,
        (row_block, r): (usize, &Range<usize>),
        (col_block, c): (usize, &Range<usize>),
        h: Tensor<2>,
    ) {
        let (left, right) = match &self.source {
            Source::Given(_) => {
                if into.wants_left {
                    into.scores[row_block].push(h);
                }
                return;
            }
            Source::Product { left, right } => (left, right),
        };
        let distance = self.spec.scorer == Scorer::NegativeSquaredDistance;
        let h = if distance { h * 2.0 } else { h };
        if into.wants_left {
            add(&mut into.left[row_block], h.clone().matmul(block(right, c)));
            if distance {
                add(&mut into.row_sums[row_block], h.clone().sum_dim(1));
            }
        }
        if into.wants_right {
            if distance || self.bias.is_some() {
                add(&mut into.col_sums[col_block], h.clone().sum_dim(0).transpose());
            }
            add(&mut into.right[col_block], h.transpose().matmul(block(left, r)));
        }
    }

    /// Completes what was folded: listed entries, the projection of the cosine, the own term of the distance.
    pub(super) fn finish(&self, buffers: Buffers, row_blocks: &[Range<usize>], col_blocks: &[Range<usize>]) -> Folded {
        let zeros = |rows: usize, cols: usize| Tensor::<2>::zeros([rows, cols], &self.device);
        let whole = |parts: Vec<Option<Tensor<2>>>, blocks: &[Range<usize>], width: usize| {
            let parts: Vec<Tensor<2>> =
                parts.into_iter().zip(blocks).map(|(p, b)| p.unwrap_or_else(|| zeros(b.len(), width))).collect();
            if parts.is_empty() { zeros(0, width) } else { Tensor::cat(parts, 0) }
        };
        let Entries { rows, cols, weights } = buffers.entries;
        let distance = self.spec.scorer == Scorer::NegativeSquaredDistance;
        let (left, right) = match &self.source {
            Source::Given(_) => {
                if !buffers.wants_left {
                    return Folded::default();
                }
                let rows_of = |(parts, b): (Vec<Tensor<2>>, &Range<usize>)| match parts.is_empty() {
                    true => zeros(b.len(), self.cols),
                    false => Tensor::cat(parts, 1),
                };
                let parts: Vec<Tensor<2>> = buffers.scores.into_iter().zip(row_blocks).map(rows_of).collect();
                let mut scores = if parts.is_empty() { zeros(0, self.cols) } else { Tensor::cat(parts, 0) };
                if !rows.is_empty() {
                    let width = self.cols as i64;
                    let flat: Vec<i64> =
                        rows.iter().zip(&cols).map(|(r, c)| i64::from(*r) * width + i64::from(*c)).collect();
                    let length = flat.len();
                    let at = Tensor::<1, Int>::from_data(TensorData::new(flat, [length]), &self.device);
                    let values = Tensor::<1>::from_data(TensorData::new(weights, [length]), &self.device);
                    scores = scores
                        .reshape([-1])
                        .select_assign(0, at, values, IndexingUpdateOp::Add)
                        .reshape([self.rows, self.cols]);
                }
                return Folded { scores: Some(scores), ..Folded::default() };
            }
            Source::Product { left, right } => (left, right),
        };
        let depth = left.dims()[1];
        let factor = if distance { 2.0 } else { 1.0 };
        let listed = (!rows.is_empty()).then(|| {
            let weights = column(weights.iter().map(|w| w * factor).collect(), &self.device);
            (indices(&rows, &self.device), indices(&cols, &self.device), weights)
        });
        // One side: the folded gradient, with listed entries (places here, partners there), projected or completed.
        let side = |parts, sums, blocks: &[Range<usize>], own: &Tensor<2>, other: &Tensor<2>, norms, is_left: bool| {
            let mut gradient = whole(parts, blocks, depth);
            let mut sums = whole(sums, blocks, 1);
            if let Some((r, c, weights)) = &listed {
                let (here, there) = if is_left { (r, c) } else { (c, r) };
                let values = other.clone().select(0, there.clone()) * weights.clone();
                gradient = gradient.select_assign(0, here.clone(), values, IndexingUpdateOp::Add);
                sums = sums.select_assign(0, here.clone(), weights.clone(), IndexingUpdateOp::Add);
            }
            let complete = match (self.spec.scorer, norms) {
                (Scorer::CosineOfUnit, _) if !is_left => gradient,
                (Scorer::Cosine | Scorer::CosineOfUnit, Some(inverse)) => {
                    let inverse: &Tensor<2> = inverse;
                    let along = (gradient.clone() * own.clone()).sum_dim(1);
                    (gradient - own.clone() * along) * inverse.clone()
                }
                (Scorer::NegativeSquaredDistance, _) => gradient - own.clone() * sums.clone(),
                _ => gradient,
            };
            (complete, sums)
        };
        let mut folded = Folded::default();
        if buffers.wants_left {
            let norms = self.left_norms.as_ref();
            folded.left = Some(side(buffers.left, buffers.row_sums, row_blocks, left, right, norms, true).0);
        }
        if buffers.wants_right {
            let norms = self.right_norms.as_ref();
            let (right, sums) = side(buffers.right, buffers.col_sums, col_blocks, right, left, norms, false);
            folded.right = Some(right);
            folded.bias = self.bias.is_some().then(|| sums.reshape([-1]));
        }
        folded
    }

    pub(super) fn is_pairs(&self) -> bool {
        self.spec.slot == Slot::Pairs
    }
}
