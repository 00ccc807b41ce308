//! A conversion by another process, for a gateway that never runs the engine: the request becomes a job, and waits for it.
//!
//! ```text
//!  model ─▶ submit ─▶ a worker begins it ─▶ it has ended ─▶ result and report opened ─▶ the usual response
//!              └───────────── the job is removed at the end of this, also by an error or a hang-up ──┘
//! ```
//!
//! - **The client sees no difference** to a conversion by the gateway itself, and no client sees the job.
//! - **A place in the queue** (`conversion::Admission`) belongs to the request meanwhile, as if the gateway converted
//!   itself. So waiting requests do not take all connections, and clients share the places.
//! - **The worker counts the conversion** in its metrics once it has begun; until then, the gateway does.

use std::time::Duration;

use axum::Extension;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep, timeout};

use super::job_response::{self, Asked};
use super::receive::ReceivedModel;
use super::response;
use crate::conversion::{self, CacheStatus, Input, Record};
use crate::domain::ErrorCode;
use crate::http::jobs::errors;
use crate::http::jobs::submit::{census, new_spec, record, run_detached};
use crate::http::middleware::rate_limit::TookWork;
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::jobs::{AwaitedJob, Job, JobSpec, Jobs, Priority, Refusal, State, Submission, SubmitError};

/// How long the queue may be away while a request waits for its job, which goes on meanwhile.
const AWAY_FOR: Duration = Duration::from_secs(15);

/// Pause before the queue is asked again, if it did not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest single wait for a change of the job.
const WAIT: Duration = Duration::from_mins(1);

/// Refuses a conversion whose job the queue would not take now. `bytes`: of its model, at least.
///
/// # Errors
/// `jobs_unavailable`, `queue_full`.
pub fn check_queue(gateway: &Gateway, bytes: u64) -> Result<(), Problem> {
    errors::check_queue(gateway)?;
    gateway.jobs.expected_refusal(bytes).map_or(Ok(()), |refusal| Err(errors::no_room(refusal)))
}

/// Has another process convert. Dropping the future cancels the conversion. `received_in`: the duration of the upload.
pub async fn convert(
    gateway: &Gateway,
    request: conversion::Request,
    parts: &Parts,
    received_in: Duration,
) -> Response {
    let asked = Asked {
        client: request.client.clone(),
        owner: request.owner.clone(),
        identity: gateway.service.identity(&request),
        already_has: request.accepts.already_has.clone(),
        received_in,
    };
    let answer = match run(gateway, request, parts).await {
        Ok((job, awaited)) => {
            let answer = job_response::respond(gateway, &job, &asked).await;
            if answer.as_ref().is_ok_and(|answer| answer.leads_to_job) {
                awaited.keep();
            }
            answer.map(|answer| answer.response)
        }
        Err(problem) => Err(problem),
    };
    let took_work = !answer.as_ref().is_err_and(|problem| was_refused(problem.error.code));
    let mut response = answer.into_response();
    response::set_cache_status(&mut response, CacheStatus::Miss);
    (took_work.then_some(Extension(TookWork)), response).into_response()
}

/// Whether an error means that no conversion was begun.
fn was_refused(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::QueueFull | ErrorCode::JobsUnavailable | ErrorCode::ShuttingDown)
}

/// Submits the job, and waits until it has succeeded. Counts the conversion, unless a worker does.
async fn run(
    gateway: &Gateway,
    request: conversion::Request,
    parts: &Parts,
) -> Result<(Job, AwaitedJob), Problem> {
    let mut uncounted = Some(gateway.service.record(request.target, request.requested_at));
    let ended = run_in_time(gateway, request, parts, &mut uncounted).await;
    if let Some(record) = uncounted {
        record.end(ended.as_ref().err().map(|problem| problem.error.code));
    }
    ended
}

/// Does so in the time of the request, while it has a place in the queue. Empties `uncounted` once a worker has begun.
async fn run_in_time(
    gateway: &Gateway,
    request: conversion::Request,
    parts: &Parts,
    uncounted: &mut Option<Record>,
) -> Result<(Job, AwaitedJob), Problem> {
    check_queue(gateway, request.uploads().iter().map(|file| file.bytes).sum())?;
    let admission = gateway.service.converter().admission();
    let place = admission.enter(&request.client).map_err(|error| gateway.problem(error))?;
    let limit = request.timeout;
    let work = async {
        let (job, awaited) = submit(gateway, request, parts).await?;
        let job = wait_until(gateway, job, has_begun).await?;
        if job.started_at.is_some() {
            place.work();
            if let Some(record) = uncounted.take() {
                record.disarm();
            }
        }
        let job = wait_until(gateway, job, |job| job.state.has_ended()).await?;
        match failure(gateway, &job) {
            Some(problem) => Err(problem),
            None => Ok((job, awaited)),
        }
    };
    let ended = tokio::select! {
        ended = timeout(limit, work) => {
            ended.unwrap_or_else(|_| Err(gateway.problem(conversion::late(limit))))
        }
        error = place.taken_over() => Err(gateway.problem(error)),
    };
    place.leave();
    ended
}

