//! `keener theory aggregate`: which loss, and which bags?

use crate::output::{OutputArgs, print, print_json, print_table};
use anyhow::Result;
use keener::theory::aggregate::{Privacy, Risk, Setting, instance_bag_size};
use keener_report::plot::{self, Axis, Lines, Series};
use keener_report::table::{Column, Table};
use serde::Serialize;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  keener theory aggregate --psi 0.1 --bag-size 5 --noise 1
  keener theory aggregate --psi 0.1 --bag-size 8 --noise 0.5 --clip 3 --epsilon 1 --plot risk.svg

Setting: linear regression with normal features, d/n = psi, random bags of k rows whose mean response alone is known; the risk is
the excess squared error of a prediction. Privacy: means of responses clipped to ±clip, released with Laplace noise of scale
2·clip/(k·epsilon), which is epsilon-differentially private in the responses.";

/// Arguments of `keener theory aggregate`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Features a row of data, d/n
    #[arg(long, value_name = "ψ")]
    psi: f64,
    /// Rows a bag, k
    #[arg(long, value_name = "K", default_value_t = 1.0)]
    bag_size: f64,
    /// Standard deviation of the noise of a response, σ
    #[arg(long, value_name = "σ")]
    noise: f64,
    /// Norm of the coefficients, r
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    signal: f64,
    /// Ridge penalty, λ
    #[arg(long, value_name = "λ", default_value_t = 0.0)]
    lambda: f64,
    /// The interpolation to look at beside the best: 0 bag-level, 1 instance-level
    #[arg(long, value_name = "ρ")]
    rho: Option<f64>,
    /// Responses are clipped to ±C before a private release
    #[arg(long, value_name = "C", requires = "epsilon")]
    clip: Option<f64>,
    /// Privacy of the release
    #[arg(long, value_name = "ε", requires = "clip")]
    epsilon: Option<f64>,
    /// Largest bag that is considered
    #[arg(long, value_name = "K", default_value_t = 256)]
    most: usize,
    /// Write the risk curves as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The risk at one interpolation; none where the problem is under-determined there.
#[derive(Debug, Serialize)]
struct At {
    rho: f64,
    #[serde(flatten)]
    risk: Option<Risk>,
}

