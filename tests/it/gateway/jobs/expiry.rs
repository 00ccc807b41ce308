//! Jobs that are too old.

use std::time::Instant;

use super::events::{check, follow};
use super::{ONE_WORKER, REPACK, SLOW, assert_problem, below, objects_of_jobs, path};
use crate::gateway::engine::motion;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, until};

/// The shortest life of jobs here, in seconds.
const SHORT: (&str, &str) = ("JOBS_TTL", "1");

#[tokio::test(flavor = "multi_thread")]
async fn a_result_expires() {
    let gateway = Gateway::start_cold(&[SHORT]);
    let job = gateway.submit(REPACK, triangle()).await;
    let began = Instant::now();
    loop {
        let answer = gateway.get(path(&job)).await;
        if answer.status() != 200 {
            assert_problem(answer, 410, "expired").await;
            break;
        }
        assert!(began.elapsed() < LONG, "it does not expire");
        tokio::time::sleep(PAUSE).await;
    }
    for last in ["result", "events"] {
        assert_problem(gateway.get(&below(&job, last)).await, 410, "expired").await;
    }
    for last in ["cancel", "retry", "webhook/redeliver"] {
        assert_problem(gateway.post(&below(&job, last)).await, 410, "expired").await;
    }
    assert_problem(gateway.delete(path(&job)).await, 410, "expired").await;
    until("its objects are gone", || objects_of_jobs(gateway.folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_begun_expires() {
    let gateway = Gateway::start(&[SHORT, ONE_WORKER]);
    let running = gateway.submit(SLOW, motion()).await;
    let held = gateway.hold().await;
    let queued = gateway.submit(REPACK, triangle()).await;
    let events = follow(&gateway, &queued, None).await;
    check(&events, "expired");
    assert_eq!(events.last().unwrap().data["attempts"], 0, "{events:#?}");
    // A running job does not expire.
    assert_eq!(gateway.json(path(&running)).await["state"], "running");
    let following = follow(&gateway, &running, None);
    let (events, ()) = tokio::join!(following, async { drop(held) });
    check(&events, "succeeded");
}
