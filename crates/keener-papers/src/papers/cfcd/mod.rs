//! Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008): a cosine
//! head that sets its own scale and margin, then local descriptors on tuples of hard negatives.

mod coarse;
mod fine;
mod show;

use crate::{Check, Decision, Extent, Facts, Findings, Mode, Reproduction, Session, Spread};
use anyhow::{Context, Result};
use coarse::Head;
use fine::Second;

pub(super) const REPRODUCTION: Reproduction = Reproduction {
    slug: "cfcd",
    number: 1,
    title: "Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval",
    arxiv: "2308.04008",
    method: "MadaCos (adaptive scale and margin), attentive local matching, hard-negative tuples",
    code: &[
        "keener::objective::MadaCos",
        "keener::matching::{LocalTriplet, mutual_matches, GemPool}",
        "keener::negatives::HardTuples",
        "keener_burn::{ConvEncoder, matching}",
    ],
    claim: "A cosine head whose scale and margin follow the median of the batch retrieves unseen classes better than heads with a \
            fixed scale and margin, without tuning; both rise as classes become compact. Continuing with a triplet of matched local \
            descriptors on tuples of hard negatives improves the embedding further.",
    rule: RULE,
    quick: "2 seeds of 8 heads under 2 spreads (200 steps), 2 seeds of 4 second halves on digits; about half a minute",
    full: "6 seeds of the same with 300 steps; about three minutes",
    revision: 1,
    run,
};

const RULE: &str = "MAP@R among unseen classes, means over seeds. Not shown unless, with moderate spread, (1) MadaCos (α = 0.02) is above \
the mean of the six fixed (scale, margin) pairs; (2) its scale and margin rise from the first look to the last in every seed; and \
(3) the probabilities of the median sample are what they must be, to 1e-9. Reservations: (4) MadaCos is not above the best fixed pair; \
(5) with overlapping classes it falls below the mean of the fixed pairs; (6) stage 2 on digits is not above stage 1 continued for as \
many images; (7) its local term does not add to what the hard tuples alone give.";

fn run(mode: &Mode, session: &mut Session<'_>) -> Result<Findings> {
    let full = mode.extent == Extent::Full;
    let seeds = mode.seeds_or(2, 6);
    let steps = if full { (300, [240, 160]) } else { (200, [120, 80]) };
    study(&seeds, steps.0, steps.1, session)
}

/// Results by setting, the seeds in order.
struct Measurements {
    coarse: Vec<(coarse::Spread, Head, Vec<coarse::Measured>)>,
    fine: Vec<(Second, Vec<fine::Measured>)>,
}

impl Measurements {
    fn coarse(&self, spread: coarse::Spread, head: Head) -> Result<&[coarse::Measured]> {
        let found = self.coarse.iter().find(|(s, h, _)| *s == spread && *h == head);
        found.map(|(.., m)| &m[..]).context("a head that was not trained")
    }

    fn map(&self, spread: coarse::Spread, head: Head) -> Result<Spread> {
        Ok(Spread::of(self.coarse(spread, head)?.iter().map(|m| m.map_at_r)))
    }
}

fn heads() -> impl Iterator<Item = Head> {
    Head::ADAPTIVE.into_iter().chain(Head::FIXED)
}

fn study(seeds: &[u64], steps: usize, halves: [usize; 2], session: &mut Session<'_>) -> Result<Findings> {
    let settings: Vec<(coarse::Spread, Head)> =
        coarse::Spread::ALL.into_iter().flat_map(|s| heads().map(move |h| (s, h))).collect();
    let units: Vec<coarse::Unit> = settings
        .iter()
        .flat_map(|(spread, head)| {
            seeds.iter().map(move |seed| coarse::Unit { spread: *spread, head: *head, steps, seed: *seed })
        })
        .collect();
    let found = session.all(&units, coarse::Unit::name, coarse::measure)?;
    let each = seeds.len();
    let coarse = settings.iter().zip(found.chunks(each)).map(|((s, h), m)| (*s, *h, m.to_vec())).collect();
    let units: Vec<fine::Unit> = Second::ALL
        .into_iter()
        .flat_map(|second| seeds.iter().map(move |seed| fine::Unit { second, steps: halves, seed: *seed }))
        .collect();
    let found = session.all(&units, fine::Unit::name, fine::measure)?;
    let fine = Second::ALL.into_iter().zip(found.chunks(each)).map(|(s, m)| (s, m.to_vec())).collect();
    let measurements = Measurements { coarse, fine };

    let mut facts = Facts::default();
    for (spread, head, measured) in &measurements.coarse {
        let of = |what: fn(&coarse::Measured) -> f64| Spread::of(measured.iter().map(what));
        facts.set(format!("map_at_r[{head}, {spread}]"), of(|m| m.map_at_r));
        facts.set(format!("recall_at_1[{head}, {spread}]"), of(|m| m.recall_at_1));
        if let Head::MadaCos { .. } = head {
            for (what, at) in [("first", 0), ("last", measured[0].looks.len() - 1)] {
                facts
                    .set(format!("scale.{what}[{head}, {spread}]"), Spread::of(measured.iter().map(|m| m.looks[at].1)));
                facts.set(
                    format!("margin.{what}[{head}, {spread}]"),
                    Spread::of(measured.iter().map(|m| m.looks[at].2)),
                );
            }
            let errors = measured.iter().flat_map(|m| m.looks.iter().map(|l| l.3));
            facts.set(format!("identity_error[{head}, {spread}]"), Spread::of(errors));
        }
    }
    for (second, measured) in &measurements.fine {
        let of = |what: fn(&fine::Measured) -> f64| Spread::of(measured.iter().map(what));
        facts.set(format!("digits.map_at_r[{second}]"), of(|m| m.after));
        facts.set(format!("digits.recall_at_1[{second}]"), of(|m| m.recall_at_1));
        facts.set(format!("digits.gain[{second}]"), of(|m| m.after - m.before));
        facts.set(format!("digits.local_term[{second}]"), of(|m| m.local));
    }
    let decision = decide(&measurements, &facts)?;
    Ok(Findings {
        tables: show::tables(&measurements, seeds.len(), steps, halves),
        plots: show::plots(&measurements),
        facts,
        decision,
        notes: show::notes(),
    })
}

