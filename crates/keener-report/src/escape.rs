//! The one door through which text enters markup.

/// Escapes `text` for element content and for quoted attributes, in HTML and in XML.
///
/// Characters that XML 1.0 forbids (most control characters) are dropped.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Escapes `text` and sets the parts between backticks in `<code>`; an unpaired backtick stays as it is.
pub(crate) fn escape_inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, tail)) = after.split_once('`') else { break };
        out.push_str(&escape(before));
        out.push_str("<code>");
        out.push_str(&escape(code));
        out.push_str("</code>");
        rest = tail;
    }
    out.push_str(&escape(rest));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_and_forbidden_characters_go() {
        assert_eq!(escape("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
        assert_eq!(escape("a\u{0}b\u{1b}[31m\u{ffff}"), "ab[31m");
        assert_eq!(escape("größe 数"), "größe 数");
    }

    #[test]
    fn backticks_make_code_only_in_pairs() {
        assert_eq!(escape_inline("run `a<b` now"), "run <code>a&lt;b</code> now");
        assert_eq!(escape_inline("a ` b"), "a ` b");
        assert_eq!(escape_inline("`x` and ` y"), "<code>x</code> and ` y");
    }
}
