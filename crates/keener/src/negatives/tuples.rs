//! Tuples of an anchor, a positive and hard negatives, drawn from what a classifier confuses.

use crate::error::{Error, Result};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Items of one tuple, by index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuple {
    /// The anchor.
    pub anchor: usize,
    /// Another item of its class.
    pub positive: usize,
    /// Items of other classes.
    pub negatives: Vec<usize>,
}

impl Tuple {
    /// Every item, the anchor first, then the positive.
    pub fn items(&self) -> impl Iterator<Item = usize> + '_ {
        [self.anchor, self.positive].into_iter().chain(self.negatives.iter().copied())
    }
}

/// Draws tuples whose negatives are what a classifier takes for the anchor's class, or the class that it takes the anchor for.
///
/// With `TP_c` the items of class `c` predicted as `c` and `FP_c` items of other classes predicted as `c`, an unused anchor of a
/// class `c` with at least two unused items is drawn. A correctly classified anchor gets any other unused item of `c` as positive,
/// and each negative comes from `FP_c` with probability 1/2; an anchor mistaken for class `m` gets an item of `TP_c` if there is
/// one, and each negative comes from `FP_c` with probability 0.33, else from class `m` with probability 1/2. What remains
/// is filled with items of distinct other classes. Within a pass no item appears twice; a new pass begins, with all items
/// unused, when no tuple can be filled any more. Without predictions all negatives are random.
///
/// Reference: Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image Retrieval (arXiv 2308.04008),
/// whose probabilities these are; six negatives there.
#[derive(Clone, Debug)]
pub struct HardTuples {
    labels: Vec<u32>,
    predicted: Option<Vec<u32>>,
    classes: Vec<Vec<usize>>,
    /// Items of other classes by the class that they are predicted as.
    false_positives: Vec<Vec<usize>>,
    negatives: usize,
}

impl HardTuples {
    /// A sampler over items with `labels`, and with the classes that a model predicts for them where there is one.
    ///
    /// # Errors
    /// No negatives asked for, predictions that are not one an item, no class with two items, or too few items of other
    /// classes to fill a tuple.
    pub fn new(labels: &[u32], predicted: Option<&[u32]>, negatives: usize) -> Result<Self> {
        if negatives == 0 {
            return Err(Error::parameter("negatives", negatives, "a whole number ≥ 1"));
        }
        if let Some(found) = predicted.filter(|p| p.len() != labels.len()) {
            return Err(Error::shape("predictions", &[found.len()], format!("[{}], one an item", labels.len())));
        }
        let count = labels.iter().chain(predicted.unwrap_or_default()).max().map_or(0, |m| *m as usize + 1);
        let (mut classes, mut false_positives) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (item, label) in labels.iter().enumerate() {
            classes[*label as usize].push(item);
            if let Some(other) = predicted.map(|p| p[item]).filter(|p| p != label) {
                false_positives[other as usize].push(item);
            }
        }
        let undefined = |reason: String| Err(Error::Undefined { what: "a tuple".into(), reason });
        let others = |class: &Vec<usize>| labels.len() - class.len();
        let mut paired = classes.iter().filter(|c| c.len() >= 2).peekable();
        if paired.peek().is_none() {
            return undefined("no class has two items, for an anchor and a positive".into());
        }
        if !paired.any(|class| others(class) >= negatives) {
            return undefined(format!("there are fewer than {negatives} items of other classes"));
        }
        let (labels, predicted) = (labels.to_vec(), predicted.map(<[u32]>::to_vec));
        Ok(Self { labels, predicted, classes, false_positives, negatives })
    }

    /// `count` tuples for one epoch. The same seed and epoch give the same tuples.
    pub fn draw(&self, count: usize, seed: u64, epoch: u64) -> Vec<Tuple> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(epoch));
        let mut tuples = Vec::with_capacity(count);
        while tuples.len() < count {
            let mut pass = Pass::new(self, &mut rng);
            let before = tuples.len();
            while tuples.len() < count {
                let Some(tuple) = pass.tuple(&mut rng) else { break };
                tuples.push(tuple);
            }
            debug_assert!(tuples.len() > before, "construction checked that a fresh pass fills a tuple");
            if tuples.len() == before {
                break;
            }
        }
        tuples
    }
}

