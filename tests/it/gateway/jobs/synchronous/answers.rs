//! The answers, side by side with those of a gateway that converts itself.

use std::collections::BTreeMap;
use std::time::Instant;

use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use super::super::durability::{Cluster, Queue};
use super::super::{FAST, REPACK, SLOW, assert_problem, header};
use super::until_nothing_is_left;
use crate::cache::{cache_status, conversions, count};
use crate::gateway::engine::motion;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, report};
use crate::storage::backend::Backend;
use crate::storage::server::Server;

suite! {
    {
        sqlite: crate::gateway::jobs::durability::Cluster::on_sqlite().await,
        redis: crate::gateway::jobs::durability::Cluster::on_redis().await,
    }
    {
        results_are_those_of_a_gateway_that_converts
        errors_are_those_of_a_gateway_that_converts
        the_report_outlives_the_job
    }
}

/// Headers whose values are never the same twice.
const OF_ITS_OWN: [&str; 5] = ["date", "link", "ratelimit", "server-timing", "x-request-id"];

/// A gateway that converts itself, with the settings of a cluster.
fn direct() -> Gateway {
    Gateway::start(&[("CACHE", "off"), ("RATE_LIMIT_REQUESTS", "100000")])
}

/// Status, headers and body. Values that are never the same twice are left out, and so is the ID in a problem.
async fn shown(request: RequestBuilder) -> (StatusCode, BTreeMap<String, String>, Vec<u8>) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let headers = answer.headers().iter().map(|(name, value)| {
        let is_of_its_own = OF_ITS_OWN.contains(&name.as_str());
        let value = if is_of_its_own { "" } else { value.to_str().unwrap() };
        (name.to_string(), value.to_owned())
    });
    let headers = headers.collect();
    let body: Vec<u8> = answer.bytes().await.unwrap().into();
    if status.is_success() {
        return (status, headers, body);
    }
    let Ok(mut problem) = serde_json::from_slice::<Value>(&body) else { return (status, headers, body) };
    problem["request_id"] = Value::Null;
    (status, headers, problem.to_string().into_bytes())
}

/// Asks both gateways, and checks that their answers are the same and have this status.
async fn check_is_same(
    one: &Gateway,
    other: &Gateway,
    ask: impl Fn(&Gateway) -> RequestBuilder,
    status: u16,
) {
    let (one, other) = (shown(ask(one)).await, shown(ask(other)).await);
    assert_eq!((one.0.as_u16(), one.0), (status, other.0));
    assert_eq!(one.1, other.1);
    assert!(one.2 == other.2, "{}\n{}", String::from_utf8_lossy(&one.2), String::from_utf8_lossy(&other.2));
}

async fn results_are_those_of_a_gateway_that_converts(cluster: Cluster) {
    let (direct, gateway, worker) = (direct(), cluster.gateway(), cluster.worker());
    for query in [
        FAST,
        "output_format=stl&filename=%E4%B8%89.obj",
        "output_format=gltf&filename=a.obj&scale=2",
        "output_format=glb&filename=a.obj&packaging=zip",
    ] {
        let ask = |gateway: &Gateway| gateway.synchronous(query, TRIANGLE);
        check_is_same(&direct, &gateway, ask, 200).await;
    }
    let answer = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_eq!(cache_status(&answer), "miss");
    let (tag, timing) = (header(&answer, "etag"), header(&answer, "server-timing"));
    for name in ["receive", "queue", "convert", "check"] {
        assert!(timing.contains(&format!("{name};dur=")), "{timing}");
    }
    // The time of the worker.
    assert!(!timing.contains("convert;dur=0.0"), "{timing}");
    let known = |gateway: &Gateway| gateway.synchronous(FAST, TRIANGLE).header("if-none-match", &tag);
    check_is_same(&direct, &gateway, known, 304).await;

    // The worker counts what it has converted, and the gateway its requests.
    assert_eq!((conversions(&gateway).await, conversions(&worker).await), (0, 6));
    let requests = "meshgate_http_requests_total{method=\"POST\",route=\"/convert\",status=\"200\"}";
    assert_eq!(count(&gateway, requests).await, 5);
    until_nothing_is_left(&cluster);
}

async fn errors_are_those_of_a_gateway_that_converts(cluster: Cluster) {
    let (direct, gateway, _worker) = (direct(), cluster.gateway(), cluster.worker());
    for (query, model, status) in [
        ("output_format=glb&filename=a.fbx", "no model at all", 415),
        ("output_format=glb", "no model at all", 415),
        ("output_format=bvh&filename=a.obj", TRIANGLE, 422),
        ("output_format=glb&filename=a.obj", "# nothing\n", 422),
        ("output_format=glb&filename=a.obj&main=b.obj", TRIANGLE, 400),
    ] {
        let ask = |gateway: &Gateway| gateway.synchronous(query, model);
        check_is_same(&direct, &gateway, ask, status).await;
    }
    until_nothing_is_left(&cluster);
}

