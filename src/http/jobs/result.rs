//! `GET /v1/jobs/{id}/result`: the converted file, or a part of it, or a redirect to it.

use std::io::{self, Seek, SeekFrom};
use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::document::path;
use super::find::{PathId, find};
use super::range::{self, Wanted};
use super::{errors, result_digest};
use crate::cache::ResultInfo;
use crate::conversion::LARGE_RESULT;
use crate::domain::{Client, ConversionError, ErrorCode};
use crate::fs::blob::Blob;
use crate::http::convert::response;
use crate::http::digest::{self, REPR_DIGEST};
use crate::http::headers;
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::shares::Share;
use crate::http::state::{Gateway, Shared};
use crate::jobs::{self, Job};

/// What is sent of a result.
struct Opened {
    content: Blob,
    /// The digest of the whole file, if it is known.
    digest: Option<HeaderValue>,
    /// The space on this disk that the content takes until it is sent.
    space: Option<Share>,
}

/// Get the result of a job
///
/// The file of a job that has succeeded, as a whole or one range of its bytes. For a job that has failed, the response is
/// its error, with the status that `POST /convert` would have had.
#[utoipa::path(get, path = "/v1/jobs/{id}/result", tag = "jobs")]
pub async fn get_result(
    State(gateway): State<Shared>,
    id: PathId,
    method: Method,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let job = find(&gateway, id, &extensions).await?;
    let client = middleware::client(&extensions).unwrap_or_default();
    respond(&gateway, &job, &headers, &method, client).await
}

