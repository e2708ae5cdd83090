//! The training loop: a head on features, one objective, a budget of steps.

use crate::attach;
use crate::attack::attack_head;
use crate::config::{ClassWeights, TrainConfig};
use crate::data::{Input, Labelled};
use crate::error::{Error, Result};
use crate::gradient::{Diagnosis, GradientTransform};
use crate::head::{Head, normalized};
use crate::loss::{Inputs, ObjectiveLoss, Reduced};
use crate::optimizer::{Optimizer, Update};
use crate::plan::Wiring;
use crate::sampler::{ATTACKS, Drawn, Sampler, SamplerConfig, random};
use crate::supervision::{Supervision, one_hot};
use burn::tensor::{Device, Tensor, TensorData};
use keener::attack::Pgd;
use keener::metrics::collapse::{nlm_alignment, softmax_collapse};
use keener::state::SampleStore;
use keener::transform::{OrthogonalConfig, orthogonalize};
use keener_run::Stop;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

/// Shortens gradients to length `most` over all of them together.
fn shorten(gradients: &mut [Option<Vec<f32>>], most: f64) {
    let length = gradients.iter().flatten().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    if length > most {
        let factor = (most / length) as f32;
        gradients.iter_mut().flatten().flatten().for_each(|g| *g *= factor);
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// From 0.
    pub step: usize,
    /// The loss of its batch, before the update.
    pub loss: f32,
    /// The learning rate of the update.
    pub learning_rate: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The budget is spent.
    Finished,
    /// It was asked to stop; it can be resumed from its checkpoint.
    Stopped,
    /// The validation callback broke off.
    BrokenOff,
}

/// What happens besides steps.
#[derive(Clone, Debug, Default)]
pub struct RunOptions<'a> {
    /// Steps between validations; 0 for one at the end alone.
    pub validate_every: usize,
    /// Where to write a checkpoint after each validation and on a stop.
    pub checkpoint: Option<&'a Path>,
    /// Checked before each step.
    pub stop: Stop,
}

/// A head in training.
#[derive(Clone, Debug)]
pub struct Training<'a> {
    pub(crate) config: TrainConfig,
    pub(crate) data: Labelled<'a>,
    pub(crate) head: Head,
    pub(crate) optimizer: Optimizer,
    pub(crate) records: Vec<StepRecord>,
    loss: ObjectiveLoss,
    pub(crate) samples: SampleStore<f32>,
    pgd: Pgd,
    wiring: Wiring,
    sampler: Sampler,
    class_weights: Option<Vec<f32>>,
    device: Device,
    /// Of the data; computed when a checkpoint is written first.
    pub(crate) fingerprint: OnceLock<u64>,
}

/// Brings class weights back to length one (arXiv 2102.03243, with the reference's `eps`).
fn project(name: &str, shape: &[usize], weights: &mut [f32]) -> Result<()> {
    match shape {
        [_, dim] if name == "classes.weight" => Ok(keener::estimate::project_unit_norm(weights, *dim, 1e-7)?),
        _ => Ok(()),
    }
}

impl<'a> Training<'a> {
    /// A fresh head on `device` (with or without autodiff).
    ///
    /// # Errors
    /// Numbers out of range, unknown objectives, and heads that do not give what the objective reads.
    pub fn new(config: TrainConfig, data: Labelled<'a>, device: &Device) -> Result<Self> {
        config.check()?;
        let device = device.clone().autodiff();
        let loss = ObjectiveLoss::parse(&config.objective)?;
        let initial: Vec<f32> = loss.objective.f32().parameters().iter().map(|p| p.initial as f32).collect();
        let mut head = config.head.init(data.dim(), data.classes, &initial, config.seed, &device)?;
        if Wiring::of(&config, &loss)?.projected {
            head.replace(|name, shape, mut weights| {
                project(name, shape, &mut weights)?;
                Ok(weights)
            })?;
        }
        Self::with_head(config, data, head, loss, device)
    }

