//! Any objective of the registry as an operation.
//!
//! The parameters of a case are those of the objective, and beside them
//! - `reduction`: `mean` (default; the loss divided by its normaliser), `sum`, or `none` (`loss` is then every value, and the
//!   gradients are those of their sum);
//! - `ignore_index`: the target that marks rows without a class.
//!
//! | input | shape | is |
//! |---|---|---|
//! | `queries`, `embeddings`, `image` | `[B, d]` | the queries |
//! | `candidates`, `weights`, `text` | `[N, d]` | the candidates |
//! | `view_a`, `view_b` | `[B, d]` | queries and candidates; for objectives over the pairs of a batch, one below the other, rows `i` of the same label |
//! | `queries_adv`, `embeddings_adv` | `[B, d]` | the second version of the queries |
//! | `scores`, `logits`, `cosines` | `[B, N]` | scores given |
//! | `scores_adv` | `[B, N]` | the second version of given scores |
//! | `bias` | `[N]` | added to the scores of each candidate |
//! | `targets`, `labels` | `[B]` | class of each row |
//! | `positives` | `[B, N]` | 0 or 1, the positive columns |
//! | `soft_targets` | `[B, N]` | weights of the columns |
//! | `class_weights`, `pos_weight` | `[N]` | weight of each class |
//! | `query_ids`, `candidate_ids` | `[B]`, `[N]` | identities |
//! | `bag`, `bag_responses` | `[B]`, `[M, N]` | bag of each row, response of each bag |
//!
//! Outputs are `loss`, `row_loss` and `per_sample` (the values), `grad_X` for each tensor X given, `grad_P` for each learned
//! parameter P, and what the objective reports (scale, margin, counts …) under its name. An objective whose temperature
//! can be learned learns it where the case expects its gradient, as `grad_log_temperature` or as `grad_log_scale`, the
//! negative.

use super::Outputs;
use super::case::{Array, Case, integers, matrix, unsigned};
use crate::engine::{Batch, Evaluation, Gradients, Objective, Options, Sparse, View, evaluate};
use crate::error::{Error, Result};
use crate::objective::{Entry, Reads, build, find};
use crate::state::SampleStore;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What an input is to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Queries,
    Candidates,
    Second,
    Given,
    SecondGiven,
    ViewA,
    ViewB,
    Bias,
    Targets,
    Positives,
    SoftTargets,
    ClassWeights,
    QueryIds,
    CandidateIds,
    Bags,
    BagResponses,
}

const ROLES: &[(&str, Role)] = &[
    ("queries", Role::Queries),
    ("embeddings", Role::Queries),
    ("image", Role::Queries),
    ("candidates", Role::Candidates),
    ("weights", Role::Candidates),
    ("text", Role::Candidates),
    ("view_a", Role::ViewA),
    ("view_b", Role::ViewB),
    ("queries_adv", Role::Second),
    ("embeddings_adv", Role::Second),
    ("scores", Role::Given),
    ("logits", Role::Given),
    ("cosines", Role::Given),
    ("scores_adv", Role::SecondGiven),
    ("bias", Role::Bias),
    ("targets", Role::Targets),
    ("labels", Role::Targets),
    ("positives", Role::Positives),
    ("soft_targets", Role::SoftTargets),
    ("class_weights", Role::ClassWeights),
    ("pos_weight", Role::ClassWeights),
    ("query_ids", Role::QueryIds),
    ("candidate_ids", Role::CandidateIds),
    ("bag", Role::Bags),
    ("bag_responses", Role::BagResponses),
];

/// The inputs of a case by what they are.
struct Inputs<'c> {
    arrays: BTreeMap<Role, (&'c str, &'c Array)>,
    /// Both views, one below the other.
    stacked: Option<Array>,
}

