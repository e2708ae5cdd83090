//! What an objective reads: tensors and supervision, checked once at the door.

use super::set::NONE;
use super::statistic::Sparse;
use crate::error::{Error, Result};
use crate::real::Real;
use crate::simd;
use crate::state::SampleStore;
use std::borrow::Cow;
use std::ops::Range;

/// A row-major matrix `[rows, cols]` that belongs to somebody else.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl<'a, T> View<'a, T> {
    /// A view of `data` as `[rows, cols]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the length is not `rows · cols`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self> {
        if rows.checked_mul(cols) != Some(data.len()) {
            return Err(Error::shape("matrix", &[data.len()], format!("{rows} × {cols} numbers")));
        }
        Ok(Self { data, rows, cols })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All numbers, row by row.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// One row.
    pub fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    fn slice(&self, rows: Range<usize>) -> Self {
        Self { data: &self.data[rows.start * self.cols..rows.end * self.cols], rows: rows.len(), cols: self.cols }
    }
}

/// Everything that one evaluation reads. Fields that an objective does not read may be absent; what is missing is an
/// error that names it. Build with [`Batch::embeddings`], [`Batch::scores`] and the `with_…` methods.
#[derive(Clone, Debug)]
pub struct Batch<'a, T: Clone> {
    /// Queries (embeddings) `[B, d]`.
    pub queries: Option<View<'a, T>>,
    /// Candidates (class weights, documents, the other view) `[N, d]`.
    pub candidates: Option<View<'a, T>>,
    /// Added to the scores of each candidate, `[N]`.
    pub bias: Option<&'a [T]>,
    /// A second version of the queries (attacked, student) `[B, d]`.
    pub second: Option<View<'a, T>>,
    /// Scores `[B, N]` given instead of queries and candidates.
    pub given: Option<View<'a, T>>,
    /// Scores of the second version `[B, N]`.
    pub second_given: Option<View<'a, T>>,
    /// Candidates gathered per row: `[B, K]` indices into the candidates; scores are then `[B, K]`.
    pub gathered: Option<(&'a [u32], usize)>,
    /// Class (or column) of each row; [`NONE`] for rows without one.
    pub targets: Option<Cow<'a, [u32]>>,
    /// Columns that are positive for each row (multi-label).
    pub positives: Option<Cow<'a, Sparse>>,
    /// Weights of the positives (soft targets), one an entry.
    pub target_weights: Option<Cow<'a, [T]>>,
    /// Identity of what each query is about.
    pub query_ids: Option<Cow<'a, [u32]>>,
    /// Identity of each candidate.
    pub candidate_ids: Option<Cow<'a, [u32]>>,
    /// Weight of each class (column), `[N]`.
    pub class_weights: Option<&'a [T]>,
    /// Bag of each row, `0..M`, where responses are known by bag only.
    pub bags: Option<Cow<'a, [u32]>>,
    /// Response of each bag `[M, N]`.
    pub bag_responses: Option<View<'a, T>>,
    /// Identity of each row as a sample, for state that outlives the batch.
    pub sample_ids: Option<Cow<'a, [u32]>>,
    /// That state.
    pub samples: Option<&'a SampleStore<T>>,
    /// Values of the objective's learned parameters, in the order it declares them; empty for their initial values.
    pub parameters: Cow<'a, [T]>,
}

impl<'a, T: Real> Default for Batch<'a, T> {
    fn default() -> Self {
        Self {
            queries: None,
            candidates: None,
            bias: None,
            second: None,
            given: None,
            second_given: None,
            gathered: None,
            targets: None,
            positives: None,
            target_weights: None,
            query_ids: None,
            candidate_ids: None,
            class_weights: None,
            bags: None,
            bag_responses: None,
            sample_ids: None,
            samples: None,
            parameters: Cow::Borrowed(&[]),
        }
    }
}

impl<'a, T: Real> Batch<'a, T> {
    /// Queries alone (objectives over the pairs of a batch), to be completed.
    pub fn embeddings(queries: View<'a, T>) -> Self {
        Self { queries: Some(queries), ..Self::default() }
    }

    /// Scores given.
    pub fn scores(scores: View<'a, T>) -> Self {
        Self { given: Some(scores), ..Self::default() }
    }

