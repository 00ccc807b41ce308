//! The worker: takes jobs and runs them on the path of all conversions.
//!
//! ```text
//!  hint, a job ended, or a second passed ─▶ room? ─▶ take ─▶ run (attempt.rs) ─▶ finish, or give back
//! ```
//!
//! Requests go first: jobs use idle slots, and while requests wait, their share (`JOBS_SHARE`). Heavy jobs are parked
//! until they have a Kubernetes Job (`kubernetes/dispatch.rs`), which takes no slot.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::attempt::{self, Attempt, AttemptEnd, WorkerParts};
use super::hints::hinted;
use super::kubernetes::KubernetesJobs;
use super::queue::{Claim, Hint};

/// How often a worker looks for jobs, whatever hints there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Heavy jobs that wait in a worker for their Kubernetes Job, at most. More are given back for a while, so that jobs which
/// are not heavy go on.
const MAX_PARKED: usize = 8;

/// Heavy jobs that a worker gives back in a row before it pauses: thousands of them may be queued.
const MAX_REFUSED: usize = 16;

/// How long a worker takes no job after its engine or its store did not work, or the queue did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs jobs in this process.
pub struct Worker {
    pub parts: WorkerParts,
    /// Jobs that may run or wait for a slot while requests wait.
    pub share: usize,
    /// Cancelled when no more jobs are to be taken.
    pub draining: CancellationToken,
    /// `None` if no job is heavy.
    pub kubernetes: Option<KubernetesJobs>,
}

/// The jobs of a worker.
#[derive(Default)]
struct Tasks {
    running: TaskTracker,
    parked: TaskTracker,
    /// Notified when a running one has ended.
    ended: Arc<Notify>,
}

impl Worker {
    /// Takes and runs jobs until `draining`; returns when the last one has ended or was given back.
    pub async fn run(self) {
        let name = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        let (worker, tasks) = (Arc::new(self), Tasks::default());
        let mut hints = worker.parts.jobs.queue().hints();
        loop {
            // Not interrupted: a job that was taken must be run.
            let pause = worker.take_all(&name, &tasks).await;
            tokio::select! {
                () = worker.draining.cancelled() => break,
                () = tokio::time::sleep(pause.unwrap_or(LOOK_EVERY)) => {}
                () = tasks.ended.notified(), if pause.is_none() => {}
                () = hinted(&mut hints, |hint| hint == Hint::Queued), if pause.is_none() => {}
            }
        }
        for tracker in [&tasks.running, &tasks.parked] {
            tracker.close();
            tracker.wait().await;
        }
    }

    /// Takes jobs while there are some and there is room; returns a pause if it makes no sense to go on.
    async fn take_all(self: &Arc<Self>, name: &str, tasks: &Tasks) -> Option<Duration> {
        let mut refused = 0;
        while self.has_room(tasks.running.len()) && !self.draining.is_cancelled() {
            if refused == MAX_REFUSED {
                return Some(LOOK_EVERY);
            }
            let claim = match self.parts.jobs.queue().take(name).await {
                Ok(claim) => claim?,
                Err(error) => {
                    tracing::warn!(%error, "no job could be taken");
                    return Some(PAUSE);
                }
            };
            let job = &claim.job;
            // A job is queued as its first version; the second one is that of its first take.
            if let (2, Some(started)) = (job.version, job.started_at) {
                self.parts.metrics.job_waited(started.since(job.created_at));
            }
            let heavy = self.kubernetes.as_ref().filter(|kubernetes| kubernetes.policy().is_heavy(job));
            match heavy.cloned() {
                Some(kubernetes) => refused += usize::from(!self.park(kubernetes, claim, tasks)),
                None => self.start(claim, tasks),
            }
        }
        None
    }

    /// Starts an attempt.
    fn start(self: &Arc<Self>, claim: Claim, tasks: &Tasks) {
        let (worker, ended) = (Arc::clone(self), Arc::clone(&tasks.ended));
        let span = attempt::span(&claim);
        let attempt = async move {
            let end = Attempt::new(&worker.parts, &claim).run().await;
            if matches!(end, AttemptEnd::GivenBack(reason) if reason.is_paused()) {
                // What this worker lacks, others may have.
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = worker.draining.cancelled() => {}
                }
            }
        };
        let attempt = tasks.running.track_future(attempt.instrument(span));
        tokio::spawn(async move {
            // From here on, it does not count as running any more.
            attempt.await;
            ended.notify_one();
        });
    }

    /// Parks a heavy job until it has a Kubernetes Job; gives it back if too many are parked. Returns whether it is parked.
    fn park(&self, kubernetes: KubernetesJobs, claim: Claim, tasks: &Tasks) -> bool {
        let (has_place, draining) = (tasks.parked.len() < MAX_PARKED, self.draining.clone());
        let span = attempt::span(&claim);
        let parked = async move {
            if has_place {
                kubernetes.dispatch(&claim, &draining).await;
            } else {
                kubernetes.refuse(&claim, &draining).await;
            }
        };
        tasks.parked.spawn(parked.instrument(span));
        has_place
    }

    /// Whether a job may be taken beside `running` ones.
    fn has_room(&self, running: usize) -> bool {
        let admission = self.parts.service.converter().admission();
        running < self.share || running + admission.inside() < admission.workers()
    }
}
