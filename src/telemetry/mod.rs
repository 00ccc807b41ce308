//! Logs, traces and panics.

pub mod log_rotation;
pub mod logging;
pub mod otlp;
pub mod panic_hook;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterFn, filter_fn};

/// The target of the spans of a request: the request itself, and its parts. Whatever the log's filter is, they are
/// there, since every line of a request has to carry its number. They alone become traces.
pub const REQUEST: &str = "meshgate::request";

/// The target of the spans of probes and scrapes: for the log they are requests, but nobody looks for a trace of them.
pub const PROBE: &str = "meshgate::probe";

/// Lets the spans of requests through, and nothing else.
fn request_spans() -> FilterFn {
    only(|about| about.is_span() && about.target() == REQUEST)
}

/// The same, with those of probes.
fn numbered_spans() -> FilterFn {
    only(|about| about.is_span() && [REQUEST, PROBE].contains(&about.target()))
}

fn only(wanted: fn(&Metadata<'_>) -> bool) -> FilterFn {
    // They are errors to the levels, and nothing below has to be looked at.
    filter_fn(wanted).with_max_level_hint(LevelFilter::ERROR)
}

/// A span of a request, or with this target.
macro_rules! span {
    (target: $target:expr, $name:literal $(, $($field:tt)+)?) => {
        tracing::error_span!(target: $target, $name $(, $($field)+)?)
    };
    ($name:literal $(, $($field:tt)+)?) => {
        $crate::telemetry::span!(target: $crate::telemetry::REQUEST, $name $(, $($field)+)?)
    };
}
pub(crate) use span;

/// `work` in the span of whoever orders it, for threads that may block: they know nothing of it by themselves.
pub fn in_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}
