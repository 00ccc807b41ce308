//! Jobs that are given back: which attempts count, and what the next one gets.

use meshgate::domain::ErrorCode;
use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{GiveBack, Job, State};
use tokio::time::sleep;
use uuid::Uuid;

use crate::gateway::PAUSE;
use crate::jobs::check::{check_failed, check_is_lost, record};
use crate::jobs::samples::spec_of;
use crate::jobs::side::{AnyQueue, LIMITS, Side};
use crate::jobs::steps::{give_back, lose, submit, succeed, take, take_this, take_this_later};

queues! {{
    attempts_without_a_fault_of_the_job_do_not_count
    a_job_out_of_memory_gets_twice_as_much_once
    attempts_for_one_reason_that_counts_are_limited
    attempts_that_count_are_counted_together
    a_job_given_back_gets_its_time_again
    a_job_given_back_because_something_is_unavailable_keeps_its_time
}}

/// Takes the next job, and ends the attempt for this reason.
async fn attempt(queue: &AnyQueue, brief: &AnyQueue, id: Uuid, reason: GiveBack) {
    if reason == GiveBack::WorkerLost {
        take_this_later(brief, id).await;
        lose(queue, id).await;
    } else {
        let claim = take_this_later(queue, id).await;
        assert!(give_back(brief, &claim, reason).await);
    }
}

/// The reason why a job is queued again, by its latest event.
fn reason_of(job: &Job) -> Option<GiveBack> {
    job.events.last().and_then(|event| event.reason)
}

async fn attempts_without_a_fault_of_the_job_do_not_count(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let reasons = [
        GiveBack::Stopping,
        GiveBack::EngineUnavailable,
        GiveBack::StoreUnavailable,
        GiveBack::Unschedulable,
        GiveBack::ClusterBusy,
    ];
    let mut token = 0;
    for reason in reasons.into_iter().cycle().take(2 * MAX_ATTEMPTS as usize) {
        let claim = take_this_later(&queue, id).await;
        assert!(claim.token > token);
        token = claim.token;
        assert_eq!((claim.job.attempts, claim.job.memory_factor), (1, 1));
        assert!(give_back(&brief, &claim, reason).await);
        let job = record(&queue, id).await;
        assert_eq!((job.state, job.attempts), (State::Queued, 0));
        assert_eq!(reason_of(&job), Some(reason));
        check_is_lost(&queue, &claim).await;
    }
    let claim = take_this_later(&queue, id).await;
    succeed(&queue, &claim).await;
}

async fn a_job_out_of_memory_gets_twice_as_much_once(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    assert!(give_back(&queue, &claim, GiveBack::OutOfMemory).await);
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts, job.memory_factor), (State::Queued, 1, 2));
    assert_eq!(reason_of(&job), Some(GiveBack::OutOfMemory));
    let claim = take_this(&queue, id).await;
    assert_eq!((claim.job.attempts, claim.job.memory_factor), (2, 2));
    assert!(give_back(&queue, &claim, GiveBack::OutOfMemory).await);
    let job = record(&queue, id).await;
    check_failed(&job, ErrorCode::MemoryLimit);
    assert_eq!(job.attempts, 2);
    assert_eq!(queue.take("a worker").await.unwrap(), None);
}

async fn attempts_for_one_reason_that_counts_are_limited(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let reasons =
        [(GiveBack::DiskFull, ErrorCode::DiskFull), (GiveBack::EngineLost, ErrorCode::EngineCrashed)];
    for (reason, code) in reasons {
        let id = submit(&queue, spec_of("a")).await.id;
        for number in 1..MAX_ATTEMPTS {
            attempt(&queue, &brief, id, reason).await;
            let job = record(&queue, id).await;
            assert_eq!((job.state, job.attempts, job.memory_factor), (State::Queued, number, 1));
            assert_eq!(reason_of(&job), Some(reason));
        }
        attempt(&queue, &brief, id, reason).await;
        let job = record(&queue, id).await;
        check_failed(&job, code);
        assert_eq!(job.attempts, MAX_ATTEMPTS);
    }
}

async fn attempts_that_count_are_counted_together(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let reasons = [
        (GiveBack::WorkerLost, ErrorCode::EngineCrashed),
        (GiveBack::DiskFull, ErrorCode::DiskFull),
        (GiveBack::OutOfMemory, ErrorCode::MemoryLimit),
    ];
    assert_eq!(reasons.len(), MAX_ATTEMPTS as usize);
    for first in 0..reasons.len() {
        let mut order = reasons;
        order.rotate_left(first);
        let id = submit(&queue, spec_of("a")).await.id;
        for (reason, _) in order {
            // Between them, one that does not count.
            attempt(&queue, &brief, id, GiveBack::Stopping).await;
            assert_eq!(record(&queue, id).await.state, State::Queued);
            attempt(&queue, &brief, id, reason).await;
        }
        let job = record(&queue, id).await;
        // The last one says why it failed.
        check_failed(&job, order[order.len() - 1].1);
        assert_eq!(job.attempts, MAX_ATTEMPTS);
    }
}

/// Submits a job, and ends its first attempt for this reason; returns its record before and after that.
async fn requeued(queue: &AnyQueue, brief: &AnyQueue, reason: GiveBack) -> [Job; 2] {
    let before = submit(queue, spec_of("a")).await;
    // The clock has to go on, so that more time is a later end.
    sleep(PAUSE).await;
    attempt(queue, brief, before.id, reason).await;
    let after = record(queue, before.id).await;
    assert_eq!(after.state, State::Queued);
    queue.remove(before.id).await.unwrap().unwrap();
    [before, after]
}

async fn a_job_given_back_gets_its_time_again(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    for reason in [
        GiveBack::Stopping,
        GiveBack::EngineLost,
        GiveBack::DiskFull,
        GiveBack::OutOfMemory,
        GiveBack::WorkerLost,
    ] {
        let [before, after] = requeued(&queue, &brief, reason).await;
        let queued_at = after.events.last().map(|event| event.at).unwrap();
        assert!(queued_at > before.created_at, "{reason:?}");
        assert!(after.expires_at >= queued_at.plus(LIMITS.ttl), "{reason:?}: {after:?}");
    }
}

async fn a_job_given_back_because_something_is_unavailable_keeps_its_time(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    for reason in [
        GiveBack::EngineUnavailable,
        GiveBack::StoreUnavailable,
        GiveBack::Unschedulable,
        GiveBack::ClusterBusy,
    ] {
        let [before, after] = requeued(&queue, &brief, reason).await;
        assert_eq!(after.expires_at, before.expires_at, "{reason:?}");
    }
}
