//! How much memory the command keeps within: `--memory`, or a share of what the machine has.

use std::ffi::OsString;
use std::sync::OnceLock;
use sysinfo::System;

/// The part of the machine's memory that is taken where nothing is asked for: one in two.
const SHARE: usize = 2;
/// The part of the budget that the engine may hold beyond inputs and gradients: one in four. The rest is for data, weights
/// and their gradients.
const ENGINE_SHARE: usize = 4;

/// What the whole budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A command that reads data and trains.
    Process,
    /// A command that looks at the engine alone: inputs and gradients are what was asked for, and do not count.
    Engine,
}

/// Bytes that this process may use at all: the machine's, or less where its container or its own limit says so.
fn machine() -> usize {
    let mut system = System::new();
    system.refresh_memory();
    let mut least = system.total_memory();
    if let Some(limits) = system.cgroup_limits() {
        least = least.min(limits.total_memory);
    }
    address_space().into_iter().chain([least]).min().unwrap_or(least).try_into().unwrap_or(usize::MAX)
}

/// The limit of the address space (`ulimit -v`), where there is one.
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

static ASKED: OnceLock<usize> = OnceLock::new();

/// `--memory` as it was given, for a command line that goes on with a run under the same schedules.
pub(crate) fn words() -> Vec<OsString> {
    ASKED.get().map_or(Vec::new(), |bytes| vec!["--memory".into(), bytes.to_string().into()])
}

/// Sets the budget of the process, once, before anything is computed.
pub(crate) fn set(asked: Option<usize>, purpose: For) {
    asked.map(|bytes| ASKED.set(bytes));
    let total = asked.unwrap_or_else(|| machine() / SHARE);
    let engine = match (asked, purpose) {
        (Some(asked), For::Engine) => asked,
        (Some(asked), For::Process) => asked / ENGINE_SHARE,
        // More would not make it faster: pages that are touched once cost more than computing again.
        (None, _) => (total / ENGINE_SHARE).min(keener::budget::ENGINE),
    };
    keener::budget::set(total, engine);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory() {
        assert!((64 << 20..1 << 50).contains(&machine()), "{}", machine());
    }
}
