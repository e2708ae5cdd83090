//! The inputs of a measurement: seeded, of the kind that the objective reads, or from files.

use super::Sizes;
use crate::error::Failure;
use anyhow::{Context, Result};
use keener::engine::{Batch, Sparse, View};
use keener::objective::Reads;
use keener::real::Real;
use keener::state::SampleStore;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A matrix that is owned.
#[derive(Debug)]
pub(super) struct Matrix<T> {
    pub(super) data: Vec<T>,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl<T> Matrix<T> {
    fn new(data: Vec<T>, cols: usize) -> Self {
        Self { rows: data.len() / cols.max(1), data, cols }
    }

    pub(super) fn view(&self) -> keener::Result<View<'_, T>> {
        View::new(&self.data, self.rows, self.cols)
    }
}

/// Everything that a batch borrows.
#[derive(Debug)]
pub(super) struct Inputs<T> {
    pub(super) sizes: Sizes,
    pub(super) queries: Matrix<T>,
    pub(super) candidates: Option<Matrix<T>>,
    pub(super) second: Option<Matrix<T>>,
    pub(super) targets: Option<Vec<u32>>,
    pub(super) positives: Option<Sparse>,
    /// Every row is its own sample, seen for the first time.
    samples: (Vec<u32>, SampleStore<T>),
    /// The bag of each row, and the responses of bags.
    pub(super) bags: Option<(Vec<u32>, Matrix<T>)>,
    /// Class centres that the queries scatter around, kept only so that their memory is not free.
    centres: Option<Matrix<T>>,
}

/// Standard deviation of the noise around a class centre or the other view.
const NOISE: f64 = 2.0;
/// Positive classes of a row, where there are several.
const POSITIVES: usize = 3;
/// Rows of a bag.
const BAG: usize = 8;

impl<T: Real> Inputs<T> {
    /// Inputs from a seed. Queries and candidates are normal (candidates divided by √d, so that scores have unit
    /// variance), except that the second of two views is the first with noise, and a batch that is compared with itself
    /// scatters around class centres, with as many rows of each class.
    pub(super) fn seeded(sizes: Sizes, reads: Reads, seed: u64) -> Self
    where
        StandardNormal: Distribution<T>,
    {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let Sizes { batch, dim, candidates, classes } = sizes;
        let normal = |rng: &mut ChaCha8Rng, rows: usize, scale: f64| {
            let scale = T::of(scale);
            let data = (0..rows * dim).map(|_| scale * StandardNormal.sample(rng)).collect();
            Matrix::new(data, dim)
        };
        // Nothing is freed after it was touched: the measurement would find it again and count too little.
        let near = |rng: &mut ChaCha8Rng, centre: &[T], noise: f64, rows: usize| {
            let noise = T::of(noise);
            let mut data = Vec::with_capacity(rows * dim);
            data.extend(centre.iter().map(|x| *x + noise * StandardNormal.sample(rng)));
            data
        };
        let mut targets: Option<Vec<u32>> = match (classes, reads) {
            // A batch that is compared with itself has the same number of rows of each class: with half as many
            // classes as rows, two views of each.
            (Some(c), Reads::LabelledEmbeddings) => Some((0..batch).map(|row| (row % c) as u32).collect()),
            (Some(c), _) => Some((0..batch).map(|_| rng.random_range(0..c as u32)).collect()),
            (None, _) => None,
        };
        if let Some(labels) = &mut targets {
            labels.shuffle(&mut rng);
        }
        let head = 1.0 / (dim as f64).sqrt();
        let mut inputs = Self {
            sizes,
            queries: Matrix::new(Vec::new(), dim),
            candidates: None,
            second: None,
            targets: None,
            positives: None,
            samples: first_visit(batch),
            bags: None,
            centres: None,
        };
        match reads {
            Reads::LabelledEmbeddings => {
                let centres = normal(&mut rng, classes.unwrap_or(1), 1.0);
                let labels = targets.unwrap_or_default();
                let mut data = Vec::with_capacity(batch * dim);
                for label in labels.iter().map(|l| *l as usize) {
                    let centre = &centres.data[label * dim..(label + 1) * dim];
                    data.extend(centre.iter().map(|x| *x + T::of(NOISE) * StandardNormal.sample(&mut rng)));
                }
                inputs.queries = Matrix::new(data, dim);
                inputs.targets = Some(labels);
                inputs.centres = Some(centres);
            }
            Reads::PairedViews => {
                inputs.queries = normal(&mut rng, batch, 1.0);
                let mut other = near(&mut rng, &inputs.queries.data, NOISE, candidates);
                // Candidates that belong to no query.
                let spread = T::of((1.0 + NOISE * NOISE).sqrt());
                other.extend((batch * dim..candidates * dim).map(|_| spread * StandardNormal.sample(&mut rng)));
                inputs.candidates = Some(Matrix::new(other, dim));
            }
            Reads::ClassHead | Reads::MultiLabel | Reads::TwoScores | Reads::BinaryHead | Reads::Bags => {
                inputs.queries = normal(&mut rng, batch, 1.0);
                inputs.candidates = Some(normal(&mut rng, candidates, head));
                if reads == Reads::TwoScores {
                    inputs.second = Some(Matrix::new(near(&mut rng, &inputs.queries.data, 0.2, batch), dim));
                }
                if reads == Reads::MultiLabel {
                    let classes = classes.unwrap_or(candidates) as u32;
                    let row = |rng: &mut ChaCha8Rng| {
                        let mut row: Vec<u32> = (0..POSITIVES).map(|_| rng.random_range(0..classes)).collect();
                        row.sort_unstable();
                        row.dedup();
                        row
                    };
                    inputs.positives = Some(Sparse::from_rows((0..batch).map(|_| row(&mut rng)).collect::<Vec<_>>()));
                } else if reads == Reads::Bags {
                    let count = batch.div_ceil(BAG);
                    let of_rows = (0..batch).map(|row| (row / BAG) as u32).collect();
                    let responses = (0..count * candidates).map(|_| T::of(rng.random_range(0.0..1.0))).collect();
                    inputs.bags = Some((of_rows, Matrix::new(responses, candidates)));
                } else {
                    inputs.targets = targets;
                }
            }
        }
        inputs
    }

