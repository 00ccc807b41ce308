//! Request IDs: the client's if valid, otherwise a new one; in the response, the log and errors.

use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use crate::http::headers;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest valid request ID; a longer one may be an attempt to fill the log.
const MAX_LENGTH: usize = 128;

/// 1 to 128 characters of letters, digits, `-`, `_`, `.`, `:` and `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_request(request: &Request) -> Self {
        let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
        let valid = given.filter(|text| {
            (1..=MAX_LENGTH).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
        });
        Self(valid.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned))
    }
}

/// Adds a request ID to the request and its response.
pub async fn set_request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId::from_request(&request);
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    headers::set(response.headers_mut(), HEADER, id.as_str());
    response.extensions_mut().insert(id);
    response
}
