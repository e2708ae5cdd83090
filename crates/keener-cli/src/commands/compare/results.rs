//! Everything measured, as JSON.

use super::Compared;
use anyhow::Result;
use keener_burn::compare::{self, Candidate, Rung, Unit};
use serde_json::{Value, json};

/// How tuning went, in words; the same sentence stands in the report.
pub(crate) fn tuning_words(compared: &Compared<'_>) -> String {
    let config = &compared.plan.config;
    if config.trials == 1 {
        return "Nothing was tuned: every objective ran with its defaults at the middle learning rate.".into();
    }
    let rungs = rungs(compared);
    let steps: Vec<String> = rungs.iter().map(|r| format!("{} for {} steps", r.trials, r.steps)).collect();
    format!(
        "By successive halving on development rows: 40 % of all rows (stratified), which no repeat trains, validates or tests \
         on. For every objective {} configurations are drawn from its own grid, its defaults first (all of them, where the grid is smaller); of these run {}, the best of the first round in the second. The grid: \
         learning rates {:?}, the objective's main parameter over the registry's values, and a scale over 8, 16, 32, 64 where \
         it has one that is not the main parameter; what a specification fixes is not tuned. Every trial \
         is trained on {} divisions of the development rows into training and validation rows and judged by the mean validation \
         accuracy, ties by the negative log-likelihood after temperature scaling (retrieval: MAP@R among classes held out from \
         training). Divisions and seeds are apart from those of the repeats.",
        config.trials,
        steps.join(", "),
        config.learning_rates,
        config.folds,
    )
}

fn rungs(compared: &Compared<'_>) -> Vec<Rung> {
    let (steps, trials) = (compared.plan.config.steps, compared.plan.config.trials);
    let rung = |part: usize, share: usize| Rung { trials: trials.div_ceil(share), steps: steps.div_ceil(part) };
    vec![rung(2, 1), rung(1, 3)]
}

/// The file `results.json`.
pub(crate) fn json(compared: &Compared<'_>) -> Result<Value> {
    let config = &compared.plan.config;
    let mut boards = Vec::new();
    for board in &compared.boards {
        let mut value = serde_json::to_value(board)?;
        value["sentence"] = board.sentence().into();
        if let Some(rows) = value["rows"].as_array_mut() {
            for row in rows {
                let metrics = row["metrics"].as_array().cloned().unwrap_or_default();
                let named =
                    metrics.into_iter().filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].clone())));
                row["metrics"] = Value::Object(named.collect());
            }
        }
        if let Some(winner) = board.winner() {
            let candidate = Candidate::new(&winner.objective, config.head).map_err(super::shown)?;
            value["winner"] = json!({
                "objective": winner.chosen.spec,
                "learning_rate": winner.chosen.learning_rate,
                "burn": compare::burn_code(&candidate, config, &winner.chosen, compared.data.num_classes()),
                "pytorch": compare::pytorch_code(&winner.chosen.spec),
            });
        }
        boards.push(value);
    }
    let plain = |unit: &Unit| {
        json!({
            "scenario": unit.scenario, "objective": unit.objective, "repeat": unit.repeat, "chosen": unit.chosen,
            "measures": unit.measures, "failed": unit.failed, "seconds": unit.seconds,
        })
    };
    Ok(json!({
        "plan": compared.plan,
        "command": compared.command,
        "seconds": compared.seconds,
        "threads": compared.workers,
        "peak_memory_bytes": compared.peak_memory,
        "tuning": { "how": tuning_words(compared), "objectives": compared.outcome.tuned },
        "boards": boards,
        "units": compared.outcome.units.iter().map(plain).collect::<Vec<_>>(),
    }))
}
