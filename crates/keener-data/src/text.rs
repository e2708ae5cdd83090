//! Words for next-word prediction: package descriptions, and the embedded sample of them.

use flate2::read::GzDecoder;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

/// The file as bundled; `data/README.md` tells where it comes from.
static FILE: &[u8] = include_bytes!("../data/synopses.txt.gz");

/// One-line descriptions of 15,122 Debian packages, in the order of their text: a quarter of all there were in Debian 12.
///
/// ```
/// let lines = keener_data::text::synopses();
/// assert_eq!(lines.len(), 15_122);
/// ```
pub fn synopses() -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(FILE).read_to_string(&mut text).expect("the embedded file is checked by a test");
    text.lines().map(String::from).collect()
}

/// The one-line descriptions in a list of packages as dpkg and apt write them (`/var/lib/dpkg/status`, `Packages`, the output of
/// `apt-cache dumpavail`), each once, in the order of their text.
pub fn synopses_of(packages: &str) -> Vec<String> {
    let field = |line: &str| {
        let text = line.strip_prefix("Description: ").or_else(|| line.strip_prefix("Description-en: "))?;
        (!text.trim().is_empty()).then(|| text.trim().to_string())
    };
    let mut found: Vec<String> = packages.lines().filter_map(field).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Runs of letters and digits, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase)
}

/// Each word of some lines with the words before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextWords {
    /// Names: [`NextWords::START`], [`NextWords::OTHER`], then words by falling frequency (of equal ones by their text).
    pub vocabulary: Vec<String>,
    /// `[n, context]`: the words before, nearest last; START before the first.
    pub contexts: Vec<u32>,
    /// `[n]`: the word; never START or OTHER.
    pub targets: Vec<u32>,
    /// Words before.
    pub context: usize,
}

impl NextWords {
    /// Before the first word of a line.
    pub const START: u32 = 0;
    /// Any word outside the vocabulary.
    pub const OTHER: u32 = 1;

    /// Every word of `lines` that belongs to the vocabulary of at most `size` names, with `context` words before it, in the order
    /// of the lines.
    pub fn of(lines: &[String], context: usize, size: usize) -> Self {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for word in lines.iter().flat_map(|line| words(line)) {
            *counts.entry(word).or_default() += 1;
        }
        let mut ranked: Vec<(String, usize)> = counts.into_iter().collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut vocabulary = vec!["<start>".to_string(), "<other>".to_string()];
        vocabulary.extend(ranked.into_iter().take(size.saturating_sub(2)).map(|(word, _)| word));
        let ids: HashMap<&str, u32> = vocabulary.iter().enumerate().map(|(k, w)| (w.as_str(), k as u32)).collect();
        let (mut contexts, mut targets) = (Vec::new(), Vec::new());
        for line in lines {
            let mut before = vec![Self::START; context];
            for word in words(line) {
                let id = ids.get(word.as_str()).copied().unwrap_or(Self::OTHER);
                if id != Self::OTHER {
                    contexts.extend_from_slice(&before);
                    targets.push(id);
                }
                before.push(id);
                before.remove(0);
            }
        }
        Self { vocabulary, contexts, targets, context }
    }

    /// Number of words to predict.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_sample_is_whole() {
        let lines = synopses();
        assert_eq!(lines.len(), 15_122);
        assert!(lines.windows(2).all(|w| w[0] < w[1]), "in order, each once");
        let next = NextWords::of(&lines, 3, 2000);
        assert_eq!((next.vocabulary.len(), next.contexts.len()), (2000, 3 * next.len()));
        assert!(next.len() > 80_000 && next.targets.iter().all(|t| (2..2000).contains(t)));
    }

    #[test]
    fn contexts_hold_what_came_before() {
        let lines = ["Real-time game".to_string(), "the game, the game".into()];
        let next = NextWords::of(&lines, 2, 4);
        assert_eq!(next.vocabulary, ["<start>", "<other>", "game", "the"]);
        assert_eq!(next.targets, [2, 3, 2, 3, 2]);
        assert_eq!(next.contexts, [1, 1, 0, 0, 0, 3, 3, 2, 2, 3]);
    }

    #[test]
    fn descriptions_are_found_in_a_list_of_packages() {
        let text = "Package: b\nDescription: Some tool\n Long text.\n\nPackage: a\nDescription-en: A library\nDescription-md5: 00\n\nPackage: c\nDescription: Some tool\n";
        assert_eq!(synopses_of(text), ["A library", "Some tool"]);
        assert!(synopses_of("").is_empty());
    }
}
