//! The worker: takes jobs and runs them on the path of all conversions.
//!
//! ```text
//!  hint, a job ended, or a second passed ─▶ room? ─▶ take ─▶ run (attempt.rs) ─▶ finish, or give back
//! ```
//!
//! Requests of this process go first: jobs use idle slots, and while requests wait, their share (`JOBS_SHARE`). Among the
//! jobs of a client, the same holds for those of requests to other processes (`Turns`). Heavy jobs are parked until they
//! have a Kubernetes Job (`kubernetes/dispatch.rs`), which takes no slot.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;
use uuid::Uuid;

use super::attempt::{self, Attempt, AttemptEnd, WorkerParts};
use super::hints::hinted;
use super::job::JobSpec;
use super::kubernetes::KubernetesJobs;
use super::queue::{Claim, Hint, TakeOrder};

/// How often a worker looks for jobs, whatever hints there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Heavy jobs that wait in a worker for their Kubernetes Job, at most. More are given back for a while, so that jobs which
/// are not heavy go on.
const MAX_PARKED: usize = 8;

/// Heavy jobs that a worker gives back in a row before it pauses: thousands of them may be queued.
const MAX_REFUSED: usize = 16;

/// How long a worker takes no job after its engine or its store did not work, or the queue did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Decides which of a client's jobs a worker takes first, by the rule of its slots (`slots.rs`): those of requests, unless
/// fewer others run than the share. If the share is all slots, both take turns. So neither waits for ever.
struct Turns {
    slots: usize,
    share: usize,
    /// Running jobs that no request waits for.
    others: TaskTracker,
    /// Whether the latest job that was taken was one of these.
    other_was_last: bool,
}

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
        let slots = worker.parts.service.converter().admission().workers();
        let mut turns = Turns::new(slots, worker.share);
        loop {
            // Not interrupted: a job that was taken must be run.
            let pause = worker.take_all(&name, &tasks, &mut turns).await;
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
    async fn take_all(self: &Arc<Self>, name: &str, tasks: &Tasks, turns: &mut Turns) -> Option<Duration> {
        let mut refused = 0;
        while self.has_room(tasks.running.len()) && !self.draining.is_cancelled() {
            if refused == MAX_REFUSED {
                return Some(LOOK_EVERY);
            }
            let claim = match self.parts.jobs.queue().take_in(turns.order(), name).await {
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
                None => self.start(claim, tasks, turns),
            }
        }
        None
    }

    /// Starts an attempt.
    fn start(self: &Arc<Self>, claim: Claim, tasks: &Tasks, turns: &mut Turns) {
        let (worker, ended, turn) =
            (Arc::clone(self), Arc::clone(&tasks.ended), turns.begin(&claim.job.spec));
        let span = attempt::span(&claim);
        let attempt = async move {
            let _turn = turn;
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

impl Turns {
    fn new(slots: usize, share: usize) -> Self {
        Self { slots, share, others: TaskTracker::new(), other_was_last: false }
    }

    fn order(&self) -> TakeOrder {
        let is_turn_of_others = self.share < self.slots || !self.other_was_last;
        if self.others.len() < self.share && is_turn_of_others {
            TakeOrder::RequestsLast
        } else {
            TakeOrder::RequestsFirst
        }
    }

    /// Notes that this job was taken. It runs until the returned token is dropped.
    fn begin(&mut self, job: &JobSpec) -> Option<TaskTrackerToken> {
        self.other_was_last = !job.is_of_request();
        self.other_was_last.then(|| self.others.token())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Client;
    use crate::jobs::job::Priority;

    fn job() -> JobSpec {
        JobSpec::sample(Client::Local)
    }

    fn of_request() -> JobSpec {
        JobSpec { priority: Priority::Request, ..job() }
    }

    #[test]
    fn others_go_first_up_to_their_share() {
        let mut turns = Turns::new(4, 2);
        let mut running = Vec::new();
        for _ in 0..2 {
            assert_eq!(turns.order(), TakeOrder::RequestsLast);
            running.push(turns.begin(&job()));
        }
        assert_eq!(turns.order(), TakeOrder::RequestsFirst);
        running.push(turns.begin(&of_request()));
        assert_eq!(turns.order(), TakeOrder::RequestsFirst);
        drop(running.remove(0));
        assert_eq!(turns.order(), TakeOrder::RequestsLast);
    }

    #[test]
    fn both_take_turns_at_one_slot() {
        let mut turns = Turns::new(1, 1);
        for _ in 0..3 {
            assert_eq!(turns.order(), TakeOrder::RequestsLast);
            drop(turns.begin(&job()));
            assert_eq!(turns.order(), TakeOrder::RequestsFirst);
            drop(turns.begin(&of_request()));
        }
    }
}
