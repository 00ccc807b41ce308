//! The time limit of a conversion.

use std::time::Duration;

use crate::domain::{ConversionError, ErrorCode};

/// The error of a conversion that did not end in time.
pub fn late(timeout: Duration) -> ConversionError {
    let detail = format!("the conversion took longer than {} s", timeout.as_secs_f64());
    ConversionError::new(ErrorCode::Timeout, detail)
}
