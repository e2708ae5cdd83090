//! An objective as a differentiable function of burn tensors.

use crate::attach::{self, Numbers, Operand, Operands, PullBack};
use crate::error::{Error, Result};
use crate::supervision::Supervision;
use crate::tensors::{self, TileSize};
use burn::tensor::{DType, Device, Tensor, TensorData};
use keener::engine::{self, Batch, Forward, Frozen, Gradients, Options, View};
use keener::objective::SharedObjective;
use keener::state::Update;
use std::sync::{Arc, Mutex};

/// The tensors that an objective reads. Build with [`Inputs::embeddings`] or [`Inputs::scores`].
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    queries: Option<Tensor<2>>,
    candidates: Option<Tensor<2>>,
    second: Option<Tensor<2>>,
    scores: Option<Tensor<2>>,
    second_scores: Option<Tensor<2>>,
    bias: Option<Tensor<1>>,
    parameters: Option<Tensor<1>>,
}

impl Inputs {
    /// Queries `[B, d]`.
    pub fn embeddings(queries: Tensor<2>) -> Self {
        Self { queries: Some(queries), ..Self::default() }
    }

    /// Scores `[B, N]`, made elsewhere.
    pub fn scores(scores: Tensor<2>) -> Self {
        Self { scores: Some(scores), ..Self::default() }
    }

    /// Adds candidates `[N, d]`: class weights, documents, the other view.
    pub fn with_candidates(mut self, candidates: Tensor<2>) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// Adds a second version of the queries `[B, d]`.
    pub fn with_second(mut self, second: Tensor<2>) -> Self {
        self.second = Some(second);
        self
    }

    /// Adds a second version of given scores `[B, N]`.
    pub fn with_second_scores(mut self, scores: Tensor<2>) -> Self {
        self.second_scores = Some(scores);
        self
    }

    /// Adds a bias for each candidate `[N]`.
    pub fn with_bias(mut self, bias: Tensor<1>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Adds values of the objective's learned parameters, in the order it declares them.
    pub fn with_parameters(mut self, parameters: Tensor<1>) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// In the order of [`NAMES`].
    pub(crate) fn operands(&self) -> Operands {
        let matrix = |t: &Option<Tensor<2>>| t.clone().map(Operand::Matrix);
        let vector = |t: &Option<Tensor<1>>| t.clone().map(Operand::Vector);
        [
            matrix(&self.queries),
            matrix(&self.candidates),
            matrix(&self.second),
            matrix(&self.scores),
            matrix(&self.second_scores),
            vector(&self.bias),
            vector(&self.parameters),
        ]
    }
}

const NAMES: [&str; attach::INPUTS] =
    ["queries", "candidates", "second queries", "scores", "second scores", "bias", "parameters"];

/// A matrix whose numbers can be looked at.
struct Matrix {
    numbers: Numbers,
    shape: [usize; 2],
}

/// The tensors as slices.
pub(crate) struct Held {
    matrices: [Option<Matrix>; 5],
    bias: Option<Numbers>,
    parameters: Option<Numbers>,
}

impl Held {
    fn of(operands: &Operands) -> Result<Self> {
        let matrix = |k: usize| match &operands[k] {
            Some(Operand::Matrix(t)) => {
                Ok::<_, Error>(Some(Matrix { numbers: Numbers::of(t, NAMES[k])?, shape: t.dims() }))
            }
            _ => Ok(None),
        };
        let vector = |k: usize| match &operands[k] {
            Some(Operand::Vector(t)) => Numbers::of(t, NAMES[k]).map(Some),
            _ => Ok(None),
        };
        let matrices = [matrix(0)?, matrix(1)?, matrix(2)?, matrix(3)?, matrix(4)?];
        Ok(Self { matrices, bias: vector(5)?, parameters: vector(6)? })
    }

