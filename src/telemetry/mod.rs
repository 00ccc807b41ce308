//! What the service says of itself: logs, metrics, traces.

pub mod logging;
pub mod metrics;
pub mod panics;
pub mod traces;

pub use metrics::Metrics;

/// The target of the spans of a request: the request itself, and its parts. Whatever the log's filter is, they are
/// there, since every line of a request has to carry its number; and they alone become traces.
pub const REQUEST: &str = "meshgate::request";

/// A span of a request.
macro_rules! span {
    ($name:literal $(, $($field:tt)+)?) => {
        tracing::error_span!(target: $crate::telemetry::REQUEST, $name $(, $($field)+)?)
    };
}
pub(crate) use span;

/// `work` in the span of whoever orders it, for threads that may block: they know nothing of it by themselves.
pub fn in_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}
