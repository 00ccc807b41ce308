//! Servers on one machine that share the queue in `DATA_DIR`.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::events::{check, follow};
use super::{ONE_WORKER, REPACK, SLOW, accepted, below, data_dir, header, path};
use crate::busy_engine::alive;
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_and_cancelled_at_another_server() {
    let folder = tempfile::tempdir().unwrap();
    let one = Gateway::start(&[data_dir(&folder), ONE_WORKER]);
    let job = one.submit(SLOW, motion()).await;
    let held = one.hold().await;
    let other = Gateway::start_cold(&[data_dir(&folder), ONE_WORKER]);
    assert_eq!(other.json(path(&job)).await["state"], "running");
    let (events, ()) = tokio::join!(follow(&other, &job, None), async { drop(held) });
    check(&events, "succeeded");
    assert_eq!(events.last().unwrap().data["attempts"], 1, "{events:#?}");
    let result = other.result(&job).await;
    assert!(!result.is_empty() && one.result(&job).await == result);

    one.until_idle().await;
    // With another option, nothing is cached. The engine of the other server may be warm by now, so it may run there.
    let job = one.submit(&format!("{SLOW}&scale=2"), motion()).await;
    let child = tokio::select! {
        child = one.child() => child,
        child = other.child() => child,
    };
    send(child, Signal::STOP);
    let (runs_at_one, asked) = (one.converting().contains(&child), Instant::now());
    let canceller = if runs_at_one { &other } else { &one };
    accepted(canceller.post(&below(&job, "cancel")).await).await;
    until("the child is gone", || !alive(child));
    // The promise is two seconds; a busy machine gets more.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(other.ended(&job).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_idempotency_counts_at_every_server() {
    let folder = tempfile::tempdir().unwrap();
    let servers = [Gateway::start_cold(&[data_dir(&folder)]), Gateway::start_cold(&[data_dir(&folder)])];
    let mut ids = Vec::new();
    for server in &servers {
        let request = server.submission(REPACK, triangle()).header("idempotency-key", "one");
        let answer = request.send().await.unwrap();
        let replayed = if ids.is_empty() { "" } else { "true" };
        assert_eq!(header(&answer, "idempotent-replayed"), replayed);
        let job = accepted(answer).await;
        server.succeeded(&job).await;
        ids.push(job["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
}