/// Returns the response with the result. Only `GET` has ranges. `HEAD` reads nothing from a bucket, and is not redirected.
///
/// # Errors
/// `job_not_finished`, `wrong_job_state` if it was cancelled, `expired`, `jobs_unavailable`, `overloaded`; the job's own
/// error if it has failed.
pub async fn respond(
    gateway: &Gateway,
    job: &Job,
    headers: &HeaderMap,
    method: &Method,
    client: Client,
) -> Result<Response, Problem> {
    let info = result_of(job)?;
    let mut response = if response::tags(headers).contains(&info.hash) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if method == Method::HEAD {
        if !gateway.jobs.may_have_result(job).await {
            // As with `GET`: the file is gone, or the whole store is away.
            open(gateway, job, info, 0..0, false, client).await?;
        }
        let response = (response::file_headers(info, info.bytes), Body::empty()).into_response();
        with_digest(response, result_digest::known(job.id))
    } else {
        let is_get = method == Method::GET;
        let wanted =
            if is_get { range::wanted(headers, &response::tag(info), info.bytes) } else { Wanted::Whole };
        let part = match wanted {
            Wanted::Whole => None,
            Wanted::Part(part) => Some(part),
            Wanted::Unsatisfiable => return Ok(unsatisfiable(info.bytes)),
        };
        // The bucket takes care of the range.
        let url = if info.bytes >= LARGE_RESULT { gateway.jobs.result_url(job).await } else { None };
        match url {
            Some(url) => response::redirect(&url),
            None => send(gateway, job, info, part, digest::is_wanted(headers), client).await?,
        }
    };
    response::describe(&mut response, info, &path(job.id));
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

/// Returns the description of the result, or why there is none.
fn result_of(job: &Job) -> Result<&ResultInfo, Problem> {
    match (job.state, &job.result, &job.error) {
        (jobs::State::Queued | jobs::State::Running, ..) => Err(errors::not_finished()),
        (jobs::State::Succeeded, Some(result), _) => Ok(&result.info),
        (jobs::State::Failed, _, Some(error)) => Err(error.clone().into()),
        (jobs::State::Cancelled, ..) => {
            Err(Problem::new(ErrorCode::WrongJobState, "the job was cancelled, so it has no result"))
        }
        (jobs::State::Expired, ..) => {
            Err(Problem::new(ErrorCode::Expired, "the job expired before it was begun, so it has no result"))
        }
        (jobs::State::Succeeded | jobs::State::Failed, ..) => {
            Err(Problem::new(ErrorCode::Internal, "the record of the job is incomplete"))
        }
    }
}

/// Returns the response with the file, or with a part of it.
async fn send(
    gateway: &Gateway,
    job: &Job,
    info: &ResultInfo,
    part: Option<Range<u64>>,
    wants_digest: bool,
    client: Client,
) -> Result<Response, Problem> {
    let (status, sent) = match &part {
        Some(part) => (StatusCode::PARTIAL_CONTENT, part.clone()),
        None => (StatusCode::OK, 0..info.bytes),
    };
    let small = match &part {
        Some(part) => read_small(gateway, job, part.clone(), wants_digest).await?,
        None => None,
    };
    let Opened { content, digest, space } = match small {
        Some(opened) => opened,
        None => open(gateway, job, info, sent.clone(), wants_digest, client).await?,
    };
    let bytes = sent.end - sent.start;
    let body = response::body(content, bytes, space);
    let mut response = (status, response::file_headers(info, bytes), body).into_response();
    if part.is_some() {
        let range = format!("bytes {}-{}/{}", sent.start, sent.end.saturating_sub(1), info.bytes);
        headers::set(response.headers_mut(), header::CONTENT_RANGE, &range);
    }
    Ok(with_digest(response, digest))
}

/// Reads a small part from a bucket, and nothing else of the file. `None`: the file has to be opened.
async fn read_small(
    gateway: &Gateway,
    job: &Job,
    part: Range<u64>,
    wants_digest: bool,
) -> Result<Option<Opened>, Problem> {
    let digest = result_digest::known(job.id);
    if wants_digest && digest.is_none() {
        return Ok(None);
    }
    let read = gateway.jobs.read_result_part(job, part).await;
    let read = read.map_err(|error| errors::unavailable(&error))?;
    Ok(read.map(|bytes| Opened { content: Blob::Memory(bytes), digest, space: None }))
}

/// Opens the file, and checks it. One from a bucket takes space on this disk until it is sent.
async fn open(
    gateway: &Gateway,
    job: &Job,
    info: &ResultInfo,
    part: Range<u64>,
    wants_digest: bool,
    client: Client,
) -> Result<Opened, Problem> {
    let space = if gateway.storage.needs_spool(info.bytes) {
        Some(gateway.results.hold_copy(client, info.bytes)?)
    } else {
        None
    };
    let opened = gateway.jobs.open_result(job).await.map_err(|error| errors::unavailable(&error))?;
    let gone = || Problem::new(ErrorCode::Expired, "the result of the job is no longer stored");
    let content = opened.ok_or_else(gone)?;
    let digest = result_digest::find_or_compute(job.id, &content, wants_digest).await;
    let content = cut(content, part).map_err(|error| ConversionError::io("read the result", &error))?;
    Ok(Opened { content, digest, space })
}

/// Returns a part of the content, with the file at its beginning.
fn cut(content: Blob, part: Range<u64>) -> io::Result<Blob> {
    match content {
        Blob::Memory(content) => {
            let bytes = content.get(part.start as usize..part.end as usize).unwrap_or_default();
            Ok(Blob::Memory(content.slice_ref(bytes)))
        }
        Blob::File(mut file, _) => {
            file.seek(SeekFrom::Start(part.start))?;
            Ok(Blob::File(file, part.end - part.start))
        }
    }
}

fn with_digest(mut response: Response, digest: Option<HeaderValue>) -> Response {
    if let Some(digest) = digest {
        response.headers_mut().insert(REPR_DIGEST, digest);
    }
    response
}

/// The response to a range that the file does not have.
fn unsatisfiable(length: u64) -> Response {
    let detail = format!("the range is not within the {length} bytes of the file");
    let mut response = Problem::new(ErrorCode::RangeNotSatisfiable, detail).into_response();
    headers::set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_part_is_cut_from_memory_and_from_files() {
        let bytes = b"0123456789";
        let Blob::Memory(part) = cut(Blob::Memory(bytes.as_slice().into()), 2..6).unwrap() else {
            panic!("a file");
        };
        assert_eq!(part, b"2345".as_slice());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let Blob::File(part, length) = cut(Blob::File(file, 10), 2..6).unwrap() else { panic!("in memory") };
        let mut read = String::new();
        part.take(length).read_to_string(&mut read).unwrap();
        assert_eq!(read, "2345");
    }
}
