//! Limits the size of results that are made without Blender.

use crate::domain::{ConversionError, ErrorCode};

/// Largest ratio of a result to the model's files. Base64 takes a third more; beyond that a result grows only where a
/// model refers to the same file repeatedly, which it could do a million times.
const MAX_GROWTH: u64 = 8;

/// Size that a result may have in any case, in bytes.
const GROWTH_FREE: u64 = 64 << 20;

/// The largest size of a result.
#[derive(Debug, Clone, Copy)]
pub struct SizeLimit {
    /// The size of all the model's files, in bytes.
    pub model: u64,
    /// Absolute limit, in bytes.
    pub most: u64,
}

impl SizeLimit {
    /// Checks a result of `bytes` before it is written: its length is computed exactly.
    ///
    /// # Errors
    /// `output_too_large`
    pub fn check(self, bytes: u64) -> Result<(), ConversionError> {
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
