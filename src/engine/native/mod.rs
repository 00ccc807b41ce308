//! The native lane: files of the glTF family are repacked without Blender, and nothing in them is lost.
//!
//! Buffers are copied, not decoded; the JSON is edited as text where it says where the bytes are, and nowhere else.
//! No buffer is ever held in memory.

mod glb;
pub(crate) mod json;
mod pack;
mod repack;
pub(crate) mod source;
pub(crate) mod stretch;
mod unpack;

use std::io;

pub use repack::{can, glb_to_gltf, repack, repack_alone};
pub use source::Source;

use crate::domain::{ConversionError, ErrorCode};

/// How many times larger than the model's files a result may be. Base64 takes a third more; beyond that a result only
/// grows where a model refers to the same file again and again, and it could do so a million times.
const MAX_GROWTH: u64 = 8;

/// What a result may have in any case, in bytes.
const GROWTH_FREE: u64 = 64 << 20;

/// How large a result may be.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The size of all the model's files, in bytes.
    pub model: u64,
    /// What no result may have more of, in bytes.
    pub most: u64,
}

impl Room {
    /// Refuses a result of `bytes` that is too large, or that the model cannot honestly become. What is written has
    /// exactly the length that was reckoned before, so that this is asked once, before anything is written.
    fn check(self, bytes: u64) -> Result<(), ConversionError> {
        if bytes > self.model.saturating_mul(MAX_GROWTH).saturating_add(GROWTH_FREE) {
            let detail = format!("the result would be more than {MAX_GROWTH} times larger than the model");
            return Err(ConversionError::new(ErrorCode::OutputTooLarge, detail));
        }
        if bytes > self.most {
            return Err(ConversionError::output_too_large(self.most));
        }
        Ok(())
    }
}

/// A model that is not what it should be.
pub(crate) fn malformed(sentence: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::ImportFailed, sentence)
}

/// An error while reading `what` of a model: the file's fault when it ends early or is badly coded.
pub(crate) fn unreadable(what: &str, error: &io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed(format!("the file is truncated within {what}")),
        io::ErrorKind::InvalidData => malformed(format!("{what} of the file is damaged: {error}")),
        _ => ConversionError::io(&format!("read {what} of the file"), error),
    }
}

#[cfg(test)]
mod tests;
