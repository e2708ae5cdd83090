//! The table as HTML.

use super::{Align, Cell, Column, Table};
use crate::escape::{escape, escape_inline};
use crate::number::typeset;

impl Table {
    /// The table as an HTML fragment: `<div class="table">` with a scrolling container, so that a wide table does not
    /// widen the page. The classes are styled by [`Page`](crate::html::Page).
    pub fn to_html(&self) -> String {
        let mut out = String::from("<div class=\"table\">");
        if !self.title.is_empty() {
            out.push_str(&format!("<p class=\"table-title\">{}</p>", escape(&self.title)));
        }
        if !self.columns.is_empty() {
            let label = if self.title.is_empty() { "Table".to_string() } else { escape(&self.title) };
            // A scrolling region must be reachable by keyboard.
            out.push_str(&format!("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{label}\">"));
            out.push_str("<table><thead><tr>");
            for column in &self.columns {
                out.push_str(&format!("<th scope=\"col\"{}>{}", class(column, ""), escape(&column.title)));
                if let Some(unit) = &column.unit {
                    out.push_str(&format!(" <span class=\"unit\">{}</span>", escape(unit)));
                }
                out.push_str("</th>");
            }
            out.push_str("</tr></thead><tbody>");
            for (r, row) in self.rows.iter().enumerate() {
                out.push_str(if self.is_highlighted(r) { "<tr class=\"best\">" } else { "<tr>" });
                for (c, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                    let content = content(cell, column);
                    if c == 0 {
                        let content = if text_length(cell) > 0 { breakable(&content) } else { content };
                        let long = if text_length(cell) > 14 { " long" } else { "" };
                        out.push_str(&format!("<th scope=\"row\"{}>{}</th>", class(column, long), content));
                    } else {
                        let prose = if text_length(cell) > 32 { " prose" } else { "" };
                        out.push_str(&format!("<td{}>{content}</td>", class(column, prose)));
                    }
                }
                out.push_str("</tr>");
            }
            if self.rows.is_empty() {
                out.push_str(&format!("<tr><td class=\"none\" colspan=\"{}\">no rows</td></tr>", self.columns.len()));
            }
            out.push_str("</tbody></table></div>");
        }
        let remarks = self.remarks();
        if !remarks.is_empty() {
            out.push_str("<p class=\"note\">");
            for (i, (title, remark)) in remarks.iter().enumerate() {
                out.push_str(if i > 0 { "<br>" } else { "" });
                if let Some(title) = title {
                    out.push_str(&format!("<b>{}</b>: ", escape(title)));
                }
                out.push_str(&escape_inline(remark));
            }
            out.push_str("</p>");
        }
        out + "</div>\n"
    }
}

/// The class attribute of a cell: where it stands, and whether its text may wrap.
fn class(column: &Column, more: &str) -> String {
    let align = match column.align {
        Align::Left => "",
        Align::Center => "center",
        Align::Right => "num",
    };
    let both = format!("{align}{more}");
    if both.is_empty() { both } else { format!(" class=\"{}\"", both.trim()) }
}

fn text_length(cell: &Cell) -> usize {
    if let Cell::Text(text) = cell { text.chars().count() } else { 0 }
}

/// Lets an escaped name such as `arcface:margin=0.5,scale=64` break after its punctuation where the column is narrow.
fn breakable(content: &str) -> String {
    content.replace(':', ":<wbr>").replace(',', ",<wbr>").replace('/', "/<wbr>")
}

fn content(cell: &Cell, column: &Column) -> String {
    let plain = cell.plain(column);
    match cell {
        Cell::Missing => "<span class=\"none\" title=\"missing\">–</span>".to_string(),
        Cell::Text(text) => escape(text),
        Cell::Number { .. } => typeset(&plain),
        Cell::Interval { .. } => match plain.split_once(' ') {
            Some((mean, interval)) => format!("{} <span class=\"ci\">{}</span>", typeset(mean), typeset(interval)),
            None => typeset(&plain),
        },
        Cell::Badge { text, tone } => format!("<span class=\"badge {}\">{}</span>", tone.class(), escape(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tone;
    use super::*;

    #[test]
    fn the_fragment_is_well_formed_and_complete() {
        let html = Table::new("Board")
            .column(Column::text("name").note("as given"))
            .column(Column::number("score", 2).unit("%"))
            .column(Column::text(""))
            .row(["a".into(), Cell::interval(-0.5, -1.0, 0.0), Cell::badge("best", Tone::Good)])
            .row(["b".into()])
            .highlight(0)
            .to_html();
        let xml = html.replace("<br>", "<br/>");
        let tree = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(tree.descendants().filter(|n| n.has_tag_name("tr")).count(), 3);
        assert_eq!(tree.descendants().filter(|n| n.attribute("class") == Some("best")).count(), 1);
        assert!(html.contains("−0.50 <span class=\"ci\">[−1.00, 0.00]</span>"), "{html}");
    }
}
