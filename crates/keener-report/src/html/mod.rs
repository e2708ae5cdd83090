//! One HTML page in one file: no network, no fonts, no script but the copy buttons of code blocks.
//!
//! The page follows the reader's light or dark scheme, reads on a phone from 320 px on, and prints.
//!
//! ```
//! use keener_report::html::{CalloutKind, Page, Section};
//!
//! let html = Page::new("Comparison")
//!     .subtitle("two objectives, three seeds")
//!     .section(
//!         Section::new("Setup")
//!             .intro("What was run.")
//!             .key_values([("steps", "2000"), ("seeds", "3")])
//!             .code("sh", "keener compare data.csv")
//!             .callout(CalloutKind::Note, "Budgets are steps."),
//!     )
//!     .render();
//! assert!(html.contains("<h2"));
//! ```
//!
//! Texts are plain: everything is escaped. In paragraphs, introductions, captions, callouts and notes, a part between
//! backticks is set as code.

mod render;

use crate::plot::Svg;
use crate::table::Table;

/// A page: a title and sections.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The title.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// The sections, in order.
    pub sections: Vec<Section>,
    /// A line at the end; may be empty.
    pub footer: String,
    /// The language of the texts, as a BCP 47 tag. Default `en`.
    pub language: String,
}

impl Page {
    /// A page without sections.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), language: "en".to_string(), ..Self::default() }
    }

    /// Sets the line below the title.
    pub fn subtitle(mut self, subtitle: impl Into<String>) -> Self {
        self.subtitle = subtitle.into();
        self
    }

    /// Sets the line at the end.
    pub fn footer(mut self, footer: impl Into<String>) -> Self {
        self.footer = footer.into();
        self
    }

    /// Adds a section.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The whole HTML file.
    pub fn render(&self) -> String {
        render::page(self)
    }
}

/// A headed part of a page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// The anchor; by default made from the heading. Made unique within the page.
    pub id: Option<String>,
    /// A paragraph below the heading; may be empty.
    pub intro: String,
    /// The contents, in order.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section without contents.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), ..Self::default() }
    }

    /// Sets the anchor; characters that do not belong into one are replaced.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the paragraph below the heading.
    pub fn intro(mut self, intro: impl Into<String>) -> Self {
        self.intro = intro.into();
        self
    }

    /// Adds any block.
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds a paragraph.
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.block(Block::Paragraph(text.into()))
    }

    /// Adds a table.
    pub fn table(self, table: Table) -> Self {
        self.block(Block::Table(table))
    }

    /// Adds a figure with its caption, which may be empty.
    pub fn figure(self, svg: Svg, caption: impl Into<String>) -> Self {
        self.block(Block::figure(svg, caption))
    }

    /// Adds figures with their captions side by side, as many as the width allows.
    pub fn figures<C: Into<String>>(self, figures: impl IntoIterator<Item = (Svg, C)>) -> Self {
        let figures = figures.into_iter().map(|(svg, caption)| Figure { svg, caption: caption.into() });
        self.block(Block::FigureGrid(figures.collect()))
    }

    /// Adds code with a copy button.
    pub fn code(self, language: impl Into<String>, text: impl Into<String>) -> Self {
        self.block(Block::Code { language: language.into(), text: text.into() })
    }

    /// Adds a list of names and values.
    pub fn key_values<K: Into<String>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        self.block(Block::KeyValues(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect()))
    }

    /// Adds blocks that are folded away under a summary.
    pub fn details(self, summary: impl Into<String>, blocks: impl IntoIterator<Item = Block>) -> Self {
        self.block(Block::Details { summary: summary.into(), blocks: blocks.into_iter().collect() })
    }

    /// Adds a remark that is set off.
    pub fn callout(self, kind: CalloutKind, text: impl Into<String>) -> Self {
        self.block(Block::Callout { kind, text: text.into() })
    }
}

/// A picture with its caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The picture.
    pub svg: Svg,
    /// The caption; may be empty.
    pub caption: String,
}

/// What a section holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Paragraph(String),
    /// A table.
    Table(Table),
    /// A picture with its caption.
    Figure(Figure),
    /// Pictures side by side, as many as the width allows.
    FigureGrid(Vec<Figure>),
    /// Code with a copy button.
    Code {
        /// The language, shown in the corner; may be empty.
        language: String,
        /// The code.
        text: String,
    },
    /// Names with values.
    KeyValues(Vec<(String, String)>),
    /// Blocks that are folded away.
    Details {
        /// What is shown while they are.
        summary: String,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// A remark that is set off.
    Callout {
        /// Its kind.
        kind: CalloutKind,
        /// Its text.
        text: String,
    },
}

impl Block {
    /// A figure with its caption.
    pub fn figure(svg: Svg, caption: impl Into<String>) -> Self {
        Block::Figure(Figure { svg, caption: caption.into() })
    }
}

/// What a callout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CalloutKind {
    /// Something to know.
    #[default]
    Note,
    /// Something that went well; a conclusion.
    Success,
    /// Something to be careful about.
    Warning,
    /// Something that failed.
    Error,
}
