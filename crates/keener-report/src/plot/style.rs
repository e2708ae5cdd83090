//! The colours and the style rules that all plots share.

/// Number of colours for series and classes.
pub(crate) const COLOURS: usize = 8;

/// Background, ink, muted ink, grid, axis, full heat and the ink on it, then the eight colours of the series.
///
/// The series' colours keep a contrast of 3:1 to the background and stay apart under protanopia, deuteranopia and
/// tritanopia mostly by lightness (the tests measure both).
const LIGHT: [&str; 15] = [
    "#ffffff", "#1b1e23", "#5c636e", "#e7e9ed", "#a3a9b3", "#19589d", "#ffffff", "#19589d", "#f14e04", "#0d8b7f",
    "#da5cb4", "#1e8fe9", "#91864d", "#682fc7", "#2a4150",
];
const DARK: [&str; 15] = [
    "#14171b", "#e6e8eb", "#a0a7b2", "#2a2f36", "#5d6572", "#27619f", "#f1f4f7", "#408fc9", "#ff9300", "#09ce94",
    "#e8a6fb", "#a8eeed", "#ebe368", "#9a69fc", "#99a9c4",
];

const NAMES: [&str; 7] = ["bg", "ink", "muted", "grid", "axis", "heat", "on-heat"];

/// The CSS variables on `selector`: light, and dark where the viewer prefers it and does not print.
pub(crate) fn variables(selector: &str) -> String {
    let list = |values: &[&str; 15]| {
        let mut out = String::new();
        for (i, value) in values.iter().enumerate() {
            match NAMES.get(i) {
                Some(name) => out.push_str(&format!("--kr-{name}:{value};")),
                None => out.push_str(&format!("--kr-{}:{value};", i + 1 - NAMES.len())),
            }
        }
        out
    };
    format!(
        "{selector}{{{}}}@media screen and (prefers-color-scheme:dark){{{selector}{{{}}}}}",
        list(&LIGHT),
        list(&DARK)
    )
}

/// The style rules for the classes that the plots use.
pub(crate) fn rules() -> String {
    let mut out = String::from(RULES);
    for i in 1..=COLOURS {
        out.push_str(&format!(".kr .c{i}{{--c:var(--kr-{i})}}"));
    }
    out
}

// m, e: text in the middle, at the end. sm: small, mu: muted, ti: title, hd: bold.
// ha: text that stays readable over lines.
// g: grid, ax: axis, rf: reference line, ln: line of a series, fi: a fine one, d1…d3: its dash, bd: band, mk: marker, fl: filled,
// ds/dq: points drawn as zero-length strokes with round or square ends, px: points drawn as small shapes,
// br: bar, st: outline of a histogram, gp: gap, wh: whisker, hl: highlighted row, ce: cell, on: text on a dark cell.
const RULES: &str = "svg.kr{background:var(--kr-bg);font:12px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"Liberation Sans\",sans-serif;font-variant-numeric:tabular-nums}\
.kr text{fill:var(--kr-ink)}\
.kr .m{text-anchor:middle}.kr .e{text-anchor:end}\
.kr .sm{font-size:11px}.kr .mu{fill:var(--kr-muted)}.kr .hd{font-weight:600}.kr .ti{font-weight:600;font-size:13px}\
.kr .ha{paint-order:stroke;stroke:var(--kr-bg);stroke-width:5px;stroke-linejoin:round}\
.kr .g{stroke:var(--kr-grid)}.kr .ax{stroke:var(--kr-axis);fill:none}\
.kr .rf{stroke:var(--kr-muted);stroke-dasharray:4 3;fill:none}\
.kr .ln{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.kr .fi{stroke-width:1.2}\
.kr .d1{stroke-dasharray:8 4}.kr .d2{stroke-dasharray:.1 4.5;stroke-width:2.4}.kr .d3{stroke-dasharray:10 4 .1 4}\
.kr .bd{fill:var(--c);opacity:.16}\
.kr .mk{fill:var(--kr-bg);stroke:var(--c);stroke-width:1.7;stroke-linejoin:round}.kr .fl{fill:var(--c)}\
.kr .ds{fill:none;stroke:var(--c);stroke-width:5;stroke-linecap:round;opacity:.72}\
.kr .dq{fill:none;stroke:var(--c);stroke-width:4.6;stroke-linecap:square;opacity:.72}\
.kr .px{fill:none;stroke:var(--c);stroke-width:1.5;opacity:.85}\
.kr .br{fill:var(--c);opacity:.85}\
.kr .hs{fill:var(--c);opacity:.2}.kr .st{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}\
.kr .gp{fill:var(--c);fill-opacity:.2;stroke:var(--c);stroke-dasharray:3 2}\
.kr .wh{stroke:var(--c);stroke-width:2}\
.kr .hl{fill:var(--kr-1);opacity:.09}\
.kr .ce{fill:var(--kr-heat)}.kr text.on{fill:var(--kr-on-heat)}";

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(hex: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let v = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn luminance(hex: &str) -> f64 {
        let [r, g, b] = linear(hex);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// Linear RGB as OKLab (Ottosson 2020), where the Euclidean distance is about the seen difference.
    fn oklab([r, g, b]: [f64; 3]) -> [f64; 3] {
        let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).max(0.0).cbrt();
        let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).max(0.0).cbrt();
        let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).max(0.0).cbrt();
        [
            0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
            1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
            0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
        ]
    }

    /// Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
    const VISION: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ];

    #[test]
    fn colours_stand_out_from_the_background() {
        for theme in [LIGHT, DARK] {
            assert!(contrast(theme[0], theme[1]) >= 12.0);
            assert!(contrast(theme[0], theme[2]) >= 4.5);
            assert!(contrast(theme[5], theme[6]) >= 4.5);
            for colour in &theme[NAMES.len()..] {
                assert!(contrast(theme[0], colour) >= 3.0, "{colour}: {:.2}", contrast(theme[0], colour));
            }
        }
    }

    #[test]
    fn colours_stay_apart_for_every_kind_of_vision() {
        for theme in [LIGHT, DARK] {
            for (kind, matrix) in VISION.iter().enumerate() {
                let seen: Vec<[f64; 3]> = theme[NAMES.len()..]
                    .iter()
                    .map(|hex| {
                        let rgb = linear(hex);
                        oklab(matrix.map(|row| (0..3).map(|i| row[i] * rgb[i]).sum::<f64>().clamp(0.0, 1.0)))
                    })
                    .collect();
                for a in 0..seen.len() {
                    for b in 0..a {
                        let apart = (0..3).map(|i| (seen[a][i] - seen[b][i]).powi(2)).sum::<f64>().sqrt();
                        let least = [0.09, 0.09, 0.09, 0.09, 0.07, 0.07].get(a).copied().unwrap_or(0.055);
                        assert!(
                            apart >= least,
                            "{} and {} under vision {kind}: {apart:.3}",
                            theme[5 + a],
                            theme[5 + b]
                        );
                    }
                }
            }
        }
    }
}
