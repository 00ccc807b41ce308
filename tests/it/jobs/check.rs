//! Checks of records and claims.

use std::time::{Duration, Instant};

use meshgate::domain::ErrorCode;
use meshgate::jobs::job::{MAX_DELIVERY_ATTEMPTS, MAX_EVENTS};
use meshgate::jobs::{Claim, End, GiveBack, Hold, Job, State};
use uuid::Uuid;

use super::samples::{PROGRESS, failure, result_of};
use super::side::AnyQueue;
use super::steps::{finish, give_back};

/// Returns the record of a job, and checks that there is one and that it is consistent.
pub async fn record(queue: &AnyQueue, id: Uuid) -> Job {
    let job = queue.job(id).await.unwrap().expect("there is no record");
    check_record(&job);
    job
}

/// Checks what is true of every record.
fn check_record(job: &Job) {
    let events = &job.events;
    assert!((1..=MAX_EVENTS).contains(&events.len()), "{job:?}");
    let last = &events[events.len() - 1];
    assert!(last.state == job.state && last.id <= job.version, "{job:?}");
    // Only the webhook of a job that has ended changes the job without an event.
    let further = job.version - last.id;
    if job.state.has_ended() && job.spec.webhook_url.is_some() {
        assert!(further >= job.deliveries.len() as u64, "{job:?}");
    } else {
        assert_eq!((further, job.deliveries.len()), (0, 0), "{job:?}");
    }
    assert!(job.deliveries.len() <= MAX_DELIVERY_ATTEMPTS, "{job:?}");
    for pair in events.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(before.id < after.id, "{job:?}");
        assert!(may_follow(before.state, after.state), "{job:?}");
        assert!(before.progress.is_none() || after.progress.is_none(), "{job:?}");
        let is_requeued = before.state == State::Running && after.state == State::Queued;
        assert_eq!(after.reason.is_some(), is_requeued, "{job:?}");
    }
    assert_eq!(job.ended_at.is_some(), job.state.has_ended(), "{job:?}");
    assert_eq!(job.result.is_some(), job.state == State::Succeeded, "{job:?}");
    assert_eq!(job.error.is_some(), job.state == State::Failed, "{job:?}");
    assert!(job.started_at.is_some() || job.state != State::Running, "{job:?}");
}

/// Whether the event after one with the state `before` may have the state `after`.
fn may_follow(before: State, after: State) -> bool {
    match before {
        State::Queued => matches!(after, State::Running | State::Cancelled | State::Expired),
        // Progress and a request to cancel leave it running.
        State::Running => after != State::Expired,
        _ => false,
    }
}

/// Checks that a job has failed with this code, and with a detail for people.
pub fn check_failed(job: &Job, code: ErrorCode) {
    assert_eq!(job.state, State::Failed, "{job:?}");
    let error = job.error.as_ref().expect("it has no error");
    assert_eq!(error.code, code);
    assert!(error.detail.len() > 10 && !error.detail.ends_with('.'), "{}", error.detail);
}

/// Checks that a pause has passed that began after `began`.
pub fn check_has_passed(pause: Duration, began: Instant) {
    // The clock of a queue counts whole milliseconds.
    let waited = began.elapsed() + Duration::from_millis(2);
    assert!(waited >= pause, "{waited:?}");
}

/// Checks that this claim is refused everywhere, and changes nothing.
pub async fn check_is_lost(queue: &AnyQueue, claim: &Claim) {
    let before = record(queue, claim.job.id).await;
    for progress in [None, Some(PROGRESS)] {
        assert_eq!(queue.renew(claim.job.id, claim.token, progress).await.unwrap(), Hold::Lost);
    }
    for end in [End::Succeeded(result_of(claim.token)), End::Failed(failure()), End::Cancelled] {
        assert!(!finish(queue, claim, end).await);
    }
    for reason in [GiveBack::Stopping, GiveBack::EngineUnavailable, GiveBack::DiskFull, GiveBack::OutOfMemory]
    {
        assert!(!give_back(queue, claim, reason).await);
    }
    assert_eq!(record(queue, claim.job.id).await, before);
}
