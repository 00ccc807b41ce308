//! Counts every request, gives it a span with its request ID, and logs one line about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::real_ip::Address;
use super::request_id::RequestId;
use crate::domain::{ConversionError, ErrorCode};
use crate::http::convert::response::SERVER_TIMING;
use crate::http::health;
use crate::http::observed_body::{Polled, length, observed};
use crate::http::problem::{Problem, status};
use crate::http::state::{Gateway, Shared};
use crate::metrics::Metrics;
use crate::telemetry::{self, otlp};

/// The `route` label of requests that match no route.
const UNMATCHED: &str = "unmatched";

/// The `method` label of unknown or unreadable methods.
const OTHER: &str = "other";

/// Methods that are labels of their own; clients can invent any number of others.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Longest path in the log, in characters.
const MAX_LOGGED: usize = 200;

pub async fn log(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().map_or("", RequestId::as_str);
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str);
    // Adds the request ID to each log line, and the name of the API key once it is checked.
    let key = tracing::field::Empty;
    let span = if is_probe(route) {
        telemetry::span!(target: telemetry::PROBE, "request", request_id = id, key)
    } else {
        telemetry::span!("request", request_id = id, key)
    };
    otlp::continue_from(&span, request.headers());
    let mut log = RequestLog::new(&request, route, span.clone(), &gateway);
    let received = Arc::clone(&log.received);
    let request = request.map(|body| {
        observed(body, move |polled, _| {
            received.fetch_add(length(polled), Ordering::Relaxed);
        })
    });
    let response = next.run(request).instrument(span).await;
    log.response_began(&response);
    // The log line is written when the body is dropped.
    response.map(|body| observed(body, move |polled, ended| log.body_frame(polled, ended)))
}

fn is_probe(route: &str) -> bool {
    health::PATHS.contains(&route)
}

/// The log line of a request, written on drop: when the response was sent or given up.
struct RequestLog {
    span: Span,
    metrics: Arc<Metrics>,
    /// Cancelled when the service ends: requests without a response get none.
    dropping_responses: CancellationToken,
    began: Instant,
    /// The metric label of the method.
    method_label: &'static str,
    method: Method,
    route: String,
    path: String,
    client: Option<Address>,
    /// Bytes read of the request body.
    received: Arc<AtomicU64>,
    /// The status of the response, once there is one.
    status: Option<StatusCode>,
    error: Option<ConversionError>,
    /// The `Server-Timing` of a conversion.
    timing: Option<HeaderValue>,
    /// The `Content-Length` of the response.
    length: Option<u64>,
    /// Bytes of the response body that were handed to the connection.
    sent: u64,
    /// Whether the whole response was handed to the connection.
    complete: bool,
}

impl RequestLog {
    fn new(request: &Request, route: &str, span: Span, gateway: &Gateway) -> Self {
        let method = request.method();
        let known = METHODS.into_iter().find(|known| *known == method.as_str());
        let log = Self {
            span,
            metrics: Arc::clone(&gateway.metrics),
            dropping_responses: gateway.shutdown.dropping_responses.clone(),
            began: Instant::now(),
            method_label: known.unwrap_or(OTHER),
            method: method.clone(),
            route: route.to_owned(),
            path: request.uri().path().chars().take(MAX_LOGGED).collect(),
            client: request.extensions().get::<Address>().copied(),
            received: Arc::default(),
            status: None,
            error: None,
            timing: None,
            length: None,
            sent: 0,
            complete: false,
        };
        log.span.set_attribute("http.request.method", log.method_label);
        log.span.set_attribute("http.route", log.route.clone());
        log
    }

    /// Counts the response, and notes its status, error, timing and length.
    fn response_began(&mut self, response: &Response) {
        self.error = response.extensions().get::<Problem>().map(|problem| problem.error.clone());
        if self.error.as_ref().is_some_and(|error| error.code == ErrorCode::Overloaded) {
            self.metrics.overloaded();
        }
        self.timing = response.headers().get(SERVER_TIMING).cloned();
        let length = response.headers().get(header::CONTENT_LENGTH);
        self.length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        self.complete = self.method == Method::HEAD || response.body().is_end_stream();
        self.count(self.error.as_ref().map_or(response.status(), |error| status(error.code)));
    }

    /// Counts the bytes of a body frame.
    fn body_frame(&mut self, polled: Polled, ended: bool) {
        self.sent += length(polled);
        match polled {
            Some(Err(error)) => {
                self.span.in_scope(|| tracing::warn!(%error, "failed to read a response body"));
            }
            // hyper stops polling after `Content-Length` bytes, perhaps before `ended`.
            _ => self.complete = ended || self.length == Some(self.sent),
        }
    }

    fn count(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.metrics.request(self.method_label, &self.route, status.as_u16(), self.began.elapsed());
        self.span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if let Some(error) = &self.error {
            self.span.set_attribute("error.type", error.code.to_string());
        }
    }

    fn log(&self, status: StatusCode) {
        let milliseconds = (self.began.elapsed().as_secs_f64() * 1e4).round() / 10.0;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "meshgate::access",
                    method = %self.method,
                    route = self.route,
                    path = self.path,
                    status = status.as_u16(),
                    code = self.error.as_ref().map(|error| tracing::field::display(error.code)),
                    detail = self.error.as_ref().map(|error| error.detail.as_str()),
                    bytes_in = self.received.load(Ordering::Relaxed),
                    bytes_out = self.sent,
                    ms = milliseconds,
                    timing = self.timing.as_ref().and_then(|timing| timing.to_str().ok()),
                    client = self.client.map(|Address(address)| tracing::field::display(address)),
                    cut = (!self.complete).then_some(true),
                    "answered"
                )
            };
        }
        let is_jobs_limit = self.error.as_ref().is_some_and(|error| error.code == ErrorCode::JobsFull);
        match status {
            _ if is_jobs_limit => line!(info),
            // Errors of the server itself.
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::INSUFFICIENT_STORAGE => line!(error),
            _ if is_probe(&self.route) => line!(debug),
            _ => line!(info),
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let status = self.status.unwrap_or_else(|| {
            // There was no response: the client hung up, or the service ended.
            let (code, detail) = if self.dropping_responses.is_cancelled() {
                (ErrorCode::ShuttingDown, "the service has ended")
            } else {
                (ErrorCode::Cancelled, "the client hung up")
            };
            self.error = Some(ConversionError::new(code, detail));
            let status = status(code);
            self.count(status);
            status
        });
        self.span.clone().in_scope(|| self.log(status));
    }
}

/// Counts and logs a request that was refused before it could be parsed.
pub fn refused(metrics: &Metrics, client: SocketAddr, code: ErrorCode, id: Option<&str>) {
    let status = status(code).as_u16();
    metrics.refused(OTHER, UNMATCHED, status);
    telemetry::span!("request", request_id = id).in_scope(|| {
        tracing::info!(
            target: "meshgate::access",
            route = UNMATCHED,
            status,
            code = tracing::field::display(code),
            client = tracing::field::display(client.ip()),
            "refused"
        );
    });
}
