//! The line protocol of `bench/peers`: a step a line, so that contenders can be timed in turn.

use super::inputs::{Inputs, Matrix};
use super::record::name_of;
use super::{Args, memory};
use crate::chosen::{Chosen, Number};
use crate::output::print_json_line;
use anyhow::{Context, Result};
use keener::engine::{Gradients, evaluate};
use npyz::WriterBuilder;
use serde_json::{Value, json};
use std::io::{BufRead, BufWriter};
use std::path::Path;
use std::time::Instant;

/// Answers `step`, `write` and `quit` until the input ends.
pub(super) fn serve<T: Number + npyz::AutoSerialize + npyz::Serialize>(
    chosen: &Chosen,
    inputs: &Inputs<T>,
    args: &Args,
) -> Result<()> {
    let objective = T::pick(&chosen.objective);
    let batch = inputs.batch()?;
    let options = args.options();
    rayon::broadcast(|_| ());
    // What every contender holds when memory begins to count: inputs and one touched gradient each.
    let touched: Vec<Vec<T>> = inputs.matrices().map(|m| vec![T::one(); m.data.len()]).collect();
    let mut ready = sizes();
    ready["ready"] = json!(true);
    print_json_line(&ready)?;
    drop(std::hint::black_box(touched));

    let mut gradients: Option<Gradients<T>> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read standard input")?;
        let answer = match line.trim() {
            "" => continue,
            "quit" => return Ok(()),
            "step" => {
                gradients = None;
                let start = Instant::now();
                match evaluate(objective, &batch, &options) {
                    Ok(found) => {
                        let seconds = start.elapsed().as_secs_f64();
                        let mut answer = sizes();
                        answer["seconds"] = json!(seconds);
                        answer["loss"] = json!(found.loss.f64());
                        answer["schedule"] = json!(name_of(found.choice.schedule));
                        gradients = Some(found.gradients);
                        answer
                    }
                    Err(error) => failed(&error.into()),
                }
            }
            "write" => match (&args.inputs, &gradients) {
                (Some(folder), Some(gradients)) => match write(&folder.join("out"), inputs, gradients) {
                    Ok(()) => json!({"written": true}),
                    Err(error) => failed(&error),
                },
                _ => json!({"failed": "there is nothing to write before the first step"}),
            },
            other => json!({"failed": format!("unknown word {other:?}: expected step, write or quit")}),
        };
        print_json_line(&answer)?;
    }
    Ok(())
}

fn failed(error: &anyhow::Error) -> Value {
    json!({"failed": format!("{error:#}")})
}

fn sizes() -> Value {
    json!({"rss_bytes": memory::resident(), "hwm_bytes": memory::high_water()})
}

fn write<T: npyz::AutoSerialize + npyz::Serialize>(
    folder: &Path,
    inputs: &Inputs<T>,
    gradients: &Gradients<T>,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let all: [(&str, Option<&Matrix<T>>, &[T]); 3] = [
        ("grad_queries.npy", Some(&inputs.queries), &gradients.queries),
        ("grad_candidates.npy", inputs.candidates.as_ref(), &gradients.candidates),
        ("grad_second.npy", inputs.second.as_ref(), &gradients.second),
    ];
    for (name, input, gradient) in all {
        let Some(input) = input else { continue };
        let path = folder.join(name);
        let say = || format!("cannot write {}", path.display());
        let file = BufWriter::new(std::fs::File::create(&path).with_context(say)?);
        let shape = [input.rows as u64, input.cols as u64];
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd().with_context(say)?;
        writer.extend(gradient).with_context(say)?;
        writer.finish().with_context(say)?;
    }
    Ok(())
}
