//! Text tables, SVG plots and one self-contained HTML page: the parts that a report is made of.
//!
//! The crate knows nothing of what it shows. Three modules, each usable without the others:
//!
//! - [`table`]: one [`Table`] that renders for a terminal, as HTML, CSV and JSON;
//! - [`plot`]: functions from a plain struct of data to an [`Svg`];
//! - [`html`]: a [`Page`] of sections and blocks, written as one file that needs no network.
//!
//! Nothing here fails on data: values that cannot be shown (NaN, infinities, zero on a logarithmic axis) are left out
//! and counted in the plot's description; every text is escaped where it enters markup; and the output refers to
//! nothing outside itself.
//!
//! ```
//! use keener_report::cells;
//! use keener_report::html::{Page, Section};
//! use keener_report::plot::{self, Axis, Lines, Series};
//! use keener_report::table::{Cell, Column, Table, Tone};
//!
//! let board = Table::new("Leader board")
//!     .column(Column::text("objective"))
//!     .column(Column::number("accuracy", 3))
//!     .column(Column::text(""))
//!     .row(cells!["focal", Cell::interval(0.91, 0.90, 0.92), Cell::badge("best", Tone::Good)])
//!     .row(cells!["hinge", Cell::interval(0.84, 0.82, 0.86)]);
//! println!("{}", board.to_text(Some(80), false));
//!
//! let curves = plot::lines(&Lines {
//!     title: "Validation accuracy".into(),
//!     x: Axis::linear("step"),
//!     y: Axis::linear("accuracy"),
//!     series: vec![Series::new("focal", [(0.0, 0.1), (100.0, 0.8), (200.0, 0.91)])],
//!     ..Lines::default()
//! });
//! let page = Page::new("Comparison")
//!     .section(Section::new("Results").table(board).figure(curves, "Mean over the seeds."));
//! assert!(page.render().starts_with("<!doctype html>"));
//! ```

pub mod html;
pub mod markdown;
pub mod plot;
pub mod table;

mod escape;
mod number;

pub use html::{Block, CalloutKind, Page, Section};
pub use plot::Svg;
pub use table::{Cell, Column, Table, Tone};
