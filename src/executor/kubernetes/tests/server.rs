//! An API server that expects these requests and gives these answers.

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::samples::settings;
use crate::executor::kubernetes::Kubernetes;

/// A request, and the answer to it.
pub struct Exchange {
    pub method: &'static str,
    /// The path begins with this one.
    pub path: String,
    /// A part of the body, which may be empty.
    pub body: &'static str,
    pub answer: Answer,
}

pub enum Answer {
    Json(u16, Value),
    /// Not a Status; with the seconds of `Retry-After`.
    Text(u16, &'static str, u64),
    ConnectionLost,
    Silence,
}

pub const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";

pub fn expect(method: &'static str, path: impl Into<String>, answer: Answer) -> Exchange {
    Exchange { method, path: path.into(), body: "", answer }
}

/// The answer of the API server to what it refuses.
pub fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    Answer::Json(code, status)
}

/// Starts the server. The task ends once nobody can send requests any more, and fails if there were others than these.
pub fn serve(exchanges: Vec<Exchange>) -> (Kubernetes, JoinHandle<()>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let served = tokio::spawn(async move {
        // Dropping one would be an answer.
        let mut silent = Vec::new();
        for Exchange { method, path, body, answer } in exchanges {
            let (request, send) = handle.next_request().await.expect("a request is missing");
            let asked = format!("{} {}", request.method(), request.uri());
            assert!(asked.starts_with(&format!("{method} {path}")), "{asked} instead of {method} {path}");
            let content = request.into_body().collect_bytes().await.unwrap();
            let content = String::from_utf8_lossy(&content).into_owned();
            assert!(content.contains(body), "{asked} has no {body} in {content}");
            let builder = Response::builder();
            match answer {
                Answer::Json(code, value) => {
                    let body = Body::from(value.to_string().into_bytes());
                    send.send_response(builder.status(code).body(body).unwrap());
                }
                Answer::Text(code, text, seconds) => {
                    let builder = builder.status(code).header("Retry-After", seconds);
                    send.send_response(builder.body(Body::from(text.as_bytes().to_vec())).unwrap());
                }
                Answer::ConnectionLost => send.send_error("connection reset"),
                Answer::Silence => silent.push(send),
            }
        }
        if let Some((request, _)) = handle.next_request().await {
            panic!("nobody expects {} {}", request.method(), request.uri());
        }
    });
    (Kubernetes::with_client(Client::new(service, "shop"), settings()), served)
}
