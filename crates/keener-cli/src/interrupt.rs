//! Ctrl-C: the first one asks, the second one ends.

use crate::error::INTERRUPTED;
use anyhow::{Context, Result};
use keener_run::Stop;
use std::io::Write;

/// From here on Ctrl-C (SIGINT), SIGTERM and SIGHUP ask the run to stop after its `unit`; a second one ends the process at
/// once, which no run folder minds.
///
/// # Errors
/// Where the system does not let signals be handled.
pub(crate) fn stop_on_signal(unit: &'static str) -> Result<Stop> {
    let stop = Stop::default();
    let asked = stop.clone();
    let handler = move || {
        if asked.is_set() {
            std::process::exit(INTERRUPTED.into());
        }
        asked.stop();
        // Nothing is to be done about a closed standard error.
        let _ = writeln!(std::io::stderr(), "\nstopping after this {unit}; once more, and it ends at once");
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
