//! The metrics of jobs.

use std::time::Instant;

use super::{REPACK, path};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, scrape};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_their_attempts_are_counted() {
    let gateway = Gateway::start_cold(&[]);
    for (model, state) in [(triangle(), "succeeded"), (b"no model at all".into(), "failed")] {
        let job = gateway.submit(REPACK, model).await;
        assert_eq!(gateway.ended(&job).await["state"], state);
    }
    let removed = gateway.submit(REPACK, triangle()).await;
    gateway.succeeded(&removed).await;
    assert_eq!(gateway.delete(path(&removed)).await.status(), 204);
    let expected = [
        "meshgate_jobs{state=\"queued\"} 0",
        "meshgate_jobs{state=\"succeeded\"} 1",
        "meshgate_jobs{state=\"failed\"} 1",
        "meshgate_job_attempts_total{reason=\"succeeded\"} 2",
        "meshgate_job_attempts_total{reason=\"failed\"} 1",
        "meshgate_job_wait_seconds_count 3",
        "meshgate_jobs_oldest_queued_seconds 0",
    ];
    // Jobs are counted every few seconds.
    let began = Instant::now();
    loop {
        let text = scrape(&gateway).await;
        let missing: Vec<_> =
            expected.iter().filter(|line| !text.lines().any(|each| each == **line)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(began.elapsed() < LONG, "{missing:#?} in {text}");
        tokio::time::sleep(PAUSE).await;
    }
}
