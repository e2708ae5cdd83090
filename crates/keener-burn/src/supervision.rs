//! What the rows are supervised with: classes, identities, positives, weights.

use crate::attach::read_integers;
use crate::error::Result;
use burn::tensor::{Int, Tensor};
use keener::engine::{Batch, NONE, Sparse, View};
use keener::state::SampleStore;
use std::borrow::Cow;

#[derive(Clone, Debug, Default)]
enum Targets<'a> {
    #[default]
    None,
    Classes(Cow<'a, [u32]>),
    Signed {
        values: Vec<i64>,
        ignore: i64,
    },
}

/// The supervision of a batch; what an objective does not read may be absent.
#[derive(Clone, Debug, Default)]
pub struct Supervision<'a> {
    targets: Targets<'a>,
    positives: Option<Sparse>,
    target_weights: Option<Cow<'a, [f32]>>,
    ids: Option<(Cow<'a, [u32]>, Cow<'a, [u32]>)>,
    class_weights: Option<Cow<'a, [f32]>>,
    samples: Option<(Cow<'a, [u32]>, Cow<'a, SampleStore<f32>>)>,
    bags: Option<Bags<'a>>,
}

/// The bag of each row, and the responses of the bags.
#[derive(Clone, Debug)]
struct Bags<'a> {
    of_rows: Cow<'a, [u32]>,
    responses: Cow<'a, [f32]>,
    columns: usize,
}

/// Never a label: signed labels without an ignored value.
const NEVER: i64 = i64::MIN;

impl<'a> Supervision<'a> {
    /// None at all: row `i` of the queries belongs to row `i` of the candidates.
    pub fn none() -> Self {
        Self::default()
    }

    /// The class of each row `[B]`; [`NONE`] for rows without one.
    pub fn classes(targets: impl Into<Cow<'a, [u32]>>) -> Self {
        Self { targets: Targets::Classes(targets.into()), ..Self::default() }
    }

    /// The class of each row `[B]` from an integer tensor of any width. Labels outside the classes, negative ones
    /// included, are refused when the objective is computed, by row.
    ///
    /// # Errors
    /// If the tensor cannot be read.
    pub fn labels(targets: Tensor<1, Int>) -> Result<Self> {
        Self::labels_ignoring(targets, NEVER)
    }

    /// As [`Supervision::labels`], with `ignore` (often −100) marking rows without a class.
    ///
    /// # Errors
    /// If the tensor cannot be read.
    pub fn labels_ignoring(targets: Tensor<1, Int>, ignore: i64) -> Result<Self> {
        let values = read_integers(targets, "targets")?;
        Ok(Self { targets: Targets::Signed { values, ignore }, ..Self::default() })
    }

    /// Adds the positive columns of each row (multi-label).
    pub fn with_positives(mut self, positives: Sparse) -> Self {
        self.positives = Some(positives);
        self
    }

    /// Adds a weight for each positive (soft targets), in the order of the lists.
    pub fn with_target_weights(mut self, weights: impl Into<Cow<'a, [f32]>>) -> Self {
        self.target_weights = Some(weights.into());
        self
    }

    /// Adds identities of queries `[B]` and candidates `[N]`; equal ones are never negatives of each other.
    pub fn with_ids(mut self, queries: impl Into<Cow<'a, [u32]>>, candidates: impl Into<Cow<'a, [u32]>>) -> Self {
        self.ids = Some((queries.into(), candidates.into()));
        self
    }

    /// Adds a weight for each class `[N]`.
    pub fn with_class_weights(mut self, weights: impl Into<Cow<'a, [f32]>>) -> Self {
        self.class_weights = Some(weights.into());
        self
    }

    /// Adds the identity of each row as a sample `[B]`, and the state that belongs to samples; what an objective makes of it comes
    /// back in [`crate::Reduced::updates`].
    pub fn with_samples(mut self, ids: impl Into<Cow<'a, [u32]>>, state: &'a SampleStore<f32>) -> Self {
        self.samples = Some((ids.into(), Cow::Borrowed(state)));
        self
    }

    /// Adds the bag of each row `[B]`, `0..M`, and the response of each bag `[M, columns]`, for objectives over bags.
    pub fn with_bags(
        mut self,
        of_rows: impl Into<Cow<'a, [u32]>>,
        responses: impl Into<Cow<'a, [f32]>>,
        columns: usize,
    ) -> Self {
        self.bags = Some(Bags { of_rows: of_rows.into(), responses: responses.into(), columns });
        self
    }

    /// The same, owning everything.
    pub fn into_owned(self) -> Supervision<'static> {
        fn own<'b, V: ToOwned + ?Sized + 'b>(v: Cow<'b, V>) -> Cow<'static, V>
        where
            V::Owned: 'static,
        {
            Cow::Owned(v.into_owned())
        }
        Supervision {
            targets: match self.targets {
                Targets::None => Targets::None,
                Targets::Classes(classes) => Targets::Classes(own(classes)),
                Targets::Signed { values, ignore } => Targets::Signed { values, ignore },
            },
            positives: self.positives,
            target_weights: self.target_weights.map(own),
            ids: self.ids.map(|(q, c)| (own(q), own(c))),
            class_weights: self.class_weights.map(own),
            samples: self.samples.map(|(ids, state)| (own(ids), Cow::Owned(state.into_owned()))),
            bags: self.bags.map(|b| Bags { of_rows: own(b.of_rows), responses: own(b.responses), columns: b.columns }),
        }
    }

    /// Completes a batch that has its matrices already.
    pub(crate) fn complete<'b>(&'b self, mut batch: Batch<'b, f32>) -> Result<Batch<'b, f32>> {
        match &self.targets {
            Targets::None => {}
            Targets::Classes(classes) => batch = batch.with_targets(&**classes),
            Targets::Signed { values, ignore } => batch = batch.with_signed_targets(values, *ignore)?,
        }
        batch.positives = self.positives.as_ref().map(Cow::Borrowed);
        batch.target_weights = self.target_weights.as_deref().map(Cow::Borrowed);
        if let Some((queries, candidates)) = &self.ids {
            batch = batch.with_ids(&**queries, &**candidates);
        }
        batch.class_weights = self.class_weights.as_deref();
        if let Some((ids, state)) = &self.samples {
            batch = batch.with_samples(&**ids, state);
        }
        if let Some(bags) = &self.bags {
            let count = bags.responses.len() / bags.columns.max(1);
            batch = batch.with_bags(&*bags.of_rows, View::new(&bags.responses, count, bags.columns)?);
        }
        Ok(batch)
    }
}

/// Positives that say the same as one class a row.
pub fn one_hot(targets: &[u32]) -> Sparse {
    Sparse::one_per_row(targets.iter().map(|t| (*t != NONE).then_some(*t)))
}
