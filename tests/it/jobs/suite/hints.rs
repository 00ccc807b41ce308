//! Hints: each change that somebody may wait for is hinted.

use std::time::{Duration, Instant};

use meshgate::jobs::{Claim, Delivery, End, GiveBack, Hint, Hold, Job, NextAttempt};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use uuid::Uuid;

use crate::gateway::LONG;
use crate::jobs::samples::{PROGRESS, calling, delivered, failure, spec_of};
use crate::jobs::side::{AnyQueue, Side};
use crate::jobs::steps::{due, ended, finish, give_back, record_attempt, submit, succeed, take};

queues! {{
    queued_jobs_are_hinted
    changes_are_hinted
    due_webhooks_are_hinted
    recorded_attempts_to_deliver_are_hinted
}}

/// Acts until the hint that `act` returns arrives. It may take several times, because hints may be lost.
async fn until_hinted<T>(
    queue: &AnyQueue,
    prepare: impl AsyncFn(&AnyQueue) -> T,
    act: impl AsyncFn(&AnyQueue, T) -> Hint,
) {
    let began = Instant::now();
    loop {
        let prepared = prepare(queue).await;
        let mut hints = queue.hints();
        let expected = act(queue, prepared).await;
        let arrives = async {
            loop {
                match hints.recv().await {
                    Ok(hint) if hint == expected => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => panic!("nobody hints any more"),
                }
            }
        };
        if timeout(Duration::from_secs(2), arrives).await.is_ok() {
            return;
        }
        assert!(began.elapsed() < LONG, "never: {expected:?}");
    }
}

/// Makes a running job.
async fn running(queue: &AnyQueue) -> Claim {
    submit(queue, calling("a")).await;
    take(queue).await
}

async fn queued_jobs_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let nothing = async |_: &AnyQueue| ();
    let submits = async |queue: &AnyQueue, ()| {
        submit(queue, spec_of("a")).await;
        Hint::Queued
    };
    until_hinted(&queue, nothing, submits).await;
    let gives_back = async |queue: &AnyQueue, claim: Claim| {
        assert!(give_back(queue, &claim, GiveBack::Stopping).await);
        Hint::Queued
    };
    until_hinted(&queue, running, gives_back).await;
}

async fn changes_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let queued = async |queue: &AnyQueue| submit(queue, spec_of("a")).await.id;
    let takes = async |queue: &AnyQueue, _: Uuid| Hint::Changed(take(queue).await.job.id);
    until_hinted(&queue, &queued, takes).await;
    let cancels = async |queue: &AnyQueue, id: Uuid| {
        queue.cancel(id).await.unwrap().unwrap();
        Hint::Changed(id)
    };
    until_hinted(&queue, &queued, &cancels).await;
    let asks_to_cancel = async |queue: &AnyQueue, claim: Claim| cancels(queue, claim.job.id).await;
    until_hinted(&queue, running, asks_to_cancel).await;
    let renews = async |queue: &AnyQueue, claim: Claim| {
        assert_eq!(queue.renew(claim.job.id, claim.token, Some(PROGRESS)).await.unwrap(), Hold::Held);
        Hint::Changed(claim.job.id)
    };
    until_hinted(&queue, running, renews).await;
    let gives_back = async |queue: &AnyQueue, claim: Claim| {
        assert!(give_back(queue, &claim, GiveBack::Stopping).await);
        Hint::Changed(claim.job.id)
    };
    until_hinted(&queue, running, gives_back).await;
    let ends = async |queue: &AnyQueue, claim: Claim| {
        assert!(finish(queue, &claim, End::Failed(failure())).await);
        Hint::Changed(claim.job.id)
    };
    until_hinted(&queue, running, ends).await;
}

async fn due_webhooks_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let ends = async |queue: &AnyQueue, claim: Claim| {
        succeed(queue, &claim).await;
        Hint::Delivery
    };
    until_hinted(&queue, running, ends).await;
    let repeats = async |queue: &AnyQueue, job: Job| {
        assert!(queue.redeliver(job.id).await.unwrap());
        Hint::Delivery
    };
    until_hinted(&queue, ended, repeats).await;
}

async fn recorded_attempts_to_deliver_are_hinted(side: impl Side) {
    let queue = side.open().await;
    let taken = async |queue: &AnyQueue| {
        ended(queue).await;
        due(queue).await
    };
    let records = async |queue: &AnyQueue, delivery: Delivery| {
        assert!(record_attempt(queue, &delivery, delivered(), NextAttempt::Never).await);
        Hint::Changed(delivery.job.id)
    };
    until_hinted(&queue, taken, records).await;
}
