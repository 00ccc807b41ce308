//! Reads and writes headers.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Returns the items of a list header.
pub fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Returns the entity tags of `If-None-Match`, weak or not, without quotes. A `*` is none.
pub fn known_tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    items(headers, header::IF_NONE_MATCH).filter_map(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        opaque.strip_prefix('"')?.strip_suffix('"')
    })
}

/// Sets a header, unless the text cannot be the value of one.
pub fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_without_quotes() {
        for (value, tags) in [
            ("\"a\"", &["a"][..]),
            ("W/\"a\" , \"b\",c", &["a", "b"]),
            ("\"\"", &[""]),
            ("*", &[]),
            ("\"", &[]),
            ("\"a", &[]),
            ("w/\"a\"", &[]),
            ("", &[]),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(known_tags(&headers).collect::<Vec<_>>(), tags, "{value}");
        }
    }

    #[test]
    fn a_text_that_no_header_can_have_is_left_out() {
        let mut headers = HeaderMap::new();
        set(&mut headers, header::LINK, "a");
        set(&mut headers, header::LINK, "b\n");
        set(&mut headers, header::ETAG, "\0");
        assert_eq!((headers.len(), &headers[header::LINK]), (1, &HeaderValue::from_static("a")));
    }
}
