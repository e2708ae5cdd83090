//! A small network for reproductions: looked-up inputs, layers with ReLU, and class weights under any objective.
//!
//! Products of the core, gradients in closed form; a step depends on the seed alone, whatever the number of threads.

use keener::engine::{Batch, Options, View, evaluate};
use keener::objective::SharedObjective;
use keener::products::{MatRef, gemm};
use keener_burn::{Optimizer, Update};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What becomes of the rows that an input looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// One-hot inputs through a layer: their rows are added, then ReLU.
    Sum,
    /// Embeddings: their rows lie side by side.
    Concat,
}

/// Sizes of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'s> {
    /// Rows of the table, and their width.
    pub(crate) table: (usize, usize),
    pub(crate) join: Join,
    /// Rows that one input looks up.
    pub(crate) looked_up: usize,
    /// Widths of the layers that follow; all but the last have a ReLU, and the last has one where `relu_last` says so.
    pub(crate) layers: &'s [usize],
    pub(crate) relu_last: bool,
    pub(crate) bias: bool,
    /// Class weights above the last layer; 0 for none.
    pub(crate) classes: usize,
}

/// A matrix `[out, in]`, with a bias where the network has them.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    inputs: usize,
}

/// A network with its gradients' way back.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    join: Join,
    looked_up: usize,
    relu_last: bool,
    table: Layer,
    layers: Vec<Layer>,
    pub(crate) classes: Option<Layer>,
}

/// Gradients of every tensor, in the order of [`Network::tensors_mut`].
pub(crate) type Gradients = Vec<Vec<f32>>;