    fn batch<'b>(&'b self, supervision: &'b Supervision<'_>) -> Result<Batch<'b, f32>> {
        let view = |k: usize| -> Result<Option<View<'b, f32>>> {
            let matrix = self.matrices[k].as_ref();
            Ok(matrix.map(|m| View::new(m.numbers.as_slice(), m.shape[0], m.shape[1])).transpose()?)
        };
        let mut batch = Batch {
            queries: view(0)?,
            candidates: view(1)?,
            second: view(2)?,
            given: view(3)?,
            second_given: view(4)?,
            bias: self.bias.as_ref().map(Numbers::as_slice),
            ..Batch::default()
        };
        if let Some(parameters) = &self.parameters {
            batch = batch.with_parameters(parameters.as_slice());
        }
        supervision.complete(batch)
    }
}

struct Owner {
    held: Held,
    supervision: Supervision<'static>,
    objective: SharedObjective,
    options: Options,
}

self_cell::self_cell!(
    /// A forward pass together with what it looks at, until its backward pass.
    struct Kept {
        owner: Owner,
        #[covariant]
        dependent: Forward32,
    }
);

type Forward32<'a> = Forward<'a, f32>;

/// A reduced loss and what the engine reported beside it.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The loss `[1]`, differentiable.
    pub loss: Tensor<1>,
    /// Its value.
    pub value: f32,
    /// Frozen and reported quantities by name (scale, margin, thresholds …).
    pub report: Frozen<f32>,
    /// New values of per-sample state, to be applied to the store when the step counts.
    pub updates: Vec<Update<f32>>,
}

/// An objective over burn tensors: closed-form gradients, no graph inside, no `[B, N]` matrix beyond the memory budget.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use keener_burn::{ObjectiveLoss, Supervision};
///
/// let device = Device::flex().autodiff();
/// let queries = Tensor::<2>::from_floats([[1.0, 0.0], [0.2, 0.9]], &device);
/// let classes = Tensor::<2>::from_floats([[0.5, 0.1], [0.0, 0.7], [-0.3, 0.2]], &device).require_grad();
/// let loss = ObjectiveLoss::parse("softmax_cross_entropy")?;
/// let loss = loss.forward(queries, Some(classes.clone()), &Supervision::classes(&[0, 1][..]))?;
/// let gradients = loss.backward();
/// assert_eq!(classes.grad(&gradients).unwrap().dims(), [3, 2]);
/// # Ok::<(), keener_burn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ObjectiveLoss {
    /// The objective.
    pub objective: SharedObjective,
    /// Memory budget, schedule, and whether non-finite input is refused. Which gradients are computed follows from
    /// which tensors are tracked.
    pub options: Options,
    tiles: Option<TileSize>,
}

impl ObjectiveLoss {
    /// With default options.
    pub fn new(objective: SharedObjective) -> Self {
        Self { objective, options: Options::default(), tiles: None }
    }

    /// Computes with tensor operations in tiles of this size, as on devices whose memory is elsewhere. Without this, Flex
    /// tensors are read as slices where they are, which is faster, and other devices take the default size.
    pub fn with_tiles(mut self, size: TileSize) -> Self {
        self.tiles = Some(TileSize { rows: size.rows.max(1), cols: size.cols.max(1) });
        self
    }

    /// The tile size, unless tensors are read as slices.
    fn tiles_on(&self, device: &Device) -> Option<TileSize> {
        self.tiles.or((!attach::is_flex(device)).then(TileSize::default))
    }

    /// From a specification, as [`keener::objective::parse`] reads it.
    ///
    /// # Errors
    /// Unknown names and parameters.
    pub fn parse(spec: &str) -> Result<Self> {
        Ok(Self::new(keener::objective::parse(spec)?))
    }

    /// Initial values `[P]` of the objective's learned parameters; `None` if it has none.
    pub fn initial_parameters(&self, device: &Device) -> Option<Tensor<1>> {
        let initial: Vec<f32> = self.objective.f32().parameters().iter().map(|p| p.initial as f32).collect();
        let length = initial.len();
        (length > 0).then(|| Tensor::from_data(TensorData::new(initial, [length]), device))
    }

