//! A look at Parquet's Thrift structures before the parser sees them: sizes within the bytes, depth within bounds.

/// Deeper structures than any schema has.
const MAX_DEPTH: usize = 48;

/// What a page says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Page {
    /// Bytes of the header itself.
    pub(super) header: usize,
    /// Bytes of the page in the file.
    pub(super) compressed: i64,
    /// Bytes after it is uncompressed.
    pub(super) uncompressed: i64,
    /// Values of a data page.
    pub(super) values: i64,
    /// Entries of a dictionary page.
    pub(super) entries: i64,
}

/// Reads the header of a page; `None` when it is broken or does not end within `bytes`.
pub(super) fn page(bytes: &[u8]) -> Option<Page> {
    let mut page = Page::default();
    let mut reader = Compact { bytes, at: 0 };
    reader.structure(0, &mut |id, kind, reader| {
        let number = |reader: &mut Compact<'_>| if matches!(kind, 4..=6) { reader.zigzag() } else { None };
        match id {
            2 => page.uncompressed = number(reader)?,
            3 => page.compressed = number(reader)?,
            5 | 7 | 8 if kind == STRUCT => reader.structure(1, &mut |inner, kind, reader| {
                if inner == 1 && matches!(kind, 4..=6) {
                    let count = reader.zigzag()?;
                    if id == 7 {
                        page.entries = count
                    } else {
                        page.values = count
                    }
                    Some(())
                } else {
                    reader.skip(kind, 2)
                }
            })?,
            _ => reader.skip(kind, 1)?,
        }
        Some(())
    })?;
    page.header = reader.at;
    Some(page)
}

/// Checks that a footer is a structure of sane depth whose sizes fit, and that its schema is no deeper; says what is
/// wrong.
pub(super) fn check_footer(bytes: &[u8]) -> Result<(), &'static str> {
    let mut children: Vec<i64> = Vec::new();
    let mut reader = Compact { bytes, at: 0 };
    let read = reader.structure(0, &mut |id, kind, reader| {
        if id != 2 || kind != LIST {
            return reader.skip(kind, 1);
        }
        let (count, kind) = reader.list()?;
        for _ in 0..count {
            if kind != STRUCT {
                reader.skip(kind, 2)?;
                continue;
            }
            let mut own = 0;
            reader.structure(2, &mut |id, kind, reader| {
                if id == 5 && matches!(kind, 4..=6) {
                    own = reader.zigzag()?;
                    Some(())
                } else {
                    reader.skip(kind, 3)
                }
            })?;
            children.push(own);
        }
        Some(())
    });
    read.ok_or("a structure that is broken, too deep, or longer than its bytes")?;
    let mut open: Vec<i64> = Vec::new();
    for own in children {
        if let Some(last) = open.last_mut() {
            *last -= 1;
        }
        if own > 0 {
            open.push(own);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > MAX_DEPTH {
            return Err("a schema that is too deep");
        }
    }
    Ok(())
}

const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// The compact protocol.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn advance(&mut self, count: u64) -> Option<()> {
        let left = self.bytes.len().checked_sub(self.at)? as u64;
        self.at += usize::try_from(count).ok().filter(|_| count <= left)?;
        Some(())
    }

    /// Number and kind of the elements of a list; each takes at least a byte.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        let left = self.bytes.len().checked_sub(self.at)? as u64;
        (count <= left).then_some((count, head & 15))
    }

    /// Walks over the fields of a structure; `field` consumes each value.
    fn structure(&mut self, depth: usize, field: &mut dyn FnMut(i64, u8, &mut Self) -> Option<()>) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = if head >> 4 == 0 { self.zigzag()? } else { id.checked_add(i64::from(head >> 4))? };
            field(id, head & 15, self)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.advance(8),
            8 => {
                let length = self.varint()?;
                self.advance(length)
            }
            LIST | 10 => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    // A boolean in a list takes a byte, one in a field none.
                    if matches!(kind, 1 | 2) { self.advance(1)? } else { self.skip(kind, depth + 1)? }
                }
                Some(())
            }
            11 => {
                let count = self.varint()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                if count > self.bytes.len().checked_sub(self.at)? as u64 {
                    return None;
                }
                for _ in 0..count {
                    self.skip(kinds >> 4, depth + 1)?;
                    self.skip(kinds & 15, depth + 1)?;
                }
                Some(())
            }
            STRUCT => self.structure(depth + 1, &mut |_, kind, reader| reader.skip(kind, depth + 1)),
            13 => self.advance(16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_its_sizes() {
        // type 0, uncompressed 100, compressed 50, data_page_header { num_values 10, encoding 0 }.
        let bytes = [0x15, 0, 0x15, 0xc8, 1, 0x15, 100, 0x2c, 0x15, 20, 0x15, 0, 0, 0, 9, 9];
        let page = page(&bytes).unwrap();
        assert_eq!((page.uncompressed, page.compressed, page.values, page.header), (100, 50, 10, 14));
        for end in 0..14 {
            assert!(super::page(&bytes[..end]).is_none());
        }
    }

    #[test]
    fn lists_and_depth_are_bounded() {
        // A list of 2^28 structures in two bytes, and structures in structures.
        assert!(check_footer(&[0x19, 0xfc, 0x80, 0x80, 0x80, 0x80, 1, 0]).is_err());
        assert!(check_footer(&[0x1c; 4000]).is_err());
        assert!(check_footer(&[0x15, 2, 0]).is_ok());
        // A schema: a hundred elements, each with one child.
        let mut deep = vec![0x29, 0xfc, 100];
        (0..100).for_each(|_| deep.extend([0x55, 2, 0]));
        deep.push(0);
        assert_eq!(check_footer(&deep), Err("a schema that is too deep"));
    }
}