impl Network {
    /// Uniform in `±1/√fan_in`, as PyTorch's `nn.Linear`; embeddings uniform in ±1.
    pub(crate) fn new(shape: Shape<'_>, seed: u64) -> Self {
        let mut stream = 0;
        let mut layer = |out: usize, inputs: usize, bound: f32, bias: bool| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            stream += 1;
            let mut uniform = |n: usize| (0..n).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
            Layer { weights: uniform(out * inputs), bias: uniform(if bias { out } else { 0 }), inputs }
        };
        let (rows, width) = shape.table;
        let inverse_root = |n: usize| 1.0 / (n as f32).sqrt();
        let (bound, mut at) = match shape.join {
            Join::Sum => (inverse_root(rows), width),
            Join::Concat => (1.0, width * shape.looked_up),
        };
        let table = layer(rows, width, bound, false);
        let mut layers = Vec::new();
        for out in shape.layers {
            layers.push(layer(*out, at, inverse_root(at), shape.bias));
            at = *out;
        }
        let classes = (shape.classes > 0).then(|| layer(shape.classes, at, inverse_root(at), shape.bias));
        Self { join: shape.join, looked_up: shape.looked_up, relu_last: shape.relu_last, table, layers, classes }
    }

    fn joined(&self, ids: &[u32]) -> Vec<f32> {
        let width = self.table.inputs;
        let row = |id: &u32| &self.table.weights[*id as usize * width..(*id as usize + 1) * width];
        match self.join {
            Join::Concat => ids.iter().flat_map(row).copied().collect(),
            Join::Sum => {
                let mut out = Vec::with_capacity(ids.len() / self.looked_up * width);
                for ids in ids.chunks_exact(self.looked_up) {
                    let start = out.len();
                    out.extend_from_slice(row(&ids[0]));
                    for id in &ids[1..] {
                        out[start..].iter_mut().zip(row(id)).for_each(|(o, w)| *o += w);
                    }
                }
                out.iter_mut().for_each(|x| *x = x.max(0.0));
                out
            }
        }
    }

    fn relu_after(&self, layer: usize) -> bool {
        layer + 1 < self.layers.len() || self.relu_last
    }

    /// What meets the class weights, with every activation before it: `[B, width]` each.
    fn activations(&self, ids: &[u32]) -> Vec<Vec<f32>> {
        let rows = ids.len() / self.looked_up;
        let mut all = vec![self.joined(ids)];
        for (k, layer) in self.layers.iter().enumerate() {
            let mut y = layer.forward(&all[k], rows);
            if self.relu_after(k) {
                y.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            all.push(y);
        }
        all
    }

    /// What meets the class weights `[B, width]`.
    pub(crate) fn hidden(&self, ids: &[u32]) -> Vec<f32> {
        self.activations(ids).pop().unwrap_or_default()
    }

    /// Scores of each class `[B, N]`.
    pub(crate) fn scores(&self, ids: &[u32]) -> Vec<f32> {
        let hidden = self.hidden(ids);
        self.classes.as_ref().map_or(Vec::new(), |c| c.forward(&hidden, ids.len() / self.looked_up))
    }

    /// Loss and gradients of a batch under an objective that reads class weights.
    pub(crate) fn loss(
        &self,
        objective: &SharedObjective,
        ids: &[u32],
        targets: &[u32],
    ) -> keener::Result<(f64, Gradients)> {
        let activations = self.activations(ids);
        let Some(classes) = &self.classes else {
            return Err(keener::Error::MissingInput {
                objective: objective.f32().name().into(),
                missing: "classes".into(),
            });
        };
        let (rows, width) = (targets.len(), classes.inputs);
        let last = activations.last().map_or(&[][..], Vec::as_slice);
        let mut batch = Batch::embeddings(View::new(last, rows, width)?)
            .with_candidates(View::new(&classes.weights, classes.weights.len() / width, width)?)
            .with_targets(targets);
        if !classes.bias.is_empty() {
            batch = batch.with_bias(&classes.bias);
        }
        let run = evaluate(objective.f32(), &batch, &Options::default())?;
        let mut gradients = self.backward(ids, &activations, run.gradients.queries);
        gradients.push(run.gradients.candidates);
        if !classes.bias.is_empty() {
            gradients.push(run.gradients.bias);
        }
        Ok((f64::from(run.loss), gradients))
    }

    /// Loss and gradients of a batch under a loss of the scores `[B, N]` that gives its value and slopes.
    pub(crate) fn loss_of_scores(
        &self,
        ids: &[u32],
        loss: impl Fn(&[f32], usize) -> (f64, Vec<f32>),
    ) -> (f64, Gradients) {
        let activations = self.activations(ids);
        let Some(classes) = &self.classes else { return (0.0, Vec::new()) };
        let rows = ids.len() / self.looked_up;
        let (last, width) = (activations.last().map_or(&[][..], Vec::as_slice), classes.inputs);
        let scores = classes.forward(last, rows);
        let count = scores.len() / rows;
        let (value, slopes) = loss(&scores, count);
        let slopes_view = MatRef::new(&slopes, rows, count);
        let mut below = vec![0.0; rows * width];
        gemm(1.0, slopes_view, MatRef::new(&classes.weights, count, width), 0.0, &mut below, width);
        let mut weights = vec![0.0; classes.weights.len()];
        gemm(1.0, slopes_view.t(), MatRef::new(last, rows, width), 0.0, &mut weights, width);
        let mut gradients = self.backward(ids, &activations, below);
        gradients.push(weights);
        if !classes.bias.is_empty() {
            let mut bias = vec![0.0; count];
            slopes.chunks_exact(count).for_each(|g| bias.iter_mut().zip(g).for_each(|(b, g)| *b += g));
            gradients.push(bias);
        }
        (value, gradients)
    }

    /// Gradients of all below the class weights, from the gradient of what meets them.
    pub(crate) fn below(&self, ids: &[u32], gradient: Vec<f32>) -> Gradients {
        self.backward(ids, &self.activations(ids), gradient)
    }

    fn backward(&self, ids: &[u32], activations: &[Vec<f32>], mut gradient: Vec<f32>) -> Gradients {
        let rows = ids.len() / self.looked_up;
        let mut found: Vec<Vec<f32>> = Vec::new();
        let masked = |g: &mut Vec<f32>, y: &[f32]| {
            g.iter_mut().zip(y).for_each(|(g, y)| *g = if *y > 0.0 { *g } else { 0.0 });
        };
        for (k, layer) in self.layers.iter().enumerate().rev() {
            if self.relu_after(k) {
                masked(&mut gradient, &activations[k + 1]);
            }
            let (out, inputs) = (gradient.len() / rows, layer.inputs);
            let g = MatRef::new(&gradient, rows, out);
            if !layer.bias.is_empty() {
                let mut bias = vec![0.0; out];
                gradient.chunks_exact(out).for_each(|g| bias.iter_mut().zip(g).for_each(|(b, g)| *b += g));
                found.push(bias);
            }
            let mut weights = vec![0.0; out * inputs];
            gemm(1.0, g.t(), MatRef::new(&activations[k], rows, inputs), 0.0, &mut weights, inputs);
            found.push(weights);
            let mut below = vec![0.0; rows * inputs];
            gemm(1.0, g, MatRef::new(&layer.weights, out, inputs), 0.0, &mut below, inputs);
            gradient = below;
        }
        if self.join == Join::Sum {
            masked(&mut gradient, &activations[0]);
        }
        let width = self.table.inputs;
        let mut table = vec![0.0; self.table.weights.len()];
        for (at, id) in ids.iter().enumerate() {
            let from = match self.join {
                Join::Sum => at / self.looked_up * width,
                Join::Concat => at * width,
            };
            let to = *id as usize * width;
            table[to..to + width].iter_mut().zip(&gradient[from..from + width]).for_each(|(t, g)| *t += g);
        }
        found.push(table);
        found.reverse();
        found
    }

    /// Every tensor: table, then weights and bias of each layer, then of the classes.
    pub(crate) fn tensors_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let mut all = vec![&mut self.table.weights];
        for layer in self.layers.iter_mut().chain(&mut self.classes) {
            all.push(&mut layer.weights);
            if !layer.bias.is_empty() {
                all.push(&mut layer.bias);
            }
        }
        all
    }

    /// One update of every tensor that has a gradient.
    pub(crate) fn update(&mut self, optimizer: &mut Optimizer, update: &Update<'_>, gradients: &Gradients) {
        for (k, (weights, gradient)) in self.tensors_mut().into_iter().zip(gradients).enumerate() {
            optimizer.step(update, &format!("{k:02}"), weights, gradient);
        }
    }
}

