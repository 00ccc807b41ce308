//! Uploads: streams a request body to the disk, and counts and hashes it on the way.

mod content_disposition;
mod form;
mod limited_body;
mod multipart;
mod spool;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::Problem;
use crate::conversion::Upload;
use crate::domain::ErrorCode;
use crate::executor::workdir::ConversionFolder;
use limited_body::no_file;
pub use limited_body::{Incoming, discard};
use spool::Spool;

/// Checks the headers, before any of the body is read.
///
/// # Errors
/// `too_large`, `no_file`, or `unknown_format` for a body with a content encoding.
pub fn check_headers(headers: &HeaderMap, body: &Body, max_bytes: u64) -> Result<(), Problem> {
    if body.is_end_stream() {
        return Err(no_file());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > max_bytes) {
        return Err(limited_body::too_large(max_bytes));
    }
    let plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        let detail = "the body has a content encoding; send it without, or send a zip";
        return Err(Problem::new(ErrorCode::UnknownFormat, detail));
    }
    Ok(())
}

pub fn is_multipart(headers: &HeaderMap) -> bool {
    let start = media_type(headers).trim_ascii_start().get(..10);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
}

fn media_type(headers: &HeaderMap) -> &[u8] {
    headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default()
}

/// Writes the files of a request into the folder; `file_name` is the name of a raw body. For a form, calls `refuse`
/// with the name of the first file.
///
/// # Errors
/// The error of `refuse`, `too_large`, `overloaded`, `request_timeout`, `cancelled`, `no_file`, `no_file_name`,
/// `malformed_request`, `digest_mismatch`, `disk_full`, `io`.
pub async fn receive(
    headers: &HeaderMap,
    body: Incoming,
    file_name: Option<&str>,
    folder: &ConversionFolder,
    max_files: usize,
    refuse: impl Fn(&str) -> Result<(), Problem> + Send,
) -> Result<Vec<Upload>, Problem> {
    let files = if is_multipart(headers) {
        form::files(body, media_type(headers), folder, max_files, refuse).await?
    } else {
        vec![raw(body, file_name.unwrap_or_default(), folder).await?]
    };
    for file in &files {
        tracing::debug!(name = file.name, bytes = file.bytes, hash = %file.hash, "received");
    }
    Ok(files)
}

/// Reads a body that is one file.
async fn raw(mut body: Incoming, name: &str, folder: &ConversionFolder) -> Result<Upload, Problem> {
    let mut spool = Spool::new(folder, 0, name);
    while let Some(chunk) = body.chunk().await? {
        spool.write(&chunk).await?;
    }
    let file = spool.finish().await?;
    if file.bytes == 0 { Err(no_file()) } else { Ok(file) }
}
