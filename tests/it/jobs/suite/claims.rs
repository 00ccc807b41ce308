//! Claims of running jobs, which a second holder may read.

use std::time::{Duration, Instant};

use meshgate::jobs::{Claim, End, GiveBack, Hold, State, Swept};
use tokio::time::sleep;
use uuid::Uuid;

use crate::jobs::check::{check_is_lost, record};
use crate::jobs::samples::{PROGRESS, failure, result_of, spec_of};
use crate::jobs::side::{AnyQueue, LIMITS, Side};
use crate::jobs::steps::{finish, give_back, submit, succeed, take_this};

queues! {{
    only_a_running_job_has_a_claim
    either_holder_keeps_the_lease
    both_holders_learn_that_a_job_is_to_be_cancelled
    the_first_holder_to_end_a_job_decides
}}

async fn claim(queue: &AnyQueue, id: Uuid) -> Option<Claim> {
    queue.claim(id).await.unwrap()
}

async fn only_a_running_job_has_a_claim(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    assert_eq!(claim(&queue, Uuid::now_v7()).await, None);
    let id = submit(&queue, spec_of("a")).await.id;
    assert_eq!(claim(&other, id).await, None);
    let first = take_this(&queue, id).await;
    assert_eq!(claim(&other, id).await.as_ref(), Some(&first));

    queue.renew(id, first.token, Some(PROGRESS)).await.unwrap();
    let renewed = Claim { job: record(&queue, id).await, token: first.token };
    assert_eq!(claim(&other, id).await, Some(renewed));
    assert!(give_back(&other, &first, GiveBack::Stopping).await);
    assert_eq!(claim(&queue, id).await, None);

    let second = take_this(&queue, id).await;
    assert_eq!(claim(&other, id).await.as_ref(), Some(&second));
    succeed(&queue, &second).await;
    assert_eq!(claim(&other, id).await, None);
    queue.remove(id).await.unwrap().unwrap();
    assert_eq!(claim(&other, id).await, None);
}

async fn either_holder_keeps_the_lease(side: impl Side) {
    // Longer than a busy machine pauses the test.
    let lease = Duration::from_secs(2);
    let (queue, other) = (side.open_with(LIMITS, lease).await, side.open_with(LIMITS, lease).await);
    let id = submit(&queue, spec_of("a")).await.id;
    take_this(&queue, id).await;
    let second = claim(&other, id).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < lease + lease / 2 {
        assert_eq!(other.renew(id, second.token, None).await.unwrap(), Hold::Held);
        assert_eq!(queue.sweep().await.unwrap(), Swept::default());
        sleep(lease / 40).await;
    }
    succeed(&queue, &second).await;
}

async fn both_holders_learn_that_a_job_is_to_be_cancelled(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    let id = submit(&queue, spec_of("a")).await.id;
    let first = take_this(&queue, id).await;
    queue.cancel(id).await.unwrap().unwrap();
    let second = claim(&other, id).await.unwrap();
    assert!(second.job.cancel_requested);
    for holder in [&queue, &other] {
        assert_eq!(holder.renew(id, first.token, None).await.unwrap(), Hold::Cancelled);
    }
    // Each of them may say so.
    for holder in [&other, &queue] {
        assert!(finish(holder, &second, End::Cancelled).await);
    }
    assert_eq!(record(&queue, id).await.state, State::Cancelled);
}

async fn the_first_holder_to_end_a_job_decides(side: impl Side) {
    let (queue, other) = (side.open().await, side.open().await);
    let id = submit(&queue, spec_of("a")).await.id;
    let first = take_this(&queue, id).await;
    let second = claim(&other, id).await.unwrap();
    assert!(give_back(&other, &second, GiveBack::OutOfMemory).await);
    check_is_lost(&queue, &first).await;

    let first = take_this(&queue, id).await;
    let second = claim(&other, id).await.unwrap();
    succeed(&queue, &first).await;
    let ended = record(&queue, id).await;
    assert!(!finish(&other, &second, End::Failed(failure())).await);
    assert!(!give_back(&other, &second, GiveBack::OutOfMemory).await);
    assert_eq!(other.renew(id, second.token, None).await.unwrap(), Hold::Lost);
    // As if its answer had got lost.
    assert!(finish(&other, &second, End::Succeeded(result_of(second.token))).await);
    assert_eq!(record(&queue, id).await, ended);
}