    pub(crate) fn with_head(
        config: TrainConfig,
        data: Labelled<'a>,
        head: Head,
        loss: ObjectiveLoss,
        device: Device,
    ) -> Result<Self> {
        let wiring = Wiring::of(&config, &loss)?;
        let unsupported = |what: String, hint: &str| Err(Error::Unsupported { what, hint: hint.into() });
        let sampler = match data.bags.filter(|_| wiring.bags) {
            Some(bags) => Sampler::of_bags(bags.of_rows, config.batch_size, config.seed),
            None if data.labels.is_empty() => {
                let what = format!("`{}` on rows that have bags and no classes", config.objective);
                return unsupported(what, "an objective that reads bags, such as `aggregate`");
            }
            None if wiring.sampler == SamplerConfig::Bags => {
                return unsupported("the sampler `bags` without bags".into(), "give the bag of each row");
            }
            None => Sampler::new(wiring.sampler, data.labels, data.classes, config.batch_size, config.seed),
        };
        let class_weights = (config.class_weights == ClassWeights::Balanced && !data.labels.is_empty())
            .then(|| balanced(data.labels, data.classes));
        let pgd = config.attack.pgd(&config.objective)?;
        let (optimizer, records, samples) = (Optimizer::default(), Vec::new(), SampleStore::new());
        let fingerprint = OnceLock::new();
        Ok(Self {
            config,
            data,
            head,
            optimizer,
            records,
            loss,
            samples,
            pgd,
            wiring,
            sampler,
            class_weights,
            device,
            fingerprint,
        })
    }

    /// The head as it is now.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// State by sample (row number of the data) that the objective keeps.
    pub fn samples(&self) -> &SampleStore<f32> {
        &self.samples
    }

    /// Every step so far.
    pub fn records(&self) -> &[StepRecord] {
        &self.records
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.records.len()
    }

    /// Trains until the budget is spent, validating on the way (and once more at the end).
    ///
    /// # Errors
    /// Whatever a step, a checkpoint or the callback raises.
    pub fn run(
        &mut self,
        options: &RunOptions<'_>,
        validate: &mut dyn FnMut(&Self) -> Result<ControlFlow<()>>,
    ) -> Result<Ended> {
        let save = |training: &Self| options.checkpoint.map_or(Ok(()), |path| training.save_checkpoint(path));
        while self.steps_done() < self.config.steps {
            if options.stop.is_set() {
                save(self)?;
                return Ok(Ended::Stopped);
            }
            self.step()?;
            let done = self.steps_done();
            let due = options.validate_every > 0 && done.is_multiple_of(options.validate_every);
            if due || done == self.config.steps {
                let go_on = validate(self)?;
                save(self)?;
                if go_on.is_break() {
                    return Ok(Ended::BrokenOff);
                }
            }
        }
        Ok(Ended::Finished)
    }

    /// One step: batch, loss, gradients, update.
    ///
    /// # Errors
    /// What the objective raises; [`Error::Diverged`] when the loss is not finite.
    pub fn step(&mut self) -> Result<StepRecord> {
        let step = self.records.len();
        let learning_rate = self.config.learning_rate_at(step);
        let drawn = self.sampler.draw(step);
        let Reduced { loss, value, updates, .. } = match self.batch_loss(&drawn, step) {
            Err(Error::Core(keener::Error::NonFinite { .. })) => {
                return Err(Error::Diverged { step, loss: f32::NAN, learning_rate });
            }
            other => other?,
        };
        if !value.is_finite() {
            return Err(Error::Diverged { step, loss: value, learning_rate });
        }
        if loss.is_tracked() {
            let gradients = self.head.gradients(&mut loss.backward())?;
            drop(loss);
            self.update(step, learning_rate, gradients)?;
        }
        self.samples.apply(&updates)?;
        let record = StepRecord { step, loss: value, learning_rate };
        self.records.push(record);
        Ok(record)
    }

