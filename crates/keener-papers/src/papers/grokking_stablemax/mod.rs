//! Grokking at the Edge of Numerical Stability (arXiv 2501.04697): why training without regularisation stalls, and two cures.

mod measure;
mod show;
mod verdict;

use crate::{Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::Result;
use measure::{Measured, Method, Problem, Unit};

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "grokking-stablemax",
    number: 21,
    title: "Grokking at the Edge of Numerical Stability",
    arxiv: "2501.04697",
    method: "StableMax cross-entropy and the orthogonal gradient; softmax collapse and alignment with naive loss minimisation",
    code: &["keener::objective::StableMax", "keener::transform::orthogonalize", "keener::metrics::collapse"],
    claim: "Without weight decay a network that fits its training rows goes on scaling its logits up until the softmax loses its \
            smaller terms, and never generalises. Removing the part of the gradient along the weights makes it generalise within \
            a few hundred steps; StableMax, a softmax that grows linearly, keeps the gradient alive and generalises in the end.",
    rule: verdict::RULE,
    quick: "modular addition: 2 seeds of 4 methods with 400 steps (p = 59), 1 seed of 3 losses with 4000 steps (p = 31); about 40 s",
    full: "5 seeds of 4 methods with 400 steps, 2 seeds of 3 losses with 12,000 steps; some minutes",
    revision: 1,
    run,
};

/// Methods of the short comparison.
const SHORT: [Method; 4] = [Method::Orthogonal, Method::Softmax, Method::Decay, Method::StableMaxOrthogonal];
/// Losses of the long one.
const LONG: [Method; 3] = [Method::Softmax, Method::Exact, Method::StableMax];

/// What is run.
#[derive(Clone, Debug)]
struct Study {
    short: Problem,
    seeds: Vec<u64>,
    long: Problem,
    long_seeds: Vec<u64>,
}

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    study(
        &Study {
            short: Problem { p: 59, share: 0.4, hidden: 200, steps: 400, every: 25 },
            seeds: mode.seeds_or(2, 5),
            long: Problem { p: 31, share: 0.7, hidden: 128, steps: if full { 12_000 } else { 4000 }, every: 250 },
            long_seeds: if full { vec![0, 1] } else { vec![0] },
        },
        session,
    )
}

/// What the seeds of one method gave.
struct Row {
    method: Method,
    runs: Vec<Measured>,
}

impl Row {
    fn spread(&self, what: impl Fn(&measure::Point) -> f64) -> Spread {
        Spread::of(self.runs.iter().filter_map(Measured::last).map(what))
    }
}

fn study(study: &Study, session: &mut Session<'_>) -> Result<Findings> {
    let mut units = Vec::new();
    for (problem, methods, seeds) in
        [(study.long, &LONG[..], &study.long_seeds), (study.short, &SHORT[..], &study.seeds)]
    {
        for method in methods {
            units.extend(seeds.iter().map(|seed| Unit { problem, method: *method, seed: *seed }));
        }
    }
    let results = session.all(&units, Unit::name, measure::measure)?;
    let rows = |problem: Problem, methods: &[Method]| -> Vec<Row> {
        let of = |method: Method| {
            let mine = units.iter().zip(&results).filter(|(u, _)| u.problem == problem && u.method == method);
            Row { method, runs: mine.map(|(_, r)| r.clone()).collect() }
        };
        methods.iter().map(|m| of(*m)).collect()
    };
    let (short, long) = (rows(study.short, &SHORT), rows(study.long, &LONG));

    let mut facts = Facts::default();
    for (prefix, rows, steps) in [("", &short, study.short.steps), ("long.", &long, study.long.steps)] {
        for row in rows {
            let method = serde_json::to_value(row.method)?;
            let name = |what: &str| format!("{prefix}{what}[{}]", method.as_str().unwrap_or_default());
            facts.set(name("test_accuracy"), row.spread(|p| p.test));
            facts.set(name("train_accuracy"), row.spread(|p| p.train));
            facts.set(name("collapsed"), row.spread(|p| p.collapsed));
            facts.set(name("loss"), row.spread(|p| p.loss));
            facts.set(name("gradient"), row.spread(|p| p.gradient));
            let half = |m: &Measured| m.points.iter().rfind(|p| 2 * p.step <= steps).map(|p| p.loss);
            facts.set(name("loss_at_half"), Spread::of(row.runs.iter().filter_map(half)));
            let best = |m: &Measured| m.points.iter().map(|p| p.test).fold(0.0, f64::max);
            facts.set(name("best_test_accuracy"), Spread::of(row.runs.iter().map(best)));
        }
    }
    for (name, value) in
        ["softmax_loss", "softmax_gradient", "stablemax_loss", "stablemax_gradient"].iter().zip(measure::at_a_gap()?)
    {
        facts.set(format!("gap_40.{name}"), Spread::once(value));
    }
    let decision = verdict::decide(&facts)?;
    Ok(Findings {
        tables: show::tables(study, &short, &long),
        plots: show::plots(&short, &long),
        notes: show::notes(),
        facts,
        decision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units};

    /// The claim in a second: with the orthogonal gradient the rest of the table is known, without it nothing.
    #[test]
    fn the_small_study_generalises_with_the_orthogonal_gradient_alone() {
        let short = Problem { p: 23, share: 0.8, hidden: 64, steps: 250, every: 50 };
        let study_of =
            Study { short, seeds: vec![0], long: Problem { steps: 60, every: 20, ..short }, long_seeds: vec![0] };
        let mut silent = Silent;
        let mut session = Session::new(1, Units::in_memory(), &mut silent);
        let findings = study(&study_of, &mut session).unwrap();
        assert_eq!((findings.tables.len(), findings.plots.len(), findings.decision.checks.len()), (2, 2, 6));
        let of = |name: &str| findings.facts.mean(name).unwrap();
        assert!(of("test_accuracy[orthogonal]") > of("test_accuracy[softmax]") + 0.3, "{findings:?}");
        assert_eq!((of("gap_40.softmax_loss"), of("gap_40.softmax_gradient")), (0.0, 0.0));
    }
}