    /// Adds candidates.
    pub fn with_candidates(mut self, candidates: View<'a, T>) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// Adds a bias for each candidate.
    pub fn with_bias(mut self, bias: &'a [T]) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Adds a second version of the queries.
    pub fn with_second(mut self, second: View<'a, T>) -> Self {
        self.second = Some(second);
        self
    }

    /// Adds a second matrix of given scores.
    pub fn with_second_scores(mut self, scores: View<'a, T>) -> Self {
        self.second_given = Some(scores);
        self
    }

    /// Adds the class of each row (or the column of its positive); [`NONE`] where a row has none.
    pub fn with_targets(mut self, targets: impl Into<Cow<'a, [u32]>>) -> Self {
        self.targets = Some(targets.into());
        self
    }

    /// Adds the class of each row from signed integers; `ignore` marks rows without a class.
    ///
    /// # Errors
    /// [`Error::Label`] for a negative label other than `ignore`.
    pub fn with_signed_targets(mut self, targets: &[i64], ignore: i64) -> Result<Self> {
        let classes = self.classes();
        let convert = |(row, &label): (usize, &i64)| match label {
            l if l == ignore => Ok(NONE),
            l => u32::try_from(l).ok().filter(|l| *l != NONE).ok_or(Error::Label { label, row, classes }),
        };
        self.targets = Some(Cow::Owned(targets.iter().enumerate().map(convert).collect::<Result<_>>()?));
        Ok(self)
    }

    /// Adds the positive columns of each row.
    pub fn with_positives(mut self, positives: impl Into<Cow<'a, Sparse>>) -> Self {
        self.positives = Some(positives.into());
        self
    }

    /// Adds soft targets: columns and their weights.
    pub fn with_soft_targets(mut self, columns: Sparse, weights: Vec<T>) -> Self {
        self.positives = Some(Cow::Owned(columns));
        self.target_weights = Some(Cow::Owned(weights));
        self
    }

    /// Adds identities; equal ones are never negatives of each other.
    pub fn with_ids(mut self, queries: impl Into<Cow<'a, [u32]>>, candidates: impl Into<Cow<'a, [u32]>>) -> Self {
        self.query_ids = Some(queries.into());
        self.candidate_ids = Some(candidates.into());
        self
    }

    /// Adds a weight for each class.
    pub fn with_class_weights(mut self, weights: &'a [T]) -> Self {
        self.class_weights = Some(weights);
        self
    }

    /// Adds the bag of each row `[B]`, and the response of each bag `[M, N]`: one number a column.
    pub fn with_bags(mut self, bags: impl Into<Cow<'a, [u32]>>, responses: View<'a, T>) -> Self {
        self.bags = Some(bags.into());
        self.bag_responses = Some(responses);
        self
    }

    /// Gathers candidates per row: `ids` is `[B, k]`.
    pub fn with_gathered(mut self, ids: &'a [u32], k: usize) -> Self {
        self.gathered = Some((ids, k));
        self
    }

    /// Adds the identity of each row as a sample, and the state that belongs to samples.
    pub fn with_samples(mut self, ids: impl Into<Cow<'a, [u32]>>, state: &'a SampleStore<T>) -> Self {
        self.sample_ids = Some(ids.into());
        self.samples = Some(state);
        self
    }

    /// Sets the values of the objective's learned parameters.
    pub fn with_parameters(mut self, parameters: impl Into<Cow<'a, [T]>>) -> Self {
        self.parameters = parameters.into();
        self
    }

    /// Number of rows B.
    pub fn rows(&self) -> usize {
        self.given.or(self.queries).map_or(0, |v| v.rows)
    }

    /// Number of columns N of the main score matrix.
    pub fn classes(&self) -> usize {
        match (self.given, self.gathered, self.candidates, self.queries) {
            (Some(given), ..) => given.cols,
            (_, Some((_, k)), ..) => k,
            (_, _, Some(candidates), _) => candidates.rows,
            (.., Some(queries)) => queries.rows,
            _ => 0,
        }
    }

    /// The class of each row, or an error that says who needs it.
    pub fn targets_for(&self, objective: &str) -> Result<&[u32]> {
        self.targets.as_deref().ok_or_else(|| Error::MissingInput {
            objective: objective.into(),
            missing: "the class of each row (targets)".into(),
        })
    }

    /// The class of each row, none of them absent.
    pub fn labels_for(&self, objective: &str) -> Result<&[u32]> {
        let labels = self.targets_for(objective)?;
        match labels.iter().position(|l| *l == NONE) {
            None => Ok(labels),
            Some(row) => {
                Err(Error::MissingInput { objective: objective.into(), missing: format!("a label at row {row}") })
            }
        }
    }

    /// The identity of each row as a sample, or an error that says who needs it.
    pub fn sample_ids_for(&self, objective: &str) -> Result<&[u32]> {
        self.sample_ids.as_deref().ok_or_else(|| Error::MissingInput {
            objective: objective.into(),
            missing: "the id of each sample (its state outlives the batch)".into(),
        })
    }

    /// A field of the per-sample state; `initial` where nothing was written yet.
    pub fn sample_state(&self, field: &str, ids: &[u32], initial: T) -> Vec<T> {
        self.samples.map_or_else(|| vec![initial; ids.len()], |s| s.read(field, ids, initial))
    }

    /// The column of each row's positive: the targets, or the diagonal where none are given.
    pub fn targets_or_diagonal(&self) -> Cow<'_, [u32]> {
        match &self.targets {
            Some(targets) => Cow::Borrowed(targets),
            None => Cow::Owned((0..self.rows() as u32).collect()),
        }
    }

    /// Value of learned parameter `index`, or `initial` where none was given.
    pub fn parameter(&self, index: usize, initial: f64) -> T {
        self.parameters.get(index).copied().unwrap_or_else(|| T::of(initial))
    }

    /// The rows `rows` alone, with the same candidates.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Batch<'_, T> {
        fn part<'b, U: Clone>(values: &'b Option<Cow<'_, [U]>>, rows: &Range<usize>) -> Option<Cow<'b, [U]>> {
            values.as_ref().map(|v| Cow::Borrowed(&v[rows.clone()]))
        }
        let entries = self.positives.as_ref().map(|p| p.offsets[rows.start]..p.offsets[rows.end]);
        Batch {
            queries: self.queries.map(|v| v.slice(rows.clone())),
            candidates: self.candidates,
            bias: self.bias,
            second: self.second.map(|v| v.slice(rows.clone())),
            given: self.given.map(|v| v.slice(rows.clone())),
            second_given: self.second_given.map(|v| v.slice(rows.clone())),
            gathered: self.gathered.map(|(ids, k)| (&ids[rows.start * k..rows.end * k], k)),
            // The diagonal of the whole, where no targets are given.
            targets: part(&self.targets, &rows)
                .or_else(|| Some(Cow::Owned((rows.start as u32..rows.end as u32).collect()))),
            positives: self.positives.as_ref().map(|p| Cow::Owned(p.slice(rows.clone()))),
            target_weights: match (&self.target_weights, entries) {
                (Some(weights), Some(range)) => Some(Cow::Borrowed(&weights[range])),
                _ => None,
            },
            query_ids: part(&self.query_ids, &rows),
            candidate_ids: self.candidate_ids.as_deref().map(Cow::Borrowed),
            class_weights: self.class_weights,
            bags: part(&self.bags, &rows),
            bag_responses: self.bag_responses,
            sample_ids: part(&self.sample_ids, &rows),
            samples: self.samples,
            parameters: Cow::Borrowed(&self.parameters),
        }
    }

