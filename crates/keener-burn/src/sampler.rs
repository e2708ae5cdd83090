//! Which rows make a batch. Every batch is a function of seed and step alone, so that resuming needs no state.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How batches are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SamplerConfig {
    /// Every row once an epoch, in a new order each time; a last short batch is left out.
    Shuffle,
    /// `classes` classes with `per_class` rows of each, for objectives over the pairs of a batch. Classes with fewer rows
    /// give some more than once.
    ClassesPerBatch {
        /// Classes a batch (at most as many as there are).
        classes: usize,
        /// Rows a class.
        per_class: usize,
    },
    /// Every class in every batch, in proportion to its rows but with one row at least, each row once in a pass through its
    /// class. For objectives that are a number of the whole batch.
    Stratified,
    /// Whole bags, about as many as fit the batch, every bag once an epoch. For objectives over bags.
    Bags,
    /// Rows as in `shuffle`, each with another row of its class as partner (itself, if it is alone).
    Pairs,
}

/// Rows of a batch, and the partner of each where pairs are drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) rows: Vec<u32>,
    pub(crate) partners: Vec<u32>,
}

/// Streams of the seed: one for each use, so that none disturbs another.
const EPOCHS: u64 = 1 << 40;
const STEPS: u64 = 2 << 40;
const STRATA: u64 = 4 << 40;
pub(crate) const ATTACKS: u64 = 3 << 40;

/// Numbers for use `stream` at place `at`.
pub(crate) fn random(seed: u64, stream: u64, at: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream + at as u64);
    rng
}

#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    config: SamplerConfig,
    seed: u64,
    batch: usize,
    labels: Vec<u32>,
    by_class: Vec<Vec<u32>>,
    order: Vec<u32>,
    epoch: Option<usize>,
    /// Rows of each class in a stratified batch.
    quotas: Vec<usize>,
    /// Rows of each bag.
    bags: Vec<Vec<u32>>,
}

impl Sampler {
    pub(crate) fn new(config: SamplerConfig, labels: &[u32], classes: usize, batch: usize, seed: u64) -> Self {
        let mut by_class = vec![Vec::new(); classes];
        for (row, label) in labels.iter().enumerate() {
            by_class[*label as usize].push(row as u32);
        }
        let order = (0..labels.len() as u32).collect();
        let batch = batch.min(labels.len());
        let quotas = if config == SamplerConfig::Stratified { quotas(&by_class, batch) } else { Vec::new() };
        Self { config, seed, batch, labels: labels.to_vec(), by_class, order, epoch: None, quotas, bags: Vec::new() }
    }

    /// Whole bags, from the bag of each row.
    pub(crate) fn of_bags(of_rows: &[u32], batch: usize, seed: u64) -> Self {
        let count = of_rows.iter().max().map_or(0, |m| *m as usize + 1);
        let mut bags = vec![Vec::new(); count];
        for (row, bag) in of_rows.iter().enumerate() {
            bags[*bag as usize].push(row as u32);
        }
        let a_batch = (batch * count / of_rows.len().max(1)).clamp(1, count.max(1));
        Self {
            config: SamplerConfig::Bags,
            seed,
            batch: a_batch,
            labels: vec![0; count],
            by_class: Vec::new(),
            order: (0..count as u32).collect(),
            epoch: None,
            quotas: Vec::new(),
            bags,
        }
    }

