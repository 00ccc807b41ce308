//! Steps that many tests take.

use std::time::{Duration, Instant};

use meshgate::jobs::{
    Claim, Delivery, DeliveryAttempt, End, GiveBack, Job, JobSpec, NextAttempt, Submission, Swept, TakeOrder,
};
use tokio::time::sleep;
use uuid::Uuid;

use super::check::record;
use super::samples::{calling, new_job, result_of};
use super::side::AnyQueue;
use crate::gateway::{LONG, PAUSE};

/// Submits a job, and checks that it is new.
pub async fn submit(queue: &AnyQueue, spec: JobSpec) -> Job {
    match queue.submit(new_job(spec)).await.unwrap() {
        Submission::New(job) => job,
        other => panic!("{other:?}"),
    }
}

/// Takes the next job.
pub async fn take(queue: &AnyQueue) -> Claim {
    queue.take("a worker").await.unwrap().expect("no job is queued")
}

/// Takes the next job, and checks that it is this one.
pub async fn take_this(queue: &AnyQueue, id: Uuid) -> Claim {
    let claim = take(queue).await;
    assert_eq!(claim.job.id, id);
    claim
}

/// Takes the next job in this order, and checks that it is this one.
pub async fn take_this_in(queue: &AnyQueue, order: TakeOrder, id: Uuid) -> Claim {
    let claim = queue.take_in(order, "a worker").await.unwrap().expect("no job is queued");
    assert_eq!(claim.job.id, id);
    claim
}

/// Takes the next job once there is one, and checks that it is this one: its pause may have to end first.
pub async fn take_this_later(queue: &AnyQueue, id: Uuid) -> Claim {
    let claim = until(queue, "a job is queued", async || queue.take("a worker").await.unwrap()).await;
    assert_eq!(claim.job.id, id);
    claim
}

pub async fn position(queue: &AnyQueue, id: Uuid) -> Option<u64> {
    queue.position(id).await.unwrap()
}

pub async fn finish(queue: &AnyQueue, claim: &Claim, end: End) -> bool {
    queue.finish(claim.job.id, claim.token, end).await.unwrap()
}

/// Ends a job as succeeded, and checks that the lease was held.
pub async fn succeed(queue: &AnyQueue, claim: &Claim) {
    assert!(finish(queue, claim, End::Succeeded(result_of(claim.token))).await);
}

pub async fn give_back(queue: &AnyQueue, claim: &Claim, reason: GiveBack) -> bool {
    queue.give_back(claim.job.id, claim.token, reason).await.unwrap()
}

/// Submits a job, takes it, and gives it back for this reason; returns the claim. No other job may be queued.
pub async fn given_back(queue: &AnyQueue, spec: JobSpec, reason: GiveBack) -> Claim {
    let id = submit(queue, spec).await.id;
    let claim = take_this(queue, id).await;
    assert!(give_back(queue, &claim, reason).await);
    claim
}

/// Submits a job with a webhook, and ends it; returns its record.
pub async fn ended(queue: &AnyQueue) -> Job {
    let id = submit(queue, calling("a")).await.id;
    succeed(queue, &take_this(queue, id).await).await;
    record(queue, id).await
}

/// Takes the webhook that is due.
pub async fn due(queue: &AnyQueue) -> Delivery {
    queue.take_delivery().await.unwrap().expect("no webhook is due")
}

/// Takes the next webhook once one is due.
pub async fn due_later(queue: &AnyQueue) -> Delivery {
    until(queue, "a webhook is due", async || queue.take_delivery().await.unwrap()).await
}

pub async fn none_is_due(queue: &AnyQueue) -> bool {
    queue.take_delivery().await.unwrap().is_none()
}

/// Records an attempt to deliver; returns whether its lease was held.
pub async fn record_attempt(
    queue: &AnyQueue,
    delivery: &Delivery,
    attempt: DeliveryAttempt,
    next: NextAttempt,
) -> bool {
    queue.record_delivery_attempt(delivery, attempt, next).await.unwrap()
}

/// Sweeps until `reached` accepts what a sweep did; returns that.
pub async fn sweep_until(queue: &AnyQueue, what: &str, reached: impl Fn(&Swept) -> bool) -> Swept {
    let began = Instant::now();
    loop {
        let swept = queue.sweep().await.unwrap();
        if reached(&swept) {
            return swept;
        }
        assert!(began.elapsed() < LONG, "never: {what}");
        sleep(PAUSE).await;
    }
}

/// Sweeps until the lease of a running job has ended.
pub async fn lose(queue: &AnyQueue, id: Uuid) {
    let is_lost = |swept: &Swept| {
        [&swept.requeued, &swept.dead, &swept.cancelled].iter().any(|jobs| jobs.contains(&id))
    };
    sweep_until(queue, "its lease ends", is_lost).await;
}

/// Waits until all leases and pauses of this duration that have begun are over, for what no sweep tells.
pub async fn outlive(lease: Duration) {
    // Longer, because the clock of a queue counts whole milliseconds.
    sleep(2 * lease).await;
}

/// Tries until there is something to return. Sweeps as well, because either of the two may find that a time is over.
async fn until<T>(queue: &AnyQueue, what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        queue.sweep().await.unwrap();
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(began.elapsed() < LONG, "never: {what}");
        sleep(PAUSE).await;
    }
}