/// Stores the model and records the job. If the client hangs up meanwhile, the job is removed as soon as it is recorded.
async fn submit(
    gateway: &Gateway,
    request: conversion::Request,
    parts: &Parts,
) -> Result<(Job, AwaitedJob), Problem> {
    let conversion::Request { input, main, target, options, folder, client, bypass_cache, .. } = request;
    let files = match input {
        Input::Uploads(files) => files,
        // No request over HTTP has these.
        Input::Local(_) => Vec::new(),
    };
    let census = census(gateway, &files, target, None).await;
    let priority = Priority::Request;
    let spec = JobSpec { priority, main, options, bypass_cache, census, ..new_spec(client, target, parts) };
    let model = ReceivedModel { folder, files, took: Duration::ZERO };
    let submitted = run_detached(record_awaited(gateway.jobs.clone(), spec, model)).await?;
    submitted.map_err(errors::no_room)
}

async fn record_awaited(
    jobs: Jobs,
    spec: JobSpec,
    model: ReceivedModel,
) -> Result<Result<(Job, AwaitedJob), Refusal>, SubmitError> {
    Ok(match record(jobs.clone(), spec, model, None).await? {
        Submission::New(job) | Submission::Replayed(job) => {
            let awaited = AwaitedJob::new(jobs, job.id);
            Ok((job, awaited))
        }
        Submission::Refused(refusal) => Err(refusal),
    })
}

/// Waits until `reached` is true of the job, even if the queue is away for a moment.
async fn wait_until(
    gateway: &Gateway,
    mut job: Job,
    reached: impl Fn(&Job) -> bool + Send,
) -> Result<Job, Problem> {
    let mut away_since = None;
    while !reached(&job) {
        match gateway.jobs.changed(job.id, job.version, WAIT).await {
            Ok(Some(changed)) => (job, away_since) = (changed, None),
            Ok(None) => return Err(removed()),
            Err(error) => {
                let since: Instant = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= AWAY_FOR {
                    return Err(errors::unavailable(&error));
                }
                sleep(PAUSE).await;
            }
        }
    }
    Ok(job)
}

/// Whether a worker has taken the job, now or earlier, or none ever will.
fn has_begun(job: &Job) -> bool {
    job.started_at.is_some() || job.state.has_ended()
}

/// Returns the problem of a job that has ended in another way than by success.
fn failure(gateway: &Gateway, job: &Job) -> Option<Problem> {
    match (job.state, &job.error) {
        (State::Succeeded, _) => None,
        (State::Failed, Some(error)) => Some(gateway.problem(error.clone())),
        // `JOBS_TTL` is shorter than the time of a request.
        (State::Expired, _) => Some(gateway.problem(conversion::late(gateway.settings.timeout))),
        _ => Some(removed()),
    }
}

/// The problem of a job that somebody else has removed, or that the queue has lost.
fn removed() -> Problem {
    errors::unavailable(&"the job of a request is gone")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::{Client, ConversionError};
    use crate::jobs::{End, NewJob};
    use crate::rate_limit::MemoryLimiter;

    /// A gateway with a running job, and the token of its attempt.
    async fn running(folder: &std::path::Path) -> (Arc<Gateway>, Job, u64) {
        let config = Config::load(&Sources::new([])).unwrap();
        let gateway = Gateway::without_engine(folder, config, Arc::new(MemoryLimiter::default()));
        let spec = JobSpec { priority: Priority::Request, ..JobSpec::sample(Client::Local) };
        let new = NewJob { id: uuid::Uuid::now_v7(), spec, idempotency: None };
        gateway.jobs.queue().submit(new).await.unwrap();
        let claim = gateway.jobs.queue().take("a worker").await.unwrap().unwrap();
        (gateway, claim.job, claim.token)
    }

    #[tokio::test]
    async fn a_job_that_failed_has_its_own_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, job, token) = running(folder.path()).await;
        assert!(has_begun(&job) && !job.state.has_ended());
        let error = ConversionError::new(ErrorCode::EmptyModel, "there is nothing in it");
        let finished = gateway.jobs.queue().finish(job.id, token, End::Failed(error.clone()));
        let (finished, job) =
            tokio::join!(finished, wait_until(&gateway, job.clone(), |job| job.state.has_ended()));
        assert!(finished.unwrap());
        let job = job.unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(failure(&gateway, &job).map(|problem| problem.error), Some(error));
    }

    #[tokio::test]
    async fn a_job_that_is_removed_or_cancelled_meanwhile_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, job, token) = running(folder.path()).await;
        gateway.jobs.queue().cancel(job.id).await.unwrap();
        assert!(gateway.jobs.queue().finish(job.id, token, End::Cancelled).await.unwrap());
        let ended = wait_until(&gateway, job.clone(), |job| job.state.has_ended()).await.unwrap();
        let code = |problem: Problem| problem.error.code;
        assert_eq!(failure(&gateway, &ended).map(code), Some(ErrorCode::JobsUnavailable));
        gateway.jobs.remove(job.id).await.unwrap();
        let waited = wait_until(&gateway, job, |job| job.state.has_ended()).await;
        assert_eq!(waited.map_err(code), Err(ErrorCode::JobsUnavailable));
    }
}
