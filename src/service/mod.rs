//! The conversion path: what every way in (command line, HTTP, jobs) runs.

mod admission;
mod answers;
mod conversion;
mod converter;
mod course;
mod losses;
mod packed;
mod reading;
mod reports;
mod result_files;

pub use admission::Admission;
pub use answers::{Answer, Answers, How, Question, Ready};
pub use conversion::{Outcome, Request};
pub use converter::{Converter, Prepared};
pub use course::{Course, Lane};
pub use packed::Made;
pub use reports::Reports;
pub use result_files::{is_harmless, may_go_beside};

use std::time::Duration;

use crate::domain::{Cancel, ConversionError, ErrorCode};
use crate::telemetry;

/// That a conversion was not over in its time.
fn late(timeout: Duration) -> ConversionError {
    let detail = format!("the conversion took longer than {} s", timeout.as_secs_f64());
    ConversionError::new(ErrorCode::Timeout, detail)
}

/// Runs work on a thread where it may block. The flag that the work is given is set when this future is dropped.
///
/// # Errors
/// What the work says; `internal` when it panicked.
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
