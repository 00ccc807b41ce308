//! Faults of Redis while conversions run: none fails because of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Commands, cmd};
use serde_json::Value;
use tokio::task::JoinSet;

use super::gateway::conversion;
use crate::gateway::{Gateway, LONG};
use crate::redis::{Proxy, RedisServer};

/// A limit far above the requests that are sent.
const MANY: (&str, &str) = ("RATE_LIMIT_REQUESTS", "100000");
const NO_ENGINE: (&str, &str) = ("BLENDER_PYTHON", "/bin/false");

/// Converts repeatedly, four at a time, until stopped.
struct Load {
    over: Arc<AtomicBool>,
    clients: JoinSet<BTreeMap<u16, usize>>,
}

impl Load {
    fn on(gateway: &Gateway) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (request, over) = (conversion(gateway), Arc::clone(&over));
            clients.spawn(async move {
                let mut statuses = BTreeMap::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    *statuses.entry(answer.status().as_u16()).or_default() += 1;
                    answer.bytes().await.unwrap();
                }
                statuses
            });
        }
        Load { over, clients }
    }

    /// Stops and returns the counts of answers by status.
    async fn end(self) -> BTreeMap<u16, usize> {
        self.over.store(true, Ordering::Relaxed);
        let mut sum = BTreeMap::new();
        for statuses in self.clients.join_all().await {
            for (status, count) in statuses {
                *sum.entry(status).or_default() += count;
            }
        }
        sum
    }
}

/// Waits until the gateway reports this status of Redis.
async fn until(gateway: &Gateway, status: &str) {
    let began = Instant::now();
    while gateway.json("/readyz").await["checks"]["redis"] != status {
        assert!(began.elapsed() < LONG, "redis is never {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn metric(gateway: &Gateway, line: &str) -> bool {
    let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    metrics.lines().any(|each| each == line)
}

fn configure(server: &RedisServer, name: &str, value: &str) {
    cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut server.connection()).unwrap();
}

/// The number of requests that Redis has counted.
fn counted(server: &RedisServer) -> u64 {
    server.connection().zcard("meshgate:limit:address:127.0.0.1").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_conversion_fails_during_redis_failures() {
    let mut server = RedisServer::start();
    let proxy = Proxy::to(&server);
    let port = proxy.port.to_string();
    let gateways = [
        Gateway::start_cold(&[("REDIS_URL", &server.url()), MANY, NO_ENGINE]),
        Gateway::start_cold(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), MANY, NO_ENGINE]),
    ];
    let both = async |status: &str| {
        for gateway in &gateways {
            until(gateway, status).await;
        }
    };
    both("ok").await;
    let loads = [Load::on(&gateways[0]), Load::on(&gateways[1])];

    server.kill();
    both("away").await;
    for gateway in &gateways {
        assert!(metric(gateway, "meshgate_backend_up{backend=\"redis\"} 0").await);
        let health: Value = gateway.json("/health").await;
        assert_eq!((&health["status"], &health["redis"]["status"]), (&"degraded".into(), &"away".into()));
    }
    server.restart();
    both("ok").await;
    for gateway in &gateways {
        assert!(metric(gateway, "meshgate_backend_up{backend=\"redis\"} 1").await);
        assert_eq!(gateway.json("/health").await["redis"]["status"], "ok");
    }

    server.stop();
    both("away").await;
    server.resume();
    both("ok").await;

    proxy.delay(Duration::from_secs(1));
    until(&gateways[1], "away").await;
    proxy.delay(Duration::from_millis(20));
    both("ok").await;
    proxy.delay(Duration::ZERO);

    let mut look = server.connection();
    configure(&server, "requirepass", "secret");
    cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut look).unwrap();
    both("away").await;
    cmd("CONFIG").arg("SET").arg("requirepass").arg("").exec(&mut look).unwrap();
    both("ok").await;

    // Both processes count in Redis again.
    let before = counted(&server);
    crate::gateway::until("Redis counts again", || counted(&server) > before + 20);
    for load in loads {
        let statuses = load.end().await;
        assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_conversion_fails_while_redis_evicts_keys() {
    let server = RedisServer::with(&["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"]);
    let gateway = Gateway::start_cold(&[("REDIS_URL", &server.url()), MANY, NO_ENGINE]);
    let load = Load::on(&gateway);
    // Another client of Redis writes several times as much as fits.
    let mut look = server.connection();
    let mut refused = 0;
    for number in 0..20_000 {
        let set: redis::RedisResult<()> = look.set(format!("other:{number}"), "x".repeat(1000));
        refused += u32::from(set.is_err());
    }
    let evicted = {
        let stats: String = cmd("INFO").arg("stats").query(&mut look).unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("evicted_keys:")).unwrap();
        line.parse::<u32>().unwrap()
    };
    assert!(evicted + refused > 10_000, "{evicted} {refused}");
    let statuses = load.end().await;
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}

#[tokio::test]
async fn each_process_limits_alone_while_redis_is_unavailable() {
    let mut server = RedisServer::start();
    server.kill();
    let start = || {
        let url = server.url();
        Gateway::start_cold(&[
            ("REDIS_URL", &url),
            ("RATE_LIMIT_REQUESTS", "2"),
            ("RATE_LIMIT_WINDOW", "3600"),
            NO_ENGINE,
        ])
    };
    for gateway in [start(), start()] {
        for status in [200, 200, 429] {
            assert_eq!(conversion(&gateway).send().await.unwrap().status(), status);
        }
    }
}
