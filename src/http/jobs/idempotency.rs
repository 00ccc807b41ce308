//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): the header, the reservation of a key while its request
//! is received, and the fingerprint of what the request asks for.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

use super::errors;
use crate::cache::key::Encoder;
use crate::conversion::Upload;
use crate::domain::Client;
use crate::http::problem::Problem;
use crate::jobs::queue::RESERVATION_LIFE;
use crate::jobs::{Idempotency, JobSpec, Jobs, Key, Priority, Reservation};
use crate::storage::Hash;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks the response to a repeated request.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

const MAX_LENGTH: usize = 255;

/// How often a reservation is renewed: two renewals may fail.
const RENEW_EVERY: Duration = Duration::from_secs(RESERVATION_LIFE.as_secs() / 3);

/// Returns the key of a request, if it has one.
///
/// # Errors
/// `malformed_request`
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let key = parse(line.as_bytes()).filter(|_| lines.next().is_none());
    let malformed = || {
        Problem::malformed(
            "Idempotency-Key takes one key of 1 to 255 visible ASCII characters; spaces need quotes",
        )
    };
    key.map(Some).ok_or_else(malformed)
}

/// Parses a key that is bare or a string of RFC 8941.
fn parse(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let (key, is_quoted) = match value.strip_prefix(b"\"") {
        Some(quoted) => (unescape(quoted.strip_suffix(b"\"")?)?, true),
        None => (value.to_vec(), false),
    };
    let may_be_in = |byte: &u8| byte.is_ascii_graphic() || is_quoted && *byte == b' ';
    let is_valid = (1..=MAX_LENGTH).contains(&key.len()) && key.iter().all(may_be_in);
    String::from_utf8(key).ok().filter(|_| is_valid)
}

/// Resolves the escapes between the quotes of a string.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut unescaped = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        unescaped.push(match byte {
            b'\\' => bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?,
            b'"' => return None,
            other => other,
        });
    }
    Some(unescaped)
}

/// Hashes everything that a job depends on. The order of the files is that of the conversion's identity.
pub fn fingerprint(spec: &JobSpec, files: &[Upload]) -> Hash {
    let mut text = Encoder::default();
    text.text(spec.target.name());
    // Equal options have equal JSON, and serialising them cannot fail.
    text.text(&serde_json::to_string(&spec.options).unwrap_or_default());
    text.optional(spec.main.as_deref());
    text.number((spec.priority == Priority::Low).into());
    text.optional(spec.webhook_url.as_ref().map(Url::as_str));
    text.number(files.len() as u64);
    for file in files {
        text.text(&file.name);
        text.hash(file.hash.as_bytes());
        text.number(file.bytes);
    }
    // Left out if there is none, so that keys stay valid from before there was such a choice.
    if let Some(executor) = spec.executor {
        text.text(executor.word());
    }
    text.finish()
}

/// Hashes what a retry depends on: the job with this ID never changes.
pub fn retry_fingerprint(id: Uuid) -> Hash {
    let mut text = Encoder::default();
    text.text(&id.to_string());
    text.finish()
}

/// A reserved key. It is renewed as long as this exists; dropping it releases the key in the background.
pub struct ReservedKey {
    jobs: Jobs,
    key: Key,
    token: Uuid,
    held: bool,
    renewing: AbortOnDropHandle<()>,
}

impl ReservedKey {
    /// Reserves the key of a request to this path, if it has one.
    ///
    /// # Errors
    /// `malformed_request`, `idempotency_key_in_flight`, `jobs_unavailable`.
    pub async fn of_request(
        jobs: &Jobs,
        headers: &HeaderMap,
        client: Client,
        path: &'static str,
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = key(headers)? else { return Ok(None) };
        Self::reserve(jobs.clone(), Key { client, path, key }).await.map(Some)
    }

    async fn reserve(jobs: Jobs, key: Key) -> Result<Self, Problem> {
        let token = Uuid::now_v7();
        let reserved = jobs.queue().reserve(&key, token).await;
        match reserved.map_err(|error| errors::not_queued(&error))? {
            Reservation::Reserved => {}
            Reservation::InFlight => return Err(errors::key_in_flight()),
        }
        let renewing = AbortOnDropHandle::new(tokio::spawn(renew(jobs.clone(), key.clone(), token)));
        Ok(Self { jobs, key, token, held: true, renewing })
    }