    pub(crate) fn draw(&mut self, step: usize) -> Drawn {
        match self.config {
            SamplerConfig::Shuffle => Drawn { rows: self.shuffled(step), partners: Vec::new() },
            SamplerConfig::Stratified => Drawn { rows: self.stratified(step), partners: Vec::new() },
            SamplerConfig::Bags => {
                let bags = self.shuffled(step);
                let rows = bags.iter().flat_map(|bag| self.bags[*bag as usize].iter().copied()).collect();
                Drawn { rows, partners: Vec::new() }
            }
            SamplerConfig::Pairs => {
                let rows = self.shuffled(step);
                let mut rng = random(self.seed, STEPS, step);
                let partner = |row: &u32| {
                    let class = &self.by_class[self.labels[*row as usize] as usize];
                    if class.len() < 2 {
                        return *row;
                    }
                    // Any other row: draw among one fewer and step over the row itself.
                    let at = class.partition_point(|r| r < row);
                    let k = rng.random_range(0..class.len() - 1);
                    class[k + usize::from(k >= at)]
                };
                let partners = rows.iter().map(partner).collect();
                Drawn { rows, partners }
            }
            SamplerConfig::ClassesPerBatch { classes, per_class } => {
                let mut rng = random(self.seed, STEPS, step);
                let mut inhabited: Vec<&Vec<u32>> = self.by_class.iter().filter(|c| !c.is_empty()).collect();
                let (chosen, _) = inhabited.partial_shuffle(&mut rng, classes);
                let mut rows = Vec::with_capacity(classes * per_class);
                for class in chosen.iter() {
                    let mut mine = (*class).clone();
                    let (first, _) = mine.partial_shuffle(&mut rng, per_class);
                    rows.extend_from_slice(first);
                    for _ in first.len()..per_class {
                        rows.push(class[rng.random_range(0..class.len())]);
                    }
                }
                Drawn { rows, partners: Vec::new() }
            }
        }
    }

    /// The next rows of every class: classes pass at their own pace, each pass in a new order.
    fn stratified(&self, step: usize) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.batch);
        for (class, (members, quota)) in self.by_class.iter().zip(&self.quotas).enumerate() {
            let (mut at, end) = (step * quota, (step + 1) * quota);
            while at < end {
                let (pass, place) = (at / members.len(), at % members.len());
                let mut order = members.clone();
                order.shuffle(&mut random(self.seed, STRATA + ((class as u64) << 20), pass));
                let taken = (end - at).min(members.len() - place);
                rows.extend_from_slice(&order[place..place + taken]);
                at += taken;
            }
        }
        rows
    }

    fn shuffled(&mut self, step: usize) -> Vec<u32> {
        let an_epoch = (self.labels.len() / self.batch.max(1)).max(1);
        let (epoch, place) = (step / an_epoch, step % an_epoch);
        if self.epoch != Some(epoch) {
            for (row, at) in self.order.iter_mut().enumerate() {
                *at = row as u32;
            }
            self.order.shuffle(&mut random(self.seed, EPOCHS, epoch));
            self.epoch = Some(epoch);
        }
        self.order[place * self.batch..(place + 1) * self.batch].to_vec()
    }
}

