//! The response to a conversion that another process ran as a job: that of any other conversion.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::response;
use crate::cache::ResultInfo;
use crate::conversion::LARGE_RESULT;
use crate::domain::report::Timings;
use crate::domain::{Client, Report};
use crate::fs::blob::Blob;
use crate::http::jobs::errors;
use crate::http::problem::Problem;
use crate::http::shares::Share;
use crate::http::state::Gateway;
use crate::jobs::Job;
use crate::storage::{self, Hash, Url};

/// What a response depends on, apart from the job.
pub struct Asked {
    pub client: Client,
    /// The API key that the report belongs to; `None` if it is shared.
    pub owner: Option<Arc<str>>,
    /// The identity of the conversion, if it is known.
    pub identity: Option<Hash>,
    /// Results that the client has.
    pub already_has: Vec<Hash>,
    /// The duration of the upload.
    pub received_in: Duration,
}

pub struct Answer {
    pub response: Response,
    /// Whether it leads the client to the stored result of the job.
    pub leads_to_job: bool,
}

/// What is sent of a result.
enum Sent {
    /// Nothing: the client has it.
    Nothing,
    /// The address of the cached result in the bucket.
    CachedAt(Url),
    /// The address of the result of the job there.
    JobAt(Url),
    /// The file, with the space on this disk that it takes until it is sent: its name is removed before.
    File(Blob, Option<Share>),
}

/// Opens the result of a job that has succeeded. The response does not need the job any more, unless it leads to it.
///
/// # Errors
/// `jobs_unavailable` while the store does not work, `overloaded`.
pub async fn respond(gateway: &Gateway, job: &Job, asked: &Asked) -> Result<Answer, Problem> {
    let Some(result) = &job.result else { return Err(errors::unavailable(&"a job has no result")) };
    let info = &result.info;
    let (sent, report) = tokio::join!(open(gateway, job, info, asked), gateway.jobs.report(job));
    let timings = keep_report(gateway, info, report, asked);
    let sent = sent?;
    let leads_to_job = matches!(sent, Sent::JobAt(_));
    let mut response = match sent {
        Sent::Nothing => StatusCode::NOT_MODIFIED.into_response(),
        Sent::CachedAt(url) | Sent::JobAt(url) => response::redirect(&url),
        Sent::File(content, space) => response::file(info, content, space),
    };
    response::describe_conversion(&mut response, info, &timings, asked.received_in);
    Ok(Answer { response, leads_to_job })
}

async fn open(gateway: &Gateway, job: &Job, info: &ResultInfo, asked: &Asked) -> Result<Sent, Problem> {
    if asked.already_has.contains(&info.hash) {
        return Ok(Sent::Nothing);
    }
    let mut space = None;
    if info.bytes >= LARGE_RESULT {
        if let Some(sent) = address(gateway, job, info, asked.identity).await {
            return Ok(sent);
        }
        space = Some(gateway.results.hold_copy(asked.client.clone(), info.bytes)?);
    }
    let opened = gateway.jobs.open_result(job).await.map_err(|error| errors::unavailable(&error))?;
    let content = opened.ok_or_else(|| errors::unavailable(&"the result of a job is gone"))?;
    Ok(Sent::File(content, space))
}

/// Returns where the client can fetch the result from the bucket itself, if the operator allows that.
async fn address(gateway: &Gateway, job: &Job, info: &ResultInfo, identity: Option<Hash>) -> Option<Sent> {
    if let Some(identity) = identity
        && let Some(url) = gateway.service.url_if_cached(identity, info).await
    {
        return Some(Sent::CachedAt(url));
    }
    gateway.jobs.result_url(job).await.map(Sent::JobAt)
}

/// Keeps the report for `GET /v1/reports/{id}`: it goes with the job, and the worker may not have stored it for others yet.
/// Returns the timings in it.
fn keep_report(
    gateway: &Gateway,
    info: &ResultInfo,
    report: Result<Option<Report>, storage::Error>,
    asked: &Asked,
) -> Timings {
    let report = report.unwrap_or_else(|error| {
        tracing::warn!(%error, "the report of a conversion cannot be read");
        None
    });
    let Some(report) = report else { return Timings::default() };
    let timings = report.timings.clone();
    gateway.service.cache().keep_report(info.report, Arc::new(report), asked.owner.clone());
    timings
}
