//! Makes a Kubernetes Job for a heavy job that a worker has taken.
//!
//! ```text
//!  take ─▶ parked: the lease is renewed ─▶ room? ─▶ create ─▶ the followers hold the job
//!                                           ▲ │ no     │ fails for now
//!                                           └─┴────────┘ pauses
//! ```
//!
//! A parked job needs no slot. While the API server is away, it waits here.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::handle::KubernetesJobs;
use super::progress::SCHEDULING;
use super::reaction::{not_created, too_large, without_room};
use crate::executor::kubernetes::{Created, Error, PodRequest};
use crate::jobs::job::{GiveBack, Job};
use crate::jobs::lease::{Ending, Interrupted, Lease};
use crate::jobs::queue::{Claim, End, Hold};

/// How often a job looks for room when there are as many Kubernetes Jobs as there may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pauses between two tries to create a Kubernetes Job, each of which asks the API server several times.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why there will be no Kubernetes Job: how the attempt ends, and the value of a metric's label.
type Refusal = (Ending, &'static str);

impl KubernetesJobs {
    /// Creates the Kubernetes Job of a heavy job. Returns when the followers hold the job, or when it was given back or has
    /// ended. `stopping`: gives it back at once.
    pub async fn dispatch(&self, claim: &Claim, stopping: &CancellationToken) {
        let job = claim.job.id;
        let mut lease = Lease::new(self.queue(), claim);
        // There is no progress to report, apart from the mark.
        let (_, reported) = watch::channel(None);
        let ending = tokio::select! {
            biased;
            placed = self.place(claim) => placed.err().map(|(ending, reason)| {
                self.metrics.failed(reason);
                ending
            }),
            interrupted = lease.keep(reported) => match interrupted {
                Interrupted::Cancelled => {
                    // The API server may have got the request to create it.
                    self.delete_later(job);
                    Some(Ending::End(End::Cancelled))
                }
                Interrupted::Lost => None,
            },
            () = stopping.cancelled() => Some(Ending::GiveBack(GiveBack::Stopping)),
        };
        if let Some(ending) = ending {
            let told = lease.end(&ending, stopping).await;
            tracing::info!(outcome = ending.word(), ?told, "the job gets no Kubernetes Job");
        }
    }

    /// Gives back a job that was taken while too many others were parked.
    pub async fn refuse(&self, claim: &Claim, stopping: &CancellationToken) {
        let ending = Ending::GiveBack(GiveBack::ClusterBusy);
        Lease::new(self.queue(), claim).end(&ending, stopping).await;
    }

    /// Creates the Kubernetes Job, however long that takes.
    async fn place(&self, claim: &Claim) -> Result<(), Refusal> {
        let Claim { job, token } = claim;
        let Some(pod) = self.policy.pod(job) else { return Err((too_large(), "too_large")) };
        self.mark(claim).await;
        let (mut pause, began) = (FIRST_PAUSE, Instant::now());
        loop {
            if !self.has_room_for(job) {
                sleep(LOOK_EVERY).await;
                continue;
            }
            match self.kubernetes.create(&pod).await {
                Ok(created) => {
                    self.board.created(job.id, *token, created == Created::New);
                    let PodRequest { memory_bytes, cpu_millis, .. } = pod;
                    tracing::info!(
                        ?created,
                        memory_mib = memory_bytes >> 20,
                        cpu_millis,
                        "it has a Kubernetes Job"
                    );
                    return Ok(());
                }
                Err(error) => self.may_try_again(job, &error, began)?,
            }
            sleep(with_jitter(pause, job.id)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Says in the record that the job waits for its pod, which looks for that. Never returns if the lease is not held any
    /// more: whoever renews it learns that, too.
    async fn mark(&self, Claim { job, token }: &Claim) {
        loop {
            match self.queue().renew(job.id, *token, Some(SCHEDULING)).await {
                Ok(Hold::Held) => return,
                Ok(Hold::Cancelled | Hold::Lost) => pending().await,
                Err(error) => tracing::debug!(%error, "a job could not be marked as scheduled; trying again"),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the job may have a Kubernetes Job now. One that it has already may be taken up.
    fn has_room_for(&self, job: &Job) -> bool {
        self.kubernetes.has_room() || self.kubernetes.unfinished().contains(&job.id)
    }

    /// Tells from the error whether creating a Kubernetes Job makes sense a while later. `began`: when it was first tried.
    fn may_try_again(&self, job: &Job, error: &Error, began: Instant) -> Result<(), Refusal> {
        if error.is_lasting() {
            tracing::error!(%error, "no Kubernetes Job can be created");
            return Err((not_created(&self.policy, job, error), error.trouble.word()));
        }
        tracing::warn!(%error, "no Kubernetes Job was created; the job waits");
        let patience = self.kubernetes.settings().pending_timeout;
        if error.is_no_capacity() && began.elapsed() >= patience {
            return Err((without_room(&self.policy, job, &error.to_string()), error.trouble.word()));
        }
        Ok(())
    }

    /// Deletes the Kubernetes Job in the background: the client waits for the end of the job, not for that.
    fn delete_later(&self, job: Uuid) {
        let own = self.clone();
        tokio::spawn(async move { own.delete(job).await });
    }
}

/// Shortens a pause by up to a half, so that parked jobs do not ask at the same moment. The end of an ID is random.
fn with_jitter(pause: Duration, job: Uuid) -> Duration {
    let [.., random] = *job.as_bytes();
    pause.mul_f64(1.0 - f64::from(random) / 512.0)
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
