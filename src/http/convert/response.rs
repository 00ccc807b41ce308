//! The response to a conversion: headers, and the file, a redirect to it, or `304 Not Modified`.

use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::cache;
use crate::conversion::{self, CacheStatus, Content, Converted, LARGE_RESULT};
use crate::domain::Client;
use crate::domain::report::Timings;
use crate::fs::blob::Blob;
use crate::http::headers::{self, items, known_tags};
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::storage::{Hash, Url};

pub const CACHE: HeaderName = HeaderName::from_static("meshgate-cache");
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
pub const LOSSES: HeaderName = HeaderName::from_static("meshgate-losses");

/// The `Cache-Control` of a result: only the client may cache it, and revalidates it with its `ETag`.
pub const KEPT_BY_CLIENT: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Bytes of a large file that are read at a time; a slow client keeps about four such chunks in memory.
const CHUNK: usize = 64 << 10;

/// Whether the client wants a new conversion instead of a stored result.
pub fn wants_fresh(headers: &HeaderMap) -> bool {
    items(headers, header::CACHE_CONTROL).any(|word| word.eq_ignore_ascii_case("no-cache"))
}

/// Returns the hashes of the results that the client has. A `*` names none.
pub fn tags(headers: &HeaderMap) -> Vec<Hash> {
    known_tags(headers).filter_map(|tag| Hash::from_hex(tag).ok()).collect()
}

/// Returns the `ETag` of a result.
pub fn tag(info: &cache::ResultInfo) -> String {
    format!("\"{}\"", info.hash.to_hex())
}

/// Returns the response to a conversion; `receive` is the duration of the upload.
pub async fn respond(
    gateway: &Gateway,
    answer: conversion::Response,
    client: Client,
    receive: Duration,
) -> Response {
    let conversion::Response { cache_status, result } = answer;
    let response = match result {
        Ok(converted) => send(gateway, converted, client, receive).await,
        Err(error) => Err(gateway.problem(error)),
    };
    let mut response = response.into_response();
    set_cache_status(&mut response, cache_status);
    response
}

/// Adds the header of every response to a conversion that was tried, also of an error.
pub fn set_cache_status(response: &mut Response, status: CacheStatus) {
    // Clients need not know why nothing was looked up.
    let status = if status == CacheStatus::Bypass { CacheStatus::Miss } else { status };
    response.headers_mut().insert(CACHE, HeaderValue::from_static(status.word()));
}

async fn send(
    gateway: &Gateway,
    converted: Converted,
    client: Client,
    receive: Duration,
) -> Result<Response, Problem> {
    let timings = converted.timings();
    let Converted { info, content, .. } = converted;
    let mut response = match content {
        Content::Unchanged => StatusCode::NOT_MODIFIED.into_response(),
        Content::Elsewhere(url) => redirect(&url),
        Content::Stored(content) => file(&info, content, ()),
        Content::Made(artifact) => {
            // Unlike a stored result, this one takes extra space until it is sent.
            let held = match info.bytes {
                ..LARGE_RESULT => None,
                bytes => Some(gateway.results.hold(client, info.hash, bytes)?),
            };
            file(&info, artifact.content().await?, (artifact, held))
        }
    };
    describe_conversion(&mut response, &info, &timings, receive);
    Ok(response)
}

/// Adds the headers of a conversion that succeeded; `receive` is the duration of the upload.
pub fn describe_conversion(
    response: &mut Response,
    info: &cache::ResultInfo,
    timings: &Timings,
    receive: Duration,
) {
    describe(response, info, &format!("/v1/reports/{}", info.report));
    headers::set(response.headers_mut(), SERVER_TIMING, &server_timing(timings, receive));
}

