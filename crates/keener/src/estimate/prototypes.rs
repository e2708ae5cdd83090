//! Classes as directions: a cosine classifier to which classes are added without training.

use crate::engine::View;
use crate::error::{Error, Result};
use crate::products::{MatRef, gemm};
use crate::real::Real;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Queries scored by one task.
const BLOCK: usize = 128;

/// Scores rows by `scale · cos(x, w_c)`, with one unit direction `w_c` a class.
///
/// A class is added from a few embeddings: the normalised mean of the normalised embeddings becomes its direction (weight
/// imprinting). Sums and counts are kept, so that more examples of a class move its direction exactly as if they had been
/// there from the beginning, in any order.
///
/// Learned class weights and inserted means do not compete fairly at a large scale: the learned weight of a class is not
/// its mean direction (see [`PrototypeClassifier::alignment`]). Where known and new classes meet, build all of them from
/// means ([`PrototypeClassifier::from_class_means`]).
///
/// Reference: Hyperspherical embedding for novel class classification (arXiv 2102.03243).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrototypeClassifier {
    dim: usize,
    scale: f64,
    /// Unit directions `[C, d]`.
    weights: Vec<f64>,
    /// Sums of unit embeddings `[C, d]`; those of learned weights are the weights themselves.
    sums: Vec<f64>,
    /// Examples behind each direction; 0 for learned weights.
    counts: Vec<u64>,
}

/// Sums of normalised embeddings by class, on the way to a [`PrototypeClassifier`], for embeddings that come block by block.
///
/// ```
/// use keener::engine::View;
/// use keener::estimate::{ClassSums, PrototypeClassifier};
/// let mut sums = ClassSums::new(2, 2);
/// sums.add(View::new(&[3.0f32, 0.0], 1, 2)?, &[0])?;
/// sums.add(View::new(&[0.0f32, 1.0, 1.0, 1.0], 2, 2)?, &[1, 1])?;
/// let at_once = View::new(&[3.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], 3, 2)?;
/// assert_eq!(sums.into_classifier(10.0)?, PrototypeClassifier::from_class_means(at_once, &[0, 1, 1], 2, 10.0)?);
/// # Ok::<(), keener::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSums {
    dim: usize,
    sums: Vec<f64>,
    counts: Vec<u64>,
}

impl ClassSums {
    /// No embeddings of width `dim` yet, of `classes` classes.
    pub fn new(dim: usize, classes: usize) -> Self {
        Self { dim, sums: vec![0.0; classes * dim], counts: vec![0; classes] }
    }

    /// Adds embeddings `[n, d]` with one label each.
    ///
    /// # Errors
    /// Labels out of range or not one a row, another width, zero or non-finite embeddings. Nothing is added then.
    pub fn add<T: Real>(&mut self, embeddings: View<'_, T>, labels: &[u32]) -> Result<()> {
        let classes = self.counts.len();
        if labels.len() != embeddings.rows() {
            return Err(Error::shape("labels", &[labels.len()], format!("[{}], one a row", embeddings.rows())));
        }
        if embeddings.cols() != self.dim {
            let expected = format!("rows of {} numbers", self.dim);
            return Err(Error::shape("embeddings", &[embeddings.rows(), embeddings.cols()], expected));
        }
        if let Some(row) = labels.iter().position(|l| *l as usize >= classes) {
            return Err(Error::Label { label: labels[row].into(), row, classes });
        }
        for (row, label) in unit("embeddings", embeddings)?.chunks_exact(self.dim.max(1)).zip(labels) {
            let at = *label as usize * self.dim;
            self.sums[at..at + self.dim].iter_mut().zip(row).for_each(|(s, u)| *s += u);
            self.counts[*label as usize] += 1;
        }
        Ok(())
    }

    /// The classifier whose directions are the means.
    ///
    /// # Errors
    /// Classes without examples or whose examples cancel out, a scale that is not a finite number > 0.
    pub fn into_classifier(self, scale: f64) -> Result<PrototypeClassifier> {
        let mut model = PrototypeClassifier::empty(self.dim, scale)?;
        for (class, sum) in self.sums.chunks_exact(self.dim).enumerate() {
            if self.counts[class] == 0 {
                let what = format!("the direction of class {class}");
                return Err(Error::Undefined { what, reason: "it has no examples".into() });
            }
            model.weights.extend(direction(class, sum, self.counts[class])?);
        }
        (model.sums, model.counts) = (self.sums, self.counts);
        Ok(model)
    }
}

fn check_scale(scale: f64) -> Result<()> {
    match scale.is_finite() && scale > 0.0 {
        true => Ok(()),
        false => Err(Error::parameter("scale", scale, "a finite number > 0")),
    }
}

