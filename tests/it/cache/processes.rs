//! Several services on one Redis and one store.

use std::time::Duration;

use redis::{Commands, cmd};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{cache_status, conversion, conversions, header, model};
use crate::gateway::engine::motion;
use crate::gateway::{Gateway, TRIANGLE, report, until};
use crate::redis::RedisServer;

fn start(server: &RedisServer, store: &tempfile::TempDir) -> Gateway {
    Gateway::start(&[("REDIS_URL", &server.url()), ("CONVERSION_CACHE_DIR", store.path().to_str().unwrap())])
}

fn keys(server: &RedisServer, prefix: &str) -> Vec<String> {
    server.keys().into_iter().filter(|key| key.starts_with(prefix)).collect()
}

const ENTRIES: &str = "meshgate:cache:";
const LEASES: &str = "meshgate:lease:";

/// A slow conversion.
fn slow(gateway: &Gateway) -> reqwest::RequestBuilder {
    gateway.client.post(gateway.url("/convert?output_format=fbx&filename=a.bvh")).body(motion())
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_conversions_run_once_in_all_processes() {
    let (server, store) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let gateways = [start(&server, &store), start(&server, &store)];
    let mut requests = JoinSet::new();
    for number in 0..20 {
        requests.spawn(slow(&gateways[number % 2]).send());
    }
    let mut all = Vec::new();
    for answer in requests.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        all.push((cache_status(&answer), header(&answer, "etag"), answer.bytes().await.unwrap().len()));
    }
    assert_eq!(all.iter().filter(|(how, ..)| how == "miss").count(), 1, "{all:?}");
    assert!(all.iter().all(|(_, tag, length)| (tag, *length) == (&all[0].1, all[0].2)));
    assert_eq!(conversions(&gateways[0]).await + conversions(&gateways[1]).await, 1);
    until("the lease is released", || keys(&server, LEASES).is_empty());

    // The second process serves the first one's result and report.
    let first = conversion(&gateways[0]).send().await.unwrap();
    until("the entry is in Redis", || keys(&server, ENTRIES).len() == 2);
    let again = conversion(&gateways[1]).send().await.unwrap();
    assert_eq!((cache_status(&again).as_str(), header(&again, "link")), ("hit", header(&first, "link")));
    assert_eq!(gateways[1].json(&report(&first)).await["output"]["format"], "stl");
    for key in server.keys() {
        assert!(key.starts_with(meshgate::redis::PREFIX), "{key}");
        let life: i64 = cmd("PTTL").arg(&key).query(&mut server.connection()).unwrap();
        assert!((1..=3_600_000).contains(&life), "{key}: {life}");
    }
    // A deleted entry is converted again.
    for key in keys(&server, ENTRIES) {
        let _: () = server.connection().del(key).unwrap();
    }
    assert_eq!(cache_status(&conversion(&gateways[1]).send().await.unwrap()), "miss");
    // A corrupted entry is converted again.
    until("the entry is in Redis", || keys(&server, ENTRIES).len() == 1);
    let _: () = server.connection().set(&keys(&server, ENTRIES)[0], "what is this?").unwrap();
    assert_eq!(cache_status(&conversion(&gateways[0]).send().await.unwrap()), "miss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_available_at_once_in_every_process() {
    let (server, store) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let [first, second] = [start(&server, &store), start(&server, &store)];
    for number in 0..10 {
        let answer =
            model(&first, &TRIANGLE.replacen("v 1", &format!("v {number}.5"), 1)).send().await.unwrap();
        assert_eq!(second.json(&report(&answer)).await["output"]["files"], 1);
    }
    // An unknown report is 404 quickly.
    let unknown = second.url(&format!("/v1/reports/{}", uuid::Uuid::now_v7()));
    assert_eq!(second.client.get(unknown).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_with_its_process() {
    let (server, store) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let [mut first, second] = [start(&server, &store), start(&server, &store)];
    let leader = tokio::spawn(slow(&first).send());
    // Its zygote is stopped, so that the conversion does not end.
    let held = first.hold().await;
    let leases = keys(&server, LEASES);
    assert_eq!(leases.len(), 1);
    // The longest wait after the lease holder dies.
    let life: i64 = cmd("PTTL").arg(&leases[0]).query(&mut server.connection()).unwrap();
    assert!((1..=2000).contains(&life), "{life}");
    let mut waiter = tokio::spawn(slow(&second).send());
    // Longer than a lease lives unless it is renewed: its holder renews it, and the other process waits.
    let early = tokio::time::timeout(Duration::from_secs(2), &mut waiter).await;
    assert!(early.is_err() && second.converting().is_empty());
    first.signal(Signal::KILL);
    first.end();
    assert!(leader.await.unwrap().is_err());
    let answer = waiter.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (200, "miss"));
    assert_eq!(conversions(&second).await, 1);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_another_process_takes_no_place() {
    let (server, store) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let first = start(&server, &store);
    let second = Gateway::start(&[
        ("REDIS_URL", &server.url()),
        ("CONVERSION_CACHE_DIR", store.path().to_str().unwrap()),
        ("CONVERSION_TIMEOUT", "3"),
        ("WORKERS", "1"),
        ("QUEUE_LIMIT", "0"),
    ]);
    let leader = tokio::spawn(slow(&first).send());
    let held = first.hold().await;
    let waiter = tokio::spawn(slow(&second).send());
    // The only place in the queue is free for other requests.
    let other = model(&second, &TRIANGLE.replacen("v 1", "v 9", 1)).send().await.unwrap();
    assert_eq!(other.status(), 200);
    let late = waiter.await.unwrap().unwrap();
    assert_eq!(late.status(), 504);
    drop(held);
    assert_eq!(leader.await.unwrap().unwrap().status(), 200);
}