    /// Inputs from `queries.npy` `[B, d]`, `candidates.npy` `[N, d]` (unless the batch is compared with itself),
    /// `second.npy` where two versions are read, and `targets.npy` `[B]`, or `bags.npy` `[B]` and `responses.npy` `[M, N]`. `given` are B, d and N where they were given.
    pub(super) fn read(folder: &Path, reads: Reads, given: [Option<usize>; 3]) -> Result<Self>
    where
        T: npyz::Deserialize,
    {
        let queries: Matrix<T> = matrix(&folder.join("queries.npy"))?;
        let own = crate::chosen::compares_batch_with_itself(reads);
        let candidates = if own { None } else { Some(matrix(&folder.join("candidates.npy"))?) };
        let second = if reads == Reads::TwoScores { Some(matrix(&folder.join("second.npy"))?) } else { None };
        let path = folder.join("targets.npy");
        let bags = match reads {
            Reads::Bags => Some((labels(&folder.join("bags.npy"))?, matrix(&folder.join("responses.npy"))?)),
            _ => None,
        };
        let mut targets = match path.exists() || !matches!(reads, Reads::PairedViews | Reads::Bags) {
            true => Some(labels(&path)?),
            false => None,
        };
        if reads == Reads::PairedViews
            && targets.as_ref().is_some_and(|t| t.iter().enumerate().all(|(i, t)| i == *t as usize))
        {
            targets = None;
        }
        let mut distinct = targets.clone().unwrap_or_default();
        distinct.sort_unstable();
        distinct.dedup();
        let sizes = Sizes {
            batch: queries.rows,
            dim: queries.cols,
            candidates: candidates.as_ref().map_or(queries.rows, |c| c.rows),
            classes: targets.is_some().then_some(distinct.len()),
        };
        let found = [("--batch", sizes.batch), ("--dim", sizes.dim), ("--candidates", sizes.candidates)];
        for ((option, found), given) in found.into_iter().zip(given) {
            if let Some(given) = given.filter(|given| *given != found) {
                let message = format!("{option} {given}: the arrays in {} say {found}", folder.display());
                return Err(Failure::wrong(message).hint(format!("{option} {found}, or leave it out")).into());
            }
        }
        let samples = first_visit(sizes.batch);
        let mut inputs =
            Self { sizes, queries, candidates, second, targets, positives: None, bags, samples, centres: None };
        if reads == Reads::MultiLabel {
            inputs.positives = inputs.targets.take().map(|t| Sparse::one_per_row(t.into_iter().map(Some)));
        }
        Ok(inputs)
    }

