//! Jobs that their client cancels.

use std::sync::Arc;

use meshgate::jobs::{End, Hold, State};

use crate::jobs::check::{check_is_lost, record};
use crate::jobs::samples::{PROGRESS, REASONS, failure, result_of, spec_of};
use crate::jobs::side::{LIMITS, Side};
use crate::jobs::steps::{finish, give_back, position, submit, succeed, sweep_until, take, take_this};

queues! {{
    a_queued_job_is_cancelled_at_once
    the_worker_of_a_running_job_learns_that_it_is_cancelled
    a_job_to_be_cancelled_ends_as_cancelled_however_it_ends
    a_job_to_be_cancelled_is_cancelled_when_its_lease_is_lost
    a_job_to_be_cancelled_is_never_queued_again
    concurrent_take_and_cancel_agree
    concurrent_success_and_cancel_agree
}}

async fn a_queued_job_is_cancelled_at_once(side: impl Side) {
    let queue = side.open().await;
    let (first, second) = (submit(&queue, spec_of("a")).await, submit(&queue, spec_of("a")).await);
    let cancelled = queue.cancel(first.id).await.unwrap().unwrap();
    assert_eq!(cancelled, record(&queue, first.id).await);
    assert_eq!((cancelled.state, cancelled.attempts, cancelled.started_at), (State::Cancelled, 0, None));
    assert_eq!(Some(cancelled.expires_at), cancelled.ended_at.map(|at| at.plus(LIMITS.ttl)));
    assert_eq!(position(&queue, first.id).await, None);
    take_this(&queue, second.id).await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    assert_eq!(queue.cancel(first.id).await.unwrap(), Some(cancelled));
}

async fn the_worker_of_a_running_job_learns_that_it_is_cancelled(side: impl Side) {
    let (queue, client) = (side.open().await, side.open().await);
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Held);
    for _ in 0..2 {
        let job = client.cancel(id).await.unwrap().unwrap();
        assert_eq!((job.state, job.cancel_requested), (State::Running, true));
        assert_eq!(record(&queue, id).await, job);
        for progress in [None, Some(PROGRESS)] {
            assert_eq!(queue.renew(id, claim.token, progress).await.unwrap(), Hold::Cancelled);
        }
    }
    assert!(finish(&queue, &claim, End::Cancelled).await);
    assert_eq!(record(&queue, id).await.state, State::Cancelled);
}

async fn a_job_to_be_cancelled_ends_as_cancelled_however_it_ends(side: impl Side) {
    let queue = side.open().await;
    for number in 0..3 {
        let id = submit(&queue, spec_of("a")).await.id;
        let claim = take(&queue).await;
        let ends = [End::Succeeded(result_of(claim.token)), End::Failed(failure()), End::Cancelled];
        queue.cancel(id).await.unwrap().unwrap();
        assert!(finish(&queue, &claim, ends[number].clone()).await);
        let job = record(&queue, id).await;
        assert_eq!((job.state, job.error, job.result), (State::Cancelled, None, None));
    }
}

async fn a_job_to_be_cancelled_is_cancelled_when_its_lease_is_lost(side: impl Side) {
    let (queue, brief) = side.open_pair().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&brief).await;
    queue.cancel(id).await.unwrap().unwrap();
    let swept = sweep_until(&queue, "it ends", |swept| !swept.cancelled.is_empty()).await;
    assert_eq!((swept.cancelled, swept.requeued), (vec![id], vec![]));
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.error.as_ref()), (State::Cancelled, None));
    check_is_lost(&queue, &claim).await;
}

async fn a_job_to_be_cancelled_is_never_queued_again(side: impl Side) {
    let queue = side.open().await;
    for reason in REASONS {
        let id = submit(&queue, spec_of("a")).await.id;
        let claim = take_this(&queue, id).await;
        queue.cancel(id).await.unwrap().unwrap();
        assert!(give_back(&queue, &claim, reason).await);
        let job = record(&queue, id).await;
        assert_eq!((job.state, job.error), (State::Cancelled, None), "{reason:?}");
        assert_eq!(queue.take("a worker").await.unwrap(), None);
    }
}

async fn concurrent_take_and_cancel_agree(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    for _ in 0..30 {
        let id = submit(&queue, spec_of("a")).await.id;
        let worker = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.take("a worker").await.unwrap() })
        };
        let answer = other.cancel(id).await.unwrap().unwrap();
        let claim = worker.await.unwrap();
        let job = record(&queue, id).await;
        match claim {
            None => assert_eq!((answer.state, job.state), (State::Cancelled, State::Cancelled)),
            Some(claim) => {
                assert_eq!((answer.state, job.state), (State::Running, State::Running));
                assert_eq!(queue.renew(id, claim.token, None).await.unwrap(), Hold::Cancelled);
                assert!(finish(&queue, &claim, End::Cancelled).await);
            }
        }
    }
}

async fn concurrent_success_and_cancel_agree(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    for _ in 0..30 {
        let id = submit(&queue, spec_of("a")).await.id;
        let claim = take_this(&queue, id).await;
        let client = {
            let other = Arc::clone(&other);
            tokio::spawn(async move { other.cancel(id).await.unwrap().unwrap() })
        };
        succeed(&queue, &claim).await;
        let answer = client.await.unwrap();
        assert!(answer.state == State::Succeeded || answer.cancel_requested, "{answer:?}");
        let expected = if answer.cancel_requested { State::Cancelled } else { State::Succeeded };
        assert_eq!(record(&queue, id).await.state, expected);
    }
}
