//! keener on burn: objectives as differentiable operations, heads and the training loop.
//!
//! | you want | take |
//! |---|---|
//! | an objective as the loss of your own burn loop | [`ObjectiveLoss`] (see `examples/train_loop.rs`) |
//! | to train a head on features in memory, sparse or on disk, with checkpoints | [`Training`] |
//! | to know which objective is best on your rows | [`compare`] |
//! | embeddings or scores of a trained head | [`embed`], [`scores`]; of rows elsewhere [`embed_rows`], [`score_rows`] |
//! | to move inputs so that a model errs | [`attack()`], [`attack_head`] |
//! | local features of images, pooled and matched | [`ConvEncoder`], [`matching`] |
//!
//! On burn's Flex device the core reads the tensors where they are, and writes gradients that burn takes over without a
//! copy. On other devices ([`ObjectiveLoss::with_tiles`] does the same on Flex) score tiles are made, reduced and folded
//! by tensor operations, and one number a row and tile comes to the host; never is there a `[B, N]` tensor.
//!
//! ```
//! use burn::tensor::Device;
//! use keener_burn::{HeadConfig, Labelled, RunOptions, TrainConfig, Training, scores};
//! use std::ops::ControlFlow;
//!
//! let digits = keener_data::digits();
//! let data = Labelled::new(&digits.features, digits.dim, &digits.labels, digits.num_classes())?;
//! let config = TrainConfig { objective: "cosface".into(), head: HeadConfig::cosine(), steps: 20, ..Default::default() };
//! let mut training = Training::new(config, data, &Device::flex())?;
//! training.run(&RunOptions::default(), &mut |training| {
//!     println!("step {}: loss {}", training.steps_done(), training.records().last().unwrap().loss);
//!     Ok(ControlFlow::Continue(()))
//! })?;
//! assert_eq!(scores(training.head(), &digits.features)?.len(), 1797 * 10);
//! # Ok::<(), keener_burn::Error>(())
//! ```

#![forbid(unsafe_code)]

mod attach;
mod attack;
mod checkpoint;
pub mod compare;
mod config;
mod data;
mod encoder;
mod error;
mod file;
mod gradient;
mod head;
mod infer;
mod loss;
pub mod matching;
mod optimizer;
mod plan;
mod sampler;
mod supervision;
mod tensors;
mod train;

pub use attack::{attack, attack_head};
pub use config::{AttackConfig, ClassWeights, ScheduleConfig, TrainConfig};
pub use data::Labelled;
pub use encoder::{Conv, ConvEncoder, ConvEncoderConfig};
pub use error::{Error, Result};
pub use gradient::{Diagnosis, GradientTransform, orthogonal_gradients};
pub use head::{Dense, Head, HeadConfig};
pub use infer::{embed, embed_rows, score_rows, scores};
pub use keener_run::Stop;
pub use loss::{Inputs, ObjectiveLoss, Reduced};
pub use optimizer::{Optimizer, OptimizerConfig, Update};
pub use plan::{fitting_head, reads_of};
pub use sampler::SamplerConfig;
pub use supervision::{Supervision, one_hot};
pub use tensors::TileSize;
pub use train::{Ended, RunOptions, StepRecord, Training};
