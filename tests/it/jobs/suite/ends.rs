//! Ends of jobs: each job ends once, and its end never changes.

use std::sync::Arc;

use meshgate::jobs::{End, GiveBack, Hold, NextAttempt, State};
use tokio::task::JoinSet;

use crate::jobs::check::record;
use crate::jobs::samples::{PROGRESS, calling, delivered, failure, result_of, spec_of};
use crate::jobs::side::{LIMITS, Side};
use crate::jobs::steps::{
    due, finish, give_back, none_is_due, record_attempt, submit, succeed, take, take_this,
};
use crate::jobs::ways::{Handles, Way};

queues! {{
    a_failed_job_has_its_error_and_no_result
    end_states_never_change
    an_end_that_is_repeated_is_accepted_and_changes_nothing
    a_failure_after_a_cancel_is_repeated
    concurrent_ends_end_a_job_once
}}

async fn a_failed_job_has_its_error_and_no_result(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    assert!(finish(&queue, &claim, End::Failed(failure())).await);
    let job = record(&queue, id).await;
    assert_eq!((job.state, job.error, job.result), (State::Failed, Some(failure()), None));
}

async fn end_states_never_change(side: impl Side) {
    let handles = Handles::open(&side, LIMITS).await;
    let queue = &handles.queue;
    for way in Way::ALL {
        let id = way.submit(&handles, spec_of("a")).await.id;
        way.end(&handles, id).await;
        let ended = record(queue, id).await;
        assert_eq!(ended.state, way.state(), "{way:?}");
        // Tokens follow the clock, so that these are its own ones and those around them.
        let latest = ended.started_at.map_or(5, |at| at.0);
        for token in latest - 3..=latest + 3 {
            for end in [End::Succeeded(result_of(token)), End::Failed(failure()), End::Cancelled] {
                // Its own attempt may repeat how it has finished the job.
                let may_be_repeated = way.finish(token).as_ref() == Some(&end);
                let answer = queue.finish(id, token, end).await.unwrap();
                assert!(!answer || may_be_repeated, "{way:?}");
            }
            for reason in [GiveBack::Stopping, GiveBack::EngineUnavailable, GiveBack::OutOfMemory] {
                assert!(!queue.give_back(id, token, reason).await.unwrap(), "{way:?}");
            }
            assert_eq!(queue.renew(id, token, Some(PROGRESS)).await.unwrap(), Hold::Lost, "{way:?}");
        }
        assert_eq!(queue.cancel(id).await.unwrap().as_ref(), Some(&ended), "{way:?}");
        assert_eq!(queue.take("a worker").await.unwrap(), None, "{way:?}");
        assert_eq!(record(queue, id).await, ended, "{way:?}");
    }
}

async fn an_end_that_is_repeated_is_accepted_and_changes_nothing(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    for number in 0..3 {
        let id = submit(&queue, calling("a")).await.id;
        // An earlier attempt, which has not ended the job.
        let given_back = take_this(&queue, id).await;
        assert!(give_back(&queue, &given_back, GiveBack::Stopping).await);
        let claim = take_this(&queue, id).await;
        let ends = [End::Succeeded(result_of(claim.token)), End::Failed(failure()), End::Cancelled];
        assert!(finish(&queue, &claim, ends[number].clone()).await);
        let delivery = due(&queue).await;
        assert!(record_attempt(&queue, &delivery, delivered(), NextAttempt::Never).await);
        let ended = record(&queue, id).await;
        for handle in [&queue, &other, &queue] {
            for (another, end) in ends.iter().enumerate() {
                assert_eq!(finish(handle, &claim, end.clone()).await, another == number, "{ended:?}");
                assert!(!finish(handle, &given_back, end.clone()).await, "{ended:?}");
            }
            assert_eq!(record(handle, id).await, ended);
        }
        // Its webhook is not sent again.
        assert!(none_is_due(&queue).await);
    }
}

async fn a_failure_after_a_cancel_is_repeated(side: impl Side) {
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let claim = take(&queue).await;
    queue.cancel(id).await.unwrap().unwrap();
    assert!(finish(&queue, &claim, End::Failed(failure())).await);
    let ended = record(&queue, id).await;
    assert_eq!(ended.state, State::Cancelled);
    // The worker reports the same end, although the job has another one.
    assert!(finish(&queue, &claim, End::Failed(failure())).await);
    assert!(!finish(&queue, &claim, End::Succeeded(result_of(claim.token))).await);
    assert_eq!(record(&queue, id).await, ended);
}

async fn concurrent_ends_end_a_job_once(side: impl Side) {
    let handles = [side.open().await, side.open().await];
    for _ in 0..20 {
        let id = submit(&handles[0], spec_of("a")).await.id;
        let claim = take(&handles[0]).await;
        let mut ends = JoinSet::new();
        for number in 0..6 {
            let (queue, claim) = (Arc::clone(&handles[number % 2]), claim.clone());
            ends.spawn(async move {
                let (state, done) = match number {
                    0 | 1 => {
                        let end = End::Succeeded(result_of(claim.token));
                        (State::Succeeded, finish(&queue, &claim, end).await)
                    }
                    2 | 3 => (State::Failed, finish(&queue, &claim, End::Failed(failure())).await),
                    _ => (State::Queued, give_back(&queue, &claim, GiveBack::Stopping).await),
                };
                done.then_some(state)
            });
        }
        let done: Vec<State> = ends.join_all().await.into_iter().flatten().collect();
        let state = record(&handles[1], id).await.state;
        // The same end is accepted twice; giving back is not.
        let accepted = if state == State::Queued { 1 } else { 2 };
        assert_eq!(done, vec![state; accepted]);
        if state == State::Queued {
            succeed(&handles[0], &take_this(&handles[0], id).await).await;
        }
    }
}