fn decide(found: &Measurements, facts: &Facts) -> Result<Decision> {
    let ours = Head::ADAPTIVE[0];
    let fixed = |spread| -> Result<Vec<(Head, f64)>> {
        Head::FIXED.into_iter().map(|h| Ok((h, found.map(spread, h)?.mean))).collect()
    };
    let mean = |of: &[(Head, f64)]| of.iter().map(|(_, m)| m).sum::<f64>() / of.len() as f64;
    let (moderate, overlapping) = (coarse::Spread::Moderate, coarse::Spread::Overlapping);
    let (mine, theirs) = (found.map(moderate, ours)?.mean, fixed(moderate)?);
    let best = theirs.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).context("no fixed head")?;
    let seeds = found.coarse(moderate, ours)?;
    let rises = seeds.iter().all(|m| match (m.looks.first(), m.looks.last()) {
        (Some(a), Some(b)) => b.1 > a.1 && b.2 > a.2,
        _ => false,
    });
    let trend = |what: &str| -> Result<String> {
        let at = |place: &str| facts.mean(&format!("{what}.{place}[{ours}, {moderate}]"));
        Ok(format!("{what} {:.2} → {:.2}", at("first")?, at("last")?))
    };
    let error = facts.get(&format!("identity_error[{ours}, {moderate}]"))?.high;
    let crowded = fixed(overlapping)?;
    let (crowd, crowd_mean) = (found.map(overlapping, ours)?.mean, mean(&crowded));
    let digits = |second: Second| facts.mean(&format!("digits.map_at_r[{second}]"));
    let (fine, coarse, tuples) = (digits(Second::Fine)?, digits(Second::Coarse)?, digits(Second::HardTuples)?);
    Ok(Decision::from_checks(vec![
        Check::decisive(
            "MadaCos is above the mean of the fixed pairs",
            mine > mean(&theirs),
            format!("MAP@R {mine:.3} against {:.3}", mean(&theirs)),
        ),
        Check::decisive(
            "scale and margin rise over training in every seed",
            rises,
            format!("{}, {}", trend("scale")?, trend("margin")?),
        ),
        Check::decisive(
            "the median sample's probabilities are exact",
            error < 1e-9,
            format!("largest error {error:.1e}"),
        ),
        Check::reservation(
            "MadaCos is above the best fixed pair",
            mine > best.1,
            format!("{mine:.3} against {:.3} ({})", best.1, best.0),
        ),
        Check::reservation(
            "it is above the mean of the fixed pairs where classes overlap",
            crowd > crowd_mean,
            format!("{crowd:.3} against {crowd_mean:.3}"),
        ),
        Check::reservation(
            "stage 2 is above stage 1 continued",
            fine > coarse,
            format!("digits: MAP@R {fine:.3} against {coarse:.3}"),
        ),
        Check::reservation(
            "the local term adds to the hard tuples",
            fine > tuples,
            format!("digits: MAP@R {fine:.3} against {tuples:.3}"),
        ),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Units};

    #[test]
    fn a_small_study_states_every_fact_and_a_verdict() {
        let mut silent = Silent;
        let mut session = Session::new(REPRODUCTION.revision, Units::in_memory(), &mut silent);
        let findings = study(&[0], 16, [3, 2], &mut session).unwrap();
        assert_eq!((findings.decision.checks.len(), findings.tables.len(), findings.plots.len()), (7, 3, 2));
        let start = findings.facts.mean("scale.first[MadaCos α=0.02, moderate spread]").unwrap();
        assert!(start >= 32.0);
    }
}
