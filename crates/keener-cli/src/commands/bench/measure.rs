//! One measurement: both passes timed in turn with the bare products, and the memory of the first run.

use super::inputs::Inputs;
use super::products::Bare;
use super::record::{Memory, Pass, Plan, Record, name_of};
use super::{Args, memory};
use crate::chosen::{Chosen, Number};
use crate::output::note;
use anyhow::Result;
use keener::engine::{Gradients, evaluate, forward};
use std::time::Instant;

/// Bytes of all gradients.
fn gradient_bytes<T>(g: &Gradients<T>) -> usize {
    let all = [&g.queries, &g.candidates, &g.bias, &g.second, &g.scores, &g.second_scores, &g.parameters];
    all.iter().map(|v| v.len()).sum::<usize>() * size_of::<T>()
}

/// Measures one objective.
pub(super) fn measure<T: Number>(chosen: &Chosen, inputs: &Inputs<T>, args: &Args) -> Result<Record> {
    let objective = T::pick(&chosen.objective);
    let batch = inputs.batch()?;
    let options = args.options();
    let (warm_up, repeat) = (args.warm_up as usize, args.repeat as usize);
    // Threads hold memory, too: they are there before it is counted.
    rayon::broadcast(|_| ());

    // The first run finds no freed memory that it could use again, so its high-water mark counts everything.
    let counted = memory::reset();
    let before = memory::resident();
    let start = Instant::now();
    let first = evaluate(objective, &batch, &options)?;
    let mut both = vec![start.elapsed().as_secs_f64()];
    let high = memory::high_water();
    let gradients_bytes = gradient_bytes(&first.gradients);
    let beyond = before.zip(high).filter(|_| counted).map(|(b, h)| h.saturating_sub(b).saturating_sub(gradients_bytes));
    if let Some(asked) = options.schedule.filter(|s| *s != first.choice.schedule) {
        let name = chosen.name();
        note(&format!(
            "{name} cannot take the schedule {}: it takes {}",
            name_of(asked),
            name_of(first.choice.schedule)
        ));
    }
    let (choice, loss) = (first.choice.clone(), first.loss.f64());
    drop(first);

    let sizes = inputs.sizes;
    let candidates = inputs.candidates.as_ref().unwrap_or(&inputs.queries);
    let bare = |products: usize| Bare::new(&inputs.queries.data, &candidates.data, sizes.dim, products);

    let mut scores = bare(1);
    let (mut one, mut scores_gflops) = (Vec::with_capacity(repeat), Vec::with_capacity(repeat));
    let mut split = "";
    for round in 0..warm_up + repeat {
        let start = Instant::now();
        let run = forward(objective, &batch, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        split = name_of(run.choice().schedule);
        drop(run);
        if round >= warm_up {
            one.push(seconds);
            scores_gflops.push(scores.gflops());
        }
    }
    drop(scores);

    let mut all = bare(choice.products.clamp(3, 4));
    let mut all_gflops = vec![all.gflops()];
    while both.len() < warm_up + repeat {
        let start = Instant::now();
        let run = evaluate(objective, &batch, &options)?;
        both.push(start.elapsed().as_secs_f64());
        drop(run);
        all_gflops.push(all.gflops());
    }
    both.drain(..warm_up);
    all_gflops.drain(..warm_up);

    let entries: f64 =
        chosen.matrices::<T>(sizes.batch, sizes.candidates).iter().map(|(r, c)| *r as f64 * *c as f64).sum();
    let flops = 2.0 * entries * sizes.dim as f64;
    Ok(Record {
        objective: chosen.name(),
        spec: chosen.spec.clone(),
        sizes,
        dtype: args.dtype,
        seed: args.inputs.is_none().then_some(args.seed),
        loss,
        forward: Pass::new(split, one, flops, &scores_gflops),
        forward_backward: Pass::new(name_of(choice.schedule), both, flops * choice.products as f64, &all_gflops),
        plan: Plan::new(&choice, &options),
        memory: Memory { inputs_bytes: inputs.bytes(), gradients_bytes, beyond_bytes: beyond },
    })
}