/// Adds the headers of every response with a result, or in place of one. `report` is the path of its report.
pub fn describe(response: &mut Response, info: &cache::ResultInfo, report: &str) {
    let is_redirect = response.status() == StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_DISPOSITION, info.content_disposition()),
        (LOSSES, info.losses.to_string()),
        (header::LINK, format!("<{report}>; rel=\"describedby\"")),
        (header::ETAG, tag(info)),
    ] {
        headers::set(headers, name, &value);
    }
    // A redirect's signed URL expires, so it must not be cached.
    if !is_redirect {
        headers.insert(header::CACHE_CONTROL, KEPT_BY_CLIENT);
    }
}

/// Returns a redirect to the file, which the client is to get with `GET`, whatever its request was.
pub fn redirect(url: &Url) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, url.as_str())]).into_response()
}

/// Returns the headers of a body with this many bytes of a result.
pub fn file_headers(info: &cache::ResultInfo, bytes: u64) -> [(HeaderName, String); 2] {
    [(header::CONTENT_TYPE, info.media_type().to_owned()), (header::CONTENT_LENGTH, bytes.to_string())]
}

/// Returns a response with the whole content. The body owns `kept`.
pub fn file(info: &cache::ResultInfo, content: Blob, kept: impl Send + 'static) -> Response {
    let length = content.length();
    (file_headers(info, length), body(content, length, kept)).into_response()
}

/// Returns a body that reads `length` bytes of the content, from the position of its file, as it is sent. The body owns
/// `kept`.
pub fn body(content: Blob, length: u64, kept: impl Send + 'static) -> Body {
    match content {
        Blob::Memory(content) => Body::from(content),
        Blob::File(file, _) => {
            let file = tokio::fs::File::from_std(file).take(length);
            let stream = ReaderStream::with_capacity(file, CHUNK).inspect(move |_| {
                let _kept = &kept;
            });
            Body::from_stream(stream)
        }
    }
}

/// Returns the value of `Server-Timing`, in milliseconds; skipped stages are 0.
fn server_timing(timings: &Timings, receive: Duration) -> String {
    let (queue, check) = (timings.queue_ms.unwrap_or_default(), timings.check_ms.unwrap_or_default());
    // Includes the time before the import and after the export, so that the sum is complete.
    let convert = (timings.total_ms - queue - check).max(0.0);
    let mut text = format!("receive;dur={:.1}", receive.as_secs_f64() * 1000.0);
    for (stage, took) in [("queue", queue), ("convert", convert), ("check", check)] {
        let _ = write!(text, ", {stage};dur={took:.1}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_no_cache_asks_for_a_fresh_result() {
        for (value, fresh) in [
            ("no-cache", true),
            ("max-age=0, No-Cache", true),
            ("no-cache-please", false),
            ("no-store", false),
            ("", false),
        ] {
            assert_eq!(wants_fresh(&headers(header::CACHE_CONTROL, value)), fresh, "{value}");
        }
        assert!(!wants_fresh(&HeaderMap::new()));
    }

    #[test]
    fn if_none_match_lists_the_client_s_results() {
        let hash = blake3::hash(b"a");
        let quoted = format!("\"{}\"", hash.to_hex());
        for (value, has) in [
            (quoted.clone(), true),
            (format!("W/{quoted}"), true),
            (format!("\"x\", {quoted}"), true),
            (hash.to_hex().to_string(), false),
            (format!("\"{}0\"", hash.to_hex()), false),
            ("*".to_owned(), false),
        ] {
            let value = HeaderValue::from_str(&value).unwrap();
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.clone())]);
            assert_eq!(tags(&headers).contains(&hash), has, "{value:?}");
        }
    }

    #[test]
    fn skipped_stages_are_shown_as_zero_time() {
        let timings =
            Timings { queue_ms: Some(1.0), check_ms: Some(0.5), total_ms: 5.0, ..Timings::default() };
        for (timings, expected) in [
            (Timings::default(), "queue;dur=0.0, convert;dur=0.0, check;dur=0.0"),
            (timings, "queue;dur=1.0, convert;dur=3.5, check;dur=0.5"),
        ] {
            let text = server_timing(&timings, Duration::from_millis(1));
            assert_eq!(text, format!("receive;dur=1.0, {expected}"));
        }
    }
}
