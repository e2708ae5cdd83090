//! How many steps a second the training loop makes on the embedded digits, by head and objective.
//!
//! `cargo run --release -p keener-burn --example steps_per_second`

use burn::tensor::Device;
use keener_burn::{HeadConfig, Labelled, TrainConfig, Training};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = keener_data::digits();
    let data = data.select(&(0..1000).collect::<Vec<_>>());
    let labelled = Labelled::new(&data.features, data.dim, &data.labels, data.num_classes())?;
    println!("1000 rows of 64 features, batches of 128");
    for (objective, head) in [
        ("softmax_cross_entropy", HeadConfig::linear()),
        ("softmax_cross_entropy", HeadConfig::Linear { hidden: Some(128), embedding: None, bias: true }),
        ("cosface", HeadConfig::cosine()),
        ("cosface", HeadConfig::Cosine { hidden: Some(128), embedding: None }),
        ("tcm", HeadConfig::projection()),
        ("info_nce", HeadConfig::projection()),
        ("trades", HeadConfig::linear()),
    ] {
        let steps = 2000;
        let config = TrainConfig { objective: objective.into(), head: head.clone(), steps, ..TrainConfig::default() };
        let mut training = Training::new(config, labelled, &Device::flex())?;
        let start = Instant::now();
        for _ in 0..steps {
            training.step()?;
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{:>8.0} steps/s  {objective} with {head:?}", steps as f64 / seconds);
    }
    Ok(())
}
