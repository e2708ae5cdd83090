//! The loss of CLIP over features as they are.

use super::super::case::Case;
use super::super::{Outputs, objective};
use crate::error::Result;

/// `log_logit_scale`; `image`, `text` `[N, d]`, not normalised here → `loss`, gradients of both and of the log scale.
pub(super) fn clip_loss(case: &Case) -> Result<Outputs> {
    let temperature = (-case.number("log_logit_scale")?).exp();
    let mut parameters = case.params.clone();
    parameters.remove("log_logit_scale");
    parameters.insert("temperature".into(), temperature.into());
    parameters.insert("normalize".into(), false.into());
    parameters.insert("learn_temperature".into(), true.into());
    let mut outputs = objective::perform(case, "symmetric_info_nce", parameters)?;
    if let Some(gradient) = outputs.remove("grad_log_scale") {
        outputs.insert("grad_log_logit_scale".into(), gradient);
    }
    Ok(outputs)
}