/// Rows of each class in a batch of `batch`: in proportion by largest remainders, one at least of every class with rows.
fn quotas(by_class: &[Vec<u32>], batch: usize) -> Vec<usize> {
    let total: usize = by_class.iter().map(Vec::len).sum();
    let exact = |n: usize| batch as f64 * n as f64 / total.max(1) as f64;
    let least = |n: usize| usize::from(n > 0);
    let mut quotas: Vec<usize> = by_class.iter().map(|c| (exact(c.len()) as usize).max(least(c.len()))).collect();
    let mut order: Vec<usize> = (0..quotas.len()).collect();
    // Those that were cut most first; equal ones by class.
    order.sort_by(|a, b| {
        let cut = |c: &usize| exact(by_class[*c].len()) - quotas[*c] as f64;
        cut(b).total_cmp(&cut(a)).then(a.cmp(b))
    });
    let mut left = batch.saturating_sub(quotas.iter().sum());
    for class in order {
        if left > 0 && !by_class[class].is_empty() {
            quotas[class] += 1;
            left -= 1;
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<u32> {
        (0..50).map(|k| if k == 49 { 7 } else { k % 7 }).collect()
    }

    #[test]
    fn an_epoch_visits_every_row_once_and_epochs_differ() {
        let mut sampler = Sampler::new(SamplerConfig::Shuffle, &labels(), 8, 10, 3);
        let epoch = |sampler: &mut Sampler, first: usize| -> Vec<u32> {
            (first..first + 5).flat_map(|step| sampler.draw(step).rows).collect()
        };
        let (one, two) = (epoch(&mut sampler, 0), epoch(&mut sampler, 5));
        assert_ne!(one, two);
        let mut sorted = one.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
        // Any step can be drawn out of order: resuming draws the same.
        assert_eq!(Sampler::new(SamplerConfig::Shuffle, &labels(), 8, 10, 3).draw(7).rows, two[20..30]);
    }

    #[test]
    fn pairs_are_two_rows_of_a_class_and_loners_meet_themselves() {
        let labels = labels();
        let mut sampler = Sampler::new(SamplerConfig::Pairs, &labels, 8, 50, 3);
        let mut seen = std::collections::HashSet::new();
        for step in 0..200 {
            let drawn = sampler.draw(step);
            for (a, b) in drawn.rows.iter().zip(&drawn.partners) {
                assert_eq!(labels[*a as usize], labels[*b as usize]);
                assert_eq!(a == b, *a == 49);
                if *a == 7 {
                    seen.insert(*b);
                }
            }
        }
        assert_eq!(seen, [0, 14, 21, 28, 35, 42].into(), "every other row of the class comes");
    }

    #[test]
    fn stratified_batches_hold_every_class_and_every_row_comes_once_a_pass() {
        let labels: Vec<u32> = (0..100).map(|k| u32::from(k % 20 == 0) + 2 * u32::from(k == 7)).collect();
        let mut sampler = Sampler::new(SamplerConfig::Stratified, &labels, 4, 20, 3);
        assert_eq!(sampler.quotas, [18, 1, 1, 0]);
        let mut seen = vec![0; 100];
        for step in 0..5 {
            let rows = sampler.draw(step).rows;
            assert_eq!(rows.len(), 20);
            assert!(rows.iter().any(|r| labels[*r as usize] == 1) && rows.contains(&7));
            rows.iter().for_each(|r| seen[*r as usize] += 1);
        }
        let once = |class: u32| (0..100).filter(|row| labels[*row] == class && seen[*row] == 1).count();
        assert_eq!((once(0), once(1), seen[7]), (5 * 18, 5, 5));
        let again = Sampler::new(SamplerConfig::Stratified, &labels, 4, 20, 3).draw(4);
        assert_eq!(again, sampler.draw(4));
        assert_ne!(sampler.draw(0), sampler.draw(5));
    }

    #[test]
    fn bags_stay_whole() {
        let of_rows: Vec<u32> = (0..60).map(|row| row % 12).collect();
        let mut sampler = Sampler::of_bags(&of_rows, 16, 1);
        let mut seen = vec![0; 60];
        for step in 0..4 {
            let rows = sampler.draw(step).rows;
            assert_eq!(rows.len(), 15, "three bags of five");
            rows.iter().for_each(|r| seen[*r as usize] += 1);
            for bag in 0..12 {
                let count = rows.iter().filter(|r| of_rows[**r as usize] == bag).count();
                assert!(count == 0 || count == 5);
            }
        }
        assert!(seen.iter().all(|s| *s == 1));
        assert_eq!(Sampler::of_bags(&of_rows, 1, 1).draw(0).rows.len(), 5, "one bag at least");
    }

    #[test]
    fn classes_per_batch() {
        let labels = labels();
        let config = SamplerConfig::ClassesPerBatch { classes: 4, per_class: 9 };
        let mut sampler = Sampler::new(config, &labels, 9, 64, 3);
        for step in 0..50 {
            let rows = sampler.draw(step).rows;
            let mut counts = [0; 9];
            rows.iter().for_each(|r| counts[labels[*r as usize] as usize] += 1);
            assert_eq!(counts.iter().filter(|c| **c == 9).count(), 4);
            assert_eq!(rows.len(), 36);
        }
        assert_ne!(sampler.draw(0), sampler.draw(1));
    }
}
