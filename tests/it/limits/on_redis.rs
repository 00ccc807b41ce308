//! Stored data in Redis, and behaviour without Redis.

use std::time::Duration;

use meshgate::rate_limit::Limiter;
use redis::{Commands, cmd};

use super::{Side, There, key, quota};
use crate::redis::{RedisServer, connect, until_up};

const KEY: &str = "meshgate:limit:key:ci";

impl There {
    /// The remaining lifetime of the key in milliseconds: -1 is forever, -2 is gone.
    fn lifetime(&self) -> i64 {
        cmd("PTTL").arg(KEY).query(&mut self.server.connection()).unwrap()
    }

    /// Redis' clock, in µs.
    fn now(&self) -> u64 {
        let (seconds, micros): (u64, u64) = cmd("TIME").query(&mut self.server.connection()).unwrap();
        seconds * 1_000_000 + micros
    }

    /// Adds a request at this time of Redis' clock.
    fn add_request(&self, name: &str, at: u64) {
        self.server.connection().zadd::<_, _, _, ()>(KEY, name, at).unwrap();
    }
}

#[tokio::test]
async fn every_redis_key_expires() {
    let there = There::start().await;
    let (limiter, quota) = (there.limiter(), quota(2, 60));
    let alive = 1..=61_000;
    let first = limiter.take(&key("ci"), quota).await.ticket.unwrap();
    assert!(alive.contains(&there.lifetime()), "{}", there.lifetime());
    let second = limiter.take(&key("ci"), quota).await.ticket.unwrap();
    assert!(limiter.take(&key("ci"), quota).await.ticket.is_none());
    assert!(alive.contains(&there.lifetime()), "{}", there.lifetime());
    limiter.give_back(first).await;
    assert!(alive.contains(&there.lifetime()), "{}", there.lifetime());
    limiter.give_back(second).await;
    assert_eq!(there.lifetime(), -2);
    // A key without an expiry gets one again.
    limiter.take(&key("ci"), quota).await;
    cmd("PERSIST").arg(KEY).exec(&mut there.server.connection()).unwrap();
    assert_eq!(there.lifetime(), -1);
    limiter.take(&key("ci"), quota).await;
    assert!(alive.contains(&there.lifetime()), "{}", there.lifetime());
    for key in there.server.keys() {
        assert!(key.starts_with(meshgate::redis::PREFIX), "{key}");
        let life: i64 = cmd("PTTL").arg(&key).query(&mut there.server.connection()).unwrap();
        assert!(life > 0, "{key}: {life}");
    }
}

#[tokio::test]
async fn a_redis_key_is_removed_after_its_window() {
    let there = There::start().await;
    let quota = quota(1, 1);
    assert!(there.limiter().take(&key("ci"), quota).await.ticket.is_some());
    crate::gateway::until("the key ends", || there.lifetime() == -2);
    assert!(there.limiter().take(&key("ci"), quota).await.ticket.is_some());
}

#[tokio::test]
async fn a_clock_set_back_slightly_allows_no_extra_requests() {
    let there = There::start().await;
    let quota = quota(3, 60);
    let ahead = there.now() + 30_000_000;
    there.add_request("before 1", ahead - 1_000_000);
    there.add_request("before 2", ahead);
    let third = there.limiter().take(&key("ci"), quota).await;
    assert_eq!((third.ticket.is_some(), third.remaining), (true, 0));
    let refused = there.limiter().take(&key("ci"), quota).await;
    assert!(refused.ticket.is_none());
    // At most one window after the client's latest request.
    assert!(refused.reset <= Duration::from_secs(59), "{refused:?}");
    assert!((1..=61_000).contains(&there.lifetime()));
}

#[tokio::test]
async fn a_clock_set_back_far_locks_no_client_out() {
    let there = There::start().await;
    let year = 365 * 24 * 3600 * 1_000_000;
    for name in ["a", "b", "c"] {
        there.add_request(name, there.now() + year);
    }
    let decision = there.limiter().take(&key("ci"), quota(3, 60)).await;
    assert_eq!((decision.ticket.is_some(), decision.remaining), (true, 2));
    assert!((1..=61_000).contains(&there.lifetime()));
}

#[tokio::test]
async fn a_clock_set_ahead_resets_the_limit() {
    let there = There::start().await;
    for name in ["a", "b", "c"] {
        there.add_request(name, there.now() - 3600 * 1_000_000);
    }
    assert_eq!(there.limiter().take(&key("ci"), quota(3, 60)).await.remaining, 2);
}

#[tokio::test]
async fn requests_are_counted_locally_while_redis_is_unavailable() {
    let mut server = RedisServer::start();
    let redis = connect(&server.url()).await;
    let limiter = meshgate::rate_limit::RedisLimiter::new(redis.clone());
    let count = |server: &RedisServer| server.connection().zcard::<_, u32>(KEY).unwrap();
    let take = async || limiter.take(&key("ci"), quota(3, 600)).await;
    assert_eq!(take().await.remaining, 2);
    assert_eq!(count(&server), 1);

    server.kill();
    until_up(&redis, false).await;
    let ticket = take().await.ticket.unwrap();
    assert_eq!([take().await.remaining, take().await.remaining], [1, 0]);
    assert!(take().await.ticket.is_none());
    limiter.give_back(ticket).await;
    assert_eq!(take().await.remaining, 0);

    server.restart();
    until_up(&redis, true).await;
    let first = take().await;
    assert_eq!((first.remaining, count(&server)), (2, 1));
    // Returning a ticket from before the failure does no harm.
    server.kill();
    until_up(&redis, false).await;
    limiter.give_back(first.ticket.unwrap()).await;
}

#[tokio::test]
async fn two_processes_share_a_limit() {
    let server = RedisServer::start();
    let [one, other] = [connect(&server.url()).await, connect(&server.url()).await]
        .map(meshgate::rate_limit::RedisLimiter::new);
    assert_eq!(one.take(&key("ci"), quota(3, 600)).await.remaining, 2);
    let second = other.take(&key("ci"), quota(3, 600)).await;
    assert_eq!(second.remaining, 1);
    assert_eq!(one.take(&key("ci"), quota(3, 600)).await.remaining, 0);
    assert!(other.take(&key("ci"), quota(3, 600)).await.ticket.is_none());
    one.give_back(second.ticket.unwrap()).await;
    assert_eq!(other.take(&key("ci"), quota(3, 600)).await.remaining, 0);
}

#[tokio::test]
async fn requests_are_counted_locally_if_the_key_is_invalid() {
    let there = There::start().await;
    there.server.connection().set::<_, _, ()>(KEY, "what is this?").unwrap();
    assert_eq!(there.limiter().take(&key("ci"), quota(3, 600)).await.remaining, 2);
    assert_eq!(there.limiter().take(&key("ci"), quota(3, 600)).await.remaining, 1);
    // Other clients are still counted in Redis.
    there.limiter().take(&key("other"), quota(3, 600)).await;
    assert!(there.server.keys().contains(&"meshgate:limit:key:other".to_owned()));
}
