//! Which metrics are wanted.

use anyhow::Result;
use keener::metrics::Measure;
use std::str::FromStr;

/// Groups by name; each is reported where it applies.
pub(crate) const GROUPS: [&str; 5] = ["classification", "retrieval", "verification", "clustering", "spread"];

/// One word of `--metrics`: a group, or a measure of retrieval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Group(&'static str),
    Measure(Measure),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(group) = GROUPS.iter().find(|g| g.eq_ignore_ascii_case(text.trim())) {
            return Ok(Self::Group(group));
        }
        text.parse().map(Self::Measure).map_err(|_| {
            format!(
                "expected a group ({}) or a measure of retrieval (recall@k, found@k, precision@k, ndcg@k, r-precision, map@r, mrr, map, ndcg)",
                GROUPS.join(", ")
            )
        })
    }
}

/// What is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    groups: Vec<&'static str>,
    measures: Vec<Measure>,
}

impl Selection {
    /// Everything, or what `wanted` names; `cut_offs` are the k of measures at k.
    pub(crate) fn new(wanted: &[Wanted], cut_offs: &[usize]) -> Self {
        let mut groups: Vec<&'static str> = Vec::new();
        let mut measures: Vec<Measure> = Vec::new();
        let mut all_measures = wanted.is_empty();
        for word in wanted {
            match word {
                Wanted::Group(group) => {
                    groups.push(group);
                    all_measures |= *group == "retrieval";
                }
                Wanted::Measure(measure) => {
                    groups.push("retrieval");
                    measures.push(*measure);
                }
            }
        }
        if all_measures {
            type At = fn(usize) -> Measure;
            let kinds: [At; 4] = [Measure::RecallAt, Measure::FoundAt, Measure::PrecisionAt, Measure::NdcgAt];
            measures.extend(kinds.iter().flat_map(|at| cut_offs.iter().map(|k| at(*k))));
            measures.extend([Measure::RPrecision, Measure::MapAtR, Measure::Mrr, Measure::Map, Measure::Ndcg]);
        }
        if wanted.is_empty() {
            groups = GROUPS.to_vec();
        }
        let mut seen = Vec::new();
        measures.retain(|m| {
            !seen.contains(m) && {
                seen.push(*m);
                true
            }
        });
        Self { groups, measures }
    }

    pub(crate) fn has(&self, group: &str) -> bool {
        self.groups.contains(&group)
    }

    pub(crate) fn measures(&self) -> &[Measure] {
        &self.measures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(words: &str) -> Selection {
        let wanted: Vec<Wanted> = words.split_whitespace().map(|w| w.parse().unwrap()).collect();
        Selection::new(&wanted, &[1, 10])
    }

    #[test]
    fn measures_mean_retrieval_alone_and_groups_all_of_theirs() {
        let some = selection("map@r recall@3 map@r");
        assert_eq!(some.measures(), [Measure::MapAtR, Measure::RecallAt(3)]);
        assert!(some.has("retrieval") && !some.has("clustering"));
        let group = selection("retrieval clustering");
        assert_eq!(group.measures().len(), 4 * 2 + 5);
        assert!(group.has("clustering") && !group.has("spread"));
        assert_eq!(selection("").groups, GROUPS);
        assert!("hits".parse::<Wanted>().unwrap_err().contains("recall@k"));
    }
}