    /// The reduced loss `[1]` of queries `[B, d]` against candidates `[N, d]` (absent where an objective reads the pairs
    /// of a batch).
    ///
    /// # Errors
    /// Shapes, labels, number types and devices that do not fit, before anything is computed.
    pub fn forward(
        &self,
        queries: Tensor<2>,
        candidates: Option<Tensor<2>>,
        supervision: &Supervision<'_>,
    ) -> Result<Tensor<1>> {
        Ok(self.reduced(&Inputs { candidates, ..Inputs::embeddings(queries) }, supervision)?.loss)
    }

    /// The reduced loss of any inputs, with what the engine reports.
    ///
    /// # Errors
    /// As [`ObjectiveLoss::forward`].
    pub fn reduced(&self, inputs: &Inputs, supervision: &Supervision<'_>) -> Result<Reduced> {
        let operands = inputs.operands();
        let device = checked(&operands)?;
        let (tracked, options) = self.wanted(&operands);
        let objective = self.objective.f32();
        if let Some(size) = self.tiles_on(&device) {
            let found = tensors::evaluate(objective, &operands, supervision, &options, tracked, size, &device)?;
            let loss = attach::reattach(operands, scalar(found.value, &device), found.gradients);
            return Ok(Reduced { loss, value: found.value, report: found.report, updates: found.updates });
        }
        let held = Held::of(&operands)?;
        let batch = held.batch(supervision)?;
        if !tracked.contains(&true) {
            let pass = engine::forward(objective, &batch, &options)?;
            let (value, report, updates) = (pass.loss(), pass.report().clone(), pass.updates().to_vec());
            return Ok(Reduced { loss: scalar(value, &device), value, report, updates });
        }
        let found = engine::evaluate(objective, &batch, &options)?;
        let value = found.loss;
        let shapes = shapes(&operands);
        let gradients = to_operands(found.gradients, &shapes, &device);
        let output = scalar(value, &device);
        let pull: PullBack = Arc::new(move |upstream, wanted| {
            let device = upstream.device();
            let factor = attach::read(upstream, "the upstream gradient").map_or(f32::NAN, |v| v[0]);
            let mut out: Operands = Default::default();
            for k in 0..attach::INPUTS {
                out[k] = gradients[k].clone().filter(|_| wanted[k]).map(|g| match g {
                    g if factor == 1.0 => g,
                    Operand::Vector(t) => Operand::Vector(t * factor),
                    Operand::Matrix(t) => Operand::Matrix(t * factor),
                });
            }
            without_part(&mut out, wanted, &shapes, &device);
            out
        });
        let loss = attach::attach(operands, output, pull);
        Ok(Reduced { loss, value, report: found.report, updates: found.updates })
    }

    /// The value of each row `[B]` (or a single value `[1]`, where the objective is a number of the whole batch), before
    /// reduction. Weights given to the rows afterwards reach the gradients.
    ///
    /// # Errors
    /// As [`ObjectiveLoss::forward`]; [`Error::Unsupported`] on devices other than Flex when a tensor is tracked.
    pub fn rows(&self, inputs: &Inputs, supervision: &Supervision<'_>) -> Result<Tensor<1>> {
        let operands = inputs.operands();
        let device = checked(&operands)?;
        let (tracked, options) = self.wanted(&operands);
        let any = tracked.contains(&true);
        if any && self.tiles_on(&device).is_some() {
            return Err(Error::Unsupported {
                what: format!("row values with gradients on {device:?} with tensor operations"),
                hint: "use the reduced loss there, or Flex".into(),
            });
        }
        if let Some(size) = self.tiles_on(&device) {
            let objective = self.objective.f32();
            let found = tensors::evaluate(objective, &operands, supervision, &options, tracked, size, &device)?;
            let count = found.values.len();
            return Ok(Tensor::from_data(TensorData::new(found.values, [count]), &device));
        }
        let shapes = shapes(&operands);
        let owner = Owner {
            held: Held::of(&operands)?,
            supervision: supervision.clone().into_owned(),
            objective: self.objective.clone(),
            options,
        };
        let kept = Kept::try_new(owner, |owner| {
            let batch = owner.held.batch(&owner.supervision)?;
            Ok::<_, Error>(engine::forward(owner.objective.f32(), &batch, &owner.options)?)
        })?;
        let values = kept.borrow_dependent().values().to_vec();
        let count = values.len();
        let output = Tensor::from_data(TensorData::new(values, [count]), &device);
        if !any {
            return Ok(output);
        }
        let kept = Mutex::new(kept);
        let pull: PullBack = Arc::new(move |upstream, wanted| {
            let device = upstream.device();
            let weights = attach::read(upstream, "the upstream gradient").unwrap_or_default();
            let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let gradients = kept.with_dependent_mut(|_, pass| pass.backward(&weights));
            let mut out = to_operands(gradients.unwrap_or_default(), &shapes, &device);
            out.iter_mut().zip(wanted).filter(|(_, wanted)| !wanted).for_each(|(g, _)| *g = None);
            without_part(&mut out, wanted, &shapes, &device);
            out
        });
        Ok(attach::attach(operands, output, pull))
    }

