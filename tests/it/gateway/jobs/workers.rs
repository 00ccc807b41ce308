//! Workers that run the jobs of gateways which convert nothing.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::events::{check, follow};
use super::{FAST, ONE_WORKER, REPACK, SLOW, accepted, assert_problem, data_dir, header, path};
use crate::busy_engine::alive;
use crate::gateway::engine::{motion, send};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, scrape};
use crate::redis::RedisServer;

/// Settings of a gateway that converts nothing.
const NO_WORKER: (&str, &str) = ("WORKERS", "0");

fn gateway(shared: &[(&str, &str)]) -> Gateway {
    Gateway::start_cold(&[shared, &[NO_WORKER]].concat())
}

fn worker(shared: &[(&str, &str)], variables: &[(&str, &str)]) -> Gateway {
    Gateway::start_worker(&[shared, &[ONE_WORKER], variables].concat())
}

/// Submits jobs to a gateway, and follows them there while a worker runs them.
async fn a_worker_runs_the_jobs_of_a_gateway(shared: &[(&str, &str)]) {
    let gateway = gateway(shared);
    let job = gateway.submit(SLOW, motion()).await;
    let other = gateway.submit(REPACK, triangle()).await;
    assert_eq!(gateway.json(path(&job)).await["state"], "queued");

    let worker = worker(shared, &[]);
    let (events, ended) = tokio::join!(follow(&gateway, &job, None), gateway.succeeded(&job));
    check(&events, "succeeded");
    let has = |name: &str, state: &str| {
        events.iter().any(|event| event.name == name && event.data["state"] == state)
    };
    assert!(has("state", "running") && has("progress", "running"), "{events:#?}");
    assert_eq!(ended["attempts"], 1, "{ended}");
    assert!(ended["report"]["output"]["bytes"].as_u64() > Some(0), "{ended}");
    assert!(!gateway.result(&ended).await.is_empty());
    let other = gateway.succeeded(&other).await;
    assert!(gateway.result(&other).await == gateway.undisturbed(REPACK, triangle()).await);
    assert!(gateway.zygotes().is_empty() && !worker.zygotes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_gateway_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    a_worker_runs_the_jobs_of_a_gateway(&[data_dir(&folder)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_gateway_share_a_redis() {
    let server = RedisServer::with(&["--appendonly", "yes"]);
    let (url, store) = (server.url(), tempfile::tempdir().unwrap());
    let store = format!("file://{}", store.path().display());
    a_worker_runs_the_jobs_of_a_gateway(&[("JOBS_REDIS_URL", &url), ("STORAGE_URL", &store)]).await;
}

/// A job that runs at a worker, whose child is stopped.
async fn stopped_job(folder: &TempDir, grace: &str) -> (Gateway, Gateway, Value, i32) {
    let shared = [data_dir(folder)];
    let gateway = gateway(&shared);
    // A worker has no time in which it accepts requests after the signal.
    let worker = worker(&shared, &[("SHUTDOWN_GRACE", grace), ("SHUTDOWN_DELAY", "600")]);
    let job = gateway.submit(SLOW, motion()).await;
    let child = worker.child().await;
    send(child, Signal::STOP);
    (gateway, worker, job, child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_gives_its_job_back_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, mut stopped, job, child) = stopped_job(&folder, "0.5").await;
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.end().code(), Some(0));
    assert!(!alive(child));
    assert_eq!(gateway.json(path(&job)).await["state"], "queued");

    let _other = worker(&[data_dir(&folder)], &[]);
    let (events, ended) = tokio::join!(follow(&gateway, &job, None), gateway.succeeded(&job));
    assert_eq!(ended["attempts"], 1, "{ended}");
    check(&events, "succeeded");
    // A lease that ended would have been another reason.
    let reasons: Vec<_> = events.iter().filter_map(|event| event.data["reason"].as_str()).collect();
    assert_eq!(reasons, ["stopping"], "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_finishes_its_job_and_takes_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, mut stopped, job, child) = stopped_job(&folder, "600").await;
    stopped.signal(Signal::TERM);
    stopped.wait_for("stopping");
    let other = gateway.submit(REPACK, triangle()).await;
    // It can be watched until its last job has ended.
    let ready = stopped.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap()["checks"]["accepting"], "draining");
    assert!(scrape(&stopped).await.contains("\nmeshgate_ready 0\n"));
    send(child, Signal::CONT);
    assert_eq!(stopped.end().code(), Some(0));
    assert_eq!(gateway.json(path(&job)).await["state"], "succeeded");
    assert_eq!(gateway.json(path(&other)).await["state"], "queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_answers_probes_only() {
    let worker = worker(&[("API_KEYS", "ci:0123456789abcdef")], &[]);
    for path in ["/", "/v1/jobs", "/v1/formats", "/openapi.json", "/apidocs/"] {
        let said = assert_problem(worker.get(path).await, 404, "not_found").await;
        assert!(said.contains("this process is a worker"), "{path}: {said}");
    }
    let said = assert_problem(worker.post("/convert?output_format=glb").await, 404, "not_found").await;
    assert!(said.contains("this process is a worker"), "{said}");
    assert_problem(worker.post("/livez").await, 405, "method_not_allowed").await;
    assert_eq!(worker.get("/livez").await.status(), 200);
    assert_eq!(worker.get("/readyz").await.status(), 200);
    assert_eq!(worker.json("/health").await["status"], "healthy");
    assert!(scrape(&worker).await.contains("\nmeshgate_ready 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_queue_is_not_ready() {
    let mut server = RedisServer::with(&["--appendonly", "yes"]);
    let worker = worker(&[("JOBS_REDIS_URL", &server.url())], &[]);
    assert_eq!(worker.get("/readyz").await.status(), 200);
    server.kill();
    worker.until_says("/readyz", "the queue is gone", |ready| ready["checks"]["jobs"] == "away").await;
    let ready = worker.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap()["checks"]["engine"], "ok");
    assert_eq!(worker.get("/livez").await.status(), 200);
    server.restart();
    worker.until_says("/readyz", "the queue is back", |ready| ready["status"] == "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_workers_needs_no_engine() {
    // It would fail if it were started.
    let gateway = gateway(&[("BLENDER_PYTHON", "/bin/false"), ("SANDBOX", "off")]);
    let ready = gateway.get("/readyz").await;
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.json::<Value>().await.unwrap()["checks"]["engine"], "none");
    let health = gateway.json("/health").await;
    let engine = &health["engine"];
    assert_eq!((&health["status"], &engine["status"]), (&"healthy".into(), &"none".into()));
    assert_eq!((&engine["workers"], &health["queue"]["full"]), (&0.into(), &false.into()));
    let metrics = scrape(&gateway).await;
    for line in [
        "meshgate_ready 1",
        "meshgate_engine_slots{state=\"free\"} 0",
        "meshgate_engine_failed_starts_total 0",
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }

    assert!(!gateway.undisturbed(REPACK, triangle()).await.is_empty());
    let request = gateway.client.post(gateway.url(&format!("/v1/convert?{FAST}"))).body(TRIANGLE);
    let answer = request.header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(accepted(answer).await["state"], "queued");
    assert!(gateway.zygotes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_workers_serves_what_workers_have_converted() {
    let folder = tempfile::tempdir().unwrap();
    let shared = [data_dir(&folder)];
    let (gateway, _worker) = (gateway(&shared), worker(&shared, &[]));
    let job = gateway.submit(FAST, TRIANGLE).await;
    let job = gateway.succeeded(&job).await;
    // The worker caches the result in the background.
    let began = Instant::now();
    loop {
        let request = gateway.client.post(gateway.url(&format!("/convert?{FAST}"))).body(TRIANGLE);
        let answer = request.send().await.unwrap();
        let is_cached = header(&answer, "meshgate-cache") == "hit";
        assert!(answer.bytes().await.unwrap() == gateway.result(&job).await);
        if is_cached {
            break;
        }
        assert!(began.elapsed() < LONG, "it is never cached");
        tokio::time::sleep(PAUSE).await;
    }
}
