//! What a reproduction is, how much of it is run, and the list of them all.

use crate::{Findings, Session};
use serde::{Deserialize, Serialize};

/// A claim of a paper with the program that tests it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reproduction {
    /// Name in commands and files, such as `contrastive-behaviour`.
    pub slug: &'static str,
    /// Number in the list of papers.
    pub number: u32,
    /// Title of the paper.
    pub title: &'static str,
    /// arXiv id.
    pub arxiv: &'static str,
    /// The method in a few words.
    pub method: &'static str,
    /// Where the library holds it: paths of modules.
    pub code: &'static [&'static str],
    /// What the paper says and is tested here.
    pub claim: &'static str,
    /// The rule for the verdict, in words; the code that decides says the same.
    pub rule: &'static str,
    /// What the quick mode runs, and about how long it takes.
    pub quick: &'static str,
    /// What the full mode runs, and about how long it takes.
    pub full: &'static str,
    /// Raised whenever results of earlier versions must not be reused on resuming.
    pub revision: u32,
    /// Runs it.
    #[serde(skip)]
    pub run: fn(&Mode, &mut Session<'_>) -> anyhow::Result<Findings>,
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Some tens of seconds at most.
    Quick,
    /// Everything, in minutes.
    Full,
}

/// How much is run, and over how many seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// How much.
    pub extent: Extent,
    /// Number of seeds; `None` takes the reproduction's own.
    pub seeds: Option<u64>,
}

impl Mode {
    /// The quick mode with the reproduction's own number of seeds.
    pub const fn quick() -> Self {
        Self { extent: Extent::Quick, seeds: None }
    }

    /// The full mode with the reproduction's own number of seeds.
    pub const fn full() -> Self {
        Self { extent: Extent::Full, seeds: None }
    }

    /// Sets the number of seeds.
    pub const fn with_seeds(self, seeds: u64) -> Self {
        Self { seeds: Some(seeds), ..self }
    }

    /// The seeds `0..n`, n being what was asked for or the default of the extent.
    pub fn seeds_or(&self, quick: u64, full: u64) -> Vec<u64> {
        let own = if self.extent == Extent::Quick { quick } else { full };
        (0..self.seeds.unwrap_or(own).max(1)).collect()
    }
}

/// Every reproduction, in the order of the papers.
pub fn reproductions() -> &'static [Reproduction] {
    crate::papers::REPRODUCTIONS
}

/// The reproduction called `slug`; underscores and upper case are accepted.
///
/// # Errors
/// [`keener::Error::Unknown`] with the nearest names.
pub fn find(slug: &str) -> keener::Result<&'static Reproduction> {
    let wanted = slug.trim().to_lowercase().replace(['_', ' '], "-");
    reproductions().iter().find(|r| r.slug == wanted).ok_or_else(|| keener::Error::Unknown {
        kind: "reproduction",
        name: slug.to_string(),
        nearest: keener::objective::nearest(&wanted, reproductions().iter().map(|r| r.slug)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reproduction_is_complete_and_found_by_its_slug() {
        for (k, r) in reproductions().iter().enumerate() {
            assert_eq!(find(r.slug).unwrap().number, r.number);
            assert_eq!(find(&r.slug.to_uppercase().replace('-', "_")).unwrap().slug, r.slug);
            assert!(r.slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", r.slug);
            for text in [r.title, r.method, r.claim, r.rule, r.quick, r.full] {
                assert!(text.len() > 10, "{} lacks a text", r.slug);
            }
            assert!(!r.code.is_empty() && r.revision > 0 && r.arxiv.contains('.'), "{}", r.slug);
            assert!(reproductions()[..k].iter().all(|other| other.number < r.number), "{} is out of order", r.slug);
        }
    }

    #[test]
    fn a_wrong_slug_suggests_the_nearest() {
        let message = find("contrastive-behavior").unwrap_err().to_string();
        assert!(
            message.contains("no reproduction is called") && message.contains("`contrastive-behaviour`"),
            "{message}"
        );
        assert!(!find("qqqq").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn seeds_follow_the_extent_unless_asked_for() {
        assert_eq!(Mode::quick().seeds_or(2, 5), [0, 1]);
        assert_eq!(Mode::full().seeds_or(2, 5).len(), 5);
        assert_eq!(Mode::full().with_seeds(3).seeds_or(2, 5), [0, 1, 2]);
    }
}