impl<'c> Inputs<'c> {
    fn new(case: &'c Case, reads: Reads) -> Result<Self> {
        let mut arrays = BTreeMap::new();
        for (name, array) in &case.inputs {
            let role =
                ROLES.iter().find(|(n, _)| n == name).map(|(_, role)| *role).ok_or_else(|| Error::Unsupported {
                    what: format!("input `{name}` of {}", case.op),
                    hint: format!("objectives take {}", ROLES.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ")),
                })?;
            // A pair of views is queries and candidates, unless all rows meet all.
            let role = match role {
                Role::ViewA if reads != Reads::LabelledEmbeddings => Role::Queries,
                Role::ViewB if reads != Reads::LabelledEmbeddings => Role::Candidates,
                role => role,
            };
            if let Some((other, _)) = arrays.insert(role, (name.as_str(), array)) {
                return Err(Error::Unsupported {
                    what: format!("`{other}` together with `{name}`"),
                    hint: "both are the same input".into(),
                });
            }
        }
        let stacked = match (arrays.get(&Role::ViewA), arrays.get(&Role::ViewB)) {
            (Some((_, a)), Some((_, b))) if a.shape == b.shape && a.shape.len() == 2 => {
                Some(Array { shape: vec![2 * a.shape[0], a.shape[1]], data: [&a.data[..], &b.data[..]].concat() })
            }
            (Some((_, a)), Some((_, b))) => {
                return Err(Error::shape("view_b", &b.shape, format!("{:?} as view_a", a.shape)));
            }
            (None, None) => None,
            _ => return Err(Error::MissingInput { objective: case.op.clone(), missing: "both views".into() }),
        };
        Ok(Self { arrays, stacked })
    }

    fn view(&self, role: Role) -> Result<Option<View<'_, f64>>> {
        self.arrays.get(&role).map(|(name, array)| matrix(name, array)).transpose()
    }

    fn batch(&self, ignore: i64) -> Result<Batch<'_, f64>> {
        let stacked = self.stacked.as_ref().map(|both| matrix("view_a", both)).transpose()?;
        let vector = |role: Role| self.arrays.get(&role).map(|(_, array)| &array.data[..]);
        let ids = |role: Role| self.arrays.get(&role).map(|(name, array)| unsigned(name, array)).transpose();
        let mut batch = Batch {
            queries: stacked.or(self.view(Role::Queries)?),
            candidates: self.view(Role::Candidates)?,
            second: self.view(Role::Second)?,
            given: self.view(Role::Given)?,
            second_given: self.view(Role::SecondGiven)?,
            bias: vector(Role::Bias),
            class_weights: vector(Role::ClassWeights),
            query_ids: ids(Role::QueryIds)?.map(Into::into),
            candidate_ids: ids(Role::CandidateIds)?.map(Into::into),
            bags: ids(Role::Bags)?.map(Into::into),
            bag_responses: self.view(Role::BagResponses)?,
            ..Batch::default()
        };
        if let Some(both) = stacked {
            let half = both.rows() as u32 / 2;
            batch = batch.with_targets((0..half).chain(0..half).collect::<Vec<u32>>());
        }
        if let Some((name, array)) = self.arrays.get(&Role::Targets) {
            batch = batch.with_signed_targets(&integers(name, array)?, ignore)?;
        }
        for (role, soft) in [(Role::Positives, false), (Role::SoftTargets, true)] {
            let Some((name, dense)) = self.arrays.get(&role) else { continue };
            let dense = matrix(name, dense)?;
            if let Some(at) = dense.data().iter().position(|x| !soft && *x != 0.0 && *x != 1.0) {
                return Err(Error::parameter(format!("{name}[{at}]"), dense.data()[at], "0 or 1"));
            }
            let present = |row: &[f64]| (0..row.len() as u32).filter(|c| row[*c as usize] != 0.0).collect::<Vec<u32>>();
            let lists = Sparse::from_rows((0..dense.rows()).map(|r| present(dense.row(r))));
            batch = match soft {
                true => batch.with_soft_targets(lists, dense.data().iter().copied().filter(|x| *x != 0.0).collect()),
                false => batch.with_positives(std::borrow::Cow::Owned(lists)),
            };
        }
        Ok(batch)
    }

    /// The part of the gradients that belongs to each input.
    fn gradients(&self, all: &Gradients<f64>) -> Outputs {
        let mut outputs = Outputs::new();
        for (role, (name, _)) in &self.arrays {
            let half = all.queries.len() / 2;
            let part = match role {
                Role::Queries => &all.queries[..],
                Role::Candidates => &all.candidates,
                Role::Second => &all.second,
                Role::Given => &all.scores,
                Role::SecondGiven => &all.second_scores,
                Role::ViewA => &all.queries[..half],
                Role::ViewB => &all.queries[half..],
                Role::Bias => &all.bias,
                _ => continue,
            };
            outputs.insert(format!("grad_{name}"), part.to_vec());
        }
        outputs
    }
}

