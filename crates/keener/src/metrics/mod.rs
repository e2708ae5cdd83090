//! What to report about a model: numbers computed from predictions, scores and embeddings.
//!
//! Everything works on row-major slices of `f32` or `f64` and accumulates in `f64`. A matrix `[n, c]` is given as its
//! slice and its number of columns; labels are class indices. All functions refuse empty input, shapes that do not
//! agree, labels out of range and non-finite numbers with a typed [`Error`](crate::Error). Work over all pairs is done
//! in panels whose size depends on the data's shape only, so results do not depend on the number of threads.
//!
//! | question | module |
//! |---|---|
//! | how often is the predicted class right, how probable was the true one | [`classification`] |
//! | do the probabilities mean what they say | [`calibration`] |
//! | do the scores put positives before negatives | [`ranking`] |
//! | which error rates does a threshold on scores have | [`roc`] |
//! | do embeddings find others of their class | [`retrieval`] |
//! | do embeddings tell pairs of one class from pairs of two | [`verification`] |
//! | do the classes come out as clusters | [`clustering`] |
//! | what does a classifier without training read from embeddings | [`neighbours`] |
//! | how are embeddings spread | [`embedding`] |
//! | has training stalled for numerical reasons | [`collapse`] |
//! | which negatives receive the gradient of a contrastive objective | [`hardness`] |
//! | how far would a figure move had other rows been drawn | [`bootstrap`] |
//! | is the difference between two methods more than chance | [`resampling`] |
//! | what do embeddings look like | [`projection`] |

pub mod bootstrap;
pub mod calibration;
pub mod classification;
pub mod clustering;
pub mod collapse;
pub mod embedding;
mod gaps;
pub mod hardness;
mod kmeans;
mod ladder;
mod measure;
pub mod neighbours;
mod pairs;
mod panels;
pub mod projection;
pub mod ranking;
mod ranks;
pub mod resampling;
pub mod retrieval;
pub mod roc;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
pub mod verification;

pub use measure::Measure;
pub use panels::Similarity;
