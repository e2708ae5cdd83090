//! Attacks on burn models: [`keener::attack`] with gradients of the input from burn's graph.

use crate::attach;
use crate::error::{Error, Result};
use crate::head::Head;
use burn::tensor::{Device, Tensor, TensorData};
use keener::attack::{Attacked, Found, Pgd};

/// Anything that takes inputs `[B, d]` to scores `[B, n]` with burn operations, under attack at `rows` rows.
struct Model<F> {
    scores: F,
    rows: usize,
    dim: usize,
    classes: usize,
    device: Device,
}

fn raised(e: Error) -> keener::Error {
    match e {
        Error::Core(e) => e,
        other => keener::Error::Unsupported { what: "the attack".into(), hint: other.to_string() },
    }
}

impl<F: Fn(Tensor<2>) -> Result<Tensor<2>>> Model<F> {
    fn tensor(&self, values: Vec<f32>, cols: usize, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, [self.rows, cols]), device)
    }
}

impl<F: Fn(Tensor<2>) -> Result<Tensor<2>>> Attacked<f32> for Model<F> {
    fn shape(&self) -> (usize, usize, usize) {
        (self.rows, self.dim, self.classes)
    }

    fn scores(&mut self, x: &[f32]) -> keener::Result<Vec<f32>> {
        let x = self.tensor(x.to_vec(), self.dim, &self.device);
        let scores = (self.scores)(x).map_err(raised)?;
        attach::read(scores, "scores").map_err(raised)
    }

    fn gradient(
        &mut self,
        x: &[f32],
        slope: &mut dyn FnMut(&[f32]) -> keener::Result<Vec<f32>>,
    ) -> keener::Result<Vec<f32>> {
        let x = self.tensor(x.to_vec(), self.dim, &self.device).require_grad();
        let scores = (self.scores)(x.clone()).map_err(raised)?;
        let slope = slope(&attach::read(scores.clone(), "scores").map_err(raised)?)?;
        let slope = self.tensor(slope, self.classes, &self.device);
        match x.grad(&(scores * slope).sum().backward()) {
            Some(gradient) => attach::read(gradient, "the gradient of the input").map_err(raised),
            None => Ok(vec![0.0; self.rows * self.dim]),
        }
    }
}

/// Attacks a model given as a function from inputs `[B, d]` to scores `[B, n]`, at `x` `[B, d]` of classes `targets`.
///
/// The function is handed tensors of `device` with autodiff. Weights that are constants in it (`.inner()`) cost no gradient.
///
/// # Errors
/// Shapes and labels that do not fit, and what the function raises.
pub fn attack(
    pgd: &Pgd,
    scores: impl Fn(Tensor<2>) -> Result<Tensor<2>>,
    x: &[f32],
    targets: &[u32],
    seed: u64,
    device: &Device,
) -> Result<Found<f32>> {
    let device = device.clone().autodiff();
    let rows = targets.len();
    let dim = x.len() / rows.max(1);
    if rows == 0 || rows * dim != x.len() {
        return Err(keener::Error::shape("x", &[x.len()], format!("{rows} rows of one length, at least one")).into());
    }
    let sample = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [rows, dim]), &device);
    let classes = scores(sample)?.dims()[1];
    let mut model = Model { scores, rows, dim, classes, device };
    Ok(pgd.attack(&mut model, x, targets, seed)?)
}

/// Attacks the class scores of a head.
///
/// # Errors
/// As [`attack`]; [`Error::Unsupported`] for a projection, which has no classes.
pub fn attack_head(
    pgd: &Pgd,
    head: &Head,
    x: &[f32],
    targets: &[u32],
    seed: u64,
    device: &Device,
) -> Result<Found<f32>> {
    attack(pgd, |x| head.constant_scores(x), x, targets, seed, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadConfig;
    use keener::attack::{Goal, LinearModel, Norm, PgdConfig};
    use keener::engine::View;

    #[test]
    fn a_linear_head_is_attacked_as_the_linear_model_is() {
        let head = HeadConfig::linear().init(5, 3, &[], 4, &Device::flex().autodiff()).unwrap();
        let named = head.named_parameters().unwrap();
        let x: Vec<f32> = (0..20).map(|k| ((k * 7 % 11) as f32 - 5.0) / 6.0).collect();
        for (goal, norm) in [(Goal::CrossEntropy, Norm::Linf), (Goal::MarginShift, Norm::L2), (Goal::Kl, Norm::Linf)] {
            let config =
                PgdConfig { epsilon: 0.2, step: 0.07, steps: 4, restarts: 2, goal, norm, ..Default::default() };
            let pgd = config.check().unwrap();
            let mut model = LinearModel::new(View::new(&named[0].2, 3, 5).unwrap(), &named[1].2, 4).unwrap();
            let expected = pgd.attack(&mut model, &x, &[0, 1, 2, 0], 9).unwrap();
            let found = attack_head(&pgd, &head, &x, &[0, 1, 2, 0], 9, &Device::flex()).unwrap();
            assert!(found.x.iter().zip(&expected.x).all(|(a, b)| (a - b).abs() < 1e-4), "{goal:?}");
            assert!(found.values.iter().zip(&expected.values).all(|(a, b)| (a - b).abs() < 1e-4), "{goal:?}");
        }
    }
}
