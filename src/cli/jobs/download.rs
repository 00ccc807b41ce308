//! Downloads the result of a job into a file. Continues where it broke off, and checks the digest at the end.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::api::Api;
use super::error::{ApiError, LocalError};
use super::retry::Retries;
use crate::cli::failure::Failure;
use crate::cli::progress::Bar;
use crate::fs::names;

/// Longest pause between two pieces of the file.
const SILENCE: Duration = Duration::from_mins(1);

/// A download that may take several requests.
struct Download<'a> {
    api: &'a Api,
    id: Uuid,
    file: &'a mut File,
    bar: &'a Bar,
    /// Bytes that are in the file.
    received: u64,
    hash: Context,
    /// Known from the first response on.
    tag: Option<HeaderValue>,
    length: Option<u64>,
    /// The SHA-256 that the server announced.
    digest: Option<Vec<u8>>,
}

/// Downloads the result of a job into an empty file; returns its name, which is safe, and its length. Calls `begin`
/// with the name before the first byte is written.
///
/// # Errors
/// Those of `begin`; when the job has no result, the connection breaks off too often, or the file is damaged.
pub async fn download(
    api: &Api,
    id: Uuid,
    file: &mut File,
    bar: &Bar,
    begin: impl Fn(&str) -> Result<(), Failure>,
) -> Result<(String, u64), Failure> {
    let hash = Context::new(&SHA256);
    let mut download =
        Download { api, id, file, bar, received: 0, hash, tag: None, length: None, digest: None };
    let mut retries = Retries::default();
    let mut name = None;
    loop {
        let before = download.received;
        let error = match download.open().await {
            Ok(response) => {
                if name.is_none() {
                    let sent = file_name(response.headers()).unwrap_or_else(|| id.to_string());
                    begin(&sent)?;
                    name = Some(sent);
                }
                match download.read(response).await {
                    Ok(()) => break,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        // The connection may break off behind the last byte.
        if download.length == Some(download.received) {
            break;
        }
        if download.received > before {
            retries.reset();
        }
        match retries.pause(&error) {
            Some(pause) => {
                bar.show("waiting", 0.0);
                sleep(pause).await;
            }
            None => return Err(error.into()),
        }
    }
    let received = download.finish()?;
    Ok((name.unwrap_or_else(|| id.to_string()), received))
}

impl Download<'_> {
    /// Asks for the bytes that are missing.
    async fn open(&mut self) -> Result<Response, ApiError> {
        let response = self.api.result(self.id, self.received, self.tag.as_ref()).await?;
        let headers = response.headers();
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = headers.get(CONTENT_RANGE).and_then(|range| content_range(range.to_str().ok()?));
            if range.is_none_or(|(start, _)| start != self.received) {
                return Err(self.api.foreign("it sent another part of the file"));
            }
        } else {
            self.restart().map_err(|error| unwritable(&error))?;
            self.length = response.content_length();
        }
        self.tag = headers.get(ETAG).cloned();
        let [whole, content] = ["repr-digest", "content-digest"].map(|name| sha256(headers, name));
        // The other one is that of the part.
        let is_whole = response.status() == StatusCode::OK;
        self.digest = whole.or(content.filter(|_| is_whole)).or(self.digest.take());
        Ok(response)
    }

    /// Writes what comes until the end of the response.
    async fn read(&mut self, mut response: Response) -> Result<(), ApiError> {
        loop {
            let piece = match timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(self.api.broken(&error)),
                Err(_) => return Err(self.api.silent(SILENCE)),
            };
            self.file.write_all(&piece).map_err(|error| unwritable(&error))?;
            self.hash.update(&piece);
            self.received += piece.len() as u64;
            if let Some(length) = self.length {
                self.bar.show("downloading", self.received as f64 / length.max(1) as f64);
            }
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Context::new(&SHA256);
        self.received = 0;
        self.digest = None;
        Ok(())
    }

    /// Checks the file.
    fn finish(self) -> Result<u64, Failure> {
        let found = self.hash.finish();
        let found: &[u8] = found.as_ref();
        if self.digest.is_some_and(|digest| digest != found) {
            let detail =
                "the file does not have the SHA-256 that the server announced, so it was not kept; try again";
            return Err(Failure::Failed(detail.to_owned()));
        }
        Ok(self.received)
    }
}

fn unwritable(error: &io::Error) -> ApiError {
    ApiError::Local(LocalError(format!("could not write the result: {error}")))
}

/// The start of the part and the length of the whole, of `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, length.parse().ok()?))
}

