//! The measures of a ranking, as functions of the ranks of what is relevant.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A measure of one query's ranking: R references are relevant, of ranks `r_1 < r_2 < … < r_R` from 1.
///
/// Written and read as `recall@10`, `map@r`, …; a mean over queries is what tables show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Measure {
    /// `recall@k`: `[r_1 ≤ k]`, 1 if one of the k nearest is relevant. Recall@k as metric learning uses it, Song et al., *Deep
    /// Metric Learning via Lifted Structured Feature Embedding* (2015, arXiv 1511.06452); hit rate or success@k elsewhere.
    RecallAt(usize),
    /// `found@k`: `#{i : r_i ≤ k} / R`, the share of what is relevant that is found: recall@k of information retrieval.
    FoundAt(usize),
    /// `precision@k`: `#{i : r_i ≤ k} / k`; with fewer than k references still divided by k, as TREC does.
    PrecisionAt(usize),
    /// `ndcg@k`: [`Measure::Ndcg`] of the k nearest; the ideal ranking has `min(k, R)` relevant ones there.
    NdcgAt(usize),
    /// `r-precision`: `#{i : r_i ≤ R} / R`.
    RPrecision,
    /// `map@r`: `(1/R) Σ_{r_i ≤ R} i / r_i`. Musgrave et al., *A Metric Learning Reality Check* (2020, arXiv 2003.08505).
    MapAtR,
    /// `mrr`: `1 / r_1`. Voorhees, *The TREC-8 Question Answering Track Report* (1999).
    Mrr,
    /// `map`: `(1/R) Σ_i i / r_i`, average precision over the whole ranking. Voorhees & Harman, *TREC* (2005).
    Map,
    /// `ndcg`: `Σ_i 1 / log₂(1 + r_i)` divided by its value at the ideal ranks 1 … R. Järvelin & Kekäläinen, *Cumulated
    /// gain-based evaluation of IR techniques* (TOIS, 2002), gains 0 and 1.
    Ndcg,
}

impl Measure {
    /// Refuses a cut-off of 0.
    ///
    /// # Errors
    /// As said.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::RecallAt(0) | Self::FoundAt(0) | Self::PrecisionAt(0) | Self::NdcgAt(0) => {
                Err(Error::parameter(self.to_string(), 0, "a cut-off of at least 1"))
            }
            _ => Ok(()),
        }
    }

    /// The greatest rank that matters with R relevant references; the first relevant one is always ranked.
    pub(super) fn depth(self, relevant: usize) -> usize {
        match self {
            Self::RecallAt(_) | Self::Mrr => 1,
            Self::FoundAt(k) | Self::PrecisionAt(k) | Self::NdcgAt(k) => k,
            Self::RPrecision | Self::MapAtR => relevant,
            Self::Map | Self::Ndcg => usize::MAX,
        }
    }

    /// Its value for ranks that are known up to its depth, the first in any case.
    pub(super) fn of_ranks(self, ranks: &[usize], relevant: usize) -> f64 {
        let within = |k: usize| ranks.partition_point(|r| *r <= k);
        let precisions =
            |count: usize| ranks[..count].iter().zip(1..).map(|(r, i)| f64::from(i) / *r as f64).sum::<f64>();
        let gain = |rank: usize| 1.0 / (1.0 + rank as f64).log2();
        let normalised = |count: usize, ideal: usize| {
            ranks[..count].iter().map(|r| gain(*r)).sum::<f64>() / (1..=ideal).map(gain).sum::<f64>()
        };
        let r = relevant as f64;
        match self {
            Self::RecallAt(k) => f64::from(ranks[0] <= k),
            Self::FoundAt(k) => within(k) as f64 / r,
            Self::PrecisionAt(k) => within(k) as f64 / k as f64,
            Self::NdcgAt(k) => normalised(within(k), k.min(relevant)),
            Self::RPrecision => within(relevant) as f64 / r,
            Self::MapAtR => precisions(within(relevant)) / r,
            Self::Mrr => 1.0 / ranks[0] as f64,
            Self::Map => precisions(relevant) / r,
            Self::Ndcg => normalised(relevant, relevant),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecallAt(k) => write!(f, "recall@{k}"),
            Self::FoundAt(k) => write!(f, "found@{k}"),
            Self::PrecisionAt(k) => write!(f, "precision@{k}"),
            Self::NdcgAt(k) => write!(f, "ndcg@{k}"),
            Self::RPrecision => f.write_str("r-precision"),
            Self::MapAtR => f.write_str("map@r"),
            Self::Mrr => f.write_str("mrr"),
            Self::Map => f.write_str("map"),
            Self::Ndcg => f.write_str("ndcg"),
        }
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            let known = ["recall@k", "found@k", "precision@k", "ndcg@k", "r-precision", "map@r", "mrr", "map", "ndcg"];
            Error::parameter("measure", format!("`{text}`"), format!("one of {}", known.join(", ")))
        };
        let lower = text.trim().to_lowercase();
        let measure = match lower.as_str() {
            "r-precision" => Self::RPrecision,
            "map@r" => Self::MapAtR,
            "mrr" => Self::Mrr,
            "map" => Self::Map,
            "ndcg" => Self::Ndcg,
            other => {
                let (name, k) = other.split_once('@').ok_or_else(unknown)?;
                let k = k.parse().map_err(|_| unknown())?;
                match name {
                    "recall" => Self::RecallAt(k),
                    "found" => Self::FoundAt(k),
                    "precision" => Self::PrecisionAt(k),
                    "ndcg" => Self::NdcgAt(k),
                    _ => return Err(unknown()),
                }
            }
        };
        measure.check().map(|()| measure)
    }
}

impl TryFrom<String> for Measure {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Measure> for String {
    fn from(measure: Measure) -> Self {
        measure.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::close;
    use super::*;

    /// Three relevant references at ranks 1, 3 and 7.
    #[test]
    fn measures_by_hand() {
        let of = |text: &str| text.parse::<Measure>().unwrap().of_ranks(&[1, 3, 7], 3);
        assert_eq!([of("recall@1"), of("mrr"), of("found@3"), of("precision@10")], [1.0, 1.0, 2.0 / 3.0, 0.3]);
        assert_eq!([of("r-precision"), of("map@r")], [2.0 / 3.0, (1.0 + 2.0 / 3.0) / 3.0]);
        let ideal = 1.0 + 1.0 / 3f64.log2() + 0.5;
        let all = [of("map"), of("ndcg"), of("ndcg@2"), of("ndcg@3")];
        let expected = [
            (1.0 + 2.0 / 3.0 + 3.0 / 7.0) / 3.0,
            (1.0 + 0.5 + 1.0 / 3.0) / ideal,
            1.0 / (1.0 + 1.0 / 3f64.log2()),
            1.5 / ideal,
        ];
        close(&all, &expected, 1e-15);
        assert_eq!(Measure::RecallAt(1).of_ranks(&[2], 3), 0.0);
        assert_eq!(Measure::MapAtR.of_ranks(&[4], 3), 0.0);
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for name in ["recall@1", "found@5", "precision@7", "ndcg@10", "r-precision", "map@r", "mrr", "map", "ndcg"] {
            assert_eq!(name.parse::<Measure>().unwrap().to_string(), name);
        }
        for name in ["recall", "recall@0", "recall@x", "map@5", "hits@3", ""] {
            assert!(matches!(name.parse::<Measure>(), Err(Error::Parameter { .. })), "{name}");
        }
    }
}
