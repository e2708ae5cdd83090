//! The executor for devices whose memory is elsewhere: score tiles are made, reduced and folded where the tensors are.

mod gradient;
mod mask;
mod matrix;
mod sweep;

use crate::attach::{self, INPUTS, Operand, Operands};
use crate::error::Result;
use crate::supervision::Supervision;
use burn::tensor::{Device, Tensor};
use keener::engine::{Batch, Frozen, MatrixSpec, Objective, Options, Slot, View};
use keener::state::Update;
use matrix::{Folded, Matrix};
use sweep::{TensorSweep, blocks};

pub use sweep::TileSize;

/// Value and gradients, in the places of [`Operands`].
pub(crate) struct Evaluated {
    pub(crate) value: f32,
    pub(crate) values: Vec<f32>,
    pub(crate) gradients: Operands,
    pub(crate) report: Frozen<f32>,
    pub(crate) updates: Vec<Update<f32>>,
}

/// Runs an objective over tensors without autodiff. Gradients are computed where `tracked` says so.
pub(crate) fn evaluate(
    objective: &dyn Objective<f32>,
    operands: &Operands,
    supervision: &Supervision<'_>,
    options: &Options,
    tracked: [bool; INPUTS],
    tile: TileSize,
    device: &Device,
) -> Result<Evaluated> {
    let inner: Operands = operands.clone().map(|o| o.map(Operand::inner));
    let matrix = |k: usize| match &inner[k] {
        Some(Operand::Matrix(t)) => Some(t.clone()),
        _ => None,
    };
    let vector = |k: usize| match &inner[k] {
        Some(Operand::Vector(t)) => Some(t.clone()),
        _ => None,
    };
    let [queries, candidates, second, given, second_given] = [matrix(0), matrix(1), matrix(2), matrix(3), matrix(4)];
    let bias = vector(5);
    check_shapes(&[&queries, &candidates, &second, &given, &second_given], bias.as_ref())?;
    if options.check_finite {
        check_finite(&inner)?;
    }
    // The host step sees how many rows and columns there are, and none of the numbers.
    let shape = given.as_ref().map(|g| g.dims());
    let rows = shape.map(|s| s[0]).or(queries.as_ref().map(|q| q.dims()[0])).unwrap_or(0);
    let cols = shape.map(|s| s[1]).or(candidates.as_ref().map(|c| c.dims()[0]));
    let parameters = vector(6).map(|p| attach::read(p, "parameters")).transpose()?;
    let host_bias = bias.clone().map(|b| attach::read(b, "bias")).transpose()?;
    let mut batch = Batch::embeddings(View::new(&[], rows, 0)?);
    if let Some(cols) = cols {
        batch = batch.with_candidates(View::new(&[], cols, 0)?);
    }
    if let Some(parameters) = &parameters {
        batch = batch.with_parameters(parameters.as_slice());
    }
    batch.bias = host_bias.as_deref();
    let batch = supervision.complete(batch)?;
    batch.check_labelled(options.check_finite, objective.label_count(batch.classes()))?;
    let expected = objective.parameters().len();
    if !batch.parameters.is_empty() && batch.parameters.len() != expected {
        let expected = format!("[{expected}] for {}", objective.name());
        return Err(keener::Error::shape("parameters", &[batch.parameters.len()], expected).into());
    }

    let missing = |what: &str| keener::Error::MissingInput { objective: objective.name().into(), missing: what.into() };
    let make = |spec: MatrixSpec| -> keener::Result<Matrix> {
        match (spec.slot, &given, &second_given, &queries, &second, &candidates) {
            (Slot::Main, Some(scores), ..) | (Slot::Second, _, Some(scores), ..) => {
                Ok(Matrix::given(spec, scores.clone()))
            }
            (Slot::Main, _, _, Some(q), _, Some(c)) | (Slot::Second, _, _, _, Some(q), Some(c)) => {
                if bias.is_some() && spec.scorer != keener::engine::Scorer::Inner {
                    return Err(keener::Error::Unsupported {
                        what: format!("a bias with {:?} scores in {}", spec.scorer, objective.name()),
                        hint: "leave the bias out".into(),
                    });
                }
                Ok(Matrix::product(spec, q.clone(), c.clone(), bias.clone()))
            }
            (Slot::Pairs, _, _, Some(q), ..) => Ok(Matrix::product(spec, q.clone(), q.clone(), None)),
            (Slot::Main, ..) => Err(missing("queries and candidates, or scores")),
            (Slot::Second, ..) => Err(missing("a second version of the queries, or second scores")),
            (Slot::Pairs, ..) => Err(missing("embeddings")),
        }
    };
    let matrices = objective.matrices().into_iter().map(make).collect::<keener::Result<Vec<_>>>()?;
    let mut sweep =
        TensorSweep { objective: objective.name(), matrices, tile, device: device.clone(), report: Vec::new() };
    let normalizer = objective.normalizer(&batch)?;
    let outcome = objective.evaluate(&mut sweep, &batch)?;
    let inverse = if normalizer == 0.0 { 0.0 } else { 1.0 / normalizer };
    let value = (outcome.values.iter().map(|v| f64::from(*v)).sum::<f64>() * inverse) as f32;
    let mut gradients: Operands = Default::default();
    if tracked.contains(&true) {
        let backward = (outcome.backward)(&vec![inverse as f32; outcome.values.len()]);
        let wants = |m: &Matrix| match m.spec.slot {
            Slot::Pairs => [tracked[0], tracked[0], false],
            Slot::Main => [tracked[0], tracked[1] || tracked[5], tracked[3]],
            Slot::Second => [tracked[2], tracked[1] || tracked[5], tracked[4]],
        };
        let buffers = sweep.gradients(&backward.terms, wants)?;
        for (matrix, buffers) in sweep.matrices.iter().zip(buffers) {
            let (rows, cols) = (blocks(matrix.rows, sweep.tile.rows), blocks(matrix.cols, sweep.tile.cols));
            let Folded { left, right, bias, scores } = matrix.finish(buffers, &rows, &cols);
            let second = matrix.spec.slot == Slot::Second;
            put(&mut gradients, if second { 2 } else { 0 }, left.map(Operand::Matrix));
            put(&mut gradients, if matrix.is_pairs() { 0 } else { 1 }, right.map(Operand::Matrix));
            put(&mut gradients, if second { 4 } else { 3 }, scores.map(Operand::Matrix));
            put(&mut gradients, 5, bias.map(Operand::Vector));
        }
        if tracked[6] && !backward.parameters.is_empty() {
            let length = backward.parameters.len();
            let data = burn::tensor::TensorData::new(backward.parameters, [length]);
            gradients[6] = Some(Operand::Vector(Tensor::from_data(data, device)));
        }
        gradients.iter_mut().zip(tracked).filter(|(_, t)| !t).for_each(|(g, _)| *g = None);
    }
    let (values, updates) = (outcome.values, outcome.updates);
    Ok(Evaluated { value, values, gradients, report: sweep.report, updates })
}

