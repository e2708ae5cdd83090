//! The winner as code to paste: burn, and PyTorch.

use super::candidate::{Candidate, effective, entry_of};
use super::config::CompareConfig;
use super::fit::{Fit, train_config};
use super::tune::Chosen;
use serde_json::Value;

/// A program in Rust that trains the chosen head on burn, and the loss alone as an operation.
pub fn burn_code(candidate: &Candidate, config: &CompareConfig, chosen: &Chosen, classes: usize) -> String {
    let told =
        Fit { spec: chosen.spec.clone(), learning_rate: chosen.learning_rate, steps: config.steps, seed: config.seed };
    let train = train_config(candidate, config, &told);
    let (candidates, second) = match (candidate.classes, entry_of(&chosen.spec).map(|e| e.reads)) {
        (true, _) => ("Some(class_weights)", "&Supervision::classes(labels)"),
        (false, Some(keener::objective::Reads::PairedViews)) => {
            ("Some(second_views)", "&Supervision::none().with_ids(labels, labels)")
        }
        (false, _) => ("None", "&Supervision::classes(labels)"),
    };
    format!(
        "use burn::tensor::Device;\n\
         use keener_burn::{{HeadConfig, Labelled, ObjectiveLoss, Supervision, TrainConfig, Training}};\n\n\
         // The loss alone, in your own model:\n\
         let loss = ObjectiveLoss::parse(\"{spec}\")?;\n\
         let value = loss.forward(embeddings, {candidates}, {second})?; // differentiable, shape [1]\n\n\
         // The whole training, as it was compared:\n\
         let config = TrainConfig {{\n\
         \x20   head: HeadConfig::{head:?},\n\
         \x20   objective: \"{spec}\".into(),\n\
         \x20   learning_rate: {rate:?},\n\
         \x20   weight_decay: {decay:?},\n\
         \x20   batch_size: {batch},\n\
         \x20   steps: {steps},\n\
         \x20   warmup: {warmup},\n\
         \x20   ..TrainConfig::default()\n\
         }};\n\
         let rows = Labelled::new(&features, dim, &labels, {classes})?;\n\
         let mut training = Training::new(config, rows, &Device::flex())?;\n\
         while training.steps_done() < training.config().steps {{\n\
         \x20   training.step()?;\n\
         }}\n",
        spec = chosen.spec,
        head = train.head,
        rate = train.learning_rate,
        decay = train.weight_decay,
        batch = train.batch_size,
        steps = train.steps,
        warmup = train.warmup,
    )
}

/// The loss as a PyTorch expression over what its comment names; addends of a sum one after the other.
pub fn pytorch_code(spec: &str) -> String {
    let parts: Vec<String> = spec
        .split('+')
        .map(|part| {
            let weight = part.split([':', ',']).find_map(|a| a.trim().strip_prefix("weight="));
            let expression = expression(part);
            match weight {
                Some(weight) => format!("{weight} * ({expression})"),
                None => expression,
            }
        })
        .collect();
    parts.join("\n+ ")
}

fn expression(part: &str) -> String {
    let Some(entry) = entry_of(part) else { return String::new() };
    let mut text = entry.pytorch.to_string();
    for (name, value) in effective(part) {
        let shown = match &value {
            Value::Bool(true) => "True".to_string(),
            Value::Bool(false) => "False".to_string(),
            Value::Null => "None".to_string(),
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        text = text.replace(&format!("{{{name}}}"), &shown);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{CompareConfig, HeadChoice};
    use super::*;

    #[test]
    fn parameters_are_filled_in() {
        assert_eq!(
            pytorch_code("cosface:margin=0.2,scale=16"),
            "F.cross_entropy(16 * (F.normalize(x) @ F.normalize(W).T - 0.2 * F.one_hot(y, W.shape[0])), y)"
        );
        for name in super::super::default_objectives() {
            let text = pytorch_code(&name);
            for (parameter, _) in effective(&name) {
                assert!(!text.contains(&format!("{{{parameter}}}")), "{text}");
            }
        }
        assert!(pytorch_code("arcface+tcm:weight=0.5").contains("\n+ 0.5 * ("));
    }

    #[test]
    fn burn_code_names_what_was_tuned() {
        let candidate = Candidate::new("cosface", HeadChoice::Auto).unwrap();
        let chosen = Chosen { spec: "cosface:margin=0.2,scale=16".into(), learning_rate: 0.004 };
        let code = burn_code(&candidate, &CompareConfig::default(), &chosen, 10);
        assert!(code.contains("learning_rate: 0.004") && code.contains("cosface:margin=0.2,scale=16"), "{code}");
        assert!(code.contains("HeadConfig::Cosine { hidden: Some(128), embedding: Some(64) }"), "{code}");
    }
}
