//! What a client can do with a job: cancel, retry and remove it, and have its webhook sent again.

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::document::Document;
use super::errors::{self, POLL_AFTER};
use super::find::{PathId, find};
use super::idempotency::{ReservedKey, retry_fingerprint};
use super::submit::{Submitted, accepted, run_detached};
use crate::domain::ErrorCode;
use crate::http::middleware;
use crate::http::middleware::rate_limit::OverLimit;
use crate::http::middleware::request_id::RequestId;
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::jobs::{self, Job, Jobs, Submission, SubmitError};

/// The path that keys for idempotency of retries belong to, whatever the job.
const RETRY: &str = "/v1/jobs/retry";

/// Cancel a job
///
/// A queued job ends at once; the worker of a running one stops it within seconds. The response is 200 if the job had
/// ended before, which changes nothing.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs")]
pub async fn cancel_job(
    State(gateway): State<Shared>,
    id: PathId,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let job = find(&gateway, id, &extensions).await?;
    if job.state.has_ended() {
        return Ok(Json(Document::new(&job)).into_response());
    }
    let cancelled = gateway.jobs.queue().cancel(job.id).await;
    let job = cancelled.map_err(|error| errors::unavailable(&error))?.ok_or_else(errors::absent)?;
    // It may have ended by itself meanwhile.
    let has_ended = job.state.has_ended() && job.state != jobs::State::Cancelled;
    let status = if has_ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Document::new(&job))).into_response())
}

/// Retry a job
///
/// Submits a new job with the same model and options as one that failed, was cancelled, or expired. With an
/// `Idempotency-Key`, a repeated request gets the same new job.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", tag = "jobs")]
pub async fn retry_job(
    State(gateway): State<Shared>,
    id: PathId,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    if let Some(OverLimit(limit)) = extensions.get() {
        return Err(limit.clone());
    }
    errors::check_queue(&gateway)?;
    let job = find(&gateway, id, &extensions).await?;
    match job.state {
        jobs::State::Queued | jobs::State::Running => return Err(errors::not_finished()),
        jobs::State::Succeeded => {
            let detail = "the job has succeeded; submit the model again to convert it once more";
            return Err(Problem::new(ErrorCode::WrongJobState, detail));
        }
        jobs::State::Failed | jobs::State::Cancelled | jobs::State::Expired => {}
    }
    let client = middleware::client(&extensions).unwrap_or_default();
    let reserved = ReservedKey::of_request(&gateway.jobs, &headers, client, RETRY).await?;
    // A request with a key may repeat one whose job exists.
    if reserved.is_none()
        && let Some(refusal) = gateway.jobs.expected_refusal(job.spec.bytes())
    {
        return Err(errors::refused(refusal));
    }
    let request_id = extensions.get::<RequestId>().map_or("", RequestId::as_str).to_owned();
    match run_detached(record_retry(gateway.jobs.clone(), job, request_id, reserved)).await? {
        Some(Submission::New(job)) => Ok(accepted(&Submitted { job, replayed: false })),
        Some(Submission::Replayed(job)) => Ok(accepted(&Submitted { job, replayed: true })),
        Some(Submission::Refused(refusal)) => Err(errors::refused(refusal)),
        None => Err(Problem::new(ErrorCode::Expired, "the model of the job is no longer stored")),
    }
}

/// Submits a job like `job`. The reservation of the key exists until it has ended.
async fn record_retry(
    jobs: Jobs,
    job: Job,
    request_id: String,
    reserved: Option<ReservedKey>,
) -> Result<Option<Submission>, SubmitError> {
    let content = reserved.as_ref().map(|reserved| reserved.with_content(retry_fingerprint(job.id)));
    let submission = jobs.retry(&job, &request_id, content).await;
    if let Some(reserved) = reserved {
        reserved.end(matches!(submission, Ok(Some(Submission::New(_))))).await;
    }
    submission
}

/// Send the webhook of a job again
///
/// The webhook of a job that has ended is sent at once, whether or not it was delivered before, with the same
/// `webhook-id`. `webhook.deliveries` of the job tells how that ends.
#[utoipa::path(post, path = "/v1/jobs/{id}/webhook/redeliver", tag = "jobs")]
pub async fn redeliver_webhook(
    State(gateway): State<Shared>,
    id: PathId,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let job = find(&gateway, id, &extensions).await?;
    let Some(url) = &job.spec.webhook_url else {
        return Err(Problem::new(ErrorCode::WrongJobState, "the job has no webhook"));
    };
    if !job.state.has_ended() {
        let detail = "the job has not ended, and only then its webhook is sent";
        return Err(Problem::new(ErrorCode::WrongJobState, detail).with_retry_after(POLL_AFTER));
    }
    // The settings may have changed since the job was submitted.
    gateway.webhooks.check(url)?;
    let queue = gateway.jobs.queue();
    let is_due = queue.redeliver(job.id).await.map_err(|error| errors::unavailable(&error))?;
    let job = queue.job(job.id).await.map_err(|error| errors::unavailable(&error))?;
    // Without either of the two, it was removed meanwhile.
    let job = job.filter(|_| is_due).ok_or_else(errors::absent)?;
    Ok((StatusCode::ACCEPTED, Json(Document::new(&job))).into_response())
}

/// Remove a job
///
/// Removes its model, its result and its record. A running job is stopped within seconds. A webhook that was not
/// delivered is not sent any more.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs")]
pub async fn remove_job(
    State(gateway): State<Shared>,
    id: PathId,
    extensions: Extensions,
) -> Result<StatusCode, Problem> {
    let job = find(&gateway, id, &extensions).await?;
    gateway.jobs.remove(job.id).await.map_err(|error| errors::unavailable(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
