//! The `Prefer` header (RFC 7240): `respond-async` and `wait`. Ignores everything else, as the RFC demands.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

pub const PREFER: HeaderName = HeaderName::from_static("prefer");
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Longest time that a request waits; proxies give up on longer ones.
const MAX_WAIT: u64 = 60;

/// The preferences of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prefer {
    pub respond_async: bool,
    /// Whole seconds.
    pub wait: Option<Duration>,
}

impl Prefer {
    pub fn read(headers: &HeaderMap) -> Self {
        let (mut read, mut has_wait) = (Self::default(), false);
        let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
        for preference in lines.flat_map(|line| split(line, ',')) {
            let named = split(preference, ';').next().unwrap_or_default();
            let (name, value) = named.split_once('=').unwrap_or((named, ""));
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("respond-async") {
                read.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && !has_wait {
                // Only the first instance counts.
                has_wait = true;
                read.wait = seconds(value);
            }
        }
        read
    }
}

/// Reads a number of seconds, quoted or not. A longer wait than the longest one is cut.
fn seconds(value: &str) -> Option<Duration> {
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_number = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
    // Only a number that is too large cannot be parsed.
    is_number.then(|| Duration::from_secs(bare.parse().unwrap_or(MAX_WAIT).min(MAX_WAIT)))
}

/// Splits a text at separators outside of quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match c {
            '"' => quoted = !quoted,
            '\\' => escaped = quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> (bool, Option<u64>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_str(line).unwrap());
        }
        let Prefer { respond_async, wait } = Prefer::read(&headers);
        (respond_async, wait.map(|wait| wait.as_secs()))
    }

    #[test]
    fn preferences_are_read_as_in_the_rfc() {
        for (lines, expected) in [
            (&["respond-async"][..], (true, None)),
            (&["respond-async, wait=10"], (true, Some(10))),
            (&["wait=10", "respond-async"], (true, Some(10))),
            (&["Respond-Async ; x=1 , WAIT = \"7\""], (true, Some(7))),
            (&["respond-async=\"\""], (true, None)),
            (&["wait=5, wait=9"], (false, Some(5))),
            (&["handling=lenient; foo=\"a, wait=3\", return=minimal"], (false, None)),
            (&["a=\"\\\", respond-async\", wait=2"], (false, Some(2))),
            (&["wait=0"], (false, Some(0))),
            (&["wait=60"], (false, Some(60))),
            (&["wait=61"], (false, Some(60))),
            (&["wait=99999999999999999999999"], (false, Some(60))),
        ] {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn nonsense_preferences_are_ignored() {
        for line in [
            "",
            ",",
            ";",
            "=",
            "wait",
            "wait=",
            "wait=-1",
            "wait=1.5",
            "wait=soon",
            "wait=\"1",
            "\"respond-async",
            "\\",
        ] {
            assert_eq!(read(&[line]), (false, None), "{line}");
        }
    }
}
