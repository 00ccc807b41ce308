use serde_json::json;

use super::*;
use crate::jobs::kubernetes::progress::SCHEDULING;
use crate::jobs::kubernetes::tests::{LARGE, World};
use crate::jobs::queue::End;

fn world() -> World {
    World::new(|_| (200, json!({})))
}

#[tokio::test]
async fn a_pod_begins_what_is_marked_for_it() {
    let world = world();
    let claim = world.taken(LARGE).await;
    world.queue.renew(claim.job.id, claim.token, Some(SCHEDULING)).await.unwrap();
    let Found::Claim(found) = wait_for_claim(&*world.queue, claim.job.id).await else {
        panic!("it is marked")
    };
    assert_eq!((found.token, found.job.id), (claim.token, claim.job.id));
}

#[tokio::test]
async fn a_pod_waits_until_a_job_is_marked() {
    let world = world();
    let claim = world.taken(LARGE).await;
    let (id, token) = (claim.job.id, claim.token);
    // A worker runs it, or the pod before did.
    let waiting = async { wait_for_claim(&*world.queue, id).await };
    let marking = async {
        sleep(Duration::from_millis(50)).await;
        world.queue.renew(id, token, Some(SCHEDULING)).await.unwrap();
    };
    let (found, ()) = tokio::join!(waiting, marking);
    assert!(matches!(found, Found::Claim(found) if found.token == token));
}

#[tokio::test(start_paused = true)]
async fn a_pod_gives_up_a_job_that_nobody_marks() {
    let world = world();
    let claim = world.taken(LARGE).await;
    let began = Instant::now();
    assert!(matches!(wait_for_claim(&*world.queue, claim.job.id).await, Found::NotYet));
    assert!(began.elapsed() >= PATIENCE);
}

#[tokio::test]
async fn a_pod_has_nothing_to_do_once_the_job_has_ended() {
    let world = world();
    assert!(matches!(wait_for_claim(&*world.queue, Uuid::now_v7()).await, Found::Ended));
    let claim = world.taken(LARGE).await;
    world.queue.finish(claim.job.id, claim.token, End::Cancelled).await.unwrap();
    assert!(matches!(wait_for_claim(&*world.queue, claim.job.id).await, Found::Ended));
}