/// Unit rows in f64; a zero row is an error.
fn unit<T: Real>(what: &str, rows: View<'_, T>) -> Result<Vec<f64>> {
    let dim = rows.cols();
    let mut out = Vec::with_capacity(rows.rows() * dim);
    for row in 0..rows.rows() {
        let values = rows.row(row);
        if let Some(column) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: what.into(), value: values[column].to_string(), row, column });
        }
        let peak = values.iter().fold(0.0f64, |m, x| m.max(x.f64().abs()));
        if peak == 0.0 {
            return Err(Error::Undefined {
                what: format!("the direction of row {row} of {what}"),
                reason: "it is zero".into(),
            });
        }
        let norm = peak * values.iter().map(|x| (x.f64() / peak).powi(2)).sum::<f64>().sqrt();
        out.extend(values.iter().map(|x| x.f64() / norm));
    }
    Ok(out)
}

fn direction(class: usize, sum: &[f64], count: u64) -> Result<Vec<f64>> {
    let norm = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
    // Unit vectors whose sum is rounding noise have no mean direction.
    if norm <= count as f64 * 1e-14 {
        let reason = "its examples cancel out".to_string();
        return Err(Error::Undefined { what: format!("the direction of class {class}"), reason });
    }
    Ok(sum.iter().map(|s| s / norm).collect())
}

impl PrototypeClassifier {
    /// No class yet: the disjoint setting begins here.
    ///
    /// # Errors
    /// A width of 0, a scale that is not a finite number > 0.
    pub fn empty(dim: usize, scale: f64) -> Result<Self> {
        check_scale(scale)?;
        match dim {
            0 => Err(Error::parameter("dim", dim, "a whole number ≥ 1")),
            _ => Ok(Self { dim, scale, weights: Vec::new(), sums: Vec::new(), counts: Vec::new() }),
        }
    }

    /// From learned class weights `[C, d]`, brought to length one.
    ///
    /// # Errors
    /// Zero or non-finite weights, no columns, a scale that is not a finite number > 0.
    pub fn from_weights<T: Real>(weights: View<'_, T>, scale: f64) -> Result<Self> {
        let mut this = Self::empty(weights.cols(), scale)?;
        this.weights = unit("class weights", weights)?;
        this.sums = this.weights.clone();
        this.counts = vec![0; weights.rows()];
        Ok(this)
    }

    /// From embeddings `[n, d]` of `classes` classes, each the normalised mean of its normalised embeddings: the
    /// nearest-class-mean read-out of Mensink et al., Distance-Based Image Classification: Generalizing to New Classes at
    /// Near-Zero Cost (TPAMI 2013), on the sphere as in iCaRL (arXiv 1611.07725). Embeddings that come block by block go
    /// through [`ClassSums`].
    ///
    /// # Errors
    /// Labels out of range or not one a row, classes without examples or whose examples cancel out, zero or non-finite
    /// embeddings.
    pub fn from_class_means<T: Real>(
        embeddings: View<'_, T>,
        labels: &[u32],
        classes: usize,
        scale: f64,
    ) -> Result<Self> {
        let mut sums = ClassSums::new(embeddings.cols(), classes);
        sums.add(embeddings, labels)?;
        sums.into_classifier(scale)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.counts.len()
    }

    /// Width of the embeddings.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// What cosines are multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Unit directions `[C, d]`.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Examples behind each direction, 0 where it was learned.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Adds a class from its embeddings `[n, d]`, `n ≥ 1`, and returns its index: the number of classes before.
    ///
    /// # Errors
    /// No examples, another width, zero or non-finite embeddings, embeddings that cancel out. Nothing is changed then.
    pub fn add_class<T: Real>(&mut self, embeddings: View<'_, T>) -> Result<usize> {
        let class = self.classes();
        let (sum, count) = self.sum(embeddings)?;
        self.weights.extend(direction(class, &sum, count)?);
        self.sums.extend(sum);
        self.counts.push(count);
        Ok(class)
    }

    /// Adds examples `[n, d]` to a class that was made from examples.
    ///
    /// # Errors
    /// As [`PrototypeClassifier::add_class`]; a class that does not exist, or whose weight was learned.
    pub fn add_examples<T: Real>(&mut self, class: usize, embeddings: View<'_, T>) -> Result<()> {
        let Some(before) = self.counts.get(class).copied() else {
            return Err(Error::Label { label: class as i64, row: 0, classes: self.classes() });
        };
        if before == 0 {
            return Err(Error::Unsupported {
                what: format!("adding examples to class {class}, whose weight was learned"),
                hint: "build all classes from their means, or add the examples as a new class".into(),
            });
        }
        let (mut sum, count) = self.sum(embeddings)?;
        let at = class * self.dim..(class + 1) * self.dim;
        sum.iter_mut().zip(&self.sums[at.clone()]).for_each(|(s, old)| *s += old);
        let moved = direction(class, &sum, before + count)?;
        self.weights[at.clone()].copy_from_slice(&moved);
        self.sums[at].copy_from_slice(&sum);
        self.counts[class] = before + count;
        Ok(())
    }

