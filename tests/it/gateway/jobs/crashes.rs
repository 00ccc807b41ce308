//! Jobs survive the end of their server.

use rustix::process::Signal;
use serde_json::Value;

use super::events::{check, follow};
use super::{FAST, ONE_WORKER, REPACK, SLOW, assert_problem, data_dir, objects_of_jobs, path};
use crate::busy_engine::alive;
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, until};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [data_dir(&folder), ONE_WORKER];
    let mut killed = Gateway::start(&variables);
    let running = killed.submit(SLOW, motion()).await;
    let child = killed.child().await;
    let models = [(SLOW, motion()), (FAST, TRIANGLE.into()), (REPACK, triangle())];
    let waiting = [killed.submit(FAST, TRIANGLE).await, killed.submit(REPACK, triangle()).await];
    for (place, job) in (1..).zip(&waiting) {
        let job = killed.json(path(job)).await;
        assert_eq!((&job["state"], &job["position"]), (&"queued".into(), &Value::from(place)), "{job}");
    }
    assert_eq!(killed.json(path(&running)).await["state"], "running");
    let processes = [killed.zygotes(), killed.converting(), vec![child]].concat();
    killed.signal(Signal::KILL);
    killed.end();
    until("no process of the old server is left", || !processes.iter().any(|pid| alive(*pid)));

    let gateway = Gateway::start(&variables);
    let [first, second] = &waiting;
    for (job, ((query, model), attempts)) in
        [&running, first, second].into_iter().zip(models.into_iter().zip([2, 1, 1]))
    {
        let job = gateway.succeeded(job).await;
        assert_eq!(job["attempts"], attempts, "{job}");
        assert!(gateway.result(&job).await == gateway.undisturbed(query, model).await, "{job}");
        check(&follow(&gateway, &job, None).await, "succeeded");
    }
    assert!(!objects_of_jobs(folder.path()).is_empty());
    for job in [&running, first, second] {
        assert_eq!(gateway.delete(path(job)).await.status(), 204);
        assert_problem(gateway.get(path(job)).await, 404, "not_found").await;
    }
    until("no object is left", || objects_of_jobs(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_gives_its_job_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut stopped = Gateway::start(&[data_dir(&folder), ONE_WORKER, ("SHUTDOWN_GRACE", "0.5")]);
    let job = stopped.submit(SLOW, motion()).await;
    let child = stopped.child().await;
    // Otherwise the job might end within the grace.
    send(child, Signal::STOP);
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));
    assert!(!alive(child));

    let gateway = Gateway::start(&[data_dir(&folder), ONE_WORKER]);
    let job = gateway.succeeded(&job).await;
    assert_eq!(job["attempts"], 1, "{job}");
    let events = follow(&gateway, &job, None).await;
    check(&events, "succeeded");
    // A lease that ended would have been another reason.
    let reasons: Vec<_> = events.iter().filter_map(|event| event.data["reason"].as_str()).collect();
    assert_eq!(reasons, ["stopping"], "{events:#?}");
    assert!(gateway.result(&job).await == gateway.undisturbed(SLOW, motion()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_within_the_grace_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut stopped = Gateway::start(&[data_dir(&folder), ONE_WORKER, ("SHUTDOWN_GRACE", "600")]);
    let job = stopped.submit(SLOW, motion()).await;
    stopped.child().await;
    let waiting = stopped.submit(REPACK, triangle()).await;
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));

    let gateway = Gateway::start_cold(&[data_dir(&folder), ONE_WORKER]);
    // It needs no engine, and has ended before this server began.
    assert_eq!(gateway.json(path(&job)).await["state"], "succeeded");
    gateway.succeeded(&waiting).await;
}
