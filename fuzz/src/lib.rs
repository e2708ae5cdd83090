//! What the fuzz targets share.

use keener_data::{Format, probe};

/// Reads an input in the way that its last byte says; the bytes before it are the file.
pub fn read(name: &str, format: Option<Format>, data: &[u8]) {
    if let Some((&way, file)) = data.split_last() {
        probe::read_one_way(name, format, file, usize::from(way));
    }
}
