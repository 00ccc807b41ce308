//! Streaming parser of `multipart/form-data` bodies.
//!
//! It reads on only when the buffer does not suffice, so that at most a part's headers and one chunk are in memory. It is
//! our own because crates for this do not limit the headers of a part.

use axum::body::Bytes;
use bytes::BytesMut;
use memchr::memmem;

use super::content_disposition::Parameters;
use super::limited_body::Incoming;
use crate::http::problem::Problem;

/// Largest headers of one part, in bytes.
const MAX_HEADERS: usize = 16 << 10;

/// Longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

/// The parts of a body.
pub struct Parts {
    body: Incoming,
    buffer: BytesMut,
    /// The end of a part: `\r\n--boundary`
    delimiter: Vec<u8>,
    /// Whether the delimiter after the current part, or after the preamble, was not read yet.
    inside: bool,
}

impl Parts {
    /// Begins to parse a body.
    ///
    /// # Errors
    /// `malformed_request` if the media type is not `multipart/form-data` with a boundary.
    pub fn new(body: Incoming, media_type: &[u8]) -> Result<Self, Problem> {
        let kind = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
            return Err(Problem::malformed("of the multipart types, only multipart/form-data is supported"));
        }
        let parameters = Parameters::of(media_type);
        let boundary = parameters.get("boundary").filter(|boundary| !boundary.is_empty());
        let boundary = boundary.ok_or_else(|| Problem::malformed("the content type names no boundary"))?;
        if boundary.len() > MAX_BOUNDARY {
            return Err(Problem::malformed("the boundary is longer than 70 characters"));
        }
        let delimiter = [b"\r\n--", boundary].concat();
        // The first delimiter may have no line break before it.
        Ok(Self { body, buffer: BytesMut::from(&b"\r\n"[..]), delimiter, inside: true })
    }

    /// Skips the rest of the current part; returns the `Content-Disposition` parameters of the next one.
    pub async fn next(&mut self) -> Result<Option<Parameters>, Problem> {
        while self.data().await?.is_some() {}
        if self.at_end().await? {
            while self.body.chunk().await?.is_some() {}
            return Ok(None);
        }
        let headers = self.headers().await?;
        self.inside = true;
        Ok(Some(disposition(&headers)))
    }

    /// Returns the next bytes of the current part, or `None` at its end.
    pub async fn data(&mut self) -> Result<Option<Bytes>, Problem> {
        while self.inside {
            match memmem::find(&self.buffer, &self.delimiter) {
                Some(0) => {
                    let _ = self.buffer.split_to(self.delimiter.len());
                    self.inside = false;
                }
                Some(at) => return Ok(Some(self.buffer.split_to(at).freeze())),
                None => {
                    let content = self.buffer.len() - self.undecided();
                    if content > 0 {
                        return Ok(Some(self.buffer.split_to(content).freeze()));
                    }
                    self.read_more().await?;
                }
            }
        }
        Ok(None)
    }

    /// Returns how many bytes at the end of the buffer may begin a delimiter.
    fn undecided(&self) -> usize {
        let most = self.delimiter.len().min(self.buffer.len() + 1) - 1;
        let fits = |length: &usize| self.buffer.ends_with(self.delimiter.get(..*length).unwrap_or_default());
        (1..=most).rev().find(fits).unwrap_or(0)
    }

    /// Whether the delimiter just read is the last one: two hyphens follow.
    async fn at_end(&mut self) -> Result<bool, Problem> {
        while self.buffer.len() < 2 {
            self.read_more().await?;
        }
        Ok(self.buffer.starts_with(b"--"))
    }

    /// Reads the lines up to the empty one, including the rest of the delimiter's line.
    async fn headers(&mut self) -> Result<Bytes, Problem> {
        let too_long = || Problem::malformed("the headers of a part are too long");
        let mut searched = 0;
        let end = loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(end) = memmem::find(rest, b"\r\n\r\n") {
                break searched + end;
            }
            // The last three bytes may begin the empty line.
            searched = self.buffer.len().saturating_sub(3);
            if self.buffer.len() > MAX_HEADERS {
                return Err(too_long());
            }
            self.read_more().await?;
        };
        if end > MAX_HEADERS {
            return Err(too_long());
        }
        let headers = self.buffer.split_to(end).freeze();
        let _ = self.buffer.split_to(4);
        // Only blanks may follow the boundary; otherwise, it is the prefix of another one.
        let line = headers.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if !line.trim_ascii().is_empty() {
            return Err(Problem::malformed("the multipart body is damaged"));
        }
        Ok(headers)
    }

    async fn read_more(&mut self) -> Result<(), Problem> {
        let ended = || Problem::malformed("the multipart body ends early");
        self.buffer.extend_from_slice(&self.body.chunk().await?.ok_or_else(ended)?);
        Ok(())
    }
}

