//! The conversion path, shared by the command line and HTTP.

mod admission;
mod artifact;
mod cached;
mod converter;
mod losses;
mod pipeline;
mod reading;
mod recent_reports;
mod record;
mod result_files;
mod service;
mod upload;

pub use admission::Admission;
pub use artifact::Artifact;
pub use cached::{CacheStatus, ResultCache};
pub use converter::Converter;
pub use pipeline::{FinishedConversion, Spec};
pub use record::Record;
pub use result_files::{is_harmless, may_go_beside};
pub use service::{Accepts, Content, Converted, Input, LARGE_RESULT, Request, Response, Service, stopping};
pub use upload::{Upload, UploadContent};

use std::time::Duration;

use crate::domain::{Cancel, ConversionError, ErrorCode};
use crate::telemetry;

/// The error of a conversion that did not end in time.
fn late(timeout: Duration) -> ConversionError {
    let detail = format!("the conversion took longer than {} s", timeout.as_secs_f64());
    ConversionError::new(ErrorCode::Timeout, detail)
}

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
