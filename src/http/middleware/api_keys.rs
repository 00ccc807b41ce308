//! API keys: compared by digest, in a time that does not depend on what was sent.

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

/// What needs no key, besides probes and figures, and the page below `/apidocs/`. Everything else does, addresses that
/// come later included.
const OPEN: [&str; 2] = ["/openapi.json", "/apidocs"];

/// Whose key came with the request, for the log; in the extensions of the request and of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(pub Arc<str>);

/// Lets requests through that have a key, where keys are asked for; the others are answered before their body is read.
pub async fn check(State(gateway): State<Shared>, mut request: Request, next: Next) -> Response {
    let keys = &gateway.settings.access.api_keys;
    if keys.is_empty() || is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let Some(name) = sent(request.headers()).and_then(|key| owner(keys, key)) else {
        let detail = "this needs an API key, as Authorization: Bearer or as X-Api-Key";
        let mut answer = Problem::new(ErrorCode::Unauthorized, detail).into_response();
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        return answer;
    };
    tracing::Span::current().record("key", name);
    let name = KeyName(name.into());
    request.extensions_mut().insert(name.clone());
    let mut answer = next.run(request).await;
    answer.extensions_mut().insert(name);
    answer
}

fn is_open(path: &str) -> bool {
    health::PATHS.contains(&path) || OPEN.contains(&path) || path.starts_with("/apidocs/")
}

/// The key as it was sent; `Authorization` comes first where both are there.
fn sent(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get(API_KEY).map(HeaderValue::as_bytes))
}

/// All keys are looked at, whichever fits.
fn owner<'a>(keys: &'a [ApiKey], sent: &[u8]) -> Option<&'a str> {
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
    fn keys_come_in_either_header() {
        for (pairs, key) in [
            (&[("authorization", "Bearer abc")][..], Some(&b"abc"[..])),
            (&[("authorization", "bearer  abc ")], Some(b"abc")),
            (&[("x-api-key", "abc")], Some(b"abc")),
            (&[("authorization", "Basic eA=="), ("x-api-key", "abc")], Some(b"abc")),
            (&[("authorization", "Bearer abc"), ("x-api-key", "def")], Some(b"abc")),
            (&[("authorization", "Bear")], None),
            (&[], None),
        ] {
            assert_eq!(sent(&headers(pairs)), key, "{pairs:?}");
        }
    }

    #[test]
    fn only_the_key_itself_is_its_owner_s() {
        let key = |name: &str, key: &str| ApiKey {
            name: name.to_owned(),
            digest: *blake3::hash(key.as_bytes()).as_bytes(),
            requests: None,
        };
        let keys = [key("first", "abc"), key("second", "def")];
        assert_eq!(owner(&keys, b"abc"), Some("first"));
        assert_eq!(owner(&keys, b"def"), Some("second"));
        for wrong in [&b""[..], b"ab", b"abcd", b"ABC", b"first"] {
            assert_eq!(owner(&keys, wrong), None);
        }
    }
}
