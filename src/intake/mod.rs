//! What comes in: the format is found in the content, archives are unpacked within limits, and every
//! reference of a model is resolved inside the model before an engine sees it.
//!
//! Plain blocking code over `std::fs`; a service calls it from a blocking task.

mod archive;
pub mod detect;
mod files;
mod json;
mod model;
pub mod names;
mod originals;
mod references;
mod seems;
mod source;

pub use detect::{Content, detect_file};
pub use files::MAX_NAMES;
pub use model::{Model, prepare};
pub use source::{Limits, Named, Sent, Source};
