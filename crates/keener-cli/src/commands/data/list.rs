//! `keener data list`: the embedded data, and the formats.

use crate::output::{OutputArgs, print, print_json, print_table};
use anyhow::Result;
use keener_data::Format;
use keener_report::{Column, Table, cells};

/// Arguments of `keener data list`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
///
/// # Errors
/// An output that cannot be written.
pub(crate) fn run(args: Args) -> Result<()> {
    let digits = keener_data::digits();
    if args.output.json {
        let formats = Format::ALL.map(|format| {
            serde_json::json!({ "word": format.word(), "name": format.name(), "written": format.is_written() })
        });
        return print_json(&serde_json::json!({
            "embedded": [{
                "name": digits.name, "rows": digits.rows(), "features": digits.dim,
                "classes": digits.num_classes(), "source": digits.source,
            }],
            "formats": formats,
        }));
    }
    print(&format!(
        "Embedded (used where no file is named):\n  {}: {} rows, {} features, {} classes; {}\n\n",
        digits.name,
        digits.rows(),
        digits.dim,
        digits.num_classes(),
        digits.source
    ))?;
    let mut table =
        Table::new("").column(Column::text("format")).column(Column::text("what")).column(Column::text("written"));
    for format in Format::ALL {
        table.push(cells![format.word(), format.name(), if format.is_written() { "yes" } else { "" }]);
    }
    print_table(&table)?;
    print("\nAny file may be compressed with gzip. `keener data describe FILE` says what is in one.\n")
}
