//! Your own training loop in burn, with an objective of the registry as its loss.
//!
//! `cargo run --release -p keener-burn --example train_loop -- cosface:scale=16,margin=0.1`

use burn::module::{Initializer, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use keener_burn::{Inputs, ObjectiveLoss, Supervision};

/// An encoder and the class weights that its embeddings are scored against.
#[derive(Module, Debug)]
struct Classifier {
    hidden: Linear,
    embedding: Linear,
    classes: Param<Tensor<2>>,
}

impl Classifier {
    fn new(dim: usize, classes: usize, device: &Device) -> Self {
        let uniform = Initializer::Uniform { min: -0.2, max: 0.2 };
        Self {
            hidden: LinearConfig::new(dim, 128).init(device),
            embedding: LinearConfig::new(128, 64).init(device),
            classes: uniform.init([classes, 64], device),
        }
    }

    fn embed(&self, x: Tensor<2>) -> Tensor<2> {
        self.embedding.forward(relu(self.hidden.forward(x)))
    }
}

fn tensor(data: &keener_data::Dataset, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(data.features.clone(), [data.rows(), data.dim]), device)
}

fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().powi_scalar(2).sum_dim(1).sqrt();
    x / length
}

/// Share of rows whose most similar class weight is that of their class.
fn accuracy(model: &Classifier, data: &keener_data::Dataset) -> Result<f64, Box<dyn std::error::Error>> {
    let device = Device::flex();
    let model = model.clone().valid();
    let scores = unit(model.embed(tensor(data, &device))).matmul(unit(model.classes.val()).transpose());
    let predicted: Vec<i64> = scores.argmax(1).into_data().iter::<i64>().collect();
    let hits = predicted.iter().zip(&data.labels).filter(|(p, label)| **p == i64::from(**label)).count();
    Ok(hits as f64 / data.rows() as f64)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = std::env::args().nth(1).unwrap_or_else(|| "cosface:scale=16,margin=0.1".into());
    let device = Device::flex().autodiff();
    device.seed(7);

    let digits = keener_data::digits();
    let parts = keener_data::split::stratified(&digits.labels, &[0.7, 0.3], 7)?;
    let (train, test) = (digits.select(&parts[0]), digits.select(&parts[1]));

    // The objective: a differentiable function of tensors, like any other loss.
    let loss = ObjectiveLoss::parse(&spec)?;
    let mut model = Classifier::new(train.dim, train.num_classes(), &device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();

    let batch = 128;
    for epoch in 0..15 {
        let mut total = 0.0;
        for start in (0..train.rows() - batch + 1).step_by(batch) {
            let rows: Vec<usize> = (start..start + batch).collect();
            let part = train.select(&rows);
            let queries = model.embed(tensor(&part, &device));
            let inputs = Inputs::embeddings(queries).with_candidates(model.classes.val());
            let found = loss.reduced(&inputs, &Supervision::classes(part.labels.as_slice()))?;
            total += f64::from(found.value);
            let gradients = GradientsParams::from_grads(found.loss.backward(), &model);
            model = optimizer.step(0.003, model, gradients);
        }
        println!("epoch {epoch:>2}  loss {:.4}", total / (train.rows() / batch) as f64);
    }
    let found = accuracy(&model, &test)?;
    println!("{spec}: accuracy {found:.4} on {} test rows", test.rows());
    if found <= 0.95 {
        return Err(format!("accuracy {found:.4}, expected more than 0.95").into());
    }
    Ok(())
}
