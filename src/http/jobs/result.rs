//! `GET /v1/jobs/{id}/result`: the converted file, or a part of it.

use std::io::{self, Seek, SeekFrom};
use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::document::path;
use super::find::{PathId, find};
use super::range::{self, Wanted};
use super::{errors, result_digest};
use crate::cache::ResultInfo;
use crate::domain::{ConversionError, ErrorCode};
use crate::fs::blob::Blob;
use crate::http::convert::response;
use crate::http::digest::{self, REPR_DIGEST};
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::state::{Gateway, Shared};
use crate::jobs::{self, Job};

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
    let client = middleware::client(&extensions).unwrap_or_default();
    let job = find(&gateway, id, &client).await?;
    respond(&gateway, &job, &headers, &method).await
}

/// Returns the response with the result. Only `GET` has ranges.
///
/// # Errors
/// `job_not_finished`, `wrong_job_state` if it was cancelled, `expired`, `jobs_unavailable`; the job's own error if it
/// has failed.
pub async fn respond(
    gateway: &Gateway,
    job: &Job,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Response, Problem> {
    let info = result_of(job)?;
    let tag = format!("\"{}\"", info.hash.to_hex());
    let mut response = if response::tags(headers).contains(&info.hash) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if method == Method::HEAD {
        let response = (file_headers(info, info.bytes), Body::empty()).into_response();
        with_digest(response, result_digest::known(job.id))
    } else {
        let wanted =
            if method == Method::GET { range::wanted(headers, &tag, info.bytes) } else { Wanted::Whole };
        let (status, part) = match wanted {
            Wanted::Whole => (StatusCode::OK, 0..info.bytes),
            Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Wanted::Unsatisfiable => return Ok(unsatisfiable(info.bytes)),
        };
        send(gateway, job, info, headers, status, part).await?
    };
    for (name, value) in [
        (header::CONTENT_DISPOSITION, info.content_disposition()),
        (header::ETAG, tag),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (response::LOSSES, info.losses.to_string()),
        (header::LINK, format!("<{}>; rel=\"describedby\"", path(job.id))),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(header::CACHE_CONTROL, response::KEPT_BY_CLIENT);
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

/// Returns the response with a part of the file.
async fn send(
    gateway: &Gateway,
    job: &Job,
    info: &ResultInfo,
    headers: &HeaderMap,
    status: StatusCode,
    part: Range<u64>,
) -> Result<Response, Problem> {
    let opened = gateway.jobs.open_result(job).await.map_err(|error| errors::unavailable(&error))?;
    let gone = || Problem::new(ErrorCode::Expired, "the result of the job is no longer stored");
    let content = opened.ok_or_else(gone)?;
    let digest = result_digest::find_or_compute(job.id, &content, digest::is_wanted(headers)).await;
    let (bytes, length) = (part.end - part.start, content.length());
    let range = format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
    let content = cut(content, part).map_err(|error| ConversionError::io("read the result", &error))?;
    let body = response::body(content, bytes, ());
    let mut response = (status, file_headers(info, bytes), body).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = HeaderValue::from_str(&range)
    {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(with_digest(response, digest))
}

fn file_headers(info: &ResultInfo, bytes: u64) -> [(HeaderName, String); 2] {
    [(header::CONTENT_TYPE, info.media_type().to_owned()), (header::CONTENT_LENGTH, bytes.to_string())]
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
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
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
