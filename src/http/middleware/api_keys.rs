//! API keys, compared by digest and in constant time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::{Choice, ConstantTimeEq};

use crate::config::ApiKey;
use crate::domain::ErrorCode;
use crate::http::health;
use crate::http::problem::Problem;
use crate::http::state::Shared;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"meshgate\"");

/// Paths that need no key, besides probes, metrics and the files below `/apidocs/`. All others do, even future ones.
const OPEN: [&str; 2] = ["/openapi.json", "/apidocs"];

/// The name of a request's API key; an extension of the request and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(pub Arc<str>);

/// Rejects requests without a valid key before their body is read, if keys are configured.
pub async fn require_api_key(State(gateway): State<Shared>, mut request: Request, next: Next) -> Response {
    let keys = &gateway.access.api_keys;
    if keys.is_empty() || is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let Some(name) = sent_key(request.headers()).and_then(|key| key_name(keys, key)) else {
        let detail = "an API key is required, as Authorization: Bearer or as X-Api-Key";
        let mut response = Problem::new(ErrorCode::Unauthorized, detail).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        return response;
    };
    tracing::Span::current().record("key", name);
    let name = KeyName(name.into());
    request.extensions_mut().insert(name.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(name);
    response
}

fn is_open(path: &str) -> bool {
    health::PATHS.contains(&path) || OPEN.contains(&path) || path.starts_with("/apidocs/")
}

/// Returns the key that was sent; `Authorization` takes precedence over `X-Api-Key`.
fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get(API_KEY).map(HeaderValue::as_bytes))
}

/// Returns the name of the key that was sent. Compares all keys, so that the time does not depend on which one matches.
fn key_name<'a>(keys: &'a [ApiKey], sent: &[u8]) -> Option<&'a str> {
    let digest = blake3::hash(sent);
    let equal: Vec<Choice> = keys.iter().map(|key| key.digest.ct_eq(digest.as_bytes())).collect();
    keys.iter().zip(equal).find(|(_, equal)| bool::from(*equal)).map(|(key, _)| key.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_api_key_is_read_from_either_header() {
        for (pairs, key) in [
            (&[("authorization", "Bearer abc")][..], Some(&b"abc"[..])),
            (&[("authorization", "bearer  abc ")], Some(b"abc")),
            (&[("x-api-key", "abc")], Some(b"abc")),
            (&[("authorization", "Basic eA=="), ("x-api-key", "abc")], Some(b"abc")),
            (&[("authorization", "Bearer abc"), ("x-api-key", "def")], Some(b"abc")),
            (&[("authorization", "Bear")], None),
            (&[], None),
        ] {
            assert_eq!(sent_key(&headers(pairs)), key, "{pairs:?}");
        }
    }

    #[test]
    fn only_an_exact_key_matches() {
        let key = |name: &str, key: &str| ApiKey {
            name: name.to_owned(),
            digest: *blake3::hash(key.as_bytes()).as_bytes(),
            requests: None,
        };
        let keys = [key("first", "abc"), key("second", "def")];
        assert_eq!(key_name(&keys, b"abc"), Some("first"));
        assert_eq!(key_name(&keys, b"def"), Some("second"));
        for wrong in [&b""[..], b"ab", b"abcd", b"ABC", b"first"] {
            assert_eq!(key_name(&keys, wrong), None);
        }
    }
}