    /// The batch that an evaluation reads.
    pub(super) fn batch(&self) -> keener::Result<Batch<'_, T>> {
        let mut batch = Batch::embeddings(self.queries.view()?);
        if let Some(candidates) = &self.candidates {
            batch = batch.with_candidates(candidates.view()?);
        }
        if let Some(second) = &self.second {
            batch = batch.with_second(second.view()?);
        }
        if let Some(targets) = &self.targets {
            batch = batch.with_targets(targets.as_slice());
        }
        if let Some((of_rows, responses)) = &self.bags {
            batch = batch.with_bags(of_rows.as_slice(), responses.view()?);
        }
        if let Some(positives) = &self.positives {
            batch = batch.with_positives(std::borrow::Cow::Borrowed(positives));
        }
        Ok(batch.with_samples(self.samples.0.as_slice(), &self.samples.1))
    }

    /// The matrices, each of which has a gradient.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix<T>> {
        std::iter::once(&self.queries).chain(&self.candidates).chain(&self.second)
    }

    /// Bytes of all that is read.
    pub(super) fn bytes(&self) -> usize {
        let numbers: usize = self.matrices().map(|m| m.data.len()).sum();
        let indices =
            self.targets.as_ref().map_or(0, Vec::len) + self.positives.as_ref().map_or(0, |p| p.len() + p.rows());
        let bags = self.bags.as_ref().map_or(0, |(b, y)| b.len() * size_of::<u32>() + y.data.len() * size_of::<T>());
        numbers * size_of::<T>() + bags + indices * size_of::<u32>()
    }
}

/// Ids of rows, and an empty store of what is known of them.
fn first_visit<T: Real>(rows: usize) -> (Vec<u32>, SampleStore<T>) {
    ((0..rows as u32).collect(), SampleStore::new())
}

fn open(path: &Path) -> Result<npyz::NpyFile<BufReader<File>>> {
    let file = File::open(path).map_err(|e| Failure::file(path, &e))?;
    npyz::NpyFile::new(BufReader::new(file)).with_context(|| format!("{} is no .npy file", path.display()))
}

fn wrong_shape(path: &Path, shape: &[u64], expected: &str) -> anyhow::Error {
    Failure::wrong(format!("{} has shape {shape:?}, expected {expected}", path.display())).into()
}

/// Reads without holding the file and the numbers at once: what is read here must leave no mark on the memory measured.
fn matrix<T: npyz::Deserialize>(path: &Path) -> Result<Matrix<T>> {
    let file = open(path)?;
    let shape = file.shape().to_vec();
    let &[_, cols] = shape.as_slice() else { return Err(wrong_shape(path, &shape, "two axes")) };
    if file.order() != npyz::Order::C {
        return Err(Failure::wrong(format!("{} is stored column by column", path.display()))
            .hint("numpy.save(file, numpy.ascontiguousarray(array))")
            .into());
    }
    let kind = file.dtype().descr();
    let data = file
        .into_vec()
        .with_context(|| format!("{} holds {kind}: expected the number type of --dtype", path.display()))?;
    Ok(Matrix::new(data, usize::try_from(cols)?))
}

fn labels(path: &Path) -> Result<Vec<u32>> {
    let file = open(path)?;
    let shape = file.shape().to_vec();
    if shape.len() != 1 {
        return Err(wrong_shape(path, &shape, "one axis"));
    }
    let labels: Vec<i64> = file.into_vec().with_context(|| format!("{}: expected int64", path.display()))?;
    let label = |(row, label): (usize, i64)| {
        u32::try_from(label).ok().with_context(|| format!("{}: label {label} at row {row}", path.display()))
    };
    labels.into_iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_inputs_and_their_kind_fits() {
        let sizes = Sizes { batch: 6, dim: 4, candidates: 9, classes: Some(3) };
        for reads in [
            Reads::ClassHead,
            Reads::MultiLabel,
            Reads::LabelledEmbeddings,
            Reads::PairedViews,
            Reads::TwoScores,
            Reads::Bags,
        ] {
            let (a, b) = (Inputs::<f64>::seeded(sizes, reads, 7), Inputs::<f64>::seeded(sizes, reads, 7));
            assert_eq!(a.queries.data, b.queries.data);
            assert_ne!(a.queries.data, Inputs::<f64>::seeded(sizes, reads, 8).queries.data);
            assert_eq!(a.batch().unwrap().rows(), 6);
            a.batch().unwrap().check(true).unwrap();
            assert_eq!(a.candidates.map(|c| c.rows), (reads != Reads::LabelledEmbeddings).then_some(9), "{reads:?}");
            assert_eq!(a.second.is_some(), reads == Reads::TwoScores);
        }
    }
}
