//! The spans of requests and their parts.

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterFn, filter_fn};

/// The target of the spans of a request and its parts. They exist whatever the log's filter is, since every line of a
/// request carries its ID. Only these spans become traces.
pub const REQUEST: &str = "meshgate::request";

/// The target of the spans of probes and scrapes. They give log lines an ID, but do not become traces.
pub const PROBE: &str = "meshgate::probe";

/// A filter that passes only spans with these targets.
pub fn only_spans(targets: &'static [&'static str]) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    // These spans have the level ERROR, so lower levels need not be checked.
    filter_fn(move |about: &Metadata<'_>| about.is_span() && targets.contains(&about.target()))
        .with_max_level_hint(LevelFilter::ERROR)
}

/// Creates a span with the target [`REQUEST`], or with the given one.
macro_rules! span {
    (target: $target:expr, $name:literal $(, $($field:tt)+)?) => {
        tracing::error_span!(target: $target, $name $(, $($field)+)?)
    };
    ($name:literal $(, $($field:tt)+)?) => {
        $crate::telemetry::span!(target: $crate::telemetry::REQUEST, $name $(, $($field)+)?)
    };
}
pub(crate) use span;

/// Wraps `work` so that it runs in the caller's span, for threads that may block: spans do not follow to other threads.
pub fn in_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}
