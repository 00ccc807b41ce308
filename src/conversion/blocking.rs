//! Work on files, which blocks its thread.

use crate::domain::{Cancel, ConversionError, ErrorCode};
use crate::telemetry;

/// Runs work on a blocking thread. Dropping the future sets the flag that the work is given.
///
/// # Errors
/// The error of the work; `internal` if it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Cancel) -> Result<T, ConversionError> + Send + 'static,
) -> Result<T, ConversionError> {
    let cancel = Cancel::default();
    let _guard = cancel.guard();
    let work = telemetry::in_span(move || work(&cancel));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on files ended early");
        Err(ConversionError::new(ErrorCode::Internal, "the conversion ended unexpectedly"))
    })
}
