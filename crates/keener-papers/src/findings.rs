//! What a run found: tables, plots, facts by name, and the verdict with its reasons.

use anyhow::{Context, Result};
use keener_report::{Svg, Table};
use serde::{Deserialize, Serialize};

/// Everything that a run found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What was measured, for people.
    pub tables: Vec<Table>,
    /// Pictures of it.
    pub plots: Vec<Plot>,
    /// What was measured, by name.
    pub facts: Facts,
    /// The verdict, decided from the facts alone.
    pub decision: Decision,
    /// Limits, differences from other figures, and why.
    pub notes: Vec<String>,
}

/// A picture with the name of its file.
#[derive(Clone, Debug)]
pub struct Plot {
    /// File name without folder, such as `trade-off.svg`.
    pub file: &'static str,
    /// A sentence below the picture.
    pub caption: String,
    /// The picture.
    pub svg: Svg,
}

/// Mean and range of a quantity over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

impl Spread {
    /// Of one or more values; NaN without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut sum, mut count, mut low, mut high) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (sum, count, low, high) = (sum + value, count + 1.0, low.min(value), high.max(value));
        }
        if count == 0.0 {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        }
        // Rounding must not push the mean of equal values out of their range.
        let mean: f64 = sum / count;
        Self { mean: mean.clamp(low, high), low, high }
    }

    /// A quantity that was measured once.
    pub fn once(value: f64) -> Self {
        Self { mean: value, low: value, high: value }
    }
}

/// A measured quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Its name, unique within a run.
    pub name: String,
    /// Its value (over seeds: the mean and the range).
    #[serde(flatten)]
    pub value: Spread,
}

/// Measured quantities by name, in the order in which they were stated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(Vec<Fact>);

impl Facts {
    /// States a fact; a second value under a name replaces the first.
    pub fn set(&mut self, name: impl Into<String>, value: Spread) {
        let name = name.into();
        match self.0.iter_mut().find(|f| f.name == name) {
            Some(fact) => fact.value = value,
            None => self.0.push(Fact { name, value }),
        }
    }

    /// The fact called `name`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn get(&self, name: &str) -> Result<Spread> {
        self.0.iter().find(|f| f.name == name).map(|f| f.value).with_context(|| format!("no fact is called `{name}`"))
    }

    /// The mean of the fact called `name`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn mean(&self, name: &str) -> Result<f64> {
        Ok(self.get(name)?.mean)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fact> {
        self.0.iter()
    }
}

/// What became of the claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that the rule asks for was seen.
    Shown,
    /// The claim was seen, but something that belongs to it was not.
    ShownWithReservation,
    /// The claim was not seen.
    #[default]
    NotShown,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Shown => "shown",
            Self::ShownWithReservation => "shown with reservation",
            Self::NotShown => "not shown",
        })
    }
}

/// One thing that the rule for the verdict asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked, as a sentence that is true or not.
    pub statement: String,
    /// Whether it is true.
    pub holds: bool,
    /// Whether the claim stands and falls with it; otherwise it is a reservation where it fails.
    pub decisive: bool,
    /// The numbers that decided.
    pub measured: String,
}

impl Check {
    /// Without it the claim is not shown.
    pub fn decisive(statement: impl Into<String>, holds: bool, measured: impl Into<String>) -> Self {
        Self { statement: statement.into(), holds, decisive: true, measured: measured.into() }
    }

    /// Without it the claim is shown with a reservation.
    pub fn reservation(statement: impl Into<String>, holds: bool, measured: impl Into<String>) -> Self {
        Self { decisive: false, ..Self::decisive(statement, holds, measured) }
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons.
    pub checks: Vec<Check>,
}

impl Decision {
    /// Not shown if a decisive check fails (or there is none), shown with reservation if another fails, shown otherwise.
    pub fn from_checks(checks: Vec<Check>) -> Self {
        let decisive = || checks.iter().filter(|c| c.decisive);
        let verdict = if decisive().count() == 0 || decisive().any(|c| !c.holds) {
            Verdict::NotShown
        } else if checks.iter().any(|c| !c.holds) {
            Verdict::ShownWithReservation
        } else {
            Verdict::Shown
        };
        Self { verdict, checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_follows_the_checks() {
        let (yes, no) = (Check::decisive("a", true, "1"), Check::decisive("b", false, "2"));
        let (fine, doubt) = (Check::reservation("c", true, "3"), Check::reservation("d", false, "4"));
        let verdict = |checks: &[&Check]| Decision::from_checks(checks.iter().map(|c| (*c).clone()).collect()).verdict;
        assert_eq!(verdict(&[&yes, &fine]), Verdict::Shown);
        assert_eq!(verdict(&[&yes, &fine, &doubt]), Verdict::ShownWithReservation);
        assert_eq!(verdict(&[&yes, &no, &fine]), Verdict::NotShown);
        assert_eq!(verdict(&[&fine]), Verdict::NotShown, "nothing was asked");
    }

    #[test]
    fn a_spread_holds_its_mean() {
        let third = Spread::of([0.1, 0.1, 0.1]);
        assert_eq!((third.low, third.mean, third.high), (0.1, 0.1, 0.1));
        assert_eq!(Spread::of([1.0, 4.0, 2.5]), Spread { mean: 2.5, low: 1.0, high: 4.0 });
        assert!(Spread::of([]).mean.is_nan());
    }

    #[test]
    fn facts_are_found_by_name_and_a_missing_one_is_named() {
        let mut facts = Facts::default();
        facts.set("x", Spread::once(1.0));
        facts.set("x", Spread::once(2.0));
        assert_eq!((facts.mean("x").unwrap(), facts.iter().count()), (2.0, 1));
        assert_eq!(facts.mean("y").unwrap_err().to_string(), "no fact is called `y`");
    }
}
