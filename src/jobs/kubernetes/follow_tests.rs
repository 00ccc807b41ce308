use std::time::SystemTime;

use serde_json::json;
use tokio::time::advance;

use super::*;
use crate::domain::{ErrorCode, Stage};
use crate::jobs::job::{GiveBack, Job, Progress, State};
use crate::jobs::kubernetes::tests::{JOBS, LARGE, SMALL, World, refusal};
use crate::jobs::queue::Claim;

/// Longer than the patience with any end.
const LATER: Duration = Duration::from_secs(6);

impl World {
    /// A cluster that does what it is asked for.
    fn obedient() -> Self {
        World::new(|_| (200, json!({})))
    }

    fn show(&self, job: Uuid, phase: Phase) {
        self.heavy.note(Change { job, phase });
    }

    /// Looks after all Kubernetes Jobs once.
    async fn look(&self) {
        for (job, action) in self.heavy.check_all().await {
            self.heavy.act(job, action).await;
        }
    }

    /// A job whose Kubernetes Job waits, and has been looked after.
    async fn waiting(&self, bytes: u64) -> Claim {
        let claim = self.taken(bytes).await;
        self.show(claim.job.id, waits());
        self.look().await;
        claim
    }
}

fn waits() -> Phase {
    Phase::Pending { since: SystemTime::UNIX_EPOCH, why: None }
}

fn runs() -> Phase {
    Phase::Running { started: SystemTime::UNIX_EPOCH }
}

/// Why the job is queued.
fn reason(job: &Job) -> Option<GiveBack> {
    assert_eq!(job.state, State::Queued);
    job.events.last().and_then(|event| event.reason)
}

