//! Waits for a change of a job.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Client;
use crate::http::state::Gateway;
use crate::jobs::{Job, QueueError};

/// Waits until `reached` is true of the job, or `within` is over, or the server stops; returns the job as it is then.
/// `None`: the job was removed meanwhile. While too many requests wait already, it does not wait, and `within` becomes
/// zero.
pub async fn until(
    gateway: &Gateway,
    client: Client,
    mut job: Job,
    within: &mut Duration,
    reached: impl Fn(&Job) -> bool + Send,
) -> Result<Option<Job>, QueueError> {
    if within.is_zero() || reached(&job) {
        return Ok(Some(job));
    }
    let Ok(_waiting) = gateway.waiting.enter(client) else {
        *within = Duration::ZERO;
        return Ok(Some(job));
    };
    let deadline = Instant::now() + *within;
    while !reached(&job) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let changed = tokio::select! {
            changed = gateway.jobs.changed(job.id, job.version, left) => changed?,
            () = gateway.shutdown.closed.cancelled() => break,
        };
        match changed {
            Some(changed) => job = changed,
            None => return Ok(None),
        }
    }
    Ok(Some(job))
}
