//! Leases: who holds one, what ends it, and what becomes of the job then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::domain::ErrorCode;
use meshgate::jobs::queue::MAX_ATTEMPTS;
use meshgate::jobs::{GiveBack, Hold, State, Swept};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::gateway::{LONG, PAUSE};
use crate::jobs::check::{check_failed, check_is_lost, record};
use crate::jobs::samples::{PROGRESS, result_of, spec_of};
use crate::jobs::side::{BRIEF, LIMITS, Side};
use crate::jobs::steps::{give_back, lose, outlive, position, submit, succeed, sweep_until, take, take_this};

queues! {{
    renewals_keep_a_lease
    a_lease_that_has_ended_is_held_until_a_sweep
    a_sweep_queues_a_job_whose_lease_has_ended
    a_lease_that_a_sweep_has_ended_has_no_effect
    a_job_that_keeps_losing_its_worker_fails
    concurrent_sweeps_queue_a_lost_job_once
    extended_leases_are_held_again
    an_extended_lease_ends_without_renewal
    workers_with_one_name_do_not_disturb_each_other
}}

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
        sleep(lease / 40).await;
    }
    succeed(&queue, &claim).await;
}

async fn a_lease_that_has_ended_is_held_until_a_sweep(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&brief).await;
    outlive(BRIEF).await;
    assert_eq!(queue.take("another worker").await.unwrap(), None);
    assert_eq!(brief.renew(id, claim.token, Some(PROGRESS)).await.unwrap(), Hold::Held);
    assert_eq!(record(&queue, id).await.progress, Some(PROGRESS));
    outlive(BRIEF).await;
    assert!(give_back(&brief, &claim, GiveBack::Stopping).await);
    assert_eq!(record(&queue, id).await.state, State::Queued);

    let claim = take_this(&brief, id).await;
    outlive(BRIEF).await;
    // A renewal that comes so late is one like any other.
    assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Held);
    assert_eq!(queue.sweep().await.unwrap(), Swept::default());
    queue.cancel(id).await.unwrap().unwrap();
    assert_eq!(brief.renew(id, claim.token, None).await.unwrap(), Hold::Cancelled);
    outlive(BRIEF).await;
    assert_eq!(brief.renew(id, claim.token, None).await.unwrap(), Hold::Cancelled);
    outlive(BRIEF).await;
    succeed(&brief, &claim).await;
    assert_eq!(record(&queue, id).await.state, State::Cancelled);
    assert_eq!(queue.sweep().await.unwrap(), Swept::default());
}

async fn a_sweep_queues_a_job_whose_lease_has_ended(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let lost = take(&brief).await;
    let swept = sweep_until(&queue, "it is queued again", |swept| !swept.requeued.is_empty()).await;
    assert_eq!((swept.requeued, swept.dead), (vec![id], vec![]));
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts, job.memory_factor), (State::Queued, 1, 1));
    assert_eq!(job.events.last().and_then(|event| event.reason), Some(GiveBack::WorkerLost));
    assert_eq!(position(&queue, id).await, Some(1));

    let claim = take_this(&queue, id).await;
    assert!(claim.token > lost.token);
    assert_eq!(claim.job.attempts, 2);
    // Only the lease of the first worker has ended.
    outlive(BRIEF).await;
    assert_eq!(queue.sweep().await.unwrap(), Swept::default());
    succeed(&queue, &claim).await;
}

async fn a_lease_that_a_sweep_has_ended_has_no_effect(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
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

async fn a_job_that_keeps_losing_its_worker_fails(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = submit(&queue, spec_of("a")).await.id;
    for attempt in 1..MAX_ATTEMPTS {
        assert_eq!(take_this(&brief, id).await.job.attempts, attempt);
        lose(&queue, id).await;
        assert_eq!(record(&queue, id).await.state, State::Queued);
    }
    let claim = take_this(&brief, id).await;
    let swept = sweep_until(&queue, "it fails", |swept| !swept.dead.is_empty()).await;
    assert_eq!((swept.dead, swept.requeued), (vec![id], vec![]));
    let job = record(&queue, id).await;
    check_failed(&job, ErrorCode::EngineCrashed);
    assert_eq!(job.attempts, MAX_ATTEMPTS);
    check_is_lost(&brief, &claim).await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
}

async fn concurrent_sweeps_queue_a_lost_job_once(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
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
        sleep(PAUSE).await;
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

async fn extended_leases_are_held_again(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    for _ in 0..4 {
        submit(&queue, spec_of("a")).await;
    }
    let held = take(&queue).await;
    let late = [take(&brief).await, take(&brief).await];
    outlive(BRIEF).await;
    // Only leases that have ended are extended.
    assert_eq!(queue.extend_leases().await.unwrap(), 2);
    assert_eq!(queue.extend_leases().await.unwrap(), 0);
    assert_eq!(queue.sweep().await.unwrap(), Swept::default());
    for claim in &late {
        assert_eq!(record(&queue, claim.job.id).await, claim.job);
        assert_eq!(queue.renew(claim.job.id, claim.token, None).await.unwrap(), Hold::Held);
    }
    for claim in late.iter().chain([&held]) {
        succeed(&queue, claim).await;
    }
    assert_eq!(queue.stats().await.unwrap().jobs, [1, 0, 3, 0, 0, 0]);
}

async fn an_extended_lease_ends_without_renewal(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&brief).await;
    outlive(BRIEF).await;
    assert_eq!(brief.extend_leases().await.unwrap(), 1);
    lose(&queue, id).await;
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.attempts), (State::Queued, 1));
    check_is_lost(&brief, &claim).await;
    assert_eq!(brief.extend_leases().await.unwrap(), 0);
    take_this(&queue, id).await;
}

async fn workers_with_one_name_do_not_disturb_each_other(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    for _ in 0..2 {
        submit(&queue, spec_of("a")).await;
    }
    // All workers of this test have the same name.
    let (kept, lost) = (take(&queue).await, take(&brief).await);
    assert_ne!(kept.job.id, lost.job.id);
    lose(&queue, lost.job.id).await;
    let again = take_this(&queue, lost.job.id).await;
    check_is_lost(&brief, &lost).await;
    // Neither the lost lease nor the attempts to use it cost another one.
    for claim in [&kept, &again] {
        assert_eq!(queue.renew(claim.job.id, claim.token, None).await.unwrap(), Hold::Held);
        succeed(&queue, claim).await;
        assert_eq!(record(&queue, claim.job.id).await.result, Some(result_of(claim.token)));
    }
}
