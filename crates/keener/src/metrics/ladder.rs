//! Where a score stands among sorted ones, in about the time of one comparison.

use crate::real::Real;

/// A score with the index that orders equal scores: the lower index comes first.
pub(super) type Rung<T> = (T, u32);

/// Most buckets of the look-up table.
const MOST_BUCKETS: usize = 1 << 20;
/// Ranges up to this length are searched from one end to the other.
const SHORT: usize = 8;

/// Scores sorted downwards, equal ones by index upwards, with a table from score to place.
///
/// The table cuts the range of the scores into equal buckets. Rounding is monotone, so a score in an earlier bucket is
/// greater whatever the rounding; only scores of one bucket are compared.
#[derive(Default)]
pub(super) struct Ladder<T> {
    scores: Vec<T>,
    /// One a score, or none: then all are 0.
    indices: Vec<u32>,
    starts: Vec<u32>,
    top: T,
    scale: T,
}

impl<T: Real> Ladder<T> {
    /// A ladder of sorted scores that all have index 0.
    pub(super) fn of_scores(sorted: Vec<T>) -> Self {
        let mut ladder = Self { scores: sorted, ..Self::default() };
        ladder.build();
        ladder
    }

    /// Takes sorted rungs over; the memory of an earlier use is kept.
    pub(super) fn fill(&mut self, sorted: &[Rung<T>]) {
        self.scores.clear();
        self.scores.extend(sorted.iter().map(|rung| rung.0));
        self.indices.clear();
        self.indices.extend(sorted.iter().map(|rung| rung.1));
        self.build();
    }

    fn build(&mut self) {
        let (Some(first), Some(last)) = (self.scores.first(), self.scores.last()) else { return };
        let buckets = (2 * self.scores.len()).next_power_of_two().min(MOST_BUCKETS);
        let span = (*first - *last).f64();
        self.top = *first;
        self.scale = if span > 0.0 && span.is_finite() { T::of(buckets as f64 / span) } else { T::zero() };
        if !self.scale.is_finite() {
            self.scale = T::zero();
        }
        // starts[b]: how many rungs are in earlier buckets.
        self.starts.clear();
        self.starts.resize(buckets + 1, 0);
        for i in 0..self.scores.len() {
            let bucket = self.bucket(self.scores[i]);
            self.starts[bucket + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
    }

    fn bucket(&self, score: T) -> usize {
        // A negative or too large product saturates.
        (((self.top - score) * self.scale).f64() as usize).min(self.starts.len() - 2)
    }

    pub(super) fn scores(&self) -> &[T] {
        &self.scores
    }

    /// How many rungs come before this one.
    pub(super) fn before(&self, rung: Rung<T>) -> usize {
        if self.scores.is_empty() {
            return 0;
        }
        let bucket = self.bucket(rung.0);
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let earlier = |place: usize| {
            let score = self.scores[place];
            score > rung.0 || (score == rung.0 && self.indices.get(place).copied().unwrap_or(0) < rung.1)
        };
        if end - start <= SHORT {
            return (start..end).find(|place| !earlier(*place)).unwrap_or(end);
        }
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if earlier(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Greater scores first, of equal ones the lower index.
pub(super) fn downwards<T: Real>(a: &Rung<T>, b: &Rung<T>) -> std::cmp::Ordering {
    b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::super::testing::uniform;
    use super::*;

    #[test]
    fn places_are_those_of_a_search() {
        let spreads: [fn(f64) -> f64; 5] =
            [|u| u, |u| (20.0 * u).floor(), |u| if u < 0.01 { -1e30 } else { u }, |_| 3.0, |u| 1e-30 * u];
        for spread in spreads {
            for n in [1, 2, 7, 300] {
                let value = |u: &f64| spread(*u) as f32;
                let mut rungs: Vec<Rung<f32>> = uniform(91, n).iter().map(value).zip((0..).step_by(3)).collect();
                rungs.sort_by(downwards);
                let mut ladder = Ladder::default();
                ladder.fill(&rungs);
                for (score, index) in uniform(92, 500).iter().map(value).zip(0..) {
                    let expected = rungs.iter().filter(|r| downwards(r, &(score, index)).is_lt()).count();
                    assert_eq!(ladder.before((score, index)), expected);
                }
                let plain = Ladder::of_scores(rungs.iter().map(|r| r.0).collect());
                let at_least = rungs.iter().filter(|r| r.0 >= 0.5).count();
                assert_eq!(plain.before((0.5, 1)), at_least);
                assert_eq!(ladder.before((f32::MAX, 0)), 0);
                assert_eq!(ladder.before((f32::MIN, 0)), n);
            }
        }
    }
}
