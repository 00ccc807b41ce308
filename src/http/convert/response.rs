//! A conversion's result as an answer: its headers, and the file, or where it is, or that the client has it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body;
use super::describe::Described;
use crate::cache;
use crate::conversion::{How, Ready};
use crate::domain::Client;
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::storage::Hash;

pub const CACHE: HeaderName = HeaderName::from_static("meshgate-cache");

/// From this size on, results count while they are sent, and clients may be sent to the bucket itself. Bytes.
const LARGE: u64 = 1 << 20;

/// Of a result: only its client keeps it, and asks with its `ETag` whether it is still the same.
const KEPT_BY_CLIENT: HeaderValue = HeaderValue::from_static("private, no-cache");

/// How long such an address is good for: a client follows it at once.
const ADDRESS_LIFE: Duration = Duration::from_mins(15);

/// What the request says of caches.
#[derive(Debug, Default)]
pub struct Wanted {
    /// A fresh result, whatever is known.
    pub fresh: bool,
    /// Values of `If-None-Match`: what the client has.
    has: Vec<HeaderValue>,
}

impl Wanted {
    pub fn of(headers: &HeaderMap) -> Self {
        let words = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        let fresh =
            words.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("no-cache"));
        Self { fresh, has: headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect() }
    }

    /// Whether the client has this result. A `*` says nothing of what it has.
    fn has(&self, tag: &str) -> bool {
        let values = self.has.iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|one| {
            let one = one.trim();
            one.strip_prefix("W/").unwrap_or(one) == tag
        })
    }
}

/// The tag of a result: what it holds.
fn tag(hash: &Hash) -> String {
    format!("\"{}\"", hash.to_hex())
}

fn media_type(about: &cache::Result) -> &'static str {
    if about.zip { "application/zip" } else { about.format.info().media_type }
}

/// The answer; `None`: the result was in the store, and is not there any more.
pub async fn answer(
    gateway: &Gateway,
    identity: Option<Hash>,
    wanted: &Wanted,
    ready: Ready,
    client: Client,
    receive: Duration,
) -> Result<Option<Response>, Problem> {
    let about = ready.about().clone();
    let timings = match &ready {
        Ready::Made(made) => Some(made.outcome.report.timings.clone()),
        Ready::Kept(_) => None,
    };
    let described = Described::new(&about, &timings.unwrap_or_default(), &about.file_name(), receive);
    let tag = tag(&about.hash);
    let mut response = if wanted.has(&tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if let Some(elsewhere) = elsewhere(gateway, &ready, &described).await {
        elsewhere
    } else {
        // One in the store takes no more room while it is sent.
        let held = match &ready {
            Ready::Made(_) if about.bytes >= LARGE => {
                Some(gateway.results.hold(client, about.hash, about.bytes)?)
            }
            _ => None,
        };
        let content = match (&ready, identity) {
            (Ready::Made(made), _) => Some(made.content().await?),
            (Ready::Kept(about), Some(identity)) => gateway.answers.open(identity, about).await,
            (Ready::Kept(_), None) => None,
        };
        let Some(content) = content else { return Ok(None) };
        let (length, body) = body::body(content, (ready, held));
        let headers = [
            (header::CONTENT_TYPE, media_type(&about).to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
        ];
        (headers, body).into_response()
    };
    described.put(&mut response, about.report);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    // Where the result is elsewhere, its address is signed and good for a while: that is not to be kept.
    if response.status() != StatusCode::SEE_OTHER {
        response.headers_mut().insert(header::CACHE_CONTROL, KEPT_BY_CLIENT);
    }
    Ok(Some(response))
}

/// Sends the client to the bucket for a large result that is there.
async fn elsewhere(gateway: &Gateway, ready: &Ready, described: &Described) -> Option<Response> {
    let Ready::Kept(about) = ready else { return None };
    if about.bytes < LARGE {
        return None;
    }
    let (hash, disposition) = (&about.hash, described.disposition());
    let url = gateway.storage.presigned(hash, disposition, media_type(about), ADDRESS_LIFE).await.ok()??;
    Some((StatusCode::SEE_OTHER, [(header::LOCATION, url.to_string())]).into_response())
}

/// Says where the answer comes from.
pub fn tell(response: &mut Response, how: How) {
    let word = match how {
        How::Hit => "hit",
        How::Coalesced => "coalesced",
        How::Miss | How::Bypass => "miss",
    };
    response.headers_mut().insert(CACHE, HeaderValue::from_static(word));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(headers: &[(HeaderName, &'static str)]) -> Wanted {
        Wanted::of(
            &headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect(),
        )
    }

    #[test]
    fn a_fresh_result_is_asked_for_by_one_word() {
        for (value, fresh) in [
            ("no-cache", true),
            ("max-age=0, No-Cache", true),
            ("no-cache-please", false),
            ("no-store", false),
            ("", false),
        ] {
            assert_eq!(wanted(&[(header::CACHE_CONTROL, value)]).fresh, fresh, "{value}");
        }
        assert!(!wanted(&[]).fresh);
    }

    #[test]
    fn what_the_client_has_is_told_by_tags() {
        for (value, has) in [
            ("\"ab\"", true),
            ("W/\"ab\"", true),
            ("\"x\", \"ab\"", true),
            ("ab", false),
            ("\"abc\"", false),
            ("*", false),
        ] {
            assert_eq!(wanted(&[(header::IF_NONE_MATCH, value)]).has("\"ab\""), has, "{value}");
        }
    }
}
