//! What is known of files of the glTF family below what counts or repacks them: containers, JSON as text, bytes of buffers.

pub mod asset;
pub mod byte_range;
mod errors;
pub mod glb;
pub mod json_text;

pub use errors::{malformed, unreadable};
