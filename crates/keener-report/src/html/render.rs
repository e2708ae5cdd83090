//! From blocks to markup.

use std::collections::HashSet;

use super::{Block, CalloutKind, Figure, Page, Section};
use crate::escape::{escape, escape_inline};
use crate::plot;

const STYLE: &str = include_str!("style.css");

/// Adds the copy buttons: without a script there are none.
const COPY: &str = "document.querySelectorAll('.code').forEach(c=>{\
if(!navigator.clipboard)return;let b=document.createElement('button');b.textContent='Copy';b.onclick=()=>\
navigator.clipboard.writeText(c.querySelector('code').textContent).then(()=>{b.textContent='Copied';\
setTimeout(()=>b.textContent='Copy',1500)});c.append(b)})";

/// The whole file. The content policy forbids whatever would reach beyond it.
pub(super) fn page(page: &Page) -> String {
    let ids = anchors(&page.sections);
    let language = if page.language.is_empty() { "en" } else { &page.language };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n<title>{}</title>\n<style>\n{}{}\n{}</style>\n</head>\n<body>\n",
        escape(language),
        escape(&page.title),
        plot::variables(":root"),
        plot::rules(),
        STYLE
    );
    let contents = page.sections.len() > 1;
    out.push_str(&format!("<div class=\"page{}\">\n", if contents { " with-toc" } else { "" }));
    out.push_str(&format!("<header><h1>{}</h1>", escape(&page.title)));
    if !page.subtitle.is_empty() {
        out.push_str(&format!("<p class=\"subtitle\">{}</p>", escape_inline(&page.subtitle)));
    }
    out.push_str("</header>\n");
    if contents {
        out.push_str("<nav class=\"toc\" aria-label=\"Contents\"><ol>");
        for (section, id) in page.sections.iter().zip(&ids) {
            out.push_str(&format!("<li><a href=\"#{id}\">{}</a></li>", escape(&section.heading)));
        }
        out.push_str("</ol></nav>\n");
    }
    out.push_str("<main>\n");
    for (section, id) in page.sections.iter().zip(&ids) {
        out.push_str(&format!("<section id=\"{id}\">\n<h2>{}</h2>\n", escape(&section.heading)));
        if !section.intro.is_empty() {
            out.push_str(&format!("<p class=\"intro\">{}</p>\n", escape_inline(&section.intro)));
        }
        for part in &section.blocks {
            block(&mut out, part);
        }
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n");
    if !page.footer.is_empty() {
        out.push_str(&format!("<footer>{}</footer>\n", escape_inline(&page.footer)));
    }
    out.push_str("</div>\n");
    if page.sections.iter().any(|section| section.blocks.iter().any(has_code)) {
        out.push_str(&format!("<script>{COPY}</script>\n"));
    }
    out + "</body>\n</html>\n"
}

fn has_code(block: &Block) -> bool {
    match block {
        Block::Code { .. } => true,
        Block::Details { blocks, .. } => blocks.iter().any(has_code),
        _ => false,
    }
}

fn block(out: &mut String, block_: &Block) {
    match block_ {
        Block::Paragraph(text) => out.push_str(&format!("<p>{}</p>\n", escape_inline(text))),
        Block::Table(table) => out.push_str(&table.to_html()),
        Block::Figure(single) => figure(out, single, 1.15),
        Block::FigureGrid(figures) => {
            out.push_str("<div class=\"grid\">\n");
            figures.iter().for_each(|one| figure(out, one, 1.0));
            out.push_str("</div>\n");
        }
        Block::Code { language, text } => {
            out.push_str("<div class=\"code\">");
            if !language.is_empty() {
                out.push_str(&format!("<span class=\"language\">{}</span>", escape(language)));
            }
            out.push_str(&format!("<pre tabindex=\"0\"><code>{}</code></pre></div>\n", escape(text)));
        }
        Block::KeyValues(pairs) => {
            out.push_str("<dl>");
            for (key, value) in pairs {
                out.push_str(&format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(key), escape(value)));
            }
            out.push_str("</dl>\n");
        }
        Block::Details { summary, blocks } => {
            out.push_str(&format!("<details><summary>{}</summary>\n", escape_inline(summary)));
            blocks.iter().for_each(|inner| block(out, inner));
            out.push_str("</details>\n");
        }
        Block::Callout { kind, text } => {
            let (class, word) = match kind {
                CalloutKind::Note => ("note-box", "Note"),
                CalloutKind::Success => ("good", "Result"),
                CalloutKind::Warning => ("warn", "Caution"),
                CalloutKind::Error => ("bad", "Failed"),
            };
            out.push_str(&format!(
                "<aside class=\"callout {class}\"><b>{word}</b><span>{}</span></aside>\n",
                escape_inline(text)
            ));
        }
    }
}

fn figure(out: &mut String, figure: &Figure, grow: f64) {
    // A picture grows a little beyond its size on wide screens; on narrow ones it shrinks to where its texts can still
    // be read and then scrolls.
    let (most, least) = ((figure.svg.width() * grow).round(), (figure.svg.width() * 0.6).round());
    out.push_str(&format!(
        "<figure style=\"--most:{most}px;--least:{least}px\"><div class=\"plot\">{}</div>",
        figure.svg.inline()
    ));
    if !figure.caption.is_empty() {
        out.push_str(&format!("<figcaption>{}</figcaption>", escape_inline(&figure.caption)));
    }
    out.push_str("</figure>\n");
}

/// An anchor for each section, none twice.
fn anchors(sections: &[Section]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut ids = Vec::new();
    for section in sections {
        let base = slug(section.id.as_deref().unwrap_or(&section.heading));
        let mut id = base.clone();
        let mut copy = 2;
        while !taken.insert(id.clone()) {
            id = format!("{base}-{copy}");
            copy += 1;
        }
        ids.push(id);
    }
    ids
}

/// Lower-case letters and digits, with hyphens between.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "section".to_string() } else { out.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_unique_and_plain() {
        let sections = ["Results", "Results", "A \"b\" <c>", "!!", ""].map(Section::new);
        assert_eq!(anchors(&sections), ["results", "results-2", "a-b-c", "section", "section-2"]);
    }

    #[test]
    fn the_script_is_there_only_for_code() {
        assert!(!Page::new("t").render().contains("<script"));
        let inner = Block::Code { language: String::new(), text: "x".into() };
        assert!(Page::new("t").section(Section::new("s").details("d", [inner])).render().contains("<script>"));
    }

    #[test]
    fn contents_appear_from_two_sections_on() {
        let one = Page::new("t").section(Section::new("a"));
        assert!(!one.render().contains("<nav"));
        assert!(one.section(Section::new("b")).render().contains("<a href=\"#b\">b</a>"));
    }
}
