//! AnyLoss: Transforming Classification Metrics into Loss Functions (arXiv 2405.14745).
//!
//! A single layer, trained by full-batch gradient descent as the paper does it, with cross-entropy and with the loss of each
//! metric, on simulated and real data of which most has a rare class.

mod measure;
mod show;
mod verdict;

use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;
use measure::{Scores, Unit};
use serde::Serialize;

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "anyloss",
    number: 18,
    title: "AnyLoss: Transforming Classification Metrics into Loss Functions",
    arxiv: "2405.14745",
    method: "metrics of the confusion matrix (accuracy, F-beta, G-mean, balanced accuracy …) as losses",
    code: &["keener::objective::AnyLoss", "keener::objective::ConfusionLoss"],
    claim: "A steep sigmoid makes the confusion matrix differentiable, so that one minus a metric is a loss. Trained for F1, G-mean \
            or balanced accuracy, a classifier of imbalanced data is better in that metric than one trained with cross-entropy, \
            without resampling, weights or a search for thresholds; in accuracy it is about a tie.",
    rule: verdict::RULE,
    quick: "2 seeds of 5 folds on 5 data sets, 7 trainings each, 1000 steps of full-batch gradient descent; about 30 seconds",
    full: "5 seeds, and four scales L of the approximation; two or three minutes",
    revision: 1,
    run,
};

/// A data set of two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Data {
    /// Clusters in 20 features of which 5 matter, one row in ten of class 1, 5 % of the labels flipped.
    Tenth,
    /// Clusters in 10 features of which 4 matter, one row in twenty of class 1, 2 % of the labels flipped.
    Twentieth,
    /// The digit 8 among all digits.
    Eight,
    /// The digits 3 and 9 among all digits: a fifth, and no straight cut.
    ThreeOrNine,
    /// Odd digits: balanced.
    Odd,
}

impl Data {
    const ALL: [Self; 5] = [Self::Tenth, Self::Twentieth, Self::Eight, Self::ThreeOrNine, Self::Odd];

    fn name(self) -> &'static str {
        match self {
            Self::Tenth => "clusters, 10 %",
            Self::Twentieth => "clusters, 5 %",
            Self::Eight => "8 among digits",
            Self::ThreeOrNine => "3 or 9 among digits",
            Self::Odd => "odd digits",
        }
    }

    fn imbalanced(self) -> bool {
        self != Self::Odd
    }
}

/// How a layer is trained and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// Binary cross-entropy.
    CrossEntropy,
    /// The same, classes weighing the same.
    Weighted,
    /// The same as the first, with the threshold of best F1 on the training rows.
    Threshold,
    /// One minus a metric.
    Accuracy,
    F1,
    Gmean,
    BalancedAccuracy,
}

impl Method {
    const ALL: [Self; 7] = [
        Self::CrossEntropy,
        Self::Weighted,
        Self::Threshold,
        Self::Accuracy,
        Self::F1,
        Self::Gmean,
        Self::BalancedAccuracy,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::Weighted => "cross-entropy, class weights",
            Self::Threshold => "cross-entropy, threshold",
            Self::Accuracy => "aim accuracy",
            Self::F1 => "aim F1",
            Self::Gmean => "aim G-mean",
            Self::BalancedAccuracy => "aim balanced accuracy",
        }
    }
}

/// A number of the confusion matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Accuracy,
    F1,
    Gmean,
    BalancedAccuracy,
}

impl Measure {
    const ALL: [Self; 4] = [Self::Accuracy, Self::F1, Self::Gmean, Self::BalancedAccuracy];

    fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "F1",
            Self::Gmean => "G-mean",
            Self::BalancedAccuracy => "balanced accuracy",
        }
    }

    fn of(self, scores: &Scores) -> f64 {
        match self {
            Self::Accuracy => scores.accuracy,
            Self::F1 => scores.f1,
            Self::Gmean => scores.gmean,
            Self::BalancedAccuracy => scores.balanced_accuracy,
        }
    }

    /// The loss that aims at it.
    fn aim(self) -> Method {
        match self {
            Self::Accuracy => Method::Accuracy,
            Self::F1 => Method::F1,
            Self::Gmean => Method::Gmean,
            Self::BalancedAccuracy => Method::BalancedAccuracy,
        }
    }
}

fn fact(measure: Measure, data: Data, method: Method) -> String {
    format!("{}[{}; {}]", measure.name(), data.name(), method.name())
}

fn scale_fact(scale: f64) -> String {
    format!("balanced accuracy[{}; L={scale}]", Data::Tenth.name())
}

/// The scale of the paper, and others.
const SCALE: f64 = 73.0;
const SCALES: [f64; 4] = [10.0, 30.0, 73.0, 110.0];

/// What is run.
#[derive(Clone, Debug)]
struct Study {
    seeds: Vec<u64>,
    rows: usize,
    steps: usize,
    scales: bool,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    study(&Study { seeds: mode.seeds_or(2, 5), rows: 2000, steps: 1000, scales: full }, session)
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let unit = |data, method, scale, seed| Unit { data, method, scale, seed, rows: study.rows, steps: study.steps };
    let mut units = Vec::new();
    for seed in &study.seeds {
        for data in Data::ALL {
            units.extend(Method::ALL.map(|method| unit(data, method, SCALE, *seed)));
        }
    }
    let scaled = |scale, seed: &u64| unit(Data::Tenth, Method::BalancedAccuracy, scale, *seed);
    let scales: &[f64] = if study.scales { &SCALES } else { &[] };
    for scale in scales.iter().filter(|s| **s != SCALE) {
        units.extend(study.seeds.iter().map(|seed| scaled(*scale, seed)));
    }
    let results = session.all(&units, Unit::name, measure::cross_validate)?;
    let of = |data, method, scale: f64, measure: Measure| {
        let mine =
            units.iter().zip(&results).filter(move |(u, _)| u.data == data && u.method == method && u.scale == scale);
        Spread::of(mine.map(|(_, r)| measure.of(r)))
    };
    let mut facts = Facts::default();
    for data in Data::ALL {
        for method in Method::ALL {
            for measure in Measure::ALL {
                facts.set(fact(measure, data, method), of(data, method, SCALE, measure));
            }
        }
    }
    for scale in scales {
        let value = of(Data::Tenth, Method::BalancedAccuracy, *scale, Measure::BalancedAccuracy);
        facts.set(scale_fact(*scale), value);
    }
    let decision = verdict::decide(&facts)?;
    Ok(Findings {
        tables: show::tables(&facts, study)?,
        plots: show::plots(&facts)?,
        notes: show::notes(),
        facts,
        decision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units, to_json};

    #[test]
    fn a_small_run_repeats_and_states_every_fact_and_check() {
        let run = || {
            let mut silent = Silent;
            let small = Study { seeds: vec![0], rows: 200, steps: 20, scales: true };
            study(&small, &mut Session::new(1, Units::in_memory(), &mut silent)).unwrap()
        };
        let (one, two) = (run(), run());
        let json = |f: &Findings| to_json(&REPRODUCTION, &Mode::quick(), f).to_string();
        assert_eq!(json(&one), json(&two));
        assert_eq!((one.tables.len(), one.plots.len(), one.decision.checks.len()), (2, 1, 7));
        let rare = one.facts.mean(&fact(Measure::BalancedAccuracy, Data::Eight, Method::BalancedAccuracy)).unwrap();
        assert!(rare > 0.6, "twenty steps already find some eights: {rare}");
    }
}
