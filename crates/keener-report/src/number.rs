//! Numbers as people read them.

/// `value` with `digits` decimals; scientific where that would print a long run of digits or a zero that is none.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let digits = digits.min(15);
    if value.abs() >= 1e15 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.digits$}");
    if text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        return text;
    }
    if value != 0.0 && digits > 0 { format!("{value:.1e}") } else { text.trim_start_matches('-').to_string() }
}

/// The shortest text that reads back as `value`, without a decimal point for whole numbers.
pub(crate) fn shortest(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        fixed(value, 0)
    } else if magnitude != 0.0 && !(1e-5..1e15).contains(&magnitude) {
        format!("{value:e}")
    } else {
        // `+ 0.0` turns a negative zero into zero.
        format!("{}", value + 0.0)
    }
}

/// `value` with about four significant digits, for tooltips and labels beside marks.
pub(crate) fn brief(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 || (magnitude >= 1e4 && value.fract() == 0.0 && magnitude < 1e9) {
        return shortest(value);
    }
    if !(1e-4..1e6).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let digits = (3 - magnitude.log10().floor() as i64).clamp(0, 7) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// `count` with a thin space between thousands.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            out.push('\u{2009}');
        }
        out.push(c);
    }
    out
}

/// Replaces the hyphen of a number by a minus sign, for typeset output.
pub(crate) fn typeset(number: &str) -> String {
    number.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_never_shows_a_false_zero_or_a_wall_of_digits() {
        assert_eq!(fixed(0.12345, 3), "0.123");
        assert_eq!(fixed(-0.0, 2), "0.00");
        assert_eq!(fixed(0.00004, 3), "4.0e-5");
        assert_eq!(fixed(-0.2, 0), "0");
        assert_eq!(fixed(1e300, 3), "1.000e300");
        assert_eq!(fixed(f64::NAN, 3), "NaN");
        assert_eq!(fixed(f64::NEG_INFINITY, 3), "-inf");
    }

    #[test]
    fn shortest_reads_back() {
        for value in [0.0, -0.0, 1.0, 0.1, 1e-9, 123456.75, 1e20, -3.5e-7] {
            assert_eq!(shortest(value).parse::<f64>().ok(), Some(value), "{value}");
        }
    }

    #[test]
    fn brief_and_grouped() {
        assert_eq!(brief(0.912345), "0.9123");
        assert_eq!(brief(12.0), "12");
        assert_eq!(brief(20000.0), "20000");
        assert_eq!(brief(0.000012345), "1.23e-5");
        assert_eq!(grouped(1234), "1234");
        assert_eq!(grouped(1234567), "1\u{2009}234\u{2009}567");
    }
}