    fn sum<T: Real>(&self, embeddings: View<'_, T>) -> Result<(Vec<f64>, u64)> {
        if embeddings.rows() == 0 || embeddings.cols() != self.dim {
            let expected = format!("at least one row of {} numbers", self.dim);
            return Err(Error::shape("examples of a class", &[embeddings.rows(), embeddings.cols()], expected));
        }
        let mut sum = vec![0.0; self.dim];
        for row in unit("examples of a class", embeddings)?.chunks_exact(self.dim) {
            sum.iter_mut().zip(row).for_each(|(s, u)| *s += u);
        }
        Ok((sum, embeddings.rows() as u64))
    }

    /// Logits `scale · cos` `[q, C]` of queries `[q, d]`.
    ///
    /// # Errors
    /// No classes, another width, zero or non-finite queries.
    pub fn logits<T: Real>(&self, queries: View<'_, T>) -> Result<Vec<f64>> {
        if self.classes() == 0 {
            return Err(Error::Undefined { what: "a prediction".into(), reason: "there are no classes yet".into() });
        }
        if queries.cols() != self.dim {
            let expected = format!("rows of {} numbers", self.dim);
            return Err(Error::shape("queries", &[queries.rows(), queries.cols()], expected));
        }
        let rows = unit("queries", queries)?;
        let classes = self.classes();
        let mut logits = vec![0.0; queries.rows() * classes];
        let weights = MatRef::new(&self.weights, classes, self.dim).t();
        logits.par_chunks_mut(BLOCK * classes).zip(rows.par_chunks(BLOCK * self.dim)).for_each(|(out, rows)| {
            gemm(self.scale, MatRef::new(rows, rows.len() / self.dim, self.dim), weights, 0.0, out, classes);
        });
        Ok(logits)
    }

    /// The class of each query, the lowest index on ties.
    ///
    /// # Errors
    /// As [`PrototypeClassifier::logits`].
    pub fn predict<T: Real>(&self, queries: View<'_, T>) -> Result<Vec<usize>> {
        let logits = self.logits(queries)?;
        let best = |row: &[f64]| {
            let better = |best: usize, c: usize| if row[c] > row[best] { c } else { best };
            (1..row.len()).fold(0, better)
        };
        Ok(logits.chunks_exact(self.classes()).map(best).collect())
    }

    /// Mean cosine between the directions here and those of `other` (say: learned weights and class means), over the classes
    /// that both have. Below 0.9 an inserted mean beats learned weights that lie beside their means: use means for all.
    ///
    /// # Errors
    /// Different widths, no common class.
    pub fn alignment(&self, other: &Self) -> Result<f64> {
        let common = self.classes().min(other.classes());
        if self.dim != other.dim || common == 0 {
            let expected = format!("directions of {} numbers, at least one of each", self.dim);
            return Err(Error::shape("directions", &[other.classes(), other.dim], expected));
        }
        let products = self.weights[..common * self.dim].iter().zip(&other.weights).map(|(a, b)| a * b);
        Ok(products.sum::<f64>() / common as f64)
    }
}

