//! Cancelling, retrying and removing jobs.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{FAST, ONE_WORKER, REPACK, SLOW, accepted, assert_problem, below, path};
use crate::busy_engine::alive;
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_was_accepted_wins() {
    let gateway = Gateway::start(&[ONE_WORKER, ("CACHE", "off")]);
    for pause in 0..20 {
        let job = gateway.submit(FAST, TRIANGLE).await;
        // Before its start, while it runs, and after its end.
        tokio::time::sleep(Duration::from_millis(10 * pause)).await;
        let answer = gateway.post(&below(&job, "cancel")).await;
        let expected = if answer.status() == 202 { "cancelled" } else { "succeeded" };
        assert_eq!(gateway.ended(&job).await["state"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled_and_retried() {
    let gateway = Gateway::start(&[ONE_WORKER]);
    let running = gateway.submit(SLOW, motion()).await;
    let child = gateway.child().await;
    // Otherwise the job might end first.
    send(child, Signal::STOP);
    let queued = gateway.submit(REPACK, triangle()).await;
    for job in [&running, &queued] {
        let answer = gateway.get(&below(job, "result")).await;
        assert!(answer.headers().contains_key("retry-after"));
        assert_problem(answer, 409, "job_not_finished").await;
        assert_problem(gateway.post(&below(job, "retry")).await, 409, "job_not_finished").await;
    }

    let cancelled = accepted(gateway.post(&below(&queued, "cancel")).await).await;
    assert_eq!((&cancelled["state"], &cancelled["attempts"]), (&"cancelled".into(), &0.into()));

    let asked = Instant::now();
    accepted(gateway.post(&below(&running, "cancel")).await).await;
    until("the child is gone", || !alive(child));
    // The promise is two seconds; a busy machine gets more.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

    for job in [&running, &queued] {
        let ended = gateway.ended(job).await;
        assert_eq!(ended["state"], "cancelled", "{ended}");
        let again = gateway.post(&below(job, "cancel")).await;
        assert_eq!(again.status(), 200);
        assert_eq!(again.json::<serde_json::Value>().await.unwrap()["ended_at"], ended["ended_at"]);
        assert_problem(gateway.get(&below(job, "result")).await, 409, "wrong_job_state").await;

        let retried = accepted(gateway.post(&below(job, "retry")).await).await;
        assert_eq!(retried["retry_of"], job["id"]);
        assert_ne!(retried["id"], job["id"]);
        // The model of the retry is its own.
        assert_eq!(gateway.delete(path(job)).await.status(), 204);
        let retried = gateway.succeeded(&retried).await;
        assert_eq!(retried["input"], job["input"]);
        assert!(!gateway.result(&retried).await.is_empty());
        assert_problem(gateway.post(&below(&retried, "retry")).await, 409, "wrong_job_state").await;
    }
}
