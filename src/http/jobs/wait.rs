//! Waits for a change of a job.

use std::time::Duration;

use tokio::time::Instant;

use crate::http::state::Gateway;
use crate::jobs::{Job, QueueError};

/// Waits until `reached` is true of the job, or `within` is over, or the server stops; returns the job as it is then.
/// `None`: the job was removed meanwhile.
pub async fn until(
    gateway: &Gateway,
    mut job: Job,
    within: Duration,
    reached: impl Fn(&Job) -> bool + Send,
) -> Result<Option<Job>, QueueError> {
    let deadline = Instant::now() + within;
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
