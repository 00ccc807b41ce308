//! How large a result may be that is made of a model without Blender.

use crate::domain::{ConversionError, ErrorCode};

/// How many times larger than the model's files a result may be. Base64 takes a third more; beyond that a result only
/// grows where a model refers to the same file again and again, and it could do so a million times.
const MAX_GROWTH: u64 = 8;

/// What a result may have in any case, in bytes.
const GROWTH_FREE: u64 = 64 << 20;

/// How large a result may be.
#[derive(Debug, Clone, Copy)]
pub struct SizeLimit {
    /// The size of all the model's files, in bytes.
    pub model: u64,
    /// What no result may have more of, in bytes.
    pub most: u64,
}

impl SizeLimit {
    /// Refuses a result of `bytes` that is too large, or that the model cannot honestly become. What is written has
    /// exactly the length that was reckoned before, so that this is asked once, before anything is written.
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
