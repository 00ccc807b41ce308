//! What the headers of a result say of it.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

use crate::cache;
use crate::domain::report::Timings;

const LOSSES: HeaderName = HeaderName::from_static("meshgate-losses");
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What RFC 8187 lets stand: `attr-char`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

pub struct Described {
    losses: u32,
    disposition: String,
    timing: String,
}

impl Described {
    /// `timings` are of a conversion that was carried out for this answer.
    pub fn new(about: &cache::Result, timings: &Timings, name: &str, receive: Duration) -> Self {
        let (queue, check) = (timings.queue_ms.unwrap_or_default(), timings.check_ms.unwrap_or_default());
        // With all that goes before the import and after the export, so that nothing is missing from the sum.
        let convert = (timings.total_ms - queue - check).max(0.0);
        let mut timing = format!("receive;dur={:.1}", receive.as_secs_f64() * 1000.0);
        for (what, took) in [("queue", queue), ("convert", convert), ("check", check)] {
            let _ = write!(timing, ", {what};dur={took:.1}");
        }
        Self { losses: about.losses, disposition: disposition(name), timing }
    }

    /// What the client may call the file, as a header's value.
    pub fn disposition(&self) -> &str {
        &self.disposition
    }

    pub fn put(&self, response: &mut Response, report: Uuid) {
        let headers = response.headers_mut();
        let mut put = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(header::CONTENT_DISPOSITION, &self.disposition);
        put(SERVER_TIMING, &self.timing);
        put(LOSSES, &self.losses.to_string());
        put(header::LINK, &format!("</v1/reports/{report}>; rel=\"describedby\""));
    }
}

/// RFC 6266: a name in plain letters for old clients, and the name itself for all others.
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ENCODED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_done_took_no_time() {
        let timings =
            Timings { queue_ms: Some(1.0), check_ms: Some(0.5), total_ms: 5.0, ..Timings::default() };
        for (timings, expected) in [
            (Timings::default(), "queue;dur=0.0, convert;dur=0.0, check;dur=0.0"),
            (timings, "queue;dur=1.0, convert;dur=3.5, check;dur=0.5"),
        ] {
            let about = cache::Result {
                hash: blake3::hash(b""),
                bytes: 0,
                format: crate::domain::Format::Glb,
                main: None,
                zip: false,
                stem: "a".into(),
                report: Uuid::nil(),
                losses: 0,
            };
            let described = Described::new(&about, &timings, "a.glb", Duration::from_millis(1));
            assert_eq!(described.timing, format!("receive;dur=1.0, {expected}"));
        }
    }

    #[test]
    fn names_survive() {
        assert_eq!(disposition("duck.glb"), "attachment; filename=\"duck.glb\"");
        assert_eq!(
            disposition("猫 \"1\".glb"),
            "attachment; filename=\"_ _1_.glb\"; filename*=UTF-8''%E7%8C%AB%20%221%22.glb"
        );
    }
}
