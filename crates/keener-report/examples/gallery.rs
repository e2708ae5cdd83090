//! Writes a page with every block and every plot: `cargo run --release -p keener-report --example gallery [FILE]`.
//!
//! The data are made up by formulas, so the page is the same every time.

use std::error::Error;

use keener_report::cells;
use keener_report::html::{Block, CalloutKind, Page, Section};
use keener_report::plot::{
    self, Axis, BarSeries, Bars, Confusion, Emphasis, Histogram, Interval, Intervals, Lines, Mark, Reliability,
    ReliabilityBin, Sample, Scatter, Series, Svg,
};
use keener_report::table::{Cell, Column, Table, Tone};

const OBJECTIVES: [(&str, f64); 9] = [
    ("arcface:margin=0.5,scale=64", 0.921),
    ("focal:gamma=2", 0.914),
    ("supcon", 0.912),
    ("gce:q=0.7", 0.897),
    ("cross-entropy", 0.893),
    ("label-smoothing:epsilon=0.1", 0.889),
    ("poly-1", 0.872),
    ("triplet+semi-hard:margin=0.2", 0.841),
    ("mae", 0.604),
];

/// A number in 0..1 that looks random but is a function of `i`.
fn noise(i: usize, stream: usize) -> f64 {
    let mut z =
        (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stream as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// About a standard normal number.
fn normal(i: usize, stream: usize) -> f64 {
    (0..6).map(|k| noise(i, stream * 6 + k)).sum::<f64>() * 2f64.sqrt() - 3.0 * 2f64.sqrt()
}

fn half_width(i: usize) -> f64 {
    0.004 + 0.007 * noise(i, 1)
}

fn board() -> Table {
    let mut table = Table::new("Leader board")
        .column(Column::text("objective"))
        .column(Column::number("accuracy", 3).note("mean over 5 seeds with a 95 % interval of the paired bootstrap"))
        .column(Column::text("verdict"))
        .column(Column::number("macro F1", 3).priority(80))
        .column(Column::number("ECE", 3).priority(70))
        .column(Column::number("recall@1", 3).priority(60))
        .column(Column::number("time", 1).unit("s").priority(50).note("one run, without evaluation"))
        .column(Column::number("peak memory", 0).unit("MiB").priority(40))
        .highlight(0)
        .note("Rows are sorted by accuracy. `mae` did not leave its initial plateau within the budget.");
    for (i, (name, mean)) in OBJECTIVES.iter().enumerate() {
        let half = half_width(i);
        let verdict = match i {
            0 => Cell::badge("best", Tone::Good),
            1 | 2 => Cell::badge("not distinguishable from the best", Tone::Neutral),
            8 => Cell::badge("did not converge", Tone::Bad),
            _ => Cell::Missing,
        };
        let recall = (i % 4 != 3).then_some(mean - 0.03 * noise(i, 4));
        table.push(cells![
            *name,
            Cell::interval(*mean, mean - half, mean + half),
            verdict,
            mean - 0.01 * noise(i, 2),
            0.02 + 0.09 * noise(i, 3),
            recall,
            11.0 + 9.0 * noise(i, 5),
            180.0 + 900.0 * noise(i, 6),
        ]);
    }
    table
}

fn curve(objective: usize) -> Series {
    let (name, end) = OBJECTIVES[objective];
    let rate = 180.0 + 120.0 * objective as f64;
    let at = |step: usize| {
        let rise = 1.0 - (-(step as f64) / rate).exp();
        0.1 + (end - 0.1) * rise + 0.006 * normal(step, 10 + objective)
    };
    let steps: Vec<usize> = (0..=40).map(|i| i * 50).collect();
    let band = |step: usize| 0.012 + 0.08 * (-(step as f64) / 400.0).exp();
    Series::new(name, steps.iter().map(|&s| (s as f64, at(s))))
        .band(steps.iter().map(|&s| (at(s) - band(s), at(s) + band(s))))
}

fn learning_curves(objectives: &[usize], title: &str) -> Svg {
    plot::lines(&Lines {
        title: title.into(),
        x: Axis::linear("step"),
        y: Axis::linear("validation accuracy"),
        series: objectives.iter().map(|&o| curve(o)).collect(),
        ..Lines::default()
    })
}

fn roc() -> Svg {
    let curve = |name: &str, power: f64| {
        Series::new(name, (0..=200).map(|i| (f64::from(i) / 200.0, (f64::from(i) / 200.0).powf(power))))
    };
    plot::lines(&Lines {
        title: "Verification ROC".into(),
        x: Axis::linear("false accept rate"),
        y: Axis::linear("true accept rate"),
        series: vec![
            curve("arcface (AUC 0.95)", 0.05),
            curve("supcon (AUC 0.89)", 0.13),
            curve("triplet (AUC 0.77)", 0.3),
        ],
        diagonal: true,
        square: true,
        ..Lines::default()
    })
}

fn sweep() -> Svg {
    let series = |name: &str, best: f64, top: f64| {
        let at = move |i: i32| 10f64.powf(-4.0 + f64::from(i) * 0.4);
        let value = move |x: f64| top - 0.06 * (x.log10() - best).powi(2);
        Series::new(name, (0..=10).map(|i| (at(i), value(at(i)))))
    };
    plot::lines(&Lines {
        title: "Sweep of the learning rate".into(),
        x: Axis::log("learning rate"),
        y: Axis::linear("accuracy"),
        series: vec![series("focal", -2.0, 0.91), series("gce", -1.4, 0.86), series("mae", -1.0, 0.66)],
        marks: vec![Mark::new(0.01, "default")],
        ..Lines::default()
    })
}

fn loss_log() -> Svg {
    let series = |name: &str, rate: f64, k: usize| {
        let at = move |i: usize| (3.0 * (-(i as f64) * rate).exp() + 0.002) * (1.0 + 0.15 * normal(i, 90 + k));
        Series::indexed(name, (0..3000).map(at))
    };
    plot::lines(&Lines {
        title: "Training loss".into(),
        x: Axis::linear("step"),
        y: Axis::log("loss"),
        series: vec![series("focal", 0.004, 0), series("gce", 0.0015, 1)],
        ..Lines::default()
    })
}

fn forest() -> Svg {
    let row = |(i, (name, mean)): (usize, &(&str, f64))| {
        let half = half_width(i);
        let emphasis = [Emphasis::Best, Emphasis::Tied, Emphasis::Tied].get(i).copied().unwrap_or_default();
        Interval::new(*name, *mean, mean - half, mean + half).emphasis(emphasis)
    };
    let mut rows: Vec<Interval> = OBJECTIVES.iter().enumerate().map(row).take(8).collect();
    rows.push(Interval::new("diverged objective", f64::NAN, f64::NAN, f64::NAN));
    plot::intervals(&Intervals {
        title: "Test accuracy".into(),
        x: Axis::linear("accuracy, mean and 95 % interval"),
        rows,
        reference: Some(Mark::new(0.893, "cross-entropy")),
        ..Intervals::default()
    })
}

fn reliability(title: &str, slope: f64) -> Svg {
    let bin = |i: usize| {
        let (low, high) = (i as f64 / 15.0, (i + 1) as f64 / 15.0);
        let confidence = (low + high) / 2.0 + 0.01 * normal(i, 30);
        let accuracy = (0.5 + (confidence - 0.5) * slope + 0.02 * normal(i, 31)).clamp(0.0, 1.0);
        ReliabilityBin { low, high, confidence, accuracy, count: (4.0 + 900.0 * confidence.powi(4)) as u64 }
    };
    plot::reliability(&Reliability { title: title.into(), bins: (1..15).map(bin).collect(), size: None })
}

fn confusion(size: usize, names: impl Fn(usize) -> String, title: &str) -> Svg {
    let count = |t: usize, p: usize| {
        let near = t.abs_diff(p);
        let share =
            if near == 0 { 0.82 - 0.5 * noise(t, 40) } else { 0.25 * noise(t * size + p, 41) / (near * near) as f64 };
        (share * 300.0 * (0.4 + noise(t, 42))) as u64
    };
    plot::confusion(&Confusion {
        title: title.into(),
        classes: (0..size).map(names).collect(),
        counts: (0..size).map(|t| (0..size).map(|p| count(t, p)).collect()).collect(),
    })
}

fn embedding(classes: usize, points: usize) -> Svg {
    let centre = |class: usize, stream: usize| 6.0 * (noise(class, stream) - 0.5);
    let point = |i: usize| {
        let class = i % classes;
        (centre(class, 50) * 1.6 + 0.42 * normal(i, 52), centre(class, 51) + 0.42 * normal(i, 53))
    };
    plot::scatter(&Scatter {
        title: format!("Embeddings, {classes} classes"),
        x: Axis::linear("first principal component"),
        y: Axis::linear("second principal component"),
        points: (0..points).map(point).collect(),
        labels: (0..points).map(|i| i % classes).collect(),
        classes: (0..classes).map(class_name).collect(),
        equal: true,
        ..Scatter::default()
    })
}

fn class_name(i: usize) -> String {
    const NAMES: [&str; 12] = [
        "admin",
        "database",
        "devel",
        "editors",
        "games",
        "graphics",
        "interpreters",
        "javascript",
        "libdevel",
        "net",
        "python",
        "science",
    ];
    NAMES.get(i).map_or_else(|| format!("section-{i}"), |name| (*name).to_string())
}

fn similarities() -> Svg {
    plot::histogram(&Histogram {
        title: "Cosine similarity of pairs".into(),
        x: Axis::linear("cosine similarity"),
        samples: vec![
            Sample::new("positive pairs", (0..2000).map(|i| (0.68 + 0.13 * normal(i, 60)).min(1.0))),
            Sample::new("negative pairs", (0..8000).map(|i| 0.12 + 0.16 * normal(i, 61))),
        ],
        marks: vec![Mark::new(0.43, "threshold")],
        ..Histogram::default()
    })
}

fn times() -> Svg {
    plot::bars(&Bars {
        title: "Where the time goes".into(),
        x: Axis::linear("milliseconds a step"),
        categories: OBJECTIVES.iter().take(5).map(|(name, _)| (*name).to_string()).collect(),
        series: vec![
            BarSeries::new("forward", (0..5).map(|i| 2.0 + 3.0 * noise(i, 70))),
            BarSeries::new("backward", (0..5).map(|i| 4.0 + 5.0 * noise(i, 71))),
        ],
        ..Bars::default()
    })
}

fn differences() -> Svg {
    plot::bars(&Bars {
        title: "Difference to cross-entropy".into(),
        x: Axis::linear("percentage points of accuracy"),
        categories: OBJECTIVES.iter().take(8).map(|(name, _)| (*name).to_string()).collect(),
        series: vec![BarSeries::new(
            "",
            OBJECTIVES.iter().take(8).map(|(_, mean)| ((mean - 0.893) * 1000.0).round() / 10.0),
        )],
        ..Bars::default()
    })
}

fn page() -> Page {
    let config = "[compare]\nobjectives = [\"arcface:margin=0.5,scale=64\", \"focal:gamma=2\", \"gce:q=0.7\"]\nsteps = 2000\nseeds = 5\n";
    let hard = Lines { title: "A plot without data".into(), x: Axis::log("x"), ..Lines::default() };
    Page::new("Comparison of nine objectives")
        .subtitle("Debian sections, 12 classes, frozen encoder, 2000 steps, 5 seeds. Every number on this page is made up.")
        .footer("Written by `cargo run --release -p keener-report --example gallery`.")
        .section(
            Section::new("Result")
                .intro("All objectives had the same head, the same budget and the same five seeds.")
                .callout(
                    CalloutKind::Success,
                    "`arcface:margin=0.5,scale=64` is best; `focal:gamma=2` and `supcon` are not distinguishable from it.",
                )
                .table(board())
                .figure(forest(), "Filled marks are not distinguishable from the best, which is the diamond."),
        )
        .section(
            Section::new("Setup")
                .key_values([
                    ("data", "debian, 12 classes"),
                    ("training examples", "18 400"),
                    ("encoder", "frozen, 384 dimensions"),
                    ("optimiser", "AdamW, cosine schedule"),
                    ("steps", "2000"),
                    ("batch", "256"),
                ])
                .code("toml", config)
                .code("sh", "keener compare debian --objectives arcface:margin=0.5,scale=64 --objectives focal:gamma=2 --steps 2000 --seeds 5")
                .callout(CalloutKind::Note, "Budgets are steps, so that runs repeat on any machine.")
                .callout(CalloutKind::Warning, "Two classes have fewer than 50 test examples.")
                .callout(CalloutKind::Error, "`mae` did not converge: loss 2.31 after 2000 steps."),
        )
        .section(
            Section::new("Learning curves")
                .intro("Mean over the seeds, with the range of the seeds as a band.")
                .figure(learning_curves(&[0, 3, 6, 8], "Four objectives"), "Lines are named at their ends where there is room.")
                .figures([
                    (learning_curves(&[0, 1, 2, 3, 4, 5, 6, 7, 8], "All nine"), "More lines have a legend."),
                    (loss_log(), "3000 points a line, logarithmic."),
                    (sweep(), "A sweep over a logarithmic axis."),
                    (differences(), "Bars to both sides."),
                ]),
        )
        .section(
            Section::new("Calibration and thresholds").figures([
                (reliability("cross-entropy", 0.72), "Confident beyond its accuracy."),
                (reliability("focal:gamma=2", 1.02), "Well calibrated."),
                (roc(), "The dashed line is chance."),
                (similarities(), "The threshold has the best balanced accuracy."),
            ]),
        )
        .section(
            Section::new("Confusion")
                .figures([
                    (confusion(12, class_name, "Sections"), "The colour is the share of the row."),
                    (confusion(3, |i| ["yes", "no", "maybe"][i % 3].to_string(), "Three classes"), ""),
                ])
                .figure(confusion(30, class_name, "Thirty classes"), "The most that has numbers.")
                .details(
                    "A matrix of 250 classes",
                    [Block::figure(confusion(250, |i| format!("c{i}"), "250 classes"), "Neighbouring classes are added up.")],
                ),
        )
        .section(
            Section::new("Embedding space").figures([
                (embedding(8, 3000), "Principal components."),
                (embedding(12, 9000), "Squares from the ninth class on."),
            ]),
        )
        .section(
            Section::new("Cost").figures([(times(), "Five objectives."), (plot::lines(&hard), "What an empty plot looks like.")]),
        )
        .section(
            Section::new("When to use which")
                .table(
                    Table::new("")
                        .column(Column::text("objective"))
                        .column(Column::text("use it when"))
                        .row(cells!["gce", "labels are noisy at 10 to 40 % and the noise does not depend on the input"])
                        .row(cells!["focal", "easy examples drown the hard ones; not when labels are noisy"]),
                )
                .paragraph("Text may hold `code` & <tags>, which are shown and not run."),
        )
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "gallery.html".to_string());
    let html = page().render();
    std::fs::write(&path, &html)?;
    std::fs::write(std::path::Path::new(&path).with_extension("svg"), forest().standalone())?;
    println!("{}", board().to_text(Some(100), false));
    println!("{path}: {} KiB", html.len() / 1024);
    Ok(())
}
