//! The embedded data set: handwritten digits.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::dataset::Dataset;

/// The file as bundled; `data/README.md` tells where it comes from.
static FILE: &[u8] = include_bytes!("../data/digits.csv.gz");

const PIXELS: usize = 64;

/// Optical Recognition of Handwritten Digits: 1797 images of 8×8 pixels, 10 classes, features `[1797, 64]` in 0..=1.
///
/// Pixel values are counts 0..=16, here divided by 16. This is the test part of the UCI data set (E. Alpaydin,
/// C. Kaynak, 1998, doi:10.24432/C50P49, CC BY 4.0), as bundled in scikit-learn. The class names are the digits.
///
/// ```
/// let digits = keener_data::digits();
/// assert_eq!((digits.rows(), digits.dim, digits.num_classes()), (1797, 64, 10));
/// ```
pub fn digits() -> Dataset {
    let mut text = String::new();
    GzDecoder::new(FILE).read_to_string(&mut text).expect("the embedded file is checked by a test");
    let mut features = Vec::with_capacity(1797 * PIXELS);
    let mut labels = Vec::with_capacity(1797);
    for line in text.lines() {
        let mut fields =
            line.split(',').map(|field| field.parse::<u8>().expect("the embedded file holds small numbers"));
        features.extend(fields.by_ref().take(PIXELS).map(|pixel| f32::from(pixel) / 16.0));
        labels.extend(fields.map(u32::from));
    }
    let class_names = (0..10).map(|digit| digit.to_string()).collect();
    let feature_names = (0..PIXELS).map(|i| format!("pixel_{}_{}", i / 8, i % 8)).collect();
    Dataset::new("digits", features, PIXELS, labels, class_names)
        .and_then(|data| data.with_feature_names(feature_names))
        .expect("the embedded file is checked by a test")
        .with_source("UCI Optical Recognition of Handwritten Digits (test part), embedded")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the uncompressed text, computed apart from this crate on the file as scikit-learn ships it.
    #[test]
    fn the_file_is_the_one_that_was_bundled() {
        assert_eq!(FILE.len(), 57_523);
        let mut text = Vec::new();
        GzDecoder::new(FILE).read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), 264_712);
        let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(hash, 0x0b6d_b7d4_442b_bc5d);
    }

    #[test]
    fn shape_counts_and_range_are_the_published_ones() {
        let data = digits();
        assert_eq!((data.rows(), data.dim, data.num_classes()), (1797, 64, 10));
        assert_eq!(data.class_counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(data.features.iter().map(|&value| f64::from(value) * 16.0).sum::<f64>(), 561_718.0);
        assert!(data.features.iter().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(data.row(0)[..6], [0.0, 0.0, 5.0 / 16.0, 13.0 / 16.0, 9.0 / 16.0, 1.0 / 16.0]);
        assert_eq!((data.labels[0], data.labels[1796]), (0, 8));
    }
}
