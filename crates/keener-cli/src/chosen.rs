//! An objective named on the command line, and the numbers that it computes in.

use crate::error::Failure;
use anyhow::Result;
use keener::engine::{Coupling, Objective, Shape, Slot};
use keener::objective::{Entry, Reads, SharedObjective, find, parse};
use keener::real::Real;

/// The number types that an objective can be asked for.
pub(crate) trait Number: Real {
    /// The objective in this type.
    fn pick(objective: &SharedObjective) -> &dyn Objective<Self>;
}

impl Number for f32 {
    fn pick(objective: &SharedObjective) -> &dyn Objective<Self> {
        objective.f32()
    }
}

impl Number for f64 {
    fn pick(objective: &SharedObjective) -> &dyn Objective<Self> {
        objective.f64()
    }
}

/// A specification such as `cosface:margin=0.2` or `arcface+tcm:weight=0.5`, built, with its entries in the registry.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// As given.
    pub(crate) spec: String,
    /// One an addend.
    pub(crate) entries: Vec<&'static Entry>,
    pub(crate) objective: SharedObjective,
}

impl Chosen {
    /// Reads a specification.
    pub(crate) fn parse(spec: &str) -> Result<Self> {
        let names = spec.split('+').map(|part| part.split_once(':').map_or(part, |(name, _)| name));
        // Names first: their errors say more.
        let entries = names.map(find).collect::<keener::Result<Vec<_>>>()?;
        Ok(Self { spec: spec.to_string(), entries, objective: parse(spec)? })
    }

    /// The name in the registry, joined by `+` for a sum.
    pub(crate) fn name(&self) -> String {
        self.entries.iter().map(|e| e.name).collect::<Vec<_>>().join("+")
    }

    /// What one batch must hold for all addends.
    pub(crate) fn reads(&self) -> Result<Reads> {
        let mut all: Vec<Reads> = Vec::new();
        for reads in self.entries.iter().map(|e| e.reads) {
            if !all.contains(&reads) {
                all.push(reads);
            }
        }
        let within = |allowed: &[Reads]| all.iter().all(|r| allowed.contains(r));
        match all[..] {
            [only] => Ok(only),
            _ if within(&[Reads::ClassHead, Reads::LabelledEmbeddings]) => Ok(Reads::ClassHead),
            _ if within(&[Reads::ClassHead, Reads::LabelledEmbeddings, Reads::TwoScores]) => Ok(Reads::TwoScores),
            _ => {
                let kinds: Vec<String> =
                    self.entries.iter().map(|e| format!("{} reads {}", e.name, e.reads.describe())).collect();
                Err(Failure::wrong(format!(
                    "the addends of `{}` read different batches: {}",
                    self.spec,
                    kinds.join("; ")
                ))
                .hint("addends that read the same kind; `keener objectives` shows what each reads")
                .into())
            }
        }
    }

    /// The shape that the planner looks at for `rows` queries and `candidates` candidates of width `depth`, and whether
    /// rows can be finished alone.
    pub(crate) fn shape<T: Number>(&self, rows: usize, candidates: usize, depth: usize) -> (Shape, Coupling) {
        let objective = T::pick(&self.objective);
        let matrices = self.matrices::<T>(rows, candidates);
        let (rows, cols) = matrices.iter().copied().max_by_key(|(r, c)| r * c).unwrap_or((0, 0));
        let alike = matrices.iter().filter(|m| **m == (rows, cols)).count();
        let pairs = objective.matrices().iter().any(|m| m.slot == Slot::Pairs);
        let coupling = if pairs { Coupling::WholeBatch } else { objective.coupling() };
        (Shape { rows, cols, depth, matrices: alike, number: size_of::<T>() }, coupling)
    }

    /// Rows and columns of every score matrix.
    pub(crate) fn matrices<T: Number>(&self, rows: usize, candidates: usize) -> Vec<(usize, usize)> {
        let specs = T::pick(&self.objective).matrices();
        specs.iter().map(|spec| (rows, if spec.slot == Slot::Pairs { rows } else { candidates })).collect()
    }
}

/// Whether the candidates are the batch itself.
pub(crate) fn compares_batch_with_itself(reads: Reads) -> bool {
    reads == Reads::LabelledEmbeddings
}
