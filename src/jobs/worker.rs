//! The worker: takes jobs and runs them on the path of all conversions.
//!
//! ```text
//!  hint, a job ended, or a second passed ─▶ room? ─▶ take ─▶ run (attempt.rs) ─▶ finish, or give back
//! ```
//!
//! Requests go first: jobs use idle slots, and while requests wait, their share (`JOBS_SHARE`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::attempt::{Attempt, WorkerParts};
use super::hints::hinted;
use super::queue::Hint;
use crate::telemetry::{self, otlp};

/// How often a worker looks for jobs, whatever hints there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a worker takes no job after its engine or its store did not work, or the queue did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs jobs in this process.
pub struct Worker {
    pub parts: WorkerParts,
    /// Jobs that may run or wait for a slot while requests wait.
    pub share: usize,
    /// Cancelled when no more jobs are to be taken.
    pub draining: CancellationToken,
}

impl Worker {
    /// Takes and runs jobs until `draining`; returns when the last one has ended or was given back.
    pub async fn run(self) {
        let name = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        let (worker, running, ended) = (Arc::new(self), TaskTracker::new(), Arc::new(Notify::new()));
        let mut hints = worker.parts.jobs.queue().hints();
        loop {
            // Not interrupted: a job that was taken must be run.
            let pause = worker.take_all(&name, &running, &ended).await;
            tokio::select! {
                () = worker.draining.cancelled() => break,
                () = tokio::time::sleep(pause.unwrap_or(LOOK_EVERY)) => {}
                () = ended.notified(), if pause.is_none() => {}
                () = hinted(&mut hints, |hint| hint == Hint::Queued), if pause.is_none() => {}
            }
        }
        running.close();
        running.wait().await;
    }

    /// Takes jobs while there are some and there is room; returns a pause if it makes no sense to go on.
    async fn take_all(
        self: &Arc<Self>,
        name: &str,
        running: &TaskTracker,
        ended: &Arc<Notify>,
    ) -> Option<Duration> {
        while self.has_room(running.len()) && !self.draining.is_cancelled() {
            let claim = match self.parts.jobs.queue().take(name).await {
                Ok(claim) => claim?,
                Err(error) => {
                    tracing::warn!(%error, "no job could be taken");
                    return Some(PAUSE);
                }
            };
            let job = claim.job.id;
            let request = &claim.job.spec.request_id;
            let span = telemetry::span!("job", %job, id = request, attempt = claim.job.attempts);
            if let Some(parent) = &claim.job.spec.trace_parent {
                otlp::continue_trace(&span, parent);
            }
            let (worker, ended) = (Arc::clone(self), Arc::clone(ended));
            let attempt = async move {
                let attempt = Attempt::new(&worker.parts, &claim);
                if attempt.run().await.is_err() {
                    // What this worker lacks, others may have.
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = worker.draining.cancelled() => {}
                    }
                }
            };
            let attempt = running.track_future(attempt.instrument(span));
            tokio::spawn(async move {
                // From here on, it does not count as running any more.
                attempt.await;
                ended.notify_one();
            });
        }
        None
    }

    /// Whether a job may be taken beside `running` ones.
    fn has_room(&self, running: usize) -> bool {
        let admission = self.parts.service.converter().admission();
        running < self.share || running + admission.inside() < admission.workers()
    }
}
