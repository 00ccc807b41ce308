//! The time limit of a conversion.

use std::time::Duration;

use futures_util::FutureExt;

use crate::domain::{ConversionError, ErrorCode};

/// The engine enforces the timeout itself, and answers when its child is dead. A conversion that has not ended this
/// much later is cancelled.
pub(super) const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// The error of a conversion that did not end in time.
pub fn late(timeout: Duration) -> ConversionError {
    let detail = format!("the conversion took longer than {} s", timeout.as_secs_f64());
    ConversionError::new(ErrorCode::Timeout, detail)
}

/// Cancels the work when the time is over.
pub(super) fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, ConversionError>>,
) -> impl Future<Output = Result<T, ConversionError>> {
    let limited = tokio::time::timeout(timeout.saturating_add(KILLED_WITHIN), work);
    limited.map(move |ended| match ended {
        // The engine's error names only the time that it was given.
        Ok(Err(error)) if error.code == ErrorCode::Timeout => Err(late(timeout)),
        Ok(result) => result,
        Err(_) => Err(late(timeout)),
    })
}