/// Brings every row of `weights` `[C, d]` to about length one after an optimiser step: `w / (eps + |w|)`.
///
/// A zero row stays zero. Default of the reference: `eps = 1e-7` (the constraint of Keras' `min_max_norm(1, 1)`).
///
/// Reference: Hyperspherical embedding for novel class classification (arXiv 2102.03243), the author's projection.
///
/// # Errors
/// [`Error::Parameter`] for an `eps` that is not a finite number ≥ 0, [`Error::Shape`] for ragged weights.
pub fn project_unit_norm<T: Real>(weights: &mut [T], dim: usize, eps: f64) -> Result<()> {
    if !(eps.is_finite() && eps >= 0.0) {
        return Err(Error::parameter("eps", eps, "a finite number ≥ 0"));
    }
    if dim == 0 || !weights.len().is_multiple_of(dim) {
        return Err(Error::shape("weights", &[weights.len()], format!("a multiple of {dim} numbers")));
    }
    for row in weights.chunks_exact_mut(dim) {
        let peak = row.iter().fold(0.0f64, |m, x| m.max(x.f64().abs()));
        if peak > 0.0 {
            let norm = peak * row.iter().map(|x| (x.f64() / peak).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x = T::of(x.f64() / (eps + norm)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, seed: f64) -> Vec<f64> {
        (0..n).map(|k| (k as f64 * 1.37 + seed).sin()).collect()
    }

    #[test]
    fn examples_count_the_same_in_any_order() {
        let rows = wave(6 * 4, 0.3);
        let view = |from: usize, to: usize| View::new(&rows[from * 4..to * 4], to - from, 4).unwrap();
        let mut at_once = PrototypeClassifier::empty(4, 10.0).unwrap();
        assert_eq!(at_once.add_class(view(0, 6)).unwrap(), 0);
        let mut later = PrototypeClassifier::empty(4, 10.0).unwrap();
        later.add_class(view(3, 6)).unwrap();
        later.add_examples(0, view(0, 3)).unwrap();
        assert!(at_once.weights().iter().zip(later.weights()).all(|(a, b)| (a - b).abs() < 1e-15));
        assert_eq!(later.counts(), [6]);
        let means = PrototypeClassifier::from_class_means(view(0, 6), &[0; 6], 1, 10.0).unwrap();
        assert!((means.alignment(&later).unwrap() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn an_added_class_attracts_its_examples() {
        let weights = [1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0];
        let mut model = PrototypeClassifier::from_weights(View::new(&weights, 2, 3).unwrap(), 16.0).unwrap();
        let new = [0.1f32, 0.1, 2.0, -0.1, 0.0, 3.0];
        assert_eq!(model.add_class(View::new(&new, 2, 3).unwrap()).unwrap(), 2);
        let queries = [5.0f32, 0.1, 0.2, 0.1, 9.0, 0.0, 0.0, 0.3, 0.5];
        let queries = View::new(&queries, 3, 3).unwrap();
        assert_eq!(model.predict(queries).unwrap(), [0, 1, 2]);
        let logits = model.logits(queries).unwrap();
        assert!(logits.iter().all(|l| l.abs() <= 16.0 + 1e-12));
        assert!(model.add_examples(0, View::new(&new, 2, 3).unwrap()).unwrap_err().to_string().contains("learned"));
    }

    /// Expected: a PyTorch transcription of the class means, on the same numbers.
    #[test]
    fn class_means_agree_with_a_reference() {
        use crate::metrics::testing::{close, clusters, labels};
        let (y, yq) = (labels(6, 150, 8), labels(8, 40, 9));
        let (x, q) = (clusters(5, &y), clusters(7, &yq));
        let y: Vec<u32> = y.into_iter().map(|y| y as u32).collect();
        let model = PrototypeClassifier::from_class_means(View::new(&x, 150, 6).unwrap(), &y, 8, 10.0).unwrap();
        let logits = model.logits(View::new(&q, 40, 6).unwrap()).unwrap();
        close(&logits[..3], &[-6.349813031092224, 6.564479153791855, -8.467921800228089], 1e-12);
        close(&[logits.iter().map(|z| z * z).sum()], &[10391.555560846504], 1e-12);
    }

    #[test]
    fn the_projection_is_that_of_the_reference() {
        let mut weights = [3.0f64, 4.0, 0.0, 0.0];
        project_unit_norm(&mut weights, 2, 1e-7).unwrap();
        assert!((weights[0] - 3.0 / (5.0 + 1e-7)).abs() < 1e-15 && weights[2..] == [0.0, 0.0]);
        assert!(project_unit_norm(&mut weights, 3, 0.0).is_err());
        assert!(project_unit_norm(&mut weights, 2, -1.0).is_err());
    }

    #[test]
    fn what_has_no_direction_is_refused_and_changes_nothing() {
        let mut model = PrototypeClassifier::empty(2, 10.0).unwrap();
        let error = |model: &mut PrototypeClassifier, rows: &[f64]| {
            model.add_class(View::new(rows, rows.len() / 2, 2).unwrap()).unwrap_err().to_string()
        };
        assert!(error(&mut model, &[1.0, 0.0, -2.0, 0.0]).contains("cancel out"));
        assert!(
            error(&mut model, &[1.0, 0.0, 0.0, 0.0]).contains("row 1 of examples of a class is undefined: it is zero")
        );
        assert!(error(&mut model, &[]).contains("at least one row of 2 numbers"));
        assert!(error(&mut model, &[f64::NAN, 0.0]).contains("NaN"));
        assert!(model.logits(View::new(&[1.0, 0.0], 1, 2).unwrap()).unwrap_err().to_string().contains("no classes"));
        assert_eq!(model, PrototypeClassifier::empty(2, 10.0).unwrap());
        assert!(PrototypeClassifier::empty(2, 0.0).is_err() && PrototypeClassifier::empty(0, 1.0).is_err());
        let rows = View::new(&[1.0, 0.0], 1, 2).unwrap();
        let means = |labels: &[u32], classes| PrototypeClassifier::from_class_means(rows, labels, classes, 1.0);
        assert!(means(&[0], 2).unwrap_err().to_string().contains("class 1 is undefined: it has no examples"));
        assert!(matches!(means(&[2], 2), Err(Error::Label { .. })));
        assert!(matches!(means(&[], 2), Err(Error::Shape { .. })));
    }
}
