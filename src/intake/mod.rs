//! Accepts models: detects the format from the content, unpacks archives within limits, and resolves every reference
//! inside the model before it is converted.
//!
//! This is blocking code over `std::fs`; a service calls it from a blocking task.

mod archive;
mod bounded_json;
pub mod detect;
mod in_place;
mod model_files;
mod prepare;
mod references;
mod source;
mod unsupported;

pub use detect::{Detected, detect_file, detect_sent};
pub use model_files::MAX_NAME_BYTES;
pub use prepare::{Model, prepare};
pub use source::{FileSource, ModelLimits, NamedFile, Source};