/// The SHA-256 in a header of RFC 9530.
fn sha256(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let mut members = lines.flat_map(|line| line.split(','));
    let value = members.find_map(|member| member.trim().strip_prefix("sha-256="))?;
    let value = value.split(';').next().unwrap_or_default().trim();
    STANDARD.decode(value.strip_prefix(':')?.strip_suffix(':')?).ok()
}

/// The name in `Content-Disposition`, without folders, and harmless.
fn file_name(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(CONTENT_DISPOSITION)?;
    let header = String::from_utf8_lossy(header.as_bytes());
    let name = extended_name(&header).or_else(|| quoted_name(&header))?;
    Some(names::portable(names::base_name(&name)))
}

/// The name in `filename*=UTF-8''%E7%8C%AB.glb`.
fn extended_name(header: &str) -> Option<String> {
    let value = header.split_once("filename*=")?.1.split(';').next()?.trim();
    let (charset, rest) = value.split_once('\'')?;
    let (_language, name) = rest.split_once('\'')?;
    let name = charset.eq_ignore_ascii_case("utf-8").then(|| percent_decode_str(name))?;
    Some(name.decode_utf8().ok()?.into_owned())
}

/// The name in `filename="a \"b\".glb"` or `filename=a.glb`.
fn quoted_name(header: &str) -> Option<String> {
    let value = header.split_once("filename=")?.1;
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.split(';').next()?.trim().to_owned());
    };
    let (mut name, mut letters) = (String::new(), quoted.chars());
    loop {
        match letters.next()? {
            '"' => return Some(name),
            '\\' => name.push(letters.next()?),
            letter => name.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        [(HeaderName::from_static(name), value)].into_iter().collect()
    }

    #[test]
    fn the_name_of_a_result_is_safe() {
        for (header, name) in [
            ("attachment; filename=\"duck.glb\"", Some("duck.glb")),
            ("attachment; filename=duck.glb; size=1", Some("duck.glb")),
            ("attachment; filename=\"_.glb\"; filename*=UTF-8''%E7%8C%AB.glb", Some("猫.glb")),
            ("attachment; filename*=utf-8'ja'%E7%8C%AB.glb; filename=\"_.glb\"", Some("猫.glb")),
            ("attachment; filename=\"a.glb\"; filename*=latin'en'%FF", Some("a.glb")),
            ("attachment; filename=\"a.glb\"; filename*=UTF-8''%FF", Some("a.glb")),
            (r#"attachment; filename="a;\"b\".glb""#, Some("a;_b_.glb")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (r#"attachment; filename="..\\..\\x.glb""#, Some("x.glb")),
            ("attachment; filename*=UTF-8''..%2F..%2F.bashrc", Some("bashrc")),
            ("attachment; filename=\"..\"", Some("unnamed")),
            ("attachment; filename=\"aux.glb\"", Some("_aux.glb")),
            ("attachment; filename=\"cut off", None),
            ("attachment", None),
        ] {
            assert_eq!(file_name(&headers("content-disposition", header)).as_deref(), name, "{header}");
        }
        assert_eq!(file_name(&HeaderMap::new()), None);
    }

    #[test]
    fn digests_are_read_as_in_the_rfc() {
        // Of `{"hello": "world"}` and a line break, from RFC 9530.
        let value = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=";
        let expected = aws_lc_rs::digest::digest(&SHA256, b"{\"hello\": \"world\"}\n");
        for header in [format!("sha-256=:{value}:"), format!("sha-512=:AA==:, sha-256=:{value}:;a=1")] {
            let read = sha256(&headers("repr-digest", &header), "repr-digest");
            assert_eq!(read.as_deref(), Some(expected.as_ref()), "{header}");
        }
        for header in ["", "sha-512=:AA==:", "sha-256=AA==", "sha-256=:!:"] {
            assert_eq!(sha256(&headers("repr-digest", header), "repr-digest"), None, "{header}");
        }
    }

    #[test]
    fn the_range_of_a_part_is_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 10)));
        for text in ["", "bytes */10", "bytes 5-9/*", "lines 5-9/10", "bytes 5/10"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
