//! Receives the model of a request.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::HeaderMap;
use tracing::Instrument;

use super::query::{ConvertQuery, cut};
use crate::conversion::Upload;
use crate::domain::{Client, ErrorCode, Format};
use crate::executor::workdir::ConversionFolder;
use crate::fs::names;
use crate::http::digest::Digests;
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::http::upload::{self, Incoming};
use crate::telemetry;

/// A model as it was sent.
pub struct ReceivedModel {
    pub folder: ConversionFolder,
    /// The files, sorted by name.
    pub files: Vec<Upload>,
    /// The duration of the upload.
    pub took: Duration,
}

/// Receives the files of a request. Calls `refuse` before it reads the body, and for a form again once the name of the
/// first file is known.
///
/// # Errors
/// Those of `refuse`, [`upload::check_headers`] and [`upload::receive`]; `malformed_request` and `digest_mismatch` for a
/// digest in the headers; `no_extension`, `unsupported_input_format`, `ambiguous_model`.
pub async fn receive(
    gateway: &Gateway,
    query: &ConvertQuery,
    client: &Client,
    headers: &HeaderMap,
    body: Body,
    refuse: impl Fn(Option<&str>) -> Result<(), Problem> + Send + Sync,
) -> Result<ReceivedModel, Problem> {
    let converter = gateway.service.converter();
    let max_bytes = gateway.settings.max_file_size;
    // The predecessor's order of checks, except that checks without the body come first.
    upload::check_headers(headers, &body, max_bytes)?;
    let digests = Digests::announced(headers)?;
    if !upload::is_multipart(headers) {
        check_names(query.file_name.as_deref())?;
    }
    if let Err(problem) = refuse(None) {
        upload::discard(body).await;
        return Err(problem);
    }
    let began = Instant::now();
    let folder = converter.work().new_folder();
    let share = gateway.uploads.begin(client.clone());
    let body = Incoming::new(body, max_bytes, gateway.settings.read_timeout, share).with_digests(digests);
    let (name, max_files) = (query.file_name.as_deref(), converter.limits().max_entries);
    let mut files = upload::receive(headers, body, name, &folder, max_files, |name| refuse(Some(name)))
        .instrument(telemetry::span!("receive"))
        .await?;
    check_names(files.iter().map(|file| file.name.as_str()))?;
    // The order of a form's parts makes no difference.
    files.sort_by(|one, other| (&one.name, one.hash.as_bytes()).cmp(&(&other.name, other.hash.as_bytes())));
    let alike = |[one, other]: &[Upload; 2]| one.name == other.name && one.hash != other.hash;
    if let Some([one, _]) = files.array_windows().find(|pair| alike(pair)) {
        let detail = format!("two different files are called {}", names::quoted(&one.name));
        return Err(Problem::new(ErrorCode::AmbiguousModel, detail));
    }
    Ok(ReceivedModel { folder, files, took: began.elapsed() })
}

/// Checks names as the predecessor does: at least one needs a known extension. A raw body needs no name.
fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Problem> {
    let known = |extension: &String| extension == "zip" || Format::from_extension(extension).is_some();
    let names = names.into_iter().filter(|name| !name.is_empty());
    let extensions: Vec<String> = names.map(names::extension).collect();
    if extensions.is_empty() || extensions.iter().any(known) {
        return Ok(());
    }
    let Some(extension) = extensions.iter().find(|extension| !extension.is_empty()) else {
        return Err(Problem::new(ErrorCode::NoExtension, "File has no extension"));
    };
    let detail = format!("Unsupported input format: {}", cut(extension));
    Err(Problem::new(ErrorCode::UnsupportedInputFormat, detail))
}