impl Layer {
    fn forward(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let out = self.weights.len() / self.inputs;
        let mut y = vec![0.0; rows * out];
        let (left, right) = (MatRef::new(x, rows, self.inputs), MatRef::new(&self.weights, out, self.inputs));
        gemm(1.0, left, right.t(), 0.0, &mut y, out);
        if !self.bias.is_empty() {
            y.chunks_exact_mut(out).for_each(|y| y.iter_mut().zip(&self.bias).for_each(|(y, b)| *y += b));
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let objective = keener::objective::parse("softmax_cross_entropy").unwrap();
        for (join, bias, relu_last) in [(Join::Sum, false, true), (Join::Concat, true, false)] {
            let shape = Shape { table: (9, 5), join, looked_up: 2, layers: &[7, 4], relu_last, bias, classes: 6 };
            let network = Network::new(shape, 3);
            let (ids, targets) = ([0, 5, 3, 3, 8, 1, 2, 7], [0, 5, 2, 2]);
            let (loss, gradients) = network.loss(&objective, &ids, &targets).unwrap();
            let tensors = network.clone().tensors_mut().len();
            assert_eq!((tensors, gradients.len()), (if bias { 7 } else { 4 }, tensors));
            let mut checked = 0;
            for (k, gradient) in gradients.iter().enumerate() {
                for (at, g) in gradient.iter().enumerate().step_by(3) {
                    let moved = |by: f32| {
                        let mut other = network.clone();
                        other.tensors_mut()[k][at] += by;
                        other.loss(&objective, &ids, &targets).unwrap().0
                    };
                    let (up, down) = (moved(1e-2), moved(-1e-2));
                    // Where a ReLU turns in between, both sides differ, and the difference by as much as they do.
                    let turn = ((up - loss) - (loss - down)).abs();
                    if turn < 2e-4 {
                        let numeric = (up - down) / 2e-2;
                        assert!(
                            (f64::from(*g) - numeric).abs() < 2e-3 + turn / 2e-2,
                            "{join:?} tensor {k} at {at}: {g} {numeric}"
                        );
                        checked += 1;
                    }
                }
            }
            assert!(checked > 20);
            let given = network.loss_of_scores(&ids, |scores, n| {
                let batch = Batch::scores(View::new(scores, 4, n).unwrap()).with_targets(&targets[..]);
                let run = evaluate(objective.f32(), &batch, &Options::default()).unwrap();
                (f64::from(run.loss), run.gradients.scores)
            });
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!((given.0 - loss).abs() < 1e-6 && given.1.len() == gradients.len());
            assert!(given.1.iter().flatten().zip(gradients.iter().flatten()).all(close));
            assert_eq!(network.scores(&ids).len(), 4 * 6);
        }
    }
}
