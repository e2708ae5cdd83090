//! `keener bench factored`: seconds a step against the number of classes, factored beside dense.

use super::Args;
use crate::error::Failure;
use crate::output::{print_json, print_table};
use anyhow::{Context, Result};
use keener_papers::output_layers::{Layer, dense, factored, median};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Cell, Column, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Numbers of classes unless one is asked for.
const CLASSES: [usize; 6] = [1000, 10_000, 30_000, 100_000, 300_000, 1_000_000];
/// The dense layers are timed up to so many.
const MOST_DENSE: usize = 300_000;

/// One number of classes; medians in seconds.
#[derive(Debug, Serialize)]
struct Record {
    classes: usize,
    factored: f64,
    factored_samples: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    softmax: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    z_loss: Option<f64>,
    /// The softmax of PyTorch, from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    torch: Option<f64>,
}

/// What bench/peers/factored.py writes.
#[derive(Debug, Default, Deserialize)]
struct Peer {
    dim: usize,
    batch: usize,
    /// By number of classes.
    seconds: BTreeMap<usize, f64>,
}

impl Peer {
    fn read(args: &Args, dim: usize, batch: usize) -> Result<Self> {
        let Some(path) = &args.peer else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let found: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} was not written by bench/peers/factored.py", path.display()))?;
        match (found.dim, found.batch) == (dim, batch) {
            true => Ok(found),
            false => {
                let (dim, batch) = (found.dim, found.batch);
                let message = format!("{} was measured with other sizes", path.display());
                Err(Failure::wrong(message).hint(format!("--dim {dim} --batch {batch}")).into())
            }
        }
    }
}

/// Times the layers.
///
/// # Errors
/// Sizes that make no layer, a plot that cannot be written.
pub(super) fn run(args: &Args) -> Result<()> {
    let (dim, batch) = (args.dim.unwrap_or(64), args.batch.unwrap_or(64));
    let counts = args.candidates.map_or(CLASSES.to_vec(), |n| vec![n]);
    let peer = Peer::read(args, dim, batch)?;
    let mut records = Vec::new();
    for classes in counts {
        let layer = Layer { classes, dim, batch };
        let slow = |objective: &str| -> Result<Option<f64>> {
            let wanted = classes <= MOST_DENSE || args.candidates.is_some();
            let seconds =
                wanted.then(|| dense(objective, layer, args.warm_up as usize, args.repeat as usize, args.seed));
            Ok(seconds.transpose()?.map(|s| median(&s)))
        };
        // Fast steps want many repetitions; the rows they touch must not lie in a cache from before.
        let samples = factored(layer, 50, 100 * args.repeat as usize, args.seed)?;
        let (softmax, z_loss) = (slow("softmax_cross_entropy")?, slow("z_loss")?);
        let torch = peer.seconds.get(&classes).copied();
        records.push(Record { classes, factored: median(&samples), factored_samples: samples, softmax, z_loss, torch });
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, picture(&records, dim, batch))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.output.json {
        let runs = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "threads": rayon::current_num_threads(), "dim": dim, "batch": batch,
            "seed": args.seed, "runs": records,
        });
        return print_json(&runs);
    }
    let threads = rayon::current_num_threads();
    let title = format!("Milliseconds a step: {dim} hidden units, batch {batch}, threads: {threads}, f32; medians");
    let mut table = Table::new(title)
        .column(Column::number("classes", 0))
        .column(Column::number("Z factored", 3))
        .column(Column::number("softmax dense", 2))
        .column(Column::number("Z dense", 2))
        .column(Column::number("PyTorch softmax", 2))
        .column(Column::number("softmax / factored", 1))
        .column(Column::number("PyTorch / factored", 1))
        .note("A step is forward, backward and update. Classes are drawn by Zipf's law and lie anywhere in memory.");
    for r in &records {
        let ms = |s: Option<f64>| Cell::from(s.map(|s| 1e3 * s));
        let [ratio, peer] = [r.softmax, r.torch].map(|slow| Cell::from(slow.map(|s| s / r.factored)));
        table.push([
            Cell::from(r.classes as f64),
            ms(Some(r.factored)),
            ms(r.softmax),
            ms(r.z_loss),
            ms(r.torch),
            ratio,
            peer,
        ]);
    }
    print_table(&table)
}

fn picture(records: &[Record], dim: usize, batch: usize) -> String {
    let of = |name: &str, pick: fn(&Record) -> Option<f64>| {
        Series::new(name, records.iter().filter_map(|r| Some((r.classes as f64, 1e3 * pick(r)?))))
    };
    let lines = Lines {
        title: format!("Time of a step: {dim} hidden units, batch {batch}"),
        x: Axis::log("classes"),
        y: Axis::log("milliseconds"),
        series: vec![
            of("Z factored", |r| Some(r.factored)),
            of("softmax dense", |r| r.softmax),
            of("Z dense", |r| r.z_loss),
            of("PyTorch softmax", |r| r.torch),
        ],
        ..Lines::default()
    };
    plot::lines(&lines).standalone()
}
