//! Requests that are refused before a handler sees them, or given up by it.
//!
//! Some the server refuses for what it knows of their connection. Others hyper refuses by itself, before there is
//! anything that could be answered: it sends a status and no body. Here such an answer gets the body that all errors
//! have.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::problem::Problem;
use super::state::Shared;
use crate::conversion;
use crate::domain::ErrorCode;
use crate::shutdown::Shutdown;

/// In a request's extensions: the server has refused it, for this.
#[derive(Debug, Clone)]
pub struct Refused(pub Problem);

/// How long handlers have to end by themselves when the service gives up what still runs.
const GIVE_UP: Duration = Duration::from_millis(250);

/// Answers what the server has refused, and what still waits for something when the service ends.
pub async fn refuse(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    if let Some(Refused(problem)) = request.extensions().get() {
        return problem.clone().into_response();
    }
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = given_up(&gateway.shutdown) => gateway.problem(conversion::stopping()).into_response(),
    }
}

async fn given_up(shutdown: &Shutdown) {
    shutdown.killed.cancelled().await;
    tokio::time::sleep(GIVE_UP).await;
}

/// An answer of hyper's own with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Completed {
    pub bytes: Vec<u8>,
    pub code: ErrorCode,
    /// The number that the request got.
    pub id: String,
}

/// Longer is no answer that hyper makes by itself.
const LONGEST: usize = 256;

/// What ends hyper's own answers' heads, and with them the answers.
const END: &str = "\r\n\r\n";
const EMPTY: &str = "content-length: 0\r\n";

/// The answer with a body, if `written` is one that hyper made by itself: a head of the class 4xx without a body, and
/// without the number that all of ours have. `too_long`: the request announced a body longer than can be counted, which
/// is what the answer is about.
pub fn with_body(written: &[u8], too_long: bool) -> Option<Completed> {
    if written.len() > LONGEST || !written.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?.strip_suffix(END)?;
    let status: u16 = head.get(9..12)?.parse().ok()?;
    let head = format!("{head}\r\n");
    if !head.contains(EMPTY) || head.contains("x-request-id") || head.contains(END) {
        return None;
    }
    if too_long && matches!(status, 400 | 431) {
        let problem = Problem::new(ErrorCode::TooLarge, "the body is announced as longer than any may be");
        let (_, headers) = head.split_once("\r\n")?;
        return Some(completed(&format!("HTTP/1.1 413 Payload Too Large\r\n{headers}"), &problem));
    }
    let problem = match status {
        400 => Problem::new(ErrorCode::MalformedRequest, "the request is not as HTTP asks for"),
        431 => {
            Problem::new(ErrorCode::HeadTooLarge, "the request's address and headers are above their limit")
        }
        // An address too long for 414 is above the limit of the whole head first.
        _ => return None,
    };
    Some(completed(&head, &problem))
}

/// The answer to whoever begins with HTTP/2: hyper closes the connection without a word. Clients of HTTP/2 know an
/// answer of HTTP/1.1 when they see one, and say so.
pub fn http2() -> Completed {
    let problem =
        Problem::new(ErrorCode::MalformedRequest, "this is HTTP/2, and only HTTP/1.1 is spoken here");
    completed(&format!("HTTP/1.1 400 Bad Request\r\n{EMPTY}"), &problem)
}

/// An empty answer's head with the problem as its body.
fn completed(head: &str, problem: &Problem) -> Completed {
    let id = Uuid::now_v7().simple().to_string();
    let body = problem.json(Some(&id));
    let close = if head.contains("connection: close\r\n") { "" } else { "connection: close\r\n" };
    let length = body.len();
    let headers = format!(
        "content-length: {length}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\n{close}"
    );
    let mut answer = head.replacen(EMPTY, &headers, 1).into_bytes();
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    Completed { bytes: answer, code: problem.error.code, id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(answer: &[u8]) -> (String, serde_json::Value) {
        let text = std::str::from_utf8(answer).unwrap();
        let (head, body) = text.split_once(END).unwrap();
        (format!("{head}\r\n"), serde_json::from_str(body).unwrap())
    }

    #[test]
    fn an_empty_answer_gets_its_body() {
        for (status, code) in [
            ("400 Bad Request", "malformed_request"),
            ("431 Request Header Fields Too Large", "head_too_large"),
        ] {
            let bare = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\ndate: today\r\n\r\n");
            let Completed { bytes: answer, code: said, id } = with_body(bare.as_bytes(), false).unwrap();
            let (head, body) = parts(&answer);
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            let length = answer.len() - head.len() - 2;
            assert!(head.contains(&format!("\r\ncontent-length: {length}\r\n")), "{head}");
            assert!(
                head.contains("\r\nconnection: close\r\n") && head.contains("\r\ndate: today\r\n"),
                "{head}"
            );
            assert_eq!(body["code"], code);
            assert_eq!(body["status"], status[..3].parse::<u16>().unwrap());
            assert_eq!((said.to_string().as_str(), &body["request_id"]), (code, &id.as_str().into()));
            assert!(head.contains(&id), "{head}");
            assert_eq!(with_body(&answer, false), None, "twice");
        }
    }

    #[test]
    fn a_body_that_is_too_long_to_count_is_too_large() {
        for status in ["400 Bad Request", "431 Request Header Fields Too Large"] {
            let bare = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\ndate: today\r\n\r\n");
            let Completed { bytes: answer, code, .. } = with_body(bare.as_bytes(), true).unwrap();
            let (head, body) = parts(&answer);
            assert!(head.starts_with("HTTP/1.1 413 Payload Too Large\r\ncontent-length: "), "{head}");
            assert!(head.contains("\r\ndate: today\r\n"), "{head}");
            assert_eq!((code, &body["status"]), (ErrorCode::TooLarge, &413.into()));
        }
    }

    #[test]
    fn everything_else_stays() {
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
