//! Workers that lose their jobs, and workers that give them back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::domain::{ErrorCode, Stage};
use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{Claim, End, GiveBack, Hold, Progress, State};
use tokio::task::JoinSet;

use crate::gateway::{LONG, PAUSE};
use crate::jobs::{
    AnyQueue, BRIEF, LIMITS, Side, failure, finish, give_back, lose, record, result_of, spec_of, submit,
    succeed, sweep_until, take, take_this,
};

queues! {{
    a_lost_job_is_queued_again
    a_lost_lease_has_no_effect
    a_lease_is_lost_when_it_ends
    renewals_keep_a_lease
    a_job_that_keeps_losing_its_worker_fails
    attempts_without_a_fault_of_the_job_do_not_count
    a_job_out_of_memory_gets_twice_as_much_once
    lost_workers_and_lack_of_memory_count_together
    concurrent_sweeps_queue_a_lost_job_once
}}

const NO_FAULT: [GiveBack; 3] = [GiveBack::Stopping, GiveBack::EngineUnavailable, GiveBack::StoreUnavailable];

/// Checks that this claim is refused everywhere, and changes nothing.
async fn check_is_lost(queue: &AnyQueue, claim: &Claim) {
    let before = record(queue, claim.job.id).await;
    let progress = Progress { stage: Stage::Packing, fraction: Some(0.5) };
    for progress in [None, Some(progress)] {
        assert_eq!(queue.renew(claim.job.id, claim.token, progress).await.unwrap(), Hold::Lost);
    }
    for end in [End::Succeeded(result_of(claim.token)), End::Failed(failure()), End::Cancelled] {
        assert!(!finish(queue, claim, end).await);
    }
    for reason in NO_FAULT.into_iter().chain([GiveBack::OutOfMemory]) {
        assert!(!give_back(queue, claim, reason).await);
    }
    assert_eq!(record(queue, claim.job.id).await, before);
}

async fn a_lost_job_is_queued_again(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    let id = submit(&queue, spec_of("a")).await.id;
    let lost = take(&brief).await;
    let swept = sweep_until(&queue, "it is queued again", |swept| !swept.requeued.is_empty()).await;
    assert_eq!((swept.requeued, swept.ended), (vec![id], vec![]));
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts, job.memory_factor), (State::Queued, 1, 1));
    assert_eq!(job.events.last().and_then(|event| event.reason), Some(GiveBack::WorkerLost));
    assert_eq!(queue.position(id).await.unwrap(), Some(1));

    let claim = take_this(&queue, id).await;
    assert!(claim.token > lost.token);
    assert_eq!(claim.job.attempts, 2);
    // Only the lease of the first worker has ended.
    tokio::time::sleep(2 * BRIEF).await;
    assert!(queue.sweep().await.unwrap().requeued.is_empty());
    succeed(&queue, &claim).await;
}

async fn a_lost_lease_has_no_effect(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    let id = submit(&queue, spec_of("a")).await.id;
    let lost = take(&brief).await;
    lose(&queue, id).await;
    check_is_lost(&brief, &lost).await;
    let claim = take_this(&queue, id).await;
    check_is_lost(&brief, &lost).await;
    assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Held);
    succeed(&queue, &claim).await;
    check_is_lost(&brief, &lost).await;
    assert_eq!(record(&queue, id).await.result, Some(result_of(claim.token)));
}

async fn a_lease_is_lost_when_it_ends(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    submit(&queue, spec_of("a")).await;
    let claim = take(&brief).await;
    // Nobody sweeps until the lease has ended; there is no event to wait for.
    tokio::time::sleep(2 * BRIEF).await;
    check_is_lost(&brief, &claim).await;
}

async fn renewals_keep_a_lease(side: impl Side) {
    // Longer than a busy machine pauses the test.
    let lease = Duration::from_secs(2);
    let (queue, other) = (side.open_with(LIMITS, lease).await, side.open().await);
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    let began = Instant::now();
    while began.elapsed() < lease + lease / 2 {
        assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Held);
        assert!(other.sweep().await.unwrap().requeued.is_empty());
        assert_eq!(other.take("another worker").await.unwrap(), None);
        tokio::time::sleep(lease / 40).await;
    }
    succeed(&queue, &claim).await;
}