/// One pass over the items: each is used at most once.
struct Pass<'s> {
    sampler: &'s HardTuples,
    used: Vec<bool>,
    /// Items left, by class, in a random order; used ones are dropped when met.
    left: Vec<Vec<usize>>,
    confused: Vec<Vec<usize>>,
    /// Classes that may still have an anchor.
    open: Vec<usize>,
    unused: usize,
}

impl<'s> Pass<'s> {
    fn new(sampler: &'s HardTuples, rng: &mut ChaCha8Rng) -> Self {
        let mut shuffled = |lists: &[Vec<usize>]| -> Vec<Vec<usize>> {
            lists
                .iter()
                .map(|list| {
                    let mut list = list.clone();
                    list.shuffle(rng);
                    list
                })
                .collect()
        };
        let (left, confused) = (shuffled(&sampler.classes), shuffled(&sampler.false_positives));
        let open = (0..left.len()).filter(|c| left[*c].len() >= 2).collect();
        let unused = sampler.labels.len();
        Self { sampler, used: vec![false; unused], left, confused, open, unused }
    }

    /// Takes the last unused item of a list that `fits`.
    fn take(list: &mut Vec<usize>, used: &mut [bool], fits: impl Fn(usize) -> bool) -> Option<usize> {
        list.retain(|item| !used[*item]);
        let at = list.iter().rposition(|item| fits(*item))?;
        let item = list.swap_remove(at);
        used[item] = true;
        Some(item)
    }

    /// The next tuple; `None` where none can be filled any more.
    fn tuple(&mut self, rng: &mut ChaCha8Rng) -> Option<Tuple> {
        loop {
            for class in &self.open {
                self.left[*class].retain(|item| !self.used[*item]);
            }
            let (left, needed, unused) = (&self.left, self.sampler.negatives, self.unused);
            self.open.retain(|c| left[*c].len() >= 2 && unused - left[*c].len() >= needed);
            let class = *self.open.choose(rng)?;
            if let Some(tuple) = self.of_class(class, rng) {
                return Some(tuple);
            }
        }
    }

    fn of_class(&mut self, class: usize, rng: &mut ChaCha8Rng) -> Option<Tuple> {
        let sampler = self.sampler;
        let anchor = Self::take(&mut self.left[class], &mut self.used, |_| true)?;
        let mistaken = sampler.predicted.as_ref().map(|p| p[anchor] as usize).filter(|p| *p != class);
        let right = |item: usize| sampler.predicted.as_ref().is_none_or(|p| p[item] as usize == class);
        let positive = match mistaken {
            Some(_) => Self::take(&mut self.left[class], &mut self.used, right)
                .or_else(|| Self::take(&mut self.left[class], &mut self.used, |_| true))?,
            None => Self::take(&mut self.left[class], &mut self.used, |_| true)?,
        };
        self.unused -= 2;
        let mut negatives = Vec::with_capacity(sampler.negatives);
        for _ in 0..sampler.negatives {
            let hard = rng.random_bool(if mistaken.is_some() { 0.33 } else { 0.5 });
            let other = |item: usize| sampler.labels[item] as usize != class;
            let mut found = None;
            if hard {
                found = Self::take(&mut self.confused[class], &mut self.used, other);
            }
            if let (None, Some(m)) = (found, mistaken)
                && rng.random_bool(0.5)
            {
                found = Self::take(&mut self.left[m], &mut self.used, |_| true);
            }
            negatives.extend(found);
        }
        self.fill(class, &mut negatives, rng);
        self.unused -= negatives.len();
        (negatives.len() == sampler.negatives).then_some(Tuple { anchor, positive, negatives })
    }

