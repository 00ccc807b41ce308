//! Errors as clients see them: RFC 9457, with the predecessor's `error` field.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::middleware::request_id::RequestId;
use crate::domain::{ConversionError, ErrorCode};

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error response; [`add_request_id`] adds the request ID to its body.
#[derive(Debug, Clone)]
pub struct Problem {
    pub error: ConversionError,
    /// When it may be worth trying again.
    pub retry_after: Option<Duration>,
}

/// An error, as defined by RFC 9457.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    /// The HTTP status of the response.
    status: u16,
    /// The stable name of the error, for programs.
    code: ErrorCode,
    /// One sentence for people.
    detail: &'a str,
    /// The same as `detail`, for the predecessor's clients.
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        ConversionError::new(code, detail).into()
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::MalformedRequest, detail)
    }

    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Returns the code and the detail that the client sees. A body that ended early counts as a hang-up, but a client
    /// that closed only its write side gets an explanation.
    fn shown(&self) -> (ErrorCode, &str) {
        match self.error.code {
            ErrorCode::Cancelled => (ErrorCode::MalformedRequest, "the body ended before it was complete"),
            code => (code, self.error.detail.as_str()),
        }
    }

    /// Returns the response body.
    pub fn json(&self, request_id: Option<&str>) -> Vec<u8> {
        let (code, detail) = self.shown();
        serde_json::to_vec(&Body::new(code, detail, request_id)).unwrap_or_default()
    }
}

impl<'a> Body<'a> {
    /// The description of an error. `request_id` is the ID of the request that it is the response to.
    pub fn new(code: ErrorCode, detail: &'a str, request_id: Option<&'a str>) -> Self {
        let status = status(code);
        let title = status.canonical_reason().unwrap_or_default();
        let status = status.as_u16();
        Self { kind: "about:blank", title, status, code, detail, error: detail, request_id }
    }
}

impl From<ConversionError> for Problem {
    fn from(error: ConversionError) -> Self {
        Self { error, retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status(self.shown().0);
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], self.json(None)).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs_f64().ceil() as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Returns the HTTP status of a code.
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UnknownOption
        | ErrorCode::InvalidOption
        | ErrorCode::WebhookRefused
        | ErrorCode::UnsupportedOutputFormat
        | ErrorCode::UnsupportedInputFormat
        | ErrorCode::NoFile
        | ErrorCode::NoFileName
        | ErrorCode::NoExtension
        | ErrorCode::NoOutputFormat
        | ErrorCode::MalformedRequest
        | ErrorCode::DigestMismatch => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Expired => StatusCode::GONE,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::IdempotencyKeyInFlight | ErrorCode::JobNotFinished | ErrorCode::WrongJobState => {
            StatusCode::CONFLICT
        }
        ErrorCode::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedTransferCoding => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::UnknownFormat => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::UnsupportedPair
        | ErrorCode::EmptyFile
        | ErrorCode::InvalidArchive
        | ErrorCode::EncryptedArchive
        | ErrorCode::AmbiguousModel
        | ErrorCode::MissingFiles
        | ErrorCode::ImportFailed
        | ErrorCode::EmptyModel
        | ErrorCode::NoAnimation
        | ErrorCode::NotHumanoid
        | ErrorCode::ExportFailed
        | ErrorCode::GeometryLost
        | ErrorCode::MemoryLimit
        | ErrorCode::OutputTooLarge
        | ErrorCode::EngineCrashed
        | ErrorCode::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        // nginx's status of a client that hung up; it is never sent.
        ErrorCode::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        ErrorCode::QueueFull
        | ErrorCode::TooManyConnections
        | ErrorCode::Overloaded
        | ErrorCode::EngineUnavailable
        | ErrorCode::NoCapacity
        | ErrorCode::JobsUnavailable
        | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::RateLimited | ErrorCode::TooManyJobs | ErrorCode::TooManyStreams => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::DiskFull | ErrorCode::JobsFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::OutputExists | ErrorCode::Io | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Adds the request ID to the body of an error response.
pub async fn add_request_id(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions().get::<Problem>() {
        debug_assert_eq!(status(problem.shown().0), response.status());
        let json = problem.json(id.as_ref().map(RequestId::as_str));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = json.into();
    }
    response
}