    fn update(&mut self, step: usize, learning_rate: f64, mut gradients: Vec<Option<Vec<f32>>>) -> Result<()> {
        if let Some(most) = self.config.clip_norm {
            shorten(&mut gradients, most);
        }
        let mut gradients = gradients.into_iter();
        let (optimizer, rule) = (&mut self.optimizer, &self.config.optimizer);
        let (decay, projected) = (self.config.weight_decay, self.wiring.projected);
        let orthogonal = self.config.gradient == GradientTransform::Orthogonal;
        self.head.replace(|name, shape, mut weights| {
            if let Some(mut gradient) = gradients.next().flatten() {
                if orthogonal && name != "objective.parameters" {
                    orthogonalize(&weights, &mut gradient, &OrthogonalConfig::default())?;
                }
                let weight_decay = if name == "objective.parameters" { 0.0 } else { decay };
                let update = Update { rule, time: step + 1, learning_rate, weight_decay };
                optimizer.step(&update, name, &mut weights, &gradient);
                if projected {
                    project(name, shape, &mut weights)?;
                }
            }
            Ok(weights)
        })
    }

    /// What the next step would see, without making it: collapse of the softmax, length of the gradient and its alignment with the
    /// weights.
    ///
    /// # Errors
    /// As [`Training::step`].
    pub fn diagnose(&self) -> Result<Diagnosis> {
        let step = self.records.len();
        let drawn = self.sampler.clone().draw(step);
        let loss = self.batch_loss(&drawn, step)?.loss;
        let gradients = match loss.is_tracked() {
            true => self.head.gradients(&mut loss.backward())?,
            false => Vec::new(),
        };
        let named = self.head.named_parameters()?;
        let both = named.iter().zip(&gradients).filter_map(|((_, _, w), g)| Some((w.as_slice(), g.as_deref()?)));
        let (weights, parts): (Vec<&[f32]>, Vec<&[f32]>) = both.unzip();
        let gradient = parts.iter().copied().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let collapsed = match self.head.num_classes() {
            0 => None,
            classes => {
                let x = self.data.batch(&drawn.rows, false, &self.device)?.x;
                let scores = attach::read(self.head.scores(x)?.inner(), "scores")?;
                Some(softmax_collapse::<f32, f32>(&scores, classes)?.fraction)
            }
        };
        Ok(Diagnosis { collapsed, alignment: nlm_alignment(&weights, &parts).ok(), gradient })
    }

    /// Brings rows, head and supervision into the form that the objective reads.
    fn batch_loss(&self, drawn: &Drawn, step: usize) -> Result<Reduced> {
        let labels: Vec<u32> = drawn.rows.iter().filter_map(|r| self.data.labels.get(*r as usize)).copied().collect();
        let wiring = &self.wiring;
        let compact = self.head.reads_columns() && !wiring.second;
        let x = self.data.batch(&drawn.rows, compact, &self.device)?;
        let queries = self.queries(x.clone());
        let mut inputs = Inputs::embeddings(queries);
        let mut supervision = Supervision::classes(labels.as_slice());
        if let Some(classes) = self.head.class_weights().filter(|_| wiring.classes) {
            let classes = if self.head.has_layers() { classes } else { x.weights(classes) };
            inputs = inputs.with_candidates(if wiring.normalize { normalized(classes) } else { classes });
            if let Some(bias) = self.head.class_bias() {
                inputs = inputs.with_bias(bias);
            }
        }
        if wiring.pairs {
            let partners = self.data.batch(&drawn.partners, compact, &self.device)?;
            inputs = inputs.with_candidates(self.queries(partners));
            // Row i belongs to row i; others of its class are not negatives.
            supervision = Supervision::none().with_ids(labels.clone(), labels.clone());
        }
        if wiring.positives {
            supervision = supervision.with_positives(one_hot(&labels));
        }
        if wiring.second {
            let attacked = self.attacked(x.x, &labels, step)?;
            inputs = inputs.with_second(self.queries(attacked.into()));
        }
        if let Some(bags) = self.data.bags.filter(|_| wiring.bags) {
            // Bags come whole and one after the other.
            let (mut of_rows, mut responses, mut last) = (Vec::with_capacity(drawn.rows.len()), Vec::new(), None);
            for row in &drawn.rows {
                let bag = bags.of_rows[*row as usize];
                if last != Some(bag) {
                    let at = bag as usize * bags.columns;
                    responses.extend_from_slice(&bags.responses[at..at + bags.columns]);
                    last = Some(bag);
                }
                of_rows.push((responses.len() / bags.columns) as u32 - 1);
            }
            supervision = Supervision::none().with_bags(of_rows, responses, bags.columns);
        }
        if let Some(weights) = &self.class_weights {
            supervision = supervision.with_class_weights(weights.as_slice());
        }
        supervision = supervision.with_samples(drawn.rows.as_slice(), &self.samples);
        if let Some(parameters) = self.head.learned() {
            inputs = inputs.with_parameters(parameters);
        }
        self.loss.reduced(&inputs, &supervision)
    }

