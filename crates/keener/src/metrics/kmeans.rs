//! k-means, seeded.

use super::panels::mean_row;
use super::rows;
use crate::products::{MatRef, gemm};
use crate::real::Real;
use crate::{Error, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Rows of one task.
const ROWS: usize = 256;

/// k-means with k-means++ starts.
///
/// Lloyd, *Least squares quantization in PCM* (1982); starts by Arthur & Vassilvitskii, *k-means++: The Advantages of
/// Careful Seeding* (SODA 2007): the first centre at random, each further one a row drawn with probability proportional to
/// its squared distance from the nearest centre so far. Of equally near centres a row takes the lowest. A cluster
/// that loses all its rows starts again at the row farthest from its centre. Equal seeds give equal clusters for any number of threads.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KMeans {
    /// Number of clusters.
    pub clusters: usize,
    /// Divide each row by its norm first, so that clusters are of directions; centres are still plain means. Default: no.
    pub normalize: bool,
    /// Starts, of which the one with the least inertia is kept. Default: 3.
    pub starts: usize,
    /// Most iterations of a start. Default: 100.
    pub iterations: usize,
    /// A start ends when an iteration improves the inertia by less than this share of it. Default: 1e-4.
    pub tolerance: f64,
    /// Default: 0.
    pub seed: u64,
}

impl Default for KMeans {
    fn default() -> Self {
        Self { clusters: 8, normalize: false, starts: 3, iterations: 100, tolerance: 1e-4, seed: 0 }
    }
}

/// What [`KMeans`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// Cluster of each row.
    pub assignment: Vec<usize>,
    /// Centres `[clusters, dim]`.
    pub centres: Vec<f64>,
    /// Sum over rows of the squared distance to their centre.
    pub inertia: f64,
}

impl KMeans {
    /// Clusters the rows `[n, dim]`.
    ///
    /// # Errors
    /// Empty, ragged or non-finite input, `clusters` outside `1..=n`, no starts, rows of norm zero when normalising; undefined where squared distances overflow.
    pub fn fit<T: Real>(&self, data: &[T], dim: usize) -> Result<Clusters> {
        let n = rows::matrix("embeddings", data, dim)?;
        if self.clusters == 0 || self.clusters > n {
            return Err(Error::parameter("clusters", self.clusters, format!("1 to {n}, the number of rows")));
        }
        if self.starts == 0 {
            return Err(Error::parameter("starts", 0, "at least 1"));
        }
        let unit: Vec<T>;
        let data = match self.normalize {
            true => {
                unit = rows::normalised("embeddings", data, dim)?.0.into_iter().map(T::of).collect();
                &unit
            }
            false => data,
        };
        // Centred, so that products lose fewer digits.
        let mean = mean_row(data, dim);
        let centred: Vec<T> =
            data.chunks_exact(dim).flat_map(|r| r.iter().zip(&mean).map(|(x, m)| T::of(x.f64() - m))).collect();
        let squares: Vec<f64> = centred.chunks_exact(dim).map(square).collect();
        let points = Points { data: &centred, squares, dim };
        let mut best: Option<Clusters> = None;
        for start in 0..self.starts {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(start as u64);
            let found = self.lloyd(&points, points.start(self.clusters, &mut random));
            if !found.inertia.is_finite() {
                let reason = "the distances between the embeddings overflow".to_string();
                return Err(Error::Undefined { what: "k-means".to_string(), reason });
            }
            if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
                best = Some(found);
            }
        }
        let mut best = best.ok_or_else(|| Error::parameter("starts", 0, "at least 1"))?;
        best.centres.chunks_exact_mut(dim).for_each(|c| c.iter_mut().zip(&mean).for_each(|(c, m)| *c += m));
        Ok(best)
    }

    fn lloyd<T: Real>(&self, points: &Points<'_, T>, mut centres: Vec<f64>) -> Clusters {
        let mut before = f64::INFINITY;
        let mut nearest = points.nearest(&centres);
        for _ in 0..self.iterations {
            let inertia: f64 = nearest.iter().map(|(_, d)| d).sum();
            // An overflow is no improvement either.
            let better = before - inertia > self.tolerance * inertia;
            if !better {
                break;
            }
            before = inertia;
            centres = points.means(&mut nearest, self.clusters);
            nearest = points.nearest(&centres);
        }
        let inertia = nearest.iter().map(|(_, d)| d).sum();
        Clusters { assignment: nearest.into_iter().map(|(c, _)| c).collect(), centres, inertia }
    }
}