#[tokio::test(start_paused = true)]
async fn a_pod_out_of_memory_is_followed_by_a_larger_one() {
    let world = World::obedient();
    let id = world.waiting(LARGE).await.job.id;
    let first = world.heavy.policy.pod(&world.record(id).await).unwrap();
    for phase in [runs(), Phase::Ended(Outcome::OutOfMemory)] {
        world.show(id, phase);
    }
    // The pod might still record something.
    world.look().await;
    assert_eq!(world.record(id).await.state, State::Running);
    advance(LATER).await;
    world.look().await;
    let record = world.record(id).await;
    assert_eq!((reason(&record), record.memory_factor), (Some(GiveBack::OutOfMemory), 2));
    assert!(world.heavy.policy.pod(&record).unwrap().memory_bytes > first.memory_bytes);
    // It has ended by itself, and the next one replaces it.
    assert!(world.requests().is_empty() && world.heavy.board.attention().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_pod_has_recorded_changes_nothing() {
    for outcome in [Outcome::Completed, Outcome::ModelsFault, Outcome::OutOfMemory] {
        let world = World::obedient();
        let Claim { job, token } = world.waiting(LARGE).await;
        world.queue.finish(job.id, token, End::Cancelled).await.unwrap();
        world.show(job.id, Phase::Ended(outcome));
        advance(LATER).await;
        world.look().await;
        assert_eq!(world.record(job.id).await.state, State::Cancelled);
        assert!(world.heavy.board.attention().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_record_costs_an_attempt() {
    for outcome in [Outcome::Completed, Outcome::Failed("evicted".to_owned()), Outcome::Deleted] {
        let world = World::obedient();
        let id = world.waiting(LARGE).await.job.id;
        world.show(id, Phase::Ended(outcome));
        advance(LATER).await;
        world.look().await;
        let record = world.record(id).await;
        assert_eq!((reason(&record), record.attempts), (Some(GiveBack::WorkerLost), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_attempt_does_not_end_the_next_one() {
    let world = World::obedient();
    let Claim { job, token } = world.waiting(LARGE).await;
    // Another process was faster, and the next attempt has begun.
    assert!(world.queue.give_back(job.id, token, GiveBack::OutOfMemory).await.unwrap());
    let next = world.take().await;
    world.look().await;
    world.show(job.id, Phase::Ended(Outcome::OutOfMemory));
    advance(LATER).await;
    world.look().await;
    assert_eq!(world.queue.claim(job.id).await.unwrap(), Some(next));
}

#[tokio::test(start_paused = true)]
async fn a_job_without_room_in_the_cluster_goes_to_a_worker_or_fails() {
    for (bytes, outcome, code) in [
        (SMALL, Outcome::NoCapacity("no node".to_owned()), None),
        (LARGE, Outcome::NoCapacity("no node".to_owned()), Some(ErrorCode::NoCapacity)),
        (LARGE, Outcome::Image("no such tag".to_owned()), Some(ErrorCode::EngineUnavailable)),
    ] {
        let world = World::obedient();
        let id = world.waiting(bytes).await.job.id;
        world.show(id, Phase::Ended(outcome));
        world.look().await;
        let record = world.record(id).await;
        match code {
            None => assert_eq!(reason(&record), Some(GiveBack::Unschedulable)),
            Some(code) => assert_eq!(record.error.map(|error| error.code), Some(code)),
        }
        let name = world.heavy.kubernetes.settings().job_name(id);
        assert_eq!(world.requests(), [format!("DELETE {JOBS}/{name}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_not_passed_on_before_its_kubernetes_job_is_deleted() {
    let world = World::new(|_| refusal(500, "InternalError", "etcd is away"));
    let id = world.waiting(SMALL).await.job.id;
    world.show(id, Phase::Ended(Outcome::NoCapacity("no node".to_owned())));
    world.look().await;
    assert_eq!(world.record(id).await.state, State::Running);
    assert!(!world.requests().is_empty() && !world.heavy.board.attention().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_ends_and_its_kubernetes_job_is_deleted() {
    for code in [200, 500] {
        let world = World::new(move |_| refusal(code, "", ""));
        let id = world.waiting(LARGE).await.job.id;
        world.queue.cancel(id).await.unwrap().unwrap();
        world.look().await;
        assert_eq!(world.record(id).await.state, State::Cancelled);
        let requests = world.requests().len();
        assert!(requests > 0);
        // Not again at once.
        world.look().await;
        assert_eq!(world.requests().len(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kubernetes_job_without_a_job_is_deleted() {
    let world = World::obedient();
    let id = Uuid::now_v7();
    world.show(id, waits());
    world.look().await;
    let name = world.heavy.kubernetes.settings().job_name(id);
    assert_eq!(world.requests(), [format!("DELETE {JOBS}/{name}")]);
}

#[tokio::test(start_paused = true)]
async fn a_job_given_back_by_its_pod_waits_for_the_next_taker() {
    let world = World::obedient();
    let Claim { job, token } = world.waiting(LARGE).await;
    world.show(job.id, runs());
    assert!(world.queue.give_back(job.id, token, GiveBack::Stopping).await.unwrap());
    for _ in 0..3 {
        world.look().await;
    }
    let next = world.take().await;
    world.look().await;
    let tokens: Vec<_> = world.heavy.board.attention().iter().map(|found| found.token).collect();
    assert_eq!((tokens, world.requests()), (vec![Some(next.token)], vec![]));
}

#[tokio::test(start_paused = true)]
async fn the_record_says_when_a_pod_was_lost() {
    let world = World::obedient();
    let Claim { job, token } = world.waiting(LARGE).await;
    world.show(job.id, runs());
    let importing = Progress { stage: Stage::Importing, fraction: None };
    world.queue.renew(job.id, token, Some(importing)).await.unwrap();
    world.look().await;
    assert_eq!(world.record(job.id).await.progress, Some(importing));
    world.show(job.id, waits());
    world.look().await;
    let record = world.record(job.id).await;
    assert_eq!(record.progress, Some(SCHEDULING));
    // Once is enough.
    world.look().await;
    assert_eq!(world.record(job.id).await.version, record.version);
}
