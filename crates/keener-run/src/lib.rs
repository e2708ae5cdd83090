//! Run folders that survive interrupts.
//!
//! A long run writes into a folder, may be stopped or killed at any moment, and goes on from what is there. Whoever writes
//! such a folder needs the same five things, and finds them here:
//!
//! | you want | take |
//! |---|---|
//! | a file that is there whole or not at all | [`replace`], [`replace_with`] |
//! | a log that a kill shortens by one line at most | [`Log`] |
//! | a folder that says what it is, belongs to one process at a time and is never overwritten | [`Folder`] |
//! | to stop after the unit in hand | [`Stop`] |
//! | an error that says what to do next | [`Error::hint`] |
//!
//! ```
//! use keener_run::{Folder, Identity, Log};
//!
//! # let temporary = tempfile::tempdir()?;
//! # let path = temporary.path().join("run");
//! let identity = Identity::new("example", None);
//! let folder = Folder::create(&path, &identity, &[("settings.json", "{}")])?;
//! let (mut log, _) = Log::open(&path.join("log.jsonl"), |_: &u32| true)?;
//! log.append(&1u32)?;
//! drop((folder, log)); // or a kill
//!
//! let folder = Folder::resume(&path, &identity)?;
//! let (_, known) = Log::open(&path.join("log.jsonl"), |_: &u32| true)?;
//! assert_eq!(known, [1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is promised, and on what: a process that is killed leaves every file whole, because files are written beside
//! their place, synchronised and renamed, and because a log's last line without its end is dropped. A machine that loses
//! power keeps the same promise where the file system keeps the order of a synchronised file and its renaming, as the
//! usual ones do.

mod error;
mod file;
mod folder;
mod log;
mod stop;

pub use error::{Error, Result, reason};
pub use file::{replace, replace_with};
pub use folder::{FORMAT, Folder, Identity, MANIFEST, Manifest};
pub use log::Log;
pub use stop::Stop;
