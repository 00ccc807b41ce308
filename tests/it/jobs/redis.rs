//! The queue in Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::jobs::{GiveBack, Hint, Limits, RedisQueue, State};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::check::{check_is_lost, record};
use super::samples::{JOB_BYTES, calling, client, spec_of};
use super::side::{AnyQueue, Side};
use super::steps::{give_back, submit, succeed, take, take_this};
use crate::gateway::LONG;
use crate::redis::{RedisServer, settings};

/// A server that persists its data and never evicts.
pub struct RedisSide(RedisServer);

impl RedisSide {
    pub fn start() -> RedisSide {
        RedisSide::with(&[])
    }

    fn with(arguments: &[&str]) -> RedisSide {
        let lasting = ["--appendonly", "yes", "--maxmemory-policy", "noeviction"];
        RedisSide(RedisServer::with(&[&lasting, arguments].concat()))
    }
}

impl Side for RedisSide {
    async fn open_with(&self, limits: Limits, lease: Duration) -> AnyQueue {
        let queue = RedisQueue::open_with_lease(&settings(&self.0.url()), limits, lease).await;
        Arc::new(queue.unwrap())
    }
}

/// A command on a field of the record of a job.
fn on_field(command: &str, id: Uuid, field: &str) -> ::redis::Cmd {
    ::redis::cmd(command).arg(format!("meshgate:{{jobs}}:job:{id}")).arg(field).take()
}

#[test]
fn random_steps_match_the_model() {
    super::model::compare(16, RedisSide::start);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_reach_other_processes() {
    let side = RedisSide::start();
    let (queue, other) = (side.open().await, side.open().await);
    let began = Instant::now();
    loop {
        let mut hints = other.hints();
        let id = submit(&queue, calling("a")).await.id;
        succeed(&queue, &take(&queue).await).await;
        let mut awaited = vec![Hint::Queued, Hint::Changed(id), Hint::Delivery];
        let all_arrive = async {
            while !awaited.is_empty() {
                let hint = hints.recv().await.unwrap();
                awaited.retain(|expected| *expected != hint);
            }
        };
        // The other process may not have listened yet.
        if timeout(Duration::from_secs(2), all_arrive).await.is_ok() {
            return;
        }
        assert!(began.elapsed() < LONG, "never: {awaited:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_jobs_survive_a_killed_redis() {
    let mut side = RedisSide::with(&["--appendfsync", "always"]);
    let queue = side.open().await;
    let mut jobs = Vec::new();
    for _ in 0..20 {
        submit(&queue, calling("a")).await;
    }
    for _ in 0..10 {
        succeed(&queue, &take(&queue).await).await;
    }
    let claim = take(&queue).await;
    for state in [State::Queued, State::Running, State::Succeeded] {
        let client = &claim.job.spec.client;
        jobs.extend(queue.list(client, Some(state), None, 100).await.unwrap().jobs);
    }
    assert_eq!(jobs.len(), 20);
    drop(queue);
    side.0.kill();
    side.0.restart();
    let queue = side.open().await;
    for job in jobs {
        assert_eq!(record(&queue, job.id).await, job);
    }
    succeed(&queue, &claim).await;
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.jobs, stats.bytes, stats.deliveries), ([9, 0, 11, 0, 0, 0], 9 * JOB_BYTES, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_set_back_gives_no_token_twice() {
    let side = RedisSide::start();
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let mut connection = side.0.connection();
    let mut backup = Vec::new();
    for key in side.0.keys() {
        let content: Vec<u8> = ::redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap();
        backup.push((key, content));
    }
    let forgotten = take_this(&queue, id).await;
    ::redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
    for (key, content) in backup {
        ::redis::cmd("RESTORE").arg(key).arg(0).arg(content).exec(&mut connection).unwrap();
    }
    // Tokens count milliseconds.
    sleep(Duration::from_millis(5)).await;
    let claim = take_this(&queue, id).await;
    check_is_lost(&queue, &forgotten).await;
    succeed(&queue, &claim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_do_not_outlive_their_jobs() {
    let side = RedisSide::start();
    let queue = side.open().await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        for number in 0..20 {
            let spec = spec_of(&format!("client {number} {}", Uuid::now_v7()));
            let id = submit(&queue, spec).await.id;
            match number % 3 {
                0 => succeed(&queue, &take(&queue).await).await,
                1 => assert!(give_back(&queue, &take(&queue).await, GiveBack::StoreUnavailable).await),
                _ => {}
            }
            queue.remove(id).await.unwrap().unwrap();
        }
        counts.push(side.0.keys().len());
    }
    assert_eq!(counts, [counts[0]; 3], "{:?}", side.0.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_version_does_not_stop_the_queue() {
    let side = RedisSide::start();
    let queue = side.open().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submit(&queue, calling("a")).await.id);
    }
    let [first, foreign, last] = ids[..] else { unreachable!() };
    let mut connection = side.0.connection();
    on_field("HSET", foreign, "spec").arg("{}").exec(&mut connection).unwrap();

    let (mut listed, mut before) = (Vec::new(), None);
    for _ in 0..3 {
        let page = queue.list(&client("a"), None, before, 1).await.unwrap();
        listed.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
    }
    assert_eq!((listed, before), (vec![last, first], None));

    take_this(&queue, first).await;
    take_this(&queue, last).await;
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    let error: String = on_field("HGET", foreign, "error").query(&mut connection).unwrap();
    assert!(error.contains("another version"), "{error}");
    // Where its webhook is to be sent is unknown.
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.jobs, stats.deliveries), ([0, 2, 0, 1, 0, 0], 0));
    assert!(queue.remove(foreign).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_fails_readably_if_only_its_events_cannot_be_read() {
    let side = RedisSide::start();
    let queue = side.open().await;
    let id = submit(&queue, spec_of("a")).await.id;
    let event = r#"{"id":1,"at":1,"state":"of another version","attempt":0}"#;
    on_field("HSET", id, "events").arg(event).exec(&mut side.0.connection()).unwrap();
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    assert_eq!(record(&queue, id).await.state, State::Failed);
}
