//! Measures CPU matrix-product libraries on the tile shapes of keener's engine.
//!
//! `cargo run --release [--features blas] -- [--quick] [--only NAME,…] [--skip peak,tiles,full]
//! [--repeats N] [--json PATH]` prints tables and writes JSON. Rates are GFLOP/s, fastest of the
//! repeats; the JSON holds the medians too.

mod full;
mod library;
mod peak;
mod step;
mod tiles;

use std::error::Error;

use serde_json::{Value, json};

use library::{Library, Scalar, View};
use step::Steps;
use tiles::{Kind, Tile};

struct Options {
    quick: bool,
    libraries: Vec<Library>,
    skip: Vec<String>,
    repeats: usize,
    json: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options(std::env::args().skip(1))?;
    // matrixmultiply is built without its own threads: its whole products are single-threaded.
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global()?;
    library::set_blas_threads(1);
    let worst = check(&options.libraries);
    println!("largest difference from a plain f64 loop over the candidates: {worst:.1e}");
    let peak = peak::measure(200);
    println!("FMA peak, GFLOP/s f32: {peak:.0?}");
    let mut report = json!({
        "unit": "GFLOP/s, [fastest, median]",
        "peak_f32": {
            "avx2": peak.avx2_f32, "avx512": peak.avx512_f32, "two_threads": peak.two_threads_f32,
        },
        "tiles": [], "full": [],
    });
    if !options.skip.iter().any(|s| s == "tiles") {
        report["tiles"] = Value::Array(run_tiles(&options, &peak));
    }
    if !options.skip.iter().any(|s| s == "full") {
        report["full"] = Value::Array(run_full(&options));
    }
    std::fs::write(&options.json, serde_json::to_string(&report)?)?;
    println!("\nwritten: {}", options.json);
    Ok(())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        quick: false,
        libraries: Library::ALL.to_vec(),
        skip: Vec::new(),
        repeats: 25,
        json: "products.json".into(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--skip" => options.skip = value()?.split(',').map(String::from).collect(),
            "--repeats" => {
                let text = value()?;
                options.repeats = text.parse().ok().filter(|n| *n > 0).ok_or(format!("--repeats {text}"))?;
            }
            "--json" => options.json = value()?,
            "--only" => {
                let names = value()?;
                options.libraries =
                    Library::ALL.iter().copied().filter(|l| names.split(',').any(|n| n == l.name())).collect();
                if options.libraries.is_empty() {
                    return Err(format!("--only {names}: no such candidate in this build"));
                }
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

fn heading(libraries: &[Library]) {
    print!("{:<30}", "");
    for library in libraries {
        print!("{:>16}", library.name());
    }
    println!();
}

fn line(label: &str, rates: &[(f64, f64)], best: Option<f64>) {
    print!("{label:<30}");
    for (fastest, _) in rates {
        match best {
            Some(peak) => print!("{fastest:>10.0} ({:>2.0}%)", 100.0 * fastest / peak),
            None => print!("{fastest:>16.0}"),
        }
    }
    println!();
}

fn rates_json(libraries: &[Library], rates: &[(f64, f64)]) -> Value {
    libraries
        .iter()
        .zip(rates)
        .map(|(l, (fastest, median))| (l.name().to_string(), json!([fastest, median])))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn run_tiles(options: &Options, peak: &peak::Peak) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut steps = Steps::default();
    let (rows, cols, dims): (&[usize], &[usize], &[usize]) = if options.quick {
        (&[64, 256], &[512, 1024], &[64, 128, 256, 768])
    } else {
        (&[64, 128, 256, 512], &[256, 384, 512, 768, 1024, 2048], &[64, 128, 256, 512, 768])
    };
    for threads in [1, 2] {
        for kind in Kind::ALL {
            println!("\n{} f32, {threads} thread(s)", kind.name());
            heading(&options.libraries);
            for &dim in dims {
                for &rows in rows {
                    for &cols in cols {
                        let tile = Tile { rows, cols, dim };
                        let (rates, entry) = run_tile::<f32>(options, peak, tile, kind, threads);
                        for (index, (fastest, _)) in rates.iter().enumerate() {
                            steps.record(index, threads, tile, kind, *fastest);
                        }
                        entries.push(entry);
                    }
                }
            }
        }
    }
    for kind in Kind::ALL {
        println!("\n{} f64, 1 thread", kind.name());
        heading(&options.libraries);
        for &dim in &[64, 256] {
            for &cols in &[512, 1024] {
                let tile = Tile { rows: 128, cols, dim };
                entries.push(run_tile::<f64>(options, peak, tile, kind, 1).1);
            }
        }
    }
    steps.print(&options.libraries);
    entries
}

fn run_tile<T: Scalar>(
    options: &Options,
    peak: &peak::Peak,
    tile: Tile,
    kind: Kind,
    threads: usize,
) -> (Vec<(f64, f64)>, Value) {
    let rates = tiles::measure::<T>(tile, kind, &options.libraries, threads, options.repeats);
    let share = if T::NAME == "f64" { 0.5 } else { 1.0 };
    let best = if threads == 1 { peak.best() } else { peak.two_threads_f32 };
    let label = format!("r={} c={} d={}", tile.rows, tile.cols, tile.dim);
    line(&label, &rates, best.map(|p| p * share));
    let entry = json!({
        "kind": kind.name(), "type": T::NAME, "threads": threads,
        "r": tile.rows, "c": tile.cols, "d": tile.dim,
        "rates": rates_json(&options.libraries, &rates),
    });
    (rates, entry)
}

fn run_full(options: &Options) -> Vec<Value> {
    let mut entries = Vec::new();
    println!("\nwhole products Q·Cᵀ f32, 2 threads");
    heading(&options.libraries);
    for shape in full::SHAPES {
        let name = format!("{}x{}x{}", shape.rows, shape.dim, shape.cols);
        let rates = full::measure(shape, &options.libraries, options.repeats);
        line(&name, &rates, None);
        entries.push(json!({
            "shape": name, "tile": null, "rates": rates_json(&options.libraries, &rates),
        }));
        for (rows, cols) in [(256, 512), (256, 1024)] {
            let rates = full::measure_tiled(shape, rows, cols, &options.libraries, options.repeats);
            line(&format!("  in tiles {rows}x{cols}"), &rates, None);
            entries.push(json!({
                "shape": name, "tile": [rows, cols],
                "rates": rates_json(&options.libraries, &rates),
            }));
        }
    }
    entries
}

/// The largest difference of any candidate from a plain loop, on odd sizes and all layouts.
fn check(libraries: &[Library]) -> f64 {
    let (m, k, n) = (37, 53, 71);
    let lhs: Vec<f32> = tiles::noise(m * k, 7);
    let rhs: Vec<f32> = tiles::noise(k * n, 8);
    let mut worst = 0f64;
    for (lhs, rhs) in [
        (View::new(&lhs, m, k), View::new(&rhs, k, n)),
        (View::new(&lhs, k, m).transposed(), View::new(&rhs, n, k).transposed()),
    ] {
        let at = |v: &View<'_, f32>, i: usize, j: usize| v.data[i * v.row_stride + j * v.col_stride].to_f64();
        for library in libraries {
            let mut out = vec![1f32; m * n];
            f32::product(*library, lhs, rhs, &mut out, true, 1);
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|p| at(&lhs, i, p) * at(&rhs, p, j)).sum();
                    worst = worst.max((f64::from(out[i * n + j]) - 1.0 - sum).abs());
                }
            }
        }
    }
    worst
}