fn put(into: &mut Operands, at: usize, part: Option<Operand>) {
    let Some(part) = part else { return };
    into[at] = Some(match (into[at].take(), part) {
        (Some(Operand::Matrix(a)), Operand::Matrix(b)) => Operand::Matrix(a + b),
        (Some(Operand::Vector(a)), Operand::Vector(b)) => Operand::Vector(a + b),
        (_, part) => part,
    });
}

/// The checks of the core's door that need shapes of tensors.
fn check_shapes(
    [queries, candidates, second, given, second_given]: &[&Option<Tensor<2>>; 5],
    bias: Option<&Tensor<1>>,
) -> keener::Result<()> {
    use keener::Error;
    if queries.is_none() && given.is_none() {
        return Err(Error::MissingInput { objective: "every objective".into(), missing: "queries or scores".into() });
    }
    if let (Some(q), Some(c)) = (queries, candidates)
        && q.dims()[1] != c.dims()[1]
    {
        let expected = format!("[N, {}], the width of the queries", q.dims()[1]);
        return Err(Error::shape("candidates", &c.dims(), expected));
    }
    for (what, first, other) in [("second queries", queries, second), ("second scores", given, second_given)] {
        if let (Some(first), Some(other)) = (first, other)
            && first.dims() != other.dims()
        {
            return Err(Error::shape(what, &other.dims(), format!("{:?} like the first", first.dims())));
        }
    }
    let columns = given.as_ref().map(|g| g.dims()[1]).or(candidates.as_ref().map(|c| c.dims()[0]));
    if let (Some(bias), Some(columns)) = (bias, columns)
        && bias.dims()[0] != columns
    {
        return Err(Error::shape("bias", &bias.dims(), format!("[{columns}]")));
    }
    Ok(())
}

/// One number a tensor comes to the host; where it says so, the culprit is looked for there.
fn check_finite(operands: &Operands) -> Result<()> {
    const WHAT: [&str; INPUTS] =
        ["queries", "candidates", "second queries", "scores", "second scores", "bias", "parameters"];
    for (what, operand) in WHAT.into_iter().zip(operands) {
        let (sum, cols, values) = match operand {
            None => continue,
            Some(Operand::Matrix(t)) => ((t.clone() * 0.0).sum(), t.dims()[1], Operand::Matrix(t.clone())),
            Some(Operand::Vector(t)) => ((t.clone() * 0.0).sum(), t.dims()[0], Operand::Vector(t.clone())),
        };
        if attach::read(sum, what)?.iter().all(|s| s.is_finite()) {
            continue;
        }
        let values = match values {
            Operand::Matrix(t) => attach::read(t, what)?,
            Operand::Vector(t) => attach::read(t, what)?,
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (row, column) = (at / cols.max(1), at % cols.max(1));
            let value = values[at].to_string();
            return Err(keener::Error::NonFinite { what: what.into(), value, row, column }.into());
        }
    }
    Ok(())
}