async fn the_report_outlives_the_job(cluster: Cluster) {
    let (direct, gateway, _worker) = (direct(), cluster.gateway(), cluster.worker());
    let others = [cluster.gateway()];
    let converted = async |gateway: &Gateway| -> Response {
        let answer = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    };
    let without_timings = |mut report: Value| {
        report["timings"] = Value::Null;
        report
    };
    let expected = without_timings(direct.json(&report(&converted(&direct).await)).await);
    assert!(expected["output"]["triangles"] == 1, "{expected}");
    let path = report(&converted(&gateway).await);
    // At once, and later from another process.
    assert_eq!(without_timings(gateway.json(&path).await), expected);
    until_nothing_is_left(&cluster);
    for gateway in [&gateway, &others[0]] {
        assert_eq!(without_timings(gateway.json(&path).await), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_result_needs_no_worker() {
    let cluster = Cluster::on_sqlite().await;
    let cached = ("CACHE", "on");
    let gateway = cluster.start("serve", &[("WORKERS", "0"), cached]);
    let mut worker = cluster.worker_with(&[cached]);
    let first = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_eq!((first.status().as_u16(), cache_status(&first)), (200, "miss".to_owned()));
    let content = first.bytes().await.unwrap();
    // The worker caches the result in the background.
    let began = Instant::now();
    while cache_status(&gateway.synchronous(FAST, TRIANGLE).send().await.unwrap()) != "hit" {
        assert!(began.elapsed() < LONG, "it is never cached");
        tokio::time::sleep(PAUSE).await;
    }
    worker.signal(Signal::KILL);
    worker.end();
    let again = gateway.synchronous(FAST, TRIANGLE).send().await.unwrap();
    assert_eq!((again.status().as_u16(), cache_status(&again)), (200, "hit".to_owned()));
    assert!(again.bytes().await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_repacks_without_a_worker() {
    let cluster = Cluster::on_sqlite().await;
    let (direct, gateway) = (direct(), cluster.gateway());
    // The content tells, if the name does not.
    for query in [REPACK, "output_format=gltf"] {
        let ask = |gateway: &Gateway| gateway.synchronous(query, triangle());
        check_is_same(&direct, &gateway, ask, 200).await;
    }
    assert_eq!(conversions(&gateway).await, 2);
    // The engine is needed for this pair.
    let hurried = cluster.start("serve", &[("WORKERS", "0"), ("CONVERSION_TIMEOUT", "1")]);
    let answer = hurried.synchronous("output_format=ply&filename=a.glb", triangle()).send().await.unwrap();
    assert_problem(answer, 504, "timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_see_jobs_that_they_have_not_submitted() {
    let cluster = Cluster::on_redis().await;
    let (gateway, worker) = (cluster.gateway(), cluster.worker());
    let asked = gateway.ask(SLOW, motion());
    let held = worker.hold().await;
    assert_eq!(gateway.json("/v1/jobs").await["jobs"], serde_json::json!([]));
    let Queue::Redis(server, _) = &cluster.queue else { panic!("no redis") };
    let records = server.keys();
    let ids: Vec<&str> = records.iter().filter_map(|key| key.strip_prefix("meshgate:{jobs}:job:")).collect();
    let [id] = ids[..] else { panic!("{records:?}") };
    assert_problem(gateway.get(&format!("/v1/jobs/{id}")).await, 404, "not_found").await;
    drop(held);
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
}

/// An OBJ whose conversion to STL takes more than 1 MiB.
fn large() -> String {
    (0..25_000).fold(String::new(), |model, number| {
        model + &format!("v {number} 0 0\nv {number} 1 0\nv {number} 0 1\nf -3 -2 -1\n")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_is_fetched_from_the_bucket() {
    let cluster = Cluster::on_sqlite().await;
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    let url = format!("s3://{}/some/prefix", backend.bucket_name());
    let store = [
        ("STORAGE_URL", url.as_str()),
        ("AWS_ENDPOINT", &Server::shared().address),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("PRESIGN_RESULTS", "true"),
    ];
    let mut gateway = cluster.start("serve", &[&store[..], &[("WORKERS", "0")]].concat());
    let _worker = cluster.worker_with(&store);
    let following = std::mem::replace(
        &mut gateway.client,
        reqwest::Client::builder().redirect(Policy::none()).build().unwrap(),
    );
    let query = "output_format=stl&filename=a.obj";
    let answer = gateway.synchronous(query, large()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), cache_status(&answer)), (303, "miss".to_owned()));
    // Its job is kept, since the address leads to its result.
    let fetched = following.get(header(&answer, "location")).send().await.unwrap();
    assert_eq!(fetched.status(), 200);
    let content = fetched.bytes().await.unwrap();
    assert_eq!(header(&answer, "etag"), format!("\"{}\"", blake3::hash(&content).to_hex()));
    let small = gateway.synchronous(query, TRIANGLE).send().await.unwrap();
    assert_eq!(small.status(), 200);
}
