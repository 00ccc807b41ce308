//! Requests that are refused before a handler sees them, or cancelled at shutdown.
//!
//! The server refuses some because of their connection. hyper refuses others while parsing them, with a status but no
//! body: this module adds the body that all errors have.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::problem::{Problem, status};
use super::state::Shared;
use crate::conversion;
use crate::domain::ErrorCode;

/// Extension of a request that the server has refused, with the problem to respond with.
#[derive(Debug, Clone)]
pub struct Refused(pub Problem);

/// Time that handlers have to end by themselves after conversions were cancelled at shutdown.
const CANCEL_GRACE: Duration = Duration::from_millis(250);

/// Responds to requests that the server has refused, and to those still unfinished when the service ends.
pub async fn reject_refused(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    if let Some(Refused(problem)) = request.extensions().get() {
        return problem.clone().into_response();
    }
    let service_ends = async {
        gateway.shutdown.cancelling.cancelled().await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = service_ends => gateway.problem(conversion::stopping()).into_response(),
    }
}

/// A complete response in place of hyper's own.
#[derive(Debug, PartialEq, Eq)]
pub struct Completed {
    pub bytes: Vec<u8>,
    pub code: ErrorCode,
    /// The new request ID.
    pub id: String,
}

/// Longest response that hyper generates itself, in bytes.
const MAX_LENGTH: usize = 256;

/// The end of a response's head, and of hyper's own responses, which have no body.
const END: &str = "\r\n\r\n";
const EMPTY: &str = "content-length: 0\r\n";

/// Adds a body to `written` if that is a response of hyper's own: a 4xx head without a body, and without the request ID
/// that all others have. `too_long`: hyper refused the request because it cannot count the length of its body.
pub fn with_body(written: &[u8], too_long: bool) -> Option<Completed> {
    if written.len() > MAX_LENGTH || !written.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?.strip_suffix(END)?;
    let status: u16 = head.get(9..12)?.parse().ok()?;
    let head = format!("{head}\r\n");
    if !head.contains(EMPTY) || head.contains("x-request-id") || head.contains(END) {
        return None;
    }
    let problem = match status {
        400 | 431 if too_long => {
            Problem::new(ErrorCode::TooLarge, "the announced length of the body is too large")
        }
        400 => Problem::malformed("malformed HTTP request"),
        431 => {
            Problem::new(ErrorCode::HeadTooLarge, "the request's address and headers are above their limit")
        }
        // hyper never sends 414: such a long address exceeds the limit of the head first.
        _ => return None,
    };
    let (_, headers) = head.split_once("\r\n")?;
    Some(completed(headers, &problem))
}

/// Returns the response to a client that begins with HTTP/2, where hyper just closes the connection. HTTP/2 clients
/// recognize an HTTP/1.1 response and report it.
pub fn http2() -> Completed {
    completed(EMPTY, &Problem::malformed("HTTP/2 is not supported; use HTTP/1.1"))
}

/// Completes the headers of an empty response with the problem as its body.
fn completed(headers: &str, problem: &Problem) -> Completed {
    let (code, id) = (problem.error.code, Uuid::now_v7().simple().to_string());
    let body = problem.json(Some(&id));
    let close = if headers.contains("connection: close\r\n") { "" } else { "connection: close\r\n" };
    let length = body.len();
    let added = format!(
        "content-length: {length}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\n{close}"
    );
    let headers = headers.replacen(EMPTY, &added, 1);
    let head = format!("HTTP/1.1 {}\r\n{headers}\r\n", status(code));
    Completed { bytes: [head.as_bytes(), &body].concat(), code, id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(response: &[u8]) -> (String, serde_json::Value) {
        let text = std::str::from_utf8(response).unwrap();
        let (head, body) = text.split_once(END).unwrap();
        (format!("{head}\r\n"), serde_json::from_str(body).unwrap())
    }

    #[test]
    fn an_empty_error_response_gets_a_body() {
        for (status, code) in [
            ("400 Bad Request", "malformed_request"),
            ("431 Request Header Fields Too Large", "head_too_large"),
        ] {
            let bare = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\ndate: today\r\n\r\n");
            let Completed { bytes: response, code: found, id } = with_body(bare.as_bytes(), false).unwrap();
            let (head, body) = parts(&response);
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            let length = response.len() - head.len() - 2;
            assert!(head.contains(&format!("\r\ncontent-length: {length}\r\n")), "{head}");
            assert!(
                head.contains("\r\nconnection: close\r\n") && head.contains("\r\ndate: today\r\n"),
                "{head}"
            );
            assert_eq!(body["code"], code);
            assert_eq!(body["status"], status[..3].parse::<u16>().unwrap());
            assert_eq!((found.to_string().as_str(), &body["request_id"]), (code, &id.as_str().into()));
            assert!(head.contains(&id), "{head}");
            assert_eq!(with_body(&response, false), None, "twice");
        }
    }

    #[test]
    fn an_overflowing_content_length_gets_413() {
        for status in ["400 Bad Request", "431 Request Header Fields Too Large"] {
            let bare = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\ndate: today\r\n\r\n");
            let Completed { bytes: response, code, .. } = with_body(bare.as_bytes(), true).unwrap();
            let (head, body) = parts(&response);
            assert!(head.starts_with("HTTP/1.1 413 Payload Too Large\r\ncontent-length: "), "{head}");
            assert!(head.contains("\r\ndate: today\r\n"), "{head}");
            assert_eq!((code, &body["status"]), (ErrorCode::TooLarge, &413.into()));
        }
    }

    #[test]
    fn other_responses_are_unchanged() {
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nmore",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/1.1 4",
            "v 0 0 0\n",
            "",
        ] {
            assert_eq!(with_body(other.as_bytes(), false), None, "{other}");
        }
    }
}
