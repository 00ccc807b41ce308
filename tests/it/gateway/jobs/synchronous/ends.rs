//! Requests that end otherwise: the client hangs up, the time is over, something dies.

use std::time::Duration;

use rustix::process::Signal;

use super::super::durability::{Cluster, Queue};
use super::super::{FAST, REPACK, SLOW, assert_problem, header};
use super::until_nothing_is_left;
use crate::busy_engine::alive;
use crate::cache::{count, until_counted};
use crate::gateway::engine::{motion, send};
use crate::gateway::raw::head;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, until};

suite! {
    {
        sqlite: crate::gateway::jobs::durability::Cluster::on_sqlite().await,
        redis: crate::gateway::jobs::durability::Cluster::on_redis().await,
    }
    {
        a_hang_up_cancels_the_conversion
        a_hang_up_removes_a_job_that_waits
        a_request_that_runs_for_too_long_is_cancelled
        without_a_worker_the_request_times_out
        a_killed_worker_costs_no_request
        a_gateway_that_stops_cancels_its_requests
    }
}

async fn a_hang_up_cancels_the_conversion(cluster: Cluster) {
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let asked = gateway.ask(SLOW, motion());
    let child = worker.child().await;
    send(child, Signal::STOP);
    asked.abort();
    until("the child is gone", || !alive(child));
    // It was not killed because it hung.
    until_counted(&worker, "meshgate_job_attempts_total{reason=\"lost\"}").await;
    until_nothing_is_left(&cluster);
    assert_eq!(gateway.synchronous(FAST, TRIANGLE).send().await.unwrap().status(), 200);
}

async fn a_hang_up_removes_a_job_that_waits(cluster: Cluster) {
    let gateway = cluster.gateway();
    let asked = gateway.ask(FAST, TRIANGLE);
    until("the model is stored", || !cluster.objects("model").is_empty());
    asked.abort();
    until_nothing_is_left(&cluster);
    // Nobody else has counted the conversion.
    until_counted(&gateway, CANCELLED).await;
    let worker = cluster.worker();
    assert_eq!(gateway.synchronous(FAST, TRIANGLE).send().await.unwrap().status(), 200);
    until_counted(&worker, "meshgate_job_attempts_total{reason=\"succeeded\"}").await;
    assert_eq!(count(&worker, "meshgate_job_attempts_total{").await, 1);
}

/// The metric of conversions that no worker had begun when their clients hung up.
const CANCELLED: &str =
    "meshgate_conversions_total{engine=\"none\",input=\"unknown\",outcome=\"cancelled\",output=\"glb\"}";

/// A gateway whose conversions may take this many seconds.
fn with_timeout(cluster: &Cluster, seconds: &str) -> Gateway {
    cluster.start("serve", &[("WORKERS", "0"), ("CONVERSION_TIMEOUT", seconds)])
}

async fn a_request_that_runs_for_too_long_is_cancelled(cluster: Cluster) {
    let (gateway, worker) = (with_timeout(&cluster, "4"), cluster.worker());
    let asked = gateway.ask(SLOW, motion());
    let child = worker.child().await;
    send(child, Signal::STOP);
    let said = assert_problem(asked.await.unwrap().unwrap(), 504, "timeout").await;
    assert_eq!(said, "the conversion took longer than 4 s");
    until("the child is gone", || !alive(child));
    until_nothing_is_left(&cluster);
}

async fn without_a_worker_the_request_times_out(cluster: Cluster) {
    let gateway = with_timeout(&cluster, "1");
    let answer = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_eq!(header(&answer, "meshgate-cache"), "miss");
    assert_problem(answer, 504, "timeout").await;
    until_nothing_is_left(&cluster);
    let counted =
        "meshgate_conversions_total{engine=\"none\",input=\"unknown\",outcome=\"timeout\",output=\"glb\"}";
    assert_eq!(count(&gateway, counted).await, 1);
}

async fn a_killed_worker_costs_no_request(cluster: Cluster) {
    let (gateway, mut worker) = (cluster.gateway(), cluster.worker());
    let asked = gateway.ask(SLOW, motion());
    worker.child().await;
    worker.signal(Signal::KILL);
    worker.end();
    let _other = cluster.worker();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap()[..4], b"glTF"[..]);
    until_nothing_is_left(&cluster);
}

async fn a_gateway_that_stops_cancels_its_requests(cluster: Cluster) {
    let mut gateway = cluster.start("serve", &[("WORKERS", "0"), ("SHUTDOWN_GRACE", "0.5")]);
    let worker = cluster.worker();
    let asked = gateway.ask(SLOW, motion());
    let child = worker.child().await;
    send(child, Signal::STOP);
    gateway.signal(Signal::TERM);
    assert_problem(asked.await.unwrap().unwrap(), 503, "shutting_down").await;
    assert_eq!(gateway.end().code(), Some(0));
    until("the child is gone", || !alive(child));
    until_nothing_is_left(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_redis_a_gateway_refuses_at_once() {
    let mut cluster = Cluster::on_redis().await;
    let gateway = cluster.gateway();
    let Queue::Redis(server, _) = &mut cluster.queue else { panic!("no redis") };
    server.kill();
    gateway.until_says("/readyz", "redis is away", |ready| ready["checks"]["jobs"] != "ok").await;
    // The body never comes.
    let mut raw = gateway.raw();
    let refused = raw.send(head("output_format=fbx&filename=a.obj", 100_000)).answer().unwrap();
    assert_eq!((refused.status, refused.problem().1.as_str()), (503, "jobs_unavailable"));
    assert!(refused.header("retry-after").is_some());
    let answer = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_problem(answer, 503, "jobs_unavailable").await;
    assert_eq!(gateway.synchronous(REPACK, triangle()).send().await.unwrap().status(), 200);
    assert_eq!(gateway.get("/readyz").await.status(), 200);
    until_nothing_is_left(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_costs_no_request() {
    let mut cluster = Cluster::on_redis().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let asked = gateway.ask(SLOW, motion());
    worker.child().await;
    let Queue::Redis(server, _) = &mut cluster.queue else { panic!("no redis") };
    server.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.restart();
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    until_nothing_is_left(&cluster);
}