    /// Which tensors are tracked, and options that compute the gradients of those alone.
    fn wanted(&self, operands: &Operands) -> ([bool; attach::INPUTS], Options) {
        let tracked = operands.each_ref().map(|o| o.as_ref().is_some_and(Operand::is_tracked));
        let options = Options {
            queries: tracked[0] || tracked[2] || tracked[3] || tracked[4],
            candidates: tracked[1] || tracked[5],
            ..self.options.clone()
        };
        (tracked, options)
    }
}

fn scalar(value: f32, device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(vec![value], [1]), device)
}

/// Devices and number types, before anything is read; returns the device without autodiff.
fn checked(operands: &Operands) -> Result<Device> {
    let named: [(&str, &Option<Operand>); attach::INPUTS] = std::array::from_fn(|k| (NAMES[k], &operands[k]));
    let device = attach::check_devices(&named)?;
    for (what, operand) in named {
        if let Some(found) = operand.as_ref().map(Operand::dtype).filter(|d| *d != DType::F32) {
            return Err(Error::DType { what: what.into(), found: format!("{found:?}"), expected: "F32" });
        }
    }
    Ok(device)
}

pub(crate) type Shapes = [[usize; 2]; attach::INPUTS];

fn shapes(operands: &Operands) -> Shapes {
    operands.each_ref().map(|o| match o {
        Some(Operand::Matrix(t)) => t.dims(),
        Some(Operand::Vector(t)) => [1, t.dims()[0]],
        None => [0, 0],
    })
}

/// Zeros for tracked inputs that take no part in an objective: the graph wants a gradient of each.
fn without_part(out: &mut Operands, wanted: [bool; attach::INPUTS], shapes: &Shapes, device: &Device) {
    for (k, gradient) in out.iter_mut().enumerate() {
        if wanted[k] && gradient.is_none() {
            let [rows, cols] = shapes[k];
            *gradient = Some(match k < 5 {
                true => Operand::Matrix(Tensor::zeros([rows, cols], device)),
                false => Operand::Vector(Tensor::zeros([cols], device)),
            });
        }
    }
}

/// Gradients as tensors in the shapes of their inputs; absent where the engine computed none.
fn to_operands(gradients: Gradients<f32>, shapes: &Shapes, device: &Device) -> Operands {
    let Gradients { queries, candidates, bias, second, scores, second_scores, parameters } = gradients;
    let all = [queries, candidates, second, scores, second_scores, bias, parameters];
    let mut out: Operands = Default::default();
    for (k, values) in all.into_iter().enumerate() {
        let [rows, cols] = shapes[k];
        if values.len() != rows * cols || values.is_empty() {
            continue;
        }
        out[k] = Some(match k {
            0..5 => Operand::Matrix(Tensor::from_data(TensorData::new(values, [rows, cols]), device)),
            _ => Operand::Vector(Tensor::from_data(TensorData::new(values, [cols]), device)),
        });
    }
    out
}
