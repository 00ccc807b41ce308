//! Uploads: streams a request body to the disk, and counts and hashes it on the way.

mod content_disposition;
mod form;
mod limited_body;
mod multipart;
mod spool;

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::Problem;
use super::shares::Share;
use crate::conversion::Upload;
use crate::domain::ErrorCode;
use crate::executor::workdir::ConversionFolder;
use limited_body::Incoming;
pub use limited_body::pass_over;
use spool::Spool;

/// Sentences of the predecessor, whose clients may match them.
const NO_FILE: &str = "No file provided";
const NO_NAME: &str = "No file selected";

/// Limits of a request body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole body.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
    /// Time limit for the next part of the body.
    pub wait: Duration,
}

/// Checks the headers, before any of the body is read.
///
/// # Errors
/// `too_large`, `no_file`, or `unknown_format` for a body with a content encoding.
pub fn check_headers(headers: &HeaderMap, body: &Body, limits: Limits) -> Result<(), Problem> {
    if body.is_end_stream() {
        return Err(Problem::new(ErrorCode::NoFile, NO_FILE));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > limits.bytes) {
        return Err(limited_body::too_large(limits.bytes));
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
/// with the name of the first file. The received bytes count in `upload` until the upload ends.
///
/// # Errors
/// The error of `refuse`, `too_large`, `overloaded`, `request_timeout`, `cancelled`, `no_file`, `no_file_name`,
/// `malformed_request`, `disk_full`, `io`.
pub async fn receive(
    headers: &HeaderMap,
    body: Body,
    file_name: Option<&str>,
    folder: &ConversionFolder,
    limits: Limits,
    upload: Share,
    refuse: impl Fn(&str) -> Result<(), Problem> + Send,
) -> Result<Vec<Upload>, Problem> {
    let incoming = Incoming::new(body, limits, upload);
    let files = if is_multipart(headers) {
        form::files(incoming, media_type(headers), folder, limits.files, refuse).await?
    } else {
        raw(incoming, file_name.unwrap_or_default(), folder).await?
    };
    for file in &files {
        tracing::debug!(name = file.name, bytes = file.bytes, hash = %file.hash, "received");
    }
    Ok(files)
}

/// Reads a body that is one file.
async fn raw(mut incoming: Incoming, name: &str, folder: &ConversionFolder) -> Result<Vec<Upload>, Problem> {
    let mut spool = Spool::new(folder, 0, name);
    while let Some(chunk) = incoming.chunk().await? {
        spool.write(&chunk).await?;
    }
    let file = spool.finish().await?;
    if file.bytes == 0 { Err(Problem::new(ErrorCode::NoFile, NO_FILE)) } else { Ok(vec![file]) }
}
