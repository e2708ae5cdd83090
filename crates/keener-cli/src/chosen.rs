//! An objective named on the command line, and the numbers that it computes in.

use crate::error::Failure;
use anyhow::Result;
use keener::engine::{Coupling, Objective, Shape, Slot};
use keener::objective::{Entry, Reads, SharedObjective, find, parse};
use keener::real::Real;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

/// A number type by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    F32,
    F64,
}

impl Dtype {
    /// `f32` or `f64`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => f32::NAME,
            Self::F64 => f64::NAME,
        }
    }
}

/// One addend of a specification.
#[derive(Clone, Debug)]
pub(crate) struct Addend {
    pub(crate) entry: &'static Entry,
    /// The parameters that were given.
    pub(crate) parameters: Map<String, Value>,
    pub(crate) weight: f64,
}

impl Addend {
    /// With default parameters.
    pub(crate) fn plain(entry: &'static Entry) -> Self {
        Self { entry, parameters: Map::new(), weight: 1.0 }
    }
}

/// A specification such as `cosface:margin=0.2` or `arcface+tcm:weight=0.5`, built, with its entries in the registry.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// As given.
    pub(crate) spec: String,
    pub(crate) addends: Vec<Addend>,
    pub(crate) objective: SharedObjective,
}

impl Chosen {
    /// Reads a specification.
    pub(crate) fn parse(spec: &str) -> Result<Self> {
        let split = |part: &'_ str| -> (String, String) {
            let (name, arguments) = part.split_once(':').unwrap_or((part, ""));
            (name.to_string(), arguments.to_string())
        };
        let parts: Vec<(String, String)> = spec.split('+').map(split).collect();
        // Names first: their errors say more. The library reads and checks the parameters.
        let entries = parts.iter().map(|(name, _)| find(name)).collect::<keener::Result<Vec<_>>>()?;
        let objective = parse(spec).map_err(|error| {
            let explained =
                matches!(error, keener::Error::UnknownParameter { .. } | keener::Error::Specification { .. });
            let failure = Failure::of(&error.into());
            if explained {
                return failure;
            }
            let names: Vec<&str> = entries.iter().map(|e| e.name).collect();
            failure.hint(format!("`keener objectives {}` explains the parameters", names.join("+")))
        })?;
        let addends = entries.into_iter().zip(&parts).map(|(entry, (_, arguments))| {
            let pairs = arguments.split(',').filter_map(|a| a.split_once('='));
            let value = |v: &str| serde_json::from_str(v).unwrap_or_else(|_| Value::String(v.to_string()));
            let mut parameters: Map<String, Value> =
                pairs.map(|(key, v)| (key.trim().to_string(), value(v.trim()))).collect();
            let weight = parameters.remove("weight").and_then(|w| w.as_f64()).unwrap_or(1.0);
            Addend { entry, parameters, weight }
        });
        Ok(Self { spec: spec.to_string(), addends: addends.collect(), objective })
    }

    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        self.addends.iter().map(|a| a.entry)
    }

    /// The name in the registry, joined by `+` for a sum.
    pub(crate) fn name(&self) -> String {
        self.entries().map(|e| e.name).collect::<Vec<_>>().join("+")
    }

    /// What one batch must hold for all addends.
    pub(crate) fn reads(&self) -> Result<Reads> {
        let mut all: Vec<Reads> = Vec::new();
        for reads in self.entries().map(|e| e.reads) {
            if !all.contains(&reads) {
                all.push(reads);
            }
        }
        let within = |allowed: &[Reads]| all.iter().all(|r| allowed.contains(r));
        match all[..] {
            [only] => Ok(only),
            _ if within(&[Reads::ClassHead, Reads::LabelledEmbeddings]) => Ok(Reads::ClassHead),
            // Two columns serve both, and classes are bags of one row.
            _ if within(&[Reads::ClassHead, Reads::BinaryHead, Reads::Bags]) && all.contains(&Reads::BinaryHead) => {
                Ok(Reads::BinaryHead)
            }
            _ if within(&[Reads::ClassHead, Reads::Bags]) => Ok(Reads::ClassHead),
            _ if within(&[Reads::ClassHead, Reads::LabelledEmbeddings, Reads::TwoScores]) => Ok(Reads::TwoScores),
            _ => {
                let kinds: Vec<String> =
                    self.entries().map(|e| format!("{} reads {}", e.name, e.reads.describe())).collect();
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
