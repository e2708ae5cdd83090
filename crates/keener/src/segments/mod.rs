//! Segments: bags of rows, sums and means by bag, and losses where a response belongs to a bag and not to a row.
//!
//! Work is linear in the rows; results do not depend on the number of threads.

mod aggregate;
mod private;

pub use aggregate::{AggregateKind, AggregateLoss, aggregate_loss};
pub use private::{PrivateRelease, clipped_means, laplace_from_uniform, laplace_scales, private_release};

use crate::error::{Error, Result};
use crate::real::Real;
use rayon::prelude::*;
use std::ops::Range;

/// A partition of rows into bags, none of them empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bags {
    /// Bag `a` owns the places `offsets[a]..offsets[a + 1]` of the order by bags.
    offsets: Vec<usize>,
    /// The row at each place and the place of each row; absent where rows lie bag by bag already.
    permutation: Option<(Vec<u32>, Vec<u32>)>,
}

impl Bags {
    /// From the bag of each row, `0..bags`, in any order.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a bag that does not exist, [`Error::Undefined`] for one without rows.
    pub fn new(of_rows: &[u32], bags: usize) -> Result<Self> {
        let mut offsets = vec![0usize; bags + 1];
        let mut sorted = true;
        let mut last = 0;
        for (row, bag) in of_rows.iter().enumerate() {
            if *bag as usize >= bags {
                let expected = format!("a bag below {bags}, the number of responses");
                return Err(Error::parameter(format!("bag of row {row}"), bag, expected));
            }
            sorted &= *bag >= last;
            last = *bag;
            offsets[*bag as usize + 1] += 1;
        }
        if let Some(bag) = (0..bags).find(|a| offsets[a + 1] == 0) {
            return Err(Error::Undefined { what: format!("the mean of bag {bag}"), reason: "no row is in it".into() });
        }
        for a in 0..bags {
            offsets[a + 1] += offsets[a];
        }
        if sorted {
            return Ok(Self { offsets, permutation: None });
        }
        let mut next = offsets.clone();
        let mut row_at = vec![0u32; of_rows.len()];
        let mut place_of = vec![0u32; of_rows.len()];
        for (row, bag) in of_rows.iter().enumerate() {
            let place = next[*bag as usize];
            next[*bag as usize] += 1;
            row_at[place] = row as u32;
            place_of[row] = place as u32;
        }
        Ok(Self { offsets, permutation: Some((row_at, place_of)) })
    }

    /// Rows that lie bag by bag: bag `a` owns rows `offsets[a]..offsets[a + 1]`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the offsets start at 0 and rise strictly.
    pub fn from_offsets(offsets: Vec<usize>) -> Result<Self> {
        let at = offsets.windows(2).position(|pair| pair[0] >= pair[1]);
        match (offsets.first(), at) {
            (Some(0), None) => Ok(Self { offsets, permutation: None }),
            (Some(0), Some(at)) => Err(Error::parameter(
                format!("offsets[{}]", at + 1),
                offsets[at + 1],
                "more than the one before: no bag is empty",
            )),
            (first, _) => Err(Error::parameter("offsets[0]", first.map_or("absent".into(), ToString::to_string), "0")),
        }
    }

    /// Every row a bag of its own.
    pub fn singletons(rows: usize) -> Self {
        Self { offsets: (0..=rows).collect(), permutation: None }
    }

    /// Number of bags.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets[self.len()]
    }

    /// Number of rows of a bag.
    pub fn size(&self, bag: usize) -> usize {
        self.offsets[bag + 1] - self.offsets[bag]
    }

    /// Rows of a bag.
    pub fn rows_of(&self, bag: usize) -> impl Iterator<Item = usize> + '_ {
        (self.offsets[bag]..self.offsets[bag + 1]).map(|place| self.row_at(place))
    }

    fn row_at(&self, place: usize) -> usize {
        self.permutation.as_ref().map_or(place, |(row_at, _)| row_at[place] as usize)
    }

    /// Ranges of bags with some thousands of rows each, by the sizes alone.
    fn blocks(&self) -> Vec<Range<usize>> {
        const ROWS: usize = 4096;
        let mut blocks = Vec::new();
        let mut first = 0;
        for bag in 0..self.len() {
            if self.offsets[bag + 1] - self.offsets[first] >= ROWS || bag + 1 == self.len() {
                blocks.push(first..bag + 1);
                first = bag + 1;
            }
        }
        blocks
    }

    /// Sums of rows `[n, width]` by bag, `[M, width]`, in `f64`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one row of `width` numbers a row of the bags.
    pub fn sums<T: Real>(&self, values: &[T], width: usize) -> Result<Vec<f64>> {
        self.check_values("values", values.len(), width)?;
        let mut sums = vec![0.0; self.len() * width];
        if width > 0 {
            sums.par_chunks_mut(width).enumerate().with_min_len(64).for_each(|(bag, sum)| {
                for row in self.rows_of(bag) {
                    sum.iter_mut().zip(&values[row * width..]).for_each(|(s, v)| *s += v.f64());
                }
            });
        }
        Ok(sums)
    }

    /// Means of rows by bag: see [`Bags::sums`].
    ///
    /// # Errors
    /// As [`Bags::sums`].
    pub fn means<T: Real>(&self, values: &[T], width: usize) -> Result<Vec<f64>> {
        let mut means = self.sums(values, width)?;
        for (bag, mean) in means.chunks_exact_mut(width.max(1)).enumerate() {
            let size = self.size(bag) as f64;
            mean.iter_mut().for_each(|m| *m /= size);
        }
        Ok(means)
    }

    fn check_values(&self, what: &str, found: usize, width: usize) -> Result<()> {
        match self.rows().checked_mul(width) == Some(found) {
            true => Ok(()),
            false => {
                Err(Error::shape(what, &[found], format!("[{}, {width}], a row for each row of the bags", self.rows())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_means_by_hand_in_any_order() {
        let values = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0, 8.0, 80.0];
        let bags = Bags::new(&[1, 0, 1, 0], 2).unwrap();
        assert_eq!(bags.sums(&values, 2).unwrap(), [10.0, 100.0, 5.0, 50.0]);
        assert_eq!(bags.means(&values, 2).unwrap(), [5.0, 50.0, 2.5, 25.0]);
        assert_eq!(bags.rows_of(1).collect::<Vec<_>>(), [0, 2]);
        let lying = Bags::new(&[0, 0, 1], 2).unwrap();
        assert_eq!(lying, Bags::from_offsets(vec![0, 2, 3]).unwrap());
        assert_eq!(lying.sums(&[1.0f32, 2.0, 3.0], 1).unwrap(), [3.0, 3.0]);
        assert_eq!((Bags::singletons(3).len(), Bags::singletons(3).size(1)), (3, 1));
    }

    #[test]
    fn bad_bags_are_named() {
        let message = |r: Result<Bags>| r.unwrap_err().to_string();
        assert_eq!(message(Bags::new(&[0, 3], 2)), "bag of row 1 = 3: expected a bag below 2, the number of responses");
        assert_eq!(message(Bags::new(&[0, 2], 3)), "the mean of bag 1 is undefined: no row is in it");
        assert!(message(Bags::from_offsets(vec![0, 2, 2])).contains("offsets[2] = 2"));
        assert!(message(Bags::from_offsets(vec![1, 2])).contains("offsets[0] = 1"));
        assert!(Bags::singletons(2).sums(&[1.0f64; 3], 1).unwrap_err().to_string().contains("[2, 1]"));
    }
}