    /// Fills up with items of distinct other classes; classes repeat only when there are too few of them.
    fn fill(&mut self, class: usize, negatives: &mut Vec<usize>, rng: &mut ChaCha8Rng) {
        let mut met: HashMap<usize, usize> = HashMap::new();
        for item in negatives.iter() {
            *met.entry(self.sampler.labels[*item] as usize).or_default() += 1;
        }
        let mut others: Vec<usize> =
            (0..self.left.len()).filter(|c| *c != class && !self.left[*c].is_empty()).collect();
        others.shuffle(rng);
        // Classes that are not yet among the negatives first.
        others.sort_by_key(|c| met.contains_key(c));
        while negatives.len() < self.sampler.negatives {
            let before = negatives.len();
            for other in &others {
                if negatives.len() == self.sampler.negatives {
                    return;
                }
                negatives.extend(Self::take(&mut self.left[*other], &mut self.used, |_| true));
            }
            if negatives.len() == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn check(labels: &[u32], sampler: &HardTuples, tuples: &[Tuple], negatives: usize) {
        for tuple in tuples {
            let class = labels[tuple.anchor];
            assert_eq!(class, labels[tuple.positive]);
            assert_ne!(tuple.anchor, tuple.positive);
            assert_eq!(tuple.negatives.len(), negatives);
            assert!(tuple.negatives.iter().all(|n| labels[*n] != class));
            assert_eq!(tuple.items().collect::<HashSet<_>>().len(), negatives + 2);
        }
        let _ = sampler;
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn invariants_hold(
            labels in prop::collection::vec(0u32..6, 4..60), shift in prop::collection::vec(0u32..6, 60), negatives in 1usize..5,
            seed: u64, known: bool,
        ) {
            let predicted: Vec<u32> = labels.iter().zip(&shift).map(|(l, s)| if *s < 4 { *l } else { *s }).collect();
            let Ok(sampler) = HardTuples::new(&labels, known.then_some(&predicted[..]), negatives) else { return Ok(()) };
            let tuples = sampler.draw(25, seed, 1);
            prop_assert_eq!(tuples.len(), 25);
            check(&labels, &sampler, &tuples, negatives);
            prop_assert_eq!(&tuples, &sampler.draw(25, seed, 1));
        }
    }

    #[test]
    fn no_item_twice_within_a_pass() {
        let labels: Vec<u32> = (0..80).map(|k| k % 8).collect();
        let sampler = HardTuples::new(&labels, None, 6).unwrap();
        let tuples = sampler.draw(8, 3, 0);
        check(&labels, &sampler, &tuples, 6);
        let items: Vec<usize> = tuples.iter().flat_map(Tuple::items).collect();
        assert_eq!(items.iter().collect::<HashSet<_>>().len(), items.len(), "64 of 80 items, each once");
        assert_ne!(tuples, sampler.draw(8, 3, 1));
    }

    #[test]
    fn confusions_are_preferred() {
        // Half of class 1 is taken for class 0; class 2 and 3 are never confused.
        let labels: Vec<u32> = (0..400).map(|k| k % 4).collect();
        let predicted: Vec<u32> = (0..400).map(|k| if k % 8 == 1 { 0 } else { k % 4 }).collect();
        let sampler = HardTuples::new(&labels, Some(&predicted), 2).unwrap();
        let tuples = sampler.draw(40, 5, 0);
        let of_zero: Vec<&Tuple> = tuples.iter().filter(|t| labels[t.anchor] == 0).collect();
        let hard = of_zero.iter().flat_map(|t| &t.negatives).filter(|n| predicted[**n] == 0).count();
        let random = of_zero.len() * 2 / 6;
        assert!(hard > 2 * random.max(1), "{hard} of {} negatives are confusions", of_zero.len() * 2);
        // An anchor taken for class 0 meets class 0 more often than a third of the time.
        let mistaken: Vec<&Tuple> = tuples.iter().filter(|t| predicted[t.anchor] != labels[t.anchor]).collect();
        assert!(!mistaken.is_empty());
        assert!(mistaken.iter().all(|t| predicted[t.positive] == labels[t.positive]));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let error = |labels: &[u32], negatives| HardTuples::new(labels, None, negatives).unwrap_err().to_string();
        assert!(error(&[0, 1, 2], 1).contains("no class has two items"));
        assert!(error(&[0, 0, 1], 2).contains("fewer than 2 items of other classes"));
        assert!(error(&[0, 0, 1], 0).contains("negatives = 0"));
        assert!(HardTuples::new(&[0, 0, 1], Some(&[0]), 1).unwrap_err().to_string().contains("one an item"));
        // Predictions outside the labelled classes are no error: a model may know more classes.
        assert_eq!(HardTuples::new(&[0, 0, 1], Some(&[0, 9, 1]), 1).unwrap().draw(3, 0, 0).len(), 3);
    }
}
