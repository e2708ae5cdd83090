//! Small networks on the embedded digits, for reproductions that train one.

use anyhow::Result;
use burn::tensor::Device;
use keener::metrics::classification::top_k_accuracy;
use keener_burn::{Error, Head, Labelled, TrainConfig, Training, scores};
use keener_data::Dataset;

/// The digits in parts of the given shares, with equal shares of every class.
pub(crate) fn parts(shares: &[f64], seed: u64) -> Result<Vec<Dataset>> {
    let data = keener_data::digits();
    let parts = keener_data::split::stratified(&data.labels, shares, seed)?;
    Ok(parts.iter().map(|rows| data.select(rows)).collect())
}

/// A trained head, and what the training left beside it.
pub(crate) struct Fitted {
    /// Where a loss was not finite, training ended, and this is the head of the step before.
    pub(crate) head: Head,
    /// Values of a field of per-sample state, of the samples that have one.
    pub(crate) state: Vec<f64>,
}

/// Trains on `data`, keeping the values of `field` by sample if the objective has it.
pub(crate) fn fit(config: TrainConfig, data: &Dataset, field: &str) -> Result<Fitted> {
    let labelled = Labelled::new(&data.features, data.dim, &data.labels, data.num_classes())?;
    let mut training = Training::new(config, labelled, &Device::flex())?;
    while training.steps_done() < training.config().steps {
        match training.step() {
            Ok(_) => {}
            Err(Error::Diverged { .. }) => break,
            Err(other) => return Err(other.into()),
        }
    }
    let state = training.samples().field(field).iter().flatten().map(|v| f64::from(*v)).collect();
    Ok(Fitted { head: training.head().clone(), state })
}

/// Share of rows whose class is among the `k` highest scores.
pub(crate) fn top_k(head: &Head, data: &Dataset, k: usize) -> Result<f64> {
    let scores = scores(head, &data.features)?;
    let labels: Vec<usize> = data.labels.iter().map(|l| *l as usize).collect();
    // A head that training has driven out of the range of numbers decides nothing.
    if scores.iter().any(|s| !s.is_finite()) {
        return Ok(k as f64 / data.num_classes() as f64);
    }
    Ok(top_k_accuracy(&scores, data.num_classes(), &labels, k)?)
}

/// Steps of so many epochs in batches of `batch`.
pub(crate) fn steps(data: &Dataset, batch: usize, epochs: usize) -> usize {
    (data.rows() / batch).max(1) * epochs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_network_learns_its_digits_and_keeps_state() {
        let parts = parts(&[0.7, 0.3], 1).unwrap();
        let steps = steps(&parts[0], 64, 4);
        let objective = "aldr_kl".to_string();
        let config = TrainConfig { objective, steps, learning_rate: 0.01, ..TrainConfig::default() };
        let fitted = fit(config, &parts[0], keener::objective::ALDR_FIELD).unwrap();
        assert!(fitted.state.len() > 1000);
        let (one, three) = (top_k(&fitted.head, &parts[1], 1).unwrap(), top_k(&fitted.head, &parts[1], 3).unwrap());
        assert!(one > 0.8 && three > one, "{one} {three}");
    }
}