fn disposition(headers: &[u8]) -> Parameters {
    let value = headers.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        name.trim_ascii().eq_ignore_ascii_case(b"content-disposition").then_some(value.trim_ascii_end())
    });
    Parameters::of(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::stream;

    use super::*;
    use crate::domain::ErrorCode;
    use crate::http::shares::Share;

    /// Returns the field name, file name and content of each part of a body in chunks of `size` bytes.
    async fn read(body: &[u8], size: usize) -> Result<Vec<(String, Option<String>, Vec<u8>)>, Problem> {
        let chunks: Vec<_> = body.chunks(size).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        let body = Body::from_stream(stream::iter(chunks));
        let incoming = Incoming::new(body, 1 << 30, Duration::from_mins(1), Share::alone());
        let mut parts = Parts::new(incoming, b"Multipart/Form-Data; charset=x; boundary=\"b-\"")?;
        let mut all = Vec::new();
        while let Some(parameters) = parts.next().await? {
            let mut content = Vec::new();
            while let Some(data) = parts.data().await? {
                assert!(!data.is_empty());
                content.extend_from_slice(&data);
            }
            let name = String::from_utf8(parameters.get("name").unwrap_or_default().to_vec()).unwrap();
            all.push((name, parameters.file_name(), content));
        }
        Ok(all)
    }

    #[tokio::test]
    async fn chunk_sizes_make_no_difference() {
        let body = b"preamble\r\n--b-  \r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.obj\"\r\n\
            Content-Type: text/plain\r\n\r\n\r\n--b\r\n\r\r\n--\r\n--b-\r\n\r\n\r\n--b-\r\ncontent-disposition: x; name=n\r\n\
            \r\nv\r\n--b---\r\nepilogue";
        for size in 1..=body.len() {
            let all = read(body, size).await.unwrap();
            assert_eq!(
                all,
                [
                    ("file".to_owned(), Some("a.obj".to_owned()), b"\r\n--b\r\n\r\r\n--".to_vec()),
                    (String::new(), None, Vec::new()),
                    ("n".to_owned(), None, b"v".to_vec()),
                ],
                "{size}"
            );
        }
    }

    #[tokio::test]
    async fn truncated_bodies_are_refused() {
        let body = b"--b-\r\nContent-Disposition: form-data; name=file\r\n\r\ncontent\r\n--b---";
        assert_eq!(read(body, 7).await.unwrap().len(), 1);
        for length in 0..body.len() {
            let error = read(&body[..length], 7).await.unwrap_err();
            assert_eq!(error.error.code, ErrorCode::MalformedRequest, "{length}");
        }
    }

    #[tokio::test]
    async fn oversized_part_headers_are_refused() {
        let endless = [b"--b-\r\nX: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
        let error = read(&endless, 4096).await.unwrap_err();
        assert_eq!(error.error.detail, "the headers of a part are too long");
    }

    #[tokio::test]
    async fn no_more_chunks_are_read_than_needed() {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&asked);
        let part = b"\r\n--b-\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nx".repeat(100);
        let chunks = stream::iter((0..50).map(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, std::io::Error>(part.clone())
        }));
        let body = Body::from_stream(chunks);
        let incoming = Incoming::new(body, 1 << 30, Duration::from_mins(1), Share::alone());
        let mut parts = Parts::new(incoming, b"multipart/form-data; boundary=b-").unwrap();
        for part in 0..200 {
            parts.next().await.unwrap().unwrap();
            let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
            assert!(asked <= part / 100 + 2, "{asked} chunks for {part} parts");
        }
    }
}
