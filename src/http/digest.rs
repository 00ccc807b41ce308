//! Digests of bodies in headers (RFC 9530): compares those of uploads, and writes those of results.
//!
//! Bodies with a content encoding are refused, so `Content-Digest` and `Repr-Digest` of an upload cover the same bytes.

use aws_lc_rs::digest::{Algorithm, Context, Digest, SHA256, SHA512};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::problem::Problem;
use crate::domain::ErrorCode;

pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

const SHA256_NAME: &str = "sha-256";
const ALGORITHMS: [(&str, &Algorithm); 2] = [(SHA256_NAME, &SHA256), ("sha-512", &SHA512)];

/// The digests that the headers of an upload announce, and those of the bytes so far.
#[derive(Default)]
pub struct Digests(Vec<Announced>);

struct Announced {
    algorithm: &'static str,
    context: Context,
    /// Usually one; a body that does not have all of them is refused.
    expected: Vec<Vec<u8>>,
}

impl Digests {
    /// Reads the SHA-256 and SHA-512 digests in the headers; skips other algorithms.
    ///
    /// # Errors
    /// `malformed_request` if one of them is not the base64 of as many bytes as it should be.
    pub fn announced(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut digests = Vec::new();
        for (name, algorithm) in ALGORITHMS {
            let values = [CONTENT_DIGEST, REPR_DIGEST].map(|header| members(headers, header, name));
            let malformed = || {
                let detail = format!("a digest must be {name}=:BASE64:, with the base64 of its bytes");
                Problem::malformed(detail)
            };
            let decoded =
                values.into_iter().flatten().map(|value| bytes(&value, algorithm).ok_or_else(malformed));
            let expected: Vec<Vec<u8>> = decoded.collect::<Result<_, _>>()?;
            if !expected.is_empty() {
                digests.push(Announced { algorithm: name, context: Context::new(algorithm), expected });
            }
        }
        Ok(Self(digests))
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        for announced in &mut self.0 {
            announced.context.update(bytes);
        }
    }

    /// Compares the digests at the end of the body; afterwards there are none.
    ///
    /// # Errors
    /// `digest_mismatch`
    pub fn compare(&mut self) -> Result<(), Problem> {
        for Announced { algorithm, context, expected } in self.0.drain(..) {
            let found = context.finish();
            let found: &[u8] = found.as_ref();
            if expected.iter().any(|expected| expected != found) {
                let detail = format!("the body does not have the {algorithm} digest of its headers");
                return Err(Problem::new(ErrorCode::DigestMismatch, detail));
            }
        }
        Ok(())
    }
}

/// Whether the client asks for the SHA-256 of a result: with a preference from 1 to 10.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let preferences = members(headers, WANT_REPR_DIGEST, SHA256_NAME);
    preferences.iter().any(|preference| preference.parse().is_ok_and(|preference: u8| preference > 0))
}

/// Returns the value of `Repr-Digest` for a SHA-256.
pub fn repr_digest(sha256: &Digest) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("{SHA256_NAME}=:{}:", STANDARD.encode(sha256))).ok()
}

/// Returns the values of the member `key` of a dictionary (RFC 8941), without parameters. No value of these headers may
/// contain a comma.
fn members(headers: &HeaderMap, name: HeaderName, key: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let mut found = Vec::new();
    for line in lines {
        let members = line.split(',').filter_map(|member| member.trim().split_once('='));
        let values = members.filter(|(name, _)| *name == key).map(|(_, value)| value);
        found.extend(values.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned()));
    }
    found
}

/// Decodes a byte sequence of RFC 8941 that is a digest of this algorithm.
fn bytes(value: &str, algorithm: &Algorithm) -> Option<Vec<u8>> {
    let text = value.strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(text).ok().filter(|bytes| bytes.len() == algorithm.output_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 and SHA-512 of `{"hello": "world"}` and a line break, from RFC 9530.
    const BODY: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHORT: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const LONG: &str =
        "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn upload(lines: &[(HeaderName, &str)], body: &[u8]) -> Option<ErrorCode> {
        let mut digests = match Digests::announced(&headers(lines)) {
            Ok(digests) => digests,
            Err(problem) => return Some(problem.error.code),
        };
        for part in body.chunks(5) {
            digests.update(part);
        }
        digests.compare().err().map(|problem| problem.error.code)
    }

    #[test]
    fn a_body_without_its_announced_digest_is_refused() {
        let both = format!("unknown=:AA==:, {SHORT} , {LONG};parameter=1");
        for name in [CONTENT_DIGEST, REPR_DIGEST] {
            for value in [SHORT, LONG, both.as_str(), "sha=:AA==:", "nonsense"] {
                assert_eq!(upload(&[(name.clone(), value)], BODY), None, "{value}");
            }
            for value in [SHORT, LONG, both.as_str()] {
                let mismatch = Some(ErrorCode::DigestMismatch);
                assert_eq!(
                    upload(&[(name.clone(), value)], b"{\"hello\": \"World\"}\n"),
                    mismatch,
                    "{value}"
                );
            }
        }
        let other = repr_digest(&aws_lc_rs::digest::digest(&SHA256, b"other")).unwrap();
        let other = other.to_str().unwrap();
        let lines = [(CONTENT_DIGEST, SHORT), (CONTENT_DIGEST, other)];
        assert_eq!(upload(&lines, BODY), Some(ErrorCode::DigestMismatch));
        let lines = [(CONTENT_DIGEST, SHORT), (REPR_DIGEST, other)];
        assert_eq!(upload(&lines, BODY), Some(ErrorCode::DigestMismatch));
    }

    #[test]
    fn a_digest_that_cannot_be_one_is_malformed() {
        let short = SHORT.trim_start_matches("sha-256=:").trim_end_matches(':');
        for value in [
            "sha-256=:AA==:".to_owned(),
            format!("sha-256={short}"),
            format!("sha-256=:{short}"),
            format!("sha-512=:{short}:"),
            "sha-256=:!:".to_owned(),
            "sha-256=".to_owned(),
        ] {
            let found = upload(&[(CONTENT_DIGEST, value.as_str())], BODY);
            assert_eq!(found, Some(ErrorCode::MalformedRequest), "{value}");
        }
    }

    #[test]
    fn a_result_has_the_digest_of_its_bytes() {
        let value = repr_digest(&aws_lc_rs::digest::digest(&SHA256, BODY)).unwrap();
        assert_eq!(value, SHORT);
        for (value, wanted) in [
            ("sha-256=10", true),
            ("sha-512=3, sha-256=1", true),
            ("sha-256=0", false),
            ("sha-512=3", false),
            ("sha-256", false),
            ("sha-256=-1", false),
            ("", false),
        ] {
            assert_eq!(is_wanted(&headers(&[(WANT_REPR_DIGEST, value)])), wanted, "{value}");
        }
    }
}