    /// The key for the content with this fingerprint.
    pub fn with_content(&self, fingerprint: Hash) -> Idempotency {
        Idempotency { key: self.key.clone(), token: self.token, fingerprint }
    }

    /// Ends the reservation of a request that was handled. A key that a new job has now needs no release.
    pub async fn end(mut self, is_used: bool) {
        if is_used {
            self.held = false;
        } else {
            self.release().await;
        }
    }

    /// Releases the key, so that the client can use it again at once.
    pub async fn release(mut self) {
        self.held = false;
        self.renewing.abort();
        release(&self.jobs, &self.key, self.token).await;
    }
}

impl Drop for ReservedKey {
    fn drop(&mut self) {
        // Without a runtime, the reservation ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        if self.held {
            self.renewing.abort();
            let (jobs, key, token) = (self.jobs.clone(), self.key.clone(), self.token);
            runtime.spawn(async move { release(&jobs, &key, token).await });
        }
    }
}

/// Renews the reservation. If another request has taken it over, submitting the job fails.
async fn renew(jobs: Jobs, key: Key, token: Uuid) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let _ = jobs.queue().reserve(&key, token).await;
    }
}

async fn release(jobs: &Jobs, key: &Key, token: Uuid) {
    if let Err(error) = jobs.queue().release(key, token).await {
        tracing::debug!(%error, "an idempotency key was not released, and stays reserved for a while");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::conversion::UploadContent;
    use crate::domain::{ErrorCode, Format, Options};
    use crate::jobs::ExecutorChoice;

    fn read(lines: &[&str]) -> Result<Option<String>, ErrorCode> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        key(&headers).map_err(|problem| problem.error.code)
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        let longest = "k".repeat(MAX_LENGTH);
        let quoted = format!("\"{longest}\"");
        for (line, key) in [
            ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            (" a ", "a"),
            ("\"a b\"", "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#"a"b"#, r#"a"b"#),
            (longest.as_str(), longest.as_str()),
            (quoted.as_str(), longest.as_str()),
        ] {
            assert_eq!(read(&[line]), Ok(Some(key.to_owned())), "{line}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn other_keys_are_malformed() {
        let long = "k".repeat(MAX_LENGTH + 1);
        let lines = [
            "", "\"", "\"\"", "\"a", "\"a\\\"", "\"a\\b\"", "\"a\"b\"", "a b", "\"a\tb\"", "猫", "a\tb",
            &long,
        ];
        for line in lines {
            assert_eq!(read(&[line]), Err(ErrorCode::MalformedRequest), "{line}");
        }
        assert_eq!(read(&["a", "a"]), Err(ErrorCode::MalformedRequest));
    }

    #[test]
    fn each_part_of_a_request_changes_its_fingerprint() {
        let spec = JobSpec::sample(Client::Local);
        let file = |name: &str, content: &[u8]| Upload {
            name: name.to_owned(),
            bytes: content.len() as u64,
            hash: blake3::hash(content),
            content: UploadContent::Memory { bytes: content.to_vec(), permit: None },
        };
        let files = [file("a.obj", b"1")];
        let first = fingerprint(&spec, &files);
        let same = JobSpec { request_id: "2".to_owned(), ..spec.clone() };
        assert_eq!(first, fingerprint(&same, &files));
        for other in [
            JobSpec { priority: Priority::Low, ..spec.clone() },
            JobSpec { main: Some("a.obj".to_owned()), ..spec.clone() },
            JobSpec { target: Format::Stl, ..spec.clone() },
            JobSpec { options: Options { triangulate: true, ..Options::default() }, ..spec.clone() },
            JobSpec { webhook_url: Some("https://example.com/".parse().unwrap()), ..spec.clone() },
            JobSpec { executor: Some(ExecutorChoice::Local), ..spec.clone() },
            JobSpec { executor: Some(ExecutorChoice::Kubernetes), ..spec.clone() },
        ] {
            assert_ne!(first, fingerprint(&other, &files), "{other:?}");
        }
        for other in [vec![], vec![file("b.obj", b"1")], vec![file("a.obj", b"2")]] {
            assert_ne!(first, fingerprint(&spec, &other), "{other:?}");
        }
    }
}