struct Points<'a, T> {
    data: &'a [T],
    squares: Vec<f64>,
    dim: usize,
}

fn square<T: Real>(row: &[T]) -> f64 {
    row.iter().map(|x| x.f64() * x.f64()).sum()
}

impl<T: Real> Points<'_, T> {
    fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    fn wide(&self, i: usize) -> Vec<f64> {
        self.row(i).iter().map(|x| x.f64()).collect()
    }

    /// k-means++.
    fn start(&self, clusters: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
        let n = self.squares.len();
        let mut centres = Vec::with_capacity(clusters * self.dim);
        let mut distances = vec![f64::INFINITY; n];
        let mut next = random.random_range(0..n);
        loop {
            centres.extend(self.wide(next));
            if centres.len() == clusters * self.dim {
                return centres;
            }
            let centre = &centres[centres.len() - self.dim..];
            distances.par_chunks_mut(ROWS).enumerate().for_each(|(chunk, some)| {
                for (k, distance) in some.iter_mut().enumerate() {
                    let row = self.row(chunk * ROWS + k);
                    let now: f64 = row.iter().zip(centre).map(|(x, c)| (x.f64() - c).powi(2)).sum();
                    *distance = distance.min(now);
                }
            });
            let total: f64 = distances.iter().sum();
            // Where all rows are taken (copies, say) any will do.
            next = if total > 0.0 {
                let mut left = random.random::<f64>() * total;
                let drawn = distances.iter().position(|d| {
                    left -= d;
                    left < 0.0
                });
                drawn.unwrap_or(n - 1)
            } else {
                random.random_range(0..n)
            };
        }
    }

    /// The nearest centre of each row with its squared distance.
    fn nearest(&self, centres: &[f64]) -> Vec<(usize, f64)> {
        let clusters = centres.len() / self.dim;
        let squares: Vec<f64> = centres.chunks_exact(self.dim).map(square).collect();
        let narrow: Vec<T> = centres.iter().map(|c| T::of(*c)).collect();
        let all = MatRef::new(&narrow, clusters, self.dim).t();
        let mut nearest = vec![(0, 0.0); self.squares.len()];
        nearest.par_chunks_mut(ROWS).enumerate().for_each_init(Vec::new, |products, (chunk, some)| {
            products.resize(some.len() * clusters, T::zero());
            let rows = MatRef::new(&self.data[chunk * ROWS * self.dim..], some.len(), self.dim);
            gemm(T::of(-2.0), rows, all, T::zero(), products, clusters);
            for ((k, place), row) in some.iter_mut().enumerate().zip(products.chunks_exact(clusters)) {
                let mut best = (0, f64::INFINITY);
                for (c, (product, own)) in row.iter().zip(&squares).enumerate() {
                    let distance = product.f64() + own;
                    if distance < best.1 {
                        best = (c, distance);
                    }
                }
                // The distance itself, without the cancellation of the expansion.
                let (i, centre) = (chunk * ROWS + k, &centres[best.0 * self.dim..]);
                let exact = self.row(i).iter().zip(centre).map(|(x, c)| (x.f64() - c).powi(2)).sum();
                *place = (best.0, exact);
            }
        });
        nearest
    }

    /// Means of the clusters. A cluster without rows takes the row farthest from its centre out of a cluster of several.
    fn means(&self, nearest: &mut [(usize, f64)], clusters: usize) -> Vec<f64> {
        let mut sizes = vec![0usize; clusters];
        nearest.iter().for_each(|(c, _)| sizes[*c] += 1);
        for empty in 0..clusters {
            if sizes[empty] > 0 {
                continue;
            }
            let free = nearest.iter().enumerate().filter(|(_, (c, _))| sizes[*c] > 1);
            let farthest = free.fold(None, |far: Option<(usize, f64)>, (i, (_, d))| match far {
                Some((_, best)) if *d <= best => far,
                _ => Some((i, *d)),
            });
            let Some((row, _)) = farthest else { continue };
            sizes[nearest[row].0] -= 1;
            sizes[empty] = 1;
            nearest[row] = (empty, 0.0);
        }
        // Each cluster sums its rows in their order, so that threads do not matter.
        let mut members = vec![Vec::new(); clusters];
        nearest.iter().enumerate().for_each(|(i, (c, _))| members[*c].push(i));
        let mean = |rows: &Vec<usize>| {
            let mut sum = vec![0.0; self.dim];
            rows.iter().for_each(|i| sum.iter_mut().zip(self.row(*i)).for_each(|(s, x)| *s += x.f64()));
            sum.iter_mut().for_each(|s| *s /= rows.len().max(1) as f64);
            sum
        };
        members.par_iter().map(mean).collect::<Vec<_>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{clusters, labels, uniform};
    use super::*;

    #[test]
    fn separate_groups_are_found() {
        let truth = labels(61, 300, 3);
        let noise = uniform(62, 600);
        let x: Vec<f64> =
            (0..600).map(|i| 10.0 * [0.0, 1.0, 3.0][truth[i / 2]] * f64::from(1 + i as u32 % 2) + noise[i]).collect();
        let found = KMeans { clusters: 3, ..KMeans::default() }.fit(&x, 2).unwrap();
        for i in 0..300 {
            for j in 0..300 {
                assert_eq!(found.assignment[i] == found.assignment[j], truth[i] == truth[j]);
            }
        }
        // Each row is nearest to its own centre, and centres are means: what Lloyd's iteration ends with.
        let inertia: f64 = (0..300)
            .map(|i| (0..2).map(|k| (x[2 * i + k] - found.centres[2 * found.assignment[i] + k]).powi(2)).sum::<f64>())
            .sum();
        assert!((inertia - found.inertia).abs() < 1e-9 * inertia);
    }

    #[test]
    fn seeds_repeat_for_any_number_of_threads_and_more_starts_are_no_worse() {
        let x = clusters(63, &labels(64, 900, 5));
        let run = |threads, settings: &KMeans| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| settings.fit(&x, 6).unwrap())
        };
        let one = KMeans { clusters: 12, starts: 1, ..KMeans::default() };
        assert_eq!(run(1, &one), run(3, &one));
        let five = KMeans { starts: 5, ..one.clone() };
        assert!(run(2, &five).inertia <= run(2, &one).inertia);
    }

    #[test]
    fn copies_and_as_many_clusters_as_rows() {
        let x = [1.0f32, 1.0, 1.0, 5.0];
        let found = KMeans { clusters: 4, ..KMeans::default() }.fit(&x, 1).unwrap();
        assert_eq!(found.inertia, 0.0);
        assert_ne!(found.assignment[3], found.assignment[0]);
        let one = KMeans { clusters: 1, ..KMeans::default() }.fit(&x, 1).unwrap();
        assert_eq!((one.centres[0], one.inertia), (2.0, 12.0));
    }

    #[test]
    fn normalised_rows_are_clustered_by_direction() {
        let x: Vec<f64> = (0..40).flat_map(|i| [f64::from(i + 1), f64::from((i + 1) * (i % 2))]).collect();
        let found = KMeans { clusters: 2, normalize: true, ..KMeans::default() }.fit(&x, 2).unwrap();
        assert!(found.inertia < 1e-12 && (2..40).all(|i| found.assignment[i] == found.assignment[i % 2]));
        let zero = KMeans { clusters: 1, normalize: true, ..KMeans::default() }.fit(&[0.0f32, 0.0], 2);
        assert!(matches!(zero, Err(Error::Undefined { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let of = |clusters, starts| KMeans { clusters, starts, ..KMeans::default() };
        assert!(matches!(of(0, 1).fit(&[1.0f32], 1), Err(Error::Parameter { .. })));
        assert!(matches!(of(2, 1).fit(&[1.0f32], 1), Err(Error::Parameter { .. })));
        assert!(matches!(of(1, 0).fit(&[1.0f32], 1), Err(Error::Parameter { .. })));
        assert!(matches!(of(1, 1).fit(&[f32::NAN], 1), Err(Error::NonFinite { .. })));
        assert!(matches!(of(1, 1).fit(&[1e200f64, -1e200], 1), Err(Error::Undefined { .. })));
    }
}
