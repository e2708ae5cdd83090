//! Parsers of other crates, kept from harming the process.
//!
//! They get bytes only after their declared sizes were checked, and what still panics in them becomes an error. This is
//! the one place where that happens.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::{DataError, quoted};

thread_local! {
    /// Whether a panic on this thread is caught below and printed by nobody.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a parser; a panic in it is an error about `at` in `file`. `expected` says what a valid file would be.
///
/// # Errors
/// Those of the parser, and [`DataError::Malformed`] instead of a panic.
pub(crate) fn contained<T>(
    file: &str,
    at: &str,
    expected: &str,
    parser: impl FnOnce() -> Result<T, DataError>,
) -> Result<T, DataError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                before(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    // What the parser was building is dropped with the panic: nothing half-made is seen afterwards.
    let answer = catch_unwind(AssertUnwindSafe(parser));
    CONTAINED.set(outer);
    answer.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(DataError::Malformed {
            file: file.into(),
            at: at.into(),
            found: format!("bytes that no reader survives ({})", quoted(text.unwrap_or("no message"))),
            expected: expected.into(),
        })
    })
}

/// How many bytes a file of `len` bytes may become when it is uncompressed or decoded: 256 MiB and 100 times its size.
///
/// Honest tables stay far below; what exceeds it is made to exhaust the memory, or is better uncompressed by hand.
pub(crate) fn allowance(len: u64) -> u64 {
    len.saturating_mul(100).saturating_add(256 << 20)
}

/// Refuses a declared size beyond the [`allowance`] of a file of `len` bytes.
///
/// # Errors
/// [`DataError::TooLarge`].
pub(crate) fn check_allowance(file: &str, at: &str, declared: u64, len: u64) -> Result<(), DataError> {
    let most = allowance(len);
    if declared <= most { Ok(()) } else { Err(too_large(file, at, declared, len, most)) }
}

/// The error for contents beyond `most` bytes in a file of `len` bytes.
pub(crate) fn too_large(file: &str, at: &str, declared: u64, len: u64, most: u64) -> DataError {
    DataError::TooLarge {
        place: file.into(),
        what: format!("{at}: the contents of {len} bytes"),
        bytes: declared,
        expected: format!(
            "at most {most}, 256 MiB and 100 times the file (a file that is honestly so compressed can be rewritten \
             uncompressed)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_errors_pass() {
        let none: &[u8] = &[];
        let error = contained("a.bin", "footer", "a valid file", || Ok(none[4])).unwrap_err().to_string();
        assert!(error.starts_with("a.bin: footer: found bytes that no reader survives (\"index out of"), "{error}");
        assert!(error.ends_with("expected a valid file"), "{error}");
        let nested = contained("a", "b", "c", || {
            let inner: Result<(), _> = contained("inner", "b", "c", || panic!("no {}", "more"));
            assert!(inner.unwrap_err().to_string().contains("no more"));
            Err::<(), _>(DataError::Empty { place: "a".into(), what: "rows".into() })
        });
        assert_eq!(nested.unwrap_err().to_string(), "a: found no rows, expected at least one");
        assert!(!CONTAINED.get());
    }

    #[test]
    fn sizes_are_bounded_by_the_file() {
        assert!(check_allowance("f", "page", 1 << 28, 10).is_ok());
        assert!(check_allowance("f", "page", 1 << 29, 10).unwrap_err().to_string().contains("536870912 bytes"));
        assert!(check_allowance("f", "page", u64::MAX, u64::MAX / 2).is_ok());
    }
}
