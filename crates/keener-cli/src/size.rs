//! Counts and sizes as people write them: `512MiB`, `2GB`, `64k`, `1M`.

/// Reads a number of bytes; units of 1000 (`kB`, `MB`, `GB`, `TB`) and of 1024 (`KiB`, `MiB`, `GiB`, `TiB`).
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let units = [
        ("", 1.0),
        ("b", 1.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("tib", 1_099_511_627_776.0),
    ];
    read(text, &units, "a size such as 512MiB or 2GB")
}

/// Reads a count ≥ 1; `k` and `M` stand for thousands and millions.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let units = [("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9)];
    let expected = "a whole number from 1, such as 4096, 64k or 1M";
    read(text, &units, expected).and_then(|n| if n == 0 { Err(format!("expected {expected}")) } else { Ok(n) })
}

fn read(text: &str, units: &[(&str, f64)], expected: &str) -> Result<usize, String> {
    let plain = text.trim().replace('_', "").to_lowercase();
    let split = plain.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(plain.len());
    let (number, unit) = plain.split_at(split);
    let factor = units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
    let value = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    // Beyond 2^53 the product is no longer exact, and no machine has it.
    match value {
        Some(value) if value.fract() == 0.0 && value < 9e15 => Ok(value as usize),
        _ => Err(format!("expected {expected}")),
    }
}

/// `276.8 MiB`
pub(crate) fn show(bytes: usize) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1_073_741_824.0 => format!("{:.2} GiB", b / 1_073_741_824.0),
        b if b >= 1_048_576.0 => format!("{:.1} MiB", b / 1_048_576.0),
        b if b >= 1024.0 => format!("{:.1} KiB", b / 1024.0),
        b => format!("{b} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("1.5 gib"), Ok(3 << 29));
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(count("64k"), Ok(64_000));
        assert_eq!(count("1_000_000"), Ok(1_000_000));
        assert_eq!(count("1.5M"), Ok(1_500_000));
        for wrong in ["", "MiB", "-1", "1e9", "512MX", "0.5", "1.2.3", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
            assert!(count(wrong).is_err(), "{wrong}");
        }
        assert!(count("0").is_err());
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(show(512 << 20), "512.0 MiB");
        assert_eq!(show(3 << 29), "1.50 GiB");
        assert_eq!(show(100), "100 B");
    }
}
