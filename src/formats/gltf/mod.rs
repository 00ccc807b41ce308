//! Reads the parts of glTF files that both counting and repacking need: containers, JSON as text, bytes of buffers.

pub mod accessor;
pub mod asset;
mod bounded_list;
pub mod byte_range;
mod errors;
pub mod glb;
pub mod json_scanner;
pub mod json_text;

pub use bounded_list::{MAX_ENTRIES, bounded_list};
pub use errors::{check_version, malformed, unreadable};
