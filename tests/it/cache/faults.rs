//! Faults of Redis and the store: no conversion fails because of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Commands, cmd};
use tokio::task::JoinSet;

use super::{cache_status, conversion, conversions, stored, until_known};
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG};
use crate::mounts::Mounted;
use crate::redis::{Proxy, RedisServer};

/// Counts of answers by status and `Meshgate-Cache`.
type Answers = BTreeMap<(u16, String), u64>;

/// Converts a few models repeatedly, four at a time, until stopped.
struct Load {
    over: Arc<AtomicBool>,
    clients: JoinSet<Answers>,
}

impl Load {
    fn on(gateway: &Gateway) -> Load {
        let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (over, next, client) = (Arc::clone(&over), Arc::clone(&next), gateway.client.clone());
            let address = gateway.address.clone();
            clients.spawn(async move {
                let mut answers = BTreeMap::new();
                while !over.load(Ordering::Relaxed) {
                    // Each name is repeated after 97 requests.
                    let name = next.fetch_add(1, Ordering::Relaxed) % 97;
                    let url = format!("{address}/convert?output_format=gltf&filename={name}.glb");
                    let answer = client.post(url).body(triangle()).send().await.unwrap();
                    *answers.entry((answer.status().as_u16(), cache_status(&answer))).or_default() += 1;
                    answer.bytes().await.unwrap();
                }
                answers
            });
        }
        Load { over, clients }
    }

    async fn end(self) -> Answers {
        self.over.store(true, Ordering::Relaxed);
        let mut sum = BTreeMap::new();
        for answers in self.clients.join_all().await {
            for (answer, count) in answers {
                *sum.entry(answer).or_default() += count;
            }
        }
        assert!(sum.keys().all(|(status, _)| *status == 200), "{sum:?}");
        sum
    }
}

/// Waits until the gateway reports this status of the backend.
async fn until_seen(gateway: &Gateway, backend: &str, status: &str) {
    let began = Instant::now();
    while gateway.json("/readyz").await["checks"][backend] != status {
        assert!(began.elapsed() < LONG, "{backend} is never {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for 20 more answers from the cache.
async fn hits(gateway: &Gateway) {
    let before = super::answered(gateway, "hit").await;
    let began = Instant::now();
    while super::answered(gateway, "hit").await < before + 20 {
        assert!(began.elapsed() < LONG, "there are no hits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_survive_every_kind_of_redis_failure() {
    let mut server = RedisServer::start();
    let proxy = Proxy::to(&server);
    let port = proxy.port.to_string();
    let gateway = Gateway::start(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port)]);
    until_seen(&gateway, "redis", "ok").await;
    let load = Load::on(&gateway);
    hits(&gateway).await;

    server.kill();
    until_seen(&gateway, "redis", "away").await;
    hits(&gateway).await;
    server.restart();
    until_seen(&gateway, "redis", "ok").await;
    hits(&gateway).await;

    server.stop();
    until_seen(&gateway, "redis", "away").await;
    hits(&gateway).await;
    server.resume();
    until_seen(&gateway, "redis", "ok").await;

    proxy.delay(Duration::from_secs(1));
    until_seen(&gateway, "redis", "away").await;
    hits(&gateway).await;
    proxy.delay(Duration::from_millis(20));
    until_seen(&gateway, "redis", "ok").await;
    proxy.delay(Duration::ZERO);

    let mut look = server.connection();
    cmd("CONFIG").arg("SET").arg("requirepass").arg("secret").exec(&mut look).unwrap();
    cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut look).unwrap();
    until_seen(&gateway, "redis", "away").await;
    hits(&gateway).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_survive_redis_evictions() {
    let server = RedisServer::with(&["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"]);
    let gateway = Gateway::start(&[("REDIS_URL", &server.url())]);
    let load = Load::on(&gateway);
    let mut look = server.connection();
    for number in 0..20_000 {
        let _: redis::RedisResult<()> = look.set(format!("other:{number}"), "x".repeat(1000));
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the right to mount a disk; make test runs it where it has that"]
async fn conversions_survive_a_full_or_read_only_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(folder.path(), 2 << 20);
    let store = disk.0.join("store");
    let gateway = Gateway::start(&[("CONVERSION_CACHE_DIR", store.to_str().unwrap())]);
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "miss");
    until_known(&gateway).await;
    let rest = disk.0.join("rest");
    let mut filling = std::fs::File::create(&rest).unwrap();
    while std::io::Write::write(&mut filling, &[0; 4096]).is_ok_and(|written| written > 0) {}
    let load = Load::on(&gateway);
    until_seen(&gateway, "storage", "full").await;
    // Stored results are still found.
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "hit");
    load.end().await;
    // A file that is open for writing keeps the disk writable.
    drop(filling);
    std::fs::remove_file(rest).unwrap();
    disk.set_writable(false);
    let load = Load::on(&gateway);
    until_seen(&gateway, "storage", "read_only").await;
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "hit");
    load.end().await;
    disk.set_writable(true);
    let load = Load::on(&gateway);
    until_seen(&gateway, "storage", "ok").await;
    hits(&gateway).await;
    load.end().await;
    assert!(conversions(&gateway).await > 3);
    assert!(stored(&gateway, "").is_empty());
}
