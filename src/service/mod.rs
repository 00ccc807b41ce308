//! The conversion path: what every way in (command line, HTTP, jobs) runs.

mod admission;
mod answers;
mod conversion;
mod converter;
mod course;
mod losses;
mod packed;
mod reports;

pub use admission::Admission;
pub use answers::{Answer, Answers, How, Question, Ready};
pub use conversion::{Outcome, Request};
pub use converter::{Converter, Prepared};
pub use course::{Course, Lane};
pub use packed::Made;
pub use reports::Reports;

use std::time::Duration;

use crate::domain::{ConversionError, ErrorCode};
use crate::telemetry;

/// That a conversion was not over in its time.
fn late(timeout: Duration) -> ConversionError {
    let detail = format!("the conversion took longer than {} s", timeout.as_secs_f64());
    ConversionError::new(ErrorCode::Timeout, detail)
}

/// Runs work on files where it may block.
///
/// # Errors
/// What the work says; `internal` when it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConversionError> + Send + 'static,
) -> Result<T, ConversionError> {
    tokio::task::spawn_blocking(telemetry::in_span(work)).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on files ended early");
        Err(ConversionError::new(ErrorCode::Internal, "the conversion ended unexpectedly"))
    })
}