    /// Checks shapes, labels and finiteness; the one door through which data comes in.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Label`], [`Error::NonFinite`].
    pub fn check(&self, finite: bool) -> Result<()> {
        self.check_labelled(finite, self.classes())
    }

    /// As [`Batch::check`], for targets that name one of `classes` classes: see
    /// [`Objective::label_count`](crate::engine::Objective::label_count).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Label`], [`Error::NonFinite`].
    pub fn check_labelled(&self, finite: bool, classes: usize) -> Result<()> {
        let rows = self.rows();
        if self.given.is_none() && self.queries.is_none() {
            return Err(Error::MissingInput {
                objective: "every objective".into(),
                missing: "queries or scores".into(),
            });
        }
        if let (Some(queries), Some(candidates)) = (self.queries, self.candidates)
            && queries.cols != candidates.cols
        {
            let found = [candidates.rows, candidates.cols];
            return Err(Error::shape("candidates", &found, format!("[N, {}], the width of the queries", queries.cols)));
        }
        for (what, other) in [("second queries", self.second), ("second scores", self.second_given)] {
            let first = if what == "second queries" { self.queries } else { self.given };
            if let (Some(first), Some(other)) = (first, other)
                && (first.rows, first.cols) != (other.rows, other.cols)
            {
                let found = [other.rows, other.cols];
                return Err(Error::shape(what, &found, format!("[{}, {}] like the first", first.rows, first.cols)));
            }
        }
        let length = |what: &str, found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => Err(Error::shape(what, &[found], format!("[{expected}]"))),
        };
        let columns = self.classes();
        if let Some(targets) = &self.targets {
            length("targets", targets.len(), rows)?;
            // Without candidates or scores the labels are names, not columns.
            if (self.given.is_some() || self.candidates.is_some())
                && let Some(row) = targets.iter().position(|t| *t != NONE && *t as usize >= classes)
            {
                return Err(Error::Label { label: i64::from(targets[row]), row, classes });
            }
        }
        if let Some(positives) = &self.positives {
            length("rows of positives", positives.rows(), rows)?;
            for row in 0..rows {
                if let Some(&column) = positives.row(row).last()
                    && column as usize >= columns
                {
                    return Err(Error::Label { label: i64::from(column), row, classes: columns });
                }
            }
            if let Some(weights) = &self.target_weights {
                length("weights of the targets", weights.len(), positives.len())?;
            }
        }
        if let Some(bias) = self.bias {
            length("bias", bias.len(), columns)?;
        }
        if let Some(weights) = self.class_weights {
            length("class weights", weights.len(), columns)?;
        }
        if let Some(ids) = &self.query_ids {
            length("query ids", ids.len(), rows)?;
        }
        if let Some(bags) = &self.bags {
            length("bags", bags.len(), rows)?;
        }
        if let Some(ids) = &self.sample_ids {
            length("sample ids", ids.len(), rows)?;
        }
        if let Some(ids) = &self.candidate_ids {
            length("candidate ids", ids.len(), columns)?;
        }
        if let Some((ids, k)) = self.gathered {
            length("gathered ids", ids.len(), rows * k)?;
            let count = self.candidates.map_or(0, |c| c.rows);
            if let Some(at) = ids.iter().position(|id| *id as usize >= count) {
                return Err(Error::Label { label: i64::from(ids[at]), row: at / k.max(1), classes: count });
            }
        }
        if finite {
            let tensors = [
                ("queries", self.queries),
                ("candidates", self.candidates),
                ("second queries", self.second),
                ("scores", self.given),
                ("second scores", self.second_given),
                ("responses of bags", self.bag_responses),
                ("bias", self.bias.map(|data| View { data, rows: 1, cols: data.len() })),
                ("class weights", self.class_weights.map(|data| View { data, rows: 1, cols: data.len() })),
            ];
            for (what, view) in tensors.into_iter().filter_map(|(what, view)| Some((what, view?))) {
                check_finite(what, view)?;
            }
            if let Some(bad) = self.parameters.iter().position(|p| !p.is_finite()) {
                return Err(Error::NonFinite {
                    what: "parameters".into(),
                    value: self.parameters[bad].to_string(),
                    row: 0,
                    column: bad,
                });
            }
        }
        Ok(())
    }
}

fn check_finite<T: Real>(what: &str, view: View<'_, T>) -> Result<()> {
    use rayon::prelude::*;
    const BLOCK: usize = 1 << 16;
    if view.data.par_chunks(BLOCK).all(|block| simd::all_finite(block)) {
        return Ok(());
    }
    // The sum of 0 · x is the filter; find the culprit slowly.
    match view.data.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            what: what.into(),
            value: view.data[at].to_string(),
            row: at / view.cols.max(1),
            column: at % view.cols.max(1),
        }),
    }
}
