//! Data for keener: readers for the formats people have, splits, label noise, standardisation, and an embedded set.
//!
//! [`open`] turns a file or a directory into a checked [`Dataset`]; [`open_features`] reads unlabelled rows into a
//! [`Matrix`]. The format is found from the bytes and the name:
//!
//! | format | features | labels |
//! |---|---|---|
//! | `.npy` | the array, axes after the first flattened | a second file, or a column by index |
//! | `.npz` | `X`, `features`, `data`, `x_train` … | `y`, `labels`, `target`, `y_train` …, or a second file |
//! | `.csv`, `.tsv`, `.txt` | the columns of numbers | the column `label`, `class`, `target` …, else the last |
//! | IDX (MNIST) | images flattened, bytes scaled to 0..=1 | the file beside it, or a second file |
//!
//! Any of them may be compressed with gzip. Values are taken as they are stored (only IDX pixels are scaled);
//! [`Standardizer`] brings features to one scale. Nothing is allocated on the word of a header, pickles are never read,
//! and every error ([`DataError`]) names the file, the place and what was expected.
//!
//! ```
//! use keener_data::{Standardizer, digits, noise, split};
//!
//! let data = digits();
//! let parts = split::stratified(&data.labels, &[0.8, 0.2], 42)?;
//! let (mut train, mut test) = (data.select(&parts[0]), data.select(&parts[1]));
//!
//! let standardizer = Standardizer::fit_dataset(&train)?;
//! standardizer.apply_dataset(&mut train)?;
//! standardizer.apply_dataset(&mut test)?;
//!
//! let noisy = noise::uniform(&train.labels, train.num_classes(), 0.4, 42)?;
//! train.labels = noisy.labels;
//! assert_eq!(train.rows() + test.rows(), 1797);
//! assert_eq!(noisy.flipped.len(), (0.4 * train.rows() as f64).round() as usize);
//! println!("{} rows to train on, fingerprint {}", train.rows(), train.fingerprint());
//! # Ok::<(), keener_data::DataError>(())
//! ```

mod dataset;
mod digits;
mod error;
mod formats;
mod labels;
mod open;
mod options;
mod samples;
mod source;
mod sparse;

pub mod noise;
pub mod split;
pub mod standardize;

pub use dataset::{Dataset, Matrix};
pub use digits::digits;
pub use error::DataError;
pub use formats::Format;
pub use open::{open, open_bytes, open_features};
pub use options::{ImageOptions, Part, ReadOptions};
pub use samples::Samples;
pub use samples::open::{UnlabelledRows, open_rows, open_samples};
pub use source::{RowSource, for_each_block, gather};
pub use sparse::{Csr, Features};
pub use standardize::Standardizer;
