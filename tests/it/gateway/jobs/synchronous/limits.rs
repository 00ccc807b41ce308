//! Full queues, rate limits, and the order beside other jobs.

use std::time::Instant;

use super::super::durability::Cluster;
use super::super::{FAST, SLOW, assert_problem, header, path};
use super::until_nothing_is_left;
use crate::cache::count;
use crate::gateway::engine::motion;
use crate::gateway::raw::head;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, until};

/// Waits until this many jobs are queued, those of requests included.
async fn until_queued(gateway: &Gateway, number: u64) {
    let began = Instant::now();
    while count(gateway, "meshgate_jobs{state=\"queued\"}").await != number {
        assert!(began.elapsed() < LONG, "never {number} queued jobs");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_of_jobs_refuses_requests() {
    let cluster = Cluster::on_sqlite().await;
    // One client may have half of the jobs.
    let gateway = cluster.start("serve", &[("WORKERS", "0"), ("JOBS_LIMIT", "2")]);
    let asked = gateway.ask(FAST, TRIANGLE);
    until_queued(&gateway, 1).await;
    let refused = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert!(!header(&refused, "retry-after").is_empty());
    let said = assert_problem(refused, 503, "queue_full").await;
    assert!(said.contains("JOBS_LIMIT"), "{said}");
    until("the refused model is removed", || cluster.objects("model").len() == 1);
    let _worker = cluster.worker();
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    until_nothing_is_left(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_requests_have_a_limit() {
    let cluster = Cluster::on_sqlite().await;
    let gateway = cluster.start("serve", &[("WORKERS", "0"), ("QUEUE_LIMIT", "1")]);
    let asked = gateway.ask(FAST, TRIANGLE);
    gateway.until_says("/health", "the queue is full", |health| health["queue"]["full"] == true).await;
    // The body never comes.
    let mut raw = gateway.raw();
    let refused = raw.send(head("output_format=fbx&filename=a.obj", 1_000_000)).answer().unwrap();
    assert_eq!((refused.status, refused.problem().1.as_str()), (503, "queue_full"));
    let refused = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_problem(refused, 503, "queue_full").await;
    // Jobs have a queue of their own.
    let job = gateway.submit(FAST, TRIANGLE).await;
    let _worker = cluster.worker();
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    gateway.succeeded(&job).await;
    assert_eq!(gateway.synchronous(FAST, TRIANGLE).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_conversions_count_for_the_rate_limit() {
    let cluster = Cluster::on_sqlite().await;
    let limit = [("WORKERS", "0"), ("RATE_LIMIT_REQUESTS", "1"), ("RATE_LIMIT_WINDOW", "3600")];
    let full = cluster.start("serve", &[&limit[..], &[("QUEUE_LIMIT", "0")]].concat());
    for _ in 0..2 {
        let refused = full.synchronous(FAST, TRIANGLE).send().await.unwrap();
        assert_problem(refused, 503, "queue_full").await;
    }
    let (gateway, _worker) = (cluster.start("serve", &limit), cluster.worker());
    assert_eq!(gateway.synchronous(FAST, TRIANGLE).send().await.unwrap().status(), 200);
    let refused = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_problem(refused, 429, "rate_limited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_before_the_jobs_of_its_client() {
    let cluster = Cluster::on_sqlite().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let first = gateway.submit(SLOW, motion()).await;
    let held = worker.hold().await;
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(gateway.submit(SLOW, motion()).await);
    }
    let asked = gateway.ask(FAST, TRIANGLE);
    until_queued(&gateway, 3).await;
    drop(held);
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    // At most one of the others has begun since.
    assert_eq!(gateway.json(path(&jobs[1])).await["state"], "queued");
    for job in [&first, &jobs[0], &jobs[1]] {
        gateway.succeeded(job).await;
    }
}
