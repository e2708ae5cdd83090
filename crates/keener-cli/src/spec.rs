//! Specifications of objectives on the command line. Any text is taken here, since parameters and sums have no list; the
//! registry's names are what a shell completes.

use clap::builder::{PossibleValue, TypedValueParser};
use keener::objective::registry;
use std::ffi::OsStr;

/// Takes any text; offers the names of the objectives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpecParser;

impl TypedValueParser for SpecParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        clap::builder::StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(registry().iter().map(|entry| PossibleValue::new(entry.name).help(entry.summary))))
    }
}
