//! Data for keener: readers for the formats people have, splits, label noise, standardisation, and an embedded set.
//!
//! [`open`] turns a file or a directory into a checked [`Dataset`]; [`open_features`] reads unlabelled rows into a
//! [`Matrix`]. The format is found from the bytes and the name:
//!
//! | format | features | labels |
//! |---|---|---|
//! | `.csv`, `.tsv`, `.txt` | the columns of numbers | the column `label`, `class`, `target` …, else the last |
//! | `.npy` | the array, axes after the first flattened | a second file (`x.labels.npy` beside `x.npy` is found), or a column by index |
//! | `.npz` | `X`, `features`, `data`, `x_train` …; a CSR matrix of SciPy stays sparse | `y`, `labels`, `target`, `y_train` …, or a second file |
//! | `.safetensors` | the tensor `features`, `x`, `embeddings` … | the tensor `labels`, `y` … |
//! | `.parquet`, `.arrow`, `.feather` | columns of numbers and of lists of numbers | the column `label` …, else the last |
//! | `.jsonl` | fields with numbers or lists of numbers | the field `label` …, else the last |
//! | `.svm`, `.svmlight`, `.libsvm` | sparse rows | the first number of each line |
//! | extreme-classification text | sparse rows | several labels a row: read, but no class head trains on them |
//! | IDX (MNIST) | images flattened, bytes scaled to 0..=1 | the file beside it, or a second file |
//! | a folder of PNG or JPEG | pixels scaled to 0..=1 | the name of the folder that an image lies in |
//!
//! [`open_samples`] opens the same files as [`Samples`], whose features are dense, sparse, or stay on disk where they are
//! large for the memory budget; whatever reads them does so through [`RowSource`]. [`mod@describe`] counts what is wrong with a
//! file, [`split`] divides rows and keeps the division in a file.
//!
//! Any file may be compressed with gzip. [`ReadOptions`] chooses columns, arrays, parts and sizes; [`write()`] writes the
//! formats that can hold a data set. Values are taken as they are stored (only pixels are scaled);
//! [`Standardizer`] brings features to one scale. Nothing is allocated on the word of a header, pickles are never read,
//! parsers of other crates see bytes only after their sizes were checked and cannot take the process down, and every
//! error ([`DataError`]) names the file, the place and what was expected.
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

pub mod bags;
mod dataset;
mod digits;
mod error;
mod formats;
mod labels;
mod mapping;
mod open;
mod options;
pub mod private;
mod samples;
mod source;
mod sparse;
mod stored;
mod write;

pub mod describe;
pub mod noise;
pub mod split;
pub mod standardize;
pub mod text;

pub use dataset::{Dataset, Matrix};
pub use digits::digits;
pub use error::DataError;
pub use formats::Format;
#[doc(hidden)]
pub use formats::probe;
pub use open::{open, open_bytes, open_features};
pub use options::{ImageOptions, Part, ReadOptions};
pub use samples::Samples;
pub use samples::open::{UnlabelledRows, open_rows, open_samples, read_column};
pub use source::{RowSource, for_each_block, gather};
pub use sparse::{Csr, Features};
pub use standardize::Standardizer;
pub use write::{Content, RowsRef, write};