    fn queries(&self, x: Input) -> Tensor<2> {
        let x = self.head.through_layers(x, false);
        if self.wiring.normalize { normalized(x) } else { x }
    }

    /// The features moved within the ball so that the attack's goal rises.
    fn attacked(&self, x: Tensor<2>, labels: &[u32], step: usize) -> Result<Tensor<2>> {
        let dims = x.dims();
        let centre = attach::read(x, "features")?;
        let seed = random(self.config.seed, ATTACKS, step).random::<u64>();
        let found = attack_head(&self.pgd, &self.head, &centre, labels, seed, &self.device)?;
        Ok(Tensor::from_data(TensorData::new(found.x, dims), &self.device))
    }
}

/// `n / (C n_c)` of each class; 0 for classes without rows.
fn balanced(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|l| counts[*l as usize] += 1);
    let weight = |n: &usize| if *n == 0 { 0.0 } else { labels.len() as f32 / (classes * n) as f32 };
    counts.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadConfig;

    #[test]
    fn attacks_stay_in_the_box_and_raise_the_loss() {
        let features: Vec<f32> = (0..40).map(|k| ((k * 37 % 19) as f32 - 9.0) / 9.0).collect();
        let labels = [0u32, 1, 2, 0, 1, 2, 0, 1];
        let data = Labelled::new(&features, 5, &labels, 3).unwrap();
        let heads = [
            HeadConfig::linear(),
            HeadConfig::Cosine { hidden: Some(7), embedding: None },
            HeadConfig::Linear { hidden: Some(7), embedding: None, bias: true },
        ];
        for (head, steps) in heads.into_iter().zip([1, 4, 4]) {
            let attack = crate::AttackConfig { epsilon: 0.2, steps, step_size: 0.5, ..Default::default() };
            let config = TrainConfig { head, attack, ..TrainConfig::default() };
            let objective = ObjectiveLoss::parse("softmax_cross_entropy").unwrap();
            let training = Training::new(config, data, &Device::flex()).unwrap();
            let loss_at = |x: Tensor<2>| {
                let scores = training.head().scores(x).unwrap();
                objective.reduced(&Inputs::scores(scores), &Supervision::classes(&labels[..])).unwrap().value
            };
            let x = data.batch(&[0, 1, 2, 3, 4, 5, 6, 7], false, &training.device).unwrap().x;
            let moved = training.attacked(x.clone(), &labels, 3).unwrap();
            let change = (moved.clone() - x.clone()).abs().max().into_scalar::<f32>();
            assert!(change > 0.1 && change <= 0.2 + 1e-6, "{change}");
            assert!(loss_at(moved.clone()) > loss_at(x.clone()) + 0.01);
            let again = training.attacked(x, &labels, 3).unwrap();
            assert_eq!(moved.into_data(), again.into_data());
        }
    }
}