/// Writes numbers as the configuration wants them: 0 and 1 for a flag, 3.0 for a count.
fn as_typed(default: Option<&Value>, value: Value) -> Value {
    match (default, value.as_f64()) {
        (Some(Value::Bool(_)), Some(x)) if x == 0.0 || x == 1.0 => Value::Bool(x == 1.0),
        (Some(Value::Number(n)), Some(x)) if n.is_u64() && x >= 0.0 && x.fract() == 0.0 => Value::from(x as u64),
        _ => value,
    }
}

/// Parameters for the objective, as [`build`] takes them.
fn parameters(case: &Case, entry: &Entry, given: Map<String, Value>) -> Map<String, Value> {
    const LEARN: &str = "learn_temperature";
    let defaults = (entry.defaults)();
    let mut typed: Map<String, Value> =
        given.into_iter().map(|(name, value)| (name.clone(), as_typed(defaults.get(&name), value))).collect();
    let wants_slope = case.outputs.keys().any(|o| o.starts_with("grad_log_"));
    if wants_slope && defaults.contains_key(LEARN) && !typed.contains_key(LEARN) {
        typed.insert(LEARN.into(), Value::Bool(true));
    }
    typed
}

/// Takes `reduction` and `ignore_index` out of the parameters.
fn general(parameters: &mut Map<String, Value>) -> Result<(String, i64)> {
    let reduction = match parameters.remove("reduction") {
        None => "mean".to_string(),
        Some(Value::String(text)) if ["mean", "sum", "none"].contains(&text.as_str()) => text,
        Some(other) => return Err(Error::parameter("reduction", other, "mean, sum or none")),
    };
    let ignore = match parameters.remove("ignore_index") {
        None => i64::MIN,
        Some(value) => value.as_i64().ok_or_else(|| Error::parameter("ignore_index", value, "a whole number"))?,
    };
    Ok((reduction, ignore))
}

/// Runs the objective `name` with `given` parameters on the inputs of a case.
pub(super) fn perform(case: &Case, name: &str, given: Map<String, Value>) -> Result<Outputs> {
    perform_with_samples(case, name, given, None)
}

/// The same with ids of the samples, and what is stored for them.
pub(super) fn perform_with_samples(
    case: &Case,
    name: &str,
    mut given: Map<String, Value>,
    samples: Option<(&[u32], &SampleStore<f64>)>,
) -> Result<Outputs> {
    let entry = find(name)?;
    let (reduction, ignore) = general(&mut given)?;
    let objective = build(entry.name, parameters(case, entry, given))?;
    let inputs = Inputs::new(case, entry.reads)?;
    let mut batch = inputs.batch(ignore)?;
    if let Some((ids, store)) = samples {
        batch = batch.with_samples(ids, store);
    }
    let run = evaluate(objective.f64(), &batch, &Options::default())?;
    Ok(collect(objective.f64(), &inputs, run, &reduction))
}

fn collect(objective: &dyn Objective<f64>, inputs: &Inputs<'_>, run: Evaluation<f64>, reduction: &str) -> Outputs {
    let mut outputs = inputs.gradients(&run.gradients);
    for (parameter, gradient) in objective.parameters().iter().zip(&run.gradients.parameters) {
        outputs.insert(format!("grad_{}", parameter.name), vec![*gradient]);
        if parameter.name == "log_temperature" {
            outputs.insert("grad_log_scale".into(), vec![-gradient]);
        }
    }
    let mut loss = vec![run.loss];
    if reduction != "mean" {
        outputs.values_mut().flatten().for_each(|g| *g *= run.normalizer);
        loss = if reduction == "none" { run.values.clone() } else { vec![run.values.iter().sum()] };
    }
    for (name, values) in [("loss", &loss), ("row_loss", &run.values), ("per_sample", &run.values)] {
        outputs.insert(name.into(), values.clone());
    }
    let mut report = Outputs::new();
    for (name, values) in run.report {
        report.entry(name.to_string()).or_default().extend(values);
    }
    for (name, values) in report {
        outputs.entry(name).or_insert(values);
    }
    outputs
}