#[derive(Debug, Serialize)]
struct Private {
    clip: f64,
    epsilon: f64,
    /// Bag size, risk at the best ρ for it, and that ρ.
    sizes: Vec<(usize, f64, f64)>,
    best_size: usize,
    best_risk: f64,
    best_rho: f64,
    laplace_scale: f64,
    /// The closed form for the instance-level loss without penalty, where ψ < 1; infinite sizes as absent.
    instance_level_size: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Found {
    setting: Setting,
    best_rho: f64,
    best_risk: f64,
    risks: Vec<At>,
    private: Option<Private>,
}

const GRID: [f64; 9] = [0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0];

fn setting(args: &Args, rho: f64) -> Setting {
    Setting {
        psi: args.psi,
        bag_size: args.bag_size,
        rho,
        lambda: args.lambda,
        signal_norm: args.signal,
        noise_std: args.noise,
    }
}

fn find(args: &Args) -> Result<Found> {
    let asked = setting(args, args.rho.unwrap_or(0.0));
    let (best_rho, best_risk) = asked.best_rho()?;
    let mut grid = GRID.to_vec();
    if let Some(rho) = args.rho {
        // An error where the asked one has none.
        asked.risk()?;
        grid.push(rho);
    }
    grid.push(best_rho);
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    let risks = grid.into_iter().map(|rho| At { rho, risk: asked.with_rho(rho).risk().ok() }).collect();
    let private = match (args.clip, args.epsilon) {
        (Some(clip), Some(epsilon)) => Some(private(args, &Privacy { clip, epsilon })?),
        _ => None,
    };
    Ok(Found { setting: asked, best_rho, best_risk, risks, private })
}

fn private(args: &Args, privacy: &Privacy) -> Result<Private> {
    let at = |k: usize| privacy.noisy(&Setting { bag_size: k as f64, ..setting(args, 0.0) });
    // Checks the parameters of the release.
    privacy.best_bag_size(&Setting { rho: 1.0, ..setting(args, 1.0) }, 1).map(|_| ()).or_else(|e| match e {
        keener::Error::Parameter { .. } => Err(e),
        _ => Ok(()),
    })?;
    let sizes: Vec<(usize, f64, f64)> =
        (1..=args.most.max(1)).filter_map(|k| at(k).best_rho().ok().map(|(rho, risk)| (k, risk, rho))).collect();
    let best = sizes.iter().min_by(|a, b| a.1.total_cmp(&b.1)).copied();
    let (best_size, best_risk, best_rho) = match best {
        Some(best) => best,
        None => at(1).best_rho().map(|(rho, risk)| (1, risk, rho))?,
    };
    let closed = instance_bag_size(args.psi, args.signal, args.noise, privacy).ok().filter(|_| args.lambda == 0.0);
    Ok(Private {
        clip: privacy.clip,
        epsilon: privacy.epsilon,
        best_size,
        best_risk,
        best_rho,
        laplace_scale: privacy.laplace_scale(best_size as f64),
        instance_level_size: closed.map(|c| c.integer).filter(|k| k.is_finite()),
        sizes,
    })
}

fn figure(args: &Args, found: &Found) -> keener_report::Svg {
    let curve = (0..=200).map(|k| f64::from(k) / 200.0);
    let risk = |rho: f64| Some((rho, found.setting.with_rho(rho).risk().ok()?.risk));
    let mut series = vec![Series::new(format!("k = {}", args.bag_size), curve.filter_map(risk))];
    for k in [2.0, 4.0, 8.0, 16.0].into_iter().filter(|k| *k != args.bag_size) {
        let other = Setting { bag_size: k, ..found.setting };
        let curve = (0..=200).map(|k| f64::from(k) / 200.0);
        series.push(Series::new(
            format!("k = {k}"),
            curve.filter_map(|rho| Some((rho, other.with_rho(rho).risk().ok()?.risk))),
        ));
    }
    plot::lines(&Lines {
        title: format!("Risk over the interpolation, ψ = {}, σ = {}", args.psi, args.noise),
        x: Axis::linear("ρ: bag-level 0, instance-level 1"),
        y: Axis::log("risk"),
        series,
        ..Lines::default()
    })
}

/// Runs the command.
///
/// # Errors
/// Parameters out of range, problems that are under-determined for every interpolation, a plot that cannot be written.
pub(super) fn run(args: &Args) -> Result<()> {
    let found = find(args)?;
    if let Some(path) = &args.plot {
        super::write_plot(path, &figure(args, &found))?;
    }
    if args.output.json {
        return print_json(&found);
    }
    let title = format!(
        "ψ = {}, k = {}, r = {}, σ = {}, λ = {}",
        args.psi, args.bag_size, args.signal, args.noise, args.lambda
    );
    let mut table = Table::new(title)
        .column(Column::number("ρ", 3))
        .column(Column::number("risk", 4))
        .column(Column::number("bias²", 4))
        .column(Column::number("variance", 4));
    for (k, at) in found.risks.iter().enumerate() {
        let part = |f: fn(&Risk) -> f64| at.risk.as_ref().map(f).into();
        table.push([at.rho.into(), part(|r| r.risk), part(|r| r.bias2), part(|r| r.variance)]);
        if at.rho == found.best_rho {
            table = table.highlight(k);
        }
    }
    print_table(&table.note("Empty: under-determined without a penalty."))?;
    print(&format!("best ρ = {:.3}, risk {:.4}\n", found.best_rho, found.best_risk))?;
    if let Some(p) = &found.private {
        print(&format!(
            "\nprivate release, clip {}, ε = {}: best size of a bag {} with ρ = {:.3}, risk {:.4}, Laplace scale {:.4}\n",
            p.clip, p.epsilon, p.best_size, p.best_rho, p.best_risk, p.laplace_scale
        ))?;
        match p.instance_level_size {
            Some(k) => print(&format!("instance-level loss without penalty: bags of {k} (closed form)\n"))?,
            None if args.lambda == 0.0 => {
                print("instance-level loss without penalty: no size is better than predicting 0\n")?
            }
            None => {}
        }
    }
    Ok(())
}
