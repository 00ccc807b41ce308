//! The part of a file that a request wants: one byte range (RFC 9110, 14).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What to send of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: the request has no range, or one that a server may ignore.
    Whole,
    /// This part, which is not empty.
    Part(Range<u64>),
    /// Nothing: the file is shorter.
    Unsatisfiable,
}

/// Returns what the request wants of a file with this `ETag` and length. Several ranges at once are ignored.
pub fn wanted(headers: &HeaderMap, tag: &str, length: u64) -> Wanted {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Wanted::Whole };
    // A date never matches, since results have none.
    if headers.get(header::IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::Whole;
    }
    line.to_str().ok().and_then(|line| parse(line, length)).unwrap_or(Wanted::Whole)
}

/// Parses `bytes=0-99`, `bytes=100-` or `bytes=-100`; `None` if it is anything else.
fn parse(line: &str, length: u64) -> Option<Wanted> {
    let (unit, range) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(length)),
        (Some(first), None) if last.is_empty() => (first, length),
        (None, Some(last)) if first.is_empty() => (length.saturating_sub(last), length),
        _ => return None,
    };
    Some(if start < end { Wanted::Part(start..end) } else { Wanted::Unsatisfiable })
}

/// Reads digits; a number that is too large is the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TAG: &str = "\"tag\"";

    fn of(lines: &[&str], if_range: Option<&'static str>, length: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::RANGE, HeaderValue::from_str(line).unwrap());
        }
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, HeaderValue::from_static(tag));
        }
        wanted(&headers, TAG, length)
    }

    #[test]
    fn one_range_selects_a_part() {
        for (line, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-5", 2..6),
            ("Bytes = 2-5", 2..6),
            ("bytes=2-", 2..10),
            ("bytes=2-99999999999999999999", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
        ] {
            assert_eq!(of(&[line], None, 10), Wanted::Part(part), "{line}");
        }
    }

    #[test]
    fn a_range_behind_the_end_is_unsatisfiable() {
        for line in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(&[line], None, 10), Wanted::Unsatisfiable, "{line}");
        }
        assert_eq!(of(&["bytes=0-"], None, 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn other_ranges_are_ignored() {
        for line in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "lines=0-1",
        ] {
            assert_eq!(of(&[line], None, 10), Wanted::Whole, "{line}");
        }
        assert_eq!(of(&[], None, 10), Wanted::Whole);
        assert_eq!(of(&["bytes=0-1", "bytes=3-4"], None, 10), Wanted::Whole);
    }

    #[test]
    fn a_range_of_an_older_file_is_ignored() {
        assert_eq!(of(&["bytes=0-1"], Some(TAG), 10), Wanted::Part(0..2));
        for other in ["\"other\"", "W/\"tag\"", "Mon, 30 Nov 2026 08:00:00 GMT"] {
            assert_eq!(of(&["bytes=0-1"], Some(other), 10), Wanted::Whole, "{other}");
        }
    }
}
