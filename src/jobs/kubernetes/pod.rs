//! What the pod of a Kubernetes Job does: it runs one attempt of one job.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::progress::waits_for_pod;
use crate::jobs::attempt::{self, Attempt, AttemptEnd, WorkerParts};
use crate::jobs::hints::hinted;
use crate::jobs::queue::{Claim, Hint, Queue, QueueError};

/// How long a pod waits for a job that is queued, or that somebody else runs: a worker may be about to take it, and the
/// followers to notice that the pod before was lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it asks meanwhile, whatever hints there are, and while the queue is away.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How a pod's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodEnd {
    Attempt(AttemptEnd),
    /// The job had ended before, or does not exist any more.
    NothingToDo,
    /// The job was not for this pod, or the process stops.
    GaveUp,
}

/// What a pod finds.
#[derive(Debug)]
enum Found {
    Claim(Box<Claim>),
    /// The job has ended.
    Ended,
    /// It is not there for this pod, or not yet.
    NotYet,
}

/// Waits for the claim of a job, and runs the attempt. Waits as long as the queue is away.
pub async fn run_in_pod(parts: &WorkerParts, job: Uuid) -> PodEnd {
    let claim = tokio::select! {
        biased;
        () = parts.service.cancelling().cancelled() => return PodEnd::GaveUp,
        found = wait_for_claim(&**parts.jobs.queue(), job) => match found {
            Found::Claim(claim) => claim,
            Found::Ended => return PodEnd::NothingToDo,
            Found::NotYet => return PodEnd::GaveUp,
        },
    };
    let span = attempt::span(&claim);
    PodEnd::Attempt(Attempt::new(parts, &claim).run().instrument(span).await)
}

async fn wait_for_claim(queue: &dyn Queue, job: Uuid) -> Found {
    // Before the first look, so that no change between the two is missed.
    let mut hints = queue.hints();
    let mut waits_since = None;
    loop {
        match look(queue, job).await {
            Ok(Found::NotYet) => {
                if waits_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    tracing::warn!(%job, "the job is not for this pod: it is queued, or a worker runs it");
                    return Found::NotYet;
                }
                let _ = timeout(ASK_EVERY, hinted(&mut hints, |hint| hint == Hint::Changed(job))).await;
            }
            Ok(found) => return found,
            Err(error) => {
                tracing::warn!(%job, %error, "the queue cannot be read; asking it again");
                sleep(ASK_EVERY).await;
            }
        }
    }
}

async fn look(queue: &dyn Queue, job: Uuid) -> Result<Found, QueueError> {
    match queue.claim(job).await? {
        Some(claim) if waits_for_pod(&claim.job) => return Ok(Found::Claim(Box::new(claim))),
        Some(_) => return Ok(Found::NotYet),
        None => {}
    }
    let has_ended = queue.job(job).await?.is_none_or(|job| job.state.has_ended());
    Ok(if has_ended { Found::Ended } else { Found::NotYet })
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
