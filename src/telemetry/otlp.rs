//! Traces: sends the spans of requests to a collector by OTLP over gRPC. While it is unreachable, spans are lost.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::span::{REQUEST, only_spans};

/// Time limit for sending a batch to the collector.
pub(super) const SEND_WITHIN: Duration = Duration::from_secs(3);

/// Sends spans to `endpoint` in the background: `http://host:4317`, or `https://` with a certificate that the system
/// trusts. Must be called on a runtime.
///
/// # Errors
/// When the endpoint is not a URL.
pub fn provider(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(SEND_WITHIN);
    let exporter = if endpoint.starts_with("https://") {
        exporter.with_tls_config(ClientTlsConfig::new().with_native_roots()).build()?
    } else {
        exporter.build()?
    };
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("meshgate").with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// The layer that turns spans of requests into traces.
pub fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("meshgate"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(only_spans(&[REQUEST]))
}

/// Makes the span part of the trace in the request's `traceparent` header (W3C), if there is one.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let header = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
        set_parent(span, &["traceparent", "tracestate"].into_iter().filter_map(header).collect());
    }
}

/// Returns the `traceparent` of the current span (W3C), to continue its trace elsewhere; `None` when tracing is off.
pub fn trace_parent() -> Option<String> {
    let mut headers: HashMap<String, String> = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut headers);
    headers.remove("traceparent")
}

/// Makes the span a child of the one that [`trace_parent`] described, perhaps in another process.
pub fn continue_trace(span: &Span, trace_parent: &str) {
    set_parent(span, &HashMap::from([("traceparent".to_owned(), trace_parent.to_owned())]));
}

fn set_parent(span: &Span, headers: &HashMap<String, String>) {
    // Fails when tracing is off.
    let _ = span.set_parent(TraceContextPropagator::new().extract(headers));
}