async fn a_job_that_keeps_losing_its_worker_fails(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    let id = submit(&queue, spec_of("a")).await.id;
    for attempt in 1..MAX_ATTEMPTS {
        assert_eq!(take_this(&brief, id).await.job.attempts, attempt);
        lose(&queue, id).await;
        assert_eq!(record(&queue, id).await.state, State::Queued);
    }
    let claim = take_this(&brief, id).await;
    let swept = sweep_until(&queue, "it fails", |swept| !swept.ended.is_empty()).await;
    assert_eq!((swept.ended, swept.requeued), (vec![id], vec![]));
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts), (State::Failed, MAX_ATTEMPTS));
    let error = job.error.unwrap();
    assert_eq!(error.code, ErrorCode::EngineCrashed);
    assert!(error.detail.len() > 10 && !error.detail.ends_with('.'), "{}", error.detail);
    check_is_lost(&brief, &claim).await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
}

async fn attempts_without_a_fault_of_the_job_do_not_count(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let mut token = 0;
    for reason in NO_FAULT.into_iter().cycle().take(2 * MAX_ATTEMPTS as usize) {
        let claim = take_this(&queue, id).await;
        assert!(claim.token > token);
        token = claim.token;
        assert_eq!((claim.job.attempts, claim.job.memory_factor), (1, 1));
        assert!(give_back(&queue, &claim, reason).await);
        let job = record(&queue, id).await;
        assert_eq!((job.state, job.attempts), (State::Queued, 0));
        assert_eq!(job.events.last().and_then(|event| event.reason), Some(reason));
        check_is_lost(&queue, &claim).await;
    }
    succeed(&queue, &take(&queue).await).await;
}

async fn a_job_out_of_memory_gets_twice_as_much_once(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    assert!(give_back(&queue, &claim, GiveBack::OutOfMemory).await);
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts, job.memory_factor), (State::Queued, 1, 2));
    let claim = take(&queue).await;
    assert_eq!((claim.job.attempts, claim.job.memory_factor), (2, 2));
    assert!(give_back(&queue, &claim, GiveBack::OutOfMemory).await);
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts), (State::Failed, 2));
    let error = job.error.unwrap();
    assert_eq!(error.code, ErrorCode::MemoryLimit);
    assert!(error.detail.len() > 10 && !error.detail.ends_with('.'), "{}", error.detail);
    assert_eq!(queue.take("a worker").await.unwrap(), None);
}

async fn lost_workers_and_lack_of_memory_count_together(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    let id = submit(&queue, spec_of("a")).await.id;
    for _ in 1..MAX_ATTEMPTS {
        take_this(&brief, id).await;
        lose(&queue, id).await;
    }
    let claim = take_this(&queue, id).await;
    assert!(give_back(&queue, &claim, GiveBack::Stopping).await);
    let claim = take_this(&queue, id).await;
    assert_eq!((claim.job.attempts, claim.job.memory_factor), (MAX_ATTEMPTS, 1));
    assert!(give_back(&queue, &claim, GiveBack::OutOfMemory).await);
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts), (State::Failed, MAX_ATTEMPTS));
    assert_eq!(job.error.map(|error| error.code), Some(ErrorCode::MemoryLimit));
}

async fn concurrent_sweeps_queue_a_lost_job_once(side: impl Side) {
    let (queue, brief) = (side.open().await, side.open_with(LIMITS, BRIEF).await);
    for number in 0..40 {
        submit(&queue, spec_of(&format!("client {}", number % 3))).await;
        take(&brief).await;
    }
    let (mut requeued, began) = (Vec::new(), Instant::now());
    while requeued.len() < 40 {
        let mut sweeps = JoinSet::new();
        for sweeper in [&queue, &brief, &queue, &brief] {
            let sweeper = Arc::clone(sweeper);
            sweeps.spawn(async move { sweeper.sweep().await.unwrap().requeued });
        }
        requeued.extend(sweeps.join_all().await.concat());
        assert!(began.elapsed() < LONG);
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!((requeued.len(), requeued.iter().collect::<HashSet<_>>().len()), (40, 40));
    for id in requeued {
        assert_eq!(record(&queue, id).await.attempts, 1);
    }
    for _ in 0..40 {
        take(&queue).await;
    }
    assert_eq!(queue.take("a worker").await.unwrap(), None);
}
