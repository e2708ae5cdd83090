//! The one module of this crate with `unsafe`: files as mapped memory.
//!
//! A mapping lets the kernel bring in the pages that a batch touches and take them back when memory is wanted elsewhere.
//! Two things are `unsafe` about it, and both are the caller's to promise, because no type can: that nobody shortens or
//! rewrites the file while it is mapped (a page that is gone is a signal, not an error), and that advice which drops pages is
//! only given for pages that come back unchanged from the file.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::Mmap;

/// The bytes of a file, mapped where the system allows it (an address space limit may not), else read piece by piece.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// In the address space.
    Mapped {
        map: Mmap,
        /// Bytes that reading may have made resident since pages were last given back.
        touched: AtomicUsize,
        /// How many of them are kept at most.
        keep: usize,
    },
    /// Through the file.
    Read(File),
}

/// Pages around a touched one that Linux maps as well when they are in memory.
const AROUND: usize = 64 << 10;

/// From this length on a piece is announced before it is read.
const ANNOUNCE: usize = 256 << 10;

impl Bytes {
    /// Opens a file of which about `keep` bytes may stay resident.
    pub(crate) fn new(file: File, keep: usize) -> Self {
        // SAFETY: the map is read-only and private to this enum; its bytes are only ever copied out as plain numbers, so that
        // a file rewritten under us gives other numbers and not undefined values of a type. A file that is shortened under us
        // ends the process with a signal; the documentation of `open_samples` says that files in use must not be.
        match unsafe { Mmap::map(&file) } {
            Ok(map) => {
                // Batches jump about: without this the kernel reads ahead around every row. Advice may be refused.
                #[cfg(unix)]
                let _ = map.advise(memmap2::Advice::Random);
                Self::Mapped { map, touched: AtomicUsize::new(0), keep }
            }
            Err(_) => Self::Read(file),
        }
    }

    /// Hands `length` bytes at `offset` to `f`; `buffer` is room for them where they are not mapped.
    ///
    /// # Errors
    /// A file that ends before, or that the system cannot read.
    pub(crate) fn with<R>(
        &self,
        offset: u64,
        length: usize,
        buffer: &mut Vec<u8>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> io::Result<R> {
        match self {
            Self::Mapped { map, touched, keep } => {
                let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
                let start = usize::try_from(offset).map_err(|_| ended())?;
                let piece = start.checked_add(length).and_then(|end| map.get(start..end)).ok_or_else(ended)?;
                #[cfg(unix)]
                if length >= ANNOUNCE {
                    let _ = map.advise_range(memmap2::Advice::WillNeed, start, length);
                }
                let result = f(piece);
                let more = length + AROUND;
                if touched.fetch_add(more, Ordering::Relaxed) + more > *keep {
                    touched.store(0, Ordering::Relaxed);
                    give_back(map);
                }
                Ok(result)
            }
            Self::Read(file) => {
                buffer.resize(length, 0);
                read_exact_at(file, buffer, offset)?;
                Ok(f(buffer))
            }
        }
    }

    /// The whole file, where it is mapped.
    pub(crate) fn mapped(&self) -> Option<&[u8]> {
        match self {
            Self::Mapped { map, .. } => Some(map),
            Self::Read(_) => None,
        }
    }
}

/// Gives resident pages back to the system, which still holds them as its cache of the file.
fn give_back(map: &Mmap) {
    #[cfg(unix)]
    {
        // SAFETY: the mapping is of a file and was never written to, so a dropped page is read again from the file with the
        // same bytes; slices that other threads hold stay valid throughout.
        let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
    #[cfg(not(unix))]
    let _ = map;
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn both_ways_give_the_same_bytes_and_know_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let read = Bytes::Read(file.try_clone().unwrap());
        // Keeping nothing gives every page back at once.
        for bytes in [Bytes::new(file.try_clone().unwrap(), 0), Bytes::new(file, 1 << 30), read] {
            let mut buffer = Vec::new();
            for (offset, length) in [(0, 300_000), (299_999, 1), (4095, 2), (300_000, 0)] {
                let same = bytes.with(offset as u64, length, &mut buffer, |b| b == &content[offset..offset + length]);
                assert!(same.unwrap(), "{offset}, {length}");
            }
            for (offset, length) in [(299_999, 2), (u64::MAX, 1), (300_001, 1)] {
                assert!(bytes.with(offset, length, &mut buffer, |_| ()).is_err());
            }
        }
    }
}
