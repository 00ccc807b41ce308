//! A request's body, on its way to the disk: streamed, counted, hashed, and never whole in memory.

mod body;
mod multipart;
mod spool;

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};

use super::problem::Problem;
use crate::domain::ErrorCode;
use body::Incoming;
use spool::Spool;

/// What the predecessor answers; its clients may look for these words.
const NO_FILE: &str = "No file provided";
const NO_NAME: &str = "No file selected";

/// What bounds a body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole body.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
    /// How long the next part of the body may take to come.
    pub wait: Duration,
}

/// A file that was sent.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: PathBuf,
    /// What its sender calls it; may hold folders, or be empty where a raw body came without one.
    pub name: String,
    pub bytes: u64,
    pub hash: blake3::Hash,
}

/// Writes the files of a request into `folder`.
///
/// # Errors
/// `too_large`, `request_timeout`, `no_file`, `no_file_name`, `malformed_request`, `disk_full`, `io`.
pub async fn receive(
    headers: &HeaderMap,
    body: Body,
    file_name: Option<&str>,
    folder: &Path,
    limits: Limits,
) -> Result<Vec<Received>, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > limits.bytes) {
        return Err(body::too_large(limits.bytes));
    }
    let incoming = Incoming::new(body, limits);
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if media_type.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return multipart::files(incoming, media_type, folder, limits.files).await;
    }
    raw(incoming, file_name.unwrap_or_default(), folder).await
}

/// A body that is one file.
async fn raw(mut incoming: Incoming, name: &str, folder: &Path) -> Result<Vec<Received>, Problem> {
    let mut spool = Spool::new(folder, 0, name);
    while let Some(chunk) = incoming.chunk().await? {
        spool.write(chunk).await?;
    }
    let file = spool.finish().await?;
    if file.bytes == 0 { Err(Problem::new(ErrorCode::NoFile, NO_FILE)) } else { Ok(vec![file]) }
}
