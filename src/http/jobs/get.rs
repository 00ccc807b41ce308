//! `GET /v1/jobs/{id}`: the state of a job, at once or after a wait.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::document::{Document, StoredReport};
use super::errors::{self, POLL_AFTER};
use super::find::{PathId, find};
use super::prefer::{PREFER, PREFERENCE_APPLIED, Prefer};
use super::wait;
use crate::domain::ErrorCode;
use crate::http::convert::response::KEPT_BY_CLIENT;
use crate::http::headers::{self, known_tags};
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::report_texts::TextKey;
use crate::http::state::{Gateway, Shared};
use crate::jobs::{self, Job};
use crate::telemetry;

/// Get a job
///
/// With `Prefer: wait=N`, the response comes once the job has ended, or after N seconds; with `If-None-Match` as well,
/// once the job is no longer as the client knows it. The longest wait is 60 seconds. A client with too many requests that
/// wait gets the response at once; `Preference-Applied` tells.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs")]
pub async fn get_job(
    State(gateway): State<Shared>,
    id: PathId,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let mut job = find(&gateway, id, &extensions).await?;
    let known = known_versions(&headers);
    let mut longest = Prefer::read(&headers).wait;
    if let Some(within) = &mut longest {
        let client = middleware::client(&extensions).unwrap_or_default();
        let reached = |job: &Job| match known.as_slice() {
            [] => job.state.has_ended(),
            known => !known.contains(&job.version),
        };
        let waited = wait::until(&gateway, client, job, within, reached).await;
        job = waited.map_err(|error| errors::unavailable(&error))?.ok_or_else(errors::absent)?;
    }
    let (version, has_ended) = (job.version, job.state.has_ended());
    let mut response = if known.contains(&version) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        describe(&gateway, job).await?
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, KEPT_BY_CLIENT);
    headers.insert(header::VARY, HeaderValue::from(PREFER));
    // Weak, since the position and the report are not part of the version.
    headers::set(headers, header::ETAG, &format!("W/\"{version}\""));
    if !has_ended {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(POLL_AFTER.as_secs()));
    }
    if let Some(within) = longest {
        headers::set(headers, PREFERENCE_APPLIED, &format!("wait={}", within.as_secs()));
    }
    Ok(response)
}

/// Returns the versions of the job that the client has. A `*` names none.
fn known_versions(headers: &HeaderMap) -> Vec<u64> {
    known_tags(headers).filter_map(|tag| tag.parse().ok()).collect()
}

async fn describe(gateway: &Gateway, job: Job) -> Result<Response, Problem> {
    if job.state == jobs::State::Succeeded {
        let text = with_report(gateway, job).await?;
        return Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response());
    }
    let mut position = None;
    if job.state == jobs::State::Queued {
        let found = gateway.jobs.queue().position(job.id).await;
        position = found.map_err(|error| errors::unavailable(&error))?;
    }
    let mut document = Document::new(&job);
    document.position = position;
    Ok(Json(document).into_response())
}

/// Returns the JSON of a job with its report. Reports may be large: the texts that are being sent have a limit in total,
/// and concurrent readers share them.
async fn with_report(gateway: &Gateway, job: Job) -> Result<Bytes, Problem> {
    let texts = &gateway.report_texts;
    let key = TextKey { id: job.id, version: job.version, owner: None };
    if let Some(text) = texts.find(&key) {
        return Ok(text);
    }
    let _permit = texts.writing.acquire().await.map_err(|_| failed())?;
    let report = gateway.jobs.report(&job).await.unwrap_or_else(|error| {
        tracing::warn!(%error, job = %job.id, "the report of a job cannot be read");
        None
    });
    let write = move || {
        let mut document = Document::new(&job);
        document.report = Some(StoredReport(report));
        serde_json::to_vec(&document)
    };
    let written = tokio::task::spawn_blocking(telemetry::in_span(write)).await.map_err(|_| failed())?;
    texts.share(key, written.map_err(|_| failed())?)
}

fn failed() -> Problem {
    Problem::new(ErrorCode::Internal, "the job could not be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_lists_versions() {
        for (value, versions) in [
            ("\"7\"", &[7][..]),
            ("W/\"7\"", &[7]),
            ("W/\"7\" , \"8\",\"x\"", &[7, 8]),
            ("7", &[]),
            ("*", &[]),
            ("\"-7\"", &[]),
            ("\"99999999999999999999\"", &[]),
            ("\"", &[]),
            ("", &[]),
        ] {
            let headers =
                HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(known_versions(&headers), versions, "{value}");
        }
        assert!(known_versions(&HeaderMap::new()).is_empty());
    }
}
