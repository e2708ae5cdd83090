//! Reproductions: one module a paper, each a thin program over the library.
//!
//! A [`Reproduction`] states a claim of a paper, how it is put to the test, and the rule by which the verdict follows
//! from what was measured; its [`Findings`] hold tables, plots, measured facts by name and the verdict with its reasons.
//! The work is cut into units (one setting and one seed, usually) that are stored as they finish, so that an interrupted
//! run resumes where it was: see [`Session`] and [`Units`]. A run depends on its mode alone, bit for bit on one machine.
//!
//! ```no_run
//! use keener_papers::{Mode, Session, Silent, Units, find, write};
//!
//! # fn main() -> anyhow::Result<()> {
//! let reproduction = find("contrastive-behaviour")?;
//! let folder = std::path::Path::new("runs/papers/contrastive-behaviour");
//! let (mode, mut silent) = (Mode::quick(), Silent);
//! let mut session = Session::new(reproduction.revision, Units::resume(folder)?, &mut silent);
//! let findings = (reproduction.run)(&mode, &mut session)?;
//! println!("{}", findings.decision.verdict);
//! write(reproduction, &mode, &findings, folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! To add a reproduction: write `papers/NAME.rs` with a `pub(crate) const REPRODUCTION`, and add a line to the list in
//! `papers/mod.rs`. The command `keener papers`, the files and `docs/papers.md` follow from it.

mod adam;
mod catalogue;
mod digits;
mod findings;
mod network;
mod output;
pub mod output_layers;
mod papers;
mod reproduction;
mod session;
mod units;

pub use catalogue::{Recorded, catalogue, recorded};
pub use findings::{Check, Decision, Fact, Facts, Findings, Plot, Spread, Verdict};
pub use output::{Files, checks, page, to_json, to_markdown, write};
pub use reproduction::{Extent, Mode, Reproduction, find, reproductions};
pub use session::{Done, Progress, Session, Silent, Stopped};
pub use units::Units;
