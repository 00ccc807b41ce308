//! Errors that several calls share.

use std::fmt::Display;
use std::time::Duration;

use crate::domain::ErrorCode;
use crate::http::problem::Problem;
use crate::http::shares::Exceeded;
use crate::http::state::Gateway;
use crate::jobs::{QueueError, Refusal, SubmitError};

/// `Retry-After` of an unfinished job, and of a key whose request is still in progress.
pub const POLL_AFTER: Duration = Duration::from_secs(1);

/// `Retry-After` while jobs cannot be read or written.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(5);

/// `Retry-After` when limits of jobs are reached: by then, a small conversion has ended.
const ROOM_AFTER: Duration = Duration::from_secs(10);

/// `Retry-After` when too many event streams are open: by then, a small conversion has ended.
const STREAM_AFTER: Duration = Duration::from_secs(10);

/// The problem of a job that does not exist, or belongs to another client.
pub fn absent() -> Problem {
    Problem::new(ErrorCode::NotFound, "no job has this ID")
}

/// The problem of a queue or a store that failed. Its error may name paths and addresses, so only the log has it.
pub fn unavailable(error: &impl Display) -> Problem {
    tracing::warn!(%error, "jobs are unavailable");
    let detail = "jobs cannot be read or written at the moment; try again";
    Problem::new(ErrorCode::JobsUnavailable, detail).with_retry_after(UNAVAILABLE_AFTER)
}

/// The problem of a queue that did not take a job, or its key for idempotency.
pub fn not_queued(error: &QueueError) -> Problem {
    let mut problem = unavailable(error);
    if matches!(error, QueueError::Full(_)) {
        "the memory of the queue is full, so it takes no new jobs; try again later"
            .clone_into(&mut problem.error.detail);
    }
    problem
}

/// Refuses new jobs while the Redis of the queue is known to be away: their models would be stored for nothing.
///
/// # Errors
/// `jobs_unavailable`
pub fn check_queue(gateway: &Gateway) -> Result<(), Problem> {
    match &gateway.jobs_redis {
        Some(redis) if !redis.health().up => Err(unavailable(&"the Redis of the jobs is away")),
        _ => Ok(()),
    }
}

/// The problem of a job that could not be submitted.
pub fn not_submitted(error: SubmitError) -> Problem {
    match error {
        SubmitError::Queue(error) => not_queued(&error),
        SubmitError::Store(error) => unavailable(&error),
        SubmitError::Upload(error) => error.into(),
    }
}

/// The problem of a job that the queue refused.
pub fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::KeyReused => {
            let detail = "the Idempotency-Key was used for a request with another content; use a new key";
            Problem::new(ErrorCode::IdempotencyKeyReused, detail)
        }
        Refusal::KeyInFlight => key_in_flight(),
        Refusal::ClientJobs | Refusal::Jobs => too_many(limit(refusal), ErrorCode::TooManyJobs),
        Refusal::ClientBytes | Refusal::Bytes => too_many(limit(refusal), ErrorCode::JobsFull),
    }
}

/// The problem of a conversion for whose job the queue has no room: that of any other full queue.
pub fn no_room(refusal: Refusal) -> Problem {
    let detail = format!("queue full: {}; send the request again later", limit(refusal));
    Problem::new(ErrorCode::QueueFull, detail).with_retry_after(ROOM_AFTER)
}

/// The limit that a refused job would exceed.
fn limit(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::ClientJobs => "this client has as many unfinished jobs as it may have (JOBS_LIMIT)",
        Refusal::Jobs => "there are as many unfinished jobs as there may be (JOBS_LIMIT)",
        Refusal::ClientBytes => {
            "the models of this client's unfinished jobs have reached their size limit (JOBS_MAX_SIZE)"
        }
        Refusal::Bytes => "the models of all unfinished jobs have reached their size limit (JOBS_MAX_SIZE)",
        Refusal::KeyReused | Refusal::KeyInFlight => "the Idempotency-Key is in use",
    }
}

/// The problem of a key whose first request has no response yet.
pub fn key_in_flight() -> Problem {
    let detail = "a request with this Idempotency-Key is in progress; repeat this one in a moment";
    Problem::new(ErrorCode::IdempotencyKeyInFlight, detail).with_retry_after(POLL_AFTER)
}

/// The problem of a request that needs a job to have ended.
pub fn not_finished() -> Problem {
    Problem::new(ErrorCode::JobNotFinished, "the job has not ended").with_retry_after(POLL_AFTER)
}

/// The problem of an event stream beyond the limit.
pub fn too_many_streams(exceeded: Exceeded) -> Problem {
    let who = match exceeded {
        Exceeded::Client => "this client",
        Exceeded::All => "all clients together",
    };
    let detail = format!(
        "{who} may not hold more connections with events of jobs (a part of MAX_CONNECTIONS); ask for the state of the \
         job, or try again later"
    );
    Problem::new(ErrorCode::TooManyStreams, detail).with_retry_after(STREAM_AFTER)
}

fn too_many(limit: &str, code: ErrorCode) -> Problem {
    Problem::new(code, format!("{limit}; submit the job again later")).with_retry_after(ROOM_AFTER)
}
